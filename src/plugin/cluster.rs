//! The cluster, as the person's kubeconfig has it: reads and writes, and what to do where one is refused.

use crate::{
    causes,
    cli::{ClusterArgs, Exit},
    cluster::{chosen, requests},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    client::Body,
    core::Status,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fmt::Debug, time::Duration};
use zeroize::Zeroizing;

/// Time for an answer: a person is waiting.
const ANSWER: Duration = Duration::from_secs(30);
/// In messages.
const EVERYWHERE: &str = "";

/// Why the cluster did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig.
    #[error("no way to a cluster: {0}")]
    Kubeconfig(String),
    /// No connection.
    #[error("the API server {server} does not answer: {why}")]
    OutOfReach {
        /// Its URL.
        server: String,
        /// The causes.
        why: String,
    },
    /// Not there.
    #[error("there is no {kind} {name} in the namespace {namespace}")]
    Missing {
        /// What.
        kind: String,
        /// Its name.
        name: String,
        /// Where.
        namespace: String,
    },
    /// The kind is unknown.
    #[error("this cluster has no {kind} of keywright.dev/v1alpha1: is Keywright installed, and is this the right context?")]
    NotInstalled {
        /// Which.
        kind: String,
    },
    /// RBAC.
    #[error("{attempt} is not allowed: {message}")]
    Forbidden {
        /// What was tried.
        attempt: String,
        /// What the API server says: who lacks which right.
        message: String,
    },
    /// Somebody wrote in between.
    #[error("{attempt} failed: it has changed in between; try again")]
    Conflict {
        /// What was tried.
        attempt: String,
    },
    /// Anything else.
    #[error("{attempt} failed: {message}")]
    Refused {
        /// What was tried.
        attempt: String,
        /// What the API server says.
        message: String,
    },
}

impl ClusterError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. } | Self::NotInstalled { .. } => Exit::Missing,
            Self::Forbidden { .. } => Exit::Refused,
            Self::OutOfReach { .. } | Self::Conflict { .. } => Exit::OutOfReach,
            Self::Kubeconfig(_) | Self::Refused { .. } => Exit::Failed,
        }
    }
}

/// What a Service answered.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A cluster, and the namespace that is meant.
pub(super) struct Cluster {
    client: Client,
    server: String,
    pub(super) namespace: String,
}

impl Cluster {
    /// As kubectl would choose it.
    pub(super) async fn connect(arguments: &ClusterArgs) -> Result<Self, ClusterError> {
        let chosen = chosen(arguments.kubeconfig.as_deref(), arguments.context.as_deref()).await;
        let config = chosen.map_err(|error| ClusterError::Kubeconfig(error.to_string()))?;
        let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = requests(&config, ANSWER).map_err(|error| ClusterError::Kubeconfig(causes::in_one_line(&error)))?;
        Ok(Self { client, server, namespace })
    }

