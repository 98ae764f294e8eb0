//! What was not taken in: objects that this version cannot read, and registers that it can read in part.
//!
//! What was known of such an object stays in force, if it is the same one. But a replica must not say that it has seen a register
//! write which it has not taken in: the gate would open, and the new secret meet a replica that refuses it. So its report names
//! these clients, and they alone wait; one that nobody can read, the leader included, gets no new secret and holds up nobody.

use super::{Index, KnownClient, Touched};
use crate::{
    api,
    domain::{
        credential::{Credential, CredentialState},
        names::ObjectName,
    },
};
use kube::ResourceExt;
use std::collections::BTreeSet;

impl Index {
    /// A client was created or changed, and cannot be read.
    pub fn unreadable_client(&mut self, name: &ObjectName, uid: &str) -> BTreeSet<Touched> {
        let known = self.clients.get(name).and_then(|known| known.object.uid());
        let touched =
            if known.as_deref() == Some(uid) { BTreeSet::from([Touched::Client(name.clone())]) } else { self.remove_client(name) };
        self.unread.insert(name.clone(), uid.to_owned());
        touched
    }

    /// A resource was created or changed, and cannot be read.
    pub fn unreadable_resource(&mut self, name: &ObjectName, uid: &str) -> BTreeSet<Touched> {
        let known = self.resources.get(name).and_then(|known| known.object.uid());
        if known.as_deref() == Some(uid) { BTreeSet::new() } else { self.remove_resource(name) }
    }

    /// A namespace was created or changed, and cannot be read.
    pub fn unreadable_namespace(&mut self, name: &str, uid: &str) -> BTreeSet<Touched> {
        if self.namespaces.get(name).map(String::as_str) == Some(uid) { BTreeSet::new() } else { self.remove_namespace(name) }
    }

    /// The UIDs of the clients whose register was not taken in as it is now.
    #[must_use]
    pub fn unread_clients(&self) -> BTreeSet<String> {
        self.unread.values().cloned().collect()
    }

    pub(super) fn note_unread(&mut self, name: &ObjectName) {
        match self.clients.get(name) {
            Some(known) if !self.is_taken_in(known) => {
                self.unread.insert(name.clone(), known.object.uid().unwrap_or_default());
            }
            Some(_) => {
                self.unread.remove(name);
            }
            None => {}
        }
    }

    /// Whether whatever status registers would be accepted here. The Pending credential is what a gate waits for: its client has to
    /// be served, and the key of its digest known.
    fn is_taken_in(&self, known: &KnownClient) -> bool {
        let status = known.object.status.as_ref();
        let digest_key = self.snapshot.keys.as_ref().map(|keys| keys.digest.name());
        let is_usable = |pending: &Credential| known.parsed.is_ok() && Some(pending.digest.key.as_str()) == digest_key;
        let credentials = api::register::readable(status);
        let mut pending = credentials.iter().filter(|known| known.state == CredentialState::Pending);
        api::register::is_readable(status) && pending.all(is_usable)
    }
}
