//! Tokens by which an API's owner finds out whether the API verifies them: each is right but for one flaw (`domain::probe`), and names
//! nobody. No verifier that does what RFC 9068 §4 says accepts any of them, now or later.
//!
//! The issuer alone can make most of them: a wrong audience shows nothing about a verifier that refuses the signature.

use super::{
    Error,
    form::{self, Parameter},
    presented::{Authenticating, Presented, presented},
    request::Head,
};
use crate::{
    domain::{
        names::{ObjectName, space_delimited},
        probe::{Case, NOBODY},
        resource::{Resource, TokenType},
        token::{Claims, RESERVED_CLAIMS, signed},
    },
    keys::{KeySet, SigningKey, hs256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// How many seconds such a token would be valid if it were right: long enough to be sent, and for clocks that differ a little.
const LIFE: i64 = 120;
/// The same without a scope, which has no other flaw.
const LIFE_WITHOUT_SCOPE: i64 = 60;
/// Further from now than any verifier's leeway.
const FAR: i64 = 3_600;
/// An extension that nobody knows (RFC 7515 §4.1.11), and a `typ` of nothing.
const UNKNOWN: &str = "keywright.dev/probe";
/// No audience of anybody: it has a fragment (RFC 8707 §2).
const ANOTHER_API: &str = "https://another-api.invalid/#probe";

/// A request for such tokens.
pub struct ProbeRequest<'a> {
    /// Who asks: `None`: nobody that could be.
    pub presented: Option<Presented>,
    /// `<namespace>/<name>` of a `ProtectedResource`.
    resource: Option<Cow<'a, str>>,
}

impl Head<'_> {
    /// Reads the body.
    ///
    /// # Errors
    /// Where the form is malformed, a parameter stands there twice, or the client authenticates in two ways.
    pub fn probe_request(self, body: &[u8]) -> Result<ProbeRequest<'_>, Error> {
        self.check_body(body)?;
        let (mut resource, mut authenticating) = (Parameter::Absent, Authenticating::default());
        for pair in form::pairs(body) {
            let (name, value) = pair?;
            match &*name {
                "protected_resource" => resource.put("protected_resource", value)?,
                name => authenticating.put(name, value)?,
            }
        }
        Ok(ProbeRequest { presented: presented(self.headers, authenticating)?, resource: resource.value() })
    }
}

impl ProbeRequest<'_> {
    /// Which API is meant. It becomes part of a question to the API server.
    ///
    /// # Errors
    /// [`Error::MissingParameter`], [`Error::MalformedObjectName`].
    pub fn resource(&self) -> Result<ObjectName, Error> {
        let text = self.resource.as_deref().ok_or(Error::MissingParameter("protected_resource"))?;
        let (namespace, name) = text.split_once('/').ok_or(Error::MalformedObjectName)?;
        if is_name(namespace) && is_name(name) { Ok(ObjectName::new(namespace, name)) } else { Err(Error::MalformedObjectName) }
    }
}

/// A DNS subdomain of at most 63 characters: neither a namespace nor a `ProtectedResource` is called anything else.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 63 && text.split('.').all(is_label)
}

/// What the tokens are made of.
#[derive(Clone, Copy)]
pub struct Materials<'a> {
    /// The API.
    pub resource: &'a Resource,
    /// The issuer identifier.
    pub issuer: &'a str,
    /// The installation's keys.
    pub keys: &'a KeySet,
    /// A key of the API's algorithm that is published nowhere.
    pub stranger: &'a SigningKey,
    /// In seconds since 1970.
    pub now: i64,
}

/// How a token gets its signature.
enum Signature {
    Ours,
    Strangers,
    Hs256(Vec<u8>),
    Altered,
    None,
}

/// A token before its signature.
struct Draft {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// A successful answer's body: a token for each case.
#[derive(Serialize)]
pub struct Minted<'a> {
    issuer: &'a str,
    audience: &'a str,
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    case: &'static str,
    token: String,
}

impl<'a> Minted<'a> {
    /// Made of these; `draw_id` gives a `jti` each time.
    ///
    /// # Errors
    /// As for [`minted`].
    pub fn of(materials: Materials<'a>, mut draw_id: impl FnMut() -> String) -> Result<Self, Error> {
        let Materials { resource, issuer, .. } = materials;
        let token = |case: Case| minted(case, materials, &draw_id()).map(|token| Token { case: case.told().name, token });
        let tokens = cases(resource).map(token).collect::<Result<_, _>>()?;
        Ok(Self { issuer, audience: resource.audience.as_str(), tokens })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tokens.len()
    }

    /// The JSON object.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written, which strings never are.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Internal)
    }
}

/// The cases that this API has to refuse.
pub fn cases(resource: &Resource) -> impl Iterator<Item = Case> {
    let is_typed = resource.token_type == TokenType::AtJwt;
    Case::ALL.into_iter().filter(move |case| *case != Case::WrongType || is_typed)
}

/// One token.
///
/// # Errors
/// [`Error::Unavailable`] where the API's algorithm has no key (yet), [`Error::Internal`] where signing fails.
pub fn minted(case: Case, materials: Materials<'_>, token_id: &str) -> Result<String, Error> {
    let ours = materials.keys.active.get(&materials.resource.algorithm).ok_or(Error::Unavailable)?;
    let mut draft = Draft::right(materials, ours, token_id)?;
    let signature = draft.spoil(case, materials, ours)?;
    draft.signed(&signature, ours, materials.stranger)
}

