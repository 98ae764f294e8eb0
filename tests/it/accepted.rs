//! Good OAuthClients and ProtectedResources: stored as they were written, found and shown by kubectl, and what of them does not change. No
//! operator runs here: `issuer: nobody`.

use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::ControlPlane;
use crate::objects::{api_of, apply, create, documents, merge, refusal};

const VERSION: &str = "keywright.dev/v1alpha1";

async fn place() -> (&'static ControlPlane, Client, String) {
    let control_plane = ControlPlane::shared().await.unwrap();
    (control_plane, control_plane.client().await.unwrap(), control_plane.namespace().await.unwrap())
}

const WITH_AND_WITHOUT: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: with}
spec: {issuer: nobody, access: [], clientId: x.with}
---
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: without}
spec: {issuer: nobody, access: []}
---
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: with}
spec: {issuer: nobody, scopes: [{name: x}], audience: 'https://with'}
---
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: without}
spec: {issuer: nobody, scopes: [{name: x}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_others_know_an_object_by_does_not_change() {
    let (_, kube, namespace) = place().await;
    apply(&kube, &namespace, WITH_AND_WITHOUT).await.unwrap();
    let client_message = "clientId cannot change, appear or go: delete this OAuthClient and create one with the other id";
    let resource_message = "audience cannot change, appear or go: delete this ProtectedResource and create one with the other audience";
    for (kind, name, field, value, message) in [
        ("OAuthClient", "with", "clientId", json!("x.other"), client_message),
        ("OAuthClient", "with", "clientId", Value::Null, client_message),
        ("OAuthClient", "without", "clientId", json!("x.without"), client_message),
        ("ProtectedResource", "with", "audience", json!("https://other"), resource_message),
        ("ProtectedResource", "with", "audience", Value::Null, resource_message),
        ("ProtectedResource", "without", "audience", json!("https://without"), resource_message),
    ] {
        let (code, said) = refusal(merge(&kube, &namespace, kind, name, &json!({"spec": {field: value}})).await);
        assert!(code == 422 && said.contains(message), "{kind} {name} {value}: {code} {said}");
        // What stands beside it may change.
        let beside = if kind == "OAuthClient" { json!({"spec": {"description": "x"}}) } else { json!({"spec": {"grants": []}}) };
        merge(&kube, &namespace, kind, name, &beside).await.unwrap();
    }
}

/// All that the two kinds can say.
const EVERYTHING: &str = r#"
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: invoices}
spec:
  issuer: nobody
  audience: https://invoices.shop.svc
  scopes:
  - {name: invoices.read, description: Read invoices}
  - {name: invoices.write}
  grants:
  - namespaces: [billing]
    clients: [billing-worker]
    scopes: [invoices.read]
    claims: {tier: batch, limits: {day: 10}, regions: [eu, us], trusted: true}
    expires: "2027-01-31T00:00:00Z"
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: reports}}
    scopes: [invoices.read, invoices.write]
  accessToken: {signingAlgorithm: ES256, type: JWT, maxLifetime: 30m}
  verification: {configMap: invoices-oauth}
---
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: billing-worker}
spec:
  issuer: nobody
  clientId: billing.worker
  description: Reads invoices at night
  access:
  - {resource: shop/invoices, scopes: [invoices.read]}
  - {resource: own, scopes: [a, "https://x/y:z"]}
  authentication: {clientSecret: {method: client_secret_basic}}
  accessToken: {lifetime: 15m}
  rotation: {policy: Scheduled, every: 30d, overlap: 24h, retire: WhenUnused, maxOverlap: 7d}
  revocation: {secretsIssuedBefore: "2026-11-23T00:00:00Z"}
  secret:
    name: billing-oauth
    format: ServiceBinding
    keys: {client-secret: password, client-id: username}
    metadata: {labels: {team: billing}, annotations: {example.com/note: "for people"}}
    deletionPolicy: Retain
  disabled: false
---
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: short}
spec: {issuer: nobody, access: []}
---
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: environment}
spec:
  issuer: nobody
  rotation: {policy: Manual, overlap: 60d, retire: AfterOverlap}
  access: [{resource: invoices, scopes: [invoices.read]}]
  authentication: {clientSecret: {}}
  secret: {format: Env, keys: {CLIENT_SECRET: OAUTH_SECRET}}
---
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: short}
spec: {issuer: nobody, scopes: [{name: x}]}
"#;

/// No `default:` in the schemas: what a GitOps tool wrote is what it reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_object_is_stored_as_it_was_written_and_a_second_apply_changes_nothing() {
    let (_, client, namespace) = place().await;
    let first = apply(&client, &namespace, EVERYTHING).await.unwrap();
    let second = apply(&client, &namespace, EVERYTHING).await.unwrap();
    for ((written, first), second) in documents(EVERYTHING).iter().zip(first).zip(second) {
        assert_eq!(first.data, written.data, "{}", written.name_any());
        assert_eq!(first.resource_version(), second.resource_version(), "{}", written.name_any());
    }
}

