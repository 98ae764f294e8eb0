//! Where the demo runs: on a cluster of its own, with nodes where these can run, or on somebody's cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use crate::Failure;
use crate::cluster::node::{self, Cluster};
use crate::cluster::{Assets, ControlPlane, Error, Options, run};
use crate::operator;
use crate::screen::Screen;

/// The namespaces that the demo makes.
const NAMESPACES: [&str; 3] = ["keywright-system", "shop", "billing"];

/// What there is of Kubernetes. All but somebody's ends when it is dropped.
enum Kubernetes {
    Nodes(#[allow(dead_code, reason = "held until it is dropped")] Box<Cluster>),
    /// And why there are no nodes.
    ControlPlane(#[allow(dead_code, reason = "held until it is dropped")] Box<ControlPlane>, String),
    Somebodys,
}

/// A cluster without Keywright, the tools to talk to it, and a folder for files.
pub(crate) struct Place {
    kubernetes: Kubernetes,
    tools: String,
    kubeconfig: PathBuf,
    binary: PathBuf,
    folder: TempDir,
}

impl Place {
    /// Starts a cluster, or looks for that of `context`.
    pub(crate) async fn prepare(context: Option<&str>) -> Result<Self, Failure> {
        let folder = TempDir::with_prefix("keywright-demo-")?;
        match (context, tokio::task::spawn_blocking(node::missing).await?) {
            (Some(context), _) => Self::of_somebody(context, folder).await,
            (None, None) => Self::with_nodes(folder).await,
            (None, Some(why_not)) => Self::without_nodes(why_not, folder).await,
        }
    }

    async fn with_nodes(folder: TempDir) -> Result<Self, Failure> {
        let build = "Building Kubernetes, containerd, CoreDNS and the operator's image (what is not built yet)";
        let images = timed(build, node::images()).await?;
        let cluster = timed("Starting two nodes on this machine, and bringing the images there", Cluster::start(images)).await?;
        // The image's own program, which `node::images` has built beside this one.
        let binary = std::env::current_exe()?.with_file_name("keywright-static");
        let tools = tools(&folder, &binary, Some(cluster.control_plane().assets()))?;
        let kubeconfig = cluster.control_plane().admin().path().to_owned();
        Ok(Self { kubernetes: Kubernetes::Nodes(Box::new(cluster)), tools, kubeconfig, binary, folder })
    }

    async fn without_nodes(why_not: String, folder: TempDir) -> Result<Self, Failure> {
        println!("Without pods, which is all that is left out: {why_not}.");
        let binary = operator::build()?;
        let assets = timed("Building Kubernetes (what is not built yet)", located(Assets::locate)).await?;
        // Without CRDs: the chart brings them.
        let options = Options { crds: Vec::new(), ..Options::default() };
        let control_plane = timed("Starting a Kubernetes API on this machine", ControlPlane::start(options)).await?;
        let kubeconfig = control_plane.admin().path().to_owned();
        let tools = tools(&folder, &binary, Some(&assets))?;
        Ok(Self { kubernetes: Kubernetes::ControlPlane(Box::new(control_plane), why_not), tools, kubeconfig, binary, folder })
    }

    async fn of_somebody(context: &str, folder: TempDir) -> Result<Self, Failure> {
        look_for(context)?;
        let binary = operator::build()?;
        let assets = match in_path("kubectl") && in_path("helm") {
            true => None,
            false => Some(timed("Building kubectl and helm (what is not built yet)", located(Assets::locate_clients)).await?),
        };
        let tools = tools(&folder, &binary, assets.as_ref())?;
        let mut view = Command::new("kubectl");
        view.args(["config", "view", "--raw", "--minify", "--flatten", "--context", context]).env("PATH", path_with(&tools));
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, run(view, String::new()).await?.succeeded()?)?;
        let place = Self { kubernetes: Kubernetes::Somebodys, tools, kubeconfig, binary, folder };
        place.refuse_what_is_in_use(context).await?;
        Ok(place)
    }

    /// The demo removes at the end what it made: it must not meet anything that was there before.
    async fn refuse_what_is_in_use(&self, context: &str) -> Result<(), Failure> {
        let mut look = Command::new("kubectl");
        look.args(["get", "--ignore-not-found", "--output=name", "namespaces"]).args(NAMESPACES);
        let namespaces = run(self.environment(look), String::new()).await?.succeeded()?;
        let mut look = Command::new("kubectl");
        look.args(["get", "--ignore-not-found", "--output=name", "crds"]);
        look.args(["oauthclients.keywright.dev", "protectedresources.keywright.dev"]);
        let crds = run(self.environment(look), String::new()).await?.succeeded()?;
        let there = [namespaces, crds].concat().split_whitespace().collect::<Vec<_>>().join(", ");
        if there.is_empty() { Ok(()) } else { Err(format!("the cluster of {context} already has {there}: choose another one").into()) }
    }

    fn environment(&self, mut command: Command) -> Command {
        command.env("KUBECONFIG", &self.kubeconfig).env("PATH", self.path());
        command
    }

    /// For `KUBECONFIG`: a kubeconfig of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The operator.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folders of the kubectl plugin, and of kubectl and helm if they are not in `PATH`.
    pub(crate) fn tools(&self) -> &str {
        &self.tools
    }

    /// For `PATH`.
    pub(crate) fn path(&self) -> String {
        path_with(self.tools())
    }

    /// For files; gone at the end.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the cluster outlives the demo.
    pub(crate) fn is_somebodys(&self) -> bool {
        matches!(self.kubernetes, Kubernetes::Somebodys)
    }

    /// Whether pods run.
    pub(crate) fn has_nodes(&self) -> bool {
        matches!(self.kubernetes, Kubernetes::Nodes(_))
    }

    /// What it is, in words.
    pub(crate) fn description(&self) -> String {
        match &self.kubernetes {
            Kubernetes::Nodes(_) => {
                "Two nodes with containerd, kubelet and kube-proxy, built from source, in namespaces of this machine.".to_owned()
            }
            Kubernetes::ControlPlane(_, why_not) => format!(
                "etcd, kube-apiserver and kube-controller-manager, built from Kubernetes' own source, as processes on loopback.\n\
                 As root on Linux, two nodes would run the operator and its workloads in pods. Here they cannot: {why_not}."
            ),
            Kubernetes::Somebodys => "Yours. The operator runs here, as a process, and is gone at the end, with all that the demo makes.\n\
                 To run it there in pods: `docker build --tag keywright:0.1.0 .`, then `kind load docker-image keywright:0.1.0`,\n\
                 `k3d image import keywright:0.1.0`, or push it to your registry and set image.repository; then `helm install`."
                .to_owned(),
        }
    }

    /// Removes what the demo made in somebody's cluster.
    pub(crate) async fn leave(&self, screen: &Screen) -> Result<(), Failure> {
        if !self.is_somebodys() {
            return Ok(());
        }
        screen.say("\nRemoving what the demo made:");
        // Not all of it is there when the demo was cut short.
        let _ = screen.quietly("helm uninstall keywright --namespace keywright-system").await;
        let crds = "oauthclients.keywright.dev protectedresources.keywright.dev";
        screen.run(&format!("kubectl delete --ignore-not-found crd {crds}")).await?;
        screen.run(&format!("kubectl delete --ignore-not-found namespace {}", NAMESPACES.join(" "))).await?;
        Ok(())
    }
}

/// Whether the person's kubeconfig has this context: found out before anything is built.
fn look_for(context: &str) -> Result<(), Failure> {
    let kubeconfig = kube::config::Kubeconfig::read().map_err(|error| format!("--context {context}: {error}"))?;
    let names: Vec<_> = kubeconfig.contexts.iter().map(|each| each.name.as_str()).collect();
    match names.contains(&context) {
        true => Ok(()),
        false => Err(format!("your kubeconfig has no context {context}; it has: {}", names.join(", ")).into()),
    }
}

fn in_path(tool: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(tool).is_file())
}

