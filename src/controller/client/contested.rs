//! A client that another installation works on.

use crate::{
    ambient,
    api::{OAuthClient, Reason},
    controller::{
        CONTESTED, Controller, Fault, apply,
        holding::Holding,
        queue::Outcome,
        verdict::{self, Finding},
    },
    domain::names::ObjectName,
};
use kube::ResourceExt;

impl Controller {
    pub(in crate::controller) fn holding_of(&self, object: &OAuthClient) -> Holding {
        self.holding(object, object.status.as_ref().and_then(|status| status.controller.as_deref()))
    }

    /// Says that another installation works on the client, where that is not as somebody has decided. Once: if the other one lives,
    /// it says again how the client is, and the event remains.
    pub(super) async fn leave_to_another(&self, object: &OAuthClient, holding: Holding) -> Result<Outcome, Fault> {
        let Holding::Contested(message) = holding else { return Ok(Outcome::Settled) };
        let uid = object.uid().unwrap_or_default();
        if self.said.is_new(&uid, &message) {
            let finding = Finding::no(Reason::ControllerConflict, message.clone());
            let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
            if let Some(patch) = verdict::status_patch(object, &object.status, &verdict::contested(object, &finding, ambient::now())) {
                apply::patch_status::<OAuthClient>(&self.kube, &name, &patch).await?;
            }
            self.events.warned(object, &finding);
            self.said.note(uid, message);
        }
        Ok(Outcome::Again(CONTESTED))
    }
}
