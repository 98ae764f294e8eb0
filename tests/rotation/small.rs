//! A small cluster without clocks, all of whose histories are tried: two leaders, up to three replicas, and a few faults.
//!
//! Time stands still but for whole overlaps. A replica is what the gate and a caller see of it; that a Lease is dropped only while
//! its replica is in doubt is what the random histories check, with the real `Contact` and clocks. A paused leader is one that does
//! nothing for a while: every interleaving contains it.

mod canonical;

pub use canonical::fingerprint;

use crate::{
    core::{Core, Edit},
    laws::Broken,
    leader::{Config, Doing, Leader, Request, first_read},
    server::{Client, LAST, Number},
    undone::Undone,
};
use keywright::domain::{
    credential::CredentialState::Pending,
    rotation::{Object, Step},
};
use std::sync::Arc;

/// When histories begin.
const START: i64 = 1_000_000_000;
/// Calls that a leader without faults needs at most, with nine to retire.
const CALLS: usize = 60;

/// How often each thing may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Bounds {
    pub crashes: u8,
    /// Replies that are lost.
    pub losses: u8,
    /// Requests that their senders give up, and that may arrive whenever they like.
    pub delays: u8,
    pub edits: u8,
    /// Replicas that lose contact.
    pub doubts: u8,
    pub restarts: u8,
    /// Overlaps that pass.
    pub passes: u8,
    /// Credentials that may be drawn after the first one.
    pub draws: u8,
}

/// What a search is about.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub config: Config,
    pub replicas: usize,
    pub start: Start,
    /// What the user may do, besides restoring what was published.
    pub edits: &'static [Edit],
    pub bounds: Bounds,
}

/// What there is before the first move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A client without anything.
    Nothing,
    /// A client whose status was never written, and a Secret of an earlier installation.
    Earlier,
    /// One Current credential, which the Secret holds, and an order to rotate.
    Ordered,
    /// The same, and what is ordered is a rehearsal of more than two overlaps.
    Rehearsed,
    /// The same with a Previous one, and without an order.
    Rotated,
}

/// What is to be seen of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sight {
    /// Not running; its Lease reports this version. `u32::MAX`: it has none.
    Down(u32),
    /// Its Lease is there, then the list was made; it serves nobody yet. The Lease of its former life reported this version.
    Joining(Arc<Client>, u32),
    /// Serves, and is not in doubt.
    Serving(Arc<Client>),
    /// In doubt: it refuses nobody. Its Lease is there.
    Doubting(Arc<Client>),
    /// In doubt, and its Lease was dropped.
    Dropped(Arc<Client>),
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// A leader reads the object that it means to write.
    Read(usize, Object),
    /// It reads the other one, plans, and sends its request.
    Plan(usize),
    /// It finds that every counted replica has seen the Pending one.
    Gate(usize),
    Deliver(usize),
    LoseReply(usize),
    Delay(usize),
    Crash(usize),
    /// A late request arrives.
    Arrive(usize),
    User(Edit),
    /// A replica's watch brings all there is.
    See(usize),
    LoseContact(usize),
    DropLease(usize),
    /// In contact again: a renewal, and a list after it.
    Recover(usize),
    Stop(usize),
    Join(usize),
    Serve(usize),
    /// The overlap passes.
    Pass,
}

/// The state of all that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Small {
    pub core: Core,
    sights: Vec<Sight>,
    bounds: Bounds,
}

impl Small {
    pub fn start(setup: &Setup) -> Self {
        let core = if setup.start == Start::Earlier { Core::with_earlier_secret(START) } else { Core::new(START) };
        let head = Arc::new(core.server.client.clone());
        let mut small = Self { core, sights: vec![Sight::Serving(head); setup.replicas], bounds: setup.bounds };
        let kept = Setup { config: Config { undone: &[], ..setup.config }, ..*setup };
        if matches!(setup.start, Start::Ordered | Start::Rehearsed | Start::Rotated) {
            small.work(&kept).expect("a first credential");
            small.core.pass(1_000);
            small.core.edit(&kept.config, if setup.start == Start::Rehearsed { Edit::Rehearse { long: true } } else { Edit::Order });
        }
        if setup.start == Start::Rotated {
            small.work(&kept).expect("a second credential");
        }
        small.core.leaders = Default::default();
        // Adopting draws two at once.
        small.core.limit = small.core.drawn() + setup.bounds.draws + 1;
        small.canonical(setup);
        small
    }

