//! The token endpoint.

use super::{
    Endpoint, Peer, body,
    identity::{Caller, settled},
    record::Record,
    respond,
};
use crate::{
    ambient, audit,
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
    let mut record = Record::default();
    let answer = answer(&endpoint, &parts, body, &mut record).await;
    let outcome = answer.as_ref().map_or_else(|error| Outcome::of(*error), |_| Outcome::Issued);
    let ended = ambient::moment();
    endpoint.metrics.answered(outcome, ended.boot.saturating_sub(begun));
    let event = record.event(&parts, answer.as_ref().err().copied(), ended.wall);
    endpoint.audit.tell(event, ended.boot, || u32::from_ne_bytes(ambient::random()));
    match answer {
        Ok(body) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, parts: &Parts, body: Body, record: &mut Record) -> Result<Vec<u8>, Error> {
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.token_request(&body)?;
    let presented = request.presented.as_ref();
    let method = presented.map(|presented| presented.method(|| endpoint.service_accounts.issuer()));
    record.claims(presented, method);
    let decided = settled(endpoint, presented, Peer::of(parts), |caller| {
        let who = audit::Who::proven(caller.client, caller.credential, method);
        Ok((who, decide(endpoint, &request, caller).map_err(|error| error.in_standing(caller.standing))))
    });
    let (who, decision) = decided.await?;
    record.proves(who, &request);
    let Issued { success, wanted, token } = decision?;
    let body = success.body()?;
    record.gets(wanted, token);
    Ok(body)
}

/// A token, and what is remembered of it.
struct Issued {
    success: Success,
    wanted: audit::Wanted,
    token: audit::Token,
}

fn decide(
    endpoint: &Endpoint,
    request: &TokenRequest<'_>,
    Caller { client, snapshot, keys, moment, .. }: Caller<'_>,
) -> Result<Issued, Error> {
    let permitted = permit(request, client, snapshot, endpoint.lifetimes, moment.wall)?;
    endpoint.throttle.issuance.count(&client.uid, moment.boot).map_err(|Wait(seconds)| Error::TooManyTokens(seconds))?;
    let jti = ambient::draw_jti();
    let success = issue(&permitted, client, endpoint.issuer.as_str(), &jti, keys)?;
    let resource = Some(permitted.resource.audience.as_str().to_owned());
    let wanted = audit::Wanted { resource, scope: Some(space_delimited(permitted.scopes.iter().copied())) };
    Ok(Issued { success, wanted, token: audit::Token { jti, expires_in: permitted.lifetime } })
}
