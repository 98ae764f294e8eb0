//! Looks until something is done, and tells what it waits for meanwhile.

use super::{ClusterError, PluginError};
use crate::{ambient, cli::WaitArgs};
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// What a look finds.
pub(super) enum Found<T> {
    /// It is done.
    Done(T),
    /// Not yet, and for this.
    NotYet(String),
}

/// Looks until it is done. An API server that is away is waited for.
pub(super) async fn until<T>(
    arguments: &WaitArgs,
    object: &str,
    look: impl AsyncFn() -> Result<Found<T>, PluginError>,
) -> Result<T, PluginError> {
    let patience = Duration::try_from(arguments.timeout).unwrap_or(Duration::MAX);
    let begun = ambient::boot_time();
    let mut told = String::new();
    loop {
        let why = match look().await {
            Ok(Found::Done(done)) => return Ok(done),
            Ok(Found::NotYet(why)) => why,
            Err(PluginError::Cluster(error @ ClusterError::OutOfReach { .. })) => error.to_string(),
            Err(error) => return Err(error),
        };
        if ambient::boot_time().saturating_sub(begun) >= patience {
            return Err(PluginError::TimedOut { object: object.to_owned(), after: arguments.timeout, why });
        }
        if why != told {
            // Nobody may be reading.
            let _ = writeln!(io::stderr(), "{object}: {why}");
            told = why;
        }
        tokio::time::sleep(EVERY).await;
    }
}
