//! From what a token may say to the token and the answer that carries it (RFC 9068 §2, RFC 6749 §5.1).

use super::{Error, grant::Permitted};
use crate::{
    domain::{
        client::Client,
        names::space_delimited,
        token::{Claims, signed, signing_input},
    },
    keys::KeySet,
};
use serde::Serialize;

/// A successful answer's body. A refresh token is never there (RFC 6749 §4.4.3).
#[derive(Serialize)]
pub struct Success {
    /// The signed token.
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    scope: String,
}

impl Success {
    /// The JSON object.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written, which strings and a number never are.
    pub fn body(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Internal)
    }
}

/// Signs a token. `token_id` is its `jti`.
///
/// # Errors
/// [`Error::Unavailable`] where the API's algorithm has no key (yet), [`Error::Internal`] where signing fails.
pub fn issue(permitted: &Permitted<'_>, client: &Client, issuer: &str, token_id: &str, keys: &KeySet) -> Result<Success, Error> {
    let resource = permitted.resource;
    let key = keys.active.get(&resource.algorithm).ok_or(Error::Unavailable)?;
    let scope = space_delimited(permitted.scopes.iter().copied());
    let claims = Claims {
        issuer,
        client_id: client.id.as_str(),
        audience: resource.audience.as_str(),
        issued_at: permitted.issued_at,
        expires_at: permitted.issued_at + permitted.lifetime,
        token_id,
        scope: &scope,
        object: &client.object,
        custom: &permitted.claims,
    };
    let input = signing_input(key.header(resource.token_type), &claims).map_err(|_| Error::Internal)?;
    let signature = key.sign(input.as_bytes()).map_err(|_| Error::Internal)?;
    Ok(Success { access_token: signed(input, &signature), token_type: "Bearer", expires_in: permitted.lifetime, scope })
}
