//! Wires the rooms together: what `keywright run` starts, and in which order it stops.
//!
//! Nothing here needs the API server to be there: a replica that cannot reach it says so in its log and at `/readyz`, and goes
//! on trying. What cannot get better by waiting (a flag, a port in use, a policy that cannot be read) ends the process. So does the
//! end of any part: whoever watches the process starts it anew.

mod parts;
mod served;
mod settings;
mod tasks;

use crate::{cli::RunArgs, interrupt, server, telemetry};
use parts::Replica;
use settings::Settings;
use std::{future::Future, net::SocketAddr, time::Duration};
use tasks::{Ended, Task, Tasks};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// From the moment when readiness goes to the one when the listener closes: how long a Service goes on sending requests.
const READINESS_FIRST: Duration = Duration::from_secs(3);
/// A stop that nobody has asked for has nobody either who cuts it short, as the kubelet does.
const LONGEST_STOP: Duration = Duration::from_secs(30);
/// For work on the pool of blocking threads (the making of a key), which nothing can stop.
const LAST_MOMENT: Duration = Duration::from_secs(1);

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
    /// A part that ended, though nobody had stopped it.
    #[error("{0}")]
    Ended(Ended),
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
    // The kernel clears 2 MiB at the first touch of a huge page, and what that thread has to answer waits meanwhile (S13).
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages cannot be switched off");
    }
    let settings = Settings::read(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Runtime)?;
    let ended = runtime.block_on(start(settings));
    runtime.shutdown_timeout(LAST_MOMENT);
    ended
}

async fn start(settings: Settings) -> Result<(), RunError> {
    // First of all: a signal before it would end the process at once.
    let interrupted = interrupt::interrupted().map_err(RunError::Runtime)?;
    let tokens = listen("--listen", settings.listen)?;
    let health = listen("--health-listen", settings.health_listen)?;
    let config = kube::Config::infer().await.map_err(|error| RunError::Kubeconfig(error.to_string()))?;
    let (replica, once) = Replica::new(settings, &config)?;
    tracing::info!(issuer = replica.issuer(), pod = replica.pod(), "this replica");

    let stops = Stops::default();
    let mut tasks = Tasks::default();
    replica.serve_health(health, once.metrics, &mut tasks, &stops.rest);
    replica.observe(&mut tasks, &stops.rest);
    replica.serve_tokens(tokens, &mut tasks, &stops.serving)?;
    replica.announce((once.heartbeat, once.reporter), &mut tasks, &stops.announcing);
    replica.lead(&mut tasks, &stops.leading);
    run_until(interrupted, &mut tasks, async |tasks| stop(&replica, tasks, &stops).await).await
}

/// Until the process is told to stop, or until a part of it ends, after which the rest is stopped like any other time: requests in
/// flight are finished, and the Leases are given back.
async fn run_until(
    interrupted: impl Future<Output = ()>,
    tasks: &mut Tasks,
    stop: impl AsyncFnOnce(&mut Tasks) -> Option<Ended>,
) -> Result<(), RunError> {
    let ended = tokio::select! {
        () = interrupted => stop(tasks).await,
        ended = tasks.ended() => {
            tracing::error!(%ended, "a part of this process is gone");
            let _ = timeout(LONGEST_STOP, stop(tasks)).await;
            Some(ended)
        }
    };
    tracing::info!("stopped");
    ended.map_or(Ok(()), |ended| Err(RunError::Ended(ended)))
}

/// Stops all that runs: readiness first, and last of all this replica's Lease, because until then a rotation waits for it.
async fn stop(replica: &Replica, tasks: &mut Tasks, stops: &Stops) -> Option<Ended> {
    tracing::info!("stopping: not ready any more, the Lease of the leader is given up, requests in flight are finished");
    replica.stop_being_ready();
    stops.leading.cancel();
    tokio::time::sleep(if replica.was_ready() { READINESS_FIRST } else { Duration::ZERO }).await;
    stops.serving.cancel();
    tasks.finished(&[Task::Tokens, Task::Controller, Task::Election]).await;
    stops.announcing.cancel();
    tasks.finished(&[Task::Heartbeat]).await;
    stops.rest.cancel();
    tasks.all_finished().await
}

/// What stops when, in the order of a graceful stop.
#[derive(Default)]
struct Stops {
    leading: CancellationToken,
    serving: CancellationToken,
    announcing: CancellationToken,
    rest: CancellationToken,
}

fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    server::listen(address).map_err(|source| RunError::Listen { flag, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that panics or ends takes the process with it, after the others were stopped, and the exit code says so.
    #[tokio::test]
    async fn the_end_of_a_part_is_the_end_of_the_process() {
        for panics in [true, false] {
            let (mut tasks, stops) = (Tasks::default(), Stops::default());
            tasks.spawn(Task::Tokens, stops.serving.clone().cancelled_owned());
            tasks.spawn(Task::Clients, async move { assert!(!panics) });
            let stop = async |tasks: &mut Tasks| {
                stops.serving.cancel();
                tasks.all_finished().await
            };
            let ended = run_until(std::future::pending(), &mut tasks, stop).await;
            let error = ended.unwrap_err().to_string();
            assert!(error.starts_with("the watch of OAuthClients ") && !error.contains('\n'), "{error}");
            assert!(stops.serving.is_cancelled());
        }
    }

    #[tokio::test]
    async fn whoever_is_told_to_stop_does_and_that_is_no_error() {
        let (mut tasks, stops) = (Tasks::default(), Stops::default());
        tasks.spawn(Task::Tokens, stops.serving.clone().cancelled_owned());
        let stop = async |tasks: &mut Tasks| {
            stops.serving.cancel();
            tasks.all_finished().await
        };
        assert!(run_until(async {}, &mut tasks, stop).await.is_ok());
    }
}
