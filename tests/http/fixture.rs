//! An installation with a few APIs and clients, and a way to ask it.

mod objects;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use keywright::{
    ambient, audit,
    domain::{
        client::{Access, Client, RegisteredClient, SecretMethod},
        credential::{Credential, CredentialId, CredentialState, SecretValue},
        names::{ClientId, ObjectName, Scope},
        resource::{Algorithm, Resource},
        service_account::ClusterIssuer,
        trust_domain::TrustBundles,
    },
    keys::{DigestKey, KeySet, SigningKey},
    metrics::TokenMetrics,
    oauth::{
        grant::Lifetimes,
        metadata::Issuer,
        throttle::{Failures, Rate, Throttle},
    },
    registry::snapshot::Snapshot,
    replica::contact::{Contact, Patience},
    revocation::desk as revocation,
    server::{BodyLimits, Endpoint, Peer, Strangers, proxies::TrustedProxies, router},
    service_accounts::desk::{Desk, Question},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde_json::Value;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, oneshot};
use tower::Service as _;

pub(crate) const ISSUER: &str = "https://keywright.keywright.svc";
pub(crate) const INVOICES: &str = "https://invoices.shop.svc";
pub(crate) const ORDERS: &str = "https://orders.shop.svc";
/// 43 base64url characters, as every secret of ours.
pub(crate) const SECRET: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3J";

/// Making an RSA key takes a while, and no test changes the keys.
static KEYS: LazyLock<Arc<KeySet>> = LazyLock::new(|| {
    let active = [Algorithm::Rs256, Algorithm::Es256].map(|algorithm| SigningKey::generate(algorithm).unwrap());
    Arc::new(KeySet::new(active.into(), &[], DigestKey::new(&[7; 32])))
});

/// One replica.
pub(crate) struct Replica {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) registry: Registry,
    pub(crate) router: Router,
    /// The cluster's keys, as the replica knows them.
    pub(crate) cluster: Arc<ArcSwapOption<ClusterIssuer>>,
    /// What is known of the trust domains of SPIFFE.
    pub(crate) trust: Arc<ArcSwap<TrustBundles>>,
    /// What is revoked, and what is to be.
    pub(crate) keeping: Arc<Mutex<revocation::Keeping>>,
    /// What it tells the audit log.
    pub(crate) events: Arc<Mutex<mpsc::Receiver<audit::Event>>>,
    /// What it asks the cluster.
    pub(crate) questions: Arc<Mutex<mpsc::Receiver<Question>>>,
    /// Who waits for a look at the cluster's keys.
    pub(crate) keys: Arc<Mutex<mpsc::Receiver<oneshot::Sender<()>>>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// How far the replica under test may be believed.
pub(crate) enum InContact {
    Yes,
    No,
    NotForLong,
}

#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) ping_federate_paths: bool,
    pub(crate) probes: bool,
    /// Of the successes, what the audit log names; absent: all.
    pub(crate) share: Option<audit::Share>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) trust: TrustBundles,
}

impl Replica {
    pub(crate) fn new() -> Self {
        Self::with(ISSUER, InContact::Yes, BodyLimits::default())
    }

    pub(crate) fn with(issuer: &str, contact: InContact, body_limits: BodyLimits) -> Self {
        Self::throttled(issuer, contact, body_limits, Throttle::new(None))
    }

    /// One that serves each client with this quota of tokens.
    pub(crate) fn with_quota(quota: Rate) -> Self {
        Self::throttled(ISSUER, InContact::Yes, BodyLimits::default(), Throttle::new(Some(quota)))
    }

    /// One that never says that there were too many failures.
    pub(crate) fn forbearing() -> Self {
        let failures = Failures::new(Rate::per_second(u32::MAX, u32::MAX));
        Self::throttled(ISSUER, InContact::Yes, BodyLimits::default(), Throttle { failures, ..Throttle::new(None) })
    }

    pub(crate) fn with_throttle(throttle: Throttle) -> Self {
        Self::throttled(ISSUER, InContact::Yes, BodyLimits::default(), throttle)
    }

