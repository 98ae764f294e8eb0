//! What a replica knows, and how it comes to know it.
//!
//! `feed` lists and watches one kind (the kube client's list and watch, not kube-runtime's `watcher`, which swallows bookmarks
//! and hides the list's resourceVersion). `index` (pure) turns objects into the domain's values and settles who owns a client
//! id or an audience. `snapshot` is the immutable result; requests hold one `Arc` of it from start to end.
//!
//! ```text
//! feed ─ events ─► Registry: Index, behind a lock ─ at most 20 times a second ─► ArcSwap<Snapshot> ─► requests
//!                            └ Touched ─► controller                        └ then: Seen ─► heartbeat
//! ```
//! What [`Seen`] says was reached is in the snapshot already, but for what it names as unread: that is what the gate of a rotation
//! rests on.

mod account_keys;
mod bundles;
pub mod feed;
pub mod index;
mod seen;
pub mod snapshot;
pub mod table;
#[cfg(test)]
mod tests;

use crate::{
    api::{OAuthClient, ProtectedResource},
    domain::names::ObjectName,
    keys::{
        KeySet,
        secret::{KeyFile, Recovery},
    },
    replica::{Watch, Watched, announcement::EVERYTHING, contact::Moment},
};
pub use account_keys::AccountKeys;
use account_keys::Looks;
use arc_swap::ArcSwap;
use bundles::Bundles;
use feed::{Event, Source, Unreadable};
use index::{Index, Touched};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Resource, ResourceExt};
pub use seen::Seen;
use serde::de::DeserializeOwned;
use snapshot::Snapshot;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// From one swap of the snapshot to the next.
const SWAP_EVERY: Duration = Duration::from_millis(50);
/// Events of one kind that wait to be handled.
const WAITING: usize = 256;

struct Known {
    index: Index,
    reached: Seen,
    /// Whether the index changed since the last swap.
    changed: bool,
    /// The entries of the key Secret that cannot be read.
    unread_keys: BTreeSet<String>,
}

/// The registry of one replica.
pub struct Registry {
    known: Mutex<Known>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    seen: watch::Sender<Seen>,
    work: Notify,
    touched: Mutex<Option<mpsc::UnboundedSender<Touched>>>,
    bundles: Bundles,
    account_keys: Looks,
}

/// A kind that the index holds.
pub trait Indexed: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static {
    /// Which one.
    const KIND: Watched;
    /// Created or changed.
    fn put(self, index: &mut Index) -> BTreeSet<Touched>;
    /// Gone.
    fn remove(name: &ObjectName, index: &mut Index) -> BTreeSet<Touched>;
    /// Created or changed, and cannot be read.
    fn unreadable(object: &Unreadable, index: &mut Index) -> BTreeSet<Touched>;
    /// All that are known.
    fn known(index: &Index) -> Vec<ObjectName>;
}

impl Registry {
    /// One that knows nothing.
    #[must_use]
    pub fn new(index: Index) -> Arc<Self> {
        let nothing = Seen::of(Watch::all(index.reach()));
        let bundles = Bundles::of(index.trust_domains());
        let known = Known { index, reached: nothing.clone(), changed: false, unread_keys: BTreeSet::new() };
        Arc::new(Self {
            known: Mutex::new(known),
            snapshot: Arc::default(),
            seen: watch::Sender::new(nothing),
            work: Notify::new(),
            touched: Mutex::default(),
            bundles,
            account_keys: Looks::default(),
        })
    }

