//! Who leads: two candidates for one Lease of a real API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use keywright::{
    ambient,
    lease::{Candidate, Leadership, Terms},
};
use kube::Api;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{
    ControlPlane, eventually, in_time,
    proxy::{Calls, Proxy, calls},
};

const SOON: Duration = Duration::from_secs(30);

/// A candidate behind a proxy of its own.
struct Process {
    proxy: Proxy,
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    async fn start(namespace: &str, identity: &str, terms: Terms) -> Self {
        let proxy = Proxy::start(ControlPlane::shared().await.unwrap().admin()).await.unwrap();
        let client = proxy.kubeconfig().client().await.unwrap();
        let (candidate, leadership) = Candidate::new(client, namespace, "kw", identity.to_owned(), terms);
        let stop = CancellationToken::new();
        let task = tokio::spawn(candidate.run(stop.clone()));
        Self { proxy, leadership, stop, task }
    }

    fn leads(&self) -> bool {
        self.leadership.is_held(ambient::moment())
    }

    async fn comes_to_lead(&self) {
        let look = async || if self.leads() { Ok(()) } else { Err("it does not") };
        eventually(SOON, "it leads", look).await.unwrap();
    }

    /// As kill -9 does.
    fn kill(&self) {
        self.task.abort();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn renewals() -> Calls {
    calls().patch().of("leases")
}

async fn namespace() -> String {
    ControlPlane::shared().await.unwrap().namespace().await.unwrap()
}

async fn lease(namespace: &str) -> Lease {
    let leases: Api<Lease> = Api::namespaced(ControlPlane::shared().await.unwrap().client().await.unwrap(), namespace);
    leases.get("kw-leader").await.unwrap()
}

/// A first process that leads, and a second that waits and has seen it lead.
async fn two(terms: Terms) -> (String, Process, Process) {
    for _ in 0..3 {
        let namespace = namespace().await;
        let first = Process::start(&namespace, "first", terms).await;
        first.comes_to_lead().await;
        let second = Process::start(&namespace, "second", terms).await;
        let looked = async || match second.proxy.count(&calls().get().of("leases")) {
            0..=2 => Err("it has not looked yet"),
            _ => Ok(()),
        };
        eventually(SOON, "the second has looked", looked).await.unwrap();
        if first.leads() && !second.leads() {
            return (namespace, first, second);
        }
    }
    panic!("the first has lost its Lease each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_dead_leader_is_replaced_within_twelve_seconds() {
    let replaced = async || {
        let (namespace, first, second) = two(Terms::default()).await;
        let killed = ambient::boot_time();
        first.kill();
        second.comes_to_lead().await;
        (ambient::boot_time() - killed, (namespace, second))
    };
    let (namespace, _second) = in_time(Duration::from_secs(12), "a dead leader is replaced", replaced).await.unwrap();
    let spec = lease(&namespace).await.spec.unwrap();
    assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("second"), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_leader_that_stops_gracefully_is_replaced_within_two_seconds() {
    let replaced = async || {
        let (_namespace, first, second) = two(Terms::default()).await;
        let stopped = ambient::boot_time();
        first.stop.cancel();
        second.comes_to_lead().await;
        let took = ambient::boot_time() - stopped;
        assert!(!first.leads());
        (took, ())
    };
    in_time(Duration::from_secs(2), "a leader that stops is replaced", replaced).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_a_leader_that_is_cut_off_stops_before_another_begins() {
    let (_namespace, first, second) = two(Terms::default()).await;
    first.proxy.black_hole();
    let (mut looked, mut nobody_led, mut stood_still) = (ambient::boot_time(), false, false);
    let begins = async || {
        // In this order: whoever leads at the second look may have begun since the first.
        let leading = (second.leads(), first.leads());
        let now = ambient::boot_time();
        stood_still |= now - looked > Duration::from_secs(1);
        looked = now;
        nobody_led |= leading == (false, false);
        assert_ne!(leading, (true, true), "both lead");
        if leading.0 { Ok(()) } else { Err(format!("{leading:?}")) }
    };
    eventually(SOON, "the second begins", begins).await.unwrap();
    assert!(nobody_led || stood_still, "it began as the first one stopped");
    first.proxy.remove_all();
    let before = first.proxy.count(&calls().get().of("leases"));
    let looked = async || if first.proxy.count(&calls().get().of("leases")) > before { Ok(()) } else { Err("it has not looked") };
    eventually(SOON, "the first has seen who leads", looked).await.unwrap();
    assert!(!first.leads() && second.leads());
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_a_leader_whose_reply_was_lost_goes_on_leading() {
    let (namespace, first, second) = two(Terms::default()).await;
    let before = first.proxy.count(&renewals());
    first.proxy.when(renewals()).first(1).drop_reply();
    let renewed = async || match first.proxy.count(&renewals()) - before {
        count if count >= 3 => Ok(()),
        count => Err(format!("{count} renewals")),
    };
    eventually(SOON, "it has renewed after that", renewed).await.unwrap();
    assert!(first.leads() && !second.leads());
    assert_eq!(lease(&namespace).await.spec.unwrap().lease_transitions, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_knows_at_once_that_its_lease_was_taken() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let lost = async || {
        let namespace = namespace().await;
        let process = Process::start(&namespace, "first", Terms::default()).await;
        process.comes_to_lead().await;
        let taken = r#"{"spec": {"holderIdentity": "somebody"}}"#;
        let patch = ["patch", "lease", "kw-leader", "-n", &namespace, "--type=merge", "-p", taken];
        control_plane.kubectl(&patch).await.unwrap().succeeded().unwrap();
        let begun = ambient::boot_time();
        process.leadership.clone().lost().await;
        assert!(!process.leads());
        (ambient::boot_time() - begun, ())
    };
    in_time(Duration::from_secs(5), "a leader knows that its Lease was taken", lost).await.unwrap();
}
