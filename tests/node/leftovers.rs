//! What a cluster leaves behind: nothing, however the process ends that started it.

use std::process::Command;
use std::time::Duration;

use crate::cluster::node::{Cluster, Traces, images};
use crate::cluster::{Process, eventually};
use crate::site::nodes_can_run;

/// Set for the process that is to be killed: the file that it writes when its cluster runs.
const VICTIM: &str = "KEYWRIGHT_NODE_VICTIM";

const SOON: Duration = Duration::from_secs(180);

/// Not a test by itself: a process for `nothing_is_left_by_a_process_that_is_killed`, which starts it with the variable set.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed() {
    let Some(report) = std::env::var_os(VICTIM) else { return };
    let cluster = Cluster::start(images().await.unwrap()).await.unwrap();
    let pod =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: one, namespace: default}\nspec: {containers: [{name: one, image: pause:keywright}]}\n";
    let control_plane = cluster.control_plane();
    control_plane.admin().kubectl_with(&["apply", "--filename=-"], pod).await.unwrap().succeeded().unwrap();
    control_plane.kubectl(&["wait", "pod/one", "--for=condition=Ready", "--timeout=60s"]).await.unwrap().succeeded().unwrap();
    std::fs::write(&report, control_plane.folder().display().to_string()).unwrap();
    std::future::pending::<()>().await;
}

/// Mounts, links, firewall rules, cgroups and processes of this machine are what they were.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_by_a_process_that_is_killed() {
    if !nodes_can_run() {
        return;
    }
    // The cluster of the other tests is there throughout, and at rest.
    let _site = crate::site::disturbing().await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let before = Traces::now().await.unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "leftovers::a_process_that_is_killed"]).env(VICTIM, &report);
    let victim = Process::start("victim", folder.path().join("log"), &mut command).unwrap();
    let started = async || std::fs::read_to_string(&report).ok().filter(|text| !text.is_empty()).ok_or("no report");
    let data = victim.wait_for("its cluster runs", SOON, started).await.unwrap();
    let during = Traces::now().await.unwrap().since(&before);
    for kind in ["link", "cgroup", "process"] {
        assert!(during.iter().any(|trace| trace.starts_with(kind)), "no {kind} in {during:#?}");
    }
    victim.kill().unwrap();
    let gone = async || match Traces::now().await.unwrap().since(&before) {
        left if left.is_empty() && !std::path::Path::new(&data).exists() => Ok(()),
        left => Err(format!("{left:#?}")),
    };
    eventually(SOON, "nothing is left", gone).await.unwrap();
}
