//! Two installations with one `issuer.name`: one of them works on an object, and which one can be changed.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use keywright::api::ANNOTATION_CONTROLLER;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually};
use crate::deleted::gone;
use crate::objects;
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::{Credentials, condition, http};

/// Two installations of that name; nothing runs.
async fn two_of_one_name() -> [Operator<'static>; 2] {
    let cluster = ControlPlane::shared().await.unwrap();
    let name: &'static str = cluster.namespace().await.unwrap().leak();
    let setup = || Setup { name: Some(name), ..Setup::default() };
    [Operator::install(cluster, setup()).await, Operator::install(cluster, setup()).await]
}

fn controller(operator: &Operator<'_>) -> String {
    format!("{}/{RELEASE}", operator.namespace)
}

/// As `kubectl annotate` does it.
async fn hand_over(teams: &Teams<'_>, to: &str) {
    for (namespace, kind, name) in [(&teams.shop, "ProtectedResource", "invoices"), (&teams.billing, "OAuthClient", "worker")] {
        let patch = json!({"metadata": {"annotations": {ANNOTATION_CONTROLLER: to}}});
        objects::merge(&teams.kube, namespace, kind, name, &patch).await.unwrap();
    }
}

/// What the worker has from `next`; what it had before works there too.
async fn works_on(next: &Operator<'_>, teams: &Teams<'_>, former: &Credentials) {
    let client = next.client_is(&teams.billing, "worker", "Overlapping").await;
    assert_eq!(client.status.unwrap().controller, Some(controller(next)));
    let resource = next.resource_is(&teams.shop, "invoices", "Accepted").await;
    assert_eq!(resource.status.unwrap().controller, Some(controller(next)));
    let credentials = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    next.saw([credentials.get("client-secret").to_owned()]);
    assert_eq!(credentials.get("issuer-uri"), next.issuer);
    assert_ne!(credentials.get("client-secret"), former.get("client-secret"));
    credentials.token().await.token();
    former.token_at(&http(&next.authority().await), credentials.get("token-uri"), &[]).await.token();
}

/// Installed anew under another name: the objects say who works on them, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_takes_over_what_it_is_handed() {
    let [former, next] = two_of_one_name().await;
    former.start_all().await;
    let teams = Teams::served_by(&former).await;
    let credentials = teams.worker().await;
    credentials.token().await.token();
    former.first().process().terminate().unwrap();
    former.first().process().exit(SOON).await.unwrap();

    next.start_all().await;
    let client = next.client_is(&teams.billing, "worker", "ControllerConflict").await;
    next.resource_is(&teams.shop, "invoices", "ControllerConflict").await;
    let status = client.status.unwrap();
    let message = condition(status.conditions.as_ref(), "Ready").unwrap().message.clone();
    let advice = format!("set the annotation {ANNOTATION_CONTROLLER}: {}", controller(&next));
    assert!(message.contains(&advice) && message.contains(&controller(&former)), "{message}");
    assert_eq!((status.controller, status.binding.unwrap().name), (Some(controller(&former)), "worker".to_owned()));
    assert_eq!(Credentials::read(&teams.kube, &teams.billing, "worker").await, credentials);

    hand_over(&teams, &controller(&next)).await;
    works_on(&next, &teams, &credentials).await;
}

/// All of the former one has gone with its namespace.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_takes_over_from_one_whose_namespace_is_gone() {
    let [former, next] = two_of_one_name().await;
    former.start_all().await;
    let teams = Teams::served_by(&former).await;
    let credentials = teams.worker().await;
    former.first().process().terminate().unwrap();
    former.first().process().exit(SOON).await.unwrap();
    let namespaces = Api::<Namespace>::all(teams.kube.clone());
    namespaces.delete(&former.namespace, &Default::default()).await.unwrap();
    next.start_all().await;
    gone(&namespaces, &former.namespace).await;
    works_on(&next, &teams, &credentials).await;
}

/// Both run: the second one says it once and stays away; when somebody names it, the first one stays away.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_installations_that_run_one_alone_writes() {
    let [former, next] = two_of_one_name().await;
    let [first, second] = [Proxy::start(&former.kubeconfig).await.unwrap(), Proxy::start(&next.kubeconfig).await.unwrap()];
    former.start(former.first(), first.kubeconfig());
    former.first().ready().await;
    let teams = Teams::served_by(&former).await;
    let credentials = teams.worker().await;

    next.start(next.first(), second.kubeconfig());
    let events: Api<Event> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let about = ListParams::default().fields("regarding.name=worker,reason=ControllerConflict");
    let told = async || match events.list(&about).await {
        Ok(events) if !events.items.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, "the conflict is told", told).await.unwrap();
    former.client_is(&teams.billing, "worker", "Issued").await;
    former.resource_is(&teams.shop, "invoices", "Accepted").await;
    // The second one looks at every change, and says nothing more.
    teams.change_client("worker", json!({"description": "changed"})).await;
    let changed = former.client_is(&teams.billing, "worker", "Issued").await;
    assert_eq!(changed.status.unwrap().controller, Some(controller(&former)));
    let writes = calls().mutating().of("oauthclients/status").of("secrets").in_namespace(&teams.billing);
    assert!(
        (1..=1 + next.terms_over()).contains(&second.count(&writes)),
        "{:?}",
        second.log().iter().filter(|call| writes.includes(call)).collect::<Vec<_>>()
    );
    credentials.token().await.token();

    hand_over(&teams, &controller(&next)).await;
    works_on(&next, &teams, &credentials).await;
    let before = first.count(&writes);
    teams.change_client("worker", json!({"description": "changed again"})).await;
    next.client_is(&teams.billing, "worker", "Overlapping").await;
    assert_eq!(first.count(&writes), before);
}
