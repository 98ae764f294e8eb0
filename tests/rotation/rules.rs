//! A test for each safety rule: without it a law fails.
//!
//! Where random histories find the failure at once, they are the test. Where they would take long, the history is written out:
//! it keeps the laws with the rule, and breaks one without it.

use crate::{
    core::Edit,
    history::{History, first_broken},
    leader::Config,
    undone::Undone,
    world::{Act, Event, Network},
};
use jiff::SignedDuration;
use keywright::domain::rotation::{Retirement, Rules};

const OVERLAP: u32 = 60_000;

/// One Current credential, which the Secret holds; replica 0 serves.
fn settled() -> Vec<Event> {
    vec![Event::Replica(0, Act::Start), Event::Replica(0, Act::Ready), work(0, 20)]
}

/// So many calls of a leader; the replicas keep up.
fn work(who: u8, calls: u8) -> Event {
    Event::Work { who, calls, together: true }
}

/// So many calls of a leader; the replicas do nothing meanwhile.
fn alone(who: u8, calls: u8) -> Event {
    Event::Work { who, calls, together: false }
}

/// The request of a leader stays under way.
fn delayed(who: u8) -> Event {
    Event::Lead { who, cache: 0, network: Network::Delays }
}

fn replica(which: u8, acts: &[Act]) -> impl Iterator<Item = Event> {
    acts.iter().map(move |act| Event::Replica(which, *act))
}

fn renewal(which: u8) -> impl Iterator<Item = Event> {
    replica(which, &[Act::BeginRenewal, Act::EndRenewal { answered: true }])
}

const ORDER: Event = Event::User(Edit::Order);

/// Three calls register a credential, and it is lost, until there is no room. The Secret is not touched.
fn eight_lost() -> impl Iterator<Item = Event> {
    [alone(1, 3), Event::Crash(1)].repeat(8).into_iter()
}

fn history(undone: &'static [Undone], retirement: Retirement, events: Vec<Event>) -> History {
    let rules = Rules { overlap: SignedDuration::from_secs(60), quiet: SignedDuration::from_secs(20), retirement, ..Rules::default() };
    History { config: Config { rules, skew: 0, undone }, earlier: false, events }
}

/// The rules are needed: with them the history keeps the laws, without them not.
#[track_caller]
fn shows(undone: &'static [Undone], retirement: Retirement, events: Vec<Event>) {
    shows_in(&history(&[], retirement, events.clone()), &history(undone, retirement, events));
}

#[track_caller]
fn shows_in(kept: &History, broken: &History) {
    assert_eq!(kept.run(), Ok(()), "{}", kept.tell());
    assert!(broken.run().is_err(), "nothing fails without {:?}:\n{}", broken.config.undone, broken.tell());
}

/// Random histories find that the rule is needed.
#[track_caller]
pub fn is_found(undone: &'static [Undone]) {
    let Some((seed, history, broken)) = first_broken(1, 4_000, undone) else { panic!("nothing fails without {undone:?}") };
    println!("without {undone:?}, KEYWRIGHT_SEED={seed}: {broken}\n{}", history.tell());
}

#[test]
fn a_credential_is_published_after_its_gate() {
    is_found(&[Undone::Gate]);
}

#[test]
fn the_gate_lists_after_the_register_write() {
    is_found(&[Undone::GateListIsLive]);
}

#[test]
fn the_status_is_written_on_the_version_that_was_read() {
    is_found(&[Undone::StatusPrecondition]);
}

#[test]
fn the_secret_is_written_on_the_version_that_was_read() {
    is_found(&[Undone::SecretPrecondition]);
}

#[test]
fn a_create_overwrites_nothing() {
    is_found(&[Undone::CreateByPost]);
}

#[test]
fn caches_alone_decide_nothing() {
    is_found(&[Undone::PlanAgain]);
}

#[test]
fn a_lost_pending_one_stays_registered() {
    is_found(&[Undone::LostPendingIsKept]);
}

#[test]
fn a_lost_pending_one_gets_no_accepted_until() {
    is_found(&[Undone::LostPendingIsNotCut]);
}

#[test]
fn the_former_current_one_stays_registered() {
    is_found(&[Undone::FormerCurrentIsKept]);
}

#[test]
fn a_previous_one_stays_through_its_overlap() {
    is_found(&[Undone::RetireWaitsForOverlap]);
}

#[test]
fn what_the_secret_holds_is_not_retired() {
    is_found(&[Undone::RetireSparesWhatIsHeld]);
}

#[test]
fn a_restored_value_is_not_overwritten() {
    is_found(&[Undone::RestoredIsPromoted]);
}

#[test]
fn a_restored_value_that_is_refused_stays_refused() {
    is_found(&[Undone::RefusedIsNotPromoted]);
}

#[test]
fn what_was_made_before_the_leak_was_closed_goes() {
    is_found(&[Undone::RevokedIsRefused]);
}

#[test]
fn a_slow_clock_cannot_make_a_fresh_credential_look_old() {
    is_found(&[Undone::CreatedAt]);
}

