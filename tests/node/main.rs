//! Keywright in pods: the chart, installed by `helm install --wait`, on a cluster with two nodes, and workloads that mount their credentials.
//! One binary, one cluster.
//!
//! Where nodes cannot run (see `cluster::node::missing`) the tests here say so in one line and do nothing, unless `KEYWRIGHT_REQUIRE_NODE` is
//! set, as .ci/run sets it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy's own exception ends at the #[test] functions"
)]
#![allow(clippy::disallowed_methods, reason = "what is measured here is real time")]

#[path = "../cluster/mod.rs"]
mod cluster;
mod faults;
mod healed;
mod installation;
mod leftovers;
mod load;
mod pods;
mod probed;
mod reinstalled;
mod rotated;
mod secretless;
mod site;
mod teams;
mod tls;
