//! `watchNamespaces`: an installation that works in some namespaces, by Roles in these alone.

use std::time::Duration;

use keywright::ambient;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::{Api, Client};
use serde_json::json;

use crate::chart::rights::assert_matrix;
use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, Options, eventually};
use crate::objects;
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::condition;

/// Two teams, and an installation that works in their namespaces alone.
struct Place {
    operator: Operator<'static>,
    kube: Client,
    shop: String,
    billing: String,
}

impl Place {
    async fn new(replicas: usize) -> Self {
        let cluster = ControlPlane::shared().await.unwrap();
        let (shop, billing) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
        let values = vec![format!("watchNamespaces=[\"{shop}\",\"{billing}\"]")];
        let operator = Operator::install(cluster, Setup { replicas, values, ..Setup::default() }).await;
        Self { operator, kube: cluster.client().await.unwrap(), shop, billing }
    }

    async fn running(replicas: usize) -> Self {
        let place = Self::new(replicas).await;
        place.operator.start_all().await;
        place
    }

    fn teams(&self) -> Teams<'_> {
        let (shop, billing) = (self.shop.clone(), self.billing.clone());
        Teams { operator: &self.operator, kube: self.kube.clone(), shop, billing }
    }
}

const MATRIX: &str = "
    yes watch oauthclients.keywright.dev -n $billing
    yes list protectedresources.keywright.dev -n $shop
    yes patch oauthclients.keywright.dev --subresource=status -n $billing
    yes create secrets -n $billing
    yes patch secrets -n $billing
    yes create configmaps -n $shop
    yes create events.events.k8s.io -n $billing
    yes create secrets -n $own
    yes get secrets/keywright-keys -n $own
    yes patch secrets/keywright-tls -n $own
    yes list pods -n $own
    yes get pods/keywright-0 -n $own
    yes watch configmaps -n $own
    yes create configmaps -n $own
    yes patch configmaps/keywright-use-keywright-0 -n $own
    yes create events.events.k8s.io -n $own
    no list oauthclients.keywright.dev -A
    no list oauthclients.keywright.dev -n default
    no list secrets -A
    no get secrets -n default
    no get secrets/other -n $own
    no list secrets -n $own
    no delete secrets -n $billing
    no list namespaces
    no get namespaces/default
    no create configmaps -n default
    no list oauthclients.keywright.dev -n $own
";

/// S18: `kubectl auth can-i`: nothing in other namespaces, and of the release's Secrets its own alone.
#[tokio::test(flavor = "multi_thread")]
async fn its_rights_end_at_the_namespaces_that_are_named() {
    let place = Place::new(1).await;
    let matrix = MATRIX.replace("$shop", &place.shop).replace("$billing", &place.billing);
    assert_matrix(&place.operator.kubeconfig, &place.operator.namespace, &matrix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_these_namespaces_get_tokens_and_those_of_others_are_left_alone() {
    let place = Place::running(2).await;
    let teams = place.teams();
    let elsewhere = place.operator.cluster.namespace().await.unwrap();
    objects::apply(&place.kube, &elsewhere, &teams.filled(WORKER).replace(&place.billing, &elsewhere)).await.unwrap();
    let worker = teams.worker().await;
    let answer = worker.token().await;
    worker.verify(answer.token(), &teams.audience()).await;
    // The worker came later: whoever saw it would have seen the other one.
    let clients: Api<keywright::api::OAuthClient> = Api::namespaced(place.kube.clone(), &elsewhere);
    assert!(clients.get("worker").await.unwrap().status.is_none());
    for log in place.operator.replicas.iter().map(|replica| replica.log()) {
        assert!(!log.contains("forbidden"), "{log}");
    }
}

/// It may not read the labels that a selector would need, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_by_selector_is_refused_with_the_way_out() {
    let place = Place::running(1).await;
    let teams = place.teams();
    teams.apply(INVOICES).await;
    let grants =
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.billing}}, "scopes": ["invoices.read"]}]);
    teams.change_resource("invoices", json!({"grants": grants})).await;
    let resource = place.operator.resource_is(&place.shop, "invoices", "PolicyViolation").await;
    let ready = condition(resource.status.as_ref().unwrap().conditions.as_ref(), "Ready").unwrap();
    assert_eq!(
        ready.message,
        "spec.grants[0].namespaceSelector: this installation works in some namespaces alone (watchNamespaces) and may not read their \
         labels: name the namespaces instead"
    );
}