    /// All that may happen next.
    pub fn moves(&self, setup: &Setup) -> Vec<Move> {
        let mut moves = Vec::with_capacity(16);
        for who in 0..2 {
            self.moves_of_leader(setup, who, &mut moves);
        }
        for which in 0..self.sights.len() {
            self.moves_of_replica(which, &mut moves);
        }
        moves.extend((0..self.core.late.len()).map(Move::Arrive));
        if self.bounds.edits > 0 {
            moves.extend(setup.edits.iter().copied().map(Move::User));
            let restore = |which| [true, false].map(|fence| Move::User(Edit::Restore { which, fence }));
            let manifests = u8::try_from(self.core.manifests.len()).expect("few");
            moves.extend((0..manifests).flat_map(restore));
        }
        if self.bounds.passes > 0 {
            moves.push(Move::Pass);
        }
        moves
    }

    fn moves_of_leader(&self, setup: &Setup, who: usize, moves: &mut Vec<Move>) {
        let leader = &self.core.leaders[who];
        match &leader.doing {
            Doing::Nothing => {
                moves.extend([Object::Status, Object::Secret].map(|object| Move::Read(who, object)));
                if self.is_gate_open(setup, leader) {
                    moves.push(Move::Gate(who));
                }
            }
            Doing::Read { .. } => moves.push(Move::Plan(who)),
            Doing::Waiting(_) => {
                moves.push(Move::Deliver(who));
                moves.extend((self.bounds.losses > 0).then_some(Move::LoseReply(who)));
                moves.extend((self.bounds.delays > 0).then_some(Move::Delay(who)));
            }
        }
        if self.bounds.crashes > 0 && *leader != Leader::default() {
            moves.push(Move::Crash(who));
        }
    }

    fn moves_of_replica(&self, which: usize, moves: &mut Vec<Move>) {
        let head = self.core.server.client.version;
        match &self.sights[which] {
            Sight::Serving(seen) => {
                moves.extend((seen.version < head).then_some(Move::See(which)));
                moves.extend((self.bounds.doubts > 0).then_some(Move::LoseContact(which)));
                moves.extend((self.bounds.restarts > 0).then_some(Move::Stop(which)));
            }
            Sight::Doubting(_) => moves.extend([Move::DropLease(which), Move::Recover(which)]),
            Sight::Dropped(_) => moves.push(Move::Recover(which)),
            Sight::Down(_) => moves.push(Move::Join(which)),
            Sight::Joining(..) => moves.push(Move::Serve(which)),
        }
    }

    /// Whether no counted replica is left that has not seen the Pending one.
    fn is_gate_open(&self, setup: &Setup, leader: &Leader) -> bool {
        let head = &self.core.server.client;
        let pending = leader.held.and_then(|held| head.numbered(held)).is_some_and(|known| known.state == Pending);
        let wanted = leader.seen.or(pending.then_some(head.version));
        let blocks = |sight: &Sight, wanted: u32| match sight {
            Sight::Down(seen) => *seen < wanted,
            Sight::Joining(_, former) if setup.config.is(Undone::LeaseIsReset) => *former < wanted,
            Sight::Joining(..) => !setup.config.is(Undone::GateCountsJoining),
            Sight::Serving(seen) | Sight::Doubting(seen) => seen.version < wanted,
            Sight::Dropped(_) => false,
        };
        !leader.passed && wanted.is_some_and(|wanted| !self.sights.iter().any(|sight| blocks(sight, wanted)))
    }

    /// Lets it happen, and checks the laws.
    pub fn make(&mut self, setup: &Setup, one: Move) -> Result<(), Broken> {
        match one {
            Move::Read(who, object) => self.core.read_first(who, object, None),
            Move::Plan(who) => self.core.read_second(&setup.config, who, self.core.now),
            Move::Gate(who) => self.pass_gate(who),
            Move::Deliver(who) => self.send(setup, who, true)?,
            Move::LoseReply(who) => {
                self.bounds.losses -= 1;
                self.send(setup, who, false)?;
            }
            Move::Delay(who) => {
                self.bounds.delays -= 1;
                let request = self.take_request(who);
                self.core.late.extend(request);
            }
            Move::Crash(who) => {
                self.bounds.crashes -= 1;
                self.core.crash(who);
            }
            Move::Arrive(nth) => {
                let request = self.core.late.remove(nth);
                self.core.arrive(&setup.config, &request)?;
            }
            Move::User(edit) => {
                self.bounds.edits -= 1;
                self.core.edit(&setup.config, edit);
            }
            Move::Pass => {
                self.bounds.passes -= 1;
                self.core.pass(setup.config.overlap() + 1);
            }
            _ => self.move_replica(setup, one),
        }
        self.check(setup)?;
        self.canonical(setup);
        Ok(())
    }

