//! The laws, and what has to be remembered of a history to tell whether it keeps them.
//!
//! What pods may rely on is told by values, not by steps: a value is *owed* while it is in the Secret, from the moment that
//! the operator published it or found it there again (it is Current), and for the overlap after the Secret stopped holding it.
//! An owed value is registered, and every replica that is not in doubt accepts it. That is L2, and L7 and the second half of L6
//! with it: whether the gate counts a replica or not, it answers no 401 to an owed value.
//!
//! What a rehearsal replaced is owed until the rehearsal's end, and after it for as long as it is in use: L8. Only the next rotation
//! after that end takes this from it, what is revoked, a heal without room, and the platform's bound.
//!
//! Not owed, as `rotation.md` bounds the promise or as this model found it:
//! - what was revoked;
//! - what had to make room for a heal, from then on, and what a create brings back after that;
//! - what a create publishes while there is no Secret, if it was under way for longer than the overlap, or it and the Register
//!   that gave its value up were together;
//! - a value that a user restored before any leader noticed it, or that was published after another leader had given it up and
//!   was overwritten by a user before any leader noticed it, beyond the `retireAfter` that it has;
//! - a value that the Secret stopped holding while a Register or Promote that makes it Previous was under way, beyond the
//!   overlap counted from when that write was sent;
//! - past its `acceptedUntil`, a value that has one and is put into the Secret by a user, or by a create under way;
//! - a value that a user restored when its `acceptedUntil` was about to pass.

use crate::{
    leader::{Config, Request},
    server::{Client, FOREIGN, Known, Number, Numbers, Server, Write},
};
use keywright::domain::{
    credential::{
        CredentialState::{Current, Pending, Previous},
        MAX_CREDENTIALS,
    },
    rotation::{Cause, Retirement, Step},
};

/// A law that does not hold, told.
pub type Broken = String;

/// What is stored before and after a write.
pub struct Change<'a> {
    pub before: &'a Server,
    pub after: &'a Server,
    pub config: &'a Config,
    pub now: i64,
}

/// How long a value is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owed {
    /// While the Secret holds it.
    Live,
    Until(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Laws {
    /// By value; sorted.
    owed: Vec<(Number, Owed)>,
    /// Whether a user or a create put into the Secret what it holds: no fence can keep them from it.
    unfenced: bool,
    not_pending: Numbers,
    gone: Numbers,
    /// Values that had to make room for a heal.
    evicted: Numbers,
    /// Lost Pending values, and for how long the write that gave them up was under way.
    given_up: Vec<(Number, i64)>,
    /// The order that was served last.
    served: Option<u8>,
    /// Values that became Current without a gate: replicas know them when their watch brings them.
    ungated: Numbers,
    /// Credentials that were registered for a rehearsal, and its end.
    rehearsing: Vec<(Number, i64)>,
    /// Values that were replaced in a rehearsal.
    kept: Vec<Kept>,
}

/// A value that was replaced in a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kept {
    value: Number,
    /// When it was replaced.
    since: i64,
    /// The end of the rehearsal.
    until: i64,
}

impl Laws {
    /// The values that every replica owes now.
    pub fn accepted_everywhere(&self, server: &Server, config: &Config, now: i64) -> Vec<Number> {
        let mut owed = self.owed(server, config, now);
        owed.retain(|value| !self.ungated.contains(*value));
        owed
    }

    /// The values that are owed now.
    fn owed(&self, server: &Server, config: &Config, now: i64) -> Vec<Number> {
        let owed = |(value, owed): &(Number, Owed)| match owed {
            Owed::Live => self
                .unfenced
                .then(|| server.client.with_value(*value))
                .flatten()
                .and_then(|known| known.accepted_until)
                .is_none_or(|until| now < until - config.skew),
            Owed::Until(until) => now < until - config.skew,
        };
        let kept = self.kept.iter().filter(|kept| now < kept.end(config)).map(|kept| kept.value);
        self.owed.iter().filter(|entry| owed(entry)).map(|(value, _)| *value).chain(kept).collect()
    }

