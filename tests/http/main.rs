//! The token endpoint as callers see it, without Kubernetes: a snapshot made by hand, the whole router, and where it matters
//! real sockets. Each test names the rows of the protocol's list (T01, C07, …) that it shows.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy's own exception ends at the #[test] functions"
)]

mod abuse;
mod access_token;
mod audit;
mod authentication;
mod discovery;
mod fapi;
mod fixture;
mod form;
mod grant;
mod introspection;
mod introspection_jwt;
mod limits;
mod operations;
mod private_key_jwt;
mod probe;
mod proxies;
mod random;
mod revocation;
mod served;
mod service_account;
mod signer;
mod spiffe;
mod timing;
mod tls;
mod wire;
