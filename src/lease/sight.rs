//! What a candidate has seen of the leader Lease, and what follows. Pure.

use k8s_openapi::api::coordination::v1::Lease;
use std::time::Duration;

/// The Lease, as it was last read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) holder: String,
    pub(super) transitions: i32,
    pub(super) duration: Duration,
    pub(super) uid: String,
    pub(super) version: String,
}

impl From<Lease> for Held {
    fn from(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            duration: Duration::from_secs(spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or_default()),
            uid: lease.metadata.uid.unwrap_or_default(),
            version: lease.metadata.resource_version.unwrap_or_default(),
        }
    }
}

/// What a candidate has seen of the Lease. Pure.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) lease: Option<Held>,
    /// When it had first been seen as it is, by `CLOCK_BOOTTIME`.
    pub(super) since: Duration,
}

/// What a candidate does after a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is none.
    Create,
    /// Its holder is gone.
    Take(Held),
    /// This process holds it.
    Renew,
    /// Somebody holds it, for this long unless it changes.
    Wait(Duration),
}

impl Seen {
    /// Notes what a look showed whose answer had been read at `completed`.
    pub(super) fn note(&mut self, lease: Option<Held>, completed: Duration) {
        if self.lease != lease {
            self.since = completed;
        }
        self.lease = lease;
    }

    /// What to do after a look that had begun at `begun`.
    pub(super) fn next(&self, identity: &str, begun: Duration, own: Duration) -> Next {
        let Some(lease) = &self.lease else { return Next::Create };
        let left = own.max(lease.duration).saturating_sub(begun.saturating_sub(self.since));
        if lease.holder == identity {
            return Next::Renew;
        }
        if lease.holder.is_empty() || left.is_zero() { Next::Take(lease.clone()) } else { Next::Wait(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn held(holder: &str, version: u64) -> Held {
        Held { holder: holder.to_owned(), transitions: 0, duration: LEASE, uid: "u".to_owned(), version: version.to_string() }
    }

    fn second(time: u64) -> Duration {
        Duration::from_secs(time)
    }

    #[test]
    fn a_free_lease_is_taken_at_once_and_a_missing_one_made() {
        let mut seen = Seen::default();
        assert_eq!(seen.next("a", second(1), LEASE), Next::Create);
        seen.note(Some(held("", 1)), second(1));
        assert_eq!(seen.next("a", second(1), LEASE), Next::Take(held("", 1)));
    }

    #[test]
    fn a_lease_that_is_found_to_be_its_own_after_a_lost_reply_is_kept() {
        let mut seen = Seen::default();
        seen.note(Some(held("a", 5)), second(1));
        assert_eq!(seen.next("a", second(60), LEASE), Next::Renew);
    }

    #[test]
    fn a_lease_of_somebody_else_is_taken_ten_seconds_after_its_last_change_was_seen() {
        let mut seen = Seen::default();
        seen.note(Some(held("b", 1)), second(100));
        seen.note(Some(held("b", 2)), second(101));
        seen.note(Some(held("b", 2)), second(105));
        assert_eq!(seen.next("a", second(105), LEASE), Next::Wait(second(6)));
        assert_eq!(seen.next("a", second(111), LEASE), Next::Take(held("b", 2)));
    }

    #[test]
    fn a_holder_that_asks_for_longer_gets_it() {
        let mut seen = Seen::default();
        seen.note(Some(Held { duration: second(30), ..held("b", 1) }), second(100));
        assert_eq!(seen.next("a", second(120), LEASE), Next::Wait(second(10)));
    }

    #[test]
    fn a_freeze_of_the_candidate_proves_no_silence_of_the_holder() {
        let mut seen = Seen::default();
        seen.note(Some(held("b", 1)), second(160)); // Asked at 100 s, frozen, read at 160 s.
        assert_eq!(seen.next("a", second(161), LEASE), Next::Wait(second(9)));
    }

    proptest! {
        /// Two processes never lead at the same time, whatever the delays of requests, if clocks run at one speed: the taker
        /// waits 10 s from a look that showed the last renewal, the holder stops 7 s after that renewal started.
        #[test]
        fn a_lease_is_taken_only_after_its_holder_has_stopped(
            renewals in prop::collection::vec((2_000_u64..9_000, 0_u64..3_000, 0_u64..3_000), 1..8),
            looks in prop::collection::vec((500_u64..2_000, 0_u64..3_000, 0_u64..3_000), 5..40),
        ) {
            let mut history = vec![(0, 0, 0)]; // (commit, start, reply read)
            for (pause, commit, reply) in renewals {
                let begun = history.last().map_or(0, |last| last.2) + pause;
                history.push((begun + commit, begun, begun + commit + reply));
            }
            let (mut seen, mut time) = (Seen::default(), 0);
            for (pause, snapshot, answer) in looks {
                let (begun, taken) = (time + pause, time + pause + snapshot);
                let version = history.iter().filter(|(commit, ..)| *commit <= taken).count() as u64;
                seen.note(Some(held("b", version)), Duration::from_millis(taken + answer));
                if matches!(seen.next("a", Duration::from_millis(begun), LEASE), Next::Take(_)) {
                    // The write succeeds at its commit, if nothing was committed since: all that the holder knows is this.
                    let last = history.iter().filter(|(commit, ..)| *commit <= taken).map(|(_, begun, _)| *begun).max().unwrap();
                    prop_assert!(taken + answer >= last + 7_000);
                    return Ok(());
                }
                time = taken + answer;
            }
        }
    }
}
