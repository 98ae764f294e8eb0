//! Which installation this process belongs to: its names, and those of the objects that it keeps for itself.

use crate::{domain::resource::Algorithm, keys::store::Release};
use std::collections::BTreeSet;

/// The namespaces whose objects an installation works on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// All of them.
    #[default]
    Cluster,
    /// These alone: elsewhere it has no right to read anything, nor the labels of namespaces.
    Namespaces(BTreeSet<String>),
}

impl Reach {
    /// Where a kind is listed and watched: once for all namespaces (`None`), or in each of them.
    #[must_use]
    pub fn places(&self) -> Vec<Option<String>> {
        match self {
            Self::Cluster => vec![None],
            Self::Namespaces(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// One Helm release of Keywright.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// It serves the objects whose `spec.issuer` names it.
    pub name: String,
    /// The release's name: its own objects begin with it.
    pub release: String,
    /// The release's namespace.
    pub namespace: String,
    /// The issuer identifier (RFC 8414 §2).
    pub issuer: String,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// What tokens are signed with where their API does not say.
    pub algorithm: Algorithm,
    /// Where.
    pub reach: Reach,
}

impl Installation {
    /// The issuer identifier where none is given: the Service's name.
    #[must_use]
    pub fn default_issuer(release: &str, namespace: &str) -> String {
        format!("https://{release}.{namespace}.svc")
    }

    /// What `status.controller` says of objects that this installation works on.
    #[must_use]
    pub fn controller(&self) -> String {
        format!("{}/{}", self.namespace, self.release)
    }

    /// The release, whose name its own Secrets begin with.
    #[must_use]
    pub fn release(&self) -> Release {
        Release { namespace: self.namespace.clone(), name: self.release.clone() }
    }
}