/// Kubernetes' binaries.
async fn located(locate: fn() -> Result<Assets, Error>) -> Result<Assets, Failure> {
    Ok(tokio::task::spawn_blocking(locate).await??)
}

/// Says what is being done, and how long it took.
async fn timed<T, E>(what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    println!("{what} …");
    let started = Instant::now();
    let done = work.await?;
    println!("{what}: done after {} s", started.elapsed().as_secs());
    Ok(done)
}

/// For `PATH`: a folder with the operator as kubectl's plugin, and those of kubectl and helm where they had to be built.
fn tools(folder: &TempDir, binary: &Path, assets: Option<&Assets>) -> Result<String, Failure> {
    let plugins = folder.path().join("bin");
    std::fs::create_dir(&plugins)?;
    std::os::unix::fs::symlink(binary, plugins.join("kubectl-keywright"))?;
    let binaries = assets.iter().flat_map(|assets| ["kubectl", "helm"].map(|tool| assets.binary(tool)));
    let mut folders: Vec<String> = binaries.filter_map(|binary| Some(binary.parent()?.display().to_string())).collect();
    folders.insert(0, plugins.display().to_string());
    folders.dedup();
    Ok(folders.join(":"))
}

fn path_with(tools: &str) -> String {
    format!("{tools}:{}", std::env::var("PATH").unwrap_or_default())
}
