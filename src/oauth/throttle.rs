//! How many failures, tokens and fruitless connections are too many (S14, S17, C20, G13). Pure but for the memory that it keeps; the time is handed in
//! as a monotonic [`Duration`].
//!
//! The secret is checked first, because that is cheap: who presents a right one never learns of the failures of others. Only then
//! failures are counted, per client id and address, whether there is such a client or not, so that 429 tells no more than 401.
//! The limits are those of one replica. They are kept as the generic cell rate algorithm does (ITU-T I.371): one number per
//! key, the time at which it will have used up nothing.

mod fruitless;
mod sketch;

pub use fruitless::Fruitless;
use sketch::Sketch;
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Revocations of one client.
const REVOCATIONS: Rate = Rate { interval: 6_000_000_000, tolerance: 60_000_000_000 };
/// Probes of one ServiceAccount, each of which asks the API server: six a minute.
const PROBES: Rate = Rate { interval: 10_000_000_000, tolerance: 60_000_000_000 };
/// Failures of one client id from one address that are answered at once.
pub const FAILURES: u32 = 20;
/// After those: one more each time this has passed.
pub const FAILURE_EVERY: Duration = Duration::from_secs(3);
/// The clients with a quota, in parts that are locked one at a time.
const SHARDS: usize = 64;

/// Whole seconds to wait, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub u32);

impl Wait {
    fn of(nanoseconds: u64) -> Self {
        Self(u32::try_from(nanoseconds.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1))
    }
}

/// So many at once, and one more each time an interval has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: u64,
    tolerance: u64,
}

impl Rate {
    /// `burst` at once, then one per `interval`.
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        let interval = nanoseconds(interval).max(1);
        Self { interval, tolerance: interval.saturating_mul(burst.max(1).into()) }
    }

    /// `burst` at once, then so many a second.
    #[must_use]
    pub fn per_second(burst: u32, count: u32) -> Self {
        Self::new(burst, Duration::from_secs(1) / count.max(1))
    }

    /// When a key will have used up nothing, after one more; `clear_at` is when it would have without.
    fn after_one_more(self, clear_at: u64, now: u64) -> Result<u64, Wait> {
        let next = clear_at.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.tolerance);
        if next > latest { Err(Wait::of(next - latest)) } else { Ok(next) }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Failed authentications per client id and address. Who shares the cells of a busy key is told 429 too early, where it would have been
/// told 401.
pub struct Failures {
    rate: Rate,
    sketch: Sketch,
}

impl Default for Failures {
    fn default() -> Self {
        Self::new(Rate::new(FAILURES, FAILURE_EVERY))
    }
}

impl Failures {
    /// With another rate than [`FAILURES`] and one every [`FAILURE_EVERY`].
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, sketch: Sketch::default() }
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// How long to wait, where there were too many; that one is not counted.
    pub fn count(&self, client_id: &str, address: IpAddr, now: Duration) -> Result<(), Wait> {
        let cells = self.sketch.cells((client_id, network(address)));
        let next = self.rate.after_one_more(cells.value(), nanoseconds(now))?;
        cells.raise(next);
        Ok(())
    }

    /// Takes one failure back, because the same client succeeded from the same address: clients that try the header first and
    /// the body next (golang.org/x/oauth2) fail once and succeed once at each start, however many start behind one address.
    pub fn forgive(&self, client_id: &str, address: IpAddr, now: Duration) {
        let now = nanoseconds(now);
        let less = |clear_at: u64| (clear_at > now).then(|| clear_at.saturating_sub(self.rate.interval));
        self.sketch.cells((client_id, network(address))).lower(less);
    }
}

/// Whoever has one IPv6 address mostly has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Tokens per client. It remembers clients that exist and authenticated, and of them those that have used up something.
pub struct Issuance {
    quota: Option<Rate>,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    clear_at: HashMap<String, u64>,
    tidy_at: usize,
}

