//! The operator as a user installs it: the chart, by helm; the rights of its ServiceAccount and nothing more; the flags that its Deployment
//! gives. There is no node, so that its pods are processes of this machine, and the issuer is on loopback.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use tokio::sync::OnceCell;

use crate::cluster::{ControlPlane, Kubeconfig, Process, eventually, free_port};

/// Long enough for a machine whose cores are busy with a build.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The name of every release here; the namespaces differ.
pub(crate) const RELEASE: &str = "keywright";

/// How an operator is installed.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// What `spec.issuer` names it by; absent: the name of its namespace.
    pub(crate) name: Option<&'static str>,
    /// How many pods it may have.
    pub(crate) replicas: usize,
    /// Values of the chart: `--set-json`.
    pub(crate) values: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { name: None, replicas: 1, values: Vec::new() }
    }
}

/// An installation.
pub(crate) struct Operator<'cluster> {
    pub(crate) cluster: &'cluster ControlPlane,
    /// What `spec.issuer` names it by.
    pub(crate) name: String,
    /// The namespace of the release.
    pub(crate) namespace: String,
    /// The issuer identifier.
    pub(crate) issuer: String,
    /// That of the chart's ServiceAccount.
    pub(crate) kubeconfig: Kubeconfig,
    pub(crate) replicas: Vec<Replica>,
    arguments: Vec<String>,
    policy: PathBuf,
    log_filter: &'static str,
    /// Values that no log may contain.
    seen: Mutex<BTreeSet<String>>,
}

/// One of its pods.
pub(crate) struct Replica {
    /// The pod's name.
    pub(crate) pod: String,
    /// Where it serves tokens.
    pub(crate) port: u16,
    /// Where it tells how it is.
    pub(crate) health_port: u16,
    /// What its wall clock is moved by (`clock`).
    pub(crate) clock: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Arc<Process>>>,
}

impl Operator<'static> {
    /// The installation `default` of the shared control plane, with two replicas: for tests that leave it running as it is.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Operator<'static>> = OnceCell::const_new();
        let start = async || {
            let cluster = ControlPlane::shared().await.unwrap();
            let operator = Operator::install(cluster, Setup { name: Some("default"), replicas: 2, ..Setup::default() }).await;
            operator.start_all().await;
            operator
        };
        SHARED.get_or_init(start).await
    }
}

impl<'cluster> Operator<'cluster> {
    /// Installs the chart, and starts nothing.
    pub(crate) async fn install(cluster: &'cluster ControlPlane, setup: Setup) -> Self {
        let namespace = cluster.namespace().await.unwrap();
        let name = setup.name.map_or_else(|| namespace.clone(), str::to_owned);
        let replicas: Vec<Replica> = (0..setup.replicas).map(|index| Replica::new(cluster, &namespace, index)).collect();
        let issuer = format!("https://localhost:{}", replicas[0].port);
        helm_install(cluster, &namespace, &name, &issuer, &setup.values).await;
        let policy = written_policy(cluster, &namespace).await;
        let arguments = arguments_of(cluster, &namespace, RELEASE).await;
        let kubeconfig = cluster.kubeconfig_for_service_account(&namespace, RELEASE).await.unwrap();
        let (log_filter, seen) = ("keywright=debug,info", Mutex::default());
        Self { cluster, name, namespace, issuer, kubeconfig, replicas, arguments, policy, log_filter, seen }
    }

    /// Another installation of one replica with the same rights: in the same namespace, under another release's name and its own `spec.issuer`.
    pub(crate) fn sibling(&self, index: usize) -> Self {
        self.sibling_of(index, 1)
    }

