//! Tables: what is planned for what is found. Then the laws, over histories of late replicas, leaders that crash or write late, and
//! verifiers that cache; and that each rule is needed: without it a history breaks a law.

use super::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};

const HOUR: i64 = 3_600;
const RULES: Rules = Rules { every: hours(2_160), ahead: hours(24), keep: hours(26) };

const fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * HOUR).unwrap()
}

fn active(id: &str, since: i64) -> Key<u8> {
    Key::active(id.to_owned(), 0, at(since))
}

fn prepared(id: &str, published: Option<i64>) -> Key<u8> {
    Key { published_at: published.map(at), ..Key::prepared(id.to_owned(), 0, at(0)) }
}

fn former(id: &str, unused: Option<i64>) -> Key<u8> {
    Key { stage: Stage::Retired, unused_since: unused.map(at), ..active(id, 0) }
}

fn slots(keys: impl Into<Vec<Key<u8>>>) -> Slots<u8> {
    Slots { keys: keys.into(), needs: [(0, Need::Needed)].into(), ordered: false, revoked: BTreeSet::new(), seen: false }
}

fn step(slots: &Slots<u8>, hour: i64) -> Option<Step<u8>> {
    plan(slots, &RULES, at(hour)).step
}

fn prepare(cause: Cause) -> Option<Step<u8>> {
    Some(Step::Prepare { lines: [0].into(), cause })
}

/// A09: in the JWKS of every replica for a day before the first signature, and for the life of a token and a day after the last.
#[test]
fn a_key_is_prepared_published_activated_and_removed_in_its_time() {
    let current = slots([active("a", 0)]);
    assert_eq!(plan(&current, &RULES, at(0)), Plan { step: None, wake_at: Some(at(2_136)) });
    assert_eq!(step(&current, 2_135), None);
    assert_eq!(step(&current, 2_136), prepare(Cause::Due));

    let unseen = slots([active("a", 0), prepared("b", None)]);
    assert_eq!(step(&unseen, 2_137), Some(Step::Gate));
    assert_eq!(step(&Slots { seen: true, ..unseen }, 2_138), Some(Step::Confirm));
    let published = slots([active("a", 0), prepared("b", Some(2_138))]);
    assert_eq!(plan(&published, &RULES, at(2_139)), Plan { step: None, wake_at: Some(at(2_162)) });
    assert_eq!(step(&published, 2_162), Some(Step::Activate("b".to_owned())));

    let signing = slots(activated(&published.keys, "b", at(2_162)));
    assert_eq!(signing.keys.iter().map(|key| key.stage).collect::<Vec<_>>(), [Stage::Retired, Stage::Active]);
    assert_eq!(step(&signing, 9_999), Some(Step::Gate), "however long it takes");
    let unused = slots(confirmed(&signing.keys, at(2_163)));
    assert_eq!(plan(&unused, &RULES, at(2_164)), Plan { step: None, wake_at: Some(at(2_189)) });
    assert_eq!(step(&unused, 2_189), Some(Step::Remove(["a".to_owned()].into())));
    assert_eq!(plan(&slots([active("b", 2_162)]), &RULES, at(2_190)), Plan { step: None, wake_at: Some(at(2_162 + 2_136)) });
}

#[test]
fn an_order_keeps_the_windows_and_is_followed_once() {
    let ordered = |keys: Vec<Key<u8>>| Slots { ordered: true, ..slots(keys) };
    assert_eq!(step(&ordered(vec![active("a", 0)]), 1), prepare(Cause::Ordered));
    assert_eq!(step(&ordered(vec![active("a", 0), prepared("b", None)]), 1), Some(Step::Acknowledge));
    assert_eq!(step(&ordered(vec![active("b", 0), former("a", None)]), 1), prepare(Cause::Ordered));
    let full: Vec<_> = [active("f", 0)].into_iter().chain(["a", "b", "c", "d", "e"].map(|id| former(id, Some(0)))).collect();
    assert_eq!(step(&ordered(full.clone()), 1), None, "there is no room");
    assert_eq!(step(&ordered(full), 26), Some(Step::Remove(["a", "b", "c", "d", "e"].map(str::to_owned).into())));
}

#[test]
fn a_line_in_which_nothing_signs_waits_for_the_replicas_alone() {
    assert_eq!(step(&slots([]), 0), prepare(Cause::First));
    let first = slots([prepared("a", None)]);
    assert_eq!(step(&first, 0), Some(Step::Gate));
    assert_eq!(step(&Slots { seen: true, ..first }, 0), Some(Step::Activate("a".to_owned())));
    assert_eq!(step(&slots([prepared("a", Some(0))]), 1), Some(Step::Activate("a".to_owned())), "it was seen before");
}

