//! What the status of a client says; pure.

use super::rehearsal;
use crate::{
    api::{
        Condition, ConditionType, OAuthClient, OAuthClientStatus, Reason,
        client::{Binding, StoredCredential},
        rotation::StoredSchedule,
    },
    domain::names::ClientId,
};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

/// One line of conditions: does it hold, why, and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What was found out about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) ready: Finding,
    pub(crate) authorized: Option<Finding>,
    pub(crate) synced: Option<Finding>,
}

/// The parts of status beside conditions. `None`: as it is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) client_id: Option<&'a ClientId>,
    pub(crate) secret: Option<&'a str>,
    pub(crate) credentials: Option<Vec<StoredCredential>>,
    pub(crate) timing: Option<Timing>,
    pub(crate) rehearsal: Option<Finding>,
    /// The value of the annotation `keywright.dev/rotate` that is acted upon.
    pub(crate) handled_rotate: Option<String>,
}

/// When the secret changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timing {
    pub(crate) schedule: Option<StoredSchedule>,
    pub(crate) next_rotation: Option<String>,
}

impl Finding {
    pub(crate) fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: true, reason, message: message.into() }
    }

    pub(crate) fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: false, reason, message: message.into() }
    }
}

impl Verdict {
    /// Nothing but that it is not ready.
    pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Self {
        Self { ready: Finding::no(reason, message), authorized: None, synced: None }
    }

    fn conditions(&self) -> Vec<(ConditionType, &Finding)> {
        let lines = [(ConditionType::Authorized, self.authorized.as_ref()), (ConditionType::SecretSynced, self.synced.as_ref())];
        let known = lines.into_iter().filter_map(|(kind, finding)| Some((kind, finding?)));
        [(ConditionType::Ready, &self.ready)].into_iter().chain(known).chain(progress(&self.ready)).collect()
    }
}

/// Work under way, or only a change by somebody else can help (kstatus).
fn progress(ready: &Finding) -> Option<(ConditionType, &Finding)> {
    use Reason::{AudienceConflict, ClientIdConflict, ConfigMapConflict, ControllerConflict, InvalidSpec, PolicyViolation};
    use Reason::{SecretConflict, StatusUnreadable};
    match ready.reason {
        Reason::Pending => Some((ConditionType::Reconciling, ready)),
        SecretConflict | ClientIdConflict | PolicyViolation | InvalidSpec | StatusUnreadable | AudienceConflict | ConfigMapConflict
        | ControllerConflict => Some((ConditionType::Stalled, ready)),
        _ => None,
    }
}

fn written(lines: Vec<(ConditionType, &Finding)>, generation: Option<i64>, earlier: &[Condition], now: Timestamp) -> Vec<Condition> {
    let condition = |(kind, finding): (ConditionType, &Finding)| {
        let holds = finding.holds || matches!(kind, ConditionType::Reconciling | ConditionType::Stalled);
        Condition::new(kind, holds, finding.reason, &finding.message, now).observed(generation).since(earlier)
    };
    lines.into_iter().map(condition).collect()
}

/// The conditions of an object of which there is nothing to say but whether it is ready.
pub(crate) fn conditions_of(ready: &Finding, generation: Option<i64>, earlier: &[Condition], now: Timestamp) -> Vec<Condition> {
    written([(ConditionType::Ready, ready)].into_iter().chain(progress(ready)).collect(), generation, earlier, now)
}

/// The status that `object` should have.
pub(crate) fn status(object: &OAuthClient, verdict: &Verdict, facts: Facts<'_>, controller: &str, now: Timestamp) -> OAuthClientStatus {
    let stored = object.status.clone().unwrap_or_default();
    let earlier = stored.conditions.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let credentials = facts.credentials.or(stored.credentials);
    let mut lines = verdict.conditions();
    lines.extend(facts.rehearsal.as_ref().map(|finding| (ConditionType::RotationReady, finding)));
    let mut conditions = written(lines, generation, &earlier, now);
    if facts.rehearsal.is_none() {
        conditions.extend(rehearsal::remains(&earlier, credentials.as_deref().unwrap_or_default()));
    }
    let stored_timing = Timing { schedule: stored.schedule, next_rotation: stored.next_rotation };
    let Timing { schedule, next_rotation } = facts.timing.unwrap_or(stored_timing);
    let last_rotation = credentials.iter().flatten().find(|known| known.state == "Current").map(|known| known.created_at.clone());
    OAuthClientStatus {
        observed_generation: generation,
        conditions: Some(conditions),
        client_id: facts.client_id.map(ToString::to_string).or(stored.client_id),
        binding: facts.secret.map(|name| Binding { name: name.to_owned() }),
        last_rotation: last_rotation.or(stored.last_rotation),
        credentials,
        next_rotation,
        schedule,
        last_handled_rotate: facts.handled_rotate.or(stored.last_handled_rotate),
        controller: Some(controller.to_owned()),
        unreadable: None,
    }
}

