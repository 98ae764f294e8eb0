//! From objects of the API to a snapshot; pure, and incremental: an event costs what it touches, not what there is.
//!
//! Here it is settled who owns what two objects claim. A client id belongs to the oldest client that may claim it. An audience
//! that two valid resources claim belongs to neither. A claim that policy does not allow was refused before: it denies its
//! claimant alone.

mod standing;
#[cfg(test)]
mod tests;
mod unread;

use super::snapshot::Snapshot;
use crate::{
    api::{self, OAuthClient, ProtectedResource},
    domain::{
        client::{Client, RegisteredClient},
        names::{Audience, ClientId, ObjectName},
        resource::Resource,
        service_account,
    },
    installation::{Installation, Reach},
    keys::KeySet,
    policy::{self, Place, Policy, Refusal},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// An object whose standing may have changed, and that the controller looks at again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touched {
    /// An `OAuthClient`.
    Client(ObjectName),
    /// A `ProtectedResource`.
    Resource(ObjectName),
    /// The release's own keys and certificate.
    Release,
}

/// Who claims a client id: the oldest first (creationTimestamp, then UID).
type Seniority = (Timestamp, String, ObjectName);

struct KnownClient {
    object: Arc<OAuthClient>,
    parsed: Result<Arc<RegisteredClient>, Refusal>,
}

struct KnownResource {
    object: Arc<ProtectedResource>,
    parsed: Result<Arc<Resource>, Refusal>,
}

/// What this installation knows.
pub struct Index {
    policy: Arc<Policy>,
    installation: Installation,
    clients: HashMap<ObjectName, KnownClient>,
    claims: HashMap<ClientId, BTreeSet<Seniority>>,
    residents: HashMap<String, BTreeSet<Seniority>>,
    resources: HashMap<ObjectName, KnownResource>,
    audiences: HashMap<Audience, BTreeSet<ObjectName>>,
    /// The clients that name a resource in `spec.access`, whether it exists or not.
    callers: HashMap<ObjectName, BTreeSet<ObjectName>>,
    terminating: BTreeSet<String>,
    /// The UIDs of namespaces.
    namespaces: HashMap<String, String>,
    /// The clients whose register was not taken in, and their UIDs.
    unread: BTreeMap<ObjectName, String>,
    snapshot: Snapshot,
}

impl Index {
    /// An empty one.
    #[must_use]
    pub fn new(policy: Arc<Policy>, installation: Installation) -> Self {
        Self {
            policy,
            installation,
            clients: HashMap::new(),
            claims: HashMap::new(),
            residents: HashMap::new(),
            resources: HashMap::new(),
            audiences: HashMap::new(),
            callers: HashMap::new(),
            terminating: BTreeSet::new(),
            namespaces: HashMap::new(),
            unread: BTreeMap::new(),
            snapshot: Snapshot::default(),
        }
    }

    /// Where its objects come from.
    #[must_use]
    pub fn reach(&self) -> &Reach {
        &self.installation.reach
    }

    /// What requests are answered from: a copy that shares every object.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// A client was created or changed.
    pub fn put_client(&mut self, object: OAuthClient) -> BTreeSet<Touched> {
        let name = name_of(&object);
        let earlier = self.clients.get(&name).and_then(|known| known.parsed.clone().ok());
        if let Some(earlier) = earlier.as_deref().filter(|_| self.is_same_spec(&name, &object)) {
            return self.put_register(name, object, earlier);
        }
        let mut touched = self.remove_client(&name);
        touched.insert(Touched::Client(name.clone()));
        if !self.serves(object.spec.issuer.as_deref()) || object.metadata.deletion_timestamp.is_some() {
            return touched;
        }
        let parsed = policy::client(&self.policy, &object).map(|client| registered(client, &object, earlier.as_deref()));
        if let Ok(registered) = &parsed {
            let Client { id, uid, created_at, access, .. } = &registered.client;
            let seniority = (*created_at, uid.clone(), name.clone());
            self.claims.entry(id.clone()).or_default().insert(seniority.clone());
            self.residents.entry(name.namespace.clone()).or_default().insert(seniority);
            for entry in access {
                self.callers.entry(entry.resource.clone()).or_default().insert(name.clone());
            }
        }
        let id = parsed.as_ref().ok().map(|registered| registered.client.id.clone());
        let namespace = name.namespace.clone();
        self.clients.insert(name.clone(), KnownClient { object: Arc::new(object), parsed });
        self.note_unread(&name);
        if let Some(id) = id {
            touched.extend(self.settle_client_id(&id));
            touched.extend(self.settle_seats(&namespace));
        }
        touched
    }

