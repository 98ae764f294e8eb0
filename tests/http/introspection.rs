//! Introspection: the I rows, but for I06 (signed answers), which are in `introspection_jwt`.

use crate::{
    fixture::{Answer, INVOICES, ISSUER, InContact, Replica, SECRET, basic, client, refused, unauthorized},
    signer::JWT_BEARER,
};
use axum::{
    body::Body,
    http::{Request, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use keywright::{
    ambient,
    domain::{client::RegisteredClient, names::ClientId, names::ObjectName, resource::Algorithm},
    keys::SigningKey,
    oauth::throttle::{Rate, Throttle},
    revocation::list::{Revoked, TokenHash},
    server::{BodyLimits, Peer},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The API invoices, as a client of its own namespace.
pub(crate) const API: &str = "shop.api";

fn replica() -> Replica {
    with_api(Replica::new())
}

/// A client of the API's namespace, which the API names; and one that it does not name.
pub(crate) fn with_api(replica: Replica) -> Replica {
    for name in ["api", "stranger"] {
        let mut client = client(name, vec![]).client;
        client.id = ClientId::parse(&format!("shop.{name}")).unwrap();
        client.object = ObjectName::new("shop", name);
        let credentials = vec![crate::fixture::credential(&client, SECRET)];
        let known = Arc::new(RegisteredClient::new(client, credentials));
        replica.change(|snapshot| drop(snapshot.clients.insert(known.client.id.clone(), known)));
    }
    replica
}

pub(crate) async fn ask(replica: &Replica, fields: &[(axum::http::HeaderName, &str)], body: &str) -> Answer {
    let mut request = Request::post("/oauth2/introspect").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request = request.extension(Peer("127.0.0.1".parse().unwrap()));
    for (name, value) in fields {
        request = request.header(name, *value);
    }
    replica.ask(request.body(Body::from(body.to_owned())).unwrap()).await
}

pub(crate) async fn introspected_by(replica: &Replica, caller: &str, token: &str) -> Answer {
    ask(replica, &[basic(caller, SECRET)], &format!("token={token}")).await
}

/// Whether the answer is the one that says nothing.
pub(crate) fn is_inactive(answer: &Answer) -> bool {
    assert_eq!((answer.status.as_u16(), &answer.headers[header::CACHE_CONTROL]), (200, &"no-store".parse().unwrap()), "{answer:?}");
    answer.body == br#"{"active":false}"#
}

pub(crate) async fn token(replica: &Replica, client_id: &str) -> String {
    replica.token(client_id, "").await.json()["access_token"].as_str().unwrap().to_owned()
}

/// I02, I04: whatever the hint says.
#[tokio::test]
async fn the_api_is_told_what_an_active_token_says() {
    let replica = replica();
    let answer = replica.token("billing.worker", "").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    for hint in ["", "&token_type_hint=access_token", "&token_type_hint=refresh_token", "&token_type_hint=x", "&token_type_hint="] {
        let told = ask(&replica, &[basic(API, SECRET)], &format!("token={token}{hint}")).await;
        assert_eq!((told.status.as_u16(), &told.headers[header::CACHE_CONTROL]), (200, &"no-store".parse().unwrap()));
        let mut expected = answer.claims();
        expected["active"] = json!(true);
        expected["token_type"] = json!("Bearer");
        assert_eq!(told.json(), expected, "{hint}");
    }
    let told = introspected_by(&replica, API, &token).await.json();
    assert_eq!((&told["iss"], &told["aud"], &told["scope"]), (&json!(ISSUER), &json!(INVOICES), &json!("invoices.read invoices.write")));
    assert_eq!((&told["client_id"], &told["sub"], &told["tier"]), (&json!("billing.worker"), &json!("billing.worker"), &json!("batch")));
    assert!(told["exp"].is_i64() && told["iat"].is_i64() && told["jti"].is_string());
}

/// I03, S9: also the client itself, and a client of the same namespace that the owner does not name, learn nothing.
#[tokio::test]
async fn everybody_else_is_told_that_it_is_not_active() {
    let replica = replica();
    let token = token(&replica, "billing.worker").await;
    for caller in ["billing.worker", "billing.orders", "shop.stranger"] {
        assert!(is_inactive(&introspected_by(&replica, caller, &token).await), "{caller}");
    }
    assert!(!is_inactive(&introspected_by(&replica, API, &token).await));
    replica.change_resource("invoices", |resource| resource.introspectors.clear());
    assert!(is_inactive(&introspected_by(&replica, API, &token).await));
    // A client of that name in another namespace is somebody else.
    replica.change_resource("invoices", |resource| resource.introspectors = ["worker".to_owned()].into());
    assert!(is_inactive(&introspected_by(&replica, "billing.worker", &token).await));
}

fn forged(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()))
}

/// I03, S1: what this installation did not sign.
#[tokio::test]
async fn garbage_and_forgeries_are_not_active() {
    let replica = replica();
    let answer = replica.token("billing.worker", "").await;
    let (token, claims) = (answer.json()["access_token"].as_str().unwrap().to_owned(), answer.claims());
    let [header, payload, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let own: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let with = |header: Value| format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let mut other = claims;
    other["client_id"] = json!("billing.orders");
    for wrong in [
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{token}x"),
        format!("{token}."),
        format!(".{token}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(other.to_string())),
        with(json!({"alg": "none", "kid": own["kid"], "typ": "at+jwt"})),
        with(json!({"alg": "HS256", "kid": own["kid"], "typ": "at+jwt"})),
        with(json!({"alg": "RS256", "kid": own["kid"], "typ": "at+jwt"})),
        with(json!({"alg": own["alg"], "typ": "at+jwt"})),
        forged(&key, &own, &other),
        forged(&key, &json!({"alg": "ES256", "kid": key.kid(), "typ": "at+jwt"}), &other),
        "x".repeat(60_000),
    ] {
        assert!(is_inactive(&introspected_by(&replica, API, &wrong).await), "{wrong}");
    }
}

/// I05, I07: at the moment at which this replica knows it.
#[tokio::test]
async fn the_tokens_of_a_client_that_may_not_have_any_are_not_active() {
    let replica = replica();
    let token = token(&replica, "billing.worker").await;
    let id = ClientId::parse("billing.worker").unwrap();
    let known = Arc::clone(replica.snapshot.load().clients.get(&id).unwrap());
    let is_active = async || !is_inactive(&introspected_by(&replica, API, &token).await);
    assert!(is_active().await);
    replica.change_client("billing.worker", |known| known.client.disabled = true);
    assert!(!is_active().await);
    replica.change(|snapshot| drop(snapshot.clients.remove(&id)));
    assert!(!is_active().await);
    let put = |change: fn(&mut RegisteredClient)| {
        let mut known = RegisteredClient::clone(&known);
        change(&mut known);
        replica.change(|snapshot| drop(snapshot.clients.insert(id.clone(), Arc::new(known))));
    };
    put(|known| known.client.created_at = Timestamp::from_second(ambient::now().as_second() + 5).unwrap());
    assert!(!is_active().await, "a recreated name does not revive its predecessor's tokens");
    put(|known| known.client.object = ObjectName::new("billing", "another"));
    assert!(!is_active().await, "a client id that passed to another OAuthClient does not either");
    put(|known| known.client.tokens_issued_before = Some(ambient::now()));
    tokio::time::timeout(std::time::Duration::from_secs(3), async {
        // The token may be of this very second.
        while is_active().await {
            put(|known| known.client.tokens_issued_before = Some(ambient::now()));
        }
    })
    .await
    .unwrap();
    put(|known| known.client.tokens_issued_before = Some(Timestamp::from_second(ambient::now().as_second() + 60).unwrap()));
    assert!(is_active().await, "what is to come cuts nothing yet");
    put(|_| {});
    assert!(is_active().await);
}

/// I01: as at the token endpoint.
#[tokio::test]
async fn who_does_not_authenticate_learns_nothing() {
    let replica = replica();
    let token = token(&replica, "billing.worker").await;
    for (fields, body) in [
        (vec![], format!("token={token}")),
        (vec![basic(API, "wrong")], format!("token={token}")),
        (vec![basic("billing.nobody", SECRET)], format!("token={token}")),
        (vec![], format!("token={token}&client_id={API}")),
        (vec![(header::AUTHORIZATION, "Bearer x")], format!("token={token}")),
        (vec![], format!("token={token}&client_assertion=a.b.c&client_assertion_type={JWT_BEARER}")),
        (vec![basic(API, "wrong")], String::new()),
    ] {
        let answer = ask(&replica, &fields, &body).await;
        assert_eq!(answer.error(), unauthorized(), "{body}");
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
    }
    let right = [basic(API, SECRET)];
    for body in ["", "token=", "token=x&token=x", "token=x&token_type_hint=a&token_type_hint=a", "token=%zz", "token=x&client_secret=y"] {
        assert_eq!(ask(&replica, &right, body).await.error(), refused("invalid_request"), "{body}");
    }
    for method in ["GET", "PUT", "HEAD", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/oauth2/introspect?token=x").body(Body::empty()).unwrap();
        assert_eq!(replica.ask(request).await.status, 405);
    }
    let json = Request::post("/oauth2/introspect").header(header::CONTENT_TYPE, "application/json").body(Body::from("{}")).unwrap();
    assert_eq!(replica.ask(json).await.status, 415);
}

/// I03, T19: whoever does not know enough says 503, and not that a token is inactive; what it knows it says.
#[tokio::test]
async fn in_doubt_nothing_is_concluded() {
    let replica = with_api(Replica::with(ISSUER, InContact::No, BodyLimits::default()));
    let token = token(&replica, "billing.worker").await;
    assert_eq!(introspected_by(&replica, API, &token).await.json()["active"], true);
    replica.change(|snapshot| drop(snapshot.clients.remove(&ClientId::parse("billing.worker").unwrap())));
    let unsure = introspected_by(&replica, API, &token).await;
    assert_eq!((unsure.status.as_u16(), unsure.headers.contains_key(header::RETRY_AFTER)), (503, true));
    assert!(is_inactive(&introspected_by(&replica, API, "garbage").await));
}

/// G13: its own, beside that of tokens.
#[tokio::test]
async fn introspections_have_a_quota_of_their_own() {
    let throttle = Throttle::new(Some(Rate::per_second(1, 1))).with_introspections(Some(Rate::per_second(3, 1)));
    let replica = with_api(Replica::with_throttle(throttle));
    let token = token(&replica, "billing.worker").await;
    for _ in 0..3 {
        assert_eq!(introspected_by(&replica, API, &token).await.status, 200);
    }
    let told = introspected_by(&replica, API, &token).await;
    assert_eq!((told.status.as_u16(), told.headers[header::RETRY_AFTER].to_str().unwrap()), (429, "1"));
    assert!(is_inactive(&introspected_by(&replica, "shop.stranger", &token).await));
}

/// W08: the metadata says where it is.
#[tokio::test]
async fn the_metadata_names_the_endpoint() {
    let metadata = replica().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["introspection_endpoint"], format!("{ISSUER}/oauth2/introspect"));
    assert_eq!(metadata["introspection_endpoint_auth_methods_supported"], metadata["token_endpoint_auth_methods_supported"]);
}

/// R01, T19: what is revoked is not active; and who does not know yet what is revoked says nothing.
#[tokio::test]
async fn a_revoked_token_is_not_active() {
    let replica = replica();
    let answer = replica.token("billing.worker", "").await;
    let (token, claims) = (answer.json()["access_token"].as_str().unwrap().to_owned(), answer.claims());
    let mut revoked = Revoked::default();
    revoked.insert(TokenHash::of("another"), i64::MAX);
    replica.keeping.lock().await.revoked.store(Some(Arc::new(revoked.clone())));
    assert!(!is_inactive(&introspected_by(&replica, API, &token).await));
    revoked.insert(TokenHash::of(claims["jti"].as_str().unwrap()), i64::MAX);
    replica.keeping.lock().await.revoked.store(Some(Arc::new(revoked)));
    assert!(is_inactive(&introspected_by(&replica, API, &token).await));
    replica.keeping.lock().await.revoked.store(None);
    assert_eq!(introspected_by(&replica, API, &token).await.status, 503);
}
