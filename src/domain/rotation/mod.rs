//! How a secret changes without a failed request: the pure core.
//!
//! [`plan()`] looks at what is registered (`OAuthClient.status.credentials`) and at what the workload's Secret holds, and says
//! which single write comes next and when to look again. Nothing is remembered between two plans but the value of a Pending
//! credential.
//!
//! ```text
//! Register ─ status: a new Pending one; a lost Pending becomes Previous
//!   Gate   ─ every replica that may be serving has seen that write
//!     Publish ─ Secret: value, credential id and fence in one write
//!       Promote ─ status: what the Secret holds is Current, every other one Previous
//!         Retire ─ status: a Previous one goes, once its time is over and the Secret's fence names it
//! ```
//!
//! What the shell (`controller`) owes the plan, for every step:
//! 1. plan on the caches; the step says which object it [writes](Step::writes);
//! 2. read that object live, then the other one live: the status first for Register, Adopt, Promote, Retire and Revoke, the
//!    Secret first for Publish and Fence. [`Stored::Present::holds`] is computed from these two reads, never from a cache;
//! 3. plan again on these two reads, and go on only where the plan says the same step;
//! 4. compute what is written from the same two reads ([`registered`], [`adopted`], [`promoted`], [`retired`], [`revoked`];
//!    [`fence`] for both writes of the Secret), and write once: POST where the Secret was missing, else a merge patch with the
//!    resourceVersion and the uid of the object that was read first;
//! 5. start over, whatever the reply was. 409, 404 and 422 mean that somebody else wrote; after a lost reply the write may have
//!    been made or may still be made, and the next reads show which: no step needs to know.
//!
//! Before Register and Adopt are sent, the drawn value is kept under its id, until the Lease is lost or a live read shows the
//! id as not Pending; that is what [`Slots::held`] says. Nothing else needs more than this loop.
//!
//! A rehearsal is a rotation that cuts nobody: what it replaces stays accepted until its end, and after it for as long as it is in
//! use. Its end is written down with the Pending credential, so that every leader knows of it, and with what it replaces, so that
//! no later rule forgets it. The next rotation after the end replaces that one as any other.
//!
//! The rules are those of the protocol in the design document `rotation.md`; each one answers a history in which a simpler
//! protocol failed a request, and has a test in `tests/rotation` that fails without it.

mod plan;
#[cfg(test)]
mod tests;
mod transitions;

pub use plan::plan;
use transitions::later;
pub use transitions::{adopted, created_at, fence, promoted, registered, rehearsed_until, retired, revoked};

use super::credential::{Credential, CredentialId};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// What `status.credentials` says.
#[derive(Debug, Clone)]
pub enum Register {
    /// The field was never written (not: is empty), or what it holds was made with a digest key that is lost (a live read of
    /// the key Secret, not a cache, says so).
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retirement {
    /// When the Current one was used and it was not, for long enough.
    WhenUnused,
    /// At the end of the overlap, when replicas refuse it too.
    AfterOverlap,
}

/// When a new credential is due without anybody asking: max(`createdAt` of the Current one, `since`) + `every`, or `watched_from`
/// where that is later, and `jitter` after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// `spec.rotation.every`.
    pub every: SignedDuration,
    /// When the client was first seen under this policy: turning it on rotates nothing at once.
    pub since: Timestamp,
    /// When this process began to lead: what is overdue then is spread by the jitter.
    pub watched_from: Timestamp,
    /// A part of an hour, always the same for one client: a hash of its UID.
    pub jitter: SignedDuration,
}

impl Schedule {
    /// When the successor of a Current credential is due, if nobody begins to lead meanwhile.
    #[must_use]
    pub fn due(&self, current: &Credential) -> Timestamp {
        later(later(current.created_at.max(self.since), self.every), self.jitter)
    }
}

