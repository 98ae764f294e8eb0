//! Whether a client may revoke a token (RFC 7009 §2.1): its own alone.

use super::{Error, access_token::AccessToken, metadata::Issuer};
use crate::{domain::client::Client, keys::KeySet};
use jiff::Timestamp;

/// The token that is to be revoked; `None`: there is nothing to do. A token that is none, or over, is as good as revoked (§2.2).
///
/// # Errors
/// [`Error::NotYourToken`] where it was issued to somebody else.
pub fn revocable(token: &str, caller: &Client, keys: &KeySet, issuer: &Issuer, now: Timestamp) -> Result<Option<AccessToken>, Error> {
    let Some(token) = AccessToken::verified(token, issuer, keys).filter(|token| now.as_second() < token.expires_at) else {
        return Ok(None);
    };
    if token.client_id == caller.id.as_str() && token.object == caller.object { Ok(Some(token)) } else { Err(Error::NotYourToken) }
}
