//! In doubt: whether another replica is in contact.
//!
//! Replicas know each other's addresses from the last list of Leases. Only a replica in doubt asks, at its own pace; no
//! request from outside ever makes one ask (S8). Addresses are IP addresses with a port, so that no name is looked up.

use super::{announcement::Announcement, contact::Standing, readiness::Readiness};
use crate::ambient;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::Uri;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// The path at which a replica's health listener says whether it is in contact: 200 if so, 503 if not.
pub const CONTACT_PATH: &str = "/contact";

/// How often other replicas are looked for and asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Curiosity {
    /// From one list of Leases to the next, while in contact: 10 s.
    pub list: Duration,
    /// From one round of questions to the next, in doubt, and from one look at the clocks to the next: 2 s.
    pub ask: Duration,
    /// Time for an answer: 1 s.
    pub answer: Duration,
}

impl Default for Curiosity {
    fn default() -> Self {
        Self { list: Duration::from_secs(10), ask: Duration::from_secs(2), answer: Duration::from_secs(1) }
    }
}

/// The other replicas of the release.
pub(super) struct Peers {
    leases: Api<Lease>,
    release: String,
    pod: String,
    curiosity: Curiosity,
    readiness: Arc<Readiness>,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Peers {
    pub(super) fn new(leases: Api<Lease>, release: String, pod: String, curiosity: Curiosity, readiness: Arc<Readiness>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(curiosity.answer));
        // A kept connection to a pod that is gone would cost the time of an answer.
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { leases, release, pod, curiosity, readiness, http }
    }

    /// Looks for them while in contact, asks them while in doubt; for ever. Doubt is noticed as soon as the next question is due, not
    /// the next list: until then a Service sends requests to a replica that is cut off, and a rotation waits for it.
    pub(super) async fn watch(self) {
        let (mut addresses, mut listed) = (Vec::new(), None);
        loop {
            let now = ambient::moment();
            if self.readiness.standing(now) == Standing::Current {
                self.readiness.note_peers(false);
                if listed.is_none_or(|at| now.boot.saturating_sub(at) >= self.curiosity.list) {
                    addresses = self.list().await.unwrap_or(addresses);
                    listed = Some(now.boot);
                }
            } else {
                self.readiness.note_peers(self.is_any_in_contact(&addresses).await);
            }
            sleep(self.curiosity.ask).await;
        }
    }

    async fn list(&self) -> Option<Vec<SocketAddr>> {
        let listed = timeout(self.curiosity.list, self.leases.list(&ListParams::default())).await.ok()?.ok()?;
        let replicas = listed.iter().filter_map(|lease| Announcement::read(&self.release, lease));
        let others = replicas.filter(|replica| replica.pod != self.pod);
        Some(others.filter_map(|replica| replica.address?.parse().ok()).collect())
    }

    async fn is_any_in_contact(&self, addresses: &[SocketAddr]) -> bool {
        let questions: FuturesUnordered<_> = addresses.iter().map(|address| self.is_in_contact(*address)).collect();
        questions.any(|in_contact| async move { in_contact }).await
    }

    async fn is_in_contact(&self, address: SocketAddr) -> bool {
        let Ok(uri) = Uri::builder().scheme("http").authority(address.to_string()).path_and_query(CONTACT_PATH).build() else {
            return false;
        };
        let answer = timeout(self.curiosity.answer, self.http.get(uri)).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|response| response.status() == http::StatusCode::OK))
    }
}