/// Each watch has reached a version of its own. One of a namespace where nothing happens stays behind for up to a minute: no
/// rotation elsewhere waits for it. One that is late where something happens is waited for, and no other counts in its place.
#[tokio::test(flavor = "multi_thread")]
async fn f11_the_gate_asks_for_the_watch_of_the_namespace_that_was_written_to() {
    let place = Place::new(2).await;
    let (first, second) = (&place.operator.replicas[0], &place.operator.replicas[1]);
    place.operator.start(first, &place.operator.kubeconfig);
    first.ready().await; // It leads.
    let proxy = Proxy::start(&place.operator.kubeconfig).await.unwrap();
    place.operator.start(second, proxy.kubeconfig());
    second.ready().await;
    let teams = place.teams();
    let worker = teams.worker().await;
    teams.apply(&WORKER.replace("$billing}", "$shop}")).await;
    place.operator.client_is(&place.shop, "worker", "AccessDenied").await;

    let watches = calls().watch().of("oauthclients").in_namespace(&place.billing);
    let open = async || if proxy.open_watches(&watches) > 0 { Ok(()) } else { Err("no watch") };
    eventually(SOON, "the watch of the second replica", open).await.unwrap();
    let late = proxy.when(watches).silence();
    let secrets = |namespace: &str| Api::<k8s_openapi::api::core::v1::Secret>::namespaced(place.kube.clone(), namespace);
    for namespace in [&place.billing, &place.shop] {
        secrets(namespace).delete("worker", &DeleteParams::default()).await.unwrap();
    }
    let there = async |namespace: &str| secrets(namespace).get_opt("worker").await.unwrap().ok_or("no Secret");
    eventually(SOON, "the other namespace's Secret is healed meanwhile", async || there(&place.shop).await).await.unwrap();
    let pending = place.operator.client_is(&place.billing, "worker", "Pending").await;
    assert!(there(&place.billing).await.is_err(), "published before the second replica has seen it: {pending:?}");
    proxy.remove(late);
    let begun = ambient::boot_time();
    eventually(SOON, "the late one is healed", async || there(&place.billing).await).await.unwrap();
    assert!(ambient::boot_time() - begun < Duration::from_secs(30), "no bookmark of the idle namespace was waited for");
    teams.every_replica_answers(&worker, 200).await;
    let healed = crate::workload::Credentials::read(&place.kube, &place.billing, "worker").await;
    teams.every_replica_answers(&healed, 200).await;
}

/// F16: the Role goes with its namespace. What was there is forgotten; the other namespaces are served on, and a replica that starts
/// afterwards joins, once the refusal has lasted for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn f16_a_namespace_that_is_deleted_keeps_no_replica_from_joining() {
    let place = Place::running(1).await;
    let worker = place.teams().worker().await;
    let other = Teams { billing: place.shop.clone(), ..place.teams() };
    other.apply(WORKER).await;
    other.change_resource("invoices", json!({"grants": [{"namespaces": [place.shop, place.billing], "scopes": ["invoices.read"]}]})).await;
    let stays = place.operator.credentials(&place.shop, "worker").await;
    place.operator.cluster.kubectl(&["delete", "namespace", &place.billing, "--wait=false"]).await.unwrap().succeeded().unwrap();
    // Where the right to read it went first, and the watch ended before the clients were deleted, a refusal has to last for a minute.
    other.every_replica_answers_within(Duration::from_secs(60) + SOON, &worker, 401).await;
    other.every_replica_answers(&stays, 200).await;
    let gone = async || match Api::<k8s_openapi::api::core::v1::Namespace>::all(place.kube.clone()).get_opt(&place.billing).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, "the namespace is gone", gone).await.unwrap();

    let first = place.operator.first();
    first.process().terminate().unwrap();
    first.process().exit(SOON).await.unwrap();
    place.operator.start(first, &place.operator.kubeconfig);
    let joined = async || match reqwest::get(format!("http://127.0.0.1:{}/readyz", first.health_port)).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(Duration::from_secs(60) + SOON, "the new replica is ready", joined).await.unwrap();
    other.every_replica_answers(&worker, 401).await;
    other.every_replica_answers(&stays, 200).await;
}

/// F16: without the right to read the phases of namespaces, the API server's refusal says it: a try for each event, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn f16_nothing_is_tried_again_in_a_namespace_that_is_being_deleted() {
    // Nobody empties the namespace: it stays as it is, terminating.
    let controllers = Options::default().controllers.into_iter().filter(|name| !name.starts_with("namespace-")).collect();
    let cluster = ControlPlane::start(Options { controllers, ..Options::default() }).await.unwrap();
    let (shop, billing) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
    let values = vec![format!("watchNamespaces=[\"{shop}\",\"{billing}\"]")];
    let operator = Operator::install(&cluster, Setup { values, ..Setup::default() }).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    let teams = Teams { operator: &operator, kube: cluster.client().await.unwrap(), shop, billing: billing.clone() };
    let worker = teams.worker().await;
    cluster.kubectl(&["delete", "namespace", &billing, "--wait=false"]).await.unwrap().succeeded().unwrap();
    proxy.clear_log();
    teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
    let creates = calls().create().of("secrets").in_namespace(&billing);
    let refused = async || if proxy.count(&creates) > 0 { Ok(()) } else { Err("no create") };
    eventually(SOON, "it has tried to heal it", refused).await.unwrap();
    // What fails elsewhere is tried again, three times and later each time: here nothing is, meanwhile.
    let elsewhere = calls().create().of("secrets").in_namespace(&teams.shop);
    proxy.when(elsewhere.clone()).answer(503);
    let other = WORKER.replace("name: worker, namespace: $billing", "name: other, namespace: $shop");
    teams.apply(&other.replace("[{resource: $shop/invoices, scopes: [invoices.read]}]", "[]")).await;
    let tried_again = async || match proxy.count(&elsewhere) {
        tries if tries >= 4 => Ok(()),
        tries => Err(format!("{tries} tries")),
    };
    eventually(SOON, "it has tried again elsewhere", tried_again).await.unwrap();
    worker.token().await.token();
    // One for the deleted Secret, one for its own write to the status.
    let tries = proxy.count(&creates);
    assert!(tries <= 2, "{tries} tries");
    assert!(teams.clients().get("worker").await.unwrap().uid().is_some());
}
