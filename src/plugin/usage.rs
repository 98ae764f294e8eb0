//! Who uses a client's credentials: what the replicas report in the release's namespace, and the events beside the client. Both are
//! for some people alone to read; what this one may not read is left out.

use super::{
    cluster::Cluster,
    report::{Held, Report},
    table,
};
use crate::{
    ambient,
    api::OAuthClient,
    domain::{duration, usage::Use},
    replica::use_report::{UseReport, selector},
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::{ResourceExt as _, api::ListParams};
use std::net::IpAddr;

/// Most warnings that are shown.
const MOST_WARNINGS: usize = 5;

/// Adds what the replicas have reported since the status was written.
pub(super) async fn complete(cluster: &Cluster, report: &mut Report) {
    let Some((namespace, release)) = report.controller.as_deref().and_then(|controller| controller.split_once('/')) else { return };
    let parameters = ListParams::default().labels(&selector(release));
    let Ok(config_maps) = cluster.list::<ConfigMap>(namespace, &parameters).await else { return };
    let reported: Vec<UseReport> = config_maps.iter().filter_map(|found| Some(UseReport::read(release, found)?.1)).collect();
    for held in &mut report.credentials {
        if let Some(seen) = of(held, &reported) {
            held.last_used_at = held.last_used_at.max(Some(seen.last));
            held.used_by = Some(caller(cluster, &report.namespace, seen.from).await);
        }
    }
}

fn of(held: &Held, reported: &[UseReport]) -> Option<Use> {
    let of_one = |report: &UseReport| report.uses.iter().find(|(id, _)| id.as_str() == held.id).map(|(_, seen)| *seen);
    reported.iter().filter_map(of_one).reduce(Use::and)
}

/// The address, and the pod that has it. Behind an Ingress, or on the node's network, it is none of a pod.
async fn caller(cluster: &Cluster, namespace: &str, from: IpAddr) -> String {
    let parameters = ListParams::default().fields(&format!("status.podIP={from}"));
    let pods = match cluster.list_everywhere::<Pod>(&parameters).await {
        Ok(pods) => pods,
        Err(_) => cluster.list::<Pod>(namespace, &parameters).await.unwrap_or_default(),
    };
    // Pods of the node's network share its address.
    match pods.as_slice() {
        [pod] => format!("{from} (pod {}/{})", pod.namespace().unwrap_or_default(), pod.name_any()),
        _ => from.to_string(),
    }
}

/// The latest warnings of the client, as text.
pub(super) async fn warnings(cluster: &Cluster, client: &OAuthClient) -> String {
    let parameters = ListParams::default().fields(&format!("involvedObject.uid={},type=Warning", client.uid().unwrap_or_default()));
    let mut events = cluster.list::<Event>(&cluster.namespace, &parameters).await.unwrap_or_default();
    let last = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        series.or_else(|| Some(event.event_time.as_ref()?.0)).or_else(|| Some(event.last_timestamp.as_ref()?.0))
    };
    events.sort_by_key(|event| std::cmp::Reverse(last(event)));
    events.truncate(MOST_WARNINGS);
    let now = ambient::now();
    let row = |event: &Event| {
        let ago = last(event).map_or_else(String::new, |time| duration::relative(time, now));
        vec![ago, event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default()]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { format!("\nWarnings:\n{}", table::aligned(&rows, "  ")) }
}
