//! The binaries of Kubernetes, etcd and Helm: those of `KUBEBUILDER_ASSETS`, else built from go.mod, once for each of its versions.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::Error;
use super::watchdog;

const GO_MOD: &str = include_str!("go.mod");
const GO_SUM: &str = include_str!("go.sum");

/// What is built, and from which package of go.mod's `tool` lines.
const TOOLS: [(&str, &str); 5] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("helm", "helm.sh/helm/v4/cmd/helm"),
];

/// Where the binaries are.
#[derive(Debug, Clone)]
pub struct Assets {
    given: Option<PathBuf>,
    built: PathBuf,
}

impl Assets {
    /// Finds the binaries, after building those that are neither given nor built yet: minutes the first time, and no time at all later.
    /// Blocks.
    pub fn locate() -> Result<Self, Error> {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let built = target_folder().join("kube").join(key());
        let assets = Self { given, built };
        assets.build_missing()?;
        Ok(assets)
    }

    /// The binary of this name.
    pub fn binary(&self, name: &str) -> PathBuf {
        let given = self.given.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        given.unwrap_or_else(|| self.built.join(name))
    }

    fn missing(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        TOOLS.into_iter().filter(|(name, _)| !self.binary(name).is_file())
    }

    fn build_missing(&self) -> Result<(), Error> {
        if self.missing().next().is_none() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.built).map_err(Error::io(format!("create {}", self.built.display())))?;
        let path = self.built.join("lock");
        let lock = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
        // Test binaries of one `cargo test` may run at once: the second waits here, and then finds the work done.
        lock.lock().map_err(Error::io(format!("lock {}", path.display())))?;
        for (name, package) in self.missing() {
            build(name, package, &self.built)?;
        }
        Ok(())
    }
}

/// The target folder of the running test binary: it holds Cargo's CACHEDIR.TAG, wherever `CARGO_TARGET_DIR` or a configuration put it.
fn target_folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = std::env::current_exe().unwrap_or_default();
    let found = binary.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    found.map_or_else(|| manifest.join("target"), Path::to_path_buf)
}

/// Names the folder of the binaries that these sources and flags give.
fn key() -> String {
    let inputs = [GO_MOD, GO_SUM, &link_flags()].join("\n");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, inputs.as_bytes());
    let hex: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", version_of("k8s.io/kubernetes"))
}

/// The version that go.mod requires of a module.
fn version_of(module: &str) -> &'static str {
    let version = |line: &'static str| line.trim().strip_prefix(module)?.strip_prefix(' ')?.split_whitespace().next();
    GO_MOD.lines().find_map(version).unwrap_or("v0.0.0")
}

/// The version is set at link time, as Kubernetes' own build does: without it the API server calls itself v0.0.0, and Helm refuses charts.
fn link_flags() -> String {
    let version = version_of("k8s.io/kubernetes");
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    let package = "k8s.io/component-base/version";
    format!("-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")
}

fn build(name: &'static str, package: &str, folder: &Path) -> Result<(), Error> {
    // Built under another name and renamed: a build that is cut short leaves nothing that looks like a binary.
    let unfinished = folder.join(format!("{name}.unfinished"));
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster"))
        .args(["build", "-trimpath", "-ldflags", &link_flags(), "-o"])
        .arg(&unfinished)
        .arg(package)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        // Somebody's workspace or vendoring has no say in what these binaries are.
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let started = Instant::now();
    let child = go.spawn().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::GoIsMissing { tool: name, version: go_version(), source },
        _ => Error::Io { attempt: format!("build {name}"), source },
    })?;
    watchdog::watch(child.id())?;
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let progress = std::thread::spawn(move || show_progress(name, started, &finished));
    let output = child.wait_with_output();
    watchdog::forget(pid)?;
    drop(done);
    let _ = progress.join();
    let output = output.map_err(Error::io(format!("build {name}")))?;
    if !output.status.success() {
        return Err(Error::GoBuild { tool: name, stderr: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    std::fs::rename(&unfinished, folder.join(name)).map_err(Error::io(format!("rename {}", unfinished.display())))
}

/// Says what is being built until `finished` is closed.
fn show_progress(name: &str, started: Instant, finished: &std::sync::mpsc::Receiver<()>) {
    const INTERVAL: Duration = Duration::from_secs(10);
    // Written to the stream itself: the test runner captures what the macros print, until the test ends.
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "building {name} from tests/cluster/go.mod (only once; minutes when nothing is cached)");
    while finished.recv_timeout(INTERVAL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        let _ = writeln!(stderr, "building {name}: {} s", started.elapsed().as_secs());
    }
    let _ = writeln!(stderr, "building {name}: done after {} s", started.elapsed().as_secs());
}

/// The Go version that go.mod asks for.
fn go_version() -> String {
    GO_MOD.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26").to_owned()
}
