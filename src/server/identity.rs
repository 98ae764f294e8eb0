//! Who asks: the same for every endpoint that wants to know.

use super::Endpoint;
use crate::{
    ambient,
    domain::{client::Client, credential::CredentialId},
    keys::KeySet,
    oauth::{
        Error,
        authn::{Answered, Authenticated, Authentication, Authority, Question, authenticate},
        presented::{Presented, Proof},
        throttle::Wait,
    },
    registry::snapshot::Snapshot,
    replica::contact::{Moment, Standing},
    service_accounts::desk::Review,
};
use std::net::IpAddr;

/// Where a request comes from, when, how far this replica may be believed then, and what was asked on its behalf.
#[derive(Clone, Copy)]
struct Circumstances {
    address: IpAddr,
    moment: Moment,
    standing: Standing,
    answered: Answered,
}

/// What a decision rests on, once it is known who asks.
#[derive(Clone, Copy)]
pub(super) struct Caller<'s> {
    pub(super) client: &'s Client,
    pub(super) credential: Option<&'s CredentialId>,
    pub(super) snapshot: &'s Snapshot,
    pub(super) keys: &'s KeySet,
    pub(super) moment: Moment,
    pub(super) standing: Standing,
}

/// What comes of a request.
enum Decision<T> {
    /// This.
    Made(T),
    /// That depends on what only the cluster knows.
    Asks(Question),
}

/// Finds out who asks, and decides; where that depends on a question asks it, and decides anew on what is known then. No question is asked
/// twice.
pub(super) async fn settled<T>(
    endpoint: &Endpoint,
    presented: Option<&Presented>,
    address: IpAddr,
    decide: impl Fn(Caller<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut answered = Answered::default();
    loop {
        // The clocks first, the snapshot after: an answer in good standing rests on a snapshot that is no older than the standing.
        let moment = ambient::moment();
        let standing = endpoint.contact.standing(moment);
        let circumstances = Circumstances { address, moment, standing, answered };
        match decision(endpoint, presented, circumstances, &decide).map_err(|error| error.in_standing(standing))? {
            Decision::Made(made) => return Ok(made),
            Decision::Asks(Question::ClusterKeys) => {
                endpoint.service_accounts.look_up_keys().await.map_err(|_| Error::Unavailable)?;
                answered.keys_are_fresh = true;
            }
            Decision::Asks(Question::TokenReview) => answered.review = Some(review(endpoint, presented).await?),
        }
    }
}

fn decision<T>(
    endpoint: &Endpoint,
    presented: Option<&Presented>,
    circumstances: Circumstances,
    decide: impl Fn(Caller<'_>) -> Result<T, Error>,
) -> Result<Decision<T>, Error> {
    let Circumstances { moment, standing, .. } = circumstances;
    if standing == Standing::Stale {
        return Err(Error::Unavailable);
    }
    let snapshot = endpoint.snapshot.load();
    let keys = snapshot.keys.as_deref().ok_or(Error::Unavailable)?;
    match authenticated(endpoint, presented, &snapshot, circumstances)? {
        Authentication::Client(Authenticated { client, credential, .. }) => {
            decide(Caller { client, credential, snapshot: &snapshot, keys, moment, standing }).map(Decision::Made)
        }
        Authentication::Asks(question) => Ok(Decision::Asks(question)),
    }
}

async fn review(endpoint: &Endpoint, presented: Option<&Presented>) -> Result<bool, Error> {
    let Some(Presented { proof: Proof::Assertion(assertion), .. }) = presented else { return Err(Error::Internal) };
    let review = Review { token: assertion.to_text(), audience: endpoint.issuer.as_str().to_owned(), subject: assertion.subject.clone() };
    endpoint.service_accounts.review(review).await.map_err(|_| Error::Unavailable)
}

/// The secret first: a right one never learns of the failures of others. In doubt nothing is known to be a failure.
fn authenticated<'s>(
    endpoint: &'s Endpoint,
    presented: Option<&Presented>,
    snapshot: &'s Snapshot,
    Circumstances { address, moment, standing, answered }: Circumstances,
) -> Result<Authentication<'s>, Error> {
    let digest = &snapshot.keys.as_deref().ok_or(Error::Unavailable)?.digest;
    let is_assertion = presented.is_some_and(|presented| matches!(presented.proof, Proof::Assertion(_)));
    let cluster = is_assertion.then(|| endpoint.service_accounts.issuer()).flatten();
    let (issuer, used, trust) = (&endpoint.issuer, &endpoint.used_assertions, endpoint.trust.load());
    let authority = Authority { snapshot, digest, issuer, used, cluster: cluster.as_deref(), trust: &trust, answered, now: moment };
    let found = authenticate(presented, &authority);
    let client_id = presented.map_or("", |presented| presented.client_id.as_str());
    let failures = &endpoint.throttle.failures;
    match &found {
        Ok(Authentication::Client(authenticated)) => {
            authenticated.note_use(moment.wall, address);
            failures.forgive(client_id, address, moment.boot);
        }
        Err(Error::InvalidClient | Error::SecretEndsWithLineBreak) if standing == Standing::Current => {
            failures.count(client_id, address, moment.boot).map_err(|Wait(seconds)| Error::TooManyFailures(seconds))?;
        }
        Ok(Authentication::Asks(_)) | Err(_) => {}
    }
    found
}