#[test]
fn a_line_that_nothing_needs_goes_after_a_while_and_comes_back_with_the_key_that_verifiers_know() {
    let unneeded = |keys: Vec<Key<u8>>| Slots { needs: [(0, Need::UnneededSince(at(0)))].into(), ..slots(keys) };
    let plan_at = |hour| plan(&unneeded(vec![active("a", -5_000)]), &RULES, at(hour));
    assert_eq!(plan_at(0), Plan { step: None, wake_at: Some(at(24)) });
    assert_eq!(plan_at(24).step, Some(Step::Retire("a".to_owned())));
    assert_eq!(step(&unneeded(vec![prepared("a", None)]), 24), Some(Step::Remove(["a".to_owned()].into())));
    let gone = retired(&[active("a", 0)], "a");
    assert_eq!(step(&Slots { seen: true, ..unneeded(gone.clone()) }, 24), Some(Step::Confirm));
    assert_eq!(step(&slots(gone.clone()), 25), Some(Step::Activate("a".to_owned())));
    assert_eq!(step(&slots(gone), 2_160), prepare(Cause::First), "too old to come back");
    let unknown = Slots { needs: BTreeMap::new(), ..slots([active("a", 0)]) };
    assert_eq!(plan(&unknown, &RULES, at(9_999)), Plan { step: None, wake_at: None });
}

/// S23: another verb than `rotate`, and no window is kept.
#[test]
fn a_revoked_key_goes_at_once_and_another_one_signs_in_the_same_write() {
    let revoking = |keys: Vec<Key<u8>>, id: &str| Slots { revoked: [id.to_owned()].into(), ..slots(keys) };
    let keys = vec![active("a", 0), prepared("b", None), former("z", Some(0))];
    for id in ["a", "b", "z"] {
        assert_eq!(step(&revoking(keys.clone(), id), 0), Some(Step::Revoke([id.to_owned()].into())));
    }
    assert_eq!(step(&revoking(vec![active("a", 0)], "unknown"), 0), None);
    let ids = |id: &str| BTreeSet::from([id.to_owned()]);
    let (left, lines) = revoked(&keys, &ids("a"), at(1));
    assert_eq!(left.iter().map(|key| (key.id.as_str(), key.stage)).collect::<Vec<_>>(), [("b", Stage::Active), ("z", Stage::Retired)]);
    assert_eq!(lines, BTreeSet::new());
    assert_eq!(revoked(&keys, &ids("z"), at(1)).1, BTreeSet::new());
    assert_eq!(revoked(&[active("a", 0), former("z", Some(0))], &ids("a"), at(1)), (vec![former("z", Some(0))], [0].into()));
}

/// Of a CA: it ends, or its key is lost.
#[test]
fn one_that_can_sign_no_more_is_replaced_at_its_end_and_not_before() {
    let ending = |end: i64| Key { signs_until: Some(at(end)), ..active("a", 0) };
    assert_eq!(plan(&slots([ending(100)]), &RULES, at(51)), Plan { step: None, wake_at: Some(at(52)) });
    assert_eq!(step(&slots([ending(100)]), 52), prepare(Cause::Due), "twice as early as it has to be known");
    assert_eq!(step(&slots([ending(100), former("z", Some(40))]), 52), prepare(Cause::Due), "also while a former one is published");
    assert_eq!(step(&slots([ending(9_999)]), 2_136), prepare(Cause::Due), "the schedule comes first");

    let known = |published| slots([ending(100), prepared("b", published)]);
    assert_eq!(plan(&known(Some(60)), &RULES, at(83)), Plan { step: None, wake_at: Some(at(84)) });
    assert_eq!(step(&known(Some(60)), 84), Some(Step::Activate("b".to_owned())));
    assert_eq!(plan(&known(Some(90)), &RULES, at(99)), Plan { step: None, wake_at: Some(at(100)) });
    assert_eq!(step(&known(Some(90)), 100), Some(Step::Activate("b".to_owned())), "known to some is better than known to none");
    assert_eq!(plan(&known(None), &RULES, at(99)), Plan { step: Some(Step::Gate), wake_at: Some(at(100)) });
    assert_eq!(step(&known(None), 100), Some(Step::Activate("b".to_owned())), "no gate helps whoever is cut off anyway");
}

fn any_time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), (0_i64..3_000).prop_map(Some)]
}

