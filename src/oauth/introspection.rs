//! Whether a token is active (RFC 7662): asked by the API that it is for, and answered to nobody else.

use super::{Error, access_token::AccessToken, metadata::Issuer};
use crate::{
    domain::{
        client::Client,
        names::{Audience, ClientId},
    },
    keys::KeySet,
    registry::snapshot::Snapshot,
    revocation::list::{Revoked, TokenHash},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What is said of a token (RFC 7662 §2.2).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Said(Map<String, Value>);

impl Said {
    /// That it is not active, and nothing else.
    #[must_use]
    pub fn inactive() -> Self {
        Self([("active".to_owned(), json!(false))].into_iter().collect())
    }

    /// Whether it is said to be active.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.0.get("active") == Some(&json!(true))
    }

    /// The JSON object.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written, which what was read from JSON always can.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self.0).map_err(|_| Error::Internal)
    }
}

/// Why a token is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inactive {
    /// It says so itself: it is none of ours, or over.
    ByItself,
    /// What this replica knows says so, or does not say otherwise.
    AsFarAsKnown,
}

/// What is said of an active token: all that it claims, and what kind it is.
///
/// # Errors
/// [`Inactive`], for whatever reason, and for everybody whom the owner of the API does not name.
pub fn introspect(
    token: &str,
    caller: &Client,
    (snapshot, keys, revoked): (&Snapshot, &KeySet, &Revoked),
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Said, Inactive> {
    let token = AccessToken::verified(token, issuer, keys).filter(|token| now.as_second() < token.expires_at).ok_or(Inactive::ByItself)?;
    if revoked.contains(&TokenHash::of(&token.id)) {
        return Err(Inactive::ByItself);
    }
    if !(may_introspect(caller, &token, snapshot) && is_good(&token, snapshot, now)) {
        return Err(Inactive::AsFarAsKnown);
    }
    let mut said = token.claims;
    said.insert("active".to_owned(), json!(true));
    said.insert("token_type".to_owned(), json!("Bearer"));
    Ok(Said(said))
}

/// The owner of the API names its callers: clients of its own namespace.
fn may_introspect(caller: &Client, token: &AccessToken, snapshot: &Snapshot) -> bool {
    let audience = Audience::parse(&token.audience).ok();
    let resource = audience.and_then(|audience| snapshot.audiences.get(&audience)).and_then(|name| snapshot.resources.get(name));
    resource.is_some_and(|resource| resource.may_be_introspected_by(&caller.object))
}

/// Its client is there, is the one that it was issued to, and may have tokens. One of a name that was created anew is another.
fn is_good(token: &AccessToken, snapshot: &Snapshot, now: Timestamp) -> bool {
    let id = ClientId::parse(&token.client_id).ok();
    let known = id.and_then(|id| snapshot.clients.get(&id));
    known.is_some_and(|known| {
        let Client { object, created_at, tokens_issued_before, disabled, .. } = &known.client;
        let cut = tokens_issued_before.filter(|cut| *cut <= now);
        let is_older = |time: Timestamp| Timestamp::from_second(token.issued_at).is_ok_and(|issued| issued < time);
        *object == token.object && !disabled && token.issued_at >= created_at.as_second() && !cut.is_some_and(is_older)
    })
}
