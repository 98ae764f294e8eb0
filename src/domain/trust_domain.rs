//! Workloads of SPIFFE: what they are called (SPIFFE-ID §2), and the keys that the JWT-SVIDs of their trust domain are signed with
//! (SPIFFE Trust Domain and Bundle §4).

mod bundles;

use super::jwk::{JwkError, VerificationKey};
pub use bundles::{BundleFault, Trust, TrustBundles};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// What every SPIFFE ID begins with.
const SCHEME: &str = "spiffe://";
/// Most keys of JWT-SVIDs in a bundle: a trust domain has one to three at a time.
const MOST_KEYS: usize = 32;

/// Why a text is not the SPIFFE ID of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It is none at all.
    #[error("{0}: write spiffe://<trust domain>/<path>, as in spiffe://example.org/ns/billing/sa/worker")]
    Form(String),
    /// Without a path it is that of the trust domain.
    #[error("a workload has a path: write spiffe://<trust domain>/<path>, as in spiffe://example.org/ns/billing/sa/worker")]
    NoPath,
    /// Ids are compared byte by byte.
    #[error("write it as its tokens do: {0}")]
    NotCanonical(String),
    /// SPIFFE-ID §2.3.
    #[error("a SPIFFE ID has at most 2048 characters")]
    TooLong,
}

/// Why a text is no bundle, or one without use here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a JWK Set.
    #[error("it is no SPIFFE bundle (a JWK Set, RFC 7517 §5): {0}")]
    Form(String),
    /// The private half of a key.
    #[error("{0}")]
    Private(JwkError),
    /// Of X.509-SVIDs alone, or of algorithms that are none of ours.
    #[error("it has no key with use: jwt-svid and a kid that verifies RS256, ES256, PS256 or EdDSA")]
    NoKey,
    /// No trust domain has so many.
    #[error("it has more than {MOST_KEYS} keys with use: jwt-svid")]
    TooManyKeys,
}

/// The SPIFFE ID of a workload, in the one way to write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(String);

impl WorkloadId {
    /// Most characters of one.
    pub const MAX: usize = 2_048;

    /// Reads a SPIFFE ID.
    ///
    /// # Errors
    /// [`SpiffeIdError`] says what to write instead.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > Self::MAX {
            return Err(SpiffeIdError::TooLong);
        }
        let id = spiffe::SpiffeId::new(text).map_err(|error| SpiffeIdError::Form(error.to_string()))?;
        match id.to_string() {
            _ if id.path().is_empty() => Err(SpiffeIdError::NoPath),
            canonical if canonical == text => Ok(Self(canonical)),
            canonical => Err(SpiffeIdError::NotCanonical(canonical)),
        }
    }

    /// The text: `sub` in its tokens.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// What follows the trust domain and a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).unwrap_or_default()
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is the name of a trust domain, in the one way to write it (SPIFFE-ID §2.1).
#[must_use]
pub fn is_trust_domain(name: &str) -> bool {
    !name.contains(':') && spiffe::TrustDomain::new(name).is_ok_and(|known| known.as_str() == name)
}

#[derive(Deserialize)]
struct Bundle {
    keys: Vec<Map<String, Value>>,
}

/// The keys of a bundle that JWT-SVIDs are verified with. Others, of another use or of algorithms that are none of ours, are left out.
///
/// # Errors
/// Where that leaves none, or the text is no bundle.
pub fn jwt_svid_keys(bundle: &str) -> Result<Vec<VerificationKey>, BundleError> {
    let Bundle { keys } = serde_json::from_str(bundle).map_err(|error| BundleError::Form(where_it_ends(&error)))?;
    let mut read = Vec::new();
    for jwk in keys.iter().filter(|jwk| is_for_jwt_svids(jwk)) {
        match VerificationKey::from_jwk(&signing(jwk)) {
            Ok(key) if key.kid().is_some() => read.push(key),
            Err(error @ JwkError::Private(_)) => return Err(BundleError::Private(error)),
            Ok(_) | Err(_) => {}
        }
    }
    match read.len() {
        0 => Err(BundleError::NoKey),
        1..=MOST_KEYS => Ok(read),
        _ => Err(BundleError::TooManyKeys),
    }
}

/// Without the text that was found there: people who may not read the bundle are told what is wrong with it.
fn where_it_ends(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "no member \"keys\" with a list of keys" } else { "no JSON" };
    format!("{what}, at line {}, column {}", error.line(), error.column())
}

/// A key without `use` is ignored (SPIFFE Trust Domain and Bundle §4.2.2).
fn is_for_jwt_svids(jwk: &Map<String, Value>) -> bool {
    jwk.get("use").is_some_and(|usage| usage == "jwt-svid")
}

