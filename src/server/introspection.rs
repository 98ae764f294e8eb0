//! The introspection endpoint (RFC 7662).

use super::{
    Endpoint, Peer, body,
    identity::{Circumstances, Decision, authenticated, settled},
    respond,
};
use crate::{
    metrics::Introspected,
    oauth::{
        Error,
        authn::Authentication,
        introspection::{INACTIVE, Inactive, introspect},
        presented_token::PresentedToken,
        request::Head,
        throttle::Wait,
    },
    replica::contact::Standing,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/introspect`.
pub(super) async fn introspection(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let answer = answer(&endpoint, request).await;
    endpoint.metrics.introspected(match &answer {
        Ok(body) if body == INACTIVE => Introspected::Inactive,
        Ok(_) => Introspected::Active,
        Err(_) => Introspected::Refused,
    });
    match answer {
        Ok(body) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, request: Request) -> Result<Vec<u8>, Error> {
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.presented_token(&body)?;
    let presented = request.presented.as_ref();
    settled(endpoint, presented, Peer::of(&parts), |circumstances| decide(endpoint, &request, circumstances)).await
}

fn decide(endpoint: &Endpoint, request: &PresentedToken<'_>, circumstances: Circumstances) -> Result<Decision<Vec<u8>>, Error> {
    let Circumstances { moment, standing, .. } = circumstances;
    if standing == Standing::Stale {
        return Err(Error::Unavailable);
    }
    let snapshot = endpoint.snapshot.load();
    let keys = snapshot.keys.as_deref().ok_or(Error::Unavailable)?;
    let caller = match authenticated(endpoint, request.presented.as_ref(), &snapshot, circumstances)? {
        Authentication::Client(authenticated) => authenticated.client,
        Authentication::Asks(question) => return Ok(Decision::Asks(question)),
    };
    let token = request.token.as_deref().ok_or(Error::MissingParameter("token"))?;
    let quota = &endpoint.throttle.introspection;
    quota.count(&caller.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyIntrospections(seconds))?;
    let revoked = endpoint.revocations.revoked().ok_or(Error::Unavailable)?;
    match introspect(token, caller, (&snapshot, keys, &revoked), &endpoint.issuer, moment.wall) {
        Ok(said) => Ok(Decision::Made(said)),
        // What is not known here may be known elsewhere.
        Err(Inactive::AsFarAsKnown) if standing == Standing::Doubt => Err(Error::InDoubt),
        Err(_) => Ok(Decision::Made(INACTIVE.to_vec())),
    }
}
