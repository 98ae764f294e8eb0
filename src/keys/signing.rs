//! One signing key, parsed once.

use super::jwks::PublicKey;
use crate::domain::resource::{Algorithm, TokenType};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
        RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use std::fmt;
use zeroize::Zeroizing;

/// A private key that signs with one algorithm alone (RFC 8725 §3.1).
pub struct SigningKey {
    pair: Pair,
    kid: String,
    public: PublicKey,
    at_jwt_header: String,
    jwt_header: String,
}

/// The library's types. RSA keys are the only ones whose algorithm the key itself does not say.
enum Pair {
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// A key that could not be read or made, or did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The PKCS#8 document is not a key of the algorithm, or an RSA key of fewer than 2048 or more than 4096 bits.
    #[error("the {0} key is not readable: delete the key from the Secret, or restore the Secret from a backup")]
    Unreadable(&'static str),
    /// The library refused.
    #[error("making or using a {0} key failed")]
    Failed(&'static str),
}

impl SigningKey {
    /// A new key from the library's own generator: RSA of 2048 bits, as Kubernetes itself signs with, P-256 or Ed25519.
    ///
    /// # Errors
    /// [`SigningError::Failed`] where the library refuses.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        let pair = match algorithm {
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa2048).map(Pair::Rs256),
            Algorithm::Ps256 => RsaKeyPair::generate(KeySize::Rsa2048).map(Pair::Ps256),
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::Es256),
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(Pair::EdDsa),
        };
        Self::new(pair.map_err(|_| SigningError::Failed(algorithm.as_str()))?)
    }

    /// Reads an unencrypted PKCS#8 document (RFC 5208, DER).
    ///
    /// # Errors
    /// [`SigningError::Unreadable`] where it is no key of `algorithm`, or an RSA key of fewer than 2048 or more than 4096 bits.
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, SigningError> {
        let pair = match algorithm {
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(der).map(Pair::Rs256),
            Algorithm::Ps256 => RsaKeyPair::from_pkcs8(der).map(Pair::Ps256),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::Es256),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der).map(Pair::EdDsa),
        };
        match pair {
            Ok(Pair::Rs256(rsa) | Pair::Ps256(rsa)) if !(256..=512).contains(&rsa.public_modulus_len()) => {
                Err(SigningError::Unreadable(algorithm.as_str()))
            }
            Ok(pair) => Self::new(pair),
            Err(_) => Err(SigningError::Unreadable(algorithm.as_str())),
        }
    }

    /// The PKCS#8 document (DER), for the key Secret alone.
    ///
    /// # Errors
    /// [`SigningError::Failed`] where the library refuses.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let der = match &self.pair {
            Pair::Rs256(rsa) | Pair::Ps256(rsa) => rsa.as_der().map(|der| Zeroizing::new(der.as_ref().to_vec())),
            Pair::Es256(ec) => ec.to_pkcs8v1().map(|der| Zeroizing::new(der.as_ref().to_vec())),
            Pair::EdDsa(ed) => ed.to_pkcs8v1().map(|der| Zeroizing::new(der.as_ref().to_vec())),
        };
        der.map_err(|_| self.failed())
    }

    /// The RFC 7638 thumbprint of the public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.pair.algorithm()
    }

    /// Its public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Its public half as other programs write it: a SubjectPublicKeyInfo (RFC 5280 §4.1) in PEM (RFC 7468 §13).
    ///
    /// # Errors
    /// [`SigningError::Failed`] where the library refuses.
    pub fn public_pem(&self) -> Result<String, SigningError> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &self.pair {
            Pair::Rs256(rsa) | Pair::Ps256(rsa) => rsa.public_key().as_der(),
            Pair::Es256(ec) => ec.public_key().as_der(),
            Pair::EdDsa(ed) => ed.public_key().as_der(),
        };
        let base64 = STANDARD.encode(der.map_err(|_| self.failed())?.as_ref());
        let lines: Vec<&str> = (0..base64.len()).step_by(64).filter_map(|at| base64.get(at..base64.len().min(at + 64))).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    /// The JOSE header of its tokens (`alg`, `kid`, `typ`), base64url as it stands in them: it never changes, so it is encoded once.
    #[must_use]
    pub fn header(&self, typ: TokenType) -> &str {
        match typ {
            TokenType::AtJwt => &self.at_jwt_header,
            TokenType::Jwt => &self.jwt_header,
        }
    }

    /// The same for another kind of JWT, encoded anew.
    #[must_use]
    pub fn header_of(&self, typ: &str) -> String {
        encoded_header(self.algorithm(), &self.kid, typ)
    }

    /// The JWS signature of `input` (RFC 7515 §5.1); for ES256 the 64 bytes R ‖ S, not DER (RFC 7518 §3.4).
    ///
    /// # Errors
    /// [`SigningError::Failed`] where the library refuses.
    pub fn sign(&self, input: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &random, input, &mut signature).map(|()| signature)
        };
        match &self.pair {
            Pair::Rs256(pair) => rsa(pair, &RSA_PKCS1_SHA256),
            Pair::Ps256(pair) => rsa(pair, &RSA_PSS_SHA256),
            Pair::Es256(pair) => pair.sign(&random, input).map(|signature| signature.as_ref().to_vec()),
            Pair::EdDsa(pair) => Ok(pair.sign(input).as_ref().to_vec()),
        }
        .map_err(|_| self.failed())
    }

    fn new(pair: Pair) -> Result<Self, SigningError> {
        let algorithm = pair.algorithm();
        let public = pair.public_key().ok_or(SigningError::Failed(algorithm.as_str()))?;
        let kid = public.thumbprint();
        let [at_jwt_header, jwt_header] = [TokenType::AtJwt, TokenType::Jwt].map(|typ| encoded_header(algorithm, &kid, typ.as_str()));
        Ok(Self { pair, kid, public, at_jwt_header, jwt_header })
    }

    fn failed(&self) -> SigningError {
        SigningError::Failed(self.algorithm().as_str())
    }
}

