//! Objects as people write them: YAML in, the API server's answer out.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

/// The documents of a YAML text.
pub(crate) fn documents(yaml: &str) -> Vec<DynamicObject> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{error} in\n{yaml}"))
}

/// The API that an object of this `apiVersion` and `kind` goes to, in this namespace.
pub(crate) fn api_of(client: &Client, namespace: &str, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match kind {
        "Namespace" | "ClusterRole" | "ClusterRoleBinding" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

fn api(client: &Client, namespace: &str, object: &DynamicObject) -> Api<DynamicObject> {
    let types = object.types.clone().unwrap_or_default();
    api_of(client, object.namespace().as_deref().unwrap_or(namespace), &types.api_version, &types.kind)
}

/// Creates the one object of `yaml`, or lets the API server say why not.
pub(crate) async fn create(client: &Client, namespace: &str, yaml: &str) -> kube::Result<DynamicObject> {
    let object = documents(yaml).remove(0);
    api(client, namespace, &object).create(&PostParams::default(), &object).await
}

/// As `create`, and nothing is stored.
pub(crate) async fn try_create(client: &Client, namespace: &str, yaml: &str) -> kube::Result<DynamicObject> {
    let object = documents(yaml).remove(0);
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    api(client, namespace, &object).create(&parameters, &object).await
}

/// `kubectl apply --server-side` of all objects of `yaml`, in order.
pub(crate) async fn apply(client: &Client, namespace: &str, yaml: &str) -> kube::Result<Vec<DynamicObject>> {
    let parameters = PatchParams::apply("it").force();
    let mut applied = Vec::new();
    for object in documents(yaml) {
        applied.push(api(client, namespace, &object).patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await?);
    }
    Ok(applied)
}

/// A merge patch of one object of ours.
pub(crate) async fn merge(client: &Client, namespace: &str, kind: &str, name: &str, patch: &Value) -> kube::Result<DynamicObject> {
    let api = api_of(client, namespace, "keywright.dev/v1alpha1", kind);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// What the API server said to a call that it refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        other => panic!("{other:?} instead of a refusal"),
    }
}