impl Issuance {
    /// With the quota of each client; `None`: as many as it likes.
    #[must_use]
    pub fn new(quota: Option<Rate>) -> Self {
        let shards = if quota.is_some() { SHARDS } else { 0 };
        Self { quota, hasher: RandomState::new(), shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// Counts a token of the client of this UID.
    ///
    /// # Errors
    /// How long to wait, where its quota is used up; others' quotas are not touched.
    pub fn count(&self, client_uid: &str, now: Duration) -> Result<(), Wait> {
        let Some(quota) = self.quota else { return Ok(()) };
        let place = usize::try_from(self.hasher.hash_one(client_uid) >> 32).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(place) else { return Ok(()) };
        shard.lock().unwrap_or_else(PoisonError::into_inner).count(client_uid, quota, nanoseconds(now))
    }
}

impl Shard {
    fn count(&mut self, client_uid: &str, quota: Rate, now: u64) -> Result<(), Wait> {
        if let Some(clear_at) = self.clear_at.get_mut(client_uid) {
            *clear_at = quota.after_one_more(*clear_at, now)?;
            return Ok(());
        }
        if self.clear_at.len() >= self.tidy_at {
            self.clear_at.retain(|_, clear_at| *clear_at > now);
            self.tidy_at = (self.clear_at.len() * 2).max(64);
        }
        self.clear_at.insert(client_uid.to_owned(), quota.after_one_more(0, now)?);
        Ok(())
    }
}

/// What one replica counts.
pub struct Throttle {
    /// Failed authentications.
    pub failures: Failures,
    /// Tokens.
    pub issuance: Issuance,
    /// Introspections.
    pub introspection: Issuance,
    /// Revocations, each of which is written: ten a minute.
    pub revocation: Issuance,
    /// Probes: six a minute.
    pub probes: Issuance,
}

impl Throttle {
    /// With the quota of each client; `None`: as many tokens as it likes.
    #[must_use]
    pub fn new(quota: Option<Rate>) -> Self {
        Self {
            failures: Failures::default(),
            issuance: Issuance::new(quota),
            introspection: Issuance::new(None),
            revocation: Issuance::new(Some(REVOCATIONS)),
            probes: Issuance::new(Some(PROBES)),
        }
    }

    /// The same with a quota of introspections; `None`: as many as it likes.
    #[must_use]
    pub fn with_introspections(self, quota: Option<Rate>) -> Self {
        Self { introspection: Issuance::new(quota), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(1_000 + count)
    }

    fn address(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + last).into()
    }

    fn failures_until_told_to_wait(failures: &Failures, client_id: &str, from: IpAddr, now: Duration) -> u32 {
        (0..).take_while(|_| failures.count(client_id, from, now).is_ok()).count().try_into().unwrap()
    }

    /// C20.
    #[test]
    fn after_the_first_failures_one_is_answered_every_few_seconds() {
        let failures = Failures::default();
        assert_eq!(failures_until_told_to_wait(&failures, "a", HERE, seconds(0)), FAILURES);
        assert_eq!(failures.count("a", HERE, seconds(0)), Err(Wait(3)));
        assert_eq!(failures.count("a", HERE, seconds(2)), Err(Wait(1)));
        assert_eq!(failures.count("a", HERE, seconds(3)), Ok(()));
        assert_eq!(failures.count("a", HERE, seconds(3)), Err(Wait(3)));
        assert_eq!(failures_until_told_to_wait(&failures, "a", HERE, seconds(3_600)), FAILURES);
    }

    /// C20: per client and address.
    #[test]
    fn the_failures_of_one_are_not_those_of_another() {
        let failures = Failures::default();
        failures_until_told_to_wait(&failures, "a", HERE, seconds(0));
        assert_eq!(failures.count("b", HERE, seconds(0)), Ok(()));
        assert_eq!(failures.count("a", address(7), seconds(0)), Ok(()));
    }

    /// C20: a start of `golang.org/x/oauth2` is one failure and one success; a thousand of them behind one address at once.
    #[test]
    fn one_failure_and_one_success_per_start_is_never_too_much() {
        let failures = Failures::default();
        for _ in 0..1_000 {
            assert_eq!(failures.count("a", HERE, seconds(0)), Ok(()));
            failures.forgive("a", HERE, seconds(0));
        }
    }

    #[test]
    fn a_success_forgives_one_failure_and_no_more() {
        let failures = Failures::default();
        failures.forgive("a", HERE, seconds(0));
        failures_until_told_to_wait(&failures, "a", HERE, seconds(0));
        failures.forgive("a", HERE, seconds(0));
        assert_eq!(failures_until_told_to_wait(&failures, "a", HERE, seconds(0)), 1);
    }

    #[test]
    fn a_whole_ipv6_network_is_one_address() {
        let parsed = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(parsed("2001:db8::1")), network(parsed("2001:db8::ffff:0:1")));
        assert_ne!(network(parsed("2001:db8::1")), network(parsed("2001:db8:0:1::1")));
        assert_eq!(network(parsed("::ffff:10.0.0.1")), parsed("10.0.0.1"));
    }

    /// S17: what an attacker with many addresses fills is a sketch of a constant size, and few others are told to wait.
    #[test]
    fn many_addresses_need_no_memory_and_leave_most_others_alone() {
        let failures = Failures::default();
        for attacker in 0..1_000 {
            failures_until_told_to_wait(&failures, "a", address(attacker), seconds(0));
        }
        let told_to_wait = (0..10_000).filter(|other| failures.count("b", address(*other), seconds(0)).is_err()).count();
        // Two cells of 32,768 shared with one of a thousand each: one in a thousand; ten times as many would be a fault.
        assert!(told_to_wait < 100, "{told_to_wait} of 10,000");
    }

    /// G13.
    #[test]
    fn a_client_gets_its_burst_and_then_its_rate_and_others_theirs() {
        let issuance = Issuance::new(Some(Rate::per_second(5, 2)));
        let tokens = |uid: &str, now: Duration| (0..).take_while(|_| issuance.count(uid, now).is_ok()).count();
        assert_eq!(tokens("a", seconds(0)), 5);
        assert_eq!(issuance.count("a", seconds(0)), Err(Wait(1)));
        assert_eq!(tokens("b", seconds(0)), 5);
        assert_eq!(tokens("a", seconds(1)), 2);
        assert_eq!(tokens("a", seconds(60)), 5);
    }

    #[test]
    fn without_a_quota_nothing_is_counted() {
        let issuance = Issuance::new(None);
        assert!((0..10_000).all(|_| issuance.count("a", seconds(0)).is_ok()));
    }

    /// A client that was idle long enough has used up nothing, and is forgotten.
    #[test]
    fn clients_that_have_used_up_nothing_are_forgotten() {
        let issuance = Issuance::new(Some(Rate::per_second(1, 1)));
        for client in 0..100_000_u64 {
            issuance.count(&client.to_string(), seconds(client)).unwrap();
        }
        let known: usize = issuance.shards.iter().map(|shard| shard.lock().unwrap().clear_at.len()).sum();
        assert!(known <= SHARDS * 65, "{known}");
    }

    proptest! {
        /// G13: over any time, never more than the burst and what the rate gives meanwhile; and never less, if it is asked for.
        #[test]
        fn the_rate_is_kept_over_any_time(
            burst in 1_u32..20,
            rate in 1_u32..20,
            pauses in proptest::collection::vec(0_u64..2_000, 1..200),
        ) {
            let issuance = Issuance::new(Some(Rate::per_second(burst, rate)));
            let (mut now, mut issued) = (0_u64, 0_u64);
            for pause in pauses {
                now += pause;
                while issuance.count("a", Duration::from_millis(now)).is_ok() {
                    issued += 1;
                }
                let most = u64::from(burst) + now * u64::from(rate) / 1_000;
                prop_assert!(issued <= most, "{issued} of {most}");
            }
        }

        /// Who is told to wait so long is not told so again after that time.
        #[test]
        fn a_wait_is_long_enough(burst in 1_u32..20, rate in 1_u32..50, early in 0_u64..5_000) {
            let issuance = Issuance::new(Some(Rate::per_second(burst, rate)));
            let now = Duration::from_millis(early);
            let wait = std::iter::repeat_with(|| issuance.count("a", now)).find_map(Result::err).unwrap();
            prop_assert_eq!(issuance.count("a", now + Duration::from_secs(wait.0.into())), Ok(()));
        }
    }
}
