//! The bundles of the trust domains of SPIFFE, as their ConfigMaps have them: what publishes a bundle writes it there, and no request
//! waits for it.

use crate::{
    domain::trust_domain::{self, TrustBundles},
    policy::TrustDomain,
    registry::feed::{self, Event, Source},
};
use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::ConfigMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Takes in the bundle whenever its ConfigMap changes. One that cannot be used changes nothing, and neither does one that is gone.
pub(super) async fn follow(source: Source<ConfigMap>, domain: TrustDomain, trust: Arc<ArcSwap<TrustBundles>>, stop: CancellationToken) {
    let (sink, mut events) = mpsc::channel(16);
    let (_wanted, unwanted) = watch::channel(None);
    let feed = feed::run(source, sink, unwanted, stop);
    let take_in = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Listed { objects, .. } => install(&domain, objects.into_iter().next().as_ref(), &trust),
                Event::Applied { object, .. } => install(&domain, Some(&object), &trust),
                Event::Deleted { .. } | Event::Lapsed { .. } => install(&domain, None, &trust),
                Event::Unreadable { .. } | Event::Progress { .. } | Event::Agreed { .. } => {}
            }
        }
    };
    tokio::join!(feed, take_in);
}

fn install(domain: &TrustDomain, found: Option<&ConfigMap>, trust: &ArcSwap<TrustBundles>) {
    let TrustDomain { name, config_map, key } = domain;
    let Some(bundle) = found.and_then(|found| found.data.as_ref()?.get(key)) else {
        tracing::error!(trust_domain = name, config_map, key, "the bundle is not there; the one before stays in use");
        return;
    };
    match trust_domain::jwt_svid_keys(bundle) {
        Ok(keys) => {
            tracing::info!(trust_domain = name, keys = keys.len(), "bundle in use");
            let keys = Arc::from(keys);
            trust.rcu(|known| known.with(name, &keys));
        }
        Err(error) => {
            tracing::error!(trust_domain = name, config_map, key, %error, "the bundle cannot be used; the one before stays in use")
        }
    }
}