/// The kid alone: a private key is never printed.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Pair {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rs256(_) => Algorithm::Rs256,
            Self::Ps256(_) => Algorithm::Ps256,
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Rs256(rsa) | Self::Ps256(rsa) => {
                let public = rsa.public_key();
                Some(PublicKey::rsa(
                    public.modulus().big_endian_without_leading_zero(),
                    public.exponent().big_endian_without_leading_zero(),
                ))
            }
            Self::Es256(ec) => PublicKey::p256(ec.public_key().as_ref()),
            Self::EdDsa(ed) => Some(PublicKey::ed25519(ed.public_key().as_ref())),
        }
    }
}

fn encoded_header(algorithm: Algorithm, kid: &str, typ: &str) -> String {
    let header = serde_json::json!({ "alg": algorithm.as_str(), "kid": kid, "typ": typ });
    URL_SAFE_NO_PAD.encode(header.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A08: an independent library verifies by the published members alone.
    #[test]
    fn signatures_verify_by_the_public_members() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let signature = key.sign(b"header.claims").unwrap();
            assert!(verifies(&key, b"header.claims", &signature));
            assert!(!verifies(&key, b"header.claimz", &signature));
        }
    }

    fn verifies(key: &SigningKey, input: &[u8], signature: &[u8]) -> bool {
        let decoding = match key.public_key() {
            PublicKey::Rsa { n, e } => jsonwebtoken::DecodingKey::from_rsa_components(n, e).unwrap(),
            PublicKey::P256 { x, y } => jsonwebtoken::DecodingKey::from_ec_components(x, y).unwrap(),
            PublicKey::Ed25519 { x } => jsonwebtoken::DecodingKey::from_ed_components(x).unwrap(),
        };
        let name = key.algorithm().as_str().parse().unwrap();
        jsonwebtoken::crypto::verify(&URL_SAFE_NO_PAD.encode(signature), input, &decoding, name).unwrap()
    }

    /// A08: 64 raw bytes, where a DER signature has 70 to 72.
    #[test]
    fn an_es256_signature_has_64_bytes() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        for message in 0..64_u8 {
            assert_eq!(key.sign(&[message]).unwrap().len(), 64);
        }
        assert_eq!(SigningKey::generate(Algorithm::Rs256).unwrap().sign(b"x").unwrap().len(), 256);
    }

    #[test]
    fn a_key_survives_its_pkcs8_document() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let read = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
            assert_eq!((read.kid(), read.algorithm(), read.public_key()), (key.kid(), algorithm, key.public_key()));
            assert!(verifies(&key, b"x", &read.sign(b"x").unwrap()));
        }
    }

    /// S1: a key is a key of one algorithm; which of two an RSA key is for says what stores it.
    #[test]
    fn a_document_of_another_kind_of_key_is_refused() {
        for made in [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
            let der = SigningKey::generate(made).unwrap().to_pkcs8().unwrap();
            let others = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa].into_iter().filter(|other| *other != made);
            for read in others {
                assert_eq!(SigningKey::from_pkcs8(read, &der).unwrap_err(), SigningError::Unreadable(read.as_str()));
            }
        }
        let p384 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap();
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, p384.as_ref()).is_err());
        for algorithm in Algorithm::ALL {
            for rubbish in [&b""[..], b"rubbish", &[0x30; 4096]] {
                assert!(SigningKey::from_pkcs8(algorithm, rubbish).is_err());
            }
        }
    }

    /// As a library that is not ours reads it.
    #[test]
    fn the_public_half_is_readable_as_pem() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            let pem = key.public_pem().unwrap();
            let read = match algorithm {
                Algorithm::Rs256 | Algorithm::Ps256 => jsonwebtoken::DecodingKey::from_rsa_pem(pem.as_bytes()),
                Algorithm::Es256 => jsonwebtoken::DecodingKey::from_ec_pem(pem.as_bytes()),
                Algorithm::EdDsa => jsonwebtoken::DecodingKey::from_ed_pem(pem.as_bytes()),
            };
            let signature = URL_SAFE_NO_PAD.encode(key.sign(b"x").unwrap());
            let name = algorithm.as_str().parse().unwrap();
            assert!(jsonwebtoken::crypto::verify(&signature, b"x", &read.unwrap(), name).unwrap(), "{pem}");
            assert!(pem.lines().all(|line| line.len() <= 64));
        }
    }

    /// S16: RSA from 2048 to 4096 bits alone. The library itself reads the longer one.
    #[test]
    fn rsa_keys_have_2048_to_4096_bits() {
        let (short, long) = (include_bytes!("testdata/rsa-1024.der"), include_bytes!("testdata/rsa-4104.der"));
        assert!(RsaKeyPair::from_pkcs8(long).is_ok());
        for refused in [&short[..], &long[..]] {
            assert_eq!(SigningKey::from_pkcs8(Algorithm::Rs256, refused).unwrap_err(), SigningError::Unreadable("RS256"));
            assert_eq!(SigningKey::from_pkcs8(Algorithm::Ps256, refused).unwrap_err(), SigningError::Unreadable("PS256"));
        }
        let between = RsaKeyPair::generate(KeySize::Rsa3072).unwrap().as_der().unwrap();
        assert!(SigningKey::from_pkcs8(Algorithm::Rs256, between.as_ref()).is_ok());
    }

    /// A01: `alg`, `kid` and `typ`, nothing else.
    #[test]
    fn the_header_names_algorithm_key_and_type() {
        for algorithm in Algorithm::ALL {
            let key = SigningKey::generate(algorithm).unwrap();
            for typ in [TokenType::AtJwt, TokenType::Jwt] {
                let json = URL_SAFE_NO_PAD.decode(key.header(typ)).unwrap();
                let header: serde_json::Value = serde_json::from_slice(&json).unwrap();
                assert_eq!(header, serde_json::json!({"alg": algorithm.as_str(), "kid": key.kid(), "typ": typ.as_str()}));
            }
        }
    }

    /// S12: Debug shows the kid alone.
    #[test]
    fn a_key_is_not_printed() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.kid()));
    }
}
