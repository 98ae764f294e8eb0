//! ServiceAccounts as clients: whom their tokens name, and the keys of the cluster that signs them.

use super::jwk::VerificationKey;

/// A ServiceAccount that may authenticate as a client of its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundServiceAccount {
    /// Its name.
    pub name: String,
    /// Its UID, where one that is created anew is to be another.
    pub uid: Option<String>,
    /// Whether the API server is asked about every token: one of a deleted pod is refused at once then.
    pub token_review: bool,
}

/// The cluster as the issuer of ServiceAccount tokens.
#[derive(Debug, Clone)]
pub struct ClusterIssuer {
    /// The `iss` of the tokens.
    pub issuer: String,
    /// What they are signed with.
    pub keys: Vec<VerificationKey>,
}

/// What the `sub` of every ServiceAccount token begins with.
pub const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// The `sub` of the tokens of a ServiceAccount, which is also its user name.
#[must_use]
pub fn subject(namespace: &str, name: &str) -> String {
    format!("{SUBJECT_PREFIX}{namespace}:{name}")
}
