//! Writes what this replica revokes, and reads what all replicas did.
//!
//! The ConfigMaps belong to no pod: what is revoked stays so when the pod is gone. One of a pod that is gone, all of whose tokens have
//! expired, is given to that pod, so that the garbage collector takes it: nobody here has the right to delete one. Every replica does so,
//! not the leader alone, which may have none of these lists (`topology: Split`); whoever is late is refused by the resourceVersion.

use super::{
    desk::{Keeping, Order},
    list::{Revoked, Shares},
};
use crate::{
    ambient,
    installation::Installation,
    registry::feed::{self, Event, Source, Unreadable},
    replica::{announcement::RELEASE_LABEL, use_report::REPORT_LABEL},
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The value of the label that tells these ConfigMaps from others of the release.
const REVOKED: &str = "revoked";
/// Events that wait to be handled.
const WAITING: usize = 256;
/// Most revocations in one write.
const BATCH: usize = 256;
/// How often expired tokens are forgotten, from the first list on.
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Keeps the list for one replica.
pub struct Keeper {
    config_maps: Api<ConfigMap>,
    pods: Api<Pod>,
    watched: Source<ConfigMap>,
    release: String,
    pod: String,
    keeping: Keeping,
    known: HashMap<String, Known>,
    shares: Shares,
    is_listed: bool,
}

/// One ConfigMap.
#[derive(Default)]
struct Known {
    revoked: Revoked,
    version: Option<String>,
}

impl Keeper {
    /// For the replica that is this pod. `watches` is for lists and watches.
    #[must_use]
    pub fn new(client: &Client, watches: Client, installation: &Installation, pod: &str, keeping: Keeping) -> Self {
        let (namespace, release) = (&installation.namespace, &installation.release);
        let selector = format!("{RELEASE_LABEL}={release},{REPORT_LABEL}={REVOKED}");
        Self {
            config_maps: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            watched: Source::new(Api::namespaced(watches, namespace)).labelled(selector),
            release: release.clone(),
            pod: pod.to_owned(),
            keeping,
            known: HashMap::new(),
            shares: Shares::default(),
            is_listed: false,
        }
    }

    /// Keeps it until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (sink, mut events) = mpsc::channel(WAITING);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(self.watched.clone(), sink, unwanted, stop.clone());
        let keep = async {
            let mut tidy = tokio::time::interval(TIDY_EVERY);
            loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => self.take_in(event),
                        None => return,
                    },
                    Some(order) = self.keeping.orders.recv() => self.revoke(order).await,
                    _ = tidy.tick(), if self.is_listed => self.tidy().await,
                    () = stop.cancelled() => return,
                }
            }
        };
        tokio::join!(feed, keep);
    }

    fn take_in(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Listed { objects, .. } => {
                objects.iter().for_each(|object| self.read(object));
                self.is_listed = true;
            }
            Event::Applied { object, .. } => self.read(&object),
            // What was known of it holds: nothing but time makes a token good again.
            Event::Deleted { name, .. } => {
                if let Some(known) = self.known.get_mut(&name.name) {
                    known.version = None;
                }
                return;
            }
            Event::Unreadable { object: Unreadable { name, .. }, .. } => tracing::warn!(config_map = %name, "revocations cannot be read"),
            Event::Lapsed { .. } | Event::Progress { .. } | Event::Agreed { .. } => return,
        }
        self.publish();
    }

    fn read(&mut self, object: &ConfigMap) {
        let text = object.data.as_ref().and_then(|data| data.get(REVOKED));
        let known = self.known.entry(object.name_any()).or_default();
        known.revoked.merge(&text.map(|text| Revoked::read(text)).unwrap_or_default());
        known.version = object.resource_version();
    }

    fn publish(&self) {
        if self.is_listed {
            let mut all = Revoked::default();
            self.known.values().for_each(|known| all.merge(&known.revoked));
            self.keeping.revoked.store(Some(Arc::new(all)));
        }
    }

    /// All that wait, and for which there is room, in one write. Where it fails, whoever waits is told so by the end of the channel.
    async fn revoke(&mut self, first: Order) {
        let mut orders = vec![first];
        while orders.len() < BATCH
            && let Ok(order) = self.keeping.orders.try_recv()
        {
            orders.push(order);
        }
        if !self.is_listed {
            return tracing::warn!("tokens cannot be revoked now: what is revoked is not known yet");
        }
        let (name, now) = (self.own_name(), ambient::now().as_second());
        let mut own = self.known.get(&name).map(|known| known.revoked.clone()).unwrap_or_default();
        own.forget_expired(now);
        self.shares.forget_expired(now);
        let mut shares = self.shares.clone();
        orders.retain(|Order { namespace, token, expires_at, .. }| {
            let is_admitted = shares.admit(&mut own, namespace, token, *expires_at);
            if !is_admitted {
                tracing::warn!(
                    namespace,
                    "a token cannot be revoked now: the list of this replica, or this namespace's part of it, is full"
                );
            }
            is_admitted
        });
        if orders.is_empty() {
            return;
        }
        match self.write(&name, &own).await {
            Ok(written) => {
                self.shares = shares;
                self.read(&written);
                self.publish();
                for order in orders {
                    // Gone: whoever asked has given up.
                    let _ = order.done.send(());
                }
            }
            Err(error) => tracing::warn!(%error, "revocations are not written: their callers are answered 503"),
        }
    }

    fn own_name(&self) -> String {
        format!("{}-revoked-{}", self.release, self.pod)
    }

    async fn write(&self, name: &str, own: &Revoked) -> Result<ConfigMap, kube::Error> {
        let metadata = json!({"name": name, "labels": {RELEASE_LABEL: self.release, REPORT_LABEL: REVOKED}});
        let manifest = json!({"metadata": metadata, "data": {REVOKED: own.text()}});
        match self.config_maps.patch(name, &PatchParams::default(), &Patch::Merge(&manifest)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let manifest: ConfigMap = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
                self.config_maps.create(&PostParams::default(), &manifest).await
            }
            written => written,
        }
    }

    /// Best effort: what is left behind is looked at again.
    async fn tidy(&mut self) {
        let now = ambient::now().as_second();
        let prefix = format!("{}-revoked-", self.release);
        for (name, known) in &mut self.known {
            known.revoked.forget_expired(now);
            let Some(pod) =
                name.strip_prefix(&prefix).filter(|pod| known.revoked.is_empty() && known.version.is_some() && *pod != self.pod)
            else {
                continue;
            };
            if matches!(self.pods.get_metadata_opt(pod).await, Ok(None))
                && let Err(error) = given_up(&self.config_maps, name, pod, known.version.as_deref()).await
            {
                tracing::debug!(%error, config_map = name, "an empty list of revocations stays for now");
            }
        }
        let own = self.own_name();
        self.known.retain(|name, known| *name == own || !known.revoked.is_empty() || known.version.is_some());
        self.publish();
    }
}

/// Leaves the list of a pod that is gone to the garbage collector. Where nobody may change the owner of what he may not delete (the
/// admission plugin OwnerReferencesPermissionEnforcement, which OpenShift has), an empty list is all that is left of it.
async fn given_up(config_maps: &Api<ConfigMap>, name: &str, pod: &str, version: Option<&str>) -> Result<(), kube::Error> {
    // No pod has that UID.
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": "00000000-0000-0000-0000-000000000000"});
    let owned = json!({"metadata": {"resourceVersion": version, "ownerReferences": [owner]}});
    let emptied = json!({"metadata": {"resourceVersion": version}, "data": {REVOKED: ""}});
    let written = async |patch| config_maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop);
    match written(owned).await {
        Err(kube::Error::Api(status)) if status.code == 403 => written(emptied).await,
        other => other,
    }
}
