//! Rotation under load: callers that re-read the Secret at different delays, while leaders are killed, stopped and terminated, a replica
//! is late, one is cut off, and the API server restarts. Not one request fails.
//!
//! The overlap is ten minutes by the clock that tests move: it stands in the real one but between rounds, where it goes through the
//! overlap in steps. `KEYWRIGHT_ROTATIONS`, `KEYWRIGHT_REQUESTS` and `KEYWRIGHT_SEED` make it longer and different:
//!
//! ```text
//! KEYWRIGHT_ROTATIONS=1000 KEYWRIGHT_REQUESTS=1000000 cargo test --test it soak -- --nocapture
//! ```

mod fault;
mod load;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keywright::ambient::boot_time;
use kube::ResourceExt;
use kube::api::ListParams;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use tokio::sync::watch;

use crate::cluster::proxy::Proxy;
use crate::cluster::{ControlPlane, Options, eventually};
use crate::objects;
use crate::operator::{Operator, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;
use fault::Fault;
use load::{Caller, Load, Tally};

/// One leads; of the others one may be late or cut off while one is well.
const REPLICAS: usize = 3;
/// A fault and a rotation beside each other. The longest is a replica that is cut off: 10 s until it doubts, as long until it is not
/// ready, and 10 s more until the gate no longer waits for it.
const SETTLED: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);
/// How many minutes after the rotation callers read the Secret again. A round may need two minutes until it is settled.
const DELAYS: [u32; 5] = [0, 2, 4, 6, 8];

/// An API that grants to every client of `$billing`.
const SHARED: &str = "
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: invoices, namespace: $shop}
spec:
  issuer: $issuer
  scopes: [{name: invoices.read}]
  grants: [{namespaces: [$billing], scopes: [invoices.read]}]
  accessToken: {signingAlgorithm: ES256}
";

const CLIENT: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: $name, namespace: $billing}
spec:
  issuer: $issuer
  access: [{resource: $shop/invoices, scopes: [invoices.read]}]
  rotation: {policy: Manual, overlap: 10m, retire: AfterOverlap}
";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Some clients, each of which is rotated once in a round.
struct Soak<'cluster> {
    teams: &'cluster Teams<'cluster>,
    proxies: Vec<Proxy>,
    load: Arc<Load>,
    /// What each client's Secret held last.
    held: BTreeMap<String, Credentials>,
    rotations: u64,
}

