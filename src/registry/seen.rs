//! How far a replica's watches have come. Pure.

use super::feed::Event;
use crate::replica::{Watch, Watched, contact::Moment};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the snapshot in use has reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// All watches that there are.
    pub watches: BTreeSet<Watch>,
    /// The resourceVersion that each has reached.
    pub versions: BTreeMap<Watch, u64>,
    /// When the last list of each began.
    pub listed: BTreeMap<Watch, Moment>,
    /// When each last agreed with the API server.
    pub agreed: BTreeMap<Watch, Moment>,
    /// What of a kind was not taken in although its version was reached: the UIDs of clients, the entries of the key Secret, or
    /// [`EVERYTHING`](crate::replica::announcement::EVERYTHING).
    pub unread: BTreeMap<Watched, BTreeSet<String>>,
}

impl Seen {
    /// Nothing yet, of these.
    #[must_use]
    pub fn of(watches: BTreeSet<Watch>) -> Self {
        Self { watches, ..Self::default() }
    }

    /// When the earliest of the last lists of every watch began; `None`: not everything was listed yet.
    #[must_use]
    pub fn all_listed(&self) -> Option<Moment> {
        let lists: Option<Vec<Moment>> = self.watches.iter().map(|watch| self.listed.get(watch).copied()).collect();
        lists?.into_iter().min_by_key(|begun| begun.boot)
    }

    /// Since when all watches of a kind have agreed with the API server: as long as the one that is furthest behind, by this
    /// replica's wall clock. `None`: not all have.
    pub(super) fn all_agreed(&self, kind: Watched) -> Option<Timestamp> {
        let of_kind = self.watches.iter().filter(|watch| watch.kind == kind);
        let agreed: Option<Vec<Timestamp>> = of_kind.map(|watch| Some(self.agreed.get(watch)?.wall)).collect();
        agreed?.into_iter().min()
    }

    pub(super) fn note<K>(&mut self, watch: &Watch, event: &Event<K>) {
        match event {
            Event::Listed { version, begun, .. } => {
                self.versions.insert(watch.clone(), *version);
                self.listed.insert(watch.clone(), *begun);
            }
            // Known to be empty since then, and of no version: no write there was seen.
            Event::Lapsed { begun } => {
                self.versions.remove(watch);
                self.listed.insert(watch.clone(), *begun);
                self.agreed.insert(watch.clone(), *begun);
            }
            Event::Applied { version, .. }
            | Event::Deleted { version, .. }
            | Event::Unreadable { version, .. }
            | Event::Progress { version } => {
                self.versions.insert(watch.clone(), *version);
            }
            Event::Agreed { begun } => {
                self.agreed.insert(watch.clone(), *begun);
            }
        }
    }
}