    fn is_same_spec(&self, name: &ObjectName, object: &OAuthClient) -> bool {
        let known = self.clients.get(name).map(|known| (known.object.uid(), known.object.metadata.generation));
        known == Some((object.uid(), object.metadata.generation)) && object.metadata.deletion_timestamp.is_none()
    }

    /// Only status was written: what the client claims, and whom that concerns, stays.
    fn put_register(&mut self, name: ObjectName, object: OAuthClient, earlier: &RegisteredClient) -> BTreeSet<Touched> {
        let registered = registered(earlier.client.clone(), &object, Some(earlier));
        if let Some(served) = self.snapshot.clients.get(&registered.client.id)
            && served.client.uid == registered.client.uid
        {
            self.snapshot.clients.insert(registered.client.id.clone(), Arc::clone(&registered));
        }
        self.clients.insert(name.clone(), KnownClient { object: Arc::new(object), parsed: Ok(registered) });
        self.note_unread(&name);
        BTreeSet::from([Touched::Client(name)])
    }

    /// A client is gone.
    pub fn remove_client(&mut self, name: &ObjectName) -> BTreeSet<Touched> {
        self.unread.remove(name);
        let Some(known) = self.clients.remove(name) else { return BTreeSet::new() };
        let mut touched = BTreeSet::from([Touched::Client(name.clone())]);
        let Ok(registered) = known.parsed else { return touched };
        let Client { id, uid, created_at, access, .. } = &registered.client;
        let seniority = (*created_at, uid.clone(), name.clone());
        take(&mut self.claims, id, &seniority);
        take(&mut self.residents, &name.namespace, &seniority);
        access.iter().for_each(|entry| take(&mut self.callers, &entry.resource, name));
        touched.extend(self.settle_client_id(id));
        touched.extend(self.settle_seats(&name.namespace));
        touched
    }

    /// A resource was created or changed.
    pub fn put_resource(&mut self, object: ProtectedResource) -> BTreeSet<Touched> {
        let name = name_of(&object);
        let same_spec = self.resources.get(&name).is_some_and(|known| {
            (known.object.uid(), known.object.metadata.generation) == (object.uid(), object.metadata.generation)
                && object.metadata.deletion_timestamp.is_none()
        });
        if same_spec {
            if let Some(known) = self.resources.get_mut(&name) {
                known.object = Arc::new(object);
            }
            return BTreeSet::from([Touched::Resource(name)]);
        }
        let mut touched = self.remove_resource(&name);
        touched.insert(Touched::Resource(name.clone()));
        if !self.serves(object.spec.issuer.as_deref()) || object.metadata.deletion_timestamp.is_some() {
            return touched;
        }
        let Installation { issuer, cluster_domain, algorithm, reach, .. } = &self.installation;
        let place = Place { issuer, cluster_domain, algorithm: *algorithm, reads_labels: *reach == Reach::Cluster };
        let parsed = policy::resource(&self.policy, place, &object).map(Arc::new);
        let audience = parsed.as_ref().ok().map(|resource| resource.audience.clone());
        self.resources.insert(name.clone(), KnownResource { object: Arc::new(object), parsed });
        if let Some(audience) = audience {
            self.audiences.entry(audience.clone()).or_default().insert(name);
            touched.extend(self.settle_audience(&audience));
        }
        touched
    }