/// Any keys of one line, of which at most one is active and at most one prepared.
fn any_keys() -> impl Strategy<Value = Vec<Key<u8>>> {
    let active = (any_time(), any_time())
        .prop_map(|(activated, until)| activated.map(|activated| Key { signs_until: until.map(at), ..active("a", activated) }));
    let prepared = (any::<bool>(), any_time()).prop_map(|(is_there, published)| is_there.then(|| prepared("b", published)));
    let former = prop::collection::vec(any_time(), 0..5)
        .prop_map(|unused| unused.into_iter().enumerate().map(|(place, unused)| former(&format!("f{place}"), unused)).collect::<Vec<_>>());
    (active, prepared, former).prop_map(|(active, prepared, former)| active.into_iter().chain(prepared).chain(former).collect())
}

proptest! {
    /// L3, and: nothing signs that was not published for `ahead`, but where nothing else can sign.
    #[test]
    fn nothing_signs_early_while_another_one_can(keys in any_keys(), hour in 0_i64..6_000, seen: bool) {
        let slots = Slots { seen, ..slots(keys) };
        let planned = plan(&slots, &RULES, at(hour));
        if let Some(Step::Activate(id)) = &planned.step {
            let key = slots.keys.iter().find(|key| key.id == *id).unwrap();
            let is_known = key.published_at.is_some_and(|published| published + RULES.ahead <= at(hour));
            let signing = slots.keys.iter().find(|key| key.stage == Stage::Active);
            prop_assert!(is_known || signing.is_none_or(|signing| signing.signs_until.is_some_and(|until| until <= at(hour))));
        }
        if let Plan { step: None | Some(Step::Gate), wake_at: Some(wake_at) } = planned {
            prop_assert!(wake_at > at(hour));
            let just_before = plan(&slots, &RULES, wake_at - SignedDuration::from_secs(1));
            prop_assert_eq!(&just_before.step, &planned.step, "before it is time");
            prop_assert_ne!(plan(&slots, &RULES, wake_at).step, planned.step, "when it is time");
        }
    }
}

/// What happens in a history.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Time passes, in minutes.
    Pause(u32),
    /// A replica sees what there is.
    CatchUp(usize),
    /// The leader reads, plans and writes.
    Lead,
    /// A leader reads and plans; what it writes arrives with the next [`Event::Arrive`].
    Freeze,
    /// The write of a frozen leader, or one that is repeated because its reply was lost.
    Arrive,
    /// Somebody asks for new keys.
    Order,
    /// A replica signs.
    Sign(usize),
    /// A verifier meets every token that lives; what it cached is at most as old as `ahead`, and comes from this replica.
    Verify(usize, usize),
}

const REPLICAS: usize = 3;
const VERIFIERS: usize = 3;
/// The life of a token, in seconds.
const LIFE: i64 = HOUR;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u32..600).prop_map(Event::Pause),
        1 => (600_u32..3_000).prop_map(Event::Pause),
        4 => (0..REPLICAS).prop_map(Event::CatchUp),
        5 => Just(Event::Lead),
        1 => Just(Event::Freeze),
        1 => Just(Event::Arrive),
        1 => Just(Event::Order),
        6 => (0..REPLICAS).prop_map(Event::Sign),
        6 => (0..VERIFIERS, 0..REPLICAS).prop_map(|(verifier, replica)| Event::Verify(verifier, replica)),
    ]
}

/// A world in which all that the shell owes the plan is kept, but for what a test undoes.
struct World {
    rules: Rules,
    asks_the_gate: bool,
    now: Timestamp,
    versions: Vec<Vec<Key<u8>>>,
    seen: [usize; REPLICAS],
    ordered: bool,
    made: usize,
    late: Option<(usize, Vec<Key<u8>>)>,
    tokens: Vec<(String, Timestamp)>,
    caches: [(Timestamp, BTreeSet<String>); VERIFIERS],
}

impl World {
    fn new(rules: Rules, asks_the_gate: bool) -> Self {
        let cache = || (at(0), BTreeSet::from(["0".to_owned()]));
        Self {
            rules,
            asks_the_gate,
            now: at(0),
            versions: vec![vec![active("0", 0)]],
            seen: [0; REPLICAS],
            ordered: false,
            made: 0,
            late: None,
            tokens: Vec::new(),
            caches: [cache(), cache(), cache()],
        }
    }

    fn latest(&self) -> usize {
        self.versions.len() - 1
    }

