//! One `OAuthClient`: from what its spec asks for to a Secret whose value every replica accepts, and a status that says so.

mod contested;
mod look;
mod rehearsal;
mod restarts;
mod secretless;
mod settled;
mod steps;
mod trust;

use super::{
    Controller, Fault, Holding, apply,
    build::{Endpoints, Manifest, Shape},
    findings::{self, Grants},
    observe::{self, Holder, Seen},
    queue::Outcome,
    terms::Terms,
    uses::News,
    verdict::{self, Facts, Timing, Verdict},
};
use crate::{
    ambient,
    api::{self, OAuthClient, Reason},
    domain::{
        client::Client,
        credential::{Credential, CredentialId},
        names::ObjectName,
        resource::Algorithm,
        rotation::{Object, Register, Step},
    },
    keys::KeySet,
    policy::{self, Refusal},
    replica::{
        Change, Watched,
        gate::{GateError, Passage},
    },
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use look::Look;
pub(super) use restarts::Restarted;
use std::{sync::Arc, time::Duration};

/// Most steps of one look; a rotation has four. Whoever needs more is being written to by somebody else all the time.
const MOST_STEPS: usize = 24;
/// How soon a blocked gate, or a Secret that the garbage collector is about to take, is looked at again.
const WAITING: Duration = Duration::from_secs(1);
/// How long one look waits for the gate, after which it says who keeps it shut.
const GATE_PATIENCE: Duration = Duration::from_secs(1);
/// A rotation that the gate has held for so long is worth an event.
const GATE_WORTH_A_WORD: SignedDuration = SignedDuration::from_secs(5);
/// How often it looks meanwhile.
const GATE_EVERY: Duration = Duration::from_millis(100);
/// How soon a conflict is looked at again that no watch of ours shows the end of.
const CONFLICT: Duration = Duration::from_secs(15);

/// A client that is worked on, and all that decides what becomes of it.
struct Work<'a> {
    controller: &'a Controller,
    client: Client,
    shape: Shape,
    endpoints: Endpoints,
    keys: Arc<KeySet>,
    terms: Terms,
    /// The metadata.generation that all this was computed from.
    generation: Option<i64>,
}

/// How far the steps went.
enum Progress {
    /// Nothing is left of the rotation.
    Settled(Box<Seen>, Rest),
    /// Waiting for something that is not an object of ours, in words.
    Waiting(Box<Seen>, String),
    /// Stopped, for a reason that a user has to remove.
    Refused(Box<Seen>, Verdict),
    /// The client is gone.
    Gone,
}

/// How a client is when nothing is left to do.
struct Rest {
    credentials: Vec<Credential>,
    /// Until then.
    wake_at: Option<Timestamp>,
    /// But for this, which is worth a write.
    news: Option<News>,
}

/// What a status write says of credentials.
enum Written {
    /// Nothing: they stay as they are stored.
    Nothing,
    /// These.
    Credentials(Vec<Credential>),
    /// These, one of which is new: whoever asked for it is answered.
    Registered(Vec<Credential>),
    /// These, without one that a rehearsal replaced and that nobody uses any more.
    Moved(Vec<Credential>),
}

