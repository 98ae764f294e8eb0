//! The installation's rules (chart values `policy:`), as pure functions of configuration and object: from an object of the API
//! to a valid one of the domain, or to all that is wrong with it, in words that say what to change.
//!
//! Two kinds of fault are told apart. What the object says contradicts itself or cannot be read: `InvalidSpec`; the schema and
//! its CEL rules catch most of that before. What it says is well-formed but not its namespace's to say: `PolicyViolation`.
//! Nothing here looks at other objects: who of two keeps a client id or an audience, decides `registry::index`.

mod audience;
mod authentication;
mod client;
mod refusal;
mod resource;
mod rotation;
mod rules;
mod secret;

pub use client::client;
pub use refusal::Refusal;
pub use resource::{Place, resource};
pub use rotation::{Rotation, rotation};
pub use rules::{Policy, PolicyError, Quota, TrustDomain};

#[cfg(test)]
mod tests;
