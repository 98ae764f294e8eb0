//! The harness itself: what the other tests rest on.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use tokio::task::spawn_blocking;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, Options, Process, eventually, free_port, in_time};

const SOON: Duration = Duration::from_secs(30);

/// Where `a_process_that_is_killed` writes what it started.
const VICTIM: &str = "KEYWRIGHT_TEST_VICTIM";

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() }, ..Default::default() }
}

/// A proxy in front of the shared control plane, ConfigMaps of a new namespace as seen through it, and the same ones as seen directly.
async fn proxied() -> (Proxy, Api<ConfigMap>, Api<ConfigMap>) {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace().await.unwrap();
    let proxy = Proxy::start(control_plane.admin()).await.unwrap();
    let through = Api::namespaced(proxy.kubeconfig().client().await.unwrap(), &namespace);
    let direct = Api::namespaced(control_plane.client().await.unwrap(), &namespace);
    (proxy, through, direct)
}

async fn create(config_maps: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    config_maps.create(&PostParams::default(), &config_map(name)).await
}

fn status_of<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("{other:?} instead of a status"),
    }
}

/// The next event of a watch, in words.
async fn next(events: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin)) -> String {
    match tokio::time::timeout(SOON, events.next()).await.unwrap() {
        Some(Ok(WatchEvent::Added(object))) => format!("added {}", object.name_any()),
        Some(Ok(WatchEvent::Error(status))) => format!("error {}", status.code),
        Some(other) => format!("{other:?}"),
        None => "end".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_created_in_a_namespace_of_its_own() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace().await.unwrap();
    create(&Api::namespaced(control_plane.client().await.unwrap(), &namespace), "a").await.unwrap();
    let seen = control_plane.kubectl(&["get", "configmap", "a", "-n", &namespace, "-o", "name"]).await.unwrap();
    assert_eq!(seen.succeeded().unwrap(), "configmap/a\n");
    let refused = control_plane.kubectl(&["get", "configmap", "b", "-n", &namespace]).await.unwrap();
    assert!(refused.succeeded().unwrap_err().to_string().contains("NotFound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_knows_the_version_of_the_cluster() {
    let control_plane = ControlPlane::shared().await.unwrap();
    control_plane.helm(&["list", "--all-namespaces"]).await.unwrap().succeeded().unwrap();
    let version = control_plane.kubectl(&["version"]).await.unwrap().succeeded().unwrap();
    assert!(version.contains("Server Version: v1."), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_service_accounts_may_do_what_rbac_says() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client().await.unwrap(), &namespace);
    eventually(SOON, "the namespace has its ServiceAccount", async || accounts.get("default").await).await.unwrap();
    let bind = ["create", "rolebinding", "viewers", "--clusterrole=view", "--group=viewers", "-n", &namespace];
    control_plane.kubectl(&bind).await.unwrap().succeeded().unwrap();

    let viewer = control_plane.kubeconfig_for_user("vera", Some("viewers")).unwrap();
    let account = control_plane.kubeconfig_for_service_account(&namespace, "default").await.unwrap();
    let through = Proxy::start(&account).await.unwrap();
    let config_maps = async |kubeconfig: &crate::cluster::Kubeconfig| Api::namespaced(kubeconfig.client().await.unwrap(), &namespace);
    let viewers_api: Api<ConfigMap> = config_maps(&viewer).await;
    eventually(SOON, "the binding is known", async || viewers_api.list(&Default::default()).await).await.unwrap();
    assert_eq!(status_of(create(&viewers_api, "a").await), 403);
    assert_eq!(status_of(create(&config_maps(&account).await, "a").await), 403);
    assert_eq!(status_of(create(&config_maps(through.kubeconfig()).await, "a").await), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_outlives_the_api_server() {
    let control_plane = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(control_plane.client().await.unwrap(), "default");
    eventually(SOON, "the default namespace takes objects", async || create(&config_maps, "a").await).await.unwrap();
    control_plane.stop_api_server().unwrap();
    config_maps.get("a").await.unwrap_err();
    control_plane.restart_api_server().await.unwrap();
    config_maps.get("a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_goes_back_to_what_it_held() {
    let control_plane = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let config_maps: Api<ConfigMap> = Api::namespaced(control_plane.client().await.unwrap(), "default");
    eventually(SOON, "the default namespace takes objects", async || create(&config_maps, "a").await).await.unwrap();
    let snapshot = control_plane.snapshot().await.unwrap();
    let later = create(&config_maps, "b").await.unwrap();
    control_plane.rewind(&snapshot).await.unwrap();
    config_maps.get("a").await.unwrap();
    assert_eq!(status_of(config_maps.get("b").await), 404);
    let again = create(&config_maps, "b").await.unwrap();
    assert_ne!(again.uid(), later.uid());
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_goes_through_the_proxy() {
    let (proxy, ..) = proxied().await;
    proxy.kubeconfig().kubectl(&["get", "namespaces"]).await.unwrap().succeeded().unwrap();
    // Not one exactly: kubectl asks again where a busy API server says that it should.
    assert_ne!(proxy.count(&calls().list().of("namespaces").from("kubectl")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_counts_calls() {
    let (proxy, through, _direct) = proxied().await;
    create(&through, "a").await.unwrap();
    through.get("a").await.unwrap();
    through.list(&Default::default()).await.unwrap();
    assert_eq!(proxy.count(&calls().mutating()), 1);
    assert_eq!(proxy.count(&calls().get().list().of("configmaps")), 2);
    assert_eq!(proxy.count(&calls().get().of("configmaps").named("b")), 0);
    let statuses: Vec<Option<u16>> = proxy.log().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(201), Some(200), Some(200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_dropped_after_the_commit() {
    let (proxy, through, direct) = proxied().await;
    proxy.when(calls().create().of("configmaps")).nth(2).drop_reply();
    create(&through, "a").await.unwrap();
    create(&through, "b").await.unwrap_err();
    direct.get("b").await.unwrap();
    create(&through, "c").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_without_asking_the_api_server() {
    let (proxy, through, direct) = proxied().await;
    let rule = proxy.when(calls().create()).answer(429);
    assert_eq!(status_of(create(&through, "a").await), 429);
    assert!(proxy.log().iter().all(|call| !call.forwarded));
    proxy.remove(rule);
    proxy.when(calls().create()).first(1).answer_after_commit(500);
    assert_eq!(status_of(create(&through, "a").await), 500);
    direct.get("a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_held_before_or_after_the_commit() {
    let (proxy, through, direct) = proxied().await;
    let mut hold = proxy.when(calls().mutating()).nth(1).hold_request();
    let author = tokio::spawn({
        let through = through.clone();
        async move { create(&through, "a").await }
    });
    let held = hold.next(SOON).await.unwrap();
    assert_eq!(status_of(direct.get("a").await), 404);
    held.release();
    author.await.unwrap().unwrap();

    let mut hold = proxy.when(calls().mutating()).hold_reply();
    let author = tokio::spawn(async move { create(&through, "b").await });
    let held = hold.next(SOON).await.unwrap();
    assert_eq!(held.call().resource, "configmaps");
    direct.get("b").await.unwrap();
    held.close();
    author.await.unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_falls_silent_and_later_tells_all_it_missed() {
    let (proxy, through, direct) = proxied().await;
    // The cluster publishes its CA into a new namespace, sooner or later, and sends bookmarks.
    let ours = WatchParams::default().disable_bookmarks().fields("metadata.name!=kube-root-ca.crt");
    let mut events = pin!(through.watch(&ours, "0").await.unwrap());
    create(&direct, "a").await.unwrap();
    assert_eq!(next(&mut events).await, "added a");
    let rule = proxy.silence_open_watches(&calls().watch().of("configmaps"));
    create(&direct, "b").await.unwrap();
    let mut later = pin!(through.watch(&ours, "0").await.unwrap());
    while next(&mut later).await != "added b" {}
    // The event is long there for others; a silence can only be listened to for a while.
    tokio::time::timeout(Duration::from_millis(300), events.next()).await.unwrap_err();
    assert_eq!(proxy.open_watches(&calls().watch()), 2);
    proxy.remove(rule);
    assert_eq!(next(&mut events).await, "added b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_expires() {
    let (proxy, through, _direct) = proxied().await;
    let mut events = pin!(through.watch(&WatchParams::default(), "0").await.unwrap());
    proxy.expire_open_watches(&calls().watch());
    while next(&mut events).await != "error 410" {}
    assert_eq!(next(&mut events).await, "end");
    eventually(SOON, "the watch is closed", async || match proxy.open_watches(&calls()) {
        0 => Ok(()),
        open => Err(format!("{open} open")),
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_cut_off_and_comes_back() {
    let (proxy, through, _direct) = proxied().await;
    create(&through, "a").await.unwrap();
    let mut events = pin!(through.watch(&WatchParams::default().timeout(290), "0").await.unwrap());
    proxy.cut_off().await;
    through.get("a").await.unwrap_err();
    while next(&mut events).await == "added a" {}
    proxy.restore().await.unwrap();
    through.get("a").await.unwrap();
    let rule = proxy.black_hole();
    tokio::time::timeout(Duration::from_millis(300), through.get("a")).await.unwrap_err();
    proxy.remove(rule);
    through.get("a").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_goes_on_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = "trap 'echo asked; exit 3' TERM; echo begun; while :; do sleep 0.05; done";
    let process = Process::start("a shell", log.clone(), Command::new("sh").args(["-c", script])).unwrap();
    process.wait_for_log("begun", SOON).await.unwrap();
    process.stop().unwrap();
    process.terminate().unwrap();
    assert!(process.is_running());
    process.resume().unwrap();
    assert_eq!(process.exit(SOON).await.unwrap().code(), Some(3));
    let error = process.wait_for_log("never", SOON).await.unwrap_err().to_string();
    assert!(error.contains("a shell ended (exit status: 3)") && error.contains("begun\nasked"), "{error}");

    let process = Process::start("a shell", log, Command::new("sh").args(["-c", "while :; do sleep 1; done"])).unwrap();
    let pid = process.pid().to_string();
    assert!(is_running(&pid));
    let panicked = tokio::spawn(async move { panic!("with {} in hand", process.pid()) }).await;
    assert!(panicked.unwrap_err().is_panic() && !is_running(&pid));
}

/// A child has its parent's sockets between its fork and its exec: what listened is then in use, though its owner closed it.
#[tokio::test(flavor = "multi_thread")]
async fn ports_are_free_while_processes_are_started() {
    let proxy = Proxy::start(ControlPlane::shared().await.unwrap().admin()).await.unwrap();
    let start_some = || (0..500).for_each(|_| assert!(Command::new("true").process_group(0).status().unwrap().success()));
    let starters = [(); 4].map(|()| spawn_blocking(start_some));
    for _ in 0..1_000 {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free_port().unwrap())).unwrap();
        proxy.restore().await.unwrap();
    }
    try_join_all(starters).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_tells_what_was_last_seen() {
    let mut looks = 0;
    let never: Result<(), _> = eventually(Duration::from_millis(100), "the moon is cheese", async || {
        looks += 1;
        Err(format!("rock, look {looks}"))
    })
    .await;
    let error = never.unwrap_err().to_string();
    assert!(error.contains("the moon is cheese; last seen: rock, look"), "{error}");
    let stuck: Result<(), _> =
        eventually(Duration::from_millis(10), "an answer", async || std::future::pending::<Result<(), String>>().await).await;
    assert!(stuck.unwrap_err().to_string().contains("the first look did not end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_once_is_measured_again_and_what_is_late_each_time_is_late() {
    let limit = Duration::from_secs(1);
    let mut tries = 3;
    let seen = in_time(limit, "it is done", async || {
        tries -= 1;
        (limit * (tries + 1), tries)
    });
    assert_eq!(seen.await.unwrap(), 0);
    let late = in_time(limit, "it is done", async || (limit * 2, ())).await.unwrap_err().to_string();
    assert!(late.contains("it is done; last seen: it took [2s, 2s, 2s]"), "{late}");
}

/// Not a test by itself: a process for `nothing_outlives_a_process_that_is_killed`, which starts it with the variable set.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed() {
    let Some(report) = std::env::var_os(VICTIM) else { return };
    let control_plane = ControlPlane::shared().await.unwrap();
    let folder = control_plane.admin().path().parent().unwrap();
    let api_server = control_plane.api_server().unwrap().pid();
    std::fs::write(&report, format!("{api_server}\n{}\n", folder.display())).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_process_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "harness::a_process_that_is_killed"]).env(VICTIM, &report);
    let victim = Process::start("victim", folder.path().join("log"), &mut command).unwrap();
    let written = victim
        .wait_for("the victim has started its control plane", SOON * 4, async || match std::fs::read_to_string(&report) {
            Ok(text) if text.lines().count() == 2 => Ok(text),
            other => Err(format!("{other:?}")),
        })
        .await
        .unwrap();
    let (api_server, data) = written.trim_end().split_once('\n').unwrap();
    assert!(is_running(api_server));
    victim.kill().unwrap();
    eventually(SOON, "the API server is gone, and its folder too", async || {
        if is_running(api_server) || std::path::Path::new(data).exists() { Err("still there") } else { Ok(()) }
    })
    .await
    .unwrap();
}

/// A zombie, which nobody may be there to reap in a container, does not run.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}
