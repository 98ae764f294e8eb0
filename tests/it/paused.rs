//! The leader stands still at any write of what it has to do, another one leads and finishes, and then the first goes on (F7).

use std::time::Duration;

use crate::cluster::ControlPlane;
use crate::cluster::proxy::{Held, Hold, Proxy};
use crate::deeds::{Deed, Scene, share_out};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::Teams;

/// Installations that try their cases one after the other, beside each other.
const BESIDE: usize = 14;
/// More writes than any deed needs.
const WRITES: u64 = 5;
/// Until another replica leads, and the gate has dropped the Lease of one that stands still.
const TAKEN_OVER: Duration = Duration::from_secs(120);

/// Where the leader stands still.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Its request is on its way, and arrives when the deed is done.
    Request,
    /// Its request was served.
    Reply,
}

/// Two replicas, each behind a proxy of its own.
struct Pair<'cluster> {
    operator: &'cluster Operator<'cluster>,
    proxies: [Proxy; 2],
}

impl<'cluster> Pair<'cluster> {
    async fn start(operator: &'cluster Operator<'cluster>) -> Self {
        let proxies = [Proxy::start(&operator.kubeconfig).await.unwrap(), Proxy::start(&operator.kubeconfig).await.unwrap()];
        for (replica, proxy) in operator.replicas.iter().zip(&proxies) {
            operator.start(replica, proxy.kubeconfig());
        }
        for replica in &operator.replicas {
            replica.ready().await;
        }
        Self { operator, proxies }
    }

    async fn paused_at(&self, deed: Deed, k: u64, at: At) {
        let mut scene = Scene::prepare(self.operator, deed).await;
        let leader = self.operator.leader().await;
        let rule = self.proxies[leader].when(scene.writes()).nth(k);
        let mut hold = match at {
            At::Request => rule.hold_request(),
            At::Reply => rule.hold_reply(),
        };
        scene.begin().await;
        let Some(held) = held_or_done(&mut hold, &scene).await else { return };
        let process = self.operator.replicas[leader].process();
        process.stop().unwrap();
        scene.done_within(TAKEN_OVER).await;
        scene.look().await;
        held.release();
        process.resume().unwrap();
        // Whoever leads serves another one, after everything that was there before; the first one is in contact again.
        Teams::served_by(self.operator).await.worker().await;
        scene.is_whole().await;
        let second = 1 - self.operator.leader().await;
        self.proxies[second].clear_log();
        Teams::served_by(self.operator).await.worker().await;
        scene.is_whole().await;
        let writes = scene.writes();
        let written: Vec<_> = self.proxies[second].log().iter().filter(|call| writes.includes(call)).map(ToString::to_string).collect();
        assert_eq!(written, Vec::<String>::new(), "it writes though it does not lead: {deed:?}, write {k}, {at:?}");
    }
}

/// A deed may need fewer writes: then there is nothing to stand still at.
async fn held_or_done(hold: &mut Hold, scene: &Scene<'_>) -> Option<Held> {
    tokio::select! {
        held = hold.next(SOON) => return Some(held.unwrap()),
        () = scene.done() => {}
    }
    hold.next(Duration::from_secs(1)).await.ok()
}

/// F7, L2, L6.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stands_still_at_any_single_write_does_no_harm_when_it_goes_on() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let mut cases = Vec::new();
    for deed in Deed::ALL.into_iter().filter(|deed| *deed != Deed::Remove) {
        cases.extend((1..=WRITES).flat_map(|k| [At::Request, At::Reply].map(|at| (deed, k, at))));
    }
    let siblings = (1..=BESIDE).map(|index| operator.sibling_of(index, 2)).collect();
    let run = async |sibling: &Operator<'_>, cases: Vec<_>| {
        let pair = Pair::start(sibling).await;
        for (deed, k, at) in cases {
            pair.paused_at(deed, k, at).await;
        }
    };
    share_out(cases, siblings, run).await;
}
