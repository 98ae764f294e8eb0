//! The tokens in the eyes of verifiers: one that is right, by a library that is not ours, and ones that leave out a single check.

use super::*;
use crate::{
    ambient,
    domain::{
        names::{Audience, ClientId, Scope},
        resource::{Algorithm, Grant, Namespaces},
        trust_domain::WorkloadId,
    },
    keys::DigestKey,
    oauth::{
        access_token::AccessToken,
        assertion::{Assertion, AssertionType},
        metadata::Issuer,
    },
};
use jsonwebtoken::{DecodingKey, Validation, crypto, jwk::JwkSet};
use std::{collections::BTreeSet, sync::LazyLock};

const ISSUER: &str = "https://keywright.keywright.svc";
const AUDIENCE: &str = "https://invoices.shop.svc";

/// What a verifier has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    Algorithm,
    Signature,
    Keys,
    Issuer,
    Audience,
    WholeAudience,
    Expiry,
    NotBefore,
    Crit,
    Type,
    Scope,
}

impl Check {
    const ALL: [Self; 11] = [
        Self::Algorithm,
        Self::Signature,
        Self::Keys,
        Self::Issuer,
        Self::Audience,
        Self::WholeAudience,
        Self::Expiry,
        Self::NotBefore,
        Self::Crit,
        Self::Type,
        Self::Scope,
    ];
}

/// An installation's keys, and one of nobody's; RSA keys take a while.
struct World {
    keys: KeySet,
    stranger: SigningKey,
    algorithm: Algorithm,
}

static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    let world = |algorithm| {
        let [ours, stranger] = [(); 2].map(|()| SigningKey::generate(algorithm).unwrap());
        World { keys: KeySet::new(vec![ours], &[], DigestKey::new(&[7; 32])), stranger, algorithm }
    };
    Algorithm::ALL.into_iter().map(world).collect()
});

fn grant(claims: &Value) -> Grant {
    Grant {
        namespaces: Namespaces::Named(["billing".to_owned()].into()),
        clients: None,
        scopes: [Scope::parse("invoices.read").unwrap()].into(),
        claims: claims.as_object().unwrap().clone(),
        expires: None,
    }
}

fn resource(algorithm: Algorithm, token_type: TokenType) -> Resource {
    Resource {
        object: ObjectName::new("shop", "invoices"),
        uid: "uid".to_owned(),
        audience: Audience::parse(AUDIENCE).unwrap(),
        scopes: ["invoices.read", "invoices.write"].map(|name| Scope::parse(name).unwrap()).into(),
        grants: vec![grant(&json!({"roles": ["reader"], "tier": "batch"})), grant(&json!({"tier": "other"}))],
        introspectors: BTreeSet::new(),
        algorithm,
        token_type,
        max_lifetime: None,
    }
}

impl World {
    fn materials<'a>(&'a self, resource: &'a Resource) -> Materials<'a> {
        Materials { resource, issuer: ISSUER, keys: &self.keys, stranger: &self.stranger, now: ambient::now().as_second() }
    }

    fn ours(&self) -> &SigningKey {
        &self.keys.active[&self.algorithm]
    }

    /// A token without a flaw, which nobody is ever given.
    fn right(&self, resource: &Resource) -> String {
        let draft = Draft::right(self.materials(resource), self.ours(), "jti").ok().unwrap();
        draft.signed(&Signature::Ours, self.ours(), &self.stranger).unwrap()
    }

    fn minted(&self, case: Case, resource: &Resource) -> String {
        minted(case, self.materials(resource), "jti").unwrap()
    }

