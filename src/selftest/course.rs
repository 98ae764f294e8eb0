//! The steps of a test, in order, and a line for each.

use super::{
    fault::Fault,
    objects::SCOPE,
    patience::{InVain, Not, Patience},
    place::{Made, Place},
    verify::{Expected, verify},
};
use crate::{
    api::{Condition, ConditionType, OAuthClient, ProtectedResource},
    causes,
    workload::{
        binding::{Binding, Entries, Names},
        exchange::{self, Ask, ExchangeError, Issued},
    },
};
use k8s_openapi::api::core::v1::Secret;
use std::{
    fmt,
    io::{self, Write as _},
};
use zeroize::Zeroizing;

/// Behind one Service there are several replicas, and each of these requests has a connection of its own.
const REFUSALS: usize = 3;

/// What a test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create = 1,
    Ready,
    Read,
    Token,
    Verify,
    Delete,
    Refused,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Create => "create a client and its API",
            Self::Ready => "wait until both are Ready",
            Self::Read => "read the Secret",
            Self::Token => "get a token",
            Self::Verify => "verify the token",
            Self::Delete => "delete both and see the Secret go",
            Self::Refused => "see the client refused",
        };
        write!(f, "step {} of {}, {words}", *self as usize, Self::Refused as usize)
    }
}

/// Where a test ended, and why.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// Waiting would not have helped.
    #[error("{0}: {1}")]
    Never(Step, Fault),
    /// The time was over.
    #[error("{0}: the time is over (--timeout): {1}")]
    Late(Step, Fault),
    /// A signal.
    #[error("{0}: interrupted by a signal")]
    Stopped(Step),
}

/// See above.
pub(super) struct Course<'a> {
    pub(super) place: &'a Place,
    pub(super) patience: &'a Patience,
    /// What the issuer has to be.
    pub(super) issuer: Option<&'a str>,
}

