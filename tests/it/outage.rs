//! A control plane of its own, because its API server is counted and stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keywright::ambient::boot_time;
use kube::Client;
use tokio::task::JoinSet;

use crate::cluster::{ControlPlane, Options, eventually, in_time};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Answer, Credentials, answered};

/// The promise about the time after an outage.
const CAUGHT_UP: Duration = Duration::from_secs(5);

/// Seconds: longer than a doubt begins late, and than any Lease.
const LONG: f64 = 5.0;

/// The greatest of a replica, in seconds.
fn snapshot_age(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with("keywright_snapshot_age_seconds{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).fold(0.0, f64::max)
}

/// Requests that write, by resource, as the API server itself counts them: all but Leases, which beat like a heart.
async fn writes(kube: &Client) -> BTreeMap<String, u64> {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = kube.request_text(request).await.unwrap();
    let label = |line: &str, name: &str| {
        line.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    };
    let mut counted = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let (verb, resource) = (label(line, "verb"), label(line, "resource"));
        let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        let ours = ["oauthclients", "protectedresources", "secrets", "configmaps", "events"].contains(&resource.as_str());
        if ours && ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb.as_str()) {
            *counted.entry(format!("{verb} {resource}")).or_insert(0) += count;
        }
    }
    counted
}

/// A client that was never denied its API, and all was said of it that has to be.
async fn served<'cluster>(operator: &'cluster Operator<'cluster>) -> Teams<'cluster> {
    let teams = Teams::served_by(operator).await;
    teams.apply(INVOICES).await;
    operator.resource_is(&teams.shop, "invoices", "Accepted").await;
    teams.worker().await;
    let told = async || match teams.told().await {
        told if ["Normal Registered", "Normal SecretCreated"].iter().all(|event| told.contains(*event)) => Ok(()),
        told => Err(format!("{told:?}")),
    };
    eventually(SOON, "events tell of it", told).await.unwrap();
    teams
}

/// No hot loop: objects that are settled cost no write, neither while the operator runs on nor when it starts again.
async fn settled_objects_cost_no_write(operator: &Operator<'_>, teams: &Teams<'_>) {
    served(operator).await;
    let settled = writes(&teams.kube).await;
    assert!(settled["POST secrets"] >= 2 && settled["PATCH oauthclients"] >= 2, "{settled:?}");
    for replica in &operator.replicas {
        replica.process().terminate().unwrap();
    }
    for replica in &operator.replicas {
        replica.process().exit(SOON).await.unwrap();
    }
    operator.start_all().await;
    // The next one costs what one costs, and nothing else was written.
    let before = writes(&teams.kube).await;
    served(operator).await;
    let after = writes(&teams.kube).await;
    served(operator).await;
    let one_more = writes(&teams.kube).await;
    let cost = |from: &BTreeMap<String, u64>, to: &BTreeMap<String, u64>| -> BTreeMap<String, u64> {
        to.iter().map(|(name, count)| (name.clone(), count - from.get(name).copied().unwrap_or(0))).collect()
    };
    assert_eq!(cost(&settled, &before).values().sum::<u64>(), 0, "a start over settled objects wrote {:?}", cost(&settled, &before));
    assert_eq!(cost(&before, &after), cost(&after, &one_more));
}

/// Requests that go on and on, and what was answered to them.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<(Duration, Answer)>>,
}

impl Load {
    /// Of this many callers, each of which asks again as soon as it was answered; wrong credentials after a pause.
    fn begin(callers: Vec<(Credentials, String)>, http: fn(&Credentials) -> reqwest::Client, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (credentials, url) in callers {
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let http = http(&credentials);
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = boot_time();
                    answers.push((begun, credentials.token_at(&http, &url, &[]).await));
                    tokio::time::sleep(pause).await;
                }
                answers
            });
        }
        Self { stop, tasks }
    }

    async fn end(self) -> Vec<(Duration, Answer)> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// F8: tokens go on without an API server; what may have changed meanwhile is answered 503, never 401. How long it takes to catch up, with
/// a new client of this name.
async fn tokens_go_on_while_the_api_server_is_away(teams: &Teams<'_>, credentials: &Credentials, after: &str) -> Duration {
    let operator = teams.operator;
    let mut wrong = credentials.clone();
    wrong.0.insert("client-secret".to_owned(), "a-value-of-our-form-that-nobody-registered-".to_owned());
    let mut unknown = credentials.clone();
    unknown.0.insert("client-id".to_owned(), format!("{}.nobody", teams.billing));
    let urls = operator.replicas.iter().map(|replica| format!("https://localhost:{}/oauth2/token", replica.port));
    let urls: Vec<_> = urls.collect();
    let callers = urls.iter().map(|url| (credentials.clone(), url.clone())).collect();
    let good = Load::begin(callers, Credentials::http_kept_alive, Duration::from_millis(10));

    operator.cluster.stop_api_server().unwrap();
    let http = credentials.http();
    let mut doubted = Vec::new();
    for url in &urls {
        let doubt = async || match answered(wrong.request(&http, url, &[])).await {
            Ok(answer) if answer.status == 503 => Ok(answer),
            other => Err(format!("{other:?}")),
        };
        let answer = eventually(Duration::from_secs(20), "a wrong secret is answered 503", doubt).await.unwrap();
        assert_eq!(
            (answer.retry_after.as_deref(), answer.body["error"].as_str()),
            (Some("1"), Some("temporarily_unavailable")),
            "{answer:?}"
        );
        doubted.push((wrong.clone(), url.clone()));
        doubted.push((unknown.clone(), url.clone()));
    }
    let bad = Load::begin(doubted, Credentials::http, Duration::from_millis(100));
    for replica in &operator.replicas {
        let long = async || match snapshot_age(&replica.metrics().await) {
            age if age > LONG => Ok(()),
            age => Err(format!("{age} s")),
        };
        eventually(SOON, "what it knows is old", long).await.unwrap();
    }
    let returning = boot_time();
    operator.cluster.restart_api_server().await.unwrap();
    let returned = boot_time();
    teams.apply(&WORKER.replace("name: worker", &format!("name: {after}"))).await;
    operator.client_is(&teams.billing, after, "AccessDenied").await;
    teams.every_replica_answers(&wrong, 401).await;
    let took = boot_time() - returned;
    if took > CAUGHT_UP {
        println!("caught up only {took:?} after the API server was ready\n{}", operator.logs());
    }

    let refused: Vec<_> = bad.end().await.into_iter().filter(|(begun, answer)| *begun < returning && answer.status != 503).collect();
    assert!(refused.is_empty(), "{} answers like {:?}", refused.len(), refused.first());
    let good = good.end().await;
    let failed: Vec<_> = good.iter().filter(|(_, answer)| answer.status != 200).collect();
    assert!(failed.is_empty() && good.len() > 100, "{} of {} failed like {:?}", failed.len(), good.len(), failed.first());
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn settled_objects_cost_nothing_and_an_outage_costs_no_token() {
    let cluster = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let operator = Operator::install(&cluster, Setup { replicas: 2, ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    settled_objects_cost_no_write(&operator, &teams).await;
    let mut outages = 0;
    let outage = async || {
        outages += 1;
        (tokens_go_on_while_the_api_server_is_away(&teams, &credentials, &format!("after-{outages}")).await, ())
    };
    in_time(CAUGHT_UP, "all is caught up with after an outage", outage).await.unwrap();
    operator.keeps_its_secrets().await;
}
