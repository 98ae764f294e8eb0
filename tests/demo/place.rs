//! Where the demo runs: on a control plane of its own, or on somebody's cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Failure;
use crate::cluster::{Assets, ControlPlane, Options, run};
use crate::operator;
use crate::screen::Screen;

/// The namespaces that the demo makes.
const NAMESPACES: [&str; 3] = ["keywright-system", "shop", "billing"];

/// A cluster without Keywright, the tools to talk to it, and a folder for files.
pub(crate) struct Place {
    control_plane: Option<ControlPlane>,
    tools: Option<String>,
    kubeconfig: PathBuf,
    binary: PathBuf,
    folder: TempDir,
}

impl Place {
    /// Starts a control plane, or looks for the cluster of `context`.
    pub(crate) async fn prepare(context: Option<&str>) -> Result<Self, Failure> {
        if let Some(tool) = ["curl", "go"].into_iter().find(|tool| !in_path(tool)) {
            return Err(format!("it needs {tool}: install it, so that it is in PATH").into());
        }
        let binary = operator::build()?;
        let folder = TempDir::with_prefix("keywright-demo-")?;
        match context {
            Some(context) => Self::of_somebody(context, binary, folder).await,
            None => Self::of_its_own(binary, folder).await,
        }
    }

    async fn of_its_own(binary: PathBuf, folder: TempDir) -> Result<Self, Failure> {
        println!("Starting a Kubernetes API on this machine …");
        let assets = tokio::task::spawn_blocking(Assets::locate).await??;
        // Without CRDs: the chart brings them.
        let control_plane = ControlPlane::start(Options { crds: Vec::new(), ..Options::default() }).await?;
        let kubeconfig = control_plane.admin().path().to_owned();
        Ok(Self { control_plane: Some(control_plane), tools: Some(folders_of_tools(&assets)), kubeconfig, binary, folder })
    }

    async fn of_somebody(context: &str, binary: PathBuf, folder: TempDir) -> Result<Self, Failure> {
        let tools = match in_path("kubectl") && in_path("helm") {
            true => None,
            false => Some(folders_of_tools(&tokio::task::spawn_blocking(Assets::locate).await??)),
        };
        let mut view = Command::new("kubectl");
        view.args(["config", "view", "--raw", "--minify", "--flatten", "--context", context]).env("PATH", path_with(tools.as_deref()));
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, run(view, String::new()).await?.succeeded()?)?;
        let place = Self { control_plane: None, tools, kubeconfig, binary, folder };
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

    /// The folders of kubectl and helm, if they are not in `PATH`.
    pub(crate) fn tools(&self) -> Option<&str> {
        self.tools.as_deref()
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
        self.control_plane.is_none()
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

fn in_path(tool: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(tool).is_file())
}

fn folders_of_tools(assets: &Assets) -> String {
    let folders =
        ["kubectl", "helm"].map(|tool| assets.binary(tool).parent().map(|folder| folder.display().to_string()).unwrap_or_default());
    let [first, second] = folders;
    if first == second { first } else { format!("{first}:{second}") }
}

fn path_with(tools: Option<&str>) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    tools.map_or_else(|| path.clone(), |tools| format!("{tools}:{path}"))
}
