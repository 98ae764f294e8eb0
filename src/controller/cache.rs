//! The leader's view of what it made in the namespaces of others: fed by a watch on the label managed-by. A cache: it may say
//! that something is as it should be, never that something is missing.

use super::Subject;
use crate::{
    api,
    domain::names::ObjectName,
    installation::Reach,
    registry::feed::{self, Event, Source, Unreadable},
};
use futures::future::join_all;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events that wait to be handled.
const WAITING: usize = 256;

/// A kind that we make for others.
pub(crate) trait Made:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// The label that names what it was made for.
    const LABEL: &'static str;
    /// What is to be looked at when it changes.
    fn subject(made_for: ObjectName) -> Subject;
}

impl Made for Secret {
    const LABEL: &'static str = api::LABEL_CLIENT;

    fn subject(made_for: ObjectName) -> Subject {
        Subject::Client(made_for)
    }
}

impl Made for ConfigMap {
    const LABEL: &'static str = api::LABEL_RESOURCE;

    fn subject(made_for: ObjectName) -> Subject {
        Subject::Resource(made_for)
    }
}

/// Objects of one kind, by name and by what they were made for.
pub(crate) struct Cache<K> {
    objects: Mutex<HashMap<ObjectName, Arc<K>>>,
    made: Mutex<HashMap<ObjectName, Vec<ObjectName>>>,
    /// The namespaces that were listed (`None`: all in one).
    listed: watch::Sender<BTreeSet<Option<String>>>,
}

impl<K: Made> Cache<K> {
    pub(crate) fn new() -> Self {
        Self { objects: Mutex::default(), made: Mutex::default(), listed: watch::Sender::default() }
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<Arc<K>> {
        lock(&self.objects).get(name).cloned()
    }

    /// All there are.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        lock(&self.objects).values().cloned().collect()
    }

    /// All that were made for an object.
    pub(crate) fn made_for(&self, owner: &ObjectName) -> Vec<Arc<K>> {
        let names = lock(&self.made).get(owner).cloned().unwrap_or_default();
        names.iter().filter_map(|name| self.get(name)).collect()
    }

    /// Waits for the first lists.
    pub(crate) async fn listed(&self, reach: &Reach) {
        let places = reach.places();
        // The sender lives as long as `self`.
        let _ = self.listed.subscribe().wait_for(|listed| places.iter().all(|place| listed.contains(place))).await;
    }

    /// The Lease is lost: nothing is known until the next list.
    pub(crate) fn clear(&self) {
        self.listed.send_replace(BTreeSet::new());
        lock(&self.objects).clear();
        lock(&self.made).clear();
    }

    /// Watches until `stop`, and tells what is to be looked at.
    pub(crate) async fn follow(&self, kube: &Client, reach: &Reach, changes: mpsc::UnboundedSender<Subject>, stop: CancellationToken) {
        join_all(reach.places().into_iter().map(|place| self.follow_in(kube, place, changes.clone(), stop.clone()))).await;
    }

    async fn follow_in(&self, kube: &Client, place: Option<String>, changes: mpsc::UnboundedSender<Subject>, stop: CancellationToken) {
        let selector = format!("{}={},{}", api::LABEL_MANAGED_BY, api::MANAGED_BY, K::LABEL);
        let source = Source::<K>::at(kube.clone(), place.as_deref()).labelled(selector);
        let (sink, mut events) = mpsc::channel(WAITING);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(source, sink, unwanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                for owner in self.handle(&place, event) {
                    // Nobody listens when the Lease is lost.
                    let _ = changes.send(K::subject(owner));
                }
            }
        };
        tokio::join!(feed, handle);
    }

    /// Takes an event in, and says what is to be looked at.
    fn handle(&self, place: &Option<String>, event: Event<K>) -> Vec<ObjectName> {
        match event {
            Event::Listed { objects, .. } => self.replace(place, objects),
            Event::Lapsed { .. } => self.replace(place, Vec::new()),
            Event::Applied { object, .. } => self.put(object),
            Event::Deleted { name, .. } | Event::Unreadable { object: Unreadable { name, .. }, .. } => {
                self.remove(&name).into_iter().collect()
            }
            Event::Progress { .. } | Event::Agreed { .. } => Vec::new(),
        }
    }

    /// All there is in a place.
    fn replace(&self, place: &Option<String>, objects: Vec<K>) -> Vec<ObjectName> {
        let listed: HashSet<ObjectName> = objects.iter().map(name_of).collect();
        let is_gone = |name: &&ObjectName| place.as_ref().is_none_or(|place| *place == name.namespace) && !listed.contains(*name);
        let gone: Vec<ObjectName> = lock(&self.objects).keys().filter(is_gone).cloned().collect();
        let removed = gone.iter().filter_map(|name| self.remove(name));
        let owners = removed.chain(objects.into_iter().flat_map(|object| self.put(object))).collect();
        self.listed.send_if_modified(|listed| listed.insert(place.clone()));
        owners
    }

    /// Whom it was made for before, and now.
    fn put(&self, object: K) -> Vec<ObjectName> {
        let name = name_of(&object);
        let former = self.remove(&name);
        let owner = owner_of(&object);
        if let Some(owner) = &owner {
            lock(&self.made).entry(owner.clone()).or_default().push(name.clone());
            lock(&self.objects).insert(name, Arc::new(object));
        }
        let former = former.filter(|former| Some(former) != owner.as_ref());
        former.into_iter().chain(owner).collect()
    }

    fn remove(&self, name: &ObjectName) -> Option<ObjectName> {
        let object = lock(&self.objects).remove(name)?;
        let owner = owner_of(object.as_ref())?;
        let mut made = lock(&self.made);
        if let Some(names) = made.get_mut(&owner) {
            names.retain(|known| known != name);
            if names.is_empty() {
                made.remove(&owner);
            }
        }
        Some(owner)
    }
}

/// What an object was made for.
pub(crate) fn owner_of<K: Made>(object: &K) -> Option<ObjectName> {
    Some(ObjectName::new(object.namespace()?, object.labels().get(K::LABEL)?))
}

fn name_of(object: &impl ResourceExt) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
