//! The one table of everything that can go wrong between a request and its answer (RFC 6749 §5.2).
//!
//! A message is the `error_description`: it says what failed and what to do, never repeats anything of the request, and keeps
//! to the characters %x20-21 / %x23-5B / %x5D-7E.

use crate::replica::contact::Standing;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such path.
    #[error("there is nothing at this path; the metadata document lists the endpoints")]
    NotFound,
    /// The path answers other methods alone: these.
    #[error("this endpoint answers {0} alone")]
    MethodNotAllowed(&'static str),
    /// The body did not arrive in time.
    #[error("the request took too long to arrive; send it again")]
    RequestTimeout,
    /// The body is longer than the limit.
    #[error("the body is too large; a token request has at most 64 KiB")]
    BodyTooLarge,
    /// The header section is larger than the limit.
    #[error("the header section is too large; send at most 100 header fields with 32 KiB in all")]
    HeadersTooLarge,
    /// The body is not what its endpoint reads.
    #[error("the body must be application/x-www-form-urlencoded, without a content coding")]
    UnsupportedMediaType,
    /// The connection broke inside the body.
    #[error("the body ended early; send the request again")]
    BodyIncomplete,
    /// Bad percent-encoding, not UTF-8, or NUL.
    #[error("the body is not well-formed application/x-www-form-urlencoded in UTF-8")]
    MalformedForm,
    /// RFC 6749 §3.2.
    #[error("the parameter {0} is given more than once")]
    DuplicateParameter(&'static str),
    /// RFC 6749 §3.2.
    #[error("the parameter {0} is missing")]
    MissingParameter(&'static str),
    /// A parameter that must not be ignored, because the token would allow more than was asked for.
    #[error("the parameter {0} is not supported")]
    UnsupportedParameter(&'static str),
    /// RFC 6749 §2.3.
    #[error("the client authenticates in more than one way; use one of the Authorization header, client_secret and client_assertion")]
    SeveralAuthentications,
    /// The body names another client than the Authorization header.
    #[error("client_id in the body and in the Authorization header differ")]
    ClientIdMismatch,
    /// RFC 7521 §4.2: another kind of assertion than ours.
    #[error(
        "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer, or the same with jwt-spiffe for a JWT-SVID"
    )]
    UnsupportedAssertionType,
    /// Whatever is wrong with the client's authentication: never says what.
    #[error("client authentication failed")]
    InvalidClient,
    /// The same, of a secret that nobody was ever given: said whether there is such a client or not.
    #[error(
        "client authentication failed; the client secret that was sent ends with a line break, which no secret does: strip it (printf instead of echo)"
    )]
    SecretEndsWithLineBreak,
    /// S17: after so many failures of this client id from this address; the seconds to wait.
    #[error("too many failed authentications with this client_id from this address; wait as long as Retry-After says")]
    TooManyFailures(u32),
    /// Another grant than client_credentials.
    #[error("grant_type must be client_credentials")]
    UnsupportedGrantType,
    /// A client whose spec has no access entry.
    #[error("this client has no access entry, so it gets no token; add one to spec.access of its OAuthClient")]
    UnauthorizedClient,
    /// RFC 6749 §3.3.
    #[error("scope must be a list of printable ASCII tokens with one space between them")]
    MalformedScope,
    /// Does not exist, is not in the client's access entry, or is not granted by the API's owner.
    #[error("a requested scope is not granted to this client for this API")]
    ScopeNotGranted,
    /// No scope was asked for, and none is granted.
    #[error("no scope is granted to this client for this API; see the status of its OAuthClient")]
    NothingGranted,
    /// The client has several access entries.
    #[error("this client has access to several APIs and the scopes do not choose one; name one by the resource parameter")]
    AmbiguousTarget,
    /// The requested scopes belong to no single access entry.
    #[error("no access entry of this client has all requested scopes; ask for the scopes of one API at a time")]
    NoEntryForScopes,
    /// RFC 8707 §2.
    #[error("resource must be an absolute URI without a fragment")]
    MalformedResource,
    /// One token, one audience.
    #[error("resource and audience name more than one API; ask for one token per API")]
    SeveralTargets,
    /// Does not exist, is not in the client's access, or is not granted by the API's owner.
    #[error("the requested API is not granted to this client")]
    TargetNotGranted,
    /// More tokens than policy allows a client; the seconds to wait.
    #[error(
        "this client asks for more tokens than the platform's policy allows; use a token until it expires, and wait as long as Retry-After says"
    )]
    TooManyTokens(u32),
    /// More introspections than policy allows a client; the seconds to wait.
    #[error(
        "this client introspects more tokens than the platform's policy allows; remember answers for a while, and wait as long as Retry-After says"
    )]
    TooManyIntrospections(u32),
    /// RFC 7009 §2.1.
    #[error("the token was not issued to this client, so it cannot revoke it")]
    NotYourToken,
    /// More revocations than one client may have written; the seconds to wait.
    #[error(
        "this client revokes too many tokens; set spec.revocation.tokensIssuedBefore of its OAuthClient, or wait as long as Retry-After says"
    )]
    TooManyRevocations(u32),
    /// Of a request for tokens to probe an API with: no `<namespace>/<name>`.
    #[error("protected_resource must be <namespace>/<name> of a ProtectedResource")]
    MalformedObjectName,
    /// RBAC says no.
    #[error(
        "this ServiceAccount may not probe this API; it needs the verb create on protectedresources/probe of keywright.dev in the namespace of the API"
    )]
    MayNotProbe,
    /// Does not exist, or is not served.
    #[error("this installation serves no such ProtectedResource; see the condition Ready in its status")]
    NoSuchResource,
    /// More probes than one ServiceAccount may have; the seconds to wait.
    #[error("this ServiceAccount probes too often; wait as long as Retry-After says")]
    TooManyProbes(u32),
    /// This replica may lag behind: what it does not know may exist.
    #[error("this replica cannot decide now; send the request again")]
    InDoubt,
    /// This replica knows too little or for too long.
    #[error("the authorization server cannot issue tokens now; send the request again later")]
    Unavailable,
    /// A fault of ours.
    #[error("the authorization server failed")]
    Internal,
}