    /// Everything that RFC 9068 §4 asks for, by `jsonwebtoken`, which leaves keys, `crit`, `typ` and `scope` to its caller.
    fn is_right(&self, resource: &Resource, token: &str) -> bool {
        let [header, claims] = opened(token);
        let keys: JwkSet = serde_json::from_slice(&self.keys.jwks).unwrap();
        let Some(key) = header["kid"].as_str().and_then(|kid| keys.find(kid)) else { return false };
        let mut validation = Validation::new(self.algorithm.as_str().parse().unwrap());
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        let typed = header["typ"] == resource.token_type.as_str() && header.get("crit").is_none();
        let scoped = claims["scope"].as_str().is_some_and(|scope| scope.split(' ').any(|one| one == "invoices.read"));
        let decoded = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation);
        typed && scoped && decoded.is_ok()
    }

    /// A verifier that makes every check but this one.
    fn accepts_without(&self, left_out: Option<Check>, resource: &Resource, token: &str) -> bool {
        let [header, claims] = opened(token);
        let now = ambient::now().as_second();
        let (iss, aud) = (claims["iss"].as_str().unwrap(), claims["aud"].as_str().unwrap());
        let holds = |check: Check| match check {
            Check::Algorithm => header["alg"] == self.algorithm.as_str(),
            Check::Signature => self.is_signed(token, &header, left_out),
            Check::Keys => true,
            Check::Issuer => iss == ISSUER,
            Check::Audience => aud.starts_with(AUDIENCE),
            Check::WholeAudience => aud == AUDIENCE || !aud.starts_with(AUDIENCE),
            Check::Expiry => claims["exp"].as_i64().unwrap() > now,
            Check::NotBefore => claims["nbf"].as_i64().is_none_or(|nbf| nbf <= now),
            Check::Crit => header.get("crit").is_none(),
            Check::Type => header["typ"] == resource.token_type.as_str(),
            Check::Scope => claims["scope"].as_str().is_some_and(|scope| scope.contains("invoices.read")),
        };
        Check::ALL.into_iter().filter(|check| Some(*check) != left_out).all(holds)
    }

    fn is_signed(&self, token: &str, header: &Value, left_out: Option<Check>) -> bool {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let published: JwkSet = serde_json::from_slice(&self.keys.jwks).unwrap();
        let algorithm = header["alg"].as_str().unwrap();
        if left_out == Some(Check::Algorithm) && algorithm.eq_ignore_ascii_case("none") {
            return true;
        }
        if left_out == Some(Check::Algorithm) && algorithm == "HS256" {
            let jwk = super::published(&self.keys, self.ours().kid()).unwrap().to_string();
            let secrets = [self.ours().public_pem().unwrap(), jwk];
            let by = |secret: &String| URL_SAFE_NO_PAD.encode(hs256::sign(secret.as_bytes(), input.as_bytes())) == signature;
            return secrets.iter().any(by);
        }
        let own = published.find(header["kid"].as_str().unwrap()).map(|jwk| DecodingKey::from_jwk(jwk).unwrap());
        // Whoever takes keys from anywhere takes this one, too.
        let anywhere = || DecodingKey::from_jwk(&serde_json::from_value(self.stranger.public_key().jwk()).unwrap()).unwrap();
        let key = own.or_else(|| (left_out == Some(Check::Keys)).then(anywhere));
        let name = self.algorithm.as_str().parse().unwrap();
        key.is_some_and(|key| crypto::verify(signature, input.as_bytes(), &key, name).unwrap_or(false))
    }
}

fn opened(token: &str) -> [Value; 2] {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    [parts[0], parts[1]].map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
}

/// The checks each of which is enough to leave out.
fn given_away_by(case: Case) -> &'static [Check] {
    match case {
        Case::AlgNone | Case::AlgNoneSpelt | Case::Hs256Pem | Case::Hs256Jwk => &[Check::Algorithm],
        Case::AlteredSignature | Case::NoSignature | Case::UnknownKeyOurKid => &[Check::Signature],
        Case::UnknownKey | Case::EmbeddedKey => &[Check::Signature, Check::Keys],
        Case::OtherIssuer => &[Check::Issuer],
        Case::WrongAudience => &[Check::Audience],
        Case::AudiencePrefix => &[Check::WholeAudience],
        Case::Expired => &[Check::Expiry],
        Case::NotYetValid => &[Check::NotBefore],
        Case::UnknownCrit => &[Check::Crit],
        Case::WrongType => &[Check::Type],
        Case::NoScope => &[Check::Scope],
    }
}

/// RFC 9068 §4, RFC 8725, S1: for every algorithm and both types.
#[test]
fn a_right_verifier_refuses_every_one_of_them() {
    for world in WORLDS.iter() {
        for token_type in [TokenType::AtJwt, TokenType::Jwt] {
            let resource = resource(world.algorithm, token_type);
            assert!(world.is_right(&resource, &world.right(&resource)), "{:?}", world.algorithm);
            for case in cases(&resource) {
                assert!(!world.is_right(&resource, &world.minted(case, &resource)), "{case:?} {:?}", world.algorithm);
            }
        }
    }
}

/// Each has one flaw: a verifier that leaves out this check accepts it, and one that leaves out any other does not.
#[test]
fn each_of_them_is_refused_for_one_reason() {
    for world in WORLDS.iter() {
        let resource = resource(world.algorithm, TokenType::AtJwt);
        assert!(world.accepts_without(None, &resource, &world.right(&resource)));
        for case in Case::ALL {
            let token = world.minted(case, &resource);
            assert!(!world.accepts_without(None, &resource, &token), "{case:?}");
            let by = |check: &Check| world.accepts_without(Some(*check), &resource, &token);
            let found: Vec<Check> = Check::ALL.into_iter().filter(by).collect();
            assert_eq!(found, given_away_by(case), "{case:?} {:?}", world.algorithm);
        }
    }
}

