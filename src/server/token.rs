//! The token endpoint.

use super::{Endpoint, body, identity::Caller, record::Record, respond};
use crate::{
    ambient,
    audit::{Purpose, Token, Wanted},
    domain::names::space_delimited,
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
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use std::sync::Arc;

/// Answers `POST /oauth2/token`. Waits for nothing but the request's own body, and what only the cluster knows of a ServiceAccount token.
pub(super) async fn token(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let begun = ambient::boot_time();
    let (parts, body) = request.into_parts();
    let tells_success = endpoint.audit.takes_success(|| u32::from_ne_bytes(ambient::random()));
    let mut record = Record::new(Purpose::Token, tells_success, endpoint.caller(&parts));
    let answer = answer(&endpoint, &parts, body, &mut record).await;
    let outcome = answer.as_ref().map_or_else(|error| Outcome::of(*error), |_| Outcome::Issued);
    let ended = ambient::moment();
    endpoint.metrics.answered(outcome, ended.boot.saturating_sub(begun));
    record.tell(&endpoint, &parts, answer.as_ref().err().copied(), ended);
    match answer {
        Ok(body) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, parts: &Parts, body: Body, record: &mut Record) -> Result<Vec<u8>, Error> {
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.token_request(&body)?;
    let tells = record.tells_success();
    let decided = record.settled(endpoint, request.presented.as_ref(), |caller| decide(endpoint, &request, caller, tells)).await;
    let Issued { success, told } = decided.inspect_err(|_| record.wants(&request))?;
    let body = success.body()?;
    if let Some((wanted, token)) = told {
        record.gets(wanted, token);
    }
    Ok(body)
}

/// A token, and what the audit log says of it; `None`: nothing.
struct Issued {
    success: Success,
    told: Option<(Wanted, Token)>,
}

fn decide(
    endpoint: &Endpoint,
    request: &TokenRequest<'_>,
    Caller { client, snapshot, keys, moment, .. }: Caller<'_>,
    tells: bool,
) -> Result<Issued, Error> {
    let permitted = permit(request, client, snapshot, endpoint.lifetimes, moment.wall)?;
    endpoint.throttle.issuance.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyTokens(seconds))?;
    let jti = ambient::draw_jti();
    let success = issue(&permitted, client, endpoint.issuer.as_str(), &jti, keys)?;
    let told = tells.then(|| {
        let resource = Some(permitted.resource.audience.as_str().to_owned());
        let wanted = Wanted { resource, scope: Some(space_delimited(permitted.scopes.iter().copied())) };
        (wanted, Token { jti, expires_in: Some(permitted.lifetime) })
    });
    Ok(Issued { success, told })
}
