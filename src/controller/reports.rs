//! The leader's view of what the replicas report of uses: fed by a watch on their ConfigMaps, and by the gate's looks at who counts.

use super::{
    Subject,
    uses::{self, News, Uses},
};
use crate::{
    domain::{
        credential::{Credential, CredentialId},
        usage::Use,
    },
    installation::Installation,
    registry::{
        Registry,
        feed::{self, Event, Source, Unreadable},
    },
    replica::{
        announcement::Announcement,
        use_report::{UseReport, report_name, selector},
    },
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events that wait to be handled.
const WAITING: usize = 256;

/// What was reported.
#[derive(Default)]
pub(super) struct Reports(Mutex<Uses>);

/// What the reports say of one client's credentials.
pub(super) struct Reported {
    /// With their last uses.
    pub(super) credentials: Vec<Credential>,
    /// The longest time between two of them.
    pub(super) longest_gap: SignedDuration,
    /// What of it is worth a write.
    pub(super) news: Option<News>,
}

impl Reports {
    /// This process begins to lead: nothing is known of what was before.
    pub(super) fn begin(&self, now: Timestamp) {
        *self.lock() = Uses::begin(now);
    }

    /// The replicas that count.
    pub(super) fn count(&self, replicas: &[Announcement], now: Timestamp) {
        self.lock().count(replicas.iter().map(|replica| replica.pod.clone()).collect(), now);
    }

    pub(super) fn of(&self, stored: &[Credential], now: Timestamp) -> Reported {
        let uses = self.lock();
        let credentials = uses.merged(stored.to_vec());
        Reported { longest_gap: uses.longest_gap(stored), news: uses::news(stored, &credentials, now), credentials }
    }

    pub(super) fn reported_until(&self, credentials: &[Credential], quiet: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        self.lock().reported_until(credentials, quiet, now)
    }

    pub(super) fn covered_until(&self, credentials: &[&Credential], quiet: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        self.lock().covered_until(credentials, quiet, now)
    }

    pub(super) fn last_use(&self, id: &CredentialId) -> Option<Use> {
        self.lock().of(id)
    }

    /// Watches until `stop`. A report may end an overlap, so that every client in one is looked at.
    pub(super) async fn follow(
        &self,
        kube: Client,
        installation: &Installation,
        registry: &Registry,
        changes: mpsc::UnboundedSender<Subject>,
        stop: CancellationToken,
    ) {
        let source = Source::new(Api::namespaced(kube, &installation.namespace)).labelled(selector(&installation.release));
        let (sink, mut events) = mpsc::channel(WAITING);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(source, sink, unwanted, stop);
        let handle = async {
            while let Some(event) = events.recv().await {
                if self.handle(&installation.release, event) {
                    let overlapping = registry.with_index(|index| index.overlapping());
                    // Nobody listens when the Lease is lost.
                    overlapping.into_iter().for_each(|name| drop(changes.send(Subject::Client(name))));
                }
            }
        };
        tokio::join!(feed, handle);
    }

    /// Takes an event in; whether something may follow from it.
    fn handle(&self, release: &str, event: Event<ConfigMap>) -> bool {
        let mut uses = self.lock();
        match event {
            Event::Listed { objects, .. } => {
                uses.forget_all();
                objects.iter().for_each(|object| take_in(&mut uses, release, object));
            }
            Event::Applied { object, .. } => take_in(&mut uses, release, &object),
            Event::Deleted { name, .. } | Event::Unreadable { object: Unreadable { name, .. }, .. } => {
                forget(&mut uses, release, &name.name)
            }
            // The release's own namespace does not lapse.
            Event::Lapsed { .. } | Event::Progress { .. } | Event::Agreed { .. } => return false,
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report that cannot be read is none.
fn take_in(uses: &mut Uses, release: &str, object: &ConfigMap) {
    match UseReport::read(release, object) {
        Some((pod, report)) => uses.report(pod, report),
        None => forget(uses, release, &object.name_any()),
    }
}

fn forget(uses: &mut Uses, release: &str, name: &str) {
    if let Some(pod) = name.strip_prefix(&report_name(release, "")) {
        uses.forget(pod);
    }
}