/// The `error` of an answer (RFC 6749 §5.2, RFC 8707 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request cannot be read, also by HTTP's own rules.
    InvalidRequest,
    /// Client authentication failed.
    InvalidClient,
    /// Another grant than ours.
    UnsupportedGrantType,
    /// The client may not use the grant.
    UnauthorizedClient,
    /// The scopes are malformed or not granted.
    InvalidScope,
    /// The API is malformed or not granted.
    InvalidTarget,
    /// RFC 6749 §4.1.2.1: whoever asks may not have it.
    AccessDenied,
    /// RFC 6749 §4.1.2.1: come back later.
    TemporarilyUnavailable,
    /// The same: our fault.
    ServerError,
}

/// What an error looks like on the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// All header fields but `Connection`, which is not the protocol's business.
    pub headers: HeaderMap,
    /// The JSON object.
    pub body: Vec<u8>,
}

const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"keywright\"");
const RETRY_AFTER_A_SECOND: HeaderValue = HeaderValue::from_static("1");
const RETRY_AFTER_SOME_SECONDS: HeaderValue = HeaderValue::from_static("5");

impl Error {
    /// The status code and the `error`.
    #[must_use]
    pub fn codes(self) -> (StatusCode, Code) {
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, Code::InvalidRequest),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::InvalidRequest),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, Code::InvalidRequest),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest),
            Self::HeadersTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::InvalidRequest),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidRequest),
            Self::BodyIncomplete
            | Self::MalformedForm
            | Self::DuplicateParameter(_)
            | Self::MissingParameter(_)
            | Self::UnsupportedParameter(_)
            | Self::SeveralAuthentications
            | Self::ClientIdMismatch
            | Self::UnsupportedAssertionType
            | Self::MalformedObjectName => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
            Self::InvalidClient | Self::SecretEndsWithLineBreak => (StatusCode::UNAUTHORIZED, Code::InvalidClient),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, Code::UnsupportedGrantType),
            Self::UnauthorizedClient => (StatusCode::BAD_REQUEST, Code::UnauthorizedClient),
            Self::MalformedScope | Self::ScopeNotGranted | Self::NothingGranted | Self::AmbiguousTarget | Self::NoEntryForScopes => {
                (StatusCode::BAD_REQUEST, Code::InvalidScope)
            }
            Self::MalformedResource | Self::SeveralTargets | Self::TargetNotGranted => (StatusCode::BAD_REQUEST, Code::InvalidTarget),
            Self::NotYourToken => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
            Self::TooManyRevocations(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::TemporarilyUnavailable),
            Self::MayNotProbe => (StatusCode::FORBIDDEN, Code::AccessDenied),
            Self::NoSuchResource => (StatusCode::NOT_FOUND, Code::InvalidTarget),
            Self::TooManyFailures(_) | Self::TooManyTokens(_) | Self::TooManyIntrospections(_) | Self::TooManyProbes(_) => {
                (StatusCode::TOO_MANY_REQUESTS, Code::TemporarilyUnavailable)
            }
            Self::InDoubt | Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::TemporarilyUnavailable),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::ServerError),
        }
    }

    /// The same error as a replica of that standing may tell it. What it does not know may exist: in doubt it says 503 where it
    /// would conclude from its snapshot that somebody is nobody, or may not.
    #[must_use]
    pub fn in_standing(self, standing: Standing) -> Self {
        let concluded = matches!(self.codes().1, Code::InvalidClient | Code::UnauthorizedClient | Code::InvalidScope | Code::InvalidTarget);
        let of_the_request_alone = matches!(self, Self::MalformedScope | Self::MalformedResource | Self::SeveralTargets);
        if standing == Standing::Doubt && concluded && !of_the_request_alone { Self::InDoubt } else { self }
    }

    /// Whether the connection ends with this answer: its request was not read to the end, or another connection may reach a
    /// replica that knows more.
    #[must_use]
    pub fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout | Self::BodyTooLarge | Self::HeadersTooLarge | Self::BodyIncomplete | Self::InDoubt | Self::Unavailable
        )
    }

    /// Status, headers and body.
    #[must_use]
    pub fn answer(self) -> Answer {
        let (status, code) = self.codes();
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers.insert(header::PRAGMA, NO_CACHE);
        if let Some((name, value)) = self.own_header() {
            headers.insert(name, value);
        }
        let body = json!({"error": code.as_str(), "error_description": self.to_string()}).to_string().into_bytes();
        Answer { status, headers, body }
    }

    fn own_header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            // RFC 9110 §11.6.1 wants a challenge on every 401, also where the client did not use the header.
            Self::InvalidClient | Self::SecretEndsWithLineBreak => Some((header::WWW_AUTHENTICATE, CHALLENGE)),
            Self::TooManyFailures(seconds)
            | Self::TooManyTokens(seconds)
            | Self::TooManyIntrospections(seconds)
            | Self::TooManyProbes(seconds)
            | Self::TooManyRevocations(seconds) => Some((header::RETRY_AFTER, seconds.into())),
            Self::InDoubt => Some((header::RETRY_AFTER, RETRY_AFTER_A_SECOND)),
            Self::Unavailable => Some((header::RETRY_AFTER, RETRY_AFTER_SOME_SECONDS)),
            _ => None,
        }
    }
}