    /// One object of a namespace.
    pub(super) async fn read<K>(&self, namespace: &str, name: &str) -> Result<K, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let attempt = Attempt::of::<K>("reading", namespace, Some(name));
        Api::<K>::namespaced(self.client.clone(), namespace).get(name).await.map_err(|error| self.fault(&attempt, error))
    }

    /// All objects of a namespace.
    pub(super) async fn list<K>(&self, namespace: &str, parameters: &ListParams) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let attempt = Attempt::of::<K>("listing", namespace, None);
        let listed = Api::<K>::namespaced(self.client.clone(), namespace).list(parameters).await;
        listed.map(|list| list.items).map_err(|error| self.fault(&attempt, error))
    }

    /// All objects of all namespaces.
    pub(super) async fn list_everywhere<K>(&self, parameters: &ListParams) -> Result<Vec<K>, ClusterError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let attempt = Attempt::of::<K>("listing", EVERYWHERE, None);
        let listed = Api::<K>::all(self.client.clone()).list(parameters).await;
        listed.map(|list| list.items).map_err(|error| self.fault(&attempt, error))
    }

    /// The metadata of an object. Of a Secret nothing else crosses the network.
    pub(super) async fn metadata<K>(&self, namespace: &str, name: &str) -> Result<ObjectMeta, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let attempt = Attempt::of::<K>("reading", namespace, Some(name));
        let read = Api::<K>::namespaced(self.client.clone(), namespace).get_metadata(name).await;
        read.map(|object| object.metadata).map_err(|error| self.fault(&attempt, error))
    }

    /// A merge patch. It is to carry the uid, and the resourceVersion where it was computed from what was read.
    pub(super) async fn change<K>(&self, namespace: &str, name: &str, patch: &Value) -> Result<(), ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let attempt = Attempt::of::<K>("changing", namespace, Some(name));
        let objects = Api::<K>::namespaced(self.client.clone(), namespace);
        let changed = objects.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        changed.map(drop).map_err(|error| self.fault(&attempt, error))
    }

    /// A short-lived token of a ServiceAccount of the namespace that is meant, for this audience alone.
    pub(super) async fn service_account_token(&self, name: &str, audience: &str) -> Result<Zeroizing<String>, ClusterError> {
        let attempt = Attempt::of::<ServiceAccount>("making a token of", &self.namespace, Some(name));
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &self.namespace);
        // The shortest that the API server makes.
        let spec =
            TokenRequestSpec { audiences: vec![audience.to_owned()].into(), expiration_seconds: Some(600), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let made = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let made = made.map_err(|error| self.fault(&attempt, error))?;
        Ok(Zeroizing::new(made.status.and_then(|status| status.token).unwrap_or_default()))
    }

    /// What a Service (`<scheme>:<name>:<port>`) answers to a form, by way of the API server. What that itself says is an error.
    pub(super) async fn post_to_service(
        &self,
        (namespace, service): (&str, &str),
        path: &str,
        form: &str,
    ) -> Result<Answered, ClusterError> {
        let attempt =
            Attempt { deed: "calling", kind: "Service".to_owned(), namespace: namespace.to_owned(), name: Some(service.to_owned()) };
        let failed = |error| self.fault(&attempt, error);
        let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/services/{service}/proxy{path}"));
        let request = request.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(form.as_bytes().to_vec())).map_err(|error| failed(kube::Error::HttpError(error)))?;
        let (head, body) = self.client.send(request).await.map_err(failed)?.into_parts();
        let body = body.collect_bytes().await.map_err(failed)?.to_vec();
        match of_the_api_server(&body) {
            Some(status) if !head.status.is_success() => Err(failed(kube::Error::Api(Box::new(status)))),
            _ => Ok(Answered { status: head.status.as_u16(), body }),
        }
    }

    fn fault(&self, attempt: &Attempt, error: kube::Error) -> ClusterError {
        let told = attempt.to_string();
        match error {
            kube::Error::Api(status) if status.code == 404 && is_unknown_kind(&status.message) => {
                ClusterError::NotInstalled { kind: attempt.kind.clone() }
            }
            kube::Error::Api(status) if status.code == 404 => ClusterError::Missing {
                kind: attempt.kind.clone(),
                name: attempt.name.clone().unwrap_or_default(),
                namespace: attempt.namespace.clone(),
            },
            kube::Error::Api(status) if status.code == 403 => ClusterError::Forbidden { attempt: told, message: status.message.clone() },
            kube::Error::Api(status) if status.code == 401 => {
                ClusterError::Forbidden { attempt: told, message: "the API server does not know the user of this kubeconfig".to_owned() }
            }
            kube::Error::Api(status) if status.code == 409 => ClusterError::Conflict { attempt: told },
            kube::Error::Api(status) if status.code >= 500 || status.code == 429 => {
                ClusterError::OutOfReach { server: self.server.clone(), why: status.message.clone() }
            }
            kube::Error::Api(status) => ClusterError::Refused { attempt: told, message: status.message.clone() },
            error @ (kube::Error::Service(_) | kube::Error::HyperError(_)) => {
                ClusterError::OutOfReach { server: self.server.clone(), why: causes::in_one_line(&error) }
            }
            error => ClusterError::Refused { attempt: told, message: causes::in_one_line(&error) },
        }
    }
}

/// What was tried, for messages.
struct Attempt {
    deed: &'static str,
    kind: String,
    namespace: String,
    name: Option<String>,
}

impl Attempt {
    fn of<K: Resource<DynamicType = ()>>(deed: &'static str, namespace: &str, name: Option<&str>) -> Self {
        Self { deed, kind: K::kind(&()).into_owned(), namespace: namespace.to_owned(), name: name.map(str::to_owned) }
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} the {} {}/{name}", self.deed, self.kind, self.namespace),
            None if self.namespace == EVERYWHERE => write!(f, "{} the {}s of all namespaces", self.deed, self.kind),
            None => write!(f, "{} the {}s of the namespace {}", self.deed, self.kind, self.namespace),
        }
    }
}

/// An object that is missing is named in quotes; a kind is not.
fn is_unknown_kind(message: &str) -> bool {
    message.contains("could not find the requested resource") || message.contains("page not found")
}

/// What the API server says of a request that it did not pass on. Its kind is what nobody else's answers have.
fn of_the_api_server(body: &[u8]) -> Option<Status> {
    let value: Value = serde_json::from_slice(body).ok()?;
    (value.get("kind")? == "Status" && value.get("apiVersion")? == "v1").then(|| serde_json::from_value(value).ok())?
}
