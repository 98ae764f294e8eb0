//! Tables: what is planned for what is found, and what is written.

use super::*;
use crate::domain::credential::{
    CredentialState::{self, Current, Pending, Previous},
    Digest, MAX_CREDENTIALS,
};

const HOUR: i64 = 3_600;
const OVERLAP: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn id(number: u8) -> CredentialId {
    CredentialId::from_random([number; 16])
}

fn known(number: u8, state: CredentialState) -> Credential {
    let retire_after = (state == Previous).then(|| at(OVERLAP + i64::from(number)));
    let digest = Digest { key: "key".into(), mac: [number; 32] };
    Credential {
        id: id(number),
        digest,
        state,
        created_at: at(number.into()),
        retire_after,
        accepted_until: None,
        rehearsed_until: None,
        last_used_at: None,
    }
}

fn present(holds: Option<u8>, fence: impl IntoIterator<Item = u8>) -> Stored {
    Stored::Present { holds: holds.map(id), our_form: true, fence: fence.into_iter().map(id).collect() }
}

fn slots(credentials: impl Into<Vec<Credential>>, stored: Stored) -> Slots {
    let register = Register::Known(credentials.into());
    Slots { register, stored, held: None, gate_passed: false, ordered: false, uses_reported_until: None }
}

fn holding(number: u8, gate_passed: bool, slots: Slots) -> Slots {
    Slots { held: Some(id(number)), gate_passed, ..slots }
}

fn cutting() -> Rules {
    Rules { retirement: Retirement::AfterOverlap, ..Rules::default() }
}

fn register(cause: Cause) -> Option<Step> {
    Some(Step::Register { cause, evicted: None })
}

/// One Current and 8 Previous ones: no room.
fn full(last: CredentialState) -> Vec<Credential> {
    let previous = (1..=7).map(|number| known(number, Previous));
    previous.chain([known(8, last), known(9, Current)]).collect()
}

#[track_caller]
fn expect(case: &str, slots: &Slots, rules: &Rules, now: i64, step: Option<Step>) {
    assert_eq!(plan(slots, rules, at(now)).step, step, "{case}");
}

#[test]
fn the_first_credential_goes_through_register_gate_publish_and_promote() {
    let rules = Rules::default();
    let never = Slots { register: Register::Never, ..slots([], Stored::Missing) };
    expect("nothing yet", &never, &rules, 100, register(Cause::First));
    expect("status is empty", &slots([], Stored::Missing), &rules, 100, register(Cause::First));
    let pending = slots([known(1, Pending)], Stored::Missing);
    expect("registered", &holding(1, false, pending.clone()), &rules, 100, Some(Step::Gate(id(1))));
    expect("gate passed", &holding(1, true, pending), &rules, 100, Some(Step::Publish(id(1))));
    expect("published", &slots([known(1, Pending)], present(Some(1), [])), &rules, 100, Some(Step::Promote(id(1))));
    let done = slots([known(1, Current)], present(Some(1), []));
    assert_eq!(plan(&done, &rules, at(100)), Plan { step: None, wake_at: None });
}

#[test]
fn a_pending_one_whose_value_is_lost_is_replaced() {
    let rules = Rules::default();
    for (case, stored, cause) in [
        ("with the Current one in the Secret", present(Some(1), []), Cause::PendingLost),
        ("without a Secret", Stored::Missing, Cause::SecretMissing),
        ("with an unknown value", present(None, []), Cause::ValueUnknown),
    ] {
        let lost = slots([known(1, Current), known(2, Pending)], stored);
        expect(case, &lost, &rules, 100, register(cause));
        expect(case, &holding(3, true, lost), &rules, 100, register(cause));
    }
    let waiting = slots(full(Pending), present(Some(9), []));
    assert_eq!(plan(&waiting, &rules, at(100)), Plan { step: None, wake_at: None }, "waits for room");
    let plan = plan(&waiting, &cutting(), at(100));
    assert_eq!(plan, Plan { step: None, wake_at: Some(at(OVERLAP + 1)) }, "until the first one may go");
}

#[test]
fn a_missing_secret_and_an_unknown_value_are_healed() {
    let rules = Rules::default();
    let missing = slots([known(1, Current)], Stored::Missing);
    expect("deleted", &missing, &rules, 100, register(Cause::SecretMissing));
    let edited = slots([known(1, Current)], present(None, [1]));
    expect("overwritten", &edited, &rules, 100, register(Cause::ValueUnknown));
    for stored in [Stored::Missing, present(None, [])] {
        let under_way = slots([known(1, Current), known(2, Pending)], stored);
        expect("no gate yet", &holding(2, false, under_way.clone()), &rules, 100, Some(Step::Gate(id(2))));
        expect("again", &holding(2, true, under_way), &rules, 100, Some(Step::Publish(id(2))));
    }
}

