//! A public key that somebody else signs with, as a JSON Web Key (RFC 7517): read strictly, and parsed once.
//!
//! A key verifies signatures of one algorithm alone (RFC 8725 §3.1), so an RSA key has to say which of its two it is for.

use super::resource::Algorithm;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Members that only a private or a symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2).
pub const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Most characters of a `kid`.
const LONGEST_KID: usize = 256;
/// Bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Why a JSON object is no public key that signatures are verified with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// The private half is there: the key is lost, because whoever may read the object has it.
    #[error(
        "the member {0:?} belongs to a private key, which everybody who may read this object now has: make a new key, and write its public half"
    )]
    Private(&'static str),
    /// RFC 7517 §4.1.
    #[error("kty is RSA, EC (P-256) or OKP (Ed25519)")]
    KeyType,
    /// RFC 7518 §6.2.1.1, RFC 8037 §2.
    #[error("crv is {0} for this kty")]
    Curve(&'static str),
    /// RFC 7517 §4.4.
    #[error("alg is {0} for this kty")]
    Algorithm(&'static str),
    /// RFC 7517 §4.2, §4.3.
    #[error("use is \"sig\" and key_ops contains \"verify\", where they are there")]
    Usage,
    /// RFC 7517 §4.5.
    #[error("kid is a text of 1 to {LONGEST_KID} characters, where it is there")]
    KeyId,
    /// A member of the key itself.
    #[error("{0} is missing, or not base64url without padding, or of the wrong length")]
    Member(&'static str),
    /// RFC 7518 §3.3: 2048 bits at least.
    #[error("an RSA key has 2048 to 4096 bits")]
    RsaSize,
    /// The members are of the right form, and no key.
    #[error("this is no key: its members do not fit each other")]
    NoKey,
}

/// A public key and the one algorithm that it is for.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl VerificationKey {
    /// Reads a JWK. Members that say nothing about the key (`x5c`, `x5u`, …) are ignored, and nothing is ever fetched.
    ///
    /// # Errors
    /// [`JwkError`] says what to write instead.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        if let Some(member) = PRIVATE_MEMBERS.into_iter().find(|member| jwk.contains_key(*member)) {
            return Err(JwkError::Private(member));
        }
        check_usage(jwk)?;
        let (algorithm, key) = match text(jwk, "kty") {
            Some("RSA") => rsa(jwk)?,
            Some("EC") => p256(jwk)?,
            Some("OKP") => ed25519(jwk)?,
            _ => return Err(JwkError::KeyType),
        };
        Ok(Self { kid: kid(jwk)?, algorithm, key })
    }

    /// Its name, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithm that it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether a signature of `algorithm` that names the key `kid` may be by this one. A key without a name may be any.
    #[must_use]
    pub fn may_have_signed(&self, algorithm: Algorithm, kid: Option<&str>) -> bool {
        let named = match (kid, &self.kid) {
            (Some(wanted), Some(own)) => wanted == own,
            (None, _) | (_, None) => true,
        };
        named && self.algorithm == algorithm
    }

    /// Whether `signature` is one of `input` by this key.
    #[must_use]
    pub fn verifies(&self, input: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(input, signature).is_ok()
    }
}

/// The algorithm of an `alg` value. RFC 9864 calls Ed25519 by its name, RFC 8037 by that of the family.
#[must_use]
pub fn algorithm_named(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDsa) } else { Algorithm::named(name) }
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    jwk.get(member).and_then(Value::as_str)
}

fn check_usage(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    let signs = jwk.get("use").is_none_or(|usage| usage == "sig");
    let verifies = jwk.get("key_ops").is_none_or(|all| all.as_array().is_some_and(|all| all.iter().any(|one| one == "verify")));
    if signs && verifies { Ok(()) } else { Err(JwkError::Usage) }
}

fn kid(jwk: &Map<String, Value>) -> Result<Option<String>, JwkError> {
    match jwk.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) if (1..=LONGEST_KID).contains(&kid.len()) => Ok(Some(kid.clone())),
        Some(_) => Err(JwkError::KeyId),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<(Algorithm, ParsedPublicKey), JwkError> {
    let (algorithm, parameters) = match text(jwk, "alg") {
        Some("RS256") => (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
        Some("PS256") => (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
        _ => return Err(JwkError::Algorithm("RS256 or PS256")),
    };
    let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
    if !RSA_BITS.contains(&bits(&modulus)) {
        return Err(JwkError::RsaSize);
    }
    // Odd, more than 1, and no longer than verifiers elsewhere take.
    let is_exponent = exponent.len() <= 4 && exponent.last().is_some_and(|last| last % 2 == 1) && exponent != [1];
    if !is_exponent {
        return Err(JwkError::Member("e"));
    }
    let key = RsaPublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters);
    Ok((algorithm, key.map_err(|_| JwkError::NoKey)?))
}

fn p256(jwk: &Map<String, Value>) -> Result<(Algorithm, ParsedPublicKey), JwkError> {
    if text(jwk, "crv") != Some("P-256") {
        return Err(JwkError::Curve("P-256"));
    }
    if jwk.get("alg").is_some_and(|name| name != "ES256") {
        return Err(JwkError::Algorithm("ES256"));
    }
    let point = [&[4], octets(jwk, "x")?.as_slice(), octets(jwk, "y")?.as_slice()].concat();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| JwkError::NoKey)?;
    Ok((Algorithm::Es256, key))
}

