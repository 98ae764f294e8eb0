//! What a test finds wrong. Each message says what to do.

use super::{place::PlaceError, verify::VerifyError};
use crate::{
    domain::names::ObjectName,
    workload::{binding::BindingError, exchange::ExchangeError},
};

/// See above.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The API server.
    #[error("{0}")]
    Place(PlaceError),
    /// Nobody has looked at an object.
    #[error(
        "{kind} {object} has no status: is there a ready pod that leads, is its --name {installation:?}, and does it work in this namespace?"
    )]
    Unnoticed {
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
        /// What `spec.issuer` says.
        installation: String,
    },
    /// Somebody looked, and it is not Ready.
    #[error("{kind} {object} is not Ready: {reason}: {message}")]
    Unready {
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
        /// Of the condition.
        reason: String,
        /// Of the condition.
        message: String,
    },
    /// Gone, or never there.
    #[error("{kind} {object} is not there: has somebody removed it?")]
    Missing {
        /// Of what.
        kind: String,
        /// Which.
        object: ObjectName,
    },
    /// The Secret cannot be used.
    #[error("the Secret {object}: {source}")]
    Binding {
        /// Which.
        object: ObjectName,
        /// What is wrong.
        source: BindingError,
    },
    /// The Secret does not say what an API has to know.
    #[error("the Secret {0} holds no {1}")]
    Incomplete(ObjectName, &'static str),
    /// Another issuer than was expected.
    #[error("the issuer is {found}, and not {expected}: do the running pods have the flags of this release?")]
    Issuer {
        /// In the Secret.
        found: String,
        /// By `--issuer`.
        expected: String,
    },
    /// The token endpoint.
    #[error("{0}")]
    Token(ExchangeError),
    /// The URL of the keys.
    #[error("no keys from {url}: {why}; does what is in front of the endpoint let this path through?")]
    Keys {
        /// `jwk-set-uri`.
        url: String,
        /// What happened.
        why: String,
    },
    /// An API would refuse the token.
    #[error("an API would refuse this token: {0}")]
    Verify(VerifyError),
    /// The garbage collector did not come.
    #[error("the Secret {0} is still there, though its OAuthClient is gone: does kube-controller-manager run (it collects garbage)?")]
    SecretStays(ObjectName),
    /// A client that is gone gets tokens.
    #[error("{0} still gives tokens to the client that was deleted: do all replicas reach the API server (/readyz, /metrics)?")]
    StillAccepted(String),
}

impl Fault {
    /// Whether waiting may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Place(error) => error.may_pass(),
            Self::Unready { reason, .. } => !matches!(reason.as_str(), "PolicyViolation" | "InvalidSpec"),
            Self::Token(ExchangeError::Unreachable { .. } | ExchangeError::Unavailable { .. }) => true,
            // Each replica learns of grants and of their end by a watch of its own.
            Self::Token(ExchangeError::Refused { error, .. }) => matches!(error.as_str(), "invalid_scope" | "invalid_target"),
            Self::Token(_) => false,
            Self::Unnoticed { .. } | Self::Keys { .. } | Self::SecretStays(_) | Self::StillAccepted(_) => true,
            Self::Missing { .. } | Self::Binding { .. } | Self::Incomplete(..) | Self::Issuer { .. } | Self::Verify(_) => false,
        }
    }
}
