//! What is read of one client, and in which order: the object that the step writes first, the other one live after it. What a
//! client may have is never read here: it is computed from the grants.

use super::{
    Fault,
    build::{Shape, stored_fence, stored_value},
    workload::{Kind, Workload},
};
use crate::{
    api::{self, OAuthClient, register::RegisterError},
    domain::{
        credential::{Credential, CredentialId, SecretValue},
        names::ObjectName,
        rotation::{Object, Register, Stored},
    },
    keys::{DigestKey, certificate::ServingCertificate, secret::KeyFile},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::Secret,
    },
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

/// Most characters of a value that is echoed: the schema's bound.
const MOST_ECHOED: usize = 256;

/// One client as it was read.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) object: OAuthClient,
    /// The Secret of the name that the spec asks for, whosever it is.
    pub(crate) secret: Option<Secret>,
}

/// Whose the Secret of a client's name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// There is none, or one of ours that belongs to another UID and is about to be collected.
    Nobody,
    /// Ours.
    Us,
    /// Somebody else's, in words.
    Foreign(String),
}

/// Reads both objects from the API server, not from a cache. `None`: the client is gone, or is another one.
pub(crate) async fn live(kube: &Client, name: &ObjectName, uid: &str, secret: &str, first: Object) -> Result<Option<Seen>, Fault> {
    let clients: Api<OAuthClient> = Api::namespaced(kube.clone(), &name.namespace);
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), &name.namespace);
    let read_client = || async { clients.get_opt(&name.name).await.map_err(|error| Fault::reading("OAuthClient", name, error)) };
    let read_secret = || async { secrets.get_opt(secret).await.map_err(|error| Fault::reading("Secret", name, error)) };
    let (object, secret) = match first {
        Object::Status => {
            let object = read_client().await?;
            (object, read_secret().await?)
        }
        Object::Secret => {
            let secret = read_secret().await?;
            (read_client().await?, secret)
        }
    };
    let same = object.filter(|object| object.uid().as_deref() == Some(uid) && object.metadata.deletion_timestamp.is_none());
    Ok(same.map(|object| Seen { object, secret }))
}

/// The workloads beside a client.
pub(crate) async fn workloads(kube: &Client, client: &ObjectName) -> Result<Vec<Workload>, Fault> {
    let deployments = workloads_of::<Deployment>(kube, client, Kind::Deployment).await?;
    let stateful_sets = workloads_of::<StatefulSet>(kube, client, Kind::StatefulSet).await?;
    let daemon_sets = workloads_of::<DaemonSet>(kube, client, Kind::DaemonSet).await?;
    Ok([deployments, stateful_sets, daemon_sets].concat())
}

async fn workloads_of<K>(kube: &Client, client: &ObjectName, kind: Kind) -> Result<Vec<Workload>, Fault>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Serialize + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(kube.clone(), &client.namespace);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(|error| Fault::reading(kind.as_str(), client, error))?;
    Ok(listed.items.iter().map(|object| Workload::read(kind, object)).collect())
}

/// The name of the digest key in the release's key Secret, read live; `None`: there is none, or it cannot be read.
pub(crate) async fn digest_key_name(kube: &Client, name: &ObjectName) -> Result<Option<String>, Fault> {
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), &name.namespace);
    let found = secrets.get_opt(&name.name).await.map_err(|error| Fault::reading("key Secret", name, error))?;
    let file = found.and_then(|secret| KeyFile::parse(&secret.data.unwrap_or_default()).ok());
    Ok(file.map(|file| file.digest.name().to_owned()))
}

/// `ca.crt` beside the serving certificate, read live; `None`: there is no such Secret, or it cannot be read.
pub(crate) async fn trusted(kube: &Client, name: &ObjectName) -> Result<Option<Option<String>>, Fault> {
    let found = secret(kube, name, &name.name).await?;
    Ok(found.and_then(|secret| ServingCertificate::parse(&secret.data.unwrap_or_default()).ok()).map(|shown| shown.ca))
}

