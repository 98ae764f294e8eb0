//! The safety rules, each of which can be undone: a law must fail then.

use crate::server::{Client, Known, number, time};
use keywright::domain::{
    credential::{
        Credential, CredentialId,
        CredentialState::{Current, Pending, Previous},
        MAX_CREDENTIALS,
    },
    rotation::{self, Cause, Plan, Register, Rules, Slots, Step, Stored},
};
use std::collections::BTreeSet;

/// One safety rule that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Undone {
    /// A credential is published without waiting for the replicas.
    Gate,
    /// The gate looks at a LIST made before the register write.
    GateListIsLive,
    /// A joining replica is not waited for.
    GateCountsJoining,
    /// The status is patched whatever its resourceVersion.
    StatusPrecondition,
    /// The Secret is patched whatever its resourceVersion.
    SecretPrecondition,
    /// A create overwrites what is there.
    CreateByPost,
    /// The step that the caches ask for is made without planning again on live reads.
    PlanAgain,
    /// Publish reads the status first.
    PublishReadsSecretFirst,
    /// Fence reads the status first.
    FenceReadsSecretFirst,
    /// Register reads the Secret first.
    RegisterReadsStatusFirst,
    /// Promote reads the Secret first.
    PromoteReadsStatusFirst,
    /// Retire reads the Secret first.
    RetireReadsStatusFirst,
    /// Adopt reads the Secret first.
    AdoptReadsStatusFirst,
    /// Register forgets a lost Pending one.
    LostPendingIsKept,
    /// Register gives a lost Pending one an `acceptedUntil`.
    LostPendingIsNotCut,
    /// Promote gives a Pending one an `acceptedUntil`.
    OtherPendingIsNotCut,
    /// Promote forgets the one that was Current.
    FormerCurrentIsKept,
    /// Promote sets an `acceptedUntil` on what the fence does not name.
    CutWaitsForFence,
    /// What is Previous goes without a fence.
    RetireWaitsForFence,
    /// What makes room goes without a fence.
    EvictionWaitsForFence,
    /// A heal waits for room.
    HealMakesRoom,
    /// A rotation that could wait makes room for itself.
    OrderWaitsForRoom,
    /// An annotation that was handled orders again.
    OrderIsEchoed,
    /// The schedule adds to what is under way.
    ScheduleWaits,
    /// What an earlier installation left in the Secret is overwritten unseen.
    FoundIsAdopted,
    /// What an earlier installation left in the Secret stays.
    FoundIsRotated,
    /// The fence names Pending ones too.
    FenceNamesNoPending,
    /// What is Previous goes before its time.
    RetireWaitsForOverlap,
    /// What is Previous goes although there is no Secret.
    RetireNeedsSecret,
    /// What is Previous goes although the Secret holds it.
    RetireSparesWhatIsHeld,
    /// A restored value is overwritten as one that nobody registered.
    RestoredIsPromoted,
    /// A restored value becomes Current again although replicas refuse it already.
    RefusedIsNotPromoted,
    /// What was made before `secretsIssuedBefore` stays.
    RevokedIsRefused,
    /// A credential's `createdAt` is what the leader's clock says.
    CreatedAt,
    /// A rehearsal cuts like any rotation.
    RehearsalCutsNobody,
    /// What a rehearsal replaced goes after the overlap.
    RehearsalOutlivesOverlap,
    /// What a rehearsal replaced goes after its time, in use or not.
    RehearsedGoesUnused,
    /// A credential that takes the place of a lost Pending one does not go on with its rehearsal.
    LostRehearsalGoesOn,
    /// A lost Pending one that is published all the same is promoted without the rehearsal.
    LateRehearsalGoesOn,
    /// A heal in a rehearsal replaces for good.
    HealKeepsRehearsal,
    /// A replica refuses what is past its `retireAfter`.
    RetireAfterIsTheLeaders,
    /// A replica lists before it has made its Lease.
    LeaseBeforeList,
    /// A replica that starts again goes on with the report of its Lease.
    LeaseIsReset,
    /// A replica takes over a list that is older than its snapshot.
    ListIsConsistent,
    /// The leader drops a Lease that changed a moment ago.
    DropWaitsForSilence,
    /// The leader drops a Lease whose pod is Ready, or was a moment ago.
    DropWaitsForUnready,
    /// The leader drops a Lease whatever its resourceVersion.
    DropPrecondition,
    /// A replica that leaves deletes its Lease before it has drained.
    LeaseOutlivesService,
    /// Doubt goes by the wall clock alone.
    DoubtCountsBoottime,
    /// Doubt goes by `CLOCK_BOOTTIME` alone.
    DoubtCountsWallClock,
    /// A replica in doubt answers 401.
    DoubtRefusesNobody,
    /// Doubt begins 10 s after the end of the last renewal.
    DoubtCountsFromStart,
    /// A renewal alone ends doubt.
    DoubtEndsByList,
    /// A list that was begun before the renewal ends doubt.
    DoubtEndsByLaterList,
    /// A replica whose Lease is missing makes a new one and goes on.
    MissingLeaseIsDoubt,
    /// A request loads the snapshot before it looks at the clocks.
    DoubtBeforeSnapshot,
    /// A replica refuses after `acceptedUntil` without looking whether its snapshot is the newest.
    RefusalNeedsHeadCheck,
}

