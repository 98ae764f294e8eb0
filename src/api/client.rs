//! `OAuthClient`: a workload's OAuth 2.0 client.

use super::{
    authentication::Authentication,
    condition::Condition,
    rotation::{Revocation, Rotation, StoredSchedule},
    rules,
    stored::Stored,
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// What a workload asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "keywright.dev",
    version = "v1alpha1",
    kind = "OAuthClient",
    namespaced,
    status = "OAuthClientStatus",
    derive = "PartialEq",
    doc = "An OAuth 2.0 client of a workload. It becomes a Secret with a client id and a client secret, with which the workload fetches short-lived access tokens for the APIs listed in spec.access, as far as their owners grant them.",
    shortname = "oac",
    category = "keywright",
    selectable = ".spec.issuer",
    selectable = ".spec.clientId",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name"),
    printcolumn(name = "Rotated", type_ = "date", json_path = ".status.lastRotation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Client-ID", type_ = "string", json_path = ".status.clientId", priority = 1),
    printcolumn(name = "Next-Rotation", type_ = "string", json_path = ".status.nextRotation", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name of an OAuthClient has at most 63 characters: it becomes the value of a label")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientId) ? has(oldSelf.clientId) && self.clientId == oldSelf.clientId : !has(oldSelf.clientId)")
        .message("clientId cannot change, appear or go: delete this OAuthClient and create one with the other id"),
    validation = rules::issuer_stays()
)]
pub struct OAuthClientSpec {
    /// The Keywright installation (its --name) that serves this client. Immutable. Absent: default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::installation())]
    pub issuer: Option<String>,
    /// The client identifier. Immutable. Absent: `<namespace>.<name>`. The part before the first dot must be the own namespace; other
    /// forms need the platform's policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::client_id())]
    pub client_id: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The APIs that the client calls, and what it needs there. Each entry has to be granted by the owner of the API. Empty: a client
    /// without access to any.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["resource".into()]))]
    pub access: Vec<AccessEntry>,
    /// How the client may authenticate. Absent: with its secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// The client's access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<ClientTokens>,
    /// When the secret changes, and how long the former one stays accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// For an emergency: what is refused from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// The Secret that the client gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretTemplate>,
    /// The kill switch: while true, the client gets no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// One API and what the client needs there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessEntry {
    /// The ProtectedResource, as `<namespace>/<name>`, or `<name>` for one in the own namespace.
    #[schemars(length(min = 1, max = 127))]
    #[x_kube(validation = rules::resource())]
    pub resource: String,
    /// The scopes needed.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::scopes())]
    pub scopes: Vec<String>,
}

/// A client's access tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTokens {
    /// How long a token is valid, from 1m up to the platform's policy (1h), and no longer than the API allows. Absent: 15m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = rules::duration(), validation = rules::at_least_a_minute())]
    pub lifetime: Option<String>,
}

/// The Secret that a client gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.keys) || (has(self.format) && self.format == 'Env') || self.keys.all(k, k in ['type', 'provider', 'client-id', 'client-secret', 'scope', 'issuer-uri', 'token-uri', 'jwk-set-uri', 'client-authentication-method', 'authorization-grant-type', 'ca.crt'])")
        .message("keys renames only what the format ServiceBinding writes: type, provider, client-id, client-secret, scope, issuer-uri, token-uri, jwk-set-uri, client-authentication-method, authorization-grant-type, ca.crt (left: that name, right: the one you want)"),
    validation = Rule::new("!has(self.keys) || !has(self.format) || self.format != 'Env' || self.keys.all(k, k in ['CLIENT_ID', 'CLIENT_SECRET', 'TOKEN_URL', 'ISSUER_URL', 'JWKS_URL', 'SCOPES', 'CA_CERT'])")
        .message("keys renames only what the format Env writes: CLIENT_ID, CLIENT_SECRET, TOKEN_URL, ISSUER_URL, JWKS_URL, SCOPES, CA_CERT (left: that name, right: the one you want)"),
    validation = Rule::new("!has(self.keys) || self.keys.all(k, self.keys.exists_one(other, self.keys[other] == self.keys[k]))")
        .message("keys renames two keys to one name: give each a name of its own")
)]
pub struct SecretTemplate {
    /// Its name. Absent: the name of the OAuthClient.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: Option<String>,
    /// What its keys are called: ServiceBinding (client-id, client-secret, token-uri, …) or Env (CLIENT_ID, CLIENT_SECRET, TOKEN_URL, …).
    /// Absent: ServiceBinding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["ServiceBinding", "Env"]))]
    pub format: Option<String>,
    /// Keys to be called otherwise, as in client-secret: password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = 11,
        "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$"}
    ))]
    pub keys: Option<BTreeMap<String, String>>,
    /// Labels and annotations for the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<SecretMetadata>,
    /// What becomes of the Secret when the OAuthClient is deleted: Delete or Retain. Absent: Delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Delete", "Retain"]))]
    pub deletion_policy: Option<String>,
}

