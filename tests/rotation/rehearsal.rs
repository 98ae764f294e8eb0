//! The rules of a rehearsal: without one of them L8 fails.

use crate::{rules::is_found, undone::Undone};

#[test]
fn a_rehearsal_cuts_nobody() {
    is_found(&[Undone::RehearsalCutsNobody]);
}

#[test]
fn what_a_rehearsal_replaced_stays_to_its_end() {
    is_found(&[Undone::RehearsalOutlivesOverlap]);
}

#[test]
fn what_a_rehearsal_replaced_goes_when_nobody_uses_it() {
    is_found(&[Undone::RehearsedGoesUnused]);
}

#[test]
fn a_lost_pending_one_hands_its_rehearsal_on() {
    is_found(&[Undone::LostRehearsalGoesOn]);
}

#[test]
fn a_lost_pending_one_that_is_published_goes_on_with_its_rehearsal() {
    is_found(&[Undone::LateRehearsalGoesOn]);
}

#[test]
fn a_heal_in_a_rehearsal_cuts_nobody() {
    is_found(&[Undone::HealKeepsRehearsal]);
}