    /// One that answers at PingFederate's paths too.
    pub(crate) fn at_other_paths() -> Self {
        let extras = Extras { ping_federate_paths: true, ..Extras::default() };
        Self::made(ISSUER, InContact::Yes, BodyLimits::default(), Throttle::new(None), extras)
    }

    /// One that makes tokens to probe APIs with.
    pub(crate) fn probing(contact: InContact) -> Self {
        let extras = Extras { probes: true, share: Some(audit::Share::NONE), ..Extras::default() };
        Self::made(ISSUER, contact, BodyLimits::default(), Throttle::new(None), extras)
    }

    /// One whose audit log names this part of the tokens.
    pub(crate) fn auditing(share: audit::Share) -> Self {
        let extras = Extras { share: Some(share), ..Extras::default() };
        Self::made(ISSUER, InContact::Yes, BodyLimits::default(), Throttle::new(None), extras)
    }

    /// One that knows these trust domains of SPIFFE, and nothing of them yet.
    pub(crate) fn trusting(names: &[&str]) -> Self {
        let extras = Extras { trust: TrustBundles::new(names.iter().map(|name| (*name).to_owned())), ..Extras::default() };
        let failures = Failures::new(Rate::per_second(u32::MAX, u32::MAX));
        Self::made(ISSUER, InContact::Yes, BodyLimits::default(), Throttle { failures, ..Throttle::new(None) }, extras)
    }

    fn throttled(issuer: &str, contact: InContact, body_limits: BodyLimits, throttle: Throttle) -> Self {
        Self::made(issuer, contact, body_limits, throttle, Extras::default())
    }

    pub(crate) fn made(issuer: &str, contact: InContact, body_limits: BodyLimits, throttle: Throttle, extras: Extras) -> Self {
        let Extras { ping_federate_paths, probes, share, trusted_proxies, trust } = extras;
        let trust = Arc::new(ArcSwap::from_pointee(trust));
        let snapshot = Arc::new(ArcSwap::from_pointee(objects::snapshot()));
        let mut registry = Registry::default();
        let (service_accounts, cluster) = Desk::new();
        let (revocations, keeping) = revocation::Desk::new();
        keeping.revoked.store(Some(Arc::default()));
        let (audit, events) = audit::Desk::new(share.unwrap_or(audit::Share::ALL), Counter::default());
        let endpoint = Endpoint {
            snapshot: Arc::clone(&snapshot),
            contact: Arc::new(contact.record()),
            issuer: Issuer::parse(issuer).unwrap(),
            algorithm: Algorithm::Rs256,
            lifetimes: Lifetimes::default(),
            body_limits,
            trusted_proxies,
            used_assertions: Arc::default(),
            ping_federate_paths,
            strangers: probes.then(Strangers::default),
            trust: Arc::clone(&trust),
            service_accounts,
            revocations,
            throttle,
            metrics: TokenMetrics::new(&mut registry),
            audit,
        };
        Self {
            snapshot,
            registry,
            router: router(Arc::new(endpoint)),
            trust,
            cluster: cluster.issuer,
            questions: Arc::new(Mutex::new(cluster.questions)),
            keys: Arc::new(Mutex::new(cluster.keys)),
            keeping: Arc::new(Mutex::new(keeping)),
            events: Arc::new(Mutex::new(events)),
        }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().call(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: to_bytes(body, usize::MAX).await.unwrap().into() }
    }

    /// A token request with these header fields.
    pub(crate) async fn post(&self, fields: &[(HeaderName, &str)], body: &str) -> Answer {
        self.post_from("127.0.0.1", fields, body).await
    }

