//! Every parser of outside input, and what holds of whatever it reads (H07, S16): for the tests beside this file, and for libFuzzer
//! (`fuzz/`).

use http::{HeaderMap, HeaderValue, Method, header};
use keywright::{
    api::probed::Probed,
    domain::{
        jwk::VerificationKey,
        resource::Algorithm,
        trust_domain::{WorkloadId, jwt_svid_keys},
    },
    keys::{DigestKey, KeySet, SigningKey},
    oauth::{
        access_token::AccessToken,
        assertion::{Assertion, AssertionType},
        basic, form, introspection_jwt, json,
        metadata::Issuer,
        request::Head,
    },
    policy::Policy,
    revocation::list::Revoked,
};
use std::sync::LazyLock;

/// Panics where something does not hold of what is read.
pub(crate) type Parser = fn(&[u8]);

/// Each with the name of its folder in `corpus/`.
pub(crate) const PARSERS: [(&str, Parser); 12] = [
    ("form", forms),
    ("authorization", authorization_fields),
    ("assertion", assertions),
    ("json", json_objects),
    ("jwk", json_web_keys),
    ("bundle", bundles),
    ("spiffe_id", spiffe_ids),
    ("accept", accept_fields),
    ("access_token", access_tokens),
    ("policy", policies),
    ("revoked", lists_of_revoked_tokens),
    ("probed", results_of_probes),
];

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::new(vec![SigningKey::generate(Algorithm::Es256).unwrap()], &[], DigestKey::new(&[7; 32])));

/// The forms that are read, with what authenticates in them.
fn forms(input: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let _ = form::pairs(input).count();
    let head = || Head::read(&Method::POST, &headers).unwrap();
    let _ = head().token_request(input);
    let _ = head().presented_token(input);
    let _ = head().probe_request(input).and_then(|request| request.resource());
}

fn authorization_fields(input: &[u8]) {
    drop(basic::authorization(input));
}

/// What is read as an assertion is also verified.
fn assertions(input: &[u8]) {
    for kind in [AssertionType::JwtBearer, AssertionType::JwtSpiffe] {
        if let Some(assertion) = std::str::from_utf8(input).ok().and_then(|text| Assertion::read(kind, text)) {
            assert!(!assertion.is_signed_by(&KEYS.public, &[]));
            let _ = assertion.is_timely(300, 1_800_000_000);
        }
    }
}

/// What one reader takes, the other reads the same.
fn json_objects(input: &[u8]) {
    if let Some(object) = json::object(input) {
        assert_eq!(serde_json::from_slice::<serde_json::Value>(input).unwrap(), serde_json::Value::Object(object));
    }
}

/// A key that is read verifies nothing by chance.
fn json_web_keys(input: &[u8]) {
    if let Some(Ok(key)) = json::object(input).map(|jwk| VerificationKey::from_jwk(&jwk)) {
        assert!(!key.verifies(b"x", &[0; 64]));
    }
}

/// Bundles of trust domains. A key that is read verifies nothing by chance.
fn bundles(input: &[u8]) {
    let keys = jwt_svid_keys(&String::from_utf8_lossy(input)).unwrap_or_default();
    assert!(keys.iter().all(|key| !key.verifies(b"x", &[0; 64])));
}

/// What is read as a SPIFFE ID is written in one way.
fn spiffe_ids(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(id) = WorkloadId::parse(&text) {
        assert_eq!(format!("spiffe://{}/{}", id.trust_domain(), id.path()), text);
    }
}

fn accept_fields(input: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(input).ok().map(|value| (header::ACCEPT, value)));
    let _ = introspection_jwt::is_wanted(&headers);
}

/// Nothing that this installation did not sign is a token of it.
fn access_tokens(input: &[u8]) {
    let issuer = Issuer::parse("https://keywright.keywright.svc").unwrap();
    let text = String::from_utf8_lossy(input).into_owned();
    assert_eq!(AccessToken::verified(&text, &issuer, &KEYS), None);
}

fn policies(input: &[u8]) {
    let _ = serde_saphyr::from_str::<Policy>(&String::from_utf8_lossy(input));
}

/// What is read is written and read the same.
fn lists_of_revoked_tokens(input: &[u8]) {
    let read = Revoked::read(&String::from_utf8_lossy(input));
    assert_eq!(Revoked::read(&read.text()), read);
}

/// What is read is written and read the same.
fn results_of_probes(input: &[u8]) {
    if let Some(read) = Probed::read(&String::from_utf8_lossy(input)) {
        assert_eq!(Probed::read(&read.to_text()), Some(read));
    }
}
