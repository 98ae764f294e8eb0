//! All that is wrong with one object.

use crate::{api::Reason, domain::names::ObjectName};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Why an object is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// In one word, for the condition.
    pub reason: Reason,
    /// Everything that is wrong, and what to change.
    pub message: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The object contradicts itself, or cannot be read.
    Invalid(String),
    /// Its namespace may not say that.
    Forbidden(String),
}

/// Collects what is wrong, so that a user is told everything at once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    invalid: Vec<String>,
    forbidden: Vec<String>,
}

impl Problems {
    pub(super) fn invalid(&mut self, message: impl Into<String>) {
        self.invalid.push(message.into());
    }

    pub(super) fn forbidden(&mut self, message: impl Into<String>) {
        self.forbidden.push(message.into());
    }

    /// The value, or nothing and a note of the problem.
    pub(super) fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Problem::Invalid(message)) => self.invalid(message),
            Err(Problem::Forbidden(message)) => self.forbidden(message),
        }
        None
    }

    /// The value, if nothing is wrong. The reason is `InvalidSpec` where anything is invalid.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        let reason = if self.invalid.is_empty() { Reason::PolicyViolation } else { Reason::InvalidSpec };
        let messages: Vec<String> = self.invalid.into_iter().chain(self.forbidden).collect();
        match value {
            Some(value) if messages.is_empty() => Ok(value),
            _ => Err(Refusal { reason, message: messages.join("; ") }),
        }
    }
}

/// What the API server says of an object.
pub(super) struct Identity {
    pub(super) object: ObjectName,
    pub(super) uid: String,
    pub(super) created_at: Timestamp,
}

impl Identity {
    /// # Errors
    /// Where the object never was on an API server, or its name is too long for a label.
    pub(super) fn of(metadata: &ObjectMeta) -> Result<Self, Refusal> {
        let ObjectMeta { namespace: Some(namespace), name: Some(name), uid: Some(uid), creation_timestamp: Some(created), .. } = metadata
        else {
            return Err(invalid("metadata lacks namespace, name, uid or creationTimestamp: apply the object to an API server"));
        };
        if name.len() > crate::api::MAX_NAME {
            return Err(invalid("metadata.name: at most 63 characters, because it becomes the value of a label: choose a shorter one"));
        }
        Ok(Self { object: ObjectName::new(namespace, name), uid: uid.clone(), created_at: created.0 })
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal { reason: Reason::InvalidSpec, message: message.to_owned() }
}
