//! A replica with its clocks: Lease, watch, lists and doubt. Doubt is computed by the real `Contact`.

use crate::{
    leader::Config,
    server::{Client, Known, Number},
    undone::Undone,
};
use keywright::replica::contact::{Contact, Moment, Patience, Standing};
use std::time::Duration;

/// A replica's Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub uid: u32,
    pub version: u32,
    pub joining: bool,
    /// The resourceVersion of the client that the replica reports.
    pub seen: u32,
}

pub struct Replica {
    pub running: bool,
    /// Whether it reaches the API server.
    pub reached: bool,
    /// Since when its pod is not Ready.
    pub unready_since: Option<i64>,
    pub skew: i64,
    /// For how long its monotonic clock stood still.
    pub suspended: i64,
    contact: Contact,
    /// The uid of the Lease that it made.
    lease: Option<u32>,
    pub snapshot: Option<Client>,
    renewal: Option<Renewal>,
    list: Option<(Moment, Client)>,
    /// When the last head check began that agreed with the snapshot.
    agreed: Option<Moment>,
    request: Option<OpenRequest>,
}

/// A write of the replica's Lease.
#[derive(Clone, Copy)]
struct Renewal {
    begun: Moment,
    lease: Lease,
    /// Whether it was stored; `None`: it has not arrived.
    reply: Option<bool>,
}

/// A request that was received, and not answered yet.
struct OpenRequest {
    value: Number,
    standing: Standing,
    /// Loaded too early, where the rule is undone.
    snapshot: Option<Option<Client>>,
}

/// What a request with a secret is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Token,
    Unauthorized,
    Unavailable,
}

impl Replica {
    pub fn new(now: i64) -> Self {
        Self {
            running: false,
            reached: true,
            unready_since: Some(now),
            skew: 0,
            suspended: 0,
            contact: Contact::new(Patience::default()),
            lease: None,
            snapshot: None,
            renewal: None,
            list: None,
            agreed: None,
            request: None,
        }
    }

    /// A new process; whatever it had in memory is gone.
    pub fn start(&mut self, now: i64) {
        let Self { reached, skew, suspended, unready_since, .. } = *self;
        *self = Self { running: true, reached, skew, suspended, unready_since, ..Self::new(now) };
    }

    fn moment(&self, now: i64, config: &Config) -> Moment {
        let (boot, wall) = (now - self.suspended, now + self.skew);
        let wall = if config.is(Undone::DoubtCountsWallClock) { boot } else { wall };
        let boot = if config.is(Undone::DoubtCountsBoottime) { wall } else { boot };
        Moment { boot: Duration::from_millis(u64::try_from(boot).unwrap()), wall: crate::server::time(wall) }
    }

    /// The request that makes, resets or renews the Lease leaves.
    pub fn begin_renewal(&mut self, lease: Option<Lease>, next: u32, now: i64, config: &Config) {
        let seen = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        let joining = self.lease.is_none() || self.snapshot.is_none();
        let joined_late = config.is(Undone::LeaseBeforeList) && self.snapshot.is_some();
        let kept = lease.filter(|_| self.lease.is_none() && config.is(Undone::LeaseIsReset));
        let lease = match kept {
            Some(kept) => Lease { version: next, ..kept },
            None if joining && !joined_late => Lease { uid: lease.map_or(next, |lease| lease.uid), version: next, joining, seen: 0 },
            None => Lease { uid: self.lease.unwrap_or(next), version: next, joining: false, seen },
        };
        self.renewal = self.renewal.or(Some(Renewal { begun: self.moment(now, config), lease, reply: None }));
    }

    /// It arrives, and is stored as that version.
    pub fn store_renewal(&mut self, stored: &mut Option<Lease>, version: u32, config: &Config) {
        let Some(renewal) = self.renewal.as_mut().filter(|renewal| self.reached && renewal.reply.is_none()) else { return };
        let lease = Lease { version, ..renewal.lease };
        let mine = self.lease.is_none() || stored.is_some_and(|stored| stored.uid == lease.uid) || config.is(Undone::MissingLeaseIsDoubt);
        if mine {
            *stored = Some(lease);
        }
        renewal.reply = Some(mine);
    }

    /// Its reply arrives, or the replica gives up waiting for it.
    pub fn end_renewal(&mut self, now: i64, answered: bool, config: &Config) {
        let Some(Renewal { begun, lease, reply }) = self.renewal.take() else { return };
        match reply.filter(|_| answered && self.reached) {
            Some(true) => self.renewed(begun, lease.uid, now, config),
            Some(false) => {
                self.contact.lease_lost();
                self.lease = None;
            }
            None => {}
        }
    }

