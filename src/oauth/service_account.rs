//! A pod proves who it is by the projected token of its ServiceAccount: no secret exists at all. The token is an assertion like any
//! other on the wire (RFC 7523 §2.2), but the cluster signed it, and it is used again and again until the kubelet replaces it.

use super::{
    Error,
    assertion::{Assertion, AssertionType},
    authn::{self, Answered, Authority, Question},
    metadata::Issuer,
    presented::{self, Presented},
    private_key_jwt::is_addressed_to,
};
use crate::domain::{
    client::{AssertionProfile, RegisteredClient},
    names::ObjectName,
    service_account::{BoundServiceAccount, ClusterIssuer, SUBJECT_PREFIX, named_by, subject},
};
use jiff::Timestamp;

/// How many seconds after `iat` a token is accepted at most. The kubelet asks for an hour; the API server makes some tokens valid for a
/// year, for clients that never read the file again.
pub const LIFE: i64 = 3_600;

/// The cluster as the issuer of tokens for us.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// What is known of it; `None`: nothing (yet).
    pub known: Option<&'a ClusterIssuer>,
    /// Its keys were asked for a moment ago.
    pub keys_are_fresh: bool,
    /// Whom the tokens are addressed to.
    pub issuer: &'a Issuer,
    /// The wall clock.
    pub now: Timestamp,
}

/// Who asks.
pub enum Account {
    /// This ServiceAccount.
    Is(ObjectName),
    /// That depends on something that is not known here.
    Asks(Question),
}

enum Proof {
    Made,
    Asks(Question),
}

/// What a token comes to.
pub(super) enum Verdict<'s> {
    /// It is this client.
    Client(&'s RegisteredClient),
    /// That depends on something that is not known here.
    Asks(Question),
}

/// Whether an assertion is to be judged here: by its issuer, or, where the cluster's is not known (yet), by its subject.
pub(super) fn is_one(assertion: &Assertion, cluster: Option<&ClusterIssuer>) -> bool {
    let by_subject = || assertion.subject.starts_with(SUBJECT_PREFIX);
    let is_the_clusters = cluster.map_or_else(by_subject, |cluster| assertion.issuer.as_ref() == Some(&cluster.issuer));
    assertion.assertion_type == AssertionType::JwtBearer && is_the_clusters
}

/// Whose token it is.
///
/// # Errors
/// [`Error::InvalidClient`], whatever the reason; [`Error::Unavailable`] where the cluster's keys are not to be had.
pub(super) fn verify<'s>(client_id: &str, assertion: &Assertion, authority: &Authority<'s, '_>) -> Result<Verdict<'s>, Error> {
    let Answered { keys_are_fresh, review } = authority.answered;
    let cluster = Cluster { known: authority.cluster, keys_are_fresh, issuer: authority.issuer, now: authority.now.wall };
    if let Proof::Asks(question) = cluster.proves(assertion)? {
        return Ok(Verdict::Asks(question));
    }
    let known = authn::asserted(client_id, assertion, authority.snapshot).ok_or(Error::InvalidClient)?;
    let binding = binding(known, assertion).filter(|_| !known.client.disabled).ok_or(Error::InvalidClient)?;
    match review {
        Some(false) => Err(Error::InvalidClient),
        None if binding.token_review => Ok(Verdict::Asks(Question::TokenReview)),
        None | Some(true) => Ok(Verdict::Client(known)),
    }
}

impl Cluster<'_> {
    /// Which ServiceAccount asks, whether it is a client or not.
    ///
    /// # Errors
    /// As for `verify`.
    pub fn account(&self, presented: Option<&Presented>) -> Result<Account, Error> {
        let Some(Presented { proof: presented::Proof::Assertion(assertion), .. }) = presented else { return Err(Error::InvalidClient) };
        if !is_one(assertion, self.known) {
            return Err(Error::InvalidClient);
        }
        match self.proves(assertion)? {
            Proof::Made => named_by(&assertion.subject).map(Account::Is).ok_or(Error::InvalidClient),
            Proof::Asks(question) => Ok(Account::Asks(question)),
        }
    }

    /// Whether the cluster made this token for us, and it is not over.
    fn proves(&self, assertion: &Assertion) -> Result<Proof, Error> {
        let Some(cluster) = self.known.filter(|cluster| knows_key(cluster, assertion)) else {
            return match self.known {
                _ if !self.keys_are_fresh && assertion.key_id().is_some() => Ok(Proof::Asks(Question::ClusterKeys)),
                Some(_) => Err(Error::InvalidClient),
                None => Err(Error::Unavailable),
            };
        };
        let is_signed = assertion.is_signed_by(&cluster.keys, &[]);
        let is_for_us = is_addressed_to(self.issuer, &assertion.audience, AssertionProfile::Rfc10070);
        let is_good = is_signed && is_for_us && assertion.is_dated() && assertion.is_timely(LIFE, self.now.as_second());
        if is_good { Ok(Proof::Made) } else { Err(Error::InvalidClient) }
    }
}

fn knows_key(cluster: &ClusterIssuer, assertion: &Assertion) -> bool {
    let kid = assertion.key_id();
    kid.is_some() && cluster.keys.iter().any(|key| key.kid() == kid)
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
