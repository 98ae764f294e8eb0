//! Signed answers of the introspection endpoint (RFC 9701): I06.

use crate::{
    fixture::{Answer, ISSUER, Replica, SECRET, basic, refused, unauthorized},
    introspection::{API, ask, introspected_by, is_inactive, token, with_api},
};
use axum::http::{HeaderName, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet};
use keywright::{
    ambient,
    domain::resource::Algorithm,
    oauth::{
        assertion::{Assertion, AssertionType},
        throttle::{Rate, Throttle},
    },
};
use serde_json::{Map, Value, json};

const JWT: &str = "application/token-introspection+jwt";
const ACCEPT_JWT: (HeaderName, &str) = (header::ACCEPT, JWT);

async fn signed_for(replica: &Replica, caller: &str, token: &str) -> Answer {
    ask(replica, &[basic(caller, SECRET), ACCEPT_JWT], &format!("token={token}")).await
}

/// What an API makes of it that knows the issuer, its own client id and the JWKS: by a library that signs nothing here.
async fn verified(replica: &Replica, answer: &Answer, caller: &str) -> (String, Map<String, Value>) {
    assert_eq!((answer.status.as_u16(), &answer.headers[header::CONTENT_TYPE]), (200, &JWT.parse().unwrap()), "{answer:?}");
    assert_eq!(&answer.headers[header::CACHE_CONTROL], "no-store");
    let text = answer.text();
    let header = decode_header(&text).unwrap();
    assert_eq!(header.typ.as_deref(), Some("token-introspection+jwt"));
    let jwks: JwkSet = serde_json::from_slice(&replica.get("/oauth2/jwks").await.body).unwrap();
    let key = DecodingKey::from_jwk(jwks.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[caller]);
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.validate_exp = false;
    (format!("{:?}", header.alg), decode(&text, &key, &validation).unwrap().claims)
}

/// I06: what the JSON answer says, and who says it to whom and when, and nothing beside.
#[tokio::test]
async fn the_signed_answer_says_what_the_plain_one_says() {
    let replica = with_api(Replica::new());
    let token = token(&replica, "billing.worker").await;
    let plain = introspected_by(&replica, API, &token).await.json();
    assert_eq!(plain["active"], true);
    let before = ambient::now().as_second();
    let (_, mut claims) = verified(&replica, &signed_for(&replica, API, &token).await, API).await;
    let issued_at = claims.remove("iat").unwrap().as_i64().unwrap();
    assert!((before..=ambient::now().as_second()).contains(&issued_at));
    assert_eq!(Value::Object(claims), json!({"iss": ISSUER, "aud": API, "token_introspection": plain}));
}

/// I06, I03: of what is not active, and to everybody whom the owner does not name, nothing but that is said, and signed.
#[tokio::test]
async fn what_is_not_active_is_said_to_be_so_and_nothing_else() {
    let replica = with_api(Replica::new());
    let token = token(&replica, "billing.worker").await;
    for (caller, token) in [(API, "garbage"), (API, &format!("{token}x")), ("shop.stranger", &token), ("billing.worker", &token)] {
        let (_, claims) = verified(&replica, &signed_for(&replica, caller, token).await, caller).await;
        assert_eq!(claims["token_introspection"], json!({"active": false}), "{caller}");
        assert_eq!(claims.keys().map(String::as_str).collect::<Vec<_>>(), ["aud", "iat", "iss", "token_introspection"]);
    }
}

/// I06, RFC 9701 §6: a caller knows the algorithm before it asks: that of the APIs that name it, whatever token it asks about.
#[tokio::test]
async fn the_algorithm_is_the_callers_and_not_the_tokens() {
    let replica = with_api(Replica::new());
    let token = token(&replica, "billing.worker").await;
    let algorithm =
        async |caller: &'static str, token: &str| verified(&replica, &signed_for(&replica, caller, token).await, caller).await.0;
    // Orders is signed otherwise than the others, and all name it: the installation's default.
    assert_eq!((algorithm(API, &token).await.as_str(), algorithm(API, "garbage").await.as_str()), ("RS256", "RS256"));
    assert_eq!(algorithm("shop.stranger", &token).await, "RS256", "no API names it");
    replica.change_resource("orders", |orders| orders.introspectors.clear());
    assert_eq!((algorithm(API, &token).await.as_str(), algorithm(API, "garbage").await.as_str()), ("ES256", "ES256"));
    replica.change_resource("invoices", |invoices| invoices.algorithm = Algorithm::EdDsa);
    replica.change_resource("closed", |closed| closed.introspectors.clear());
    let answer = signed_for(&replica, API, &token).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key(header::RETRY_AFTER)), (503, true), "there is no such key yet");
}

