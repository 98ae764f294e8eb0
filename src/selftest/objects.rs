//! The two objects of a test. Pure.

use crate::{
    api::{
        OAuthClient, OAuthClientSpec, ProtectedResource, ProtectedResourceSpec,
        client::{AccessEntry, ClientTokens},
        resource::{GrantEntry, ScopeDeclaration},
    },
    domain::names::ObjectName,
};
use std::collections::BTreeMap;

/// What the client may do.
pub(super) const SCOPE: &str = "selftest.read";
/// Says which run made an object.
pub(super) const LABEL_RUN: &str = "keywright.dev/selftest";
/// The token outlives its client: no longer than a token has to.
const LIFETIME: &str = "1m";

/// What is made, and by which run.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// Both objects, and the Secret.
    pub(super) object: ObjectName,
    /// What `spec.issuer` says.
    pub(super) installation: String,
    /// Of this run alone.
    pub(super) run: String,
}

impl Order {
    /// An API that grants its one scope to the one client: without a grant nobody has anything, also not in the same namespace.
    pub(super) fn resource(&self) -> ProtectedResource {
        let names = |name: &str| vec![name.to_owned()];
        let spec = ProtectedResourceSpec {
            issuer: Some(self.installation.clone()),
            scopes: vec![ScopeDeclaration { name: SCOPE.to_owned(), description: None }],
            grants: Some(vec![GrantEntry {
                namespaces: Some(names(&self.object.namespace)),
                clients: Some(names(&self.object.name)),
                scopes: names(SCOPE),
                ..GrantEntry::default()
            }]),
            ..ProtectedResourceSpec::default()
        };
        let mut resource = ProtectedResource::new(&self.object.name, spec);
        resource.metadata.labels = Some(self.labels());
        resource
    }

    /// Its client. The Secret has the client's name, so that a right to read it can be bound to that name.
    pub(super) fn client(&self) -> OAuthClient {
        let spec = OAuthClientSpec {
            issuer: Some(self.installation.clone()),
            description: Some("made by keywright selftest, which removes it again".to_owned()),
            access: vec![AccessEntry { resource: self.object.name.clone(), scopes: vec![SCOPE.to_owned()] }],
            access_token: Some(ClientTokens { lifetime: Some(LIFETIME.to_owned()) }),
            ..OAuthClientSpec::default()
        };
        let mut client = OAuthClient::new(&self.object.name, spec);
        client.metadata.labels = Some(self.labels());
        client
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL_RUN.to_owned(), self.run.clone())])
    }
}
