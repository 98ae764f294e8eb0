//! An access token that comes back: whether this installation issued it, and what it says.

use super::{json, metadata::Issuer};
use crate::{
    domain::{
        jwk::{VerificationKey, algorithm_named},
        names::ObjectName,
        token::WORKLOAD_CLAIM,
    },
    keys::KeySet,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Most characters of a token of ours: claims are bounded by the size of the objects that they come from.
const LONGEST: usize = 32 * 1024;

/// A token with a signature of ours; whether it is still good is not said.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessToken {
    /// All that it claims.
    pub claims: Map<String, Value>,
    /// `aud`.
    pub audience: String,
    /// `client_id`.
    pub client_id: String,
    /// The `OAuthClient` that it was issued to.
    pub object: ObjectName,
    /// `jti`.
    pub id: String,
    /// `iat`, in seconds since 1970.
    pub issued_at: i64,
    /// `exp`, likewise.
    pub expires_at: i64,
}

impl AccessToken {
    /// Reads a token that a published key signed. `None`: it is none of ours. The key decides on the algorithm, never the token alone
    /// (RFC 8725 §3.1).
    #[must_use]
    pub fn verified(token: &str, issuer: &Issuer, keys: &KeySet) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
        let (header, claims) = signed.split_once('.')?;
        let signer = signer(&json::object(&decoded(header)?)?, &keys.public)?;
        if !signer.verifies(signed.as_bytes(), &decoded(signature)?) {
            return None;
        }
        let claims = json::object(&decoded(claims)?)?;
        let text = |member: &str| claims.get(member).and_then(Value::as_str).map(str::to_owned);
        let date = |member: &str| claims.get(member).and_then(Value::as_i64);
        let workload = |member: &str| claims.get(WORKLOAD_CLAIM)?.get(member)?.as_str();
        (text("iss")? == issuer.as_str()).then_some(())?;
        Some(Self {
            audience: text("aud")?,
            client_id: text("client_id")?,
            object: ObjectName::new(workload("namespace")?, workload("client")?),
            id: text("jti")?,
            issued_at: date("iat")?,
            expires_at: date("exp")?,
            claims,
        })
    }
}

fn signer<'k>(header: &Map<String, Value>, keys: &'k [VerificationKey]) -> Option<&'k VerificationKey> {
    let text = |member: &str| header.get(member).and_then(Value::as_str);
    let (algorithm, kid) = (algorithm_named(text("alg")?)?, text("kid")?);
    let typed = matches!(text("typ"), Some("at+jwt" | "JWT")) && !header.contains_key("crit");
    keys.iter().find(|key| typed && key.kid() == Some(kid) && key.algorithm() == algorithm)
}

fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