impl Controller {
    /// Looks at one client.
    pub(super) async fn reconcile_client(&self, name: &ObjectName) -> Result<Outcome, Fault> {
        let known = self.registry.with_index(|index| index.client(name).zip(index.client_standing(name)));
        let Some((object, standing)) = known else {
            self.pending.forget(name);
            self.restarted.forget(name);
            return Ok(Outcome::Settled);
        };
        if self.is_going(&object) {
            return Ok(Outcome::Settled);
        }
        match self.holding_of(&object) {
            Holding::Ours => {}
            holding => {
                self.pending.forget(name);
                return self.leave_to_another(&object, holding).await;
            }
        }
        let keys = self.keys().filter(|_| self.endpoints_are_known());
        if standing.is_ok() && keys.is_some() {
            match self.spread_trust(&object).await {
                Err(fault) if fault.is_contended() => return Err(fault),
                // What else is to be done does not wait for it, and says so, too, if it fails.
                Err(fault) => tracing::warn!(client = %name, error = %fault, "ca.crt is not up to date"),
                Ok(()) => {}
            }
        }
        match (standing, keys) {
            (Ok(registered), Some(keys)) => match policy::rotation(&self.policy, &object, ambient::now()) {
                Ok(rotation) => {
                    let (client, shape, endpoints) = (registered.client.clone(), Shape::of(&object), self.endpoints());
                    let terms = Terms::new(rotation, &client, self.leads_since());
                    let generation = object.metadata.generation;
                    Work { controller: self, client, shape, endpoints, keys, terms, generation }.run(&object).await
                }
                Err(refusal) => self.refuse_rotation(&object, &registered.client, refusal).await,
            },
            // They wake everything when they are there.
            (Ok(_), None) => {
                let verdict = Verdict::refused(Reason::SigningKeyUnavailable, "the leader has not made the keys and the certificate yet");
                self.write_verdict(&object, &verdict, Facts::default()).await?;
                Ok(Outcome::Settled)
            }
            (Err(refusal), _) => {
                let verdict = Verdict::refused(refusal.reason, refusal.message);
                self.write_verdict(&object, &verdict, Facts::default()).await?;
                Ok(Outcome::Settled)
            }
        }
    }

    /// What the client has stays as it is, and goes on getting tokens. A time in the future passes.
    async fn refuse_rotation(&self, object: &OAuthClient, client: &Client, refusal: Refusal) -> Result<Outcome, Fault> {
        let binding = object.status.as_ref().and_then(|status| status.binding.as_ref());
        let facts = Facts { client_id: Some(&client.id), secret: binding.map(|binding| binding.name.as_str()), ..Facts::default() };
        self.write_verdict(object, &Verdict::refused(refusal.reason, refusal.message), facts).await?;
        Ok(Outcome::Again(CONFLICT))
    }

    /// Being deleted, or its namespace is.
    pub(super) fn is_going(&self, object: &OAuthClient) -> bool {
        let namespace = object.namespace().unwrap_or_default();
        object.metadata.deletion_timestamp.is_some() || self.registry.with_index(|index| index.is_terminating(&namespace))
    }

    /// Writes the status where it differs, and the event that goes with a new reason.
    async fn write_verdict(&self, object: &OAuthClient, verdict: &Verdict, facts: Facts<'_>) -> Result<OAuthClient, Fault> {
        let name = ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
        let status = verdict::status(object, verdict, facts, &self.installation.controller(), ambient::now());
        let Some(patch) = verdict::status_patch(object, &object.status, &status) else { return Ok(object.clone()) };
        let written: OAuthClient = apply::patch_status(&self.kube, &name, &patch).await?;
        if verdict::ready_reason(object) != Some(verdict.ready.reason.as_str()) {
            self.events.warned(object, &verdict.ready);
        }
        Ok(written)
    }
}

