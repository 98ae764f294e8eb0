//! When a replica has been silent for long enough that its Lease may be dropped. Pure.

use super::announcement::Announcement;
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, time::Duration};

/// How long a replica must be silent before its Lease may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// The Lease unchanged, by this process's monotonic clock: 15 s. More than [`super::contact::Patience::doubt`].
    pub unchanged: Duration,
    /// The pod not Ready: 10 s.
    pub unready: Duration,
}

impl Silence {
    /// A Lease that has not changed for so long has missed a renewal or two, and its pod is worth a look, in time for the pod to
    /// be not Ready for long enough: 5 s.
    fn suspicious(self) -> Duration {
        self.unchanged.saturating_sub(self.unready)
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self { unchanged: Duration::from_secs(15), unready: Duration::from_secs(10) }
    }
}

/// What this process saw before, by its monotonic clock. Times are those at which it *had* seen something, and are compared
/// with the time at which a later LIST *began*: a freeze in between only makes it more careful.
#[derive(Debug, Default)]
pub struct Memory {
    leases: BTreeMap<String, Sighting>,
    pods: BTreeMap<String, Unready>,
}

/// A Lease that has not changed since it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    uid: String,
    version: String,
    first_seen: Duration,
}

/// A pod that has not become Ready since it was first seen so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unready {
    state: PodState,
    first_seen: Duration,
}

/// What matters of a replica's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PodState {
    /// Serving, or about to.
    Ready,
    /// Not Ready since the transition that this text (uid and lastTransitionTime) names: two looks that name the same one
    /// had no Ready in between.
    NotReady(String),
    /// On its way out, or there is none.
    Gone,
}

impl Memory {
    /// Notes the Leases of a LIST. Returns the pods of those that have not changed for so long that their pods are worth a look.
    pub fn silent(&mut self, replicas: &[Announcement], begun: Duration, completed: Duration, silence: Silence) -> Vec<String> {
        let known = std::mem::take(&mut self.leases);
        let sighting = |replica: &Announcement| {
            let before = known.get(&replica.pod).filter(|before| before.uid == replica.uid && before.version == replica.version);
            let first_seen = before.map_or(completed, |before| before.first_seen);
            Sighting { uid: replica.uid.clone(), version: replica.version.clone(), first_seen }
        };
        self.leases = replicas.iter().map(|replica| (replica.pod.clone(), sighting(replica))).collect();
        let silent = |seen: &Sighting| begun.saturating_sub(seen.first_seen) >= silence.suspicious();
        let silent: Vec<String> = self.leases.iter().filter(|(_, seen)| silent(seen)).map(|(pod, _)| pod.clone()).collect();
        self.pods.retain(|pod, _| silent.contains(pod));
        silent
    }

    /// Notes the state of the pods of silent replicas.
    pub fn see_pods(&mut self, silent: &[String], pods: &[Pod], completed: Duration) {
        for name in silent {
            let pod = pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name));
            let state = pod.map_or(PodState::Gone, pod_state);
            let before = self.pods.get(name).filter(|before| before.state == state);
            let first_seen = before.map_or(completed, |before| before.first_seen);
            self.pods.insert(name.clone(), Unready { state, first_seen });
        }
    }

    /// Whether the replica's Lease may be dropped, by a LIST that began at `begun`.
    pub fn is_gone(&self, replica: &Announcement, begun: Duration, silence: Silence) -> bool {
        let unchanged = self.leases.get(&replica.pod).is_some_and(|seen| begun.saturating_sub(seen.first_seen) >= silence.unchanged);
        let pod_is_out = self.pods.get(&replica.pod).is_some_and(|pod| match pod.state {
            PodState::Ready => false,
            PodState::NotReady(_) => begun.saturating_sub(pod.first_seen) >= silence.unready,
            PodState::Gone => true,
        });
        unchanged && pod_is_out
    }
}

