//! The client_credentials grant (RFC 6749 §4.4): which API a token is for, with which scopes, for how long (RFC 8707, 9068 §3).

use super::{
    Error,
    request::{Target, TokenRequest},
};
use crate::{
    domain::{
        client::{Access, Client},
        grants::{Caller, Granted, claims, granted},
        names::Scope,
        resource::Resource,
    },
    registry::snapshot::Snapshot,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The installation's say on lifetimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a token whose client asks for no other.
    pub default: SignedDuration,
    /// `policy.maxLifetime`.
    pub max: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { default: SignedDuration::from_mins(15), max: SignedDuration::from_hours(1) }
    }
}

/// What a token may say.
pub struct Permitted<'s> {
    /// The API.
    pub resource: &'s Resource,
    /// The scopes, never none, in the order of the client's access entry.
    pub scopes: Vec<&'s Scope>,
    /// `iat`, in seconds since 1970.
    pub issued_at: i64,
    /// Whole seconds from `issued_at` on.
    pub lifetime: i64,
    /// What the API's owner adds.
    pub claims: Map<String, Value>,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// Decides what an authenticated client gets for its request.
///
/// # Errors
/// Where the request asks for another grant, or for what the client may not have. What does not exist and what is not granted
/// reads the same.
pub fn permit<'s>(
    request: &TokenRequest<'_>,
    client: &'s Client,
    snapshot: &'s Snapshot,
    lifetimes: Lifetimes,
    now: Timestamp,
) -> Result<Permitted<'s>, Error> {
    check_grant(request, client)?;
    let requested = request.scope.as_deref().map(requested_scopes).transpose()?;
    let access = chosen_access(&client.access, &request.target, requested.as_deref(), snapshot)?;
    let nothing = if request.target == Target::Unnamed { Error::NothingGranted } else { Error::TargetNotGranted };
    let resource = snapshot.resources.get(&access.resource).ok_or(nothing)?;
    let caller = Caller {
        namespace: &client.object.namespace,
        name: &client.object.name,
        namespace_labels: snapshot.namespaces.get(&client.object.namespace).map_or(&NO_LABELS, AsRef::as_ref),
    };
    let granted = granted(resource, caller, now);
    let available = available_scopes(access, resource, &granted);
    if available.is_empty() {
        return Err(nothing);
    }
    let scopes = match requested {
        Some(requested) => narrowed(available, &requested)?,
        None => available,
    };
    let issued_at = now.as_second();
    let lifetime = lifetime(client, resource, lifetimes).min(remaining(&granted, issued_at));
    let claims = claims(resource, caller, &scopes, now);
    Ok(Permitted { resource, scopes, issued_at, lifetime, claims })
}

fn check_grant(request: &TokenRequest<'_>, client: &Client) -> Result<(), Error> {
    match request.grant_type.as_deref() {
        None => Err(Error::MissingParameter("grant_type")),
        Some("client_credentials") if request.has_authorization_details => Err(Error::UnsupportedParameter("authorization_details")),
        Some("client_credentials") if client.access.is_empty() => Err(Error::UnauthorizedClient),
        Some("client_credentials") => Ok(()),
        Some(_) => Err(Error::UnsupportedGrantType),
    }
}

/// RFC 6749 §3.3: `scope-token *( SP scope-token )`. Order and repeats do not matter.
fn requested_scopes(text: &str) -> Result<Vec<&str>, Error> {
    text.split(' ').map(|token| if Scope::is_token(token) { Ok(token) } else { Err(Error::MalformedScope) }).collect()
}

/// The entry that the request names, or the only one, or the one that the requested scopes choose. What the client's own spec
/// says chooses, not what is granted: another owner's grant must not make a request ambiguous that worked yesterday.
fn chosen_access<'s>(
    access: &'s [Access],
    target: &Target<'_>,
    requested: Option<&[&str]>,
    snapshot: &Snapshot,
) -> Result<&'s Access, Error> {
    match (target, access) {
        (Target::Malformed, _) => Err(Error::MalformedResource),
        (Target::Several, _) => Err(Error::SeveralTargets),
        (Target::Named(audience), _) => {
            let named = |entry: &&Access| snapshot.resources.get(&entry.resource).is_some_and(|it| it.audience.as_str() == audience);
            access.iter().find(named).ok_or(Error::TargetNotGranted)
        }
        (Target::Unnamed, [only]) => Ok(only),
        (Target::Unnamed, _) => chosen_by_scopes(access, requested.ok_or(Error::AmbiguousTarget)?),
    }
}

fn chosen_by_scopes<'s>(access: &'s [Access], requested: &[&str]) -> Result<&'s Access, Error> {
    let has_all = |entry: &&Access| requested.iter().all(|token| entry.scopes.iter().any(|scope| scope.as_str() == *token));
    let mut fitting = access.iter().filter(has_all);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Error::AmbiguousTarget),
        (None, _) => Err(Error::NoEntryForScopes),
    }
}

/// Asked for in the client's spec, there in the API's spec, and granted by its owner.
fn available_scopes<'s>(access: &'s Access, resource: &Resource, granted: &Granted) -> Vec<&'s Scope> {
    access.scopes.iter().filter(|scope| resource.scopes.contains(scope) && granted.scopes.contains(*scope)).collect()
}

/// All that was asked for, or an error: nothing is dropped silently (RFC 6749 §3.3, §5.2).
fn narrowed<'s>(available: Vec<&'s Scope>, requested: &[&str]) -> Result<Vec<&'s Scope>, Error> {
    if requested.iter().all(|token| available.iter().any(|scope| scope.as_str() == *token)) {
        Ok(available.into_iter().filter(|scope| requested.contains(&scope.as_str())).collect())
    } else {
        Err(Error::ScopeNotGranted)
    }
}

/// The shortest of what client, API and platform say, in seconds, at least one.
fn lifetime(client: &Client, resource: &Resource, lifetimes: Lifetimes) -> i64 {
    let wanted = client.token_lifetime.unwrap_or(lifetimes.default);
    wanted.min(resource.max_lifetime.unwrap_or(lifetimes.max)).min(lifetimes.max).as_secs().max(1)
}

/// No token outlives the grant that it rests on.
fn remaining(granted: &Granted, issued_at: i64) -> i64 {
    granted.until.map_or(i64::MAX, |end| end.as_second().saturating_sub(issued_at).max(1))
}