#[test]
fn a_heal_without_room_lets_the_one_go_that_is_missed_least_after_its_fence() {
    let rules = Rules::default();
    let evict = |number, cause| Some(Step::Register { cause, evicted: Some(id(number)) });
    expect("deleted", &slots(full(Previous), Stored::Missing), &rules, 100, evict(1, Cause::SecretMissing));
    expect("overwritten", &slots(full(Previous), present(None, [2, 3])), &rules, 100, Some(Step::Fence));
    expect("fenced", &slots(full(Previous), present(None, [1])), &rules, 100, evict(1, Cause::ValueUnknown));
    let mut used = full(Previous);
    used[0].last_used_at = Some(at(50));
    expect("unused first", &slots(used.clone(), Stored::Missing), &rules, 100, evict(2, Cause::SecretMissing));
    let past_overlap = OVERLAP + 1;
    expect("past its overlap before unused", &slots(used, Stored::Missing), &rules, past_overlap, evict(1, Cause::SecretMissing));
    expect("never the lost Pending one", &slots(full(Pending), Stored::Missing), &rules, 100, evict(1, Cause::SecretMissing));
}

#[test]
fn a_restored_value_becomes_current_again() {
    let rules = Rules::default();
    let restored = slots([known(1, Previous), known(2, Current)], present(Some(1), []));
    expect("accepted", &restored, &rules, 100, Some(Step::Promote(id(1))));
    let during = slots([known(1, Previous), known(2, Current), known(3, Pending)], present(Some(1), []));
    expect("before the one under way is published", &holding(3, true, during), &rules, 100, Some(Step::Promote(id(1))));
    let refused = Credential { accepted_until: Some(at(100)), ..known(1, Previous) };
    let too_late = slots([refused, known(2, Current)], present(Some(1), []));
    expect("one second before its end", &too_late, &rules, 99, Some(Step::Promote(id(1))));
    expect("at its end", &too_late, &rules, 100, register(Cause::ValueUnknown));
}

#[test]
fn a_value_of_our_form_without_a_register_is_adopted() {
    let rules = Rules::default();
    let never = |stored| Slots { register: Register::Never, ..slots([], stored) };
    expect("ours", &never(present(None, [])), &rules, 100, Some(Step::Adopt));
    let other_form = Stored::Present { holds: None, our_form: false, fence: BTreeSet::new() };
    expect("another form", &never(other_form), &rules, 100, register(Cause::First));
    let leaked = Rules { secrets_issued_before: Some(at(50)), ..rules };
    expect("a leak was reported", &never(present(None, [])), &leaked, 100, register(Cause::First));
    expect("status is empty", &slots([], present(None, [])), &rules, 100, register(Cause::ValueUnknown));
    let [found, fresh] = &adopted(known(1, Pending), known(2, Current))[..] else { panic!("two credentials") };
    assert_eq!((found.state, fresh.state), (Current, Pending));
}

#[test]
fn an_accepted_until_waits_for_the_fence() {
    let published = |fence: &[u8]| slots([known(1, Current), known(2, Pending)], present(Some(2), fence.iter().copied()));
    expect("no cut, no fence", &published(&[]), &Rules::default(), 100, Some(Step::Promote(id(2))));
    expect("not named", &published(&[2]), &cutting(), 100, Some(Step::Fence));
    expect("named", &published(&[1]), &cutting(), 100, Some(Step::Promote(id(2))));
    let bounded = Rules { max_overlap: Some(SignedDuration::from_hours(48)), ..Rules::default() };
    expect("maxOverlap cuts too", &published(&[]), &bounded, 100, Some(Step::Fence));
}

#[test]
fn a_previous_one_is_retired_after_its_time_and_its_fence() {
    let overlapping = |fence: &[u8]| slots([known(1, Previous), known(2, Current)], present(Some(2), fence.iter().copied()));
    let retire = Some(Step::Retire(id(1)));
    expect("too early", &overlapping(&[1]), &cutting(), OVERLAP, None);
    expect("not fenced", &overlapping(&[2]), &cutting(), OVERLAP + 1, Some(Step::Fence));
    expect("fenced", &overlapping(&[1]), &cutting(), OVERLAP + 1, retire.clone());
    let unused = Rules::default();
    expect("nobody reports", &overlapping(&[1]), &unused, 9 * OVERLAP, None);
    let mut reported = Slots { uses_reported_until: Some(at(10 * HOUR)), ..overlapping(&[1]) };
    expect("the Current one was not used", &reported, &unused, OVERLAP + 1, None);
    let used = |number, state, second| Credential { last_used_at: Some(at(second)), ..known(number, state) };
    reported.register = Register::Known(vec![used(1, Previous, 9 * HOUR + 1), used(2, Current, 9 * HOUR)]);
    expect("used an hour ago", &reported, &unused, OVERLAP + 1, None);
    reported.uses_reported_until = Some(at(10 * HOUR + 1));
    expect("unused for an hour", &reported, &unused, OVERLAP + 1, retire);
}

