//! The parts of one replica.

use super::{
    RunError,
    settings::{Certificate, Settings},
};
use crate::{
    ambient,
    api::{OAuthClient, ProtectedResource},
    cli::Role,
    cluster,
    controller::{Controller, Parts},
    keys::certificate,
    lease::{Candidate, Leadership, Terms},
    metrics::{SnapshotAge, TokenMetrics},
    oauth::{
        grant::Lifetimes,
        throttle::{Rate, Throttle},
    },
    registry::{
        Registry,
        feed::{self, Event, Source},
        index::Index,
    },
    replica::{
        contact::{Contact, Moment, Patience},
        heartbeat::{Heartbeat, Identity, Links, Pace},
        readiness::Readiness,
    },
    server::{self, BodyLimits, Endpoint, Limits, Operations, TlsMode, tls::ServingCertificate},
};
use arc_swap::ArcSwapOption;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Client, Config, ResourceExt};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Time for one answer to a read or a write.
const ANSWER: Duration = Duration::from_secs(15);
/// The same for Leases, which must not wait.
const LEASE_ANSWER: Duration = Duration::from_secs(3);

/// One replica.
pub(super) struct Replica {
    settings: Settings,
    requests: Client,
    watches: Client,
    leases: Client,
    registry: Arc<Registry>,
    contact: Arc<Contact>,
    readiness: Arc<Readiness>,
    wanted: watch::Sender<Option<Moment>>,
    process: String,
    served: Arc<Served>,
    tokens: TokenMetrics,
}

/// What is handed over once.
pub(super) struct Once {
    pub(super) heartbeat: Heartbeat,
    pub(super) metrics: prometheus_client::registry::Registry,
}

/// The certificate in use, and what clients have to trust.
#[derive(Default)]
struct Served {
    certificate: Arc<ServingCertificate>,
    trusted: Arc<ArcSwapOption<String>>,
    installed: Arc<AtomicBool>,
}

impl Replica {
    pub(super) fn new(settings: Settings, config: &Config) -> Result<(Self, Once), RunError> {
        let failed = |error: kube::Error| RunError::Kubeconfig(error.to_string());
        let leases = cluster::requests(config, LEASE_ANSWER).map_err(failed)?;
        let registry = Registry::new(Index::new(Arc::clone(&settings.policy), settings.installation.clone()));
        let contact = Arc::new(Contact::new(Patience { stale: settings.max_stale, ..Patience::default() }));
        let wanted = watch::Sender::new(None);
        let process = format!("{}_{}", settings.pod, ambient::draw_jti());
        let identity = Identity {
            namespace: settings.installation.namespace.clone(),
            release: settings.installation.release.clone(),
            pod: settings.pod.clone(),
            process: process.clone(),
            address: settings.advertise.map(|address| address.to_string()).unwrap_or_default(),
        };
        let links = Links { contact: Arc::clone(&contact), seen: registry.seen(), wanted: wanted.clone() };
        let (heartbeat, readiness) = Heartbeat::new(leases.clone(), identity, links, Pace::default());
        let mut metrics = prometheus_client::registry::Registry::default();
        let tokens = TokenMetrics::new(&mut metrics);
        metrics.register_collector(Box::new(SnapshotAge::new(registry.seen())));
        let replica = Self {
            requests: cluster::requests(config, ANSWER).map_err(failed)?,
            watches: cluster::watches(config).map_err(failed)?,
            served: Arc::default(),
            tokens,
            leases,
            registry,
            contact,
            readiness,
            wanted,
            process,
            settings,
        };
        Ok((replica, Once { heartbeat, metrics }))
    }

    pub(super) fn issuer(&self) -> &str {
        self.settings.issuer.as_str()
    }

    pub(super) fn pod(&self) -> &str {
        &self.settings.pod
    }

    pub(super) fn was_ready(&self) -> bool {
        self.registry.seen().borrow().all_listed().is_some()
    }

