//! Nothing is left of the rotation: what remains to be tidied, and to be said.

use super::{CONFLICT, Rest, Work, Written, known};
use crate::{
    ambient,
    controller::{
        Fault,
        build::{self, Published, stored_value},
        observe::{self, Holder, Seen},
        queue::Outcome,
        uses::News,
    },
    domain::{
        credential::Credential,
        rotation::{Object, Stored},
    },
};
use kube::ResourceExt;
use std::time::Duration;

impl Work<'_> {
    /// Nothing is left of the rotation: tidy the Secret's other keys, labels and owner, and say how things are.
    pub(super) async fn settle(&self, seen: Seen, rest: Rest) -> Result<Outcome, Fault> {
        let Rest { credentials, wake_at, news } = rest;
        if let Some(patch) = self.tidied(&seen, &credentials) {
            self.confirm_trust(&seen).await?;
            self.patch_secret(&self.shape.name, &patch).await?;
        }
        self.withdraw_from_former_secrets().await?;
        let verdict = self.verdict(&credentials);
        let written = if news.is_some() { Written::Credentials(credentials.clone()) } else { Written::Nothing };
        self.report(&seen, &verdict, written).await?;
        if let Some(News::StillInUse(id)) = news {
            self.controller.events.still_in_use(&seen.object, &id, self.controller.reports.last_use(&id));
        }
        if !self.restart_workloads(&seen.object, &credentials).await {
            return Ok(Outcome::Again(CONFLICT));
        }
        let until = [wake_at, self.controller.registry.with_index(|index| index.granted_until(&self.client, ambient::now()))]
            .into_iter()
            .flatten()
            .min();
        Ok(match until {
            Some(at) => Outcome::Again(Duration::try_from(at.duration_since(ambient::now())).unwrap_or_default()),
            None => Outcome::Settled,
        })
    }

    /// The patch that brings everything but the value up to date, if something differs.
    pub(super) fn tidied(&self, seen: &Seen, credentials: &[Credential]) -> Option<serde_json::Value> {
        let found = seen.secret.as_ref()?;
        let Stored::Present { holds: Some(id), fence, .. } = seen.stored(&self.shape, credentials, &self.keys.digest) else { return None };
        let value = stored_value(found, &self.shape)?;
        // A fence only grows with the writes that need one: by itself it is no reason for a write.
        self.manifest().patch(found, Published { id: &id, value: &value, fence: &fence })
    }

    /// After a change of `spec.secret.name`: once the credential in the former Secret is retired, our keys go from there. The
    /// cache only hints at candidates; both objects are read live, the Secret first.
    async fn withdraw_from_former_secrets(&self) -> Result<(), Fault> {
        for candidate in self.controller.secrets.made_for(&self.client.object) {
            let name = candidate.name_any();
            if name == self.shape.name {
                continue;
            }
            let live = observe::live(&self.controller.kube, &self.client.object, &self.client.uid, &name, Object::Secret).await?;
            let Some(seen) = live.filter(|seen| seen.object.metadata.generation == self.generation) else { return Ok(()) };
            let (Holder::Us, Ok(register)) = (seen.holder(), seen.register(&self.keys.digest)) else { continue };
            let stored = seen.stored(&self.shape, &known(&register), &self.keys.digest);
            if let (Some(former), Stored::Present { holds: None, .. }) = (&seen.secret, stored) {
                self.patch_secret(&name, &build::withdrawal_patch(former, &self.client.uid)).await?;
            }
        }
        Ok(())
    }
}
