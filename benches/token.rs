//! What a token costs: `cargo bench --bench token`.
//!
//! CPU time of the thread that serves, per operation, for each algorithm, in one run: (a) one bare signature, (b) one bare hyper
//! request over connections that are kept alive, (c) one token over such connections, from the endpoint as it is shipped (limits,
//! router, authentication, grants, metrics; plain HTTP). (b) reads the same request and answers as many bytes as (c). Clients run on
//! another thread, on another core, and are not counted. Rounds of the three alternate, and each number is the median of its rounds, so that what
//! else the machine does meets all three alike. The goal is (c) ≤ 2.5 × ((a) + (b)); nothing fails where it is missed.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![allow(missing_docs, reason = "a binary has no outside")]

mod shipped;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use keywright::{
    ambient,
    domain::{credential::SecretValue, resource::Algorithm},
    keys::SigningKey,
    server::{Limits, Listener, TlsMode, serve},
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

/// As in the program that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each measurement.
const ROUNDS: usize = 9;
/// Operations of one round, of signatures and of requests: about a quarter of a second.
const OPERATIONS: usize = 1_024;
/// Requests in flight at once, each on a connection of its own: a server that is busy does not pay for being woken up each time.
const CONNECTIONS: usize = 16;

/// Serving threads and the clients' each stay on a core of their own: where the system moves them, a wake-up costs now this, now that.
const SERVERS: usize = 0;
const CLIENTS: usize = 1;

fn main() {
    stay_on(CLIENTS);
    println!("CPU time per operation, median of {ROUNDS} rounds of {OPERATIONS}:\n");
    println!("algorithm   (a) signature   (b) bare request   (c) token     (c) / ((a) + (b))   tokens/s on one core");
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let cost = measure(algorithm);
        let [a, b, c] = [cost.signature, cost.bare, cost.token].map(micros);
        let name = algorithm.as_str();
        println!("{name:<12}{a:>10.1} µs{b:>16.1} µs{c:>10.1} µs{:>19.2}{:>21.0}", c / (a + b), 1e6 / c);
    }
    println!("\nThe goal is a ratio of at most 2.5.");
}

/// Best effort: on a machine of one core everything is there anyway.
fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(None, &cores);
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// CPU time of one operation.
struct Cost {
    signature: Duration,
    bare: Duration,
    token: Duration,
}

fn measure(algorithm: Algorithm) -> Cost {
    let secret = SecretValue::from_random(&ambient::random());
    let request = shipped::token_request(&secret);
    let tokens = Server::start(move |listener| serve_tokens(listener, algorithm, secret));
    let mut token_clients = Clients::open(tokens.address, &request);
    let answer = token_clients.exchange();
    let bare = Server::start(move |listener| serve_bare(listener, Bytes::from(vec![b'x'; answer])));
    let mut bare_clients = Clients::open(bare.address, &request);
    assert_eq!(bare_clients.exchange(), answer);
    let key = SigningKey::generate(algorithm).unwrap();
    let mut rounds: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        rounds[0].push(signatures(&key));
        rounds[1].push(bare.cpu_of(|| bare_clients.exchanges()));
        rounds[2].push(tokens.cpu_of(|| token_clients.exchanges()));
    }
    let [signature, bare, token] = rounds.map(median);
    Cost { signature, bare, token }
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2] / u32::try_from(OPERATIONS).unwrap()
}

fn signatures(key: &SigningKey) -> Duration {
    // As long as header and claims of a token.
    let input = vec![b'x'; 600];
    let before = thread_cpu();
    for _ in 0..OPERATIONS {
        assert!(!key.sign(&input).unwrap().is_empty());
    }
    thread_cpu() - before
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// A server with one thread of its own, which alone does its work.
struct Server {
    address: SocketAddr,
    clock: mpsc::UnboundedSender<oneshot::Sender<Duration>>,
}

impl Server {
    fn start<F: Future<Output = ()>>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Self {
        let (clock, mut readings) = mpsc::unbounded_channel::<oneshot::Sender<Duration>>();
        let (started, address) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stay_on(SERVERS);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                let read_clock = async {
                    while let Some(reply) = readings.recv().await {
                        reply.send(thread_cpu()).unwrap();
                    }
                };
                tokio::select! {
                    () = serve(listener) => {}
                    () = read_clock => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), clock }
    }

    /// The CPU time of the server's thread while `work` is done.
    fn cpu_of(&self, work: impl FnOnce()) -> Duration {
        let before = self.cpu();
        work();
        self.cpu() - before
    }

    fn cpu(&self) -> Duration {
        let (reply, reading) = oneshot::channel();
        self.clock.send(reply).unwrap();
        reading.blocking_recv().unwrap()
    }
}

/// Clients that all send a request, and then all read their answer.
struct Clients(Vec<Connection>);

impl Clients {
    fn open(address: SocketAddr, request: &[u8]) -> Self {
        Self((0..CONNECTIONS).map(|_| Connection::open(address, request.to_vec())).collect())
    }

    fn exchanges(&mut self) {
        for _ in 0..OPERATIONS / CONNECTIONS {
            self.exchange();
        }
    }

    /// One request of each. Gives the length of an answer's body.
    fn exchange(&mut self) -> usize {
        self.0.iter_mut().for_each(Connection::send);
        self.0.iter_mut().map(Connection::receive).max().unwrap()
    }
}

/// A connection that is kept alive.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr, request: Vec<u8>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, request, answer: vec![0; 16 * 1024] }
    }

    fn send(&mut self) {
        self.stream.write_all(&self.request).unwrap();
    }

    /// Gives the length of the answer's body.
    fn receive(&mut self) -> usize {
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.answer[read..]).unwrap();
            assert!(more > 0, "the server closed the connection");
            read += more;
            let answer = std::str::from_utf8(&self.answer[..read]).unwrap();
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
            if body.len() == content_length(head) {
                return body.len();
            }
        }
    }
}

fn content_length(head: &str) -> usize {
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.expect("the answer says its length").parse().unwrap()
}

async fn serve_bare(listener: TcpListener, body: Bytes) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let body = body.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let body = body.clone();
            async move {
                request.into_body().collect().await.unwrap();
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn serve_tokens(socket: TcpListener, algorithm: Algorithm, secret: SecretValue) {
    // The connection is idle while the others have their turn.
    let hour = Duration::from_secs(3600);
    let limits = Limits { head: hour, idle: hour, ..Limits::default() };
    let listener = Listener { socket, tls: TlsMode::Plain, limits, proxies: Default::default(), metrics: Default::default() };
    serve(listener, shipped::endpoint(algorithm, &secret), Default::default()).await;
}
