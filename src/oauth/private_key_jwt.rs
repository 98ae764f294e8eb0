//! private_key_jwt: a client proves who it is by a JWT that it signed (RFC 7523 §3 with the rules of RFC 10070, OpenID Connect
//! Core §9), and, for a client that says so, those of the FAPI 2.0 Security Profile (§5.3.2.1, §5.4).

use super::{
    Error,
    assertion::{Addressees, Assertion},
    authn::Authority,
    metadata::Issuer,
    used::Refused,
};
use crate::domain::{
    client::{AssertionProfile, Client, PrivateKeyJwt},
    jwk::VerificationKey,
};
use serde_json::Value;
use std::sync::LazyLock;

/// How many seconds an assertion is valid at most.
pub const LIFE: i64 = 300;
/// Seconds until a client that uses up its room for assertions comes back: they end one by one.
const COME_BACK: u32 = 30;

/// Verified with where a client has no key that could have signed: the examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.2).
static NOBODYS: LazyLock<Vec<VerificationKey>> = LazyLock::new(|| {
    let rsa = r#""kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ""#;
    [
        format!(r#"{{{rsa},"alg":"RS256"}}"#),
        format!(r#"{{{rsa},"alg":"PS256"}}"#),
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
            .to_owned(),
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_owned(),
    ]
    .iter()
    .filter_map(|json| VerificationKey::from_jwk(serde_json::from_str::<Value>(json).ok()?.as_object()?).ok())
    .collect()
});

/// Whether `assertion` proves that it comes from `client`, which `client_id` names. One that does is used up, and only one that
/// does: what failed may be sent again, corrected.
///
/// # Errors
/// [`Error::InvalidClient`], whatever the reason; [`Error::TooManyTokens`] where there is no room to remember it.
pub(super) fn verify(client_id: &str, assertion: &Assertion, client: Option<&Client>, authority: &Authority<'_, '_>) -> Result<(), Error> {
    let registered = client.and_then(|client| client.private_key_jwt.as_ref());
    let is_signed = assertion.is_signed_by(registered.into_iter().flat_map(usable_keys), &NOBODYS);
    let (Some(client), Some(PrivateKeyJwt { profile, .. }), true) = (client, registered, is_signed) else {
        return Err(Error::InvalidClient);
    };
    let now = authority.now.wall.as_second();
    let is_its_own = assertion.issuer.as_deref() == Some(client_id) && assertion.subject == client_id;
    let is_for_us = is_addressed_to(authority.issuer, &assertion.audience, *profile);
    match &assertion.id {
        Some(id) if is_its_own && is_for_us && assertion.is_timely(LIFE, now) && !client.disabled && !id.is_empty() => {
            let noted = authority.used.note(&client.id, id, assertion.ends_at(LIFE), authority.now);
            noted.map_err(|refused| if refused == Refused::Used { Error::InvalidClient } else { Error::TooManyTokens(COME_BACK) })
        }
        _ => Err(Error::InvalidClient),
    }
}

/// Policy registers no other key; what is registered all the same signs nothing.
fn usable_keys(registered: &PrivateKeyJwt) -> impl Iterator<Item = &VerificationKey> {
    registered.keys.iter().filter(|key| registered.profile.allows(key.algorithm()))
}

/// RFC 10070: the issuer identifier and nothing else. Libraries that are older write the URL of the token endpoint, or both; FAPI takes
/// no array, not even of one.
pub(super) fn is_addressed_to(issuer: &Issuer, audience: &Addressees, profile: AssertionProfile) -> bool {
    let is_issuer = |one: &String| one == issuer.as_str();
    match (profile, audience) {
        (AssertionProfile::Fapi2, Addressees::Listed(_)) => false,
        (AssertionProfile::LegacyAudience, all) => all.all().iter().all(|one| is_issuer(one) || *one == issuer.token_endpoint()),
        (AssertionProfile::Rfc10070 | AssertionProfile::Fapi2, all) => matches!(all.all(), [one] if is_issuer(one)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resource::Algorithm;

    /// S6: for every algorithm there is a signature to verify in vain.
    #[test]
    fn nobody_has_a_key_of_each_algorithm() {
        assert_eq!(
            NOBODYS.iter().map(VerificationKey::algorithm).collect::<Vec<_>>(),
            [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa]
        );
    }

    /// J02, J03: whether it is a string or an array matters to FAPI alone.
    #[test]
    fn an_assertion_is_for_the_issuer_alone_unless_the_client_opts_in_to_the_token_url() {
        use AssertionProfile::{Fapi2, LegacyAudience, Rfc10070};
        let issuer = Issuer::parse("https://h/t").unwrap();
        let (own, token, slash, other) = ("https://h/t", "https://h/t/oauth2/token", "https://h/t/", "https://other");
        for (audience, strict, legacy) in [
            (vec![own], true, true),
            (vec![token], false, true),
            (vec![own, token], false, true),
            (vec![own, own], false, true),
            (vec![own, other], false, false),
            (vec![token, other], false, false),
            (vec![slash], false, false),
            (vec![other], false, false),
            (vec!["https://h"], false, false),
        ] {
            let audience: Vec<String> = audience.into_iter().map(str::to_owned).collect();
            if let [one] = audience.as_slice() {
                let one = Addressees::One(one.clone());
                let verdicts = [Rfc10070, Fapi2, LegacyAudience].map(|profile| is_addressed_to(&issuer, &one, profile));
                assert_eq!(verdicts, [strict, strict, legacy], "{audience:?}");
            }
            let all = Addressees::Listed(audience.clone());
            let verdicts = [Rfc10070, Fapi2, LegacyAudience].map(|profile| is_addressed_to(&issuer, &all, profile));
            assert_eq!(verdicts, [strict, false, legacy], "{audience:?}");
        }
    }
}
