//! Whom a request comes from, where something stands between: to the audit log, to the limit of failures, and to who uses a secret. H06:
//! nobody but a trusted proxy says so.

use crate::{
    audit::event,
    fixture::{Extras, ISSUER, InContact, Replica, SECRET, basic, unauthorized},
};
use axum::http::HeaderName;
use keywright::{
    domain::names::ClientId,
    oauth::throttle::{FAILURES, Failures, Rate, Throttle},
    server::{
        BodyLimits,
        proxies::{TrustedProxies, network},
    },
};
use serde_json::json;
use std::time::Duration;

const PROXY: &str = "10.0.0.1";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const GRANT: &str = "grant_type=client_credentials";

/// One that believes what the proxies of one network say. A failure is forgotten after longer than any test stands still.
fn replica() -> Replica {
    let failures = Failures::new(Rate::new(FAILURES, Duration::from_secs(3_600)));
    let trusted_proxies = TrustedProxies::new(vec![network("10.0.0.0/24").unwrap()]);
    let extras = Extras { trusted_proxies, ..Extras::default() };
    Replica::made(ISSUER, InContact::Yes, BodyLimits::default(), Throttle { failures, ..Throttle::new(None) }, extras)
}

/// A token request with this secret, that says to come from there.
async fn ask(replica: &Replica, peer: &str, forwarded_for: &str, secret: &str) -> (u16, String) {
    let fields = [basic("billing.worker", secret), (FORWARDED_FOR, forwarded_for)];
    replica.post_from(peer, &fields, GRANT).await.error()
}

/// Where the secret of the client was used from last.
fn used_from(replica: &Replica) -> String {
    let snapshot = replica.snapshot.load();
    let known = snapshot.clients.get(&ClientId::parse("billing.worker").unwrap()).unwrap();
    known.usage(&known.credentials[0].id).unwrap().seen().unwrap().from.to_string()
}

#[tokio::test]
async fn a_trusted_proxy_says_whom_a_request_comes_from() {
    for (said, from) in [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("198.51.100.7:49152", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
    ] {
        let replica = replica();
        assert_eq!(ask(&replica, PROXY, said, SECRET).await.0, 200);
        assert_eq!((event(&replica).await["address"].clone(), used_from(&replica)), (json!(from), from.to_owned()), "{said}");
        ask(&replica, PROXY, said, "wrong").await;
        assert_eq!(event(&replica).await["address"], from, "{said}");
    }
}

/// H06.
#[tokio::test]
async fn of_anybody_else_and_of_garbage_the_connection_alone_counts() {
    for (peer, said) in [
        ("192.0.2.7", "198.51.100.7"),
        ("192.0.2.7", "198.51.100.7, 10.0.0.1"),
        (PROXY, ""),
        (PROXY, "unknown"),
        (PROXY, "198.51.100.7, localhost"),
        (PROXY, "198.51.100.7;drop"),
    ] {
        let replica = replica();
        assert_eq!(ask(&replica, peer, said, SECRET).await.0, 200);
        assert_eq!((event(&replica).await["address"].clone(), used_from(&replica)), (json!(peer), peer.to_owned()), "{said}");
    }
    let replica = Replica::new();
    ask(&replica, PROXY, "198.51.100.7", SECRET).await;
    assert_eq!(event(&replica).await["address"], PROXY);
}

/// C20, S17: callers behind a proxy are told apart; whoever writes the field himself is one, whatever he writes.
#[tokio::test]
async fn failures_are_those_of_the_caller_behind_the_proxy() {
    let replica = replica();
    for _ in 0..FAILURES {
        assert_eq!(ask(&replica, PROXY, "198.51.100.7", "wrong").await, unauthorized());
    }
    assert_eq!(ask(&replica, PROXY, "203.0.113.9, 198.51.100.7", "wrong").await.0, 429);
    assert_eq!(ask(&replica, PROXY, "198.51.100.8", "wrong").await, unauthorized());
    for number in 0..FAILURES {
        assert_eq!(ask(&replica, "192.0.2.7", &format!("198.51.100.{number}"), "wrong").await, unauthorized());
    }
    assert_eq!(ask(&replica, "192.0.2.7", "198.51.100.99", "wrong").await.0, 429);
}
