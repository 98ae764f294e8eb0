//! The bundles of all trust domains: the keys in use, and how the ConfigMap that they come from is now. The two are not the same: keys stay
//! in use when a bundle is spoiled, but a replica that starts then has none.

use super::{BundleError, VerificationKey, jwt_svid_keys};
use std::{collections::BTreeMap, sync::Arc};

/// What is wrong with where a bundle should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// It was not read since this process began.
    #[error("could not be read yet (the operator's log says why)")]
    NotRead,
    /// The API server has refused for a while.
    #[error("may not be read by the operator's ServiceAccount (403)")]
    Forbidden,
    /// What is there is no ConfigMap that this version can read.
    #[error("cannot be read (the operator's log says why)")]
    Unreadable,
    /// The ConfigMap is not there.
    #[error("does not exist")]
    NoConfigMap,
    /// Its key is not.
    #[error("has no such key")]
    NoKey,
    /// Nothing is in it.
    #[error("has nothing under that key")]
    Empty,
    /// It is no bundle, or one without use.
    #[error("holds something else there: {0}")]
    Unusable(BundleError),
}

/// The trust domains of an installation, and what is known of their bundles.
#[derive(Debug, Clone, Default)]
pub struct TrustBundles(BTreeMap<String, Known>);

/// What is known of one.
#[derive(Debug, Clone)]
struct Known {
    /// The last ones that could be used.
    keys: Option<Arc<[VerificationKey]>>,
    fault: Option<BundleFault>,
}

/// What a trust domain's keys are.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'b> {
    /// These.
    Keys(&'b [VerificationKey]),
    /// Its bundle was not there yet.
    NotKnown,
    /// It is none of this installation's.
    None,
}

impl TrustBundles {
    /// These trust domains, of which nothing was read yet.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let unread = Known { keys: None, fault: Some(BundleFault::NotRead) };
        Self(names.into_iter().map(|name| (name, unread.clone())).collect())
    }

    /// The same after the bundle of one of them was looked at. Where it cannot be used, the keys in use stay.
    #[must_use]
    pub fn found(&self, name: &str, bundle: Result<&str, BundleFault>) -> Self {
        let mut all = self.0.clone();
        if let Some(known) = all.get_mut(name) {
            match bundle.and_then(keys) {
                Ok(keys) => *known = Known { keys: Some(keys), fault: None },
                Err(fault) => known.fault = Some(fault),
            }
        }
        Self(all)
    }

    /// The keys of a trust domain.
    #[must_use]
    pub fn of(&self, trust_domain: &str) -> Trust<'_> {
        match self.0.get(trust_domain).map(|known| known.keys.as_deref()) {
            Some(Some(keys)) => Trust::Keys(keys),
            Some(None) => Trust::NotKnown,
            None => Trust::None,
        }
    }

    /// What is wrong with a trust domain's bundle as it is now; `None`: nothing, or the trust domain is none of this installation's.
    #[must_use]
    pub fn fault(&self, trust_domain: &str) -> Option<&BundleFault> {
        self.0.get(trust_domain)?.fault.as_ref()
    }

    /// The names of the trust domains.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether every bundle was looked at.
    #[must_use]
    pub fn are_read(&self) -> bool {
        self.0.values().all(|known| known.fault != Some(BundleFault::NotRead))
    }

    /// Whether there is no trust domain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn keys(bundle: &str) -> Result<Arc<[VerificationKey]>, BundleFault> {
    if bundle.trim().is_empty() {
        return Err(BundleFault::Empty);
    }
    jwt_svid_keys(bundle).map(Arc::from).map_err(BundleFault::Unusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bundle() -> String {
        // RFC 7515 A.3.1.
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        json!({"keys": [{"use": "jwt-svid", "kty": "EC", "kid": "a", "crv": "P-256", "x": x, "y": y}]}).to_string()
    }

    #[test]
    fn a_trust_domain_is_known_not_yet_known_or_none() {
        let bundles = TrustBundles::new(["a".to_owned(), "b".to_owned()]).found("a", Ok(&bundle())).found("c", Ok(&bundle()));
        assert!(matches!(bundles.of("a"), Trust::Keys([_])));
        assert!(matches!(bundles.of("b"), Trust::NotKnown));
        assert!(matches!(bundles.of("c"), Trust::None));
        assert_eq!([bundles.fault("a"), bundles.fault("b"), bundles.fault("c")], [None, Some(&BundleFault::NotRead), None]);
        assert!(!bundles.are_read() && bundles.found("b", Err(BundleFault::NoKey)).are_read());
        assert!(!bundles.is_empty() && TrustBundles::default().is_empty() && TrustBundles::default().are_read());
    }

    /// K12: what is spoiled is said, and the keys before stay in use; of the other trust domains nothing changes.
    #[test]
    fn a_spoiled_bundle_has_a_fault_and_its_former_keys() {
        let good = TrustBundles::new(["a".to_owned(), "b".to_owned()]).found("a", Ok(&bundle())).found("b", Ok(&bundle()));
        let no_key = BundleFault::Unusable(BundleError::NoKey);
        let spoilt = [
            (Err(BundleFault::NoConfigMap), BundleFault::NoConfigMap),
            (Err(BundleFault::Forbidden), BundleFault::Forbidden),
            (Ok(" \n"), BundleFault::Empty),
            (Ok("{\"keys\": []}"), no_key),
        ];
        for (found, fault) in spoilt {
            let spoilt = good.found("a", found);
            assert_eq!((spoilt.fault("a"), spoilt.fault("b")), (Some(&fault), None));
            assert!(matches!(spoilt.of("a"), Trust::Keys([_])));
            assert_eq!(spoilt.found("a", Ok(&bundle())).fault("a"), None);
        }
        let said = good.found("a", Ok("{\"keys\": \"canary\"}")).fault("a").unwrap().to_string();
        assert!(said.contains("line 1") && !said.contains("canary"), "{said}");
    }
}
