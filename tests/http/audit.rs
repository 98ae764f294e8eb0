//! One event for each request to the token endpoint: who, what for, from where, and how it ended. Of the two endpoints about tokens, what
//! changed something or was refused.

use crate::{
    fixture::{INVOICES, Replica, SECRET, basic},
    introspection::{self, API, introspected_by, with_api},
    revocation::{self, kept, revoked_by},
};
use axum::http::{HeaderName, StatusCode};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keywright::{audit::Share, oauth::throttle::Rate, server::BodyLimits};
use serde_json::{Value, json};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Header fields, body and the reason of the refusal.
type Refused<'a> = (&'a [(HeaderName, &'static str)], &'a str, &'a str);

const GRANT: &str = "grant_type=client_credentials";

impl Replica {
    /// What the audit log was told since the last time, as JSON.
    async fn audited(&self) -> Vec<Value> {
        let mut events = self.events.lock().await;
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| serde_json::to_value(event.known_to(&self.snapshot.load())).unwrap())
            .collect()
    }
}

/// The only event, without its time.
pub(crate) async fn event(replica: &Replica) -> Value {
    let mut events = replica.audited().await;
    assert_eq!(events.len(), 1, "{events:?}");
    let mut event = events.remove(0);
    let time = event.as_object_mut().unwrap().remove("timestamp").unwrap();
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    event
}

fn id_of_the_secret(replica: &Replica, client: &str) -> String {
    let id = keywright::domain::names::ClientId::parse(client).unwrap();
    replica.snapshot.load().clients.get(&id).unwrap().credentials[0].id.as_str().to_owned()
}

#[tokio::test]
async fn an_issued_token_is_one_event() {
    let replica = Replica::new();
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let fields = [basic("billing.worker", SECRET), (TRACEPARENT, traceparent.as_str())];
    let answer = replica.post_from("192.0.2.7", &fields, GRANT).await;
    let expected = json!({
        "level": "INFO",
        "target": "audit",
        "message": "token issued",
        "address": "192.0.2.7",
        "trace_id": TRACE,
        "client_id": "billing.worker",
        "namespace": "billing",
        "name": "worker",
        "method": "client_secret_basic",
        "credential": id_of_the_secret(&replica, "billing.worker"),
        "resource": INVOICES,
        "scope": "invoices.read invoices.write",
        "jti": answer.claims()["jti"],
        "expires_in": 900,
    });
    assert_eq!(event(&replica).await, expected);
    replica.post(&[], &format!("{GRANT}&client_id=billing.worker&client_secret={SECRET}&scope=invoices.read")).await;
    let event = event(&replica).await;
    assert_eq!(
        (&event["method"], &event["scope"], &event["trace_id"]),
        (&json!("client_secret_post"), &json!("invoices.read"), &Value::Null)
    );
}

/// A client that proved who it is, is named, and so is what it asked for.
#[tokio::test]
async fn a_refused_client_is_one_event() {
    let replica = Replica::new();
    replica.token("billing.worker", "scope=invoices.read+refused&resource=https://invoices.shop.svc").await;
    let expected = json!({
        "level": "INFO",
        "target": "audit",
        "message": "token refused",
        "address": "127.0.0.1",
        "client_id": "billing.worker",
        "namespace": "billing",
        "name": "worker",
        "method": "client_secret_basic",
        "credential": id_of_the_secret(&replica, "billing.worker"),
        "resource": INVOICES,
        "scope": "invoices.read refused",
        "reason": "invalid_scope",
        "description": "a requested scope is not granted to this client for this API",
    });
    assert_eq!(event(&replica).await, expected);
    for (body, reason) in
        [("resource=https://nothing", "invalid_target"), ("scope=%0a%22", "invalid_scope"), ("resource=x", "invalid_target")]
    {
        replica.token("billing.worker", body).await;
        let event = event(&replica).await;
        assert_eq!((&event["reason"], &event["name"]), (&json!(reason), &json!("worker")), "{event}");
    }
    replica.token("billing.worker", &format!("scope={}", "a".repeat(4_000))).await;
    assert_eq!(event(&replica).await["scope"], Value::Null);
}

/// A client id that nobody has may be a secret in the wrong field. Which ids there are is looked up where nobody can measure it (S6).
#[tokio::test]
async fn somebody_who_is_nobody_is_one_event() {
    let replica = Replica::new();
    for client in ["billing.worker", "billing.disabled"] {
        replica.post(&[basic(client, "wrong")], &format!("{GRANT}&resource={INVOICES}&scope=invoices.read")).await;
        let expected = json!({
            "level": "INFO",
            "target": "audit",
            "message": "token refused",
            "address": "127.0.0.1",
            "client_id": client,
            "method": "client_secret_basic",
            "reason": "invalid_client",
            "description": "client authentication failed",
        });
        assert_eq!(event(&replica).await, expected);
    }
    replica.post(&[basic("billing.nobody", SECRET)], GRANT).await;
    let event = event(&replica).await;
    assert_eq!((&event["client_id"], &event["reason"]), (&Value::Null, &json!("invalid_client")));
}

/// Requests that are refused before anybody is named, too.
#[tokio::test]
async fn every_refusal_has_its_reason() {
    let replica = Replica::with_quota(Rate::per_second(1, 1));
    let cases: [Refused<'_>; 5] = [
        (&[], "", "invalid_client"),
        (&[], "grant_type=%zz", "invalid_request"),
        (&[basic("billing.worker", SECRET)], "grant_type=password", "unsupported_grant_type"),
        (&[basic("billing.without-access", SECRET)], GRANT, "unauthorized_client"),
        (&[basic("billing.worker", SECRET)], "", "invalid_request"),
    ];
    for (fields, body, reason) in cases {
        replica.post(fields, body).await;
        assert_eq!(event(&replica).await["reason"], reason, "{body}");
    }
    replica.get("/oauth2/token").await;
    assert_eq!(event(&replica).await["description"], "this endpoint answers POST alone");
    replica.token("billing.worker", "").await;
    replica.token("billing.worker", "").await;
    let reasons: Vec<Value> = replica.audited().await.into_iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons, [Value::Null, json!("too_many_tokens")]);
    let late = Replica::with(crate::fixture::ISSUER, crate::fixture::InContact::NotForLong, BodyLimits::default());
    late.token("billing.worker", "").await;
    assert_eq!(event(&late).await["reason"], "temporarily_unavailable");
    for _ in 0..40 {
        replica.post(&[basic("billing.worker", "wrong")], GRANT).await;
    }
    assert!(replica.audited().await.iter().any(|event| event["reason"] == "too_many_failures"));
}

