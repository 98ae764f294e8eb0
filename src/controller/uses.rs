//! What the replicas report of the uses of credentials, as the leader believes it; pure.
//!
//! Nothing is known to be unused that a replica which has gone may have seen in use: from the moment when the leader misses one, and
//! from the moment when it begins to lead, a credential has to be unused for as long as ever.

use crate::{
    domain::{
        credential::{Credential, CredentialId, CredentialState},
        usage::Use,
    },
    replica::use_report::UseReport,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A report that is older says too little of now.
const FRESH: SignedDuration = SignedDuration::from_mins(20);
/// How much later than the stored one a use has to be to be worth a write, once the overlap is over.
const DAILY: SignedDuration = SignedDuration::from_hours(24);

/// The reports, and the replicas that are to report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    reports: BTreeMap<String, UseReport>,
    replicas: BTreeSet<String>,
    /// When a replica was last missed, or this process began to lead.
    complete_since: Timestamp,
}

impl Uses {
    /// Nothing is known yet, and nobody is missed.
    pub(crate) fn begin(now: Timestamp) -> Self {
        Self { complete_since: now, ..Self::default() }
    }

    /// The replicas that count now.
    pub(crate) fn count(&mut self, replicas: BTreeSet<String>, now: Timestamp) {
        if !self.replicas.is_subset(&replicas) {
            self.complete_since = now;
        }
        self.replicas = replicas;
    }

    pub(crate) fn report(&mut self, pod: String, report: UseReport) {
        self.reports.insert(pod, report);
    }

    pub(crate) fn forget(&mut self, pod: &str) {
        self.reports.remove(pod);
    }

    pub(crate) fn forget_all(&mut self) {
        self.reports.clear();
    }

    /// What is known of the uses of a credential.
    pub(crate) fn of(&self, id: &CredentialId) -> Option<Use> {
        self.reports.values().filter_map(|report| report.uses.get(id).copied()).reduce(Use::and)
    }

    /// The credentials with the last uses that are known.
    pub(crate) fn merged(&self, credentials: Vec<Credential>) -> Vec<Credential> {
        let merge = |known: Credential| {
            let reported = self.of(&known.id).map(|seen| seen.last);
            Credential { last_used_at: known.last_used_at.max(reported), ..known }
        };
        credentials.into_iter().map(merge).collect()
    }

    /// The longest time between two uses of one of these credentials.
    pub(crate) fn longest_gap(&self, credentials: &[Credential]) -> SignedDuration {
        credentials.iter().filter_map(|known| Some(self.of(&known.id)?.longest_gap)).max().unwrap_or_default()
    }

    /// Up to when every replica has reported all uses of those of these credentials that are past their overlap, if it did so for
    /// `quiet` before; `None`: it did not. A report from before the end of an overlap may come from a replica that has not yet heard
    /// of its beginning.
    pub(crate) fn reported_until(&self, credentials: &[Credential], quiet: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        let over: Vec<_> = credentials.iter().filter(|known| is_over(known, now)).collect();
        let until = self.covered_until(&over, quiet, now)?;
        over.iter().all(|known| known.retire_after <= Some(until)).then_some(until)
    }

    /// Up to when every replica has reported all that it knew of the uses of these credentials, if it did so for `quiet` before. A
    /// replica reports only what it knows to be replaced.
    pub(crate) fn covered_until(&self, credentials: &[&Credential], quiet: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        let reports = self.replicas.iter().map(|pod| self.reports.get(pod)).collect::<Option<Vec<_>>>()?;
        let until = reports.iter().map(|report| report.until).min()?;
        let since = reports.iter().map(|report| report.since).fold(self.complete_since, Timestamp::max);
        let all_covered = credentials.iter().all(|known| reports.iter().all(|report| report.covers(known)));
        (all_covered && now.duration_since(until) <= FRESH && until.duration_since(since) >= quiet).then_some(until)
    }
}

/// What is worth a write of its own; a normal rotation has one such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The Current one was used for the first time.
    SuccessorUsed,
    /// This one was used after the end of its overlap.
    StillInUse(CredentialId),
}

/// What the reports add to what is stored.
pub(crate) fn news(stored: &[Credential], merged: &[Credential], now: Timestamp) -> Option<News> {
    let of = |(before, after): (&Credential, &Credential)| match (after.state, before.last_used_at, after.last_used_at?) {
        (CredentialState::Current, None, _) => Some(News::SuccessorUsed),
        (CredentialState::Previous, before, last) if is_over(after, now) && Some(last) >= after.retire_after => {
            let told = before.filter(|before| Some(*before) >= after.retire_after);
            told.is_none_or(|told| last.duration_since(told) >= DAILY).then(|| News::StillInUse(after.id.clone()))
        }
        _ => None,
    };
    let mut all: Vec<News> = stored.iter().zip(merged).filter_map(of).collect();
    all.sort_by_key(|news| *news == News::SuccessorUsed);
    all.into_iter().next()
}

