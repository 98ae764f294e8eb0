//! A Secret of the wanted name that is not this client's: it is never touched, whatever it looks like (S10).

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use crate::objects;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition};

async fn conflict(teams: &Teams<'_>, client: &str, secret: &Secret) {
    let stored = teams.operator.client_is(&teams.billing, client, "SecretConflict").await;
    let status = stored.status.unwrap();
    let ready = condition(status.conditions.as_ref(), "Ready").unwrap();
    assert!(ready.message.contains(&secret.name_any()), "{}", ready.message);
    for type_ in ["SecretSynced", "Stalled"] {
        assert_eq!(condition(status.conditions.as_ref(), type_).unwrap().reason, "SecretConflict");
    }
    let now = teams.secrets().get(&secret.name_any()).await.unwrap();
    assert_eq!((now.resource_version(), now.data), (secret.resource_version(), secret.data.clone()));
}

async fn made(teams: &Teams<'_>, manifest: &str) -> Secret {
    let applied = objects::apply(&teams.kube, &teams.billing, &teams.filled(manifest)).await.unwrap();
    teams.secrets().get(&applied[0].name_any()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_there_before_is_left_alone_until_it_goes() {
    let teams = Teams::new().await;
    let secret = made(&teams, "{apiVersion: v1, kind: Secret, metadata: {name: worker}, stringData: {client-secret: mine}}").await;
    teams.apply(INVOICES).await;
    teams.apply(WORKER).await;
    conflict(&teams, "worker", &secret).await;
    teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.operator.credentials(&teams.billing, "worker").await.token().await.token();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_names_the_secret_of_another_gets_nothing_of_it() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let secret = teams.secrets().get("worker").await.unwrap();
    teams.apply(&WORKER.replace("name: worker", "name: thief").replace("  access", "  secret: {name: worker}\n  access")).await;
    conflict(&teams, "thief", &secret).await;
    teams.operator.client_is(&teams.billing, "worker", "Issued").await;
    credentials.token().await.token();
}

/// Our labels alone do not make it ours: another type, and another controlling owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_only_looks_like_ours_is_left_alone() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    let labels = "{app.kubernetes.io/managed-by: keywright, keywright.dev/client: $name}";
    let typed = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: typed, labels: {labels}}}, type: kubernetes.io/basic-auth, stringData: {{username: a, password: b}}}}"
    );
    let owner = "{apiVersion: v1, kind: ConfigMap, name: owner, uid: $uid, controller: true}";
    let owned = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: owned, labels: {labels}, ownerReferences: [{owner}]}}}}");
    let config_map = teams.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}").await.remove(0);
    for (name, manifest) in [("typed", typed), ("owned", owned)] {
        let manifest = manifest.replace("$name", name).replace("$uid", &config_map.uid().unwrap());
        let secret = made(&teams, &manifest).await;
        teams.apply(&WORKER.replace("name: worker", &format!("name: {name}"))).await;
        conflict(&teams, name, &secret).await;
    }
}

/// Somebody takes the label off: from then on the Secret is theirs, until they put it back. What it holds stays good.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_taken_from_us_is_left_alone_and_its_value_stays_good() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let taken = teams.edit_secret("worker", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}})).await;
    conflict(&teams, "worker", &taken).await;
    credentials.token().await.token();
    teams.edit_secret("worker", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "keywright"}}})).await;
    assert_eq!(teams.operator.credentials(&teams.billing, "worker").await, credentials);
    assert_eq!(Credentials::read(&teams.kube, &teams.billing, "worker").await, credentials);
}

/// The Secret's owner hands it over: what others have put there stays, and what we would call so is ours from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_names_the_client_for_its_adoption_is_taken_over() {
    let teams = Teams::new().await;
    let foreign = "{apiVersion: v1, kind: Secret, metadata: {name: worker}, stringData: {client-secret: theirs, mine: kept}}";
    let secret = made(&teams, foreign).await;
    teams.apply(INVOICES).await;
    teams.apply(WORKER).await;
    conflict(&teams, "worker", &secret).await;
    for (name, taken) in [("another", false), ("worker", true)] {
        teams.edit_secret("worker", json!({"metadata": {"annotations": {"keywright.dev/adopt": name}}})).await;
        teams.change_client("worker", json!({"description": name})).await;
        teams.operator.client_is(&teams.billing, "worker", if taken { "Issued" } else { "SecretConflict" }).await;
    }
    let adopted = teams.secrets().get("worker").await.unwrap();
    assert_eq!((adopted.uid(), adopted.owner_references().len()), (secret.uid(), 1));
    let credentials = Credentials::of(adopted);
    assert_eq!(credentials.get("mine"), "kept");
    credentials.token().await.token();
    let told = async || if teams.told().await.contains("Normal SecretAdopted") { Ok(()) } else { Err("not told") };
    crate::cluster::eventually(crate::operator::SOON, "an event tells it", told).await.unwrap();
}

/// What the annotation cannot hand over: another type, another controlling owner, another client's.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_belongs_to_somebody_else_cannot_be_adopted() {
    let teams = Teams::new().await;
    teams.worker().await;
    let adopt = "annotations: {keywright.dev/adopt: $name}";
    let config_map = teams.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: owner}}").await.remove(0);
    let owner = format!(
        "ownerReferences: [{{apiVersion: v1, kind: ConfigMap, name: owner, uid: {}, controller: true}}]",
        config_map.uid().unwrap()
    );
    let typed = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: typed, {adopt}}}, type: kubernetes.io/basic-auth, stringData: {{username: a, password: b}}}}"
    );
    let owned = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: owned, {adopt}, {owner}}}}}");
    let fixed = format!("{{apiVersion: v1, kind: Secret, metadata: {{name: fixed, {adopt}}}, immutable: true}}");
    for (name, manifest) in [("typed", typed), ("owned", owned), ("fixed", fixed)] {
        let secret = made(&teams, &manifest.replace("$name", name)).await;
        teams.apply(&WORKER.replace("name: worker", &format!("name: {name}"))).await;
        conflict(&teams, name, &secret).await;
    }
    let secret = teams.edit_secret("worker", json!({"metadata": {"annotations": {"keywright.dev/adopt": "thief"}}})).await;
    teams.apply(&WORKER.replace("name: worker", "name: thief").replace("  access", "  secret: {name: worker}\n  access")).await;
    conflict(&teams, "thief", &secret).await;
}
