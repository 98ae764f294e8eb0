//! What a replica's Lease says: the form of its name, labels and annotations. Pure.

use super::{Change, Watch, Watched};
use k8s_openapi::api::coordination::v1::Lease;
use std::collections::{BTreeMap, BTreeSet};

/// The label that names the release of a Lease: one release's name may begin with another's.
pub const RELEASE_LABEL: &str = "keywright.dev/release";
/// `host:port` of the replica's health listener, where `/contact` tells other replicas whether it is in contact.
pub const ADDRESS_ANNOTATION: &str = "keywright.dev/address";
/// Whether the replica has reported since it joined.
pub const PHASE_ANNOTATION: &str = "keywright.dev/phase";

/// Among what was not taken in: it is not known what.
pub const EVERYTHING: &str = "*";
/// Most names of what was not taken in; UIDs of so many take 37 KB of the 256 KiB that annotations may have. More is [`EVERYTHING`].
const MOST_NAMES: usize = 1_000;

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has its Lease, and lists: what it had seen before does not count.
    Joining,
    /// It has reported what it has seen.
    Serving,
}

impl Phase {
    /// The annotation's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Serving => "serving",
        }
    }
}

/// A replica, as its Lease shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its pod.
    pub pod: String,
    /// Joining, unless the Lease says that it has reported.
    pub phase: Phase,
    /// The resourceVersion that each of its watches has reached; what is missing or unreadable has not been seen.
    pub seen: BTreeMap<Watch, u64>,
    /// What of a kind it has not taken in although its watch has reached the version: the UIDs of clients, the entries of the key
    /// Secret, or [`EVERYTHING`].
    pub unread: BTreeMap<Watched, BTreeSet<String>>,
    /// Where other replicas may ask it for its contact.
    pub address: Option<String>,
    /// The UID of the Lease.
    pub uid: String,
    /// The resourceVersion of the Lease.
    pub version: String,
}

impl Announcement {
    /// Reads a Lease. `None`: it is no replica's Lease of this release. By its name, so that a lost label hides no replica.
    #[must_use]
    pub fn read(release: &str, lease: &Lease) -> Option<Self> {
        let metadata = &lease.metadata;
        let pod = metadata.name.as_deref()?.strip_prefix(&lease_name(release, ""))?.to_owned();
        let labelled = metadata.labels.as_ref().and_then(|labels| labels.get(RELEASE_LABEL));
        if labelled.is_some_and(|label| label != release) {
            return None;
        }
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
        let phase = match annotation(PHASE_ANNOTATION) {
            Some(text) if text == Phase::Serving.as_str() => Phase::Serving,
            _ => Phase::Joining,
        };
        let seen_of = |kind: Watched| read_seen(kind, &annotation(&seen_annotation(kind)).unwrap_or_default());
        let names_of = |kind: Watched| Some((kind, annotation(&unread_annotation(kind))?.split(',').map(str::to_owned).collect()));
        Some(Self {
            pod,
            phase,
            seen: if phase == Phase::Serving { Watched::ALL.into_iter().flat_map(seen_of).collect() } else { BTreeMap::new() },
            unread: Watched::ALL.into_iter().filter_map(names_of).collect(),
            address: annotation(ADDRESS_ANNOTATION),
            uid: metadata.uid.clone().unwrap_or_default(),
            version: metadata.resource_version.clone().unwrap_or_default(),
        })
    }

    /// Whether the replica's watch of that kind, in that namespace, has reached the version. One that has no such watch, because
    /// it was told to work elsewhere, has not.
    #[must_use]
    pub fn has_seen(&self, kind: Watched, namespace: &str, version: u64) -> bool {
        self.seen.iter().any(|(watch, seen)| watch.kind == kind && watch.shows(namespace) && *seen >= version)
    }

    /// Whether the replica goes by that version of one client (its UID) or of one entry of the key Secret.
    #[must_use]
    pub fn has_taken_in(&self, Change { kind, namespace, version }: Change<'_>, name: &str) -> bool {
        let left_out = |names: &BTreeSet<String>| names.contains(name) || names.contains(EVERYTHING);
        self.has_seen(kind, namespace, version) && !self.unread.get(&kind).is_some_and(left_out)
    }
}

/// The name of a replica's Lease.
#[must_use]
pub fn lease_name(release: &str, pod: &str) -> String {
    format!("{release}-replica-{pod}")
}

/// The annotation with the resourceVersions that the watches of a kind have reached.
#[must_use]
pub fn seen_annotation(kind: Watched) -> String {
    format!("keywright.dev/seen-{}", kind.as_str())
}

