//! Clients without a secret: one that signs, and one that is a ServiceAccount. Their Secret says everything but a secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use keywright::ambient;
use keywright::domain::resource::Algorithm;
use keywright::keys::SigningKey;
use keywright::keys::jwks::Jwks;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::operator::SOON;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Answer, Credentials, answered};

/// A client's own key.
pub(crate) struct Key(pub(crate) SigningKey);

impl Key {
    pub(crate) fn new() -> Self {
        Self(SigningKey::generate(Algorithm::Es256).unwrap())
    }

    pub(crate) fn authentication(&self) -> Value {
        let jwks: Value = serde_json::from_slice(&Jwks::publish([&self.0]).document).unwrap();
        json!({"privateKeyJwt": {"jwks": jwks}})
    }

    pub(crate) fn pem(&self) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*self.0.to_pkcs8().unwrap()))
    }

    /// RFC 7523, by a library that is not ours.
    fn assertion(&self, credentials: &Credentials) -> String {
        let pem = self.pem();
        let now = ambient::now().as_second();
        let (client, issuer) = (credentials.get("client-id"), credentials.get("issuer-uri"));
        let claims = json!({"iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + 60, "jti": ambient::draw_jti()});
        encode(&Header::new(jsonwebtoken::Algorithm::ES256), &claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap()).unwrap()
    }

    async fn token(&self, credentials: &Credentials) -> Answer {
        token(credentials, credentials.get("token-uri"), &self.assertion(credentials)).await
    }
}

/// Asks for a token with an assertion.
pub(crate) async fn token(credentials: &Credentials, url: &str, assertion: &str) -> Answer {
    token_if_answered(credentials, url, assertion).await.unwrap()
}

/// The same for who asks again and again.
pub(crate) async fn token_if_answered(credentials: &Credentials, url: &str, assertion: &str) -> reqwest::Result<Answer> {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ];
    answered(credentials.http().post(url).form(&form)).await
}

/// A ServiceAccount of the workload team.
pub(crate) async fn account(teams: &Teams<'_>, name: &str) -> Api<ServiceAccount> {
    account_in(&teams.kube, &teams.billing, name).await
}

/// A ServiceAccount of any namespace.
pub(crate) async fn account_in(kube: &Client, namespace: &str, name: &str) -> Api<ServiceAccount> {
    let accounts: Api<ServiceAccount> = Api::namespaced(kube.clone(), namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    accounts
}

/// A token as the kubelet projects it.
pub(crate) async fn projected(accounts: &Api<ServiceAccount>, name: &str, audience: &str) -> String {
    let spec =
        TokenRequestSpec { audiences: Some(vec![audience.to_owned()]), expiration_seconds: Some(3_600), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap().status.unwrap().token.unwrap()
}

fn signing(worker: &str, key: &Key) -> String {
    format!("{worker}  authentication: {}\n", key.authentication())
}

/// J01.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_signs_gets_a_secret_without_a_secret_and_tokens() {
    let teams = Teams::new().await;
    let key = Key::new();
    teams.apply(INVOICES).await;
    teams.apply(&signing(WORKER, &key)).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    assert_eq!(credentials.get("client-authentication-method"), "private_key_jwt");
    assert!(!credentials.0.contains_key("client-secret"), "{credentials:?}");
    let answer = key.token(&credentials).await;
    let claims = credentials.verify(answer.token(), &teams.audience()).await;
    assert_eq!(claims["client_id"], credentials.get("client-id"));
    assert_eq!(Key::new().token(&credentials).await.status, 401);

    let status = teams.clients().get("worker").await.unwrap().status.unwrap();
    assert_eq!(status.credentials.unwrap_or_default().len(), 0);
    let secret = teams.secrets().get("worker").await.unwrap();
    assert!(!secret.metadata.annotations.unwrap().contains_key("keywright.dev/credential"));
    // Healed like any other.
    teams.edit_secret("worker", json!({"stringData": {"token-uri": "https://elsewhere.example"}})).await;
    let healed = |secret: &k8s_openapi::api::core::v1::Secret| {
        let now = Credentials::of(secret.clone());
        if now == credentials { Ok(()) } else { Err(format!("{now:?}")) }
    };
    teams.secret_that("worker", "says what it said", crate::operator::SOON, healed).await;
}

/// J17: from a secret to a key by way of both, and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_moves_from_its_secret_to_its_key_and_back() {
    let teams = Teams::new().await;
    let key = Key::new();
    let former = teams.worker().await;
    let mut both = key.authentication();
    both["clientSecret"] = json!({});
    teams.change_client("worker", json!({"authentication": both})).await;
    let unchanged = teams.operator.credentials(&teams.billing, "worker").await;
    assert_eq!(unchanged, former);
    teams.every_replica_answers(&former, 200).await;

    teams.change_client("worker", json!({"authentication": {"clientSecret": null}})).await;
    let without = teams.operator.credentials(&teams.billing, "worker").await;
    assert!(!without.0.contains_key("client-secret"), "{without:?}");
    teams.every_replica_answers(&former, 401).await;
    assert_eq!(key.token(&without).await.status, 200);

    teams.change_client("worker", json!({"authentication": null})).await;
    let again = teams.operator.credentials(&teams.billing, "worker").await;
    assert_ne!(again.get("client-secret"), former.get("client-secret"));
    teams.every_replica_answers(&again, 200).await;
    teams.every_replica_answers(&former, 401).await;
    assert_eq!(key.token(&again).await.status, 401);
}

