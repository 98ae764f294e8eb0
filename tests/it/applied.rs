//! Somebody applies an OAuthClient: what they find.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::objects::documents;
use crate::operator::SOON;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition, http};

/// As the documentation has it, to the letter: six lines.
const SIX_LINES: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: $billing}
spec:
  access:
  - {resource: $shop/invoices, scopes: [invoices.read]}
";

/// G02, G06, A01, A02, A03, A04, A08: every replica serves, and a library that is not ours verifies.
#[tokio::test(flavor = "multi_thread")]
async fn six_lines_become_a_secret_that_gets_tokens_which_verify_by_the_jwks_url() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    teams.apply(SIX_LINES).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    teams.every_replica_answers(&credentials, 200).await;
    let http = credentials.http();
    for replica in &teams.operator.replicas {
        let url = format!("https://localhost:{}/oauth2/token", replica.port);
        let answer = credentials.token_at(&http, &url, &[]).await;
        assert_eq!((&answer.body["token_type"], &answer.body["scope"]), (&json!("Bearer"), &json!("invoices.read")));
        let claims = credentials.verify(answer.token(), &teams.audience()).await;
        let id = format!("{}.worker", teams.billing);
        let expected = [("sub", json!(id)), ("client_id", json!(id)), ("scope", json!("invoices.read")), ("aud", json!(teams.audience()))];
        for (name, value) in expected {
            assert_eq!(claims[name], value, "{name} of {claims}");
        }
        assert_eq!(claims["keywright.dev"], json!({"namespace": teams.billing, "client": "worker"}));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
        assert_eq!(answer.body["expires_in"], json!(900));
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_is_what_the_documentation_says() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    let issuer = teams.operator.issuer.as_str();
    let (token, jwks) = (format!("{issuer}/oauth2/token"), format!("{issuer}/oauth2/jwks"));
    let expected = [
        ("type", "oauth2"),
        ("provider", "keywright"),
        ("client-id", &format!("{}.worker", teams.billing)),
        ("scope", "invoices.read"),
        ("issuer-uri", issuer),
        ("token-uri", &token),
        ("jwk-set-uri", &jwks),
        ("client-authentication-method", "client_secret_basic"),
        ("authorization-grant-type", "client_credentials"),
        ("ca.crt", &teams.operator.authority().await),
        ("client-secret", credentials.get("client-secret")),
    ];
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(credentials, Credentials(expected.into_iter().collect()));
    // C18: 32 random bytes in an alphabet that no encoding of clients changes.
    let value = credentials.get("client-secret");
    assert!(value.len() == 43 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));

    let client = teams.clients().get("worker").await.unwrap();
    let secret = teams.secrets().get("worker").await.unwrap();
    let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((Some(&owner.uid), owner.controller), (client.metadata.uid.as_ref(), Some(true)));
    assert_eq!((secret.type_.as_deref(), secret.immutable), (Some("Opaque"), None));
    let labels = secret.metadata.labels.unwrap();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "keywright");
    assert_eq!(labels["keywright.dev/client"], "worker");
    let registered = &client.status.unwrap().credentials.unwrap()[0];
    assert_eq!(secret.metadata.annotations.unwrap()["keywright.dev/credential"], registered.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_events_and_status_say_how_the_client_is() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    teams.apply(WORKER).await;
    let wait = ["wait", "oac/worker", "--for=condition=Ready", "--timeout=60s", "-n", &teams.billing];
    teams.operator.cluster.kubectl(&wait).await.unwrap().succeeded().unwrap();
    let client = teams.operator.client_is(&teams.billing, "worker", "Issued").await;
    let generation = client.metadata.generation;
    let status = client.status.unwrap();
    assert_eq!(status.observed_generation, generation);
    assert_eq!(status.client_id, Some(format!("{}.worker", teams.billing)));
    assert_eq!(status.controller, Some(format!("{}/keywright", teams.operator.namespace)));
    assert_eq!(status.binding.unwrap().name, "worker");
    let conditions = status.conditions.unwrap();
    // kstatus: present only while they hold.
    let told: Vec<_> = conditions.iter().map(|known| (known.type_.as_str(), known.status.as_str())).collect();
    assert_eq!(told, [("Ready", "True"), ("Authorized", "True"), ("SecretSynced", "True")]);
    assert!(conditions.iter().all(|known| known.observed_generation == generation));

    let events: Api<Event> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let told = async || {
        let about = ListParams::default().fields("regarding.name=worker");
        let events = events.list(&about).await.map_err(|error| error.to_string())?;
        let reasons: BTreeSet<_> = events.items.iter().filter_map(|event| event.reason.clone()).collect();
        let expected = ["Registered", "SecretCreated"].map(str::to_owned);
        if expected.iter().all(|reason| reasons.contains(reason)) { Ok(()) } else { Err(format!("{reasons:?}")) }
    };
    eventually(SOON, "the events are there", told).await.unwrap();
}