#[test]
fn a_list_is_never_older_than_the_snapshot() {
    is_found(&[Undone::ListIsConsistent]);
}

#[test]
fn a_lease_that_changes_is_not_dropped() {
    is_found(&[Undone::DropWaitsForSilence]);
}

#[test]
fn a_request_loads_the_snapshot_after_it_looked_at_the_clocks() {
    is_found(&[Undone::DoubtBeforeSnapshot]);
}

#[test]
fn an_order_that_was_handled_orders_no_more() {
    is_found(&[Undone::OrderIsEchoed]);
}

#[test]
fn what_an_earlier_installation_left_is_adopted() {
    is_found(&[Undone::FoundIsAdopted]);
}

#[test]
fn what_an_earlier_installation_left_is_rotated() {
    is_found(&[Undone::FoundIsRotated]);
}

#[test]
fn replicas_do_not_go_by_the_time_after_which_the_leader_retires() {
    is_found(&[Undone::RetireAfterIsTheLeaders]);
}

#[test]
fn a_replica_that_leaves_drains_before_its_lease_goes() {
    is_found(&[Undone::LeaseOutlivesService]);
}

/// The wall clock of replica 1 is set back: it takes 18 s for 10.
#[test]
fn doubt_counts_the_clock_that_nobody_can_set() {
    let mut events = settled();
    events.extend(replica(1, &[Act::Start, Act::Clock(4_000), Act::Beat, Act::Unready, Act::Clock(-4_000)]));
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 2), Event::Pass(16_000)]);
    events.extend([Event::Replica(0, Act::Beat), alone(0, 5)]);
    let of = |undone| {
        let history = history(undone, Retirement::AfterOverlap, events.clone());
        History { config: Config { skew: 8_000, ..history.config }, ..history }
    };
    shows_in(&of(&[]), &of(&[Undone::DoubtCountsBoottime]));
}

#[test]
fn doubt_counts_the_clock_that_goes_on_while_the_machine_stands_still() {
    is_found(&[Undone::DoubtCountsWallClock]);
}

#[test]
fn a_replica_in_doubt_refuses_nobody() {
    is_found(&[Undone::DoubtRefusesNobody]);
}

#[test]
fn a_list_that_was_begun_before_the_renewal_ends_no_doubt() {
    let mut events = with_unready_replica();
    // Replica 1 asks for a list, and is cut off. Its Lease is dropped, 2 is published; back again, it joins, and then reads the old list.
    events.extend([Event::Replica(1, Act::BeginList), Event::Replica(1, Act::Cut), ORDER, alone(0, 3), Event::Replica(0, Act::Beat)]);
    events.extend([alone(0, 2), Event::Pass(16_000), Event::Replica(0, Act::Beat), alone(0, 5), Event::Replica(1, Act::Mend)]);
    events.extend(renewal(1).chain(renewal(1)));
    events.push(Event::Replica(1, Act::EndList));
    shows(&[Undone::DoubtEndsByLaterList], Retirement::AfterOverlap, events);
}

/// Until there is no room, and then the Secret is deleted.
#[test]
fn a_heal_makes_room() {
    let mut events = settled();
    events.push(ORDER);
    events.extend(eight_lost());
    events.push(Event::User(Edit::Delete));
    shows(&[Undone::HealMakesRoom], Retirement::AfterOverlap, events);
}

#[test]
fn a_rotation_that_can_wait_makes_no_room() {
    let mut events = settled();
    events.push(ORDER);
    events.extend(eight_lost());
    events.push(alone(1, 3));
    shows(&[Undone::OrderWaitsForRoom], Retirement::AfterOverlap, events);
}

#[test]
fn a_joining_replica_is_waited_for() {
    let mut events = settled();
    events.push(Event::Replica(1, Act::Start));
    events.extend(renewal(1));
    events.extend([Event::Replica(1, Act::BeginList), ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 5)]);
    events.push(Event::Replica(1, Act::EndList));
    shows(&[Undone::GateCountsJoining], Retirement::AfterOverlap, events);
}

#[test]
fn publish_reads_the_secret_first() {
    let mut events = settled();
    // Leader 0 is about to publish 2, and freezes after its first read. Leader 1 gives 2 up, rotates to 3, and retires 2.
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 3)]);
    events.extend([work(1, 20), Event::Pass(OVERLAP), work(1, 12), alone(0, 2)]);
    shows(&[Undone::PublishReadsSecretFirst], Retirement::AfterOverlap, events);
}

/// The two rules stand in for each other: a Promote planned on an old Secret finds an old fence there.
#[test]
fn promote_reads_the_status_first_or_finds_an_old_fence() {
    let mut events = settled();
    events.extend([ORDER, work(0, 8)]);
    // 2 is published. Leader 1 reads the Secret for its Promote, and freezes. Leader 0 promotes 2, and rotates to 3.
    events.extend([alone(1, 1), work(0, 3), ORDER, work(0, 11)]);
    events.extend([alone(1, 2), Event::Pass(OVERLAP)]);
    shows(&[Undone::PromoteReadsStatusFirst, Undone::CutWaitsForFence], Retirement::AfterOverlap, events);
}

