//! An API that asks whether a token is active.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{ControlPlane, Options, eventually, in_time};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::{Credentials, answer, answered};

/// The API's own client.
const API: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: api, namespace: $shop}
spec: {issuer: $issuer, access: []}
";

impl Teams<'_> {
    /// The client `api` of the namespace `$shop`, which `invoices` names.
    pub(crate) async fn api(&self) -> Credentials {
        self.apply(API).await;
        self.change_resource("invoices", json!({"introspection": {"clients": ["api"]}})).await;
        self.operator.credentials(&self.shop, "api").await
    }

    /// What is revoked, of each pod.
    fn lists(&self) -> Api<ConfigMap> {
        Api::namespaced(self.kube.clone(), &self.operator.namespace)
    }

    /// Waits until every replica says so of a token.
    pub(crate) async fn every_replica_says(&self, api: &Credentials, token: &str, is_active: bool) {
        for replica in &self.operator.replicas {
            let url = format!("https://localhost:{}/oauth2/introspect", replica.port);
            let look = async || match answered(asked(api, &url, token)).await {
                Ok(answer) if answer.body["active"] == is_active => Ok(()),
                other => Err(format!("{other:?}")),
            };
            let seen = eventually(SOON, &format!("{}: active is {is_active}", replica.pod), look).await;
            seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()));
        }
    }
}

/// What the endpoint says.
pub(crate) async fn introspected(api: &Credentials, url: &str, token: &str) -> Value {
    answer(asked(api, url, token)).await.body
}

fn asked(api: &Credentials, url: &str, token: &str) -> reqwest::RequestBuilder {
    api.http().post(url).basic_auth(api.get("client-id"), Some(api.get("client-secret"))).form(&[("token", token)])
}

/// How a revocation is answered.
async fn revoked(credentials: &Credentials, url: &str, token: &str) -> u16 {
    let (id, secret) = (credentials.get("client-id"), credentials.get("client-secret"));
    let request = credentials.http().post(url).basic_auth(id, Some(secret)).form(&[("token", token)]);
    request.send().await.unwrap().status().as_u16()
}

/// I02, I03, I05, I07: what the owner of the API names is told, at every replica, and it changes with the client.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_learns_that_a_client_was_disabled_deleted_or_created_anew() {
    let teams = Teams::new().await;
    let worker = teams.worker().await;
    let api = teams.api().await;
    let token = worker.token().await.token().to_owned();
    teams.every_replica_says(&api, &token, true).await;
    let claims = worker.verify(&token, &teams.audience()).await;
    let url = api.get("issuer-uri").to_owned() + "/oauth2/introspect";
    assert_eq!(introspected(&worker, &url, &token).await, json!({"active": false}));
    teams.change_client("worker", json!({"disabled": true})).await;
    teams.every_replica_says(&api, &token, false).await;
    teams.change_client("worker", json!({"disabled": null})).await;
    teams.every_replica_says(&api, &token, true).await;
    let cut = |seconds: i64| jiff::Timestamp::from_second(claims["iat"].as_i64().unwrap() + seconds).unwrap().to_string();
    teams.change_client("worker", json!({"revocation": {"tokensIssuedBefore": cut(1)}})).await;
    teams.every_replica_says(&api, &token, false).await;
    teams.change_client("worker", json!({"revocation": {"tokensIssuedBefore": cut(0)}})).await;
    teams.every_replica_says(&api, &token, true).await;
    teams.clients().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.every_replica_says(&api, &token, false).await;
}

/// R01, R02: with the answer at one replica, and within a second at every other; also when the pod that it was told is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_not_active_anywhere() {
    let teams = Teams::new().await;
    let worker = teams.worker().await;
    let api = teams.api().await;
    let (token, other) = (worker.token().await.token().to_owned(), worker.token().await.token().to_owned());
    for token in [&token, &other] {
        teams.every_replica_says(&api, token, true).await;
    }
    let url = worker.get("issuer-uri").to_owned() + "/oauth2/revoke";
    assert_eq!(revoked(&api, &url, &token).await, 400);
    teams.every_replica_says(&api, &token, true).await;
    let known = async || {
        let token = worker.token().await.token().to_owned();
        teams.every_replica_says(&api, &token, true).await;
        assert_eq!(revoked(&worker, &url, &token).await, 200);
        let begun = keywright::ambient::boot_time();
        teams.every_replica_says(&api, &token, false).await;
        (keywright::ambient::boot_time() - begun, token)
    };
    let token = in_time(std::time::Duration::from_secs(1), "a revocation is known everywhere", known).await.unwrap();
    teams.every_replica_says(&api, &other, true).await;
    assert_eq!(revoked(&worker, &url, &token).await, 200);
    // What is kept of it is a hash and a time, and no pod takes it along.
    let lists = teams.lists().list(&ListParams::default().labels("keywright.dev/report=revoked")).await.unwrap().items;
    assert!(!lists.is_empty() && lists.iter().all(|list| list.metadata.owner_references.is_none()), "{lists:?}");
    assert!(!format!("{lists:?}").contains(worker.verify(&token, &teams.audience()).await["jti"].as_str().unwrap()));
}