/// S12, H09: neither a secret, nor the token, nor more of what a stranger writes than a short id of the right form.
#[tokio::test]
async fn an_event_holds_no_secret_and_nothing_that_strangers_make_up() {
    let replica = Replica::new();
    let canary = URL_SAFE_NO_PAD.encode([0x5a; 32]);
    let long = "a".repeat(129);
    let assertion =
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"x","sub":"{canary}","aud":"x","exp":1}}"#)));
    let jwt = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    for (fields, body) in [
        (vec![basic("billing.worker", &canary)], GRANT.to_owned()),
        (vec![basic(&canary, "billing.worker")], GRANT.to_owned()),
        (vec![basic(&format!("{canary}\n"), "x")], GRANT.to_owned()),
        (vec![basic(&long, "x")], GRANT.to_owned()),
        (vec![basic("x\r\n{\"message\":\"token issued\"}", "x")], GRANT.to_owned()),
        (vec![], format!("{GRANT}&client_id=billing.worker&client_secret={canary}%0a")),
        (vec![], format!("{GRANT}&client_assertion_type={jwt}&client_assertion={assertion}")),
        (vec![(TRACEPARENT, canary.as_str())], format!("{GRANT}&scope={canary}&resource=https://{canary}")),
        (vec![(HeaderName::from_static("x-forwarded-for"), canary.as_str())], canary.clone()),
        (vec![basic(&canary, "a"), basic(&canary, "b")], format!("{canary}={canary}")),
    ] {
        replica.post(&fields, &body).await;
        let event = event(&replica).await.to_string();
        let strange = [canary.as_str(), long.as_str(), "\\r", "token issued", "c2ln"];
        assert!(event.contains("token refused") && !strange.iter().any(|text| event.contains(text)), "{event}");
    }
    let answer = replica.token("billing.worker", "").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let event = event(&replica).await.to_string();
    assert!(!event.contains(SECRET) && token.split('.').all(|part| !event.contains(part)), "{event}");
}

#[tokio::test]
async fn successes_are_left_out_where_that_is_asked_for_and_refusals_are_not() {
    let replica = Replica::auditing(Share::NONE);
    assert_eq!(replica.token("billing.worker", "").await.status, StatusCode::OK);
    assert_eq!(replica.audited().await, [json!(null); 0]);
    replica.token("billing.worker", "scope=x").await;
    assert_eq!(event(&replica).await["reason"], "invalid_scope");
}

