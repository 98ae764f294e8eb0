//! `kubectl keywright`: what people ask of their clients and of an installation, with the rights of their own kubeconfig.
//!
//! ```text
//! status → cluster (reads) → report (pure) → table (pure)
//! rotate, revoke, keys → cluster (one merge patch, with the uid) → progress (pure), until it is done
//! ```
//!
//! Nothing here decides anything: the operator does, and this shows what it says. No command reads the value of a secret.

mod cluster;
mod keys;
mod order;
mod progress;
mod report;
mod status;
mod table;
mod usage;
mod wait;

use crate::cli::{Exit, KeysArgs, OrderArgs, StatusArgs};
pub use cluster::ClusterError;
use jiff::SignedDuration;
use std::io::{self, Write as _};

/// Why a command ended without having done what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The cluster.
    #[error("{0}")]
    Cluster(ClusterError),
    /// Only somebody's change can help.
    #[error("{object} cannot be rotated as it is: {why}")]
    Stuck {
        /// Which.
        object: String,
        /// What the operator says.
        why: String,
    },
    /// Nothing to revoke.
    #[error("{0} has no credential yet: there is nothing to revoke")]
    NoCredential(String),
    /// A `kid` that is none.
    #[error("there is no signing key {unknown}: the keys are {}", .known.join(", "))]
    NoKey {
        /// As given.
        unknown: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// `--timeout` is over.
    #[error("after {}, {object} is not there yet: {why}", crate::domain::duration::text(*.after))]
    TimedOut {
        /// What.
        object: String,
        /// `--timeout`.
        after: SignedDuration,
        /// What it last waited for.
        why: String,
    },
    /// Standard output.
    #[error("writing to standard output: {0}")]
    Output(io::Error),
    /// The runtime.
    #[error("starting the runtime: {0}")]
    Runtime(io::Error),
}

impl PluginError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Cluster(error) => error.exit(),
            Self::NoKey { .. } => Exit::Missing,
            Self::Stuck { .. } | Self::NoCredential(_) => Exit::Refused,
            Self::TimedOut { .. } => Exit::OutOfReach,
            Self::Output(_) | Self::Runtime(_) => Exit::Failed,
        }
    }
}

/// `status`.
///
/// # Errors
/// [`PluginError`].
pub fn status(arguments: &StatusArgs) -> Result<(), PluginError> {
    block_on(status::status(arguments))
}

/// `rotate`.
///
/// # Errors
/// [`PluginError`].
pub fn rotate(arguments: &OrderArgs) -> Result<(), PluginError> {
    block_on(order::rotate(arguments))
}

/// `revoke`.
///
/// # Errors
/// [`PluginError`].
pub fn revoke(arguments: &OrderArgs) -> Result<(), PluginError> {
    block_on(order::revoke(arguments))
}

/// `keys`.
///
/// # Errors
/// [`PluginError`].
pub fn keys(arguments: &KeysArgs) -> Result<(), PluginError> {
    block_on(keys::keys(arguments))
}

/// Runs a command, and prints what it has to say.
fn block_on(command: impl Future<Output = Result<String, PluginError>>) -> Result<(), PluginError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PluginError::Runtime)?;
    let text = runtime.block_on(command)?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(PluginError::Output)
}
