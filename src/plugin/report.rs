//! How a client is, as far as its object says. Pure.

use crate::api::{Condition, OAuthClient, client::StoredCredential};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

/// One client. Serialized it is what `-o json` prints: digests are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    /// The installation, as `<namespace>/<release>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) controller: Option<String>,
    /// Whether the operator has not looked at the object as it is now.
    pub(super) outdated: bool,
    pub(super) conditions: Vec<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    pub(super) credentials: Vec<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_rotation: Option<Timestamp>,
    /// The order that was last acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_handled_rotate: Option<String>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held {
    pub(super) id: String,
    /// Pending, Current or Previous.
    pub(super) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_used_at: Option<Timestamp>,
    /// Who used it last, as far as replicas report and this person may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) used_by: Option<String>,
    /// Accepted until then at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retire_after: Option<Timestamp>,
    /// Refused from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accepted_until: Option<Timestamp>,
}

impl Report {
    pub(super) fn of(client: &OAuthClient) -> Self {
        let status = client.status.clone().unwrap_or_default();
        Self {
            namespace: client.namespace().unwrap_or_default(),
            name: client.name_any(),
            client_id: status.client_id,
            controller: status.controller,
            outdated: status.observed_generation != client.metadata.generation,
            conditions: status.conditions.unwrap_or_default().into_iter().map(line).collect(),
            secret: status.binding.map(|binding| binding.name),
            credentials: status.credentials.unwrap_or_default().into_iter().map(held).collect(),
            next_rotation: time(status.next_rotation),
            last_handled_rotate: status.last_handled_rotate,
        }
    }

    /// The condition of this type.
    pub(super) fn condition(&self, type_: &str) -> Option<&Line> {
        self.conditions.iter().find(|line| line.type_ == type_)
    }

    /// The credential that the Secret should hold.
    pub(super) fn current(&self) -> Option<&Held> {
        self.credentials.iter().find(|held| held.state == "Current")
    }

    /// Those that are accepted beside it.
    pub(super) fn earlier(&self) -> impl Iterator<Item = &Held> {
        self.credentials.iter().filter(|held| held.state == "Previous")
    }
}

fn line(condition: Condition) -> Line {
    Line { type_: condition.type_, status: condition.status, reason: condition.reason, message: condition.message }
}

fn held(stored: StoredCredential) -> Held {
    Held {
        id: stored.id,
        state: stored.state,
        created_at: time(Some(stored.created_at)),
        last_used_at: time(stored.last_used_at),
        used_by: None,
        retire_after: time(stored.retire_after),
        accepted_until: time(stored.accepted_until),
    }
}

fn time(text: Option<String>) -> Option<Timestamp> {
    text?.parse().ok()
}
