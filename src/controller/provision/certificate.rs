//! The CAs of the release, and the certificate that one of them signs.

use super::{EVERY, MOST_GATES, SOON, failed, notices, until};
use crate::{
    ambient,
    controller::{Controller, Fault, Subject, events::Notice},
    domain::names::ObjectName,
    keys::{
        certificate::succession,
        store::{
            self,
            certificate::{Advanced, Wanted},
        },
    },
    registry::feed::{self, Event, Source},
};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Most objects that an event names.
const MOST_NAMES: usize = 8;

impl Controller {
    /// Every step of CA and certificate that is due. Where one waits until a CA is known everywhere, it is looked at again soon.
    pub(super) async fn provision_certificate(&self) -> Result<Duration, Fault> {
        let Some(names) = &self.settings.self_signed else { return Ok(EVERY) };
        let release = self.installation.release();
        let mut seen = None;
        for _ in 0..MOST_GATES {
            let now = ambient::now();
            let wanted = Wanted { names, rules: succession::RULES };
            let advanced = store::certificate::advance(&self.kube, &release, &wanted, seen.as_deref(), now).await;
            let advanced = advanced.map_err(|error| failed(&release.authority(), &error))?;
            self.tell_of_authorities(&release.authority(), &advanced);
            if !advanced.waits_for_copies {
                self.memory.lock().authority_blocked.open();
                return Ok(advanced.wake_at.map_or(EVERY, |at| until(at, now).min(EVERY)));
            }
            let late = self.places_without(&advanced.bundle);
            if !late.is_empty() {
                return Ok(self.authority_waits_for(&release.authority(), &advanced, &late));
            }
            seen = Some(advanced.version);
        }
        Ok(SOON)
    }

    /// When to look again.
    fn authority_waits_for(&self, secret: &ObjectName, advanced: &Advanced, late: &[String]) -> Duration {
        let (wait, is_worth_a_word) = self.memory.lock().authority_blocked.shut(ambient::boot_time());
        if is_worth_a_word {
            let named = late.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
            let others = late.len().saturating_sub(MOST_NAMES);
            let others = if others == 0 { String::new() } else { format!(" and {others} more") };
            let why = format!("the CA waits until ca.crt is the same everywhere; it is not yet in {named}{others}");
            tracing::warn!(secret = %secret, why, "the CA");
            self.events.of_release(secret, &advanced.uid, &Notice::warning("RotationBlocked", why));
        }
        wait
    }

    fn tell_of_authorities(&self, secret: &ObjectName, advanced: &Advanced) {
        for notice in advanced.done.iter().filter_map(|done| notices::of_authorities(done, &advanced.refused)) {
            tracing::info!(secret = %secret, reason = notice.reason, note = notice.note, "the CA");
            self.events.of_release(secret, &advanced.uid, &notice);
        }
        for name in &advanced.refused {
            tracing::warn!(%name, "the CA may not sign for this name: the endpoint is not served by it until the next CA signs");
        }
    }

    /// Orders are annotations on the CA's Secret: whenever it changes, it is looked at.
    pub(in crate::controller) async fn follow_authority(&self, changes: mpsc::UnboundedSender<Subject>, stop: CancellationToken) {
        if self.settings.self_signed.is_none() {
            return;
        }
        let ObjectName { namespace, name } = self.installation.release().authority();
        let api: Api<Secret> = Api::namespaced(self.watches.clone(), &namespace);
        let source = Source::new(api).with_fields(format!("metadata.name={name}"));
        let (sink, mut events) = mpsc::channel(16);
        let (_wanted, unwanted) = watch::channel(None);
        let feed = feed::run(source, sink, unwanted, stop);
        let tell = async {
            while let Some(event) = events.recv().await {
                if !matches!(event, Event::Progress { .. } | Event::Agreed { .. }) {
                    // Nobody listens when the Lease is lost.
                    let _ = changes.send(Subject::Provision);
                }
            }
        };
        tokio::join!(feed, tell);
    }
}
