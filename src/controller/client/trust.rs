//! A client whose workloads are of a trust domain that nothing vouches for.

use super::Work;
use crate::{controller::findings, domain::trust_domain::WorkloadId};

impl Work<'_> {
    /// The trust domains of its workloads whose bundles cannot be used now, in words; `None`: there are none.
    pub(super) fn untrusted(&self) -> Option<String> {
        let controller = self.controller;
        let known = controller.registry.trust();
        let (known, namespace) = (known.load(), &controller.installation.namespace);
        let is_its = |name: &str| self.client.workloads.iter().map(WorkloadId::trust_domain).any(|known| known == name);
        let its = controller.policy.trust_domains().iter().filter(|domain| is_its(&domain.name));
        let lines = its.filter_map(|domain| Some(findings::untrusted(domain, namespace, known.fault(&domain.name)?)));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}
