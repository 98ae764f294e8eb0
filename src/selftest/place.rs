//! The namespace of a test: what is made there, looked at and removed. Every request is one that the chart's Role for the test allows.

use super::objects::{LABEL_RUN, Order};
use crate::{
    api::{OAuthClient, ProtectedResource},
    cluster,
    domain::names::ObjectName,
};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, time::Duration};

/// Time for an answer of the API server.
const ANSWER: Duration = Duration::from_secs(5);

/// What the API server did not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// A request that failed.
    #[error("cannot {verb} {kind} {object}: {why}{}", advice(.code))]
    Request {
        /// As RBAC calls it.
        verb: &'static str,
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
        /// The status, where there was an answer.
        code: Option<u16>,
        /// What it says.
        why: String,
    },
    /// There is one of that name, and no test made it.
    #[error("there is {kind} {object}, which no test made: it is left alone; say another name by --object")]
    Foreign {
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
    },
    /// A run that was killed left it behind, or another one is under way.
    #[error("{kind} {object} of another run of this test is being removed")]
    Leftover {
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
    },
}

impl PlaceError {
    /// Whether trying again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Request { code, .. } => code.is_none_or(|code| code == 409 || code == 429 || code >= 500),
            Self::Leftover { .. } => true,
            Self::Foreign { .. } => false,
        }
    }
}

fn advice(code: &Option<u16>) -> &'static str {
    match code {
        Some(403) => "; the chart's `helm test` brings an account with this right, by hand it takes one that may do the same",
        Some(404) => "; are the namespace and the CustomResourceDefinitions there?",
        None => "; is the API server reachable from here?",
        Some(_) => "",
    }
}

/// One of the two kinds that a test makes.
pub(super) trait Made:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl Made for OAuthClient {}
impl Made for ProtectedResource {}

/// See above.
pub(super) struct Place {
    kube: Client,
    order: Order,
}

impl Place {
    /// Through connections of its own, without retries.
    pub(super) fn new(config: &Config, order: Order) -> Result<Self, kube::Error> {
        Ok(Self { kube: cluster::requests(config, ANSWER)?, order })
    }

    pub(super) fn order(&self) -> &Order {
        &self.order
    }

    /// Creates the object, unless this run did already: the reply to an earlier try may have been lost. What another run left
    /// behind makes way.
    pub(super) async fn create<K: Made>(&self, object: &K) -> Result<(), PlaceError> {
        match self.api::<K>().create(&PostParams::default(), object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => self.make_way::<K>().await,
            Err(error) => Err(self.refused::<K>("create", &error)),
        }
    }

    async fn make_way<K: Made>(&self) -> Result<(), PlaceError> {
        let (kind, object) = (K::kind(&()).into_owned(), self.order.object.clone());
        let Some(there) = self.find::<K>().await? else { return Err(PlaceError::Leftover { kind, object }) };
        match there.labels().get(LABEL_RUN) {
            Some(run) if *run == self.order.run => Ok(()),
            Some(_) => {
                self.delete(&there).await?;
                Err(PlaceError::Leftover { kind, object })
            }
            None => Err(PlaceError::Foreign { kind, object }),
        }
    }

    /// Looks at the object.
    pub(super) async fn find<K: Made>(&self) -> Result<Option<K>, PlaceError> {
        self.api::<K>().get_opt(&self.order.object.name).await.map_err(|error| self.refused::<K>("get", &error))
    }

    /// Looks at the Secret.
    pub(super) async fn secret(&self) -> Result<Option<Secret>, PlaceError> {
        let secrets: Api<Secret> = Api::namespaced(self.kube.clone(), &self.order.object.namespace);
        secrets.get_opt(&self.order.object.name).await.map_err(|error| self.refused::<Secret>("get", &error))
    }

    /// Removes the object if this run made it.
    pub(super) async fn remove<K: Made>(&self) -> Result<(), PlaceError> {
        match self.find::<K>().await? {
            Some(there) if there.labels().get(LABEL_RUN) == Some(&self.order.run) => self.delete(&there).await,
            _ => Ok(()),
        }
    }

    /// This very object: not one that has taken its name meanwhile.
    async fn delete<K: Made>(&self, there: &K) -> Result<(), PlaceError> {
        let preconditions = Some(Preconditions { uid: there.uid(), resource_version: None });
        let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
        match self.api::<K>().delete(&self.order.object.name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(self.refused::<K>("delete", &error)),
        }
    }

    fn api<K: Made>(&self) -> Api<K> {
        Api::namespaced(self.kube.clone(), &self.order.object.namespace)
    }

    fn refused<K: Resource<DynamicType = ()>>(&self, verb: &'static str, error: &kube::Error) -> PlaceError {
        let (kind, object) = (K::kind(&()).into_owned(), self.order.object.clone());
        match error {
            kube::Error::Api(status) => {
                PlaceError::Request { verb, kind, object, code: Some(status.code), why: format!("{} ({})", status.message, status.code) }
            }
            other => PlaceError::Request { verb, kind, object, code: None, why: crate::causes::in_one_line(other) },
        }
    }
}
