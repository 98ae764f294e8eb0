//! The token endpoint.

use super::{Endpoint, Peer, body, respond};
use crate::{
    ambient,
    metrics::Outcome,
    oauth::{
        Error,
        authn::{Authenticated, Authority, authenticate},
        grant::permit,
        issue::{Success, issue},
        request::{Head, TokenRequest},
        throttle::Wait,
    },
    registry::snapshot::Snapshot,
    replica::contact::{Moment, Standing},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::{net::IpAddr, sync::Arc};

/// Answers `POST /oauth2/token`. Waits for nothing but the request's own body.
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

/// Where a request comes from, when, and how far this replica may be believed then.
#[derive(Clone, Copy)]
struct Circumstances {
    address: IpAddr,
    moment: Moment,
    standing: Standing,
}

async fn answer(endpoint: &Endpoint, request: Request) -> Result<Vec<u8>, Error> {
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    // The clocks first, the snapshot after: an answer in good standing rests on a snapshot that is no older than the standing.
    let moment = ambient::moment();
    let standing = endpoint.contact.standing(moment);
    let circumstances = Circumstances { address: Peer::of(&parts), moment, standing };
    decide(endpoint, head, &body, circumstances).and_then(|success| success.body()).map_err(|error| error.in_standing(standing))
}

fn decide(endpoint: &Endpoint, head: Head<'_>, body: &[u8], circumstances: Circumstances) -> Result<Success, Error> {
    let Circumstances { moment, standing, .. } = circumstances;
    let request = head.token_request(body)?;
    if standing == Standing::Stale {
        return Err(Error::Unavailable);
    }
    let snapshot = endpoint.snapshot.load();
    let keys = snapshot.keys.as_deref().ok_or(Error::Unavailable)?;
    let client = authenticated(endpoint, &request, &snapshot, circumstances)?.client;
    let permitted = permit(&request, client, &snapshot, endpoint.lifetimes, moment.wall)?;
    endpoint.throttle.issuance.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyTokens(seconds))?;
    issue(&permitted, client, endpoint.issuer.as_str(), &ambient::draw_jti(), keys)
}

/// The secret first: a right one never learns of the failures of others. In doubt nothing is known to be a failure.
fn authenticated<'s>(
    endpoint: &'s Endpoint,
    request: &TokenRequest<'_>,
    snapshot: &'s Snapshot,
    Circumstances { address, moment, standing }: Circumstances,
) -> Result<Authenticated<'s>, Error> {
    let digest = &snapshot.keys.as_deref().ok_or(Error::Unavailable)?.digest;
    let authority = Authority { snapshot, digest, issuer: &endpoint.issuer, used: &endpoint.used_assertions, now: moment.wall };
    let found = authenticate(request.presented.as_ref(), &authority);
    let client_id = request.presented.as_ref().map_or("", |presented| presented.client_id.as_str());
    let failures = &endpoint.throttle.failures;
    match &found {
        Ok(authenticated) => {
            authenticated.note_use(moment.wall, address);
            failures.forgive(client_id, address, moment.boot);
        }
        Err(Error::InvalidClient) if standing == Standing::Current => {
            failures.count(client_id, address, moment.boot).map_err(|Wait(seconds)| Error::TooManyFailures(seconds))?;
        }
        Err(_) => {}
    }
    found
}
