//! The revocation endpoint (RFC 7009).

use super::{Endpoint, body, identity::Caller, record::Record, respond};
use crate::{
    ambient,
    audit::Purpose,
    oauth::{Error, access_token::AccessToken, presented_token::PresentedToken, request::Head, revocation::revocable, throttle::Wait},
    revocation::list::TokenHash,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/revoke`: with 200 only when the token is not active at any replica in contact, now or in a moment.
pub(super) async fn revocation(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut record = Record::new(Purpose::Revocation, true, endpoint.caller(&parts));
    let answer = answer(&endpoint, &parts, body, &mut record).await;
    record.tell(&endpoint, &parts, answer.as_ref().err().copied(), ambient::moment());
    match answer {
        Ok(()) => respond::respond_with_nothing(),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, parts: &Parts, body: Body, record: &mut Record) -> Result<(), Error> {
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.presented_token(&body)?;
    let presented = request.presented.as_ref();
    let found = record.settled(endpoint, presented, |caller| decide(endpoint, &request, caller)).await?;
    let Some(token) = found else { return Ok(()) };
    let written = endpoint.revocations.revoke(&token.object.namespace, TokenHash::of(&token.id), token.expires_at).await;
    written.map_err(|_| Error::Unavailable)?;
    record.revokes(token);
    Ok(())
}

fn decide(endpoint: &Endpoint, request: &PresentedToken<'_>, caller: Caller<'_>) -> Result<Option<AccessToken>, Error> {
    let Caller { client, keys, moment, .. } = caller;
    let token = request.token.as_deref().ok_or(Error::MissingParameter("token"))?;
    let revoked = endpoint.revocations.revoked().ok_or(Error::Unavailable)?;
    let found = revocable(token, client, keys, &endpoint.issuer, moment.wall)?.filter(|token| !revoked.contains(&TokenHash::of(&token.id)));
    if found.is_some() {
        let quota = &endpoint.throttle.revocation;
        quota.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyRevocations(seconds))?;
    }
    Ok(found)
}
