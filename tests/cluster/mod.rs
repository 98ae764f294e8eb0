//! The cluster that the tests and the demo run against: a real etcd and kube-apiserver, a proxy in front of them that makes faults,
//! and the processes under test.
//!
//! A `kube::Client` belongs to the runtime it was made in, and every `#[tokio::test]` has its own: what is shared between tests are
//! kubeconfigs, and each test makes its clients.
#![allow(dead_code, reason = "two targets include these modules, and neither uses all of them")]
#![allow(unreachable_pub, reason = "`pub` marks what tests may use; a test binary has no outside")]
#![allow(missing_docs, reason = "the fields of errors are described by their messages")]
#![allow(clippy::disallowed_methods, reason = "the harness waits in real time; the crate's one clock is for the code under test")]

mod assets;
mod control_plane;
mod error;
mod kubeconfig;
mod options;
mod pki;
mod process;
pub mod proxy;
mod wait;
mod watchdog;

#[allow(unused_imports, reason = "two targets include these modules, and neither uses all of them")]
pub use self::{
    assets::Assets,
    control_plane::{ControlPlane, SERVICE_ACCOUNT_ISSUER, Snapshot},
    error::Error,
    kubeconfig::{Identity, Kubeconfig},
    options::Options,
    process::{Output, Process, Signal, free_port, run},
    wait::eventually,
};
