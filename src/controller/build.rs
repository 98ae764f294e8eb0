//! What the workload's Secret says; pure.
//!
//! Two writes exist: [`Manifest::created`] for POST, and [`Manifest::patch`], a merge patch that carries the resourceVersion
//! and uid of the Secret it was made from. Both carry the fence. Keys that we did not write are kept; which ones we wrote,
//! the annotation [`KEYS`] says, the key of the secret's value first. A client that has no secret gets the same without one, and
//! without credential and fence.

use crate::{
    api::{self, OAuthClient},
    domain::{
        client::{Client, SecretMethod},
        credential::{CredentialId, SecretValue},
        names::{Scope, space_delimited},
    },
};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource as _, ResourceExt, api::ObjectMeta};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Annotation of a managed Secret: the data keys that we wrote, comma-separated, the one with the secret's value first: before the
/// first comma stands nothing where there is no such value.
pub(crate) const KEYS: &str = "keywright.dev/keys";

/// What CAs begin with (RFC 7468), and no other value of ours.
const CERTIFICATES: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The names of the data keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Service Binding for Kubernetes (servicebinding.io), read as files.
    ServiceBinding,
    /// Environment variables.
    Env,
}

/// What `spec.secret` asks for.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) renamed: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// Whether the Secret is collected together with its client.
    pub(crate) owned: bool,
}

impl Shape {
    /// With the defaults of what `spec.secret` leaves out. What contradicts itself never comes here: `policy` refused it.
    pub(crate) fn of(object: &OAuthClient) -> Self {
        let asked = object.spec.secret.clone().unwrap_or_default();
        let metadata = asked.metadata.unwrap_or_default();
        Self {
            name: asked.name.unwrap_or_else(|| object.name_any()),
            format: if asked.format.as_deref() == Some("Env") { Format::Env } else { Format::ServiceBinding },
            renamed: asked.keys.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            owned: asked.deletion_policy.as_deref() != Some("Retain"),
        }
    }
}

/// Where the endpoint is reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) issuer: String,
    /// PEM; only with a private certificate authority.
    pub(crate) ca: Option<String>,
}

/// A credential on its way into a Secret.
#[derive(Clone, Copy)]
pub(crate) struct Published<'a> {
    pub(crate) id: &'a CredentialId,
    pub(crate) value: &'a SecretValue,
    pub(crate) fence: &'a BTreeSet<CredentialId>,
}

/// All that decides what a client's Secret says.
#[derive(Clone, Copy)]
pub(crate) struct Manifest<'a> {
    pub(crate) client: &'a Client,
    pub(crate) shape: &'a Shape,
    pub(crate) endpoints: &'a Endpoints,
}

