//! One connection from its first byte to its last.

use super::{
    Limits, Listener, Peer, TlsMode,
    proxies::TrustedProxies,
    respond::{BrokenOff, respond},
};
use crate::{
    ambient,
    metrics::ConnectionMetrics,
    oauth::{Error, throttle::Fruitless},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use prometheus_client::metrics::gauge::Gauge;
use std::{
    convert::Infallible,
    error::Error as StdError,
    io,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

/// Requests of one connection that a client may take back before they are answered, where they are most of its requests: HTTP/2 makes
/// that cheap for the client alone (CVE-2023-44487).
const MOST_TAKEN_BACK: usize = 100;

/// The connections of one listener.
pub(super) struct Connections {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    /// Said so, and not an eighth of the places became free since.
    full: AtomicBool,
}

/// One of the connections that may be open at once.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// A connection that is open.
struct Open {
    _place: Place,
    count: Gauge,
}

impl Open {
    fn new(place: Place, count: Gauge) -> Self {
        count.inc();
        Self { _place: place, count }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.dec();
    }
}

struct Shared {
    protocol: Builder<TokioExecutor>,
    tls: TlsMode,
    router: Router,
    limits: Limits,
    /// Their connections are those of many: no one's conduct is held against them.
    proxies: TrustedProxies,
    fruitless: Fruitless,
    metrics: ConnectionMetrics,
    shutdown: CancellationToken,
}

/// What came of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answers,
    /// No request was answered, or it was abused.
    Nothing,
}

/// What a connection is doing.
#[derive(Default)]
struct Activity {
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Requests that were taken back before their answer was made, or before their body was complete.
    taken_back: AtomicUsize,
    abused: Notify,
}

impl Connections {
    /// Of a listener whose socket is another's to accept from.
    pub(super) fn new(listener: Listener, router: Router, shutdown: CancellationToken) -> (TcpListener, Self) {
        let Listener { socket, tls, limits, proxies, metrics } = listener;
        let places = Arc::new(Semaphore::new(limits.connections));
        let (protocol, fruitless) = (protocol(&limits), Fruitless::default());
        let shared = Shared { protocol, tls, router, limits, proxies, fruitless, metrics, shutdown };
        (socket, Self { shared: Arc::new(shared), tasks: TaskTracker::new(), places, full: AtomicBool::new(false) })
    }

    /// A place for one more connection, once there is one.
    pub(super) async fn place(&self) -> Place {
        if let Some(place) = self.place_now() {
            return place;
        }
        if !self.full.swap(true, Relaxed) {
            let connections = self.shared.limits.connections;
            tracing::warn!(connections, "as many connections are open as may be: others wait until one ends");
        }
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(permit) => self.taken(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// A place, if there is one.
    pub(super) fn place_now(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|permit| self.taken(permit))
    }

    fn taken(&self, permit: OwnedSemaphorePermit) -> Place {
        if self.places.available_permits() > self.shared.limits.connections / 8 {
            self.full.store(false, Relaxed);
        }
        Place { _permit: permit }
    }

    /// Serves a connection in a task of its own.
    pub(super) fn take(&self, stream: TcpStream, peer: Peer, place: Place) {
        let shared = Arc::clone(&self.shared);
        // An answer is one small write: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let open = Open::new(place, shared.metrics.open.clone());
        self.tasks.spawn(async move {
            let _open = open;
            shared.wait_for_turn(peer.0).await;
            let outcome = match &shared.tls {
                TlsMode::Plain => shared.serve(stream, peer).await,
                TlsMode::Tls(acceptor) => {
                    let accepted = tokio::select! {
                        biased;
                        accepted = acceptor.accept(stream) => accepted,
                        () = patience(shared.limits.head) => Err(io::ErrorKind::TimedOut.into()),
                    };
                    match accepted {
                        Ok(stream) => shared.serve(stream, peer).await,
                        Err(error) => {
                            tracing::debug!(%error, "a TLS handshake failed");
                            Outcome::Nothing
                        }
                    }
                }
            };
            if outcome == Outcome::Nothing {
                shared.fruitless.count(peer.0, ambient::boot_time());
            }
        });
    }

    /// Returns when every connection has ended.
    pub(super) async fn finished(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// hyper refuses at twice our limits what would cost it memory; below that a request gets an answer that says what is wrong.
fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer hyper's header timeout has no effect.
    let http1 = &mut builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(limits.head);
    http1.max_headers(limits.header_fields * 2).max_buf_size(limits.head_octets * 2);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(100);
    http2.max_header_list_size(u32::try_from(limits.head_octets * 2).unwrap_or(u32::MAX));
    http2.initial_stream_window_size(64 * 1024).initial_connection_window_size(1024 * 1024);
    builder
}

/// Twice in a row nothing in flight and nothing begun: the connection is idle.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sample {
    begun: usize,
    ended: usize,
}

impl Shared {
    /// An address whose connections come to nothing gets its next ones more slowly; not while this replica stops.
    async fn wait_for_turn(&self, address: IpAddr) {
        let wait = self.fruitless.wait(address, ambient::boot_time());
        if wait.is_zero() || self.proxies.trusts(address.to_canonical()) {
            return;
        }
        self.metrics.delayed.inc();
        tracing::debug!(%address, ?wait, "this address has many connections of which nothing comes: its next one waits");
        let _ = timeout(wait, self.shutdown.cancelled()).await;
    }

    async fn serve(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer) -> Outcome {
        let activity = Arc::new(Activity::default());
        let ending = self.shutdown.child_token();
        let service = service_fn(|mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(peer);
            Arc::clone(self).answer(request, Arc::clone(&activity), ending.clone())
        });
        let mut connection = pin!(self.protocol.serve_connection(TokioIo::new(stream), service));
        let grace = tokio::select! {
            // What has arrived is read before anything is too late.
            biased;
            ended = connection.as_mut() => return activity.outcome_of(ended),
            () = activity.abused.notified() => return Outcome::Nothing,
            () = activity.idle(&self.limits) => self.limits.linger,
            () = lingered(&ending, &self.limits) => self.limits.drain,
        };
        connection.as_mut().graceful_shutdown();
        // A peer that does not read, or does not answer HTTP/2's ping, is cut off.
        let _ = timeout(grace, connection).await;
        activity.outcome()
    }

    async fn answer(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
        activity: Arc<Activity>,
        ending: CancellationToken,
    ) -> Result<Response, Infallible> {
        let mut in_flight = InFlight::new(activity);
        let version = request.version();
        let (head, body) = request.into_parts();
        let response = if self.limits.allow(&head) {
            let Ok(response) = self.router.clone().call(Request::from_parts(head, Body::new(body))).await;
            response
        } else {
            respond(Error::HeadersTooLarge)
        };
        in_flight.is_answered = response.extensions().get::<BrokenOff>().is_none();
        Ok(with_fate_of_connection(response, version, &ending))
    }
}

/// How long a peer may take. Where this process stands still (SIGSTOP, a machine that is paused or moved), that takes half of it at most:
/// the peer may have sent what is only now read, and may have to answer what is only now written.
async fn patience(limit: Duration) {
    for _ in 0..2 {
        sleep(limit / 2).await;
    }
}

/// Ends once the connection is to close and had time for one more request.
async fn lingered(ending: &CancellationToken, limits: &Limits) {
    ending.cancelled().await;
    sleep(limits.linger).await;
}

/// HTTP/1 says `Connection: close`. HTTP/2 has no such field: the whole connection is told to go away where the answer is that
/// another replica may know more.
fn with_fate_of_connection(mut response: Response, version: Version, ending: &CancellationToken) -> Response {
    if version < Version::HTTP_2 {
        if ending.is_cancelled() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    } else if response.headers_mut().remove(header::CONNECTION).is_some() && response.status() == StatusCode::SERVICE_UNAVAILABLE {
        ending.cancel();
    }
    response
}

/// What h2 says when it ends a connection for a flood of frames (RFC 9113 §7).
fn is_abuse(error: &(dyn StdError + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.filter_map(|error| error.downcast_ref::<h2::Error>()).any(|error| error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

impl Activity {
    fn outcome_of(&self, ended: Result<(), Box<dyn StdError + Send + Sync>>) -> Outcome {
        match ended {
            Err(error) if is_abuse(&*error) => Outcome::Nothing,
            _ => self.outcome(),
        }
    }

    fn outcome(&self) -> Outcome {
        let answered = self.ended.load(Relaxed).saturating_sub(self.taken_back.load(Relaxed));
        if answered > 0 { Outcome::Answers } else { Outcome::Nothing }
    }

    /// Ends when the connection was idle for too long. Looks at counters instead of clocks, so that a request costs it two
    /// additions. Covers what hyper's header timeout does not: the time until it knows which protocol it speaks, and HTTP/2.
    async fn idle(&self, limits: &Limits) {
        patience(limits.head).await;
        let mut last = Sample { begun: 0, ended: 0 };
        loop {
            let sample = Sample { begun: self.begun.load(Relaxed), ended: self.ended.load(Relaxed) };
            if sample == last && sample.begun == sample.ended {
                return;
            }
            last = sample;
            sleep(limits.idle / 2).await;
        }
    }
}

/// Counts a request until its answer is made, also where the connection breaks before.
struct InFlight {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl InFlight {
    fn new(activity: Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Relaxed);
        Self { activity, is_answered: false }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let ended = self.activity.ended.fetch_add(1, Relaxed) + 1;
        if !self.is_answered {
            let taken_back = self.activity.taken_back.fetch_add(1, Relaxed) + 1;
            if taken_back > MOST_TAKEN_BACK && taken_back > ended / 2 {
                self.activity.abused.notify_one();
            }
        }
    }
}
