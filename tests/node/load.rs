//! The pods that call the API all the time, each call with a token of its own, and what became of their calls.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize;

use crate::cluster::eventually;
use crate::cluster::node::Cluster;
use crate::installation::SOON;

/// How many calls are made after a fault before it is judged: enough for all three kinds of connections of a pod.
const AFTERWARDS: u64 = 60;

/// Where the two pods are.
pub(crate) struct Load {
    cluster: &'static Cluster,
    pods: [(&'static str, String); 2],
}

/// What a pod counted since it started.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    /// Of these: answered by an error, or by nobody in any of ten tries.
    pub(crate) failed: u64,
    pub(crate) faults: Vec<Fault>,
    /// Calls with the first secret, the second and so on.
    pub(crate) secrets: Vec<u64>,
    /// The API's last answer.
    pub(crate) said: String,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Fault {
    began: Timestamp,
    ended: Timestamp,
    answered: bool,
    client: String,
    pub(crate) error: String,
}

/// What became of the calls while something happened.
pub(crate) struct Report {
    what: String,
    took: Duration,
    calls: u64,
    failed: u64,
    repeated: usize,
    pub(crate) faults: Vec<Fault>,
}

impl Load {
    /// Finds the pods, which the teams have made.
    pub(crate) async fn start(cluster: &'static Cluster) -> Self {
        let client = cluster.control_plane().client().await.unwrap();
        let address = async |namespace: &'static str| {
            let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pod = pods.list(&ListParams::default()).await.unwrap().items.remove(0);
            (namespace, pod.status.unwrap().pod_ip.unwrap())
        };
        Self { cluster, pods: [address("billing").await, address("reports").await] }
    }

    /// Of the pod that mounts files.
    pub(crate) async fn of_files(&self) -> Counts {
        counts(&self.pods[0].1).await.unwrap()
    }

    /// Of the pod that reads its environment.
    pub(crate) async fn of_environment(&self) -> Counts {
        counts(&self.pods[1].1).await.unwrap()
    }

    async fn both(&self) -> Counts {
        let (files, environment) = (self.of_files().await, self.of_environment().await);
        Counts {
            calls: files.calls + environment.calls,
            failed: files.failed + environment.failed,
            faults: [files.faults, environment.faults].concat(),
            ..files
        }
    }

    /// What the nodes track of connections that are over. One whose end the other side did not see, because it was killed or cut off, is
    /// tracked for minutes, and takes a new one from the same port to where nobody is: the next test is to meet no fault of this one.
    async fn forget_closed_connections(&self) {
        for node in self.cluster.nodes() {
            for state in ["SYN_SENT", "SYN_RECV", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"] {
                // Fails where there are none.
                node.run(&["conntrack", "--delete", "--proto", "tcp", "--state", state]).await.unwrap();
            }
        }
    }

    /// Does something, and waits until it is followed by more calls. What became of all calls since is printed, whatever it is.
    pub(crate) async fn during(&self, what: &str, happens: impl Future<Output = ()>) -> Report {
        self.forget_closed_connections().await;
        let (before, started, began) = (self.both().await, Instant::now(), Timestamp::now());
        happens.await;
        let (there, took) = (self.both().await.calls, started.elapsed());
        let more = async || match self.both().await.calls {
            calls if calls >= there + AFTERWARDS => Ok(()),
            calls => Err(format!("{calls} calls after {there}")),
        };
        eventually(SOON, "the pods go on calling", more).await.unwrap();
        let after = self.both().await;
        let faults: Vec<Fault> = after.faults.into_iter().filter(|fault| fault.began >= began).collect();
        let report = Report {
            what: what.to_owned(),
            took,
            calls: after.calls - before.calls,
            failed: after.failed - before.failed,
            repeated: faults.iter().filter(|fault| !fault.answered).count(),
            faults,
        };
        // Written to the stream itself: the test runner captures what the macros print.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{report}\n").as_bytes());
        report
    }
}

impl Report {
    /// Every call succeeded, and at its first try.
    pub(crate) fn nobody_noticed(&self) {
        assert!(self.calls > 0 && self.failed == 0 && self.repeated == 0, "{self}\n{:#?}", self.faults);
    }

    /// Every call succeeded; nobody but a peer that was gone left a try without an answer.
    pub(crate) fn no_call_failed(&self) {
        assert!(self.calls > 0 && self.failed == 0, "{self}\n{:#?}", self.faults);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, took, calls, failed, repeated, .. } = self;
        write!(formatter, "{what} ({:.1} s): {calls} calls, {failed} failed, {repeated} tries without an answer", took.as_secs_f32())
    }
}

/// Asks a pod, over the bridge.
pub(crate) async fn counts(address: &str) -> Result<Counts, reqwest::Error> {
    let url = format!("http://{address}:8080/counts");
    reqwest::get(url).await?.error_for_status()?.json().await
}
