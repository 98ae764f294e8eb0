//! Clients that are workloads of SPIFFE: K12, with a bundle that is published as SPIRE does it.

use std::collections::BTreeMap;

use jsonwebtoken::{EncodingKey, Header, encode};
use k8s_openapi::api::core::v1::ConfigMap;
use keywright::ambient;
use keywright::keys::jwks::Jwks;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::clients::mounted;
use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON, Setup};
use crate::secretless::Key;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::token_command::{assert_failed, command, ended};
use crate::workload::{Answer, Credentials, answer};

const TRUST_DOMAIN: &str = r#"policy.trustDomains=[{"name":"example.org","bundle":{"configMap":"spire-bundle","key":"bundle.spiffe"}}]"#;

/// A JWT-SVID, by a library that is not ours.
fn svid(key: &Key, subject: &str, audience: &str) -> String {
    let header = Header { kid: Some(key.0.kid().to_owned()), ..Header::new(jsonwebtoken::Algorithm::ES256) };
    let now = ambient::now().as_second();
    let claims = json!({"sub": subject, "aud": [audience], "exp": now + 300, "iat": now});
    encode(&header, &claims, &EncodingKey::from_ec_pem(key.pem().as_bytes()).unwrap()).unwrap()
}

async fn token(credentials: &Credentials, svid: &str) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
        ("client_assertion", svid),
    ];
    answer(credentials.http().post(credentials.get("token-uri")).form(&form)).await
}

fn bundle(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            let jwks: Value = serde_json::from_slice(&Jwks::publish([&key.0]).document).unwrap();
            let mut jwk = jwks["keys"][0].clone();
            jwk["use"] = json!("jwt-svid");
            jwk
        })
        .collect();
    json!({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300}).to_string()
}

async fn publish(config_maps: &Api<ConfigMap>, bundle: &str) {
    let data = BTreeMap::from([("bundle.spiffe".to_owned(), bundle.to_owned())]);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "spire-bundle"}, "data": data});
    config_maps.patch("spire-bundle", &PatchParams::apply("spire"), &Patch::Apply(object)).await.unwrap();
}

async fn answers(operator: &Operator<'_>, credentials: &Credentials, svid: &str, status: u16) {
    let look = async || match token(credentials, svid).await {
        answer if answer.status == status => Ok(()),
        answer => Err(format!("{answer:?}")),
    };
    let seen = eventually(SOON, &format!("the JWT-SVID is answered {status}"), look).await;
    seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
}

/// K12: before there is a bundle, with it, with the next key of the trust domain, and after somebody deleted it; without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_gets_tokens_and_its_bundle_is_followed() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Setup { values: vec![TRUST_DOMAIN.to_owned()], ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let subject = format!("spiffe://example.org/ns/{}/sa/worker", teams.billing);
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{spiffe: {{ids: ['{subject}']}}}}\n")).await;
    let credentials = operator.credentials(&teams.billing, "worker").await;
    assert_eq!(credentials.get("client-authentication-method"), "spiffe_jwt");
    assert!(!credentials.0.contains_key("client-secret"), "{credentials:?}");

    let issuer = credentials.get("issuer-uri");
    let (first, second) = (Key::new(), Key::new());
    let [by_first, by_second] = [&first, &second].map(|key| svid(key, &subject, issuer));
    answers(&operator, &credentials, &by_first, 503).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(teams.kube.clone(), &operator.namespace);
    publish(&config_maps, &bundle(&[&first])).await;
    answers(&operator, &credentials, &by_first, 200).await;
    let claims = credentials.verify(token(&credentials, &by_first).await.token(), &teams.audience()).await;
    assert_eq!(claims["client_id"], credentials.get("client-id"));
    for wrong in [&by_second, &svid(&first, &subject.replace("worker", "other"), issuer), &svid(&first, &subject, "https://other.example")]
    {
        assert_eq!(token(&credentials, wrong).await.status, 401);
    }

    // From the file that a helper of SPIFFE keeps, as `keywright token` does it.
    let folder = mounted(&credentials);
    let (directory, path) = (folder.path().display().to_string(), folder.path().join("svid").display().to_string());
    std::fs::write(&path, format!("{by_first}\n")).unwrap();
    let printed = ended(command(&["--directory", &directory, "--jwt-svid", &path])).await.succeeded().unwrap();
    credentials.verify(printed.trim_end(), &teams.audience()).await;
    std::fs::write(&path, &by_second).unwrap();
    assert_failed(&ended(command(&["--directory", &directory, "--jwt-svid", &path])).await, 4, &["invalid_client"], "eyJ");
    assert_failed(&ended(command(&["--directory", &directory])).await, 3, &["spiffe_jwt", "--jwt-svid"], "eyJ");

    publish(&config_maps, &bundle(&[&second])).await;
    answers(&operator, &credentials, &by_second, 200).await;
    assert_eq!(token(&credentials, &by_first).await.status, 401);
    // What is no bundle, or gone, changes nothing.
    publish(&config_maps, "{}").await;
    config_maps.delete("spire-bundle", &DeleteParams::default()).await.unwrap();
    answers(&operator, &credentials, &by_second, 200).await;
    publish(&config_maps, &bundle(&[&first, &second])).await;
    answers(&operator, &credentials, &by_first, 200).await;
    assert_eq!(token(&credentials, &by_second).await.status, 200);
}
