//! HTTP and form: the T rows.

use crate::fixture::{Answer, InContact, Replica, SECRET, basic, refused, unauthorized};
use axum::{
    body::Body,
    http::{Method, Request, header},
};
use keywright::server::BodyLimits;

const GRANT: &str = "grant_type=client_credentials";

fn assert_json_error(answer: &Answer) {
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let body = answer.json();
    let description = body["error_description"].as_str().unwrap();
    assert!(description.bytes().all(|b| matches!(b, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{description}");
    assert!(body["error"].is_string());
}

/// T01, T18, S15: also with the right credentials in the query; no CORS.
#[tokio::test]
async fn another_method_than_post_is_405_and_gets_no_token() {
    let replica = Replica::new();
    let uri = format!("/oauth2/token?{GRANT}&client_id=billing.worker&client_secret={SECRET}");
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let answer = replica.ask(Request::builder().method(&method).uri(&uri).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.headers[header::ALLOW], "POST");
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        if method == Method::HEAD {
            assert!(answer.body.is_empty());
        } else {
            assert_json_error(&answer);
        }
    }
}

/// T02, S15.
#[tokio::test]
async fn the_query_is_never_read() {
    let replica = Replica::new();
    let post = |uri: String, body: &str| {
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.header(header::AUTHORIZATION, basic("billing.worker", SECRET).1).body(Body::from(body.to_owned())).unwrap()
    };
    let answer = replica.ask(post(format!("/oauth2/token?{GRANT}"), "")).await;
    assert_eq!(answer.error(), refused("invalid_request"));
    let mut request = post(format!("/oauth2/token?client_id=billing.worker&client_secret={SECRET}"), GRANT);
    request.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(replica.ask(request).await.error(), unauthorized());
}

/// T03.
#[tokio::test]
async fn the_content_type_decides_whether_there_is_a_form() {
    let replica = Replica::new();
    for (content_type, status) in [
        (Some("application/json"), 415),
        (None, 415),
        (Some("application/x-www-form-urlencoded;charset=UTF-8"), 200),
        (Some("Application/X-WWW-Form-Urlencoded"), 200),
    ] {
        let mut request = Request::post("/oauth2/token").header(header::AUTHORIZATION, basic("billing.worker", SECRET).1);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = replica.ask(request.body(Body::from(GRANT)).unwrap()).await;
        assert_eq!(answer.status, status, "{content_type:?}");
        if status == 415 {
            assert_json_error(&answer);
            assert_eq!(answer.json()["error"], "invalid_request");
        }
    }
}

/// S15, T04, T05, T06, T07, T08, T09, T10, G12: a client with the right secret in the header sends this body.
#[tokio::test]
async fn a_body_means_what_the_rfc_says() {
    let replica = Replica::new();
    let cases = [
        (GRANT, (200, "")),
        ("grant_type=client_credentials&grant_type=client_credentials", (400, "invalid_request")),
        ("grant_type=client_credentials&scope=invoices.read&scope=invoices.read", (400, "invalid_request")),
        ("grant_type=client_credentials&client_id=billing.worker&client_id=billing.worker", (400, "invalid_request")),
        ("grant_type=client_credentials&resource=https://invoices.shop.svc&resource=https://invoices.shop.svc", (200, "")),
        ("grant_type=client_credentials&foo=1", (200, "")),
        ("foo=1&grant_type=client_credentials&foo=1", (200, "")),
        ("grant_type=client_credentials&scope=&resource=&client_secret=", (200, "")),
        ("grant_type=", (400, "invalid_request")),
        ("", (400, "invalid_request")),
        ("grant_type=client_credentials&scope=invoices.read+invoices.write", (200, "")),
        ("grant_type=client_credentials&scope=invoices.read%20invoices.write", (200, "")),
        ("grant_type=client_credentials&scope=%zz", (400, "invalid_request")),
        ("grant_type=client_credentials&foo=%4", (400, "invalid_request")),
        ("grant_type=client_credentials&scope=%ff", (400, "invalid_request")),
        ("grant_type=client_credentials&scope=a%00", (400, "invalid_request")),
        ("grant_type=password", (400, "unsupported_grant_type")),
        ("grant_type=authorization_code", (400, "unsupported_grant_type")),
        ("grant_type=Client_Credentials", (400, "unsupported_grant_type")),
        ("grant_type=client_credentials&authorization_details=%5B%5D", (400, "invalid_request")),
    ];
    for (body, (status, error)) in cases {
        let answer = replica.post(&[basic("billing.worker", SECRET)], body).await;
        assert_eq!(answer.error(), (status, error.to_owned()), "{body}");
        if status != 200 {
            assert_json_error(&answer);
        }
    }
}

/// T09.
#[tokio::test]
async fn a_scope_in_brackets_is_an_unknown_parameter() {
    let replica = Replica::new();
    let plain = replica.token("billing.worker", "").await.json()["scope"].clone();
    for body in ["scope[0]=invoices.read", "scope[]=invoices.read"] {
        assert_eq!(replica.token("billing.worker", body).await.json()["scope"], plain, "{body}");
    }
}

/// T11: a client without an access entry, only after its authentication.
#[tokio::test]
async fn a_client_without_access_is_unauthorized_for_the_grant() {
    let replica = Replica::new();
    assert_eq!(replica.token("billing.without-access", "").await.error(), refused("unauthorized_client"));
    let wrong = replica.post(&[basic("billing.without-access", "wrong")], GRANT).await;
    assert_eq!(wrong.error(), unauthorized());
}

/// T12.
#[tokio::test]
async fn a_client_authenticates_before_its_grant_is_looked_at() {
    let replica = Replica::new();
    for body in ["grant_type=password", "", "grant_type=client_credentials&scope=%22"] {
        assert_eq!(replica.post(&[basic("billing.worker", "wrong")], body).await.error(), unauthorized(), "{body}");
    }
}

/// T13, G01, G02, G06.
#[tokio::test]
async fn a_success_has_exactly_what_the_rfc_says() {
    let answer = Replica::new().token("billing.worker", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::PRAGMA], "no-cache");
    let body = answer.json();
    let mut names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "invoices.read invoices.write");
    let claims = answer.claims();
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
}