/// A Secret beside `object`, read live.
pub(crate) async fn secret(kube: &Client, object: &ObjectName, name: &str) -> Result<Option<Secret>, Fault> {
    let secrets: Api<Secret> = Api::namespaced(kube.clone(), &object.namespace);
    secrets.get_opt(name).await.map_err(|error| Fault::reading("Secret", object, error))
}

impl Seen {
    /// What status says is registered.
    pub(crate) fn register(&self, key: &DigestKey) -> Result<Register, RegisterError> {
        api::register::register(self.object.status.as_ref(), key.name())
    }

    /// The value of the annotation that asks for a rotation, as `status.lastHandledRotate` holds it.
    pub(crate) fn asked_rotation(&self) -> Option<String> {
        let value = self.object.annotations().get(api::ANNOTATION_ROTATE)?;
        Some(value.chars().take(MOST_ECHOED).collect()).filter(|value: &String| !value.is_empty())
    }

    /// Whether the Secret is one that the client takes over: its annotation says so, and our labels are not there yet.
    pub(crate) fn is_adopted(&self) -> bool {
        let secret = self.secret.as_ref();
        secret.is_some_and(|secret| {
            !self.is_labelled(secret) && secret.annotations().get(api::ANNOTATION_ADOPT) == Some(&self.object.name_any())
        })
    }

    fn is_labelled(&self, secret: &Secret) -> bool {
        let label = |key: &str| secret.labels().get(key).map(String::as_str);
        label(api::LABEL_MANAGED_BY) == Some(api::MANAGED_BY) && label(api::LABEL_CLIENT) == Some(self.object.name_any().as_str())
    }

    /// Whose the Secret is: ours is what carries both labels with our names, or names us for its adoption, has type Opaque, and no
    /// other owner.
    pub(crate) fn holder(&self) -> Holder {
        let Some(secret) = &self.secret else { return Holder::Nobody };
        let adopted = self.is_adopted();
        if !adopted && !self.is_labelled(secret) {
            return Holder::Foreign("was not made for this OAuthClient".to_owned());
        }
        if let Some(other) = secret.labels().get(api::LABEL_CLIENT).filter(|_| adopted) {
            return Holder::Foreign(format!("was made for the OAuthClient {other}"));
        }
        if secret.type_.as_deref() != Some("Opaque") {
            return Holder::Foreign(format!("has the type {}, not Opaque", secret.type_.as_deref().unwrap_or_default()));
        }
        if adopted && secret.immutable == Some(true) {
            return Holder::Foreign("is immutable".to_owned());
        }
        let uid = self.object.uid().unwrap_or_default();
        let stranger = secret.owner_references().iter().find(|owner| owner.controller == Some(true) && owner.uid != uid);
        match stranger {
            Some(owner) if owner.kind == "OAuthClient" && !adopted => Holder::Nobody,
            Some(owner) => Holder::Foreign(format!("belongs to the {} {}", owner.kind, owner.name)),
            None => Holder::Us,
        }
    }

    /// What the Secret holds, where it is ours or nobody's.
    pub(crate) fn stored(&self, shape: &Shape, credentials: &[Credential], key: &DigestKey) -> Stored {
        match (&self.secret, self.holder()) {
            (Some(secret), Holder::Us) => {
                let value = stored_value(secret, shape);
                Stored::Present {
                    holds: value.as_ref().and_then(|value| self.holds(value, credentials, key)),
                    our_form: value.as_ref().is_some_and(SecretValue::has_our_form),
                    fence: stored_fence(secret),
                }
            }
            _ => Stored::Missing,
        }
    }

    fn holds(&self, value: &SecretValue, credentials: &[Credential], key: &DigestKey) -> Option<CredentialId> {
        let uid = self.object.uid()?;
        let matches = |known: &&Credential| key.matches(&known.digest, &uid, &known.id, value.expose().as_bytes());
        credentials.iter().find(matches).map(|known| known.id.clone())
    }
}
