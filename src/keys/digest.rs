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

/// Its name alone.
impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> CredentialId {
        CredentialId::from_random([byte; 16])
    }

    #[test]
    fn a_presented_value_opens_what_it_was_registered_for() {
        let key = DigestKey::new(&[7; 32]);
        let value = SecretValue::from_random(&[1; 32]);
        let digest = key.digest("uid", &id(1), &value);
        assert!(key.matches(&digest, "uid", &id(1), value.expose().as_bytes()));
        assert!(!key.matches(&digest, "uid", &id(1), SecretValue::from_random(&[2; 32]).expose().as_bytes()));
        assert!(!key.matches(&digest, "uid", &id(1), b""));
    }

    /// S21: whoever may write status copies a digest, with the value it was made of known to him, to another client or id.
    #[test]
    fn a_digest_copied_to_another_client_or_credential_opens_nothing() {
        let key = DigestKey::new(&[7; 32]);
        let value = SecretValue::from_random(&[1; 32]);
        let digest = key.digest("own-uid", &id(1), &value);
        assert!(!key.matches(&digest, "other-uid", &id(1), value.expose().as_bytes()));
        assert!(!key.matches(&digest, "own-uid", &id(2), value.expose().as_bytes()));
    }

    /// S21: a digest planted by someone who does not hold the release's key.
    #[test]
    fn a_digest_of_another_key_opens_nothing() {
        let key = DigestKey::new(&[7; 32]);
        let value = SecretValue::from_random(&[1; 32]);
        let planted = DigestKey::new(&[8; 32]).digest("uid", &id(1), &value);
        assert!(!key.matches(&planted, "uid", &id(1), value.expose().as_bytes()));
        let renamed = Digest { key: key.name().to_owned(), ..planted };
        assert!(!key.matches(&renamed, "uid", &id(1), value.expose().as_bytes()));
        let misnamed = Digest { key: "00000000".to_owned(), ..key.digest("uid", &id(1), &value) };
        assert!(!key.matches(&misnamed, "uid", &id(1), value.expose().as_bytes()));
    }

    /// C16: every byte counts, however long the value is (bcrypt stops at 72).
    #[test]
    fn a_long_value_that_differs_at_its_end_is_refused() {
        let key = DigestKey::new(&[7; 32]);
        let long = SecretValue::from_text("x".repeat(100));
        let digest = key.digest("uid", &id(1), &long);
        assert!(key.matches(&digest, "uid", &id(1), "x".repeat(100).as_bytes()));
        for at in [72, 73, 99] {
            let mut other = "x".repeat(100).into_bytes();
            other[at] = b'y';
            assert!(!key.matches(&digest, "uid", &id(1), &other), "byte {at}");
        }
        assert!(!key.matches(&digest, "uid", &id(1), "x".repeat(99).as_bytes()));
    }

    /// The parts cannot be shifted into each other: a UID and an id hold no zero byte.
    #[test]
    fn the_parts_of_a_digest_are_told_apart() {
        let key = DigestKey::new(&[7; 32]);
        let value = SecretValue::from_text("value".to_owned());
        let digest = key.digest("uid", &id(1), &value);
        let shifted = format!("{}\0value", id(1).as_str());
        assert!(!key.matches(&digest, "ui", &id(1), b"dvalue"));
        assert!(!key.matches(&digest, "uid", &id(1), shifted.as_bytes()));
    }

    /// The name tells two keys apart and is not a part of the key.
    #[test]
    fn a_key_is_named_by_a_derived_name() {
        let (one, other) = (DigestKey::new(&[7; 32]), DigestKey::new(&[8; 32]));
        assert_eq!(one.name(), DigestKey::new(&[7; 32]).name());
        assert_ne!(one.name(), other.name());
        assert_eq!(one.name().len(), 8);
        assert!(!one.name().contains("0707"));
    }
}
