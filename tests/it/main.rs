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
mod audited;
mod authority;
mod bad_start;
mod busy;
mod certificate;
mod chart;
mod checked;
mod clients;
mod clock;
#[path = "../cluster/mod.rs"]
mod cluster;
mod cluster_key;
mod crash;
mod deeds;
mod deleted;
mod demo;
mod feed;
mod foreign_secret;
mod gateway;
mod golden;
mod handover;
mod harness;
mod healed;
mod introspected;
mod key_rotation;
mod keys;
mod leader;
mod many;
mod namespaced;
mod objects;
mod operator;
mod outage;
mod paused;
mod plugin;
mod probed;
mod rehearsal;
mod replicas;
#[path = "../demo/requirements.rs"]
mod requirements;
mod restarted;
mod rotated;
mod secrecy;
mod secretless;
mod selftest;
mod soak;
mod spiffe;
mod split;
mod stale;
mod teams;
mod tenants;
mod token_command;
mod token_without_secret;
mod uses;
mod validation;
mod workload;
