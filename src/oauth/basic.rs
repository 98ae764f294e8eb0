//! The Basic scheme as OAuth 2.0 uses it (RFC 7617, RFC 6749 §2.3.1): client id and secret are form-encoded first.
//!
//! Clients that leave out the form-encoding are read the same, because ids and secrets that we make have nothing to encode.

use super::form;
use crate::domain::credential::SecretValue;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

/// Some clients leave out the padding.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// What an `Authorization` header says.
pub enum Authorization {
    /// Client id and secret.
    Basic(String, SecretValue),
    /// The Basic scheme with something unreadable.
    MalformedBasic,
    /// Another scheme, which authenticates no client here.
    OtherScheme,
}

/// Reads the value of an `Authorization` header (RFC 9110 §11.6.2). The scheme is case-insensitive (§11.1).
#[must_use]
pub fn authorization(value: &[u8]) -> Authorization {
    let (scheme, parameters) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Authorization::OtherScheme;
    }
    match credentials(parameters.trim_ascii()) {
        Some((client_id, secret)) => Authorization::Basic(client_id, secret),
        None => Authorization::MalformedBasic,
    }
}

fn credentials(base64: &[u8]) -> Option<(String, SecretValue)> {
    let decoded = Zeroizing::new(BASE64.decode(base64).ok()?);
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (client_id, secret) = decoded.split_at(colon);
    let secret = form::decode(secret.strip_prefix(b":")?).ok()?;
    // A line break at the end is not for us to strip, but whoever sent it is told.
    let is_readable = is_visible(secret.trim_end_matches(['\r', '\n']));
    let client_id = form::decode(client_id).ok().filter(|client_id| is_visible(client_id))?;
    is_readable.then(|| (client_id.into_owned(), SecretValue::from_text(secret.into_owned())))
}

/// RFC 6749 Appendix A.1, A.2: id and secret are `*VSCHAR`.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD as PADDED;
    use proptest::prelude::*;

    fn read(header: &str) -> Option<(String, String)> {
        match authorization(header.as_bytes()) {
            Authorization::Basic(client_id, secret) => Some((client_id, secret.expose().to_owned())),
            _ => None,
        }
    }

    fn basic(plain: &str) -> String {
        format!("Basic {}", PADDED.encode(plain))
    }

    /// C01: the vector of AppAuth#337.
    #[test]
    fn a_form_encoded_id_and_secret_are_decoded() {
        let header = "Basic MVBwRyUyRlErMTp6JTJGdFo5VndGWnFBcG1JUSUyQlpIMUk1cExrJTJGdUI0dWQlM0FYMiUyRjhiTCUyQndmRlR0MXJGdyUzRA==";
        assert_eq!(read(header), Some(("1PpG/Q 1".into(), "z/tZ9VwFZqApmIQ+ZH1I5pLk/uB4ud:X2/8bL+wfFTt1rFw=".into())));
    }

    /// C02: oauth4webapi encodes `-_.!~*'()` too.
    #[test]
    fn an_over_encoded_id_is_decoded() {
        assert_eq!(read(&basic("my%2Dapp%2Ex%5Fy:s%2Dt")), Some(("my-app.x_y".into(), "s-t".into())));
    }

    /// C04.
    #[test]
    fn the_scheme_is_case_insensitive_and_the_first_colon_separates() {
        for scheme in ["basic", "BASIC", "Basic", "Basic "] {
            assert_eq!(read(&format!("{scheme} {}", PADDED.encode("a:b:c"))), Some(("a".into(), "b:c".into())), "{scheme}");
        }
    }

    /// C05.
    #[test]
    fn padding_may_be_absent_and_all_else_that_is_malformed_is_no_credential() {
        assert_eq!(read("Basic YTpiYg"), Some(("a".into(), "bb".into())));
        assert_eq!(read("Basic YTpiYg=="), Some(("a".into(), "bb".into())));
        for header in ["Basic", "Basic ", "Basic YTpi!", "Basic YTpi YTpi", "Basic YTp-", "Basic =", "Basic YWI="] {
            assert!(matches!(authorization(header.as_bytes()), Authorization::MalformedBasic), "{header}");
        }
        for plain in ["a%zz:b", "a:%4", "a:b%00", "a:\u{7}b", "a\u{e9}:b", "a:%C2%A3"] {
            assert!(matches!(authorization(basic(plain).as_bytes()), Authorization::MalformedBasic), "{plain}");
        }
    }

    /// C13.
    #[test]
    fn another_scheme_is_no_credential() {
        for header in ["", "Bearer x", "Digest username=a", "BasicYTpi", "Basic\tYTpi"] {
            assert!(matches!(authorization(header.as_bytes()), Authorization::OtherScheme), "{header}");
        }
    }

    proptest! {
        /// C18, the alphabet of what we make: encoded or not, the same credentials arrive.
        #[test]
        fn clients_that_form_encode_and_those_that_do_not_agree(id in "[A-Za-z0-9._-]{1,128}", secret in "[A-Za-z0-9_-]{43}") {
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let url_safe = base64::engine::general_purpose::URL_SAFE.encode(format!("{id}:{secret}"));
            let expected = Some((id.clone(), secret.clone()));
            prop_assert_eq!(read(&basic(&format!("{id}:{secret}"))), expected.clone());
            prop_assert_eq!(read(&basic(&format!("{}:{}", encode(&id), encode(&secret)))), expected.clone());
            prop_assert_eq!(read(&format!("Basic {url_safe}")), expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(header in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = authorization(&header);
            let _ = authorization(format!("Basic {}", PADDED.encode(&header)).as_bytes());
        }
    }
}