    /// The same with so many replicas.
    pub(crate) fn sibling_of(&self, index: usize, replicas: usize) -> Self {
        let name = format!("{}-{index}", self.name);
        let log_name = format!("{}-{index}", self.namespace);
        let replicas: Vec<_> = (0..replicas).map(|replica| Replica::new(self.cluster, &log_name, replica)).collect();
        let issuer = format!("https://localhost:{}", replicas[0].port);
        let renamed = |argument: &String| match argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag) {
            "--name" => format!("--name={name}"),
            "--release" => format!("--release={RELEASE}-{index}"),
            "--issuer" => format!("--issuer={issuer}"),
            _ => argument.clone(),
        };
        let arguments = self.arguments.iter().map(renamed).collect();
        let (namespace, kubeconfig, policy) = (self.namespace.clone(), self.kubeconfig.clone(), self.policy.clone());
        let (log_filter, seen) = (self.log_filter, Mutex::default());
        Self { cluster: self.cluster, name, namespace, issuer, kubeconfig, replicas, arguments, policy, log_filter, seen }
    }

    /// The release, which its Leases are named after.
    pub(crate) fn release(&self) -> &str {
        self.arguments.iter().find_map(|argument| argument.strip_prefix("--release=")).unwrap_or(RELEASE)
    }

    /// The controllers of an installation with `topology: Split`: the other Deployment, under the rights of the other ServiceAccount.
    pub(crate) async fn controllers(&self, count: usize) -> Self {
        let deployment = format!("{RELEASE}-controller");
        let log_name = format!("{}-controller", self.namespace);
        let replicas = (0..count).map(|index| Replica::new(self.cluster, &log_name, index));
        let replicas = replicas.map(|replica| Replica { pod: replica.pod.replace(RELEASE, &deployment), ..replica }).collect();
        let arguments = arguments_of(self.cluster, &self.namespace, &deployment).await;
        let kubeconfig = self.cluster.kubeconfig_for_service_account(&self.namespace, &deployment).await.unwrap();
        let (name, namespace, issuer, policy) = (self.name.clone(), self.namespace.clone(), self.issuer.clone(), self.policy.clone());
        let (log_filter, seen) = (self.log_filter, Mutex::default());
        Self { cluster: self.cluster, name, namespace, issuer, kubeconfig, replicas, arguments, policy, log_filter, seen }
    }

    /// Installs the chart, and starts one replica.
    pub(crate) async fn running(cluster: &'cluster ControlPlane) -> Self {
        let operator = Self::install(cluster, Setup::default()).await;
        operator.start_all().await;
        operator
    }

    /// With this filter of what is logged (`RUST_LOG`).
    pub(crate) fn logging(self, log_filter: &'static str) -> Self {
        Self { log_filter, ..self }
    }

    /// Notes values that no log may contain.
    pub(crate) fn saw(&self, values: impl IntoIterator<Item = String>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(values);
    }

    /// The values that no log may contain.
    pub(crate) fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts all replicas, and waits until they are ready.
    pub(crate) async fn start_all(&self) {
        for replica in &self.replicas {
            self.start(replica, &self.kubeconfig);
        }
        for replica in &self.replicas {
            replica.ready().await;
        }
    }

    /// Starts a replica, and does not wait.
    pub(crate) fn start(&self, replica: &Replica, kubeconfig: &Kubeconfig) -> Arc<Process> {
        let process = Process::start(&replica.pod, replica.log.clone(), &mut self.command(replica, kubeconfig)).unwrap();
        let process = Arc::new(process);
        *replica.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&process));
        process
    }

    /// What the kubelet would run for this replica, with addresses and paths of this machine.
    pub(crate) fn command(&self, replica: &Replica, kubeconfig: &Kubeconfig) -> Command {
        let here = |argument: &String| match argument.split_once('=').map_or(argument.as_str(), |(flag, _)| flag) {
            "--pod" => format!("--pod={}", replica.pod),
            "--listen" => format!("--listen=127.0.0.1:{}", replica.port),
            "--health-listen" => format!("--health-listen=127.0.0.1:{}", replica.health_port),
            "--advertise" => format!("--advertise=127.0.0.1:{}", replica.health_port),
            "--policy" => format!("--policy={}", self.policy.display()),
            _ => argument.clone(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
        command.args(self.arguments.iter().map(here)).env("KUBECONFIG", kubeconfig.path()).env("RUST_LOG", self.log_filter);
        command.env("KEYWRIGHT_TEST_CLOCK", &replica.clock);
        command
    }

    /// Which replica leads, as the Lease says.
    pub(crate) async fn leader(&self) -> usize {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().await.unwrap(), &self.namespace);
        let name = format!("{}-leader", self.release());
        let look = async || {
            let lease = leases.get(&name).await.map_err(|error| error.to_string())?;
            let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
            let leads = |pod: &str| holder == pod || holder.starts_with(&format!("{pod}_"));
            self.replicas.iter().position(|replica| leads(&replica.pod)).ok_or(holder)
        };
        eventually(SOON, "somebody leads", look).await.unwrap()
    }

    /// How often a replica has stopped leading while it ran, and forgotten what it had in memory: on a machine too busy to renew the Lease, and
    /// where its clock was moved while it renewed it.
    pub(crate) fn terms_over(&self) -> usize {
        self.replicas.iter().map(|replica| replica.log().matches("not leading any more").count()).sum()
    }

    /// The only replica, or the first.
    pub(crate) fn first(&self) -> &Replica {
        &self.replicas[0]
    }

    /// The certificate authority that clients of the endpoint trust, in PEM.
    pub(crate) async fn authority(&self) -> String {
        let secrets: Api<Secret> = Api::namespaced(self.cluster.client().await.unwrap(), &self.namespace);
        let secret = secrets.get(&format!("{RELEASE}-ca")).await.unwrap();
        String::from_utf8(secret.data.unwrap()["tls.crt"].0.clone()).unwrap()
    }

    /// The end of what the replicas logged, for messages of tests that fail.
    pub(crate) fn logs(&self) -> String {
        let tail = |replica: &Replica| format!("the log of {} ends with:\n{}", replica.pod, replica.process().log_tail());
        self.replicas.iter().filter(|replica| replica.is_started()).map(tail).collect::<Vec<_>>().join("\n")
    }
}

