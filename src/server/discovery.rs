//! The documents that anybody may read: both metadata forms, and the JWKS.

use super::{
    Endpoint,
    respond::{assembled, respond},
};
use crate::{
    keys::KeySet,
    oauth::{
        Error,
        error::JSON,
        metadata::{self, InUse},
    },
};
use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::sync::Arc;

const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// A document and its strong entity tag (RFC 9110 §8.8.3): the same from every replica.
struct Document {
    content: Bytes,
    etag: HeaderValue,
}

/// `/.well-known/oauth-authorization-server`, RFC 8414.
pub(super) async fn oauth_metadata(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    respond_with(&request, || Ok(Document::of(metadata::oauth_metadata(&endpoint.issuer, &in_use(&endpoint)?))))
}

/// `/.well-known/openid-configuration`.
pub(super) async fn openid_configuration(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    respond_with(&request, || Ok(Document::of(metadata::openid_configuration(&endpoint.issuer, &in_use(&endpoint)?))))
}

/// The JWKS, RFC 7517 §5.
pub(super) async fn jwks(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    respond_with(&request, || {
        let keys = keys(&endpoint)?;
        let etag = HeaderValue::from_str(&keys.jwks_etag).map_err(|_| Error::Internal)?;
        Ok(Document { content: keys.jwks.clone(), etag })
    })
}

fn in_use(endpoint: &Endpoint) -> Result<InUse, Error> {
    let algorithms = keys(endpoint)?.active.keys().copied().collect();
    Ok(InUse { algorithms, spiffe: !endpoint.trust.load().is_empty() })
}

fn keys(endpoint: &Endpoint) -> Result<Arc<KeySet>, Error> {
    endpoint.snapshot.load().keys.clone().ok_or(Error::Unavailable)
}

impl Document {
    fn of(content: Vec<u8>) -> Self {
        let tag = URL_SAFE_NO_PAD.encode(digest(&SHA256, &content));
        let etag = HeaderValue::try_from(format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content: content.into(), etag }
    }
}

fn respond_with(request: &Request, document: impl FnOnce() -> Result<Document, Error>) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return respond(Error::MethodNotAllowed("GET, HEAD"));
    }
    match document() {
        Ok(document) => cacheable(request, document),
        Err(error) => respond(error),
    }
}

fn cacheable(request: &Request, Document { content, etag }: Document) -> Response {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CACHE_CONTROL, FIVE_MINUTES);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
    let known = is_known(request.headers(), etag.as_bytes());
    headers.insert(header::ETAG, etag);
    if known {
        return assembled(StatusCode::NOT_MODIFIED, headers, Bytes::new());
    }
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CONTENT_LENGTH, content.len().into());
    let body = if request.method() == Method::HEAD { Bytes::new() } else { content };
    assembled(StatusCode::OK, headers, body)
}

/// RFC 9110 §13.1.2: `*`, or a list in which a weak tag counts like a strong one.
fn is_known(headers: &HeaderMap, etag: &[u8]) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}
