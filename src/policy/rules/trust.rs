//! The trust domains of SPIFFE in a policy, and who may have which of their workloads.

use super::PolicyError;
use crate::{
    domain::trust_domain::{self, WorkloadId},
    policy::secret,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A trust domain of SPIFFE whose workloads may be clients, and where its bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain {
    /// Its name.
    pub name: String,
    /// The ConfigMap in the release's namespace that holds its bundle.
    pub config_map: String,
    /// The key of that ConfigMap.
    pub key: String,
}

/// Which workloads a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WorkloadPattern {
    Exactly(WorkloadId),
    /// Ends in `/`.
    Below(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpiffeIdDocument {
    pub(super) id: String,
    pub(super) namespaces: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TrustDomainDocument {
    name: String,
    bundle: BundleDocument,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BundleDocument {
    config_map: String,
    key: String,
}

impl WorkloadPattern {
    /// Reads one. A rule for a workload of no trust domain would be a slip of the pen.
    pub(super) fn read(text: &str, trust_domains: &[TrustDomain]) -> Result<Self, PolicyError> {
        let refused = |_| PolicyError::SpiffeId(text.to_owned());
        let (id, pattern) = match text.strip_suffix('*').filter(|start| start.ends_with('/')) {
            Some(start) => (WorkloadId::parse(&format!("{start}x")).map_err(refused)?, Self::Below(start.to_owned())),
            None => WorkloadId::parse(text).map(|id| (id.clone(), Self::Exactly(id))).map_err(refused)?,
        };
        let is_known = trust_domains.iter().any(|known| known.name == id.trust_domain());
        if is_known { Ok(pattern) } else { Err(PolicyError::NoTrustDomain(text.to_owned())) }
    }

    /// Whether a workload is meant.
    pub(super) fn fits(&self, id: &WorkloadId) -> bool {
        match self {
            Self::Exactly(exact) => exact == id,
            Self::Below(start) => id.as_str().starts_with(start),
        }
    }
}

/// Each once, and where its bundle is.
pub(super) fn trust_domains(said: Vec<TrustDomainDocument>) -> Result<Vec<TrustDomain>, PolicyError> {
    let mut read: Vec<TrustDomain> = Vec::with_capacity(said.len());
    for TrustDomainDocument { name, bundle: BundleDocument { config_map, key } } in said {
        if !trust_domain::is_trust_domain(&name) || read.iter().any(|known| known.name == name) {
            return Err(PolicyError::TrustDomain(name));
        }
        if !secret::is_subdomain(&config_map) || key.is_empty() {
            return Err(PolicyError::Bundle(name));
        }
        read.push(TrustDomain { name, config_map, key });
    }
    Ok(read)
}