    /// The same, from this address.
    pub(crate) async fn post_from(&self, address: &str, fields: &[(HeaderName, &str)], body: &str) -> Answer {
        let mut request = Request::post("/oauth2/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request = request.extension(Peer(address.parse().unwrap()));
        for (name, value) in fields {
            request = request.header(name, *value);
        }
        self.ask(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// A token request of that client, with the right secret in the header.
    pub(crate) async fn token(&self, client_id: &str, body: &str) -> Answer {
        self.post(&[basic(client_id, SECRET)], &format!("grant_type=client_credentials&{body}")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Changes what the replica knows.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Changes one client.
    pub(crate) fn change_client(&self, id: &str, change: impl FnOnce(&mut RegisteredClient)) {
        self.change(|snapshot| {
            let id = ClientId::parse(id).unwrap();
            let mut known = RegisteredClient::clone(snapshot.clients.get(&id).unwrap());
            change(&mut known);
            snapshot.clients.insert(id, Arc::new(known));
        });
    }

    /// Changes one API of the namespace shop.
    pub(crate) fn change_resource(&self, name: &str, change: impl FnOnce(&mut Resource)) {
        self.change(|snapshot| {
            let object = ObjectName::new("shop", name);
            let mut known = Resource::clone(snapshot.resources.get(&object).unwrap());
            change(&mut known);
            snapshot.resources.insert(object, Arc::new(known));
        });
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is no JSON"))
    }

    /// Status and `error`; a success has none.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    /// The claims, unverified.
    pub(crate) fn claims(&self) -> Value {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let token = self.json()["access_token"].as_str().unwrap_or_else(|| panic!("{:?} has no token", self.json())).to_owned();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
    }
}

impl InContact {
    pub(crate) fn record(&self) -> Contact {
        let long = Duration::from_secs(3_600);
        let contact = Contact::new(Patience { doubt: long, stale: if matches!(self, Self::NotForLong) { Duration::ZERO } else { long } });
        if !matches!(self, Self::No) {
            let begun = ambient::moment();
            contact.renewed(begun, ambient::moment());
            let listed = ambient::moment();
            contact.refreshed(listed, ambient::moment());
        }
        contact
    }
}

pub(crate) fn basic(client_id: &str, secret: &str) -> (HeaderName, &'static str) {
    let value = format!("Basic {}", STANDARD.encode(format!("{client_id}:{secret}")));
    (header::AUTHORIZATION, value.leak())
}

pub(crate) fn unauthorized() -> (u16, String) {
    (401, "invalid_client".to_owned())
}

pub(crate) fn refused(error: &str) -> (u16, String) {
    (400, error.to_owned())
}

pub(crate) fn scopes(names: &[&str]) -> Vec<Scope> {
    names.iter().map(|name| Scope::parse(name).unwrap()).collect()
}

pub(crate) fn access(resource: &str, names: &[&str]) -> Access {
    Access { resource: ObjectName::new("shop", resource), scopes: scopes(names) }
}

pub(crate) fn credential(client: &Client, secret: &str) -> Credential {
    let (id, _) = ambient::draw_credential();
    let digest = KEYS.digest.digest(&client.uid, &id, &SecretValue::from_text(secret.to_owned()));
    let (state, created_at) = (CredentialState::Current, Timestamp::UNIX_EPOCH);
    let (retire_after, accepted_until, rehearsed_until, last_used_at) = (None, None, None, None);
    Credential { id, digest, state, created_at, retire_after, accepted_until, rehearsed_until, last_used_at }
}

/// A client of the namespace billing with one credential, [`SECRET`].
pub(crate) fn client(name: &str, access: Vec<Access>) -> RegisteredClient {
    let client = Client {
        id: ClientId::parse(&format!("billing.{name}")).unwrap(),
        object: ObjectName::new("billing", name),
        uid: format!("00000000-0000-0000-0000-{:012x}", name.bytes().map(u64::from).sum::<u64>()),
        created_at: Timestamp::UNIX_EPOCH,
        access,
        secret_method: Some(SecretMethod::Any),
        private_key_jwt: None,
        service_accounts: Vec::new(),
        workloads: Vec::new(),
        tokens_issued_before: None,
        token_lifetime: None,
        disabled: false,
    };
    let credentials = vec![credential(&client, SECRET)];
    RegisteredClient::new(client, credentials)
}

/// An id that no credential has.
pub(crate) fn other_id() -> CredentialId {
    CredentialId::from_random([9; 16])
}
