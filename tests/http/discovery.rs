//! Metadata and JWKS: the W rows, T18 and H06.

use crate::fixture::{Answer, ISSUER, InContact, Replica, SECRET, basic};
use axum::{
    body::Body,
    http::{Method, Request, header},
};
use keywright::server::{BodyLimits, Peer};
use serde_json::json;
use std::collections::HashSet;

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/oauth2/jwks";

async fn ask(replica: &Replica, method: Method, path: &str, known: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(tag) = known {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    replica.ask(request.body(Body::empty()).unwrap()).await
}

/// W01, W03, W04, W09.
#[tokio::test]
async fn both_documents_name_the_issuer_and_what_is_there() {
    let replica = Replica::new();
    let oauth = replica.get(OAUTH).await;
    assert_eq!((oauth.status.as_u16(), &oauth.headers[header::CONTENT_TYPE]), (200, &"application/json".parse().unwrap()));
    let oauth = oauth.json();
    assert_eq!(oauth["issuer"], ISSUER);
    assert_eq!(oauth["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(oauth["token_endpoint_auth_methods_supported"], json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]));
    assert_eq!(oauth["token_endpoint_auth_signing_alg_values_supported"], json!(["RS256", "ES256", "PS256", "EdDSA"]));
    assert_eq!(oauth["response_types_supported"], json!([]));
    let openid = replica.get(OPENID).await.json();
    assert_eq!(openid["subject_types_supported"], json!(["public"]));
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["RS256", "ES256"]));
    for (name, value) in oauth.as_object().unwrap() {
        assert_eq!(&openid[name], value, "{name}");
    }
}

/// W02: nothing is where another issuer's documents would be.
#[tokio::test]
async fn an_issuer_with_a_path_has_its_documents_where_each_standard_says() {
    let replica = Replica::with("https://h.example/t", InContact::Yes, BodyLimits::default());
    for path in [&format!("{OAUTH}/t"), &format!("/t{OPENID}"), "/t/oauth2/jwks"] {
        assert_eq!(replica.get(path).await.status, 200, "{path}");
    }
    for path in [OAUTH, OPENID, "/oauth2/jwks", "/oauth2/token"] {
        assert_eq!(replica.get(path).await.status, 404, "{path}");
    }
    assert_eq!(replica.get(&format!("/t{OPENID}")).await.json()["issuer"], "https://h.example/t");
}

/// W06.
#[tokio::test]
async fn the_jwks_has_public_members_of_the_keys_in_use_alone() {
    let jwks = Replica::new().get(JWKS).await.json();
    let keys = jwks["keys"].as_array().unwrap();
    assert_eq!(keys.iter().map(|key| key["kid"].as_str().unwrap()).collect::<HashSet<_>>().len(), 2);
    for key in keys {
        let mut names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = match key["kty"].as_str().unwrap() {
            "RSA" => ["alg", "e", "kid", "kty", "n", "use"].as_slice(),
            _ => ["alg", "crv", "kid", "kty", "use", "x", "y"].as_slice(),
        };
        assert_eq!(names, expected);
        assert_eq!(key["use"], "sig");
    }
}

/// W07, T18.
#[tokio::test]
async fn documents_are_cached_for_five_minutes_and_revalidated_by_their_tag() {
    let (replica, other) = (Replica::new(), Replica::new());
    for path in [OAUTH, OPENID, JWKS] {
        let full = ask(&replica, Method::GET, path, None).await;
        assert_eq!(full, ask(&other, Method::GET, path, None).await, "{path}: another replica");
        assert_eq!(full.headers[header::CACHE_CONTROL], "public, max-age=300");
        assert_eq!(full.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let tag = full.headers[header::ETAG].to_str().unwrap();
        let head = ask(&replica, Method::HEAD, path, None).await;
        assert_eq!((head.status, &head.headers, head.body.len()), (full.status, &full.headers, 0), "{path}: HEAD");
        for known in [tag, &format!("\"other\", W/{tag}"), "*"] {
            let same = ask(&replica, Method::GET, path, Some(known)).await;
            assert_eq!((same.status.as_u16(), same.body.len()), (304, 0), "{path}: {known}");
            assert_eq!(same.headers[header::ETAG], tag);
            assert_eq!(same.headers[header::CACHE_CONTROL], "public, max-age=300");
        }
        assert_eq!(ask(&replica, Method::GET, path, Some("\"other\"")).await, full);
        let refused = ask(&replica, Method::POST, path, None).await;
        assert_eq!(
            (refused.error(), &refused.headers[header::ALLOW]),
            ((405, "invalid_request".to_owned()), &"GET, HEAD".parse().unwrap())
        );
    }
}

/// W08: what is advertised answers, what is not is 404 as JSON.
#[tokio::test]
async fn every_advertised_endpoint_answers_and_no_other() {
    let replica = Replica::new();
    let metadata = replica.get(OAUTH).await.json();
    for (name, expected) in [("jwks_uri", 200), ("token_endpoint", 405), ("introspection_endpoint", 405), ("revocation_endpoint", 405)] {
        let path = metadata[name].as_str().unwrap().strip_prefix(ISSUER).unwrap();
        assert_eq!(replica.get(path).await.status, expected, "{name}");
    }
    let endpoints = metadata.as_object().unwrap().keys().filter(|name| name.ends_with("_endpoint")).count();
    assert_eq!(endpoints, 3);
    for path in ["/", "/oauth2/introspect/", "/oauth2/revoke/", "/oauth2/token/", "/pf/JWKS", "/metrics", "/healthz", "/oauth2//token"] {
        let answer = replica.get(path).await;
        assert_eq!(answer.error(), (404, "invalid_request".to_owned()), "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}

/// Where a client was written for PingFederate; the metadata names none of it.
#[tokio::test]
async fn other_paths_answer_the_same_where_that_is_asked_for() {
    let (replica, plain) = (Replica::at_other_paths(), Replica::new());
    for (path, expected) in [("/as/token.oauth2", 405), ("/as/introspect.oauth2", 405), ("/as/revoke_token.oauth2", 405), ("/pf/JWKS", 200)]
    {
        assert_eq!(replica.get(path).await.status, expected, "{path}");
        assert_eq!(plain.get(path).await.status, 404, "{path}");
    }
    assert_eq!(replica.get("/pf/JWKS").await.body, replica.get(JWKS).await.body);
    assert_eq!(replica.get(OAUTH).await.body, plain.get(OAUTH).await.body);
    let request = Request::post("/as/token.oauth2").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (name, value) = basic("billing.worker", SECRET);
    let request = request.header(name, value).extension(Peer("127.0.0.1".parse().unwrap()));
    let answer = replica.ask(request.body(Body::from("grant_type=client_credentials")).unwrap()).await;
    assert_eq!(answer.claims()["iss"], ISSUER);
}

/// Before the leader has made the keys, what depends on them is not there yet.
#[tokio::test]
async fn without_keys_their_documents_are_unavailable() {
    let replica = Replica::new();
    replica.change(|snapshot| snapshot.keys = None);
    for path in [OAUTH, OPENID, JWKS] {
        assert_eq!(replica.get(path).await.error(), (503, "temporarily_unavailable".to_owned()), "{path}");
    }
}

/// H06.
#[tokio::test]
async fn a_forged_host_changes_nothing() {
    let replica = Replica::new();
    let plain = replica.get(OAUTH).await;
    let mut request = Request::get(OAUTH).header(header::HOST, "evil.example").header("x-forwarded-host", "evil.example");
    request = request.header("x-forwarded-proto", "http").header("forwarded", "host=evil.example");
    assert_eq!(replica.ask(request.body(Body::empty()).unwrap()).await, plain);
    let fields = [crate::fixture::basic("billing.worker", crate::fixture::SECRET), (header::HOST, "evil.example")];
    assert_eq!(replica.post(&fields, "grant_type=client_credentials").await.claims()["iss"], ISSUER);
}
