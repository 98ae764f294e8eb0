//! An API that is valid: its `ProtectedResource` passed the installation's policy.

use super::names::{Audience, ObjectName, Scope};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PSS with SHA-256 and MGF1 with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

/// The `typ` header of access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// `at+jwt` (RFC 9068 §2.1).
    AtJwt,
    /// `JWT`, for verifiers that refuse `at+jwt`.
    Jwt,
}

/// Which namespaces a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// By name.
    Named(BTreeSet<String>),
    /// By label: all of these pairs, never empty.
    Labelled(BTreeMap<String, String>),
}

/// One line of `spec.grants`.
#[derive(Debug, Clone)]
pub struct Grant {
    /// For clients of these namespaces.
    pub namespaces: Namespaces,
    /// `OAuthClient` names; `None`: every client there.
    pub clients: Option<BTreeSet<String>>,
    /// These scopes.
    pub scopes: BTreeSet<Scope>,
    /// What their tokens claim beside the registered names.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Not from then on.
    pub expires: Option<Timestamp>,
}

/// A valid API.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its `ProtectedResource`.
    pub object: ObjectName,
    /// The UID of that object.
    pub uid: String,
    /// The `aud` of its tokens.
    pub audience: Audience,
    /// Its scopes, in the order of the spec.
    pub scopes: Vec<Scope>,
    /// Who may have them.
    pub grants: Vec<Grant>,
    /// The `OAuthClient`s of its namespace that may introspect its tokens.
    pub introspectors: BTreeSet<String>,
    /// What its tokens are signed with.
    pub algorithm: Algorithm,
    /// Their `typ`.
    pub token_type: TokenType,
    /// Their longest lifetime; `None`: the policy's.
    pub max_lifetime: Option<SignedDuration>,
}

impl Resource {
    /// Whether its owner lets that `OAuthClient` introspect its tokens: one of its own namespace that it names.
    #[must_use]
    pub fn may_be_introspected_by(&self, caller: &ObjectName) -> bool {
        self.object.namespace == caller.namespace && self.introspectors.contains(&caller.name)
    }
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::Ps256, Self::EdDsa];

    /// The `alg` value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that `alg` value; `None`: none of ours.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

impl TokenType {
    /// The `typ` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtJwt => "at+jwt",
            Self::Jwt => "JWT",
        }
    }
}