impl Course<'_> {
    /// From nothing to nothing: client, Secret, token, API, and none of it left.
    pub(super) async fn prove(&self) -> Result<(), Failed> {
        let order = self.place.order();
        self.wait(Step::Create, async || self.create().await).await?;
        tell(Step::Create, &format!("ProtectedResource and OAuthClient {} (spec.issuer: {})", order.object, order.installation));

        let audience = self.wait(Step::Ready, async || self.ready().await).await?;
        tell(Step::Ready, &format!("Ready; the audience is {audience}"));

        let binding = self.wait(Step::Read, async || self.read().await).await?;
        let trusted = if binding.ca.is_some() { "ca.crt of the Secret" } else { "the system's CAs" };
        tell(Step::Read, &format!("the Secret says who the client is ({}) and where tokens are", binding.client_id));

        let issued = self.wait(Step::Token, async || token(&binding).await).await?;
        tell(Step::Token, &format!("a token from {}, trusting {trusted} alone", binding.token_uri));

        let verified = self.wait(Step::Verify, async || self.verify(&binding, &issued, &audience).await).await?;
        tell(Step::Verify, &verified);

        self.wait(Step::Delete, async || self.delete().await).await?;
        tell(Step::Delete, "both are deleted, and the Secret is gone");

        let mut refusals = 0;
        self.wait(Step::Refused, async || refused(&binding, &mut refusals).await).await?;
        tell(Step::Refused, "the client is refused (401 invalid_client)");
        Ok(())
    }

    async fn wait<T>(&self, step: Step, mut look: impl AsyncFnMut() -> Result<T, Fault>) -> Result<T, Failed> {
        let sorted = async || look().await.map_err(|fault| if fault.may_pass() { Not::Yet(fault) } else { Not::Ever(fault) });
        self.patience.until(sorted).await.map_err(|vain| match vain {
            InVain::Late(fault) => Failed::Late(step, fault),
            InVain::Never(fault) => Failed::Never(step, fault),
            InVain::Stopped => Failed::Stopped(step),
        })
    }

    async fn create(&self) -> Result<(), Fault> {
        self.place.create(&self.place.order().resource()).await.map_err(Fault::Place)?;
        self.place.create(&self.place.order().client()).await.map_err(Fault::Place)
    }

    /// The audience.
    async fn ready(&self) -> Result<String, Fault> {
        let resource: ProtectedResource = self.there().await?;
        let status = resource.status.as_ref();
        self.is_ready(&resource, status.and_then(|status| status.conditions.as_deref()))?;
        let client: OAuthClient = self.there().await?;
        self.is_ready(&client, client.status.as_ref().and_then(|status| status.conditions.as_deref()))?;
        Ok(status.and_then(|status| status.audience.clone()).unwrap_or_default())
    }

    async fn there<K: Made>(&self) -> Result<K, Fault> {
        let missing = || Fault::Missing { kind: K::kind(&()).into_owned(), object: self.place.order().object.clone() };
        self.place.find().await.map_err(Fault::Place)?.ok_or_else(missing)
    }

    /// As `kubectl wait` sees it: a condition of an earlier spec is none.
    fn is_ready<K: Made>(&self, object: &K, conditions: Option<&[Condition]>) -> Result<(), Fault> {
        let (kind, name) = (K::kind(&()).into_owned(), self.place.order().object.clone());
        let is_current =
            |found: &&Condition| found.type_ == ConditionType::Ready.as_str() && found.observed_generation == object.meta().generation;
        match conditions.and_then(|conditions| conditions.iter().find(is_current)) {
            Some(ready) if ready.status == "True" => Ok(()),
            Some(ready) => Err(Fault::Unready { kind, object: name, reason: ready.reason.clone(), message: ready.message.clone() }),
            None => Err(Fault::Unnoticed { kind, object: name, installation: self.place.order().installation.clone() }),
        }
    }

    async fn read(&self) -> Result<Binding, Fault> {
        let object = || self.place.order().object.clone();
        let secret = self.place.secret().await.map_err(Fault::Place)?;
        let secret = secret.ok_or_else(|| Fault::Missing { kind: "Secret".to_owned(), object: object() })?;
        let binding =
            Binding::read(&entries(secret), &Names::default(), true).map_err(|source| Fault::Binding { object: object(), source })?;
        match (&binding.issuer_uri, self.issuer) {
            (None, _) => Err(Fault::Incomplete(object(), "issuer-uri")),
            (Some(found), Some(expected)) if found != expected => {
                Err(Fault::Issuer { found: found.clone(), expected: expected.to_owned() })
            }
            _ => Ok(binding),
        }
    }

    async fn verify(&self, binding: &Binding, issued: &Issued, audience: &str) -> Result<String, Fault> {
        let lacks = |key| Fault::Incomplete(self.place.order().object.clone(), key);
        let url = binding.jwk_set_uri.as_deref().ok_or_else(|| lacks("jwk-set-uri"))?;
        let issuer = binding.issuer_uri.as_deref().ok_or_else(|| lacks("issuer-uri"))?;
        let keys = keys(url, binding.ca.as_deref()).await?;
        let expected = Expected { issuer, audience, client_id: &binding.client_id, scope: SCOPE };
        let algorithm = verify(&issued.token, &keys, expected).map_err(Fault::Verify)?;
        Ok(format!("an API accepts the token: {algorithm} by the keys of {url}, issuer, audience, client and scope are right"))
    }

    async fn delete(&self) -> Result<(), Fault> {
        self.place.remove::<OAuthClient>().await.map_err(Fault::Place)?;
        self.place.remove::<ProtectedResource>().await.map_err(Fault::Place)?;
        match self.place.secret().await.map_err(Fault::Place)? {
            None => Ok(()),
            Some(_) => Err(Fault::SecretStays(self.place.order().object.clone())),
        }
    }
}

/// What is no text is none of ours.
fn entries(secret: Secret) -> Entries {
    let data = secret.data.unwrap_or_default();
    data.into_iter().filter_map(|(name, bytes)| Some((name, Zeroizing::new(String::from_utf8(bytes.0).ok()?)))).collect()
}

async fn token(binding: &Binding) -> Result<Issued, Fault> {
    exchange::token(binding, None, &Ask::default()).await.map_err(Fault::Token)
}

async fn keys(url: &str, ca: Option<&str>) -> Result<Vec<u8>, Fault> {
    let failed = |error: reqwest::Error| Fault::Keys { url: url.to_owned(), why: causes::in_one_line(&error.without_url()) };
    let request = exchange::http_client(ca).map_err(Fault::Token)?.get(url);
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    Ok(answer.bytes().await.map_err(failed)?.to_vec())
}

async fn refused(binding: &Binding, refusals: &mut usize) -> Result<(), Fault> {
    while *refusals < REFUSALS {
        match exchange::token(binding, None, &Ask::default()).await {
            Err(ExchangeError::Refused { error, .. }) if error == "invalid_client" => *refusals += 1,
            Err(error) => return Err(Fault::Token(error)),
            Ok(_) => {
                *refusals = 0;
                return Err(Fault::StillAccepted(binding.token_uri.to_string()));
            }
        }
    }
    Ok(())
}

/// Nobody may be reading.
fn tell(step: Step, what: &str) {
    let _ = writeln!(io::stdout(), "{}/{} {what}", step as usize, Step::Refused as usize);
}
