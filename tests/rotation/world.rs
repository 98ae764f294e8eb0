//! A cluster: the API server, two leaders, replicas with their Leases, users; and one event after the other.

use crate::{
    core::{Core, Edit},
    gate::Gate,
    laws::Broken,
    leader::{Config, Doing, Request, first_read},
    replica::{Answer, Lease, Replica},
    server::{Client, Secret},
    undone::Undone,
};
use keywright::domain::rotation::{Plan, Step};

/// How many replicas there are.
pub const REPLICAS: usize = 2;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Delivers,
    /// The write is made, its reply lost.
    LosesReply,
    /// The sender gives up; the request is still on its way.
    Delays,
    LosesRequest,
}

/// One thing that happens. Numbers are taken modulo what there is: every sequence of events is a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A leader makes its next API call. `cache`: how old its caches are; 0: not at all.
    Lead {
        who: u8,
        cache: u8,
        network: Network,
    },
    /// A leader makes so many API calls in a row, with fresh caches; `together`: the running replicas keep up.
    Work {
        who: u8,
        calls: u8,
        together: bool,
    },
    Crash(u8),
    /// A late request arrives.
    Arrive(u8),
    User(Edit),
    Replica(u8, Act),
    /// Milliseconds.
    Pass(u32),
    LeaderClock {
        who: u8,
        skew: i32,
    },
}

/// What a replica does, or what is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Start,
    Stop,
    BeginRenewal,
    /// It is stored, and its reply is on the way.
    StoreRenewal,
    EndRenewal {
        answered: bool,
    },
    BeginList,
    EndList,
    Watch,
    CheckHead,
    /// All of these at once.
    Beat,
    Cut,
    Mend,
    Unready,
    Ready,
    /// Leaves for good: it drains, and its Lease goes.
    Leave,
    /// Frozen for so many milliseconds, and its monotonic clock with it.
    Suspend(u16),
    Receive(u8),
    Respond,
    Clock(i32),
}

pub struct World {
    pub config: Config,
    pub core: Core,
    pub replicas: Vec<Replica>,
    pub leases: [Option<Lease>; REPLICAS],
    pub gates: [Gate; 2],
    skews: [i64; 2],
    clients: Vec<Client>,
    secrets: Vec<Option<Secret>>,
    lease_version: u32,
}

impl World {
    pub fn new(config: Config, core: Core) -> Self {
        let replicas = (0..REPLICAS).map(|_| Replica::new(core.now)).collect();
        let (clients, secrets) = (vec![core.server.client.clone()], vec![core.server.secret]);
        Self {
            config,
            core,
            replicas,
            leases: [None; REPLICAS],
            gates: Default::default(),
            skews: [0; 2],
            clients,
            secrets,
            lease_version: 0,
        }
    }

    /// Lets one thing happen, and checks the laws.
    pub fn apply(&mut self, event: Event) -> Result<(), Broken> {
        self.core.pass(1);
        match event {
            Event::Lead { who, cache, network } => self.lead(usize::from(who) % 2, cache, network)?,
            Event::Work { who, calls, together } => self.work(usize::from(who) % 2, calls, together)?,
            Event::Crash(who) => self.crash(usize::from(who) % 2),
            Event::Arrive(nth) if !self.core.late.is_empty() => {
                let request = self.core.late.remove(usize::from(nth) % self.core.late.len());
                self.core.arrive(&self.config, &request)?;
            }
            Event::User(edit) => self.core.edit(&self.config, edit),
            Event::Replica(which, act) => self.act(usize::from(which) % REPLICAS, act)?,
            Event::Pass(milliseconds) => self.core.pass(i64::from(milliseconds)),
            Event::LeaderClock { who, skew } => self.skews[usize::from(who) % 2] = self.within_skew(skew),
            Event::Arrive(_) => {}
        }
        self.remember();
        self.check()
    }

    fn within_skew(&self, skew: i32) -> i64 {
        i64::from(skew).clamp(-self.config.skew / 2, self.config.skew / 2)
    }

