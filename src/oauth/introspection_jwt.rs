//! The answer of an introspection as a signed JWT (RFC 9701): for an API that has to show later what it was told, and by whom.

use super::{Error, introspection::Said, metadata::Issuer};
use crate::{
    domain::{
        client::Client,
        resource::Algorithm,
        token::{signed, signing_input},
    },
    keys::KeySet,
    registry::snapshot::Snapshot,
};
use headers_accept::Accept;
use http::{HeaderMap, header};
use jiff::Timestamp;
use mediatype::{MediaType, Name, names};
use serde::Serialize;

/// `typ`, which no verifier of access tokens takes (RFC 9701 §5, §8.1).
const TYPE: &str = "token-introspection+jwt";

const AS_JSON: MediaType<'static> = MediaType::new(names::APPLICATION, names::JSON);
const AS_JWT: MediaType<'static> =
    MediaType::from_parts(names::APPLICATION, Name::new_unchecked("token-introspection"), Some(Name::new_unchecked("jwt")), &[]);

/// Without `sub` and `exp`: whoever takes it for an access token misses them (RFC 9701 §8.1).
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: &'a Said,
}

/// Whether a caller would rather have the JWT (RFC 9110 §12.5.1): it has to say so. Whoever says nothing, nothing readable or that
/// anything will do gets JSON, and so does whoever takes neither.
#[must_use]
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let fields: Option<Vec<&str>> = headers.get_all(header::ACCEPT).iter().map(|field| field.to_str().ok()).collect();
    let accept = fields.and_then(|fields| fields.join(",").parse::<Accept>().ok());
    accept.is_some_and(|accept| accept.negotiate([&AS_JSON, &AS_JWT]) == Some(&AS_JWT))
}

/// What the answers to a caller are signed with: it has to know before it asks (RFC 9701 §6), so that no token decides. It is the
/// algorithm of the APIs that name this caller; `default` where they disagree, or none does.
#[must_use]
pub fn algorithm(caller: &Client, snapshot: &Snapshot, default: Algorithm) -> Algorithm {
    let named = snapshot.resources.values().filter(|resource| resource.may_be_introspected_by(&caller.object));
    let mut algorithms = named.map(|resource| resource.algorithm);
    let first = algorithms.next().unwrap_or(default);
    if algorithms.all(|other| other == first) { first } else { default }
}

/// The JWT, in the compact serialization.
///
/// # Errors
/// [`Error::Unavailable`] where the algorithm has no key (yet), [`Error::Internal`] where signing fails.
pub fn sign(
    said: &Said,
    caller: &Client,
    (issuer, now): (&Issuer, Timestamp),
    (algorithm, keys): (Algorithm, &KeySet),
) -> Result<Vec<u8>, Error> {
    let key = keys.active.get(&algorithm).ok_or(Error::Unavailable)?;
    let claims = Claims { iss: issuer.as_str(), aud: caller.id.as_str(), iat: now.as_second(), token_introspection: said };
    let input = signing_input(&key.header_of(TYPE), &claims).map_err(|_| Error::Internal)?;
    let signature = key.sign(input.as_bytes()).map_err(|_| Error::Internal)?;
    Ok(signed(input, &signature).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wanted(fields: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        is_wanted(&headers)
    }

    /// I06: RFC 9110 §12.5.1, §12.4.2.
    #[test]
    fn whoever_asks_for_the_jwt_gets_it_and_everybody_else_json() {
        const JWT: &str = "application/token-introspection+jwt";
        for fields in [
            vec![JWT],
            vec!["Application/Token-Introspection+JWT"],
            vec!["application/token-introspection+jwt;q=0.001"],
            vec!["application/token-introspection+jwt, */*;q=0.8"],
            vec!["*/*, application/token-introspection+jwt"],
            vec!["application/json;q=0.5, application/token-introspection+jwt;q=0.6"],
            vec!["application/json; q=0.5 , application/token-introspection+jwt"],
            vec!["application/json;q=0, */*"],
            vec!["text/html", JWT],
            vec![JWT, "application/json"],
        ] {
            assert!(wanted(&fields), "{fields:?}");
        }
        for fields in [
            vec![],
            vec![""],
            vec!["*/*"],
            vec!["application/*"],
            vec!["application/json"],
            vec!["application/json, application/token-introspection+jwt"],
            vec!["application/json, application/token-introspection+jwt;q=0.9"],
            vec!["application/token-introspection+jwt;q=0"],
            vec!["application/token-introspection+jwt;q=0, */*"],
            vec!["application/token-introspection+jwt;q=0.5, application/*"],
            vec!["application/jwt"],
            vec!["application/token-introspection"],
            vec!["application/token-introspection+json"],
            vec!["text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"],
            vec!["application/token-introspection+jwt, ;;"],
            vec!["\u{e9}"],
        ] {
            assert!(!wanted(&fields), "{fields:?}");
        }
    }
}