    /// What requests are answered from.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// What the snapshot in use has reached.
    #[must_use]
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Looks something up in the index.
    pub fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.lock().index)
    }

    /// From now on tells what is to be looked at again; the receiver before gets nothing more.
    pub fn tell(&self) -> mpsc::UnboundedReceiver<Touched> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Has everything looked at again: something changed that every object depends on.
    pub fn touch_everything(&self) {
        let everything = self.with_index(Index::everything);
        self.announce(everything);
    }

    /// Feeds the index from `source`, which shows one namespace or (`None`) all there is, until `stop`.
    pub async fn follow<K: Indexed>(
        self: Arc<Self>,
        namespace: Option<String>,
        source: Source<K>,
        wanted: watch::Receiver<Option<Moment>>,
        stop: CancellationToken,
    ) {
        let watch = Watch { kind: K::KIND, namespace };
        let (sink, mut events) = mpsc::channel(WAITING);
        let feed = feed::run(source, sink, wanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                self.handle(&watch, event);
            }
        };
        tokio::join!(feed, handle);
    }

    /// Feeds the keys from the release's key Secret, until `stop`.
    pub async fn follow_keys(self: Arc<Self>, source: Source<Secret>, wanted: watch::Receiver<Option<Moment>>, stop: CancellationToken) {
        let (sink, mut events) = mpsc::channel(WAITING);
        let feed = feed::run(source, sink, wanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                self.handle_keys(event);
            }
        };
        tokio::join!(feed, handle);
    }

    /// Swaps the snapshot for what the index has become, until `stop`.
    pub async fn swap(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.work.notified() => self.swap_now(),
                () = stop.cancelled() => return,
            }
            tokio::time::sleep(SWAP_EVERY).await;
        }
    }

    fn swap_now(&self) {
        let mut known = self.lock();
        if std::mem::take(&mut known.changed) {
            self.snapshot.store(Arc::new(known.index.snapshot()));
        }
        let unread = [(Watched::OAuthClients, known.index.unread_clients()), (Watched::Keys, known.unread_keys.clone())];
        known.reached.unread = unread.into_iter().filter(|(_, names)| !names.is_empty()).collect();
        let reached = known.reached.clone();
        drop(known);
        self.seen.send_if_modified(|seen| std::mem::replace(seen, reached.clone()) != reached);
    }

    fn handle<K: Indexed>(&self, watch: &Watch, event: Event<K>) {
        let mut known = self.lock();
        let Known { index, reached, changed, .. } = &mut *known;
        reached.note(watch, &event);
        *changed |= !matches!(event, Event::Progress { .. } | Event::Agreed { .. });
        if matches!(event, Event::Agreed { .. } | Event::Lapsed { .. }) && K::KIND == Watched::OAuthClients {
            index.agree_on_clients(reached.all_agreed(K::KIND));
            *changed = true;
        }
        let touched = match event {
            Event::Listed { objects, unreadable, .. } => {
                let kept = objects.iter().map(name_of).chain(unreadable.iter().map(|object| object.name.clone())).collect();
                let mut touched = remove_all_but::<K>(&kept, watch, index);
                touched.extend(unreadable.iter().flat_map(|object| K::unreadable(object, index)));
                touched.extend(objects.into_iter().flat_map(|object| object.put(index)));
                touched
            }
            Event::Lapsed { .. } => remove_all_but::<K>(&BTreeSet::new(), watch, index),
            Event::Applied { object, .. } => object.put(index),
            Event::Deleted { name, .. } => K::remove(&name, index),
            Event::Unreadable { object, .. } => K::unreadable(&object, index),
            Event::Progress { .. } | Event::Agreed { .. } => BTreeSet::new(),
        };
        drop(known);
        self.announce(touched);
    }

    /// A key Secret that is gone or cannot be read changes nothing: a replica goes on with the keys that it has, and the leader
    /// says what is wrong.
    fn handle_keys(&self, event: Event<Secret>) {
        let mut known = self.lock();
        known.reached.note(&Watch::whole(Watched::Keys), &event);
        let is_progress = matches!(event, Event::Progress { .. } | Event::Agreed { .. });
        let secret = match event {
            Event::Listed { objects, unreadable, .. } if unreadable.is_empty() => objects.into_iter().next().map(Ok),
            Event::Applied { object, .. } => Some(Ok(object)),
            Event::Listed { .. } | Event::Unreadable { .. } => Some(Err(())),
            Event::Deleted { .. } | Event::Lapsed { .. } | Event::Progress { .. } | Event::Agreed { .. } => None,
        };
        let touched = match secret.map(|secret| secret.and_then(|secret| read_keys(&secret))) {
            Some(Ok((keys, unread))) => {
                known.changed = true;
                known.unread_keys = unread;
                known.index.put_keys(Arc::new(keys))
            }
            Some(Err(())) => {
                known.unread_keys = BTreeSet::from([EVERYTHING.to_owned()]);
                BTreeSet::from([Touched::Release])
            }
            None => BTreeSet::from([Touched::Release]),
        };
        drop(known);
        if !is_progress {
            self.announce(touched);
        }
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, touched: BTreeSet<Touched>) {
        self.work.notify_one();
        let sender = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref() {
            // Nobody leads any more: the next leader looks at everything.
            touched.into_iter().for_each(|touched| drop(sender.send(touched)));
        }
    }
}

