//! A client that signs: its Secret says everything but a secret, and its key gets it tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use keywright::ambient;
use keywright::domain::resource::Algorithm;
use keywright::keys::SigningKey;
use keywright::keys::jwks::Jwks;
use serde_json::{Value, json};

use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Answer, Credentials, answer};

/// A client's own key.
struct Key(SigningKey);

impl Key {
    fn new() -> Self {
        Self(SigningKey::generate(Algorithm::Es256).unwrap())
    }

    fn authentication(&self) -> Value {
        let jwks: Value = serde_json::from_slice(&Jwks::publish([&self.0]).document).unwrap();
        json!({"privateKeyJwt": {"jwks": jwks}})
    }

    /// RFC 7523, by a library that is not ours.
    fn assertion(&self, credentials: &Credentials) -> String {
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*self.0.to_pkcs8().unwrap()));
        let now = ambient::now().as_second();
        let (client, issuer) = (credentials.get("client-id"), credentials.get("issuer-uri"));
        let claims = json!({"iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + 60, "jti": ambient::draw_jti()});
        encode(&Header::new(jsonwebtoken::Algorithm::ES256), &claims, &EncodingKey::from_ec_pem(pem.as_bytes()).unwrap()).unwrap()
    }

    async fn token(&self, credentials: &Credentials) -> Answer {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &self.assertion(credentials)),
        ];
        answer(credentials.http().post(credentials.get("token-uri")).form(&form)).await
    }
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