fn pod_state(pod: &Pod) -> PodState {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Gone;
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"));
    if ready.is_some_and(|condition| condition.status == "True") {
        return PodState::Ready;
    }
    let since = ready.and_then(|condition| condition.last_transition_time.as_ref()).map(|time| time.0.to_string());
    PodState::NotReady(format!("{} {}", pod.metadata.uid.as_deref().unwrap_or_default(), since.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{
        announcement::Phase,
        contact::{Contact, Moment, Standing},
    };
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    fn replica(version: u64) -> Announcement {
        let (pod, uid) = ("a".to_owned(), "u".to_owned());
        Announcement {
            pod,
            phase: Phase::Serving,
            seen: BTreeMap::new(),
            unread: BTreeMap::new(),
            address: None,
            uid,
            version: version.to_string(),
        }
    }

    fn pod(ready: Option<&str>, transition: &str) -> Pod {
        let conditions = ready.map(|status| json!([{"type": "Ready", "status": status, "lastTransitionTime": transition}]));
        serde_json::from_value(json!({"metadata": {"name": "a", "uid": "p"}, "status": {"conditions": conditions}})).unwrap()
    }

    /// One look at `time` seconds, as the gate's shell makes it; all at once.
    fn look(memory: &mut Memory, time: u64, version: u64, pods: &[Pod]) -> bool {
        let (replica, now) = (replica(version), Duration::from_secs(time));
        let silent = memory.silent(std::slice::from_ref(&replica), now, now, Silence::default());
        memory.see_pods(&silent, pods, now);
        memory.is_gone(&replica, now, Silence::default())
    }

    #[test]
    fn a_replica_without_a_pod_is_dropped_fifteen_seconds_after_its_lease_was_first_seen_as_it_is() {
        let mut memory = Memory::default();
        assert!(!look(&mut memory, 100, 1, &[]));
        assert!(!look(&mut memory, 114, 1, &[]));
        assert!(look(&mut memory, 115, 1, &[]));
    }

    #[test]
    fn a_lease_that_changes_is_never_dropped_whatever_its_pod() {
        let mut memory = Memory::default();
        assert!((0..100).all(|time| !look(&mut memory, time * 10, time, &[])));
    }

    #[test]
    fn a_ready_pod_keeps_its_lease_however_long_it_has_expired() {
        let mut memory = Memory::default();
        let ready = [pod(Some("True"), "2026-11-23T00:00:00Z")];
        assert!((0..100).all(|time| !look(&mut memory, time * 10, 1, &ready)));
    }

    #[test]
    fn a_pod_must_be_not_ready_for_ten_seconds_without_a_ready_in_between() {
        let mut memory = Memory::default();
        let (ready, unready) = (pod(Some("True"), "2026-11-23T00:00:00Z"), pod(Some("False"), "2026-11-23T00:00:01Z"));
        look(&mut memory, 0, 1, &[ready]);
        assert!(!look(&mut memory, 20, 1, std::slice::from_ref(&unready)));
        assert!(!look(&mut memory, 29, 1, &[unready]));
        let again = pod(Some("False"), "2026-11-23T00:00:29Z");
        assert!(!look(&mut memory, 30, 1, std::slice::from_ref(&again)), "it was Ready in between");
        assert!(!look(&mut memory, 39, 1, std::slice::from_ref(&again)));
        assert!(look(&mut memory, 40, 1, &[again]));
    }

    #[test]
    fn a_terminating_pod_needs_no_ten_seconds() {
        let mut memory = Memory::default();
        let mut terminating = pod(Some("True"), "2026-11-23T00:00:00Z");
        look(&mut memory, 0, 1, &[]);
        look(&mut memory, 14, 1, std::slice::from_ref(&terminating));
        terminating.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-23T00:00:00Z")).unwrap());
        assert!(look(&mut memory, 15, 1, &[terminating]));
    }

    #[test]
    fn a_pod_that_says_nothing_of_ready_is_not_ready() {
        let mut memory = Memory::default();
        look(&mut memory, 0, 1, &[]);
        assert!(!look(&mut memory, 16, 1, &[pod(None, "")]));
        assert!(look(&mut memory, 26, 1, &[pod(None, "")]));
    }

    #[test]
    fn a_new_lease_of_the_same_pod_starts_anew() {
        let mut memory = Memory::default();
        look(&mut memory, 0, 1, &[]);
        let other = Announcement { uid: "v".to_owned(), ..replica(1) };
        let now = Duration::from_secs(20);
        let silent = memory.silent(std::slice::from_ref(&other), now, now, Silence::default());
        memory.see_pods(&silent, &[], now);
        assert!(!memory.is_gone(&other, now, Silence::default()));
    }

    #[test]
    fn a_freeze_between_two_looks_proves_no_silence() {
        // The first LIST was answered at 0 s, and read after a freeze at 60 s: what it shows may be that old.
        let mut memory = Memory::default();
        let (replica, second) = (replica(1), Duration::from_secs);
        memory.silent(std::slice::from_ref(&replica), second(0), second(60), Silence::default());
        let silent = memory.silent(std::slice::from_ref(&replica), second(61), second(61), Silence::default());
        memory.see_pods(&silent, &[], second(61));
        assert!(!memory.is_gone(&replica, second(61), Silence::default()));
    }

    /// A delay that is short most of the time, in milliseconds.
    fn delay() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0_u64..50, 1 => 0_u64..20_000]
    }

    /// A renewal: the pause before it starts, the time until it commits, the time until its reply is read.
    fn renewals() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        prop::collection::vec((prop_oneof![2_000_u64..3_000, 2_000_u64..40_000], delay(), delay()), 1..12)
    }

    /// A look of the leader: the pause before it begins, the time until the server takes its snapshot, the time until the
    /// answer has been read.
    fn looks() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        prop::collection::vec((200_u64..3_000, delay(), delay()), 10..60)
    }

    proptest! {
        /// L7: a replica that the gate does not count never answers 401. Renewals one after the other with any delay before
        /// and after they commit, looks with any delay before and after the server's snapshot, the pod out all the time.
        #[test]
        fn a_replica_whose_lease_is_dropped_is_in_doubt(renewals in renewals(), looks in looks()) {
            let start = Timestamp::from_second(1_800_000_000).unwrap();
            let at = |ms: u64| Moment { boot: Duration::from_millis(ms), wall: start + jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap()) };
            // (commit, start, reply read) of each renewal, the join first.
            let mut history = vec![(1, 0, 2)];
            let mut time = 3;
            for (pause, commit, reply) in renewals {
                let begun = time + pause;
                history.push((begun + commit, begun, begun + commit + reply));
                time = begun + commit + reply;
            }
            let (mut memory, mut time) = (Memory::default(), 0);
            for (pause, snapshot, answer) in looks {
                let (begun, taken) = (time + pause, time + pause + snapshot);
                let completed = taken + answer;
                let version = history.iter().filter(|(commit, ..)| *commit <= taken).count() as u64;
                let lease = replica(version);
                let silent = memory.silent(std::slice::from_ref(&lease), Duration::from_millis(begun), Duration::from_millis(completed), Silence::default());
                memory.see_pods(&silent, &[], Duration::from_millis(completed));
                // The deletion at `completed` succeeds only if nothing was committed since.
                let unchanged = history.iter().filter(|(commit, ..)| *commit <= completed).count() as u64 == version;
                if memory.is_gone(&lease, Duration::from_millis(begun), Silence::default()) && unchanged {
                    let contact = Contact::default();
                    for (_, begun, read) in history.iter().filter(|(commit, _, read)| *commit <= completed && *read <= completed) {
                        contact.renewed(at(*begun), at(*read));
                        contact.refreshed(at(*read + 1), at(*read + 1));
                    }
                    prop_assert_eq!(contact.standing(at(completed)), Standing::Doubt);
                    return Ok(());
                }
                time = completed;
            }
        }
    }
}
