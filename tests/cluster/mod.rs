//! The cluster that the tests and the demo run against: a real etcd and kube-apiserver, a proxy in front of them that makes faults,
//! the processes under test, and, where root runs them, nodes with pods.
//!
//! A `kube::Client` belongs to the runtime it was made in, and every `#[tokio::test]` has its own: what is shared between tests are
//! kubeconfigs, and each test makes its clients.
#![allow(dead_code, reason = "several targets include these modules, and none uses all of them")]
#![allow(unreachable_pub, reason = "`pub` marks what tests may use; a test binary has no outside")]
#![allow(missing_docs, reason = "the fields of errors are described by their messages")]
#![allow(clippy::disallowed_methods, reason = "the harness waits in real time; the crate's one clock is for the code under test")]

mod assets;
mod control_plane;
mod error;
mod image;
mod kubeconfig;
pub mod node;
mod options;
mod pki;
mod process;
pub mod proxy;
mod wait;
mod watchdog;

#[allow(unused_imports, reason = "several targets include these modules, and none uses all of them")]
pub use self::{
    assets::Assets,
    control_plane::{ControlPlane, SERVICE_ACCOUNT_ISSUER, Snapshot},
    error::Error,
    image::Image,
    kubeconfig::{Identity, Kubeconfig},
    options::Options,
    process::{Output, Process, Signal, free_port, run},
    wait::{eventually, in_time},
};
