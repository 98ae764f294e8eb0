//! `kubectl keywright`: what people ask of their clients and of an installation, with the rights of their own kubeconfig.
//!
//! ```text
//! status → cluster (reads) → report (pure) → table (pure)
//! check → files, cluster (reads) → check::ledger (pure): what the operator would say
//! probe → cluster (reads), issuer, the API → probe::verdict (pure) → cluster (an annotation)
//! rotate, revoke, keys → cluster (one merge patch, with the uid) → progress (pure), until it is done
//! ```
//!
//! Nothing here decides anything but `probe`: the operator does, and this shows what it says. No command reads the value of a secret.

mod check;
mod cluster;
mod keys;
mod order;
mod probe;
mod progress;
mod report;
mod status;
mod table;
mod usage;
mod wait;

use crate::cli::{CheckArgs, Exit, KeysArgs, OrderArgs, ProbeArgs, RotateArgs, StatusArgs};
pub use cluster::ClusterError;
use jiff::SignedDuration;
pub use probe::ProbeError;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

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
    /// `check` has found something.
    #[error("{0} of these objects need a change")]
    Faulty(usize),
    /// `--filename` or `--policy`.
    #[error("the file {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A client that has none.
    #[error("{0} authenticates without a secret: there is none to rotate or revoke")]
    NoSecret(String),
    /// `probe` could not find out.
    #[error("{0}")]
    Probe(ProbeError),
    /// `probe` has found something, or nothing that could be relied on.
    #[error("{0}")]
    Unverified(String),
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
            Self::Stuck { .. } | Self::NoCredential(_) | Self::NoSecret(_) => Exit::Refused,
            Self::TimedOut { .. } => Exit::OutOfReach,
            Self::Probe(error) => error.exit(),
            Self::Faulty(_) | Self::Unverified(_) | Self::File { .. } | Self::Output(_) | Self::Runtime(_) => Exit::Failed,
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
pub fn rotate(arguments: &RotateArgs) -> Result<(), PluginError> {
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

/// `check`.
///
/// # Errors
/// [`PluginError`]; also [`PluginError::Faulty`], after it has said what is wrong.
pub fn check(arguments: &CheckArgs) -> Result<(), PluginError> {
    let mut faulty = 0;
    block_on(async {
        let (text, count) = check::check(arguments).await?;
        faulty = count;
        Ok(text)
    })?;
    if faulty == 0 { Ok(()) } else { Err(PluginError::Faulty(faulty)) }
}

/// `probe`.
///
/// # Errors
/// [`PluginError`]; also [`PluginError::Unverified`], after it has said what it found.
pub fn probe(arguments: &ProbeArgs) -> Result<(), PluginError> {
    let mut doubt = None;
    block_on(async {
        let (text, found) = probe::probe(arguments).await?;
        doubt = found;
        Ok(text)
    })?;
    doubt.map_or(Ok(()), |doubt| Err(PluginError::Unverified(doubt)))
}

/// Runs a command, and prints what it has to say.
fn block_on(command: impl Future<Output = Result<String, PluginError>>) -> Result<(), PluginError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PluginError::Runtime)?;
    let text = runtime.block_on(command)?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(PluginError::Output)
}
