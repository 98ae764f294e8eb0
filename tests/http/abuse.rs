//! Connections that are there to be in the way: more than may be open, slow ones, and what HTTP/2 can be abused for (S13, S14). How long
//! honest requests take meanwhile is measured by `cargo bench --bench hostile`.

use crate::{
    fixture::{Replica, SECRET},
    served::{PATIENCE, PROXY, Served, impatient, until_closed},
};
use keywright::server::{Limits, TlsMode, listen};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A token for each of so many honest requests, over a connection of its own.
async fn honest(served: &Served, requests: usize) {
    for _ in 0..requests {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let request = client.post(served.url("/oauth2/token")).basic_auth("billing.worker", Some(SECRET));
        let response = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// S13: who comes while as many connections are open as may be is served once one of them is over.
#[tokio::test]
async fn more_connections_than_may_be_open_wait_for_their_turn() {
    let limits = Limits { connections: 4, ..impatient() };
    let served = Served::with(Replica::new().router, TlsMode::Plain, limits).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(served.connect().await);
    }
    served.open_are(4).await;
    honest(&served, 3).await;
    drop(silent);
    served.open_are(0).await;
}

/// Connections from this address that send nothing, until one of them has to wait; or 1,000, as many as the rate allows of in ten seconds.
async fn come_to_nothing(served: &Served, address: &str) {
    let nothing = async || {
        let mut stream = served.connect_from(address).await;
        stream.shutdown().await.unwrap();
        until_closed(&mut stream).await
    };
    for _ in 0..10 {
        futures::future::join_all((0..100).map(|_| nothing())).await;
        if served.connections.delayed.get() > 0 {
            return;
        }
    }
}

/// More start at once than the standard library lets wait: none has to try again.
#[tokio::test]
async fn hundreds_of_connections_may_wait_to_be_accepted() {
    let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    let connecting = futures::future::join_all((0..300).map(|_| TcpStream::connect(address)));
    let waiting = timeout(PATIENCE, connecting).await.expect("each has its place in the queue");
    assert!(waiting.iter().all(Result::is_ok));
    for _ in &waiting {
        assert!(timeout(Duration::ZERO, listener.accept()).await.is_ok(), "a connection that the client has is not here");
    }
}

/// S14: who makes connections of which nothing comes waits for his next ones; others do not, nor do those behind a trusted proxy.
#[tokio::test]
async fn an_address_whose_connections_come_to_nothing_is_slowed_down_and_still_served() {
    let served = Served::new().await;
    come_to_nothing(&served, PROXY).await;
    assert_eq!(served.connections.delayed.get(), 0);
    come_to_nothing(&served, "127.0.0.2").await;
    let delayed = served.connections.delayed.get();
    assert_ne!(delayed, 0);
    honest(&served, 1).await;
    assert_eq!(served.connections.delayed.get(), delayed);
    let mut shares_the_address = served.connect_from("127.0.0.2").await;
    shares_the_address.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(until_closed(&mut shares_the_address).await.starts_with("HTTP/1.1 200 "));
}

/// S14: floods of resets, by whoever begins again as soon as he is cut off; answers before the flood excuse nothing.
#[tokio::test]
async fn an_address_that_floods_is_slowed_down() {
    let served = Served::new().await;
    let answer = [frame(HEADERS, END_STREAM | END_HEADERS, 1, GET), frame(PING, 0, 0, &[7; 8])].concat();
    let reset = |stream| [frame(HEADERS, END_STREAM | END_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())];
    let resets = (1..200).flat_map(|index| reset(2 * index + 1)).flatten().collect::<Vec<_>>();
    let flood = async || {
        let mut stream = served.connect_from("127.0.0.2").await;
        stream.write_all(&[PREFACE, &answer].concat()).await.unwrap();
        answered(&mut stream, DATA).await.unwrap();
        let _ = stream.write_all(&resets).await;
        until_closed(&mut stream).await
    };
    let slowed_down = async {
        while served.connections.delayed.get() == 0 {
            futures::future::join_all((0..100).map(|_| flood())).await;
        }
    };
    timeout(PATIENCE, slowed_down).await.expect("one of them waits");
    honest(&served, 1).await;
}

/// What a process may open is shared with the rest of it.
#[test]
fn connections_leave_files_for_the_rest_of_the_process() {
    let connections = |open_files| Limits::default().within(open_files).connections;
    assert_eq!([connections(1024), connections(1 << 20), connections(0)], [768, Limits::default().connections, 1]);
}

/// S13: as many as a laptop allows; the number that S13 names is the benchmark's.
#[tokio::test]
async fn slow_connections_keep_nobody_from_a_token() {
    let served = Served::new().await;
    let mut slow = Vec::new();
    for beginning in ["", "POST /oauth2/token HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n"].into_iter().cycle().take(300) {
        let mut stream = served.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    honest(&served, 10).await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
/// GET of http://x/oauth2/jwks (RFC 7541: entries of the static table, and literals without indexing).
const GET: &[u8] = b"\x82\x86\x04\x0c/oauth2/jwks\x01\x01x";
/// POST of a form to http://x/oauth2/token.
const POST: &[u8] = b"\x83\x86\x04\x0d/oauth2/token\x01\x01x\x0f\x10\x21application/x-www-form-urlencoded";

/// RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes what is made for each of the stream ids 1, 3, 5 …; whether the server hung up before all of it was written.
async fn flooded(stream: &mut TcpStream, count: u32, made: impl Fn(u32) -> Vec<u8>) -> bool {
    let written = async {
        stream.write_all(PREFACE).await?;
        for index in 0..count {
            stream.write_all(&made(2 * index + 1)).await?;
        }
        std::io::Result::Ok(())
    };
    timeout(PATIENCE, written).await.expect("the server reads, or hangs up").is_err()
}

/// S14: CVE-2023-44487. Each stream is reset as soon as it is opened, which frees its place at once; who does nothing else is cut off.
#[tokio::test]
async fn a_flood_of_resets_keeps_nobody_from_a_token() {
    let served = Served::new().await;
    let reset = |stream| {
        let headers = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        [headers, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let floods = (0..4).map(|_| async {
        let mut stream = served.connect().await;
        flooded(&mut stream, 10_000, reset).await
    });
    let (cut_off, ()) = tokio::join!(futures::future::join_all(floods), honest(&served, 20));
    assert_eq!(cut_off, [true; 4]);
    honest(&served, 1).await;
    served.open_are(0).await;
}

/// S14: h2 itself ends a flood of streams that are reset before they are served. Here each has begun, and waits for a body.
#[tokio::test]
async fn a_flood_of_resets_of_requests_with_open_bodies_is_cut_off() {
    let served = Served::new().await;
    let mut stream = served.connect().await;
    stream.write_all(PREFACE).await.unwrap();
    let served_and_reset = async |stream: &mut TcpStream, index: u32| {
        stream.write_all(&[frame(HEADERS, END_HEADERS, index, POST), frame(PING, 0, 0, &[7; 8])].concat()).await?;
        answered(stream, PING).await?;
        stream.write_all(&frame(RST_STREAM, 0, index, &8_u32.to_be_bytes())).await
    };
    for index in 0..1_000 {
        if timeout(PATIENCE, served_and_reset(&mut stream, 2 * index + 1)).await.expect("it answers, or hangs up").is_err() {
            assert!(index > 100, "cut off after {index}");
            return honest(&served, 1).await;
        }
    }
    panic!("1,000 requests were taken back, and it still listens");
}

/// Reads frames up to one of this kind.
async fn answered(stream: &mut TcpStream, kind: u8) -> std::io::Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == kind {
            return Ok(());
        }
    }
}

/// S14: CVE-2024-27316. A header section that never ends is not collected.
#[tokio::test]
async fn a_header_section_without_an_end_ends_the_connection() {
    let served = Served::new().await;
    let field = [b"\0\x01x\x7f\x81\x7e".as_slice(), &[b'y'; 16_000 - 6]].concat();
    let endless = |stream| match stream {
        1 => frame(HEADERS, 0, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &field),
    };
    let mut stream = served.connect().await;
    assert!(flooded(&mut stream, 4_096, endless).await, "64 MiB of header fields were read");
    honest(&served, 1).await;
}