/// The API server bounds what its rules may cost: what the schema's bounds allow has to fit.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_objects_that_the_bounds_allow_are_accepted() {
    let (_, client, namespace) = place().await;
    let long = |length: usize, n: usize| format!("{n:x>length$}");
    let many = |count: usize, length: usize| (0..count).map(|n| long(length, n)).collect::<Vec<_>>();
    let scopes: Vec<Value> = (0..64).map(|n| json!({"name": long(128, n), "description": long(256, n)})).collect();
    let grant = json!({"namespaces": [long(63, 0)], "clients": many(32, 63), "scopes": many(32, 128), "claims": {"tier": long(64, 0)}});
    let resource = json!({
        "apiVersion": VERSION, "kind": "ProtectedResource", "metadata": {"name": long(63, 0)},
        "spec": {"issuer": "nobody", "scopes": scopes, "grants": vec![grant; 64]},
    });
    let entry = |n: usize| json!({"resource": format!("{}/{}", long(63, n), long(63, n)), "scopes": many(32, 128)});
    let renamed = ["type", "provider", "client-id", "client-secret", "scope", "issuer-uri", "token-uri", "jwk-set-uri", "ca.crt"];
    let keys: Value = renamed.iter().enumerate().map(|(n, key)| ((*key).to_owned(), json!(long(253, n)))).collect();
    let metadata: Value = (0..16).map(|n| (format!("{}/{}", long(253, n), long(63, n)), json!(long(63, n)))).collect();
    let oauth_client = json!({
        "apiVersion": VERSION, "kind": "OAuthClient", "metadata": {"name": long(63, 0)},
        "spec": {
            "issuer": "nobody", "clientId": long(128, 0), "access": (0..32).map(entry).collect::<Vec<_>>(),
            "secret": {"name": long(253, 0), "keys": keys, "metadata": {"labels": metadata, "annotations": metadata}},
        },
    });
    for object in [resource, oauth_client] {
        create(&client, &namespace, &object.to_string()).await.unwrap();
        // An update is checked against the stored object, which costs as well.
        let kind = object["kind"].as_str().unwrap();
        merge(&client, &namespace, kind, &long(63, 0), &json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    }
}

async fn names(api: &Api<DynamicObject>, selector: &str) -> Vec<String> {
    let listed = api.list(&ListParams::default().fields(selector)).await.unwrap();
    listed.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_found_by_the_fields_that_people_ask_for() {
    let (_, client, namespace) = place().await;
    apply(&client, &namespace, EVERYTHING).await.unwrap();
    let clients = api_of(&client, &namespace, VERSION, "OAuthClient");
    let resources = api_of(&client, &namespace, VERSION, "ProtectedResource");
    assert_eq!(names(&clients, "spec.issuer=nobody").await, ["billing-worker", "environment", "short"]);
    assert_eq!(names(&clients, "spec.issuer=somebody").await, [""; 0]);
    assert_eq!(names(&clients, "spec.clientId=billing.worker").await, ["billing-worker"]);
    assert_eq!(names(&resources, "spec.issuer=nobody").await, ["invoices", "short"]);
    assert_eq!(names(&resources, "spec.audience=https://invoices.shop.svc").await, ["invoices"]);
}

fn report(ready: &str, reason: &str, message: &str) -> Value {
    let condition =
        json!({"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": "2026-11-23T10:00:00Z"});
    json!({"conditions": [condition]})
}

/// The table that kubectl prints, one line for each row, words separated by one space, ages left out.
fn table(text: &str) -> Vec<String> {
    let is_age =
        |word: &&str| word.len() > 1 && word.ends_with(['s', 'm', 'h', 'd']) && word.starts_with(|first: char| first.is_ascii_digit());
    let line = |line: &str| line.split_whitespace().map(|word| if is_age(&word) { "<age>" } else { word }).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_people_want_to_know_by_short_names_and_category() {
    let (control_plane, client, namespace) = place().await;
    apply(&client, &namespace, EVERYTHING).await.unwrap();
    let patch = async |kind: &str, name: &str, status: Value| {
        let api = api_of(&client, &namespace, VERSION, kind);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&json!({"status": status}))).await.unwrap();
    };
    let mut worker = report("True", "Issued", "fine");
    worker["binding"] = json!({"name": "billing-oauth"});
    worker["lastRotation"] = json!("2020-01-01T00:00:00Z");
    worker["clientId"] = json!("billing.worker");
    worker["nextRotation"] = json!("2030-01-01T00:00:00Z");
    patch("OAuthClient", "billing-worker", worker).await;
    patch("OAuthClient", "short", report("False", "AccessDenied", "ask the owner")).await;
    let mut invoices = report("True", "Accepted", "served");
    invoices["audience"] = json!("https://invoices.shop.svc");
    patch("ProtectedResource", "invoices", invoices).await;

    let get = async |words: &[&str]| {
        let arguments = [&["get", "-n", &namespace], words].concat();
        table(&control_plane.kubectl(&arguments).await.unwrap().succeeded().unwrap())
    };
    assert_eq!(
        get(&["oac"]).await,
        [
            "NAME READY REASON SECRET ROTATED AGE",
            "billing-worker True Issued billing-oauth <age> <age>",
            "environment <age>",
            "short False AccessDenied <age>",
        ]
    );
    assert_eq!(
        get(&["oac", "billing-worker", "-o", "wide"]).await,
        [
            "NAME READY REASON SECRET ROTATED AGE CLIENT-ID NEXT-ROTATION MESSAGE",
            "billing-worker True Issued billing-oauth <age> <age> billing.worker 2030-01-01T00:00:00Z fine",
        ]
    );
    assert_eq!(
        get(&["oapr"]).await,
        ["NAME READY REASON AUDIENCE AGE", "invoices True Accepted https://invoices.shop.svc <age>", "short <age>"]
    );
    assert_eq!(
        get(&["keywright", "-o", "name"]).await,
        [
            "oauthclient.keywright.dev/billing-worker",
            "oauthclient.keywright.dev/environment",
            "oauthclient.keywright.dev/short",
            "protectedresource.keywright.dev/invoices",
            "protectedresource.keywright.dev/short",
        ]
    );
}
