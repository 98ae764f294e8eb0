//! Observe, validate, plan, build, apply: what the leader does for each object, one write at a time.
//!
//! `client` tells the story of one `OAuthClient`, `resource` that of one `ProtectedResource`, `provision` that of the release's
//! own keys and certificate. `observe` and `apply` alone touch the API server. What is to be looked at, and when, says `queue`.
//!
//! A look at a client plans on the caches first. Only where the plan is to write something both objects are read live, in the
//! order that the step asks for, and planned on again; then that one step is made, with the resourceVersion and uid that were
//! read, and the next look begins. A settled client costs no call at all.

mod apply;
mod build;
mod cache;
mod client;
mod clock;
mod events;
mod fault;
mod findings;
mod holding;
mod observe;
mod pending;
mod probed;
mod provision;
mod queue;
mod rehearsal;
mod reports;
mod resource;
mod terms;
mod uses;
mod verdict;
mod verification;
mod workload;

use crate::{
    ambient,
    domain::names::ObjectName,
    installation::Installation,
    keys::KeySet,
    policy::Policy,
    registry::{
        Registry,
        index::{Index, Touched},
    },
    replica::{
        gate::{Gate, GateError},
        silence::Silence,
    },
};
use arc_swap::ArcSwapOption;
use build::Endpoints;
use cache::Cache;
use client::Restarted;
use clock::Clock;
use events::Events;
use fault::Fault;
use futures::{StreamExt, stream::FuturesUnordered};
use holding::{Holding, Said};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use pending::Pending;
pub use provision::Settings;
use queue::{Outcome, Queue};
use reports::Reports;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Most objects that are looked at at the same time.
const AT_ONCE: usize = 64;
/// How often the replicas' Leases are looked at while nothing rotates.
const GATE_EVERY: Duration = Duration::from_secs(3);
/// How often an object that another installation works on is looked at: its namespace may be gone.
const CONTESTED: Duration = Duration::from_secs(30);

/// How often the two clocks are compared.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What the leader looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The release's keys and certificate.
    Provision,
    /// A `ProtectedResource`.
    Resource(ObjectName),
    /// An `OAuthClient`.
    Client(ObjectName),
}

/// The first of the two flows.
pub struct Controller {
    kube: kube::Client,
    installation: Installation,
    registry: Arc<Registry>,
    gate: Gate,
    secrets: Cache<Secret>,
    config_maps: Cache<ConfigMap>,
    pending: Pending,
    memory: provision::Memory,
    reports: Reports,
    restarted: Restarted,
    /// Of objects that another installation works on.
    said: Said,
    events: Events,
    settings: Settings,
    policy: Arc<Policy>,
    /// When it began to lead, in seconds since 1970.
    leads_since: AtomicI64,
    /// For lists and watches.
    watches: kube::Client,
    /// What clients of the endpoint have to trust (PEM).
    trusted: Arc<ArcSwapOption<String>>,
    /// Whether that is known.
    certificate_installed: Arc<AtomicBool>,
}

/// What a controller works with.
pub struct Parts {
    /// For single requests.
    pub kube: kube::Client,
    /// For lists and watches.
    pub watches: kube::Client,
    /// For the Leases of replicas.
    pub leases: kube::Client,
    /// Whose.
    pub installation: Installation,
    /// This replica's pod.
    pub pod: String,
    /// What it knows.
    pub registry: Arc<Registry>,
    /// The keys and the certificate that are wanted.
    pub settings: Settings,
    /// The installation's rules.
    pub policy: Arc<Policy>,
    /// What clients of the endpoint have to trust (PEM).
    pub trusted: Arc<ArcSwapOption<String>>,
    /// Whether that is known.
    pub certificate_installed: Arc<AtomicBool>,
}

