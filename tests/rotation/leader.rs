//! The shell that the controller runs, one API call at a time: choose, read, read, plan again, write.

use crate::{
    server::{Client, FOREIGN, Known, Number, Numbers, Secret, Write, domain, id, ids, known, number, time},
    undone::Undone,
};
use jiff::SignedDuration;
use keywright::domain::{
    credential::CredentialState::{self, Current, Pending},
    rotation::{self, Object, Plan, Register, Retirement, Rules, Slots, Step, Stored},
};

/// What a history is about.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub rules: Rules,
    /// How far the clocks of two processes may be apart, in milliseconds.
    pub skew: i64,
    /// The safety rules that are missing.
    pub undone: &'static [Undone],
}

impl Config {
    pub fn overlap(&self) -> i64 {
        i64::try_from(self.rules.overlap.as_millis()).unwrap()
    }

    /// The rules as the client's spec, read with its status, changes them.
    fn rules(&self, client: &Client) -> Rules {
        let rehearsal = client.rehearse.map(|milliseconds| SignedDuration::from_millis(milliseconds.into()));
        Rules { secrets_issued_before: client.revoked_before.map(time), rehearsal, ..self.rules }
    }

    pub fn is(&self, undone: Undone) -> bool {
        self.undone.contains(&undone)
    }
}

/// A process that believes to lead. There may be two: nothing here asks for the Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Leader {
    /// The value in its memory.
    pub held: Option<Number>,
    /// A resourceVersion of the client that shows it as Pending: what the gate waits for.
    pub seen: Option<u32>,
    pub passed: bool,
    pub doing: Doing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Doing {
    #[default]
    Nothing,
    /// The first of the two reads was made.
    Read { expected: Option<Step>, first: First },
    /// The request is on its way.
    Waiting(Request),
}

impl Doing {
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }
}

/// The object that is to be written, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum First {
    Client(Client),
    Secret(Option<Secret>),
}

impl First {
    pub fn object(&self) -> Object {
        match self {
            Self::Client(_) => Object::Status,
            Self::Secret(_) => Object::Secret,
        }
    }
}

/// A write under way, and what its writer knew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    pub step: Step,
    pub write: Write,
    pub saw: Client,
    pub sent_at: i64,
}

impl Leader {
    /// What a live read of the client tells about the value in memory.
    pub fn observe(&mut self, client: &Client) {
        match self.held.and_then(|held| client.numbered(held)) {
            Some(pending) if pending.state == Pending => self.seen = self.seen.or(Some(client.version)),
            Some(_) => self.forget(),
            None => {}
        }
    }

    pub fn forget(&mut self) {
        (self.held, self.seen, self.passed) = (None, None, false);
    }

    pub fn decide(&self, config: &Config, client: &Client, secret: Option<Secret>, now: i64) -> Plan {
        let slots = self.slots(config, client, secret, now);
        let rules = config.rules(client);
        let plan = rotation::plan(&slots, &rules, time(now));
        config.undone.iter().fold(plan, |plan, undone| undone.decide(&slots, &plan, &rules, now).unwrap_or(plan))
    }

    fn slots(&self, config: &Config, client: &Client, secret: Option<Secret>, now: i64) -> Slots {
        let register = client.credentials.as_ref().map_or(Register::Never, |all| Register::Known(all.iter().map(used).collect()));
        let stored = secret.map_or(Stored::Missing, |secret| Stored::Present {
            holds: client.with_value(secret.value).map(|known| id(known.number)),
            our_form: secret.value != FOREIGN,
            fence: ids(secret.fence),
        });
        Slots {
            register,
            stored,
            held: self.held.map(id),
            gate_passed: self.passed || config.is(Undone::Gate),
            ordered: client.order != client.handled,
            uses_reported_until: (config.rules.retirement == Retirement::WhenUnused).then(|| time(now)),
        }
    }

