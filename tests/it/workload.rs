//! What a workload has and does: the Secret that its OAuthClient became, a request to the token endpoint, and an API that verifies the token
//! with what it finds at the JWKS URL.

use std::collections::BTreeMap;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use k8s_openapi::api::core::v1::Secret;
use keywright::api::{Condition, OAuthClient, ProtectedResource};
use kube::{Api, Client};
use serde_json::Value;

use crate::cluster::eventually;
use crate::operator::{Operator, SOON};

/// The content of a Secret, as files that a pod mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials(pub(crate) BTreeMap<String, String>);

/// What the token endpoint answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    /// The access token of an answer that is to hold one.
    pub(crate) fn token(&self) -> &str {
        assert_eq!(self.status, 200, "{self:?}");
        self.body["access_token"].as_str().unwrap()
    }
}

impl Credentials {
    /// What a Secret holds.
    pub(crate) fn of(secret: Secret) -> Self {
        let text = |(name, bytes): (String, k8s_openapi::ByteString)| (name, String::from_utf8(bytes.0).unwrap());
        Self(secret.data.unwrap_or_default().into_iter().map(text).collect())
    }

    /// Reads a Secret that is there.
    pub(crate) async fn read(kube: &Client, namespace: &str, name: &str) -> Self {
        Self::of(Api::namespaced(kube.clone(), namespace).get(name).await.unwrap())
    }

    pub(crate) fn get(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no {key} among {:?}", self.0.keys()))
    }

    /// An HTTP client that trusts `ca.crt` and nothing else.
    pub(crate) fn http(&self) -> reqwest::Client {
        http(self.get("ca.crt"))
    }

    /// The same with connections that are kept alive: for who wants to see them break.
    pub(crate) fn http_kept_alive(&self) -> reqwest::Client {
        trusting(self.get("ca.crt")).build().unwrap()
    }

    /// Asks for a token at `token-uri`, authenticating with HTTP Basic.
    pub(crate) async fn token(&self) -> Answer {
        self.token_at(&self.http(), self.get("token-uri"), &[]).await
    }

    /// Asks for a token at this URL, with further parameters.
    pub(crate) async fn token_at(&self, http: &reqwest::Client, url: &str, parameters: &[(&str, &str)]) -> Answer {
        answer(self.request(http, url, parameters)).await
    }

    /// A request for a token, not sent yet.
    pub(crate) fn request(&self, http: &reqwest::Client, url: &str, parameters: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let form: Vec<_> = [("grant_type", "client_credentials")].iter().chain(parameters).collect();
        http.post(url).basic_auth(self.get("client-id"), Some(self.get("client-secret"))).form(&form)
    }

    /// As the API that the token is for: the claims, after a check of signature, `typ`, `iss`, `aud` and times against the key at `jwk-set-uri`.
    pub(crate) async fn verify(&self, token: &str, audience: &str) -> Value {
        let keys: JwkSet = self.http().get(self.get("jwk-set-uri")).send().await.unwrap().json().await.unwrap();
        let header = decode_header(token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[self.get("issuer-uri")]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
    }
}

/// An HTTP client that trusts these authorities and nothing else. Each request has a connection of its own: a replica sends the others away
/// while it is in doubt, and closes those that are idle; a request that meets the end of one fails (RFC 9112 §9.6), and the tests that look
/// again and again until an answer changes are not about that.
pub(crate) fn http(authorities: &str) -> reqwest::Client {
    trusting(authorities).pool_max_idle_per_host(0).build().unwrap()
}

fn trusting(authorities: &str) -> reqwest::ClientBuilder {
    let authorities = reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only(authorities)
}

/// Sends a request to the token endpoint, which has to be answered.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    answered(request).await.unwrap()
}

/// The same for who asks again and again. The server closes a connection that is silent for five seconds, and so may this process be on a
/// machine that is busy: one more reason to ask again.
pub(crate) async fn answered(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    Ok(Answer { status: response.status().as_u16(), retry_after, body: response.json().await? })
}

/// One condition of a status.
pub(crate) fn condition<'a>(conditions: Option<&'a Vec<Condition>>, type_: &str) -> Option<&'a Condition> {
    conditions?.iter().find(|condition| condition.type_ == type_)
}

fn ready_because(generation: Option<i64>, conditions: Option<&Vec<Condition>>, reason: &str) -> Result<(), String> {
    match condition(conditions, "Ready") {
        Some(ready) if ready.reason == reason && ready.observed_generation == generation => Ok(()),
        other => Err(format!("generation {generation:?}: {other:?}")),
    }
}

impl Operator<'_> {
    /// Waits until an OAuthClient, as it is written now, has the condition Ready with this reason.
    pub(crate) async fn client_is(&self, namespace: &str, name: &str, reason: &str) -> OAuthClient {
        let clients: Api<OAuthClient> = Api::namespaced(self.cluster.client().await.unwrap(), namespace);
        let look = async || {
            let client = clients.get(name).await.map_err(|error| error.to_string())?;
            let conditions = client.status.as_ref().and_then(|status| status.conditions.as_ref());
            ready_because(client.metadata.generation, conditions, reason).map(|()| client.clone())
        };
        let seen = eventually(SOON, &format!("OAuthClient {namespace}/{name} is {reason}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()))
    }

    /// Waits until a ProtectedResource, as it is written now, has the condition Ready with this reason.
    pub(crate) async fn resource_is(&self, namespace: &str, name: &str, reason: &str) -> ProtectedResource {
        let resources: Api<ProtectedResource> = Api::namespaced(self.cluster.client().await.unwrap(), namespace);
        let look = async || {
            let resource = resources.get(name).await.map_err(|error| error.to_string())?;
            let conditions = resource.status.as_ref().and_then(|status| status.conditions.as_ref());
            ready_because(resource.metadata.generation, conditions, reason).map(|()| resource.clone())
        };
        let seen = eventually(SOON, &format!("ProtectedResource {namespace}/{name} is {reason}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()))
    }

    /// Waits until the client is ready, and reads its Secret. A leader that loses its Lease in the midst of the first credential, on a
    /// machine too busy to renew it, leaves one behind that nobody knows the value of: then there is a second one.
    pub(crate) async fn credentials(&self, namespace: &str, name: &str) -> Credentials {
        let clients: Api<OAuthClient> = Api::namespaced(self.cluster.client().await.unwrap(), namespace);
        let look = async || {
            let client = clients.get(name).await.map_err(|error| error.to_string())?;
            let because = |reason| {
                let conditions = client.status.as_ref().and_then(|status| status.conditions.as_ref());
                ready_because(client.metadata.generation, conditions, reason)
            };
            because("Issued")
                .or_else(|seen| if self.terms_over() > 0 { because("Overlapping") } else { Err(seen) })
                .map(|()| client.clone())
        };
        let seen = eventually(SOON, &format!("OAuthClient {namespace}/{name} has its Secret"), look).await;
        let client = seen.unwrap_or_else(|error| panic!("{error}\n{}", self.logs()));
        let secret = client.status.and_then(|status| status.binding).unwrap().name;
        let credentials = Credentials::read(&self.cluster.client().await.unwrap(), namespace, &secret).await;
        self.saw(credentials.0.get("client-secret").cloned());
        credentials
    }
}
