//! This replica's own Lease: join, report, renew, leave.
//!
//! ```text
//! join:   the Lease, as joining ─► consistent lists of every kind, begun after ─► report ─► ready
//! then:   renew every 2.5 s, and at once (2 a second) when a new version may carry a new credential or key
//! leave:  drained ─► the Lease is deleted, last of all
//! lost:   missing, somebody else's, or older than it was (etcd was restored) ─► doubt, join again
//! ```
//! Listing before the Lease exists would break the promise: the gate would not count this replica while a credential is
//! registered that its list does not show. What is reported is in the snapshot that requests are answered from already.

use super::{
    Watch, Watched,
    announcement::{
        ADDRESS_ANNOTATION, PHASE_ANNOTATION, Phase, RELEASE_LABEL, lease_name, seen_annotation, seen_value, unread_annotation,
        unread_names,
    },
    contact::{Contact, Moment, Standing},
    peers::{Curiosity, Peers},
    readiness::Readiness,
};
use crate::{ambient, registry::Seen};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The times of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From one renewal to the next: 2.5 s. Doubt begins after 10 s.
    pub renew: Duration,
    /// Least time between two reports of new versions: 500 ms.
    pub report: Duration,
    /// From a failure to the next try: 1 s.
    pub retry: Duration,
    /// Time for one request: 3 s.
    pub answer: Duration,
    /// The other replicas.
    pub peers: Curiosity,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            renew: Duration::from_millis(2_500),
            report: Duration::from_millis(500),
            retry: Duration::from_secs(1),
            answer: Duration::from_secs(3),
            peers: Curiosity::default(),
        }
    }
}

/// Who this replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The release's namespace.
    pub namespace: String,
    /// The release.
    pub release: String,
    /// The pod (or what stands for it).
    pub pod: String,
    /// Differs between any two processes, also between two that run in one pod after each other.
    pub process: String,
    /// IP address and port of the health listener, as other replicas reach it.
    pub address: String,
}

/// What ties the heartbeat to the rest of the process.
pub struct Links {
    /// What requests ask for their standing.
    pub contact: Arc<Contact>,
    /// What the snapshot in use has reached.
    pub seen: watch::Receiver<Seen>,
    /// Where the feeds are asked for lists that begin after a moment.
    pub wanted: watch::Sender<Option<Moment>>,
}

/// Why this replica's Lease could not be written.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// A request failed.
    #[error("cannot {action} the Lease {lease} of this replica")]
    Request {
        /// What was tried.
        action: &'static str,
        /// The name of the Lease.
        lease: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// No answer in time.
    #[error("the API server did not answer within {answer:?} when asked to {action} the Lease {lease} of this replica")]
    Silent {
        /// What was tried.
        action: &'static str,
        /// The name of the Lease.
        lease: String,
        /// The time it had.
        answer: Duration,
    },
}

/// The Lease of this process, as it last was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    uid: String,
    version: String,
}

impl From<&Lease> for Own {
    fn from(lease: &Lease) -> Self {
        Self { uid: lease.uid().unwrap_or_default(), version: lease.resource_version().unwrap_or_default() }
    }
}

/// Where a join or a row of renewals stands.
struct Life {
    own: Own,
    phase: Phase,
    /// When the last write was sent.
    sent: Duration,
    /// What it told.
    told: Seen,
}

/// The heart of one replica.
pub struct Heartbeat {
    leases: Api<Lease>,
    name: String,
    identity: Identity,
    links: Links,
    readiness: Arc<Readiness>,
    pace: Pace,
}

impl Heartbeat {
    /// A replica that has not joined. `client` should have connections of its own ([`crate::cluster::requests`]).
    #[must_use]
    pub fn new(client: Client, identity: Identity, links: Links, pace: Pace) -> (Self, Arc<Readiness>) {
        let readiness = Arc::new(Readiness::new(Arc::clone(&links.contact)));
        let leases = Api::namespaced(client, &identity.namespace);
        let name = lease_name(&identity.release, &identity.pod);
        (Self { leases, name, identity, links, readiness: Arc::clone(&readiness), pace }, readiness)
    }

    /// Beats until `leave`, which is to be cancelled when the last request has been answered. Then the Lease is deleted.
    pub async fn run(mut self, leave: CancellationToken) {
        let (release, pod) = (self.identity.release.clone(), self.identity.pod.clone());
        let peers = Peers::new(self.leases.clone(), release, pod, self.pace.peers, Arc::clone(&self.readiness));
        let mut own = None;
        tokio::select! {
            () = peers.watch() => {}
            () = self.beat(&mut own) => {}
            () = leave.cancelled() => {}
        }
        self.links.contact.lease_lost();
        self.leave(own).await;
    }