/// K01, K02, K03: a token that the API server made, at every replica, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_gets_tokens_without_any_secret() {
    let teams = Teams::new().await;
    let accounts = account(&teams, "worker").await;
    account(&teams, "other").await;
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{serviceAccounts: [{{name: worker}}]}}\n")).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    assert!(!credentials.0.contains_key("client-secret"), "{credentials:?}");
    let issuer = credentials.get("issuer-uri");
    let assertion = projected(&accounts, "worker", issuer).await;
    for replica in &teams.operator.replicas {
        let url = format!("https://localhost:{}/oauth2/token", replica.port);
        for _ in 0..3 {
            let answer = token(&credentials, &url, &assertion).await;
            let claims = credentials.verify(answer.token(), &teams.audience()).await;
            assert_eq!(claims["client_id"], credentials.get("client-id"));
        }
    }
    let url = credentials.get("token-uri");
    for wrong in [projected(&accounts, "other", issuer).await, projected(&accounts, "worker", "https://kubernetes.default.svc").await] {
        assert_eq!(token(&credentials, url, &wrong).await.status, 401);
    }
}

/// K06, K07, K10: the token of a ServiceAccount that is gone. Offline it is good until it expires, as the docs say.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_deleted_service_account_is_refused_at_once_where_the_client_asks_for_reviews() {
    let teams = Teams::new().await;
    let accounts = account(&teams, "worker").await;
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{serviceAccounts: [{{name: worker, tokenReview: true}}]}}\n")).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    let (issuer, url) = (credentials.get("issuer-uri"), credentials.get("token-uri"));
    let assertion = projected(&accounts, "worker", issuer).await;
    assert_eq!(token(&credentials, url, &assertion).await.status, 200);
    accounts.delete("worker", &DeleteParams::default()).await.unwrap();
    let refused = async || match token_if_answered(&credentials, url, &assertion).await {
        Ok(answer) if answer.status == 401 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    // The API server itself takes up to ten seconds to forget a token, which is good for an hour.
    eventually(SOON, "the token is refused", refused).await.unwrap();
    let uid = account(&teams, "worker").await.get("worker").await.unwrap().metadata.uid.unwrap();
    assert_eq!(token(&credentials, url, &assertion).await.status, 401);
    let anew = projected(&accounts, "worker", issuer).await;
    let accounts = |uid: &str| json!({"authentication": {"serviceAccounts": [{"name": "worker", "uid": uid}]}});
    for (uid, status) in [(uid.as_str(), 200), ("another", 401)] {
        teams.change_client("worker", accounts(uid)).await;
        let answers = async || match token_if_answered(&credentials, url, &anew).await {
            Ok(answer) if answer.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually(SOON, "the pinned one alone is taken", answers).await.unwrap();
    }
}
