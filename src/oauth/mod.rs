//! The protocol (RFC 6749, 7521, 7523, 7662, 8414, 8707, 9068, 9701, 10070), as functions of a request, a snapshot and the time. No socket, no API
//! server, no clock. Every error is made by one table (`error`).
//!
//! A token request passes through these in order:
//!
//! ```text
//! method, headers, body → request (form, basic) → authn(&Snapshot, Standing, now) → grant(now, jti) → Success
//!                           400, 405, 415           401, 429, 503                     400, 429, 503
//! ```
//!
//! What is too much (`throttle`) is found last: after a failed authentication, and before a token is signed.
//!
//! What makes a request unreadable is told before the client is authenticated; what it asks for is looked at only after.

pub mod access_token;
pub mod assertion;
pub mod authn;
pub mod basic;
pub mod error;
pub mod form;
pub mod grant;
pub mod introspection;
pub mod introspection_jwt;
pub mod issue;
pub mod json;
pub mod jwt_svid;
pub mod metadata;
pub mod presented;
pub mod presented_token;
pub mod private_key_jwt;
pub mod probe;
pub mod request;
pub mod revocation;
pub mod service_account;
pub mod throttle;
pub mod used;

pub use error::Error;
