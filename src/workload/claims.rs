//! A JWT (RFC 7519) as people read it. Pure. Nothing is verified: the reader just got it from the issuer.

use crate::domain::duration;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// In this order, and the others after them.
const FIRST: [&str; 9] = ["iss", "sub", "client_id", "aud", "scope", "iat", "nbf", "exp", "jti"];
/// Seconds since 1970 (RFC 7519 §2, NumericDate).
const TIMES: [&str; 3] = ["iat", "nbf", "exp"];

/// Header and claims. The signature is left out: what remains opens nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Decoded {
    /// Reads a JWT in its compact form. Nothing where it is none.
    #[must_use]
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        let object = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        parts.next().is_none().then_some(())?;
        Some(Self { header: object(header)?, claims: object(claims)? })
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"header": self.header, "claims": self.claims})
    }

    /// For people: a line for each member, times in words.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let known = FIRST.iter().filter_map(|name| self.claims.get_key_value(*name));
        let rest = self.claims.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        let claims: Vec<_> = known.chain(rest).collect();
        let width = self.header.keys().chain(claims.iter().map(|(name, _)| *name)).map(String::len).max().unwrap_or_default();
        let line = |(name, value): (&String, &Value)| format!("  {name:width$}  {}\n", self.shown(name, value, now));
        let header: String = self.header.iter().map(line).collect();
        let claims: String = claims.into_iter().map(line).collect();
        format!("header\n{header}claims\n{claims}")
    }

    fn shown(&self, name: &str, value: &Value, now: Timestamp) -> String {
        let time = value.as_i64().filter(|_| TIMES.contains(&name)).and_then(|seconds| Timestamp::from_second(seconds).ok());
        match (time, value) {
            (Some(time), _) => format!("{value}  {time} ({})", duration::relative(time, now)),
            (None, Value::String(text)) => text.clone(),
            (None, other) => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_is_shown_line_by_line_with_times_in_words() {
        let token = token(
            r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#,
            r#"{"exp":1764104400,"iat":1764103500,"aud":"https://invoices.shop.svc","iss":"https://auth","tier":"batch","keywright.dev":{"client":"worker"}}"#,
        );
        let text = Decoded::read(&token).unwrap().text(Timestamp::from_second(1_764_103_560).unwrap());
        assert_eq!(
            text,
            "header
  alg            RS256
  kid            k
  typ            at+jwt
claims
  iss            https://auth
  aud            https://invoices.shop.svc
  iat            1764103500  2025-11-25T20:45:00Z (60s ago)
  exp            1764104400  2025-11-25T21:00:00Z (in 14m)
  keywright.dev  {\"client\":\"worker\"}
  tier           batch
"
        );
        assert!(!text.contains("c2lnbmF0dXJl"));
    }

    #[test]
    fn what_is_no_jwt_is_not_decoded() {
        let good = token("{}", "{}");
        assert!(Decoded::read(&good).is_some());
        for text in ["", "a", "a.b", "a.b.c", &format!("{good}.x"), &token("[]", "{}"), &token("{}", "7"), "..", &good.replace('.', "-")] {
            assert_eq!(Decoded::read(text), None, "{text}");
        }
    }
}
