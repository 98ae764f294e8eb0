//! A client's secret changes: on a schedule, by an annotation, in an emergency, with its name. Nobody who reads the Secret in time is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use keywright::api::OAuthClient;
use keywright::api::client::StoredCredential;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually};
use crate::objects;
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition};

const MINUTE: Duration = Duration::from_secs(60);

impl Teams<'_> {
    /// A new value of the annotation that rotates.
    pub(crate) async fn order(&self, value: &str) {
        self.order_of("worker", value).await;
    }

    /// The same for any client.
    pub(crate) async fn order_of(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {"keywright.dev/rotate": value}}});
        objects::merge(&self.kube, &self.billing, "OAuthClient", name, &patch).await.unwrap();
    }

    /// The worker, with a rotation, and what it gets.
    pub(crate) async fn worker_with(&self, rotation: &str) -> Credentials {
        self.apply(INVOICES).await;
        self.apply(&WORKER.replace("  access", &format!("  rotation: {rotation}\n  access"))).await;
        self.operator.credentials(&self.billing, "worker").await
    }

    /// Waits until the worker's Secret has another value.
    pub(crate) async fn rotated(&self, former: &Credentials) -> Credentials {
        let value = former.get("client-secret").as_bytes().to_vec();
        let another = |secret: &Secret| match secret.data.as_ref().and_then(|data| data.get("client-secret")) {
            Some(found) if found.0 != value => Ok(()),
            _ => Err("the former value".to_owned()),
        };
        let rotated = Credentials::of(self.secret_that("worker", "has another value", SOON, another).await);
        self.operator.saw([rotated.get("client-secret").to_owned()]);
        rotated
    }

    /// The same, where the schedule says so. A leader that begins only then spreads what is overdue over an hour, which then passes, too: where
    /// another term has begun since `terms` were over.
    async fn rotated_when_due(&self, former: &Credentials, terms: usize) -> Credentials {
        let rotated = async || match Credentials::read(&self.kube, &self.billing, "worker").await {
            found if found != *former => Ok(()),
            _ => Err("the former value"),
        };
        if let Err(error) = eventually(SOON / 2, "it rotates", rotated).await {
            assert!(self.operator.terms_over() > terms, "{error}\n{}", self.operator.logs());
            self.operator.advance(60 * MINUTE).await;
        }
        self.rotated(former).await
    }

    /// Waits until the status of the worker is as wanted.
    pub(crate) async fn worker_that(&self, what: &str, wanted: impl Fn(&OAuthClient) -> bool) -> OAuthClient {
        let clients = self.clients();
        let look = async || match clients.get("worker").await {
            Ok(client) if wanted(&client) => Ok(client),
            other => Err(format!("{other:?}")),
        };
        let seen = eventually(SOON, &format!("the worker {what}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()))
    }

    /// What was told about the worker, as `<type> <reason>`.
    pub(crate) async fn told(&self) -> BTreeSet<String> {
        let events: Api<Event> = Api::namespaced(self.kube.clone(), &self.billing);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        events.into_iter().map(|event| format!("{} {}", event.type_.unwrap_or_default(), event.reason.unwrap_or_default())).collect()
    }
}

pub(crate) fn credentials_of(client: &OAuthClient) -> Vec<StoredCredential> {
    client.status.as_ref().and_then(|status| status.credentials.clone()).unwrap_or_default()
}

fn states(client: &OAuthClient) -> Vec<String> {
    let mut states: Vec<_> = credentials_of(client).into_iter().map(|known| known.state).collect();
    states.sort();
    states
}

fn time(text: Option<&String>) -> Timestamp {
    text.unwrap().parse().unwrap()
}

/// Two replicas whose clocks this test moves.
async fn operator() -> Operator<'static> {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, ..Setup::default() }).await;
    operator.start_all().await;
    operator
}

/// C15.
#[tokio::test(flavor = "multi_thread")]
async fn each_new_value_of_the_annotation_rotates_once() {
    let teams = Teams::new().await;
    let mut all = vec![teams.worker().await];
    for value in ["1", "two"] {
        teams.order(value).await;
        all.push(teams.rotated(all.last().unwrap()).await);
        for credentials in &all {
            teams.every_replica_answers(credentials, 200).await;
        }
        let handled = |client: &OAuthClient| client.status.as_ref().unwrap().last_handled_rotate.as_deref() == Some(value);
        teams.worker_that("echoes the annotation", handled).await;
        // The same value, seen again, does nothing.
        teams.change_client("worker", json!({"description": value})).await;
        let client = teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
        assert_eq!(credentials_of(&client).len(), all.len());
        assert_eq!(&Credentials::read(&teams.kube, &teams.billing, "worker").await, all.last().unwrap());
    }
    let wanted = ["Normal Registered", "Normal RotationCompleted", "Normal RotationStarted", "Normal SecretCreated"].map(str::to_owned);
    let told = async || match teams.told().await {
        told if wanted.iter().all(|wanted| told.contains(wanted)) => Ok(()),
        told => Err(format!("{told:?}")),
    };
    eventually(SOON, "events tell of the rotations", told).await.unwrap();
}

