//! A pod proves who it is by the projected token of its ServiceAccount: no secret exists at all. The token is an assertion like any
//! other on the wire (RFC 7523 §2.2), but the cluster signed it, and it is used again and again until the kubelet replaces it.

use super::{
    Error,
    assertion::Assertion,
    authn::{Answered, Authority, Question},
    private_key_jwt::is_addressed_to,
};
use crate::domain::{
    client::{AssertionProfile, RegisteredClient},
    names::ClientId,
    service_account::{BoundServiceAccount, ClusterIssuer, SUBJECT_PREFIX, subject},
};

/// How many seconds after `iat` a token is accepted at most. The kubelet asks for an hour; the API server makes some tokens valid for a
/// year, for clients that never read the file again.
pub const LIFE: i64 = 3_600;

/// What a token comes to.
pub(super) enum Verdict<'s> {
    /// It is this client.
    Client(&'s RegisteredClient),
    /// That depends on something that is not known here.
    Asks(Question),
}

/// Whether an assertion is to be judged here: by its issuer, or, where the cluster's is not known (yet), by its subject.
pub(super) fn is_one(assertion: &Assertion, cluster: Option<&ClusterIssuer>) -> bool {
    cluster.map_or_else(|| assertion.subject.starts_with(SUBJECT_PREFIX), |cluster| assertion.issuer == cluster.issuer)
}

/// Whose token it is. `client_id` is that of the request, or the token's subject where the request names none: then the client is the
/// only one that the ServiceAccount is bound to.
///
/// # Errors
/// [`Error::InvalidClient`], whatever the reason; [`Error::Unavailable`] where the cluster's keys are not to be had.
pub(super) fn verify<'s>(client_id: &str, assertion: &Assertion, authority: &Authority<'s, '_>) -> Result<Verdict<'s>, Error> {
    let Answered { keys_are_fresh, review } = authority.answered;
    let Some(cluster) = authority.cluster.filter(|cluster| knows_key(cluster, assertion)) else {
        return match authority.cluster {
            _ if !keys_are_fresh && assertion.key_id().is_some() => Ok(Verdict::Asks(Question::ClusterKeys)),
            Some(_) => Err(Error::InvalidClient),
            None => Err(Error::Unavailable),
        };
    };
    let is_signed = assertion.is_signed_by(&cluster.keys, &[]);
    let is_for_us = is_addressed_to(authority.issuer, &assertion.audience, AssertionProfile::Rfc10070);
    if !(is_signed && is_for_us && assertion.is_dated() && assertion.is_timely(LIFE, authority.now.as_second())) {
        return Err(Error::InvalidClient);
    }
    let known = client(client_id, assertion, authority).ok_or(Error::InvalidClient)?;
    let binding = binding(known, assertion).filter(|_| !known.client.disabled).ok_or(Error::InvalidClient)?;
    match review {
        Some(false) => Err(Error::InvalidClient),
        None if binding.token_review => Ok(Verdict::Asks(Question::TokenReview)),
        None | Some(true) => Ok(Verdict::Client(known)),
    }
}

fn knows_key(cluster: &ClusterIssuer, assertion: &Assertion) -> bool {
    let kid = assertion.key_id();
    kid.is_some() && cluster.keys.iter().any(|key| key.kid() == kid)
}

fn client<'s>(client_id: &str, assertion: &Assertion, authority: &Authority<'s, '_>) -> Option<&'s RegisteredClient> {
    let snapshot = authority.snapshot;
    let id = match ClientId::parse(client_id) {
        Ok(id) => id,
        Err(_) if client_id == assertion.subject => {
            let mut bound = snapshot.service_accounts.get(client_id)?.iter();
            let only = bound.next()?;
            bound.next().is_none().then(|| only.clone())?
        }
        Err(_) => return None,
    };
    snapshot.clients.get(&id).map(AsRef::as_ref)
}

/// Exactly that namespace and name: no wildcard, no other case.
fn binding<'s>(known: &'s RegisteredClient, assertion: &Assertion) -> Option<&'s BoundServiceAccount> {
    let namespace = &known.client.object.namespace;
    let is_it = |bound: &&BoundServiceAccount| {
        subject(namespace, &bound.name) == assertion.subject
            && bound.uid.as_ref().is_none_or(|uid| assertion.service_account_uid.as_ref() == Some(uid))
    };
    known.client.service_accounts.iter().find(is_it)
}