impl Controller {
    /// One that does not lead yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { kube, watches, leases, installation, pod, registry, settings, policy, trusted, certificate_installed } = parts;
        Self {
            gate: Gate::new(&leases, &installation.namespace, &installation.release, Silence::default()),
            events: Events::start(kube.clone(), &installation, &pod),
            secrets: Cache::new(),
            config_maps: Cache::new(),
            pending: Pending::default(),
            memory: provision::Memory::default(),
            reports: Reports::default(),
            restarted: Restarted::default(),
            said: Said::default(),
            kube,
            watches,
            installation,
            registry,
            settings,
            policy,
            leads_since: AtomicI64::default(),
            trusted,
            certificate_installed,
        }
    }

    /// Leads until `stop`.
    pub async fn lead(&self, stop: CancellationToken) {
        self.leads_since.store(ambient::now().as_second(), Ordering::Relaxed);
        self.reports.begin(ambient::now());
        let (sender, changes) = mpsc::unbounded_channel();
        let touched = self.registry.tell();
        let reach = &self.installation.reach;
        let secrets = self.secrets.follow(&self.watches, reach, sender.clone(), stop.clone());
        let config_maps = self.config_maps.follow(&self.watches, reach, sender.clone(), stop.clone());
        let reports = self.reports.follow(self.watches.clone(), &self.installation, &self.registry, sender.clone(), stop.clone());
        let authority = self.follow_authority(sender.clone(), stop.clone());
        let touched = forward(touched, sender, stop.clone());
        tokio::join!(secrets, config_maps, reports, authority, touched, self.watch_gate(stop.clone()), self.work(changes, stop));
        self.pending.clear();
        self.memory.clear();
        self.restarted.clear();
        self.said.clear();
        self.secrets.clear();
        self.config_maps.clear();
    }

    /// A replica's silence is known when a rotation asks for it.
    async fn watch_gate(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.count_replicas().await {
                tracing::debug!(%error, "the replicas' Leases cannot be looked at");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(GATE_EVERY) => {}
            }
        }
    }

    /// Every replica that may be serving is to report its uses.
    async fn count_replicas(&self) -> Result<(), GateError> {
        let replicas = self.gate.counted().await?;
        self.reports.count(&replicas, ambient::now());
        Ok(())
    }

    /// Looks at everything once, and then at what changes. Not before the caches were filled: what they do not show is read live.
    async fn work(&self, mut changes: mpsc::UnboundedReceiver<Subject>, stop: CancellationToken) {
        let reach = &self.installation.reach;
        tokio::select! {
            ((), ()) = async { tokio::join!(self.secrets.listed(reach), self.config_maps.listed(reach)) } => {}
            () = stop.cancelled() => return,
        }
        let mut queue = Queue::new();
        self.queue_everything(&mut queue);
        let mut running = FuturesUnordered::new();
        let mut clock = Clock::new(ambient::moment());
        loop {
            // Looks at settled objects never wait: without this a start with 10,000 clients would let nothing else run.
            tokio::task::consume_budget().await;
            while running.len() < AT_ONCE
                && let Some(subject) = queue.take(ambient::boot_time())
            {
                running.push(self.look_at(subject));
            }
            if let Some(step) = clock.step(ambient::moment()) {
                tracing::warn!(seconds = step.as_secs(), "the wall clock was set: everything that waits for a time is looked at again");
                self.queue_everything(&mut queue);
            }
            let due = queue.next_due().filter(|_| running.len() < AT_ONCE);
            let wait = due.map_or(CLOCK_EVERY, |due| due.saturating_sub(ambient::boot_time()).min(CLOCK_EVERY));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((subject, outcome)) = running.next() => queue.finished(subject, outcome, ambient::boot_time()),
                Some(subject) = changes.recv() => queue.add(subject, ambient::boot_time()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn queue_everything(&self, queue: &mut Queue<Subject>) {
        let now = ambient::boot_time();
        queue.add(Subject::Provision, now);
        self.registry.with_index(Index::everything).into_iter().for_each(|touched| queue.add(touched.into(), now));
    }

    async fn look_at(&self, subject: Subject) -> (Subject, Outcome) {
        let looked = match &subject {
            Subject::Provision => self.provision().await,
            Subject::Resource(name) => self.reconcile_resource(name).await,
            Subject::Client(name) => self.reconcile_client(name).await,
        };
        let outcome = match looked {
            Ok(outcome) => outcome,
            Err(fault) if fault.is_contended() => Outcome::Contended,
            // Its objects are about to be deleted: that event comes, if none before.
            Err(Fault::Terminating { .. }) => Outcome::Settled,
            Err(fault) => {
                tracing::warn!(?subject, error = %fault, "will be tried again");
                if matches!(fault, Fault::Busy { .. }) { Outcome::Busy } else { Outcome::Failed }
            }
        };
        (subject, outcome)
    }

    /// Whose an object is, as it was read.
    fn holding(&self, object: &impl ResourceExt, controller: Option<&str>) -> Holding {
        let may_have = |name: &str| self.registry.with_index(|index| index.may_have_namespace(name));
        holding::holding(object, controller, &self.installation.controller(), may_have)
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        self.registry.with_index(Index::keys)
    }

    /// Whether it is known what clients of the endpoint have to trust: no Secret is written without it.
    fn endpoints_are_known(&self) -> bool {
        self.settings.certificate.is_none() || self.certificate_installed.load(Ordering::Acquire)
    }

    fn leads_since(&self) -> Timestamp {
        Timestamp::from_second(self.leads_since.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { issuer: self.installation.issuer.clone(), ca: self.trusted.load().as_deref().cloned() }
    }
}

async fn forward(mut touched: mpsc::UnboundedReceiver<Touched>, changes: mpsc::UnboundedSender<Subject>, stop: CancellationToken) {
    loop {
        let subject = tokio::select! {
            Some(touched) = touched.recv() => Subject::from(touched),
            () = stop.cancelled() => return,
            else => return,
        };
        // A new API may need a key of another algorithm.
        if matches!(subject, Subject::Resource(_)) && changes.send(Subject::Provision).is_err() {
            return;
        }
        if changes.send(subject).is_err() {
            return;
        }
    }
}

impl From<Touched> for Subject {
    fn from(touched: Touched) -> Self {
        match touched {
            Touched::Client(name) => Self::Client(name),
            Touched::Resource(name) => Self::Resource(name),
            Touched::Release => Self::Provision,
        }
    }
}