/// I06, RFC 9110 §12.5.1: whoever does not ask for a JWT gets JSON.
#[tokio::test]
async fn json_stays_the_answer_to_everybody_else() {
    let replica = with_api(Replica::new());
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html"), Some("application/token-introspection+jwt;q=0, */*")] {
        let mut fields = vec![basic(API, SECRET)];
        fields.extend(accept.map(|accept| (header::ACCEPT, accept)));
        let answer = ask(&replica, &fields, "token=garbage").await;
        assert!(is_inactive(&answer), "{accept:?}");
        assert_eq!(&answer.headers[header::CONTENT_TYPE], "application/json");
    }
    let preferred = [basic(API, SECRET), (header::ACCEPT, "application/json;q=0.9, application/token-introspection+jwt")];
    assert_eq!(&ask(&replica, &preferred, "token=garbage").await.headers[header::CONTENT_TYPE], JWT);
}

/// I06, T14, G13: errors stay JSON, and the quota is one.
#[tokio::test]
async fn errors_and_the_quota_are_those_of_the_plain_answer() {
    let throttle = Throttle::new(None).with_introspections(Some(Rate::per_second(2, 1)));
    let replica = with_api(Replica::with_throttle(throttle));
    let wrong = ask(&replica, &[basic(API, "wrong"), ACCEPT_JWT], "token=x").await;
    assert_eq!((wrong.error(), &wrong.headers[header::CONTENT_TYPE]), (unauthorized(), &"application/json".parse().unwrap()));
    assert_eq!(ask(&replica, &[basic(API, SECRET), ACCEPT_JWT], "").await.error(), refused("invalid_request"));
    assert_eq!(signed_for(&replica, API, "x").await.status, 200);
    assert_eq!(introspected_by(&replica, API, "x").await.status, 200);
    let told = signed_for(&replica, API, "x").await;
    assert_eq!((told.status.as_u16(), &told.headers[header::CONTENT_TYPE]), (429, &"application/json".parse().unwrap()));
}

/// I06, RFC 9701 §8.1: signed by the same key for the same reader, and yet no access token: not here, not as an assertion, and not
/// for a verifier that asks for what every access token has.
#[tokio::test]
async fn nobody_takes_a_signed_answer_for_an_access_token() {
    let replica = with_api(Replica::new());
    let token = token(&replica, "billing.worker").await;
    let answer = signed_for(&replica, API, &token).await;
    verified(&replica, &answer, API).await;
    let text = answer.text();
    assert!(is_inactive(&introspected_by(&replica, API, &text).await));
    assert!([AssertionType::JwtBearer, AssertionType::JwtSpiffe].iter().all(|kind| Assertion::read(*kind, &text).is_none()));
    // It is the type alone that says so of one that claims what an access token does.
    let key = replica.snapshot.load().keys.as_ref().unwrap().active[&Algorithm::Es256].clone();
    let claims = token.split('.').nth(1).unwrap();
    for (typ, is_active) in [("at+jwt", true), ("token-introspection+jwt", false), ("application/token-introspection+jwt", false)] {
        let input = format!("{}.{claims}", key.header_of(typ));
        let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap()));
        assert_eq!(!is_inactive(&introspected_by(&replica, API, &forged).await), is_active, "{typ}");
    }

    let jwks: JwkSet = serde_json::from_slice(&replica.get("/oauth2/jwks").await.body).unwrap();
    let header = decode_header(&text).unwrap();
    let key = DecodingKey::from_jwk(jwks.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[API]);
    let error = decode::<Value>(&text, &key, &validation).unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::MissingRequiredClaim("exp".to_owned()));
}
