//! The binaries of Kubernetes, etcd, Helm, containerd, CoreDNS and Prometheus: those of `KUBEBUILDER_ASSETS`, else built from go.mod, once for each of their
//! versions.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::Error;
use super::watchdog;

/// A Go module of this repository, whose `tool` lines name what can be built from it.
struct Module {
    /// Below the repository.
    folder: &'static str,
    /// Go's build tags.
    tags: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
}

/// A binary, and the package that it is built from.
struct Tool {
    name: &'static str,
    package: &'static str,
    module: &'static Module,
}

const KUBERNETES: Module = Module { folder: "tests/cluster", tags: "", go_mod: include_str!("go.mod"), go_sum: include_str!("go.sum") };

const CONTAINERD: Module = Module {
    folder: "tests/cluster/containerd",
    // The snapshotters that need what a machine seldom has.
    tags: "no_btrfs,no_devmapper,no_zfs,no_aufs",
    go_mod: include_str!("containerd/go.mod"),
    go_sum: include_str!("containerd/go.sum"),
};

const COREDNS: Module =
    Module { folder: "tests/cluster/coredns", tags: "", go_mod: include_str!("coredns/go.mod"), go_sum: include_str!("coredns/go.sum") };

const PROMETHEUS: Module = Module {
    folder: "tests/cluster/prometheus",
    // Targets are named in its configuration.
    tags: "remove_all_sd",
    go_mod: include_str!("prometheus/go.mod"),
    go_sum: include_str!("prometheus/go.sum"),
};

const fn tool(name: &'static str, package: &'static str, module: &'static Module) -> Tool {
    Tool { name, package, module }
}

/// What every cluster needs, beside what talks to it.
const CONTROL_PLANE: [Tool; 3] = [
    tool("etcd", "go.etcd.io/etcd/server/v3", &KUBERNETES),
    tool("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", &KUBERNETES),
    tool("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", &KUBERNETES),
];

/// What talks to a cluster.
const CLIENTS: [Tool; 2] =
    [tool("kubectl", "k8s.io/kubernetes/cmd/kubectl", &KUBERNETES), tool("helm", "helm.sh/helm/v4/cmd/helm", &KUBERNETES)];

/// What one with nodes needs besides.
const NODES: [Tool; 7] = [
    tool("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", &KUBERNETES),
    tool("kubelet", "k8s.io/kubernetes/cmd/kubelet", &KUBERNETES),
    tool("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", &KUBERNETES),
    tool("containerd", "github.com/containerd/containerd/v2/cmd/containerd", &CONTAINERD),
    tool("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", &CONTAINERD),
    tool("ctr", "github.com/containerd/containerd/v2/cmd/ctr", &CONTAINERD),
    tool("coredns", ".", &COREDNS),
];

/// What one has that is watched.
const MONITORING: [Tool; 1] = [tool("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", &PROMETHEUS)];

/// What runs in pods, beside images of others.
const PROGRAMS: [Tool; 2] = [tool("pause", "./pause", &KUBERNETES), tool("workload", "./workload", &KUBERNETES)];

/// Where the binaries are.
#[derive(Debug, Clone)]
pub struct Assets {
    given: Option<PathBuf>,
    built: PathBuf,
}

impl Assets {
    /// Finds the binaries of a control plane, after building those that are neither given nor built yet: minutes the first time, and no
    /// time at all later. Blocks.
    pub fn locate() -> Result<Self, Error> {
        let assets = Self::locate_clients()?;
        assets.build_missing(&CONTROL_PLANE)?;
        Ok(assets)
    }

    /// As `locate`, for kubectl and helm alone. Blocks.
    pub fn locate_clients() -> Result<Self, Error> {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let assets = Self { given, built: target_folder().join("kube") };
        assets.build_missing(&CLIENTS)?;
        Ok(assets)
    }

    /// As `locate`, for those of nodes too. Blocks.
    pub fn locate_with_nodes() -> Result<Self, Error> {
        let assets = Self::locate()?;
        assets.build_missing(&NODES)?;
        Ok(assets)
    }

    /// As `locate`, for Prometheus too. Blocks.
    pub fn locate_with_monitoring() -> Result<Self, Error> {
        let assets = Self::locate()?;
        assets.build_missing(&MONITORING)?;
        Ok(assets)
    }

    /// The binary of this name.
    pub fn binary(&self, name: &str) -> PathBuf {
        let given = self.given.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let mut tools = CLIENTS.iter().chain(&CONTROL_PLANE).chain(&NODES).chain(&MONITORING);
        let module = tools.find(|tool| tool.name == name).map_or(&KUBERNETES, |tool| tool.module);
        given.unwrap_or_else(|| self.folder(module).join(name))
    }

