//! All histories of small clusters: two leaders, up to three replicas, crashes, pauses, lost and late requests, one user edit.
//!
//! A replica more only shuts the gate more often, so that what one replica refuses is found with one; two and three are there to show
//! that they do not wait for each other. `KEYWRIGHT_FAULTS=1` allows each fault that a search allows once more: minutes become hours.

use crate::{
    core::Edit,
    explorer::{explore, tell},
    leader::Config,
    number,
    small::{Bounds, Setup, Start},
    undone::Undone,
};
use jiff::SignedDuration;
use keywright::domain::rotation::{Retirement, Rules};

pub const EDITS: &[Edit] = &[Edit::Delete, Edit::Overwrite, Edit::Unfence, Edit::Order, Edit::Revoke];

/// Nothing goes wrong.
pub const CALM: Bounds = Bounds { crashes: 0, losses: 0, delays: 0, edits: 0, doubts: 0, restarts: 0, passes: 0, draws: 3 };

pub fn rules(retirement: Retirement) -> Rules {
    Rules { overlap: SignedDuration::from_secs(60), quiet: SignedDuration::from_secs(20), retirement, ..Rules::default() }
}

pub fn setup(start: Start, replicas: usize, bounds: Bounds) -> Setup {
    let config = Config { rules: rules(Retirement::AfterOverlap), skew: 0, undone: &[] };
    Setup { config, replicas, start, edits: EDITS, bounds }
}

fn more(bound: u8) -> u8 {
    let more = number("KEYWRIGHT_FAULTS").and_then(|more| u8::try_from(more).ok()).unwrap_or(0);
    if bound == 0 { 0 } else { bound + more }
}

/// Every history within these bounds keeps the laws.
#[track_caller]
fn keeps_the_laws(setup: Setup) {
    let Bounds { crashes, losses, delays, edits, doubts, restarts, passes, draws } = setup.bounds;
    let bounds = Bounds {
        crashes: more(crashes),
        losses: more(losses),
        delays: more(delays),
        edits: more(edits),
        doubts: more(doubts),
        restarts: more(restarts),
        passes: more(passes),
        draws: more(draws),
    };
    let setup = Setup { bounds, ..setup };
    let begun = keywright::ambient::boot_time();
    let found = explore(&setup);
    println!("{} states, {} moves deep, {:.1?}: {setup:?}", found.states, found.depth, keywright::ambient::boot_time() - begun);
    if let Some((moves, broken)) = found.broken {
        panic!("{broken}\n{}", tell(&setup, &moves));
    }
}

#[test]
fn two_leaders_and_three_replicas_without_faults() {
    keeps_the_laws(setup(Start::Ordered, 3, Bounds { draws: 2, ..CALM }));
}

#[test]
fn a_first_credential() {
    keeps_the_laws(setup(Start::Nothing, 2, Bounds { crashes: 1, delays: 1, ..CALM }));
}

#[test]
fn a_secret_of_an_earlier_installation() {
    keeps_the_laws(setup(Start::Earlier, 1, Bounds { crashes: 1, delays: 1, draws: 4, ..CALM }));
}

#[test]
fn a_rotation_with_a_crash_and_a_late_request() {
    keeps_the_laws(setup(Start::Ordered, 1, Bounds { crashes: 1, delays: 1, passes: 1, ..CALM }));
}

#[test]
fn a_rotation_with_a_lost_reply() {
    keeps_the_laws(setup(Start::Ordered, 2, Bounds { losses: 1, passes: 1, ..CALM }));
}

#[test]
fn a_rotation_with_an_edit() {
    keeps_the_laws(setup(Start::Ordered, 1, Bounds { edits: 1, passes: 1, ..CALM }));
}

#[test]
fn a_rehearsal_with_a_crash_and_a_late_request() {
    keeps_the_laws(setup(Start::Rehearsed, 1, Bounds { crashes: 1, delays: 1, passes: 1, ..CALM }));
}

