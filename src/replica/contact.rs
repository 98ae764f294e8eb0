//! Doubt: whether this replica may still conclude that what it does not know does not exist. Pure but for the locked cell.
//!
//! Doubt is computed from the clocks at the moment of each request: a flag that a timer sets is stale after a freeze. A
//! request asks for its [`Standing`] first and loads the snapshot after, never the other way round.

use jiff::Timestamp;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Both clocks at one moment: the larger advance of the two counts, because each of them can stand still or be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_BOOTTIME`.
    pub boot: Duration,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// The time that has passed since `earlier`: the larger advance of the two clocks, never negative.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.boot.saturating_sub(earlier.boot).max(wall)
    }

    /// Whether this moment of the same process is later than `other`. By the clock that nobody can set: the wall clock may
    /// have been put back in between.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.boot > other.boot
    }
}

/// How far a replica may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In contact: a failed authentication is 401.
    Current,
    /// Accepts what it knows; a failed authentication is 503.
    Doubt,
    /// Out of contact for longer than `--max-stale`: issues nothing.
    Stale,
}

/// How long contact may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Doubt begins this long after the start of the last successful renewal: 10 s. Less than the 15 s after which the leader
    /// may drop a Lease that does not change.
    pub doubt: Duration,
    /// `--max-stale`, from the start of the last renewal that was made without doubt: 24 h.
    pub stale: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { doubt: Duration::from_secs(10), stale: Duration::from_secs(24 * 60 * 60) }
    }
}

/// Contact with the API server, shared by the heartbeat and the registry, which write it, and the requests, which read it.
/// In doubt until the first join is complete.
#[derive(Debug, Default)]
pub struct Contact {
    patience: Patience,
    record: Mutex<Record>,
}

impl Contact {
    /// A replica that was never in contact.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, record: Mutex::default() }
    }

    /// A renewal of this replica's Lease that started at `begun` has succeeded.
    pub fn renewed(&self, begun: Moment, now: Moment) {
        self.record().renewed(begun, now, self.patience);
    }

    /// The Lease is missing, or is not the one that this process made: doubt, whatever was renewed before.
    pub fn lease_lost(&self) {
        self.record().lease_lost();
    }

    /// Consistent lists of every kind, the earliest of them begun at `begun`, have replaced the snapshot.
    pub fn refreshed(&self, begun: Moment, now: Moment) {
        self.record().refreshed(begun, now, self.patience);
    }

    /// How far this replica may be believed at `now`. An answer of doubt stays until lists end it, also where a clock is put
    /// back.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        self.record().standing(now, self.patience)
    }

    /// While a renewal waits for lists that end the doubt: the moment that they must begin after.
    #[must_use]
    pub fn wants_lists_after(&self) -> Option<Moment> {
        self.record().regained
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered of contact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Record {
    /// Start of the last successful renewal of the Lease that this process holds.
    renewed: Option<Moment>,
    /// In doubt: when the first renewal of an unbroken row of them was known to have succeeded.
    regained: Option<Moment>,
    /// Whether a join or a recovery is complete and nothing has broken the row of renewals since.
    settled: bool,
    /// Start of the last renewal that was made without doubt.
    believed: Option<Moment>,
}

impl Record {
    fn renewed(&mut self, begun: Moment, now: Moment, patience: Patience) {
        self.expire(now, patience);
        self.renewed = Some(begun);
        self.expire(now, patience); // Its reply may have come too late to prove anything.
        if self.renewed.is_none() {
            return;
        }
        if self.settled {
            self.believed = Some(begun);
        } else if self.regained.is_none() {
            self.regained = Some(now);
        }
    }

    fn lease_lost(&mut self) {
        self.renewed = None;
        self.regained = None;
        self.settled = false;
    }

    fn refreshed(&mut self, begun: Moment, now: Moment, patience: Patience) {
        self.expire(now, patience);
        if self.regained.is_some_and(|regained| begun.is_after(regained)) {
            self.settled = true;
            self.regained = None;
            self.believed = self.renewed;
        }
    }

    /// Forgets what is no longer worth anything: had a request asked just now, it would have been answered with doubt.
    fn expire(&mut self, now: Moment, patience: Patience) {
        if self.renewed.is_none_or(|renewed| now.since(renewed) > patience.doubt) {
            self.lease_lost();
        }
    }

    fn standing(&mut self, now: Moment, patience: Patience) -> Standing {
        if self.believed.is_some_and(|believed| now.since(believed) > patience.stale) {
            return Standing::Stale;
        }
        self.expire(now, patience);
        if self.settled { Standing::Current } else { Standing::Doubt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Current, Doubt, Stale};
    use jiff::SignedDuration;
    use proptest::prelude::*;

    /// Both clocks, in milliseconds since an arbitrary start.
    fn at(boot: u64, wall: i64) -> Moment {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        Moment { boot: Duration::from_millis(1_000_000 + boot), wall: start + SignedDuration::from_millis(wall) }
    }

    fn second(boot: u64) -> Moment {
        at(boot * 1000, i64::try_from(boot).unwrap() * 1000)
    }

    /// Joined at 0 s: renewal 0 to 1 s, lists 2 to 3 s.
    fn joined() -> Contact {
        let contact = Contact::default();
        contact.renewed(second(0), second(1));
        contact.refreshed(second(2), second(3));
        contact
    }

    #[test]
    fn a_replica_that_never_joined_is_in_doubt() {
        let contact = Contact::default();
        assert_eq!(contact.standing(second(0)), Doubt);
        contact.refreshed(second(1), second(2));
        assert_eq!(contact.standing(second(2)), Doubt, "lists without a Lease prove nothing");
    }

    #[test]
    fn doubt_begins_ten_seconds_after_the_start_of_the_last_renewal() {
        let contact = joined();
        assert_eq!(contact.standing(second(10)), Current);
        assert_eq!(contact.standing(at(10_001, 10_001)), Doubt);
        let contact = joined();
        contact.renewed(second(8), second(9));
        assert_eq!(contact.standing(second(18)), Current);
        assert_eq!(contact.standing(second(19)), Doubt);
    }

    #[test]
    fn the_larger_advance_of_the_two_clocks_counts() {
        assert_eq!(joined().standing(at(4_000, 11_000)), Doubt, "the machine was frozen and its boot clock stood still");
        assert_eq!(joined().standing(at(11_000, 4_000)), Doubt, "the wall clock was put back");
        assert_eq!(joined().standing(at(4_000, -3_600_000)), Current);
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_end_a_doubt_that_was_answered() {
        let contact = joined();
        assert_eq!(contact.standing(at(4_000, 300_000)), Doubt);
        assert_eq!(contact.standing(at(5_000, 5_000)), Doubt);
    }

    #[test]
    fn a_renewal_alone_never_ends_doubt() {
        let contact = joined();
        contact.renewed(second(12), second(13));
        assert_eq!(contact.standing(second(13)), Doubt, "nobody asked in between, and still it was in doubt from 10 s to 13 s");
        contact.renewed(second(14), second(15));
        assert_eq!(contact.standing(second(15)), Doubt);
        assert_eq!(contact.wants_lists_after(), Some(second(13)));
    }

    #[test]
    fn lists_end_doubt_only_when_begun_after_the_renewal_succeeded() {
        let contact = joined();
        contact.renewed(second(12), second(13));
        contact.refreshed(second(12), second(14));
        assert_eq!(contact.standing(second(14)), Doubt, "begun before");
        contact.refreshed(second(13), second(14));
        assert_eq!(contact.standing(second(14)), Doubt, "not known to be begun after");
        contact.refreshed(at(13_001, 13_001), second(15));
        assert_eq!(contact.standing(second(15)), Current);
        assert_eq!(contact.wants_lists_after(), None);
    }

    #[test]
    fn lists_end_doubt_only_while_the_renewal_is_younger_than_ten_seconds() {
        let contact = joined();
        contact.renewed(second(12), second(13));
        contact.refreshed(second(14), second(23));
        assert_eq!(contact.standing(second(23)), Doubt);
        contact.renewed(second(23), second(24));
        assert_eq!(contact.standing(second(24)), Doubt, "those lists are older than the row of renewals that begins here");
    }

    #[test]
    fn slow_lists_end_doubt_while_renewals_go_on_beside_them() {
        let contact = joined();
        for start in [12, 16, 20, 24] {
            contact.renewed(second(start), second(start + 1));
        }
        contact.refreshed(second(14), second(30));
        assert_eq!(contact.standing(second(30)), Current);
    }

    #[test]
    fn a_lost_lease_is_doubt_at_once_and_a_new_one_needs_new_lists() {
        let contact = joined();
        contact.lease_lost();
        assert_eq!(contact.standing(second(3)), Doubt);
        contact.renewed(second(4), second(5));
        contact.refreshed(second(3), second(6));
        assert_eq!(contact.standing(second(6)), Doubt);
        contact.refreshed(second(6), second(7));
        assert_eq!(contact.standing(second(7)), Current);
    }

    #[test]
    fn a_reply_that_comes_after_ten_seconds_proves_nothing() {
        let contact = joined();
        contact.renewed(second(8), second(19));
        contact.refreshed(second(20), second(21));
        assert_eq!(contact.standing(second(21)), Doubt);
    }

    #[test]
    fn after_max_stale_nothing_is_issued() {
        let contact = joined();
        assert_eq!(contact.standing(second(86_400)), Doubt);
        assert_eq!(contact.standing(second(86_401)), Stale);
        contact.renewed(second(86_402), second(86_402));
        assert_eq!(contact.standing(second(86_403)), Stale, "contact without a new list is no contact");
        contact.refreshed(second(86_403), second(86_404));
        assert_eq!(contact.standing(second(86_404)), Current);
    }

    /// What happens to a replica.
    #[derive(Debug, Clone)]
    enum Step {
        /// Boot clock and wall clock move; the wall clock may be set back.
        Pass { boot: u64, wall: i64 },
        /// A renewal starts.
        Renew,
        /// Its reply.
        Renewed { success: bool },
        /// Lists start.
        List,
        /// They have replaced the snapshot.
        Listed,
        /// The Lease is found missing.
        Lost,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u64..6_000).prop_map(|time| Step::Pass { boot: time, wall: i64::try_from(time).unwrap() }),
            1 => (0_u64..15_000, -60_000_i64..60_000).prop_map(|(boot, wall)| Step::Pass { boot, wall }),
            3 => Just(Step::Renew),
            3 => prop::bool::weighted(0.9).prop_map(|success| Step::Renewed { success }),
            3 => Just(Step::List),
            3 => Just(Step::Listed),
            1 => Just(Step::Lost),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// The law, told by the whole history instead of by a record: a replica is Current only if its last renewal that succeeded
    /// started at most 10 s ago by each clock, and some lists that are in use began after a renewal had succeeded since when no
    /// Lease was lost and no instant saw a renewal older than 10 s.
    #[derive(Default)]
    struct History {
        renewal: Option<Moment>,
        row: Option<Moment>,
        recovered: bool,
    }

    impl History {
        fn look(&mut self, now: Moment) {
            let limit = Duration::from_secs(10);
            let young = |renewal: Moment| {
                let wall = now.wall.duration_since(renewal.wall);
                now.boot - renewal.boot <= limit && wall <= SignedDuration::from_secs(10)
            };
            if !self.renewal.is_some_and(young) {
                *self = Self::default();
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_clocks_do_a_replica_is_current_only_within_an_unbroken_row_of_renewals(steps in steps()) {
            let (contact, mut history) = (Contact::default(), History::default());
            let (mut boot, mut wall) = (0_u64, 0_i64);
            let (mut renewing, mut listing) = (None, None);
            for step in steps {
                let now = at(boot, wall);
                match step {
                    Step::Pass { boot: more, wall: move_by } => {
                        boot += more + 1;
                        wall += move_by;
                    }
                    Step::Renew => renewing = Some(now),
                    Step::Renewed { success } => if let Some(begun) = renewing.take().filter(|_| success) {
                        contact.renewed(begun, now);
                        history.look(now);
                        history.renewal = Some(begun);
                        history.look(now);
                        if history.renewal.is_some() && history.row.is_none() {
                            history.row = Some(now);
                        }
                    },
                    Step::List => listing = Some(now),
                    Step::Listed => if let Some(begun) = listing.take() {
                        contact.refreshed(begun, now);
                        history.look(now);
                        history.recovered |= history.row.is_some_and(|row| begun.boot > row.boot);
                    },
                    Step::Lost => {
                        contact.lease_lost();
                        history = History::default();
                    }
                }
                let now = at(boot, wall);
                history.look(now);
                prop_assert_eq!(contact.standing(now) == Current, history.recovered, "at {:?}", now);
            }
        }
    }
}