    fn remember(&mut self) {
        if self.clients.last().is_none_or(|last| last.version != self.core.server.client.version) {
            self.clients.push(self.core.server.client.clone());
        }
        if self.secrets.last() != Some(&self.core.server.secret) {
            self.secrets.push(self.core.server.secret);
        }
    }

    /// L2, L7: what is owed is registered, and nobody who is not in doubt refuses it.
    fn check(&self) -> Result<(), Broken> {
        let Self { core, config, .. } = self;
        core.laws.check(&core.server, config, core.now)?;
        for value in core.laws.accepted_everywhere(&core.server, config, core.now) {
            for (which, replica) in self.replicas.iter().enumerate().filter(|(_, replica)| replica.running) {
                if replica.answer(value, core.now, config) == Answer::Unauthorized {
                    return Err(format!("L2: replica {which} answers 401 to value {value}"));
                }
            }
        }
        self.check_registered()
    }

    /// L2: what is registered and has no end is accepted by whoever knows it, for as long as it is registered.
    fn check_registered(&self) -> Result<(), Broken> {
        let head = &self.core.server.client;
        for known in head.known().iter().filter(|known| known.accepted_until.is_none()) {
            let knows = |replica: &&Replica| replica.snapshot.as_ref().is_some_and(|snapshot| snapshot.version == head.version);
            for replica in self.replicas.iter().filter(|replica| replica.running).filter(knows) {
                if replica.answer(known.value, self.core.now, &self.config) != Answer::Token {
                    return Err(format!("L2: value {} is registered and not accepted", known.value));
                }
            }
        }
        Ok(())
    }

    fn clock(&self, who: usize) -> i64 {
        self.core.now + self.skews[who]
    }

    pub fn planned(&self, who: usize, client: &Client, secret: Option<Secret>) -> Plan {
        self.core.leaders[who].decide(&self.config, client, secret, self.clock(who))
    }

    fn lead(&mut self, who: usize, cache: u8, network: Network) -> Result<(), Broken> {
        match std::mem::take(&mut self.core.leaders[who].doing) {
            Doing::Nothing => self.choose(who, cache),
            doing @ Doing::Read { .. } => {
                self.core.leaders[who].doing = doing;
                self.core.read_second(&self.config, who, self.clock(who));
            }
            Doing::Waiting(request) => return self.send(who, request, network),
        }
        Ok(())
    }

    fn send(&mut self, who: usize, request: Request, network: Network) -> Result<(), Broken> {
        match network {
            Network::Delivers => {
                let reply = self.core.arrive(&self.config, &request)?;
                self.core.reply(who, &request, reply);
            }
            Network::LosesReply => drop(self.core.arrive(&self.config, &request)?),
            Network::Delays => self.core.late.push(request),
            Network::LosesRequest => {}
        }
        Ok(())
    }

    fn choose(&mut self, who: usize, cache: u8) {
        let age = |length: usize| length - 1 - usize::from(cache) % length;
        let client = self.clients[age(self.clients.len())].clone();
        let secret = self.secrets[age(self.secrets.len())];
        match self.planned(who, &client, secret).step {
            Some(Step::Gate(_)) => self.gate(who),
            Some(step) => {
                if let Some(object) = first_read(&step, &self.config) {
                    self.core.read_first(who, object, Some(step));
                }
            }
            None => {}
        }
    }

    fn crash(&mut self, who: usize) {
        self.core.crash(who);
        self.gates[who] = Gate::default();
    }

