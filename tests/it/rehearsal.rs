//! A rehearsal: a rotation that cuts nobody, and says when all have moved.

use std::time::Duration;

use keywright::api::OAuthClient;
use serde_json::json;

use crate::cluster::{ControlPlane, eventually};
use crate::objects;
use crate::operator::{Operator, SOON, Setup};
use crate::rotated::credentials_of;
use crate::teams::Teams;
use crate::workload::condition;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Why the condition `RotationReady` is what it is.
fn shown(client: &OAuthClient) -> Option<String> {
    let status = client.status.as_ref()?;
    Some(condition(status.conditions.as_ref(), "RotationReady")?.reason.clone())
}

impl Teams<'_> {
    async fn rehearsal_shows(&self, reason: &str) -> OAuthClient {
        self.worker_that(&format!("says {reason}"), |client| shown(client).as_deref() == Some(reason)).await
    }
}

async fn operator() -> Operator<'static> {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, ..Setup::default() }).await;
    operator.start_all().await;
    operator
}

/// With rules that cut at the end of the overlap: a rehearsal does not, however late somebody moves, and whoever leads then.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_cuts_nobody_and_says_when_all_have_moved() {
    let operator = operator().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m, retire: AfterOverlap}").await;
    let told = teams.told_by(&["rotate", "worker", "--rehearse", "24h", "--wait"]).await;
    let second = teams.rotated(&first).await;
    assert!(told.contains("(in 23h) at least") && told.contains("condition=RotationReady oac/worker"), "{told}");
    let client = teams.rehearsal_shows("NotYetUsed").await;
    let kept = credentials_of(&client).into_iter().find(|known| known.state == "Previous").unwrap();
    assert_eq!((&kept.accepted_until, kept.rehearsed_until.is_some()), (&None, true));
    operator.advance(11 * MINUTE).await;
    for credentials in [&first, &second] {
        teams.every_replica_answers(credentials, 200).await;
    }
    operator.advance(2 * MINUTE).await;
    teams.rehearsal_shows("PreviousInUse").await;
    // Past its end, under another leader: who has not moved is not cut.
    operator.advance(24 * HOUR).await;
    let leader = &operator.replicas[operator.leader().await];
    leader.process().kill().unwrap();
    operator.start(leader, &operator.kubeconfig);
    leader.ready().await;
    teams.change_client("worker", json!({"description": "looked at by the next leader"})).await;
    operator.client_is(&teams.billing, "worker", "Overlapping").await;
    teams.every_replica_answers(&first, 200).await;
    operator.advance(2 * MINUTE).await;
    teams.every_replica_answers(&first, 200).await;
    teams.every_replica_answers(&second, 200).await;
    let client = teams.rehearsal_shows("PreviousInUse").await;
    assert_eq!(credentials_of(&client).len(), 2);
    // All have moved. What was not used for a day may be used once a day.
    let day = async || {
        for _ in 0..3 {
            operator.advance(9 * HOUR).await;
            teams.every_replica_answers(&second, 200).await;
        }
        operator.advance(2 * MINUTE).await;
    };
    let terms = operator.terms_over();
    day().await;
    let client = teams.one_is_left(terms, day).await;
    assert_eq!(shown(&client).as_deref(), Some("AllMoved"), "what was shown stays");
    teams.every_replica_answers(&first, 401).await;
    teams.every_replica_answers(&second, 200).await;
    // The next rotation is an ordinary one.
    teams.told_by(&["rotate", "worker", "--wait"]).await;
    let third = teams.rotated(&second).await;
    teams.worker_that("says nothing of a rehearsal", |client| shown(client).is_none()).await;
    operator.advance(11 * MINUTE).await;
    teams.every_replica_answers(&second, 401).await;
    teams.every_replica_answers(&third, 200).await;
}

/// What cannot be understood is no order: not of a rehearsal, and not of a rotation that would cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_cannot_be_read_rotates_nothing() {
    let teams = Teams::new().await;
    let first = teams.worker().await;
    let annotations =
        |rehearse: &str| json!({"metadata": {"annotations": {"keywright.dev/rotate": "1", "keywright.dev/rehearse": rehearse}}});
    objects::merge(&teams.kube, &teams.billing, "OAuthClient", "worker", &annotations("a day")).await.unwrap();
    let client = teams.operator.client_is(&teams.billing, "worker", "InvalidSpec").await;
    let message = condition(client.status.as_ref().unwrap().conditions.as_ref(), "Ready").unwrap().message.clone();
    assert!(message.contains("keywright.dev/rehearse"), "{message}");
    assert_eq!(credentials_of(&client).len(), 1);
    teams.every_replica_answers(&first, 200).await;
    objects::merge(&teams.kube, &teams.billing, "OAuthClient", "worker", &annotations("1d")).await.unwrap();
    teams.rotated(&first).await;
    let kept = async || match teams.rehearsal_shows("NotYetUsed").await {
        client if credentials_of(&client).iter().any(|known| known.rehearsed_until.is_some()) => Ok(()),
        client => Err(format!("{client:?}")),
    };
    eventually(SOON, "a rehearsal is on", kept).await.unwrap();
}
