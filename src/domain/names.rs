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

    /// What stands before the first dot: the namespace that owns the id, unless the platform's policy says otherwise.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
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
