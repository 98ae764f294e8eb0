//! F1, F4, F5, F7 at the pure level: each fault at each API call, one after the other.

use crate::{
    core::Edit,
    history::{History, START},
    leader::Config,
    world::{Act, Event, Network, World},
};
use jiff::SignedDuration;
use keywright::domain::rotation::{Retirement, Rules};

/// What is going on when the fault strikes, after a first credential was made; `None`: that is still to be made.
const UNDER_WAY: [Option<Edit>; 7] = [
    None,
    Some(Edit::Order),
    Some(Edit::Delete),
    Some(Edit::Overwrite),
    Some(Edit::Restore { which: 0, fence: true }),
    Some(Edit::Revoke),
    Some(Edit::Unfence),
];

/// More calls than any of these take.
const CALLS: u8 = 40;

fn before(edit: Option<Edit>) -> Vec<Event> {
    let mut events = vec![Event::Replica(0, Act::Start), Event::Replica(1, Act::Start)];
    if let Some(edit) = edit {
        // Two rotations, so that there is something to restore and to retire.
        events.extend([work(0, 30), Event::User(Edit::Order), work(0, 30), Event::Pass(61_000), Event::User(edit)]);
    }
    events
}

fn work(who: u8, calls: u8) -> Event {
    Event::Work { who, calls, together: true }
}

fn check(events: Vec<Event>) {
    for retirement in [Retirement::WhenUnused, Retirement::AfterOverlap] {
        let rules = Rules { overlap: SignedDuration::from_secs(60), quiet: SignedDuration::from_secs(20), retirement, ..Rules::default() };
        let history = History { config: Config { rules, skew: 0, undone: &[] }, earlier: false, events: events.clone() };
        assert_eq!(history.run(), Ok(()), "{}", history.tell());
    }
}

/// F1, and L1.
#[test]
fn the_process_dies_after_each_single_call() {
    for edit in UNDER_WAY {
        for calls in 0..CALLS {
            let mut events = before(edit);
            events.extend([work(0, calls), Event::Crash(0), work(1, CALLS)]);
            check(events);
        }
    }
}

/// F4.
#[test]
fn the_reply_of_each_single_call_is_lost() {
    for edit in UNDER_WAY {
        for calls in 0..CALLS {
            for network in [Network::LosesReply, Network::Delays, Network::LosesRequest] {
                let mut events = before(edit);
                events.extend([work(0, calls), Event::Lead { who: 0, cache: 0, network }, work(0, CALLS), Event::Arrive(0)]);
                check(events);
            }
        }
    }
}

/// F5, F7: a leader is stopped after each single call, another one takes over for a while, and the first goes on.
#[test]
fn a_leader_is_paused_after_each_single_call() {
    for edit in UNDER_WAY {
        for calls in 0..CALLS {
            for meanwhile in [1, 3, 6, 9, 14, CALLS] {
                let mut events = before(edit);
                events.extend([work(0, calls), work(1, meanwhile), Event::Pass(61_000), work(1, 3), work(0, CALLS)]);
                check(events);
            }
        }
    }
}

/// "A second run writes nothing", "no hot loop": once settled, a leader with any memory makes no request.
#[test]
fn a_second_run_writes_nothing() {
    let config = Config { rules: Rules::default(), skew: 0, undone: &[] };
    let mut world = World::new(config, crate::core::Core::new(START));
    for event in before(Some(Edit::Delete)).into_iter().chain([work(0, CALLS)]) {
        world.apply(event).unwrap();
    }
    let server = world.core.server.clone();
    world.apply(Event::Crash(0)).unwrap();
    world.apply(work(0, CALLS)).unwrap();
    world.apply(work(1, CALLS)).unwrap();
    assert_eq!(world.core.server, server);
}