#[test]
fn a_pending_one_that_another_is_promoted_over_gets_no_accepted_until() {
    let mut events = settled();
    // 1 is Previous, 2 Current, 3 has passed its gate.
    events.extend([ORDER, work(0, 11), ORDER, work(0, 5)]);
    // A user restores 1, leader 1 writes the fence, and its Promote of 1 is under way; a user restores 2; leader 0 publishes 3.
    events.extend([Event::User(Edit::Restore { which: 0, fence: true }), alone(1, 5)]);
    events.extend([Event::User(Edit::Restore { which: 1, fence: true }), alone(0, 2), alone(1, 1), alone(0, 1)]);
    events.push(Event::Pass(OVERLAP));
    shows(&[Undone::OtherPendingIsNotCut], Retirement::AfterOverlap, events);
}

#[test]
fn retire_waits_for_the_fence() {
    let mut events = settled();
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 4), delayed(0), Event::Crash(0)]);
    events.extend(eight_lost());
    events.extend([Event::Pass(OVERLAP), alone(1, 3), Event::Arrive(0)]);
    shows(&[Undone::RetireWaitsForFence], Retirement::AfterOverlap, events);
}

#[test]
fn making_room_waits_for_the_fence() {
    let mut events = settled();
    events.extend([Event::User(Edit::Overwrite), alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 4), delayed(0), Event::Crash(0)]);
    events.extend(eight_lost());
    events.extend([alone(1, 3), Event::Arrive(0)]);
    shows(&[Undone::EvictionWaitsForFence], Retirement::AfterOverlap, events);
}

#[test]
fn the_fence_names_no_pending_one() {
    let mut events = settled();
    events.extend([ORDER, work(0, 8), Event::User(Edit::Overwrite), alone(0, 2), delayed(0), Event::Crash(0)]);
    events.extend(eight_lost());
    events.push(Event::Arrive(0));
    shows(&[Undone::FenceNamesNoPending], Retirement::AfterOverlap, events);
}

#[test]
fn a_replica_makes_its_lease_before_it_lists() {
    let mut events = settled();
    events.extend(replica(1, &[Act::Start, Act::BeginList, Act::EndList]));
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 5)]);
    events.extend(renewal(1));
    shows(&[Undone::LeaseBeforeList], Retirement::AfterOverlap, events);
}

/// Replica 1 serves, and its pod is not Ready.
fn with_unready_replica() -> Vec<Event> {
    let mut events = settled();
    events.extend(replica(1, &[Act::Start, Act::Beat, Act::Unready]));
    events
}

#[test]
fn a_lease_is_dropped_only_as_it_was_listed() {
    let mut events = with_unready_replica();
    events.extend([Event::Replica(1, Act::Cut), ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 2), Event::Pass(16_000)]);
    // Listed; the replica comes back; then its Lease is dropped. The next rotation does not know it.
    events.extend([alone(0, 1), Event::Replica(1, Act::Mend), Event::Replica(1, Act::Beat), alone(0, 7)]);
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 5)]);
    shows(&[Undone::DropPrecondition], Retirement::AfterOverlap, events);
}

#[test]
fn doubt_counts_from_the_start_of_a_renewal() {
    let mut events = with_unready_replica();
    events.extend(replica(1, &[Act::BeginRenewal, Act::StoreRenewal]));
    events.extend([ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 2), Event::Pass(9_000)]);
    events.push(Event::Replica(1, Act::EndRenewal { answered: true }));
    events.extend([Event::Pass(6_200), Event::Replica(0, Act::Beat), alone(0, 5)]);
    shows(&[Undone::DoubtCountsFromStart], Retirement::AfterOverlap, events);
}

#[test]
fn a_renewal_alone_does_not_end_doubt() {
    let mut events = with_unready_replica();
    events.extend([Event::Replica(1, Act::Cut), ORDER, alone(0, 3), Event::Replica(0, Act::Beat), alone(0, 2), Event::Pass(16_000)]);
    events.extend([Event::Replica(0, Act::Beat), alone(0, 5), Event::Replica(1, Act::Mend)]);
    events.extend(renewal(1).chain(renewal(1)));
    shows(&[Undone::DoubtEndsByList], Retirement::AfterOverlap, events);
}

#[test]
fn a_replica_looks_at_the_head_before_it_refuses_by_the_clock() {
    let mut events = settled();
    events.extend(replica(1, &[Act::Start, Act::Ready, Act::Beat]));
    // 1 is replaced; both replicas know when it ends. It is restored and Current again; replica 1 renews, and its watch is late.
    events.extend([ORDER, work(0, 11), Event::Replica(1, Act::Beat), Event::User(Edit::Restore { which: 0, fence: false }), alone(0, 6)]);
    for _ in 0..11 {
        events.push(Event::Pass(6_000));
        events.extend(renewal(1));
    }
    shows(&[Undone::RefusalNeedsHeadCheck], Retirement::AfterOverlap, events);
}
