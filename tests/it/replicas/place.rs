//! A release with replicas, each behind a proxy of its own.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Pod, Secret},
};
use keywright::{
    ambient,
    api::{OAuthClient, ProtectedResource},
    installation::Reach,
    registry::{
        Seen,
        feed::{self, Event, Source},
    },
    replica::{
        Change, Watch, Watched,
        announcement::Announcement,
        contact::{Contact, Patience, Standing},
        gate::{Gate, Passage},
        heartbeat::{Heartbeat, Identity, Links, Pace},
        peers::Curiosity,
        readiness::Readiness,
        silence::Silence,
    },
    server::{Operations, operations_router},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::cluster::{ControlPlane, eventually, proxy::Proxy};

const SOON: Duration = Duration::from_secs(30);

/// The usual times, three times as fast.
fn patience() -> Patience {
    Patience { doubt: Duration::from_secs(3), ..Patience::default() }
}

pub(super) fn silence() -> Silence {
    Silence { unchanged: Duration::from_secs(5), unready: Duration::from_secs(3) }
}

fn pace() -> Pace {
    Pace {
        renew: Duration::from_millis(800),
        report: Duration::from_millis(200),
        retry: Duration::from_millis(300),
        answer: Duration::from_secs(1),
        // Doubt is noticed long before the next list.
        peers: Curiosity { list: Duration::from_secs(300), ask: Duration::from_millis(500), answer: Duration::from_millis(500) },
    }
}

/// A namespace with a release in it.
pub(super) struct Place<'c> {
    pub(super) control_plane: &'c ControlPlane,
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) gate: Gate,
}

impl<'c> Place<'c> {
    pub(super) async fn new(control_plane: &'c ControlPlane) -> Self {
        let namespace = control_plane.namespace().await.unwrap();
        let client = control_plane.client().await.unwrap();
        let gate = Gate::new(&client, &namespace, "kw", silence());
        Self { control_plane, client, namespace, gate }
    }

    pub(super) async fn shared() -> Place<'static> {
        Place::new(ControlPlane::shared().await.unwrap()).await
    }

    pub(super) fn api<K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A write that replicas have to see.
    pub(super) async fn write(&self, name: &str) -> u64 {
        let client =
            json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "OAuthClient", "metadata": {"name": name}, "spec": {"access": []}});
        let client = serde_json::from_value(client).unwrap();
        let written = self.api::<OAuthClient>().create(&PostParams::default(), &client).await.unwrap();
        written.resource_version().unwrap().parse().unwrap()
    }

    pub(super) async fn passage(&self, version: u64) -> Passage {
        self.passage_of(version, "some client").await
    }

    pub(super) async fn passage_of(&self, version: u64, uid: &str) -> Passage {
        let change = Change { kind: Watched::OAuthClients, namespace: &self.namespace, version };
        self.gate.pass(change, uid).await.unwrap()
    }

    pub(super) async fn passes(&self, version: u64) {
        let look = async || match self.passage(version).await {
            Passage::Passed => Ok(()),
            blocked @ Passage::Blocked { .. } => Err(format!("{blocked:?}")),
        };
        eventually(SOON, "the gate lets it pass", look).await.unwrap();
    }

    pub(super) async fn announcement(&self, pod: &str) -> Option<Announcement> {
        let lease = self.api::<Lease>().get_opt(&format!("kw-replica-{pod}")).await.unwrap();
        lease.and_then(|lease| Announcement::read("kw", &lease))
    }

    /// A pod of that name which says that it is Ready, or not. No kubelet is near.
    pub(super) async fn pod(&self, name: &str, ready: bool, since: &str) {
        let pods = self.api::<Pod>();
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        if pods.get_opt(name).await.unwrap().is_none() {
            let create = async || pods.create(&PostParams::default(), &serde_json::from_value(pod.clone()).unwrap()).await;
            eventually(SOON, "the namespace takes pods", create).await.unwrap();
        }
        let status = if ready { "True" } else { "False" };
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}});
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
}

/// A replica in this process, behind a proxy of its own. Dropped: as kill -9 does.
pub(super) struct Replica {
    pub(super) proxy: Proxy,
    pub(super) contact: Arc<Contact>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) seen: watch::Sender<Seen>,
    pub(super) leave: CancellationToken,
    pub(super) tasks: JoinSet<()>,
}

