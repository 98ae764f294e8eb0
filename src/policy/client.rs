//! From an `OAuthClient` to a client.

use super::{
    Policy, Refusal, authentication,
    refusal::{Identity, Problem, Problems},
    secret,
};
use crate::{
    api::{OAuthClient, client::AccessEntry},
    domain::{
        client::{Access, Client},
        duration,
        names::{ClientId, ObjectName, Scope},
    },
};
use jiff::SignedDuration;

/// The shortest lifetime of an access token.
pub(super) const SHORTEST_LIFETIME: SignedDuration = SignedDuration::from_mins(1);

/// The client that an object stands for.
///
/// # Errors
/// Everything that is wrong with it, in words that say what to change.
pub fn client(policy: &Policy, object: &OAuthClient) -> Result<Client, Refusal> {
    let Identity { object: name, uid, created_at } = Identity::of(&object.metadata)?;
    let spec = &object.spec;
    let mut problems = Problems::default();
    let id = problems.note(client_id(policy, &name, spec.client_id.as_deref()));
    let access = access(&name.namespace, &spec.access, &mut problems);
    let methods = authentication::methods(policy, &name.namespace, spec.authentication.as_ref(), &mut problems);
    let lifetime = spec.access_token.as_ref().and_then(|tokens| tokens.lifetime.as_deref());
    let token_lifetime = lifetime.and_then(|text| problems.note(token_lifetime(policy, text)));
    if let Some(template) = &spec.secret {
        secret::check(template, &mut problems);
    }
    let cut = spec.revocation.as_ref().and_then(|revocation| revocation.tokens_issued_before.as_deref());
    let disabled = spec.disabled.unwrap_or_default();
    problems.finish(id.map(|id| Client {
        id,
        object: name,
        uid,
        created_at,
        access,
        secret_method: methods.secret,
        private_key_jwt: methods.private_key_jwt,
        service_accounts: methods.service_accounts,
        workloads: methods.workloads,
        token_lifetime,
        // What is no time, or lies in the future, is told with the rotation.
        tokens_issued_before: cut.and_then(|text| text.parse().ok()),
        disabled,
    }))
}

/// Before the first dot stands the own namespace: nobody can take an id that looks like another's.
fn client_id(policy: &Policy, name: &ObjectName, given: Option<&str>) -> Result<ClientId, Problem> {
    let default = format!("{}.{}", name.namespace, name.name);
    let id = ClientId::parse(given.unwrap_or(&default)).map_err(|error| Problem::Invalid(format!("spec.clientId: {error}")))?;
    let own = id.as_str().split_once('.').is_some_and(|(namespace, rest)| namespace == name.namespace && !rest.is_empty());
    if own || policy.lends_client_id(&id, &name.namespace) {
        return Ok(id);
    }
    Err(Problem::Forbidden(format!(
        "spec.clientId: {id} does not begin with the own namespace: write {}.<anything>, or ask the platform team for a rule in policy.clientIds",
        name.namespace
    )))
}

fn access(namespace: &str, entries: &[AccessEntry], problems: &mut Problems) -> Vec<Access> {
    let mut access: Vec<Access> = Vec::with_capacity(entries.len());
    for entry in entries {
        let resource = resource_name(namespace, &entry.resource);
        if access.iter().any(|known| known.resource == resource) {
            problems.invalid(format!("spec.access: {resource} is there twice: write one entry with all of its scopes"));
        }
        access.push(Access { resource, scopes: scopes("spec.access", &entry.scopes, problems) });
    }
    access
}

fn resource_name(namespace: &str, text: &str) -> ObjectName {
    text.split_once('/').map_or_else(|| ObjectName::new(namespace, text), |(namespace, name)| ObjectName::new(namespace, name))
}

/// The scopes of a list, in its order, none twice.
pub(super) fn scopes(path: &str, names: &[String], problems: &mut Problems) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::with_capacity(names.len());
    for name in names {
        let read = Scope::parse(name).map_err(|error| Problem::Invalid(format!("{path}: {name:?}: {error}")));
        let Some(scope) = problems.note(read) else { continue };
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if names.is_empty() {
        problems.invalid(format!("{path}: an entry without scopes gives nothing: list at least one"));
    }
    scopes
}

fn token_lifetime(policy: &Policy, text: &str) -> Result<SignedDuration, Problem> {
    let lifetime = lifetime("spec.accessToken.lifetime", text)?;
    if lifetime > policy.max_lifetime {
        let max = duration::text(policy.max_lifetime);
        return Err(Problem::Forbidden(format!(
            "spec.accessToken.lifetime: the platform's policy allows at most {max}: write {max} or less"
        )));
    }
    Ok(lifetime)
}

/// A lifetime of tokens.
pub(super) fn lifetime(path: &str, text: &str) -> Result<SignedDuration, Problem> {
    let lifetime = duration::parse(text).map_err(|error| Problem::Invalid(format!("{path}: {error}")))?;
    if lifetime < SHORTEST_LIFETIME {
        return Err(Problem::Invalid(format!("{path}: a token is valid for at least a minute: write 1m or more")));
    }
    Ok(lifetime)
}
