//! The token endpoint.

use super::{
    Endpoint, Peer, body,
    identity::{Caller, settled},
    respond,
};
use crate::{
    ambient,
    metrics::Outcome,
    oauth::{
        Error,
        grant::permit,
        issue::{Success, issue},
        request::{Head, TokenRequest},
        throttle::Wait,
    },
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/token`. Waits for nothing but the request's own body, and what only the cluster knows of a ServiceAccount token.
pub(super) async fn token(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let begun = ambient::boot_time();
    let answer = answer(&endpoint, request).await;
    let outcome = answer.as_ref().map_or_else(|error| Outcome::of(*error), |_| Outcome::Issued);
    endpoint.metrics.answered(outcome, ambient::boot_time().saturating_sub(begun));
    match answer {
        Ok(body) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, request: Request) -> Result<Vec<u8>, Error> {
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.token_request(&body)?;
    let presented = request.presented.as_ref();
    settled(endpoint, presented, Peer::of(&parts), |caller| decide(endpoint, &request, caller)).await?.body()
}

fn decide(
    endpoint: &Endpoint,
    request: &TokenRequest<'_>,
    Caller { client, snapshot, keys, moment, .. }: Caller<'_>,
) -> Result<Success, Error> {
    let permitted = permit(request, client, snapshot, endpoint.lifetimes, moment.wall)?;
    endpoint.throttle.issuance.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyTokens(seconds))?;
    issue(&permitted, client, endpoint.issuer.as_str(), &ambient::draw_jti(), keys)
}
