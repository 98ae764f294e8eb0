//! One `OAuthClient`: from what its spec asks for to a Secret whose value every replica accepts, and a status that says so.

mod steps;

use super::{
    Controller, Fault, apply,
    build::{self, Endpoints, Manifest, Published, Shape, stored_value},
    findings::{self, Grants},
    observe::{self, Holder, Seen},
    pending::Held,
    queue::Outcome,
    verdict::{self, Facts, Verdict},
};
use crate::{
    ambient,
    api::{self, OAuthClient, Reason},
    domain::{
        client::Client,
        credential::{Credential, CredentialId, CredentialState},
        names::ObjectName,
        resource::Algorithm,
        rotation::{self, Object, Plan, Register, Rules, Slots, Step, Stored},
    },
    keys::KeySet,
    replica::{Watched, gate::Passage},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
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
    /// Those of a client without `spec.rotation`: the schema has no such part yet.
    rules: Rules,
    /// The metadata.generation that all this was computed from.
    generation: Option<i64>,
}

/// How far the steps went.
enum Progress {
    /// Nothing is left to do until then.
    Settled(Box<Seen>, Vec<Credential>, Option<Timestamp>),
    /// Waiting for something that is not an object of ours, in words.
    Waiting(Box<Seen>, String),
    /// Stopped, for a reason that a user has to remove.
    Refused(Box<Seen>, Verdict),
    /// The client is gone.
    Gone,
}

/// What one look at both objects says.
enum Look {
    Plan(Slots, Plan),
    Refused(Verdict),
}

