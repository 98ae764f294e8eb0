//! The parts of an `OAuthClient` that say when its secret changes.

use super::rules;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// When the secret changes, and how long the former one stays accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::every_is_longer_than_overlap(),
    validation = rules::max_overlap_is_at_least_overlap(),
    validation = Rule::new("!has(self.maxOverlap) || !has(self.retire) || self.retire != 'AfterOverlap'")
        .message("retire: AfterOverlap refuses the former secret at the end of overlap already: leave maxOverlap out, or write retire: WhenUnused")
)]
pub struct Rotation {
    /// Scheduled: a new secret every so often. Manual: only when the annotation keywright.dev/rotate gets a new value. Absent:
    /// Scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Scheduled", "Manual"]))]
    pub policy: Option<String>,
    /// How old a secret gets: longer than overlap. Absent: 30d.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = rules::duration(), validation = rules::more_than_ten_minutes())]
    pub every: Option<String>,
    /// How long a replaced secret stays accepted at least, from 10m on: as long as the slowest reader takes to read the Secret
    /// again. Absent: 24h, or half of every or all of maxOverlap where that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = rules::duration(), validation = rules::at_least_ten_minutes())]
    pub overlap: Option<String>,
    /// What becomes of a replaced secret after overlap. WhenUnused: it is forgotten when the new one was used and it was not, for
    /// long enough. AfterOverlap: it is refused. Absent: WhenUnused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["WhenUnused", "AfterOverlap"]))]
    pub retire: Option<String>,
    /// With WhenUnused: when a replaced secret is refused although it is in use, counted from its replacement. Absent: never, unless
    /// the platform's policy says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = rules::duration(), validation = rules::at_least_ten_minutes())]
    pub max_overlap: Option<String>,
}

/// For an emergency: what is refused from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Secrets made before this time have leaked: they are refused at once, and a new one is issued. A time in the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub secrets_issued_before: Option<String>,
    /// Access tokens issued before this time are not active any more for APIs that introspect them. Verified offline they live until they
    /// expire. A time in the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub tokens_issued_before: Option<String>,
}

/// A schedule, and since when it is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoredSchedule {
    /// How old a secret gets.
    #[schemars(length(max = 6))]
    pub every: String,
    /// When the operator first saw it.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}
