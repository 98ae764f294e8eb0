//! The gate that the random histories pass: LISTs of Leases, and the Leases that a leader drops.

use crate::{
    leader::Leader,
    replica::Lease,
    server::Number,
    undone::Undone,
    world::{REPLICAS, World},
};

/// What a leader knows of the replicas' Leases.
#[derive(Default)]
pub struct Gate {
    /// The LIST that was made for this Pending credential.
    pub listed: Option<(Number, [Option<Lease>; REPLICAS])>,
    pub first_seen: [Option<(Lease, i64)>; REPLICAS],
}

impl World {
    /// Two looks: a LIST, and what follows from it. The reads that show the Pending one come first where its register reply was lost.
    pub fn gate(&mut self, who: usize) {
        let client = self.core.server.client.clone();
        self.core.leaders[who].observe(&client);
        let Leader { held: Some(held), seen: Some(wanted), .. } = self.core.leaders[who] else { return };
        let kept = self.config.is(Undone::GateListIsLive);
        match self.gates[who].listed.take() {
            Some((listed_for, leases)) if listed_for == held || kept => {
                self.gates[who].listed = kept.then_some((listed_for, leases));
                let passed = (0..REPLICAS).all(|which| !self.counts(who, which, leases[which], wanted));
                self.core.leaders[who].passed = passed;
            }
            _ => self.list_leases(who, held),
        }
    }

    fn list_leases(&mut self, who: usize, held: Number) {
        let (gate, now) = (&mut self.gates[who], self.core.now);
        gate.listed = Some((held, self.leases));
        for (seen, lease) in gate.first_seen.iter_mut().zip(self.leases) {
            let before = seen.filter(|(before, _)| lease.is_some_and(|lease| lease == *before));
            *seen = before.or(lease.map(|lease| (lease, now)));
        }
    }

    /// Whether the gate waits for that replica. Drops its Lease where it may.
    fn counts(&mut self, who: usize, which: usize, listed: Option<Lease>, wanted: u32) -> bool {
        let Some(lease) = listed else { return false };
        let waits_for_join = lease.joining && !self.config.is(Undone::GateCountsJoining);
        if lease.joining && !waits_for_join || !lease.joining && lease.seen >= wanted {
            return false;
        }
        let silence = if self.config.is(Undone::DropWaitsForSilence) { 0 } else { 15_000 };
        let silent = self.gates[who].first_seen[which].is_some_and(|(seen, since)| seen == lease && self.core.now - since >= silence);
        let unready = self.replicas[which].unready_since.is_some_and(|since| self.core.now - since >= 10_000)
            || self.config.is(Undone::DropWaitsForUnready);
        let unchanged = self.leases[which] == Some(lease) || self.config.is(Undone::DropPrecondition);
        let dropped = silent && unready && unchanged;
        if dropped {
            self.leases[which] = None;
        }
        !dropped
    }
}