    /// A resource is gone.
    pub fn remove_resource(&mut self, name: &ObjectName) -> BTreeSet<Touched> {
        let Some(known) = self.resources.remove(name) else { return BTreeSet::new() };
        let mut touched = self.touched_by_resource(name);
        let Ok(resource) = known.parsed else { return touched };
        take(&mut self.audiences, &resource.audience, name);
        self.snapshot.resources.remove(name);
        touched.extend(self.settle_audience(&resource.audience));
        touched
    }

    /// A namespace was created or changed.
    pub fn put_namespace(&mut self, object: &Namespace) -> BTreeSet<Touched> {
        let name = object.name_any();
        self.namespaces.insert(name.clone(), object.uid().unwrap_or_default());
        let keys = self.policy.namespace_label_keys();
        let labels: BTreeMap<String, String> =
            object.labels().iter().filter(|(key, _)| keys.contains(*key)).map(|(key, value)| (key.clone(), value.clone())).collect();
        let terminates = object.metadata.deletion_timestamp.is_some();
        let known = self.snapshot.namespaces.get(&name).is_some_and(|known| **known == labels);
        if known && self.terminating.contains(&name) == terminates {
            return BTreeSet::new();
        }
        self.snapshot.namespaces.insert(name.clone(), Arc::new(labels));
        if terminates {
            self.terminating.insert(name.clone())
        } else {
            self.terminating.remove(&name)
        };
        self.touched_by_namespace(&name)
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) -> BTreeSet<Touched> {
        self.namespaces.remove(name);
        self.snapshot.namespaces.remove(name);
        self.terminating.remove(name);
        self.touched_by_namespace(name)
    }

    /// Head checks that began at `begun` or later have agreed with the clients that are known; `None`: not with all.
    pub fn agree_on_clients(&mut self, begun: Option<Timestamp>) {
        self.snapshot.clients_agreed = begun;
    }

    /// The keys were made or changed: everything may be looked at again.
    pub fn put_keys(&mut self, keys: Arc<KeySet>) -> BTreeSet<Touched> {
        self.snapshot.keys = Some(keys);
        let names: Vec<ObjectName> = self.clients.keys().cloned().collect();
        names.iter().for_each(|name| self.note_unread(name));
        self.everything()
    }

    /// Every object.
    #[must_use]
    pub fn everything(&self) -> BTreeSet<Touched> {
        let resources = self.resources.keys().cloned().map(Touched::Resource);
        resources.chain(self.clients.keys().cloned().map(Touched::Client)).chain([Touched::Release]).collect()
    }

    fn serves(&self, issuer: Option<&str>) -> bool {
        issuer.unwrap_or(api::DEFAULT_ISSUER) == self.installation.name
    }

    /// The oldest claimant that has a seat has the id. Where that is another one than before, all are told something else.
    fn settle_client_id(&mut self, id: &ClientId) -> BTreeSet<Touched> {
        let holder = self.holder(id).and_then(|name| self.clients.get(name)?.parsed.as_ref().ok()).cloned();
        let now = holder.as_ref().map(|holder| holder.client.uid.clone());
        let before = match holder {
            Some(holder) => self.snapshot.clients.insert(id.clone(), holder),
            None => self.snapshot.clients.remove(id),
        };
        let after = self.snapshot.clients.get(id).cloned();
        self.rebind(before.as_deref(), after.as_deref());
        if before.map(|holder| holder.client.uid.clone()) == now {
            return BTreeSet::new();
        }
        self.claims.get(id).into_iter().flatten().map(|(_, _, name)| Touched::Client(name.clone())).collect()
    }

    /// The subjects of the former holder of a client id are not its any more; those of the new one are.
    fn rebind(&mut self, former: Option<&RegisteredClient>, holder: Option<&RegisteredClient>) {
        let bound = &mut self.snapshot.subjects;
        for (subject, id) in former.into_iter().flat_map(subjects) {
            let mut left = bound.remove(&subject).map(Arc::unwrap_or_clone).unwrap_or_default();
            left.remove(id);
            if !left.is_empty() {
                bound.insert(subject, Arc::new(left));
            }
        }
        for (subject, id) in holder.into_iter().flat_map(subjects) {
            let mut all = bound.get(&subject).map(|known| BTreeSet::clone(known)).unwrap_or_default();
            all.insert(id.clone());
            bound.insert(subject, Arc::new(all));
        }
    }

