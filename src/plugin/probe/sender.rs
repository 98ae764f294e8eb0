//! Sends requests to the API, each with another token, and looks at nothing but the status of the answers.

use super::{ProbeError, verdict::Answer};
use crate::{ambient, causes};
use futures::{StreamExt as _, stream};
use std::{path::Path, time::Duration};
use url::{Host, Url};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for the head of an answer: a verifier may look for a new key meanwhile.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests at the same time.
const AT_ONCE: usize = 4;
/// How long after they were asked for tokens are good for a test: before they would have expired.
const GOOD_FOR: Duration = Duration::from_secs(50);

/// See above.
pub(super) struct Sender<'a> {
    http: reqwest::Client,
    method: &'a http::Method,
    url: &'a Url,
}

impl<'a> Sender<'a> {
    /// Trusts the certificates of that file alone, or those of the system. Follows no redirect: a token is for one URL.
    pub(super) fn new(method: &'a http::Method, url: &'a Url, ca: Option<&Path>) -> Result<Self, ProbeError> {
        let fault = |why: String| ProbeError::Authority { path: ca.map(Path::to_owned).unwrap_or_default(), why };
        let pem = ca.map(std::fs::read_to_string).transpose().map_err(|error| fault(error.to_string()))?;
        let http = trusting(pem.as_deref()).map_err(fault)?;
        Ok(Self { http, method, url })
    }

    /// The status of the answer to a request without a token. Where there is none, the API is out of reach.
    pub(super) async fn without_token(&self) -> Result<Answer, ProbeError> {
        let answered = self.status(None).await;
        let host = self.url.host_str().unwrap_or_default().to_owned();
        answered.map(Answer::Status).map_err(|error| ProbeError::Api { host, why: causes::in_one_line(&error.without_url()) })
    }

    /// Of one with this token.
    pub(super) async fn with_token(&self, token: &str) -> Answer {
        self.status(Some(token)).await.map_or(Answer::Silence, Answer::Status)
    }

    /// Of one for each of these tokens, which were asked for at that time.
    pub(super) async fn with_each<T>(&self, tokens: Vec<(T, String)>, asked_at: Duration) -> Vec<(T, Answer)> {
        let is_late = || ambient::boot_time().saturating_sub(asked_at) > GOOD_FOR;
        let sent = stream::iter(tokens).map(async |(name, token): (T, String)| {
            let answer = if is_late() { Answer::TooLate } else { self.with_token(&token).await };
            (name, if is_late() { Answer::TooLate } else { answer })
        });
        sent.buffered(AT_ONCE).collect().await
    }

    async fn status(&self, token: Option<&str>) -> Result<u16, reqwest::Error> {
        let request = self.http.request(self.method.clone(), self.url.clone());
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request.send().await.map(|response| response.status().as_u16())
    }
}

/// An HTTP client that trusts these certificates alone, or those of the system.
pub(super) fn trusting(pem: Option<&str>) -> Result<reqwest::Client, String> {
    let unusable = |error: reqwest::Error| causes::in_one_line(&error);
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .user_agent(concat!("keywright/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(unusable)?;
        if certificates.is_empty() {
            return Err("no certificate in PEM".to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(unusable)
}

/// Whether others on the way can read what this URL is sent: plain HTTP, neither to this machine nor to a Service of the cluster.
pub(super) fn is_in_clear(url: &Url) -> bool {
    let is_near = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || [".svc", ".svc.cluster.local"].iter().any(|suffix| name.ends_with(suffix)),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_to_far_away_is_in_clear() {
        for (url, expected) in [
            ("http://invoices.example.com/", true),
            ("http://svc/", true),
            ("http://192.0.2.1:8080/", true),
            ("http://localhost.example.com/", true),
            ("https://invoices.example.com/", false),
            ("http://localhost:8080/", false),
            ("http://127.0.0.1/", false),
            ("http://[::1]/", false),
            ("http://invoices.shop.svc/", false),
            ("http://invoices.shop.svc.cluster.local:8080/", false),
        ] {
            assert_eq!(is_in_clear(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
