//! ServiceAccounts as clients: whom their tokens name, and the keys of the cluster that signs them.

use super::{jwk::VerificationKey, names::ObjectName};

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

/// The namespace and the name in such a `sub`.
#[must_use]
pub fn named_by(subject: &str) -> Option<ObjectName> {
    let (namespace, name) = subject.strip_prefix(SUBJECT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then(|| ObjectName::new(namespace, name))
}

/// The groups that Kubernetes puts a ServiceAccount of this namespace in.
#[must_use]
pub fn groups(namespace: &str) -> [String; 3] {
    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), "system:authenticated".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K02.
    #[test]
    fn a_subject_names_one_service_account() {
        assert_eq!(named_by(&subject("shop", "prober")), Some(ObjectName::new("shop", "prober")));
        for other in [
            "",
            "system:serviceaccount:shop",
            "system:serviceaccount::x",
            "system:serviceaccount:shop:",
            "system:serviceaccount:a:b:c",
            "shop:x",
        ] {
            assert_eq!(named_by(other), None, "{other}");
        }
    }
}
