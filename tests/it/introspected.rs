//! An API that asks whether a token is active.

use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::operator::SOON;
use crate::teams::Teams;
use crate::workload::{Credentials, answer};

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

    /// Waits until every replica says so of a token.
    pub(crate) async fn every_replica_says(&self, api: &Credentials, token: &str, is_active: bool) {
        for replica in &self.operator.replicas {
            let url = format!("https://localhost:{}/oauth2/introspect", replica.port);
            let look = async || match introspected(api, &url, token).await {
                said if said["active"] == is_active => Ok(()),
                said => Err(said.to_string()),
            };
            let seen = eventually(SOON, &format!("{}: active is {is_active}", replica.pod), look).await;
            seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()));
        }
    }
}

/// What the endpoint says.
async fn introspected(api: &Credentials, url: &str, token: &str) -> Value {
    let request = api.http().post(url).basic_auth(api.get("client-id"), Some(api.get("client-secret"))).form(&[("token", token)]);
    answer(request).await.body
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
    teams.clients().delete("worker", &kube::api::DeleteParams::default()).await.unwrap();
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
    let revoke = async |credentials: &Credentials, url: &str| {
        let (id, secret) = (credentials.get("client-id"), credentials.get("client-secret"));
        let request = credentials.http().post(url).basic_auth(id, Some(secret)).form(&[("token", &token)]);
        request.send().await.unwrap().status().as_u16()
    };
    let url = worker.get("issuer-uri").to_owned() + "/oauth2/revoke";
    assert_eq!(revoke(&api, &url).await, 400);
    teams.every_replica_says(&api, &token, true).await;
    assert_eq!(revoke(&worker, &url).await, 200);
    let begun = keywright::ambient::boot_time();
    teams.every_replica_says(&api, &token, false).await;
    let took = keywright::ambient::boot_time() - begun;
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    teams.every_replica_says(&api, &other, true).await;
    assert_eq!(revoke(&worker, &url).await, 200);
    // What is kept of it is a hash and a time, and no pod takes it along.
    let lists: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(teams.kube.clone(), &teams.operator.namespace);
    let lists = lists.list(&kube::api::ListParams::default().labels("keywright.dev/report=revoked")).await.unwrap().items;
    assert!(!lists.is_empty() && lists.iter().all(|list| list.metadata.owner_references.is_none()), "{lists:?}");
    assert!(!format!("{lists:?}").contains(worker.verify(&token, &teams.audience()).await["jti"].as_str().unwrap()));
}
