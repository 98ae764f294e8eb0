//! What only a socket shows: the H rows, T16, T17 and F18.

use crate::{
    fixture::{Replica, SECRET, basic},
    served::{Served, impatient, parts, until_closed},
};
use keywright::server::{BodyLimits, Limits, TlsMode};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const GRANT: &str = "grant_type=client_credentials";

/// A token request of HTTP/1.1 that asks for the end of the connection.
fn request(fields: &str, body: &str) -> Vec<u8> {
    let authorization = basic("billing.worker", SECRET).1;
    let head = format!("POST /oauth2/token HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{FORM}{fields}\r\n");
    [head.as_bytes(), body.as_bytes()].concat()
}

fn assert_json_error(response: &str, status: &str) {
    let (line, fields, body) = parts(response);
    assert_eq!(line, format!("HTTP/1.1 {status}"), "{response}");
    for field in ["content-type: application/json", "cache-control: no-store", "connection: close"] {
        assert!(fields.iter().any(|it| it == field), "{field} is not in {fields:?}");
    }
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(body["error"].is_string() && body["error_description"].is_string());
}

/// H01: declared.
#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_413() {
    let served = Served::new().await;
    for declared in [64 * 1024 + 1, 1024 * 1024 * 1024_u64] {
        let mut stream = served.connect().await;
        stream.write_all(&request(&format!("content-length: {declared}\r\n"), GRANT)).await.unwrap();
        assert_json_error(&until_closed(&mut stream).await, "413 Payload Too Large");
    }
}

/// H01: the client writes all of it before it reads.
#[tokio::test]
async fn a_client_that_sends_too_much_still_finds_the_answer() {
    let served = Served::new().await;
    let body = "x".repeat(300_000);
    let response = served.exchange(&request(&format!("content-length: {}\r\n", body.len()), &body)).await;
    assert_json_error(&response, "413 Payload Too Large");
}

/// H01: chunked and endless.
#[tokio::test]
async fn a_body_without_an_end_is_413() {
    let served = Served::new().await;
    let mut stream = served.connect().await;
    stream.write_all(&request("transfer-encoding: chunked\r\n", "")).await.unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let mut sent = 0_usize;
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 0x8000;
        assert!(sent < 256 * 1024 * 1024, "the server reads for ever");
    }
    let response = until_closed(&mut stream).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 413 "), "{response}");
}

/// H01: the largest body that is read.
#[tokio::test]
async fn a_body_of_64_kib_is_read() {
    let served = Served::new().await;
    let body = format!("{GRANT}&padding={}", "x".repeat(64 * 1024 - GRANT.len() - 9));
    assert_eq!(body.len(), 64 * 1024);
    let response = served.exchange(&request(&format!("connection: close\r\ncontent-length: {}\r\n", body.len()), &body)).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// H02.
#[tokio::test]
async fn too_many_and_too_large_header_fields_are_431() {
    let served = Served::new().await;
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let large = |octets: usize| format!("x: {}\r\n", "y".repeat(octets));
    for fields in [many(98), many(150), large(32 * 1024), large(40 * 1024)] {
        let response = served.exchange(&request(&format!("{fields}content-length: 0\r\n"), "")).await;
        assert_json_error(&response, "431 Request Header Fields Too Large");
    }
    // hyper itself refuses what is far beyond: no body, the same status, the same end.
    for fields in [many(1_000), large(200 * 1024)] {
        let response = served.exchange(&request(&format!("{fields}content-length: 0\r\n"), "")).await;
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 431 "), "{response}");
    }
    for fields in [many(90), large(30 * 1024)] {
        let length = format!("connection: close\r\ncontent-length: {}\r\n", GRANT.len());
        let response = served.exchange(&request(&format!("{fields}{length}"), GRANT)).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
}

/// H02 over HTTP/2.
#[tokio::test]
async fn too_large_header_fields_are_431_in_http_2() {
    let served = Served::new().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = |octets: usize| client.post(served.url("/oauth2/token")).header("x", "y".repeat(octets)).send();
    assert_eq!(request(40 * 1024).await.unwrap().status(), 431);
    assert_eq!(request(20 * 1024).await.unwrap().status(), 401);
}

/// H03: in the end each of them adds up to ten seconds or less.
#[test]
fn no_limit_of_time_is_longer_than_ten_seconds() {
    let ten = Duration::from_secs(10);
    let limits = Limits::default();
    assert!(limits.head <= ten && limits.idle + limits.linger <= ten && BodyLimits::default().time <= ten);
}

/// H03: nothing, some of the header, one byte after the other, some of HTTP/2's preface.
#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed() {
    let served = Served::impatient().await;
    for beginning in ["", "POST /oauth2/token HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n"] {
        assert_eq!(served.exchange(beginning.as_bytes()).await, "", "{beginning:?}");
    }
    let mut stream = served.connect().await;
    let dribbled = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), dribbled).await.expect("the server hangs up on who dribbles");
}