impl Soak<'_> {
    /// One rotation of all clients, with a fault meanwhile, until the former secrets are over.
    async fn round(&mut self, round: u64, fault: Fault, delay: Duration) {
        let begun = boot_time();
        let (settled, until_settled) = watch::channel(false);
        let (teams, load) = (self.teams, Arc::clone(&self.load));
        let proxies = std::mem::take(&mut self.proxies);
        let first = fault.comes_first();
        let rotating = async {
            tokio::time::sleep(if first { delay } else { Duration::ZERO }).await;
            self.order(round).await;
            self.settle(round).await;
            let _ = settled.send(true);
        };
        let faulting = async {
            tokio::time::sleep(if first { Duration::ZERO } else { delay }).await;
            fault.happen(teams.operator, &proxies, &load, until_settled).await;
        };
        tokio::join!(rotating, faulting);
        self.proxies = proxies;
        let after = boot_time() - begun;
        // Since the first was promoted, at the earliest.
        let mut passed = after;
        for later in DELAYS.into_iter().skip(1) {
            let wait = (MINUTE * later).saturating_sub(passed);
            let read = boot_time();
            teams.operator.advance(wait).await;
            self.load.read_again(&self.held, later).await;
            passed += wait + (boot_time() - read);
        }
        // And until after the last one's overlap.
        teams.operator.advance(3 * MINUTE + after).await;
        let Tally { answered, moved, failed } = self.load.tally();
        println!(
            "round {round}: {fault:?} after {delay:.1?}, settled in {after:.1?}, over in {:.1?}; {} rotations, {answered} answers, {moved} \
             asked elsewhere, {} failed",
            boot_time() - begun,
            self.rotations,
            failed.len()
        );
        assert!(failed.is_empty(), "{failed:#?}\n{}", teams.operator.logs());
    }

    async fn order(&self, round: u64) {
        let patch = json!({"metadata": {"annotations": {"keywright.dev/rotate": round.to_string()}}});
        for name in self.held.keys() {
            let order = async || objects::merge(&self.teams.kube, &self.teams.billing, "OAuthClient", name, &patch).await;
            eventually(SETTLED, "the order is written", order).await.unwrap();
        }
    }

    /// Waits until every client has another secret; who re-reads at once does so meanwhile.
    async fn settle(&mut self, round: u64) {
        let former = self.held.clone();
        let (teams, load) = (self.teams, Arc::clone(&self.load));
        let held = &mut self.held;
        let look = async || {
            let secrets = teams.secrets().list(&ListParams::default().labels("keywright.dev/client")).await;
            let found: Vec<Secret> = secrets.map_err(|error| error.to_string())?.items;
            held.extend(found.into_iter().map(|secret| (secret.name_any(), Credentials::of(secret))));
            load.read_again(held, 0).await;
            let clients = teams.clients().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let open = clients.items.iter().filter(|client| !is_rotated(client, round, &former, held)).map(ResourceExt::name_any);
            let open: Vec<_> = open.collect();
            if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are not rotated")) }
        };
        let seen = eventually(SETTLED, &format!("round {round} is settled"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", teams.operator.logs()));
        self.rotations += u64::try_from(self.held.len()).unwrap();
        teams.operator.saw(self.held.values().map(|held| held.get("client-secret").to_owned()));
    }
}

/// The order is handled, nothing is Pending, and the Secret holds another value.
fn is_rotated(
    client: &keywright::api::OAuthClient,
    round: u64,
    former: &BTreeMap<String, Credentials>,
    held: &BTreeMap<String, Credentials>,
) -> bool {
    let Some(status) = &client.status else { return false };
    let pending = status.credentials.iter().flatten().any(|known| known.state == "Pending");
    let handled = status.last_handled_rotate.as_deref() == Some(round.to_string().as_str());
    let name = client.name_any();
    handled && !pending && former.get(&name) != held.get(&name)
}

/// Between two requests of a worker: the normal run leaves the cores to the other tests.
fn pause(requests: u64) -> Duration {
    if requests > 10_000 { Duration::ZERO } else { Duration::from_millis(20) }
}

/// Every fault in turn, each time in another order.
fn faults(random: &mut StdRng, rounds: u64) -> Vec<(Fault, Duration)> {
    let mut faults = Vec::new();
    while (faults.len() as u64) < rounds {
        let mut turn = Fault::ALL;
        turn.shuffle(random);
        faults.extend(turn.map(|fault| (fault, Duration::from_millis(random.random_range(0..2_000)))));
    }
    faults
}

/// F6, F7, F11, F18, F20, L2, L7.
#[tokio::test(flavor = "multi_thread")]
async fn a_soak_of_rotations_and_faults_costs_no_request() {
    let seed = number("KEYWRIGHT_SEED").unwrap_or_else(rand::random);
    let (rotations, requests) = (number("KEYWRIGHT_ROTATIONS").unwrap_or(12), number("KEYWRIGHT_REQUESTS").unwrap_or(1_000));
    let clients = (rotations / 10).clamp(4, 50);
    println!("KEYWRIGHT_SEED={seed}: {rotations} rotations of {clients} clients, {requests} requests");
    let cluster = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let operator = Operator::install(&cluster, Setup { replicas: REPLICAS, ..Setup::default() }).await;
    let mut proxies = Vec::new();
    for replica in &operator.replicas {
        proxies.push(Proxy::start(&operator.kubeconfig).await.unwrap());
        operator.start(replica, proxies.last().unwrap().kubeconfig());
    }
    for replica in &operator.replicas {
        replica.ready().await;
    }
    let teams = Teams::served_by(&operator).await;
    teams.apply(SHARED).await;
    let mut held = BTreeMap::new();
    for index in 0..clients {
        let name = format!("client-{index}");
        teams.apply(&CLIENT.replace("$name", &name)).await;
        held.insert(name.clone(), operator.credentials(&teams.billing, &name).await);
    }
    let callers = held.iter().flat_map(|(name, held)| DELAYS.map(|delay| Caller::new(name, delay, held.clone())));
    let load = Arc::new(Load::new(&operator, callers.collect(), pause(requests)).await);
    let tasks = load.begin();
    let mut soak = Soak { teams: &teams, proxies, load: Arc::clone(&load), held, rotations: 0 };
    let mut random = StdRng::seed_from_u64(seed);
    for (round, (fault, delay)) in (1..).zip(faults(&mut random, rotations.div_ceil(clients))) {
        if soak.rotations >= rotations {
            break;
        }
        soak.round(round, fault, delay).await;
    }
    let enough = async || if load.tally().answered >= requests { Ok(()) } else { Err(load.tally().answered) };
    eventually(Duration::from_secs(requests / 100 + 60), "all requests are answered", enough).await.unwrap();
    load.end();
    tasks.join_all().await;
    let Tally { answered, moved, failed } = load.tally();
    println!("KEYWRIGHT_SEED={seed}: {} rotations, {answered} answers, {moved} asked elsewhere, {} failed", soak.rotations, failed.len());
    assert!(failed.is_empty(), "{failed:#?}");
    operator.keeps_its_secrets().await;
}