/// Labels and annotations for the Secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(r"!has(self.labels) || self.labels.all(k, !k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|keywright[.]dev)/'))")
        .message("labels under kubernetes.io/, k8s.io/ and keywright.dev/ are not yours to set: choose another prefix"),
    validation = Rule::new(r"!has(self.annotations) || self.annotations.all(k, !k.matches('^([^/]*[.])?(kubernetes[.]io|k8s[.]io|keywright[.]dev)/'))")
        .message("annotations under kubernetes.io/, k8s.io/ and keywright.dev/ are not yours to set: choose another prefix")
)]
pub struct SecretMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
    ))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What the operator says about a client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuthClientStatus {
    /// The metadata.generation that the operator last looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
    /// The client identifier in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub client_id: Option<String>,
    /// The Secret, for the Service Binding specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// What the client may authenticate with: keyed digests, never values. Written by the operator alone; without it every replica
    /// refuses the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub credentials: Option<Vec<StoredCredential>>,
    /// When the Secret last got a new credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_rotation: Option<String>,
    /// When it gets the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub next_rotation: Option<String>,
    /// The schedule in force, and since when: a credential that is older counts as made then, so that turning a schedule on, or
    /// shortening it, rotates nothing at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<StoredSchedule>,
    /// The value of the annotation keywright.dev/rotate that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_rotate: Option<String>,
    /// The installation that works on this object, as `<namespace>/<release>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 127))]
    pub controller: Option<String>,
    /// Why `credentials`, though present, cannot be read. Never written.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// The Secret, for the Service Binding specification ("Provisioned Service").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// One registered credential. Texts, so that one that cannot be read hides nothing else; `register` reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredCredential {
    /// Its name, as in the Secret's annotation keywright.dev/credential.
    #[schemars(length(max = 64))]
    pub id: String,
    /// A keyed digest of the value: `<name of the digest key>:<base64url of HMAC-SHA-256>`.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Pending (registered, not yet published), Current (the one in the Secret) or Previous (an earlier one, still accepted).
    #[schemars(extend("enum" = ["Pending", "Current", "Previous"]))]
    pub state: String,
    /// When it was made.
    #[schemars(extend("format" = "date-time"))]
    pub created_at: String,
    /// Previous: it is not forgotten before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub retire_after: Option<String>,
    /// Previous: it is refused from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub accepted_until: Option<String>,
    /// A rehearsal (the annotation keywright.dev/rehearse) published it, or, Previous, replaced it: what is replaced goes when it is no
    /// longer used, and not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub rehearsed_until: Option<String>,
    /// Last use, coarse.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_used_at: Option<String>,
}

impl<'de> Deserialize<'de> for OAuthClientStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut stored = Stored::deserialize(deserializer)?;
        let (credentials, unreadable) = match stored.read("credentials") {
            None => (None, None),
            Some(Ok(credentials)) => (Some(credentials), None),
            Some(Err(why)) => (None, Some(why)),
        };
        Ok(Self {
            observed_generation: stored.member("observedGeneration"),
            conditions: stored.member("conditions"),
            client_id: stored.member("clientId"),
            binding: stored.member("binding"),
            credentials,
            last_rotation: stored.member("lastRotation"),
            next_rotation: stored.member("nextRotation"),
            schedule: stored.member("schedule"),
            last_handled_rotate: stored.member("lastHandledRotate"),
            controller: stored.member("controller"),
            unreadable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: &str) -> OAuthClientStatus {
        serde_json::from_str(status).unwrap()
    }

    #[test]
    fn a_status_never_written_differs_from_an_empty_one() {
        assert_eq!(read("{}").credentials, None);
        assert_eq!(read(r#"{"credentials": null}"#).credentials, None);
        assert_eq!(read(r#"{"credentials": []}"#).credentials, Some(vec![]));
    }

    #[test]
    fn a_status_of_another_shape_hides_only_itself() {
        let status = read(r#"{"observedGeneration": "many", "clientId": "a.b", "credentials": [{"id": 7}], "new": {"x": 1}}"#);
        assert_eq!(status.observed_generation, None);
        assert_eq!(status.client_id.as_deref(), Some("a.b"));
        assert_eq!(status.credentials, None);
        assert!(status.unreadable.is_some_and(|why| why.contains("invalid type")));
        assert_eq!(read("7"), OAuthClientStatus::default());
    }

    #[test]
    fn what_is_not_readable_is_not_written() {
        let status = read(r#"{"credentials": "none", "controller": "auth/keywright"}"#);
        assert_eq!(serde_json::to_string(&status).unwrap(), r#"{"controller":"auth/keywright"}"#);
    }
}
