//! What is wrong with a client's Secret. Pure.

use super::finding::Finding;
use crate::{api, plugin::report::Report};
use kube::api::ObjectMeta;
use std::collections::BTreeMap;

/// Compares what the Secret says of itself with what is registered. Its values are not looked at.
pub(super) fn of_secret(report: &Report, found: &ObjectMeta) -> Vec<Finding> {
    if let Some(foreign) = of_foreign(&report.name, found) {
        return vec![foreign];
    }
    let about = format!("Secret {}", found.name.as_deref().unwrap_or_default());
    credential(report, found).map(|message| Finding::fault(about, message)).into_iter().collect()
}

/// Where there is none.
pub(super) fn absent(name: &str) -> Finding {
    let message =
        "it is not there, though it was written: the operator makes a new one within seconds; if it stays away, is the operator running?";
    Finding::fault(format!("Secret {name}"), message)
}

fn credential(report: &Report, found: &ObjectMeta) -> Option<String> {
    let held = found.annotations.as_ref().and_then(|map| map.get(api::ANNOTATION_CREDENTIAL));
    let known = held.and_then(|id| report.credentials.iter().find(|known| known.id == *id));
    match (held, known.map(|known| known.state.as_str())) {
        // Of a client without a secret there is nothing to compare.
        _ if report.credentials.is_empty() => None,
        (Some(_), Some("Current" | "Pending")) => None,
        (Some(id), Some(_)) => Some(format!(
            "it holds the earlier credential {id}: somebody has restored an old copy; the operator goes on with it or replaces it"
        )),
        (Some(id), None) => {
            Some(format!("it holds the credential {id}, which is not registered: it opens nothing, and the operator replaces it"))
        }
        (None, _) => Some(format!("the annotation {} is gone: somebody has edited it; the operator heals it", api::ANNOTATION_CREDENTIAL)),
    }
}

/// The Secret that a client would get is there already, and is not the operator's to write.
pub(super) fn of_foreign(client: &str, found: &ObjectMeta) -> Option<Finding> {
    let has = |map: &Option<BTreeMap<String, String>>, key: &str, value: &str| {
        map.as_ref().and_then(|map| map.get(key)).is_some_and(|found| found == value)
    };
    let is_ours = has(&found.labels, api::LABEL_MANAGED_BY, api::MANAGED_BY) && has(&found.labels, api::LABEL_CLIENT, client);
    let about = format!("Secret {}", found.name.as_deref().unwrap_or_default());
    let message = format!(
        "SecretConflict: it is there already and not the operator's, so it will be left alone: set spec.secret.name to a name that is free, or hand \
         it over by the annotation {}: {client} on it",
        api::ANNOTATION_ADOPT
    );
    (!is_ours && !has(&found.annotations, api::ANNOTATION_ADOPT, client)).then(|| Finding::fault(about, message))
}
