//! L3: for unchanged input nothing is planned before `wake_at`, and something at `wake_at`.

use jiff::{SignedDuration, Timestamp};
use keywright::domain::{
    credential::{
        Credential, CredentialId,
        CredentialState::{Current, Pending, Previous},
        Digest,
    },
    rotation::{self, Plan, Register, Retirement, Rules, Schedule, Slots, Stored},
};
use proptest::prelude::*;

const DAY: i64 = 86_400;

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4 * DAY).prop_map(|second| Timestamp::from_second(second).unwrap())
}

fn duration() -> impl Strategy<Value = SignedDuration> {
    (1..2 * DAY).prop_map(SignedDuration::from_secs)
}

fn credential(number: u8) -> impl Strategy<Value = Credential> {
    let times = (time(), time(), prop::option::of(time()), prop::option::weighted(0.3, time()), prop::option::of(time()));
    times.prop_map(move |(created_at, retire_after, accepted_until, rehearsed_until, last_used_at)| Credential {
        id: CredentialId::from_random([number; 16]),
        digest: Digest { key: String::new(), mac: [number; 32] },
        state: Previous,
        created_at,
        retire_after: Some(retire_after),
        accepted_until,
        rehearsed_until,
        last_used_at,
    })
}

/// Any register that our own writes can leave: one Current and one Pending at most, the others Previous.
fn credentials() -> impl Strategy<Value = Vec<Credential>> {
    let previous = (3..=9_u8).map(credential).collect::<Vec<_>>().prop_flat_map(|all| {
        let count = all.len();
        prop::sample::subsequence(all, 0..=count)
    });
    let lasting = |number, state| {
        let made = credential(number).prop_map(move |known| Credential { state, retire_after: None, accepted_until: None, ..known });
        prop::option::weighted(0.7, made)
    };
    (lasting(1, Current), lasting(2, Pending), previous)
        .prop_map(|(current, pending, previous)| current.into_iter().chain(pending).chain(previous).collect())
}

fn stored(credentials: &[Credential]) -> impl Strategy<Value = Stored> + use<> {
    let ids: Vec<_> = credentials.iter().map(|known| known.id.clone()).collect();
    let holds = match ids.first() {
        // Mostly the Current one: everything else is a step at once.
        Some(first) => {
            prop_oneof![6 => Just(Some(first.clone())), 1 => prop::sample::select(ids.clone()).prop_map(Some), 1 => Just(None)].boxed()
        }
        None => Just(None).boxed(),
    };
    let count = ids.len();
    let fence = prop::sample::subsequence(ids, 0..=count).prop_map(|ids| ids.into_iter().collect());
    prop_oneof![1 => Just(Stored::Missing), 8 => (holds, any::<bool>(), fence).prop_map(|(holds, our_form, fence)| Stored::Present { holds, our_form, fence })]
}

fn slots() -> impl Strategy<Value = Slots> {
    credentials().prop_flat_map(|credentials| {
        let rest = (stored(&credentials), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1), prop::option::of(time()));
        rest.prop_map(move |(stored, held, gate_passed, ordered, uses_reported_until)| {
            let pending = credentials.iter().find(|known| known.state == Pending).map(|known| known.id.clone());
            let register = Register::Known(credentials.clone());
            Slots { register, stored, held: pending.filter(|_| held), gate_passed, ordered, uses_reported_until }
        })
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let schedule = (duration(), time(), time(), 0..3_600_i64).prop_map(|(every, since, watched_from, jitter)| Schedule {
        every,
        since,
        watched_from,
        jitter: SignedDuration::from_secs(jitter),
    });
    let retirement = prop_oneof![Just(Retirement::WhenUnused), Just(Retirement::AfterOverlap)];
    (duration(), retirement, prop::option::of(duration()), duration(), prop::option::of(schedule)).prop_map(
        |(overlap, retirement, max_overlap, quiet, schedule)| Rules {
            overlap,
            retirement,
            max_overlap,
            quiet,
            schedule,
            secrets_issued_before: None,
            rehearsal: None,
            longest_rehearsal: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// L3.
    #[test]
    fn a_plan_changes_with_time_when_it_says_so_and_never_before(slots in slots(), rules in rules(), now in time(), part in 0.0..1.0_f64) {
        let first = rotation::plan(&slots, &rules, now);
        if let Plan { step: None, wake_at } = &first {
            let end = wake_at.unwrap_or(Timestamp::from_second(400 * DAY).unwrap());
            prop_assert!(end > now, "it would wake at once, for nothing");
            let between = now + end.duration_since(now).mul_f64(part);
            for earlier in [between, end - SignedDuration::from_nanos(1)] {
                prop_assert_eq!(&rotation::plan(&slots, &rules, earlier), &first, "at {}", earlier);
            }
            if wake_at.is_some() {
                prop_assert!(rotation::plan(&slots, &rules, end).step.is_some(), "nothing to do at {}", end);
            }
        } else {
            prop_assert_eq!(first.wake_at, None);
        }
    }
}
