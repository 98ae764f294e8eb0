//! The introspection endpoint (RFC 7662).

use super::{
    Endpoint, Peer, body,
    identity::{Caller, settled},
    respond,
};
use crate::{
    metrics::Introspected,
    oauth::{
        Error,
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
    settled(endpoint, presented, Peer::of(&parts), |caller| decide(endpoint, &request, caller)).await
}

fn decide(endpoint: &Endpoint, request: &PresentedToken<'_>, caller: Caller<'_>) -> Result<Vec<u8>, Error> {
    let Caller { client, snapshot, keys, moment, standing, .. } = caller;
    let token = request.token.as_deref().ok_or(Error::MissingParameter("token"))?;
    let quota = &endpoint.throttle.introspection;
    quota.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyIntrospections(seconds))?;
    let revoked = endpoint.revocations.revoked().ok_or(Error::Unavailable)?;
    match introspect(token, client, (snapshot, keys, &revoked), &endpoint.issuer, moment.wall) {
        Ok(said) => Ok(said),
        // What is not known here may be known elsewhere.
        Err(Inactive::AsFarAsKnown) if standing == Standing::Doubt => Err(Error::InDoubt),
        Err(_) => Ok(INACTIVE.to_vec()),
    }
}
