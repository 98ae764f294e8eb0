//! The writes: create by POST, change by merge patch with resourceVersion and uid. Never server-side apply, never PUT.

use super::{
    Fault,
    workload::{Kind, Workload},
};
use crate::{
    api::OAuthClient,
    domain::{credential::CredentialId, names::ObjectName},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::apps::v1::{DaemonSet, Deployment, StatefulSet},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fmt::Debug;

/// Names the writer in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "keywright";

/// Patches the status of `object`. `patch` carries the preconditions.
pub(crate) async fn patch_status<K>(kube: &Client, object: &ObjectName, patch: &Value) -> Result<K, Fault>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(kube.clone(), &object.namespace);
    let written = api.patch_status(&object.name, &parameters(), &Patch::Merge(patch)).await;
    written.map_err(|error| Fault::writing("status", object, error))
}

/// Creates an object of `owner`'s. 409 is [`Fault::Contended`]: read again.
pub(crate) async fn create<K>(kube: &Client, kind: &'static str, owner: &ObjectName, manifest: &K) -> Result<K, Fault>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(kube.clone(), &owner.namespace);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    api.create(&parameters, manifest).await.map_err(|error| Fault::writing(kind, owner, error))
}

/// Patches an object of `owner`'s. `patch` carries the preconditions.
pub(crate) async fn patch<K>(kube: &Client, kind: &'static str, owner: &ObjectName, name: &str, patch: &Value) -> Result<K, Fault>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(kube.clone(), &owner.namespace);
    let written = api.patch(name, &parameters(), &Patch::Merge(patch)).await;
    written.map_err(|error| Fault::writing(kind, owner, error))
}

/// Restarts a workload beside a client, by a change of its pods' template.
pub(crate) async fn restart(kube: &Client, client: &ObjectName, workload: &Workload, id: &CredentialId) -> Result<(), Fault> {
    let (kind, name, change) = (workload.kind.as_str(), &workload.name, workload.restart_patch(id));
    match workload.kind {
        Kind::Deployment => patch::<Deployment>(kube, kind, client, name, &change).await.map(drop),
        Kind::StatefulSet => patch::<StatefulSet>(kube, kind, client, name, &change).await.map(drop),
        Kind::DaemonSet => patch::<DaemonSet>(kube, kind, client, name, &change).await.map(drop),
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The version of an object, as an integer of its kind (KEP-5504).
pub(crate) fn version(object: &OAuthClient) -> Option<u64> {
    object.resource_version()?.parse().ok()
}
