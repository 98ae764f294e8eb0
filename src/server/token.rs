//! The token endpoint.

use super::{Endpoint, body, respond};
use crate::{
    ambient,
    metrics::Outcome,
    oauth::{
        Error,
        authn::authenticate,
        grant::permit,
        issue::{Success, issue},
        request::Head,
    },
    replica::contact::{Moment, Standing},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/token`. Waits for nothing but the request's own body.
pub(super) async fn token(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let begun = ambient::boot_time();
    let answer = answer(&endpoint, request).await;
    let outcome = answer.as_ref().map_or_else(|error| Outcome::Refused(error.codes().1), |_| Outcome::Issued);
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
    // The clocks first, the snapshot after: an answer in good standing rests on a snapshot that is no older than the standing.
    let moment = ambient::moment();
    let standing = endpoint.contact.standing(moment);
    decide(endpoint, head, &body, standing, moment).and_then(|success| success.body()).map_err(|error| error.in_standing(standing))
}

fn decide(endpoint: &Endpoint, head: Head<'_>, body: &[u8], standing: Standing, moment: Moment) -> Result<Success, Error> {
    let request = head.token_request(body)?;
    if standing == Standing::Stale {
        return Err(Error::Unavailable);
    }
    let snapshot = endpoint.snapshot.load();
    let keys = snapshot.keys.as_deref().ok_or(Error::Unavailable)?;
    let client = authenticate(request.presented.as_ref(), &snapshot, &keys.digest, moment.wall)?.client;
    let permitted = permit(&request, client, &snapshot, endpoint.lifetimes, moment.wall)?;
    issue(&permitted, client, endpoint.issuer.as_str(), &ambient::draw_jti(), keys)
}
