//! Writes this replica's report of uses, while there is something to report.

use super::{
    announcement::RELEASE_LABEL,
    contact::Moment,
    use_report::{REPORT_LABEL, USES, UseReport, report_name},
};
use crate::{ambient, installation::Installation, registry::snapshot::Snapshot};
use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a report is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reports what one replica sees.
pub struct UseReporter {
    config_maps: Api<ConfigMap>,
    pods: Api<Pod>,
    release: String,
    pod: String,
    snapshot: Arc<ArcSwap<Snapshot>>,
    since: Timestamp,
}

impl UseReporter {
    /// For a replica that counts from now on: to be made before the first request is answered.
    #[must_use]
    pub fn new(client: &Client, installation: &Installation, pod: &str, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self {
            config_maps: Api::namespaced(client.clone(), &installation.namespace),
            pods: Api::namespaced(client.clone(), &installation.namespace),
            release: installation.release.clone(),
            pod: pod.to_owned(),
            snapshot,
            since: ambient::now(),
        }
    }

    /// Reports until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.report() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn report(&self) {
        let (mut written, mut tried): (Option<UseReport>, Option<Moment>) = (None, None);
        loop {
            let now = ambient::moment();
            let after = tried.map(|then| SignedDuration::try_from(now.since(then)).unwrap_or(SignedDuration::MAX));
            if let Some(report) = self.now().filter(|report| report.is_due(written.as_ref(), after, now.wall)) {
                // Also after a failure: at most one write a minute.
                tried = Some(now);
                match self.write(&report).await {
                    Ok(()) => written = Some(report),
                    Err(error) => tracing::debug!(%error, "the report of uses is not written: nothing is retired before it is"),
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Of all uses that were counted before the begin of the last head check.
    fn now(&self) -> Option<UseReport> {
        let snapshot = self.snapshot.load();
        UseReport::of(snapshot.clients.values().map(AsRef::as_ref), self.since, snapshot.clients_agreed?)
    }

    async fn write(&self, report: &UseReport) -> Result<(), kube::Error> {
        let name = report_name(&self.release, &self.pod);
        let metadata = json!({
            "name": name,
            "labels": {RELEASE_LABEL: self.release, REPORT_LABEL: USES},
            "ownerReferences": self.owner().await?,
        });
        let patch = json!({"metadata": metadata, "data": report.data()});
        match self.config_maps.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let manifest = serde_json::from_value(json!({"metadata": metadata, "data": present(report)}));
                let manifest: ConfigMap = manifest.map_err(kube::Error::SerdeError)?;
                self.config_maps.create(&PostParams::default(), &manifest).await.map(drop)
            }
            written => written.map(drop),
        }
    }

    /// The garbage collector takes the report with the pod: we have no right to delete one.
    async fn owner(&self) -> Result<Value, kube::Error> {
        let pod = self.pods.get_metadata_opt(&self.pod).await?;
        let uid = pod.and_then(|pod| pod.uid());
        Ok(uid.map_or_else(|| json!([]), |uid| json!([{"apiVersion": "v1", "kind": "Pod", "name": self.pod, "uid": uid}])))
    }
}

fn present(report: &UseReport) -> Value {
    report.data().into_iter().filter_map(|(key, text)| Some((key, Value::from(text?)))).collect::<serde_json::Map<_, _>>().into()
}
