//! The second port: what the kubelet, Prometheus and other replicas ask.

use crate::{
    ambient,
    replica::contact::{Contact, Standing},
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use std::sync::Arc;

/// What the second port tells.
pub struct Operations {
    /// All metrics.
    pub registry: Registry,
    /// How far this replica may be believed.
    pub contact: Arc<Contact>,
    /// What is missing until this replica may get traffic, one line each; empty: it is ready.
    pub missing: Box<dyn Fn() -> Vec<String> + Send + Sync>,
}

/// `/healthz`, `/readyz`, `/metrics` and `/contact`.
pub fn operations_router(operations: Arc<Operations>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/contact", get(contact))
        .with_state(operations)
}

async fn ready(State(operations): State<Arc<Operations>>) -> Response {
    let missing = (operations.missing)();
    if missing.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready:\n{}\n", missing.join("\n"))).into_response()
    }
}

async fn metrics(State(operations): State<Arc<Operations>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &operations.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

/// Asked by replicas that lost contact themselves: 200 where this one has it.
async fn contact(State(operations): State<Arc<Operations>>) -> Response {
    match operations.contact.standing(ambient::moment()) {
        Standing::Current => "current\n".into_response(),
        Standing::Doubt => (StatusCode::SERVICE_UNAVAILABLE, "in doubt\n").into_response(),
        Standing::Stale => (StatusCode::SERVICE_UNAVAILABLE, "stale\n").into_response(),
    }
}
