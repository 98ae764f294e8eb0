//! Callers, and what stands between them and the replicas in a cluster: a Service, which sends requests to those that are ready, and the
//! kubelet, which asks them and writes it into their pods' status, where the gate finds it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use crate::cluster::eventually;
use crate::operator::{Operator, RELEASE, SOON};
use crate::workload::Credentials;

const WORKERS: usize = 8;
/// How often readiness is asked for.
const PROBE: Duration = Duration::from_millis(250);
/// So long after a replica broke a caller asks another one.
const PATIENCE: Duration = Duration::from_secs(3);
/// So often it does.
const ATTEMPTS: usize = 200;
/// Between two looks whether a replica broke.
const LOOK: Duration = Duration::from_millis(100);

/// Somebody who reads the Secret again so many minutes after it changed.
pub(super) struct Caller {
    client: String,
    delay: u32,
    /// Held while a request is under way: the clock moves on only when those with a former secret are answered.
    credentials: RwLock<Credentials>,
}

impl Caller {
    pub(super) fn new(client: &str, delay: u32, credentials: Credentials) -> Self {
        Self { client: client.to_owned(), delay, credentials: RwLock::new(credentials) }
    }
}

/// Where requests go.
struct Backend {
    pod: String,
    url: String,
    ready_url: String,
    ready: AtomicBool,
    /// Odd while somebody kills, stops or restarts it: connections may break then, answers may not.
    broken: AtomicU64,
}

impl Backend {
    /// Since it was looked at.
    fn was_broken(&self, before: u64) -> bool {
        before % 2 == 1 || self.broken.load(Ordering::SeqCst) != before
    }

    /// Waits until it has been so for a while.
    async fn was_broken_for(&self, patience: Duration, before: u64) {
        while !self.was_broken(before) {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(patience).await;
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) answered: u64,
    /// Tried again elsewhere: the replica was down or stood still.
    pub(super) moved: u64,
    pub(super) failed: Vec<String>,
}

/// Requests that go on and on.
pub(super) struct Load {
    pods: Api<Pod>,
    callers: Vec<Caller>,
    backends: Vec<Backend>,
    next: AtomicUsize,
    ended: AtomicBool,
    pause: Duration,
    tally: Mutex<Tally>,
}

impl Load {
    pub(super) async fn new(operator: &Operator<'_>, callers: Vec<Caller>, pause: Duration) -> Self {
        let pods: Api<Pod> = Api::namespaced(operator.cluster.client().await.unwrap(), &operator.namespace);
        for replica in &operator.replicas {
            let spec = json!({"serviceAccountName": RELEASE, "containers": [{"name": RELEASE, "image": RELEASE}]});
            let pod = json!({"metadata": {"name": &replica.pod}, "spec": spec});
            pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        }
        let backends = operator.replicas.iter().map(|replica| Backend {
            pod: replica.pod.clone(),
            url: format!("https://localhost:{}/oauth2/token", replica.port),
            ready_url: format!("http://127.0.0.1:{}/readyz", replica.health_port),
            ready: AtomicBool::new(true),
            broken: AtomicU64::new(0),
        });
        Self {
            pods,
            callers,
            backends: backends.collect(),
            next: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            pause,
            tally: Mutex::default(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            let load = Arc::clone(self);
            tasks.spawn(async move { load.work().await });
        }
        for index in 0..self.backends.len() {
            let load = Arc::clone(self);
            tasks.spawn(async move { load.probe(&load.backends[index]).await });
        }
        tasks
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Callers with that delay take over what the Secrets hold.
    pub(super) async fn read_again(&self, held: &BTreeMap<String, Credentials>, delay: u32) {
        for caller in self.callers.iter().filter(|caller| caller.delay == delay) {
            let new = &held[&caller.client];
            if *caller.credentials.read().await != *new {
                caller.credentials.write().await.clone_from(new);
            }
        }
    }

    /// Somebody breaks that replica, or is done with it.
    pub(super) fn breaks(&self, replica: usize) {
        self.backends[replica].broken.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until no Service sends requests there: a kubelet knows at once that a container has ended.
    pub(super) async fn notices(&self, replica: usize) {
        let gone = async || if self.backends[replica].ready.load(Ordering::SeqCst) { Err("ready") } else { Ok(()) };
        eventually(SOON, "it is noticed that the replica has ended", gone).await.unwrap();
    }

    async fn probe(&self, backend: &Backend) {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
        let mut reported = None;
        while !self.ended.load(Ordering::SeqCst) {
            let ready = http.get(&backend.ready_url).send().await.is_ok_and(|answer| answer.status() == 200);
            backend.ready.store(ready, Ordering::SeqCst);
            if reported != Some(ready) && self.report(&backend.pod, ready).await {
                reported = Some(ready);
            }
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Whether the API server took it.
    async fn report(&self, pod: &str, ready: bool) -> bool {
        let status = if ready { "True" } else { "False" };
        let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": keywright::ambient::now().to_string()});
        let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        self.pods.patch_status(pod, &PatchParams::default(), &patch).await.is_ok()
    }

    async fn work(&self) {
        let http = self.callers[0].credentials.read().await.http_kept_alive();
        while !self.ended.load(Ordering::SeqCst) {
            tokio::time::sleep(self.pause).await;
            let turn = self.next.fetch_add(1, Ordering::SeqCst);
            let caller = &self.callers[turn % self.callers.len()];
            let outcome = self.ask(&http, caller, turn).await;
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(moved) => {
                    tally.answered += 1;
                    tally.moved += moved;
                }
                Err(failure) => tally.failed.push(format!("{}, {} minutes late: {failure}", caller.client, caller.delay)),
            }
        }
    }

    /// One request; how often it had to be asked elsewhere.
    async fn ask(&self, http: &reqwest::Client, caller: &Caller, turn: usize) -> Result<u64, String> {
        let credentials = caller.credentials.read().await;
        for attempt in 0..ATTEMPTS {
            let backend = self.route(turn / self.callers.len() + attempt);
            let before = backend.broken.load(Ordering::SeqCst);
            // A replica that is well answers, however busy the machine is.
            let request = http.post(&backend.url).timeout(SOON).form(&[("grant_type", "client_credentials")]);
            let request = request.basic_auth(credentials.get("client-id"), Some(credentials.get("client-secret")));
            let answered = async {
                let answer = request.send().await?;
                Ok((answer.status(), answer.bytes().await))
            };
            let answer = tokio::select! {
                answer = answered => answer,
                () = backend.was_broken_for(PATIENCE, before) => continue,
            };
            match answer {
                Ok((status, body)) if status != 200 => return Err(format!("{}: {status} {body:?}", backend.url)),
                Ok((_, Ok(_))) => return Ok(attempt as u64),
                Ok((_, Err(_))) | Err(_) if backend.was_broken(before) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok((_, Err(error))) | Err(error) => return Err(format!("{}: {error:?}", backend.url)),
            }
        }
        Err("no replica answers".to_owned())
    }

    /// One that is ready, or any.
    fn route(&self, turn: usize) -> &Backend {
        let ready: Vec<_> = self.backends.iter().filter(|backend| backend.ready.load(Ordering::SeqCst)).collect();
        if ready.is_empty() { &self.backends[turn % self.backends.len()] } else { ready[turn % ready.len()] }
    }
}
