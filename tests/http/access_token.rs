//! The token itself, read by a library that is not ours: the A rows.

use crate::fixture::{INVOICES, ISSUER, ORDERS, Replica};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};
use std::collections::HashSet;

struct Verified {
    typ: String,
    claims: Value,
    signature: Vec<u8>,
}

/// Verifies as a resource server would: key by `kid` from the JWKS, one algorithm, issuer and audience.
async fn verified(replica: &Replica, client: &str, algorithm: Algorithm, audience: &str) -> Verified {
    let token = replica.token(client, "").await.json()["access_token"].as_str().unwrap().to_owned();
    let jwks: JwkSet = serde_json::from_slice(&replica.get("/oauth2/jwks").await.body).unwrap();
    let header = decode_header(&token).unwrap();
    assert_eq!(header.alg, algorithm);
    let key = DecodingKey::from_jwk(jwks.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = 0;
    let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
    let signature = URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap();
    Verified { typ: header.typ.unwrap(), claims, signature }
}

/// A01, A02, A03, A04, A05, A08, G08.
#[tokio::test]
async fn an_es256_token_is_what_rfc_9068_says() {
    let replica = Replica::new();
    let token = verified(&replica, "billing.worker", Algorithm::ES256, INVOICES).await;
    assert_eq!(token.typ, "at+jwt");
    assert_eq!(token.signature.len(), 64);
    let claims = &token.claims;
    let now = keywright::ambient::now().as_second();
    assert!((now - 5..=now).contains(&claims["iat"].as_i64().unwrap()));
    assert!(claims["exp"].is_i64());
    let own = ["iat", "exp", "jti"].map(|name| (name.to_owned(), claims[name].clone()));
    let mut expected = json!({
        "iss": ISSUER,
        "sub": "billing.worker",
        "client_id": "billing.worker",
        "aud": INVOICES,
        "scope": "invoices.read invoices.write",
        "keywright.dev": {"namespace": "billing", "client": "worker"},
        "tier": "batch",
    });
    expected.as_object_mut().unwrap().extend(own);
    assert_eq!(*claims, expected);
    let metadata = replica.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["issuer"], claims["iss"]);
}

/// A01: the API's owner chooses RS256 and `JWT` for verifiers that read nothing else.
#[tokio::test]
async fn an_rs256_token_with_the_plain_type_is_there_for_old_verifiers() {
    let token = verified(&Replica::new(), "billing.orders", Algorithm::RS256, ORDERS).await;
    assert_eq!(token.typ, "JWT");
    assert_eq!(token.signature.len(), 256);
}

/// A08: the other two algorithms, likewise by another library and the JWKS alone.
#[tokio::test]
async fn a_ps256_or_eddsa_token_verifies_by_the_jwks() {
    use keywright::{
        domain::resource::Algorithm::{EdDsa, Ps256},
        keys::{DigestKey, KeySet, SigningKey},
    };
    let replica = Replica::new();
    let keys = [Ps256, EdDsa].map(|algorithm| SigningKey::generate(algorithm).unwrap());
    replica.change(|snapshot| snapshot.keys = Some(std::sync::Arc::new(KeySet::new(keys.into(), &[], DigestKey::new(&[7; 32])))));
    for (chosen, read, bytes) in [(Ps256, Algorithm::PS256, 256), (EdDsa, Algorithm::EdDSA, 64)] {
        replica.change_resource("invoices", |resource| resource.algorithm = chosen);
        assert_eq!(verified(&replica, "billing.worker", read, INVOICES).await.signature.len(), bytes);
    }
    let openid = replica.get("/.well-known/openid-configuration").await.json();
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["PS256", "EdDSA"]));
}

/// A06, S7: the identifiers of tokens are 128 random bits.
#[tokio::test]
async fn no_two_tokens_have_one_identifier() {
    let replica = Replica::new();
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let claims = replica.token("billing.worker", "").await.claims();
        let identifier = claims["jti"].as_str().unwrap().to_owned();
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        assert!(identifier.len() == 22 && identifier.bytes().all(alphabet), "{identifier}");
        assert!(seen.insert(identifier));
    }
}

/// A06: what 100,000 concurrent issues on 3 replicas draw from.
#[test]
fn a_hundred_thousand_identifiers_on_three_threads_differ() {
    let draw = || (0..34_000).map(|_| keywright::ambient::draw_jti()).collect::<Vec<_>>();
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(draw)).collect();
    let drawn: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
}

/// T19: an API whose algorithm has no key yet gets 503, and the others their tokens.
#[tokio::test]
async fn an_algorithm_without_a_key_is_our_fault_and_passes() {
    use keywright::{
        domain::resource::Algorithm::Rs256,
        keys::{DigestKey, KeySet, SigningKey},
    };
    let replica = Replica::new();
    let keys = KeySet::new(vec![SigningKey::generate(Rs256).unwrap()], &[], DigestKey::new(&[7; 32]));
    replica.change(|snapshot| snapshot.keys = Some(std::sync::Arc::new(keys)));
    assert_eq!(replica.token("billing.worker", "").await.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(replica.token("billing.orders", "").await.status, 200);
}
