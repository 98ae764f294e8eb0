//! Names with a grammar: a value of one of these types is valid.

use std::fmt;

/// Why a text is not a name of the kind asked for. The message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a client id of ours.
    #[error("a client id has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    ClientId,
    /// Not a scope token of RFC 6749 §3.3.
    #[error("a scope has 1 to 128 printable ASCII characters, none of them a space, '\"' or '\\'")]
    Scope,
    /// Not an audience.
    #[error("an audience is an absolute URI without a fragment, at most 255 characters")]
    Audience,
}

/// An OAuth 2.0 client identifier (RFC 6749 §2.2), from the alphabet `[A-Za-z0-9._-]`, so that clients which form-encode
/// Basic credentials and those which do not send the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(String);

impl ClientId {
    /// Most characters of a client id.
    pub const MAX: usize = 128;

    /// Reads a client id.
    ///
    /// # Errors
    /// [`NameError::ClientId`] where length or alphabet is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = (1..=Self::MAX).contains(&text.len());
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if fits && text.bytes().all(alphabet) { Ok(Self(text.to_owned())) } else { Err(NameError::ClientId) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One scope token (RFC 6749 §3.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(String);

impl Scope {
    /// Reads one scope token.
    ///
    /// # Errors
    /// [`NameError::Scope`] where length or alphabet is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if Self::is_token(text) { Ok(Self(text.to_owned())) } else { Err(NameError::Scope) }
    }

    /// Whether a text is a scope token of at most 128 characters.
    #[must_use]
    pub fn is_token(text: &str) -> bool {
        let alphabet = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        (1..=128).contains(&text.len()) && text.bytes().all(alphabet)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Scopes as RFC 6749 §3.3 writes them: separated by one space.
#[must_use]
pub fn space_delimited<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> String {
    scopes.into_iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}

/// The `aud` of a token: an absolute URI without a fragment (RFC 8707 §2), compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience(String);

impl Audience {
    /// Reads an audience.
    ///
    /// # Errors
    /// [`NameError::Audience`] where it is no absolute URI, has a fragment, or is longer than 255 characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (scheme, rest) = text.split_once(':').ok_or(NameError::Audience)?;
        let scheme_is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'\\' | b'<' | b'>'));
        if scheme_is_one && plain && text.len() <= 255 { Ok(Self(text.to_owned())) } else { Err(NameError::Audience) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Namespace and name of an object. The kind follows from the context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// From namespace and name.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T, E>(parse: impl Fn(&str) -> Result<T, E>, good: &[&str], bad: &[&str]) {
        good.iter().for_each(|text| assert!(parse(text).is_ok(), "{text:?}"));
        bad.iter().for_each(|text| assert!(parse(text).is_err(), "{text:?}"));
    }

    /// C18, C19: whatever a client does to it before it sends it, the alphabet stays what it is.
    #[test]
    fn a_client_id_has_characters_that_no_encoding_changes() {
        let longest = "a".repeat(ClientId::MAX);
        check(ClientId::parse, &["a", "billing.worker", "A-z_0.9", &longest], &["", "a b", "a:b", "a~b", "a%62", "é", "a\0", "a\n"]);
        check(ClientId::parse, &[], &[&format!("{longest}a")]);
        for text in (0_u8..=127).map(|byte| char::from(byte).to_string()).filter(|text| ClientId::parse(text).is_ok()) {
            let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            assert_eq!(encoded, text);
        }
    }

    /// G03.
    #[test]
    fn a_scope_is_a_scope_token() {
        check(Scope::parse, &["a", "invoices.read", "https://x/y", "!#[]~"], &["", " ", "a b", "a\"", "a\\", "a\t", "a\u{7f}", "é"]);
        let longest = "s".repeat(128);
        check(Scope::parse, &[&longest], &[&format!("{longest}s")]);
    }

    /// G07.
    #[test]
    fn an_audience_is_an_absolute_uri_without_a_fragment() {
        let bad = ["", "x", "/x", "x/y:z", ":x", "https:", "1a:x", "https://x#y", "https://x y", "https://x\"", "https://é", "a_b:c"];
        check(Audience::parse, &["https://x.y.svc", "urn:example:x", "https://x/?q=1", "a+b-c.d:e"], &bad);
        let longest = format!("urn:{}", "a".repeat(251));
        check(Audience::parse, &[&longest], &[&format!("{longest}a")]);
    }

    #[test]
    fn scopes_are_written_with_one_space_between() {
        let scopes = ["b", "a"].map(|name| Scope::parse(name).unwrap());
        assert_eq!(space_delimited(&scopes), "b a");
        assert_eq!(space_delimited([]), "");
    }
}