    fn renewed(&mut self, begun: Moment, uid: u32, now: i64, config: &Config) {
        let end = self.moment(now, config);
        self.lease = Some(uid);
        self.contact.renewed(if config.is(Undone::DoubtCountsFromStart) { end } else { begun }, end);
        let listed_before = config.is(Undone::LeaseBeforeList) && self.snapshot.is_some();
        if listed_before || config.is(Undone::DoubtEndsByList) && self.snapshot.is_some() {
            self.contact.refreshed(self.moment(now + 1, config), self.moment(now + 1, config));
        }
    }

    pub fn begin_list(&mut self, head: &Client, older: &Client, now: i64, config: &Config) {
        let listed = if config.is(Undone::ListIsConsistent) { older } else { head };
        if self.reached {
            self.list = Some((self.moment(now, config), listed.clone()));
        }
    }

    pub fn end_list(&mut self, now: i64, config: &Config) {
        let Some((begun, client)) = self.list.take().filter(|_| self.reached) else { return };
        let newer = self.snapshot.as_ref().is_none_or(|snapshot| snapshot.version <= client.version);
        if newer || config.is(Undone::ListIsConsistent) {
            self.snapshot = Some(client);
        }
        self.agreed = Some(begun);
        let now = self.moment(now, config);
        self.contact.refreshed(if config.is(Undone::DoubtEndsByLaterList) { now } else { begun }, now);
    }

    /// The watch delivers all there is.
    pub fn watch(&mut self, head: &Client) {
        if self.reached && self.snapshot.is_some() {
            self.snapshot = Some(head.clone());
        }
    }

    pub fn check_head(&mut self, head: &Client, now: i64, config: &Config) {
        if self.reached && self.snapshot.as_ref().is_some_and(|snapshot| snapshot.version == head.version) {
            self.agreed = Some(self.moment(now, config));
        }
    }

    /// A request with that value, answered at this moment.
    pub fn answer(&self, value: Number, now: i64, config: &Config) -> Answer {
        match self.lookup(self.snapshot.as_ref(), value, now, config) {
            Answer::Unauthorized if self.standing(now, config) != Standing::Current => Answer::Unavailable,
            answer => answer,
        }
    }

    fn standing(&self, now: i64, config: &Config) -> Standing {
        let standing = self.contact.standing(self.moment(now, config));
        if config.is(Undone::DoubtRefusesNobody) { Standing::Current } else { standing }
    }

    /// A request is received: the clocks first.
    pub fn receive(&mut self, value: Number, now: i64, config: &Config) {
        let standing = self.standing(now, config);
        let snapshot = config.is(Undone::DoubtBeforeSnapshot).then(|| self.snapshot.clone());
        self.request = Some(OpenRequest { value, standing, snapshot });
    }

    /// It is answered, perhaps after a freeze: the snapshot second.
    pub fn respond(&mut self, now: i64, config: &Config) -> Option<(Number, Answer)> {
        let OpenRequest { value, standing, snapshot } = self.request.take()?;
        let early = snapshot.is_some();
        let standing = if early { self.standing(now, config) } else { standing };
        let snapshot = snapshot.unwrap_or_else(|| self.snapshot.clone());
        let answer = match self.lookup(snapshot.as_ref(), value, now, config) {
            Answer::Unauthorized if standing != Standing::Current => Answer::Unavailable,
            answer => answer,
        };
        Some((value, answer))
    }

    fn lookup(&self, snapshot: Option<&Client>, value: Number, now: i64, config: &Config) -> Answer {
        let known = snapshot.and_then(|snapshot| snapshot.with_value(value));
        let wall = now + self.skew;
        let obeyed = config.is(Undone::RetireAfterIsTheLeaders);
        let until = |known: &Known| known.accepted_until.or(known.retire_after.filter(|_| obeyed));
        match known.and_then(|known: &Known| until(known).map(|until| (known, until))) {
            None if known.is_some() => Answer::Token,
            Some((_, until)) if wall < until => Answer::Token,
            Some((_, until)) if !config.is(Undone::RefusalNeedsHeadCheck) && !self.agreed_after(until) => Answer::Unavailable,
            _ => Answer::Unauthorized,
        }
    }

    fn agreed_after(&self, until: i64) -> bool {
        self.agreed.is_some_and(|agreed| agreed.wall > crate::server::time(until))
    }
}
