//! Workloads that read the environment, and so need a restart for a new credential; pure. They opt in by an annotation.

use crate::{
    api::{ANNOTATION_CREDENTIAL, ANNOTATION_RESTART_ON},
    domain::credential::{Credential, CredentialId, CredentialState},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};

/// A new credential is looked after for so long, and while an earlier one is still accepted.
const LOOKED_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// The kinds that restart their pods when the template of these changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// One workload.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    version: Option<String>,
    uid: Option<String>,
    created_at: Option<Timestamp>,
    /// The client whose new credentials restart it.
    restart_on: Option<String>,
    /// The credential that it was restarted for.
    restarted_for: Option<String>,
}

impl Workload {
    /// What of an object matters.
    pub(crate) fn read(kind: Kind, object: &(impl ResourceExt + serde::Serialize)) -> Self {
        let spec = serde_json::to_value(object).unwrap_or_default();
        let annotations = spec.pointer("/spec/template/metadata/annotations");
        let restarted_for = annotations.and_then(|annotations| annotations.get(ANNOTATION_CREDENTIAL)).and_then(Value::as_str);
        Self {
            kind,
            name: object.name_any(),
            version: object.resource_version(),
            uid: object.uid(),
            created_at: object.creation_timestamp().map(|time| time.0),
            restart_on: object.annotations().get(ANNOTATION_RESTART_ON).cloned(),
            restarted_for: restarted_for.map(str::to_owned),
        }
    }

    /// Whether its pods may hold another credential of that client than this one. One that was made later, and never restarted,
    /// has read it.
    pub(crate) fn is_behind(&self, client: &str, current: &Credential) -> bool {
        let is_older = || self.created_at.is_none_or(|made| made.as_second() <= current.created_at.as_second());
        let stamped = self.restarted_for.as_deref();
        self.restart_on.as_deref() == Some(client) && stamped.map_or_else(is_older, |stamp| stamp != current.id.as_str())
    }

    /// The merge patch that restarts it.
    pub(crate) fn restart_patch(&self, id: &CredentialId) -> Value {
        let template = json!({"metadata": {"annotations": {ANNOTATION_CREDENTIAL: id.as_str()}}});
        json!({"metadata": {"resourceVersion": self.version, "uid": self.uid}, "spec": {"template": template}})
    }
}

/// The credential that workloads may not have yet.
pub(crate) fn looked_after(credentials: &[Credential], now: Timestamp) -> Option<&Credential> {
    let current = credentials.iter().find(|known| known.state == CredentialState::Current)?;
    let overlaps = credentials.iter().any(|known| known.state == CredentialState::Previous);
    (overlaps || now.duration_since(current.created_at) <= LOOKED_AFTER).then_some(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::Digest;
    use k8s_openapi::api::apps::v1::Deployment;

    fn known(number: u8, state: CredentialState) -> Credential {
        let digest = Digest { key: "k".into(), mac: [0; 32] };
        let (id, created_at) = (CredentialId::from_random([number; 16]), Timestamp::from_second(1_000).unwrap());
        Credential { id, digest, state, created_at, retire_after: None, accepted_until: None, rehearsed_until: None, last_used_at: None }
    }

    fn deployment(second: i64, restart_on: Option<&str>, stamp: Option<&str>) -> Workload {
        let mut annotations = json!({});
        if let Some(stamp) = stamp {
            annotations = json!({ANNOTATION_CREDENTIAL: stamp});
        }
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {
                "name": "app",
                "uid": "u",
                "resourceVersion": "7",
                "creationTimestamp": Timestamp::from_second(second).unwrap().to_string(),
                "annotations": restart_on.map(|client| json!({ANNOTATION_RESTART_ON: client})),
            },
            "spec": {"selector": {}, "template": {"metadata": {"annotations": annotations}}},
        }))
        .unwrap();
        Workload::read(Kind::Deployment, &object)
    }

    #[test]
    fn who_opts_in_is_restarted_once_for_each_credential() {
        let current = known(2, CredentialState::Current);
        let (this, former) = (current.id.as_str().to_owned(), known(1, CredentialState::Previous).id);
        for (second, restart_on, stamp, behind) in [
            (500, None, None, false),
            (500, Some("another"), None, false),
            (500, Some("worker"), None, true),
            (1_000, Some("worker"), None, true),
            (1_001, Some("worker"), None, false),
            (500, Some("worker"), Some(this.as_str()), false),
            (1_001, Some("worker"), Some(former.as_str()), true),
        ] {
            let workload = deployment(second, restart_on, stamp);
            assert_eq!(workload.is_behind("worker", &current), behind, "{workload:?}");
        }
    }

    #[test]
    fn a_restart_changes_the_template_of_what_was_read_alone() {
        let current = known(2, CredentialState::Current);
        let patch = deployment(500, Some("worker"), None).restart_patch(&current.id);
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7", "uid": "u"}));
        assert_eq!(patch["spec"], json!({"template": {"metadata": {"annotations": {ANNOTATION_CREDENTIAL: current.id.as_str()}}}}));
    }

    #[test]
    fn a_credential_is_looked_after_for_an_hour_and_through_its_overlap() {
        let (current, former) = (known(2, CredentialState::Current), known(1, CredentialState::Previous));
        let late = current.created_at + LOOKED_AFTER + SignedDuration::from_secs(1);
        assert!(looked_after(std::slice::from_ref(&current), current.created_at + LOOKED_AFTER).is_some());
        assert!(looked_after(std::slice::from_ref(&current), late).is_none());
        assert!(looked_after(&[former.clone(), current], late).is_some());
        assert!(looked_after(&[former], late).is_none());
    }
}
