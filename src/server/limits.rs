//! How much and how long a client may send, and whose address a connection comes from.

use axum::http::request::Parts;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// The address that a connection comes from, as its socket says; every request carries it as an extension. That of a proxy, or of a node
/// that hides addresses (`externalTrafficPolicy: Cluster`), is that of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// Of a request; one address for all that came without a socket.
    pub(super) fn of(head: &Parts) -> IpAddr {
        head.extensions.get().map_or(Ipv4Addr::UNSPECIFIED.into(), |Self(address)| *address)
    }
}

/// The limits of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are open at once.
    pub connections: usize,
    /// For the TLS handshake, and again for the header section of a request.
    pub head: Duration,
    /// A connection without a request in flight is closed after half of this to this long.
    pub idle: Duration,
    /// On shutdown: how long a connection that is kept alive may come with one more request.
    pub linger: Duration,
    /// On shutdown, after that: how long requests in flight have.
    pub drain: Duration,
    /// Octets of request target and header fields.
    pub head_octets: usize,
    /// Number of header fields.
    pub header_fields: usize,
}

/// The limits of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Octets, declared or not.
    pub octets: usize,
    /// From the end of the header section to the end of the body.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(8),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(10),
            head_octets: 32 * 1024,
            header_fields: 100,
        }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { octets: 64 * 1024, time: Duration::from_secs(10) }
    }
}

impl Limits {
    /// As they are, but for connections that a process that may open so many files cannot have: a quarter of these is for the rest of it.
    #[must_use]
    pub fn within(self, open_files: u64) -> Self {
        let affordable = usize::try_from(open_files / 4 * 3).unwrap_or(usize::MAX);
        Self { connections: self.connections.min(affordable).max(1), ..self }
    }

    /// Whether a request's head is within the limits; counted as on the wire of HTTP/1.1.
    pub(super) fn allow(&self, head: &Parts) -> bool {
        let fields: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
        head.headers.len() <= self.header_fields && fields + target <= self.head_octets
    }
}
