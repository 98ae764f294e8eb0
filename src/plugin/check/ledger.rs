//! What an installation would say of objects, by the very code with which it decides: `policy` for each of them, `registry::index` for who
//! of two keeps what both claim, `domain::grants` for who has what. Pure.

use super::finding::Finding;
use crate::{
    api::{OAuthClient, ProtectedResource},
    domain::names::ObjectName,
    installation::Installation,
    policy::{self, Policy},
    registry::index::Index,
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt as _, api::ObjectMeta};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where the label is that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// All objects that are known, of files and of the cluster.
#[derive(Default)]
pub(super) struct Objects {
    clients: BTreeMap<ObjectName, OAuthClient>,
    resources: BTreeMap<ObjectName, ProtectedResource>,
    namespaces: BTreeMap<String, Namespace>,
    /// The namespaces all of whose resources are known; `None`: those of all.
    pub(super) known_namespaces: Option<BTreeSet<String>>,
}

impl Objects {
    /// Of no namespace anything is known.
    pub(super) fn none() -> Self {
        Self { known_namespaces: Some(BTreeSet::new()), ..Self::default() }
    }

    pub(super) fn put_client(&mut self, object: OAuthClient) {
        self.clients.insert(name_of(&object), object);
    }

    pub(super) fn put_resource(&mut self, object: ProtectedResource) {
        self.resources.insert(name_of(&object), object);
    }

    pub(super) fn put_namespace(&mut self, object: Namespace) {
        self.namespaces.insert(object.name_any(), object);
    }

    /// As it would be once it is applied: a new one is the youngest.
    pub(super) fn apply_client(&mut self, mut object: OAuthClient, now: Timestamp) {
        let stored = self.clients.get(&name_of(&object));
        object.status = stored.and_then(|stored| stored.status.clone());
        object.metadata = applied(object.metadata, stored.map(|stored| &stored.metadata), now);
        self.put_client(object);
    }

    pub(super) fn apply_resource(&mut self, mut object: ProtectedResource, now: Timestamp) {
        let stored = self.resources.get(&name_of(&object));
        object.metadata = applied(object.metadata, stored.map(|stored| &stored.metadata), now);
        self.put_resource(object);
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = (&ObjectName, &OAuthClient)> {
        self.clients.iter()
    }

    pub(super) fn resources(&self) -> impl Iterator<Item = (&ObjectName, &ProtectedResource)> {
        self.resources.iter()
    }

    fn knows(&self, resource: &ObjectName) -> bool {
        let all = self.known_namespaces.as_ref().is_none_or(|known| known.contains(&resource.namespace));
        all || self.resources.contains_key(resource)
    }
}

/// One installation's view of them.
pub(super) struct Ledger<'a> {
    objects: &'a Objects,
    policy: Arc<Policy>,
    index: Index,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(objects: &'a Objects, policy: Policy, installation: Installation) -> Self {
        let policy = Arc::new(policy);
        let mut index = Index::new(Arc::clone(&policy), installation);
        let names = objects.clients.keys().chain(objects.resources.keys()).map(|name| &name.namespace);
        for name in names.collect::<BTreeSet<_>>() {
            let namespace = objects.namespaces.get(name).cloned();
            index.put_namespace(&namespace.unwrap_or_else(|| namespace_called(name)));
        }
        objects.resources.values().for_each(|object| drop(index.put_resource(object.clone())));
        objects.clients.values().for_each(|object| drop(index.put_client(object.clone())));
        Self { objects, policy, index }
    }

    pub(super) fn of_client(&self, name: &ObjectName, now: Timestamp) -> Vec<Finding> {
        let about = format!("OAuthClient {}", name.name);
        let registered = match self.index.client_standing(name) {
            None => return Vec::new(),
            Some(Err(refusal)) => return vec![Finding::fault(about, format!("{}: {}", refusal.reason.as_str(), refusal.message))],
            Some(Ok(registered)) => registered,
        };
        let object = self.objects.clients.get(name);
        let rotation = object.and_then(|object| policy::rotation(&self.policy, object, now).err());
        let rotation = rotation.map(|refusal| Finding::fault(about.clone(), format!("{}: {}", refusal.reason.as_str(), refusal.message)));
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.index.missing(&registered.client, now).into_iter().partition(|missing| self.objects.knows(&missing.resource));
        let lines: Vec<String> = known.iter().map(ToString::to_string).collect();
        let denied = (!lines.is_empty()).then(|| Finding::fault(about.clone(), format!("AccessDenied: {}", lines.join("; "))));
        let unseen = unknown.iter().map(|missing| {
            let message =
                format!("whether its owner grants that cannot be seen from here; if not, the owner would have to add {}", missing.grant());
            Finding::unchecked(format!("ProtectedResource {}", missing.resource), message)
        });
        rotation.into_iter().chain(denied).chain(unseen).collect()
    }

    pub(super) fn of_resource(&self, name: &ObjectName) -> Vec<Finding> {
        let refusal = self.index.resource_standing(name).and_then(Result::err);
        let message = refusal.map(|refusal| format!("{}: {}", refusal.reason.as_str(), refusal.message));
        message.map(|message| Finding::fault(format!("ProtectedResource {}", name.name), message)).into_iter().collect()
    }
}

fn applied(mut file: ObjectMeta, stored: Option<&ObjectMeta>, now: Timestamp) -> ObjectMeta {
    let of_a_new_one = ObjectMeta { uid: Some("new".to_owned()), creation_timestamp: Some(Time(now)), ..ObjectMeta::default() };
    let stored = stored.unwrap_or(&of_a_new_one);
    file.uid.clone_from(&stored.uid);
    file.creation_timestamp.clone_from(&stored.creation_timestamp);
    file
}

fn namespace_called(name: &str) -> Namespace {
    let labels = BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
    Namespace {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        ..Namespace::default()
    }
}

pub(super) fn name_of(object: &impl kube::ResourceExt) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}
