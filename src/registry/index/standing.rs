//! What the controller asks the index: how one object stands, and what a client is not granted.

use super::{Index, Touched};
use crate::{
    api::{OAuthClient, ProtectedResource, Reason},
    domain::{
        client::{Client, RegisteredClient},
        credential::CredentialState,
        grants::{self, Caller},
        names::ObjectName,
        resource::{Algorithm, Resource},
    },
    installation::Reach,
    keys::KeySet,
    policy::{Refusal, TrustDomain},
};
use jiff::Timestamp;
use std::{collections::BTreeSet, sync::Arc};

impl Index {
    /// The `OAuthClient` of that name, of this installation.
    #[must_use]
    pub fn client(&self, name: &ObjectName) -> Option<Arc<OAuthClient>> {
        self.clients.get(name).map(|known| Arc::clone(&known.object))
    }

    /// The `ProtectedResource` of that name, of this installation.
    #[must_use]
    pub fn resource(&self, name: &ObjectName) -> Option<Arc<ProtectedResource>> {
        self.resources.get(name).map(|known| Arc::clone(&known.object))
    }

    /// Whether the namespace is being deleted.
    #[must_use]
    pub fn is_terminating(&self, namespace: &str) -> bool {
        self.terminating.contains(namespace)
    }

    /// The clients with a replaced credential that is still accepted.
    #[must_use]
    pub fn overlapping(&self) -> Vec<ObjectName> {
        let overlaps = |registered: &RegisteredClient| registered.credentials.iter().any(|known| known.state == CredentialState::Previous);
        let all = self.clients.iter().filter(|(_, known)| known.parsed.as_deref().is_ok_and(overlaps));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// The names of this installation's clients.
    pub fn client_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.clients.keys()
    }