impl Controller {
    /// Looks at one client.
    pub(super) async fn reconcile_client(&self, name: &ObjectName) -> Result<Outcome, Fault> {
        let known = self.registry.with_index(|index| index.client(name).zip(index.client_standing(name)));
        let Some((object, standing)) = known else {
            self.pending.forget(name);
            return Ok(Outcome::Settled);
        };
        if !self.is_ours_to_write(&object) {
            return Ok(Outcome::Settled);
        }
        match (standing, self.keys().filter(|_| self.endpoints_are_known())) {
            (Ok(registered), Some(keys)) => {
                let (client, shape) = (registered.client.clone(), Shape::of(&object));
                let endpoints = self.endpoints();
                Work { controller: self, client, shape, endpoints, keys, rules: Rules::default(), generation: object.metadata.generation }
                    .run(&object)
                    .await
            }
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

    /// Not being deleted, and not worked on by another installation.
    fn is_ours_to_write(&self, object: &OAuthClient) -> bool {
        let controller = object.status.as_ref().and_then(|status| status.controller.as_deref());
        let namespace = object.namespace().unwrap_or_default();
        object.metadata.deletion_timestamp.is_none()
            && controller.is_none_or(|controller| controller == self.installation.controller())
            && !self.registry.with_index(|index| index.is_terminating(&namespace))
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
        let done = self.walk(cached).await;
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
            Progress::Settled(seen, credentials, wake_at) => self.settle(*seen, &credentials, wake_at).await,
            Progress::Waiting(seen, why) => {
                self.report(&seen, &findings::pending(&self.findings(), why), None).await?;
                Ok(Outcome::Again(WAITING))
            }
            Progress::Refused(seen, verdict) => {
                self.report(&seen, &verdict, None).await?;
                Ok(Outcome::Again(CONFLICT))
            }
            Progress::Gone => Ok(Outcome::Settled),
        }
    }

    /// A plan on the caches that says that nothing is to be written costs no call.
    fn settled_in_caches(&self, cached: &OAuthClient) -> Option<Progress> {
        let secret = self.controller.secrets.get(&ObjectName::new(&self.client.object.namespace, &self.shape.name))?;
        let seen = Seen { object: cached.clone(), secret: Some((*secret).clone()) };
        let Look::Plan(slots, Plan { step: None, wake_at }) = self.look(&seen, None) else { return None };
        let credentials = known(&slots.register);
        self.tidied(&seen, &credentials).is_none().then(|| Progress::Settled(Box::new(seen), credentials, wake_at))
    }

    /// Read, plan, make one step, again: until nothing is left to do or something has to be waited for.
    async fn advance(&self) -> Result<Progress, Fault> {
        let mut first = Object::Status;
        let mut passed = None;
        let mut contended = 0;
        for _ in 0..MOST_STEPS {
            let Some(seen) = self.live(first).await? else { return Ok(Progress::Gone) };
            if !self.controller.is_ours_to_write(&seen.object) {
                return Ok(Progress::Gone);
            }
            if seen.object.metadata.generation != self.generation {
                return Err(self.contended("OAuthClient"));
            }
            let (slots, plan) = match self.look(&seen, passed.as_ref()) {
                Look::Plan(slots, plan) => (slots, plan),
                Look::Refused(verdict) => return Ok(Progress::Refused(Box::new(seen), verdict)),
            };
            let Some(step) = plan.step else {
                return Ok(Progress::Settled(Box::new(seen), known(&slots.register), plan.wake_at));
            };
            if let Some(object) = step.writes().filter(|object| *object != first) {
                first = object;
                continue;
            }
            if let Step::Gate(id) = step {
                match self.gate(&seen).await? {
                    Passage::Passed => passed = Some(id),
                    Passage::Blocked { replicas } => return Ok(self.blocked(seen, &known(&slots.register), &id, &replicas)),
                }
                continue;
            }
            self.confirm_digest_key(&seen, &slots).await?;
            match self.take(&step, &seen, &slots).await {
                Err(fault) if fault.is_contended() && seen.secret.is_some() && seen.holder() == Holder::Nobody => {
                    return Ok(Progress::Waiting(Box::new(seen), "waiting for the garbage collector to take the former Secret".to_owned()));
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

    /// That the digest key is lost is believed only of the key Secret as it is now: a leader that was frozen has an old one.
    async fn confirm_digest_key(&self, seen: &Seen, slots: &Slots) -> Result<(), Fault> {
        let stored = seen.object.status.as_ref().and_then(|status| status.credentials.as_ref());
        if !matches!(slots.register, Register::Never) || stored.is_none_or(Vec::is_empty) {
            return Ok(());
        }
        let name = self.controller.installation.release().keys();
        let live = observe::digest_key_name(&self.controller.kube, &name).await?;
        if live.as_deref() == Some(self.keys.digest.name()) { Ok(()) } else { Err(self.contended("digest key")) }
    }

    async fn live(&self, first: Object) -> Result<Option<Seen>, Fault> {
        observe::live(&self.controller.kube, &self.client.object, &self.client.uid, &self.shape.name, first).await
    }

    fn look(&self, seen: &Seen, passed: Option<&CredentialId>) -> Look {
        if let Holder::Foreign(why) = seen.holder() {
            return Look::Refused(findings::secret_conflict(&self.shape.name, &self.client.object.name, &why));
        }
        let register = match seen.register(&self.keys.digest) {
            Ok(register) => register,
            Err(unreadable) => return Look::Refused(Verdict::refused(Reason::StatusUnreadable, unreadable.to_string())),
        };
        let credentials = known(&register);
        let is_pending = |id: &CredentialId| credentials.iter().any(|known| known.id == *id && known.state == CredentialState::Pending);
        let held = self.held().map(|held| held.id).filter(is_pending);
        let gate_passed = held.is_some() && held.as_ref() == passed;
        let stored = seen.stored(&self.shape, &credentials, &self.keys.digest);
        let slots = Slots { register, stored, held, gate_passed, ordered: false, uses_reported_until: None };
        let plan = rotation::plan(&slots, &self.rules, ambient::now());
        Look::Plan(slots, plan)
    }

    fn held(&self) -> Option<Held> {
        self.controller.pending.of(&self.client.object, &self.client.uid)
    }

    /// Whether every replica that may be serving has seen the status that was just read: the Pending one is in it. Waits a
    /// little: they report within half a second.
    async fn gate(&self, seen: &Seen) -> Result<Passage, Fault> {
        let version = apply::version(&seen.object).unwrap_or(u64::MAX);
        let begun = ambient::boot_time();
        loop {
            let passage = self.controller.gate.pass(Watched::OAuthClients, version, &self.client.uid).await;
            let passage = passage.map_err(|error| Fault::Read {
                kind: "replica Leases",
                object: self.client.object.clone(),
                why: error.to_string(),
            })?;
            if passage == Passage::Passed || ambient::boot_time().saturating_sub(begun) > GATE_PATIENCE {
                return Ok(passage);
            }
            tokio::time::sleep(GATE_EVERY).await;
        }
    }

    /// Nothing is left of the rotation: tidy the Secret's other keys, labels and owner, and say how things are.
    async fn settle(&self, seen: Seen, credentials: &[Credential], wake_at: Option<Timestamp>) -> Result<Outcome, Fault> {
        if let Some(patch) = self.tidied(&seen, credentials) {
            self.patch_secret(&self.shape.name, &patch).await?;
        }
        self.withdraw_from_former_secrets().await?;
        self.report(&seen, &self.verdict(credentials), None).await?;
        let until = [wake_at, self.controller.registry.with_index(|index| index.granted_until(&self.client, ambient::now()))]
            .into_iter()
            .flatten()
            .min();
        Ok(match until {
            Some(at) => Outcome::Again(Duration::try_from(at.duration_since(ambient::now())).unwrap_or_default()),
            None => Outcome::Settled,
        })
    }

    /// The patch that brings everything but the value up to date, if something differs.
    fn tidied(&self, seen: &Seen, credentials: &[Credential]) -> Option<serde_json::Value> {
        let found = seen.secret.as_ref()?;
        let Stored::Present { holds: Some(id), fence, .. } = seen.stored(&self.shape, credentials, &self.keys.digest) else { return None };
        let value = stored_value(found, &self.shape)?;
        // A fence only grows with the writes that need one: by itself it is no reason for a write.
        self.manifest().patch(found, Published { id: &id, value: &value, fence: &fence })
    }

    /// After a change of `spec.secret.name`: once the credential in the former Secret is retired, our keys go from there. The
    /// cache only hints at candidates; both objects are read live, the Secret first.
    async fn withdraw_from_former_secrets(&self) -> Result<(), Fault> {
        for candidate in self.controller.secrets.made_for(&self.client.object) {
            let name = candidate.name_any();
            if name == self.shape.name {
                continue;
            }
            let live = observe::live(&self.controller.kube, &self.client.object, &self.client.uid, &name, Object::Secret).await?;
            let Some(seen) = live.filter(|seen| seen.object.metadata.generation == self.generation) else { return Ok(()) };
            let (Holder::Us, Ok(register)) = (seen.holder(), seen.register(&self.keys.digest)) else { continue };
            let stored = seen.stored(&self.shape, &known(&register), &self.keys.digest);
            if let (Some(former), Stored::Present { holds: None, .. }) = (&seen.secret, stored) {
                self.patch_secret(&name, &build::withdrawal_patch(former, &self.client.uid)).await?;
            }
        }
        Ok(())
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
        }
    }

    fn verdict(&self, credentials: &[Credential]) -> Verdict {
        findings::verdict(&self.findings(), credentials, self.client.disabled, &self.shape.name)
    }

    async fn report(&self, seen: &Seen, verdict: &Verdict, credentials: Option<Vec<Credential>>) -> Result<(), Fault> {
        let conflict = verdict.ready.reason == Reason::SecretConflict;
        let facts = Facts {
            client_id: Some(&self.client.id),
            secret: (!conflict).then_some(self.shape.name.as_str()),
            credentials: credentials.map(|credentials| api::register::stored(&credentials)),
        };
        self.controller.write_verdict(&seen.object, verdict, facts).await.map(drop)
    }

    /// Ready is never True after a failed write. Best effort: the next look says it again.
    async fn report_fault(&self, cached: &OAuthClient, fault: &Fault) {
        if fault.is_contended() {
            return;
        }
        let seen = Seen { object: cached.clone(), secret: None };
        let verdict = findings::pending(&self.findings(), fault.to_string());
        if let Err(also) = self.report(&seen, &verdict, None).await {
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
