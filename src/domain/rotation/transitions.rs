//! What `status.credentials` and the fence hold after each step.

use super::{Retirement, Rules};
use crate::domain::credential::{
    Credential, CredentialId,
    CredentialState::{Current, Pending, Previous},
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// The credentials after [`super::Step::Register`]: `fresh` is Pending, a lost Pending is Previous, `evicted` is gone.
///
/// A lost Pending never gets an `acceptedUntil`: the process that lost its Lease may still publish it.
#[must_use]
pub fn registered(
    credentials: &[Credential],
    fresh: Credential,
    evicted: Option<&CredentialId>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Credential> {
    let kept = credentials.iter().filter(|known| Some(&known.id) != evicted).cloned();
    let demoted = kept.map(|known| if known.state == Pending { previous(known, rules, now) } else { known });
    demoted.chain([Credential { state: Pending, ..fresh }]).collect()
}

/// The credentials after [`super::Step::Adopt`]: what the Secret holds is Current, `fresh` is Pending; nothing else was ever
/// registered under the digest key at hand.
#[must_use]
pub fn adopted(found: Credential, fresh: Credential) -> Vec<Credential> {
    vec![Credential { state: Current, ..found }, Credential { state: Pending, ..fresh }]
}

/// The credentials after [`super::Step::Promote`]: `id` is Current; every other Current or Pending one is Previous, and what
/// was Current gets the `acceptedUntil` that the rules ask for.
#[must_use]
pub fn promoted(credentials: &[Credential], id: &CredentialId, rules: &Rules, now: Timestamp) -> Vec<Credential> {
    let change = |known: &Credential| match known.state {
        _ if known.id == *id => Credential { state: Current, retire_after: None, accepted_until: None, ..known.clone() },
        Current => Credential { accepted_until: accepted_until(rules, now), ..previous(known.clone(), rules, now) },
        Pending => previous(known.clone(), rules, now),
        Previous => known.clone(),
    };
    credentials.iter().map(change).collect()
}

/// The credentials after [`super::Step::Retire`].
#[must_use]
pub fn retired(credentials: &[Credential], id: &CredentialId) -> Vec<Credential> {
    credentials.iter().filter(|known| known.id != *id).cloned().collect()
}

/// The credentials after [`super::Step::Revoke`].
#[must_use]
pub fn revoked(credentials: &[Credential], rules: &Rules) -> Vec<Credential> {
    credentials.iter().filter(|known| !is_revoked(known, rules)).cloned().collect()
}

/// The fence that a write to the Secret carries: the ids that a live read of status, made before it, shows as not Pending.
///
/// Such an id never becomes Pending again, so whoever reads the Secret after that write finds it not Pending in status, and
/// whoever read the Secret before cannot patch it any more: nobody can publish it, but by a create that is already under way.
#[must_use]
pub fn fence(credentials: &[Credential]) -> BTreeSet<CredentialId> {
    credentials.iter().filter(|known| known.state != Pending).map(|known| known.id.clone()).collect()
}

/// `createdAt` of a new credential: max(now, `secretsIssuedBefore`, the newest `createdAt`), so that a slow clock cannot make
/// a fresh secret look old.
#[must_use]
pub fn created_at(credentials: &[Credential], rules: &Rules, now: Timestamp) -> Timestamp {
    credentials.iter().map(|known| known.created_at).chain(rules.secrets_issued_before).fold(now, Timestamp::max)
}

/// When replicas are to refuse what was Current until now; `None`: not before it is retired.
pub(super) fn accepted_until(rules: &Rules, now: Timestamp) -> Option<Timestamp> {
    match (rules.retirement, rules.max_overlap) {
        (Retirement::AfterOverlap, _) => Some(later(now, rules.overlap)),
        (Retirement::WhenUnused, Some(longest)) => Some(later(now, longest.max(rules.overlap))),
        (Retirement::WhenUnused, None) => None,
    }
}

pub(super) fn is_revoked(known: &Credential, rules: &Rules) -> bool {
    rules.secrets_issued_before.is_some_and(|before| known.created_at < before)
}

/// The end of time where the sum lies behind it: nothing goes early.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn previous(known: Credential, rules: &Rules, now: Timestamp) -> Credential {
    Credential { state: Previous, retire_after: Some(later(now, rules.overlap)), accepted_until: None, ..known }
}