fn ed25519(jwk: &Map<String, Value>) -> Result<(Algorithm, ParsedPublicKey), JwkError> {
    if text(jwk, "crv") != Some("Ed25519") {
        return Err(JwkError::Curve("Ed25519"));
    }
    if jwk.get("alg").is_some_and(|name| name != "EdDSA" && name != "Ed25519") {
        return Err(JwkError::Algorithm("EdDSA"));
    }
    let key = ParsedPublicKey::new(&ED25519, octets(jwk, "x")?).map_err(|_| JwkError::NoKey)?;
    Ok((Algorithm::EdDsa, key))
}

fn decoded(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, JwkError> {
    let bytes = text(jwk, member).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.ok_or(JwkError::Member(member))
}

/// A coordinate: 32 bytes, also where the first ones are 0 (RFC 7518 §6.2.1.2).
fn octets(jwk: &Map<String, Value>, member: &'static str) -> Result<[u8; 32], JwkError> {
    decoded(jwk, member)?.try_into().map_err(|_| JwkError::Member(member))
}

/// A Base64urlUInt. Some libraries put a zero byte before it (RFC 7518 §6.3.1.1), which changes nothing.
fn number(jwk: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, JwkError> {
    let digits: Vec<u8> = decoded(jwk, member)?.into_iter().skip_while(|byte| *byte == 0).collect();
    if digits.is_empty() { Err(JwkError::Member(member)) } else { Ok(digits) }
}

fn bits(number: &[u8]) -> usize {
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// RFC 7515 A.3.1.
    fn p256() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    /// RFC 8037 A.2.
    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    /// RFC 7515 A.2.1.
    fn rsa() -> Value {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        json!({"kty": "RSA", "alg": "RS256", "n": n, "e": "AQAB"})
    }

    fn read(jwk: &Value) -> Result<VerificationKey, JwkError> {
        VerificationKey::from_jwk(jwk.as_object().unwrap())
    }

    fn with(mut jwk: Value, changes: &Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                jwk.as_object_mut().unwrap().remove(name)
            } else {
                jwk.as_object_mut().unwrap().insert(name.clone(), value.clone())
            };
        }
        jwk
    }

    /// The examples of RFC 7515 A.2, A.3 and RFC 8037 A.4: JWSs that nobody here made.
    #[test]
    fn the_vectors_of_the_standards_verify() {
        let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let rs256 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let es256 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let eddsa = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        for (jwk, input, signature) in [
            (rsa(), format!("eyJhbGciOiJSUzI1NiJ9.{claims}"), rs256),
            (p256(), format!("eyJhbGciOiJFUzI1NiJ9.{claims}"), es256),
            (ed25519(), "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(), eddsa),
        ] {
            let (key, signature) = (read(&jwk).unwrap(), URL_SAFE_NO_PAD.decode(signature).unwrap());
            assert!(key.verifies(input.as_bytes(), &signature), "{jwk}");
            assert!(!key.verifies(&input.as_bytes()[1..], &signature), "{jwk}");
        }
        assert!(
            !read(&with(rsa(), &json!({"alg": "PS256"})))
                .unwrap()
                .verifies(format!("eyJhbGciOiJSUzI1NiJ9.{claims}").as_bytes(), &URL_SAFE_NO_PAD.decode(rs256).unwrap())
        );
    }

    #[test]
    fn what_is_no_matter_of_the_key_is_ignored() {
        let more = json!({"kid": "k", "use": "sig", "key_ops": ["verify"], "x5c": ["MAA="], "x5t": "x", "exp": 1, "ext": true});
        for (jwk, algorithm) in [(rsa(), Algorithm::Rs256), (p256(), Algorithm::Es256), (ed25519(), Algorithm::EdDsa)] {
            let key = read(&with(jwk, &more)).unwrap();
            assert_eq!((key.kid(), key.algorithm()), (Some("k"), algorithm));
        }
        for alg in ["EdDSA", "Ed25519"] {
            assert_eq!(read(&with(ed25519(), &json!({"alg": alg}))).unwrap().algorithm(), Algorithm::EdDsa);
        }
    }

    /// S1, S16.
    #[test]
    fn what_is_no_public_key_that_signs_is_refused() {
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let of_bytes = |length: usize| URL_SAFE_NO_PAD.encode(vec![0xff; length]);
        for (jwk, error) in [
            (json!({}), JwkError::KeyType),
            (json!({"kty": "oct", "x": "AAAA"}), JwkError::KeyType),
            (with(p256(), &json!({"kty": "ec"})), JwkError::KeyType),
            (with(p256(), &json!({"kty": 7})), JwkError::KeyType),
            (with(p256(), &json!({"crv": "P-384"})), JwkError::Curve("P-256")),
            (with(p256(), &json!({"crv": "secp256k1"})), JwkError::Curve("P-256")),
            (with(p256(), &json!({"alg": "ES384"})), JwkError::Algorithm("ES256")),
            (with(p256(), &json!({"x": null})), JwkError::Member("x")),
            (with(p256(), &json!({"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0="})), JwkError::Member("y")),
            (with(p256(), &json!({"y": "AAAA"})), JwkError::Member("y")),
            (with(p256(), &json!({"y": 7})), JwkError::Member("y")),
            (with(p256(), &json!({"y": zeros})), JwkError::NoKey),
            (with(p256(), &json!({"x": zeros, "y": zeros})), JwkError::NoKey),
            (with(ed25519(), &json!({"crv": "Ed448"})), JwkError::Curve("Ed25519")),
            (with(ed25519(), &json!({"crv": "X25519"})), JwkError::Curve("Ed25519")),
            (with(ed25519(), &json!({"alg": "ES256"})), JwkError::Algorithm("EdDSA")),
            (with(ed25519(), &json!({"x": "AAAA"})), JwkError::Member("x")),
            (with(rsa(), &json!({"alg": null})), JwkError::Algorithm("RS256 or PS256")),
            (with(rsa(), &json!({"alg": "RS512"})), JwkError::Algorithm("RS256 or PS256")),
            (with(rsa(), &json!({"n": null})), JwkError::Member("n")),
            (with(rsa(), &json!({"n": ""})), JwkError::Member("n")),
            (with(rsa(), &json!({"n": of_bytes(255)})), JwkError::RsaSize),
            (with(rsa(), &json!({"n": of_bytes(513)})), JwkError::RsaSize),
            (with(rsa(), &json!({"e": "AQ"})), JwkError::Member("e")),
            (with(rsa(), &json!({"e": "AQAA"})), JwkError::Member("e")),
            (with(rsa(), &json!({"e": of_bytes(5)})), JwkError::Member("e")),
            (with(p256(), &json!({"use": "enc"})), JwkError::Usage),
            (with(p256(), &json!({"key_ops": ["sign"]})), JwkError::Usage),
            (with(p256(), &json!({"key_ops": "verify"})), JwkError::Usage),
            (with(p256(), &json!({"kid": ""})), JwkError::KeyId),
            (with(p256(), &json!({"kid": 7})), JwkError::KeyId),
            (with(p256(), &json!({"kid": "k".repeat(257)})), JwkError::KeyId),
        ] {
            assert_eq!(read(&jwk).err(), Some(error), "{jwk}");
        }
        for member in PRIVATE_MEMBERS {
            assert_eq!(read(&with(p256(), &json!({member: "x"}))).err(), Some(JwkError::Private(member)));
        }
    }

    /// RFC 7518 §6.3.1.1.
    #[test]
    fn a_zero_before_the_modulus_changes_nothing() {
        let n = URL_SAFE_NO_PAD.decode(rsa()["n"].as_str().unwrap()).unwrap();
        assert!(read(&with(rsa(), &json!({"n": URL_SAFE_NO_PAD.encode([&[0], n.as_slice()].concat())}))).is_ok());
    }

    #[test]
    fn a_key_without_a_name_may_be_any() {
        let (named, unnamed) = (read(&with(p256(), &json!({"kid": "k"}))).unwrap(), read(&p256()).unwrap());
        for (key, kid, may) in [
            (&named, Some("k"), true),
            (&named, None, true),
            (&named, Some("K"), false),
            (&named, Some(""), false),
            (&unnamed, Some("any"), true),
            (&unnamed, None, true),
        ] {
            assert_eq!(key.may_have_signed(Algorithm::Es256, kid), may, "{kid:?}");
            assert!(!key.may_have_signed(Algorithm::Rs256, kid));
        }
    }

    proptest! {
        #[test]
        fn any_members_are_read_or_refused(members in proptest::collection::btree_map("kty|crv|alg|n|e|x|y|kid|use", "[A-Za-z0-9_-]{0,90}|RSA|EC|OKP|P-256|Ed25519|RS256", 0..9)) {
            let _ = read(&json!(members));
        }
    }
}
