//! What the API server itself says about OAuthClients and ProtectedResources: bad ones are refused with a message that says what to write
//! instead.

use keywright::api::resource::RESERVED_CLAIMS;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::ControlPlane;
use crate::objects::{self, try_create};

const VERSION: &str = "keywright.dev/v1alpha1";
const INSTALLATION: &str =
    "issuer is the name of a Keywright installation (its --name): lower-case letters, digits and '-'; the URL is not meant";
const SCOPE: &str = "a scope is one word of printable ASCII without space, quotation mark and backslash";
const DURATION: &str = "write a whole number and one unit: 90s, 15m, 24h or 30d";
const CLIENT_ID: &str = "a client id has letters, digits, '.', '_' and '-' alone, as in <namespace>.<name>";
const RESOURCE: &str = "write <namespace>/<name> of a ProtectedResource, or its <name> alone if it is in this namespace";
const NAME: &str = "a name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or a digit";
const AUDIENCE: &str = "an audience is an absolute URI without a fragment: write https://<name>.<namespace>.svc, or leave audience out";

async fn place() -> (&'static ControlPlane, Client, String) {
    let control_plane = ControlPlane::shared().await.unwrap();
    (control_plane, control_plane.client().await.unwrap(), control_plane.namespace().await.unwrap())
}

