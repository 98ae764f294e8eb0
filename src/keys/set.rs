//! All keys of the release at one moment.

use super::{DigestKey, SigningKey};
use crate::domain::resource::Algorithm;
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};

/// What a replica signs, publishes and compares with.
pub struct KeySet {
    /// The key that signs, per algorithm.
    pub active: BTreeMap<Algorithm, Arc<SigningKey>>,
    /// The JWKS document (RFC 7517 §5): public members of every key in use, about to be used, or used not long ago.
    pub jwks: Bytes,
    /// The key of the digests.
    pub digest: DigestKey,
}