    fn move_replica(&mut self, setup: &Setup, one: Move) {
        let head = Arc::new(self.core.server.client.clone());
        let (which, next) = match one {
            Move::See(which) => (which, Sight::Serving(head)),
            Move::LoseContact(which) => {
                self.bounds.doubts -= 1;
                (which, Sight::Doubting(self.snapshot(which)))
            }
            Move::DropLease(which) => (which, Sight::Dropped(self.snapshot(which))),
            Move::Recover(which) => (which, self.recovered(setup, which, head)),
            Move::Stop(which) => {
                self.bounds.restarts -= 1;
                (which, Sight::Down(self.snapshot(which).version))
            }
            Move::Join(which) => {
                let former = if let Sight::Down(seen) = self.sights[which] { seen } else { 0 };
                (which, Sight::Joining(head, former))
            }
            Move::Serve(which) => (which, Sight::Serving(self.snapshot(which))),
            _ => return,
        };
        self.sights[which] = next;
    }

    fn recovered(&self, setup: &Setup, which: usize, head: Arc<Client>) -> Sight {
        match &self.sights[which] {
            Sight::Doubting(old) | Sight::Dropped(old) if setup.config.is(Undone::DoubtEndsByList) => Sight::Serving(Arc::clone(old)),
            Sight::Dropped(_) => Sight::Joining(head, 0),
            _ => Sight::Serving(head),
        }
    }

    fn snapshot(&self, which: usize) -> Arc<Client> {
        match &self.sights[which] {
            Sight::Joining(seen, _) | Sight::Serving(seen) | Sight::Doubting(seen) | Sight::Dropped(seen) => Arc::clone(seen),
            Sight::Down(_) => Arc::new(self.core.server.client.clone()),
        }
    }

    fn pass_gate(&mut self, who: usize) {
        let leader = &mut self.core.leaders[who];
        leader.observe(&self.core.server.client);
        leader.passed = leader.held.is_some();
    }

    fn take_request(&mut self, who: usize) -> Option<Request> {
        match std::mem::take(&mut self.core.leaders[who].doing) {
            Doing::Waiting(request) => Some(request),
            other => {
                self.core.leaders[who].doing = other;
                None
            }
        }
    }

    fn send(&mut self, setup: &Setup, who: usize, answered: bool) -> Result<(), Broken> {
        let Some(request) = self.take_request(who) else { return Ok(()) };
        let reply = self.core.arrive(&setup.config, &request)?;
        if answered {
            self.core.reply(who, &request, reply);
        }
        Ok(())
    }

    /// L2, L7: what is owed is registered, and nobody who is not in doubt refuses it.
    fn check(&self, setup: &Setup) -> Result<(), Broken> {
        let (core, config) = (&self.core, &setup.config);
        core.laws.check(&core.server, config, core.now)?;
        for value in core.laws.accepted_everywhere(&core.server, config, core.now) {
            for sight in &self.sights {
                match sight {
                    Sight::Serving(seen) if self.refuses(config, seen, value) => {
                        return Err(format!("L2: a replica that has seen v{} answers 401 to value {value}", seen.version));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Past an `acceptedUntil` a replica refuses only what a newer look at the head confirmed.
    fn refuses(&self, config: &Config, seen: &Client, value: Number) -> bool {
        let confirmed = seen.version == self.core.server.client.version || config.is(Undone::RefusalNeedsHeadCheck);
        match seen.with_value(value).map(|known| known.accepted_until) {
            None => true,
            Some(until) => until.is_some_and(|until| until <= self.core.now) && confirmed,
        }
    }

    /// L1: both processes die, what is late arrives, the replicas keep up, one leads: it settles, and then writes nothing more.
    pub fn settle(&self, setup: &Setup) -> Result<(), Broken> {
        let mut small = self.clone();
        (0..2).for_each(|who| small.core.crash(who));
        small.core.limit = LAST - 1;
        while let Some(request) = small.core.late.pop() {
            small.core.arrive(&setup.config, &request)?;
            small.check(setup)?;
        }
        small.work(setup)?;
        small.core.check_settled()
    }

    /// One leader without faults, until it plans nothing more.
    fn work(&mut self, setup: &Setup) -> Result<(), Broken> {
        for _ in 0..CALLS {
            let head = Arc::new(self.core.server.client.clone());
            self.sights.iter_mut().for_each(|sight| *sight = Sight::Serving(Arc::clone(&head)));
            let plan = self.core.leaders[0].decide(&setup.config, &head, self.core.server.secret, self.core.now);
            match plan.step {
                None => return Ok(()),
                Some(Step::Gate(_)) => self.pass_gate(0),
                Some(step) => {
                    let Some(object) = first_read(&step, &setup.config) else { continue };
                    self.core.read_first(0, object, None);
                    self.core.read_second(&setup.config, 0, self.core.now);
                    self.send(setup, 0, true)?;
                }
            }
            self.check(setup)?;
        }
        Err(format!("L1: it does not settle: {}", self.core.tell()))
    }
}
