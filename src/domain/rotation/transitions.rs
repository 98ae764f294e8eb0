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
/// A lost Pending never gets an `acceptedUntil`: the process that lost its Lease may still publish it. `fresh` goes on with its
/// rehearsal.
#[must_use]
pub fn registered(
    credentials: &[Credential],
    fresh: Credential,
    evicted: Option<&CredentialId>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Credential> {
    let lost = credentials.iter().filter(|known| known.state == Pending).filter_map(|known| known.rehearsed_until).max();
    let fresh = Credential { state: Pending, rehearsed_until: fresh.rehearsed_until.max(lost), ..fresh };
    let kept = credentials.iter().filter(|known| Some(&known.id) != evicted).cloned();
    let demoted = kept.map(|known| if known.state == Pending { previous(known, rules, now) } else { known });
    demoted.chain([fresh]).collect()
}

/// `rehearsedUntil` of a new credential: whether its Register write echoes an order that asks for a rehearsal.
#[must_use]
pub fn rehearsed_until(ordered: bool, rules: &Rules, now: Timestamp) -> Option<Timestamp> {
    rules.rehearsal.filter(|_| ordered).map(|rehearsal| later(now, rehearsal))
}

/// The credentials after [`super::Step::Adopt`]: what the Secret holds is Current, `fresh` is Pending; nothing else was ever
/// registered under the digest key at hand.
#[must_use]
pub fn adopted(found: Credential, fresh: Credential) -> Vec<Credential> {
    vec![Credential { state: Current, ..found }, Credential { state: Pending, ..fresh }]
}

/// The credentials after [`super::Step::Promote`]: `id` is Current; every other Current or Pending one is Previous, and what
/// was Current gets the `acceptedUntil` that the rules ask for, with all that an earlier rehearsal kept.
#[must_use]
pub fn promoted(credentials: &[Credential], id: &CredentialId, rules: &Rules, now: Timestamp) -> Vec<Credential> {
    let rehearsal = rehearsal(credentials, id, now);
    let change = |known: &Credential| match (known.state, rehearsal) {
        _ if known.id == *id => {
            let rehearsed_until = known.rehearsed_until.max(rehearsal);
            Credential { state: Current, retire_after: None, accepted_until: None, rehearsed_until, ..known.clone() }
        }
        (Current, Some(until)) => rehearsed(known.clone(), until, rules, now),
        (Pending, _) => previous(known.clone(), rules, now),
        _ if is_replaced(known, rehearsal, now) => replaced(known.clone(), rules, now),
        _ => known.clone(),
    };
    credentials.iter().map(change).collect()
}

/// Those that get an `acceptedUntil` when `id` is promoted.
pub(super) fn cut<'c>(credentials: &'c [Credential], id: &CredentialId, rules: &Rules, now: Timestamp) -> Vec<&'c Credential> {
    let rehearsal = rehearsal(credentials, id, now);
    let longest = if rehearsal.is_some() { rules.longest_rehearsal } else { longest(rules) };
    let is_cut = |known: &&Credential| known.id != *id && longest.is_some() && is_replaced(known, rehearsal, now);
    credentials.iter().filter(is_cut).collect()
}

/// When the rehearsal ends that is on: `id` was published for it, or what it replaces, or the Pending one that took the place of
/// `id` when it was lost.
fn rehearsal(credentials: &[Credential], id: &CredentialId, now: Timestamp) -> Option<Timestamp> {
    let concerned = credentials.iter().filter(|known| known.id == *id || known.state != Previous);
    concerned.filter_map(|known| known.rehearsed_until).filter(|until| now < *until).max()
}

/// Whether a promotion replaces it: what was Current, and, but for a rehearsal, what a rehearsal kept that is over.
fn is_replaced(known: &Credential, rehearsal: Option<Timestamp>, now: Timestamp) -> bool {
    match known.state {
        Current => true,
        Previous => rehearsal.is_none() && known.rehearsed_until.is_some_and(|until| until <= now),
        Pending => false,
    }
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

/// How long replicas accept what was Current until now; `None`: until it is retired.
fn longest(rules: &Rules) -> Option<SignedDuration> {
    match rules.retirement {
        Retirement::AfterOverlap => Some(rules.overlap),
        Retirement::WhenUnused => rules.max_overlap.map(|longest| longest.max(rules.overlap)),
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
    let retire_after = Some(later(now, rules.overlap));
    Credential { state: Previous, retire_after, accepted_until: None, rehearsed_until: None, ..known }
}

/// Replaced for good. Who was refused from some time on stays so.
fn replaced(known: Credential, rules: &Rules, now: Timestamp) -> Credential {
    let until = longest(rules).map(|longest| later(now, longest));
    let accepted_until = [known.accepted_until, until].into_iter().flatten().min();
    Credential { accepted_until, ..previous(known, rules, now) }
}

/// Replaced in a rehearsal that ends at `until`.
fn rehearsed(known: Credential, until: Timestamp, rules: &Rules, now: Timestamp) -> Credential {
    let known = previous(known, rules, now);
    Credential {
        retire_after: known.retire_after.max(Some(until)),
        accepted_until: rules.longest_rehearsal.map(|longest| later(now, longest.max(rules.overlap))),
        rehearsed_until: Some(until),
        ..known
    }
}
