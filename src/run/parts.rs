//! The parts of one replica.

use super::{
    RunError,
    served::{self, Served},
    settings::{Certificate, Settings},
    tasks::{Task, Tasks},
};
use crate::{
    ambient,
    api::{OAuthClient, ProtectedResource},
    audit,
    cli::Role,
    cluster,
    controller::{Controller, Parts},
    installation::Reach,
    lease::{Candidate, Leadership, Terms},
    metrics::{self, Bundles, CertificateMetrics, ConnectionMetrics, RememberedAssertions, SigningKeys, SnapshotAge, TokenMetrics},
    oauth::{
        grant::Lifetimes,
        throttle::{Rate, Throttle},
        used::UsedAssertions,
    },
    policy::Quota,
    registry::{AccountKeys, Registry, feed::Source, index::Index},
    replica::{
        contact::{Contact, Moment, Patience},
        heartbeat::{Heartbeat, Identity, Links, Pace},
        readiness::Readiness,
        use_reporter::UseReporter,
    },
    revocation,
    server::{self, BodyLimits, Endpoint, Limits, Listener, Operations, Strangers, TlsMode},
    service_accounts::{desk::Desk, keeper},
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Client, Config};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Time for one answer to a read or a write.
const ANSWER: Duration = Duration::from_secs(15);
/// The same for Leases, which must not wait.
const LEASE_ANSWER: Duration = Duration::from_secs(3);

/// How long a leader waits for bundles and keys that it may not be able to read, before it says so of the clients that need them.
const TRUST: Duration = Duration::from_secs(5);

/// How many files the process may open: as many as it may allow itself. Container runtimes give it a limit of 1024 that programs are
/// meant to raise, because some of them use `select`.
fn open_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of open files cannot be raised");
        1024
    })
}

/// One replica.
pub(super) struct Replica {
    settings: Settings,
    requests: Client,
    watches: Client,
    leases: Client,
    /// For what a request waits for.
    reviews: Client,
    registry: Arc<Registry>,
    contact: Arc<Contact>,
    readiness: Arc<Readiness>,
    wanted: watch::Sender<Option<Moment>>,
    process: String,
    served: Arc<Served>,
    tokens: TokenMetrics,
    connections: ConnectionMetrics,
    audit_events_left_out: Counter,
    /// How many of the cluster's keys are known.
    service_account_keys: Gauge,
    used_assertions: Arc<UsedAssertions>,
}

