//! Signing keys, the key of the digests, and the serving certificate.
//!
//! Keys are parsed once, when their Secret changes; a token costs one signature. `secret` reads and writes the form in which
//! the release's key Secret holds them (pure), `store` makes them on first start (leader alone, by POST).

pub mod certificate;
pub mod digest;
pub mod hs256;
pub mod jwks;
pub mod secret;
pub mod set;
pub mod signing;
pub mod store;

pub use digest::DigestKey;
pub use set::KeySet;
pub use signing::SigningKey;
