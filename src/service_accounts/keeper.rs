//! Fetches the cluster's keys and has tokens reviewed.
//!
//! The keys are the API server's own documents (`/.well-known/openid-configuration` and `/openid/v1/jwks`), which every ServiceAccount may
//! read by default: `jwks_uri` may lead elsewhere and is not followed. They are fetched again every few minutes, and when a token names a
//! key that is not there, but not more than once in ten seconds: a new key of the cluster needs no restart, and an invented one no load.

use super::desk::{Access, Answering, Question, Review};
use crate::{
    ambient,
    api::{GROUP, RESOURCES, SUBRESOURCE_PROBE},
    domain::{
        jwk::VerificationKey,
        service_account::{ClusterIssuer, groups, subject},
    },
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How often the keys are fetched.
const EVERY: Duration = Duration::from_secs(300);
/// The same while they could not be.
const SOON: Duration = Duration::from_secs(10);
/// Who asks for keys within this time of the last look gets what that found.
const FRESH: Duration = Duration::from_secs(10);
/// Reviews at the same time. Each costs the API server a look at the token, its pod and its ServiceAccount.
const REVIEWS: usize = 32;

/// Why the keys are not known.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("reading {0} of the API server: {1}")]
    Read(&'static str, kube::Error),
    #[error("{0} of the API server is not what it should be: {1}")]
    Form(&'static str, serde_json::Error),
    #[error("the API server publishes no key of RS256, ES256, PS256 or EdDSA")]
    NoKey,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Map<String, Value>>,
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/openid/v1/jwks";

struct Keeper {
    client: Client,
    answering: Answering,
    /// When the last look at the keys began, by the clock that never stops, and whether it found them.
    looked: Option<(Duration, bool)>,
}

/// Answers until `stop`.
pub async fn run(client: Client, answering: Answering, stop: CancellationToken) {
    let mut keeper = Keeper { client, answering, looked: None };
    let mut reviews = FuturesUnordered::new();
    keeper.look_up().await;
    loop {
        let next_look = if keeper.found() { EVERY } else { SOON };
        tokio::select! {
            () = tokio::time::sleep(keeper.until(next_look)) => keeper.look_up().await,
            Some(question) = keeper.answering.questions.recv(), if reviews.len() < REVIEWS => match question {
                Question::Keys(answer) => keeper.answer_with_keys(answer).await,
                Question::Review(review, answer) => reviews.push(reviewed(keeper.client.clone(), review, answer).boxed()),
                Question::Access(access, answer) => reviews.push(decided(keeper.client.clone(), access, answer).boxed()),
            },
            Some(()) = reviews.next(), if !reviews.is_empty() => {}
            () = stop.cancelled() => return,
        }
    }
}

impl Keeper {
    fn found(&self) -> bool {
        self.looked.is_some_and(|(_, found)| found)
    }

    /// How long it takes until so much has passed since the last look.
    fn until(&self, interval: Duration) -> Duration {
        let since = self.looked.map_or(interval, |(begun, _)| ambient::boot_time().saturating_sub(begun));
        interval.saturating_sub(since)
    }

    async fn answer_with_keys(&mut self, answer: oneshot::Sender<()>) {
        if self.until(FRESH).is_zero() {
            self.look_up().await;
        }
        if self.found() {
            // Gone: whoever asked has given up.
            let _ = answer.send(());
        }
    }

    async fn look_up(&mut self) {
        let begun = ambient::boot_time();
        let fetched = fetched(&self.client).await;
        let is_news = self.looked.is_none() || self.found();
        self.looked = Some((begun, fetched.is_ok()));
        match fetched {
            Ok(issuer) => self.answering.issuer.store(Some(Arc::new(issuer))),
            // Said once: who has no use for it need not read it every few seconds.
            Err(error) if is_news => tracing::warn!(%error, "the keys of ServiceAccount tokens are as before; will be tried again"),
            Err(error) => tracing::debug!(%error, "the keys of ServiceAccount tokens are still as before"),
        }
    }
}

async fn fetched(client: &Client) -> Result<ClusterIssuer, FetchError> {
    let Discovery { issuer } = document(client, DISCOVERY).await?;
    let Jwks { keys } = document(client, JWKS).await?;
    // A cluster may have keys of algorithms that are none of ours: tokens of these are refused.
    let keys: Vec<VerificationKey> = keys.iter().filter_map(|jwk| VerificationKey::from_jwk(jwk).ok()).collect();
    if keys.is_empty() { Err(FetchError::NoKey) } else { Ok(ClusterIssuer { issuer, keys }) }
}

async fn document<T: for<'de> Deserialize<'de>>(client: &Client, path: &'static str) -> Result<T, FetchError> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| FetchError::Read(path, kube::Error::HttpError(error)))?;
    let text = client.request_text(request).await.map_err(|error| FetchError::Read(path, error))?;
    serde_json::from_str(&text).map_err(|error| FetchError::Form(path, error))
}

/// Answers, unless the API server does not.
async fn reviewed(client: Client, review: Review, answer: oneshot::Sender<bool>) {
    let Review { token, audience, subject } = review;
    let request = TokenReview {
        metadata: ObjectMeta::default(),
        spec: TokenReviewSpec { audiences: Some(vec![audience.clone()]), token: token.as_str().to_owned() },
        status: None,
    };
    match Api::<TokenReview>::all(client).create(&PostParams::default(), &request).await {
        Ok(TokenReview { status: Some(status), .. }) => {
            let is_authenticated = status.authenticated == Some(true);
            let is_for_us = status.audiences.unwrap_or_default().contains(&audience);
            let is_its = status.user.and_then(|user| user.username).as_deref() == Some(subject.as_str());
            // Gone: whoever asked has given up.
            let _ = answer.send(is_authenticated && is_for_us && is_its);
        }
        Ok(_) => tracing::warn!("the API server answered a TokenReview without a status"),
        Err(error) => tracing::warn!(%error, "a ServiceAccount token could not be reviewed: its client is answered 503"),
    }
}

/// Answers what the authorizers of the API server say, which know of no such subresource but what somebody wrote in a role. Asked in the
/// namespace of the API alone, for which a right in that namespace is enough.
async fn decided(client: Client, Access { account, resource }: Access, answer: oneshot::Sender<bool>) {
    let attributes = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        resource: Some(RESOURCES.to_owned()),
        subresource: Some(SUBRESOURCE_PROBE.to_owned()),
        verb: Some("create".to_owned()),
        namespace: Some(resource.namespace.clone()),
        name: Some(resource.name),
        ..ResourceAttributes::default()
    };
    let review = LocalSubjectAccessReview {
        metadata: ObjectMeta { namespace: Some(resource.namespace.clone()), ..ObjectMeta::default() },
        spec: SubjectAccessReviewSpec {
            user: Some(subject(&account.namespace, &account.name)),
            groups: Some(groups(&account.namespace).into()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        status: None,
    };
    match Api::<LocalSubjectAccessReview>::namespaced(client, &resource.namespace).create(&PostParams::default(), &review).await {
        Ok(LocalSubjectAccessReview { status: Some(status), .. }) => {
            // Gone: whoever asked has given up.
            let _ = answer.send(status.allowed && status.denied != Some(true));
        }
        Ok(_) => tracing::warn!("the API server answered a LocalSubjectAccessReview without a status"),
        Err(error) => tracing::warn!(%error, "whether a ServiceAccount may probe an API could not be found out: it is answered 503"),
    }
}