impl Code {
    /// The text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// `Content-Type` of every answer of the token endpoint (RFC 6749 §5.1, §5.2).
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `Cache-Control` of the same (RFC 6749 §5.1).
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// `Pragma` of the same: gone in OAuth 2.1, still looked for by clients of RFC 6749.
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

#[cfg(test)]
pub(crate) const ALL: [Error; 38] = [
    Error::NotFound,
    Error::MethodNotAllowed("POST"),
    Error::RequestTimeout,
    Error::BodyTooLarge,
    Error::HeadersTooLarge,
    Error::UnsupportedMediaType,
    Error::BodyIncomplete,
    Error::MalformedForm,
    Error::DuplicateParameter("scope"),
    Error::MissingParameter("grant_type"),
    Error::UnsupportedParameter("authorization_details"),
    Error::SeveralAuthentications,
    Error::ClientIdMismatch,
    Error::UnsupportedAssertionType,
    Error::InvalidClient,
    Error::SecretEndsWithLineBreak,
    Error::TooManyFailures(3),
    Error::UnsupportedGrantType,
    Error::UnauthorizedClient,
    Error::MalformedScope,
    Error::ScopeNotGranted,
    Error::NothingGranted,
    Error::AmbiguousTarget,
    Error::NoEntryForScopes,
    Error::MalformedResource,
    Error::SeveralTargets,
    Error::TargetNotGranted,
    Error::TooManyTokens(1),
    Error::TooManyIntrospections(1),
    Error::NotYourToken,
    Error::TooManyRevocations(1),
    Error::MalformedObjectName,
    Error::MayNotProbe,
    Error::NoSuchResource,
    Error::TooManyProbes(1),
    Error::InDoubt,
    Error::Unavailable,
    Error::Internal,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// T14, T15.
    #[test]
    fn every_error_is_json_that_nobody_stores_with_a_description_of_the_allowed_characters() {
        for error in ALL {
            let answer = error.answer();
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json", "{error:?}");
            assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{error:?}");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let description = body["error_description"].as_str().unwrap();
            let allowed = |b: u8| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(!description.is_empty() && description.bytes().all(allowed), "{description}");
            assert_eq!(body["error"], error.codes().1.as_str());
            assert_eq!(body.as_object().unwrap().len(), 2);
        }
    }

    /// C09, C10, C20, G13, T01, T19: RFC 9110 §11.6.1, §10.2.1, §10.2.3.
    #[test]
    fn a_401_carries_a_challenge_a_405_what_is_allowed_and_a_429_or_503_when_to_come_back() {
        for error in ALL {
            let answer = error.answer();
            let has = |name: HeaderName| answer.headers.contains_key(name);
            assert_eq!(has(header::WWW_AUTHENTICATE), answer.status == StatusCode::UNAUTHORIZED, "{error:?}");
            assert_eq!(has(header::ALLOW), answer.status == StatusCode::METHOD_NOT_ALLOWED, "{error:?}");
            let later = matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(has(header::RETRY_AFTER), later, "{error:?}");
        }
        assert_eq!(Error::InDoubt.answer().headers[header::RETRY_AFTER], "1");
        assert_eq!(Error::TooManyFailures(3).answer().headers[header::RETRY_AFTER], "3");
    }

    /// T19, F8, L7.
    #[test]
    fn in_doubt_nothing_is_concluded_from_what_is_not_known() {
        for error in ALL {
            assert_eq!(error.in_standing(Standing::Current), error);
            let told = error.in_standing(Standing::Doubt);
            assert_ne!(told.codes().0, StatusCode::UNAUTHORIZED);
            assert!(told == error || told == Error::InDoubt);
        }
        for error in [Error::InvalidClient, Error::UnauthorizedClient, Error::ScopeNotGranted, Error::TargetNotGranted] {
            assert_eq!(error.in_standing(Standing::Doubt), Error::InDoubt);
        }
        assert_eq!(Error::MalformedForm.in_standing(Standing::Doubt), Error::MalformedForm);
        assert!(Error::InDoubt.closes_connection());
    }

    /// The table as clients see it: a change here is a change of the protocol.
    #[test]
    fn the_table_is_as_published() {
        let lines = ALL.map(|error| {
            let (status, code) = error.codes();
            format!("{} {}: {error}", status.as_u16(), code.as_str())
        });
        insta::assert_snapshot!(lines.join("\n"));
    }
}
