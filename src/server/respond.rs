//! From outcomes of the protocol to responses of HTTP.

use crate::oauth::{
    Error,
    error::{JSON, NO_CACHE, NO_STORE},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

/// Marks the answer to a request whose body broke off: over HTTP/2, most likely one that the client reset.
#[derive(Debug, Clone, Copy)]
pub(super) struct BrokenOff;

/// The answer to a request that failed. Where the connection has to end, the header says so, in HTTP/1's words.
pub(super) fn respond(error: Error) -> Response {
    let answer = error.answer();
    let mut response = assembled(answer.status, answer.headers, answer.body);
    if error.closes_connection() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if error == Error::BodyIncomplete {
        response.extensions_mut().insert(BrokenOff);
    }
    response
}

/// The answer that carries a token (RFC 6749 §5.1), or what one says.
pub(super) fn respond_with_token(body: Vec<u8>) -> Response {
    respond_once(JSON, body)
}

/// The answer that carries what a token says as a JWT (RFC 9701 §5).
pub(super) fn respond_with_introspection_jwt(body: Vec<u8>) -> Response {
    respond_once(HeaderValue::from_static("application/token-introspection+jwt"), body)
}

/// An answer that nobody may keep for another request.
fn respond_once(content_type: HeaderValue, body: Vec<u8>) -> Response {
    let fields = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, NO_STORE), (header::PRAGMA, NO_CACHE)];
    assembled(StatusCode::OK, fields.into_iter().collect(), body)
}

/// The answer that says that all is done (RFC 7009 §2.2).
pub(super) fn respond_with_nothing() -> Response {
    let fields = [(header::CACHE_CONTROL, NO_STORE), (header::PRAGMA, NO_CACHE)];
    assembled(StatusCode::OK, fields.into_iter().collect(), Body::empty())
}

/// A response of these parts.
pub(super) fn assembled(status: StatusCode, headers: HeaderMap, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
