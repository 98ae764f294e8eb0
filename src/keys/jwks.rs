//! Public keys as JSON Web Keys (RFC 7517), named by their thumbprint (RFC 7638).

use super::signing::SigningKey;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;

/// The public half of a signing key; members are base64url, as a JWK carries them (RFC 7518 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA (RFC 7518 §6.3.1).
    Rsa {
        /// The modulus.
        n: String,
        /// The public exponent.
        e: String,
    },
    /// The curve P-256 (RFC 7518 §6.2.1).
    P256 {
        /// The x coordinate.
        x: String,
        /// The y coordinate.
        y: String,
    },
    /// Ed25519 (RFC 8037 §2).
    Ed25519 {
        /// The public key.
        x: String,
    },
}

impl PublicKey {
    /// From the big-endian modulus and exponent.
    #[must_use]
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::Rsa { n: URL_SAFE_NO_PAD.encode(modulus), e: URL_SAFE_NO_PAD.encode(exponent) }
    }

    /// From an uncompressed point (SEC 1 §2.3.3): the byte 4 and two coordinates of 32 bytes. `None` for any other form.
    #[must_use]
    pub fn p256(point: &[u8]) -> Option<Self> {
        let coordinates: &[u8; 64] = point.strip_prefix(&[4])?.try_into().ok()?;
        let (x, y) = coordinates.split_at(32);
        Some(Self::P256 { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
    }

    /// From the 32 bytes of RFC 8032 §5.1.5.
    #[must_use]
    pub fn ed25519(bytes: &[u8]) -> Self {
        Self::Ed25519 { x: URL_SAFE_NO_PAD.encode(bytes) }
    }

    /// The members that make the key what it is, and `kty`: those that its thumbprint covers.
    fn required_members(&self) -> BTreeMap<&'static str, &str> {
        match self {
            Self::Rsa { n, e } => BTreeMap::from([("kty", "RSA"), ("n", n.as_str()), ("e", e.as_str())]),
            Self::P256 { x, y } => BTreeMap::from([("kty", "EC"), ("crv", "P-256"), ("x", x.as_str()), ("y", y.as_str())]),
            Self::Ed25519 { x } => BTreeMap::from([("kty", "OKP"), ("crv", "Ed25519"), ("x", x.as_str())]),
        }
    }

    /// As a JWK (RFC 7517 §4), without a name.
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!(self.required_members())
    }

    /// The `kid`: the RFC 7638 thumbprint with SHA-256, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.required_members())
    }
}

/// RFC 7638 §3: the required members in lexicographic order, without white space, hashed with SHA-256.
fn thumbprint(members: &BTreeMap<&str, &str>) -> String {
    let json: Vec<String> = members.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value))).collect();
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{{{}}}", json.join(",")).as_bytes()))
}

/// The members are base64url or registered names: nothing in them needs escaping.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// One entry of the document: public members alone.
#[derive(Serialize)]
struct Jwk<'a> {
    kid: &'a str,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    #[serde(flatten)]
    members: BTreeMap<&'static str, &'a str>,
}

/// A JWKS document and its entity tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jwks {
    /// The document (RFC 7517 §5).
    pub document: Bytes,
    /// A strong entity tag with its quotes (RFC 9110 §8.8.3): the same on every replica that publishes the same keys.
    pub etag: String,
}

impl Jwks {
    /// Publishes `keys`, in this order.
    #[must_use]
    pub fn publish<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Self {
        let entries: Vec<Jwk<'_>> = keys.into_iter().map(entry).collect();
        let document = serde_json::json!({ "keys": entries }).to_string();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest(&SHA256, document.as_bytes())));
        Self { document: document.into(), etag }
    }
}

fn entry(key: &SigningKey) -> Jwk<'_> {
    Jwk { kid: key.kid(), usage: "sig", alg: key.algorithm().as_str(), members: key.public_key().required_members() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resource::Algorithm;

    /// A10: the example of RFC 7638 §3.1.
    #[test]
    fn an_rsa_key_is_named_as_in_rfc_7638() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64\
                 tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO\
                 pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = PublicKey::Rsa { n: n.to_owned(), e: "AQAB".to_owned() };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// A10: the example of RFC 8037 appendix A.3.
    #[test]
    fn an_okp_key_is_named_as_in_rfc_8037() {
        let key = PublicKey::Ed25519 { x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned() };
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    /// W06: nothing but these members, whatever the library may one day say of a key.
    #[test]
    fn a_jwks_has_public_members_alone() {
        let keys = Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap());
        let jwks = Jwks::publish(&keys);
        let document: serde_json::Value = serde_json::from_slice(&jwks.document).unwrap();
        let names = |at: usize| document["keys"][at].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(names(0), ["alg", "e", "kid", "kty", "n", "use"]);
        assert_eq!(names(1), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(names(2), names(0));
        assert_eq!(names(3), ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(document.as_object().unwrap().len(), 1);
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(document["keys"][at]["kid"], key.kid());
            assert_eq!(document["keys"][at]["use"], "sig");
            assert_eq!(document["keys"][at]["alg"], key.algorithm().as_str());
        }
        assert_ne!(keys[0].kid(), keys[1].kid());
    }

    /// W06: a verifier that never met this crate's types reads the members.
    #[test]
    fn another_library_reads_the_jwks() {
        let keys = Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).unwrap());
        let read: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&Jwks::publish(&keys).document).unwrap();
        for key in &keys {
            let jwk = read.find(key.kid()).unwrap();
            let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
            assert_eq!(thumbprint.unwrap(), key.kid());
        }
    }

    /// W07: the tag follows the keys and nothing else.
    #[test]
    fn the_entity_tag_is_strong_and_follows_the_keys() {
        let [one, other] = [(); 2].map(|()| SigningKey::generate(Algorithm::Es256).unwrap());
        assert_eq!(Jwks::publish([&one]), Jwks::publish([&one]));
        assert_ne!(Jwks::publish([&one]).etag, Jwks::publish([&one, &other]).etag);
        let etag = Jwks::publish([&one]).etag;
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 45, "{etag}");
    }

    #[test]
    fn a_point_of_another_form_is_no_p256_key() {
        assert_eq!(PublicKey::p256(&[]), None);
        assert_eq!(PublicKey::p256(&[2; 33]), None);
        assert_eq!(PublicKey::p256(&[4; 64]), None);
        assert!(PublicKey::p256(&[4; 65]).is_some());
    }
}
