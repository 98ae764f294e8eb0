//! A feed against a real API server.

mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use keywright::{
    ambient,
    registry::feed::{self, Event, Pace, Source},
    replica::contact::Moment,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{
    ControlPlane, eventually, in_time,
    proxy::{Calls, Proxy, calls},
};

const SOON: Duration = Duration::from_secs(30);

/// The usual pace, ten times as fast where that needs no fast machine.
fn brisk() -> Pace {
    Pace {
        page: 500,
        answer: Duration::from_secs(10),
        watch: Duration::from_secs(4),
        grace: Duration::from_secs(1),
        head: Duration::from_millis(500),
        unseen: Duration::from_secs(15),
        rewind: Duration::from_secs(1),
        lapse: Duration::from_secs(2),
    }
}

/// What a feed has said so far.
#[derive(Debug, Default, Clone)]
struct Told {
    known: BTreeMap<String, String>,
    unreadable: BTreeSet<String>,
    /// The names of each list.
    lists: Vec<Vec<String>>,
    begun: Option<Moment>,
    version: u64,
    agreed: Option<Moment>,
}

impl Told {
    fn note<K: ResourceExt>(&mut self, event: Event<K>) {
        match event {
            Event::Listed { objects, unreadable, version, begun } => {
                self.known = objects.iter().map(|object| (object.name_any(), object.resource_version().unwrap())).collect();
                self.unreadable = unreadable.into_iter().map(|object| object.name.name).collect();
                self.lists.push(self.known.keys().cloned().collect());
                (self.version, self.begun) = (version, Some(begun));
            }
            Event::Applied { object, version } => {
                self.known.insert(object.name_any(), object.resource_version().unwrap());
                self.version = version;
            }
            Event::Deleted { name, version } => {
                self.known.remove(&name.name);
                self.version = version;
            }
            Event::Unreadable { object, version } => {
                self.unreadable.insert(object.name.name);
                self.version = version;
            }
            Event::Lapsed { begun } => {
                self.known.clear();
                self.unreadable.clear();
                self.lists.push(Vec::new());
                (self.version, self.begun) = (0, Some(begun));
            }
            Event::Progress { version } => self.version = version,
            Event::Agreed { begun } => self.agreed = Some(begun),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.known.keys().map(String::as_str).collect()
    }
}

/// A running feed. Stops when dropped.
struct Listener {
    told: Arc<Mutex<Told>>,
    wanted: watch::Sender<Option<Moment>>,
    _stop: DropGuard,
}

impl Listener {
    fn start<K>(source: Source<K>) -> Self
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
    {
        let stop = CancellationToken::new();
        let (sink, mut events) = mpsc::channel(16);
        let (wanted, wishes) = watch::channel(None);
        tokio::spawn(feed::run(source, sink, wishes, stop.clone()));
        let told = Arc::<Mutex<Told>>::default();
        let noted = Arc::clone(&told);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                noted.lock().unwrap().note(event);
            }
        });
        Self { told, wanted, _stop: stop.drop_guard() }
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    async fn until(&self, deadline: Duration, what: &str, holds: impl Fn(&Told) -> bool) -> Told {
        let look = async || {
            let told = self.told();
            if holds(&told) { Ok(told) } else { Err(format!("{told:?}")) }
        };
        eventually(deadline, what, look).await.unwrap()
    }
}

/// A proxy in front of the shared control plane, and ConfigMaps of a new namespace through it and directly.
struct Place {
    proxy: Proxy,
    through: Api<ConfigMap>,
    direct: Api<ConfigMap>,
    namespace: String,
}

impl Place {
    async fn new() -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        let namespace = control_plane.namespace().await.unwrap();
        let proxy = Proxy::start(control_plane.admin()).await.unwrap();
        let through = Api::namespaced(proxy.kubeconfig().client().await.unwrap(), &namespace);
        let direct = Api::namespaced(control_plane.client().await.unwrap(), &namespace);
        Self { proxy, through, direct, namespace }
    }

    /// What the tests make; not the ConfigMap that the control plane puts into each namespace.
    fn source(&self, pace: Pace) -> Source<ConfigMap> {
        Source::new(self.through.clone()).labelled("made-by=test").paced(pace)
    }

    fn lists(&self) -> Calls {
        calls().list().of("configmaps")
    }

    fn watches(&self) -> Calls {
        calls().watch().of("configmaps")
    }

    async fn create(&self, name: &str) {
        create(&self.direct, name).await;
    }

    async fn delete(&self, name: &str) {
        self.direct.delete(name, &DeleteParams::default()).await.unwrap();
    }

    async fn watch_is_open(&self) {
        let open = async || match self.proxy.open_watches(&self.watches()) {
            0 => Err("no watch is open"),
            _ => Ok(()),
        };
        eventually(SOON, "the watch is open", open).await.unwrap();
    }
}

