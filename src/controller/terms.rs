//! When a client's secret changes: from what its spec asks for and what its status says to the rules of the plan; pure.

use crate::{
    api::{OAuthClientStatus, condition::whole_seconds, rotation::StoredSchedule},
    domain::{
        client::Client,
        credential::{Credential, CredentialState},
        duration,
        rotation::{Rules, Schedule},
    },
    policy::Rotation,
};
use jiff::{SignedDuration, Timestamp};

/// Where nothing else asks for more, a credential that was not used for so long is out of use.
const QUIET: SignedDuration = SignedDuration::from_hours(1);
/// How long a token is valid whose client asks for no other time.
const LIFETIME: SignedDuration = SignedDuration::from_mins(15);
/// What is due at the same time is spread over this.
const SPREAD: SignedDuration = SignedDuration::from_hours(1);

/// What a client asks for, and the place it asks from.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    rotation: Rotation,
    quiet: SignedDuration,
    jitter: SignedDuration,
    watched_from: Timestamp,
}

impl Terms {
    /// `watched_from`: when this process began to lead.
    pub(crate) fn new(rotation: Rotation, client: &Client, watched_from: Timestamp) -> Self {
        let lifetime = client.token_lifetime.unwrap_or(LIFETIME);
        let spread = rotation.every.map_or(SPREAD, |every| every.min(SPREAD));
        Self { quiet: QUIET.max(lifetime * 2), jitter: jitter(&client.uid, spread), rotation, watched_from }
    }

    /// How long a credential must not have been used, if the longest time between two of its uses was `gap`.
    pub(crate) fn quiet(&self, gap: SignedDuration) -> SignedDuration {
        self.quiet.max(gap)
    }

    /// What the plan goes by.
    pub(crate) fn rules(&self, status: Option<&OAuthClientStatus>, quiet: SignedDuration, now: Timestamp) -> Rules {
        Rules {
            overlap: self.rotation.overlap,
            retirement: self.rotation.retirement,
            max_overlap: self.rotation.max_overlap,
            quiet,
            schedule: self.in_force(status, now),
            secrets_issued_before: self.rotation.secrets_issued_before,
            rehearsal: self.rotation.rehearsal,
            longest_rehearsal: self.rotation.longest_rehearsal,
        }
    }

    /// `status.schedule`: another one than before is in force from now on.
    pub(crate) fn schedule(&self, status: Option<&OAuthClientStatus>, now: Timestamp) -> Option<StoredSchedule> {
        let every = duration::text(self.rotation.every?);
        let known = status.and_then(|status| status.schedule.as_ref());
        let known = known.filter(|known| known.every == every && known.since.parse::<Timestamp>().is_ok());
        Some(known.cloned().unwrap_or_else(|| StoredSchedule { every, since: whole_seconds(now) }))
    }

    /// `status.nextRotation`.
    pub(crate) fn next_rotation(&self, credentials: &[Credential], status: Option<&OAuthClientStatus>, now: Timestamp) -> Option<String> {
        let current = credentials.iter().find(|known| known.state == CredentialState::Current)?;
        self.in_force(status, now).map(|schedule| whole_seconds(schedule.due(current)))
    }

    fn in_force(&self, status: Option<&OAuthClientStatus>, now: Timestamp) -> Option<Schedule> {
        let since = self.schedule(status, now)?.since.parse().unwrap_or(now);
        Some(Schedule { every: self.rotation.every?, since, watched_from: self.watched_from, jitter: self.jitter })
    }
}

