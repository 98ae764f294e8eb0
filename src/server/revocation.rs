//! The revocation endpoint (RFC 7009).

use super::{
    Endpoint, Peer, body,
    identity::{Caller, settled},
    respond,
};
use crate::{
    oauth::{Error, access_token::AccessToken, presented_token::PresentedToken, request::Head, revocation::revocable, throttle::Wait},
    revocation::list::TokenHash,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/revoke`: with 200 only when the token is not active at any replica in contact, now or in a moment.
pub(super) async fn revocation(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    match answer(&endpoint, request).await {
        Ok(()) => respond::respond_with_nothing(),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, request: Request) -> Result<(), Error> {
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.presented_token(&body)?;
    let presented = request.presented.as_ref();
    let found = settled(endpoint, presented, Peer::of(&parts), |caller| decide(endpoint, &request, caller)).await?;
    let Some(token) = found else { return Ok(()) };
    endpoint.revocations.revoke(TokenHash::of(&token.id), token.expires_at).await.map_err(|_| Error::Unavailable)
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
