//! The steps of a rotation: each is one write, made from the two reads that it was planned on.

use super::{Work, Written, look::Situation};
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
        rotation::{self, Cause, Rules, Step, Stored},
    },
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

impl Work<'_> {
    /// Makes one step.
    pub(super) async fn take(&self, step: &Step, seen: &Seen, situation: &Situation) -> Result<(), Fault> {
        let (now, rules) = (ambient::now(), &situation.rules);
        let credentials = situation.credentials();
        let rehearsed_until = rotation::rehearsed_until(situation.slots.ordered, rules, now);
        match step {
            Step::Register { cause, evicted } => {
                let fresh = self.draw(rotation::created_at(&credentials, rules, now), rehearsed_until);
                let next = rotation::registered(&credentials, fresh, evicted.as_ref(), rules, now);
                self.register(seen, next, (*cause, evicted.is_some())).await
            }
            Step::Adopt => self.adopt(seen, rotation::created_at(&[], rules, now), rehearsed_until).await,
            Step::Publish(id) => self.publish(seen, situation, id).await,
            Step::Fence => self.fence(seen, &credentials).await,
            Step::Promote(id) => self.promote(seen, &credentials, id, (rules, now)).await,
            Step::Retire(id) => self.retire(seen, &credentials, id, now).await,
            Step::Revoke => self.revoke(seen, rotation::revoked(&credentials, rules)).await,
            Step::Gate(_) => Ok(()),
        }
    }

    async fn register(&self, seen: &Seen, next: Vec<Credential>, (cause, evicts): (Cause, bool)) -> Result<(), Fault> {
        self.report(seen, &findings::pending(&self.findings(), findings::registered()), Written::Registered(next)).await?;
        self.controller.events.registered(&seen.object, cause, evicts);
        Ok(())
    }

    /// The value in the Secret was ours before status forgot it, or before the digest key was lost.
    async fn adopt(&self, seen: &Seen, created_at: Timestamp, rehearsed_until: Option<Timestamp>) -> Result<(), Fault> {
        let Some(value) = seen.secret.as_ref().and_then(|secret| stored_value(secret, &self.shape)) else { return Ok(()) };
        let (id, _) = ambient::draw_credential();
        let found = self.credential(&id, &value, created_at);
        let next = rotation::adopted(found, self.draw(created_at, rehearsed_until));
        self.report(seen, &findings::pending(&self.findings(), findings::registered()), Written::Registered(next)).await
    }

    async fn revoke(&self, seen: &Seen, left: Vec<Credential>) -> Result<(), Fault> {
        self.report(seen, &findings::pending(&self.findings(), findings::revoked()), Written::Credentials(left)).await?;
        self.controller.events.revoked(&seen.object);
        Ok(())
    }

    /// A new credential; its value is held before the register write, whose reply may be lost.
    fn draw(&self, created_at: Timestamp, rehearsed_until: Option<Timestamp>) -> Credential {
        let (id, value) = ambient::draw_credential();
        let fresh = Credential { rehearsed_until, ..self.credential(&id, &value, created_at) };
        self.controller.pending.hold(&self.client.object, Held { uid: self.client.uid.clone(), id, value });
        fresh
    }

    async fn write(&self, seen: &Seen, credentials: Vec<Credential>) -> Result<(), Fault> {
        self.report(seen, &self.verdict(&credentials), Written::Credentials(credentials)).await
    }

    fn credential(&self, id: &CredentialId, value: &SecretValue, created_at: Timestamp) -> Credential {
        let digest = self.keys.digest.digest(&self.client.uid, id, value);
        let state = CredentialState::Pending;
        let (retire_after, accepted_until, rehearsed_until, last_used_at) = (None, None, None, None);
        Credential { id: id.clone(), digest, state, created_at, retire_after, accepted_until, rehearsed_until, last_used_at }
    }

    async fn publish(&self, seen: &Seen, situation: &Situation, id: &CredentialId) -> Result<(), Fault> {
        let Some(held) = self.held().filter(|held| held.id == *id) else { return Ok(()) };
        let credentials = situation.credentials();
        let fence = rotation::fence(&credentials);
        let published = Published { id, value: &held.value, fence: &fence };
        let (kube, object, events) = (&self.controller.kube, &self.client.object, &self.controller.events);
        let name = &self.shape.name;
        self.confirm_trust(seen).await?;
        match &seen.secret {
            Some(found) if seen.holder() == Holder::Us => {
                let Some(patch) = self.manifest().patch(found, published) else { return Ok(()) };
                self.patch_secret(name, &patch).await?;
                if seen.is_adopted() {
                    events.adopted(&seen.object, name);
                } else if !holds_current(&situation.slots.stored, &credentials) {
                    events.reissued(&seen.object, name);
                }
            }
            _ => {
                apply::create(kube, "Secret", object, &self.manifest().created(published)).await?;
                if current(&credentials).is_some() { events.reissued(&seen.object, name) } else { events.created(&seen.object, name) }
            }
        }
        Ok(())
    }

    /// What a write of the whole Secret says of CAs was read after it.
    pub(super) async fn confirm_trust(&self, seen: &Seen) -> Result<(), Fault> {
        match seen.secret.as_ref().filter(|_| seen.holder() == Holder::Us) {
            Some(found) if self.manifest().trusts_alike(found) => Ok(()),
            _ => self.controller.confirm_trust(&self.endpoints, &self.client.object).await,
        }
    }

    async fn fence(&self, seen: &Seen, credentials: &[Credential]) -> Result<(), Fault> {
        let Some(found) = &seen.secret else { return Ok(()) };
        self.patch_secret(&self.shape.name, &build::fence_patch(found, &rotation::fence(credentials))).await
    }

    pub(super) async fn patch_secret(&self, name: &str, patch: &serde_json::Value) -> Result<(), Fault> {
        apply::patch::<Secret>(&self.controller.kube, "Secret", &self.client.object, name, patch).await.map(drop)
    }

    /// What a rehearsal replaced goes unused, but where the platform's bound takes it.
    async fn retire(&self, seen: &Seen, credentials: &[Credential], id: &CredentialId, now: Timestamp) -> Result<(), Fault> {
        let next = rotation::retired(credentials, id);
        let retired = credentials.iter().find(|known| known.id == *id);
        let has_moved =
            retired.is_some_and(|known| known.rehearsed_until.is_some() && known.accepted_until.is_none_or(|until| now < until));
        let verdict = self.verdict(&next);
        self.report(seen, &verdict, if has_moved { Written::Moved(next) } else { Written::Credentials(next) }).await
    }

    async fn promote(
        &self,
        seen: &Seen,
        credentials: &[Credential],
        id: &CredentialId,
        (rules, now): (&Rules, Timestamp),
    ) -> Result<(), Fault> {
        let next = rotation::promoted(credentials, id, rules, now);
        self.write(seen, next.clone()).await?;
        self.controller.pending.forget(&self.client.object);
        let was_pending = credentials.iter().any(|known| known.id == *id && known.state == CredentialState::Pending);
        if let Some(former) = current(credentials) {
            let former = next.iter().find(|known| known.id == former.id);
            self.controller.events.completed(&seen.object, was_pending, former);
        }
        Ok(())
    }
}

fn current(credentials: &[Credential]) -> Option<&Credential> {
    credentials.iter().find(|known| known.state == CredentialState::Current)
}

fn holds_current(stored: &Stored, credentials: &[Credential]) -> bool {
    let held = match stored {
        Stored::Present { holds, .. } => holds.as_ref(),
        Stored::Missing => None,
    };
    held.is_some() && held == current(credentials).map(|current| &current.id)
}