/// A part of `spread`, always the same for one client.
fn jitter(uid: &str, spread: SignedDuration) -> SignedDuration {
    // FNV-1a: spreads, and stays the same over versions of the compiler.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let seconds = u64::try_from(spread.as_secs()).unwrap_or_default().max(1);
    SignedDuration::from_secs(i64::try_from(hash % seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        client::SecretMethod,
        credential::{CredentialId, Digest},
        names::{ClientId, ObjectName},
        rotation::Retirement,
    };

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn terms(every: Option<SignedDuration>, uid: &str) -> Terms {
        let rotation = Rotation {
            every,
            overlap: DAY,
            retirement: Retirement::WhenUnused,
            max_overlap: None,
            secrets_issued_before: None,
            rehearsal: None,
            longest_rehearsal: None,
        };
        let client = Client {
            id: ClientId::parse("a.b").unwrap(),
            object: ObjectName::new("a", "b"),
            uid: uid.to_owned(),
            created_at: at(0),
            access: Vec::new(),
            secret_method: Some(SecretMethod::Any),
            private_key_jwt: None,
            service_accounts: Vec::new(),
            workloads: Vec::new(),
            tokens_issued_before: None,
            token_lifetime: Some(SignedDuration::from_hours(1)),
            disabled: false,
        };
        Terms::new(rotation, &client, at(0))
    }

    fn status(every: &str, since: &str) -> OAuthClientStatus {
        let schedule = Some(StoredSchedule { every: every.to_owned(), since: since.to_owned() });
        OAuthClientStatus { schedule, ..OAuthClientStatus::default() }
    }

    #[test]
    fn a_schedule_is_in_force_from_when_it_was_first_seen() {
        let monthly = terms(Some(DAY * 30), "u");
        let first = monthly.schedule(None, at(100)).unwrap();
        assert_eq!((first.every.as_str(), first.since.as_str()), ("30d", "1970-01-01T00:01:40Z"));
        let known = status("30d", "1970-01-01T00:01:40Z");
        assert_eq!(monthly.schedule(Some(&known), at(900)), Some(first));
        assert_eq!(monthly.rules(Some(&known), QUIET, at(900)).schedule.unwrap().since, at(100));
        for other in [status("90d", "1970-01-01T00:01:40Z"), status("30d", "long ago")] {
            assert_eq!(monthly.schedule(Some(&other), at(900)).unwrap().since, "1970-01-01T00:15:00Z");
        }
        assert_eq!(terms(None, "u").schedule(Some(&known), at(900)), None);
    }

    #[test]
    fn the_next_rotation_is_that_of_the_current_credential_under_this_schedule() {
        let digest = Digest { key: "k".into(), mac: [0; 32] };
        let (id, state) = (CredentialId::from_random([1; 16]), CredentialState::Current);
        let current = Credential {
            id,
            digest,
            state,
            created_at: at(50),
            retire_after: None,
            accepted_until: None,
            rehearsed_until: None,
            last_used_at: None,
        };
        let monthly = terms(Some(DAY * 30), "u");
        let next: Timestamp = monthly.next_rotation(&[current], None, at(100)).unwrap().parse().unwrap();
        assert_eq!(next, at(100) + DAY * 30 + monthly.jitter);
        assert_eq!(monthly.next_rotation(&[], None, at(100)), None);
    }

    #[test]
    fn jitter_is_a_part_of_an_hour_and_spreads_clients_evenly() {
        let of = |number: u32| terms(Some(DAY), &format!("3f2c7a10-0000-4000-8000-{number:012x}")).jitter;
        assert_eq!(of(7), of(7));
        let mut quarters = [0; 4];
        (0..4_000).for_each(|number| quarters[usize::try_from(of(number).as_secs() / 900).unwrap()] += 1);
        assert!(quarters.iter().all(|count| (800..1_200).contains(count)), "{quarters:?}");
        assert!(terms(Some(SignedDuration::from_mins(11)), "u").jitter < SignedDuration::from_mins(11));
    }

    #[test]
    fn quiet_is_an_hour_or_two_lifetimes_or_the_longest_gap() {
        let monthly = terms(Some(DAY), "u");
        assert_eq!(monthly.quiet(SignedDuration::ZERO), SignedDuration::from_hours(2));
        assert_eq!(monthly.quiet(DAY), DAY);
    }
}
