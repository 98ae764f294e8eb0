//! What replicas tell each other, and what each may conclude: join, report, doubt, and the gate of a rotation.
//!
//! Every replica that may be serving has a Lease `<release>-replica-<pod>` (no ownerReference) with its heartbeat and, as
//! annotations, the resourceVersion that each of its watches has reached. The leader publishes a new secret only when all of
//! them have seen its registration (`gate`). A replica that could not renew its Lease is in doubt (`contact`): it accepts
//! what it knows, and answers 503 instead of 401.

use crate::installation::Reach;
use std::collections::BTreeSet;

pub mod announcement;
pub mod contact;
pub mod gate;
pub mod heartbeat;
pub mod peers;
pub mod readiness;
pub mod silence;
pub mod use_report;
pub mod use_reporter;

/// The kinds that a replica watches; resourceVersions are compared within one kind alone (KEP-5504), and there also between
/// the watch of one namespace and that of all.
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

/// A change that replicas are to see.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Of this kind.
    pub kind: Watched,
    /// Of an object in this namespace.
    pub namespace: &'a str,
    /// It made this resourceVersion.
    pub version: u64,
}

/// One watch of a replica. Each has reached a version of its own: one that shows nothing for a while stays behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watch {
    /// What it shows.
    pub kind: Watched,
    /// Of which namespace; `None`: of all of them, or of the one that the kind is in anyway.
    pub namespace: Option<String>,
}

impl Watch {
    /// The one watch of a kind.
    #[must_use]
    pub fn whole(kind: Watched) -> Self {
        Self { kind, namespace: None }
    }

    /// All watches of a replica.
    #[must_use]
    pub fn all(reach: &Reach) -> BTreeSet<Self> {
        let places = reach.places();
        let of = |kind| places.iter().map(move |namespace| Self { kind, namespace: namespace.clone() });
        let labels = matches!(reach, Reach::Cluster).then(|| Self::whole(Watched::Namespaces));
        of(Watched::OAuthClients).chain(of(Watched::ProtectedResources)).chain(labels).chain([Self::whole(Watched::Keys)]).collect()
    }

    /// Whether it shows what is in that namespace.
    #[must_use]
    pub fn shows(&self, namespace: &str) -> bool {
        self.namespace.as_ref().is_none_or(|only| only == namespace)
    }
}
