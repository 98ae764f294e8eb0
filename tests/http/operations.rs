//! The second port.

use crate::fixture::{InContact, Replica, SECRET, basic};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use keywright::server::{Operations, operations_router};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tower::Service as _;

fn port(registry: Registry, contact: &InContact, missing: &'static [&'static str]) -> Router {
    let missing = Box::new(|| missing.iter().map(|line| (*line).to_owned()).collect());
    operations_router(Arc::new(Operations { registry, contact: Arc::new(contact.record()), missing }))
}

async fn get(port: &Router, path: &str) -> (u16, String) {
    let response = port.clone().call(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status.as_u16(), String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().into()).unwrap())
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let port = port(Registry::default(), &InContact::Yes, &["no snapshot of oauthclients yet", "no signing keys yet"]);
    assert_eq!(get(&port, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&port, "/readyz").await, (503, "not ready:\nno snapshot of oauthclients yet\nno signing keys yet\n".to_owned()));
    let ready = self::port(Registry::default(), &InContact::Yes, &[]);
    assert_eq!(get(&ready, "/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn contact_is_affirmed_by_a_current_replica_alone() {
    for (contact, status) in [(InContact::Yes, 200), (InContact::No, 503), (InContact::NotForLong, 503)] {
        assert_eq!(get(&port(Registry::default(), &contact, &[]), "/contact").await.0, status);
    }
}

/// H09, S8, C21: requests are counted by outcome; nothing that a caller wrote becomes a label.
#[tokio::test]
async fn metrics_count_outcomes_and_repeat_nothing_of_a_request() {
    let replica = Replica::new();
    for (client, secret) in [("billing.worker", SECRET), ("billing.worker", "canary"), ("canary", "canary")] {
        replica.post(&[basic(client, secret)], "grant_type=client_credentials").await;
    }
    replica.token("billing.worker", "scope=canary").await;
    let text = get(&port(replica.registry, &InContact::Yes, &[]), "/metrics").await.1;
    for line in [
        "keywright_token_requests_total{outcome=\"issued\"} 1",
        "keywright_token_requests_total{outcome=\"invalid_client\"} 2",
        "keywright_token_requests_total{outcome=\"invalid_scope\"} 1",
        "keywright_token_request_duration_seconds_count 4",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("canary") && !text.contains("billing"), "{text}");
}
