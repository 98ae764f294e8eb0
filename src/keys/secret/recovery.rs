//! The key Secret as a replica last read it, so that the leader can make it again where somebody deleted it: with other keys no token
//! that lives could be verified, and every client would need a new credential.

use super::{DIGEST_KEY, Data, is_signing_key};
use k8s_openapi::ByteString;
use zeroize::Zeroizing;

/// The entries. No Debug: they hold every key.
pub struct Recovery(Vec<(String, Zeroizing<Vec<u8>>)>);

impl Recovery {
    /// Of the data of a key Secret.
    #[must_use]
    pub fn of(data: &Data) -> Self {
        let ours = data.iter().filter(|(name, _)| *name == DIGEST_KEY || is_signing_key(name));
        Self(ours.map(|(name, bytes)| (name.clone(), Zeroizing::new(bytes.0.clone()))).collect())
    }

    /// The data of the Secret, as it was.
    #[must_use]
    pub fn data(&self) -> Data {
        self.0.iter().map(|(name, bytes)| (name.clone(), ByteString(bytes.to_vec()))).collect()
    }
}