    pub(super) fn stop_being_ready(&self) {
        self.readiness.drain();
    }

    /// Lists and watches what requests are answered from.
    pub(super) fn observe(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let wanted = || self.wanted.subscribe();
        let registry = || Arc::clone(&self.registry);
        let all = |kube: &Client| kube.clone();
        tasks.spawn(registry().follow::<OAuthClient>(Source::new(Api::all(all(&self.watches))), wanted(), stop.clone()));
        tasks.spawn(registry().follow::<ProtectedResource>(Source::new(Api::all(all(&self.watches))), wanted(), stop.clone()));
        tasks.spawn(registry().follow::<Namespace>(Source::new(Api::all(all(&self.watches))), wanted(), stop.clone()));
        let release = self.settings.installation.release();
        tasks.spawn(registry().follow_keys(self.own_secret(&release.keys().name), wanted(), stop.clone()));
        tasks.spawn(registry().swap(stop.clone()));
        if let Certificate::Secret(name) = &self.settings.certificate {
            tasks.spawn(follow_certificate(self.own_secret(name), Arc::clone(&self.served), registry(), stop.clone()));
        }
    }

    fn own_secret(&self, name: &str) -> Source<Secret> {
        let api = Api::namespaced(self.watches.clone(), &self.settings.installation.namespace);
        Source::new(api).with_fields(format!("metadata.name={name}"))
    }

    /// Health, metrics and contact, on the second port.
    pub(super) fn serve_health(
        &self,
        listener: TcpListener,
        metrics: prometheus_client::registry::Registry,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let (readiness, served) = (Arc::clone(&self.readiness), Arc::clone(&self.served));
        let certificate_is_needed = self.serves() && self.settings.certificate != Certificate::None;
        let registry = Arc::clone(&self.registry);
        let missing = move || {
            let lines = [
                (readiness.is_ready(ambient::moment()), "not joined: lists and watches are not complete, or no contact to the API server"),
                (registry.with_index(Index::keys).is_some(), "no keys: the leader makes them"),
                (!certificate_is_needed || served.installed.load(Ordering::Acquire), "no serving certificate"),
            ];
            lines.into_iter().filter(|(holds, _)| !holds).map(|(_, line)| line.to_owned()).collect()
        };
        let operations = Operations { registry: metrics, contact: Arc::clone(&self.contact), missing: Box::new(missing) };
        let router = server::operations_router(Arc::new(operations));
        tasks.spawn(server::serve(listener, TlsMode::Plain, router, Limits::default(), stop.clone()));
    }