/// What the spec and the installation ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How long a replaced credential stays accepted at least.
    pub overlap: SignedDuration,
    /// When it may go after that.
    pub retirement: Retirement,
    /// When a replaced credential is refused although it is in use; counted from its replacement, at least `overlap`.
    pub max_overlap: Option<SignedDuration>,
    /// `WhenUnused`: how long a credential must not have been used: max(1 h, 2 × token lifetime, longest gap between uses).
    pub quiet: SignedDuration,
    /// `None`: rotates only when somebody asks.
    pub schedule: Option<Schedule>,
    /// `spec.revocation.secretsIssuedBefore`: credentials older than this are refused at once.
    pub secrets_issued_before: Option<Timestamp>,
    /// What is ordered is a rehearsal, and takes so long: `keywright.dev/rehearse`.
    pub rehearsal: Option<SignedDuration>,
    /// When a credential that a rehearsal replaced is refused although it is in use: the platform's word, which no rehearsal
    /// gets around. Counted from its replacement, at least `overlap`.
    pub longest_rehearsal: Option<SignedDuration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            overlap: SignedDuration::from_hours(24),
            retirement: Retirement::WhenUnused,
            max_overlap: None,
            quiet: SignedDuration::from_hours(1),
            schedule: None,
            secrets_issued_before: None,
            rehearsal: None,
            longest_rehearsal: None,
        }
    }
}

/// All that [`plan()`] looks at.
#[derive(Debug, Clone)]
pub struct Slots {
    /// `status.credentials`.
    pub register: Register,
    /// The Secret.
    pub stored: Stored,
    /// The Pending credential whose value this process holds.
    pub held: Option<CredentialId>,
    /// Whether every replica that may be serving has seen the register write of [`Slots::held`]. Once true for an id, always.
    pub gate_passed: bool,
    /// Whether the annotation `keywright.dev/rotate` asks for a rotation that `status.lastHandledRotate` does not echo yet. Every
    /// Register write echoes the annotation of the object that it was planned on.
    pub ordered: bool,
    /// Up to when every replica has reported its uses (they are in `last_used_at`); `None`: a report is missing.
    pub uses_reported_until: Option<Timestamp>,
}

/// Why a new credential is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client has none yet.
    First,
    /// There is no Secret.
    SecretMissing,
    /// The Secret holds a value that is not registered, or no longer accepted.
    ValueUnknown,
    /// The value of the Pending one is not in this process's memory.
    PendingLost,
    /// Somebody asked for it.
    Ordered,
    /// The schedule.
    Due,
}

/// One write, or the wait for the gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// Status: draw a new credential and register it as Pending ([`registered`]).
    Register {
        /// Why.
        cause: Cause,
        /// The Previous one that has to make room for it before its time: a warning event.
        evicted: Option<CredentialId>,
    },
    /// Status: register the value that the Secret holds as Current, under an id drawn for it, and a new Pending one beside it
    /// ([`adopted`]; status was never written, or the digest key was lost). In one write, so that the rotation that follows cannot be forgotten.
    Adopt,
    /// No write: wait until every replica that may be serving has seen the Pending one.
    Gate(CredentialId),
    /// Secret: value, id and fence.
    Publish(CredentialId),
    /// Secret: the fence annotation alone, because the next step needs an id that is missing there.
    Fence,
    /// Status: this one is in the Secret, so it is Current; every other one Previous ([`promoted`]).
    Promote(CredentialId),
    /// Status: this Previous one is forgotten ([`retired`]).
    Retire(CredentialId),
    /// Status: those made before `secretsIssuedBefore` are forgotten ([`revoked`]).
    Revoke,
}

/// One of the two objects that a client's secret lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Object {
    /// `OAuthClient.status`.
    Status,
    /// The workload's Secret.
    Secret,
}

impl Step {
    /// The object that the step writes, and that is therefore read first; `None`: it writes nothing.
    #[must_use]
    pub fn writes(&self) -> Option<Object> {
        match self {
            Self::Register { .. } | Self::Adopt | Self::Promote(_) | Self::Retire(_) | Self::Revoke => Some(Object::Status),
            Self::Publish(_) | Self::Fence => Some(Object::Secret),
            Self::Gate(_) => None,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The next write; `None`: settled.
    pub step: Option<Step>,
    /// When a plan on the same input says something else; `None`: never, or there is a step.
    pub wake_at: Option<Timestamp>,
}