impl Replica {
    fn new(cluster: &ControlPlane, namespace: &str, index: usize) -> Self {
        let pod = format!("{RELEASE}-{index}");
        // In the folder of the control plane, which is removed whatever happens to this process.
        let log = cluster.admin().path().with_file_name(format!("{namespace}-{pod}.log"));
        let clock = log.with_extension("clock");
        Self { pod, port: free_port().unwrap(), health_port: free_port().unwrap(), clock, log, process: Mutex::default() }
    }

    /// Its process, running or not.
    pub(crate) fn process(&self) -> Arc<Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("the replica was started")
    }

    pub(crate) fn is_started(&self) -> bool {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.health_port);
        self.process().wait_for_http_ok(&reqwest::Client::new(), &url, SOON).await.unwrap();
    }

    /// All metrics, as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.health_port);
        reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// Everything it logged, over all of its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

async fn helm_install(cluster: &ControlPlane, namespace: &str, name: &str, issuer: &str, values: &[String]) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keywright");
    // The control plane has the CRDs already, as for a second installation in a cluster.
    let own = [
        "crds.install=false".to_owned(),
        format!("issuer={{\"name\":\"{name}\",\"url\":\"{issuer}\"}}"),
        "tls.sans=[\"localhost\",\"127.0.0.1\"]".to_owned(),
    ];
    let mut arguments = vec!["install", RELEASE, chart, "--namespace", namespace];
    for value in own.iter().chain(values) {
        arguments.extend(["--set-json", value]);
    }
    cluster.helm(&arguments).await.unwrap().succeeded().unwrap();
}

/// What the pods mount from a ConfigMap, as a file.
async fn written_policy(cluster: &ControlPlane, namespace: &str) -> PathBuf {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client().await.unwrap(), namespace);
    let policy = config_maps.get(&format!("{RELEASE}-policy")).await.unwrap();
    let path = cluster.admin().path().with_file_name(format!("{namespace}-policy.yaml"));
    std::fs::write(&path, &policy.data.unwrap()["policy.yaml"]).unwrap();
    path
}

async fn arguments_of(cluster: &ControlPlane, namespace: &str, deployment: &str) -> Vec<String> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().await.unwrap(), namespace);
    let pod = deployments.get(deployment).await.unwrap().spec.template.spec.unwrap();
    pod.containers[0].args.clone().unwrap()
}