#[test]
fn orders_and_the_schedule_wait_for_what_is_under_way() {
    let ordered = |credentials: Vec<Credential>, stored| Slots { ordered: true, ..slots(credentials, stored) };
    let rules = Rules::default();
    expect("order", &ordered(vec![known(1, Current)], present(Some(1), [])), &rules, 100, register(Cause::Ordered));
    expect("no room", &ordered(full(Previous), present(Some(9), [])), &rules, 100, None);
    let during = holding(2, true, ordered(vec![known(1, Current), known(2, Pending)], present(Some(1), [])));
    expect("during a rotation", &during, &rules, 100, Some(Step::Publish(id(2))));
    let schedule =
        Schedule { every: SignedDuration::from_hours(10), since: at(500), watched_from: at(0), jitter: SignedDuration::from_secs(7) };
    let due = 10 * HOUR + 507;
    let scheduled = Rules { schedule: Some(schedule), ..rules };
    let settled = slots([known(1, Current)], present(Some(1), []));
    assert_eq!(plan(&settled, &scheduled, at(due - 1)), Plan { step: None, wake_at: Some(at(due)) });
    expect("due", &settled, &scheduled, due, register(Cause::Due));
    let late = Rules { schedule: Some(Schedule { watched_from: at(2 * due), ..schedule }), ..rules };
    assert_eq!(plan(&settled, &late, at(2 * due)).wake_at, Some(at(2 * due + 7)), "overdue ones are spread");
    let overlapping = slots([known(1, Previous), known(2, Current)], present(Some(2), []));
    assert_eq!(plan(&overlapping, &scheduled, at(9 * due)), Plan { step: None, wake_at: None }, "not during an overlap");
}

#[test]
fn what_was_made_before_the_leak_was_closed_is_refused_in_a_write_of_its_own() {
    let leaked = Rules { secrets_issued_before: Some(at(2)), ..Rules::default() };
    let credentials = [known(1, Previous), known(2, Current), known(3, Pending)];
    expect("first of all", &slots(credentials.clone(), present(Some(3), [])), &leaked, 100, Some(Step::Revoke));
    let left: Vec<_> = revoked(&credentials, &leaked).into_iter().map(|known| known.id).collect();
    assert_eq!(left, [id(2), id(3)], "made at that very second is not before it");
    assert_eq!(created_at(&[], &leaked, at(1)), at(2), "a slow clock");
    assert_eq!(created_at(&credentials, &leaked, at(1)), at(3), "a newer one is known");
    assert_eq!(created_at(&credentials, &leaked, at(9)), at(9));
}

#[test]
fn registering_demotes_a_lost_pending_one_without_a_cut() {
    let before = [known(1, Current), known(2, Pending), known(3, Previous)];
    let after = registered(&before, known(4, Current), Some(&id(3)), &cutting(), at(100));
    let [current, lost, fresh] = &after[..] else { panic!("three credentials") };
    assert_eq!((current.state, lost.state, fresh.state), (Current, Previous, Pending));
    assert_eq!((lost.retire_after, lost.accepted_until), (Some(at(100 + OVERLAP)), None));
}

#[test]
fn promoting_leaves_one_current() {
    let earlier = Credential { accepted_until: Some(at(300)), ..known(3, Previous) };
    let before = [known(1, Current), known(2, Pending), earlier, known(4, Previous)];
    let after = promoted(&before, &id(3), &cutting(), at(100));
    let found: Vec<_> = after.iter().map(|known| (known.state, known.retire_after, known.accepted_until)).collect();
    let end = Some(at(100 + OVERLAP));
    let expected = [(Previous, end, end), (Previous, end, None), (Current, None, None), (Previous, Some(at(OVERLAP + 4)), None)];
    assert_eq!(found, expected);
    let bounded = Rules { max_overlap: Some(SignedDuration::from_hours(48)), ..Rules::default() };
    assert_eq!(promoted(&before, &id(2), &bounded, at(100))[0].accepted_until, Some(at(100 + 2 * OVERLAP)));
    assert_eq!(promoted(&before, &id(2), &Rules::default(), at(100))[0].accepted_until, None);
}

#[test]
fn a_rehearsal_is_what_an_order_asks_for_and_outlives_the_process_that_began_it() {
    let rules = Rules { rehearsal: Some(SignedDuration::from_hours(48)), ..cutting() };
    let end = Some(at(100 + 2 * OVERLAP));
    assert_eq!(rehearsed_until(true, &rules, at(100)), end);
    assert_eq!(rehearsed_until(false, &rules, at(100)), None, "the schedule, and heals");
    assert_eq!(rehearsed_until(true, &cutting(), at(100)), None);
    let lost = Credential { rehearsed_until: end, ..known(2, Pending) };
    let after = registered(&[known(1, Current), lost], known(3, Pending), None, &rules, at(200));
    assert_eq!(after.iter().map(|known| known.rehearsed_until).collect::<Vec<_>>(), [None, None, end]);
}