async fn create(config_maps: &Api<ConfigMap>, name: &str) {
    let labels = Some(BTreeMap::from([("made-by".to_owned(), "test".to_owned())]));
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, ..Default::default() };
    config_maps.create(&PostParams::default(), &ConfigMap { metadata, ..Default::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_listed_and_then_followed_with_the_version_reached() {
    let place = Place::new().await;
    place.create("a").await;
    let listener = Listener::start(place.source(brisk()));
    listener.until(SOON, "the list", |told| told.names() == ["a"]).await;
    place.create("b").await;
    listener.until(SOON, "b is there", |told| told.names() == ["a", "b"]).await;
    let patch = json!({"data": {"key": "value"}});
    let changed = place.direct.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap().resource_version().unwrap();
    let told = listener.until(SOON, "a has changed", |told| told.known.get("a") == Some(&changed)).await;
    // A bookmark may have said more meanwhile.
    assert!(told.version >= changed.parse().unwrap(), "{changed}: {told:?}");
    place.delete("b").await;
    let told = listener.until(SOON, "b is gone", |told| told.names() == ["a"]).await;
    assert!(told.version > changed.parse().unwrap());
    let unset = place.proxy.log().iter().all(|call| call.query.get("resourceVersion").map(String::as_str) != Some("0"));
    assert!(unset, "never resourceVersion=0");
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_watch_that_has_expired_is_followed_by_one_whole_list() {
    let place = Place::new().await;
    for name in ["a", "b", "c"] {
        place.create(name).await;
    }
    let listener = Listener::start(place.source(brisk()));
    listener.until(SOON, "the list", |told| told.names() == ["a", "b", "c"]).await;
    place.watch_is_open().await;
    let silence = place.proxy.silence_open_watches(&place.watches());
    place.delete("a").await;
    place.create("d").await;
    place.proxy.expire_open_watches(&place.watches());
    let told = listener.until(SOON, "what was missed", |told| told.names() == ["b", "c", "d"]).await;
    assert_eq!(told.lists, [["a", "b", "c"], ["b", "c", "d"]], "the second replaces the first at once");
    place.proxy.remove(silence);
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_long_list_comes_in_pages_and_is_handed_over_in_one_piece() {
    let place = Place::new().await;
    let names: Vec<String> = (0..7).map(|number| format!("c{number}")).collect();
    for name in &names {
        place.create(name).await;
    }
    let pace = Pace { page: 2, head: Duration::from_secs(3600), ..brisk() };
    let listener = Listener::start(place.source(pace));
    let told = listener.until(SOON, "the list", |told| !told.lists.is_empty()).await;
    assert_eq!(told.lists, std::slice::from_ref(&names));
    let pages = place.proxy.log().iter().filter(|call| call.query.get("limit").map(String::as_str) == Some("2")).count();
    assert_eq!(pages, 4);
    // The second page has expired: everything is listed again, in one piece.
    place.proxy.when(place.lists()).nth(2).answer(410);
    listener.wanted.send_replace(Some(ambient::moment()));
    let told = listener.until(SOON, "the second list", |told| told.lists.len() == 2).await;
    assert_eq!(told.lists, [names.clone(), names]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_made_when_it_is_wanted() {
    let place = Place::new().await;
    let listener = Listener::start(place.source(brisk()));
    listener.until(SOON, "the list", |told| told.begun.is_some()).await;
    let now = ambient::moment();
    listener.wanted.send_replace(Some(now));
    listener.until(SOON, "a list that began later", |told| told.begun.is_some_and(|begun| begun.is_after(now))).await;
    place.create("a").await;
    let told = listener.until(SOON, "a is there", |told| told.names() == ["a"]).await;
    assert_eq!(told.lists.len(), 2);
}

/// A ConfigMap that must have data.
#[derive(Debug, Clone, Deserialize)]
struct Strict {
    metadata: ObjectMeta,
    #[serde(rename = "data")]
    _data: BTreeMap<String, String>,
}

impl Resource for Strict {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "ConfigMap".into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "configmaps".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_hides_no_other() {
    let place = Place::new().await;
    let data = |data| Patch::Merge(json!({"data": data}));
    for name in ["good", "bad"] {
        place.create(name).await;
    }
    place.direct.patch("good", &PatchParams::default(), &data(json!({"key": "value"}))).await.unwrap();
    let api: Api<Strict> = Api::namespaced(place.through.clone().into_client(), &place.namespace);
    let listener = Listener::start(Source::new(api).labelled("made-by=test").paced(brisk()));
    let told = listener.until(SOON, "the list", |told| !told.lists.is_empty()).await;
    assert_eq!((told.names(), &told.unreadable), (vec!["good"], &BTreeSet::from(["bad".to_owned()])));
    place.create("worse").await;
    place.direct.patch("bad", &PatchParams::default(), &data(json!({"key": "value"}))).await.unwrap();
    let told = listener.until(SOON, "the repaired one", |told| told.names() == ["bad", "good"]).await;
    assert!(told.unreadable.contains("worse"));
    assert_eq!(told.lists.len(), 1, "the watch goes on");
}
