//! The key of the digests: what a presented secret is compared by.

use crate::domain::credential::{CredentialId, Digest, SecretValue};
use aws_lc_rs::{constant_time, hmac};

/// The release's HMAC-SHA-256 key.
pub struct DigestKey {
    key: hmac::Key,
    name: String,
}

impl DigestKey {
    /// From 32 secret bytes. Its name is derived from them by HMAC and tells nothing of them.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let tag = hmac::sign(&key, b"keywright.dev/digest-key-name");
        let name = tag.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { key, name }
    }

    /// What [`Digest::key`] of its digests says.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of a credential's value. Bound to client and credential: copied elsewhere it opens nothing.
    #[must_use]
    pub fn digest(&self, client_uid: &str, id: &CredentialId, value: &SecretValue) -> Digest {
        let tag = self.mac(client_uid, id, value.expose().as_bytes());
        let mut mac = [0_u8; 32];
        mac.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Digest { key: self.name.clone(), mac }
    }

    /// Whether `presented` is the value that `digest` was made of; in constant time.
    #[must_use]
    pub fn matches(&self, digest: &Digest, client_uid: &str, id: &CredentialId, presented: &[u8]) -> bool {
        let tag = self.mac(client_uid, id, presented);
        constant_time::verify_slices_are_equal(tag.as_ref(), &digest.mac).is_ok() && digest.key == self.name
    }

    fn mac(&self, client_uid: &str, id: &CredentialId, value: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [client_uid.as_bytes(), b"\0", id.as_str().as_bytes(), b"\0", value] {
            context.update(part);
        }
        context.sign()
    }
}
