//! The gate: whether every replica that may be serving has seen a write.
//!
//! The decision is made on consistent LISTs that begin after the write has returned, never on a cache. A Lease counts until
//! its replica deletes it after draining, or until the leader deletes it: when the replica's pod is gone, terminating or not
//! Ready for 10 s, *and* the LIST shows the same resourceVersion of the Lease that this process first saw at least 15 s ago.
//! By then the replica is in doubt (10 s after the start of its last renewal) and answers no 401. Expiry alone drops nothing.

use super::{
    Change,
    announcement::{Announcement, lease_name},
    silence::{Memory, Silence},
};
use crate::ambient;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Preconditions},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// Whether a rotation may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// Every replica that counts goes by the write.
    Passed,
    /// These (by the names of their pods) do not, or have not said so.
    Blocked {
        /// Sorted.
        replicas: Vec<String>,
    },
}

/// Why the gate could not be looked at. To be tried again; nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The LIST of Leases failed.
    #[error("cannot list the Leases of the replicas, no credential is published until it works")]
    ListLeases(#[source] kube::Error),
    /// The LIST of pods failed.
    #[error("cannot list the pods of the release, so no missing replica can be told from a slow one")]
    ListPods(#[source] kube::Error),
    /// The Lease of a replica that is gone could not be deleted.
    #[error("cannot delete the Lease of {replica}, whose pod is gone or not Ready")]
    DropLease {
        /// The pod.
        replica: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
}

/// The gate of one release. Only the holder of the leader Lease may use it, because it deletes the Leases of replicas that
/// are gone.
pub struct Gate {
    leases: Api<Lease>,
    pods: Api<Pod>,
    release: String,
    silence: Silence,
    last: Mutex<Last>,
}

/// The last look, and what was seen before it.
#[derive(Default)]
struct Last {
    memory: Memory,
    look: Option<(Duration, Arc<Vec<Announcement>>)>,
}

impl Gate {
    /// The gate of the release in that namespace. `client` should be one without retries of its own
    /// ([`crate::cluster::requests`]).
    #[must_use]
    pub fn new(client: &Client, namespace: &str, release: &str, silence: Silence) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            release: release.to_owned(),
            silence,
            last: Mutex::default(),
        }
    }

    /// Whether every replica that may be serving goes by a change: of the client with the UID `name`, or of the entry `name` of the key
    /// Secret. To be called after the write has returned; callers at the same time share one LIST that begins after all of them have
    /// asked.
    ///
    /// # Errors
    /// [`GateError`] where a LIST or the deletion of a dead replica's Lease failed. Nothing was decided.
    pub async fn pass(&self, change: Change<'_>, name: &str) -> Result<Passage, GateError> {
        let replicas = self.counted().await?;
        let late = replicas.iter().filter(|replica| !replica.has_taken_in(change, name));
        let mut late: Vec<String> = late.map(|replica| replica.pod.clone()).collect();
        late.sort();
        Ok(if late.is_empty() { Passage::Passed } else { Passage::Blocked { replicas: late } })
    }

    /// The replicas that count now: every one that may be serving. To be called every few seconds while leading, also when
    /// nothing rotates: a replica's silence is then known when a rotation asks for it.
    ///
    /// # Errors
    /// As [`Gate::pass`].
    pub async fn counted(&self) -> Result<Arc<Vec<Announcement>>, GateError> {
        let asked = ambient::boot_time();
        let mut last = self.last.lock().await;
        if let Some((begun, replicas)) = &last.look
            && *begun > asked
        {
            return Ok(Arc::clone(replicas));
        }
        let begun = ambient::boot_time();
        let replicas = Arc::new(self.look(&mut last.memory, begun).await?);
        last.look = Some((begun, Arc::clone(&replicas)));
        Ok(replicas)
    }

    async fn look(&self, memory: &mut Memory, begun: Duration) -> Result<Vec<Announcement>, GateError> {
        let listed = self.leases.list(&ListParams::default()).await.map_err(GateError::ListLeases)?;
        let completed = ambient::boot_time();
        let replicas: Vec<_> = listed.iter().filter_map(|lease| Announcement::read(&self.release, lease)).collect();
        let silent = memory.silent(&replicas, begun, completed, self.silence);
        if silent.is_empty() {
            return Ok(replicas);
        }
        let pods = self.pods.list(&ListParams::default()).await.map_err(GateError::ListPods)?;
        memory.see_pods(&silent, &pods.items, ambient::boot_time());
        let mut counted = Vec::with_capacity(replicas.len());
        for replica in replicas {
            if !memory.is_gone(&replica, begun, self.silence) || !self.drop_lease(&replica).await? {
                counted.push(replica);
            }
        }
        Ok(counted)
    }

    /// Deletes the Lease of a replica that is gone, if it is still the one that was listed. `false`: it is not, so it counts.
    async fn drop_lease(&self, replica: &Announcement) -> Result<bool, GateError> {
        let preconditions = Preconditions { resource_version: Some(replica.version.clone()), uid: Some(replica.uid.clone()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let name = lease_name(&self.release, &replica.pod);
        match self.leases.delete(&name, &parameters).await {
            Ok(_) => {
                tracing::info!(replica = replica.pod, "dropped the Lease of a replica whose pod is gone, terminating or not Ready");
                Ok(true)
            }
            // Somebody else has dropped it. A replica that comes back joins, and lists after the write that is waited for.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(source) => Err(GateError::DropLease { replica: replica.pod.clone(), source }),
        }
    }
}