impl Draft {
    /// As a client gets it that is granted everything, by all grants at once: what is refused is refused for the flaw.
    fn right(Materials { resource, issuer, now, .. }: Materials<'_>, key: &SigningKey, token_id: &str) -> Result<Self, Error> {
        let mut custom = Map::new();
        for (name, value) in resource.grants.iter().rev().flat_map(|grant| &grant.claims) {
            custom.insert(name.clone(), value.clone());
        }
        let claims = Claims {
            issuer,
            client_id: NOBODY,
            audience: resource.audience.as_str(),
            issued_at: now,
            expires_at: now + LIFE,
            token_id,
            scope: &space_delimited(&resource.scopes),
            object: &ObjectName::new(NOBODY, NOBODY),
            custom: &custom,
        };
        let header = URL_SAFE_NO_PAD.decode(key.header(resource.token_type)).map_err(|_| Error::Internal)?;
        let header = serde_json::from_slice(&header).map_err(|_| Error::Internal)?;
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(Self { header, claims }),
            _ => Err(Error::Internal),
        }
    }

    /// Puts the flaw in.
    fn spoil(&mut self, case: Case, materials: Materials<'_>, ours: &SigningKey) -> Result<Signature, Error> {
        let Materials { resource, issuer, keys, stranger, now } = materials;
        match case {
            Case::AlgNone => return Ok(self.unsigned("none")),
            Case::AlgNoneSpelt => return Ok(self.unsigned("nOnE")),
            Case::NoSignature => return Ok(Signature::None),
            Case::AlteredSignature => return Ok(Signature::Altered),
            Case::Hs256Pem => return Ok(self.keyed_with(ours.public_pem().map_err(|_| Error::Internal)?)),
            Case::Hs256Jwk => return Ok(self.keyed_with(published(keys, ours.kid()).ok_or(Error::Internal)?.to_string())),
            Case::UnknownKeyOurKid => return Ok(Signature::Strangers),
            Case::UnknownKey => {
                self.header("kid", json!(stranger.kid()));
                return Ok(Signature::Strangers);
            }
            Case::EmbeddedKey => {
                self.header("kid", json!(stranger.kid()));
                self.header("jwk", stranger.public_key().jwk());
                return Ok(Signature::Strangers);
            }
            Case::OtherIssuer => self.claim("iss", json!(format!("{issuer}.invalid"))),
            Case::WrongAudience => self.claim("aud", json!(ANOTHER_API)),
            Case::AudiencePrefix => self.claim("aud", json!(format!("{}#probe", resource.audience))),
            Case::Expired => {
                self.claim("iat", json!(now - 2 * FAR));
                self.claim("exp", json!(now - FAR));
            }
            Case::NotYetValid => self.claim("nbf", json!(now + FAR)),
            Case::UnknownCrit => {
                self.header("crit", json!([UNKNOWN]));
                self.header(UNKNOWN, json!(true));
            }
            Case::WrongType => self.header("typ", json!(UNKNOWN)),
            Case::NoScope => self.leave_out_scope(now),
        }
        Ok(Signature::Ours)
    }

    fn header(&mut self, name: &str, value: Value) {
        self.header.insert(name.to_owned(), value);
    }

    fn claim(&mut self, name: &str, value: Value) {
        self.claims.insert(name.to_owned(), value);
    }

    fn unsigned(&mut self, algorithm: &str) -> Signature {
        self.header("alg", json!(algorithm));
        Signature::None
    }

    fn keyed_with(&mut self, secret: String) -> Signature {
        self.header("alg", json!("HS256"));
        Signature::Hs256(secret.into_bytes())
    }

    /// An API may look at what its owner's grants claim (roles, say) instead of scopes: without a scope there is nothing of that.
    fn leave_out_scope(&mut self, now: i64) {
        self.claims.retain(|name, _| RESERVED_CLAIMS.contains(&name.as_str()) && name != "scope");
        self.claim("exp", json!(now + LIFE_WITHOUT_SCOPE));
    }

    fn signed(self, signature: &Signature, ours: &SigningKey, stranger: &SigningKey) -> Result<String, Error> {
        let part = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let input = format!("{}.{}", part(self.header), part(self.claims));
        let by = |key: &SigningKey| key.sign(input.as_bytes()).map_err(|_| Error::Internal);
        let bytes = match signature {
            Signature::Ours => by(ours)?,
            Signature::Strangers => by(stranger)?,
            Signature::Hs256(secret) => hs256::sign(secret, input.as_bytes()),
            Signature::Altered => altered(by(ours)?),
            Signature::None => Vec::new(),
        };
        Ok(signed(input, &bytes))
    }
}

/// In the middle: of a signature of two numbers neither becomes zero or too large by it.
fn altered(mut signature: Vec<u8>) -> Vec<u8> {
    let middle = signature.len() / 2 + 8;
    signature.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
    signature
}

/// An entry of the JWKS.
fn published(keys: &KeySet, kid: &str) -> Option<Value> {
    let document: Value = serde_json::from_slice(&keys.jwks).ok()?;
    document.get("keys")?.as_array()?.iter().find(|jwk| jwk.get("kid").and_then(Value::as_str) == Some(kid)).cloned()
}

#[cfg(test)]
mod tests;
