//! How a key changes without a signature that somebody cannot verify: the pure core, for signing keys and for the self-signed CA.
//!
//! ```text
//! Prepare  ─ a new key is published (JWKS, ca.crt), and does not sign
//!   Gate     ─ every replica that may be serving publishes it: [`Step::Confirm`] notes since when
//!     Activate ─ after `ahead`, because verifiers cache: it signs, and the one before does not any more
//!       Gate     ─ no replica signs with the former one any more: [`Step::Confirm`] notes since when
//!         Remove   ─ after `keep`: the life of the last signature, and then as long as verifiers cache
//! ```
//!
//! It has the shape of [`super::rotation`] (state in, one write and a time out; laws as property tests) and is not the same function. A
//! client's secret lives in two objects that have to agree, its value dies with the process that drew it, and it is good from the
//! moment that replicas have seen it; four of the seven steps there (publish, promote, fence, adopt) exist for that. A key lives in
//! one object, whose resourceVersion orders all writers, is never lost with a process, and needs two waits in time and a second gate,
//! for which that plan has no place. Mapped onto it, publish and promote would have to mean one write, the Secret and its fence would
//! be made up, and both waits would stand outside of the plan.
//!
//! For a CA "publishes" means: has it in every `ca.crt`, and "signs with it": shows a certificate that it signed. A CA ends, and its key
//! can be lost while its certificate is in use: [`Key::signs_until`]. Only then does another one sign that was not published for `ahead`.
//!
//! What the shell (`keys::store`) owes the plan: read the object live, plan, write what the step says once, with the resourceVersion and
//! the uid that were read, start over. [`Slots::seen`] is true only of the very version that was read.

mod plan;
#[cfg(test)]
mod tests;
mod transitions;

pub use plan::plan;
pub use transitions::{activated, confirmed, removed, retired, revoked};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most keys of one line; an order waits where there are as many.
pub const MAX_KEYS_OF_A_LINE: usize = 6;

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Signs.
    Active,
    /// Published, does not sign yet.
    Prepared,
    /// Published, does not sign any more.
    Retired,
}

/// A key, without what is secret of it. Keys of one line (`L`: an algorithm) replace each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<L> {
    /// Its name, which follows from the key and so never returns with another one: `kid`, or the fingerprint of a certificate.
    pub id: String,
    /// What it replaces and is replaced by.
    pub line: L,
    /// Where it is in its life.
    pub stage: Stage,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when every replica that counts publishes it, as far as is known.
    pub published_at: Option<Timestamp>,
    /// When it last began to sign.
    pub activated_at: Option<Timestamp>,
    /// Retired: since when no replica that counts signs with it, as far as is known.
    pub unused_since: Option<Timestamp>,
    /// Active: from when on nobody could verify what it signs. That of a CA, or, where a CA's private key is lost, that of the last
    /// certificate that it signed. `None`: never.
    pub signs_until: Option<Timestamp>,
}

impl<L> Key<L> {
    /// One that is published from now on.
    #[must_use]
    pub fn prepared(id: String, line: L, now: Timestamp) -> Self {
        let (published_at, activated_at, unused_since, signs_until) = (None, None, None, None);
        Self { id, line, stage: Stage::Prepared, created_at: now, published_at, activated_at, unused_since, signs_until }
    }

    /// One that signs from now on.
    #[must_use]
    pub fn active(id: String, line: L, now: Timestamp) -> Self {
        Self { stage: Stage::Active, published_at: Some(now), activated_at: Some(now), ..Self::prepared(id, line, now) }
    }
}

/// Whether anything has to be signed by keys of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Yes.
    Needed,
    /// No, and as far as this process knows not since then.
    UnneededSince(Timestamp),
}

/// How long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From one activation to the next.
    pub every: SignedDuration,
    /// From the moment when every replica publishes a key to its first signature; a line is kept as long when nobody needs it.
    pub ahead: SignedDuration,
    /// From the moment when no replica signs with a key any more to its removal.
    pub keep: SignedDuration,
}

/// All that [`plan()`] looks at.
#[derive(Debug, Clone)]
pub struct Slots<L> {
    /// The keys.
    pub keys: Vec<Key<L>>,
    /// The lines; one that is not named here is as good as needed, and gets no new key.
    pub needs: BTreeMap<L, Need>,
    /// Whether the annotation `keywright.dev/rotate` asks for new keys and is not echoed yet.
    pub ordered: bool,
    /// What the annotation `keywright.dev/revoke` names.
    pub revoked: BTreeSet<String>,
    /// Whether every replica that may be serving has seen the version that [`Slots::keys`] were read from.
    pub seen: bool,
}

/// Why a key is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is no key of its line that could sign.
    First,
    /// Somebody asked for it.
    Ordered,
    /// The schedule.
    Due,
}

/// One write, or the wait for the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<L> {
    /// These are dropped at once; where one of them signed, another one of its line does from now on, in the same write
    /// ([`revoked`]).
    Revoke(BTreeSet<String>),
    /// A new key for each of these lines. Echoes the order, if there is one.
    Prepare {
        /// The lines.
        lines: BTreeSet<L>,
        /// Why.
        cause: Cause,
    },
    /// An order that asks for nothing: what it wants is under way. Echoes it.
    Acknowledge,
    /// This one signs from now on, and no other one of its line ([`activated`]).
    Activate(String),
    /// This one does not sign any more, because nothing needs its line ([`retired`]).
    Retire(String),
    /// Notes that every replica has seen the keys as they are ([`confirmed`]).
    Confirm,
    /// These are not published any more ([`removed`]).
    Remove(BTreeSet<String>),
    /// No write: wait until every replica that may be serving has seen the keys as they are.
    Gate,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<L> {
    /// The next write, or a wait; `None`: settled.
    pub step: Option<Step<L>>,
    /// When a plan on the same input says something else; `None`: never, or there is a write.
    pub wake_at: Option<Timestamp>,
}

/// The end of time where the sum lies behind it: nothing goes early.
fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The beginning of time where the difference lies before it.
fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}
