//! What a feed has reached, and what that proves. Pure.

use super::{Pace, wire::Head};
use crate::replica::contact::Moment;
use std::{collections::VecDeque, time::Duration};

/// What becomes of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It replaces what is known.
    Accept,
    /// It is older than what is known, which stays.
    Refuse {
        /// What is known.
        reached: u64,
    },
}

/// A head that is older than what was known before it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backwards {
    pub(super) version: u64,
    pub(super) reached: u64,
}

/// Heads that are waited for at most; a watch that lags behind more than these is opened again long before.
const HEADS: usize = 8;
/// Lists that must agree on the past before it is believed.
const REFUSALS: u32 = 3;

/// What a feed has reached.
#[derive(Debug, Default)]
pub(super) struct Track {
    reached: Option<u64>,
    listed: Option<Moment>,
    heads: VecDeque<Head>,
    unseen: Option<(u64, Duration)>,
    refusals: Option<(Duration, u32)>,
}

impl Track {
    /// The version up to which everything is known.
    pub(super) fn reached(&self) -> Option<u64> {
        self.reached
    }

    /// Whether a list that begins after `wanted` is still to be made.
    pub(super) fn is_listed_after(&self, wanted: Moment) -> bool {
        self.listed.is_some_and(|listed| listed.is_after(wanted))
    }

    /// A consistent list that has been read. One that is older than what is known is refused: it would bring back what is
    /// gone. Where the lists stay older, etcd was restored, and what it says now is the truth.
    pub(super) fn listed(&mut self, version: u64, begun: Moment, now: Duration, pace: &Pace) -> Verdict {
        if let Some(reached) = self.reached.filter(|reached| version < *reached) {
            let (first, count) = self.refusals.unwrap_or((now, 0));
            if count + 1 < REFUSALS || now.saturating_sub(first) < pace.rewind {
                self.refusals = Some((first, count + 1));
                return Verdict::Refuse { reached };
            }
        }
        *self = Self { reached: Some(version), listed: Some(begun), ..Self::default() };
        Verdict::Accept
    }

    /// An event or a bookmark. Returns the start of the last head check that is now known to agree.
    pub(super) fn advance(&mut self, version: u64) -> Option<Moment> {
        let reached = self.reached.map_or(version, |reached| reached.max(version));
        self.reached = Some(reached);
        self.unseen = self.unseen.filter(|(object, _)| *object > reached);
        let agreed = self.heads.iter().rposition(|head| head.version <= reached)?;
        self.heads.drain(..=agreed).next_back().map(|head| head.begun)
    }

    /// The answer to a head check. Returns the start of the last one that is now known to agree.
    pub(super) fn head(&mut self, head: Head, now: Duration, pace: &Pace) -> Result<Option<Moment>, Backwards> {
        let Some(reached) = self.reached else { return Ok(None) };
        // A check that began before the last list says nothing about what came after it.
        if self.listed.is_some_and(|listed| !head.begun.is_after(listed)) {
            return Ok(None);
        }
        if head.version < head.known {
            return Err(Backwards { version: head.version, reached: head.known });
        }
        if let Some(object) = head.object.filter(|object| *object > reached)
            && self.unseen.is_none()
        {
            self.unseen = Some((object, now + pace.unseen));
        }
        if self.heads.len() == HEADS {
            self.heads.pop_front();
        }
        self.heads.push_back(head);
        Ok(self.advance(reached))
    }

    /// When the watch is to be given up because it has not shown an object that is known to be there.
    pub(super) fn overdue_at(&self) -> Option<Duration> {
        self.unseen.map(|(_, at)| at)
    }

    /// The watch is opened again: it gets its time once more.
    pub(super) fn reopened(&mut self) {
        self.unseen = None;
    }
}

/// How long the server has refused, and nothing else.
#[derive(Debug)]
pub(super) struct Lapse {
    patience: Duration,
    since: Option<Duration>,
}