    /// For `PATH`: the folders of all binaries.
    pub fn path(&self) -> String {
        let built = [&KUBERNETES, &CONTAINERD, &COREDNS].map(|module| self.folder(module));
        let folders: Vec<String> = self.given.iter().chain(&built).map(|folder| folder.display().to_string()).collect();
        folders.join(":")
    }

    /// A program of tests/cluster that runs in a pod. Go finds out whether there is anything to build. Blocks.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, Error> {
        let folder = self.built.join("programs");
        let _lock = locked(&folder)?;
        let tool = PROGRAMS.iter().find(|tool| tool.name == name).ok_or(Error::NoSuchProgram { name })?;
        build(tool, &folder)?;
        Ok(folder.join(name))
    }

    fn folder(&self, module: &Module) -> PathBuf {
        self.built.join(module.key())
    }

    fn missing<'tools>(&self, tools: &'tools [Tool]) -> impl Iterator<Item = &'tools Tool> {
        tools.iter().filter(|tool| !self.binary(tool.name).is_file())
    }

    fn build_missing(&self, tools: &[Tool]) -> Result<(), Error> {
        if self.missing(tools).next().is_none() {
            return Ok(());
        }
        let _lock = locked(&self.built)?;
        for tool in self.missing(tools) {
            build(tool, &self.folder(tool.module))?;
        }
        Ok(())
    }
}

/// Test binaries of one `cargo test` may run at once: the second waits here, and then finds the work done.
fn locked(folder: &Path) -> Result<File, Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let path = folder.join("lock");
    let lock = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
    lock.lock().map_err(Error::io(format!("lock {}", path.display())))?;
    Ok(lock)
}

/// The target folder of the running test binary: it holds Cargo's CACHEDIR.TAG, wherever `CARGO_TARGET_DIR` or a configuration put it.
pub(super) fn target_folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = std::env::current_exe().unwrap_or_default();
    let found = binary.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    found.map_or_else(|| manifest.join("target"), Path::to_path_buf)
}

impl Module {
    /// Names the folder of the binaries that these sources and flags give.
    fn key(&self) -> String {
        let inputs = [self.go_mod, self.go_sum, self.tags, &link_flags()].join("\n");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, inputs.as_bytes());
        let hex: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = self.folder.rsplit('/').next().unwrap_or_default();
        format!("{name}-{hex}")
    }
}

/// The version of Kubernetes.
fn kubernetes_version() -> &'static str {
    let version = |line: &'static str| line.trim().strip_prefix("k8s.io/kubernetes ")?.split_whitespace().next();
    KUBERNETES.go_mod.lines().find_map(version).unwrap_or("v0.0.0")
}

/// The version is set at link time, as Kubernetes' own build does: without it the API server calls itself v0.0.0, and Helm refuses charts.
fn link_flags() -> String {
    let version = kubernetes_version();
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    let package = "k8s.io/component-base/version";
    format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
}

fn build(tool: &Tool, folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let Tool { name, package, module } = *tool;
    // Built under another name and renamed: a build that is cut short leaves nothing that looks like a binary.
    let unfinished = folder.join(format!("{name}.unfinished"));
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(module.folder))
        .args(["build", "-trimpath", "-tags", module.tags, "-ldflags", &link_flags(), "-o"])
        .arg(&unfinished)
        .arg(package)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        // Somebody's workspace or vendoring has no say in what these binaries are.
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = go.spawn().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::GoIsMissing { tool: name, version: go_version(), source },
        _ => Error::Io { attempt: format!("build {name}"), source },
    })?;
    watchdog::watch(child.id())?;
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let folder_of_module = module.folder;
    let progress = std::thread::spawn(move || show_progress(name, folder_of_module, &finished));
    let output = child.wait_with_output();
    watchdog::forget(pid)?;
    drop(done);
    let _ = progress.join();
    let output = output.map_err(Error::io(format!("build {name}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::GoBuild { tool: name, module: module.folder, stderr });
    }
    std::fs::rename(&unfinished, folder.join(name)).map_err(Error::io(format!("rename {}", unfinished.display())))
}

/// Says what is being built until `finished` is closed; nothing of what takes no time.
fn show_progress(name: &str, module: &str, finished: &std::sync::mpsc::Receiver<()>) {
    const FIRST: Duration = Duration::from_secs(2);
    const INTERVAL: Duration = Duration::from_secs(10);
    let goes_on = |time| finished.recv_timeout(time) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    let started = Instant::now();
    if !goes_on(FIRST) {
        return;
    }
    // Written to the stream itself: the test runner captures what the macros print, until the test ends.
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "building {name} from {module}/go.mod (only once; minutes when nothing is cached)");
    while goes_on(INTERVAL) {
        let _ = writeln!(stderr, "building {name}: {} s", started.elapsed().as_secs());
    }
    let _ = writeln!(stderr, "building {name}: done after {} s", started.elapsed().as_secs());
}

/// The Go version that go.mod asks for.
fn go_version() -> String {
    KUBERNETES.go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26").to_owned()
}
