//! The introspection endpoint (RFC 7662, RFC 9701).

use super::{Endpoint, body, identity::Caller, record::Record, respond};
use crate::{
    ambient,
    audit::Purpose,
    metrics::Introspected,
    oauth::{
        Error,
        introspection::{Inactive, Said, introspect},
        introspection_jwt,
        presented_token::PresentedToken,
        request::Head,
        throttle::Wait,
    },
    replica::contact::Standing,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/introspect`.
pub(super) async fn introspection(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut record = Record::new(Purpose::Introspection, false, endpoint.caller(&parts));
    let answer = answer(&endpoint, &parts, body, &mut record).await;
    record.tell(&endpoint, &parts, answer.as_ref().err().copied(), ambient::moment());
    endpoint.metrics.introspected(match &answer {
        Ok(Answer { is_active: true, .. }) => Introspected::Active,
        Ok(_) => Introspected::Inactive,
        Err(_) => Introspected::Refused,
    });
    match answer {
        Ok(Answer { body, is_jwt: true, .. }) => respond::respond_with_introspection_jwt(body),
        Ok(Answer { body, .. }) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

/// What is said, in the form that the caller asked for.
struct Answer {
    body: Vec<u8>,
    is_jwt: bool,
    is_active: bool,
}

async fn answer(endpoint: &Endpoint, parts: &Parts, body: Body, record: &mut Record) -> Result<Answer, Error> {
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.presented_token(&body)?;
    let presented = request.presented.as_ref();
    let is_jwt = introspection_jwt::is_wanted(&parts.headers);
    let decided = record.settled(endpoint, presented, |caller| {
        let said = decide(endpoint, &request, caller)?;
        let body = if is_jwt { signed(endpoint, &said, caller) } else { said.body() }?;
        Ok(Answer { body, is_jwt, is_active: said.is_active() })
    });
    decided.await
}

fn signed(endpoint: &Endpoint, said: &Said, Caller { client, snapshot, keys, moment, .. }: Caller<'_>) -> Result<Vec<u8>, Error> {
    let algorithm = introspection_jwt::algorithm(client, snapshot, endpoint.algorithm);
    introspection_jwt::sign(said, client, (&endpoint.issuer, moment.wall), (algorithm, keys))
}

fn decide(endpoint: &Endpoint, request: &PresentedToken<'_>, caller: Caller<'_>) -> Result<Said, Error> {
    let Caller { client, snapshot, keys, moment, standing, .. } = caller;
    let token = request.token.as_deref().ok_or(Error::MissingParameter("token"))?;
    let quota = &endpoint.throttle.introspection;
    quota.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyIntrospections(seconds))?;
    let revoked = endpoint.revocations.revoked().ok_or(Error::Unavailable)?;
    match introspect(token, client, (snapshot, keys, &revoked), &endpoint.issuer, moment.wall) {
        Ok(said) => Ok(said),
        // What is not known here may be known elsewhere.
        Err(Inactive::AsFarAsKnown) if standing == Standing::Doubt => Err(Error::InDoubt),
        Err(_) => Ok(Said::inactive()),
    }
}
