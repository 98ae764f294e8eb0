//! A client assertion as it came (RFC 7521 §4.2, RFC 7523 §3): a JWT in the compact serialization, read strictly, and nothing in
//! it believed yet.

use super::json;
use crate::domain::{
    jwk::{VerificationKey, algorithm_named},
    resource::Algorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::slice;
use zeroize::Zeroizing;

/// What `client_assertion_type` says of an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionType {
    /// A JWT that the client, or the cluster, has signed (RFC 7523 §2.2).
    JwtBearer,
    /// A JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02).
    JwtSpiffe,
}

/// Most characters of an assertion.
const LONGEST: usize = 16 * 1024;
/// How many seconds the clock of whoever made an assertion may be ahead of ours.
const AHEAD: i64 = 30;

/// An assertion. No Debug: until it is used it is a credential.
pub struct Assertion {
    /// What it is said to be.
    pub assertion_type: AssertionType,
    /// `iss`; a JWT-SVID may do without.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audience: Addressees,
    /// `jti`.
    pub id: Option<String>,
    /// The UID of the ServiceAccount that a token of Kubernetes is for.
    pub service_account_uid: Option<String>,
    algorithm: Algorithm,
    kid: Option<String>,
    expires_at: i64,
    issued_at: Option<i64>,
    not_before: Option<i64>,
    signed: String,
    signature: Vec<u8>,
}

/// Whom an assertion is for (RFC 7519 §4.1.3): never nobody.
pub enum Addressees {
    /// Said as a string.
    One(String),
    /// Said as an array.
    Listed(Vec<String>),
}

/// What is there is not what it should be.
struct Malformed;

impl AssertionType {
    /// The type of that name; `None`: none of ours.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("urn:ietf:params:oauth:client-assertion-type:")? {
            "jwt-bearer" => Some(Self::JwtBearer),
            "jwt-spiffe" => Some(Self::JwtSpiffe),
            _ => None,
        }
    }

    /// Whether an assertion may have this `typ`: a media type without regard to case, whose `application/` may be left out (RFC 7515
    /// §4.1.9). RFC 7523 §2.2, RFC 8725 §3.11; JWT-SVID §2.3.
    fn allows(self, typ: &str) -> bool {
        let typ = typ.to_ascii_lowercase();
        match (self, typ.strip_prefix("application/").unwrap_or(&typ)) {
            (_, "jwt") | (Self::JwtBearer, "client-authentication+jwt") | (Self::JwtSpiffe, "jose") => true,
            (Self::JwtBearer | Self::JwtSpiffe, _) => false,
        }
    }
}

impl Assertion {
    /// Reads an assertion. `None`: whatever is wrong with its form.
    #[must_use]
    pub fn read(assertion_type: AssertionType, text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.').filter(|_| text.len() <= LONGEST)?;
        let (header, claims) = signed.split_once('.')?;
        let header = json::object(&decoded(header)?)?;
        let claims = json::object(&decoded(claims)?)?;
        let (algorithm, kid) = read_header(assertion_type, &header).ok()?;
        Some(Self {
            assertion_type,
            issuer: text_of(&claims, "iss").ok()?,
            subject: text_of(&claims, "sub").ok()??,
            audience: audience(&claims)?,
            id: text_of(&claims, "jti").ok()?,
            service_account_uid: service_account_uid(&claims),
            algorithm,
            kid,
            expires_at: date(&claims, "exp").ok()??,
            issued_at: date(&claims, "iat").ok()?,
            not_before: date(&claims, "nbf").ok()?,
            signature: decoded(signature)?,
            signed: signed.to_owned(),
        })
    }

    /// Whether one of `keys` signed it. Where none may have, one of nobody's is tried, so that the time does not tell.
    #[must_use]
    pub fn is_signed_by<'k>(&self, keys: impl IntoIterator<Item = &'k VerificationKey>, nobodys: &[VerificationKey]) -> bool {
        let verifies = |key: &VerificationKey| key.verifies(self.signed.as_bytes(), &self.signature);
        let mut candidates = keys.into_iter().filter(|key| key.may_have_signed(self.algorithm, self.kid.as_deref())).peekable();
        if candidates.peek().is_none() {
            let _ = nobodys.iter().find(|key| key.algorithm() == self.algorithm).map(verifies);
        }
        candidates.any(verifies)
    }

    /// The second from which on it is no longer valid: `exp`, or `life` seconds after `iat` where that is sooner.
    #[must_use]
    pub fn ends_at(&self, life: i64) -> i64 {
        self.expires_at.min(self.issued_at.map_or(i64::MAX, |issued_at| issued_at.saturating_add(life)))
    }

    /// `kid`.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// As it came.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.signed, URL_SAFE_NO_PAD.encode(&self.signature)))
    }

    /// Whether it says when it was made.
    #[must_use]
    pub fn is_dated(&self) -> bool {
        self.issued_at.is_some()
    }

    /// Whether it has begun, not ended, and will end within `life` seconds.
    #[must_use]
    pub fn is_timely(&self, life: i64, now: i64) -> bool {
        let has_begun = [self.issued_at, self.not_before].into_iter().flatten().all(|begin| begin <= now + AHEAD);
        let ends_at = self.ends_at(life);
        has_begun && now < ends_at && ends_at <= now + life + AHEAD
    }
}

impl Addressees {
    /// All of them, however they are said.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Listed(several) => several,
        }
    }
}

/// The alphabet of RFC 7515 §2: no padding, no white space, no bits left over.
fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// `alg` is one of ours and never `none`; an extension that has to be understood (`crit`) is not; `typ` is absent or one of the assertion's.
/// Keys and where to find them (`jwk`, `jku`, `x5c`, `x5u`) are ignored.
fn read_header(assertion_type: AssertionType, header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), Malformed> {
    let algorithm = text_of(header, "alg")?.as_deref().and_then(algorithm_named).ok_or(Malformed)?;
    let understood = !header.contains_key("crit") && !header.contains_key("b64");
    let typ = text_of(header, "typ")?.is_none_or(|typ| assertion_type.allows(&typ));
    if understood && typ { Ok((algorithm, text_of(header, "kid")?)) } else { Err(Malformed) }
}

fn text_of(object: &Map<String, Value>, member: &str) -> Result<Option<String>, Malformed> {
    match object.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Malformed),
    }
}

/// Of `kubernetes.io`, a private claim of Kubernetes (KEP-1205).
fn service_account_uid(claims: &Map<String, Value>) -> Option<String> {
    claims.get("kubernetes.io")?.get("serviceaccount")?.get("uid")?.as_str().map(str::to_owned)
}

fn audience(claims: &Map<String, Value>) -> Option<Addressees> {
    match claims.get("aud")? {
        Value::String(one) => Some(Addressees::One(one.clone())),
        Value::Array(several) if !several.is_empty() => {
            several.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>().map(Addressees::Listed)
        }
        _ => None,
    }
}

/// A NumericDate (RFC 7519 §2), in whole seconds.
fn date(claims: &Map<String, Value>, member: &str) -> Result<Option<i64>, Malformed> {
    match claims.get(member) {
        None => Ok(None),
        Some(value) => value.as_i64().or_else(|| whole_seconds(value)).map(Some).ok_or(Malformed),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
fn whole_seconds(value: &Value) -> Option<i64> {
    let seconds = value.as_f64().filter(|seconds| seconds.abs() < 1e15)?;
    Some(seconds.floor() as i64)
}
