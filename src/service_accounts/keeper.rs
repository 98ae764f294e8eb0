//! Fetches the cluster's keys and has tokens reviewed.
//!
//! The keys are the API server's own documents (`/.well-known/openid-configuration` and `/openid/v1/jwks`), which every ServiceAccount may
//! read by default: `jwks_uri` may lead elsewhere and is not followed. They are fetched again every few minutes, and when a token names a
//! key that is not there, but not more than once in ten seconds: a new key of the cluster needs no restart, and an invented one no load.
//! Many who ask at once share one look, and reviews are answered meanwhile.

use super::desk::{Access, Answering, Question, Review};
use crate::{
    ambient,
    api::{GROUP, RESOURCES, SUBRESOURCE_PROBE},
    domain::{
        jwk::VerificationKey,
        service_account::{ClusterIssuer, groups, subject},
    },
};
use arc_swap::ArcSwapOption;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Fuse, FusedFuture},
    stream::FuturesUnordered,
};
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
/// Most who wait for one look at the keys.
const ASKING: usize = 16_384;
/// Reviews at the same time. Each costs the API server a look at the token, its pod and its ServiceAccount.
const REVIEWS: usize = 32;

/// What a look at the keys came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// So many.
    Keys(usize),
    /// None, by an answer of the API server that will be the same the next time.
    Refused(String),
    /// None, because it did not answer.
    Unanswered,
}

/// Told of each look.
pub type Tell = Box<dyn Fn(Found) + Send + Sync>;

