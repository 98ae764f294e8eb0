//! A client whose proofs cannot be verified, though nothing is wrong with it: nothing vouches for the trust domain of its workloads, or the
//! cluster does not give the keys of ServiceAccounts.

use super::Work;
use crate::{api::Reason, controller::findings, domain::trust_domain::WorkloadId};

impl Work<'_> {
    /// What is missing, in words; `None`: nothing.
    pub(super) fn untrusted(&self) -> Option<(Reason, String)> {
        let bundles = self.without_bundle().map(|lines| (Reason::TrustBundleUnavailable, lines));
        bundles.or_else(|| {
            let refused = self.controller.registry.account_keys_refused().filter(|_| !self.client.service_accounts.is_empty());
            refused.map(|why| (Reason::ClusterKeysUnavailable, findings::unverifiable(&why)))
        })
    }

    /// The trust domains of its workloads whose bundles cannot be used now.
    fn without_bundle(&self) -> Option<String> {
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