/// An order that is there before the client has anything is answered by its first credential.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_on_a_new_client_is_no_second_credential() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    teams.apply(&WORKER.replace("namespace: $billing}", "namespace: $billing, annotations: {keywright.dev/rotate: now}}")).await;
    teams.operator.credentials(&teams.billing, "worker").await;
    let client = teams.clients().get("worker").await.unwrap();
    assert_eq!(states(&client), ["Current"]);
    assert_eq!(client.status.unwrap().last_handled_rotate.as_deref(), Some("now"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_kept_and_a_secret_that_is_over_is_refused() {
    let operator = operator().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{every: 40m, overlap: 10m, retire: AfterOverlap}").await;
    let status = teams.clients().get("worker").await.unwrap().status.unwrap();
    let (last, next) = (time(status.last_rotation.as_ref()), time(status.next_rotation.as_ref()));
    let wait = next.duration_since(last);
    assert!((SignedDuration::from_mins(40)..SignedDuration::from_mins(80)).contains(&wait), "{wait:?}");
    // F13: not a minute before, by whatever way the clock got there.
    let wait = Duration::try_from(wait).unwrap();
    operator.advance(wait - 2 * MINUTE).await;
    teams.change_client("worker", json!({"description": "looked at"})).await;
    assert_eq!(operator.credentials(&teams.billing, "worker").await, first);
    let terms = operator.terms_over();
    operator.advance(2 * MINUTE).await;
    let second = teams.rotated_when_due(&first, terms).await;
    let client = operator.client_is(&teams.billing, "worker", "Overlapping").await;
    assert_eq!(states(&client), ["Current", "Previous"]);
    operator.advance(8 * MINUTE).await;
    for credentials in [&first, &second] {
        teams.every_replica_answers(credentials, 200).await;
    }
    operator.advance(3 * MINUTE).await;
    teams.every_replica_answers(&first, 401).await;
    teams.every_replica_answers(&second, 200).await;
    let client = operator.client_is(&teams.billing, "worker", "Issued").await;
    assert_eq!(states(&client), ["Current"]);
    assert!(time(client.status.unwrap().next_rotation.as_ref()) > next);
    operator.keeps_its_secrets().await;
}

/// rotation.md: turning the policy on, or shortening it, rotates nothing by itself; nor does a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_counts_from_when_it_was_first_seen() {
    let operator = operator().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{policy: Manual}").await;
    let status = teams.clients().get("worker").await.unwrap().status.unwrap();
    assert_eq!((status.schedule, status.next_rotation), (None, None));
    operator.advance(600 * MINUTE).await;
    for rotation in [json!({"policy": "Scheduled", "every": "5h"}), json!({"every": "3h"})] {
        teams.change_client("worker", json!({"rotation": rotation})).await;
        assert_eq!(operator.credentials(&teams.billing, "worker").await, first);
        let next = teams.clients().get("worker").await.unwrap().status.unwrap().next_rotation;
        assert!(time(next.as_ref()) > keywright::ambient::now() + SignedDuration::from_hours(12), "{next:?}");
        operator.advance(120 * MINUTE).await;
    }
    for replica in &operator.replicas {
        replica.process().kill().unwrap();
    }
    operator.start_all().await;
    teams.change_client("worker", json!({"description": "looked at"})).await;
    assert_eq!(operator.credentials(&teams.billing, "worker").await, first);
    let terms = operator.terms_over();
    operator.advance(60 * MINUTE).await;
    operator.advance(60 * MINUTE).await;
    teams.rotated_when_due(&first, terms).await;
}

/// A leaked secret is refused at once, everywhere, and so is every other that is as old.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_before_a_leak_was_closed_is_refused_at_once() {
    let teams = Teams::new().await;
    let first = teams.worker().await;
    teams.order("1").await;
    let second = teams.rotated(&first).await;
    teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
    let now = keywright::ambient::now().to_string();
    teams.change_client("worker", json!({"revocation": {"secretsIssuedBefore": now}})).await;
    let third = teams.rotated(&second).await;
    for (credentials, status) in [(&first, 401), (&second, 401), (&third, 200)] {
        teams.every_replica_answers(credentials, status).await;
    }
    let client = teams.operator.client_is(&teams.billing, "worker", "Issued").await;
    assert_eq!(states(&client), ["Current"]);
    // It stays written there, and does nothing more.
    teams.change_client("worker", json!({"description": "looked at"})).await;
    assert_eq!(teams.operator.credentials(&teams.billing, "worker").await, third);
}

