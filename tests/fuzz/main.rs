//! H07, S16: every parser of outside input with the inputs of `corpus/`, whole, cut, changed and mixed. None panics, and none takes long.
//!
//! The changes are drawn from a seed, so that a failure comes again. `FUZZ_ROUNDS` says how many inputs each parser gets; a parser that
//! fails is told together with the input, which then belongs into the corpus.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

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
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{fs, panic::catch_unwind, path::Path, sync::LazyLock};

/// How many inputs, unless `FUZZ_ROUNDS` says otherwise.
const ROUNDS: u32 = 20_000;

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::new(vec![SigningKey::generate(Algorithm::Es256).unwrap()], &[], DigestKey::new(&[7; 32])));

/// The inputs of one parser.
fn corpus(parser: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(parser);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What stands out to parsers.
const WORDS: [&[u8]; 22] = [
    b"%",
    b"&",
    b"=",
    b"+",
    b".",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\0",
    b"\n",
    b"\xff",
    b"%zz",
    b"null",
    b"-1",
    b"1e999",
    b"kid",
    b"aud",
    b"\xf0\x9f\x98\x80",
];

fn changed(random: &mut StdRng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs.choose(random).unwrap().clone();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..7) {
            0 => input.truncate(at),
            1 => drop(input.splice(at..at, WORDS.choose(random).unwrap().iter().copied())),
            2 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            3 if at < input.len() => drop(input.remove(at)),
            4 => {
                let other = inputs.choose(random).unwrap();
                input.splice(at.., other[random.random_range(0..=other.len())..].iter().copied());
            }
            5 => {
                let piece = input[at..input.len().min(at + 16)].to_vec();
                (0..random.random_range(1..20)).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
            }
            _ => input.insert(at, random.random()),
        }
        input.truncate(64 * 1024);
    }
    input
}

fn fuzz(parser: &str, parse: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let inputs = corpus(parser);
    inputs.iter().for_each(|input| parse(input));
    let mut random = StdRng::seed_from_u64(0);
    for _ in 0..rounds {
        let input = changed(&mut random, &inputs);
        assert!(catch_unwind(|| parse(&input)).is_ok(), "{parser} fails on b\"{}\"", input.escape_ascii());
    }
}

/// The forms that are read, with what authenticates in them.
#[test]
fn forms() {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    fuzz("form", |input| {
        let _ = form::pairs(input).count();
        let head = || Head::read(&Method::POST, &headers).unwrap();
        let _ = head().token_request(input);
        let _ = head().presented_token(input);
        let _ = head().probe_request(input).and_then(|request| request.resource());
    });
}

#[test]
fn authorization_fields() {
    fuzz("authorization", |input| drop(basic::authorization(input)));
}

/// What is read as an assertion is also verified.
#[test]
fn assertions() {
    fuzz("assertion", |input| {
        for kind in [AssertionType::JwtBearer, AssertionType::JwtSpiffe] {
            if let Some(assertion) = std::str::from_utf8(input).ok().and_then(|text| Assertion::read(kind, text)) {
                assert!(!assertion.is_signed_by(&KEYS.public, &[]));
                let _ = assertion.is_timely(300, 1_800_000_000);
            }
        }
    });
}

/// What one reader takes, the other reads the same.
#[test]
fn json_objects() {
    fuzz("json", |input| {
        if let Some(object) = json::object(input) {
            assert_eq!(serde_json::from_slice::<serde_json::Value>(input).unwrap(), serde_json::Value::Object(object));
        }
    });
}

/// A key that is read verifies nothing by chance.
#[test]
fn json_web_keys() {
    fuzz("jwk", |input| {
        if let Some(Ok(key)) = json::object(input).map(|jwk| VerificationKey::from_jwk(&jwk)) {
            assert!(!key.verifies(b"x", &[0; 64]));
        }
    });
}

/// Bundles of trust domains. A key that is read verifies nothing by chance.
#[test]
fn bundles() {
    fuzz("bundle", |input| {
        let keys = jwt_svid_keys(&String::from_utf8_lossy(input)).unwrap_or_default();
        assert!(keys.iter().all(|key| !key.verifies(b"x", &[0; 64])));
    });
}

/// What is read as a SPIFFE ID is written in one way.
#[test]
fn spiffe_ids() {
    fuzz("spiffe_id", |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(id) = WorkloadId::parse(&text) {
            assert_eq!(format!("spiffe://{}/{}", id.trust_domain(), id.path()), text);
        }
    });
}

#[test]
fn accept_fields() {
    fuzz("accept", |input| {
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_bytes(input).ok().map(|value| (header::ACCEPT, value)));
        let _ = introspection_jwt::is_wanted(&headers);
    });
}

/// Nothing that this installation did not sign is a token of it.
#[test]
fn access_tokens() {
    let issuer = Issuer::parse("https://keywright.keywright.svc").unwrap();
    fuzz("access_token", |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        assert_eq!(AccessToken::verified(&text, &issuer, &KEYS), None);
    });
}

#[test]
fn policies() {
    fuzz("policy", |input| {
        let _ = serde_saphyr::from_str::<Policy>(&String::from_utf8_lossy(input));
    });
}

/// What is read is written and read the same.
#[test]
fn lists_of_revoked_tokens() {
    fuzz("revoked", |input| {
        let read = Revoked::read(&String::from_utf8_lossy(input));
        assert_eq!(Revoked::read(&read.text()), read);
    });
}

/// What is read is written and read the same.
#[test]
fn results_of_probes() {
    fuzz("probed", |input| {
        if let Some(read) = Probed::read(&String::from_utf8_lossy(input)) {
            assert_eq!(Probed::read(&read.to_text()), Some(read));
        }
    });
}

/// A failure is found: the runner itself.
#[test]
fn a_parser_that_panics_is_told() {
    let refuses_braces = |input: &[u8]| assert!(!input.starts_with(b"{"), "as planted");
    let told = catch_unwind(|| fuzz("json", refuses_braces)).is_err();
    assert!(told);
}
