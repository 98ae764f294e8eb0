//! What `spec.secret` asks for.

use super::refusal::Problems;
use crate::api::client::{SecretMetadata, SecretTemplate};
use std::collections::{BTreeMap, BTreeSet};

/// The keys that the format ServiceBinding writes.
const SERVICE_BINDING: [&str; 11] = [
    "type",
    "provider",
    "client-id",
    "client-secret",
    "scope",
    "issuer-uri",
    "token-uri",
    "jwk-set-uri",
    "client-authentication-method",
    "authorization-grant-type",
    "ca.crt",
];

/// The keys that the format Env writes.
const ENV: [&str; 7] = ["CLIENT_ID", "CLIENT_SECRET", "TOKEN_URL", "ISSUER_URL", "JWKS_URL", "SCOPES", "CA_CERT"];

/// Notes what is wrong with it.
pub(super) fn check(secret: &SecretTemplate, problems: &mut Problems) {
    let written = match secret.format.as_deref() {
        None | Some("ServiceBinding") => &SERVICE_BINDING[..],
        Some("Env") => &ENV[..],
        Some(other) => return problems.invalid(format!("spec.secret.format: {other:?} is unknown: write ServiceBinding or Env")),
    };
    if let Some(other) = secret.deletion_policy.as_deref().filter(|policy| !matches!(*policy, "Delete" | "Retain")) {
        problems.invalid(format!("spec.secret.deletionPolicy: {other:?} is unknown: write Delete or Retain"));
    }
    if let Some(name) = secret.name.as_deref().filter(|name| !is_subdomain(name)) {
        problems.invalid(format!("spec.secret.name: {name:?} is no name of a Secret: write lower-case letters, digits, '-' and '.'"));
    }
    check_keys(secret.keys.as_ref().unwrap_or(&BTreeMap::new()), written, problems);
    check_metadata(secret.metadata.as_ref().unwrap_or(&SecretMetadata::default()), problems);
}

fn check_keys(renamed: &BTreeMap<String, String>, written: &[&str], problems: &mut Problems) {
    for unknown in renamed.keys().filter(|key| !written.contains(&key.as_str())) {
        problems.invalid(format!("spec.secret.keys: no key is called {unknown:?}: this format writes {}", written.join(", ")));
    }
    let mut taken = BTreeSet::new();
    for name in written.iter().map(|key| renamed.get(*key).map_or(*key, String::as_str)) {
        if !is_data_key(name) {
            problems.invalid(format!("spec.secret.keys: {name:?} is no key of a Secret: write letters, digits, '-', '_' and '.'"));
        }
        if !taken.insert(name) {
            problems.invalid(format!("spec.secret.keys: two keys would be called {name:?}: give each a name of its own"));
        }
    }
}

fn check_metadata(metadata: &SecretMetadata, problems: &mut Problems) {
    let none = BTreeMap::new();
    for (path, pairs) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        for key in pairs.as_ref().unwrap_or(&none).keys() {
            if !is_qualified_name(key) {
                problems.invalid(format!("spec.secret.metadata.{path}: {key:?} is no key: write <name> or <domain>/<name>"));
            } else if is_reserved(key) {
                problems.invalid(format!(
                    "spec.secret.metadata.{path}: {key:?} is not yours to set: choose another prefix than kubernetes.io/, k8s.io/ and keywright.dev/"
                ));
            }
        }
    }
    for value in metadata.labels.as_ref().unwrap_or(&none).values().filter(|value| !value.is_empty() && !is_name_part(value)) {
        problems.invalid(format!(
            "spec.secret.metadata.labels: {value:?} is no value of a label: at most 63 letters, digits, '-', '_' and '.'"
        ));
    }
}

/// Under kubernetes.io, k8s.io or keywright.dev, or a subdomain of them.
fn is_reserved(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    ["kubernetes.io", "k8s.io", "keywright.dev"]
        .iter()
        .any(|ours| domain == *ours || domain.strip_suffix(ours).is_some_and(|rest| rest.ends_with('.')))
}

fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => is_subdomain(domain) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_name_part(name: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&name.len()) && name.bytes().all(is_key_byte) && name.starts_with(ends) && name.ends_with(ends)
}

fn is_data_key(name: &str) -> bool {
    (1..=253).contains(&name.len()) && name.bytes().all(is_key_byte) && !matches!(name, "." | "..") && !name.starts_with("..")
}

fn is_key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

/// A DNS subdomain (RFC 1123) in lower case.
pub(super) fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
