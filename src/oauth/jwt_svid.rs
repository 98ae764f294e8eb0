//! spiffe_jwt: a workload proves who it is by its JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02, SPIFFE JWT-SVID). Its trust domain has
//! signed it, and it is used again and again until the workload gets another.

use super::{
    Error,
    assertion::Assertion,
    authn::{self, Authority},
    private_key_jwt::is_addressed_to,
};
use crate::domain::{
    client::{AssertionProfile, RegisteredClient},
    trust_domain::{Trust, WorkloadId},
};

/// How many seconds a JWT-SVID is accepted at most after it was made, or, where it does not say when, before it ends. SPIRE makes them
/// for five minutes.
pub const LIFE: i64 = 3_600;

/// Whose JWT-SVID it is.
///
/// # Errors
/// [`Error::InvalidClient`], whatever the reason; [`Error::Unavailable`] where the keys of its trust domain are not to be had.
pub(super) fn verify<'s>(client_id: &str, assertion: &Assertion, authority: &Authority<'s, '_>) -> Result<&'s RegisteredClient, Error> {
    let workload = WorkloadId::parse(&assertion.subject).map_err(|_| Error::InvalidClient)?;
    let keys = match authority.trust.of(workload.trust_domain()) {
        Trust::Keys(keys) => keys,
        Trust::NotKnown => return Err(Error::Unavailable),
        Trust::None => return Err(Error::InvalidClient),
    };
    let is_signed = assertion.is_signed_by(keys, &[]);
    let is_for_us = is_addressed_to(authority.issuer, &assertion.audience, AssertionProfile::Rfc10070);
    if !(is_signed && is_for_us && assertion.is_timely(LIFE, authority.now.wall.as_second())) {
        return Err(Error::InvalidClient);
    }
    let known = authn::asserted(client_id, assertion, authority.snapshot);
    known.filter(|known| known.client.workloads.contains(&workload) && !known.client.disabled).ok_or(Error::InvalidClient)
}
