//! HTTP: listeners with limits (hyper-util, because `axum::serve` exposes none), TLS, router, and handlers of a few lines.
//!
//! ```text
//! serve ── one task per connection (connection) ── TLS handshake (tls) ── head limits ── Router
//!                                                                                       ├ endpoint: token, discovery
//!                                                                                       └ operations: health, metrics, contact
//! ```
//!
//! Every error body is JSON as RFC 6749 §5.2 has it (`respond`), but for what hyper refuses before there is a request: bytes
//! that are not HTTP, more than twice the header limits. Those get a bare 400, 414 or 431, and the connection ends.

mod body;
mod connection;
mod discovery;
mod endpoint;
mod limits;
mod operations;
mod respond;
pub mod tls;
mod token;

pub use endpoint::{Endpoint, router};
pub use limits::{BodyLimits, Limits, Peer};
pub use operations::{Operations, operations_router};
pub use tls::TlsMode;

use axum::Router;
use connection::Connections;
use std::{io, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Serves `router` until `shutdown`, then finishes what is in flight.
///
/// On `shutdown` the listener closes, after the connections that wait in its queue were taken. Connections that are kept alive
/// have [`Limits::linger`] for one more request, whose answer tells the client to close; requests in flight have
/// [`Limits::drain`] more. Readiness is the caller's: it goes first, and long enough before.
pub async fn serve(listener: TcpListener, tls: TlsMode, router: Router, limits: Limits, shutdown: CancellationToken) {
    let connections = Connections::new(tls, router, limits, shutdown.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => take(&connections, accepted).await,
            () = shutdown.cancelled() => break,
        }
    }
    take_waiting(&listener, &connections).await;
    drop(listener);
    connections.finished().await;
}

async fn take(connections: &Connections, accepted: io::Result<(TcpStream, std::net::SocketAddr)>) {
    match accepted {
        Ok((stream, peer)) => connections.take(stream, Peer(peer.ip())),
        Err(error) => {
            // Too many open files, mostly: accept again at once would spin.
            tracing::warn!(%error, "accepting a connection failed; raise the limit of open files if this goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A client whose connection is established but not accepted would see it reset.
async fn take_waiting(listener: &TcpListener, connections: &Connections) {
    while let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        connections.take(stream, Peer(peer.ip()));
    }
}
