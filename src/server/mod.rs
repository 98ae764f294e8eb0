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
mod identity;
mod introspection;
mod limits;
mod operations;
mod probe;
pub mod proxies;
mod record;
mod respond;
mod revocation;
pub mod tls;
mod token;

pub use endpoint::{Endpoint, router};
pub use limits::{BodyLimits, Limits, Peer};
pub use operations::{Operations, operations_router};
pub use probe::Strangers;
pub use tls::TlsMode;

use crate::metrics::ConnectionMetrics;
use axum::Router;
use connection::Connections;
use proxies::TrustedProxies;
use std::{io, net::SocketAddr, time::Duration};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// A socket that is listened at, and what is asked of those who connect.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether TLS is spoken there.
    pub tls: TlsMode,
    /// The limits of its connections.
    pub limits: Limits,
    /// Those whose connections are others': none of them waits because of what came of others of theirs.
    pub proxies: TrustedProxies,
    /// What is counted.
    pub metrics: ConnectionMetrics,
}

/// Connections that are established and not yet accepted, as far as `net.core.somaxconn` allows. The 128 of the standard library are fewer
/// than the pods that may start at the same time, and who finds no place tries again after a second.
const BACKLOG: u32 = 4096;

/// Listens at an address.
///
/// # Errors
/// As the system says, such as where something listens there already.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does: another process listened there a moment ago.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` until `shutdown`, then finishes what is in flight.
///
/// While as many connections are open as [`Limits::connections`] allows, others wait in the socket's queue until one of them ends: none
/// without a request lasts longer than [`Limits::idle`].
///
/// On `shutdown` the listener closes, after the connections that wait in its queue were taken. Connections that are kept alive
/// have [`Limits::linger`] for one more request, whose answer tells the client to close; requests in flight have
/// [`Limits::drain`] more. Readiness is the caller's: it goes first, and long enough before.
pub async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) {
    let (socket, connections) = Connections::new(listener, router, shutdown.clone());
    loop {
        tokio::select! {
            () = take(&socket, &connections) => {}
            () = shutdown.cancelled() => break,
        }
    }
    take_waiting(&socket, &connections).await;
    drop(socket);
    connections.finished().await;
}

async fn take(socket: &TcpListener, connections: &Connections) {
    let place = connections.place().await;
    match socket.accept().await {
        Ok((stream, peer)) => connections.take(stream, Peer(peer.ip()), place),
        Err(error) => {
            // Too many open files, mostly: accept again at once would spin.
            tracing::warn!(%error, "accepting a connection failed; raise the limit of open files if this goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A client whose connection is established but not accepted would see it reset.
async fn take_waiting(socket: &TcpListener, connections: &Connections) {
    while let Some(place) = connections.place_now()
        && let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, socket.accept()).await
    {
        connections.take(stream, Peer(peer.ip()), place);
    }
}
