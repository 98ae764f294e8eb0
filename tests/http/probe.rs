//! Tokens to probe an API with: who gets them, and that nobody else learns anything.

use crate::{
    fixture::{Answer, INVOICES, ISSUER, InContact, ORDERS, Replica, SECRET, basic},
    introspection::{API, introspected_by, is_inactive, with_api},
    signer::{JWT_BEARER, Signer},
};
use axum::{
    body::Body,
    http::{Request, header},
};
use keywright::{
    ambient,
    domain::{names::ObjectName, resource::Algorithm, service_account::ClusterIssuer},
    oauth::metadata::PROBE_PATH,
    server::Peer,
    service_accounts::desk::Question,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const CLUSTER: &str = "https://kubernetes.default.svc";

/// A replica that makes such tokens, and knows the cluster's keys.
fn replica(contact: InContact) -> Replica {
    let replica = Replica::probing(contact);
    let keys = vec![Signer::of(Algorithm::Rs256).registered(&json!({}))];
    replica.cluster.store(Some(Arc::new(ClusterIssuer { issuer: CLUSTER.to_owned(), keys })));
    replica
}

/// A token of the ServiceAccount `prober` of the namespace shop, but for these claims.
fn account(changes: &Value) -> String {
    let signer = Signer::of(Algorithm::Rs256);
    let now = ambient::now().as_second();
    let mut claims = json!({
        "iss": CLUSTER, "sub": "system:serviceaccount:shop:prober", "aud": [ISSUER], "iat": now, "nbf": now, "exp": now + 607,
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "prober", "uid": "u"}},
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    signer.sign(&signer.header(), &claims)
}

async fn ask(replica: &Replica, assertion: &str, resource: &str) -> Answer {
    post(replica, &format!("client_assertion_type={JWT_BEARER}&client_assertion={assertion}&protected_resource={resource}")).await
}

async fn post(replica: &Replica, body: &str) -> Answer {
    let request = Request::post(PROBE_PATH).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.extension(Peer("192.0.2.7".parse().unwrap()));
    replica.ask(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Asks while the cluster answers so; nothing: it does not.
async fn asked(replica: &Replica, resource: &str, allowed: Option<bool>) -> Answer {
    let token = account(&json!({}));
    let cluster = async {
        let question = replica.questions.lock().await.recv().await.unwrap();
        let Question::Access(access, answer) = question else { panic!("another question") };
        assert_eq!(access.account, ObjectName::new("shop", "prober"));
        assert_eq!(access.resource.to_string(), resource);
        if let Some(allowed) = allowed {
            answer.send(allowed).unwrap();
        }
    };
    tokio::join!(ask(replica, &token, resource), cluster).0
}

async fn only_event(replica: &Replica) -> Value {
    let event = replica.events.lock().await.try_recv().unwrap();
    let mut event = serde_json::to_value(event).unwrap();
    event.as_object_mut().unwrap().remove("timestamp");
    event
}

fn nothing_is_asked(replica: &Replica) -> bool {
    replica.questions.try_lock().unwrap().try_recv().is_err() && replica.keys.try_lock().unwrap().try_recv().is_err()
}

/// S8: where nobody has switched it on, there is nothing; where somebody has, no metadata says so.
#[tokio::test]
async fn it_is_there_where_it_is_switched_on_and_no_metadata_names_it() {
    let without = Replica::new();
    assert_eq!(post(&without, "").await.status, 404);
    assert_eq!(without.get(PROBE_PATH).await.status, 404);
    let replica = replica(InContact::Yes);
    assert_eq!(replica.get(PROBE_PATH).await.status, 405);
    for document in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let [with, without] = [&replica, &without].map(|replica| replica.get(document));
        assert_eq!(with.await.json(), without.await.json());
    }
}

/// Each case once, in the API's algorithm and type, and nobody stores the answer.
#[tokio::test]
async fn whoever_may_probe_an_api_gets_a_token_for_each_case() {
    let replica = replica(InContact::Yes);
    for (name, audience, typ, count) in [("invoices", INVOICES, "at+jwt", 17), ("orders", ORDERS, "JWT", 16)] {
        let answer = asked(&replica, &format!("shop/{name}"), Some(true)).await;
        assert_eq!((answer.status.as_u16(), &answer.headers[header::CACHE_CONTROL]), (200, &"no-store".parse().unwrap()));
        let answer = answer.json();
        assert_eq!((&answer["issuer"], &answer["audience"]), (&json!(ISSUER), &json!(audience)));
        let tokens = answer["tokens"].as_array().unwrap();
        let names: BTreeSet<_> = tokens.iter().map(|token| token["case"].as_str().unwrap()).collect();
        assert_eq!((names.len(), tokens.len(), names.contains("wrong-type")), (count, count, typ == "at+jwt"));
        let ids: BTreeSet<String> = tokens.iter().map(|token| jti(token["token"].as_str().unwrap())).collect();
        assert_eq!(ids.len(), count);
        let expected = json!({
            "level": "INFO", "target": "audit", "message": "probe tokens issued", "address": "192.0.2.7",
            "service_account": "shop/prober", "protected_resource": format!("shop/{name}"), "resource": audience, "tokens": count,
        });
        // Not a part of the successes that may be left out.
        assert_eq!(only_event(&replica).await, expected);
    }
}

fn jti(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

/// I03, R01: whoever asks us what one of them is worth learns that it is worth nothing, and nobody can revoke it.
#[tokio::test]
async fn none_of_them_is_active() {
    let replica = with_api(replica(InContact::Yes));
    let answer = asked(&replica, "shop/invoices", Some(true)).await.json();
    for token in answer["tokens"].as_array().unwrap() {
        let text = token["token"].as_str().unwrap();
        assert!(is_inactive(&introspected_by(&replica, API, text).await), "{}", token["case"]);
    }
    let right = crate::introspection::token(&replica, "billing.worker").await;
    assert!(!is_inactive(&introspected_by(&replica, API, &right).await));
}

/// K03, K04, K05, K08: a token of the cluster for us alone; whatever else it is, the API server is not asked.
#[tokio::test]
async fn only_a_service_account_whose_token_is_for_the_issuer_is_heard() {
    let replica = replica(InContact::Yes);
    let now = ambient::now().as_second();
    for changes in [
        json!({"aud": [CLUSTER]}),
        json!({"aud": [ISSUER, CLUSTER]}),
        json!({"iss": "https://other.example"}),
        json!({"exp": now - 1}),
        json!({"iat": now - 3_601}),
        json!({"sub": "system:node:n"}),
        json!({"sub": "system:serviceaccount:shop"}),
    ] {
        assert_eq!(ask(&replica, &account(&changes), "shop/invoices").await.error(), (401, "invalid_client".to_owned()), "{changes}");
    }
    let forged = Signer::new(Algorithm::Rs256);
    let forged = forged.sign(
        &Signer::of(Algorithm::Rs256).header(),
        &json!({"iss": CLUSTER, "sub": "system:serviceaccount:shop:prober", "aud": [ISSUER], "iat": now, "exp": now + 600}),
    );
    for body in [
        format!("client_assertion_type={JWT_BEARER}&client_assertion={forged}&protected_resource=shop/invoices"),
        "protected_resource=shop/invoices".to_owned(),
        format!("protected_resource=shop/invoices&client_id=billing.worker&client_secret={SECRET}"),
    ] {
        assert_eq!(post(&replica, &body).await.error(), (401, "invalid_client".to_owned()), "{body}");
    }
    // A client that may have tokens may not probe: it is no ServiceAccount.
    let request = Request::post(PROBE_PATH).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (name, value) = basic("billing.worker", SECRET);
    let answer = replica.ask(request.header(name, value).body(Body::from("protected_resource=shop/invoices")).unwrap()).await;
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
    assert!(nothing_is_asked(&replica));
}

/// What RBAC does not allow is refused, whether there is such an API or not, with what has to be allowed.
#[tokio::test]
async fn without_the_right_there_is_no_token() {
    let replica = replica(InContact::Yes);
    for resource in ["shop/invoices", "shop/nothing"] {
        let answer = asked(&replica, resource, Some(false)).await;
        assert_eq!(answer.error(), (403, "access_denied".to_owned()));
        assert!(answer.text().contains("create on protectedresources/probe") && !answer.text().contains("eyJ"), "{}", answer.text());
        let event = only_event(&replica).await;
        let told = ["message", "reason", "service_account", "protected_resource"].map(|name| event[name].as_str().unwrap().to_owned());
        assert_eq!(told, ["probe refused", "access_denied", "shop/prober", resource]);
        assert_eq!(event["resource"], Value::Null);
    }
}

/// T19: who cannot find out says 503, and gives nothing.
#[tokio::test]
async fn while_the_api_server_does_not_answer_there_is_no_token() {
    let unaware = replica(InContact::Yes);
    let answer = asked(&unaware, "shop/invoices", None).await;
    assert_eq!((answer.error(), answer.headers.contains_key("retry-after")), ((503, "temporarily_unavailable".to_owned()), true));
    unaware.cluster.store(None);
    let token = account(&json!({}));
    let dropped = async { drop(unaware.keys.lock().await.recv().await.unwrap()) };
    assert_eq!(tokio::join!(ask(&unaware, &token, "shop/invoices"), dropped).0.status, 503);
    assert_eq!(asked(&replica(InContact::NotForLong), "shop/invoices", Some(true)).await.status, 503);
}

/// In doubt, what is not known may exist.
#[tokio::test]
async fn an_api_that_is_not_served_has_none() {
    assert_eq!(asked(&replica(InContact::Yes), "shop/nothing", Some(true)).await.error(), (404, "invalid_target".to_owned()));
    assert_eq!(asked(&replica(InContact::No), "shop/nothing", Some(true)).await.status, 503);
    assert_eq!(asked(&replica(InContact::No), "shop/invoices", Some(true)).await.status, 200);
    let replica = replica(InContact::Yes);
    for (resource, error) in [("", 400), ("shop", 400), ("shop/../x", 400)] {
        assert_eq!(ask(&replica, &account(&json!({})), resource).await.status, error, "{resource}");
    }
    let token = account(&json!({}));
    let twice = format!("protected_resource=shop/a&protected_resource=shop/b&client_assertion_type={JWT_BEARER}&client_assertion={token}");
    assert_eq!(post(&replica, &twice).await.error(), (400, "invalid_request".to_owned()));
    assert!(nothing_is_asked(&replica));
}

/// S17: each asks the API server, so that one ServiceAccount has a few a minute; and whoever is nobody is told so, and then to wait.
#[tokio::test]
async fn probing_has_a_limit() {
    let replica = replica(InContact::Yes);
    for _ in 0..6 {
        assert_eq!(asked(&replica, "shop/invoices", Some(true)).await.status, 200);
    }
    let answer = ask(&replica, &account(&json!({})), "shop/invoices").await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (429, true));
    assert!(nothing_is_asked(&replica));
    let wrong = account(&json!({"aud": [CLUSTER]}));
    let mut statuses = BTreeSet::new();
    for _ in 0..21 {
        statuses.insert(ask(&replica, &wrong, "shop/invoices").await.status.as_u16());
    }
    assert_eq!(statuses, [401, 429].into());
}
