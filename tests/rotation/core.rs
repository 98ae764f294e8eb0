//! What the random histories and the exhaustive search share: the API server, two leaders, users, and the laws.

use crate::{
    laws::{Broken, Change, Laws},
    leader::{Config, Doing, First, Leader, Request, first_read},
    server::{FOREIGN, LAST, Number, Numbers, Server},
    undone::Undone,
};
use keywright::domain::{
    credential::{
        CredentialState::{Current, Pending},
        MAX_CREDENTIALS,
    },
    rotation::{Object, Step},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Core {
    pub server: Server,
    pub leaders: [Leader; 2],
    /// Requests that their senders gave up, and that may still arrive.
    pub late: Vec<Request>,
    /// What the operator published: what users can restore, annotations and all.
    pub manifests: Vec<(Number, Numbers)>,
    pub laws: Laws,
    /// True time, in milliseconds.
    pub now: i64,
    next: Number,
    /// The last number that may be drawn.
    pub limit: Number,
}

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edit {
    Delete,
    /// With a value of their own; the annotations stay.
    Overwrite,
    /// One of the manifests that were published, with its annotations or without the fence.
    Restore {
        which: u8,
        fence: bool,
    },
    Unfence,
    Order,
    /// An order of a rehearsal: for half an overlap, or for more than two.
    Rehearse {
        long: bool,
    },
    /// `secretsIssuedBefore`: now.
    Revoke,
}

impl Core {
    pub fn new(now: i64) -> Self {
        let (server, laws) = (Server::new(), Laws::default());
        Self { server, leaders: Default::default(), late: Vec::new(), manifests: Vec::new(), laws, now, next: 1, limit: LAST - 1 }
    }

    /// A Secret of an earlier installation: our label, a value of our form, no register.
    pub fn with_earlier_secret(now: i64) -> Self {
        let mut core = Self::new(now);
        core.server.store(Some((LAST, Numbers::default())));
        core
    }

    /// The last number that was drawn.
    pub fn drawn(&self) -> Number {
        self.next - 1
    }

    pub fn is_exhausted(&self) -> bool {
        self.next + 1 > self.limit
    }

    /// The leader reads the object that it means to write.
    pub fn read_first(&mut self, who: usize, object: Object, expected: Option<Step>) {
        let leader = &mut self.leaders[who];
        let first = match object {
            Object::Status => First::Client(self.server.client.clone()),
            Object::Secret => First::Secret(self.server.secret),
        };
        if let First::Client(client) = &first {
            leader.observe(client);
        }
        leader.doing = Doing::Read { expected, first };
    }

    /// The leader reads the other one, plans again, and sends its request if the plan agrees. `clock`: the leader's.
    pub fn read_second(&mut self, config: &Config, who: usize, clock: i64) {
        let exhausted = self.is_exhausted();
        let leader = &mut self.leaders[who];
        let Doing::Read { expected, first } = std::mem::take(&mut leader.doing) else { return };
        let object = first.object();
        let (client, secret) = match first {
            First::Client(client) => (client, self.server.secret),
            First::Secret(secret) => {
                leader.observe(&self.server.client);
                (self.server.client.clone(), secret)
            }
        };
        let planned = leader.decide(config, &client, secret, clock).step;
        let blind = config.is(Undone::PlanAgain) && expected.is_some();
        let step = if blind { expected } else { planned.filter(|planned| expected.is_none_or(|expected| expected == *planned)) };
        let Some(step) = step.filter(|step| first_read(step, config) == Some(object)) else { return };
        if exhausted && matches!(step, Step::Register { .. } | Step::Adopt) {
            return;
        }
        if let Some(request) = leader.request(config, step, (&client, secret), clock, self.next) {
            self.next += match request.step {
                Step::Register { .. } => 1,
                Step::Adopt => 2,
                _ => 0,
            };
            leader.doing = Doing::Waiting(request);
        }
    }

    /// A request reaches the API server. Returns the reply; `None`: refused.
    pub fn arrive(&mut self, config: &Config, request: &Request) -> Result<Option<u32>, Broken> {
        let before = self.server.clone();
        let Ok(version) = self.server.apply(&request.write, config) else { return Ok(None) };
        let change = Change { before: &before, after: &self.server, config, now: self.now };
        self.laws.written(&change, request)?;
        if let (Step::Publish(_), Some(secret)) = (&request.step, self.server.secret) {
            self.manifests.push((secret.value, secret.fence));
        }
        Ok(Some(version))
    }

    /// The reply reaches the leader that sent the request.
    pub fn reply(&mut self, who: usize, request: &Request, version: Option<u32>) {
        let leader = &mut self.leaders[who];
        leader.doing = Doing::Nothing;
        if matches!(request.step, Step::Register { .. } | Step::Adopt) {
            leader.seen = version;
        }
    }

    /// The process ends, or has lost its Lease: what it sent may still arrive.
    pub fn crash(&mut self, who: usize) {
        if let Doing::Waiting(request) = std::mem::take(&mut self.leaders[who]).doing {
            self.late.push(request);
        }
    }

    pub fn edit(&mut self, config: &Config, edit: Edit) {
        let before = self.server.secret;
        let content = before.map(|secret| (secret.value, secret.fence));
        let fence = content.map(|(_, fence)| fence).unwrap_or_default();
        match edit {
            Edit::Delete if content.is_some() => self.store(config, None),
            Edit::Overwrite => self.store(config, Some((FOREIGN, fence))),
            Edit::Restore { which, fence } if !self.manifests.is_empty() => {
                let (value, named) = self.manifests[usize::from(which) % self.manifests.len()];
                self.store(config, Some((value, if fence { named } else { Numbers::default() })));
            }
            Edit::Unfence => self.store(config, content.map(|(value, _)| (value, Numbers::default()))),
            Edit::Order => self.order(None),
            Edit::Rehearse { long } => self.order(Some(if long { 150_000 } else { 30_000 })),
            Edit::Revoke => {
                self.server.client.revoked_before = Some(self.now);
                self.server.client.version += 1;
                self.laws.revoked(&self.server.client);
            }
            Edit::Delete | Edit::Restore { .. } => {}
        }
    }

    fn order(&mut self, rehearse: Option<u32>) {
        let client = &mut self.server.client;
        (client.order, client.rehearse) = (client.handled.wrapping_add(1), rehearse);
        client.version += 1;
    }

    fn store(&mut self, config: &Config, content: Option<(Number, Numbers)>) {
        let before = self.server.clone();
        self.server.store(content);
        self.laws.stored(&Change { before: &before, after: &self.server, config, now: self.now }, None);
    }

    pub fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
        self.laws.forget(self.now);
    }

    pub fn is_full(&self) -> bool {
        self.server.client.known().len() >= MAX_CREDENTIALS
    }

    /// What is stored, in one line; times in milliseconds from now.
    pub fn tell(&self) -> String {
        let after = |time: Option<i64>| time.map_or(String::new(), |time| format!("{:+}", time - self.now));
        let one = |known: &crate::server::Known| {
            format!("{}:{:?}{}/{}", known.number, known.state, after(known.retire_after), after(known.accepted_until))
        };
        let known: Vec<_> = self.server.client.known().iter().map(one).collect();
        let secret = self
            .server
            .secret
            .map_or("no Secret".into(), |secret| format!("Secret {} v{} fence {:?}", secret.value, secret.version, secret.fence));
        let doing = |leader: &Leader| match &leader.doing {
            Doing::Nothing => format!("holds {:?}", leader.held),
            Doing::Read { expected, .. } => format!("reads for {expected:?}"),
            Doing::Waiting(request) => format!("sent {:?}", request.step),
        };
        let [first, second] = &self.leaders;
        format!(
            "v{} {known:?}; {secret}; {}; {}; {} late; {:?}",
            self.server.client.version,
            doing(first),
            doing(second),
            self.late.len(),
            self.laws
        )
    }

    /// L1: settled means one Current that the Secret holds, and no Pending.
    pub fn check_settled(&self) -> Result<(), Broken> {
        let client = &self.server.client;
        let held = self.server.secret.and_then(|secret| client.with_value(secret.value));
        match held {
            Some(known) if known.state == Current => {}
            _ => return Err(format!("L1: settled, and the Secret holds {held:?}")),
        }
        let pending = client.known().iter().any(|known| known.state == Pending);
        if let Some(known) = client.known().iter().find(|known| client.revoked_before.is_some_and(|before| known.created_at < before)) {
            return Err(format!("L4: settled, and accepts what was revoked: {known:?}"));
        }
        if let Some(known) = held.filter(|known| known.value == LAST) {
            return Err(format!("L1: settled on the value of an earlier installation: {known:?}"));
        }
        if pending { Err("L1: settled with a Pending credential".into()) } else { Ok(()) }
    }
}
