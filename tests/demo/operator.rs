//! The operator as a process on this machine, with what the chart gives its pods: their arguments, and the rights of their account.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::cluster::{Process, free_port};
use crate::place::Place;
use crate::screen::Screen;

/// A running replica.
pub(crate) struct Operator {
    _process: Process,
    /// Its issuer.
    pub(crate) issuer: String,
    /// The URL of its health and metrics.
    pub(crate) health: String,
}

/// The ports on loopback, known before the chart is installed, because the issuer names one.
pub(crate) struct Ports {
    pub(crate) tokens: u16,
    pub(crate) health: u16,
}

impl Ports {
    pub(crate) fn choose() -> Result<Self, Failure> {
        Ok(Self { tokens: free_port()?, health: free_port()? })
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://127.0.0.1:{}", self.tokens)
    }
}

/// Builds the binary. Cargo's own progress is shown.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Named together with the demo, the crates are built with the features that they have for it, and not a second time.
    let arguments = ["build", "--locked", "--bin", "keywright", "--example", "demo"];
    let built = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    if !built.success() {
        return Err("`cargo build --bin keywright` failed".into());
    }
    // This program is in the folder `examples` beside it.
    let demo = std::env::current_exe()?;
    let folder = demo.parent().and_then(|examples| examples.parent()).ok_or("this program has no folder")?;
    Ok(folder.join("keywright"))
}

impl Operator {
    /// Starts a replica and waits until it is ready.
    pub(crate) async fn start(screen: &Screen, place: &Place, ports: &Ports) -> Result<Self, Failure> {
        let arguments = arguments(screen, place, ports).await?;
        let kubeconfig = kubeconfig(screen, place).await?;
        screen.command_line(&format!(
            "KUBECONFIG=$DEMO/keywright.kubeconfig {} {}",
            place.binary().display(),
            arguments.join(" \\\n    ").replace(&place.folder().display().to_string(), "$DEMO"),
        ));
        let mut command = Command::new(place.binary());
        command.args(&arguments).env("KUBECONFIG", &kubeconfig);
        let process = Process::start("keywright", place.folder().join("keywright.log"), &mut command)?;
        let health = format!("http://127.0.0.1:{}", ports.health);
        let ready = format!("{health}/readyz");
        process.wait_for_http_ok(&reqwest::Client::new(), &ready, Duration::from_secs(60)).await?;
        Ok(Self { _process: process, issuer: ports.issuer(), health })
    }
}

/// Those of the Deployment, but for addresses and the policy's path.
async fn arguments(screen: &Screen, place: &Place, ports: &Ports) -> Result<Vec<String>, Failure> {
    let get = "kubectl --namespace keywright-system get deployment keywright --output json";
    let deployment: Value = serde_json::from_str(&screen.quietly(get).await?)?;
    let arguments = deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array).cloned().unwrap_or_default();
    let policy = place.folder().join("policy.yaml");
    let get = "kubectl --namespace keywright-system get configmap keywright-policy --output go-template='{{index .data \"policy.yaml\"}}'";
    std::fs::write(&policy, screen.quietly(get).await?)?;
    let on_loopback = |argument: &str| match argument.split_once('=').map_or(argument, |(flag, _)| flag) {
        "--pod" => "--pod=demo".to_owned(),
        "--listen" => format!("--listen=127.0.0.1:{}", ports.tokens),
        "--health-listen" => format!("--health-listen=127.0.0.1:{}", ports.health),
        "--advertise" => format!("--advertise=127.0.0.1:{}", ports.health),
        "--policy" => format!("--policy={}", policy.display()),
        _ => argument.to_owned(),
    };
    Ok(arguments.iter().filter_map(Value::as_str).map(on_loopback).collect())
}

/// The cluster of the place, and the chart's ServiceAccount.
async fn kubeconfig(screen: &Screen, place: &Place) -> Result<PathBuf, Failure> {
    screen.run("kubectl --namespace keywright-system create token keywright --duration=8h > $DEMO/token").await?;
    let token = std::fs::read_to_string(place.folder().join("token"))?;
    let mut kubeconfig: Value = serde_json::from_str(&screen.quietly("kubectl config view --raw --minify --flatten --output json").await?)?;
    let name = kubeconfig.pointer("/users/0/name").cloned().unwrap_or_else(|| json!("keywright"));
    if let Some(members) = kubeconfig.as_object_mut() {
        members.insert("users".to_owned(), json!([{"name": name, "user": {"token": token.trim()}}]));
    }
    let path = place.folder().join("keywright.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string())?;
    Ok(path)
}
