//! What a rehearsal has shown: whether whoever used the secret that it replaced uses the new one. Pure.

use super::verdict::Finding;
use crate::{
    api::{Condition, ConditionType, Reason, client::StoredCredential},
    domain::credential::{Credential, CredentialState},
};
use jiff::{SignedDuration, Timestamp};

/// What the replicas have reported of uses since a rehearsal began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    /// From when on they may be believed: the condition was written then for the first time, with what was replaced.
    pub(crate) since: Option<Timestamp>,
    /// Up to when all of them have reported; `None`: one has not.
    pub(crate) until: Option<Timestamp>,
    /// For how long what was replaced must not have been used.
    pub(crate) quiet: SignedDuration,
}

/// The credentials that a rehearsal replaced.
pub(crate) fn replaced(credentials: &[Credential]) -> Vec<&Credential> {
    credentials.iter().filter(|known| known.state == CredentialState::Previous && known.rehearsed_until.is_some()).collect()
}

/// The condition `RotationReady`; `None`: there is nothing that a rehearsal replaced. No time is in its words: each use would be a
/// write.
pub(crate) fn finding(credentials: &[Credential], observed: Observed) -> Option<Finding> {
    let replaced = replaced(credentials);
    let is_unused = |known: &&Credential| {
        let last = known.last_used_at.max(observed.since);
        last.and_then(|last| last.checked_add(observed.quiet).ok()) <= observed.until
    };
    let (since, current) = (observed.since, credentials.iter().find(|known| known.state == CredentialState::Current));
    if replaced.is_empty() {
        None
    } else if current.is_none_or(|current| current.last_used_at.is_none()) {
        Some(Finding::no(Reason::NotYetUsed, "nobody has used the new secret yet, as far as the replicas have reported"))
    } else if since.is_some() && observed.until.is_some() && replaced.iter().all(is_unused) {
        Some(all_moved())
    } else if replaced.iter().any(|known| known.last_used_at > since) {
        let message = "the secret that was replaced is still in use: `kubectl keywright status` says by whom";
        Some(Finding::no(Reason::PreviousInUse, message))
    } else {
        let message = "the new secret is in use; the one that it replaced was not used since, but not for long enough yet";
        Some(Finding::no(Reason::Observing, message))
    }
}

/// Nobody uses what was replaced any more.
pub(crate) fn all_moved() -> Finding {
    Finding::yes(Reason::AllMoved, "the new secret is in use, and no replica has seen the one that it replaced for long enough")
}

/// When what was replaced began to be observed, as the stored condition tells: it is False from the first write on.
pub(crate) fn observed_since(earlier: &[Condition], credentials: &[Credential]) -> Option<Timestamp> {
    let line = stored(earlier)?;
    let current = credentials.iter().find(|known| known.state == CredentialState::Current).map(|known| known.created_at);
    if line.status == "True" { current } else { line.last_transition_time.parse().ok() }
}

/// The condition as it is stored, where it still says something: until what was replaced is gone, and, once it is True, until the
/// next rotation.
pub(crate) fn remains(earlier: &[Condition], credentials: &[StoredCredential]) -> Option<Condition> {
    let is_on = credentials.iter().any(|known| known.state == "Previous" && known.rehearsed_until.is_some());
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let made = credentials.iter().find(|known| known.state == "Current").and_then(|current| time(&current.created_at));
    let holds = |line: &&Condition| is_on || line.status == "True" && made.is_some() && time(&line.last_transition_time) >= made;
    stored(earlier).filter(holds).cloned()
}

fn stored(earlier: &[Condition]) -> Option<&Condition> {
    earlier.iter().find(|line| line.type_ == ConditionType::RotationReady.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::{CredentialId, Digest};

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn known(number: u8, state: CredentialState, used: Option<i64>) -> Credential {
        let digest = Digest { key: "k".into(), mac: [0; 32] };
        let (retire_after, rehearsed_until) = (None, Some(at(1_440)));
        let (id, last_used_at) = (CredentialId::from_random([number; 16]), used.map(at));
        Credential { id, digest, state, created_at: at(0), retire_after, accepted_until: None, rehearsed_until, last_used_at }
    }

    fn said(used: [Option<i64>; 2], since: Option<i64>, until: Option<i64>) -> &'static str {
        let credentials = [known(1, CredentialState::Previous, used[0]), known(2, CredentialState::Current, used[1])];
        let observed = Observed { since: since.map(at), until: until.map(at), quiet: HOUR };
        let finding = finding(&credentials, observed).unwrap();
        assert_eq!(finding.holds, finding.reason == Reason::AllMoved);
        finding.reason.as_str()
    }

    #[test]
    fn all_have_moved_when_the_old_one_was_not_used_for_long_enough() {
        assert_eq!(said([None, None], Some(10), Some(200)), "NotYetUsed");
        assert_eq!(said([Some(5), Some(20)], None, Some(200)), "PreviousInUse", "the condition is not written yet");
        assert_eq!(said([Some(5), Some(20)], Some(10), Some(69)), "Observing");
        assert_eq!(said([Some(5), Some(20)], Some(10), None), "Observing", "a replica has not reported");
        assert_eq!(said([Some(5), Some(20)], Some(10), Some(70)), "AllMoved");
        assert_eq!(said([None, Some(20)], Some(10), Some(70)), "AllMoved");
        assert_eq!(said([Some(30), Some(20)], Some(10), Some(89)), "PreviousInUse");
        assert_eq!(said([Some(30), Some(20)], Some(10), Some(90)), "AllMoved");
    }

    #[test]
    fn an_ordinary_rotation_says_nothing() {
        let former = Credential { rehearsed_until: None, ..known(1, CredentialState::Previous, None) };
        let observed = Observed { since: None, until: None, quiet: HOUR };
        assert_eq!(finding(&[former, known(2, CredentialState::Current, Some(1))], observed), None);
    }

    #[test]
    fn what_was_shown_stays_until_the_next_rotation() {
        let line = |holds, minute| Condition::new(ConditionType::RotationReady, holds, Reason::AllMoved, "", at(minute));
        let current = |minute: i64| StoredCredential { state: "Current".into(), created_at: at(minute).to_string(), ..Default::default() };
        let kept = StoredCredential { state: "Previous".into(), rehearsed_until: Some(String::new()), ..Default::default() };
        assert!(remains(&[line(true, 5)], &[current(4)]).is_some());
        assert!(remains(&[line(true, 5)], &[current(6)]).is_none(), "rotated since");
        assert!(remains(&[line(false, 5)], &[current(4)]).is_none(), "what was replaced was revoked");
        assert!(remains(&[line(false, 5)], &[current(4), kept]).is_some());
        assert!(remains(&[], &[current(4)]).is_none());
    }

    #[test]
    fn it_is_observed_from_the_write_that_said_so_first() {
        let line = |holds| [Condition::new(ConditionType::RotationReady, holds, Reason::Observing, "", at(5))];
        let current = [known(2, CredentialState::Current, None)];
        assert_eq!(observed_since(&line(false), &current), Some(at(5)));
        assert_eq!(observed_since(&line(true), &current), Some(at(0)), "it was shown before");
        assert_eq!(observed_since(&[], &current), None);
    }
}