    /// The names of this installation's resources.
    pub fn resource_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.resources.keys()
    }

    /// The client, if it is valid and its client id is its own; `None`: there is none of that name.
    ///
    /// # Errors
    /// Why it is not served.
    pub fn client_standing(&self, name: &ObjectName) -> Option<Result<Arc<RegisteredClient>, Refusal>> {
        let known = self.clients.get(name)?;
        Some(
            known
                .parsed
                .clone()
                .and_then(|registered| self.with_seat(name, registered))
                .and_then(|registered| self.with_id(name, registered)),
        )
    }

    fn with_id(&self, name: &ObjectName, registered: Arc<RegisteredClient>) -> Result<Arc<RegisteredClient>, Refusal> {
        let id = &registered.client.id;
        match self.holder(id) {
            Some(holder) if holder != name => {
                let message = format!(
                    "the client id {id} belongs to the older OAuthClient {holder}: create this one anew with another spec.clientId"
                );
                Err(Refusal { reason: Reason::ClientIdConflict, message })
            }
            _ => Ok(registered),
        }
    }

    fn with_seat(&self, name: &ObjectName, registered: Arc<RegisteredClient>) -> Result<Arc<RegisteredClient>, Refusal> {
        if self.has_seat(name) {
            return Ok(registered);
        }
        let limit = self.policy.clients_per_namespace.unwrap_or_default();
        let message =
            format!("the namespace {} has {limit} older OAuthClients, as many as the platform's policy allows: delete one", name.namespace);
        Err(Refusal { reason: Reason::PolicyViolation, message })
    }

    /// The resource, if it is valid and nobody else claims its audience; `None`: there is none of that name.
    ///
    /// # Errors
    /// Why it is not served.
    pub fn resource_standing(&self, name: &ObjectName) -> Option<Result<Arc<Resource>, Refusal>> {
        let known = self.resources.get(name)?;
        Some(known.parsed.clone().and_then(|resource| {
            let rivals: Vec<String> =
                self.audiences.get(&resource.audience).into_iter().flatten().filter(|rival| *rival != name).map(ToString::to_string).collect();
            if rivals.is_empty() {
                return Ok(resource);
            }
            let message = format!(
                "the audience {} is claimed by {} too, so no tokens are issued for it: agree on one owner, and create the other anew with another spec.audience",
                resource.audience,
                rivals.join(", ")
            );
            Err(Refusal { reason: Reason::AudienceConflict, message })
        }))
    }

    /// The trust domains of SPIFFE.
    #[must_use]
    pub fn trust_domains(&self) -> &[TrustDomain] {
        self.policy.trust_domains()
    }

    /// The clients that are workloads of a trust domain.
    #[must_use]
    pub fn touched_by_trust_domain(&self, name: &str) -> BTreeSet<Touched> {
        self.touched_where(|client| client.workloads.iter().any(|workload| workload.trust_domain() == name))
    }

    /// The clients that are ServiceAccounts.
    #[must_use]
    pub fn touched_by_account_keys(&self) -> BTreeSet<Touched> {
        self.touched_where(|client| !client.service_accounts.is_empty())
    }

    fn touched_where(&self, is_meant: impl Fn(&Client) -> bool) -> BTreeSet<Touched> {
        let all = self.clients.iter().filter(|(_, known)| known.parsed.as_deref().is_ok_and(|registered| is_meant(&registered.client)));
        all.map(|(name, _)| Touched::Client(name.clone())).collect()
    }

    /// Whether there is a namespace of that name, for all that this installation may see.
    #[must_use]
    pub fn may_have_namespace(&self, name: &str) -> bool {
        *self.reach() != Reach::Cluster || self.snapshot.namespaces.get(name).is_some()
    }

    /// The names of all namespaces.
    pub fn namespace_names(&self) -> impl Iterator<Item = &str> {
        self.snapshot.namespaces.keys().map(String::as_str)
    }

    /// The keys in use.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.snapshot.keys.clone()
    }

    /// What the tokens of all APIs are signed with.
    #[must_use]
    pub fn algorithms(&self) -> BTreeSet<Algorithm> {
        self.snapshot.resources.values().map(|resource| resource.algorithm).collect()
    }

    /// What the tokens that the client may get are signed with. Of an API that grants it nothing it learns nothing.
    #[must_use]
    pub fn algorithms_of(&self, client: &Client, now: Timestamp) -> BTreeSet<Algorithm> {
        let labels = self.snapshot.namespaces.get(&client.object.namespace).cloned().unwrap_or_default();
        let caller = Caller { namespace: &client.object.namespace, name: &client.object.name, namespace_labels: &labels };
        let resources = client.access.iter().filter_map(|access| self.snapshot.resources.get(&access.resource));
        let granting = resources.filter(|resource| !grants::granted(resource, caller, now).scopes.is_empty());
        granting.map(|resource| resource.algorithm).collect()
    }

    /// What the owners of the APIs do not grant the client.
    #[must_use]
    pub fn missing(&self, client: &Client, now: Timestamp) -> Vec<grants::Missing> {
        let labels = self.snapshot.namespaces.get(&client.object.namespace).cloned().unwrap_or_default();
        let caller = Caller { namespace: &client.object.namespace, name: &client.object.name, namespace_labels: &labels };
        let resource = |name: &ObjectName| self.snapshot.resources.get(name).map(AsRef::as_ref);
        client.access.iter().filter_map(|access| grants::missing(access, resource(&access.resource), caller, now)).collect()
    }

    /// When the first of the grants that the client uses ends.
    #[must_use]
    pub fn granted_until(&self, client: &Client, now: Timestamp) -> Option<Timestamp> {
        let labels = self.snapshot.namespaces.get(&client.object.namespace).cloned().unwrap_or_default();
        let caller = Caller { namespace: &client.object.namespace, name: &client.object.name, namespace_labels: &labels };
        let resources = client.access.iter().filter_map(|access| self.snapshot.resources.get(&access.resource));
        resources.filter_map(|resource| grants::granted(resource, caller, now).until).min()
    }
}