/// Whether a replaced credential is past its overlap.
fn is_over(known: &Credential, now: Timestamp) -> bool {
    known.state == CredentialState::Previous && known.retire_after.is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::Digest;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3_600).unwrap()
    }

    fn id(number: u8) -> CredentialId {
        CredentialId::from_random([number; 16])
    }

    fn known(number: u8, state: CredentialState, last: Option<i64>) -> Credential {
        let retire_after = (state == CredentialState::Previous).then(|| at(24));
        let digest = Digest { key: "k".into(), mac: [0; 32] };
        let last_used_at = last.map(at);
        Credential {
            id: id(number),
            digest,
            state,
            created_at: at(0),
            retire_after,
            accepted_until: None,
            rehearsed_until: None,
            last_used_at,
        }
    }

    fn report(since: i64, until: i64, uses: &[(u8, i64)]) -> UseReport {
        let seen = |hour| Use { last: at(hour), longest_gap: HOUR * 2, from: "10.0.0.1".parse().unwrap() };
        let uses = uses.iter().map(|(number, hour)| (id(*number), seen(*hour))).collect();
        UseReport { since: at(since), until: at(until), covers: None, uses }
    }

    fn two_replicas() -> Uses {
        let mut uses = Uses::begin(at(1));
        uses.count(["a", "b"].map(str::to_owned).into(), at(1));
        uses.report("a".to_owned(), report(2, 30, &[(1, 20), (2, 22)]));
        uses.report("b".to_owned(), report(3, 29, &[(1, 21)]));
        uses
    }

    fn overlapping() -> Vec<Credential> {
        vec![known(1, CredentialState::Previous, None), known(2, CredentialState::Current, Some(5))]
    }

    #[test]
    fn the_latest_use_that_anybody_saw_counts() {
        let merged = two_replicas().merged(overlapping());
        assert_eq!(merged.iter().map(|known| known.last_used_at).collect::<Vec<_>>(), [Some(at(21)), Some(at(22))]);
        assert_eq!(two_replicas().longest_gap(&overlapping()), HOUR * 2);
    }

    #[test]
    fn a_report_that_is_missing_too_old_or_too_young_keeps_everything() {
        let now = at(30);
        let until = |uses: &Uses, quiet| uses.reported_until(&overlapping(), HOUR * quiet, now);
        let mut uses = two_replicas();
        assert_eq!(until(&uses, 26), None, "the later of the two has not counted for so long, and is an hour old");
        uses.report("b".to_owned(), report(3, 30, &[]));
        assert_eq!(until(&uses, 27), Some(at(30)));
        assert_eq!(until(&uses, 28), None);
        uses.count(["a", "b", "c"].map(str::to_owned).into(), now);
        assert_eq!(until(&uses, 1), None, "a new one has not reported");
        uses.report("c".to_owned(), report(29, 30, &[]));
        assert_eq!(until(&uses, 1), Some(at(30)));
        assert_eq!(uses.reported_until(&overlapping(), HOUR, at(31)), None, "all are an hour old");
    }

    #[test]
    fn a_replica_that_is_missed_may_have_seen_a_use() {
        let mut uses = two_replicas();
        uses.report("b".to_owned(), report(3, 30, &[]));
        uses.count(["a"].map(str::to_owned).into(), at(30));
        assert_eq!(uses.reported_until(&overlapping(), HOUR, at(30)), None);
        uses.report("a".to_owned(), report(2, 31, &[]));
        assert_eq!(uses.reported_until(&overlapping(), HOUR, at(31)), Some(at(31)));
    }

    /// On overflow nothing is retired early.
    #[test]
    fn a_credential_that_a_full_report_leaves_out_is_not_known_to_be_unused() {
        let mut uses = two_replicas();
        for (covers, known) in [(25, true), (24, false)] {
            let full = UseReport { covers: Some(at(covers)), ..report(2, 30, &[]) };
            uses.report("b".to_owned(), full.clone());
            uses.report("a".to_owned(), full);
            assert_eq!(uses.reported_until(&overlapping(), HOUR, at(30)).is_some(), known);
        }
    }

    #[test]
    fn worth_a_write_is_the_first_use_of_the_new_one_and_a_late_one_of_the_old() {
        use CredentialState::{Current, Previous};
        let late = || Some(News::StillInUse(id(1)));
        for (state, before, after, now, expected) in [
            (Current, None, Some(1), 2, Some(News::SuccessorUsed)),
            (Current, Some(1), Some(20), 21, None),
            (Previous, None, Some(1), 2, None),
            (Previous, Some(1), Some(23), 23, None),
            (Previous, None, Some(23), 26, None),
            (Previous, Some(23), Some(24), 24, late()),
            (Previous, Some(24), Some(47), 47, None),
            (Previous, Some(24), Some(48), 48, late()),
        ] {
            let seen = news(&[known(1, state, before)], &[known(1, state, after)], at(now));
            assert_eq!(seen, expected, "{state:?} {before:?} {after:?} at {now}");
        }
    }

    /// F11: a replica that has not heard of the overlap would not count the uses in it.
    #[test]
    fn a_report_from_before_the_end_of_an_overlap_does_not_say_that_a_credential_is_unused() {
        let mut uses = two_replicas();
        uses.report("b".to_owned(), report(3, 30, &[]));
        let mut credentials = overlapping();
        assert!(uses.reported_until(&credentials, HOUR, at(30)).is_some());
        let half_past = SignedDuration::from_mins(10);
        credentials[0].retire_after = Some(at(30) + half_past);
        assert_eq!(uses.reported_until(&credentials, HOUR, at(30) + half_past), None);
    }
}
