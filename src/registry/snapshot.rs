//! The immutable snapshot from which every request is answered.

use super::table::Table;
use crate::{
    domain::{
        client::RegisteredClient,
        names::{Audience, ClientId, ObjectName},
        resource::Resource,
    },
    keys::KeySet,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// All that a replica knows at one moment. A copy shares what has not changed since.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The clients of this installation by client id: valid ones alone, and of two that want one id the older (creationTimestamp,
    /// then UID).
    pub clients: Table<ClientId, Arc<RegisteredClient>>,
    /// The clients that a ServiceAccount or a workload of SPIFFE may be, by the `sub` of its tokens.
    pub subjects: Table<String, Arc<BTreeSet<ClientId>>>,
    /// When the last head check began that agreed with these clients, by this replica's wall clock.
    pub clients_agreed: Option<Timestamp>,
    /// The APIs of this installation by object: valid ones alone, with an audience that nobody else claims.
    pub resources: Table<ObjectName, Arc<Resource>>,
    /// The same by audience.
    pub audiences: Table<Audience, ObjectName>,
    /// The labels of namespaces, reduced to the keys that policy lets selectors use.
    pub namespaces: Table<String, Arc<BTreeMap<String, String>>>,
    /// The keys; absent until the leader of a new installation has made them.
    pub keys: Option<Arc<KeySet>>,
}
