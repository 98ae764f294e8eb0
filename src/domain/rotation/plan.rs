//! Which write comes next.

use super::{
    Cause, Plan, Register, Retirement, Rules, Schedule, Slots, Step, Stored,
    transitions::{cut, is_revoked, later},
};
use crate::domain::credential::{
    Credential, CredentialId,
    CredentialState::{Current, Pending, Previous},
    MAX_CREDENTIALS,
};
use jiff::Timestamp;

/// What to do next. A function of its arguments.
#[must_use]
pub fn plan(slots: &Slots, rules: &Rules, now: Timestamp) -> Plan {
    match &slots.register {
        Register::Never => step(first(&slots.stored, rules)),
        Register::Known(credentials) => Situation { credentials, slots, rules, now }.plan(),
    }
}

/// A value of our form that nobody registered was made by an installation whose status or digest key is gone: it goes on
/// working while it is replaced. Not where a leak was reported: nobody knows how old it is.
fn first(stored: &Stored, rules: &Rules) -> Step {
    match stored {
        Stored::Present { our_form: true, .. } if rules.secrets_issued_before.is_none() => Step::Adopt,
        Stored::Present { .. } | Stored::Missing => Step::Register { cause: Cause::First, evicted: None },
    }
}

fn step(step: Step) -> Plan {
    Plan { step: Some(step), wake_at: None }
}

struct Situation<'a> {
    credentials: &'a [Credential],
    slots: &'a Slots,
    rules: &'a Rules,
    now: Timestamp,
}

impl Situation<'_> {
    fn plan(&self) -> Plan {
        if self.credentials.iter().any(|known| is_revoked(known, self.rules)) {
            return step(Step::Revoke);
        }
        match self.stored_credential() {
            Some(known) if known.state == Current => self.rotate_or_rest(),
            Some(known) if self.is_accepted(known) => step(self.promote(&known.id)),
            Some(_) | None => step(self.heal()),
        }
    }

    /// The Secret holds the Current one.
    fn rotate_or_rest(&self) -> Plan {
        match (self.pending(), self.cause()) {
            (Some(pending), _) if self.is_held(pending) => step(self.publish(&pending.id)),
            (_, Some(cause)) if self.has_room() => step(Step::Register { cause, evicted: None }),
            _ => self.retire_or_rest(),
        }
    }

    /// The Secret is missing, or holds what replicas refuse.
    fn heal(&self) -> Step {
        match self.pending() {
            Some(pending) if self.is_held(pending) => self.publish(&pending.id),
            _ => self.reissue(),
        }
    }

    /// A missing Secret is always healed: where there is no room, one Previous credential goes before its time.
    fn reissue(&self) -> Step {
        let cause = match self.slots.stored {
            Stored::Missing if self.current().is_none() => Cause::First,
            Stored::Missing => Cause::SecretMissing,
            Stored::Present { .. } => Cause::ValueUnknown,
        };
        let evicted = if self.has_room() { None } else { self.least_missed() };
        match evicted {
            Some(oldest) if !self.is_fenced(&oldest.id) && self.slots.stored != Stored::Missing => Step::Fence,
            _ => Step::Register { cause, evicted: evicted.map(|oldest| oldest.id.clone()) },
        }
    }

    fn publish(&self, id: &CredentialId) -> Step {
        if self.slots.gate_passed { Step::Publish(id.clone()) } else { Step::Gate(id.clone()) }
    }

    /// An `acceptedUntil` is set only on a credential that nobody can publish any more.
    fn promote(&self, id: &CredentialId) -> Step {
        let is_fenced = cut(self.credentials, id, self.rules, self.now).into_iter().all(|known| self.is_fenced(&known.id));
        if is_fenced { Step::Promote(id.clone()) } else { Step::Fence }
    }

    fn retire_or_rest(&self) -> Plan {
        let may_go = |known: &&Credential| self.may_go_at(known).is_some_and(|at| at <= self.now);
        let next = self.previous().filter(may_go).min_by_key(|known| (!self.is_fenced(&known.id), known.created_at));
        match next {
            Some(known) if self.is_fenced(&known.id) => step(Step::Retire(known.id.clone())),
            Some(_) => step(Step::Fence),
            None => Plan { step: None, wake_at: self.wake_at() },
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.previous().filter_map(|known| self.may_go_at(known)).chain(self.due_at()).min()
    }

    /// When a Previous credential may be retired, if nothing else changes.
    fn may_go_at(&self, known: &Credential) -> Option<Timestamp> {
        let goes_in_use = self.rules.retirement == Retirement::AfterOverlap && known.rehearsed_until.is_none();
        let unused = goes_in_use || self.is_unused(known);
        let after = known.retire_after?;
        if unused { Some(after) } else { known.accepted_until.map(|until| until.max(after)) }
    }

    /// The Current one was used, and this one not for long enough, as far as every replica has reported.
    fn is_unused(&self, known: &Credential) -> bool {
        let successor_used = self.current().is_some_and(|current| current.last_used_at.is_some());
        let last_used = known.last_used_at.unwrap_or(known.created_at);
        successor_used && self.slots.uses_reported_until.is_some_and(|until| later(last_used, self.rules.quiet) <= until)
    }

    /// Why the Current one is to be replaced although the Secret holds it.
    fn cause(&self) -> Option<Cause> {
        match self.due_at() {
            _ if self.pending().is_some() => Some(Cause::PendingLost),
            _ if self.slots.ordered => Some(Cause::Ordered),
            Some(due) if due <= self.now => Some(Cause::Due),
            Some(_) | None => None,
        }
    }

    /// A scheduled rotation starts only when there is no Pending and no Previous one.
    fn due_at(&self) -> Option<Timestamp> {
        let Schedule { every, since, watched_from, jitter } = self.rules.schedule?;
        let current = self.current().filter(|_| self.credentials.len() == 1)?;
        Some(later(later(current.created_at.max(since), every).max(watched_from), jitter))
    }

    /// Which Previous one is missed least: one that is past its overlap, then one that is not used, then the one replaced first.
    fn least_missed(&self) -> Option<&Credential> {
        self.previous().min_by_key(|known| {
            let in_overlap = known.retire_after.is_none_or(|after| after > self.now);
            (in_overlap, known.last_used_at.is_some(), known.retire_after, known.created_at)
        })
    }

    fn stored_credential(&self) -> Option<&Credential> {
        match &self.slots.stored {
            Stored::Present { holds: Some(id), .. } => self.credentials.iter().find(|known| known.id == *id),
            Stored::Present { holds: None, .. } | Stored::Missing => None,
        }
    }

    fn is_accepted(&self, known: &Credential) -> bool {
        known.accepted_until.is_none_or(|until| self.now < until)
    }

    fn is_fenced(&self, id: &CredentialId) -> bool {
        matches!(&self.slots.stored, Stored::Present { fence, .. } if fence.contains(id))
    }

    fn is_held(&self, pending: &Credential) -> bool {
        self.slots.held.as_ref() == Some(&pending.id)
    }

    /// Whether one more beside the Current one fits.
    fn has_room(&self) -> bool {
        self.credentials.iter().filter(|known| known.state != Current).count() + 1 < MAX_CREDENTIALS
    }

    fn current(&self) -> Option<&Credential> {
        self.credentials.iter().find(|known| known.state == Current)
    }

    fn pending(&self) -> Option<&Credential> {
        self.credentials.iter().find(|known| known.state == Pending)
    }

    fn previous(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter().filter(|known| known.state == Previous)
    }
}
