//! The endpoint behind a real socket on loopback.

use crate::fixture::{ISSUER, InContact, Replica};
use axum::Router;
use keywright::{
    metrics::ConnectionMetrics,
    server::{
        BodyLimits, Limits, Listener, TlsMode, listen,
        proxies::{TrustedProxies, network},
        serve,
    },
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The address of a proxy that it trusts.
pub(crate) const PROXY: &str = "127.0.0.3";

/// A listener that runs until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    /// What it counts of its connections.
    pub(crate) connections: ConnectionMetrics,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// The limits of a listener that soon loses patience.
pub(crate) fn impatient() -> Limits {
    let short = Duration::from_millis(250);
    Limits { head: short, idle: short, linger: short, drain: short, ..Limits::default() }
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(Replica::new().router, TlsMode::Plain, Limits::default()).await
    }

    pub(crate) async fn impatient() -> Self {
        let body = BodyLimits { time: Duration::from_millis(250), ..BodyLimits::default() };
        Self::with(Replica::with(ISSUER, InContact::Yes, body).router, TlsMode::Plain, impatient()).await
    }

    pub(crate) async fn with(router: Router, tls: TlsMode, limits: Limits) -> Self {
        let socket = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        let connections = ConnectionMetrics::default();
        let proxies = TrustedProxies::new(vec![network(PROXY).unwrap()]);
        let listener = Listener { socket, tls, limits, proxies, metrics: connections.clone() };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, shutdown.clone()));
        Self { address, connections, shutdown, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// From another address than everybody else's.
    pub(crate) async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Waits until so many connections are open.
    pub(crate) async fn open_are(&self, count: i64) {
        let open = async {
            while self.connections.open.get() != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, open).await.unwrap_or_else(|_| panic!("{} connections are open, not {count}", self.connections.open.get()));
    }

    /// Sends bytes, and returns all that comes until the server closes the connection.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        until_closed(&mut stream).await
    }

    /// Ends after the drain.
    pub(crate) async fn drained(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.expect("the drain ends").unwrap();
    }
}

/// All that comes until the server closes the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut received)).await.expect("the server closes the connection");
    // A reset after the answer is an end as well.
    drop(read);
    String::from_utf8_lossy(&received).into_owned()
}

/// The first line, the header fields in lower case without those that belong to the moment, and the body.
pub(crate) fn parts(response: &str) -> (String, Vec<String>, String) {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response:?} is no response"));
    let mut lines = head.split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let mut fields: Vec<_> = lines.map(|line| line.to_ascii_lowercase()).filter(|line| !line.starts_with("date:")).collect();
    fields.sort_unstable();
    (status, fields, body.to_owned())
}