#[test]
fn what_a_rehearsal_replaces_stays_to_its_end_and_while_it_is_in_use() {
    let rehearsal = |number, state, until| Credential { rehearsed_until: Some(at(until)), ..known(number, state) };
    let times = |known: &Credential| (known.retire_after, known.accepted_until, known.rehearsed_until);
    let before = [known(1, Current), rehearsal(2, Pending, 3 * OVERLAP)];
    let published = |rules: &Rules| plan(&slots(before.clone(), present(Some(2), [])), rules, at(100)).step;
    assert_eq!(published(&cutting()), Some(Step::Promote(id(2))), "no cut, no fence");
    let after = promoted(&before, &id(2), &cutting(), at(100));
    assert_eq!(times(&after[0]), (Some(at(3 * OVERLAP)), None, Some(at(3 * OVERLAP))));
    let bounded = Rules { longest_rehearsal: Some(SignedDuration::from_hours(96)), ..cutting() };
    assert_eq!(published(&bounded), Some(Step::Fence), "the platform's bound cuts");
    assert_eq!(promoted(&before, &id(2), &bounded, at(100))[0].accepted_until, Some(at(100 + 4 * OVERLAP)));
    let fenced = slots(after.clone(), present(Some(2), [1]));
    expect("in use, as far as anybody knows", &fenced, &cutting(), 9 * OVERLAP, None);
    let used = Credential { last_used_at: Some(at(200)), ..after[1].clone() };
    let unused = Slots { register: Register::Known(vec![after[0].clone(), used]), uses_reported_until: Some(at(2 * OVERLAP)), ..fenced };
    assert_eq!(plan(&unused, &cutting(), at(2 * OVERLAP)), Plan { step: None, wake_at: Some(at(3 * OVERLAP)) });
    expect("at its end, and unused", &unused, &cutting(), 3 * OVERLAP, Some(Step::Retire(id(1))));
}

#[test]
fn the_rotation_after_a_rehearsal_replaces_what_that_kept() {
    let kept = Credential { rehearsed_until: Some(at(3 * OVERLAP)), ..known(1, Previous) };
    let before = [kept.clone(), Credential { rehearsed_until: kept.rehearsed_until, ..known(2, Current) }, known(3, Pending)];
    let during = promoted(&before, &id(3), &cutting(), at(2 * OVERLAP));
    assert_eq!((during[0].accepted_until, during[1].accepted_until), (None, None), "a heal, and what it replaces");
    assert_eq!(during[1].rehearsed_until, kept.rehearsed_until);
    let unfenced = slots(before.clone(), present(Some(3), [2]));
    expect("both are cut", &unfenced, &cutting(), 3 * OVERLAP, Some(Step::Fence));
    let after = promoted(&before, &id(3), &cutting(), at(3 * OVERLAP));
    let end = Some(at(4 * OVERLAP));
    assert!(after[..2].iter().all(|known| (known.retire_after, known.accepted_until, known.rehearsed_until) == (end, end, None)));
    let again = [kept.clone(), known(2, Current), Credential { rehearsed_until: Some(at(9 * OVERLAP)), ..known(3, Pending) }];
    assert_eq!(promoted(&again, &id(3), &cutting(), at(4 * OVERLAP))[0].rehearsed_until, kept.rehearsed_until, "another rehearsal");
    let cut = [Credential { accepted_until: Some(at(3 * OVERLAP + 1)), ..kept }, known(2, Current), known(3, Pending)];
    assert_eq!(promoted(&cut, &id(3), &Rules::default(), at(3 * OVERLAP))[0].accepted_until, Some(at(3 * OVERLAP + 1)), "stays refused");
}

#[test]
fn the_fence_names_what_is_not_pending() {
    let credentials = [known(1, Previous), known(2, Current), known(3, Pending)];
    assert_eq!(fence(&credentials), BTreeSet::from([id(1), id(2)]));
    assert_eq!(full(Previous).len(), MAX_CREDENTIALS);
}

#[test]
fn each_step_says_which_object_is_read_first() {
    let status = [Step::Adopt, Step::Promote(id(1)), Step::Retire(id(1)), Step::Revoke, register(Cause::First).unwrap()];
    assert!(status.iter().all(|step| step.writes() == Some(Object::Status)));
    assert!([Step::Publish(id(1)), Step::Fence].iter().all(|step| step.writes() == Some(Object::Secret)));
    assert_eq!(Step::Gate(id(1)).writes(), None);
}