/// Identity is not authorisation: the Secret is there, and the message holds the lines that the owner has to add.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_named_with_the_lines_that_would_grant_it() {
    let teams = Teams::new().await;
    teams.apply(&INVOICES.replace("grants:", "grants: []\n  #")).await;
    teams.apply(WORKER).await;
    teams.apply(&WORKER.replace("name: worker", "name: other").replace("/invoices", "/no-such-api")).await;
    let client = teams.operator.client_is(&teams.billing, "worker", "AccessDenied").await;
    let other = teams.operator.client_is(&teams.billing, "other", "AccessDenied").await;
    let conditions = client.status.as_ref().unwrap().conditions.as_ref();
    assert_eq!(condition(conditions, "Authorized").unwrap().status, "False");
    assert_eq!(condition(conditions, "SecretSynced").unwrap().status, "True");
    let message = |client: &keywright::api::OAuthClient| {
        let conditions = client.status.as_ref().unwrap().conditions.as_ref();
        condition(conditions, "Ready").unwrap().message.clone()
    };
    // What does not exist reads the same.
    assert_eq!(message(&client), message(&other).replace("no-such-api", "invoices").replace("other", "worker"));

    let credentials = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    let refused = credentials.token().await;
    assert_eq!((refused.status, &refused.body["error"]), (400, &json!("invalid_scope")), "{refused:?}");

    // The owner does what the message says.
    let message = message(&client);
    let (_, line) = message.split_once("- {").unwrap_or_else(|| panic!("no line in {message:?}"));
    let grants: Value = serde_saphyr::from_str(&format!("- {{{line}")).unwrap();
    teams.change_resource("invoices", json!({"grants": grants})).await;
    let same = teams.operator.credentials(&teams.billing, "worker").await;
    assert_eq!(same, credentials);
    teams.every_replica_answers(&same, 200).await;
    let answer = same.token().await;
    same.verify(answer.token(), &teams.audience()).await;

    // And takes it back: what is asked for from then on is refused.
    teams.change_resource("invoices", json!({"grants": []})).await;
    teams.operator.client_is(&teams.billing, "worker", "AccessDenied").await;
    teams.every_replica_answers(&same, 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_for_environments_has_the_names_that_the_client_wants() {
    let teams = Teams::new().await;
    teams.apply(INVOICES).await;
    let secret = "
  secret:
    name: worker-env
    format: Env
    keys: {CLIENT_SECRET: OAUTH_SECRET}
    metadata: {labels: {team: billing}, annotations: {example.com/note: for people}}
    deletionPolicy: Retain
";
    teams.apply(&format!("{WORKER}{secret}")).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    let keys: Vec<_> = credentials.0.keys().map(String::as_str).collect();
    assert_eq!(keys, ["CA_CERT", "CLIENT_ID", "ISSUER_URL", "JWKS_URL", "OAUTH_SECRET", "SCOPES", "TOKEN_URL"]);
    assert_eq!(credentials.get("SCOPES"), "invoices.read");
    let request = http(credentials.get("CA_CERT")).post(credentials.get("TOKEN_URL"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", credentials.get("CLIENT_ID")),
        ("client_secret", credentials.get("OAUTH_SECRET")),
    ];
    let answer = crate::workload::answer(request.form(&form)).await;
    answer.token();
    let metadata = teams.secrets().get("worker-env").await.unwrap().metadata;
    assert_eq!(metadata.labels.unwrap()["team"], "billing");
    assert_eq!(metadata.annotations.unwrap()["example.com/note"], "for people");
    assert_eq!(metadata.owner_references, None);

    // Other names are one write of the same value.
    let generation = async || teams.secrets().get("worker-env").await.unwrap().metadata.managed_fields.unwrap().len();
    let before = generation().await;
    teams.change_client("worker", json!({"secret": {"keys": {"CLIENT_SECRET": "PASSWORD"}}})).await;
    let renamed = teams.operator.credentials(&teams.billing, "worker").await;
    assert_eq!(renamed.get("PASSWORD"), credentials.get("OAUTH_SECRET"));
    assert!(!renamed.0.contains_key("OAUTH_SECRET"), "{:?}", renamed.0.keys());
    assert_eq!(generation().await, before);
}

/// The kill switch: C11, and the same secret afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_client_gets_no_token_until_it_is_enabled_again() {
    let teams = Teams::new().await;
    let credentials = teams.worker().await;
    teams.change_client("worker", json!({"disabled": true})).await;
    teams.operator.client_is(&teams.billing, "worker", "Disabled").await;
    teams.every_replica_answers(&credentials, 401).await;
    teams.change_client("worker", json!({"disabled": null})).await;
    assert_eq!(teams.operator.credentials(&teams.billing, "worker").await, credentials);
    teams.every_replica_answers(&credentials, 200).await;
}

/// A07, A08, W06: the owner of the API says how its tokens are signed and what they claim.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_chooses_algorithm_lifetime_and_claims_of_its_tokens() {
    let teams = Teams::new().await;
    let choices = "accessToken: {signingAlgorithm: ES256, maxLifetime: 2m}\n  grants:";
    let claims = "scopes: [invoices.read], claims: {tier: batch, limits: {day: 10}}";
    teams.apply(&INVOICES.replace("grants:", choices).replace("scopes: [invoices.read]", claims)).await;
    teams.apply(WORKER).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    teams.every_replica_answers(&credentials, 200).await;
    let answer = credentials.token().await;
    assert_eq!(answer.body["expires_in"], json!(120));
    let claims = credentials.verify(answer.token(), &teams.audience()).await;
    assert_eq!((&claims["tier"], &claims["limits"]), (&json!("batch"), &json!({"day": 10})));
    assert_eq!(jsonwebtoken::decode_header(answer.token()).unwrap().alg, jsonwebtoken::Algorithm::ES256);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_finds_what_it_needs_in_its_config_map() {
    let teams = Teams::new().await;
    teams.apply(&INVOICES.replace("grants:", "verification: {configMap: invoices-oauth}\n  grants:")).await;
    teams.operator.resource_is(&teams.shop, "invoices", "Accepted").await;
    let config_maps: Api<ConfigMap> = Api::namespaced(teams.kube.clone(), &teams.shop);
    let config_map = config_maps.get("invoices-oauth").await.unwrap();
    let data = config_map.data.unwrap();
    let keys: Vec<_> = data.keys().map(String::as_str).collect();
    assert_eq!(keys, ["audience", "ca.crt", "issuer", "jwks-uri", "jwks.json"]);
    assert_eq!(data["audience"], teams.audience());
    assert_eq!(data["issuer"], teams.operator.issuer);
    // Another test's API may want a key of another algorithm just now.
    eventually(SOON, "the ConfigMap has the keys that are served", async || {
        let published = config_maps.get("invoices-oauth").await.unwrap().data.unwrap();
        let published = serde_json::from_str::<Value>(&published["jwks.json"]).unwrap();
        let served = http(&data["ca.crt"]).get(&data["jwks-uri"]).send().await.unwrap().json::<Value>().await.unwrap();
        if published == served { Ok(()) } else { Err(format!("{published} {served}")) }
    })
    .await
    .unwrap();

    // Edited by hand, it heals.
    let patch = kube::api::Patch::Merge(json!({"data": {"issuer": "https://evil"}}));
    config_maps.patch("invoices-oauth", &Default::default(), &patch).await.unwrap();
    eventually(SOON, "the ConfigMap is healed", async || match config_maps.get("invoices-oauth").await {
        Ok(healed) if healed.data.as_ref().is_some_and(|healed| healed["issuer"] == data["issuer"]) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
}

/// Each line is a client that the API server takes and that cannot be served: the condition says why, and what to change.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_cannot_see_is_said_by_a_condition() {
    let teams = Teams::new().await;
    let spec = |name: &str, spec: &str| {
        format!(
            "apiVersion: keywright.dev/v1alpha1\nkind: OAuthClient\nmetadata: {{name: {name}, namespace: $billing}}\nspec: {{issuer: $issuer, access: [], {spec}}}\n"
        )
    };
    let rows = [
        ("foreign-id", "clientId: $shop.worker", "PolicyViolation", "clientId"),
        ("no-dot", "clientId: worker", "PolicyViolation", "clientId"),
        ("keys-meet", "secret: {keys: {client-secret: client-id}}", "InvalidSpec", "client-id"),
        ("too-long", "accessToken: {lifetime: 2h}", "PolicyViolation", "lifetime"),
    ];
    for (name, rest, _, _) in rows {
        assert_eq!(documents(&teams.filled(&spec(name, rest))).len(), 1);
        teams.apply(&spec(name, rest)).await;
    }
    for (name, _, reason, word) in rows {
        let client = teams.operator.client_is(&teams.billing, name, reason).await;
        let conditions = client.status.as_ref().unwrap().conditions.as_ref();
        let ready = condition(conditions, "Ready").unwrap();
        assert!(ready.message.contains(word), "{name}: {}", ready.message);
        assert_eq!(condition(conditions, "Stalled").unwrap().status, "True");
        assert!(teams.secrets().get_opt(name).await.unwrap().is_none(), "{name} has a Secret");
    }
}

/// The older one keeps the id.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_clients_that_want_one_id_the_older_keeps_it() {
    let teams = Teams::new().await;
    let with_id =
        |name: &str| WORKER.replace("name: worker", &format!("name: {name}")).replace("  access", "  clientId: $billing.x\n  access");
    teams.apply(&INVOICES.replace("clients: [worker], ", "")).await;
    teams.apply(&with_id("older")).await;
    let credentials = teams.operator.credentials(&teams.billing, "older").await;
    // A creationTimestamp is in whole seconds: of two clients of one second the UID, and so chance, says which is the older.
    let born = teams.clients().get("older").await.unwrap().metadata.creation_timestamp.unwrap().0.as_second();
    let later = async || if keywright::ambient::now().as_second() > born { Ok(()) } else { Err("still the same") };
    eventually(SOON, "another second", later).await.unwrap();
    teams.apply(&with_id("younger")).await;
    teams.operator.client_is(&teams.billing, "younger", "ClientIdConflict").await;
    teams.operator.client_is(&teams.billing, "older", "Issued").await;
    credentials.token().await.token();
    teams.clients().delete("older", &Default::default()).await.unwrap();
    teams.operator.credentials(&teams.billing, "younger").await.token().await.token();
    teams.every_replica_answers(&credentials, 401).await;
}