    /// The token endpoint.
    pub(super) fn serve_tokens(
        &self,
        listener: TcpListener,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<JoinHandle<()>, RunError> {
        if !self.serves() {
            return Ok(tasks.spawn(async {}));
        }
        let tls = match &self.settings.certificate {
            Certificate::None => TlsMode::Plain,
            Certificate::Secret(_) => {
                TlsMode::with(Arc::clone(&self.served.certificate)).map_err(|error| RunError::Part(error.to_string()))?
            }
        };
        let router = server::router(Arc::new(self.endpoint()));
        Ok(tasks.spawn(server::serve(listener, tls, router, Limits::default(), stop.clone())))
    }

    /// The controller, while this replica holds the leader's Lease.
    pub(super) fn lead(&self, tasks: &TaskTracker, stop: &CancellationToken) -> JoinHandle<()> {
        if self.settings.role == Role::Server {
            return tasks.spawn(async {});
        }
        let controller = Controller::new(Parts {
            kube: self.requests.clone(),
            watches: self.watches.clone(),
            leases: self.leases.clone(),
            installation: self.settings.installation.clone(),
            pod: self.settings.pod.clone(),
            registry: Arc::clone(&self.registry),
            settings: self.settings.provision.clone(),
            trusted: Arc::clone(&self.served.trusted),
            certificate_installed: Arc::clone(&self.served.installed),
        });
        let installation = &self.settings.installation;
        let (candidate, leadership) =
            Candidate::new(self.leases.clone(), &installation.namespace, &installation.release, self.process.clone(), Terms::default());
        let stop = stop.clone();
        let registry = Arc::clone(&self.registry);
        // A task of its own: a renewal never waits for the work.
        let give_back = CancellationToken::new();
        let election = tasks.spawn(candidate.run(give_back.clone()));
        tasks.spawn(async move {
            lead(controller, leadership, registry, stop).await;
            give_back.cancel();
            // The Lease is given back, or the API server could not be reached.
            let _ = election.await;
        })
    }

    fn endpoint(&self) -> Endpoint {
        let policy = &self.settings.policy;
        Endpoint {
            snapshot: self.registry.snapshot(),
            contact: Arc::clone(&self.contact),
            issuer: self.settings.issuer.clone(),
            lifetimes: Lifetimes { max: policy.max_lifetime, ..Lifetimes::default() },
            body_limits: BodyLimits::default(),
            throttle: Throttle::new(policy.quota.map(|quota| Rate::per_second(quota.burst, quota.tokens_per_second))),
            metrics: self.tokens.clone(),
        }
    }

    fn serves(&self) -> bool {
        self.settings.role != Role::Controller
    }
}

impl Served {
    fn install(&self, secret: &Secret) {
        let name = secret.name_any();
        let data = secret.data.clone().unwrap_or_default();
        match certificate::ServingCertificate::parse(&data) {
            Ok(parsed) => {
                self.certificate.install(parsed.certified_key);
                self.trusted.store(parsed.ca.map(Arc::new));
                self.installed.store(true, Ordering::Release);
                tracing::info!(secret = name, until = %parsed.not_after, "serving certificate in use");
            }
            Err(error) => tracing::error!(secret = name, %error, "the serving certificate cannot be used; the one before stays in use"),
        }
    }
}

/// Leads whenever the Lease is held, until `stop`.
async fn lead(controller: Controller, mut leadership: Leadership, registry: Arc<Registry>, stop: CancellationToken) {
    let mut seen = registry.seen();
    loop {
        tokio::select! {
            () = leadership.acquired() => {}
            () = stop.cancelled() => return,
        }
        tracing::info!("leading");
        let term = stop.child_token();
        let end = async {
            tokio::select! {
                () = leadership.lost() => tracing::warn!("not leading any more"),
                () = stop.cancelled() => {}
            }
            term.cancel();
        };
        let work = async {
            // What is not known yet would look as if it were not there.
            let listed = async { seen.wait_for(|seen| seen.all_listed().is_some()).await.is_ok() };
            tokio::select! {
                true = listed => controller.lead(term.clone()).await,
                () = term.cancelled() => {}
            }
        };
        tokio::join!(end, work);
    }
}

/// Installs the certificate whenever its Secret changes. One that cannot be used changes nothing.
async fn follow_certificate(source: Source<Secret>, served: Arc<Served>, registry: Arc<Registry>, stop: CancellationToken) {
    let (sink, mut events) = mpsc::channel(16);
    let (_wanted, unwanted) = watch::channel(None);
    let feed = feed::run(source, sink, unwanted, stop);
    let install = async {
        while let Some(event) = events.recv().await {
            let secret = match event {
                Event::Listed { objects, .. } => objects.into_iter().next(),
                Event::Applied { object, .. } => Some(object),
                Event::Deleted { .. } => None,
                Event::Unreadable { .. } | Event::Progress { .. } | Event::Agreed { .. } => continue,
            };
            if let Some(secret) = secret {
                served.install(&secret);
            }
            // Every Secret and ConfigMap says what is to be trusted; the leader makes a certificate that is gone.
            registry.touch_everything();
        }
    };
    tokio::join!(feed, install);
}