impl Undone {
    /// What is planned without the rule; `None`: the same.
    pub fn decide(self, slots: &Slots, plan: &Plan, rules: &Rules, now: i64) -> Option<Plan> {
        let again = |slots: &Slots| rotation::plan(slots, rules, time(now));
        match self {
            Self::CutWaitsForFence | Self::RetireWaitsForFence | Self::EvictionWaitsForFence => {
                let wanted = again(&fenced(slots));
                let skipped = match wanted.step {
                    Some(Step::Promote(_)) => self == Self::CutWaitsForFence,
                    Some(Step::Retire(_)) => self == Self::RetireWaitsForFence,
                    Some(Step::Register { evicted: Some(_), .. }) => self == Self::EvictionWaitsForFence,
                    _ => false,
                };
                (plan.step == Some(Step::Fence) && skipped).then_some(wanted)
            }
            Self::RetireWaitsForOverlap => Some(again(&changed(slots, |known| known.retire_after = known.retire_after.map(|_| time(0))))),
            Self::RehearsalOutlivesOverlap => Some(again(&changed(slots, |known| {
                known.retire_after = known.retire_after.map(|after| if known.rehearsed_until.is_some() { time(0) } else { after });
            }))),
            Self::RehearsedGoesUnused => Some(again(&changed(slots, |known| known.rehearsed_until = None))),
            Self::RefusedIsNotPromoted => Some(again(&changed(slots, |known| known.accepted_until = None))),
            Self::RestoredIsPromoted => Some(again(&without_restored(slots))),
            Self::HealMakesRoom => matches!(plan.step, Some(Step::Register { evicted: Some(_), .. })).then_some(RESTS),
            Self::OrderWaitsForRoom => making_room(slots, plan),
            Self::FoundIsAdopted => (plan.step == Some(Step::Adopt)).then_some(Plan { step: Some(FIRST), wake_at: None }),
            Self::ScheduleWaits => again_alone(slots, plan).map(|slots| again(&slots)).filter(is_due),
            Self::RetireNeedsSecret => over(slots, now).filter(|_| slots.stored == Stored::Missing).map(retire),
            Self::RetireSparesWhatIsHeld => over(slots, now).filter(|id| holds(slots) == Some(id)).map(retire),
            Self::RevokedIsRefused => Some(rotation::plan(slots, &Rules { secrets_issued_before: None, ..*rules }, time(now))),
            _ => None,
        }
    }

    /// Spoils what a step writes to status.
    pub fn transition(self, step: &Step, before: &Client, after: &mut Vec<Known>) {
        let was = |known: &Known, state| before.numbered(known.number).is_some_and(|before| before.state == state);
        match (self, step) {
            (Self::LostPendingIsKept, Step::Register { .. }) => after.retain(|known| !was(known, Pending)),
            (Self::LostPendingIsNotCut, Step::Register { .. }) | (Self::OtherPendingIsNotCut, Step::Promote(_)) => {
                let demoted = after.iter_mut().filter(|known| known.state == Previous && was(known, Pending));
                demoted.for_each(|known| known.accepted_until = known.retire_after);
            }
            (Self::RehearsalCutsNobody, Step::Promote(_)) => replaced_for_good(before, after),
            (Self::LateRehearsalGoesOn, Step::Promote(id)) if before.numbered(number(id)).is_some_and(|known| known.state == Previous) => {
                replaced_for_good(before, after);
            }
            (Self::HealKeepsRehearsal, Step::Promote(id))
                if before.numbered(number(id)).is_some_and(|known| known.rehearsed_until.is_none()) =>
            {
                replaced_for_good(before, after);
            }
            (Self::LostRehearsalGoesOn, Step::Register { cause: Cause::PendingLost, .. }) => {
                after.iter_mut().filter(|known| known.state == Pending).for_each(|known| known.rehearsed_until = None);
            }
            (Self::FoundIsRotated, Step::Adopt) => after.retain(|known| known.state != Pending),
            (Self::FormerCurrentIsKept, Step::Promote(id)) => after.retain(|known| known.number == number(id) || was(known, Previous)),
            _ => {}
        }
    }