impl Manifest<'_> {
    /// The Secret for POST.
    pub(crate) fn created(&self, published: Published<'_>) -> Secret {
        self.secret(Some(published))
    }

    /// The same of a client that has no secret.
    pub(crate) fn created_without_secret(&self) -> Secret {
        self.secret(None)
    }

    /// The merge patch (RFC 7396) that turns `found` into what the Secret should say, or nothing if it says so already.
    pub(crate) fn patch(&self, found: &Secret, published: Published<'_>) -> Option<Value> {
        self.changes(found, Some(published))
    }

    /// The same of a client that has no secret (any more).
    pub(crate) fn patch_without_secret(&self, found: &Secret) -> Option<Value> {
        self.changes(found, None)
    }

    fn secret(&self, published: Option<Published<'_>>) -> Secret {
        let data = self.data(published.map(|published| published.value));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.shape.name.clone()),
                namespace: Some(self.client.object.namespace.clone()),
                labels: Some(self.labels()),
                annotations: Some(self.annotations(published, &data)),
                owner_references: self.shape.owned.then(|| vec![self.owner()]),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data.into_iter().map(|(_, name, bytes)| (name, ByteString(bytes))).collect()),
            ..Secret::default()
        }
    }

    fn changes(&self, found: &Secret, published: Option<Published<'_>>) -> Option<Value> {
        let data = self.data(published.map(|published| published.value));
        let mut metadata = Map::new();
        insert_changes(&mut metadata, "labels", &self.labels(), found.metadata.labels.as_ref());
        insert_changes(&mut metadata, "annotations", &self.annotations(published, &data), found.metadata.annotations.as_ref());
        if published.is_none() && found.annotations().contains_key(api::ANNOTATION_CREDENTIAL) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[api::ANNOTATION_CREDENTIAL] = Value::Null;
        }
        if let Some(owners) = self.owners(found) {
            metadata.insert("ownerReferences".to_owned(), json!(owners));
        }
        let changed = self.changed_data(found, &data);
        if metadata.is_empty() && changed.is_empty() {
            return None;
        }
        metadata.insert("resourceVersion".to_owned(), json!(found.metadata.resource_version));
        metadata.insert("uid".to_owned(), json!(found.metadata.uid));
        let mut patch = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
        if !changed.is_empty() {
            patch.insert("data".to_owned(), Value::Object(changed));
        }
        Some(Value::Object(patch))
    }

    /// Whether `found` has the same `ca.crt`.
    pub(crate) fn trusts_alike(&self, found: &Secret) -> bool {
        let standard = match self.shape.format {
            Format::ServiceBinding => "ca.crt",
            Format::Env => "CA_CERT",
        };
        let name = self.shape.renamed.get(standard).map_or(standard, String::as_str);
        let present = found.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice());
        present == self.endpoints.ca.as_deref().map(str::as_bytes)
    }

    fn changed_data(&self, found: &Secret, data: &[(&'static str, String, Vec<u8>)]) -> Map<String, Value> {
        let present = found.data.clone().unwrap_or_default();
        let ours: BTreeSet<&str> = data.iter().map(|(_, name, _)| name.as_str()).collect();
        let gone = written_keys(found).into_iter().filter(|name| !ours.contains(name.as_str()) && present.contains_key(name));
        let changed = data.iter().filter(|(_, name, bytes)| present.get(name).is_none_or(|found| found.0 != *bytes));
        let mut map: Map<String, Value> = gone.map(|name| (name, Value::Null)).collect();
        map.extend(changed.map(|(_, name, bytes)| (name.clone(), json!(ByteString(bytes.clone())))));
        map
    }

    /// Standard name, name in this Secret, and value of each data key. No trailing newlines.
    fn data(&self, value: Option<&SecretValue>) -> Vec<(&'static str, String, Vec<u8>)> {
        let issuer = &self.endpoints.issuer;
        let scopes: BTreeSet<&Scope> = self.client.access.iter().flat_map(|access| &access.scopes).collect();
        let scope = space_delimited(scopes);
        let method = match self.client.secret_method {
            None if self.client.private_key_jwt.is_none() && self.client.service_accounts.is_empty() => "spiffe_jwt",
            None => "private_key_jwt",
            Some(SecretMethod::Post) => "client_secret_post",
            Some(SecretMethod::Any | SecretMethod::Basic) => "client_secret_basic",
        };
        let value = value.map(|value| value.expose().to_owned()).unwrap_or_default();
        let ca = self.endpoints.ca.clone().unwrap_or_default();
        let entries: Vec<(&'static str, String)> = match self.shape.format {
            Format::ServiceBinding => vec![
                ("client-secret", value),
                ("type", "oauth2".to_owned()),
                ("provider", "keywright".to_owned()),
                ("client-id", self.client.id.to_string()),
                ("scope", scope),
                ("issuer-uri", issuer.clone()),
                ("token-uri", format!("{issuer}/oauth2/token")),
                ("jwk-set-uri", format!("{issuer}/oauth2/jwks")),
                ("client-authentication-method", method.to_owned()),
                ("authorization-grant-type", "client_credentials".to_owned()),
                ("ca.crt", ca),
            ],
            Format::Env => vec![
                ("CLIENT_SECRET", value),
                ("CLIENT_ID", self.client.id.to_string()),
                ("TOKEN_URL", format!("{issuer}/oauth2/token")),
                ("ISSUER_URL", issuer.clone()),
                ("JWKS_URL", format!("{issuer}/oauth2/jwks")),
                ("SCOPES", scope),
                ("CA_CERT", ca),
            ],
        };
        let renamed = |name: &str| self.shape.renamed.get(name).cloned().unwrap_or_else(|| name.to_owned());
        entries.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name, renamed(name), text.into_bytes())).collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.shape.labels.clone();
        labels.insert(api::LABEL_MANAGED_BY.to_owned(), api::MANAGED_BY.to_owned());
        labels.insert(api::LABEL_CLIENT.to_owned(), self.client.object.name.clone());
        labels
    }

    fn annotations(&self, published: Option<Published<'_>>, data: &[(&'static str, String, Vec<u8>)]) -> BTreeMap<String, String> {
        let mut annotations = self.shape.annotations.clone();
        let value = published.is_none().then_some("");
        let keys = value.into_iter().chain(data.iter().map(|(_, name, _)| name.as_str())).collect::<Vec<_>>().join(",");
        annotations.insert(KEYS.to_owned(), keys);
        if let Some(published) = published {
            annotations.insert(api::ANNOTATION_CREDENTIAL.to_owned(), published.id.as_str().to_owned());
            annotations.insert(api::ANNOTATION_FENCE.to_owned(), fence_text(published.fence));
        }
        annotations
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: OAuthClient::api_version(&()).into_owned(),
            kind: OAuthClient::kind(&()).into_owned(),
            name: self.client.object.name.clone(),
            uid: self.client.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// The owners as they should be, where they differ: ours with `Delete`, not ours with `Retain`, others as they are.
    fn owners(&self, found: &Secret) -> Option<Vec<OwnerReference>> {
        let present = found.metadata.owner_references.clone().unwrap_or_default();
        let is_ours = |owner: &OwnerReference| owner.uid == self.client.uid;
        match (self.shape.owned, present.iter().any(is_ours)) {
            (true, false) => Some(present.into_iter().chain([self.owner()]).collect()),
            (false, true) => Some(present.into_iter().filter(|owner| !is_ours(owner)).collect()),
            _ => None,
        }
    }
}

