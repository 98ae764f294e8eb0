//! Conditions, as `meta/v1` Condition writes them.

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One condition of an object (Kubernetes API conventions, "Typical status properties").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// The metadata.generation that the condition was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0))]
    pub observed_generation: Option<i64>,
    /// When status last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, and what to do about it.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Most bytes of a message.
const MESSAGE: usize = 8_192;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The object does what its spec says.
    Ready,
    /// Every entry of `spec.access` is granted.
    Authorized,
    /// The Secret holds a registered credential.
    SecretSynced,
    /// Resource: a person has probed whether the API verifies its tokens; absent: nobody has.
    Probed,
    /// Client: whoever used the secret that a rehearsal replaced uses the new one; present from a rehearsal to the next rotation.
    RotationReady,
    /// Work is under way (kstatus); present while it is True.
    Reconciling,
    /// No progress until somebody changes something (kstatus); present while it is True.
    Stalled,
}

/// Why a condition is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Client: the Secret holds the one credential.
    Issued,
    /// Client: the Secret holds the new credential, an earlier one is still accepted.
    Overlapping,
    /// Work is under way.
    Pending,
    /// Client: its API's owner does not grant all that it wants.
    AccessDenied,
    /// Client: every entry of `spec.access` is granted.
    Granted,
    /// Client: a Secret of that name is not ours.
    SecretConflict,
    /// Client: an older client has the client id.
    ClientIdConflict,
    /// The installation's policy does not allow what the spec says.
    PolicyViolation,
    /// No signing key of the algorithm asked for.
    SigningKeyUnavailable,
    /// Client: the bundle of a trust domain of its workloads cannot be used.
    TrustBundleUnavailable,
    /// Client: the keys that the tokens of its ServiceAccounts are verified with are not to be had.
    ClusterKeysUnavailable,
    /// The spec contradicts itself.
    InvalidSpec,
    /// Client: `spec.disabled`.
    Disabled,
    /// The stored status cannot be read: nothing is done until it can.
    StatusUnreadable,
    /// Rehearsal: nobody uses what it replaced any more.
    AllMoved,
    /// Rehearsal: what it replaced is in use.
    PreviousInUse,
    /// Rehearsal: nobody has used the new secret yet.
    NotYetUsed,
    /// Rehearsal: what it replaced was not used since, but not for long enough yet.
    Observing,
    /// Another installation works on the object.
    ControllerConflict,
    /// Resource: it is served.
    Accepted,
    /// Resource: another one claims the audience, so neither has it.
    AudienceConflict,
    /// Resource: a ConfigMap of that name is not ours.
    ConfigMapConflict,
    /// Probed: every token that the API has to refuse was refused, and a right one accepted.
    AllRefused,
    /// Probed: one was accepted.
    WrongTokensAccepted,
    /// Probed: it cannot be told.
    Unclear,
    /// Probed: the annotation with the result cannot be read.
    Unreadable,
}

impl Condition {
    /// A condition that holds since `now`.
    #[must_use]
    pub fn new(type_: ConditionType, holds: bool, reason: Reason, message: impl Into<String>, now: Timestamp) -> Self {
        Self {
            type_: type_.as_str().to_owned(),
            status: if holds { "True" } else { "False" }.to_owned(),
            observed_generation: None,
            last_transition_time: whole_seconds(now),
            reason: reason.as_str().to_owned(),
            message: shortened(message.into()),
        }
    }

    /// One of which it is not known whether it holds.
    #[must_use]
    pub fn undecided(type_: ConditionType, reason: Reason, message: impl Into<String>, now: Timestamp) -> Self {
        Self { status: "Unknown".to_owned(), ..Self::new(type_, false, reason, message, now) }
    }

    /// The same, computed from this metadata.generation.
    #[must_use]
    pub fn observed(self, generation: Option<i64>) -> Self {
        Self { observed_generation: generation, ..self }
    }

    /// The same, with the transition time of `earlier` where the status did not change.
    #[must_use]
    pub fn since(self, earlier: &[Self]) -> Self {
        let same = earlier.iter().find(|known| known.type_ == self.type_ && known.status == self.status);
        let last_transition_time = same.map_or_else(|| self.last_transition_time.clone(), |known| known.last_transition_time.clone());
        Self { last_transition_time, ..self }
    }
}

/// The schema bounds messages: a longer one would take the whole status with it.
fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE {
        message.truncate(message.floor_char_boundary(MESSAGE));
        message.push('…');
    }
    message
}

/// RFC 3339 with whole seconds, as `meta/v1` Time has it.
pub(crate) fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

impl ConditionType {
    /// The word in `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Authorized => "Authorized",
            Self::SecretSynced => "SecretSynced",
            Self::Probed => "Probed",
            Self::RotationReady => "RotationReady",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

impl Reason {
    /// The word in `reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "Issued",
            Self::Overlapping => "Overlapping",
            Self::Pending => "Pending",
            Self::AccessDenied => "AccessDenied",
            Self::Granted => "Granted",
            Self::SecretConflict => "SecretConflict",
            Self::ClientIdConflict => "ClientIdConflict",
            Self::PolicyViolation => "PolicyViolation",
            Self::SigningKeyUnavailable => "SigningKeyUnavailable",
            Self::TrustBundleUnavailable => "TrustBundleUnavailable",
            Self::ClusterKeysUnavailable => "ClusterKeysUnavailable",
            Self::InvalidSpec => "InvalidSpec",
            Self::Disabled => "Disabled",
            Self::StatusUnreadable => "StatusUnreadable",
            Self::AllMoved => "AllMoved",
            Self::PreviousInUse => "PreviousInUse",
            Self::NotYetUsed => "NotYetUsed",
            Self::Observing => "Observing",
            Self::ControllerConflict => "ControllerConflict",
            Self::Accepted => "Accepted",
            Self::AudienceConflict => "AudienceConflict",
            Self::ConfigMapConflict => "ConfigMapConflict",
            Self::AllRefused => "AllRefused",
            Self::WrongTokensAccepted => "WrongTokensAccepted",
            Self::Unclear => "Unclear",
            Self::Unreadable => "Unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_stays_while_the_status_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = Condition::new(ConditionType::Ready, false, Reason::Pending, "", at(10));
        let later = Condition::new(ConditionType::Ready, false, Reason::AccessDenied, "ask", at(20)).since(std::slice::from_ref(&first));
        assert_eq!(later.last_transition_time, first.last_transition_time);
        assert_eq!(later.reason, "AccessDenied");
        let ready = Condition::new(ConditionType::Ready, true, Reason::Issued, "", at(30)).since(&[later]);
        assert_eq!(ready.last_transition_time, "1970-01-01T00:00:30Z");
    }

    #[test]
    fn transition_times_have_whole_seconds() {
        let now = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(Condition::new(ConditionType::Ready, true, Reason::Issued, "", now).last_transition_time, "1970-01-01T00:00:01Z");
    }
}