fn client_named(name: &str, spec: &str) -> String {
    format!("apiVersion: {VERSION}\nkind: OAuthClient\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A client whose spec is `access: []` and this.
fn client(rest: &str) -> String {
    client_named("a", &format!("{{issuer: nobody, access: [], {rest}}}"))
}

fn access(entries: &str) -> String {
    client_named("a", &format!("{{issuer: nobody, access: [{entries}]}}"))
}

fn resource_named(name: &str, spec: &str) -> String {
    format!("apiVersion: {VERSION}\nkind: ProtectedResource\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A resource with the scopes `read` and `write`, and this.
fn resource(rest: &str) -> String {
    resource_named("a", &format!("{{issuer: nobody, scopes: [{{name: read}}, {{name: write}}], {rest}}}"))
}

fn grant(entry: &str) -> String {
    resource(&format!("grants: [{{{entry}}}]"))
}

fn grant_claiming(claims: &str) -> String {
    grant(&format!("namespaces: [b], scopes: [read], claims: {{{claims}}}"))
}

/// Each manifest is refused with a message that contains the fragment; all that are not so are shown together.
async fn each_is_refused(rows: Vec<(String, &str)>) {
    let (_, client, namespace) = place().await;
    let mut wrong = Vec::new();
    for (manifest, fragment) in rows {
        match try_create(&client, &namespace, &manifest).await {
            Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains(fragment) => {}
            Err(kube::Error::Api(status)) => {
                wrong.push(format!("{manifest}is told {} {}\nand not: {fragment}\n", status.code, status.message));
            }
            other => wrong.push(format!("{manifest}is not refused ({:?})", other.map(|object| object.name_any()))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn numbered(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oauthclient_that_cannot_be_meant_is_refused_with_a_message_that_helps() {
    let long = "x".repeat(129);
    each_is_refused(vec![
        (client_named(&"x".repeat(64), "{access: []}"), "the name of an OAuthClient has at most 63 characters"),
        (client_named("a", "{}"), "spec.access: Required value"),
        (client_named("a", "{access: [], issuer: Default}"), INSTALLATION),
        (client_named("a", "{access: [], issuer: ''}"), "spec.issuer in body should be at least 1 chars long"),
        (client("clientId: 'billing worker'"), CLIENT_ID),
        (client("clientId: 'billing:worker'"), CLIENT_ID),
        (client("clientId: ''"), "spec.clientId in body should be at least 1 chars long"),
        (client(&format!("clientId: {long}")), "may not be more than 128"),
        (client(&format!("description: {}", "x".repeat(1025))), "may not be more than 1024"),
        (client("disabled: 'yes'"), "spec.disabled in body must be of type boolean"),
        (access("{scopes: [read]}"), "spec.access[0].resource: Required value"),
        (access("{resource: shop/invoices}"), "spec.access[0].scopes: Required value"),
        (access("{resource: shop/invoices, scopes: []}"), "spec.access[0].scopes in body should have at least 1 items"),
        (access("{resource: shop/eu/invoices, scopes: [read]}"), RESOURCE),
        (access("{resource: Shop/invoices, scopes: [read]}"), RESOURCE),
        (access("{resource: /invoices, scopes: [read]}"), RESOURCE),
        (access(&format!("{{resource: {long}, scopes: [read]}}")), "may not be more than 127"),
        (access("{resource: a, scopes: [x]}, {resource: a, scopes: [y]}"), "spec.access[1]: Duplicate value"),
        (access("{resource: a, scopes: [x, x]}"), "spec.access[0].scopes[1]: Duplicate value"),
        (access("{resource: a, scopes: ['read write']}"), SCOPE),
        (access(r#"{resource: a, scopes: ['re"ad']}"#), SCOPE),
        (access(r"{resource: a, scopes: ['re\ad']}"), SCOPE),
        (access("{resource: a, scopes: ['lesen-für-alle']}"), SCOPE),
        (access("{resource: a, scopes: ['']}"), "should be at least 1 chars long"),
        (access(&format!("{{resource: a, scopes: [{long}]}}")), "may not be more than 128"),
        (access(&format!("{{resource: a, scopes: [{}]}}", numbered(33, |n| format!("s{n}")))), "must have at most 32 items"),
        (access(&numbered(33, |n| format!("{{resource: r{n}, scopes: [x]}}"))), "must have at most 32 items"),
        (client("rotation: {every: 1 week}"), DURATION),
        (client("rotation: {every: 10m}"), "every is longer than overlap, which is at least ten minutes: write 11m or more"),
        (client("rotation: {overlap: 599s}"), "a replaced secret stays accepted for at least ten minutes"),
        (client("rotation: {maxOverlap: 5m}"), "a replaced secret stays accepted for at least ten minutes"),
        (client("rotation: {overlap: 1d, every: 24h}"), "overlap is shorter than every"),
        (client("rotation: {overlap: 720h}"), "overlap is shorter than every (30d where it is left out)"),
        (client("rotation: {overlap: 2d, maxOverlap: 47h}"), "maxOverlap is at least overlap"),
        (client("rotation: {retire: AfterOverlap, maxOverlap: 7d}"), "leave maxOverlap out, or write retire: WhenUnused"),
        (client("rotation: {retire: Never}"), r#"supported values: "WhenUnused", "AfterOverlap""#),
        (client("rotation: {policy: Off}"), r#"supported values: "Scheduled", "Manual""#),
        (client("revocation: {secretsIssuedBefore: yesterday}"), "spec.revocation.secretsIssuedBefore"),
        (
            client("authentication: {}"),
            "nothing is allowed here: write clientSecret: {}, privateKeyJwt: {jwks: {keys: [...]}}, serviceAccounts: [{name: ...}] or spiffe: {ids: [...]}, or leave authentication out",
        ),
        (client("authentication: {serviceAccounts: []}"), "should have at least 1 items"),
        (client("authentication: {serviceAccounts: [{name: a}, {name: a}]}"), "Duplicate value"),
        (client("authentication: {serviceAccounts: [{name: A b}]}"), "serviceAccounts[0].name"),
        (
            client("authentication: {clientSecret: {method: Post}}"),
            r#"supported values: "Any", "client_secret_basic", "client_secret_post""#,
        ),
        (client("accessToken: {lifetime: 90}"), "spec.accessToken.lifetime in body must be of type string"),
        (client("accessToken: {lifetime: '90'}"), DURATION),
        (client("accessToken: {lifetime: 1h30m}"), DURATION),
        (client("accessToken: {lifetime: 0m}"), DURATION),
        (client("accessToken: {lifetime: 59s}"), "a token is valid for at least a minute: write 1m or more"),
    ])
    .await;
}

/// S16: a private key is the worst that can stand in an object.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_meant_are_refused_with_a_message_that_helps() {
    let keys = |keys: &str| client(&format!("authentication: {{privateKeyJwt: {{jwks: {{keys: [{keys}]}}}}}}"));
    let p256 = r#"kty: EC, crv: P-256, x: a, "y": b"#;
    let mut rows: Vec<_> = keywright::domain::jwk::PRIVATE_MEMBERS
        .iter()
        .map(|member| (keys(&format!("{{{p256}, {member}: x}}")), "this is a private key (it has "))
        .collect();
    rows.extend([
        (client("authentication: {privateKeyJwt: {}}"), "privateKeyJwt.jwks: Required value"),
        (client("authentication: {privateKeyJwt: {jwks: {}}}"), "jwks.keys: Required value"),
        (keys(""), "should have at least 1 items"),
        (keys(&numbered(9, |_| format!("{{{p256}}}"))), "must have at most 8 items"),
        (keys("{crv: P-256}"), "kty: Required value"),
        (keys("{kty: oct}"), r#"supported values: "RSA", "EC", "OKP""#),
        (keys("{kty: RSA, \"n\": a, e: AQAB}"), "an RSA key has n, e and alg, which is RS256 or PS256"),
        (keys("{kty: RSA, \"n\": a, e: AQAB, alg: RS512}"), "an RSA key has n, e and alg, which is RS256 or PS256"),
        (keys("{kty: EC, crv: P-384, x: a, \"y\": b}"), "an EC key has x, y and crv, which is P-256; its alg is ES256"),
        (keys(&format!("{{{p256}, alg: ES384}}")), "an EC key has x, y and crv, which is P-256; its alg is ES256"),
        (keys("{kty: OKP, crv: X25519, x: x}"), "an OKP key has x and crv, which is Ed25519"),
        (keys(&format!("{{{p256}, use: enc}}")), "a key that signs has use: sig, or none"),
        (keys(&format!("{{{p256}, kid: a}}, {{{p256}, kid: b}}, {{{p256}, kid: a}}")), "two keys have the same kid"),
        (keys(&format!("{{{p256}, kid: {}}}", "x".repeat(257))), "may not be more than 256"),
    ]);
    each_is_refused(rows).await;
}

/// J02, J12.
#[tokio::test(flavor = "multi_thread")]
async fn a_fapi_client_that_contradicts_its_profile_is_refused_with_a_message_that_helps() {
    let p256 = r#"{kty: EC, crv: P-256, x: a, "y": b}"#;
    let rs256 = "{kty: RSA, \"n\": a, e: AQAB, alg: RS256}";
    let fapi = |keys: &str, more: &str, beside: &str| {
        client(&format!("authentication: {{privateKeyJwt: {{profile: FAPI2, jwks: {{keys: [{keys}]}}{more}}}{beside}}}"))
    };
    each_is_refused(vec![
        (fapi(&format!("{p256}, {rs256}"), "", ""), "FAPI 2.0 does not allow RS256: let the RSA key sign with PS256 (alg: PS256)"),
        (fapi(p256, ", legacyAudience: true", ""), "FAPI 2.0 takes the issuer alone as aud: leave legacyAudience out, or profile"),
        (fapi(p256, "", ", clientSecret: {}"), "FAPI 2.0 clients authenticate by privateKeyJwt alone"),
        (fapi(p256, "", ", serviceAccounts: [{name: a}]"), "FAPI 2.0 clients authenticate by privateKeyJwt alone"),
        (fapi(p256, "", ", spiffe: {ids: ['spiffe://a/b']}"), "FAPI 2.0 clients authenticate by privateKeyJwt alone"),
        (
            client(&format!("authentication: {{privateKeyJwt: {{profile: FAPI1, jwks: {{keys: [{p256}]}}}}}}")),
            r#"supported values: "FAPI2""#,
        ),
    ])
    .await;
    let (_, client, namespace) = place().await;
    try_create(&client, &namespace, &fapi(p256, ", legacyAudience: false", "")).await.unwrap();
}

/// K12.
#[tokio::test(flavor = "multi_thread")]
async fn workloads_that_cannot_be_meant_are_refused() {
    each_is_refused(vec![
        (client("authentication: {spiffe: {}}"), "spiffe.ids: Required value"),
        (client("authentication: {spiffe: {ids: []}}"), "should have at least 1 items"),
        (client("authentication: {spiffe: {ids: ['spiffe://a/b', 'spiffe://a/b']}}"), "Duplicate value"),
        (client("authentication: {spiffe: {ids: ['spiffe://a/*']}}"), "it stands for one workload, without wildcards"),
        (client("authentication: {spiffe: {ids: [billing/worker]}}"), "a SPIFFE ID is spiffe://<trust domain>/<path>"),
    ])
    .await;
    // SPIFFE-ID §2.2, and what looks alike.
    let ids = |id: &str| client(&format!("authentication: {{spiffe: {{ids: ['spiffe://a/b', 'spiffe://{id}']}}}}"));
    let wrong = ["a/.", "a/..", "a/./b", "a/../b", "a/b/.", "a/b/..", "a/b/../c", "a/b/", "a//b", "a/", "a"];
    each_is_refused(wrong.map(|id| (ids(id), "no part of its path is '.' or '..'")).into()).await;
    let (_, kube, namespace) = place().await;
    for right in ["a/...", "a/.b", "a/..b/c..", "a.b/c.d/.e.", "a/b-_Z9/c"] {
        try_create(&kube, &namespace, &ids(right)).await.unwrap();
    }
}

/// I03.
#[tokio::test(flavor = "multi_thread")]
async fn introspectors_that_cannot_be_meant_are_refused() {
    each_is_refused(vec![
        (resource("introspection: {}"), "introspection.clients: Required value"),
        (resource("introspection: {clients: []}"), "should have at least 1 items"),
        (resource("introspection: {clients: [shop/api]}"), "spec.introspection.clients"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_meant_is_refused_with_a_message_that_helps() {
    let secret = |rest: &str| client(&format!("secret: {{{rest}}}"));
    each_is_refused(vec![
        (secret("name: Billing"), NAME),
        (secret("name: ''"), "spec.secret.name in body should be at least 1 chars long"),
        (secret(&format!("name: {}", "x".repeat(254))), "may not be more than 253"),
        (secret("format: Json"), r#"supported values: "ServiceBinding", "Env""#),
        (secret("deletionPolicy: Keep"), r#"supported values: "Delete", "Retain""#),
        (secret("keys: {password: client-secret}"), "keys renames only what the format ServiceBinding writes: type, provider, client-id"),
        (secret("keys: {CLIENT_ID: id}"), "keys renames only what the format ServiceBinding writes"),
        (secret("format: Env, keys: {client-id: id}"), "keys renames only what the format Env writes: CLIENT_ID, CLIENT_SECRET"),
        (secret("keys: {client-id: x, client-secret: x}"), "keys renames two keys to one name: give each a name of its own"),
        (secret("keys: {client-secret: 'pass word'}"), "should match '^[-._a-zA-Z0-9]+$'"),
        (secret("keys: {client-secret: ''}"), "should be at least 1 chars long"),
        (
            secret("metadata: {labels: {app.kubernetes.io/name: x}}"),
            "labels under kubernetes.io/, k8s.io/ and keywright.dev/ are not yours to set",
        ),
        (secret("metadata: {labels: {keywright.dev/client: x}}"), "labels under kubernetes.io/, k8s.io/ and keywright.dev/"),
        (secret("metadata: {labels: {team: 'a team'}}"), "should match '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$'"),
        (secret("metadata: {annotations: {x.k8s.io/y: z}}"), "annotations under kubernetes.io/, k8s.io/ and keywright.dev/ are not yours"),
        (secret("metadata: {annotations: {keywright.dev/fence: z}}"), "annotations under kubernetes.io/, k8s.io/ and keywright.dev/"),
        (secret(&format!("metadata: {{annotations: {{a: {}}}}}", "x".repeat(1025))), "may not be more than 1024"),
        (secret(&format!("metadata: {{labels: {{{}}}}}", numbered(17, |n| format!("l{n}: x")))), "must have at most 16 items"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protectedresource_that_cannot_be_meant_is_refused_with_a_message_that_helps() {
    let long = "x".repeat(129);
    let audience = |text: &str| resource(&format!("audience: '{text}'"));
    each_is_refused(vec![
        (resource_named(&"x".repeat(64), "{scopes: [{name: x}]}"), "the name of a ProtectedResource has at most 63 characters"),
        (resource_named("a", "{}"), "spec.scopes: Required value"),
        (resource_named("a", "{scopes: []}"), "spec.scopes in body should have at least 1 items"),
        (resource_named("a", "{scopes: [{description: x}]}"), "spec.scopes[0].name: Required value"),
        (resource_named("a", "{scopes: [{name: x}, {name: x}]}"), "spec.scopes[1]: Duplicate value"),
        (resource_named("a", "{scopes: [{name: 'a b'}]}"), SCOPE),
        (resource_named("a", &format!("{{scopes: [{{name: {long}}}]}}")), "may not be more than 128"),
        (resource_named("a", &format!("{{scopes: [{}]}}", numbered(65, |n| format!("{{name: s{n}}}")))), "must have at most 64 items"),
        (resource_named("a", "{issuer: A, scopes: [{name: x}]}"), INSTALLATION),
        (audience("/invoices"), AUDIENCE),
        (audience("invoices"), AUDIENCE),
        (audience("https://invoices.shop.svc#part"), AUDIENCE),
        (audience("https://invoices shop"), AUDIENCE),
        (audience(""), "spec.audience in body should be at least 1 chars long"),
        (audience(&format!("https://{}", "x".repeat(248))), "may not be more than 255"),
        (resource("accessToken: {signingAlgorithm: HS256}"), r#"supported values: "RS256", "ES256", "PS256", "EdDSA""#),
        (resource("accessToken: {type: jwt}"), r#"supported values: "at+jwt", "JWT""#),
        (resource("accessToken: {maxLifetime: 1w}"), DURATION),
        (resource("accessToken: {maxLifetime: 30s}"), "a token is valid for at least a minute: write 1m or more"),
        (resource("verification: {}"), "spec.verification.configMap: Required value"),
        (resource("verification: {configMap: A}"), NAME),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_cannot_be_meant_is_refused_with_a_message_that_helps() {
    let either = "a grant has either namespaces or namespaceSelector: write namespaces: [<name>], or namespaceSelector";
    let one = "clients goes with exactly one namespace: write one grant for each namespace, or leave clients out";
    each_is_refused(vec![
        (grant("scopes: [read]"), either),
        (grant("namespaces: [b], namespaceSelector: {matchLabels: {a: b}}, scopes: [read]"), either),
        (grant("namespaces: [], scopes: [read]"), "spec.grants[0].namespaces in body should have at least 1 items"),
        (grant("namespaces: ['*'], scopes: [read]"), "namespaces are given by name, without wildcards"),
        (grant("namespaces: [b, b], scopes: [read]"), "spec.grants[0].namespaces[1]: Duplicate value"),
        (grant("namespaceSelector: {}, scopes: [read]"), "spec.grants[0].namespaceSelector.matchLabels: Required value"),
        (grant("namespaceSelector: {matchLabels: {}}, scopes: [read]"), "should have at least 1 properties"),
        (grant("namespaceSelector: {matchLabels: {a: 'b c'}}, scopes: [read]"), "should match '^(([A-Za-z0-9]"),
        (grant("namespaces: [b, c], clients: [x], scopes: [read]"), one),
        (grant("namespaceSelector: {matchLabels: {a: b}}, clients: [x], scopes: [read]"), one),
        (grant("namespaces: [b], clients: [], scopes: [read]"), "spec.grants[0].clients in body should have at least 1 items"),
        (grant("namespaces: [b], clients: [X], scopes: [read]"), "clients are the names of OAuthClients, without namespace and wildcards"),
        (grant("namespaces: [b]"), "spec.grants[0].scopes: Required value"),
        (grant("namespaces: [b], scopes: []"), "spec.grants[0].scopes in body should have at least 1 items"),
        (
            grant("namespaces: [b], scopes: [delete]"),
            "a grant names a scope that spec.scopes does not declare: add it there, or correct the grant",
        ),
        (grant("namespaces: [b], scopes: [read], expires: tomorrow"), "spec.grants[0].expires in body must be of type date-time"),
        (grant(&format!("namespaces: [{}], scopes: [read]", numbered(33, |n| format!("n{n}")))), "must have at most 32 items"),
        (grant_claiming(&numbered(17, |n| format!("c{n}: x"))), "must have at most 16 items"),
    ])
    .await;
}

/// A07: what a token always claims is nobody's to override.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_with_a_meaning_of_its_own_is_refused_whatever_its_value() {
    let messages: Vec<String> =
        RESERVED_CLAIMS.iter().map(|name| format!("the claim {name} is not a grant's to set: remove it, or choose another name")).collect();
    let texts = RESERVED_CLAIMS.iter().zip(&messages).map(|(name, message)| (grant_claiming(&format!("{name}: x")), message.as_str()));
    // Of another type the schema itself speaks first.
    let others = RESERVED_CLAIMS.iter().map(|name| (grant_claiming(&format!("{name}: [1]")), "must be of type string"));
    each_is_refused(texts.chain(others).collect()).await;
}

/// What other objects rest on stays; absent and `default` are the same installation.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_refused_with_a_message_that_helps() {
    let (_, kube, namespace) = place().await;
    let objects =
        [("OAuthClient", client_named("a", "{access: []}")), ("ProtectedResource", resource_named("a", "{scopes: [{name: read}]}"))];
    for (kind, manifest) in objects {
        let name = objects::apply(&kube, &namespace, &manifest).await.unwrap()[0].name_any();
        let change = async |spec: Value| objects::merge(&kube, &namespace, kind, &name, &json!({"spec": spec})).await;
        let (code, message) = objects::refusal(change(json!({"issuer": "other"})).await);
        assert!(code == 422 && message.contains("issuer cannot change, because another installation has other keys"), "{message}");
        for same in [json!({"issuer": "default"}), json!({"issuer": null})] {
            change(same).await.unwrap();
        }
    }
    let (code, message) =
        objects::refusal(objects::merge(&kube, &namespace, "OAuthClient", "a", &json!({"spec": {"clientId": "other.id"}})).await);
    assert!(code == 422 && message.contains("clientId cannot change, appear or go"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_does_not_exist_is_named_by_kubectl() {
    let (control_plane, _, namespace) = place().await;
    for (manifest, field) in
        [(client("rotation: {each: 30d}"), "spec.rotation.each"), (client("acces: []"), "spec.acces"), (resource("scope: x"), "spec.scope")]
    {
        let create = ["create", "--dry-run=server", "-n", &namespace, "-f", "-"];
        let refused = control_plane.admin().kubectl_with(&create, &manifest).await.unwrap();
        assert!(!refused.status.success() && refused.stderr.contains(&format!("unknown field \"{field}\"")), "{manifest}{refused:?}");
    }
}