    /// Who has a client id. Whoever has no seat claims nothing: that would deny others what policy does not allow it.
    fn holder(&self, id: &ClientId) -> Option<&ObjectName> {
        self.claims.get(id)?.iter().map(|(_, _, name)| name).find(|name| self.has_seat(name))
    }

    /// Where policy bounds the clients of a namespace, the oldest ones are served.
    fn settle_seats(&mut self, namespace: &str) -> BTreeSet<Touched> {
        if self.policy.clients_per_namespace.is_none() {
            return BTreeSet::new();
        }
        let names: Vec<ObjectName> = self.residents.get(namespace).into_iter().flatten().map(|(_, _, name)| name.clone()).collect();
        let ids: Vec<ClientId> =
            names.iter().filter_map(|name| Some(self.clients.get(name)?.parsed.as_ref().ok()?.client.id.clone())).collect();
        let rivals: BTreeSet<Touched> = ids.iter().flat_map(|id| self.settle_client_id(id)).collect();
        names.into_iter().map(Touched::Client).chain(rivals).collect()
    }

    fn has_seat(&self, name: &ObjectName) -> bool {
        let Some(limit) = self.policy.clients_per_namespace else { return true };
        let mut seats = self.residents.get(&name.namespace).into_iter().flatten().take(limit);
        seats.any(|(_, _, seated)| seated == name)
    }

    /// An audience that two claim belongs to neither.
    fn settle_audience(&mut self, audience: &Audience) -> BTreeSet<Touched> {
        let claimants = self.audiences.get(audience).cloned().unwrap_or_default();
        let alone = claimants.len() == 1;
        self.snapshot.audiences.remove(audience);
        for name in &claimants {
            self.snapshot.resources.remove(name);
            if let Some(Ok(resource)) = self.resources.get(name).filter(|_| alone).map(|known| &known.parsed) {
                self.snapshot.resources.insert(name.clone(), Arc::clone(resource));
                self.snapshot.audiences.insert(audience.clone(), name.clone());
            }
        }
        claimants.iter().flat_map(|name| self.touched_by_resource(name)).collect()
    }

    fn touched_by_resource(&self, name: &ObjectName) -> BTreeSet<Touched> {
        let callers = self.callers.get(name).into_iter().flatten().cloned().map(Touched::Client);
        callers.chain([Touched::Resource(name.clone())]).collect()
    }

    fn touched_by_namespace(&self, namespace: &str) -> BTreeSet<Touched> {
        self.residents.get(namespace).into_iter().flatten().map(|(_, _, name)| Touched::Client(name.clone())).collect()
    }
}

/// Who may be a client, as the tokens of ServiceAccounts and the JWT-SVIDs of workloads say it.
fn subjects(registered: &RegisteredClient) -> impl Iterator<Item = (String, &ClientId)> {
    let client = &registered.client;
    let accounts = client.service_accounts.iter().map(|bound| service_account::subject(&client.object.namespace, &bound.name));
    let workloads = client.workloads.iter().map(|workload| workload.as_str().to_owned());
    accounts.chain(workloads).map(|subject| (subject, &client.id))
}

/// A client with what status registers, which goes on counting what was counted.
fn registered(client: Client, object: &OAuthClient, earlier: Option<&RegisteredClient>) -> Arc<RegisteredClient> {
    let registered = RegisteredClient::new(client, api::register::readable(object.status.as_ref()));
    Arc::new(match earlier {
        Some(earlier) => registered.counting_on(earlier),
        None => registered,
    })
}

fn name_of(object: &impl ResourceExt) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn take<K: std::hash::Hash + Eq, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
