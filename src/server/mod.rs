//! HTTP: listeners with limits (hyper-util, because `axum::serve` exposes none), TLS, router, and handlers of a few lines.