#[test]
fn a_rehearsal_with_an_edit() {
    keeps_the_laws(setup(Start::Rehearsed, 1, Bounds { edits: 1, passes: 1, draws: 2, ..CALM }));
}

#[test]
fn an_edit_in_an_overlap_with_a_crash() {
    keeps_the_laws(setup(Start::Rotated, 1, Bounds { edits: 1, crashes: 1, passes: 1, ..CALM }));
}

#[test]
fn a_rotation_with_a_replica_that_starts_again_and_one_that_loses_contact() {
    keeps_the_laws(setup(Start::Ordered, 2, Bounds { doubts: 1, restarts: 1, draws: 2, ..CALM }));
}

/// A rule that is undone, where a search begins that misses it, and the law that its shortest history breaks.
const FOUND: [(Undone, Start, &str); 21] = [
    (Undone::Gate, Start::Ordered, "L2"),
    (Undone::GateCountsJoining, Start::Ordered, "L2"),
    (Undone::StatusPrecondition, Start::Ordered, "L1"),
    (Undone::SecretPrecondition, Start::Ordered, "L2"),
    (Undone::CreateByPost, Start::Rotated, "L2"),
    (Undone::LostPendingIsKept, Start::Ordered, "L2"),
    (Undone::LostPendingIsNotCut, Start::Ordered, "L2"),
    (Undone::FormerCurrentIsKept, Start::Ordered, "L2"),
    (Undone::OrderIsEchoed, Start::Ordered, "L1"),
    (Undone::FoundIsAdopted, Start::Earlier, "L2"),
    (Undone::FoundIsRotated, Start::Earlier, "L1"),
    (Undone::RetireWaitsForOverlap, Start::Ordered, "L2"),
    (Undone::RetireSparesWhatIsHeld, Start::Ordered, "L2"),
    (Undone::RestoredIsPromoted, Start::Ordered, "L2"),
    (Undone::RevokedIsRefused, Start::Rotated, "L4"),
    (Undone::DoubtEndsByList, Start::Ordered, "L2"),
    (Undone::RefusalNeedsHeadCheck, Start::Rotated, "L2"),
    (Undone::PublishReadsSecretFirst, Start::Ordered, "L2"),
    (Undone::RehearsalCutsNobody, Start::Rehearsed, "L2"),
    (Undone::RehearsedGoesUnused, Start::Rehearsed, "L2"),
    (Undone::LostRehearsalGoesOn, Start::Rehearsed, "L2"),
];

/// What is searched without that rule: no more than shows it.
fn small_setup(undone: Undone, start: Start) -> Setup {
    let lone = Bounds { passes: 1, draws: 2, ..CALM };
    let (replicas, bounds) = match (undone, start) {
        (Undone::GateCountsJoining | Undone::DoubtEndsByList, _) => (2, Bounds { doubts: 1, restarts: 1, draws: 2, ..CALM }),
        (_, Start::Rehearsed) => (1, Bounds { crashes: 1, passes: 3, draws: 2, ..CALM }),
        (_, Start::Rotated) => (1, Bounds { edits: 1, ..lone }),
        (_, Start::Earlier) => (1, Bounds { crashes: 1, draws: 3, ..CALM }),
        _ => (1, Bounds { crashes: 1, ..lone }),
    };
    let alone: &'static [Undone] = Box::leak(Box::new([undone]));
    let setup = setup(start, replicas, bounds);
    Setup { config: Config { undone: alone, ..setup.config }, ..setup }
}

/// The search is worth its name: without one of these rules it finds a history that breaks a law. Those that it does not find in so
/// small a cluster have a history of their own in `rules`, where each rule has its test.
#[test]
fn a_rule_that_is_undone_is_found() {
    for (undone, start, law) in FOUND {
        let setup = small_setup(undone, start);
        let Some((moves, broken)) = explore(&setup).broken else { panic!("nothing fails without {undone:?}") };
        assert!(broken.starts_with(law), "without {undone:?}: {broken}\n{}", tell(&setup, &moves));
    }
}
