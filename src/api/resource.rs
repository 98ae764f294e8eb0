//! `ProtectedResource`: an API, its audience and scopes, and who may have them.

use super::{condition::Condition, rules, stored::Stored};
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Claims that a grant cannot set: registered in RFC 7519 §4.1, set by the token endpoint (RFC 9068 §2.2, RFC 7800, RFC 8693),
/// or given a meaning by introspection (RFC 7662 §2.2). `roles`, `groups` and `entitlements` (RFC 9068 §2.2.3.1) are what
/// grants are for.
pub const RESERVED_CLAIMS: [&str; 24] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "scp",
    "cnf",
    "act",
    "may_act",
    "azp",
    "auth_time",
    "acr",
    "amr",
    "nonce",
    "sid",
    "active",
    "username",
    "token_type",
    "authorization_details",
    "keywright.dev",
];

/// What an API's owner declares.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "keywright.dev",
    version = "v1alpha1",
    kind = "ProtectedResource",
    namespaced,
    status = "ProtectedResourceStatus",
    derive = "PartialEq",
    doc = "An API: its audience, its scopes, and which OAuthClients may have them. Nobody gets a scope that is not granted here.",
    shortname = "oapr",
    category = "keywright",
    selectable = ".spec.issuer",
    selectable = ".spec.audience",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Audience", type_ = "string", json_path = ".status.audience"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of a ProtectedResource has at most 63 characters: it becomes the value of a label")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.audience) ? has(oldSelf.audience) && self.audience == oldSelf.audience : !has(oldSelf.audience)")
        .message("audience cannot change, appear or go: delete this ProtectedResource and create one with the other audience"),
    validation = Rule::new("!has(self.grants) || [self.scopes.map(d, d.name)].all(names, self.grants.all(g, g.scopes.all(s, s in names)))")
        .message("a grant names a scope that spec.scopes does not declare: add it there, or correct the grant"),
    validation = rules::issuer_stays()
)]
pub struct ProtectedResourceSpec {
    /// The Keywright installation (its --name) that serves this API. Immutable. Absent: default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::installation())]
    pub issuer: Option<String>,
    /// The aud of its tokens: an absolute URI. Immutable. Absent: `https://<name>.<namespace>.svc`. A namespace owns
    /// `https://<anything>.<namespace>.svc[.<cluster domain>][/path]`; every other audience needs the platform's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::audience())]
    pub audience: Option<String>,
    /// The scopes that the API knows.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub scopes: Vec<ScopeDeclaration>,
    /// Who may have which scopes. Absent or empty: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub grants: Option<Vec<GrantEntry>>,
    /// The access tokens for this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<ResourceTokens>,
    /// Who may ask the token endpoint whether a token for this API is active (RFC 7662). Absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// What the API's verifier needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// A scope that the API knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopeDeclaration {
    /// The scope (RFC 6749 §3.3).
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::scope())]
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Who may have which scopes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaces) != has(self.namespaceSelector)")
        .message("a grant has either namespaces or namespaceSelector: write namespaces: [<name>], or namespaceSelector: {matchLabels: {<key>: <value>}}"),
    validation = Rule::new("!has(self.clients) || (has(self.namespaces) && size(self.namespaces) == 1)")
        .message("clients goes with exactly one namespace: write one grant for each namespace, or leave clients out")
)]
pub struct GrantEntry {
    /// The namespaces whose clients are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::namespaces())]
    pub namespaces: Option<Vec<String>>,
    /// Namespaces by their labels, instead of by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// The names of the OAuthClients that are meant; only with exactly one namespace. Absent: every client there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::clients())]
    pub clients: Option<Vec<String>>,
    /// The scopes granted.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::scopes())]
    pub scopes: Vec<String>,
    /// What the tokens of those clients claim besides what every token claims. Where several grants apply, the first in the list wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "claims")]
    pub claims: Option<serde_json::Map<String, serde_json::Value>>,
    /// The grant ends then. Absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires: Option<String>,
}

/// Namespaces by their labels.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that the namespace has, all of them. The platform's policy says which keys may be used; kubernetes.io/metadata.name always
    /// may, unless it says otherwise.
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 8,
        "additionalProperties" = {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
    ))]
    pub match_labels: BTreeMap<String, String>,
}

/// The access tokens for an API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTokens {
    /// How they are signed: RS256, ES256, PS256 or EdDSA (Ed25519). Absent: the installation's, RS256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RS256", "ES256", "PS256", "EdDSA"]))]
    pub signing_algorithm: Option<String>,
    /// Their typ header: at+jwt (RFC 9068), or JWT for verifiers that refuse at+jwt. Absent: at+jwt.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["at+jwt", "JWT"]))]
    pub type_: Option<String>,
    /// The longest time that a token for this API is valid, at least 1m. Absent: the platform's policy (1h).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = rules::duration(), validation = rules::at_least_a_minute())]
    pub max_lifetime: Option<String>,
}

/// Who may introspect the tokens of an API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// The names of OAuthClients of this namespace. Everybody else is told that a token is not active.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::clients())]
    pub clients: Vec<String>,
}

/// What an API's verifier needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The name of a ConfigMap in this namespace that the operator keeps current, with the keys issuer, audience, jwks-uri, jwks.json and,
    /// with a private CA, ca.crt.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub config_map: String,
}

/// What the operator says about an API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtectedResourceStatus {
    /// The metadata.generation that the operator last looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the API is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
    /// The audience in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub audience: Option<String>,
    /// The issuer of its tokens, as in iss.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub issuer: Option<String>,
    /// The installation that works on this object, as `<namespace>/<release>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 127))]
    pub controller: Option<String>,
}

impl<'de> Deserialize<'de> for ProtectedResourceStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut stored = Stored::deserialize(deserializer)?;
        Ok(Self {
            observed_generation: stored.member("observedGeneration"),
            conditions: stored.member("conditions"),
            audience: stored.member("audience"),
            issuer: stored.member("issuer"),
            controller: stored.member("controller"),
        })
    }
}

/// A free-form object. CEL sees declared members alone, so the reserved names are declared in order to be refused.
fn claims(_: &mut SchemaGenerator) -> Schema {
    let rule = |name: &str| {
        serde_json::json!({
            "rule": format!("!has(self.{})", cel_name(name)),
            "message": format!("the claim {name} is not a grant's to set: remove it, or choose another name"),
        })
    };
    let declared: serde_json::Map<_, _> =
        RESERVED_CLAIMS.iter().map(|name| ((*name).to_owned(), serde_json::json!({"type": "string"}))).collect();
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": declared,
        "x-kubernetes-validations": RESERVED_CLAIMS.map(rule),
    })
}

/// A property name as CEL writes it (Kubernetes escapes `.`).
fn cel_name(name: &str) -> String {
    name.replace('.', "__dot__")
}
