//! How the API server is reached: connections of their own per purpose, and none of kube's own retries.
//!
//! kube's default layer repeats a request after 429, 503 and 504 up to 15 times, beginning after 5 ms: that is more than one
//! retry a second, and it repeats a write whose first try may have been committed. Every caller here has its own backoff, and
//! reads again before it writes again.

use crate::causes;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Time to connect. Short: the next try may reach another API server.
const CONNECT: Duration = Duration::from_secs(5);

/// Why no cluster could be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// The named file.
    #[error("--kubeconfig {}: {why}", path.display())]
    Named {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is looked for without one.
    #[error("{0}")]
    Inferred(String),
}

/// The cluster of this kubeconfig and context, or as kubectl would choose it.
///
/// # Errors
/// Where there is none, or the file cannot be read.
pub async fn chosen(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Config, ChoiceError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let Some(path) = kubeconfig else {
        let inferred = match context {
            Some(_) => Config::from_kubeconfig(&options).await.map_err(|error| causes::in_one_line(&error)),
            None => Config::infer().await.map_err(|error| causes::in_one_line(&error)),
        };
        return inferred.map_err(ChoiceError::Inferred);
    };
    let named = |error| ChoiceError::Named { path: path.to_owned(), why: causes::in_one_line(&error) };
    Config::from_custom_kubeconfig(Kubeconfig::read_from(path).map_err(named)?, &options).await.map_err(named)
}

/// A client for lists and watches, which may be silent for long: their time limits are the feed's.
///
/// # Errors
/// Where the configuration's certificates or credentials cannot be used.
pub fn watches(config: &Config) -> Result<Client, kube::Error> {
    Client::try_from(without_retries(config))
}

/// A client for single requests that fail when nothing arrives for `answer`, on connections of its own: requests that must
/// not wait behind others (Leases) have a client of their own (priority and fairness is per flow; so are lost connections).
///
/// # Errors
/// As [`watches`].
pub fn requests(config: &Config, answer: Duration) -> Result<Client, kube::Error> {
    let mut config = without_retries(config);
    config.read_timeout = Some(answer);
    config.write_timeout = Some(answer);
    // Otherwise the time that a pooled connection sat idle would count against the next answer.
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

fn without_retries(config: &Config) -> Config {
    let mut config = config.clone();
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    config
}
