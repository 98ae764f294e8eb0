//! SIGTERM and SIGINT: how a command that goes on is told to end.

use std::{future::Future, io};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for either of them. They are caught from this call on: one before it would end the process at once.
///
/// # Errors
/// Where the system lets nobody listen.
pub fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
