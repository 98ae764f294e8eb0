//! The token as an API sees it that knows issuer, audience and the URL of the keys, and nothing of this program: by a library that
//! signs nothing here.

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, errors::Error, jwk::JwkSet};
use serde_json::{Map, Value};

/// Why an API would refuse the token. No message shows it.
#[derive(Debug, thiserror::Error)]
pub(super) enum VerifyError {
    /// The answer of the keys' URL.
    #[error("what the URL of the keys answers is no JWK Set (RFC 7517 §5): {0}")]
    Keys(serde_json::Error),
    /// Not even a header.
    #[error("the token is no JWT: {0}")]
    Header(Error),
    /// RFC 9068 §4: a verifier has to refuse another one.
    #[error("the token's typ is {0:?}, not at+jwt (RFC 9068)")]
    Type(Option<String>),
    /// The token names a key that is not published.
    #[error("the key {0:?}, which the token names, is not among those that are published: does a cache in between hold old ones?")]
    UnknownKey(Option<String>),
    /// A key that nobody can use.
    #[error("the key {0} cannot be used: {1}")]
    Key(String, Error),
    /// Signature, issuer, audience or time.
    #[error("{0}")]
    Refused(Error),
    /// A claim that has to be another one.
    #[error("the claim {name} is {found}, not {expected:?}")]
    Claim {
        /// Which.
        name: &'static str,
        /// What it should say.
        expected: String,
        /// What it says.
        found: Value,
    },
}

/// What the API expects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) client_id: &'a str,
    pub(super) scope: &'a str,
}

/// Checks signature, `typ`, `iss`, `aud` and times, and who the caller is and may do what. Gives the algorithm of the signature.
/// The library looks at the clock, as in every API.
pub(super) fn verify(token: &str, keys: &[u8], expected: Expected<'_>) -> Result<String, VerifyError> {
    let keys: JwkSet = serde_json::from_slice(keys).map_err(VerifyError::Keys)?;
    let header = decode_header(token).map_err(VerifyError::Header)?;
    if header.typ.as_deref() != Some("at+jwt") {
        return Err(VerifyError::Type(header.typ));
    }
    let (kid, jwk) =
        header.kid.as_deref().and_then(|kid| Some((kid, keys.find(kid)?))).ok_or_else(|| VerifyError::UnknownKey(header.kid.clone()))?;
    // Of the wrong kind for the algorithm that the token names, it is refused below.
    let key = DecodingKey::from_jwk(jwk).map_err(|error| VerifyError::Key(kid.to_owned(), error))?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = decode::<Map<String, Value>>(token, &key, &validation).map_err(VerifyError::Refused)?.claims;
    for (name, text) in [("sub", expected.client_id), ("client_id", expected.client_id), ("scope", expected.scope)] {
        let found = claims.get(name).cloned().unwrap_or_default();
        if found.as_str() != Some(text) {
            return Err(VerifyError::Claim { name, expected: text.to_owned(), found });
        }
    }
    Ok(format!("{:?}", header.alg))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
    use serde_json::json;

    const EXPECTED: Expected<'_> =
        Expected { issuer: "https://auth", audience: "https://api", client_id: "shop.worker", scope: "selftest.read" };

    fn published(key: &KeyPair) -> Vec<u8> {
        let point = key.der_bytes();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one", "x": part(&point[1..33]), "y": part(&point[33..])});
        json!({"keys": [jwk]}).to_string().into_bytes()
    }

    fn header(typ: &str, kid: &str) -> Header {
        Header { typ: Some(typ.to_owned()), kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) }
    }

    /// The claims of a good token, with this one instead.
    fn claims(name: &str, value: Value) -> Value {
        let exp = crate::ambient::now().as_second() + 60;
        let mut claims = json!({"iss": "https://auth", "aud": "https://api", "sub": "shop.worker", "client_id": "shop.worker", "scope": "selftest.read", "exp": exp});
        claims[name] = value;
        claims
    }

    #[test]
    fn a_good_token_is_accepted_and_each_fault_of_another_is_named() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let signs = |key: &KeyPair| EncodingKey::from_ec_der(&key.serialize_der());
        let (own, other) = (signs(&key), signs(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()));
        let keys = published(&key);
        let token = |header: &Header, claims: &Value, key: &EncodingKey| encode(header, claims, key).unwrap();
        let good = claims("more", json!(1));
        assert_eq!(verify(&token(&header("at+jwt", "one"), &good, &own), &keys, EXPECTED).unwrap(), "ES256");

        let long_ago = json!(1_000_000_000);
        for (header, claims, key, words) in [
            (header("JWT", "one"), good.clone(), &own, "not at+jwt"),
            (header("token-introspection+jwt", "one"), good.clone(), &own, "not at+jwt"),
            (header("at+jwt", "two"), good.clone(), &own, "\"two\""),
            (header("at+jwt", "one"), good, &other, "InvalidSignature"),
            (header("at+jwt", "one"), claims("iss", json!("https://other")), &own, "InvalidIssuer"),
            (header("at+jwt", "one"), claims("aud", json!("https://other")), &own, "InvalidAudience"),
            (header("at+jwt", "one"), claims("exp", long_ago), &own, "ExpiredSignature"),
            (header("at+jwt", "one"), claims("sub", json!("shop.other")), &own, "the claim sub is \"shop.other\", not \"shop.worker\""),
            (header("at+jwt", "one"), claims("client_id", Value::Null), &own, "the claim client_id is null"),
            (header("at+jwt", "one"), claims("scope", json!("admin")), &own, "the claim scope"),
        ] {
            let error = verify(&token(&header, &claims, key), &keys, EXPECTED).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(matches!(verify("opaque", &keys, EXPECTED), Err(VerifyError::Header(_))));
        assert!(matches!(verify("a.b.c", b"<html>", EXPECTED), Err(VerifyError::Keys(_))));
    }

    /// S1: a key says what it is for, and a token does not choose otherwise.
    #[test]
    fn an_algorithm_that_does_not_fit_the_key_is_refused() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let public = key.der_bytes();
        let header = Header { typ: Some("at+jwt".to_owned()), kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims("more", json!(1)), &EncodingKey::from_secret(public)).unwrap();
        assert!(matches!(verify(&token, &published(&key), EXPECTED), Err(VerifyError::Refused(_))));
    }
}
