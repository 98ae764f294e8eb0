//! A real control plane: etcd, kube-apiserver and a few of the controllers, on loopback, for one test or for all of a test binary.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::assets::Assets;
use super::error::Error;
use super::kubeconfig::{Identity, Kubeconfig};
use super::options::Options;
use super::pki::{self, Authority, Certified};
use super::process::{Output, Process, free_port, run};
use super::watchdog;

/// Three seconds on an idle machine; the rest is for one whose cores are busy with a build.
const START: Duration = Duration::from_secs(120);

/// etcd's folder.
const ETCD: &str = "etcd";

/// The cluster IP of the Service `kubernetes`: the first of the range.
const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// As kubeadm sets it. What ServiceAccount tokens carry as `iss`.
pub const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A process that is started, killed and started again while others look at it.
#[derive(Default)]
struct Slot(Mutex<Option<Arc<Process>>>);

impl Slot {
    fn put(&self, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&process));
        process
    }

    fn get(&self) -> Option<Arc<Process>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn kill(&self) -> Result<(), Error> {
        let process = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        process.map_or(Ok(()), |process| process.kill())
    }
}

/// What etcd held at one moment.
#[derive(Debug)]
pub struct Snapshot(PathBuf);

/// A running control plane. Everything ends when it is dropped, and when the test process ends in any other way.
pub struct ControlPlane {
    // Dropped in this order: clients before servers, the folder last.
    controllers: Slot,
    api_server: Slot,
    etcd: Slot,
    options: Options,
    assets: Assets,
    authority: Authority,
    admin: Kubeconfig,
    /// The files of the keys of ServiceAccount tokens; the last one signs.
    account_keys: Mutex<Vec<PathBuf>>,
    etcd_port: u16,
    port: u16,
    files: AtomicU32,
    folder: TempDir,
}