/// The patch that sets the fence alone (rotation.md step 5).
pub(crate) fn fence_patch(found: &Secret, fence: &BTreeSet<CredentialId>) -> Value {
    json!({"metadata": {
        "resourceVersion": found.metadata.resource_version,
        "uid": found.metadata.uid,
        "annotations": {api::ANNOTATION_FENCE: fence_text(fence)},
    }})
}

/// The patch that replaces the CAs that we wrote into a Secret, under whatever name, and nothing else; `None`: they are `ca`, or there
/// are none.
pub(crate) fn trust_patch(found: &Secret, ca: Option<&str>) -> Option<Value> {
    let (ca, data) = (ca?, found.data.as_ref()?);
    // The first is the secret's value.
    let stale = |name: &String| data.get(name).is_some_and(|bytes| bytes.0.starts_with(CERTIFICATES) && bytes.0 != ca.as_bytes());
    let stale: Map<String, Value> =
        written_keys(found).into_iter().skip(1).filter(stale).map(|name| (name, json!(ByteString(ca.into())))).collect();
    (!stale.is_empty()).then(|| {
        json!({
            "metadata": {"resourceVersion": found.metadata.resource_version, "uid": found.metadata.uid},
            "data": stale,
        })
    })
}

/// The patch that takes our keys, labels and annotations out of a Secret that the client no longer uses.
pub(crate) fn withdrawal_patch(found: &Secret, client_uid: &str) -> Value {
    let nulls = |names: Vec<String>| names.into_iter().map(|name| (name, Value::Null)).collect::<Map<_, _>>();
    let owners: Vec<_> = found.metadata.owner_references.iter().flatten().filter(|owner| owner.uid != client_uid).cloned().collect();
    json!({
        "metadata": {
            "resourceVersion": found.metadata.resource_version,
            "uid": found.metadata.uid,
            "labels": nulls(vec![api::LABEL_MANAGED_BY.to_owned(), api::LABEL_CLIENT.to_owned()]),
            "annotations": nulls([KEYS, api::ANNOTATION_CREDENTIAL, api::ANNOTATION_FENCE].map(str::to_owned).to_vec()),
            "ownerReferences": owners,
        },
        "data": nulls(written_keys(found)),
    })
}

/// The data keys that we wrote, the secret's first, if there is one.
pub(crate) fn written_keys(found: &Secret) -> Vec<String> {
    let names = found.annotations().get(KEYS).into_iter().flat_map(|text| text.split(','));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn has_no_value(found: &Secret) -> bool {
    found.annotations().get(KEYS).is_some_and(|text| text.starts_with(','))
}

/// The value that the Secret holds under the key where we wrote it, or would write it.
pub(crate) fn stored_value(found: &Secret, shape: &Shape) -> Option<SecretValue> {
    let standard = match shape.format {
        Format::ServiceBinding => "client-secret",
        Format::Env => "CLIENT_SECRET",
    };
    if has_no_value(found) {
        return None;
    }
    let planned = shape.renamed.get(standard).cloned().unwrap_or_else(|| standard.to_owned());
    let name = written_keys(found).into_iter().next().unwrap_or(planned);
    let bytes = found.data.as_ref()?.get(&name)?;
    Some(SecretValue::from_text(String::from_utf8(bytes.0.clone()).ok()?))
}

/// The ids in the annotation `keywright.dev/fence`.
pub(crate) fn stored_fence(found: &Secret) -> BTreeSet<CredentialId> {
    let text = found.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::ANNOTATION_FENCE));
    text.map(|text| text.split(',').filter_map(CredentialId::parse).collect()).unwrap_or_default()
}

fn fence_text(fence: &BTreeSet<CredentialId>) -> String {
    fence.iter().map(CredentialId::as_str).collect::<Vec<_>>().join(",")
}

fn insert_changes(
    into: &mut Map<String, Value>,
    field: &str,
    wanted: &BTreeMap<String, String>,
    present: Option<&BTreeMap<String, String>>,
) {
    let differs = |(name, text): &(&String, &String)| present.and_then(|present| present.get(*name)) != Some(*text);
    let changes: Map<String, Value> = wanted.iter().filter(differs).map(|(name, text)| (name.clone(), json!(text))).collect();
    if !changes.is_empty() {
        into.insert(field.to_owned(), Value::Object(changes));
    }
}
