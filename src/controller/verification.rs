//! What an API's verification ConfigMap says; pure. An API that mounts it has all that its verifier needs.

use super::build::Endpoints;
use crate::{
    api::{self, ProtectedResource, verification},
    domain::resource::Resource,
};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource as _, ResourceExt, api::ObjectMeta};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All that decides what the ConfigMap says.
#[derive(Clone, Copy)]
pub(crate) struct Verification<'a> {
    pub(crate) name: &'a str,
    pub(crate) resource: &'a Resource,
    pub(crate) endpoints: &'a Endpoints,
    /// The JWKS document.
    pub(crate) jwks: &'a str,
}

impl Verification<'_> {
    /// The ConfigMap for POST.
    pub(crate) fn created(&self) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.to_owned()),
                namespace: Some(self.resource.object.namespace.clone()),
                labels: Some(self.labels()),
                owner_references: Some(vec![self.owner()]),
                ..ObjectMeta::default()
            },
            data: Some(self.data()),
            ..ConfigMap::default()
        }
    }

    /// The merge patch that turns `found` into what it should say, or nothing if it says so already. Keys that we did not write
    /// are kept.
    pub(crate) fn patch(&self, found: &ConfigMap) -> Option<Value> {
        let present = found.data.clone().unwrap_or_default();
        let data = self.data();
        let mut changed: Map<String, Value> =
            data.iter().filter(|(name, text)| present.get(*name) != Some(*text)).map(|(name, text)| (name.clone(), json!(text))).collect();
        if present.contains_key(verification::CA) && !data.contains_key(verification::CA) {
            changed.insert(verification::CA.to_owned(), Value::Null);
        }
        (!changed.is_empty()).then(|| {
            json!({
                "metadata": {"resourceVersion": found.metadata.resource_version, "uid": found.metadata.uid},
                "data": changed,
            })
        })
    }

    /// Whether `found` has the same `ca.crt`.
    pub(crate) fn trusts_alike(&self, found: &ConfigMap) -> bool {
        found.data.as_ref().and_then(|data| data.get(verification::CA)) == self.endpoints.ca.as_ref()
    }

    fn data(&self) -> BTreeMap<String, String> {
        let issuer = &self.endpoints.issuer;
        let entries = [
            (verification::ISSUER, issuer.clone()),
            (verification::AUDIENCE, self.resource.audience.to_string()),
            (verification::JWKS_URI, format!("{issuer}/oauth2/jwks")),
            (verification::JWKS, self.jwks.to_owned()),
            (verification::CA, self.endpoints.ca.clone().unwrap_or_default()),
        ];
        entries.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text)).collect()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let labels = [(api::LABEL_MANAGED_BY, api::MANAGED_BY), (api::LABEL_RESOURCE, self.resource.object.name.as_str())];
        labels.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: ProtectedResource::api_version(&()).into_owned(),
            kind: ProtectedResource::kind(&()).into_owned(),
            name: self.resource.object.name.clone(),
            uid: self.resource.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// Whether a ConfigMap of the wanted name was made for `resource`.
pub(crate) fn is_ours(found: &ConfigMap, resource: &ProtectedResource) -> bool {
    let label = |key: &str| found.labels().get(key).map(String::as_str);
    let uid = resource.uid().unwrap_or_default();
    let stranger = found.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid != uid);
    label(api::LABEL_MANAGED_BY) == Some(api::MANAGED_BY) && label(api::LABEL_RESOURCE) == Some(resource.name_any().as_str()) && !stranger
}

/// The patch that takes our keys and labels out of a ConfigMap that is no longer kept current.
pub(crate) fn withdrawal_patch(found: &ConfigMap) -> Value {
    let nulls = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Map<_, _>>();
    let keys = [verification::ISSUER, verification::AUDIENCE, verification::JWKS_URI, verification::JWKS, verification::CA];
    json!({
        "metadata": {
            "resourceVersion": found.metadata.resource_version,
            "uid": found.metadata.uid,
            "labels": nulls(&[api::LABEL_MANAGED_BY, api::LABEL_RESOURCE]),
        },
        "data": nulls(&keys),
    })
}