/// The same as a key of RFC 7517. Bundles name no `alg`; SPIRE signs with RS256 where its key is an RSA key.
fn signing(jwk: &Map<String, Value>) -> Map<String, Value> {
    let mut jwk = jwk.clone();
    jwk.insert("use".to_owned(), json!("sig"));
    if jwk.get("kty").is_some_and(|kty| kty == "RSA") {
        jwk.entry("alg").or_insert_with(|| json!("RS256"));
    }
    jwk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resource::Algorithm;
    use proptest::prelude::*;

    /// K12: SPIFFE-ID §2.1 to §2.3, and byte by byte.
    #[test]
    fn a_workload_has_a_trust_domain_and_a_path() {
        let id = WorkloadId::parse("spiffe://example.org/ns/billing/sa/Worker").unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("example.org", "ns/billing/sa/Worker"));
        for text in ["spiffe://a/b", "spiffe://a.b-c_d/x.y-z_0", &format!("spiffe://a/{}", "x".repeat(2_037))] {
            assert_eq!(WorkloadId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "worker",
            "https://example.org/x",
            "spiffe:example.org/x",
            "spiffe:///x",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/x/",
            "spiffe://example.org//x",
            "spiffe://example.org/./x",
            "spiffe://example.org/../x",
            "spiffe://example.org/x?y",
            "spiffe://example.org/x#y",
            "spiffe://example.org/%41",
            "spiffe://example.org/*",
            "spiffe://example.org:443/x",
            "spiffe://user@example.org/x",
            "spiffe://example.org/\u{fc}",
            "SPIFFE://example.org/x",
            "spiffe://Example.org/x",
            " spiffe://example.org/x",
            &format!("spiffe://a/{}", "x".repeat(2_038)),
        ] {
            assert!(WorkloadId::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            WorkloadId::parse("spiffe://Example.org/x").unwrap_err(),
            SpiffeIdError::NotCanonical("spiffe://example.org/x".to_owned())
        );
        for (name, is_one) in
            [("example.org", true), ("a", true), ("Example.org", false), ("spiffe://a", false), ("a/b", false), ("", false)]
        {
            assert_eq!(is_trust_domain(name), is_one, "{name}");
        }
    }

    /// RFC 7515 A.3.1 and A.2.1, as SPIRE publishes such keys.
    fn p256() -> Value {
        json!({"use": "jwt-svid", "kty": "EC", "kid": "a", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn rsa() -> Value {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        json!({"use": "jwt-svid", "kty": "RSA", "kid": "b", "n": n, "e": "AQAB"})
    }

    fn read(keys: &[Value]) -> Result<Vec<(String, Algorithm)>, BundleError> {
        let bundle = json!({"keys": keys, "spiffe_sequence": 7, "spiffe_refresh_hint": 300}).to_string();
        let keys = jwt_svid_keys(&bundle)?;
        Ok(keys.iter().map(|key| (key.kid().unwrap_or_default().to_owned(), key.algorithm())).collect())
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    /// K12: SPIFFE Trust Domain and Bundle §4.2.
    #[test]
    fn of_a_bundle_the_keys_of_jwt_svids_are_read() {
        let p384 = with(p256(), "crv", json!("P-384"));
        let x509 = json!({"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": "a", "y": "b", "x5c": ["MAA="]});
        let mut without_use = p256();
        without_use.as_object_mut().unwrap().remove("use");
        let mut without_kid = p256();
        without_kid.as_object_mut().unwrap().remove("kid");
        let signs = with(p256(), "use", json!("sig"));
        let ps256 = with(with(rsa(), "alg", json!("PS256")), "kid", json!("c"));
        let all = [x509.clone(), p256(), p384.clone(), without_use.clone(), rsa(), ps256, without_kid.clone(), signs.clone()];
        let expected =
            [("a", Algorithm::Es256), ("b", Algorithm::Rs256), ("c", Algorithm::Ps256)].map(|(kid, algorithm)| (kid.to_owned(), algorithm));
        assert_eq!(read(&all), Ok(expected.to_vec()));
        assert_eq!(read(&[x509, p384, without_use, without_kid, signs]), Err(BundleError::NoKey));
        assert_eq!(read(&vec![p256(); MOST_KEYS + 1]), Err(BundleError::TooManyKeys));
        assert_eq!(read(&[with(p256(), "d", json!("x"))]), Err(BundleError::Private(JwkError::Private("d"))));
        for text in ["", "{}", "[]", "{\"keys\": {}}", "{\"keys\": [7]}", "-----BEGIN CERTIFICATE-----"] {
            assert!(matches!(jwt_svid_keys(text), Err(BundleError::Form(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_or_none(text in "(spiffe://)?[a-zA-Z0-9./_:%*-]{0,40}") {
            if let Ok(id) = WorkloadId::parse(&text) {
                prop_assert_eq!(format!("spiffe://{}/{}", id.trust_domain(), id.path()), text);
            }
        }
    }
}