impl ControlPlane {
    /// Starts a control plane of one's own, and waits until it is ready.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let prepared = tokio::task::spawn_blocking(|| Self::prepare(options)).await;
        let control_plane = prepared.map_err(std::io::Error::other).map_err(Error::io("prepare a control plane"))??;
        control_plane.start_etcd()?;
        control_plane.start_api_server().await?;
        control_plane.install_crds().await?;
        control_plane.start_controllers().await?;
        Ok(control_plane)
    }

    /// The control plane of this test binary, started by the first test that asks. Nobody stops it or changes what others see: a test that
    /// has to starts one of its own.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let start = async || Self::start(Options::default()).await.map_err(|error| error.to_string());
        SHARED.get_or_init(start).await.as_ref().map_err(|message| Error::Shared(message.clone()))
    }

    /// The API server's URL.
    pub fn url(&self) -> &str {
        &self.admin.server
    }

    /// The folder of all files, removed at the end.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The binaries that it was started from.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The file with the certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.crt")
    }

    /// The kubeconfig of a member of `system:masters`.
    pub fn admin(&self) -> &Kubeconfig {
        &self.admin
    }

    /// A client for a member of `system:masters`, bound to the calling runtime.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        self.admin.client().await
    }

    /// A kubeconfig with a client certificate for a user, in at most one group: rcgen writes one organization into a subject.
    pub fn kubeconfig_for_user(&self, user: &str, group: Option<&str>) -> Result<Kubeconfig, Error> {
        self.kubeconfig(Identity::Certificate(self.authority.client(user, group)?))
    }

    /// A kubeconfig with a token of an existing ServiceAccount, good for an hour.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<Kubeconfig, Error> {
        let token = self.service_account_token(namespace, name, &[]).await?;
        self.kubeconfig(Identity::Token(token))
    }

    /// A token of an existing ServiceAccount for these audiences (none: the API server's own), good for an hour.
    pub async fn service_account_token(&self, namespace: &str, name: &str, audiences: &[&str]) -> Result<String, Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let audiences = Some(audiences.iter().map(|audience| (*audience).to_owned()).collect());
        let spec = Some(TokenRequestSpec { audiences, ..Default::default() });
        let request = TokenRequest { spec, ..Default::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer.map_err(Error::api(format!("request a token for ServiceAccount {namespace}/{name}")))?;
        Ok(answer.status.and_then(|status| status.token).unwrap_or_default())
    }

    /// Creates a namespace with a fresh name.
    pub async fn namespace(&self) -> Result<String, Error> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let metadata = ObjectMeta { generate_name: Some("it-".to_owned()), ..Default::default() };
        let namespace = Namespace { metadata, ..Default::default() };
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        Ok(created.map_err(Error::api("create a namespace"))?.name_any())
    }

    /// Runs kubectl as admin.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output, Error> {
        self.admin.kubectl(arguments).await
    }

    /// Runs helm as admin.
    pub async fn helm(&self, arguments: &[&str]) -> Result<Output, Error> {
        self.admin.helm(arguments).await
    }

    /// Kills the API server. etcd, with all that was written, stays.
    pub fn stop_api_server(&self) -> Result<(), Error> {
        self.api_server.kill()
    }

    /// Starts the API server again on the same port, after killing it if it runs, and waits until it is ready.
    pub async fn restart_api_server(&self) -> Result<(), Error> {
        self.api_server.kill()?;
        self.start_api_server().await
    }

    /// Starts the API server again with another key that signs ServiceAccount tokens; those that the former ones signed stay good.
    pub async fn rotate_account_key(&self) -> Result<(), Error> {
        let file = self.new_file("service-account.key");
        std::fs::write(&file, pki::service_account_key()?).map_err(Error::io("write a key"))?;
        self.account_keys.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        self.restart_api_server().await
    }

    /// Starts the API server again with the newest of these keys alone.
    pub async fn forget_former_account_keys(&self) -> Result<(), Error> {
        let forget = |keys: &mut Vec<PathBuf>| drop(keys.drain(..keys.len() - 1));
        forget(&mut self.account_keys.lock().unwrap_or_else(PoisonError::into_inner));
        self.restart_api_server().await
    }

    /// The API server's process: for signals and for its log.
    pub fn api_server(&self) -> Result<Arc<Process>, Error> {
        self.api_server.get().ok_or(Error::ApiServerIsStopped)
    }

    /// Copies what etcd holds, between two moments of its life; the API server has to wait for it.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let snapshot = Snapshot(self.new_file("snapshot"));
        self.etcd.kill()?;
        copy(&self.file(ETCD), &snapshot.0).await?;
        self.start_etcd()?;
        self.wait_until_ready().await?;
        Ok(snapshot)
    }

    /// Puts etcd back to what it held then, resource versions too, as when a backup is restored; the others start anew.
    pub async fn rewind(&self, to: &Snapshot) -> Result<(), Error> {
        self.controllers.kill()?;
        self.api_server.kill()?;
        self.etcd.kill()?;
        std::fs::remove_dir_all(self.file(ETCD)).map_err(Error::io("remove what etcd holds"))?;
        copy(&to.0, &self.file(ETCD)).await?;
        self.start_etcd()?;
        self.start_api_server().await?;
        self.start_controllers().await
    }

    /// Makes what the processes read: certificates, keys, kubeconfigs.
    fn prepare(options: Options) -> Result<Self, Error> {
        let assets = Assets::locate()?;
        // Proxies, watches and clients of many installations: more than the 1,024 files that a login is usually allowed to open.
        rlimit::increase_nofile_limit(u64::MAX).map_err(Error::io("raise the limit of open files"))?;
        let folder = TempDir::with_prefix("control-plane-").map_err(Error::io("create a temporary folder"))?;
        watchdog::remove(folder.path())?;
        let authority = Authority::new()?;
        let (etcd_port, port) = (free_port()?, free_port()?);
        let Certified { certificate, key } =
            authority.server("kube-apiserver", &[Ipv4Addr::LOCALHOST, options.address, KUBERNETES_SERVICE])?;
        let to_kubelets = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
        let service_account_key = pki::service_account_key()?;
        let files = [
            ("ca.crt", authority.certificate()),
            ("server.crt", certificate),
            ("server.key", key),
            ("service-account.key", service_account_key),
            ("kubelet-client.crt", to_kubelets.certificate),
            ("kubelet-client.key", to_kubelets.key),
        ];
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).map_err(Error::io(format!("write {name}")))?;
        }
        let admin = Kubeconfig::write(
            folder.path().join("admin.kubeconfig"),
            assets.clone(),
            format!("https://{}:{port}", options.address),
            Some(authority.certificate()),
            Identity::Certificate(authority.client("admin", Some("system:masters"))?),
        )?;
        let (controllers, api_server, etcd) = Default::default();
        let files = AtomicU32::new(0);
        let account_keys = Mutex::new(vec![folder.path().join("service-account.key")]);
        Ok(Self { controllers, api_server, etcd, options, assets, authority, admin, account_keys, etcd_port, port, files, folder })
    }

    fn kubeconfig(&self, identity: Identity) -> Result<Kubeconfig, Error> {
        let path = self.new_file("kubeconfig");
        Kubeconfig::write(path, self.assets.clone(), self.admin.server.clone(), self.admin.authority.clone(), identity)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn new_file(&self, extension: &str) -> PathBuf {
        self.file(&format!("{}.{extension}", self.files.fetch_add(1, Ordering::Relaxed)))
    }

    /// `--name=<path of the file>`.
    fn file_argument(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.file(file).display())
    }

    fn start_process(&self, name: &str, arguments: &[String]) -> Result<Process, Error> {
        let log = self.file(&format!("{name}.log"));
        Process::start(name, log, Command::new(self.assets.binary(name)).args(arguments))
    }

    fn start_etcd(&self) -> Result<(), Error> {
        let url = format!("http://127.0.0.1:{}", self.etcd_port);
        // The peer port is for members that there are none of; a Unix socket spares it.
        let peers = format!("unix://{}", self.file("peers.sock").display());
        let etcd = self.start_process(
            "etcd",
            &[
                self.file_argument("data-dir", ETCD),
                format!("--listen-client-urls={url}"),
                format!("--advertise-client-urls={url}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=default={peers}"),
                // Nothing here outlives a power cut, and kill -9 loses nothing that was written.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ],
        )?;
        self.etcd.put(etcd);
        Ok(())
    }

    /// Waits until it is ready; it waits for etcd by itself.
    async fn start_api_server(&self) -> Result<(), Error> {
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--bind-address={}", self.options.address),
            format!("--secure-port={}", self.port),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"),
            self.file_argument("client-ca-file", "ca.crt"),
            self.file_argument("tls-cert-file", "server.crt"),
            self.file_argument("tls-private-key-file", "server.key"),
            self.file_argument("kubelet-client-certificate", "kubelet-client.crt"),
            self.file_argument("kubelet-client-key", "kubelet-client.key"),
        ];
        if self.options.address.is_loopback() {
            // It refuses to advertise a loopback address, and no pod asks for the `kubernetes` Service's endpoints.
            arguments.push("--endpoint-reconciler-type=none".to_owned());
        }
        let account_keys = self.account_keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        arguments.extend(account_keys.iter().map(|key| format!("--service-account-key-file={}", key.display())));
        arguments.extend(account_keys.last().map(|key| format!("--service-account-signing-key-file={}", key.display())));
        arguments.extend(self.options.api_server_arguments.iter().cloned());
        self.api_server.put(self.start_process("kube-apiserver", &arguments)?);
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&self) -> Result<(), Error> {
        let client = self.client().await?;
        let ready = || http::Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError);
        self.api_server()?
            .wait_for("kube-apiserver is ready", START, async || match ready() {
                Ok(request) => client.request_text(request).await.map_err(|error| format!("{error} ({error:?})")),
                Err(error) => Err(error.to_string()),
            })
            .await
            .map(|_| ())
    }

    async fn install_crds(&self) -> Result<(), Error> {
        if self.options.crds.is_empty() {
            return Ok(());
        }
        let manifest = self.options.crds.join("\n---\n");
        self.admin.kubectl_with(&["apply", "--server-side", "-f", "-"], &manifest).await?.succeeded()?;
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await?.succeeded()?;
        Ok(())
    }

    async fn start_controllers(&self) -> Result<(), Error> {
        if self.options.controllers.is_empty() {
            return Ok(());
        }
        let mut arguments = vec![
            self.file_argument("kubeconfig", "admin.kubeconfig"),
            format!("--controllers={}", self.options.controllers.join(",")),
            self.file_argument("root-ca-file", "ca.crt"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        arguments.extend(self.options.controller_arguments.iter().cloned());
        let process = self.controllers.put(self.start_process("kube-controller-manager", &arguments)?);
        if !self.options.controllers.iter().any(|name| name == "serviceaccount-controller" || name == "*") {
            return Ok(());
        }
        // It serves no health endpoint here; its first visible work shows that it runs.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        process.wait_for("the default ServiceAccount exists", START, async || accounts.get("default").await).await?;
        Ok(())
    }
}

async fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let mut command = Command::new("cp");
    command.arg("-R").args([from, to]);
    run(command, String::new()).await?.succeeded().map(|_| ())
}
