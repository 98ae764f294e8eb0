//! The steps of a rotation: each is one write, made from the two reads that it was planned on.

use super::{Work, known};
use crate::{
    ambient,
    controller::{
        Fault, apply,
        build::{self, Published, stored_value},
        findings,
        observe::{Holder, Seen},
        pending::Held,
    },
    domain::{
        credential::{Credential, CredentialId, CredentialState, SecretValue},
        rotation::{self, Cause, Slots, Step},
    },
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

impl Work<'_> {
    /// Makes one step.
    pub(super) async fn take(&self, step: &Step, seen: &Seen, slots: &Slots) -> Result<(), Fault> {
        let now = ambient::now();
        let credentials = known(&slots.register);
        match step {
            Step::Register { cause, evicted } => self.register(seen, &credentials, (*cause, evicted.as_ref()), now).await,
            Step::Adopt => self.adopt(seen, now).await,
            Step::Publish(id) => self.publish(seen, &credentials, id).await,
            Step::Fence => self.fence(seen, &credentials).await,
            Step::Promote(id) => self.promote(seen, &credentials, id, now).await,
            Step::Retire(id) => self.write(seen, rotation::retired(&credentials, id)).await,
            Step::Revoke => self.write(seen, rotation::revoked(&credentials, &self.rules)).await,
            Step::Gate(_) => Ok(()),
        }
    }

    async fn register(
        &self,
        seen: &Seen,
        credentials: &[Credential],
        why: (Cause, Option<&CredentialId>),
        now: Timestamp,
    ) -> Result<(), Fault> {
        let fresh = self.draw(rotation::created_at(credentials, &self.rules, now));
        let next = rotation::registered(credentials, fresh, why.1, &self.rules, now);
        self.report(seen, &findings::pending(&self.findings(), findings::registered()), Some(next)).await?;
        self.controller.events.registered(&seen.object, why.0, why.1.is_some());
        Ok(())
    }

    /// The value in the Secret was ours before status forgot it, or before the digest key was lost.
    async fn adopt(&self, seen: &Seen, now: Timestamp) -> Result<(), Fault> {
        let Some(value) = seen.secret.as_ref().and_then(|secret| stored_value(secret, &self.shape)) else { return Ok(()) };
        let (id, _) = ambient::draw_credential();
        let found = self.credential(&id, &value, rotation::created_at(&[], &self.rules, now));
        let next = rotation::adopted(found, self.draw(now));
        self.report(seen, &findings::pending(&self.findings(), findings::registered()), Some(next)).await
    }

    /// A new credential; its value is held before the register write, whose reply may be lost.
    fn draw(&self, created_at: Timestamp) -> Credential {
        let (id, value) = ambient::draw_credential();
        let fresh = self.credential(&id, &value, created_at);
        self.controller.pending.hold(&self.client.object, Held { uid: self.client.uid.clone(), id, value });
        fresh
    }

    async fn write(&self, seen: &Seen, credentials: Vec<Credential>) -> Result<(), Fault> {
        self.report(seen, &self.verdict(&credentials), Some(credentials)).await
    }

    fn credential(&self, id: &CredentialId, value: &SecretValue, created_at: Timestamp) -> Credential {
        let digest = self.keys.digest.digest(&self.client.uid, id, value);
        let state = CredentialState::Pending;
        Credential { id: id.clone(), digest, state, created_at, retire_after: None, accepted_until: None, last_used_at: None }
    }

    async fn publish(&self, seen: &Seen, credentials: &[Credential], id: &CredentialId) -> Result<(), Fault> {
        let Some(held) = self.held().filter(|held| held.id == *id) else { return Ok(()) };
        let fence = rotation::fence(credentials);
        let published = Published { id, value: &held.value, fence: &fence };
        let (kube, object) = (&self.controller.kube, &self.client.object);
        match &seen.secret {
            Some(found) if seen.holder() == Holder::Us => {
                if let Some(patch) = self.manifest().patch(found, published) {
                    self.patch_secret(&self.shape.name, &patch).await?;
                    self.controller.events.reissued(&seen.object, &self.shape.name);
                }
            }
            _ => {
                apply::create(kube, "Secret", object, &self.manifest().created(published)).await?;
                self.controller.events.created(&seen.object, &self.shape.name);
            }
        }
        Ok(())
    }

    async fn fence(&self, seen: &Seen, credentials: &[Credential]) -> Result<(), Fault> {
        let Some(found) = &seen.secret else { return Ok(()) };
        self.patch_secret(&self.shape.name, &build::fence_patch(found, &rotation::fence(credentials))).await
    }

    pub(super) async fn patch_secret(&self, name: &str, patch: &serde_json::Value) -> Result<(), Fault> {
        apply::patch::<Secret>(&self.controller.kube, "Secret", &self.client.object, name, patch).await.map(drop)
    }

    async fn promote(&self, seen: &Seen, credentials: &[Credential], id: &CredentialId, now: Timestamp) -> Result<(), Fault> {
        self.write(seen, rotation::promoted(credentials, id, &self.rules, now)).await?;
        self.controller.pending.forget(&self.client.object);
        Ok(())
    }
}