/// H03.
#[tokio::test]
async fn a_body_that_does_not_end_is_408() {
    let served = Served::impatient().await;
    let response = served.exchange(&request("content-length: 100\r\n", "grant_type=")).await;
    assert_json_error(&response, "408 Request Timeout");
}

/// H03: after an answer, and without ever a request in HTTP/2.
#[tokio::test]
async fn an_idle_connection_is_closed() {
    let served = Served::impatient().await;
    let response = served.exchange(&request(&format!("content-length: {}\r\n", GRANT.len()), GRANT)).await;
    assert!(response.starts_with("HTTP/1.1 200 ") && !response.contains("connection: close"), "{response}");
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    served.exchange(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), settings].concat()).await;
}

/// H05: what does not say where it ends is refused, and nothing that follows it is read.
#[tokio::test]
async fn h05_ambiguous_framing_is_400_and_ends_the_connection() {
    let served = Served::new().await;
    let second = "GET /oauth2/jwks HTTP/1.1\r\nhost: x\r\n\r\n";
    let five = format!("hello{second}");
    for (fields, body) in [
        ("content-length: 5\r\ncontent-length: 6\r\n", five.as_str()),
        ("content-length: 5, 6\r\n", &five),
        ("content-length: x\r\n", &five),
        ("content-length: +5\r\n", &five),
        ("content-length : 5\r\n", &five),
        (" folded\r\ncontent-length: 5\r\n", &five),
        ("x: y\r\n folded\r\ncontent-length: 5\r\n", &five),
        ("transfer-encoding: chunked, identity\r\n", &five),
        ("transfer-encoding: chunked\r\n", &format!("5\nhello\r\n0\r\n\r\n{second}")),
        ("transfer-encoding: chunked\r\n", &format!("5\r\nhello\n0\r\n\r\n{second}")),
        ("transfer-encoding: chunked\r\n", &format!("-5\r\nhello\r\n0\r\n\r\n{second}")),
    ] {
        let response = served.exchange(&request(fields, body)).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{fields}{body}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{fields}{body}: {response}");
    }
}

/// H05: with both, Transfer-Encoding alone counts, and the connection ends after the answer (RFC 9112 §6.1 has the choice of that and 400).
#[tokio::test]
async fn h05_a_length_beside_chunks_does_not_count_and_ends_the_connection() {
    let served = Served::new().await;
    let both = ["content-length: 5\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"];
    for fields in both {
        let chunks = format!("{:x}\r\n{GRANT}\r\n0\r\n\r\n", GRANT.len());
        let response = served.exchange(&request(fields, &format!("{chunks}GET /oauth2/jwks HTTP/1.1\r\nhost: x\r\n\r\n"))).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{fields}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{fields}: {response}");
    }
}

