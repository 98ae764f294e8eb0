//! Somebody deletes a client, an API, or the whole namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::DeleteParams;

use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

pub(crate) async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let look = async || match api.get_opt(name).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, &format!("{name} is gone"), look).await.unwrap();
}

/// C11: as a client that never was. The garbage collector takes the Secret: we have no right to.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_client_is_refused_and_its_secret_goes_with_it() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    teams.clients().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.every_replica_answers(&credentials, 401).await;
    let mut unknown = credentials.clone();
    unknown.0.insert("client-id".to_owned(), format!("{}.never-was", teams.billing));
    assert_eq!(credentials.token().await.body, unknown.token().await.body);
    gone(&teams.secrets(), "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_secret_stays_and_is_refused() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    teams.apply(&WORKER.replace("  access", "  secret: {deletionPolicy: Retain}\n  access")).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    teams.clients().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.every_replica_answers(&credentials, 401).await;
    assert_eq!(Credentials::read(&teams.kube, &teams.billing, "worker").await, credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_used_again_is_another_client() {
    let teams = Teams::new().await;
    let former = teams.worker().await;
    teams.clients().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.apply(WORKER).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    assert_ne!(credentials.get("client-secret"), former.get("client-secret"));
    teams.every_replica_answers(&credentials, 200).await;
    teams.every_replica_answers(&former, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_api_grants_nothing_and_its_config_map_goes_with_it() {
    let teams = Teams::new().await;
    teams.apply(&INVOICES.replace("grants:", "verification: {configMap: invoices-oauth}\n  grants:")).await;
    teams.apply(WORKER).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    teams.operator.resource_is(&teams.shop, "invoices", "Accepted").await;
    let resources: Api<keywright::api::ProtectedResource> = Api::namespaced(teams.kube.clone(), &teams.shop);
    resources.delete("invoices", &DeleteParams::default()).await.unwrap();
    teams.operator.client_is(&teams.billing, "worker", "AccessDenied").await;
    teams.every_replica_answers(&credentials, 400).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(teams.kube.clone(), &teams.shop);
    gone(&config_maps, "invoices-oauth").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let namespaces: Api<Namespace> = Api::all(teams.kube.clone());
    namespaces.delete(&teams.billing, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &teams.billing).await;
    teams.every_replica_answers(&credentials, 401).await;
}

/// F16.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_while_the_operator_is_down_leaves_nothing_stuck() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::running(cluster).await;
    let teams = Teams::served_by(&operator).await;
    let stays = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    let others = stays.worker().await;
    operator.first().process().kill().unwrap();
    let namespaces: Api<Namespace> = Api::all(teams.kube.clone());
    namespaces.delete(&teams.billing, &DeleteParams::default()).await.unwrap();
    gone(&namespaces, &teams.billing).await;

    operator.start_all().await;
    teams.every_replica_answers(&credentials, 401).await;
    teams.every_replica_answers(&others, 200).await;
    // It works on: what was waiting behind the namespace that is gone is served.
    let next = Teams::served_by(&operator).await;
    next.worker().await.token().await.token();
    operator.first().process().terminate().unwrap();
    let status = operator.first().process().exit(Duration::from_secs(30)).await.unwrap();
    assert!(status.success(), "{status}\n{}", operator.logs());
}
