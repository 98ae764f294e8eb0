//! Who still uses a replaced secret: what the replicas report of it, and that nothing ends before they have.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use keywright::api::OAuthClient;
use keywright::replica::use_report::UseReport;
use kube::Api;
use serde_json::json;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::rotated::credentials_of;
use crate::teams::Teams;

const MINUTE: Duration = Duration::from_secs(60);

impl Teams<'_> {
    /// Waits for a report of that replica that says all up to now.
    async fn reported(&self, replica: usize) -> UseReport {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.kube.clone(), &self.operator.namespace);
        let pod = &self.operator.replicas[replica].pod;
        let name = format!("{RELEASE}-use-{pod}");
        let recent = self.operator.replicas[replica].now() - SignedDuration::from_mins(1);
        let look = async || {
            let found = config_maps.get_opt(&name).await.map_err(|error| error.to_string())?.ok_or("no report")?;
            let (_, report) = UseReport::read(RELEASE, &found).ok_or("cannot be read")?;
            if report.until >= recent { Ok(report) } else { Err(format!("{report:?}")) }
        };
        eventually(SOON * 2, &format!("{pod} reports"), look).await.unwrap()
    }

    /// Has the leader look at the worker, and waits until it has.
    async fn looked_at(&self, description: &str, reason: &str) -> OAuthClient {
        self.change_client("worker", json!({"description": description})).await;
        self.operator.client_is(&self.billing, "worker", reason).await
    }

    /// Waits until the worker has one credential. A leader that begins believes no report of what was before: where another term has begun since
    /// `terms` were over (also by a clock that was moved while the Lease was being renewed), as much time has to pass again.
    pub(crate) async fn one_is_left(&self, mut terms: usize, again: impl AsyncFn()) -> OAuthClient {
        let clients = self.clients();
        loop {
            let look = async || match clients.get("worker").await {
                Ok(client) if credentials_of(&client).len() == 1 => Ok(client),
                other => Err(format!("{other:?}")),
            };
            match eventually(SOON, "the worker has one credential", look).await {
                Ok(client) => return client,
                Err(_) if self.operator.terms_over() > terms => {}
                Err(error) => panic!("{error}\n{}", self.operator.logs()),
            }
            terms = self.operator.terms_over();
            again().await;
        }
    }

    async fn is_in_its_overlap(&self) {
        let replaced = |client: &OAuthClient| credentials_of(client).iter().any(|known| known.state == "Previous");
        self.worker_that("is in its overlap", replaced).await;
    }
}

fn last_used(client: &OAuthClient, state: &str) -> Option<String> {
    credentials_of(client).into_iter().find(|known| known.state == state)?.last_used_at
}

/// `retire: WhenUnused`, the default: whoever goes on using the old secret is not cut, but named; an hour after the last use it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_secret_in_use_is_not_cut_but_named_and_goes_when_it_is_not_used_any_more() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m}").await;
    teams.every_replica_answers(&first, 200).await;
    teams.order("1").await;
    let second = teams.rotated(&first).await;
    teams.is_in_its_overlap().await;
    teams.every_replica_answers(&second, 200).await;
    let terms = operator.terms_over();
    operator.advance(2 * MINUTE).await;
    teams.worker_that("has used its new secret", |client| last_used(client, "Current").is_some()).await;
    operator.advance(10 * MINUTE).await;
    teams.every_replica_answers(&first, 200).await;
    operator.advance(2 * MINUTE).await;
    let late = |client: &OAuthClient| {
        let known = credentials_of(client).into_iter().find(|known| known.state == "Previous").unwrap();
        known.last_used_at >= known.retire_after && known.accepted_until.is_none()
    };
    teams.worker_that("uses its former secret after the overlap", late).await;
    let told = async || match teams.told().await {
        told if told.contains("Warning PreviousSecretStillInUse") => Ok(()),
        told => Err(format!("{told:?}")),
    };
    eventually(SOON, "a warning tells of the use", told).await.unwrap();

    operator.advance(50 * MINUTE).await;
    teams.reported(0).await;
    let client = teams.looked_at("fifty minutes later", "Overlapping").await;
    assert_eq!(credentials_of(&client).len(), 2);
    operator.advance(15 * MINUTE).await;
    teams.one_is_left(terms, async || operator.advance(65 * MINUTE).await).await;
    teams.every_replica_answers(&first, 401).await;
    teams.every_replica_answers(&second, 200).await;
}

/// rotation.md: a missing report ends no overlap.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_report_keeps_the_old_secret_accepted() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, ..Setup::default() }).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), &operator.kubeconfig);
    operator.first().ready().await;
    let silence = proxy.when(calls().mutating().of("configmaps")).answer(403);
    operator.start(&operator.replicas[1], proxy.kubeconfig());
    operator.replicas[1].ready().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m}").await;
    teams.order("1").await;
    let second = teams.rotated(&first).await;
    teams.every_replica_answers(&second, 200).await;
    teams.is_in_its_overlap().await;
    let terms = operator.terms_over();
    operator.advance(180 * MINUTE).await;
    let report = teams.reported(0).await;
    let last = report.uses.values().map(|seen| seen.last).max().unwrap();
    assert!(report.until.duration_since(last).as_hours() >= 2, "{report:?}");
    let client = teams.looked_at("hours later", "Overlapping").await;
    assert_eq!(credentials_of(&client).len(), 2);
    proxy.remove(silence);
    operator.advance(2 * MINUTE).await;
    teams.one_is_left(terms, async || operator.advance(65 * MINUTE).await).await;
    teams.every_replica_answers(&first, 401).await;
}

/// rotation.md: at most one write a minute, and of the status one for the first use of the new secret.
#[tokio::test(flavor = "multi_thread")]
async fn uses_cost_a_write_a_minute_however_many_there_are() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10h}").await;
    teams.order("1").await;
    let second = teams.rotated(&first).await;
    teams.is_in_its_overlap().await;
    teams.reported(0).await;
    proxy.clear_log();
    let begun = operator.first().now();
    for _ in 0..12 {
        operator.advance(MINUTE / 2).await;
        for credentials in [&first, &second] {
            teams.every_replica_answers(credentials, 200).await;
        }
    }
    teams.worker_that("has used its new secret", |client| last_used(client, "Current").is_some()).await;
    let reports = proxy.count(&calls().mutating().of("configmaps"));
    let status = proxy.count(&calls().mutating().of("oauthclients/status"));
    // What the test itself takes passes as well.
    let minutes = usize::try_from(operator.first().now().duration_since(begun).as_mins()).unwrap();
    assert!((3..=minutes + 1).contains(&reports), "{reports} reports in {minutes} minutes");
    assert_eq!(status, 1);
    assert_eq!(proxy.count(&calls().mutating().of("secrets").in_namespace(&teams.billing)), 0);
}
