//! A client assertion (RFC 7521 §4.2): a JWT that the client signs for one request (RFC 7523 §3), or one that was made for it. Pure.

use crate::{
    domain::resource::Algorithm,
    keys::{SigningKey, signing::SigningError},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

/// How a JWT is named in a request (RFC 7523 §2.2).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How a JWT-SVID is (draft-ietf-oauth-spiffe-client-auth).
pub(super) const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
/// How long it is good for, in seconds: as long as a request may take on a slow day, and clocks differ.
const LIFE: i64 = 60;

/// One, as it is sent. No Debug: it is a credential.
pub struct Assertion {
    pub(super) assertion_type: &'static str,
    pub(super) text: Zeroizing<String>,
}

/// The private key of a PKCS#8 document. Which kind it is, it says itself; an RSA key signs as RS256 unless something else is said.
pub(super) fn key(der: &[u8], algorithm: Option<Algorithm>) -> Option<SigningKey> {
    let candidates = algorithm.map_or_else(|| vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256], |algorithm| vec![algorithm]);
    candidates.into_iter().find_map(|algorithm| SigningKey::from_pkcs8(algorithm, der).ok())
}

/// For this client, to this issuer. It names no `kid`: the client's public keys stand in its object, under names that are its own.
pub(super) fn signed(
    key: &SigningKey,
    client_id: &str,
    issuer: &str,
    now: Timestamp,
    jti: &str,
) -> Result<Zeroizing<String>, SigningError> {
    let now = now.as_second();
    let header = json!({"alg": key.algorithm().as_str(), "typ": "JWT"});
    let claims = json!({"iss": client_id, "sub": client_id, "aud": issuer, "iat": now, "exp": now + LIFE, "jti": jti});
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(input.as_bytes())?;
    Ok(Zeroizing::new(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_itself_which_it_is() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            let der = SigningKey::generate(algorithm).unwrap().to_pkcs8().unwrap();
            assert_eq!(key(&der, None).unwrap().algorithm(), algorithm);
        }
        let rsa = SigningKey::generate(Algorithm::Ps256).unwrap().to_pkcs8().unwrap();
        assert_eq!(key(&rsa, Some(Algorithm::Ps256)).unwrap().algorithm(), Algorithm::Ps256);
        assert!(key(&rsa, Some(Algorithm::Es256)).is_none() && key(b"none", None).is_none());
    }
}