/// Why the keys are not known.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("reading {0} of the API server: {1}")]
    Read(&'static str, kube::Error),
    #[error("the API server answers {1} for {0}")]
    Refused(&'static str, u16),
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

type Look = Fuse<BoxFuture<'static, Result<ClusterIssuer, FetchError>>>;

struct Keeper {
    client: Client,
    issuer: Arc<ArcSwapOption<ClusterIssuer>>,
    tell: Tell,
    /// When the last look at the keys began, by the clock that never stops.
    begun: Option<Duration>,
    /// Whether the last one that has ended found them.
    found: Option<bool>,
    /// Who waits for the one that has not.
    asking: Vec<oneshot::Sender<()>>,
}

/// Answers until `stop`, and tells what each look at the keys came to. Reviews do not wait for a look at the keys, nor that for them.
pub async fn run(client: Client, answering: Answering, tell: Tell, stop: CancellationToken) {
    let Answering { issuer, mut questions, mut keys } = answering;
    let mut keeper = Keeper { client, issuer, tell, begun: None, found: None, asking: Vec::new() };
    let mut reviews = FuturesUnordered::new();
    let mut look = keeper.begin();
    loop {
        let next_look = if keeper.found == Some(true) { EVERY } else { SOON };
        let is_looking = !look.is_terminated();
        tokio::select! {
            fetched = &mut look, if is_looking => keeper.take_in(fetched),
            () = tokio::time::sleep(keeper.until(next_look)), if !is_looking => look = keeper.begin(),
            Some(answer) = keys.recv(), if keeper.asking.len() < ASKING => {
                keeper.asking.push(answer);
                if !is_looking && keeper.until(FRESH).is_zero() {
                    look = keeper.begin();
                } else if !is_looking {
                    keeper.answer_with_keys();
                }
            }
            Some(question) = questions.recv(), if reviews.len() < REVIEWS => match question {
                Question::Review(review, answer) => reviews.push(reviewed(keeper.client.clone(), review, answer).boxed()),
                Question::Access(access, answer) => reviews.push(decided(keeper.client.clone(), access, answer).boxed()),
            },
            Some(()) = reviews.next(), if !reviews.is_empty() => {}
            () = stop.cancelled() => return,
        }
    }
}

impl Keeper {
    /// How long it takes until so much has passed since the last look began.
    fn until(&self, interval: Duration) -> Duration {
        let since = self.begun.map_or(interval, |begun| ambient::boot_time().saturating_sub(begun));
        interval.saturating_sub(since)
    }

    fn begin(&mut self) -> Look {
        self.begun = Some(ambient::boot_time());
        fetched(self.client.clone()).boxed().fuse()
    }

    fn take_in(&mut self, fetched: Result<ClusterIssuer, FetchError>) {
        let is_news = self.found != Some(false);
        self.found = Some(fetched.is_ok());
        (self.tell)(found(&fetched));
        match fetched {
            Ok(issuer) => self.issuer.store(Some(Arc::new(issuer))),
            // Said once: who has no use for it need not read it every few seconds.
            Err(error) if is_news => tracing::warn!(%error, "the keys of ServiceAccount tokens are as before; will be tried again"),
            Err(error) => tracing::debug!(%error, "the keys of ServiceAccount tokens are still as before"),
        }
        self.answer_with_keys();
    }

    fn answer_with_keys(&mut self) {
        for answer in self.asking.drain(..) {
            if self.found == Some(true) {
                // Gone: whoever asked has given up.
                let _ = answer.send(());
            }
        }
    }
}

fn found(fetched: &Result<ClusterIssuer, FetchError>) -> Found {
    match fetched {
        Ok(issuer) => Found::Keys(issuer.keys.len()),
        Err(FetchError::Read(..)) => Found::Unanswered,
        Err(error @ (FetchError::Refused(..) | FetchError::Form(..) | FetchError::NoKey)) => Found::Refused(error.to_string()),
    }
}

/// What a client is told will not be otherwise the next time. 429 is not of this kind: the API server is busy.
fn failed(path: &'static str, error: kube::Error) -> FetchError {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => FetchError::Refused(path, status.code),
        error => FetchError::Read(path, error),
    }
}

async fn fetched(client: Client) -> Result<ClusterIssuer, FetchError> {
    let Discovery { issuer } = document(&client, DISCOVERY).await?;
    let Jwks { keys } = document(&client, JWKS).await?;
    // A cluster may have keys of algorithms that are none of ours: tokens of these are refused.
    let keys: Vec<VerificationKey> = keys.iter().filter_map(|jwk| VerificationKey::from_jwk(jwk).ok()).collect();
    if keys.is_empty() { Err(FetchError::NoKey) } else { Ok(ClusterIssuer { issuer, keys }) }
}

async fn document<T: for<'de> Deserialize<'de>>(client: &Client, path: &'static str) -> Result<T, FetchError> {
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| FetchError::Read(path, kube::Error::HttpError(error)))?;
    let text = client.request_text(request).await.map_err(|error| failed(path, error))?;
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

#[cfg(test)]
mod tests {
    use super::super::desk::Desk;
    use super::*;
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use tokio::sync::Semaphore;

    /// RFC 7515 A.3.1.
    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    /// An API server that answers TokenReviews at once, and gives its documents one by one, as it is let.
    fn api_server(looks: &Arc<AtomicUsize>, lets: &Arc<Semaphore>) -> Client {
        let (looks, lets) = (Arc::clone(looks), Arc::clone(lets));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (looks, lets) = (Arc::clone(&looks), Arc::clone(&lets));
            async move {
                let answer = match request.uri().path() {
                    DISCOVERY => {
                        looks.fetch_add(1, Relaxed);
                        lets.acquire().await.map_err(std::io::Error::other)?.forget();
                        json!({"issuer": "https://cluster"})
                    }
                    JWKS => json!({"keys": [{"kty": "EC", "crv": "P-256", "x": X, "y": Y}]}),
                    _ => json!({
                        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {}, "spec": {},
                        "status": {"authenticated": true, "audiences": ["us"], "user": {"username": "worker"}},
                    }),
                };
                Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::from(answer.to_string().into_bytes())))
            }
        });
        Client::new(service, "default")
    }

    /// S16: while the API server does not give its keys, many who name one that nobody knows take no room from reviews, and cost one look.
    #[tokio::test]
    async fn who_asks_for_keys_is_not_in_the_way_of_reviews() {
        let (looks, lets) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let (desk, answering) = Desk::new();
        let (told, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let tell = {
            let told = Arc::clone(&told);
            move |found| told.store(if let Found::Keys(count) = found { count } else { 0 }, Relaxed)
        };
        let running = tokio::spawn(run(api_server(&looks, &lets), answering, Box::new(tell), stop.clone()));
        let asking = futures::future::join_all((0..500).map(|_| desk.look_up_keys()));
        let reviewed = async {
            let review = Review { token: String::from("x").into(), audience: "us".to_owned(), subject: "worker".to_owned() };
            assert_eq!(desk.review(review).await, Ok(true));
            assert!(desk.issuer().is_none() && told.load(Relaxed) == 0);
            lets.add_permits(1);
        };
        let both = async { tokio::join!(asking, reviewed) };
        let (asked, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
        assert!(asked.iter().all(Result::is_ok));
        // Nor does whoever comes a moment later cost another one.
        assert_eq!(desk.look_up_keys().await, Ok(()));
        assert!(desk.issuer().is_some() && told.load(Relaxed) == 1);
        assert_eq!(looks.load(Relaxed), 1);
        stop.cancel();
        running.await.unwrap();
    }
}
