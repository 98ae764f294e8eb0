//! What Keywright is about, without Kubernetes, HTTP, clock or randomness: everything here is a function of its arguments.
//!
//! Times are [`jiff::Timestamp`] (wall clock, handed in as `now`), lengths of time [`jiff::SignedDuration`].

pub mod client;
pub mod credential;
pub mod duration;
pub mod grants;
pub mod jwk;
pub mod key_rotation;
pub mod names;
pub mod probe;
pub mod resource;
pub mod rotation;
pub mod service_account;
pub mod token;
pub mod trust_domain;
pub mod usage;
