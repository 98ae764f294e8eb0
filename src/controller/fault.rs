//! What the world did to us. A user's fault is no [`Fault`]: it is a condition and waits for a change.

use crate::domain::names::ObjectName;

/// A read or write that failed, or something that is not there yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A read.
    #[error("reading the {kind} of {object}: {why}")]
    Read { kind: &'static str, object: ObjectName, why: String },
    /// A write.
    #[error("writing the {kind} of {object}: {why}")]
    Write { kind: &'static str, object: ObjectName, why: String },
    /// Either, because the API server is busy or out of reach: most likely not for this object alone.
    #[error("{doing} the {kind} of {object}: {why}")]
    Busy { doing: &'static str, kind: &'static str, object: ObjectName, why: String },
    /// Somebody else wrote first: read again.
    #[error("the {kind} of {object} was changed by somebody else meanwhile")]
    Contended { kind: &'static str, object: ObjectName },
    /// Nothing can be created there any more.
    #[error("the {kind} of {object} was not created: the namespace is being deleted")]
    Terminating { kind: &'static str, object: ObjectName },
}

impl Fault {
    pub(crate) fn reading(kind: &'static str, object: &ObjectName, error: kube::Error) -> Self {
        let (object, why) = (object.clone(), words(&error));
        if is_busy(&error) { Self::Busy { doing: "reading", kind, object, why } } else { Self::Read { kind, object, why } }
    }

    /// 409: the resourceVersion is stale or the object exists; 404: it is gone; 422 with a uid: it is another one.
    pub(crate) fn writing(kind: &'static str, object: &ObjectName, error: kube::Error) -> Self {
        let object = object.clone();
        match &error {
            kube::Error::Api(status) if matches!(status.code, 404 | 409) || is_other_uid(status) => Self::Contended { kind, object },
            kube::Error::Api(status) if is_terminating(status) => Self::Terminating { kind, object },
            // What the API server says of an invalid object may repeat a part of it.
            kube::Error::Api(status) if kind == "Secret" && matches!(status.code, 400 | 422) => {
                Self::Write { kind, object, why: format!("refused as {} ({})", status.reason, status.code) }
            }
            _ if is_busy(&error) => Self::Busy { doing: "writing", kind, object, why: words(&error) },
            _ => Self::Write { kind, object, why: words(&error) },
        }
    }

    /// Whether reading again at once is the answer.
    pub(crate) fn is_contended(&self) -> bool {
        matches!(self, Self::Contended { .. })
    }

    /// Whether the status could not be written, or the API server had no time for the client itself: then it has none either to be told
    /// what happened.
    pub(crate) fn is_of_status(&self) -> bool {
        matches!(self, Self::Write { kind: "status", .. } | Self::Busy { kind: "status" | "OAuthClient", .. })
    }
}

/// Too many requests (priority and fairness), or no answer. Not 500, which is also how a webhook fails for one object.
fn is_busy(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 503 | 504),
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

fn is_other_uid(status: &kube::core::Status) -> bool {
    status.code == 422 && status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.field == "metadata.uid")
}

/// The namespace's lifecycle admission says so (`NamespaceTerminatingCause` of k8s.io/api/core/v1): where the labels and phases of
/// namespaces cannot be read, nothing else does.
fn is_terminating(status: &kube::core::Status) -> bool {
    status.code == 403 && status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == "NamespaceTerminating")
}

/// The message of the API server, or the transport's.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}
