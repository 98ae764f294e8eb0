//! From a `ProtectedResource` to an API.

use super::{
    Policy, Refusal, audience, client,
    refusal::{Identity, Problem, Problems},
};
use crate::{
    api::{
        ProtectedResource,
        resource::{GrantEntry, RESERVED_CLAIMS, ResourceTokens},
    },
    domain::{
        names::{Audience, ObjectName, Scope},
        resource::{Algorithm, Grant, Namespaces, Resource, TokenType},
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most bytes that the claims of one grant have as JSON: tokens travel in headers.
const MOST_CLAIMS: usize = 4_096;

/// What of the installation decides about an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The issuer identifier.
    pub issuer: &'a str,
    /// The cluster's DNS domain.
    pub cluster_domain: &'a str,
    /// What tokens are signed with where the API does not say.
    pub algorithm: Algorithm,
    /// Whether it knows the labels of namespaces: one that works in some namespaces alone does not.
    pub reads_labels: bool,
}

/// The API that an object stands for.
///
/// # Errors
/// Everything that is wrong with it, in words that say what to change.
pub fn resource(policy: &Policy, place: Place<'_>, object: &ProtectedResource) -> Result<Resource, Refusal> {
    let Identity { object: name, uid, .. } = Identity::of(&object.metadata)?;
    let spec = &object.spec;
    let mut problems = Problems::default();
    let audience = problems.note(audience_of(policy, place, &name, spec.audience.as_deref()));
    let declared: Vec<String> = spec.scopes.iter().map(|scope| scope.name.clone()).collect();
    let scopes = client::scopes("spec.scopes", &declared, &mut problems);
    let grants = spec.grants.iter().flatten().enumerate();
    let grants: Vec<Grant> = grants.filter_map(|(at, entry)| grant((policy, place), &scopes, (at, entry), &mut problems)).collect();
    let tokens = spec.access_token.clone().unwrap_or_default();
    let algorithm = problems.note(algorithm(place.algorithm, &tokens));
    let token_type = problems.note(token_type(&tokens));
    let max_lifetime = tokens.max_lifetime.as_deref().and_then(|text| problems.note(max_lifetime(policy, text)));
    problems.finish(audience.zip(algorithm).zip(token_type).map(|((audience, algorithm), token_type)| Resource {
        object: name,
        uid,
        audience,
        scopes,
        grants,
        introspectors: spec.introspection.iter().flat_map(|allowed| allowed.clients.iter().cloned()).collect(),
        algorithm,
        token_type,
        max_lifetime,
    }))
}

fn audience_of(policy: &Policy, place: Place<'_>, name: &ObjectName, given: Option<&str>) -> Result<Audience, Problem> {
    let namespace = &name.namespace;
    let default = format!("https://{}.{namespace}.svc", name.name);
    let audience = Audience::parse(given.unwrap_or(&default)).map_err(|error| Problem::Invalid(format!("spec.audience: {error}")))?;
    if is_the_issuers(audience.as_str(), place.issuer) {
        return Err(Problem::Forbidden(format!(
            "spec.audience: {audience} belongs to the token endpoint itself, and its tokens could pass for something else there: choose another"
        )));
    }
    let own = audience::owner(audience.as_str(), place.cluster_domain) == Some(namespace);
    if own || policy.lends_audience(&audience, namespace) {
        return Ok(audience);
    }
    Err(Problem::Forbidden(format!(
        "spec.audience: {audience} is not the namespace's own: write https://<name>.{namespace}.svc or https://<name>.{namespace}.svc.{}, \
         in lower case, with a plain path at most (no port, query, escape or dot segment), or ask the platform team for a rule in policy.audiences",
        place.cluster_domain
    )))
}

/// The issuer identifier or a URL below `/oauth2/`: what client assertions are addressed to (RFC 7523 §3).
fn is_the_issuers(audience: &str, issuer: &str) -> bool {
    let below = audience.strip_prefix(issuer.trim_end_matches('/'));
    below.is_some_and(|rest| rest.trim_matches('/').is_empty() || rest.starts_with("/oauth2/"))
}

fn grant(
    (policy, place): (&Policy, Place<'_>),
    declared: &[Scope],
    (at, entry): (usize, &GrantEntry),
    problems: &mut Problems,
) -> Option<Grant> {
    let path = format!("spec.grants[{at}]");
    let namespaces = problems.note(namespaces(policy, place, &path, entry));
    if entry.clients.is_some() && entry.namespaces.as_ref().is_none_or(|names| names.len() != 1) {
        problems.invalid(format!("{path}.clients: goes with exactly one namespace: write one grant for each, or leave clients out"));
    }
    if entry.clients.as_ref().is_some_and(Vec::is_empty) {
        problems.invalid(format!("{path}.clients: names nobody: list OAuthClients, or leave clients out for every client there"));
    }
    let scopes = client::scopes(&format!("{path}.scopes"), &entry.scopes, problems);
    for unknown in scopes.iter().filter(|scope| !declared.contains(scope)) {
        problems.invalid(format!("{path}.scopes: spec.scopes does not declare {unknown}: add it there, or correct the grant"));
    }
    check_claims(&path, entry.claims.as_ref(), problems);
    let expires = entry.expires.as_deref().map(|text| problems.note(expiry(&path, text)));
    Some(Grant {
        namespaces: namespaces?,
        clients: entry.clients.clone().map(BTreeSet::from_iter),
        scopes: scopes.into_iter().collect(),
        claims: entry.claims.clone().unwrap_or_default(),
        expires: match expires {
            None => None,
            Some(read) => Some(read?),
        },
    })
}

fn namespaces(policy: &Policy, place: Place<'_>, path: &str, entry: &GrantEntry) -> Result<Namespaces, Problem> {
    match (&entry.namespaces, &entry.namespace_selector) {
        (Some(names), None) if !names.is_empty() => Ok(Namespaces::Named(names.iter().cloned().collect())),
        (None, Some(selector)) if !selector.match_labels.is_empty() && !place.reads_labels => Err(Problem::Forbidden(format!(
            "{path}.namespaceSelector: this installation works in some namespaces alone (watchNamespaces) and may not read their labels: \
             name the namespaces instead"
        ))),
        (None, Some(selector)) if !selector.match_labels.is_empty() => {
            let allowed = policy.namespace_label_keys();
            let refused: Vec<&str> = selector.match_labels.keys().filter(|key| !allowed.contains(*key)).map(String::as_str).collect();
            if refused.is_empty() {
                return Ok(Namespaces::Labelled(selector.match_labels.clone()));
            }
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            Err(Problem::Forbidden(format!(
                "{path}.namespaceSelector: the platform's policy lets grants select by {} alone, not by {}: use that, or name the namespaces",
                if allowed.is_empty() { "no label".to_owned() } else { allowed.join(", ") },
                refused.join(", ")
            )))
        }
        _ => Err(Problem::Invalid(format!(
            "{path}: a grant has either namespaces or namespaceSelector.matchLabels, and neither is ever empty: write namespaces: [<name>]"
        ))),
    }
}

/// A07.
fn check_claims(path: &str, claims: Option<&Map<String, Value>>, problems: &mut Problems) {
    let Some(claims) = claims else { return };
    for name in claims.keys().filter(|name| name.is_empty() || RESERVED_CLAIMS.contains(&name.as_str())) {
        problems.invalid(format!("{path}.claims: the claim {name:?} is not a grant's to set: remove it, or choose another name"));
    }
    let size = serde_json::to_vec(claims).map_or(usize::MAX, |json| json.len());
    if size > MOST_CLAIMS {
        problems.invalid(format!("{path}.claims: {size} bytes do not fit into a header beside the rest: at most {MOST_CLAIMS}"));
    }
}

fn expiry(path: &str, text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|_| Problem::Invalid(format!("{path}.expires: {text:?} is no time: write it as 2027-01-31T00:00:00Z")))
}

fn algorithm(default: Algorithm, tokens: &ResourceTokens) -> Result<Algorithm, Problem> {
    tokens.signing_algorithm.as_deref().map_or(Ok(default), |name| {
        let unknown = || format!("spec.accessToken.signingAlgorithm: {name:?} is not known here: write RS256, ES256, PS256 or EdDSA");
        Algorithm::named(name).ok_or_else(|| Problem::Invalid(unknown()))
    })
}

fn token_type(tokens: &ResourceTokens) -> Result<TokenType, Problem> {
    match tokens.type_.as_deref() {
        None | Some("at+jwt") => Ok(TokenType::AtJwt),
        Some("JWT") => Ok(TokenType::Jwt),
        Some(other) => Err(Problem::Invalid(format!("spec.accessToken.type: {other:?} is not known here: write at+jwt or JWT"))),
    }
}

/// An upper bound above the policy's says nothing that is not allowed: the shorter of the two holds.
fn max_lifetime(policy: &Policy, text: &str) -> Result<SignedDuration, Problem> {
    client::lifetime("spec.accessToken.maxLifetime", text).map(|lifetime| lifetime.min(policy.max_lifetime))
}
