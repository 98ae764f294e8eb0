//! What replicas tell each other, and what each may conclude: join, report, doubt, and the gate of a rotation.
//!
//! Every replica that may be serving has a Lease `<release>-replica-<pod>` (no ownerReference) with its heartbeat and, as
//! annotations, the resourceVersion that each of its watches has reached. The leader publishes a new secret only when all of
//! them have seen its registration (`gate`). A replica that could not renew its Lease is in doubt (`contact`): it accepts
//! what it knows, and answers 503 instead of 401.

pub mod announcement;
pub mod contact;
pub mod gate;
pub mod heartbeat;
pub mod peers;
pub mod readiness;
pub mod silence;
pub mod use_report;
pub mod use_reporter;

/// The kinds that a replica watches; resourceVersions are compared within one kind alone (KEP-5504).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Watched {
    /// `OAuthClient`s: who may authenticate with what.
    OAuthClients,
    /// `ProtectedResource`s: who may have what.
    ProtectedResources,
    /// Namespaces: the labels that selectors use.
    Namespaces,
    /// The release's Secrets with keys and certificate.
    Keys,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OAuthClients, Self::ProtectedResources, Self::Namespaces, Self::Keys];

    /// The name in annotations, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OAuthClients => "oauthclients",
            Self::ProtectedResources => "protectedresources",
            Self::Namespaces => "namespaces",
            Self::Keys => "keys",
        }
    }
}