/// The list of a pod that is gone, with a token that has expired.
async fn expired_list(lists: &Api<ConfigMap>, release: &str, pod: &str) -> String {
    let name = format!("{release}-revoked-{pod}");
    let labels = json!({"keywright.dev/release": release, "keywright.dev/report": "revoked"});
    let list = json!({"metadata": {"name": name, "labels": labels}, "data": {"revoked": "x 1700000000\n"}});
    lists.create(&PostParams::default(), &serde_json::from_value(list).unwrap()).await.unwrap();
    name
}

/// R01: what a pod revoked outlives it, and when all of that has expired, the garbage collector takes the pod's list; those of other
/// releases are theirs.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_a_pod_that_is_gone_goes_once_all_of_it_has_expired() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let (worker, api) = (teams.worker().await, teams.api().await);
    let token = worker.token().await.token().to_owned();
    teams.every_replica_says(&api, &token, true).await;
    let [first, second] = [0, 1].map(|index| &operator.replicas[index]);
    assert_eq!(revoked(&worker, &format!("https://localhost:{}/oauth2/revoke", second.port), &token).await, 200);
    let lists = teams.lists();
    let of_the_second = format!("{RELEASE}-revoked-{}", second.pod);
    second.process().terminate().unwrap();
    second.process().exit(SOON).await.unwrap();
    let of_another = expired_list(&lists, "another", "gone").await;
    let restarted = async |gone: &str| {
        first.process().terminate().unwrap();
        first.process().exit(SOON).await.unwrap();
        operator.start(first, &operator.kubeconfig);
        first.ready().await;
        let look = async || match lists.get_opt(gone).await.unwrap() {
            None => Ok(()),
            Some(list) => Err(format!("{list:?}")),
        };
        let seen = eventually(SOON, "the list is gone", look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
    };
    restarted(&expired_list(&lists, RELEASE, "gone").await).await;
    let kept = lists.get(&of_the_second).await.unwrap();
    assert!(kept.metadata.owner_references.is_none(), "{kept:?}");
    let url = format!("https://localhost:{}/oauth2/introspect", first.port);
    assert_eq!(introspected(&api, &url, &token).await, json!({"active": false}));
    // Longer than the token lives.
    first.move_clock(3_600_000);
    restarted(&of_the_second).await;
    assert!(lists.get(&of_another).await.unwrap().metadata.owner_references.is_none());
}

/// S18: without a right to delete, the same is done where that is needed to change an owner, as in OpenShift: what stays is empty.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_a_pod_that_is_gone_is_emptied_where_its_owner_cannot_be_changed() {
    let plugin = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned();
    let cluster = ControlPlane::start(Options { api_server_arguments: vec![plugin], ..Options::default() }).await.unwrap();
    let operator = Operator::install(&cluster, Setup::default()).await;
    let lists: Api<ConfigMap> = Api::namespaced(cluster.client().await.unwrap(), &operator.namespace);
    let list = expired_list(&lists, RELEASE, "gone").await;
    operator.start_all().await;
    let look = async || {
        let list = lists.get(&list).await.unwrap();
        if list.data.as_ref().is_some_and(|data| data["revoked"].is_empty()) { Ok(()) } else { Err(format!("{list:?}")) }
    };
    eventually(SOON, "the list is empty", look).await.unwrap();
    assert!(lists.get(&list).await.unwrap().metadata.owner_references.is_none());
    // A client gets its Secret there all the same, and another value: an owner that is named from the beginning is no change.
    let teams = Teams::served_by(&operator).await;
    let former = teams.worker().await;
    teams.order("1").await;
    teams.rotated(&former).await;
}
