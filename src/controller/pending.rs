//! The values of Pending credentials: in the memory of the leader between register and promote, and nowhere else. Zeroized when
//! they are dropped: promoted, replaced, or with the Lease.

use crate::domain::{
    credential::{CredentialId, SecretValue},
    names::ObjectName,
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// At most one value per client.
#[derive(Default)]
pub(crate) struct Pending {
    values: Mutex<HashMap<ObjectName, Held>>,
}

/// A value and what it is registered as.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) uid: String,
    pub(crate) id: CredentialId,
    pub(crate) value: SecretValue,
}

impl Pending {
    /// The value held for the client of this UID. One of a predecessor of the same name is forgotten.
    pub(crate) fn of(&self, client: &ObjectName, uid: &str) -> Option<Held> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values.get(client).is_some_and(|held| held.uid != uid) {
            values.remove(client);
        }
        values.get(client).cloned()
    }

    /// Before the register write: its reply may be lost.
    pub(crate) fn hold(&self, client: &ObjectName, held: Held) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(client.clone(), held);
    }

    /// No longer Pending, or gone: nothing will be published of it. A register write that lands after all finds nobody who holds the
    /// value, and is replaced as one of a former leader is.
    pub(crate) fn forget(&self, client: &ObjectName) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).remove(client);
    }

    /// The Lease is lost.
    pub(crate) fn clear(&self) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
