//! The leader Lease `<release>-leader`: who runs the controller.
//!
//! The numbers and the rule are client-go's: 10 s, given up by its holder 7 s after the start of the last renewal that
//! succeeded, renewed every 2 s; others judge by a change they saw themselves on their own monotonic clock, never by the times
//! that the Lease carries. It only keeps two leaders from working against each other for long: no law of a rotation rests on
//! it, because every write carries preconditions.

mod sight;

use crate::{ambient, replica::contact::Moment};
use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use sight::{Held, Next, Seen};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The times of the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A Lease that has not changed for so long may be taken: 10 s.
    pub lease: Duration,
    /// Its holder stops leading so long after the start of its last successful renewal: 7 s.
    pub renew_deadline: Duration,
    /// From one renewal to the next: 2 s.
    pub renew_every: Duration,
    /// From one look of a candidate to the next, and from a failure to the next try: 1 s. At most this much, and one round
    /// trip, is added to `lease` before a dead leader is replaced.
    pub look_every: Duration,
    /// Time for one request: 2.5 s.
    pub answer: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            renew_deadline: Duration::from_secs(7),
            renew_every: Duration::from_secs(2),
            look_every: Duration::from_secs(1),
            answer: Duration::from_millis(2_500),
        }
    }
}

/// Whether this process leads, asked at the moment that matters: before each write.
#[derive(Debug, Clone)]
pub struct Leadership {
    renewed: watch::Receiver<Option<Moment>>,
    deadline: Duration,
}

impl Leadership {
    /// Whether this process leads at `now`. From both clocks, so that a thawed process knows that it has lost the Lease before
    /// anything could tell it.
    #[must_use]
    pub fn is_held(&self, now: Moment) -> bool {
        self.renewed.borrow().is_some_and(|renewed| now.since(renewed) < self.deadline)
    }

    /// Waits until this process leads.
    pub async fn acquired(&mut self) {
        while !self.is_held(ambient::moment()) {
            if self.renewed.changed().await.is_err() {
                std::future::pending::<()>().await; // The election is over: it will never lead again.
            }
        }
    }