/// What a watch does not show any more is gone; what another one shows stays.
fn remove_all_but<K: Indexed>(kept: &BTreeSet<ObjectName>, watch: &Watch, index: &mut Index) -> BTreeSet<Touched> {
    let shown = |name: &ObjectName| watch.shows(&name.namespace);
    let gone: Vec<ObjectName> = K::known(index).into_iter().filter(|name| shown(name) && !kept.contains(name)).collect();
    gone.iter().flat_map(|name| K::remove(name, index)).collect()
}

/// The keys, and the entries that could not be read.
fn read_keys(secret: &Secret) -> Result<(KeySet, BTreeSet<String>), ()> {
    let data = secret.data.clone().unwrap_or_default();
    match KeyFile::parse(&data) {
        Ok(file) => {
            for problem in &file.problems {
                tracing::error!(entry = problem.entry, why = %problem.why, "an entry of the key Secret cannot be used");
            }
            let unread = file.unread().map(str::to_owned).collect();
            Ok((KeySet { recovery: Some(Recovery::of(&data)), ..file.into_key_set() }, unread))
        }
        Err(error) => {
            tracing::error!(secret = secret.name_any(), %error, "the key Secret cannot be used; the keys known before stay in use");
            Err(())
        }
    }
}

fn name_of(object: &impl ResourceExt) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

impl Indexed for OAuthClient {
    const KIND: Watched = Watched::OAuthClients;

    fn put(self, index: &mut Index) -> BTreeSet<Touched> {
        index.put_client(self)
    }

    fn remove(name: &ObjectName, index: &mut Index) -> BTreeSet<Touched> {
        index.remove_client(name)
    }

    fn unreadable(object: &Unreadable, index: &mut Index) -> BTreeSet<Touched> {
        index.unreadable_client(&object.name, &object.uid)
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.client_names().cloned().collect()
    }
}

impl Indexed for ProtectedResource {
    const KIND: Watched = Watched::ProtectedResources;

    fn put(self, index: &mut Index) -> BTreeSet<Touched> {
        index.put_resource(self)
    }

    fn remove(name: &ObjectName, index: &mut Index) -> BTreeSet<Touched> {
        index.remove_resource(name)
    }

    fn unreadable(object: &Unreadable, index: &mut Index) -> BTreeSet<Touched> {
        index.unreadable_resource(&object.name, &object.uid)
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.resource_names().cloned().collect()
    }
}

impl Indexed for Namespace {
    const KIND: Watched = Watched::Namespaces;

    fn put(self, index: &mut Index) -> BTreeSet<Touched> {
        index.put_namespace(&self)
    }

    fn remove(name: &ObjectName, index: &mut Index) -> BTreeSet<Touched> {
        index.remove_namespace(&name.name)
    }

    fn unreadable(object: &Unreadable, index: &mut Index) -> BTreeSet<Touched> {
        index.unreadable_namespace(&object.name.name, &object.uid)
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.namespace_names().map(|name| ObjectName::new("", name)).collect()
    }
}
