//! Keywright: a Kubernetes operator for machine credentials.
//!
//! Two flows, which share nothing but an immutable snapshot:
//!
//! ```text
//! OAuthClient applied → observe → validate → plan → build → apply → status, wake_at
//!                       (reads)   (pure)     (pure)  (pure)  (writes, in order, with preconditions)
//!     status.credentials → watch → index (pure) → Arc<Snapshot> on every replica
//!
//! HTTP request → server/token → oauth/request → oauth/authn(&Snapshot) → oauth/grant(now, jti) → keys.sign → JSON
//!                (shell)        (pure)          (pure)                   (pure)                  (pure)
//! ```
//!
//! Only the holder of the leader Lease runs the first; every replica runs the second, and the second never calls the API server, but for a ServiceAccount token that it cannot
//! judge alone.
//!
//! | Room | Duty |
//! |---|---|
//! | [`api`] | the custom resources, as types |
//! | [`domain`] | client, credential, scope, grants, rotation, token claims; touches nothing |
//! | [`policy`] | the installation's rules: from an object of the API to a valid one of the domain, or to what is wrong with it |
//! | [`oauth`] | the protocol, as functions of a request and a snapshot |
//! | [`registry`] | the snapshot, and the watches that feed it |
//! | [`replica`] | what replicas tell each other through Leases: join, report, doubt, and the gate of a rotation |
//! | [`controller`] | observe, validate, plan, build, apply |
//! | [`keys`] | signing keys, the digest key, the serving certificate |
//! | [`service_accounts`] | what the cluster says of ServiceAccount tokens: its keys, and reviews |
//! | [`revocation`] | the tokens that were revoked, as all replicas know them |
//! | [`server`] | HTTP: listener, limits, TLS, handlers |
//! | [`audit`] | who got a token and who was refused one, as lines of the log |
//! | [`plugin`] | what people ask with kubectl: status, rotate, revoke, check, probe, keys |
//! | [`workload`] | what a workload does with its Secret: `keywright token` |
//! | [`selftest`] | a client and its API, made and removed again: `keywright selftest` |

pub mod ambient;
pub mod api;
pub mod audit;
pub mod causes;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod domain;
pub mod installation;
pub mod interrupt;
pub mod keys;
pub mod lease;
pub mod metrics;
pub mod oauth;
pub mod plugin;
pub mod policy;
pub mod registry;
pub mod replica;
pub mod revocation;
pub mod run;
pub mod selftest;
pub mod server;
pub mod service_accounts;
pub mod telemetry;
pub mod workload;