/// What is handed over once.
pub(super) struct Once {
    pub(super) heartbeat: Heartbeat,
    pub(super) reporter: UseReporter,
    pub(super) metrics: prometheus_client::registry::Registry,
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
        let connections = ConnectionMetrics::new(&mut metrics);
        let audit_events_left_out = metrics::audit_events_left_out(&mut metrics);
        // One that answers no requests looks none up.
        let service_account_keys =
            if settings.role == Role::Controller { Gauge::default() } else { metrics::service_account_keys(&mut metrics) };
        metrics.register_collector(Box::new(SnapshotAge::new(registry.seen())));
        metrics.register_collector(Box::new(SigningKeys::new(registry.snapshot())));
        metrics.register_collector(Box::new(Bundles::new(registry.trust())));
        let served = Served { metrics: CertificateMetrics::new(&mut metrics), ..Served::default() };
        let used_assertions: Arc<UsedAssertions> = Arc::default();
        metrics.register_collector(Box::new(RememberedAssertions::new(Arc::clone(&used_assertions))));
        let replica = Self {
            requests: cluster::requests(config, ANSWER).map_err(failed)?,
            watches: cluster::watches(config).map_err(failed)?,
            served: Arc::new(served),
            tokens,
            connections,
            audit_events_left_out,
            service_account_keys,
            used_assertions,
            leases,
            reviews: cluster::requests(config, LEASE_ANSWER).map_err(failed)?,
            registry,
            contact,
            readiness,
            wanted,
            process,
            settings,
        };
        let (installation, pod) = (&replica.settings.installation, &replica.settings.pod);
        let reporter = UseReporter::new(&replica.requests, installation, pod, replica.registry.snapshot());
        Ok((replica, Once { heartbeat, reporter, metrics }))
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
    pub(super) fn observe(&self, tasks: &mut Tasks, stop: &CancellationToken) {
        let wanted = || self.wanted.subscribe();
        let registry = || Arc::clone(&self.registry);
        let reach = &self.settings.installation.reach;
        for place in reach.places() {
            let clients = Source::at(self.watches.clone(), place.as_deref());
            tasks.spawn(Task::Clients, registry().follow::<OAuthClient>(place.clone(), clients, wanted(), stop.clone()));
            let resources = Source::at(self.watches.clone(), place.as_deref());
            tasks.spawn(Task::Resources, registry().follow::<ProtectedResource>(place, resources, wanted(), stop.clone()));
        }
        if *reach == Reach::Cluster {
            let namespaces = Source::new(Api::all(self.watches.clone()));
            tasks.spawn(Task::Namespaces, registry().follow::<Namespace>(None, namespaces, wanted(), stop.clone()));
        }
        for domain in self.settings.policy.trust_domains() {
            let source = Source::at(self.watches.clone(), Some(&self.settings.installation.namespace));
            let source = source.with_fields(format!("metadata.name={}", domain.config_map));
            tasks.spawn(Task::Trust, registry().follow_bundle(domain.clone(), source, stop.clone()));
        }
        let keys = self.own_secret(&self.settings.installation.release().keys().name);
        tasks.spawn(Task::Keys, registry().follow_keys(keys, wanted(), stop.clone()));
        tasks.spawn(Task::Snapshot, registry().swap(stop.clone()));
        if let Certificate::Secret(name) = &self.settings.certificate {
            let certificate = served::follow(self.own_secret(name), Arc::clone(&self.served), registry(), stop.clone());
            tasks.spawn(Task::Certificate, certificate);
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
        tasks: &mut Tasks,
        stop: &CancellationToken,
    ) {
        let (readiness, served) = (Arc::clone(&self.readiness), Arc::clone(&self.served));
        let (serves, certificate_is_needed) = (self.serves(), self.serves() && self.settings.certificate != Certificate::None);
        let registry = Arc::clone(&self.registry);
        let missing = move || {
            let lines = [
                (readiness.is_ready(ambient::moment()), "not joined: lists and watches are not complete, or no contact to the API server"),
                (registry.with_index(Index::keys).is_some(), "no keys: the leader makes them"),
                (!certificate_is_needed || served.installed.load(Ordering::Acquire), "no serving certificate"),
                // Those that are ready have read them, and would answer otherwise.
                (!serves || registry.bundles_are_read(), "the ConfigMaps of policy.trustDomains were not read yet"),
            ];
            lines.into_iter().filter(|(holds, _)| !holds).map(|(_, line)| line.to_owned()).collect()
        };
        let operations = Operations { registry: metrics, contact: Arc::clone(&self.contact), missing: Box::new(missing) };
        let router = server::operations_router(Arc::new(operations));
        let (tls, limits) = (TlsMode::Plain, Limits::default());
        let listener = Listener { socket: listener, tls, limits, proxies: Default::default(), metrics: Default::default() };
        tasks.spawn(Task::Health, server::serve(listener, router, stop.clone()));
    }

    /// The token endpoint.
    pub(super) fn serve_tokens(&self, listener: TcpListener, tasks: &mut Tasks, stop: &CancellationToken) -> Result<(), RunError> {
        if !self.serves() {
            return Ok(());
        }
        let tls = match &self.settings.certificate {
            Certificate::None => TlsMode::Plain,
            Certificate::Secret(_) => {
                TlsMode::with(Arc::clone(&self.served.certificate)).map_err(|error| RunError::Part(error.to_string()))?
            }
        };
        let (desk, answering) = Desk::new();
        tasks.spawn(Task::ServiceAccounts, keeper::run(self.reviews.clone(), answering, self.tell_of_account_keys(), stop.clone()));
        let (revocations, keeping) = revocation::desk::Desk::new();
        let (installation, pod) = (&self.settings.installation, &self.settings.pod);
        let keeper = revocation::keeper::Keeper::new(&self.reviews, self.watches.clone(), installation, pod, keeping);
        tasks.spawn(Task::Revocations, keeper.run(stop.clone()));
        let (audit, events) = audit::Desk::new(self.settings.audit_successes, self.audit_events_left_out.clone());
        tasks.spawn(Task::Audit, audit::write(events, self.registry.snapshot(), tokio::io::stderr(), stop.clone()));
        let router = server::router(Arc::new(self.endpoint(desk, revocations, audit)));
        let limits = Limits::default().within(open_files());
        let (proxies, metrics) = (self.settings.trusted_proxies.clone(), self.connections.clone());
        let listener = Listener { socket: listener, tls, limits, proxies, metrics };
        tasks.spawn(Task::Tokens, server::serve(listener, router, stop.clone()));
        Ok(())
    }

    /// Tells the leader what this replica has seen and who used what. A controller alone answers no requests: no rotation waits for it, and it is
    /// ready when it has listed everything.
    pub(super) fn announce(&self, (heartbeat, reporter): (Heartbeat, UseReporter), tasks: &mut Tasks, leave: &CancellationToken) {
        let leave = leave.clone();
        if self.serves() {
            tasks.spawn(Task::Heartbeat, heartbeat.run(leave.clone()));
            tasks.spawn(Task::Uses, reporter.run(leave));
            return;
        }
        let (readiness, mut seen) = (Arc::clone(&self.readiness), self.registry.seen());
        tasks.spawn(Task::Heartbeat, async move {
            let listed = async {
                let _ = seen.wait_for(|seen| seen.all_listed().is_some()).await;
                readiness.join();
                std::future::pending().await
            };
            tokio::select! {
                () = listed => {}
                () = leave.cancelled() => {}
            }
        });
    }

    /// The controller, while this replica holds the leader's Lease.
    pub(super) fn lead(&self, tasks: &mut Tasks, stop: &CancellationToken) {
        if self.settings.role == Role::Server {
            return;
        }
        let controller = Controller::new(Parts {
            kube: self.requests.clone(),
            watches: self.watches.clone(),
            leases: self.leases.clone(),
            installation: self.settings.installation.clone(),
            pod: self.settings.pod.clone(),
            registry: Arc::clone(&self.registry),
            settings: self.settings.provision.clone(),
            policy: Arc::clone(&self.settings.policy),
            trusted: Arc::clone(&self.served.trusted),
            certificate_installed: Arc::clone(&self.served.installed),
        });
        let installation = &self.settings.installation;
        let (candidate, leadership) =
            Candidate::new(self.leases.clone(), &installation.namespace, &installation.release, self.process.clone(), Terms::default());
        let stop = stop.clone();
        let registry = Arc::clone(&self.registry);
        // One that answers no requests does not look.
        let keys = if self.serves() { TRUST } else { Duration::ZERO };
        // A task of its own: a renewal never waits for the work. It ends after the controller, and gives the Lease back.
        let give_back = CancellationToken::new();
        tasks.spawn(Task::Election, candidate.run(give_back.clone()));
        let give_back = give_back.drop_guard();
        tasks.spawn(Task::Controller, async move {
            lead(controller, leadership, (registry, keys), stop).await;
            drop(give_back);
        });
    }

    fn tell_of_account_keys(&self) -> keeper::Tell {
        let (registry, gauge) = (Arc::clone(&self.registry), self.service_account_keys.clone());
        Box::new(move |found| match found {
            keeper::Found::Keys(count) => {
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
                registry.account_keys_are(AccountKeys::Known);
            }
            keeper::Found::Refused(why) => registry.account_keys_are(AccountKeys::Refused(why)),
            keeper::Found::Unanswered => registry.account_keys_are(AccountKeys::Unanswered),
        })
    }

    fn endpoint(&self, service_accounts: Desk, revocations: revocation::desk::Desk, audit: audit::Desk) -> Endpoint {
        let policy = &self.settings.policy;
        Endpoint {
            snapshot: self.registry.snapshot(),
            contact: Arc::clone(&self.contact),
            issuer: self.settings.issuer.clone(),
            algorithm: self.settings.installation.algorithm,
            lifetimes: Lifetimes { max: policy.max_lifetime, ..Lifetimes::default() },
            body_limits: BodyLimits::default(),
            trusted_proxies: self.settings.trusted_proxies.clone(),
            used_assertions: Arc::clone(&self.used_assertions),
            ping_federate_paths: self.settings.ping_federate_paths,
            strangers: self.settings.verifier_probes.then(Strangers::default),
            trust: self.registry.trust(),
            service_accounts,
            revocations,
            throttle: Throttle::new(policy.quota.map(rate)).with_introspections(policy.introspection_quota.map(rate)),
            metrics: self.tokens.clone(),
            audit,
        }
    }

    fn serves(&self) -> bool {
        self.settings.role != Role::Controller
    }
}

fn rate(quota: Quota) -> Rate {
    Rate::per_second(quota.burst, quota.tokens_per_second)
}

/// Leads whenever the Lease is held, until `stop`. `keys`: how long it waits for the first look at the cluster's keys.
async fn lead(controller: Controller, mut leadership: Leadership, (registry, keys): (Arc<Registry>, Duration), stop: CancellationToken) {
    let mut seen = registry.seen();
    loop {
        tokio::select! {
            () = leadership.acquired() => {}
            () = stop.cancelled() => return,
        }
        tracing::info!("leading");
        let term = stop.child_token();
        let mut work = pin!(async {
            // What is not known yet would look as if it were not there.
            let listed = async {
                let listed = seen.wait_for(|seen| seen.all_listed().is_some()).await.is_ok();
                tokio::join!(registry.bundles_read(TRUST), registry.account_keys_looked_up(keys));
                listed
            };
            tokio::select! {
                true = listed => controller.lead(term.clone()).await,
                () = term.cancelled() => {}
            }
        });
        tokio::select! {
            () = leadership.lost() => tracing::warn!("not leading any more"),
            // Stopped with `stop`; else gone, and then nobody works though this replica holds the Lease: the process ends.
            () = &mut work => return,
        }
        term.cancel();
        work.await;
    }
}
