//! What happens to installations, while pods call: upgrades, restarts, deaths. Each test prints how many calls were made, and how many failed.

use kube::ResourceExt;

use crate::installation::Installation;
use crate::site::disturbing;

async fn pod_is_deleted(installation: &Installation<'_>, pod: &str) {
    installation.kubectl(&["delete", "pod", pod, "--wait"]).await;
    installation.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_upgraded() {
    let Some((site, _alone)) = disturbing().await else { return };
    site.load.during("helm upgrade with the same values", site.installation.upgrade(&[])).await.nobody_noticed();
    let changed = ["--set", "policy.maxLifetime=30m"];
    site.load.during("helm upgrade with a changed policy", site.installation.upgrade(&changed)).await.nobody_noticed();
}

/// H08.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_restarted_replica_by_replica() {
    let Some((site, _alone)) = disturbing().await else { return };
    let restart = async {
        site.installation.kubectl(&["rollout", "restart", "deployment/keywright"]).await;
        site.installation.ready().await;
    };
    site.load.during("rolling restart", restart).await.nobody_noticed();
}

/// F18: SIGTERM under load.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_told_to_end() {
    let Some((site, _alone)) = disturbing().await else { return };
    let leader = site.installation.leader().await;
    let pod = site.installation.pod_of(&leader).await.name_any();
    let deletion = async {
        pod_is_deleted(&site.installation, &pod).await;
        site.installation.led_by_another_than(&leader).await;
    };
    site.load.during("SIGTERM to the leader's pod", deletion).await.nobody_noticed();
}

/// F6. Calls on connections of the dead pod end without an answer, and so do new ones until its end is known: they are tried again.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies() {
    let Some((site, _alone)) = disturbing().await else { return };
    let leader = site.installation.leader().await;
    let pod = site.installation.pod_of(&leader).await;
    let name = pod.name_any();
    let restarts = pod.status.and_then(|status| Some(status.container_statuses?.first()?.restart_count)).unwrap_or_default() + 1;
    let restarted = format!("--for=jsonpath={{.status.containerStatuses[0].restartCount}}={restarts}");
    let death = async {
        kill(&format!("--pod={name}"));
        site.installation.kubectl(&["wait", &format!("pod/{name}"), "--timeout=60s", &restarted]).await;
        site.installation.ready().await;
        site.installation.led_by_another_than(&leader).await;
    };
    site.load.during("SIGKILL to the leader", death).await.no_call_failed();
}

/// F8, for as long as it takes to start it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_restarted() {
    let Some((site, _alone)) = disturbing().await else { return };
    let restart = async {
        site.cluster.control_plane().restart_api_server().await.unwrap();
        site.installation.ready().await;
    };
    site.load.during("the API server is killed and started", restart).await.nobody_noticed();
}

/// Kills the process with this argument, in whatever namespace it is.
fn kill(argument: &str) {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_it = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    let found: Vec<i32> = pids.filter(has_it).collect();
    assert_eq!(found.len(), 1, "{argument}: {found:?}");
    let pid = rustix::process::Pid::from_raw(found[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Nothing reaches its replica and nobody is told: calls that go there wait until they are tried again, elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_lost() {
    let Some((site, _alone)) = disturbing().await else { return };
    let lost = &site.cluster.nodes()[1];
    let loss = async {
        site.cluster.cut_off(lost).await.unwrap();
        let node = format!("node/{}", lost.name);
        site.installation.kubectl(&["wait", &node, "--for=condition=Ready=Unknown", "--timeout=60s"]).await;
        // Its pods are taken out of the Service.
        let replicas = "jsonpath={.status.readyReplicas}=1";
        site.installation.kubectl(&["wait", "deployment/keywright", &format!("--for={replicas}"), "--timeout=60s"]).await;
        let client = "oac/worker";
        site.installation.kubectl(&["wait", client, "--namespace=billing", "--for=condition=Ready", "--timeout=60s"]).await;
    };
    let report = site.load.during("a node is cut off", loss).await;
    report.no_call_failed();
    let back = async {
        site.cluster.connect(lost).await.unwrap();
        site.installation.ready().await;
    };
    site.load.during("the node is back", back).await.no_call_failed();
}
