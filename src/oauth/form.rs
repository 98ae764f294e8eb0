//! `application/x-www-form-urlencoded` in UTF-8 (RFC 6749 Appendix B), strictly: what is not well-formed is refused, not guessed,
//! so that nobody downstream reads another value than we do.

use super::Error;
use std::borrow::Cow;

/// The names and values of a body, in order. Pairs of nothing (`&&`) are skipped, a name without `=` has an empty value.
///
/// Each item is an [`Error::MalformedForm`] where a `%` is not followed by two hexadecimal digits, where the bytes are not
/// UTF-8, or where they contain NUL.
pub fn pairs(body: &[u8]) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), Error>> {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let mut half = || decode(halves.next().unwrap_or_default());
        Ok((half()?, half()?))
    })
}

/// Decodes one name or value: `+` and `%20` are both a space.
///
/// # Errors
/// [`Error::MalformedForm`] as for [`pairs`].
pub fn decode(encoded: &[u8]) -> Result<Cow<'_, str>, Error> {
    let text = if encoded.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        Cow::Owned(String::from_utf8(unescaped(encoded)?).map_err(|_| Error::MalformedForm)?)
    } else {
        Cow::Borrowed(str::from_utf8(encoded).map_err(|_| Error::MalformedForm)?)
    };
    if text.contains('\0') { Err(Error::MalformedForm) } else { Ok(text) }
}

fn unescaped(encoded: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hexadecimal(rest.next())? << 4 | hexadecimal(rest.next())?,
            _ => byte,
        });
    }
    Ok(bytes)
}

fn hexadecimal(digit: Option<u8>) -> Result<u8, Error> {
    match digit {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        _ => Err(Error::MalformedForm),
    }
}

/// A parameter that may stand in a form once.
#[derive(Default)]
pub(super) enum Parameter<'a> {
    /// Not there (yet).
    #[default]
    Absent,
    /// There.
    Given(Cow<'a, str>),
}

impl<'a> Parameter<'a> {
    pub(super) fn put(&mut self, name: &'static str, value: Cow<'a, str>) -> Result<(), Error> {
        match self {
            Self::Absent => {
                *self = Self::Given(value);
                Ok(())
            }
            Self::Given(_) => Err(Error::DuplicateParameter(name)),
        }
    }

    /// An empty parameter is an absent one (RFC 6749 §3.2).
    pub(super) fn value(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Given(value) if !value.is_empty() => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &[u8]) -> Result<Vec<(String, String)>, Error> {
        pairs(body).map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned()))).collect()
    }

    #[test]
    fn names_and_values_are_split_at_ampersand_and_first_equals_sign() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (body, expected) in [
            ("", vec![]),
            ("&&", vec![]),
            ("a", vec![pair("a", "")]),
            ("a=", vec![pair("a", "")]),
            ("=b", vec![pair("", "b")]),
            ("a=b=c&d=e", vec![pair("a", "b=c"), pair("d", "e")]),
            ("a=1&a=2", vec![pair("a", "1"), pair("a", "2")]),
            ("sc%6fpe=x;y", vec![pair("scope", "x;y")]),
        ] {
            assert_eq!(read(body.as_bytes()), Ok(expected), "{body}");
        }
    }

    /// T08.
    #[test]
    fn plus_and_percent_20_are_a_space_and_what_is_malformed_is_refused() {
        assert_eq!(decode(b"a+b%20c"), Ok("a b c".into()));
        assert_eq!(decode("ü%C3%BC".as_bytes()), Ok("üü".into()));
        let malformed: [&[u8]; 12] =
            [b"a=%zz", b"a=%4", b"a=%", b"a=%%20", b"a=%+1", b"a=%2\xc3", b"a=%ff", b"a=\xff", b"a=%c3", b"a=%00", b"a=\0", b"%00=a"];
        for body in malformed {
            assert_eq!(read(body), Err(Error::MalformedForm), "{}", body.escape_ascii());
        }
    }

    /// C03: the vector of RFC 6749 Appendix B.
    #[test]
    fn the_vector_of_appendix_b_decodes() {
        assert_eq!(decode(b"+%25%26%2B%C2%A3%E2%82%AC"), Ok(" %&+£€".into()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn what_another_encoder_writes_is_read_back(fields in proptest::collection::vec(("[^\0&=]{1,8}", "[^\0]{0,8}"), 0..6)) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
            prop_assert_eq!(read(body.as_bytes()), Ok(fields));
        }
    }
}
