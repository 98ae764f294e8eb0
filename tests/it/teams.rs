//! The people of a test: an API team with the namespace `$shop`, a workload team with the namespace `$billing`, and the installation that
//! serves both.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keywright::api::OAuthClient;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::cluster::eventually;
use crate::objects;
use crate::operator::{Operator, SOON};
use crate::workload::{Credentials, answered};

/// An API that grants `invoices.read` to the client `worker`.
pub(crate) const INVOICES: &str = "
apiVersion: keywright.dev/v1alpha1
kind: ProtectedResource
metadata: {name: invoices, namespace: $shop}
spec:
  issuer: $issuer
  scopes: [{name: invoices.read}, {name: invoices.write}]
  grants: [{namespaces: [$billing], clients: [worker], scopes: [invoices.read]}]
";

/// Six lines, and the installation where it is not `default`.
pub(crate) const WORKER: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: $billing}
spec:
  issuer: $issuer
  access: [{resource: $shop/invoices, scopes: [invoices.read]}]
";

/// See above.
pub(crate) struct Teams<'cluster> {
    pub(crate) operator: &'cluster Operator<'cluster>,
    /// Of the cluster's administrator: `tenants` is about what others may do.
    pub(crate) kube: Client,
    pub(crate) shop: String,
    pub(crate) billing: String,
}

impl Teams<'static> {
    /// Two new namespaces, served by the shared installation.
    pub(crate) async fn new() -> Self {
        Self::served_by(Operator::shared().await).await
    }
}

impl<'cluster> Teams<'cluster> {
    /// Two new namespaces.
    pub(crate) async fn served_by(operator: &'cluster Operator<'cluster>) -> Self {
        let kube = operator.cluster.client().await.unwrap();
        let (shop, billing) = (operator.cluster.namespace().await.unwrap(), operator.cluster.namespace().await.unwrap());
        Self { operator, kube, shop, billing }
    }

    /// YAML with the names filled in.
    pub(crate) fn filled(&self, yaml: &str) -> String {
        yaml.replace("$shop", &self.shop).replace("$billing", &self.billing).replace("$issuer", &self.operator.name)
    }

    /// `kubectl apply --server-side`. Objects that name no namespace go to `$billing`.
    pub(crate) async fn apply(&self, yaml: &str) -> Vec<DynamicObject> {
        objects::apply(&self.kube, &self.billing, &self.filled(yaml)).await.unwrap()
    }

    /// A merge patch of the spec of an OAuthClient in `$billing`.
    pub(crate) async fn change_client(&self, name: &str, spec: Value) {
        objects::merge(&self.kube, &self.billing, "OAuthClient", name, &serde_json::json!({"spec": spec})).await.unwrap();
    }

    /// A merge patch of the spec of a ProtectedResource in `$shop`.
    pub(crate) async fn change_resource(&self, name: &str, spec: Value) {
        objects::merge(&self.kube, &self.shop, "ProtectedResource", name, &serde_json::json!({"spec": spec})).await.unwrap();
    }

    /// Applies `INVOICES` and `WORKER`, and waits for what the worker gets.
    pub(crate) async fn worker(&self) -> Credentials {
        self.apply(INVOICES).await;
        self.apply(WORKER).await;
        self.operator.credentials(&self.billing, "worker").await
    }

    pub(crate) fn clients(&self) -> Api<OAuthClient> {
        Api::namespaced(self.kube.clone(), &self.billing)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.kube.clone(), &self.billing)
    }

    /// The audience of the API `invoices`.
    pub(crate) fn audience(&self) -> String {
        format!("https://invoices.{}.svc", self.shop)
    }

    /// A merge patch of a Secret in `$billing`, as somebody with kubectl.
    pub(crate) async fn edit_secret(&self, name: &str, patch: Value) -> Secret {
        self.secrets().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }

    /// Waits until the Secret in `$billing` is as wanted.
    pub(crate) async fn secret_that(
        &self,
        name: &str,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Secret) -> Result<(), String>,
    ) -> Secret {
        let secrets = self.secrets();
        let look = async || {
            let secret = secrets.get_opt(name).await.map_err(|error| error.to_string())?.ok_or("no Secret")?;
            wanted(&secret).map(|()| secret)
        };
        let seen = eventually(deadline, &format!("the Secret {}/{name} {what}", self.billing), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()))
    }

    /// Waits until credentials are answered so at every replica.
    pub(crate) async fn every_replica_answers(&self, credentials: &Credentials, status: u16) {
        self.every_replica_answers_within(SOON, credentials, status).await;
    }

    pub(crate) async fn every_replica_answers_within(&self, deadline: Duration, credentials: &Credentials, status: u16) {
        let http = credentials.http();
        for replica in &self.operator.replicas {
            let url = format!("https://localhost:{}/oauth2/token", replica.port);
            let look = async || match answered(credentials.request(&http, &url, &[])).await {
                Ok(answer) if answer.status == status => Ok(()),
                other => Err(format!("{other:?}")),
            };
            let seen = eventually(deadline, &format!("{} answers {status}", replica.pod), look).await;
            seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()));
        }
    }
}