    /// Waits until this process does not lead any more.
    pub async fn lost(&mut self) {
        loop {
            let renewed = *self.renewed.borrow_and_update();
            let age = renewed.map(|renewed| ambient::moment().since(renewed));
            let Some(left) = age.and_then(|age| self.deadline.checked_sub(age)).filter(|left| !left.is_zero()) else { return };
            tokio::select! {
                () = sleep(left) => {}
                changed = self.renewed.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// One candidate's part in the election.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    leading: watch::Sender<Option<Moment>>,
}

/// Why a look at the Lease or a write of it failed. Tried again until the process stops.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It could not be read.
    #[error("cannot read the leader Lease {name}")]
    Read {
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// It could not be made, taken, renewed or given back.
    #[error("cannot write the leader Lease {name}")]
    Write {
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// No answer in time.
    #[error("the API server did not answer within {answer:?} when asked for the leader Lease {name}")]
    Silent {
        /// Its name.
        name: String,
        /// The time it had.
        answer: Duration,
    },
}

impl Candidate {
    /// A candidate for the Lease of the release in that namespace. `identity` must differ between any two processes, also
    /// between two that run in one pod after each other: the second must not think that it holds the first one's Lease.
    /// `client` should have connections of its own ([`crate::cluster::requests`]).
    #[must_use]
    pub fn new(client: Client, namespace: &str, release: &str, identity: String, terms: Terms) -> (Self, Leadership) {
        let (leading, renewed) = watch::channel(None);
        let name = format!("{release}-leader");
        let candidate = Self { leases: Api::namespaced(client, namespace), name, identity, terms, leading };
        (candidate, Leadership { renewed, deadline: terms.renew_deadline })
    }

    /// Stands for election until `stop`, then gives the Lease back. To be stopped after the controller has.
    pub async fn run(self, stop: CancellationToken) {
        let mut seen = Seen::default();
        loop {
            let pause = match self.round(&mut seen).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the leader Lease could not be looked at or renewed");
                    self.terms.look_every
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        self.leading.send_replace(None);
        if let Some(lease) = seen.lease.filter(|lease| lease.holder == self.identity)
            && let Err(error) = self.write(&lease, &json!({"holderIdentity": "", "renewTime": micro_time(ambient::now())})).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the leader Lease was not given back; the next leader waits for its end"
            );
        }
    }

    /// One look or write; returns how long to wait for the next.
    async fn round(&self, seen: &mut Seen) -> Result<Duration, LeaseError> {
        let begun = ambient::moment();
        let held = |lease: &Held| lease.holder == self.identity;
        if let Some(lease) = seen.lease.as_ref().filter(|lease| held(lease)) {
            // What is known of it is our own last write: no need to read it first.
            let written = self.write(lease, &json!({"renewTime": micro_time(begun.wall)})).await?;
            return Ok(self.settle(seen, written, begun));
        }
        seen.note(self.read().await?, ambient::boot_time());
        if !seen.lease.as_ref().is_some_and(held) && self.leading.send_replace(None).is_some() {
            tracing::warn!("lost the leader Lease: somebody else holds it, or has deleted it");
        }
        match seen.next(&self.identity, begun.boot, self.terms.lease) {
            Next::Wait(left) => Ok(left.min(self.terms.look_every)),
            Next::Create => {
                let created = self.create(begun.wall).await?;
                Ok(self.settle(seen, created, begun))
            }
            // The reply to our last write was lost, or somebody has annotated the Lease: it is still ours.
            Next::Renew => Ok(Duration::ZERO),
            Next::Take(lease) => {
                let transitions = lease.transitions.saturating_add(1);
                let time = micro_time(begun.wall);
                let spec = json!({
                    "holderIdentity": self.identity, "leaseDurationSeconds": self.terms.lease.as_secs(),
                    "acquireTime": time, "renewTime": time, "leaseTransitions": transitions,
                });
                let taken = self.write(&lease, &spec).await?;
                Ok(self.settle(seen, taken, begun))
            }
        }
    }

    /// Notes what a write has made of the Lease. `None`: it was refused, because it is not the one that was known: a look
    /// tells whose it is, and until then the deadline of the last renewal holds.
    fn settle(&self, seen: &mut Seen, written: Option<Held>, begun: Moment) -> Duration {
        let Some(lease) = written else {
            seen.lease = None;
            return self.terms.look_every;
        };
        seen.note(Some(lease), ambient::boot_time());
        if self.leading.send_replace(Some(begun)).is_none() {
            tracing::info!(identity = self.identity, "leading");
        }
        self.terms.renew_every
    }

    async fn read(&self) -> Result<Option<Held>, LeaseError> {
        let answer = self.within(self.leases.get_opt(&self.name)).await?;
        let lease = answer.map_err(|source| LeaseError::Read { name: self.name.clone(), source })?;
        Ok(lease.map(Held::from))
    }

    async fn create(&self, wall: Timestamp) -> Result<Option<Held>, LeaseError> {
        let time = micro_time(wall);
        let lease = serde_json::from_value(json!({
            "metadata": {"name": self.name, "labels": {"app.kubernetes.io/managed-by": "keywright"}},
            "spec": {
                "holderIdentity": self.identity, "leaseDurationSeconds": self.terms.lease.as_secs(),
                "acquireTime": time, "renewTime": time, "leaseTransitions": 0,
            },
        }));
        let lease = lease.map_err(|source| self.unwritten(kube::Error::SerdeError(source)))?;
        let answer = self.within(self.leases.create(&PostParams::default(), &lease)).await?;
        match answer {
            Ok(lease) => Ok(Some(Held::from(lease))),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(source) => Err(self.unwritten(source)),
        }
    }

    /// Changes the Lease if it is still the one that is known.
    async fn write(&self, lease: &Held, spec: &serde_json::Value) -> Result<Option<Held>, LeaseError> {
        let patch = json!({"metadata": {"uid": lease.uid, "resourceVersion": lease.version}, "spec": spec});
        let answer = self.within(self.leases.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch))).await?;
        match answer {
            Ok(lease) => Ok(Some(Held::from(lease))),
            // Missing, written by somebody else, another object of the same name (measured): a look tells what is there.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(None),
            Err(source) => Err(self.unwritten(source)),
        }
    }

    fn unwritten(&self, source: kube::Error) -> LeaseError {
        LeaseError::Write { name: self.name.clone(), source }
    }

    async fn within<T>(&self, request: impl Future<Output = T>) -> Result<T, LeaseError> {
        let answer = self.terms.answer;
        timeout(answer, request).await.map_err(|_| LeaseError::Silent { name: self.name.clone(), answer })
    }
}

/// The wall clock as a Lease writes it; for people, no decision reads it.
fn micro_time(wall: Timestamp) -> MicroTime {
    MicroTime(wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(time: u64) -> Duration {
        Duration::from_secs(time)
    }

    #[tokio::test]
    async fn leading_ends_seven_seconds_after_the_start_of_the_last_renewal_by_either_clock() {
        let (sender, renewed) = watch::channel(None);
        let leadership = Leadership { renewed, deadline: second(7) };
        let start = Moment { boot: second(100), wall: Timestamp::from_second(1_800_000_000).unwrap() };
        assert!(!leadership.is_held(start));
        sender.send_replace(Some(start));
        let after = |boot, wall| Moment { boot: start.boot + second(boot), wall: start.wall + jiff::SignedDuration::from_secs(wall) };
        assert!(leadership.is_held(after(6, 6)));
        assert!(!leadership.is_held(after(7, 0)));
        assert!(!leadership.is_held(after(0, 7)));
    }
}
