//! Whether this replica should get requests from a Service, and what it tells its peers.

use super::contact::{Contact, Moment, Standing};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Shared by the heartbeat, which sets it, and the health listener, which asks it.
#[derive(Debug)]
pub struct Readiness {
    contact: Arc<Contact>,
    joined: AtomicBool,
    draining: AtomicBool,
    peer_in_contact: AtomicBool,
}

impl Readiness {
    /// Not ready until it has joined.
    #[must_use]
    pub fn new(contact: Arc<Contact>) -> Self {
        Self { contact, joined: AtomicBool::default(), draining: AtomicBool::default(), peer_in_contact: AtomicBool::default() }
    }

    /// Whether this replica should get requests: it has joined, is not leaving, has not been out of contact for longer than
    /// `--max-stale`, and is not in doubt while another replica is known to be in contact. In doubt it still accepts what it
    /// knows, which is better than nothing where all are cut off; but a single one that is cut off must not block rotations for
    /// ever, and the leader drops its Lease only when it is not Ready.
    #[must_use]
    pub fn is_ready(&self, now: Moment) -> bool {
        let able = self.joined.load(Ordering::Acquire) && !self.draining.load(Ordering::Acquire);
        able && match self.contact.standing(now) {
            Standing::Current => true,
            Standing::Doubt => !self.peer_in_contact.load(Ordering::Acquire),
            Standing::Stale => false,
        }
    }

    /// What `/contact` answers to other replicas: whether this one is in contact with the API server and takes requests.
    #[must_use]
    pub fn is_in_contact(&self, now: Moment) -> bool {
        let able = self.joined.load(Ordering::Acquire) && !self.draining.load(Ordering::Acquire);
        able && self.contact.standing(now) == Standing::Current
    }

    /// From now on not ready: the process is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The first join is complete, or, where no requests are answered, the first lists are. A later one leaves it so: the replica
    /// has something to serve.
    pub(crate) fn join(&self) {
        self.joined.store(true, Ordering::Release);
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        self.contact.standing(now)
    }

    pub(super) fn note_peers(&self, in_contact: bool) {
        if self.peer_in_contact.swap(in_contact, Ordering::AcqRel) != in_contact {
            tracing::info!(in_contact, "in doubt, whether any other replica is in contact has changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Timestamp};
    use std::time::Duration;

    fn at(seconds: u64) -> Moment {
        let wall = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(seconds).unwrap());
        Moment { boot: Duration::from_secs(seconds), wall }
    }

    fn joined() -> Readiness {
        let contact = Arc::new(Contact::default());
        contact.renewed(at(0), at(1));
        contact.refreshed(at(2), at(3));
        let readiness = Readiness::new(contact);
        readiness.join();
        readiness
    }

    #[test]
    fn a_replica_is_ready_once_it_has_joined_until_it_drains() {
        assert!(!Readiness::new(Arc::default()).is_ready(at(1)));
        let readiness = joined();
        assert!(readiness.is_ready(at(5)) && readiness.is_in_contact(at(5)));
        readiness.drain();
        assert!(!readiness.is_ready(at(5)) && !readiness.is_in_contact(at(5)));
    }

    #[test]
    fn f20_in_doubt_a_replica_is_ready_only_while_no_other_is_in_contact() {
        let readiness = joined();
        assert!(readiness.is_ready(at(60)), "all are cut off: what it knows is better than nothing");
        assert!(!readiness.is_in_contact(at(60)));
        readiness.note_peers(true);
        assert!(!readiness.is_ready(at(60)));
        readiness.note_peers(false);
        assert!(readiness.is_ready(at(60)));
    }

    #[test]
    fn after_max_stale_a_replica_is_not_ready() {
        assert!(!joined().is_ready(at(90_000)));
    }
}
