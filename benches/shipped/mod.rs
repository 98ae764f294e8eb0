//! The token endpoint as it is shipped, but for Kubernetes and TLS, and a request to it.

use axum::Router;
use jiff::Timestamp;
use keywright::{
    ambient,
    audit::{Desk, Share},
    domain::{
        client::{Access, Client, RegisteredClient, SecretMethod},
        credential::{Credential, CredentialState, SecretValue},
        names::{Audience, ClientId, ObjectName, Scope},
        resource::{Algorithm, Grant, Namespaces, Resource, TokenType},
    },
    keys::{DigestKey, KeySet, SigningKey},
    metrics::TokenMetrics,
    oauth::{metadata::Issuer, throttle::Throttle},
    registry::snapshot::Snapshot,
    replica::contact::{Contact, Patience},
    server::{Endpoint, router},
};
use std::{sync::Arc, time::Duration};

/// Limits, router, authentication, grants, metrics.
pub(crate) fn endpoint(algorithm: Algorithm, secret: &SecretValue) -> Router {
    let endpoint = Endpoint {
        snapshot: Arc::new(arc_swap::ArcSwap::from_pointee(snapshot(algorithm, secret))),
        contact: Arc::new(in_contact()),
        issuer: Issuer::parse("https://keywright.auth.svc").unwrap(),
        algorithm,
        lifetimes: Default::default(),
        body_limits: Default::default(),
        used_assertions: Arc::default(),
        ping_federate_paths: false,
        strangers: None,
        revocations: keywright::revocation::desk::Desk::new().0,
        trust: Default::default(),
        service_accounts: keywright::service_accounts::desk::Desk::new().0,
        throttle: Throttle::new(None),
        metrics: TokenMetrics::new(&mut Default::default()),
        audit: audit(),
        trusted_proxies: Default::default(),
    };
    router(Arc::new(endpoint))
}

/// Every event is handed on and thrown away.
fn audit() -> Desk {
    let (desk, mut events) = Desk::new(Share::ALL, Default::default());
    std::thread::spawn(move || while events.blocking_recv().is_some() {});
    desk
}

/// For as long as the benchmark runs.
fn in_contact() -> Contact {
    let hour = Duration::from_secs(3600);
    let contact = Contact::new(Patience { doubt: hour, stale: hour });
    contact.renewed(ambient::moment(), ambient::moment());
    contact.refreshed(ambient::moment(), ambient::moment());
    contact
}

/// One client among a thousand, with one API and three scopes.
fn snapshot(algorithm: Algorithm, secret: &SecretValue) -> Snapshot {
    let digest = DigestKey::new(&ambient::random());
    let mut snapshot = Snapshot::default();
    for number in 0..1_000 {
        let client = client(number);
        let credentials = vec![credential(&client.uid, &digest, secret)];
        snapshot.clients.insert(client.id.clone(), Arc::new(RegisteredClient::new(client, credentials)));
    }
    let resource = resource(algorithm);
    snapshot.audiences.insert(resource.audience.clone(), resource.object.clone());
    snapshot.resources.insert(resource.object.clone(), Arc::new(resource));
    snapshot.keys = Some(Arc::new(KeySet::new(vec![SigningKey::generate(algorithm).unwrap()], &[], digest)));
    snapshot
}

fn scopes() -> Vec<Scope> {
    ["invoices.read", "invoices.write", "invoices.approve"].map(|text| Scope::parse(text).unwrap()).into()
}

fn client(number: usize) -> Client {
    Client {
        id: ClientId::parse(&format!("billing.worker-{number}")).unwrap(),
        object: ObjectName::new("billing", format!("worker-{number}")),
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        created_at: Timestamp::UNIX_EPOCH,
        access: vec![Access { resource: ObjectName::new("shop", "invoices"), scopes: scopes() }],
        secret_method: Some(SecretMethod::Any),
        private_key_jwt: None,
        service_accounts: Vec::new(),
        workloads: Vec::new(),
        tokens_issued_before: None,
        token_lifetime: None,
        disabled: false,
    }
}

fn credential(uid: &str, digest: &DigestKey, secret: &SecretValue) -> Credential {
    let (id, _) = ambient::draw_credential();
    let (digest, state) = (digest.digest(uid, &id, secret), CredentialState::Current);
    Credential {
        id,
        digest,
        state,
        created_at: Timestamp::UNIX_EPOCH,
        retire_after: None,
        accepted_until: None,
        rehearsed_until: None,
        last_used_at: None,
    }
}

fn resource(algorithm: Algorithm) -> Resource {
    let grant = Grant {
        namespaces: Namespaces::Named(["billing".to_owned()].into()),
        clients: None,
        scopes: scopes().into_iter().collect(),
        claims: serde_json::Map::new(),
        expires: None,
    };
    Resource {
        object: ObjectName::new("shop", "invoices"),
        uid: "00000000-0000-0000-0001-000000000000".to_owned(),
        audience: Audience::parse("https://invoices.shop.svc").unwrap(),
        scopes: scopes(),
        grants: vec![grant],
        introspectors: Default::default(),
        algorithm,
        token_type: TokenType::AtJwt,
        max_lifetime: None,
    }
}

/// As most libraries send it: Basic, the form and a few headers.
pub(crate) fn token_request(secret: &SecretValue) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let credentials = STANDARD.encode(format!("billing.worker-500:{}", secret.expose()));
    let form = "grant_type=client_credentials&scope=invoices.read+invoices.write";
    format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: keywright.auth.svc\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n\
         Authorization: Basic {credentials}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}
