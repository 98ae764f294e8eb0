//! The two verbs for the release's own keys: annotations on their Secret.
//!
//! `keywright.dev/rotate: <any new value>` asks for new keys, with all their windows; it is echoed as
//! `keywright.dev/last-handled-rotate` by the write that prepares them. `keywright.dev/revoke: <names>` drops keys at once; it is
//! followed whenever there is such a key, whatever was echoed: one that a restored backup brings back goes again.

use crate::api::{ANNOTATION_HANDLED_REVOKE, ANNOTATION_HANDLED_ROTATE, ANNOTATION_REVOKE, ANNOTATION_ROTATE};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use std::collections::{BTreeMap, BTreeSet};

/// What somebody asks for.
#[derive(Debug, Default)]
pub(super) struct Orders {
    rotate: Option<String>,
    revoke: Option<String>,
    handled_rotate: Option<String>,
    handled_revoke: Option<String>,
}

impl Orders {
    pub(super) fn of(secret: &Secret) -> Self {
        let annotation = |name: &str| secret.annotations().get(name).cloned();
        Self {
            rotate: annotation(ANNOTATION_ROTATE),
            revoke: annotation(ANNOTATION_REVOKE),
            handled_rotate: annotation(ANNOTATION_HANDLED_ROTATE),
            handled_revoke: annotation(ANNOTATION_HANDLED_REVOKE),
        }
    }

    /// Whether new keys are asked for that nobody has prepared yet.
    pub(super) fn asks_for_rotation(&self) -> bool {
        self.rotate.is_some() && self.rotate != self.handled_rotate
    }

    /// The names of the keys to drop.
    pub(super) fn revoked(&self) -> BTreeSet<String> {
        let names = self.revoke.iter().flat_map(|text| text.split([',', ' ', '\n'])).map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Whether nobody has said yet what became of [`Orders::revoked`].
    pub(super) fn revocation_is_new(&self) -> bool {
        self.revoke.is_some() && self.revoke != self.handled_revoke
    }

    /// The annotation that echoes the order of a rotation.
    pub(super) fn rotation_handled(&self) -> BTreeMap<String, String> {
        self.rotate.iter().map(|text| (ANNOTATION_HANDLED_ROTATE.to_owned(), text.clone())).collect()
    }

    /// The annotation that echoes a revocation.
    pub(super) fn revocation_handled(&self) -> BTreeMap<String, String> {
        self.revoke.iter().map(|text| (ANNOTATION_HANDLED_REVOKE.to_owned(), text.clone())).collect()
    }
}
