//! Tokens that the person brings along: one that is right, and one that was before somebody revoked it. Each has to be right in all else,
//! or its answer would say nothing; what only the issuer knows of it is not looked at.

use super::ProbeError;
use crate::workload::claims::Decoded;
use jiff::Timestamp;
use serde_json::Value;
use std::{
    io::Read as _,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// What a right token says.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) now: Timestamp,
}

impl Expected<'_> {
    /// The token in a file, if there is one.
    pub(super) fn read(&self, path: Option<&PathBuf>) -> Result<Option<Zeroizing<String>>, ProbeError> {
        let Some(path) = path else { return Ok(None) };
        let fault = |why: String| ProbeError::Token { path: path.clone(), why };
        let text = Zeroizing::new(content(path).map_err(|error| fault(error.to_string()))?);
        let token = Zeroizing::new(text.trim().to_owned());
        self.check(&token).map_err(fault)?;
        Ok(Some(token))
    }

    /// Claims are somebody's text: what stands there is not repeated.
    fn check(&self, token: &str) -> Result<(), String> {
        let claims = Decoded::read(token).map(|token| token.json()).ok_or("it holds no JWT")?;
        let claim = |name: &str| claims.pointer(&format!("/claims/{name}")).cloned().unwrap_or_default();
        if claim("iss") != self.issuer {
            return Err(format!("its token is not of the issuer {}", self.issuer));
        }
        let is_for = |audience: &Value| audience == self.audience;
        let audiences = claim("aud");
        if !(is_for(&audiences) || audiences.as_array().is_some_and(|all| all.iter().any(is_for))) {
            return Err(format!("its token is not for the API {}", self.audience));
        }
        match claim("exp").as_i64() {
            Some(end) if end > self.now.as_second() => Ok(()),
            _ => Err("its token has expired, so that it would be refused for that".to_owned()),
        }
    }
}

fn content(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    #[test]
    fn a_token_that_would_be_refused_for_something_else_is_not_sent() {
        let now = Timestamp::from_second(1_000).unwrap();
        let expected = Expected { issuer: "https://i", audience: "https://a", now };
        let token = |claims: Value| format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims.to_string()));
        for (claims, fault) in [
            (json!({"iss": "https://i", "aud": "https://a", "exp": 1_001}), None),
            (json!({"iss": "https://i", "aud": ["https://b", "https://a"], "exp": 1_001}), None),
            (json!({"iss": "https://j", "aud": "https://a", "exp": 1_001}), Some("issuer")),
            (json!({"iss": "https://i", "aud": "https://b", "exp": 1_001}), Some("not for the API")),
            (json!({"iss": "https://i", "aud": "https://a", "exp": 1_000}), Some("expired")),
            (json!({"iss": "https://i", "aud": "https://a"}), Some("expired")),
        ] {
            let checked = expected.check(&token(claims.clone()));
            assert!(checked.as_ref().err().map(String::as_str).is_none_or(|text| text.contains(fault.unwrap_or("?"))), "{checked:?}");
            assert_eq!(checked.is_err(), fault.is_some(), "{claims}");
        }
        assert!(expected.check("rubbish").is_err());
    }
}
