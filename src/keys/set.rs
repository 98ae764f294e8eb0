//! All keys of the release at one moment.

use super::{DigestKey, SigningKey, jwks::Jwks, secret::Recovery};
use crate::domain::{jwk::VerificationKey, key_rotation::Key, resource::Algorithm};
use bytes::Bytes;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// What a replica signs, publishes and compares with.
pub struct KeySet {
    /// The key that signs, per algorithm.
    pub active: BTreeMap<Algorithm, Arc<SigningKey>>,
    /// The JWKS document (RFC 7517 §5): public members of every key in use, about to be used, or used not long ago.
    pub jwks: Bytes,
    /// The strong entity tag of [`KeySet::jwks`], with its quotes.
    pub jwks_etag: String,
    /// The public halves of the same.
    pub public: Vec<VerificationKey>,
    /// The key of the digests.
    pub digest: DigestKey,
    /// What the Secret that they were read from can be made again from.
    pub recovery: Option<Recovery>,
    /// Where each key of that Secret is in its life.
    pub lives: Vec<Key<Algorithm>>,
}

impl KeySet {
    /// `active` keys sign, one per algorithm (of two the later one); they and the `published` ones are in the JWKS, the active
    /// ones first, for verifiers that look at no `kid`.
    #[must_use]
    pub fn new(active: Vec<SigningKey>, published: &[SigningKey], digest: DigestKey) -> Self {
        let Jwks { document, etag } = Jwks::publish(active.iter().chain(published));
        let public = verification_keys(&document);
        let active = active.into_iter().map(|key| (key.algorithm(), Arc::new(key))).collect();
        Self { active, jwks: document, jwks_etag: etag, public, digest, recovery: None, lives: Vec::new() }
    }
}

/// As everybody else reads them.
fn verification_keys(jwks: &[u8]) -> Vec<VerificationKey> {
    let document: Value = serde_json::from_slice(jwks).unwrap_or_default();
    let keys = document.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(|jwk| VerificationKey::from_jwk(jwk.as_object()?).ok()).collect()
}