impl Work<'_> {
    async fn run(&self, cached: &OAuthClient) -> Result<Outcome, Fault> {
        let has_secret = self.client.secret_method.is_some();
        let done = if has_secret { self.walk(cached).await } else { self.keep_without_secret(cached).await };
        if let Err(fault) = &done {
            self.report_fault(cached, fault).await;
        }
        done
    }

    async fn walk(&self, cached: &OAuthClient) -> Result<Outcome, Fault> {
        let progress = match self.settled_in_caches(cached) {
            Some(settled) => settled,
            None => self.advance().await?,
        };
        match progress {
            Progress::Settled(seen, rest) => self.settle(*seen, rest).await,
            Progress::Waiting(seen, why) => {
                self.report(&seen, &findings::pending(&self.findings(), why), Written::Nothing).await?;
                Ok(Outcome::Again(WAITING))
            }
            Progress::Refused(seen, verdict) => {
                self.report(&seen, &verdict, Written::Nothing).await?;
                Ok(Outcome::Again(CONFLICT))
            }
            Progress::Gone => Ok(Outcome::Settled),
        }
    }

    /// Read, plan, make one step, again: until nothing is left to do or something has to be waited for.
    async fn advance(&self) -> Result<Progress, Fault> {
        let mut first = Object::Status;
        let mut passed = None;
        let (mut counted, mut contended) = (false, 0);
        for _ in 0..MOST_STEPS {
            let Some(seen) = self.live(first).await? else { return Ok(Progress::Gone) };
            if self.controller.is_going(&seen.object) || self.controller.holding_of(&seen.object) != Holding::Ours {
                return Ok(Progress::Gone);
            }
            if seen.object.metadata.generation != self.generation {
                return Err(self.contended("OAuthClient"));
            }
            let situation = match self.look(&seen, passed.as_ref()) {
                Look::Planned(situation) => situation,
                Look::Refused(verdict) => return Ok(Progress::Refused(Box::new(seen), verdict)),
            };
            if situation.slots.held.is_none() {
                self.controller.pending.forget(&self.client.object);
            }
            let Some(step) = situation.plan.step.clone() else {
                return Ok(Progress::Settled(Box::new(seen), situation.rest()));
            };
            if let Some(object) = step.writes().filter(|object| *object != first) {
                first = object;
                continue;
            }
            if let Step::Gate(id) = step {
                match self.gate(&seen).await? {
                    Passage::Passed => passed = Some(id),
                    Passage::Blocked { replicas } => return Ok(self.blocked(seen, &situation.credentials(), &id, &replicas)),
                }
                continue;
            }
            // A replica that joined a moment ago, or while this process was frozen, may know of a use.
            if matches!(step, Step::Retire(_)) && !std::mem::replace(&mut counted, true) {
                self.count_replicas().await?;
                continue;
            }
            self.confirm_digest_key(&seen, &situation.slots).await?;
            match self.take(&step, &seen, &situation).await {
                Err(fault) if fault.is_contended() && seen.secret.is_some() && seen.holder() == Holder::Nobody => {
                    return Ok(Progress::Waiting(Box::new(seen), findings::being_collected().to_owned()));
                }
                Err(fault) if !fault.is_contended() || contended > 0 => return Err(fault),
                Err(_) => contended += 1,
                Ok(()) => {}
            }
        }
        Err(self.contended("status"))
    }

    fn contended(&self, kind: &'static str) -> Fault {
        Fault::Contended { kind, object: self.client.object.clone() }
    }

    /// A gate that stays shut is worth an event and a word in the status; one that opens within seconds is not.
    fn blocked(&self, seen: Seen, credentials: &[Credential], id: &CredentialId, replicas: &[String]) -> Progress {
        let since = credentials.iter().find(|known| known.id == *id).map(|known| known.created_at);
        if since.is_some_and(|since| ambient::now().duration_since(since) < GATE_WORTH_A_WORD) {
            return Progress::Waiting(Box::new(seen), findings::registered().to_owned());
        }
        let why = findings::blocked(replicas);
        self.controller.events.blocked(&seen.object, &why);
        Progress::Waiting(Box::new(seen), why)
    }

    async fn live(&self, first: Object) -> Result<Option<Seen>, Fault> {
        observe::live(&self.controller.kube, &self.client.object, &self.client.uid, &self.shape.name, first).await
    }

    /// Whether every replica that may be serving has seen the status that was just read: the Pending one is in it. Waits a
    /// little: they report within half a second.
    async fn gate(&self, seen: &Seen) -> Result<Passage, Fault> {
        let version = apply::version(&seen.object).unwrap_or(u64::MAX);
        let begun = ambient::boot_time();
        loop {
            let change = Change { kind: Watched::OAuthClients, namespace: &self.client.object.namespace, version };
            let passage = self.controller.gate.pass(change, &self.client.uid).await;
            let passage = passage.map_err(|error| self.no_leases(&error))?;
            if passage == Passage::Passed || ambient::boot_time().saturating_sub(begun) > GATE_PATIENCE {
                return Ok(passage);
            }
            tokio::time::sleep(GATE_EVERY).await;
        }
    }

    async fn count_replicas(&self) -> Result<(), Fault> {
        self.controller.count_replicas().await.map_err(|error| self.no_leases(&error))
    }

    fn no_leases(&self, error: &GateError) -> Fault {
        Fault::Read { kind: "replica Leases", object: self.client.object.clone(), why: error.to_string() }
    }

    fn manifest(&self) -> Manifest<'_> {
        Manifest { client: &self.client, shape: &self.shape, endpoints: &self.endpoints }
    }

    fn findings(&self) -> Grants {
        let (missing, algorithms) = self
            .controller
            .registry
            .with_index(|index| (index.missing(&self.client, ambient::now()), index.algorithms_of(&self.client, ambient::now())));
        let lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
        Grants {
            missing: (!lines.is_empty()).then(|| lines.join("; ")),
            unsigned: algorithms.into_iter().find(|algorithm| !self.keys.active.contains_key(algorithm)).map(Algorithm::as_str),
            untrusted: self.untrusted(),
        }
    }

    fn verdict(&self, credentials: &[Credential]) -> Verdict {
        findings::verdict(&self.findings(), credentials, self.client.disabled, &self.shape.name)
    }

    async fn report(&self, seen: &Seen, verdict: &Verdict, written: Written) -> Result<(), Fault> {
        let conflict = verdict.ready.reason == Reason::SecretConflict;
        let has_moved = matches!(written, Written::Moved(_));
        let (credentials, handled_rotate) = match written {
            Written::Nothing => (None, None),
            Written::Credentials(credentials) | Written::Moved(credentials) => (Some(credentials), None),
            Written::Registered(credentials) => (Some(credentials), seen.asked_rotation()),
        };
        let rehearsal = self.rehearsal(seen, credentials.as_deref(), has_moved);
        let facts = Facts {
            client_id: Some(&self.client.id),
            secret: (!conflict).then_some(self.shape.name.as_str()),
            timing: self.timing(seen, credentials.as_deref()),
            rehearsal,
            credentials: credentials.map(|credentials| api::register::stored(&credentials)),
            handled_rotate,
        };
        self.controller.write_verdict(&seen.object, verdict, facts).await.map(drop)
    }

    /// With these credentials, or with those that are stored; `None`: they cannot be read.
    fn timing(&self, seen: &Seen, credentials: Option<&[Credential]>) -> Option<Timing> {
        let (status, now) = (seen.object.status.as_ref(), ambient::now());
        let stored = || Some(known(&seen.register(&self.keys.digest).ok()?));
        let credentials = credentials.map(<[_]>::to_vec).or_else(stored)?;
        let next_rotation = self.terms.next_rotation(&credentials, status, now);
        Some(Timing { schedule: self.terms.schedule(status, now), next_rotation })
    }

    /// Ready is never True after a failed write. Best effort: the next look says it again.
    async fn report_fault(&self, cached: &OAuthClient, fault: &Fault) {
        if fault.is_contended() || fault.is_of_status() || matches!(fault, Fault::Terminating { .. }) {
            return;
        }
        let seen = Seen { object: cached.clone(), secret: None };
        let verdict = findings::pending(&self.findings(), fault.to_string());
        if let Err(also) = self.report(&seen, &verdict, Written::Nothing).await {
            tracing::debug!(client = %self.client.object, error = %also, "status not written either");
        }
    }
}

fn known(register: &Register) -> Vec<Credential> {
    match register {
        Register::Never => Vec::new(),
        Register::Known(credentials) => credentials.clone(),
    }
}