    fn work(&mut self, who: usize, calls: u8, together: bool) -> Result<(), Broken> {
        for _ in 0..calls {
            self.core.pass(1);
            (0..REPLICAS)
                .filter(|which| together && self.replicas[*which].running)
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|which| self.beat(which));
            self.lead(who, 0, Network::Delivers)?;
            self.remember();
            self.check()?;
        }
        Ok(())
    }

    fn act(&mut self, which: usize, act: Act) -> Result<(), Broken> {
        let (now, skew) = (self.core.now, self.config.skew / 2);
        let owed = self.core.laws.accepted_everywhere(&self.core.server, &self.config, now);
        let older = &self.clients[self.clients.len().saturating_sub(2)];
        let (replica, head) = (&mut self.replicas[which], &self.core.server.client);
        match act {
            Act::Start => replica.start(now),
            Act::Stop => {
                replica.running = false;
                replica.unready_since = replica.unready_since.or(Some(now));
            }
            Act::Cut => replica.reached = false,
            Act::Mend => replica.reached = true,
            Act::Unready => replica.unready_since = replica.unready_since.or(Some(now)),
            Act::Ready => replica.unready_since = None,
            Act::Clock(by) => replica.skew = i64::from(by).clamp(-skew, skew),
            _ if !replica.running => {}
            // With both of its clocks wrong a replica cannot know; that is a bound of the promise.
            Act::Suspend(by) if skew == 0 => {
                replica.suspended += i64::from(by);
                self.core.pass(i64::from(by));
            }
            Act::Leave => {
                replica.running = self.config.is(Undone::LeaseOutlivesService);
                self.leases[which] = None;
            }
            Act::BeginRenewal => replica.begin_renewal(self.leases[which], self.lease_version + 1, now, &self.config),
            Act::StoreRenewal | Act::EndRenewal { .. } => {
                self.lease_version += 1;
                replica.store_renewal(&mut self.leases[which], self.lease_version, &self.config);
                if let Act::EndRenewal { answered } = act {
                    replica.end_renewal(now, answered, &self.config);
                }
            }
            Act::BeginList => replica.begin_list(head, older, now, &self.config),
            Act::EndList => replica.end_list(now, &self.config),
            Act::Watch => replica.watch(head),
            Act::CheckHead => replica.check_head(head, now, &self.config),
            Act::Beat => self.beat(which),
            Act::Receive(nth) if !owed.is_empty() => replica.receive(owed[usize::from(nth) % owed.len()], now, &self.config),
            Act::Respond => match replica.respond(now, &self.config) {
                Some((value, Answer::Unauthorized)) if owed.contains(&value) => {
                    return Err(format!("L7: replica {which} answers 401 to value {value}, after a freeze"));
                }
                _ => {}
            },
            Act::Receive(_) | Act::Suspend(_) => {}
        }
        Ok(())
    }

    /// A healthy replica: it joins or renews, lists, and reports.
    fn beat(&mut self, which: usize) {
        let steps = [
            Act::BeginRenewal,
            Act::EndRenewal { answered: true },
            Act::BeginList,
            Act::EndList,
            Act::BeginRenewal,
            Act::EndRenewal { answered: true },
        ];
        for act in steps {
            self.core.pass(1);
            drop(self.act(which, act));
        }
    }

    /// L1: both processes die, everything else recovers, one leads: it settles, and then writes nothing more.
    pub fn settle(&mut self) -> Result<(), Broken> {
        (0..2).for_each(|who| self.crash(who));
        while let Some(request) = self.core.late.pop() {
            self.core.arrive(&self.config, &request)?;
            self.check()?;
        }
        for which in 0..REPLICAS {
            self.act(which, Act::Mend)?;
            self.act(which, Act::Start)?;
        }
        self.rest()?;
        if self.core.is_full() {
            // A lost Pending one waits for room, while the Secret holds the Current one.
            self.core.pass(2 * self.config.overlap());
            self.rest()?;
        }
        if self.core.is_exhausted() { Ok(()) } else { self.core.check_settled() }
    }

    /// Calls until nothing is planned. A rotation has at most nine to retire, and a few steps beside them.
    fn rest(&mut self) -> Result<(), Broken> {
        for _ in 0..120 {
            if self.core.is_exhausted() {
                return Ok(());
            }
            let idle = self.core.leaders[0].doing == Doing::Nothing;
            if idle && self.planned(0, &self.core.server.client, self.core.server.secret).step.is_none() {
                return Ok(());
            }
            self.work(0, 1, true)?;
        }
        Err(format!("L1: it does not settle: {:?} {:?}", self.core.server, self.core.leaders[0]))
    }
}
