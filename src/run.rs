//! Wires the rooms together: what `keywright run` starts, and in which order it stops.
//!
//! Nothing here needs the API server to be there: a replica that cannot reach it says so in its log and at `/readyz`, and goes
//! on trying. What cannot get better by waiting (a flag, a port in use, a policy that cannot be read) ends the process.

mod parts;
mod settings;

use crate::{cli::RunArgs, telemetry};
use parts::Replica;
use settings::Settings;
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// From the moment when readiness goes to the one when the listener closes: how long a Service goes on sending requests.
const READINESS_FIRST: Duration = Duration::from_secs(3);

/// Why `keywright run` ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `RUST_LOG`.
    #[error("{0}")]
    Telemetry(#[from] telemetry::TelemetryError),
    /// A flag, or what it names.
    #[error("{0}")]
    Settings(#[from] settings::SettingsError),
    /// The runtime.
    #[error("starting the runtime: {0}")]
    Runtime(std::io::Error),
    /// An address.
    #[error("cannot listen at {address} ({flag}): {source}; is another process using the port?")]
    Listen {
        /// Which flag says so.
        flag: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// How the API server is reached.
    #[error("no way to the API server: {0}; run in a pod with a ServiceAccount, or set KUBECONFIG")]
    Kubeconfig(String),
    /// A part that could not be made.
    #[error("{0}")]
    Part(String),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What cannot get better by waiting.
pub fn run(arguments: &RunArgs) -> Result<(), RunError> {
    telemetry::start(arguments.log_format.into(), arguments.log_filter.as_deref())?;
    #[cfg(feature = "test-clock")]
    if let Some(path) = &arguments.test_clock {
        tracing::warn!(path = %path.display(), "the wall clock is moved by a test: no image is built so");
        crate::ambient::test_clock::follow(path.clone());
    }
    let settings = Settings::read(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Runtime)?;
    runtime.block_on(start(settings))
}

async fn start(settings: Settings) -> Result<(), RunError> {
    // First of all: a signal before it would end the process at once.
    let interrupted = interrupted()?;
    let tokens = listen("--listen", settings.listen).await?;
    let health = listen("--health-listen", settings.health_listen).await?;
    let config = kube::Config::infer().await.map_err(|error| RunError::Kubeconfig(error.to_string()))?;
    let (replica, once) = Replica::new(settings, &config)?;
    tracing::info!(issuer = replica.issuer(), pod = replica.pod(), "this replica");

    let stops = Stops::default();
    let tasks = TaskTracker::new();
    replica.serve_health(health, once.metrics, &tasks, &stops.rest);
    replica.observe(&tasks, &stops.rest);
    let serving = replica.serve_tokens(tokens, &tasks, &stops.serving)?;
    let announcing = tasks.spawn(once.heartbeat.run(stops.announcing.clone()));
    let leading = replica.lead(&tasks, &stops.leading);

    interrupted.await;
    tracing::info!("stopping: not ready any more, the Lease of the leader is given up, requests in flight are finished");
    replica.stop_being_ready();
    stops.leading.cancel();
    tokio::time::sleep(if replica.was_ready() { READINESS_FIRST } else { Duration::ZERO }).await;
    stops.serving.cancel();
    // The Lease of this replica goes last: until then a rotation waits for it.
    let _ = tokio::join!(serving, leading);
    stops.announcing.cancel();
    let _ = announcing.await;
    stops.rest.cancel();
    tasks.close();
    tasks.wait().await;
    tracing::info!("stopped");
    Ok(())
}

/// What stops when, in the order of a graceful stop.
#[derive(Default)]
struct Stops {
    leading: CancellationToken,
    serving: CancellationToken,
    announcing: CancellationToken,
    rest: CancellationToken,
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { flag, address, source })
}

/// SIGTERM or SIGINT, from the call on.
fn interrupted() -> Result<impl Future<Output = ()>, RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