impl Replica {
    pub(super) async fn start(place: &Place<'_>, pod: &str) -> Self {
        let proxy = Proxy::start(place.control_plane.admin()).await.unwrap();
        Self::behind(proxy, place, pod).await
    }

    /// A new process: on an address of its own, with an identity of its own.
    pub(super) async fn behind(proxy: Proxy, place: &Place<'_>, pod: &str) -> Self {
        let client = proxy.kubeconfig().client().await.unwrap();
        let (wanted, wishes) = watch::channel(None);
        let seen = watch::Sender::new(Seen::of(Watch::all(&Reach::Cluster)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let contact = Arc::new(Contact::new(patience()));
        let identity = Identity {
            namespace: place.namespace.clone(),
            release: "kw".to_owned(),
            pod: pod.to_owned(),
            process: format!("{pod}_{}", ambient::draw_jti()),
            address: listener.local_addr().unwrap().to_string(),
        };
        let links = Links { contact: Arc::clone(&contact), seen: seen.subscribe(), wanted };
        let (heartbeat, readiness) = Heartbeat::new(client.clone(), identity, links, pace());
        let leave = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(heartbeat.run(leave.clone()));
        let namespace = &place.namespace;
        let own = |client: Client| Api::namespaced(client, namespace);
        tasks.spawn(follow(Source::new(Api::<OAuthClient>::namespaced(client.clone(), namespace)), Watched::OAuthClients, &seen, &wishes));
        let resources = Api::<ProtectedResource>::namespaced(client.clone(), namespace);
        tasks.spawn(follow(Source::new(resources), Watched::ProtectedResources, &seen, &wishes));
        tasks.spawn(follow(Source::new(Api::<Namespace>::all(client.clone())), Watched::Namespaces, &seen, &wishes));
        let keys = Source::<Secret>::new(own(client)).with_fields("metadata.name=kw-keys");
        tasks.spawn(follow(keys, Watched::Keys, &seen, &wishes));
        tasks.spawn(tell_contact(listener, Arc::clone(&contact)));
        Self { proxy, contact, readiness, seen, leave, tasks }
    }

    pub(super) fn standing(&self) -> Standing {
        self.contact.standing(ambient::moment())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.readiness.is_ready(ambient::moment())
    }

    pub(super) async fn becomes_ready(&self) {
        let look = async || if self.is_ready() { Ok(()) } else { Err(format!("not ready, {:?}", self.standing())) };
        eventually(SOON, "the replica is ready", look).await.unwrap();
    }

    pub(super) async fn comes_to(&self, standing: Standing) {
        let look = async || if self.standing() == standing { Ok(()) } else { Err(format!("{:?}", self.standing())) };
        eventually(SOON, "the replica's standing", look).await.unwrap();
    }
}

/// Notes what a feed has reached, as the registry does after it has swapped the snapshot.
fn follow<K>(
    source: Source<K>,
    kind: Watched,
    seen: &watch::Sender<Seen>,
    wishes: &watch::Receiver<Option<keywright::replica::contact::Moment>>,
) -> impl Future<Output = ()> + use<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
{
    let (sink, mut events) = mpsc::channel(16);
    let (seen, wishes) = (seen.clone(), wishes.clone());
    async move {
        let feed = feed::run(source, sink, wishes, CancellationToken::new());
        let note = async {
            while let Some(event) = events.recv().await {
                seen.send_modify(|seen| note(seen, kind, &event));
            }
        };
        tokio::join!(feed, note);
    }
}

fn note<K>(seen: &mut Seen, kind: Watched, event: &Event<K>) {
    let version = match event {
        Event::Listed { version, begun, .. } => {
            seen.listed.insert(Watch::whole(kind), *begun);
            *version
        }
        Event::Applied { version, .. } | Event::Deleted { version, .. } | Event::Progress { version } => *version,
        Event::Unreadable { .. } | Event::Agreed { .. } | Event::Lapsed { .. } => return,
    };
    seen.versions.insert(Watch::whole(kind), version);
}

/// The health listener.
async fn tell_contact(listener: TcpListener, contact: Arc<Contact>) {
    let operations = Operations { registry: Default::default(), contact, missing: Box::new(Vec::new) };
    axum::serve(listener, operations_router(Arc::new(operations))).await.unwrap();
}