/// Of a flood so many a second are told, and how many were not.
#[tokio::test]
async fn a_flood_of_refusals_is_counted() {
    let replica = Replica::new();
    let mut told = Vec::new();
    for number in 0..1_000 {
        replica.post_from(&format!("192.0.2.{}", number % 250), &[], "").await;
        told.extend(replica.audited().await);
    }
    assert_eq!(replica.token("billing.worker", "").await.status, StatusCode::OK);
    told.extend(replica.audited().await);
    let left_out: u64 = told.iter().filter_map(|event| event["left_out"].as_u64()).sum();
    assert_eq!(left_out + told.len() as u64, 1_001);
    assert!(told.len() < 600 && left_out > 0, "{} were told", told.len());
}

/// Who revoked which token, that nobody else did, and nothing of what changed nothing.
#[tokio::test]
async fn a_revoked_token_is_one_event() {
    let replica = Replica::new();
    let answer = replica.token("billing.worker", "").await;
    let (token, jti) = (answer.json()["access_token"].as_str().unwrap().to_owned(), answer.claims()["jti"].clone());
    replica.audited().await;
    revoked_by(&replica, "billing.orders", &token).await;
    let expected = json!({
        "level": "INFO",
        "target": "audit",
        "message": "revocation refused",
        "address": "127.0.0.1",
        "client_id": "billing.orders",
        "namespace": "billing",
        "name": "orders",
        "method": "client_secret_basic",
        "credential": id_of_the_secret(&replica, "billing.orders"),
        "reason": "invalid_request",
        "description": "the token was not issued to this client, so it cannot revoke it",
    });
    assert_eq!(event(&replica).await, expected);
    tokio::join!(revoked_by(&replica, "billing.worker", &token), kept(&replica));
    let expected = json!({
        "level": "INFO",
        "target": "audit",
        "message": "token revoked",
        "address": "127.0.0.1",
        "client_id": "billing.worker",
        "namespace": "billing",
        "name": "worker",
        "method": "client_secret_basic",
        "credential": id_of_the_secret(&replica, "billing.worker"),
        "resource": INVOICES,
        "jti": jti,
    });
    assert_eq!(event(&replica).await, expected);
    revoked_by(&replica, "billing.worker", &token).await;
    revoked_by(&replica, "billing.worker", "garbage").await;
    assert_eq!(replica.audited().await, [json!(null); 0]);
}

/// What was not written is refused, and so is what there is too much of.
#[tokio::test]
async fn a_revocation_that_is_not_written_is_refused() {
    let replica = Replica::auditing(Share::NONE);
    for number in 0..11 {
        let token = replica.token("billing.worker", "").await.json()["access_token"].as_str().unwrap().to_owned();
        let lost = async {
            if number < 10 {
                drop(replica.keeping.lock().await.orders.recv().await);
            }
        };
        tokio::join!(revoked_by(&replica, "billing.worker", &token), lost);
        let event = event(&replica).await;
        let reason = if number < 10 { "temporarily_unavailable" } else { "too_many_revocations" };
        let expected = (json!("revocation refused"), json!(reason), json!("worker"));
        assert_eq!((event["message"].clone(), event["reason"].clone(), event["name"].clone()), expected);
    }
}

/// Who may not ask is told of, whichever endpoint it is; what an API is answered is not.
#[tokio::test]
async fn whoever_may_not_introspect_or_revoke_is_one_event() {
    let replica = with_api(Replica::new());
    let token = replica.token("billing.worker", "").await.json()["access_token"].as_str().unwrap().to_owned();
    replica.audited().await;
    for caller in [API, "billing.worker"] {
        introspected_by(&replica, caller, &token).await;
        introspected_by(&replica, caller, "garbage").await;
    }
    assert_eq!(replica.audited().await, [json!(null); 0]);
    let body = format!("token={token}");
    let canary = URL_SAFE_NO_PAD.encode([0x5a; 32]);
    for (fields, body, client) in [
        (vec![basic(API, &canary)], &body, Some(API)),
        (vec![basic(&canary, API)], &body, None),
        (vec![], &body, None),
        (vec![], &canary, None),
    ] {
        introspection::ask(&replica, &fields, body).await;
        let introspection = event(&replica).await;
        revocation::ask(&replica, &fields, body).await;
        let revocation = event(&replica).await;
        for (event, message) in [(introspection, "introspection refused"), (revocation, "revocation refused")] {
            assert_eq!((&event["message"], &event["reason"]), (&json!(message), &json!("invalid_client")), "{event}");
            assert_eq!((&event["client_id"], &event["namespace"]), (&json!(client), &Value::Null), "{event}");
            let text = event.to_string();
            assert!(!text.contains(&canary) && token.split('.').all(|part| !text.contains(part)), "{event}");
        }
    }
    introspection::ask(&replica, &[basic(API, SECRET)], "").await;
    let event = event(&replica).await;
    assert_eq!((&event["name"], &event["description"]), (&json!("api"), &json!("the parameter token is missing")));
}