/// S23: a time to come is no schedule; meanwhile nothing is taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_in_the_future_is_an_invalid_spec_and_costs_no_token() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    teams.change_client("worker", json!({"revocation": {"secretsIssuedBefore": "2126-01-01T00:00:00Z"}})).await;
    let client = teams.operator.client_is(&teams.billing, "worker", "InvalidSpec").await;
    let status = client.status.unwrap();
    let ready = condition(status.conditions.as_ref(), "Ready").unwrap();
    assert!(ready.message.contains("lies in the future"), "{}", ready.message);
    teams.every_replica_answers(&credentials, 200).await;
    teams.change_client("worker", json!({"revocation": null})).await;
    assert_eq!(teams.operator.credentials(&teams.billing, "worker").await, credentials);
}

/// The former Secret's value stays good through the overlap; then our keys leave it, and those of others stay.
#[tokio::test(flavor = "multi_thread")]
async fn another_name_gets_another_credential_and_the_former_secret_is_emptied_in_the_end() {
    let operator = operator().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m, retire: AfterOverlap}").await;
    teams.edit_secret("worker", json!({"stringData": {"mine": "kept"}})).await;
    teams.change_client("worker", json!({"secret": {"name": "another"}})).await;
    let secret = teams.secret_that("another", "is there", SOON, |_| Ok(())).await;
    let second = Credentials::of(secret);
    assert_ne!(second.get("client-secret"), first.get("client-secret"));
    for credentials in [&first, &second] {
        teams.every_replica_answers(credentials, 200).await;
    }
    let client = operator.client_is(&teams.billing, "worker", "Overlapping").await;
    assert_eq!(client.status.unwrap().binding.unwrap().name, "another");
    assert_eq!(Credentials::read(&teams.kube, &teams.billing, "worker").await.get("client-secret"), first.get("client-secret"));
    operator.advance(11 * MINUTE).await;
    let emptied = |secret: &Secret| match secret.data.as_ref().map(|data| data.keys().cloned().collect::<Vec<_>>()) {
        Some(keys) if keys == ["mine"] && secret.owner_references().is_empty() && secret.labels().is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    teams.secret_that("worker", "holds nothing of ours", SOON, emptied).await;
    teams.every_replica_answers(&first, 401).await;
    teams.every_replica_answers(&second, 200).await;
}

/// `Retain` never has an ownerReference, `Delete` always has; a switch of the policy adds or removes it, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_the_deletion_policy_changes_the_owner_alone() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    for (policy, owners) in [("Retain", 0), ("Delete", 1)] {
        teams.change_client("worker", json!({"secret": {"deletionPolicy": policy}})).await;
        let owned = |secret: &Secret| match secret.owner_references().len() {
            count if count == owners => Ok(()),
            count => Err(format!("{count} owners")),
        };
        let secret = teams.secret_that("worker", "has the owners that it should", SOON, owned).await;
        assert_eq!(Credentials::of(secret), credentials);
    }
}

/// One data write of the Secret, and at most five API writes without Events and Leases, from the order to the end of the overlap.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_one_write_of_the_secret_and_at_most_five_in_all() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m, retire: AfterOverlap}").await;
    for (round, retire) in ["AfterOverlap", "AfterOverlap", "WhenUnused"].into_iter().enumerate() {
        teams.change_client("worker", json!({"rotation": {"retire": retire}})).await;
        let former = operator.credentials(&teams.billing, "worker").await;
        let terms = operator.terms_over();
        proxy.clear_log();
        teams.order(&round.to_string()).await;
        teams.every_replica_answers(&teams.rotated(&former).await, 200).await;
        teams.worker_that("is in its overlap", |client| states(client) == ["Current", "Previous"]).await;
        operator.advance(11 * MINUTE).await;
        if retire == "WhenUnused" {
            let used =
                |client: &OAuthClient| credentials_of(client).iter().any(|known| known.state == "Current" && known.last_used_at.is_some());
            teams.worker_that("has used its new secret", used).await;
            operator.advance(61 * MINUTE).await;
        }
        let client = teams.one_is_left(terms, async || operator.advance(65 * MINUTE).await).await;
        assert_eq!(states(&client), ["Current"]);
        operator.client_is(&teams.billing, "worker", "Issued").await;
        let secrets = proxy.count(&calls().mutating().of("secrets").in_namespace(&teams.billing));
        let status = proxy.count(&calls().mutating().of("oauthclients/status").in_namespace(&teams.billing));
        let all = proxy.count(&calls().mutating().in_namespace(&teams.billing));
        let events = proxy.count(&calls().mutating().of("events").in_namespace(&teams.billing));
        assert_eq!((secrets, all - events), (1, secrets + status));
        assert!(secrets + status <= 5, "{status} writes of the status");
    }
    teams.every_replica_answers(&first, 401).await;
}