    /// Every owed value is registered.
    pub fn check(&self, server: &Server, config: &Config, now: i64) -> Result<(), Broken> {
        for value in self.owed(server, config, now) {
            match server.client.with_value(value) {
                None => return Err(format!("L2: value {value} is owed and not registered")),
                Some(known) if known.accepted_until.is_some_and(|until| until <= now) => {
                    return Err(format!("L2: value {value} is owed and past its acceptedUntil"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Time has passed: what is owed no longer is forgotten, so that the explorer meets fewer states.
    pub fn forget(&mut self, now: i64) {
        self.owed.retain(|(_, owed)| !matches!(owed, Owed::Until(until) if *until <= now));
    }

    /// Without what makes no difference: the order of what was given up.
    pub fn canonical(&mut self) {
        self.given_up.sort_unstable();
        self.given_up.dedup();
    }

    /// The operator has written.
    pub fn written(&mut self, change: &Change, request: &Request) -> Result<(), Broken> {
        match &request.write {
            Write::Status { .. } => self.registered(change, request)?,
            Write::Create { .. } | Write::Patch { .. } => {
                self.stored(change, Some(request));
                self.published(change, request)?;
            }
        }
        self.revoked(&change.after.client);
        Ok(())
    }

    /// The Secret holds something else, or is gone. `request`: the operator's; else a user did it.
    pub fn stored(&mut self, change: &Change, request: Option<&Request>) {
        let value = |server: &Server| server.secret.map(|secret| secret.value);
        if let Some(held) = value(change.before).filter(|held| Some(*held) != value(change.after)) {
            self.replaced(held, change, request);
        }
        if request.is_none_or(|request| request.step != Step::Fence) {
            self.unfenced = request.is_none_or(|request| matches!(request.write, Write::Create { .. }));
        }
        self.hold(change);
        self.revoked(&change.after.client);
    }

    fn replaced(&mut self, value: Number, change: &Change, request: Option<&Request>) {
        let noticed = request.is_some_and(|request| {
            let seen = request.saw.with_value(value);
            seen.is_some_and(|seen| seen.state == Previous && accepted(seen, request.sent_at))
        });
        let live = self.owed.contains(&(value, Owed::Live));
        let until = match change.after.client.with_value(value) {
            Some(known) if known.state == Previous && !noticed => known.retire_after.filter(|_| live),
            Some(_) if live || noticed => Some(change.now + change.config.overlap()),
            _ => None,
        };
        let earlier = self.owed.iter().find_map(|(owed, until)| match until {
            Owed::Until(until) if *owed == value => Some(*until),
            _ => None,
        });
        self.owe(value, until.max(earlier).map(Owed::Until));
    }

    /// L6: nothing is published that is not accepted.
    fn published(&mut self, change: &Change, request: &Request) -> Result<(), Broken> {
        let Step::Publish(id) = &request.step else { return Ok(()) };
        let (value, client, config) = (crate::server::number(id), &change.after.client, change.config);
        let given_up = self.given_up.iter().find(|(known, _)| *known == value).map_or(0, |(_, delay)| *delay);
        let frozen = change.now - request.sent_at + given_up >= config.overlap() - 2 * config.skew;
        let late_create = change.before.secret.is_none() && (self.evicted.contains(value) || frozen);
        let revoked = request.saw.numbered(value).is_some_and(|known| is_revoked(known, client));
        match client.with_value(value) {
            _ if late_create || revoked => {}
            Some(known) if accepted(known, change.now) => self.owe(value, Some(Owed::Live)),
            found => return Err(format!("L6: value {value} is published and not accepted: {found:?}")),
        }
        Ok(())
    }

    fn registered(&mut self, change: &Change, request: &Request) -> Result<(), Broken> {
        match &request.step {
            Step::Register { evicted: Some(id), cause } => {
                if !matches!(cause, Cause::First | Cause::SecretMissing | Cause::ValueUnknown) {
                    return Err(format!("L2: something is evicted for a rotation that could wait: {cause:?}"));
                }
                self.evict(&change.before.client, crate::server::number(id), request.sent_at)?;
            }
            Step::Register { cause: Cause::Ordered, .. } => {
                let order = Some(change.before.client.order);
                if std::mem::replace(&mut self.served, order) == order {
                    return Err("L1: one order, two rotations".to_owned());
                }
            }
            Step::Register { .. } => self.found(change)?,
            Step::Promote(id) => {
                self.reopened(change, request, crate::server::number(id));
                self.rehearsed(&change.before.client, crate::server::number(id), request.sent_at);
            }
            Step::Adopt => {
                let adopted = change.after.client.known().iter().filter(|known| known.state == Current);
                adopted.for_each(|known| self.ungated.insert(known.value));
            }
            _ => {}
        }
        self.shape(&change.before.client, &change.after.client)?;
        self.rehearses(change, request.sent_at);
        self.demoted(change, request);
        self.hold(change);
        Ok(())
    }

    /// F19: what an earlier installation left in the Secret is not given up unseen. Where nobody but it ever wrote the Secret.
    fn found(&self, change: &Change) -> Result<(), Broken> {
        let Server { client, secret, secret_version } = change.before;
        let found = secret.filter(|secret| secret.value != FOREIGN && *secret_version == 1);
        match found.filter(|_| client.credentials.is_none() && client.revoked_before.is_none()) {
            Some(secret) => Err(format!("L2: value {} of an earlier installation is given up", secret.value)),
            None => Ok(()),
        }
    }

    /// A credential is registered for the rehearsal that was ordered, or for that of the lost Pending one whose place it takes.
    fn rehearses(&mut self, change: &Change, now: i64) {
        let (before, after) = (&change.before.client, &change.after.client);
        let fresh = after.known().iter().find(|known| known.state == Pending && before.numbered(known.number).is_none());
        let Some(fresh) = fresh else { return };
        let ordered = before.rehearse.filter(|_| before.order != before.handled).map(|rehearse| now + i64::from(rehearse));
        let lost = before.known().iter().find(|known| known.state == Pending).and_then(|lost| self.rehearsal(lost.number));
        self.rehearsing.extend(ordered.max(lost).map(|until| (fresh.number, until)));
    }

    fn rehearsal(&self, number: Number) -> Option<i64> {
        self.rehearsing.iter().find(|(known, _)| *known == number).map(|(_, until)| *until)
    }

    /// What was Current is replaced: in a rehearsal, or for good, and with it what earlier ones kept that are over.
    fn rehearsed(&mut self, before: &Client, number: Number, now: i64) {
        match self.rehearsal(number).filter(|until| now < *until) {
            Some(until) => {
                let replaced = before.known().iter().find(|known| known.state == Current && known.number != number);
                let Some(value) = replaced.map(|known| known.value) else { return };
                self.kept.retain(|kept| kept.value != value);
                self.kept.push(Kept { value, since: now, until });
            }
            None => self.kept.retain(|kept| now < kept.until),
        }
    }

    /// L4, and the first half of L6.
    fn shape(&mut self, before: &Client, after: &Client) -> Result<(), Broken> {
        let known = after.known();
        let count = |state| known.iter().filter(|known| known.state == state).count();
        if count(Current) > 1 || count(Pending) > 1 || count(Pending) + count(Previous) >= MAX_CREDENTIALS {
            return Err(format!("L6: one Current, one Pending and eight others at most: {known:?}"));
        }
        for known in known {
            let pending_again = known.state == Pending && self.not_pending.contains(known.number);
            if self.gone.contains(known.number) || pending_again {
                return Err(format!("L4: credential {} returns", known.number));
            }
            if known.state != Pending {
                self.not_pending.insert(known.number);
            }
        }
        let gone = before.known().iter().filter(|known| after.numbered(known.number).is_none());
        gone.for_each(|known| self.gone.insert(known.number));
        Ok(())
    }

    /// Only a heal evicts, only where there is no room, and nothing in its overlap while anything is past it.
    fn evict(&mut self, before: &Client, number: Number, now: i64) -> Result<(), Broken> {
        let known = before.known();
        let in_overlap = |known: &Known| known.retire_after.is_some_and(|after| after > now);
        let evicted = before.numbered(number).ok_or("L6: an unknown credential is evicted")?;
        let spared = known.iter().any(|other| other.state == Previous && !in_overlap(other));
        if known.iter().filter(|known| known.state != Current).count() + 1 < MAX_CREDENTIALS {
            return Err(format!("L2: credential {number} is evicted without need"));
        }
        if in_overlap(evicted) && spared {
            return Err(format!("L2: credential {number} is evicted in its overlap, another one was past it"));
        }
        self.owe(evicted.value, None);
        self.kept.retain(|kept| kept.value != evicted.value);
        self.evicted.insert(evicted.value);
        Ok(())
    }

    /// The overlap counts from when the write that demotes was sent, however long it was under way.
    fn demoted(&mut self, change: &Change, request: &Request) {
        for known in change.after.client.known().iter().filter(|known| known.state == Previous) {
            let was = change.before.client.numbered(known.number).map(|known| known.state);
            if was == Some(Pending) {
                self.given_up.push((known.value, change.now - request.sent_at));
            }
            let bound = request.sent_at + change.config.overlap();
            let owed = self.owed.iter_mut().filter(|(value, _)| *value == known.value && was != Some(Previous));
            owed.for_each(|(_, owed)| match owed {
                Owed::Until(until) => *until = bound.min(*until),
                Owed::Live => {}
            });
        }
    }

    /// A restored value whose `acceptedUntil` was about to pass is refused by some replicas until they see that it came back.
    fn reopened(&mut self, change: &Change, request: &Request, number: Number) {
        let until = change.before.client.numbered(number).and_then(|known| known.accepted_until);
        if until.is_some_and(|until| request.sent_at < until && change.now >= until - change.config.skew - LATENCY) {
            self.ungated.insert(number);
        }
    }

    /// The Secret holds the Current one: it is owed, whoever put it there.
    fn hold(&mut self, change: &Change) {
        let held = change.after.secret.map(|secret| secret.value).filter(|value| *value != FOREIGN);
        let known = held.and_then(|value| change.after.client.with_value(value));
        if let Some(known) = known.filter(|known| known.state == Current && accepted(known, change.now)) {
            self.owe(known.value, Some(Owed::Live));
        }
    }

    /// Everything made before that time is refused from now on.
    pub fn revoked(&mut self, client: &Client) {
        let is_revoked = |value| client.with_value(value).is_some_and(|known| is_revoked(known, client));
        self.owed.retain(|(value, _)| !is_revoked(*value));
        self.kept.retain(|kept| !is_revoked(kept.value));
    }

    fn owe(&mut self, value: Number, owed: Option<Owed>) {
        self.owed.retain(|(known, _)| *known != value);
        self.owed.extend(owed.filter(|_| !self.evicted.contains(value)).map(|owed| (value, owed)));
        self.owed.sort_by_key(|(value, _)| *value);
    }
}

impl Kept {
    /// Up to when it is owed, as far as the uses go that the model reports: with `WhenUnused` nobody uses what was replaced, else
    /// nobody knows.
    fn end(self, config: &Config) -> i64 {
        let unused = if config.rules.retirement == Retirement::WhenUnused { self.until } else { i64::MAX };
        let longest = config.rules.longest_rehearsal.map(|longest| self.since + i64::try_from(longest.as_millis()).unwrap_or(i64::MAX));
        unused.min(longest.unwrap_or(i64::MAX)) - config.skew
    }
}

/// A request may be under way for so long that a replica's clock passes an `acceptedUntil` meanwhile.
const LATENCY: i64 = 20_000;

fn is_revoked(known: &Known, client: &Client) -> bool {
    client.revoked_before.is_some_and(|before| known.created_at < before)
}

fn accepted(known: &Known, now: i64) -> bool {
    known.accepted_until.is_none_or(|until| now < until)
}