    /// The write of a step, as the module head of `rotation` asks for it. `fresh`: the number to draw.
    pub fn request(
        &mut self,
        config: &Config,
        step: Step,
        (client, secret): (&Client, Option<Secret>),
        now: i64,
        fresh: Number,
    ) -> Option<Request> {
        let credentials: Vec<_> = client.known().iter().map(domain).collect();
        let rules = &config.rules(client);
        let created_at = rotation::created_at(&credentials, rules, time(now)).as_millisecond();
        let created_at = if config.is(Undone::CreatedAt) { now } else { created_at };
        let fence = fence(config, client);
        let rehearsed_until = rotation::rehearsed_until(client.order != client.handled, rules, time(now)).map(|end| end.as_millisecond());
        let registered = match &step {
            Step::Register { evicted, .. } => {
                self.draw(fresh);
                let fresh = domain(&Known { rehearsed_until, ..made(fresh, fresh, created_at, Pending) });
                rotation::registered(&credentials, fresh, evicted.as_ref(), rules, time(now))
            }
            Step::Adopt => {
                self.draw(fresh + 1);
                let found = domain(&made(fresh, secret?.value, created_at, Current));
                rotation::adopted(found, domain(&Known { rehearsed_until, ..made(fresh + 1, fresh + 1, created_at, Pending) }))
            }
            Step::Promote(id) => rotation::promoted(&credentials, id, rules, time(now)),
            Step::Retire(id) => rotation::retired(&credentials, id),
            Step::Revoke => rotation::revoked(&credentials, rules),
            Step::Fence => {
                let write = Write::Patch { version: secret?.version, value: None, fence };
                return Some(Request { step, write, saw: client.clone(), sent_at: now });
            }
            Step::Publish(id) => {
                let value = self.held.filter(|held| *held == number(id))?;
                let write = match secret {
                    Some(secret) => Write::Patch { version: secret.version, value: Some(value), fence },
                    None => Write::Create { value, fence },
                };
                return Some(Request { step, write, saw: client.clone(), sent_at: now });
            }
            Step::Gate(_) => return None,
        };
        let mut credentials: Vec<_> = registered.iter().map(known).collect();
        config.undone.iter().for_each(|undone| undone.transition(&step, client, &mut credentials));
        let echoes = matches!(step, Step::Register { .. } | Step::Adopt) && !config.is(Undone::OrderIsEchoed);
        let handled = if echoes { client.order } else { client.handled };
        let write = Write::Status { version: client.version, credentials, handled };
        Some(Request { step, write, saw: client.clone(), sent_at: now })
    }

    fn draw(&mut self, fresh: Number) {
        (self.held, self.seen, self.passed) = (Some(fresh), None, false);
    }
}

/// As the use reports of all replicas show it: the Current one is in use, no other one is.
fn used(known: &Known) -> keywright::domain::credential::Credential {
    let credential = domain(known);
    let last_used_at = (known.state == Current).then_some(credential.created_at);
    keywright::domain::credential::Credential { last_used_at, ..credential }
}

fn made(number: Number, value: Number, created_at: i64, state: CredentialState) -> Known {
    Known { number, value, state, created_at, retire_after: None, accepted_until: None, rehearsed_until: None }
}

fn fence(config: &Config, client: &Client) -> Numbers {
    if config.is(Undone::FenceNamesNoPending) {
        return client.known().iter().map(|known| known.number).collect();
    }
    let credentials: Vec<_> = client.known().iter().map(domain).collect();
    rotation::fence(&credentials).iter().map(number).collect()
}

/// Which object a step reads first.
pub fn first_read(step: &Step, config: &Config) -> Option<Object> {
    let object = step.writes()?;
    let swapped = config.undone.iter().any(|undone| undone.swaps(step));
    Some(match (object, swapped) {
        (Object::Status, false) | (Object::Secret, true) => Object::Status,
        (Object::Secret, false) | (Object::Status, true) => Object::Secret,
    })
}
