//! What one look at both objects says: what there is, by which rules, and what is planned.

use super::{Progress, Rest, Work, known};
use crate::{
    ambient,
    api::{OAuthClient, Reason},
    controller::{
        Fault, findings,
        observe::{self, Holder, Seen},
        pending::Held,
        reports::Reported,
        uses::News,
        verdict::Verdict,
    },
    domain::{
        credential::{Credential, CredentialId, CredentialState},
        names::ObjectName,
        rotation::{self, Plan, Register, Rules, Slots},
    },
};

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
    /// What the reports of uses say that is worth a write.
    pub(super) news: Option<News>,
}

impl Situation {
    pub(super) fn credentials(&self) -> Vec<Credential> {
        known(&self.slots.register)
    }

    pub(super) fn rest(self) -> Rest {
        Rest { credentials: self.credentials(), wake_at: self.plan.wake_at, news: self.news }
    }
}

impl Work<'_> {
    /// A plan on the caches that says that nothing is to be written costs no call.
    pub(super) fn settled_in_caches(&self, cached: &OAuthClient) -> Option<Progress> {
        let secret = self.controller.secrets.get(&ObjectName::new(&self.client.object.namespace, &self.shape.name))?;
        let seen = Seen { object: cached.clone(), secret: Some((*secret).clone()) };
        let Look::Planned(situation) = self.look(&seen, None) else { return None };
        let settled = situation.plan.step.is_none() && situation.news.is_none() && self.tidied(&seen, &situation.credentials()).is_none();
        settled.then(|| Progress::Settled(Box::new(seen), situation.rest()))
    }

    pub(super) fn look(&self, seen: &Seen, passed: Option<&CredentialId>) -> Look {
        if let Holder::Foreign(why) = seen.holder() {
            return Look::Refused(findings::secret_conflict(&self.shape.name, &self.client.object.name, &why));
        }
        let register = match seen.register(&self.keys.digest) {
            Ok(register) => register,
            Err(unreadable) => return Look::Refused(Verdict::refused(Reason::StatusUnreadable, unreadable.to_string())),
        };
        let now = ambient::now();
        let Reported { credentials, longest_gap, news } = self.controller.reports.of(&known(&register), now);
        let register = match register {
            Register::Never => Register::Never,
            Register::Known(_) => Register::Known(credentials.clone()),
        };
        let is_pending = |id: &CredentialId| credentials.iter().any(|known| known.id == *id && known.state == CredentialState::Pending);
        let held = self.held().map(|held| held.id).filter(is_pending);
        let gate_passed = held.is_some() && held.as_ref() == passed;
        let stored = seen.stored(&self.shape, &credentials, &self.keys.digest);
        let status = seen.object.status.as_ref();
        let asked = seen.asked_rotation();
        let ordered = asked.is_some() && asked != status.and_then(|status| status.last_handled_rotate.clone());
        let quiet = self.terms.quiet(longest_gap);
        let uses_reported_until = self.controller.reports.reported_until(&credentials, quiet, now);
        let slots = Slots { register, stored, held, gate_passed, ordered, uses_reported_until };
        let rules = self.terms.rules(status, quiet, now);
        let plan = rotation::plan(&slots, &rules, now);
        Look::Planned(Box::new(Situation { slots, rules, plan, news }))
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