/// T14: the Accept header of Java's HttpURLConnection.
#[tokio::test]
async fn what_the_client_accepts_changes_nothing() {
    let replica = Replica::new();
    let accept = (header::ACCEPT, "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2");
    for body in ["", GRANT] {
        let fields = [basic("billing.worker", SECRET)];
        let (plain, html) = (replica.post(&fields, body).await, replica.post(&[fields[0].clone(), accept.clone()], body).await);
        assert_eq!((plain.status, plain.headers), (html.status, html.headers));
    }
    assert_json_error(&replica.get("/nowhere").await);
}

/// T15.
#[tokio::test]
async fn nothing_of_a_request_is_echoed() {
    let replica = Replica::new();
    for body in
        ["scope=canary%22", "scope=canary%5C", "scope=canary%0D%0A", "scope=canary%C3%A9", "resource=canary%22", "grant_type=canary%C3%A9"]
    {
        let answer = replica.token("billing.worker", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_json_error(&answer);
        assert!(!String::from_utf8(answer.body).unwrap().contains("canary"), "{body}");
    }
}

/// T19, L7, F8: in doubt what is known works, and what is not known is 503, never 400 or 401.
#[tokio::test]
async fn a_replica_in_doubt_answers_what_it_knows_and_503_for_the_rest() {
    let replica = Replica::with(crate::fixture::ISSUER, InContact::No, BodyLimits::default());
    assert_eq!(replica.token("billing.worker", "").await.status, 200);
    let unknown = [("billing.worker", "wrong"), ("billing.nobody", SECRET), ("billing.disabled", SECRET), ("billing.denied", SECRET)];
    for (client, secret) in unknown {
        let answer = replica.post(&[basic(client, secret)], GRANT).await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()), "{client}");
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert_eq!(answer.headers[header::CONNECTION], "close");
        assert_json_error(&answer);
    }
    assert_eq!(replica.token("billing.worker", "scope=invoices.later").await.status, 503);
    assert_eq!(replica.token("billing.worker", "scope=%22").await.error(), refused("invalid_scope"));
}

/// T19: nothing is issued after `--max-stale`, and not before there are keys.
#[tokio::test]
async fn a_stale_replica_and_one_without_keys_answer_503() {
    let stale = Replica::with(crate::fixture::ISSUER, InContact::NotForLong, BodyLimits::default());
    let without_keys = Replica::new();
    without_keys.change(|snapshot| snapshot.keys = None);
    for replica in [stale, without_keys] {
        for secret in [SECRET, "wrong"] {
            let answer = replica.post(&[basic("billing.worker", secret)], GRANT).await;
            assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
            assert!(answer.headers.contains_key(header::RETRY_AFTER));
        }
    }
}
