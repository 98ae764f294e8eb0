//! The process dies, or the reply to its write is lost, at any step of what it has to do: it ends where it would have ended.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;

use crate::cluster::ControlPlane;
use crate::cluster::proxy::{Held, Hold, Proxy};
use crate::deeds::{Deed, Scene, share_out};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::Teams;

/// Installations that try their cases one after the other, beside each other.
const BESIDE: usize = 8;

/// An installation behind a proxy.
struct Place<'cluster> {
    operator: &'cluster Operator<'cluster>,
    proxy: Proxy,
}

impl<'cluster> Place<'cluster> {
    async fn set(operator: &'cluster Operator<'cluster>) -> Self {
        let place = Self { operator, proxy: Proxy::start(&operator.kubeconfig).await.unwrap() };
        place.start().await;
        place
    }

    async fn start(&self) {
        self.operator.start(self.operator.first(), self.proxy.kubeconfig());
        self.operator.first().ready().await;
    }

    /// Starts it again after a kill. The leader's Lease goes at once instead of after its ten seconds: nobody is left who holds it.
    async fn start_again(&self) {
        let leases: Api<Lease> = Api::namespaced(self.operator.cluster.client().await.unwrap(), &self.operator.namespace);
        leases.delete(&format!("{}-leader", self.operator.release()), &DeleteParams::default()).await.unwrap();
        self.start().await;
    }

    /// What a deed makes the operator ask, without faults: how many calls, and which of them write.
    async fn calls_of(&self, deed: Deed) -> u64 {
        let mut scene = Scene::prepare(self.operator, deed).await;
        self.serves_another().await;
        self.proxy.clear_log();
        scene.begin().await;
        scene.is_whole().await;
        self.serves_another().await;
        let log = self.proxy.log();
        // S18: the chart's rights are enough.
        let refused: Vec<_> = log.iter().filter(|call| matches!(call.status, Some(401 | 403))).map(ToString::to_string).collect();
        assert_eq!(refused, Vec::<String>::new());
        let calls = scene.calls();
        let calls: Vec<_> = log.iter().filter(|call| calls.includes(call)).map(ToString::to_string).collect();
        println!("{deed:?}: {calls:#?}");
        calls.len().try_into().unwrap()
    }

    /// The operator dies when its k-th call for the deed was answered, before it knows; 0: when it has not made any.
    async fn killed_after(&self, deed: Deed, k: u64) -> Scene<'cluster> {
        let mut scene = Scene::prepare(self.operator, deed).await;
        let mut hold = self.proxy.when(scene.calls()).nth(k.max(1)).hold_reply();
        scene.begin().await;
        let held = if k == 0 { None } else { held_or_done(&mut hold, &scene).await };
        self.operator.first().process().kill().unwrap();
        drop((held, hold));
        scene.look().await;
        self.start_again().await;
        scene.is_whole().await;
        scene
    }

    /// Served after everything that was there before.
    async fn serves_another(&self) {
        Teams::served_by(self.operator).await.worker().await.token().await.token();
    }

    /// Another run begins with all this, and writes nothing.
    async fn another_run_writes_nothing(&self, scenes: &[Scene<'_>]) {
        self.operator.first().process().terminate().unwrap();
        self.operator.first().process().exit(SOON).await.unwrap();
        self.proxy.clear_log();
        self.start().await;
        self.serves_another().await;
        let written: Vec<_> = scenes.iter().map(Scene::writes).collect();
        let log = self.proxy.log();
        let written = log.iter().filter(|call| written.iter().any(|calls| calls.includes(call)));
        assert_eq!(written.map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    }
}

/// A run may need a call less than another one: then it is done without it.
async fn held_or_done(hold: &mut Hold, scene: &Scene<'_>) -> Option<Held> {
    tokio::select! {
        held = hold.next(SOON) => return Some(held.unwrap()),
        () = scene.done() => {}
    }
    hold.next(Duration::from_secs(2)).await.ok()
}

async fn installed() -> Operator<'static> {
    Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await
}

/// F1.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_single_call_changes_nothing_in_the_end() {
    let operator = installed().await;
    let place = Place::set(&operator).await;
    let mut cases = Vec::new();
    for deed in Deed::ALL {
        let calls = place.calls_of(deed).await;
        cases.extend((0..=calls).map(|k| (deed, k)));
    }
    operator.first().process().kill().unwrap();
    let siblings = (1..=BESIDE).map(|index| operator.sibling(index)).collect();
    let run = async |sibling: &Operator<'_>, cases: Vec<_>| {
        let place = Place::set(sibling).await;
        let mut scenes = Vec::new();
        for (deed, k) in cases {
            scenes.push(place.killed_after(deed, k).await);
        }
        place.another_run_writes_nothing(&scenes).await;
    };
    share_out(cases, siblings, run).await;
}

/// What becomes of one write and its reply.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Committed, and the connection is closed.
    Reply,
    /// Committed, and the answer is 500.
    Answer,
    /// Not committed, and the answer is this.
    Refusal(u16),
}

/// F4: the k-th write of a deed meets a fault, the process lives on.
async fn lost(place: &Place<'_>, deed: Deed, k: u64, loss: Loss) {
    let terms = place.operator.terms_over();
    let mut scene = Scene::prepare(place.operator, deed).await;
    let rule = place.proxy.when(scene.writes()).nth(k);
    match loss {
        Loss::Reply => rule.drop_reply(),
        Loss::Answer => rule.answer_after_commit(500),
        Loss::Refusal(status) => rule.answer(status),
    };
    scene.begin().await;
    scene.is_whole().await;
    // No further credential was needed: the value is in the memory of the process that goes on, for as long as it leads.
    let credentials = scene.credentials().await;
    let is_as_usual = credentials.len() == scene.credentials_without_faults() || place.operator.terms_over() > terms;
    assert!(is_as_usual, "{loss:?} of write {k} of {deed:?}: {credentials:?}");
}

/// F4, and the answers that an API server gives when it is busy or when somebody else was faster (F10).
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_any_single_write_changes_nothing_in_the_end() {
    let operator = installed().await;
    let place = Place::set(&operator).await;
    let losses = [Loss::Reply, Loss::Answer, Loss::Refusal(500), Loss::Refusal(429), Loss::Refusal(409)];
    let mut cases = Vec::new();
    for deed in Deed::ALL {
        cases.extend((1..=6).flat_map(|k| losses.map(|loss| (deed, k, loss))));
    }
    // The overlap passes for all clients of an installation at once.
    let (retired, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|(deed, ..)| *deed == Deed::Retire);
    for some in others.chunks(12).chain(retired.chunks(1)) {
        join_all(some.iter().map(|(deed, k, loss)| lost(&place, *deed, *k, *loss))).await;
    }
    operator.keeps_its_secrets().await;
}
