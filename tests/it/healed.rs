//! Somebody deletes or edits the managed Secret: it heals within five seconds, and every value that was ever published there stays good
//! through its overlap (F17).

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::{eventually, in_time};
use crate::operator::SOON;
use crate::teams::Teams;
use crate::workload::Credentials;

/// The promise, while all replicas are current.
const HEALED: Duration = Duration::from_secs(5);

fn another_value(former: &Credentials) -> impl Fn(&Secret) -> Result<(), String> {
    let former = former.get("client-secret").to_owned();
    move |secret| match secret.data.as_ref().and_then(|data| data.get("client-secret")) {
        Some(value) if value.0 != former.as_bytes() && value.0.len() == 43 => Ok(()),
        Some(_) => Err("the former or a foreign value".to_owned()),
        None => Err("no value".to_owned()),
    }
}

impl Teams<'_> {
    /// Waits until the worker's Secret is as wanted; how long that takes, and what it holds.
    async fn healed(&self, what: &str, wanted: impl Fn(&Secret) -> Result<(), String>) -> (Duration, Secret) {
        let begun = keywright::ambient::boot_time();
        let secret = self.secret_that("worker", what, SOON, wanted).await;
        (keywright::ambient::boot_time() - begun, secret)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_made_anew_and_its_former_value_stays_good() {
    let deleted = async || {
        let teams = Teams::new().await;
        let former = teams.worker().await;
        teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
        let (took, secret) = teams.healed("has another value", another_value(&former)).await;
        (took, (teams, former, Credentials::of(secret)))
    };
    let (teams, former, healed) = in_time(HEALED, "a deleted Secret is healed", deleted).await.unwrap();
    // At once, at every replica: it was accepted before it was published.
    let http = healed.http();
    for replica in &teams.operator.replicas {
        let url = format!("https://localhost:{}/oauth2/token", replica.port);
        for credentials in [&healed, &former] {
            credentials.token_at(&http, &url, &[]).await.token();
        }
    }
    let client = teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
    let states: Vec<_> = client.status.unwrap().credentials.unwrap().into_iter().map(|known| known.state).collect();
    assert_eq!(states.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"Current".to_owned(), &"Previous".to_owned()]));
    assert_eq!(states.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_somebody_wrote_is_replaced_and_never_accepted() {
    // Of our form, as a restored backup of another client might hold it.
    let foreign = "a-value-of-our-form-that-nobody-registered-".to_owned();
    let edited = async || {
        let teams = Teams::new().await;
        let former = teams.worker().await;
        teams.edit_secret("worker", json!({"stringData": {"client-secret": foreign}})).await;
        let replaced = |secret: &Secret| {
            another_value(&former)(secret)?;
            let value = String::from_utf8(secret.data.as_ref().unwrap()["client-secret"].0.clone()).unwrap();
            if value == foreign { Err("the foreign value".to_owned()) } else { Ok(()) }
        };
        let (took, secret) = teams.healed("has a value of ours", replaced).await;
        (took, (former, Credentials::of(secret)))
    };
    let (former, healed) = in_time(HEALED, "a foreign value is replaced", edited).await.unwrap();
    let http = healed.http();
    let with = |value: &str| {
        let mut credentials = healed.clone();
        credentials.0.insert("client-secret".to_owned(), value.to_owned());
        credentials
    };
    let status = async |credentials: &Credentials| credentials.token_at(&http, healed.get("token-uri"), &[]).await.status;
    let foreign = with(&foreign);
    let refused = async || match status(&foreign).await {
        401 => Ok(()),
        503 => Err("a replica in doubt"),
        other => panic!("a foreign value is answered {other}"),
    };
    eventually(SOON, "a foreign value is refused", refused).await.unwrap();
    assert_eq!([status(&healed).await, status(&former).await], [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_are_put_right_without_a_new_value_and_keys_of_others_are_kept() {
    let teams = Teams::new().await;
    let former = teams.worker().await;
    let patch = json!({"stringData": {"token-uri": "https://evil", "mine": "kept"}, "data": {"issuer-uri": null}});
    let right = |secret: &Secret| {
        let mut seen = Credentials::of(secret.clone());
        let mine = seen.0.remove("mine");
        if seen == former && mine.as_deref() == Some("kept") { Ok(()) } else { Err(format!("{:?}, mine: {mine:?}", seen.0.keys())) }
    };
    let edited = async || {
        teams.edit_secret("worker", patch.clone()).await;
        teams.healed("is as it was", right).await
    };
    let healed = in_time(HEALED, "other keys are put right", edited).await.unwrap();
    teams.operator.client_is(&teams.billing, "worker", "Issued").await;
    assert_eq!(healed.metadata.owner_references.as_ref().map(Vec::len), Some(1));
    // Labels and annotations too.
    let metadata =
        json!({"labels": {"keywright.dev/client": "worker"}, "annotations": {"keywright.dev/fence": null}, "ownerReferences": null});
    let owned = |secret: &Secret| match secret.owner_references() {
        [owner] if owner.kind == "OAuthClient" => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let stripped = async || {
        teams.edit_secret("worker", json!({"metadata": metadata})).await;
        teams.healed("has its owner again", owned).await
    };
    let owned = in_time(HEALED, "the owner is put right", stripped).await.unwrap();
    assert_eq!(owned.data, healed.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_value_that_somebody_restores_is_the_current_one_again() {
    let restored = async || {
        let teams = Teams::new().await;
        let former = teams.worker().await;
        let former_id = teams.secrets().get("worker").await.unwrap().annotations()["keywright.dev/credential"].clone();
        teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
        let between = Credentials::of(teams.healed("has another value", another_value(&former)).await.1);
        teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
        teams.edit_secret("worker", json!({"stringData": {"client-secret": former.get("client-secret")}})).await;
        let named = |secret: &Secret| match secret.annotations().get("keywright.dev/credential") {
            Some(named) if *named == former_id => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let (took, restored) = teams.healed("names the former credential", named).await;
        assert_eq!(Credentials::of(restored), former);
        (took, (teams, former, former_id, between))
    };
    let (teams, former, former_id, between) = in_time(HEALED, "a former value is current again", restored).await.unwrap();
    for credentials in [&former, &between] {
        teams.every_replica_answers(credentials, 200).await;
    }
    let client = teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
    let credentials = client.status.unwrap().credentials.unwrap();
    let current: Vec<_> = credentials.iter().filter(|known| known.state == "Current").map(|known| &known.id).collect();
    assert_eq!((current, credentials.len()), (vec![&former_id], 2));
}

/// As often as the promise says within one overlap.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_deleted_eight_times_leaves_nine_good_values() {
    let teams = Teams::new().await;
    let mut all = vec![teams.worker().await];
    for _ in 0..8 {
        let former = all.last().unwrap();
        teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
        let secret = teams.secret_that("worker", "has another value", SOON, another_value(former)).await;
        all.push(Credentials::of(secret));
        teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
    }
    for credentials in &all {
        teams.every_replica_answers(credentials, 200).await;
    }
}

/// F19: a backup brings back the object without its status, and the Secret with its value.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_restored_without_its_status_keeps_its_value_through_an_overlap() {
    let teams = Teams::new().await;
    let former = teams.worker().await;
    let patch = kube::api::Patch::Merge(json!({"status": null}));
    teams.clients().patch_status("worker", &Default::default(), &patch).await.unwrap();
    let secret = teams.secret_that("worker", "has another value", SOON, another_value(&former)).await;
    for credentials in [&former, &Credentials::of(secret)] {
        teams.every_replica_answers(credentials, 200).await;
    }
    teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
}
