//! States that differ in nothing that matters take one form.

use super::{Setup, Small};
use crate::{
    core::Core,
    leader::{Config, Doing, First, Request},
    server::{Server, Write},
    undone::Undone,
};
use std::hash::{DefaultHasher, Hash, Hasher};

impl Small {
    /// The same state in the form that all states like it take: what makes no difference any more is forgotten, and what is like
    /// its neighbour is put in order.
    pub fn canonical(&mut self, setup: &Setup) {
        for who in 0..2 {
            self.forget_in_vain(setup, who);
        }
        let (server, config) = (&self.core.server, &setup.config);
        self.core.late.retain(|request| !is_in_vain(server, config, request));
        if self.bounds.edits == 0 {
            self.core.manifests.clear();
        }
        self.core.laws.canonical();
        self.core.leaders.sort_by_cached_key(fingerprint);
        self.core.late.sort_by_cached_key(fingerprint);
        self.sights.sort_by_cached_key(fingerprint);
    }

    /// A leader that read what has changed since, or whose request will be refused: as if it had not begun.
    fn forget_in_vain(&mut self, setup: &Setup, who: usize) {
        let Self { core: Core { server, leaders, .. }, .. } = self;
        let keeps_order = setup.config.undone.iter().all(|undone| !undone.changes_reads());
        let leader = &mut leaders[who];
        match &leader.doing {
            Doing::Read { first: First::Client(client), .. } if keeps_order && client.version != server.client.version => {
                leader.doing = Doing::Nothing;
            }
            Doing::Read { first: First::Secret(Some(secret)), .. } if keeps_order && server.secret != Some(*secret) => {
                leader.doing = Doing::Nothing;
            }
            Doing::Waiting(request) if is_in_vain(server, &setup.config, request) => {
                let request = request.clone();
                self.core.reply(who, &request, None);
            }
            _ => {}
        }
    }
}

/// Whether a request will be refused, whenever it arrives: versions never come back.
fn is_in_vain(server: &Server, config: &Config, request: &Request) -> bool {
    match &request.write {
        Write::Status { version, .. } => *version != server.client.version && !config.is(Undone::StatusPrecondition),
        Write::Patch { version, .. } => {
            server.secret.is_none_or(|secret| secret.version != *version) && !config.is(Undone::SecretPrecondition)
        }
        Write::Create { .. } => false,
    }
}

pub fn fingerprint<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
