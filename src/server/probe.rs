//! Tokens for an API's owner to probe the API with (`oauth::probe`). No OAuth endpoint: served where it is switched on, and named by no
//! metadata.

use super::{Endpoint, body, record::ProbeRecord, respond};
use crate::{
    ambient,
    domain::{
        names::ObjectName,
        resource::{Algorithm, Resource},
    },
    keys::SigningKey,
    oauth::{
        Error,
        authn::Question,
        presented::Presented,
        probe::{Materials, Minted},
        request::Head,
        service_account::{Account, Cluster},
        throttle::Wait,
    },
    registry::snapshot::Snapshot,
    replica::contact::Standing,
    service_accounts::desk::Access,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};
use std::{net::IpAddr, sync::Arc};
use tokio::sync::OnceCell;

/// Keys that sign what no verifier may accept. Each is made when it is first asked for, stays in memory, and is published nowhere.
#[derive(Default)]
pub struct Strangers([OnceCell<SigningKey>; Algorithm::ALL.len()]);

impl Strangers {
    /// That of this algorithm. Making an RSA key takes a core for a moment, which no other request may wait for.
    async fn of(&self, algorithm: Algorithm) -> Result<&SigningKey, Error> {
        let place = Algorithm::ALL.iter().position(|known| *known == algorithm);
        let cell = place.and_then(|place| self.0.get(place)).ok_or(Error::Internal)?;
        let made = async || match tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await {
            Ok(Ok(key)) => Ok(key),
            Ok(Err(_)) | Err(_) => Err(Error::Internal),
        };
        cell.get_or_try_init(made).await
    }
}

/// Answers `POST /oauth2/probe`.
pub(super) async fn probe(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut record = ProbeRecord::default();
    let answer = answer(&endpoint, &parts, body, &mut record).await;
    record.tell(&endpoint, &parts, answer.as_ref().err().copied(), ambient::moment());
    match answer {
        Ok(body) => respond::respond_with_token(body),
        Err(error) => respond::respond(error),
    }
}

async fn answer(endpoint: &Endpoint, parts: &Parts, body: Body, record: &mut ProbeRecord) -> Result<Vec<u8>, Error> {
    let strangers = endpoint.strangers.as_ref().ok_or(Error::NotFound)?;
    let head = Head::read(&parts.method, &parts.headers)?;
    let body = body::read(body, endpoint.body_limits).await?;
    let request = head.probe_request(&body)?;
    let account = identified(endpoint, request.presented.as_ref(), endpoint.caller(parts)).await?;
    record.is_by(&account);
    let name = request.resource()?;
    record.is_about(&name);
    may(endpoint, account, name.clone()).await?;
    let resource = served(endpoint, &name)?;
    let stranger = strangers.of(resource.algorithm).await?;
    let snapshot = endpoint.snapshot.load();
    let minted = mint(endpoint, &resource, stranger, &snapshot)?;
    record.gets(resource.audience.as_str(), minted.count());
    minted.body()
}

/// Which ServiceAccount asks. Failures are counted as those of clients are.
async fn identified(endpoint: &Endpoint, presented: Option<&Presented>, address: IpAddr) -> Result<ObjectName, Error> {
    let mut keys_are_fresh = false;
    loop {
        let moment = ambient::moment();
        let known = endpoint.service_accounts.issuer();
        let cluster = Cluster { known: known.as_deref(), keys_are_fresh, issuer: &endpoint.issuer, now: moment.wall };
        match cluster.account(presented) {
            Ok(Account::Is(account)) => return Ok(account),
            Ok(Account::Asks(Question::ClusterKeys)) => {
                endpoint.service_accounts.look_up_keys().await.map_err(|_| Error::Unavailable)?;
                keys_are_fresh = true;
            }
            Ok(Account::Asks(Question::TokenReview)) => return Err(Error::Internal),
            Err(Error::InvalidClient) => {
                let claimed = presented.map_or("", |presented| presented.client_id.as_str());
                let counted = endpoint.throttle.failures.count(claimed, address, moment.boot);
                return Err(counted.map_or_else(|Wait(seconds)| Error::TooManyFailures(seconds), |()| Error::InvalidClient));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The API server decides, each time anew.
async fn may(endpoint: &Endpoint, account: ObjectName, resource: ObjectName) -> Result<(), Error> {
    let asked = endpoint.throttle.probes.count(&account.to_string(), ambient::boot_time());
    asked.map_err(|Wait(seconds)| Error::TooManyProbes(seconds))?;
    match endpoint.service_accounts.may_probe(Access { account, resource }).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::MayNotProbe),
        Err(_) => Err(Error::Unavailable),
    }
}

fn served(endpoint: &Endpoint, name: &ObjectName) -> Result<Arc<Resource>, Error> {
    let standing = endpoint.contact.standing(ambient::moment());
    if standing == Standing::Stale {
        return Err(Error::Unavailable);
    }
    endpoint.snapshot.load().resources.get(name).map(Arc::clone).ok_or_else(|| Error::NoSuchResource.in_standing(standing))
}

fn mint<'a>(endpoint: &'a Endpoint, resource: &'a Resource, stranger: &'a SigningKey, snapshot: &'a Snapshot) -> Result<Minted<'a>, Error> {
    let keys = snapshot.keys.as_deref().ok_or(Error::Unavailable)?;
    let (issuer, now) = (endpoint.issuer.as_str(), ambient::now().as_second());
    Minted::of(Materials { resource, issuer, keys, stranger, now }, ambient::draw_jti)
}
