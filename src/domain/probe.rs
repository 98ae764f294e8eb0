//! What an API that verifies its tokens refuses: tokens with one flaw each, and what is to be done where one of them is accepted.

/// Stands where a token of ours names a client, its namespace and its name. It is none of these (see `names`), and will never be.
pub const NOBODY: &str = "keywright.dev/probe";

/// A token that is right but for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Case {
    /// `aud` is another API.
    WrongAudience,
    /// `aud` begins with the API's.
    AudiencePrefix,
    /// `exp` was an hour ago.
    Expired,
    /// `nbf` is in an hour: later than `exp`, so that it never begins.
    NotYetValid,
    /// `iss` begins with ours.
    OtherIssuer,
    /// `alg` is `none`.
    AlgNone,
    /// `alg` is `nOnE`.
    AlgNoneSpelt,
    /// `alg` is HS256, keyed with the public key in PEM.
    Hs256Pem,
    /// `alg` is HS256, keyed with the public key as the JWKS has it.
    Hs256Jwk,
    /// A bit of the signature is another.
    AlteredSignature,
    /// The signature is empty.
    NoSignature,
    /// Signed by a key that nobody has published.
    UnknownKey,
    /// The same, under the name of ours.
    UnknownKeyOurKid,
    /// The same, with its public half in the header.
    EmbeddedKey,
    /// An extension that nobody knows has to be understood.
    UnknownCrit,
    /// `typ` is that of something else.
    WrongType,
    /// There is no `scope`.
    NoScope,
}

/// What is told of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// What it is called.
    pub name: &'static str,
    /// What is wrong with the token.
    pub flaw: &'static str,
    /// Why it has to be refused.
    pub source: &'static str,
    /// What most likely has to be changed where it is accepted.
    pub fix: &'static str,
}

const ALGORITHM: &str = "allow the API's signing algorithm and no other, by a list of what is allowed";
const SIGNATURE: &str = "verify the signature: decoding a token is not verifying it";
const KEYS: &str = "take keys from the issuer's JWKS and from nowhere else, the one that kid names";

impl Case {
    /// Every one, in the order in which they are shown.
    pub const ALL: [Self; 17] = [
        Self::AlgNone,
        Self::AlgNoneSpelt,
        Self::NoSignature,
        Self::AlteredSignature,
        Self::Hs256Pem,
        Self::Hs256Jwk,
        Self::UnknownKey,
        Self::UnknownKeyOurKid,
        Self::EmbeddedKey,
        Self::OtherIssuer,
        Self::WrongAudience,
        Self::AudiencePrefix,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownCrit,
        Self::WrongType,
        Self::NoScope,
    ];

    /// The case of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.told().name == name)
    }

    /// What is told of it.
    #[must_use]
    pub const fn told(self) -> Told {
        let (name, flaw, source, fix) = match self {
            Self::AlgNone => ("alg-none", "alg is none, and there is no signature", "RFC 8725 section 3.2", ALGORITHM),
            Self::AlgNoneSpelt => ("alg-none-spelt", "alg is nOnE, and there is no signature", "RFC 8725 section 3.2", ALGORITHM),
            Self::NoSignature => ("no-signature", "the signature is empty", "RFC 7515 section 5.2", SIGNATURE),
            Self::AlteredSignature => ("altered-signature", "a bit of the signature is altered", "RFC 7515 section 5.2", SIGNATURE),
            Self::Hs256Pem => ("hs256-pem", "signed by HS256 with the public key (PEM) as secret", "RFC 8725 section 3.1", ALGORITHM),
            Self::Hs256Jwk => ("hs256-jwk", "signed by HS256 with the public key (JWK) as secret", "RFC 8725 section 3.1", ALGORITHM),
            Self::UnknownKey => ("unknown-key", "signed by a key that is not in the JWKS", "RFC 9068 section 4", KEYS),
            Self::UnknownKeyOurKid => ("unknown-key-our-kid", "signed by another key than kid names", "RFC 9068 section 4", SIGNATURE),
            Self::EmbeddedKey => ("embedded-key", "signed by the key in its own header (jwk)", "RFC 8725 section 3.8", KEYS),
            Self::OtherIssuer => (
                "other-issuer",
                "iss is another issuer",
                "RFC 9068 section 4",
                "set the issuer that the verifier expects, compared character by character",
            ),
            Self::WrongAudience => (
                "wrong-audience",
                "aud is another API",
                "RFC 9068 section 4",
                "set the audience that the verifier expects: that of this API",
            ),
            Self::AudiencePrefix => (
                "audience-prefix",
                "aud only begins with that of this API",
                "RFC 7519 section 4.1.3",
                "compare the audience as a whole, character by character",
            ),
            Self::Expired => {
                ("expired", "exp was an hour ago", "RFC 7519 section 4.1.4", "check exp, with a few minutes of leeway at most")
            }
            Self::NotYetValid => {
                ("not-yet-valid", "nbf is in an hour", "RFC 7519 section 4.1.5", "check nbf, with a few minutes of leeway at most")
            }
            Self::UnknownCrit => (
                "unknown-crit",
                "crit names an extension that nobody knows",
                "RFC 7515 section 4.1.11",
                "refuse a token with crit; a newer version of the library may do so",
            ),
            Self::WrongType => (
                "wrong-type",
                "typ is none of an access token",
                "RFC 9068 section 4",
                "demand typ at+jwt, so that no other JWT of the issuer passes for an access token",
            ),
            Self::NoScope => (
                "no-scope",
                "there is no scope",
                "RFC 6750 section 3.1",
                "demand the scope that this URL needs; if it needs none, probe a URL that does",
            ),
        };
        Told { name, flaw, source, fix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{ClientId, Scope};
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Case::ALL.iter().map(|case| case.told().name).collect();
        assert_eq!(names.len(), Case::ALL.len());
        for case in Case::ALL {
            assert_eq!(Case::named(case.told().name), Some(case));
            // They go into an annotation, and into the message of a condition.
            assert!(Scope::is_token(case.told().name) && case.told().name.len() <= 32);
        }
        assert_eq!(Case::named("alg"), None);
    }

    /// No client can ever be whom these tokens name.
    #[test]
    fn nobody_is_no_client() {
        assert!(ClientId::parse(NOBODY).is_err());
    }
}
