//! The release's own Secrets, as the leader makes and changes them; replicas only read them, through their watch.
//!
//! | Secret | Holds | Read by |
//! |---|---|---|
//! | `<release>-keys` | digest key and signing keys (`secret`) | every replica |
//! | `<release>-ca` | the self-signed CAs (`certificate::succession`) | the leader |
//! | `<release>-tls` | the serving certificate that it signed | every replica |
//!
//! Made by POST: where another leader was faster, the answer is 409 and what it made is read again, never overwritten. Changed by
//! merge patch with resourceVersion and uid. Never by server-side apply and never by PUT, which bring back what was deleted or
//! replace what another one wrote. They have no owner: they outlive an uninstall, as the clients that depend on them do.

pub mod certificate;
mod orders;
pub mod signing;

use super::{
    certificate::CertificateError,
    secret::{Data, KeySecretError},
    signing::SigningError,
};
use crate::{
    api::{LABEL_MANAGED_BY, MANAGED_BY},
    domain::names::ObjectName,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use std::collections::BTreeMap;

/// Reads and writes of one call at most: each of them is needed again only where another writer came in between.
const ATTEMPTS: usize = 5;

/// Why a Secret of the release is not as it has to be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server did not answer, or refused.
    #[error("{attempt} the Secret {secret} failed: {why}")]
    Call {
        /// What was tried.
        attempt: &'static str,
        /// The object.
        secret: ObjectName,
        /// What the API server said.
        why: String,
    },
    /// Not made by us.
    #[error("the Secret {0} exists and is not ours: rename or delete it, or hand it over with the label {LABEL_MANAGED_BY}={MANAGED_BY}")]
    Foreign(ObjectName),
    /// Others wrote to it each time.
    #[error("the Secret {0} was changed by others {ATTEMPTS} times in between: it will be tried again")]
    Contended(ObjectName),
    /// Nothing can be made of the key Secret.
    #[error("the Secret {0} cannot be used: {1}")]
    Keys(ObjectName, KeySecretError),
    /// A signing key was not made.
    #[error("the Secret {0} was not written: {1}")]
    Signing(ObjectName, SigningError),
    /// Nothing can be made of the CA, or no certificate was made.
    #[error("the Secret {0} cannot be used: {1}")]
    Certificate(ObjectName, CertificateError),
    /// The task that draws keys did not come back.
    #[error("the Secret {0} was not written: drawing a key was interrupted")]
    Interrupted(ObjectName),
}

/// A release: the namespace it is in and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The namespace.
    pub namespace: String,
    /// The name that its objects begin with.
    pub name: String,
}

impl Release {
    /// The Secret of the digest key and the signing keys.
    #[must_use]
    pub fn keys(&self) -> ObjectName {
        self.object("keys")
    }

    /// The Secret of the CA.
    #[must_use]
    pub fn authority(&self) -> ObjectName {
        self.object("ca")
    }

    /// The Secret of the serving certificate.
    #[must_use]
    pub fn serving(&self) -> ObjectName {
        self.object("tls")
    }

    fn object(&self, suffix: &str) -> ObjectName {
        ObjectName::new(&self.namespace, format!("{}-{suffix}", self.name))
    }
}

/// Changes of a Secret's data; `None`: the entry goes.
type Entries = BTreeMap<String, Option<ByteString>>;
/// Annotations of a Secret.
type Annotations = BTreeMap<String, String>;

/// One Secret of the release.
struct Stored {
    api: Api<Secret>,
    name: ObjectName,
    release: String,
}

impl Stored {
    fn new(client: &Client, release: &Release, name: ObjectName) -> Self {
        Self { api: Api::namespaced(client.clone(), &name.namespace), name, release: release.name.clone() }
    }

    /// What is there now, by a live read. `None`: nothing.
    async fn read(&self) -> Result<Option<Secret>, StoreError> {
        match self.api.get_opt(&self.name.name).await {
            Ok(Some(secret)) if secret.labels().get(LABEL_MANAGED_BY).is_none_or(|by| by != MANAGED_BY) => {
                Err(StoreError::Foreign(self.name.clone()))
            }
            Ok(found) => Ok(found),
            Err(error) => Err(self.failed("reading", &error)),
        }
    }

    /// Makes it. `None`: another one was faster.
    async fn create(&self, type_: &str, data: Data, annotations: Annotations) -> Result<Option<Secret>, StoreError> {
        let labels = [(LABEL_MANAGED_BY, MANAGED_BY), ("app.kubernetes.io/instance", self.release.as_str())];
        let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
        let name = Some(self.name.name.clone());
        let metadata = ObjectMeta { name, labels: Some(BTreeMap::from(labels)), annotations: Some(annotations), ..ObjectMeta::default() };
        let manifest = Secret { metadata, type_: Some(type_.to_owned()), data: Some(data), ..Secret::default() };
        let parameters = PostParams { field_manager: Some(MANAGED_BY.to_owned()), ..PostParams::default() };
        match self.api.create(&parameters, &manifest).await {
            Ok(made) => Ok(Some(made)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(self.failed("creating", &error)),
        }
    }

    /// Sets `data` (`None`: takes it out) and `annotations` in `found`, and leaves all others. `None`: it is not what it was any
    /// more (409), is gone (404), or was made anew (422).
    async fn patch(&self, found: &Secret, data: &Entries, annotations: &Annotations) -> Result<Option<Secret>, StoreError> {
        let (version, uid) = (found.resource_version(), found.uid());
        let metadata = serde_json::json!({ "resourceVersion": version, "uid": uid, "annotations": annotations });
        let patch = Patch::Merge(serde_json::json!({ "metadata": metadata, "data": data }));
        let parameters = PatchParams { field_manager: Some(MANAGED_BY.to_owned()), ..PatchParams::default() };
        match self.api.patch(&self.name.name, &parameters, &patch).await {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 422 && status.message.contains("metadata.uid") => Ok(None),
            Err(error) => Err(self.failed("changing", &error)),
        }
    }

    fn failed(&self, attempt: &'static str, error: &kube::Error) -> StoreError {
        let why = match error {
            // What the API server says of a Secret that it finds invalid may quote it.
            kube::Error::Api(status) if [400, 422].contains(&status.code) => format!("it was refused as invalid ({})", status.code),
            kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
            other => other.to_string(),
        };
        StoreError::Call { attempt, secret: self.name.clone(), why }
    }

    /// Draws keys off the threads that answer requests: an RSA key takes a tenth of a second or more.
    async fn draw<T: Send + 'static>(&self, draw: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        tokio::task::spawn_blocking(draw).await.map_err(|_| StoreError::Interrupted(self.name.clone()))
    }
}
