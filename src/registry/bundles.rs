//! The bundles of the trust domains of SPIFFE, as their ConfigMaps have them: what publishes a bundle writes it there, and no request
//! waits for it. Every replica follows them, also one that only leads: what cannot be used is said of the clients that need it.

use super::{Registry, WAITING, feed};
use crate::{
    domain::trust_domain::{BundleFault, Trust, TrustBundles},
    policy::TrustDomain,
};
use arc_swap::ArcSwap;
use feed::{Event, Source};
use k8s_openapi::api::core::v1::ConfigMap;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What is known of the bundles.
pub(super) struct Bundles {
    known: Arc<ArcSwap<TrustBundles>>,
    are_read: watch::Sender<bool>,
}

impl Bundles {
    /// Of these trust domains.
    pub(super) fn of(domains: &[TrustDomain]) -> Self {
        let known = TrustBundles::new(domains.iter().map(|domain| domain.name.clone()));
        Self { are_read: watch::Sender::new(known.are_read()), known: Arc::new(ArcSwap::from_pointee(known)) }
    }
}

impl Registry {
    /// What the JWT-SVIDs of requests are verified with.
    #[must_use]
    pub fn trust(&self) -> Arc<ArcSwap<TrustBundles>> {
        Arc::clone(&self.bundles.known)
    }

    /// Whether each bundle was looked at, or was refused for so long that there is no use in waiting.
    #[must_use]
    pub fn bundles_are_read(&self) -> bool {
        *self.bundles.are_read.borrow()
    }

    /// Waits until each bundle was looked at once, but not for ever: one may not be readable.
    pub async fn bundles_read(&self, patience: Duration) {
        // The sender lives as long as `self`.
        let _ = timeout(patience, self.bundles.are_read.subscribe().wait_for(|read| *read)).await;
    }

    /// Takes in the bundle of a trust domain whenever its ConfigMap changes, until `stop`.
    pub async fn follow_bundle(self: Arc<Self>, domain: TrustDomain, source: Source<ConfigMap>, stop: CancellationToken) {
        let (sink, mut events) = mpsc::channel(WAITING);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(source, sink, unwanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                self.handle_bundle(&domain, event);
            }
        };
        tokio::join!(feed, handle);
    }

    pub(super) fn handle_bundle(&self, domain: &TrustDomain, event: Event<ConfigMap>) {
        match event {
            Event::Listed { unreadable, .. } if !unreadable.is_empty() => self.found(domain, Err(BundleFault::Unreadable)),
            Event::Listed { objects, .. } => self.found(domain, bundle(objects.first(), &domain.key)),
            Event::Applied { object, .. } => self.found(domain, bundle(Some(&object), &domain.key)),
            Event::Deleted { .. } => self.found(domain, Err(BundleFault::NoConfigMap)),
            Event::Unreadable { .. } => self.found(domain, Err(BundleFault::Unreadable)),
            Event::Lapsed { .. } => self.found(domain, Err(BundleFault::Forbidden)),
            Event::Progress { .. } | Event::Agreed { .. } => {}
        }
    }

    /// One that cannot be used changes nothing for requests. Whatever becomes usable, or is so no more, has the clients of its trust domain
    /// looked at again.
    fn found(&self, domain: &TrustDomain, bundle: Result<&str, BundleFault>) {
        let TrustDomain { name, config_map, key } = domain;
        let before = self.bundles.known.rcu(|known| known.found(name, bundle.clone()));
        let now = self.bundles.known.load();
        self.bundles.are_read.send_if_modified(|read| !std::mem::replace(read, now.are_read()) && *read);
        match (now.fault(name), now.of(name)) {
            (None, Trust::Keys(keys)) => tracing::info!(trust_domain = name, keys = keys.len(), "bundle in use"),
            (Some(fault), _) if before.fault(name) != Some(fault) => {
                tracing::error!(trust_domain = name, config_map, key, why = %fault, "the bundle cannot be used; one before stays in use");
            }
            _ => {}
        }
        if before.fault(name) != now.fault(name) {
            self.announce(self.with_index(|index| index.touched_by_trust_domain(name)));
        }
    }
}

fn bundle<'b>(found: Option<&'b ConfigMap>, key: &str) -> Result<&'b str, BundleFault> {
    let data = found.ok_or(BundleFault::NoConfigMap)?.data.as_ref();
    data.and_then(|data| data.get(key)).map(String::as_str).ok_or(BundleFault::NoKey)
}