/// The status of an object that another installation works on: nothing changes but that it is not ready.
pub(crate) fn contested(object: &OAuthClient, ready: &Finding, now: Timestamp) -> OAuthClientStatus {
    let stored = object.status.clone().unwrap_or_default();
    let earlier = stored.conditions.clone().unwrap_or_default();
    OAuthClientStatus { conditions: Some(conditions_of(ready, object.metadata.generation, &earlier, now)), ..stored }
}

/// The merge patch of the status subresource that turns what `object` has into `status`; nothing where it has it already.
/// It carries resourceVersion and uid. A status that could not be read keeps its unreadable part.
pub(crate) fn status_patch<S: serde::Serialize>(object: &impl ResourceExt, stored: &Option<S>, status: &S) -> Option<Value> {
    let before = members(stored);
    let after = members(status);
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value)).map(|(name, value)| (name.clone(), value.clone()));
    let difference: Map<String, Value> = gone.chain(changed).collect();
    (!difference.is_empty()).then(|| {
        json!({
            "metadata": {"resourceVersion": object.resource_version(), "uid": object.uid()},
            "status": difference,
        })
    })
}

fn members(status: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// The reason of the stored condition Ready.
pub(crate) fn ready_reason(object: &OAuthClient) -> Option<&str> {
    let conditions = object.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|known| known.type_ == ConditionType::Ready.as_str()).map(|known| known.reason.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(generation: i64) -> OAuthClient {
        let mut object = OAuthClient::new("worker", crate::api::OAuthClientSpec::default());
        object.metadata.generation = Some(generation);
        object.metadata.resource_version = Some("7".to_owned());
        object.metadata.uid = Some("u".to_owned());
        object
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn issued() -> Verdict {
        Verdict { ready: Finding::yes(Reason::Issued, "ok"), authorized: Some(Finding::yes(Reason::Granted, "")), synced: None }
    }

    #[test]
    fn a_status_equal_to_the_stored_one_is_not_written() {
        let mut object = client(3);
        let first = status(&object, &issued(), Facts::default(), "ns/release", at(10));
        assert!(status_patch(&object, &object.status, &first).is_some());
        object.status = Some(first);
        let again = status(&object, &issued(), Facts::default(), "ns/release", at(99));
        assert_eq!(status_patch(&object, &object.status, &again), None);
    }

    #[test]
    fn a_patch_takes_out_what_no_longer_holds_and_carries_preconditions() {
        let mut object = client(3);
        let pending = Verdict::refused(Reason::Pending, "waiting");
        object.status = Some(status(&object, &pending, Facts { secret: Some("s"), ..Facts::default() }, "ns/release", at(10)));
        let conditions = object.status.as_ref().unwrap().conditions.as_ref().unwrap();
        assert!(conditions.iter().any(|known| known.type_ == "Reconciling" && known.status == "True"));
        let patch = status_patch(&object, &object.status, &status(&object, &issued(), Facts::default(), "ns/release", at(20))).unwrap();
        assert_eq!(patch["metadata"], json!({"resourceVersion": "7", "uid": "u"}));
        assert_eq!(patch["status"]["binding"], Value::Null);
        assert!(!patch["status"]["conditions"].to_string().contains("Reconciling"));
    }

    #[test]
    fn only_what_somebody_else_has_to_change_is_stalled() {
        for (reason, stalled) in [(Reason::SecretConflict, true), (Reason::InvalidSpec, true), (Reason::AccessDenied, false)] {
            let verdict = Verdict::refused(reason, "");
            assert_eq!(verdict.conditions().iter().any(|(kind, _)| *kind == ConditionType::Stalled), stalled, "{reason:?}");
        }
    }
}
