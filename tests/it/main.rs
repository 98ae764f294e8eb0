//! Keywright against a real etcd and kube-apiserver: one binary, one control plane, a namespace for each test.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy's own exception ends at the #[test] functions"
)]

mod accepted;
mod applied;
mod certificate;
mod chart;
#[path = "../cluster/mod.rs"]
mod cluster;
mod feed;
mod golden;
mod harness;
mod keys;
mod leader;
mod objects;
mod operator;
mod replicas;
mod teams;
mod validation;
mod workload;
