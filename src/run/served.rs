//! The serving certificate, as its Secret has it.

use crate::{
    keys::certificate,
    metrics::CertificateMetrics,
    registry::{
        Registry,
        feed::{self, Event, Source},
    },
    server::tls::ServingCertificate,
};
use arc_swap::ArcSwapOption;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The certificate in use, and what clients have to trust.
#[derive(Default)]
pub(super) struct Served {
    pub(super) certificate: Arc<ServingCertificate>,
    pub(super) trusted: Arc<ArcSwapOption<String>>,
    pub(super) installed: Arc<AtomicBool>,
    pub(super) metrics: CertificateMetrics,
}

impl Served {
    fn install(&self, secret: &Secret) {
        let name = secret.name_any();
        let data = secret.data.clone().unwrap_or_default();
        match certificate::ServingCertificate::parse(&data) {
            Ok(parsed) => {
                self.metrics.installed(&parsed);
                self.certificate.install(parsed.certified_key);
                self.trusted.store(parsed.ca.map(Arc::new));
                self.installed.store(true, Ordering::Release);
                tracing::info!(secret = name, until = %parsed.not_after, "serving certificate in use");
            }
            Err(error) => tracing::error!(secret = name, %error, "the serving certificate cannot be used; the one before stays in use"),
        }
    }
}

/// Installs the certificate whenever its Secret changes. One that cannot be used changes nothing.
pub(super) async fn follow(source: Source<Secret>, served: Arc<Served>, registry: Arc<Registry>, stop: CancellationToken) {
    let (sink, mut events) = mpsc::channel(16);
    let (_wanted, unwanted) = watch::channel(None);
    let feed = feed::run(source, sink, unwanted, stop);
    let install = async {
        while let Some(event) = events.recv().await {
            let secret = match event {
                Event::Listed { objects, .. } => objects.into_iter().next(),
                Event::Applied { object, .. } => Some(object),
                Event::Deleted { .. } | Event::Lapsed { .. } => None,
                Event::Unreadable { .. } | Event::Progress { .. } | Event::Agreed { .. } => continue,
            };
            if let Some(secret) = secret {
                served.install(&secret);
            }
            // Every Secret and ConfigMap says what is to be trusted; the leader makes a certificate that is gone.
            registry.touch_everything();
        }
    };
    tokio::join!(feed, install);
}