impl Lapse {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: None }
    }

    /// A try was refused at `now`, or ended otherwise. Whether the refusal is to be believed.
    pub(super) fn tried(&mut self, refused: bool, now: Duration) -> bool {
        self.since = refused.then(|| self.since.unwrap_or(now));
        self.since.is_some_and(|since| now.saturating_sub(since) >= self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn at(boot: u64) -> Moment {
        Moment { boot: Duration::from_secs(boot), wall: Timestamp::UNIX_EPOCH }
    }

    fn second(time: u64) -> Duration {
        Duration::from_secs(time)
    }

    fn head(begun: u64, known: u64, version: u64, object: Option<u64>) -> Head {
        Head { begun: at(begun), known, version, object }
    }

    fn listed(version: u64) -> Track {
        let mut track = Track::default();
        assert_eq!(track.listed(version, at(1), second(1), &Pace::default()), Verdict::Accept);
        track
    }

    #[test]
    fn f9_the_snapshot_agrees_as_of_the_start_of_the_last_head_check_that_the_watch_has_reached() {
        let (mut track, pace) = (listed(100), Pace::default());
        assert_eq!(track.head(head(10, 100, 100, None), second(10), &pace), Ok(Some(at(10))));
        assert_eq!(track.head(head(20, 100, 150, None), second(20), &pace), Ok(None));
        assert_eq!(track.head(head(30, 100, 170, None), second(30), &pace), Ok(None));
        assert_eq!(track.advance(149), None);
        assert_eq!(track.advance(160), Some(at(20)));
        assert_eq!(track.advance(200), Some(at(30)));
        assert_eq!(track.advance(201), None);
    }

    #[test]
    fn f9_an_object_of_a_head_check_that_the_watch_does_not_show_within_fifteen_seconds_is_overdue() {
        let (mut track, pace) = (listed(100), Pace::default());
        track.head(head(10, 100, 150, Some(90)), second(10), &pace).unwrap();
        assert_eq!(track.overdue_at(), None, "the object is known; the head is that of other kinds");
        track.head(head(20, 100, 160, Some(155)), second(20), &pace).unwrap();
        track.head(head(30, 100, 180, Some(175)), second(30), &pace).unwrap();
        assert_eq!(track.overdue_at(), Some(second(35)), "since it was first missed");
        track.advance(154);
        assert_eq!(track.overdue_at(), Some(second(35)));
        track.advance(155);
        assert_eq!(track.overdue_at(), None);
    }

    #[test]
    fn a_head_check_that_began_before_the_last_list_says_nothing() {
        let (mut track, pace) = (listed(100), Pace::default());
        track.listed(200, at(10), second(10), &pace);
        assert_eq!(track.head(head(9, 100, 150, None), second(11), &pace), Ok(None));
    }

    #[test]
    fn a_head_older_than_what_was_known_before_it_is_told() {
        let (mut track, pace) = (listed(100), Pace::default());
        track.advance(140);
        let late = head(10, 100, 130, None);
        assert_eq!(track.head(late, second(10), &pace), Ok(Some(at(10))), "the watch was merely faster than the answer");
        assert_eq!(track.head(head(20, 140, 130, None), second(20), &pace), Err(Backwards { version: 130, reached: 140 }));
    }

    #[test]
    fn a_list_older_than_the_snapshot_is_refused_and_believed_only_if_it_stays_so() {
        let (mut track, pace) = (listed(100), Pace::default());
        assert_eq!(track.listed(60, at(20), second(20), &pace), Verdict::Refuse { reached: 100 });
        assert_eq!(track.listed(61, at(25), second(25), &pace), Verdict::Refuse { reached: 100 });
        assert_eq!(track.listed(62, at(29), second(29), &pace), Verdict::Refuse { reached: 100 });
        assert_eq!(track.listed(63, at(30), second(30), &pace), Verdict::Accept, "etcd was restored");
        assert_eq!(track.reached(), Some(63));
    }

    #[test]
    fn one_list_that_is_new_enough_clears_the_suspicion() {
        let (mut track, pace) = (listed(100), Pace::default());
        track.listed(60, at(20), second(20), &pace);
        track.listed(60, at(29), second(29), &pace);
        assert_eq!(track.listed(101, at(30), second(30), &pace), Verdict::Accept);
        assert_eq!(track.listed(60, at(31), second(31), &pace), Verdict::Refuse { reached: 101 });
        assert_eq!(track.listed(60, at(32), second(32), &pace), Verdict::Refuse { reached: 101 });
    }

    #[test]
    fn a_list_is_wanted_until_one_began_after() {
        let track = listed(100);
        assert!(track.is_listed_after(at(0)));
        assert!(!track.is_listed_after(at(1)));
    }

    #[test]
    fn a_refusal_is_believed_when_it_has_lasted_without_another_answer() {
        let mut lapse = Lapse::new(second(60));
        assert!(!lapse.tried(true, second(100)));
        assert!(!lapse.tried(true, second(159)));
        assert!(!lapse.tried(false, second(159)), "the server could not be reached, or answered");
        assert!(!lapse.tried(true, second(160)));
        assert!(!lapse.tried(true, second(219)));
        assert!(lapse.tried(true, second(220)));
        assert!(lapse.tried(true, second(225)), "until something else is answered");
    }
}
