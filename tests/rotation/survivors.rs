//! The rules that can be undone alone without breaking a law, and what each is kept for.

use crate::{history::first_broken, undone::Undone};

/// Undoing one of these alone breaks no law that is stated here; each is kept, and this says what for. If one begins to fail, it
/// has become needed.
const NOT_NEEDED_ALONE: [Undone; 11] = [
    // Whoever reads the status first knows enough too: what the fence names was not Pending then, and never will be again.
    Undone::FenceReadsSecretFirst,
    // An old view of the Secret costs a rotation that nobody needed; what it would evict is fenced by the write that brought the
    // Secret back.
    Undone::RegisterReadsStatusFirst,
    // It stands in for CutWaitsForFence, and that for it.
    Undone::PromoteReadsStatusFirst,
    Undone::CutWaitsForFence,
    // The fence keeps the operator from publishing what is being retired; a user who restores it at that moment is a bound of the
    // promise with either order.
    Undone::RetireReadsStatusFirst,
    // Only a create that is late by more than the overlap could publish it again: a bound of the promise.
    Undone::RetireNeedsSecret,
    // Doubt protects without it; it keeps a replica that serves in the gate.
    Undone::DropWaitsForUnready,
    // The old report was true of an older process, and the new one lists what is newer before it is Current.
    Undone::LeaseIsReset,
    // Adopt writes on the status that it read; a Secret that changed since is healed like any other.
    Undone::AdoptReadsStatusFirst,
    // It bounds how many credentials are accepted at a time; what is added waits for room, and breaks no law.
    Undone::ScheduleWaits,
    // Who drops a Lease waits for longer than doubt does: its replica is in doubt by its clocks already.
    Undone::MissingLeaseIsDoubt,
];

#[test]
fn what_is_not_needed_alone_is_known() {
    for undone in NOT_NEEDED_ALONE {
        let alone: &'static [Undone] = Box::leak(Box::new([undone]));
        assert!(first_broken(1, 200, alone).is_none(), "{undone:?} has become needed: write its test");
    }
}
