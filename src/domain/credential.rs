//! One client secret: what is stored of it (never its value), and the value itself while it is in memory.

use jiff::Timestamp;
use zeroize::Zeroizing;

/// Most credentials that a client has at a time: one Current and at most 8 others.
pub const MAX_CREDENTIALS: usize = 9;

/// Names a credential; also the value of the Secret's annotation `keywright.dev/credential`.
/// 26 characters of lower-case base32 (128 random bits).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(String);

impl CredentialId {
    /// From 128 random bits.
    #[must_use]
    pub fn from_random(bits: [u8; 16]) -> Self {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
        let number = u128::from_be_bytes(bits);
        let digit = |place: u32| alphabet.get(((number >> (place * 5)) & 31) as usize).copied().unwrap_or(b'a');
        Self((0..26).map(|place| char::from(digit(place))).collect())
    }

    /// Reads an id from status or an annotation. `None` where it has not our form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == 26 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        ours.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `HMAC-SHA-256(digest key, client UID ‖ credential id ‖ value)`, and which digest key made it.
/// No `PartialEq`: digests are compared in constant time, by `keys::DigestKey::matches`.
#[derive(Debug, Clone)]
pub struct Digest {
    /// Names the digest key (not secret): another name than that of the key at hand means the key was lost.
    pub key: String,
    /// The MAC, 32 bytes.
    pub mac: [u8; 32],
}

/// Where a credential is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialState {
    /// Registered, accepted, not yet known to be in the Secret.
    Pending,
    /// The one in the Secret.
    Current,
    /// An earlier one, accepted until it is retired.
    Previous,
}

/// A registered credential, as `status.credentials[]` holds it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its name.
    pub id: CredentialId,
    /// What a presented secret is compared with.
    pub digest: Digest,
    /// Where it is in its life.
    pub state: CredentialState,
    /// When it was made; never before the client's newest credential or `secretsIssuedBefore`.
    pub created_at: Timestamp,
    /// Previous: the leader does not retire it before.
    pub retire_after: Option<Timestamp>,
    /// Previous: replicas refuse it from then on.
    pub accepted_until: Option<Timestamp>,
    /// Pending and Current: its publication is a rehearsal until then. Previous: what replaced it was one, so that it goes when it
    /// is not used any more, not before this time, and whatever the rules say of those that are in use.
    pub rehearsed_until: Option<Timestamp>,
    /// Last use, as reported by the replicas; coarse.
    pub last_used_at: Option<Timestamp>,
}

/// The value of a client secret: 43 base64url characters (32 random bytes). No Debug, Display or Serialize; zeroized on drop.
#[derive(Clone)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    /// From 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// A value found in a Secret or a request, whatever its form.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether it has the form of the values that we make.
    #[must_use]
    pub fn has_our_form(&self) -> bool {
        self.0.len() == 43 && self.0.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    }

    /// The text, for the Secret and the digest alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_26_characters_and_keeps_all_128_bits() {
        let all: Vec<_> = (0..128).map(|bit| CredentialId::from_random((1_u128 << bit).to_be_bytes())).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().map(CredentialId::as_str).collect();
        assert_eq!(distinct.len(), 128);
        for id in &all {
            assert_eq!(CredentialId::parse(id.as_str()).as_ref(), Some(id));
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        let good = CredentialId::from_random([7; 16]).as_str().to_owned();
        for text in ["", &good[1..], &format!("{good}a"), &good.to_uppercase(), &good.replace(char::is_alphabetic, "1"), "é"] {
            assert_eq!(CredentialId::parse(text), None, "{text}");
        }
    }

    /// C18: 256 bits, in the alphabet that every client sends unchanged.
    #[test]
    fn a_value_has_43_characters_of_base64url() {
        for byte in [0, 0x3e, 0x3f, 0xff] {
            let value = SecretValue::from_random(&[byte; 32]);
            assert!(value.has_our_form(), "{}", value.expose());
        }
        let made = SecretValue::from_random(&[1; 32]);
        for text in ["", "short", &made.expose().replace('A', "+"), &format!("{}=", made.expose()), &made.expose()[1..]] {
            assert!(!SecretValue::from_text(text.to_owned()).has_our_form(), "{text}");
        }
    }
}
