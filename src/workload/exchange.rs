//! The token request: client credentials (RFC 6749 §4.4), by a library that knows nothing of our server.

use super::{
    assertion::Assertion,
    binding::{Binding, Method},
};
use crate::causes;
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope, TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponse},
};
use std::{error::Error, io, time::Duration};
use zeroize::Zeroizing;

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for the whole answer: the endpoint itself gives a request no longer.
const ANSWER: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MAX_BYTES: usize = 256 * 1024;
/// The lifetime of a token whose answer says none (RFC 6749 §5.1: RECOMMENDED). Short: too early costs a request.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(60);

/// What to ask for.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Scopes, space-delimited; absent: what is granted.
    pub scope: Option<String>,
    /// The API (RFC 8707), where the client has access to several.
    pub resource: Option<String>,
    /// How the secret is sent, whatever the Secret says.
    pub method: Option<Method>,
}

/// A token. No Debug.
pub struct Issued {
    /// The access token.
    pub token: Zeroizing<String>,
    /// How long it is valid from now on.
    pub lifetime: Duration,
}

/// Why there is no token. What the endpoint sent is shown only where it is an OAuth error.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// `ca.crt`.
    #[error("ca.crt holds no certificate that can be read: {0}")]
    Authority(String),
    /// Nobody to trust: an image with one program in it has no certificates of CAs.
    #[error(
        "no CA to trust: the Secret holds no ca.crt, and this system knows none ({0}); mount certificates and name them by SSL_CERT_FILE"
    )]
    NoAuthority(String),
    /// No connection.
    #[error("no answer from {url}: {why}; is it reachable from here, and does its name resolve?")]
    Unreachable {
        /// The token endpoint.
        url: String,
        /// The causes, outermost first.
        why: String,
    },
    /// The server is another one than the Secret vouches for.
    #[error("{url} shows a certificate that is not to be trusted: {why}; {advice}")]
    Untrusted {
        /// The token endpoint.
        url: String,
        /// The causes, outermost first.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The endpoint cannot decide at the moment.
    #[error("{url} cannot answer at the moment ({status}): ask again{}", after(.retry_after))]
    Unavailable {
        /// The token endpoint.
        url: String,
        /// 429 or 5xx.
        status: u16,
        /// What `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// An OAuth error (RFC 6749 §5.2).
    #[error("{url} refuses: {error}{}{}", described(.description), advice(.error))]
    Refused {
        /// The token endpoint.
        url: String,
        /// The error code.
        error: String,
        /// What it says to it.
        description: Option<String>,
    },
    /// Something else answers there.
    #[error("{url} does not answer as a token endpoint does ({why}): is it the token-uri of the Secret, and is there a proxy in between?")]
    NotOauth {
        /// The token endpoint.
        url: String,
        /// What it does instead.
        why: String,
    },
}

impl ExchangeError {
    /// How long the endpoint asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Gets a token, with the secret of the binding or an assertion (RFC 7521 §4.2).
///
/// # Errors
/// Says what to do.
pub async fn token(binding: &Binding, assertion: Option<&Assertion>, ask: &Ask) -> Result<Issued, ExchangeError> {
    let http = http_client(binding.ca.as_deref())?;
    let send = |request: HttpRequest| send(&http, binding.token_uri.as_str(), binding.ca.is_some(), request);
    let mut client = BasicClient::new(ClientId::new(binding.client_id.clone()));
    if let Some(secret) = &binding.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    }
    let client = client
        .set_auth_type(match ask.method.or(binding.method) {
            Some(Method::Post) => AuthType::RequestBody,
            Some(Method::Basic) | None => AuthType::BasicAuth,
        })
        .set_token_uri(TokenUrl::from_url(binding.token_uri.clone()));
    let mut request = client.exchange_client_credentials();
    for scope in ask.scope.iter().flat_map(|scopes| scopes.split(' ')) {
        request = request.add_scope(Scope::new(scope.to_owned()));
    }
    if let Some(Assertion { assertion_type, text }) = assertion {
        request = request.add_extra_param("client_assertion_type", *assertion_type).add_extra_param("client_assertion", text.to_string());
    }
    if let Some(resource) = &ask.resource {
        request = request.add_extra_param("resource", resource.clone());
    }
    let answer = request.request_async(&send).await.map_err(|error| read_error(binding.token_uri.as_str(), error))?;
    Ok(Issued {
        token: Zeroizing::new(answer.access_token().secret().clone()),
        lifetime: answer.expires_in().filter(|lifetime| !lifetime.is_zero()).unwrap_or(UNKNOWN_LIFETIME),
    })
}

/// An HTTP client that trusts these certificates alone, or those of the system. It follows no redirect: the secret is for one URL.
///
/// # Errors
/// [`ExchangeError::Authority`] and [`ExchangeError::NoAuthority`].
pub fn http_client(ca: Option<&str>) -> Result<reqwest::Client, ExchangeError> {
    let unusable = |error: reqwest::Error| ExchangeError::Authority(causes::in_one_line(&error));
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .user_agent(concat!("keywright/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = ca {
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unusable)?;
        if certificates.is_empty() {
            return Err(ExchangeError::Authority("no PEM block".to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| if ca.is_some() { unusable(error) } else { ExchangeError::NoAuthority(causes::in_one_line(&error)) })
}

async fn send(http: &reqwest::Client, url: &str, has_ca: bool, request: HttpRequest) -> Result<HttpResponse, ExchangeError> {
    let failed = |error: reqwest::Error| out_of_reach(url, has_ca, &error.without_url());
    let mut response = http.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
    let status = response.status();
    if status.as_u16() == 429 || status.is_server_error() {
        let retry_after = response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        return Err(ExchangeError::Unavailable { url: url.to_owned(), status: status.as_u16(), retry_after });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(ExchangeError::NotOauth { url: url.to_owned(), why: format!("more than {MAX_BYTES} bytes") });
        }
    }
    let mut read = HttpResponse::new(body);
    *read.status_mut() = status;
    *read.headers_mut() = std::mem::take(response.headers_mut());
    Ok(read)
}

fn out_of_reach(url: &str, has_ca: bool, error: &reqwest::Error) -> ExchangeError {
    let (url, why) = (url.to_owned(), causes::in_one_line(error));
    if !is_distrust(error) {
        return ExchangeError::Unreachable { url, why };
    }
    let advice = if has_ca {
        "ca.crt of the Secret is not its CA: is the content an old copy, or does a proxy end TLS in between?"
    } else {
        "the Secret holds no ca.crt, so that the CA has to be one of this system's"
    };
    ExchangeError::Untrusted { url, why, advice }
}

fn read_error(url: &str, error: RequestTokenError<ExchangeError, BasicErrorResponse>) -> ExchangeError {
    let url = url.to_owned();
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(refusal) => ExchangeError::Refused {
            url,
            error: printable(refusal.error().as_ref()),
            description: refusal.error_description().map(|text| printable(text)),
        },
        // What was parsed is not shown: it may be a token.
        RequestTokenError::Parse(..) => ExchangeError::NotOauth { url, why: "it is not JSON, or lacks what has to be there".to_owned() },
        RequestTokenError::Other(why) => ExchangeError::NotOauth { url, why: printable(&why) },
    }
}

/// Whether the server's certificate is the cause.
fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    is_certificate(error) || error.source().is_some_and(is_distrust)
}

/// An error in an `io::Error`, which may be in another, is not among the sources of either.
fn is_certificate(found: &(dyn Error + 'static)) -> bool {
    match found.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => is_certificate(inner),
        None => matches!(found.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))),
    }
}

/// What a server says, on a terminal: nothing that steers it, and not endlessly.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn described(description: &Option<String>) -> String {
    description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

fn after(retry_after: &Option<Duration>) -> String {
    retry_after.map(|pause| format!(" in {} s", pause.as_secs())).unwrap_or_default()
}

fn advice(error: &str) -> &'static str {
    match error {
        "invalid_client" => {
            "; are these the newest credentials (a copy of the Secret, or the environment of a pod that started before a rotation, holds old ones), and is the client enabled? `kubectl keywright status` says"
        }
        "invalid_scope" | "invalid_target" => "; `kubectl keywright check` says which lines the API's owner would have to add",
        _ => "",
    }
}
