//! A client that has no secret: its Secret says everything else, and nothing rotates.

use super::{CONFLICT, Rest, WAITING, Work, Written};
use crate::{
    api::OAuthClient,
    controller::{
        Fault, apply, findings,
        holding::Holding,
        observe::{Holder, Seen},
        queue::Outcome,
    },
    domain::{names::ObjectName, rotation::Object},
    replica::gate::Passage,
};
use std::time::Duration;

/// When the next look is, where this one has changed what it rests on.
const AT_ONCE: Duration = Duration::ZERO;

impl Work<'_> {
    /// Brings the Secret up to date. Credentials that the client had go from status; replicas refuse them since the spec says so.
    pub(super) async fn keep_without_secret(&self, cached: &OAuthClient) -> Result<Outcome, Fault> {
        let seen = match self.up_to_date_in_caches(cached) {
            Some(seen) => seen,
            None => match self.live(Object::Secret).await? {
                Some(seen) if seen.object.metadata.generation != self.generation => return Err(self.contended("OAuthClient")),
                Some(seen) if !self.controller.is_going(&seen.object) && self.controller.holding_of(&seen.object) == Holding::Ours => seen,
                _ => return Ok(Outcome::Settled),
            },
        };
        match (seen.holder(), &seen.secret) {
            // Whoever reads the Secret may ask any replica.
            (Holder::Us | Holder::Nobody, None) | (Holder::Us, Some(_)) if !self.is_known_to_all(&seen).await? => {
                self.report(&seen, &findings::pending(&self.findings(), findings::not_known_to_all()), Written::Nothing).await?;
                return Ok(Outcome::Again(WAITING));
            }
            (Holder::Foreign(why), _) => {
                let verdict = findings::secret_conflict(&self.shape.name, &self.client.object.name, &why);
                self.report(&seen, &verdict, Written::Nothing).await?;
                return Ok(Outcome::Again(CONFLICT));
            }
            (Holder::Us, Some(found)) => {
                if let Some(patch) = self.manifest().patch_without_secret(found) {
                    self.patch_secret(&self.shape.name, &patch).await?;
                }
            }
            (Holder::Nobody, Some(_)) => {
                self.report(&seen, &findings::pending(&self.findings(), findings::being_collected()), Written::Nothing).await?;
                return Ok(Outcome::Again(WAITING));
            }
            (Holder::Us | Holder::Nobody, None) => {
                apply::create(&self.controller.kube, "Secret", &self.client.object, &self.manifest().created_without_secret()).await?;
                self.controller.events.created(&seen.object, &self.shape.name);
            }
        }
        self.controller.pending.forget(&self.client.object);
        if has_credentials(&seen.object) {
            self.report(&seen, &self.verdict(&[]), Written::Credentials(Vec::new())).await?;
            // The rest with the status as it is then.
            return Ok(Outcome::Again(AT_ONCE));
        }
        self.settle(seen, Rest { credentials: Vec::new(), wake_at: None, news: None }).await
    }

    /// Whether every replica that may be serving knows the client as it is now.
    async fn is_known_to_all(&self, seen: &Seen) -> Result<bool, Fault> {
        Ok(self.gate(seen).await? == Passage::Passed)
    }

    /// A look at the caches that shows that nothing is to be written costs no call.
    fn up_to_date_in_caches(&self, cached: &OAuthClient) -> Option<Seen> {
        let secret = self.controller.secrets.get(&ObjectName::new(&self.client.object.namespace, &self.shape.name))?;
        let seen = Seen { object: cached.clone(), secret: Some((*secret).clone()) };
        let settled = seen.holder() == Holder::Us && self.manifest().patch_without_secret(&secret).is_none();
        (settled && !has_credentials(cached)).then_some(seen)
    }
}

fn has_credentials(object: &OAuthClient) -> bool {
    object.status.as_ref().and_then(|status| status.credentials.as_ref()).is_some_and(|credentials| !credentials.is_empty())
}