/// H05: a bare LF ends a line (RFC 9112 §2.2 allows that), so it hides no field and no request from this server.
#[tokio::test]
async fn h05_a_bare_lf_ends_a_line_and_hides_nothing() {
    let served = Served::new().await;
    let hidden = "x: y\ncontent-length: 5\r\ncontent-length: 6\r\n";
    let response = served.exchange(&request(hidden, "hello")).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    let response = served.exchange(b"GET /oauth2/jwks HTTP/1.1\nhost: x\nconnection: close\n\n").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

/// T16, T17: the same answer, whatever carries the request.
#[tokio::test]
async fn content_length_chunks_and_http_2_give_the_same_answer() {
    let served = Served::new().await;
    let body = "grant_type=password";
    let plain = served.exchange(&request("connection: close\r\ncontent-length: 19\r\n", body)).await;
    let chunks = format!("4\r\n{}\r\nf\r\n{}\r\n0\r\n\r\n", &body[..4], &body[4..]);
    let chunked = served.exchange(&request("connection: close\r\ntransfer-encoding: chunked\r\n", &chunks)).await;
    assert!(plain.to_ascii_lowercase().contains("\r\ndate: "), "{plain}");
    assert_eq!(parts(&plain), parts(&chunked));
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let request = client.post(served.url("/oauth2/token")).header("authorization", basic("billing.worker", SECRET).1);
    let http2 = request.form(&[("grant_type", "password")]).send().await.unwrap();
    assert_eq!((http2.version(), http2.status().as_u16()), (reqwest::Version::HTTP_2, 400));
    assert!(http2.headers().contains_key("date"));
    let (_, fields, plain_body) = parts(&plain);
    for (name, value) in http2.headers().iter().filter(|(name, _)| *name != "date") {
        assert!(fields.contains(&format!("{name}: {}", value.to_str().unwrap().to_ascii_lowercase())), "{name}");
    }
    assert_eq!(http2.text().await.unwrap(), plain_body);
}

/// T17: and both get a token; a HEAD of a document has the length of its GET.
#[tokio::test]
async fn a_token_comes_over_http_2_and_a_head_over_both() {
    let served = Served::new().await;
    for client in [reqwest::Client::builder().http2_prior_knowledge(), reqwest::Client::builder()] {
        let client = client.build().unwrap();
        let request = client.post(served.url("/oauth2/token")).basic_auth("billing.worker", Some(SECRET));
        let response = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let length = client.get(served.url("/oauth2/jwks")).send().await.unwrap().bytes().await.unwrap().len();
        let head = client.head(served.url("/oauth2/jwks")).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], length.to_string());
    }
}

/// H03: what arrived while the process stood still (SIGSTOP, a machine that is paused) is not late.
#[tokio::test]
async fn a_request_is_answered_that_came_while_the_process_stood_still() {
    let served = Served::impatient().await;
    for _ in 0..8 {
        let mut stream = served.connect().await;
        served.open_are(1).await;
        stream.write_all(&request(&format!("connection: close\r\ncontent-length: {}\r\n", GRANT.len()), GRANT)).await.unwrap();
        std::thread::sleep(impatient().head * 2);
        let response = until_closed(&mut stream).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        served.open_are(0).await;
    }
}

/// F18: clients that keep their connections alive see every request answered, before and while the listener drains; then
/// there is nobody to connect to.
#[tokio::test]
async fn a_drain_under_load_resets_no_connection() {
    let limits = Limits { linger: Duration::from_secs(2), ..Limits::default() };
    let served = Served::with(Replica::new().router, TlsMode::Plain, limits).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let draining = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(keep_asking(served.url("/oauth2/token"), Arc::clone(&answered), Arc::clone(&draining)))).collect();
    while answered.load(SeqCst) < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    draining.store(true, SeqCst);
    let address = served.address;
    served.drained().await;
    for client in clients {
        client.await.unwrap();
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// Asks over one connection until the server says that it closes it. No other end is right.
async fn keep_asking(url: String, answered: Arc<AtomicUsize>, draining: Arc<AtomicBool>) {
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    loop {
        let request = client.post(&url).basic_auth("billing.worker", Some(SECRET)).form(&[("grant_type", "client_credentials")]);
        let response = request.send().await.expect("every request is answered");
        assert_eq!(response.status(), 200);
        let closes = response.headers().get("connection").is_some_and(|value| value == "close");
        response.bytes().await.unwrap();
        answered.fetch_add(1, SeqCst);
        if closes {
            assert!(draining.load(SeqCst));
            return;
        }
    }
}

/// F18: an idle connection does not hold the drain up, and one in the middle of a request gets its answer.
#[tokio::test]
async fn a_drain_waits_for_requests_in_flight_and_not_for_idle_connections() {
    let served = Served::with(Replica::new().router, TlsMode::Plain, Limits { drain: Duration::from_secs(60), ..impatient() }).await;
    let mut in_flight = served.connect().await;
    let (begin, end) = GRANT.split_at(5);
    in_flight.write_all(&request(&format!("content-length: {}\r\n", GRANT.len()), begin)).await.unwrap();
    let mut idle = served.connect().await;
    idle.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 9];
    idle.read_exact(&mut first).await.unwrap();
    let drained = tokio::spawn(served.drained());
    until_closed(&mut idle).await;
    assert!(!drained.is_finished());
    in_flight.write_all(end.as_bytes()).await.unwrap();
    let response = until_closed(&mut in_flight).await;
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains("connection: close"), "{response}");
    drained.await.unwrap();
}
