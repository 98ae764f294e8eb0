//! The leader's view of what it made in the namespaces of others: fed by a watch on the label managed-by. A cache: it may say
//! that something is as it should be, never that something is missing.

use super::Subject;
use crate::{
    api,
    domain::names::ObjectName,
    registry::feed::{self, Event, Source, Unreadable},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::{
    collections::{HashMap, HashSet},
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
    listed: watch::Sender<bool>,
}

impl<K: Made> Cache<K> {
    pub(crate) fn new() -> Self {
        Self { objects: Mutex::default(), made: Mutex::default(), listed: watch::Sender::new(false) }
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<Arc<K>> {
        lock(&self.objects).get(name).cloned()
    }

    /// All that were made for an object.
    pub(crate) fn made_for(&self, owner: &ObjectName) -> Vec<Arc<K>> {
        let names = lock(&self.made).get(owner).cloned().unwrap_or_default();
        names.iter().filter_map(|name| self.get(name)).collect()
    }

    /// Waits for the first list.
    pub(crate) async fn listed(&self) {
        // The sender lives as long as `self`.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// The Lease is lost: nothing is known until the next list.
    pub(crate) fn clear(&self) {
        self.listed.send_replace(false);
        lock(&self.objects).clear();
        lock(&self.made).clear();
    }

    /// Watches until `stop`, and tells what is to be looked at.
    pub(crate) async fn follow(&self, kube: Client, changes: mpsc::UnboundedSender<Subject>, stop: CancellationToken) {
        let selector = format!("{}={},{}", api::LABEL_MANAGED_BY, api::MANAGED_BY, K::LABEL);
        let source = Source::new(Api::<K>::all(kube)).labelled(selector);
        let (sink, mut events) = mpsc::channel(WAITING);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(source, sink, unwanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                for owner in self.handle(event) {
                    // Nobody listens when the Lease is lost.
                    let _ = changes.send(K::subject(owner));
                }
            }
        };
        tokio::join!(feed, handle);
    }

    /// Takes an event in, and says what is to be looked at.
    fn handle(&self, event: Event<K>) -> Vec<ObjectName> {
        match event {
            Event::Listed { objects, .. } => {
                let listed: HashSet<ObjectName> = objects.iter().map(name_of).collect();
                let gone: Vec<ObjectName> = lock(&self.objects).keys().filter(|name| !listed.contains(name)).cloned().collect();
                let removed = gone.iter().filter_map(|name| self.remove(name));
                let owners = removed.chain(objects.into_iter().flat_map(|object| self.put(object))).collect();
                self.listed.send_replace(true);
                owners
            }
            Event::Applied { object, .. } => self.put(object),
            Event::Deleted { name, .. } | Event::Unreadable { object: Unreadable { name, .. }, .. } => {
                self.remove(&name).into_iter().collect()
            }
            Event::Progress { .. } | Event::Agreed { .. } => Vec::new(),
        }
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

fn owner_of<K: Made>(object: &K) -> Option<ObjectName> {
    Some(ObjectName::new(object.namespace()?, object.labels().get(K::LABEL)?))
}

fn name_of(object: &impl ResourceExt) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
