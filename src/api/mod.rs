//! The custom resources of the group `keywright.dev`, version `v1alpha1`, as types. `crds/` and the chart hold what they print.
//!
//! Nothing here fails on what a newer version or a hand has written: choices (`signingAlgorithm`, `format`, …) are texts whose
//! schema lists the values, times and durations are texts with a grammar, and status is read field by field. What a text means,
//! and what is wrong with it, says `policy`; so one object that cannot be read never hides the others of a list.

#[expect(unreachable_pub, reason = "KubeSchema expands to a private copy of each type, pub fields and all")]
pub mod authentication;
#[expect(unreachable_pub, dead_code, reason = "the same")]
pub mod client;
#[expect(unreachable_pub, reason = "the same")]
pub mod condition;
pub mod crd;
#[expect(unreachable_pub, reason = "the same")]
pub mod jwks;
pub mod probed;
pub mod register;
#[expect(unreachable_pub, reason = "the same")]
pub mod resource;
#[expect(unreachable_pub, reason = "the same")]
pub mod rotation;
mod rules;
mod stored;

pub use client::{OAuthClient, OAuthClientSpec, OAuthClientStatus};
pub use condition::{Condition, ConditionType, Reason};
pub use crd::{crds, crds_yaml};
pub use resource::{ProtectedResource, ProtectedResourceSpec, ProtectedResourceStatus};

/// The API group.
pub const GROUP: &str = "keywright.dev";

/// The `ProtectedResource`s as the API server's paths and RBAC call them.
pub const RESOURCES: &str = "protectedresources";

/// What nobody serves below them: a right on it lets a ServiceAccount have tokens to probe an API with.
pub const SUBRESOURCE_PROBE: &str = "probe";

/// The installation that serves objects without `spec.issuer`.
pub const DEFAULT_ISSUER: &str = "default";

/// Most characters of the name of an `OAuthClient` or a `ProtectedResource`: it becomes the value of a label.
pub const MAX_NAME: usize = 63;

/// Label of everything that the operator makes in the namespaces of others.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of [`LABEL_MANAGED_BY`].
pub const MANAGED_BY: &str = "keywright";

/// Label of a client's Secret: the name of its `OAuthClient`.
pub const LABEL_CLIENT: &str = "keywright.dev/client";

/// Label of a verification ConfigMap: the name of its `ProtectedResource`.
pub const LABEL_RESOURCE: &str = "keywright.dev/resource";

/// Annotation of a client's Secret: the id of the credential that it holds.
pub const ANNOTATION_CREDENTIAL: &str = "keywright.dev/credential";

/// Annotation of a client's Secret: the ids, separated by commas, that status showed as not Pending before the write. Whoever
/// read the Secret before cannot publish them any more.
pub const ANNOTATION_FENCE: &str = "keywright.dev/fence";

/// Annotation of an `OAuthClient`: each new value of it rotates the secret now; `status.lastHandledRotate` echoes it. Also of the
/// Secrets with the release's own keys: each new value asks for new keys.
pub const ANNOTATION_ROTATE: &str = "keywright.dev/rotate";

/// Annotation of an `OAuthClient`: how long a rehearsal takes, as in 24h. While it is there, a rotation that is ordered is a
/// rehearsal: what it replaces stays accepted until the end, and after it for as long as it is in use.
pub const ANNOTATION_REHEARSE: &str = "keywright.dev/rehearse";

/// Annotation of a Secret that the operator did not make: the name of the `OAuthClient` that may take it over.
pub const ANNOTATION_ADOPT: &str = "keywright.dev/adopt";

/// Annotation of a Deployment, StatefulSet or DaemonSet: the name of the `OAuthClient` whose new credentials restart it.
pub const ANNOTATION_RESTART_ON: &str = "keywright.dev/restart-on";

/// Annotation of those Secrets: echoes [`ANNOTATION_ROTATE`] once new keys are prepared.
pub const ANNOTATION_HANDLED_ROTATE: &str = "keywright.dev/last-handled-rotate";

/// Annotation of the same: names of leaked keys, separated by commas, that are dropped at once.
pub const ANNOTATION_REVOKE: &str = "keywright.dev/revoke";

/// Echoes [`ANNOTATION_REVOKE`] once it was followed.
pub const ANNOTATION_HANDLED_REVOKE: &str = "keywright.dev/last-handled-revoke";

/// Annotation of the key Secret: the signing keys by `kid` and where they are in their lives, as JSON.
pub const ANNOTATION_SIGNING_KEYS: &str = "keywright.dev/signing-keys";

/// Annotation of an `OAuthClient` or a `ProtectedResource`: the installation (`<namespace>/<release>`) that is to work on it from now
/// on, whichever did before.
pub const ANNOTATION_CONTROLLER: &str = "keywright.dev/controller";

/// Annotation of a `ProtectedResource`: what became of the last `kubectl keywright probe` ([`probed::Probed`]).
pub const ANNOTATION_PROBED: &str = "keywright.dev/probed";

/// Annotation of the CA's Secret: the CAs by fingerprint and where they are in their lives, as JSON.
pub const ANNOTATION_AUTHORITIES: &str = "keywright.dev/authorities";

/// The keys of a verification ConfigMap.
pub mod verification {
    /// The issuer identifier, as in `iss`.
    pub const ISSUER: &str = "issuer";
    /// The audience, as in `aud`.
    pub const AUDIENCE: &str = "audience";
    /// Where the JWKS is served.
    pub const JWKS_URI: &str = "jwks-uri";
    /// The JWKS itself.
    pub const JWKS: &str = "jwks.json";
    /// The CA of the issuer's TLS certificate, where that is a private one.
    pub const CA: &str = "ca.crt";
}
