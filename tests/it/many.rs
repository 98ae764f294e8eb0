//! A restart with many clients: what is new does not wait behind what is settled or restless (F15).
//!
//! `KEYWRIGHT_CLIENTS` makes them more, for figures:
//!
//! ```text
//! KEYWRIGHT_CLIENTS=10000 cargo test --test it many -- --nocapture
//! ```

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use keywright::ambient::boot_time;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::{ControlPlane, Options, eventually};
use crate::objects;
use crate::operator::{Operator, Replica, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};

/// Clients, unless `KEYWRIGHT_CLIENTS` says otherwise.
const CLIENTS: usize = 200;
/// Of them those that somebody changes all the time.
const HOT: usize = 100;
/// Calls of the test at a time.
const AT_ONCE: usize = 16;
/// Until the new client is Ready, from when the replica has read everything: with the machine for itself, and beside other tests.
const ALONE: Duration = Duration::from_secs(2);
const BESIDE_OTHERS: Duration = Duration::from_secs(20);

impl Teams<'_> {
    async fn create_client(&self, name: &str) -> kube::Result<()> {
        objects::create(&self.kube, &self.billing, &self.filled(&WORKER.replace("name: worker", &format!("name: {name}")))).await.map(drop)
    }

    /// How many clients are Ready.
    async fn ready(&self) -> Result<usize, String> {
        let clients = self.clients().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        Ok(clients.iter().filter(|client| is_ready(client)).count())
    }

    /// Changes one client after the other, until it is told to stop, and counts.
    async fn change_the_hot_ones(&self, stop: &AtomicBool, changes: &AtomicUsize) {
        for scope in ["invoices.write", "invoices.read"].into_iter().cycle() {
            let access = json!([{"resource": format!("{}/invoices", self.shop), "scopes": [scope]}]);
            for hot in 0..HOT {
                if stop.load(Relaxed) {
                    return;
                }
                self.change_client(&format!("client-{hot:05}"), json!({"access": access})).await;
                changes.fetch_add(1, Relaxed);
            }
        }
    }
}

fn is_ready(client: &keywright::api::OAuthClient) -> bool {
    let conditions = client.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// It leads at once, unless the process before it could not give the Lease back.
async fn is_ready_and_leads(replica: &Replica) {
    replica.ready().await;
    let count = |words: &str| replica.log().matches(words).count();
    let leads = async || match count("\"leading\",\"target\":\"keywright::run::parts\"") >= count("\"keywright starts\"") {
        true => Ok(()),
        false => Err("it waits for the Lease"),
    };
    eventually(SOON, "it leads", leads).await.unwrap();
}

/// F15.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_does_not_wait_behind_all_others_after_a_restart() {
    let more = std::env::var("KEYWRIGHT_CLIENTS").ok().map(|text| text.parse().unwrap());
    let (count, limit) = more.map_or((CLIENTS, BESIDE_OTHERS), |more| (more, ALONE));
    let cluster = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let operator = Operator::install(&cluster, Setup::default()).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    teams.apply(INVOICES).await;
    teams
        .change_resource("invoices", json!({"grants": [{"namespaces": [teams.billing], "scopes": ["invoices.read", "invoices.write"]}]}))
        .await;
    let begun = boot_time();
    let created = stream::iter(0..count)
        .map(|number| {
            let teams = &teams;
            async move { teams.create_client(&format!("client-{number:05}")).await }
        })
        .buffer_unordered(AT_ONCE);
    created.try_collect::<Vec<()>>().await.unwrap();
    println!("{count} clients created in {:.1?}", boot_time() - begun);
    let all = async || match teams.ready().await? {
        ready if ready == count => Ok(()),
        ready => Err(format!("{ready} are Ready")),
    };
    eventually(Duration::from_secs(60 + count as u64 / 10), "all are Ready", all).await.unwrap();
    println!("all Ready after {:.1?}", boot_time() - begun);

    operator.first().process().terminate().unwrap();
    operator.first().process().exit(Duration::from_secs(60)).await.unwrap();
    teams.create_client("zz-new").await.unwrap();
    let (stop, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let restarted = async {
        let begun = boot_time();
        operator.start(operator.first(), &operator.kubeconfig);
        is_ready_and_leads(operator.first()).await;
        let loaded = boot_time();
        let clients = teams.clients();
        let look = async || match clients.get("zz-new").await {
            Ok(client) if is_ready(&client) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let seen = eventually(limit, "the new client is Ready", look).await;
        let times = (loaded - begun, boot_time() - loaded);
        stop.store(true, Relaxed);
        (seen, times)
    };
    let ((seen, (loading, after)), ()) = tokio::join!(restarted, teams.change_the_hot_ones(&stop, &changes));
    println!(
        "all read {loading:.1?} after the start, the new one Ready {after:.1?} later; {} changes of others meanwhile",
        changes.into_inner()
    );
    seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
    let begun = boot_time();
    let none_is_left = async || match teams.ready().await? {
        ready if ready == count + 1 => Ok(()),
        ready => Err(format!("{ready} are Ready")),
    };
    eventually(Duration::from_secs(60), "all are Ready again", none_is_left).await.unwrap();
    println!("all Ready {:.1?} after the last change", boot_time() - begun);
}