    fn planned(&mut self) -> Option<Vec<Key<u8>>> {
        let keys = self.versions.last().unwrap().clone();
        let seen = !self.asks_the_gate || self.seen.iter().all(|seen| *seen == self.latest());
        let slots = Slots { seen, ordered: self.ordered, ..slots(keys.clone()) };
        let plan = plan(&slots, &self.rules, self.now);
        if let (None, Some(wake_at)) = (&plan.step, plan.wake_at) {
            assert!(wake_at > self.now, "L3: it would spin");
        }
        let written = match plan.step? {
            Step::Prepare { lines, .. } => {
                self.made += 1;
                assert_eq!(lines, BTreeSet::from([0]));
                [keys, vec![Key::prepared(self.made.to_string(), 0, self.now)]].concat()
            }
            Step::Activate(id) => activated(&keys, &id, self.now),
            Step::Confirm => confirmed(&keys, self.now),
            Step::Remove(ids) => removed(&keys, &ids),
            Step::Acknowledge => keys,
            Step::Gate => return None,
            other => panic!("nobody asked for {other:?}"),
        };
        Some(written)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Pause(minutes) => self.now += SignedDuration::from_mins(minutes.into()),
            Event::CatchUp(replica) => self.seen[replica] = self.latest(),
            Event::Lead => {
                if let Some(written) = self.planned() {
                    self.ordered = false;
                    self.versions.push(written);
                }
            }
            Event::Freeze => self.late = self.planned().map(|written| (self.latest(), written)),
            Event::Arrive => {
                // resourceVersion as a precondition.
                if let Some((version, written)) = self.late.take().filter(|(version, _)| *version == self.latest()) {
                    assert_eq!(version + 1, self.versions.len());
                    self.versions.push(written);
                }
            }
            Event::Order => self.ordered = true,
            Event::Sign(replica) => {
                let signing: Vec<_> = self.versions[self.seen[replica]].iter().filter(|key| key.stage == Stage::Active).collect();
                assert_eq!(signing.len(), 1, "there is always one key that signs");
                self.tokens.push((signing[0].id.clone(), self.now + SignedDuration::from_secs(LIFE)));
            }
            Event::Verify(verifier, replica) => return self.verify(verifier, replica),
        }
        Ok(())
    }

    fn verify(&mut self, verifier: usize, replica: usize) -> Result<(), String> {
        let (fetched, _) = self.caches[verifier];
        if self.now.duration_since(fetched) >= RULES.ahead {
            self.caches[verifier] = (self.now, self.versions[self.seen[replica]].iter().map(|key| key.id.clone()).collect());
        }
        self.tokens.retain(|(_, ends)| *ends > self.now);
        let (fetched, known) = &self.caches[verifier];
        match self.tokens.iter().find(|(kid, _)| !known.contains(kid)) {
            Some((kid, _)) => Err(format!("unknown kid {kid} at {}, JWKS of {fetched}: {:?}", self.now, self.versions)),
            None => Ok(()),
        }
    }
}

/// Looks for a history that breaks the law; the shortest it finds.
fn break_with(rules: Rules, asks_the_gate: bool, cases: u32) -> Option<String> {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let broken = TestRunner::new(config).run(&prop::collection::vec(event(), 1..400), |events| {
        let mut world = World::new(rules, asks_the_gate);
        events.into_iter().try_for_each(|event| world.happen(event)).map_err(TestCaseError::fail)
    });
    match broken {
        Ok(()) => None,
        Err(TestError::Fail(why, events)) => Some(format!("{why}\nafter {events:?}")),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// So short that a history has many rotations.
const OFTEN: Rules = Rules { every: hours(60), ..RULES };

/// F12, A09, F5, F7: whatever replicas have seen, whoever leads and writes late, no verifier that caches as long as it may meets a
/// kid that it does not know.
#[test]
fn f12_no_verifier_meets_an_unknown_kid() {
    assert_eq!(break_with(OFTEN, true, 2_000), None);
}

#[test]
fn without_the_gate_a_verifier_meets_an_unknown_kid() {
    assert!(break_with(OFTEN, false, 20_000).is_some());
}

#[test]
fn without_the_time_before_the_first_signature_a_verifier_meets_an_unknown_kid() {
    assert!(break_with(Rules { ahead: hours(0), ..OFTEN }, true, 20_000).is_some());
}

#[test]
fn without_the_time_after_the_last_signature_a_verifier_meets_an_unknown_kid() {
    assert!(break_with(Rules { keep: hours(0), ..OFTEN }, true, 20_000).is_some());
}

/// L1: from whatever keys there are, an undisturbed leader comes to rest with one key that signs.
#[test]
fn a_leader_that_nobody_disturbs_comes_to_rest() {
    let mut world = World::new(OFTEN, true);
    world.ordered = true;
    for _ in 0..40 {
        world.seen = [world.latest(); REPLICAS];
        world.happen(Event::Lead).unwrap();
        world.happen(Event::Pause(60)).unwrap();
    }
    let keys = world.versions.last().unwrap();
    assert_eq!((keys.iter().filter(|key| key.stage == Stage::Active).count(), world.made), (1, 1));
    let writes = world.versions.len();
    for _ in 0..20 {
        world.seen = [world.latest(); REPLICAS];
        world.happen(Event::Lead).unwrap();
    }
    assert_eq!(world.versions.len(), writes);
}