    /// Whether the step reads the two objects in the wrong order.
    pub fn swaps(self, step: &Step) -> bool {
        match step {
            Step::Publish(_) => self == Self::PublishReadsSecretFirst,
            Step::Fence => self == Self::FenceReadsSecretFirst,
            Step::Register { .. } => self == Self::RegisterReadsStatusFirst,
            Step::Promote(_) => self == Self::PromoteReadsStatusFirst,
            Step::Retire(_) => self == Self::RetireReadsStatusFirst,
            Step::Adopt => self == Self::AdoptReadsStatusFirst,
            Step::Revoke | Step::Gate(_) => false,
        }
    }

    /// Whether some step reads the two objects in the wrong order, or writes what it did not read.
    pub fn changes_reads(self) -> bool {
        let preconditions = [Self::StatusPrecondition, Self::SecretPrecondition, Self::CreateByPost];
        let orders = [
            Self::PublishReadsSecretFirst,
            Self::FenceReadsSecretFirst,
            Self::RegisterReadsStatusFirst,
            Self::PromoteReadsStatusFirst,
            Self::RetireReadsStatusFirst,
            Self::AdoptReadsStatusFirst,
        ];
        preconditions.contains(&self) || orders.contains(&self)
    }
}

const RESTS: Plan = Plan { step: None, wake_at: None };
const FIRST: Step = Step::Register { cause: Cause::First, evicted: None };

/// In a rehearsal, and all the same.
fn replaced_for_good(before: &Client, after: &mut [Known]) {
    let was_current = |known: &&mut Known| before.numbered(known.number).is_some_and(|known| known.state == Current);
    for known in after.iter_mut().filter(was_current).filter(|known| known.rehearsed_until.is_some()) {
        (known.accepted_until, known.rehearsed_until) = (known.retire_after, None);
    }
}

fn is_due(plan: &Plan) -> bool {
    matches!(plan.step, Some(Step::Register { cause: Cause::Due, .. }))
}

/// Nothing is to be done, and only the Current one is looked at.
fn again_alone(slots: &Slots, plan: &Plan) -> Option<Slots> {
    let mut slots = slots.clone();
    if let Register::Known(credentials) = &mut slots.register {
        credentials.retain(|known| known.state == Current);
    }
    plan.step.is_none().then_some(slots)
}

/// A lost Pending one waits for room.
fn making_room(slots: &Slots, plan: &Plan) -> Option<Plan> {
    let all = registered(slots);
    let waits = plan.step.is_none() && all.len() == MAX_CREDENTIALS && all.iter().any(|known| known.state == Pending);
    let oldest = all.iter().find(|known| known.state == Previous).filter(|_| waits)?;
    let step = Step::Register { cause: Cause::PendingLost, evicted: Some(oldest.id.clone()) };
    Some(Plan { step: Some(step), wake_at: None })
}

fn retire(id: CredentialId) -> Plan {
    Plan { step: Some(Step::Retire(id)), wake_at: None }
}

fn registered(slots: &Slots) -> &[Credential] {
    match &slots.register {
        Register::Never => &[],
        Register::Known(credentials) => credentials,
    }
}

fn over(slots: &Slots, now: i64) -> Option<CredentialId> {
    let over = |known: &&Credential| known.state == Previous && known.retire_after.is_some_and(|after| after <= time(now));
    registered(slots).iter().find(over).map(|known| known.id.clone())
}

fn holds(slots: &Slots) -> Option<&CredentialId> {
    match &slots.stored {
        Stored::Present { holds, .. } => holds.as_ref(),
        Stored::Missing => None,
    }
}

fn fenced(slots: &Slots) -> Slots {
    let all: BTreeSet<_> = registered(slots).iter().map(|known| known.id.clone()).collect();
    let stored = match slots.stored.clone() {
        Stored::Present { holds, our_form, .. } => Stored::Present { holds, our_form, fence: all },
        Stored::Missing => Stored::Missing,
    };
    Slots { stored, ..slots.clone() }
}

fn changed(slots: &Slots, change: impl Fn(&mut Credential)) -> Slots {
    let mut slots = slots.clone();
    if let Register::Known(credentials) = &mut slots.register {
        credentials.iter_mut().for_each(change);
    }
    slots
}

fn without_restored(slots: &Slots) -> Slots {
    let mut slots = slots.clone();
    let previous: Vec<_> = registered(&slots).iter().filter(|known| known.state == Previous).map(|known| known.id.clone()).collect();
    if let Stored::Present { holds, .. } = &mut slots.stored {
        *holds = holds.take().filter(|id| !previous.contains(id));
    }
    slots
}
