//! Workloads that opted in are restarted, once for each credential, after it was published. Nothing of a client waits for that, and
//! a restart that fails is tried again.

use super::Work;
use crate::{
    ambient,
    api::OAuthClient,
    controller::{
        Fault, apply, observe,
        workload::{self, Workload},
    },
    domain::{
        credential::{Credential, CredentialId},
        names::ObjectName,
    },
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The credentials whose workloads were restarted while this process leads. Nothing is lost with it but calls.
#[derive(Default)]
pub(in crate::controller) struct Restarted(Mutex<HashMap<ObjectName, CredentialId>>);

impl Restarted {
    fn is_done(&self, client: &ObjectName, id: &CredentialId) -> bool {
        self.lock().get(client) == Some(id)
    }

    fn done(&self, client: &ObjectName, id: &CredentialId) {
        self.lock().insert(client.clone(), id.clone());
    }

    /// The client is gone.
    pub(in crate::controller) fn forget(&self, client: &ObjectName) {
        self.lock().remove(client);
    }

    /// The Lease is lost.
    pub(in crate::controller) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectName, CredentialId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work<'_> {
    /// Whether no workload is left to restart.
    pub(super) async fn restart_workloads(&self, object: &OAuthClient, credentials: &[Credential]) -> bool {
        let (controller, client) = (self.controller, &self.client.object);
        let looked_after = workload::looked_after(credentials, ambient::now()).filter(|_| controller.settings.restart_workloads);
        let Some(current) = looked_after.filter(|current| !controller.restarted.is_done(client, &current.id)) else { return true };
        match self.restart_those_behind(object, current).await {
            Ok(()) => {
                controller.restarted.done(client, &current.id);
                true
            }
            Err(fault) => {
                tracing::warn!(client = %client, error = %fault, "workloads that opted in are not restarted; will be tried again");
                false
            }
        }
    }

    async fn restart_those_behind(&self, object: &OAuthClient, current: &Credential) -> Result<(), Fault> {
        let client = &self.client.object;
        let all = observe::workloads(&self.controller.kube, client).await?;
        for workload in all.iter().filter(|workload| workload.is_behind(&client.name, current)) {
            let Workload { kind, name, .. } = workload;
            apply::restart(&self.controller.kube, client, workload, &current.id).await?;
            self.controller.events.restarted(object, kind.as_str(), name);
        }
        Ok(())
    }
}