/// Its value: `41` of all namespaces, `billing=41,shop=57` of those that are watched each by itself. `None`: none has reached any.
#[must_use]
pub fn seen_value(kind: Watched, seen: &BTreeMap<Watch, u64>) -> Option<String> {
    let of_kind = seen.iter().filter(|(watch, _)| watch.kind == kind);
    let words: Vec<String> = of_kind
        .map(|(watch, version)| match &watch.namespace {
            Some(namespace) => format!("{namespace}={version}"),
            None => version.to_string(),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn read_seen(kind: Watched, value: &str) -> BTreeMap<Watch, u64> {
    let read = |word: &str| match word.split_once('=') {
        Some((namespace, version)) => Some((Watch { kind, namespace: Some(namespace.to_owned()) }, version.parse().ok()?)),
        None => Some((Watch::whole(kind), word.parse().ok()?)),
    };
    value.split(',').filter_map(read).collect()
}

/// The annotation with what of a kind was not taken in.
#[must_use]
pub fn unread_annotation(kind: Watched) -> String {
    format!("keywright.dev/unread-{}", kind.as_str())
}

/// Its value; `None`: everything was taken in.
#[must_use]
pub fn unread_names(names: &BTreeSet<String>) -> Option<String> {
    match names.len() {
        0 => None,
        1..=MOST_NAMES => Some(names.iter().map(String::as_str).collect::<Vec<_>>().join(",")),
        _ => Some(EVERYTHING.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(name: &str, label: Option<&str>, annotations: serde_json::Value) -> Lease {
        let labels = label.map(|release| json!({RELEASE_LABEL: release})).unwrap_or_default();
        serde_json::from_value(
            json!({"metadata": {"name": name, "uid": "u", "resourceVersion": "7", "labels": labels, "annotations": annotations}}),
        )
        .unwrap()
    }

    #[test]
    fn what_is_missing_or_unreadable_has_not_been_seen() {
        let annotations =
            json!({"keywright.dev/phase": "serving", "keywright.dev/seen-oauthclients": "41", "keywright.dev/seen-keys": "4x"});
        let replica = Announcement::read("kw", &lease("kw-replica-a", Some("kw"), annotations)).unwrap();
        assert_eq!(replica.pod, "a");
        assert!(replica.has_seen(Watched::OAuthClients, "billing", 41));
        assert!(!replica.has_seen(Watched::OAuthClients, "billing", 42));
        assert!(!replica.has_seen(Watched::Keys, "kw", 1));
        assert!(!replica.has_seen(Watched::Namespaces, "", 0));
    }

    /// A write in one namespace is not seen because the watch of another one is further, and not unseen because it is behind.
    #[test]
    fn what_each_namespace_has_reached_is_read_as_it_was_written() {
        let of = |namespace: &str| Watch { kind: Watched::OAuthClients, namespace: Some(namespace.to_owned()) };
        let seen = BTreeMap::from([(of("billing"), 41), (of("shop"), 57), (Watch::whole(Watched::Keys), 60)]);
        let value = |kind| seen_value(kind, &seen);
        assert_eq!(value(Watched::OAuthClients).as_deref(), Some("billing=41,shop=57"));
        assert_eq!((value(Watched::Keys).as_deref(), value(Watched::ProtectedResources)), (Some("60"), None));
        let annotations = json!({
            "keywright.dev/phase": "serving",
            "keywright.dev/seen-oauthclients": value(Watched::OAuthClients),
            "keywright.dev/seen-keys": value(Watched::Keys),
        });
        let replica = Announcement::read("kw", &lease("kw-replica-a", Some("kw"), annotations)).unwrap();
        assert_eq!(replica.seen, seen);
        for (namespace, version, has) in [("billing", 41, true), ("billing", 42, false), ("shop", 57, true), ("other", 1, false)] {
            assert_eq!(replica.has_seen(Watched::OAuthClients, namespace, version), has, "{namespace} {version}");
        }
    }

    #[test]
    fn a_joining_replica_has_seen_nothing_whatever_its_lease_still_says() {
        let annotations = json!({"keywright.dev/phase": "joining", "keywright.dev/seen-oauthclients": "41"});
        let replica = Announcement::read("kw", &lease("kw-replica-a", Some("kw"), annotations)).unwrap();
        assert!(!replica.has_seen(Watched::OAuthClients, "billing", 1));
    }

    #[test]
    fn a_replica_vouches_for_what_it_has_taken_in_alone() {
        let read = |unread: Option<String>| {
            let annotations = json!({
                "keywright.dev/phase": "serving", "keywright.dev/seen-oauthclients": "41", "keywright.dev/unread-oauthclients": unread,
            });
            let annotations = annotations.as_object().unwrap().iter().filter(|(_, text)| !text.is_null()).collect::<BTreeMap<_, _>>();
            Announcement::read("kw", &lease("kw-replica-a", Some("kw"), json!(annotations))).unwrap()
        };
        let uids = |count: usize| (0..count).map(|number| format!("uid-{number}")).collect::<BTreeSet<_>>();
        let change = |version| Change { kind: Watched::OAuthClients, namespace: "billing", version };
        let taken_in = |replica: &Announcement, uid: &str| replica.has_taken_in(change(41), uid);
        let all = read(unread_names(&uids(0)));
        assert!(taken_in(&all, "uid-0") && !all.has_taken_in(change(42), "uid-0"));
        let most = read(unread_names(&uids(1_000)));
        assert!(!taken_in(&most, "uid-0") && !taken_in(&most, "uid-999") && taken_in(&most, "uid-1000"));
        let nothing = read(unread_names(&uids(1_001)));
        assert!(!taken_in(&nothing, "uid-0") && !taken_in(&nothing, "another"));
        assert!(nothing.has_seen(Watched::OAuthClients, "billing", 41));
    }

    #[test]
    fn a_lease_counts_by_its_name_and_a_label_only_excludes_another_release() {
        let read = |name, label| Announcement::read("kw", &lease(name, label, json!({}))).map(|replica| replica.pod);
        assert_eq!(read("kw-replica-a", None), Some("a".to_owned()));
        assert_eq!(read("kw-replica-b-replica-a", Some("kw-replica-b")), None);
        assert_eq!(read("kw-leader", Some("kw")), None);
        assert_eq!(read("other-replica-a", Some("kw")), None);
    }
}
