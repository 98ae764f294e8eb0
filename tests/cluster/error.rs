//! What can go wrong in the harness, said so that a failed test can be understood from its output alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A failure of the harness.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file, folder, pipe or process of this machine.
    #[error("cannot {attempt}: {source}")]
    Io { attempt: String, source: std::io::Error },

    /// The Go tool chain that builds Kubernetes is not there.
    #[error(
        "cannot build {tool}: no `go` in PATH ({source}). Install Go {version} or newer (https://go.dev/dl), \
         or point KUBEBUILDER_ASSETS at a folder that holds {tool}"
    )]
    GoIsMissing { tool: &'static str, version: String, source: std::io::Error },

    /// `go build` failed.
    #[error("cannot build {tool} from {module}/go.mod:\n{stderr}")]
    GoBuild { tool: &'static str, module: &'static str, stderr: String },

    /// A program of tests/cluster.
    #[error("tests/cluster has no program {name}")]
    NoSuchProgram { name: &'static str },

    /// A certificate or key could not be made.
    #[error("cannot make the certificate of {subject}: {source}")]
    Certificate { subject: String, source: rcgen::Error },

    /// A process ended that should be running.
    #[error("{process} ended ({status}) before {what}; its log ends with:\n{log}")]
    Ended { process: String, status: std::process::ExitStatus, what: String, log: String },

    /// A condition did not come true in time.
    #[error("after {deadline:?} still not: {what}; last seen: {last_seen}")]
    Deadline { deadline: Duration, what: String, last_seen: String },

    /// A one-shot command failed.
    #[error("`{command}` failed ({status}):\n{stdout}{stderr}")]
    Command { command: String, status: std::process::ExitStatus, stdout: String, stderr: String },

    /// A kubeconfig that was written by the harness cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Kubeconfig { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },

    /// A call to the API server.
    #[error("cannot {attempt}: {source}")]
    Api { attempt: String, source: Box<kube::Error> },

    /// The proxy's connection pool to the API server.
    #[error("cannot make the proxy's client: {0}")]
    ProxyClient(reqwest::Error),

    /// The API server of a control plane was asked for that is stopped.
    #[error("the API server is stopped")]
    ApiServerIsStopped,

    /// A failure, and what others logged at that time.
    #[error("{source}\n{logs}")]
    WithLogs { source: Box<Error>, logs: String },

    /// The same failure again, for everybody who waits for the shared control plane.
    #[error("the shared control plane did not start: {0}")]
    Shared(String),
}

// Tests unwrap: the Debug form is what people read, and a derived one shows a log as a single escaped line.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl Error {
    /// For `map_err`: names what was tried with a file, folder, pipe or process.
    pub fn io(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Io { attempt, source }
    }

    /// With the end of logs that may tell why.
    pub fn with(self, logs: &str) -> Self {
        Self::WithLogs { source: Box::new(self), logs: logs.to_owned() }
    }

    /// For `map_err`: names what was tried with the API server.
    pub fn api(attempt: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let attempt = attempt.into();
        move |source| Self::Api { attempt, source: Box::new(source) }
    }
}
