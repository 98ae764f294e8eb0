//! What one look at both objects says: what there is, by which rules, and what is planned.

use super::{Progress, Work, known};
use crate::{
    ambient,
    api::{OAuthClient, Reason},
    controller::{
        Fault, findings,
        observe::{self, Holder, Seen},
        pending::Held,
        verdict::Verdict,
    },
    domain::{
        credential::{Credential, CredentialId, CredentialState},
        names::ObjectName,
        rotation::{self, Plan, Register, Rules, Slots},
    },
};
use jiff::SignedDuration;

/// What one look at both objects says.
pub(super) enum Look {
    Planned(Box<Situation>),
    Refused(Verdict),
}

/// What there is, by which rules, and what is planned.
pub(super) struct Situation {
    pub(super) slots: Slots,
    pub(super) rules: Rules,
    pub(super) plan: Plan,
}

impl Situation {
    pub(super) fn credentials(&self) -> Vec<Credential> {
        known(&self.slots.register)
    }
}

impl Work<'_> {
    /// A plan on the caches that says that nothing is to be written costs no call.
    pub(super) fn settled_in_caches(&self, cached: &OAuthClient) -> Option<Progress> {
        let secret = self.controller.secrets.get(&ObjectName::new(&self.client.object.namespace, &self.shape.name))?;
        let seen = Seen { object: cached.clone(), secret: Some((*secret).clone()) };
        let Look::Planned(situation) = self.look(&seen, None) else { return None };
        let (credentials, Plan { step, wake_at }) = (situation.credentials(), situation.plan);
        let settled = step.is_none() && self.tidied(&seen, &credentials).is_none();
        settled.then(|| Progress::Settled(Box::new(seen), credentials, wake_at))
    }

    pub(super) fn look(&self, seen: &Seen, passed: Option<&CredentialId>) -> Look {
        if let Holder::Foreign(why) = seen.holder() {
            return Look::Refused(findings::secret_conflict(&self.shape.name, &self.client.object.name, &why));
        }
        let register = match seen.register(&self.keys.digest) {
            Ok(register) => register,
            Err(unreadable) => return Look::Refused(Verdict::refused(Reason::StatusUnreadable, unreadable.to_string())),
        };
        let credentials = known(&register);
        let is_pending = |id: &CredentialId| credentials.iter().any(|known| known.id == *id && known.state == CredentialState::Pending);
        let held = self.held().map(|held| held.id).filter(is_pending);
        let gate_passed = held.is_some() && held.as_ref() == passed;
        let stored = seen.stored(&self.shape, &credentials, &self.keys.digest);
        let status = seen.object.status.as_ref();
        let asked = seen.asked_rotation();
        let ordered = asked.is_some() && asked != status.and_then(|status| status.last_handled_rotate.clone());
        let slots = Slots { register, stored, held, gate_passed, ordered, uses_reported_until: None };
        let now = ambient::now();
        let rules = self.terms.rules(status, self.terms.quiet(SignedDuration::ZERO), now);
        let plan = rotation::plan(&slots, &rules, now);
        Look::Planned(Box::new(Situation { slots, rules, plan }))
    }

    pub(super) fn held(&self) -> Option<Held> {
        self.controller.pending.of(&self.client.object, &self.client.uid)
    }

    /// That the digest key is lost is believed only of the key Secret as it is now: a leader that was frozen has an old one.
    pub(super) async fn confirm_digest_key(&self, seen: &Seen, slots: &Slots) -> Result<(), Fault> {
        let stored = seen.object.status.as_ref().and_then(|status| status.credentials.as_ref());
        if !matches!(slots.register, Register::Never) || stored.is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let name = self.controller.installation.release().keys();
        let live = observe::digest_key_name(&self.controller.kube, &name).await?;
        if live.as_deref() == Some(self.keys.digest.name()) { Ok(()) } else { Err(self.contended("digest key")) }
    }
}