/// Nothing but the flaw differs from a right one.
#[test]
fn each_of_them_is_a_right_one_but_for_the_members_of_its_flaw() {
    let world = &WORLDS[0];
    let resource = resource(world.algorithm, TokenType::AtJwt);
    let right = opened(&world.right(&resource));
    assert_eq!((&right[1]["tier"], &right[1]["roles"]), (&json!("batch"), &json!(["reader"])));
    for case in Case::ALL {
        let found = opened(&world.minted(case, &resource));
        let names = |part: usize| -> BTreeSet<String> {
            let [one, other] = [&right[part], &found[part]].map(|object| object.as_object().unwrap());
            let all = one.keys().chain(other.keys()).cloned();
            all.filter(|name| one.get(name) != other.get(name) && !(part == 1 && ["iat", "exp"].contains(&name.as_str()))).collect()
        };
        let expected: (&[&str], &[&str]) = match case {
            Case::AlgNone | Case::AlgNoneSpelt | Case::Hs256Pem | Case::Hs256Jwk => (&["alg"], &[]),
            Case::NoSignature | Case::AlteredSignature | Case::UnknownKeyOurKid | Case::Expired => (&[], &[]),
            Case::UnknownKey => (&["kid"], &[]),
            Case::EmbeddedKey => (&["jwk", "kid"], &[]),
            Case::OtherIssuer => (&[], &["iss"]),
            Case::WrongAudience | Case::AudiencePrefix => (&[], &["aud"]),
            Case::NotYetValid => (&[], &["nbf"]),
            Case::UnknownCrit => (&["crit", UNKNOWN], &[]),
            Case::WrongType => (&["typ"], &[]),
            Case::NoScope => (&[], &["roles", "scope", "tier"]),
        };
        let expected = [expected.0, expected.1].map(|names| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        assert_eq!([names(0), names(1)], expected, "{case:?}");
    }
}

/// Whoever they name is no client, they end soon, and no time ever comes at which one is valid that is not now.
#[test]
fn none_of_them_names_anybody_lasts_or_becomes_valid_later() {
    let world = &WORLDS[1];
    let resource = resource(world.algorithm, TokenType::Jwt);
    for case in cases(&resource) {
        let [_, claims] = opened(&world.minted(case, &resource));
        let now = ambient::now().as_second();
        assert!(ClientId::parse(claims["client_id"].as_str().unwrap()).is_err());
        assert_eq!((&claims["sub"], &claims["keywright.dev"]), (&json!(NOBODY), &json!({"namespace": NOBODY, "client": NOBODY})));
        let ends = claims["exp"].as_i64().unwrap();
        assert!(ends <= now + if case == Case::NoScope { LIFE_WITHOUT_SCOPE } else { LIFE }, "{case:?}");
        assert!(claims["nbf"].as_i64().is_none_or(|begins| begins > ends + FAR / 2));
        assert!(claims["aud"] == AUDIENCE || Audience::parse(claims["aud"].as_str().unwrap()).is_err());
    }
    // No verifier that asks for at+jwt alone may be tested with what the issuer itself writes.
    assert!(cases(&resource).all(|case| case != Case::WrongType));
}

/// J05, I03: at our own endpoints they are nothing either: no assertion, and what of them could be an access token is of nobody.
#[test]
fn our_own_endpoints_take_none_of_them() {
    let issuer = Issuer::parse(ISSUER).unwrap();
    for world in WORLDS.iter() {
        let resource = resource(world.algorithm, TokenType::AtJwt);
        for case in Case::ALL {
            let token = world.minted(case, &resource);
            assert!(Assertion::read(AssertionType::JwtBearer, &token).is_none(), "{case:?}");
            let svid = Assertion::read(AssertionType::JwtSpiffe, &token);
            assert!(svid.is_none_or(|svid| WorkloadId::parse(&svid.subject).is_err()), "{case:?}");
            let read = AccessToken::verified(&token, &issuer, &world.keys);
            assert!(read.is_none_or(|token| ClientId::parse(&token.client_id).is_err()), "{case:?}");
        }
    }
}

#[test]
fn the_name_of_an_object_is_namespace_and_name_and_nothing_that_a_path_could_be_made_of() {
    let read = |text: &str| ProbeRequest { presented: None, resource: Some(text.to_owned().into()) }.resource();
    assert_eq!(read("shop/invoices"), Ok(ObjectName::new("shop", "invoices")));
    assert_eq!(read("shop/invoices.v1"), Ok(ObjectName::new("shop", "invoices.v1")));
    for text in
        ["invoices", "/invoices", "shop/", "shop/a/b", "../x", "shop/..", "Shop/x", "shop/x?y", "shop/x%2f", "a b/c", "-a/b", "shop/a\n"]
    {
        assert_eq!(read(text), Err(Error::MalformedObjectName), "{text}");
    }
    assert!(read(&format!("shop/{}", "a".repeat(64))).is_err());
    assert_eq!(ProbeRequest { presented: None, resource: None }.resource(), Err(Error::MissingParameter("protected_resource")));
}