    async fn beat(&mut self, own: &mut Option<Own>) {
        loop {
            let mut life = self.join().await;
            loop {
                *own = Some(life.own.clone());
                self.rest(&life).await;
                match self.renew(&mut life).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        self.complain(&error).await;
                        life.sent = Duration::ZERO; // Due at once.
                    }
                }
            }
            tracing::warn!(lease = self.name, "this replica's Lease was taken away: in doubt, and joining again");
            self.links.contact.lease_lost();
        }
    }

    /// Has the Lease, as joining.
    async fn join(&mut self) -> Life {
        loop {
            let begun = ambient::moment();
            match self.claim().await {
                Ok(Some(own)) => {
                    self.beaten(begun);
                    return Life { own, phase: Phase::Joining, sent: begun.boot, told: Seen::default() };
                }
                Ok(None) => sleep(self.pace.retry).await,
                Err(error) => self.complain(&error).await,
            }
        }
    }

    /// Creates the Lease, or resets the one that an earlier process of this pod has left. `None`: it changed meanwhile.
    async fn claim(&self) -> Result<Option<Own>, HeartbeatError> {
        let lease = serde_json::from_value(self.manifest()).map_err(|error| self.failed("create", kube::Error::SerdeError(error)))?;
        match self.ask("create", self.leases.create(&PostParams::default(), &lease)).await? {
            Ok(lease) => return Ok(Some(Own::from(&lease))),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(source) => return Err(self.failed("create", source)),
        }
        let Some(found) = self.look().await? else { return Ok(None) };
        let mut reset = self.manifest();
        let annotations = Watched::ALL.into_iter().flat_map(|kind| [seen_annotation(kind), unread_annotation(kind)]);
        let annotations = annotations.map(|name| (name, Value::Null));
        merge(&mut reset, "/metadata/annotations", annotations);
        self.patch("reset", &Own::from(&found), reset).await
    }

    /// Waits until the next write is due, or until there is something to tell.
    async fn rest(&mut self, life: &Life) {
        loop {
            let seen = self.links.seen.borrow_and_update().clone();
            self.refresh(&seen);
            let pause = if self.has_news(life, &seen) { self.pace.report } else { self.pace.renew };
            let left = pause.saturating_sub(ambient::boot_time().saturating_sub(life.sent));
            tokio::select! {
                () = sleep(left) => return,
                Ok(()) = self.links.seen.changed() => {}
            }
        }
    }

    /// Lists that have replaced the snapshot may end a doubt.
    fn refresh(&self, seen: &Seen) {
        if let Some(begun) = seen.all_listed() {
            self.links.contact.refreshed(begun, ambient::moment());
        }
    }

    /// Whether what was reached since the last write should be told before the next renewal: the join's report, and any change
    /// of what may carry a new credential or a new key.
    fn has_news(&self, life: &Life, seen: &Seen) -> bool {
        if life.phase == Phase::Joining {
            return self.readiness.standing(ambient::moment()) == Standing::Current;
        }
        let urgent = [Watched::OAuthClients, Watched::Keys];
        let is_urgent = |(watch, _): &(&Watch, &u64)| urgent.contains(&watch.kind);
        !seen.versions.iter().filter(is_urgent).eq(life.told.versions.iter().filter(is_urgent))
            || urgent.iter().any(|kind| seen.unread.get(kind) != life.told.unread.get(kind))
    }

    /// One renewal, with a report once the join's lists are in use. `false`: the Lease is lost.
    async fn renew(&self, life: &mut Life) -> Result<bool, HeartbeatError> {
        let begun = ambient::moment();
        life.sent = begun.boot;
        let reporting = life.phase == Phase::Serving || self.readiness.standing(begun) == Standing::Current;
        let told = if reporting { self.links.seen.borrow().clone() } else { Seen::default() };
        let Some(own) = self.patch("renew", &life.own, self.report(reporting, &told, begun)).await? else {
            return self.recognise(life).await;
        };
        life.own = own;
        life.told = told;
        self.beaten(begun);
        if reporting && life.phase == Phase::Joining {
            life.phase = Phase::Serving;
            self.readiness.join();
            tracing::info!(lease = self.name, "joined");
        }
        Ok(true)
    }

    /// A write was refused: whether the Lease is still ours (the reply to an earlier write was lost, or somebody annotated it).
    /// One whose version has gone back was restored with etcd: what it and the feeds have seen is of another history.
    async fn recognise(&self, life: &mut Life) -> Result<bool, HeartbeatError> {
        let Some(found) = self.look().await? else { return Ok(false) };
        let own = Own::from(&found);
        let is_older = own.version.parse::<u64>().ok() < life.own.version.parse::<u64>().ok();
        if own.uid != life.own.uid || !self.is_ours(&found) || is_older {
            return Ok(false);
        }
        life.own = own;
        sleep(self.pace.report).await;
        life.sent = Duration::ZERO; // The renewal itself is still to be made.
        Ok(true)
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity.process)
    }

    /// A write that had started at `begun` has succeeded.
    fn beaten(&self, begun: Moment) {
        self.links.contact.renewed(begun, ambient::moment());
        if let Some(after) = self.links.contact.wants_lists_after() {
            self.links.wanted.send_if_modified(|wanted| wanted.replace(after) != Some(after));
        }
    }

    /// Deletes the Lease: from then on no rotation waits for this replica.
    async fn leave(&self, own: Option<Own>) {
        // Stopped in the middle of a join: its Lease may be there, and nobody else would delete it for a while.
        let joining = async || self.look().await.ok().flatten().filter(|lease| self.is_ours(lease)).map(|lease| Own::from(&lease));
        let Some(own) = (if own.is_some() { own } else { joining().await }) else { return };
        let preconditions = Preconditions { resource_version: None, uid: Some(own.uid) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        for _ in 0..3 {
            match self.ask("delete", self.leases.delete(&self.name, &parameters)).await {
                Ok(Ok(_)) => return,
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => return,
                Ok(Err(source)) => self.complain(&self.failed("delete", source)).await,
                Err(error) => self.complain(&error).await,
            }
        }
    }

    async fn look(&self) -> Result<Option<Lease>, HeartbeatError> {
        self.ask("read", self.leases.get_opt(&self.name)).await?.map_err(|source| self.failed("read", source))
    }

    /// Changes the Lease if it is still the one that is known. `None`: it is not.
    async fn patch(&self, action: &'static str, own: &Own, mut patch: Value) -> Result<Option<Own>, HeartbeatError> {
        let preconditions = [("uid", own.uid.as_str()), ("resourceVersion", own.version.as_str())];
        merge(&mut patch, "/metadata", preconditions.map(|(name, value)| (name.to_owned(), Value::from(value))));
        match self.ask(action, self.leases.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch))).await? {
            Ok(lease) => Ok(Some(Own::from(&lease))),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(None),
            Err(source) => Err(self.failed(action, source)),
        }
    }

    async fn ask<T>(&self, action: &'static str, request: impl Future<Output = T>) -> Result<T, HeartbeatError> {
        let (lease, answer) = (self.name.clone(), self.pace.answer);
        timeout(answer, request).await.map_err(|_| HeartbeatError::Silent { action, lease, answer })
    }

    fn failed(&self, action: &'static str, source: kube::Error) -> HeartbeatError {
        HeartbeatError::Request { action, lease: self.name.clone(), source }
    }

    async fn complain(&self, error: &HeartbeatError) {
        tracing::warn!(error = error as &dyn std::error::Error, "a heartbeat failed and is tried again");
        sleep(self.pace.retry).await;
    }

    /// The Lease as joining. No ownerReference: the garbage collector must not delete it before its replica has drained.
    fn manifest(&self) -> Value {
        let doubt = 10; // For people; the leader judges by what it sees.
        json!({
            "metadata": {
                "name": self.name,
                "labels": {"app.kubernetes.io/managed-by": "keywright", RELEASE_LABEL: self.identity.release},
                "annotations": {PHASE_ANNOTATION: Phase::Joining.as_str(), ADDRESS_ANNOTATION: self.identity.address},
            },
            "spec": {"holderIdentity": self.identity.process, "leaseDurationSeconds": doubt, "renewTime": MicroTime(ambient::now())},
        })
    }

    fn report(&self, reporting: bool, seen: &Seen, begun: Moment) -> Value {
        let mut report = json!({"metadata": {"annotations": {}}, "spec": {"renewTime": MicroTime(begun.wall)}});
        if reporting {
            // What is not reached any more is taken back.
            let versions = Watched::ALL.into_iter().map(|kind| (seen_annotation(kind), Value::from(seen_value(kind, &seen.versions))));
            let names = |kind| seen.unread.get(&kind).and_then(unread_names);
            let unread = Watched::ALL.into_iter().map(|kind| (unread_annotation(kind), Value::from(names(kind))));
            let phase = (PHASE_ANNOTATION.to_owned(), Value::from(Phase::Serving.as_str()));
            merge(&mut report, "/metadata/annotations", versions.chain(unread).chain([phase]));
        }
        report
    }
}

/// Adds members to the object at that place, if there is one.
fn merge(patch: &mut Value, place: &str, members: impl IntoIterator<Item = (String, Value)>) {
    if let Some(object) = patch.pointer_mut(place).and_then(Value::as_object_mut) {
        object.extend(members);
    }
}
