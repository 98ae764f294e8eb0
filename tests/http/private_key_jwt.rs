//! Client authentication by private_key_jwt: the J rows, but for those of FAPI clients, which are in `fapi`.

use crate::{
    fixture::{ISSUER, Replica, SECRET, basic, refused, unauthorized},
    signer::{JWT_BEARER, SIGNER, Signer, ask, ask_with, claims, replica, usual},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keywright::{
    ambient,
    domain::{client::AssertionProfile, resource::Algorithm},
};
use serde_json::{Value, json};

const GRANT: &str = "grant_type=client_credentials";

pub(crate) fn now() -> i64 {
    ambient::now().as_second()
}

fn pem(signer: &Signer) -> String {
    use base64::engine::general_purpose::STANDARD;
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*signer.key.to_pkcs8().unwrap()))
}

/// From now on the client's assertions are read so.
pub(crate) fn follow(replica: &Replica, profile: AssertionProfile) {
    replica.change_client(SIGNER, |known| known.client.private_key_jwt.as_mut().unwrap().profile = profile);
}

/// J01: signed by a library that is not ours.
#[tokio::test]
async fn an_assertion_of_each_algorithm_is_accepted() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    for algorithm in Algorithm::ALL {
        let signer = Signer::of(algorithm);
        let key = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => EncodingKey::from_rsa_pem(pem(&signer).as_bytes()),
            Algorithm::Es256 => EncodingKey::from_ec_pem(pem(&signer).as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem(&signer).as_bytes()),
        };
        let header = Header::new(algorithm.as_str().parse().unwrap());
        let assertion = encode(&header, &claims(&json!({})), &key.unwrap()).unwrap();
        let replica = replica(vec![signer.registered(&json!({}))]);
        let answer = ask(&replica, &assertion).await;
        assert_eq!((answer.status.as_u16(), answer.claims()["client_id"].as_str()), (200, Some(SIGNER)), "{algorithm:?}");
    }
}

/// J02, J03, S4: the issuer and nothing else.
#[tokio::test]
async fn an_assertion_is_addressed_to_the_issuer_alone() {
    let (replica, signer) = usual();
    let url = format!("{ISSUER}/oauth2/token");
    assert_eq!(ask(&replica, &signer.assertion(&json!({"aud": [ISSUER]}))).await.status, 200);
    let others = [
        json!(url),
        json!([url]),
        json!([ISSUER, url]),
        json!([ISSUER, ISSUER]),
        json!(format!("{ISSUER}/")),
        json!("https://other.example"),
        json!([]),
        json!(7),
        json!([7]),
        json!(""),
        Value::Null,
    ];
    for audience in &others {
        assert_eq!(ask(&replica, &signer.assertion(&json!({"aud": audience}))).await.error(), unauthorized(), "{audience}");
    }
    follow(&replica, AssertionProfile::LegacyAudience);
    for (audience, status) in others.iter().zip([200, 200, 200, 200, 401, 401, 401, 401, 401, 401, 401]) {
        assert_eq!(ask(&replica, &signer.assertion(&json!({"aud": audience}))).await.status, status, "{audience}");
    }
}

/// J04, J05: what another JWT of the same key is for, its type says.
#[tokio::test]
async fn a_jwt_of_another_type_is_no_assertion() {
    let (replica, signer) = usual();
    for (typ, status) in [
        ("JWT", 200),
        ("jwt", 200),
        ("client-authentication+jwt", 200),
        ("application/client-authentication+jwt", 200),
        ("Application/Client-Authentication+JWT", 200),
        ("at+jwt", 401),
        ("application/at+jwt", 401),
        ("dpop+jwt", 401),
        ("oauth-id-jag+jwt", 401),
        ("logout+jwt", 401),
        ("", 401),
    ] {
        let mut header = signer.header();
        header["typ"] = json!(typ);
        assert_eq!(ask(&replica, &signer.sign(&header, &claims(&json!({})))).await.status, status, "{typ}");
    }
    let own = replica.token("billing.worker", "").await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(ask(&replica, &own).await.error(), unauthorized());
}

/// J06, J07, S4: what is not a time is refused, not ignored.
#[tokio::test]
async fn an_assertion_lives_for_five_minutes_at_most() {
    let (replica, signer) = usual();
    let now = now();
    for (changes, status) in [
        (json!({"exp": null}), 401),
        (json!({"exp": now - 300}), 401),
        (json!({"exp": now - 1}), 401),
        (json!({"exp": now + 3_600}), 200),
        (json!({"exp": now + 3_600, "iat": now - 290}), 200),
        (json!({"exp": now + 3_600, "iat": now - 301}), 401),
        (json!({"exp": now + 3_600, "iat": null}), 401),
        (json!({"exp": now + 200, "iat": null}), 200),
        (json!({"exp": now as f64 + 60.5}), 200),
        (json!({"iat": now + 10}), 200),
        (json!({"nbf": now + 10}), 200),
        (json!({"iat": now + 90}), 401),
        (json!({"nbf": now + 90}), 401),
        (json!({"exp": (now + 60).to_string()}), 401),
        (json!({"iat": now.to_string()}), 401),
        (json!({"nbf": "soon"}), 401),
        (json!({"nbf": [now]}), 401),
        (json!({"exp": 1e300}), 401),
        (json!({"exp": i64::MAX, "iat": i64::MAX}), 401),
        (json!({"exp": i64::MAX, "iat": i64::MIN}), 401),
    ] {
        assert_eq!(ask(&replica, &signer.assertion(&changes)).await.status, status, "{changes}");
    }
    let with_null =
        signer.sign_text(&signer.header().to_string(), &claims(&json!({})).to_string().replace("\"iat\":", "\"nbf\":null,\"iat\":"));
    assert_eq!(ask(&replica, &with_null).await.error(), unauthorized());
}

/// J08.
#[tokio::test]
async fn issuer_subject_and_client_id_are_one_client() {
    let (replica, signer) = usual();
    for changes in [
        json!({"sub": null}),
        json!({"iss": null}),
        json!({"iss": "billing.worker"}),
        json!({"sub": "billing.worker"}),
        json!({"iss": "billing.worker", "sub": "billing.worker"}),
        json!({"iss": "", "sub": ""}),
        json!({"iss": 7, "sub": 7}),
        json!({"sub": "billing.Signer", "iss": "billing.Signer"}),
        json!({"sub": "billing.nobody", "iss": "billing.nobody"}),
    ] {
        assert_eq!(ask(&replica, &signer.assertion(&changes)).await.error(), unauthorized(), "{changes}");
    }
    let fresh = || signer.assertion(&json!({}));
    assert_eq!(ask_with(&replica, &fresh(), &format!("&client_id={SIGNER}")).await.status, 200);
    assert_eq!(ask_with(&replica, &fresh(), "&client_id=billing.worker").await.error(), unauthorized());
    assert_eq!(ask_with(&replica, &fresh(), "&client_id=%C3%A9").await.error(), unauthorized());
}

/// J09, J10: once, and only what succeeded counts.
#[tokio::test]
async fn an_assertion_is_good_for_one_request() {
    let (replica, signer) = usual();
    for id in [Value::Null, json!(""), json!(7)] {
        assert_eq!(ask(&replica, &signer.assertion(&json!({"jti": id}))).await.error(), unauthorized(), "{id}");
    }
    let once = signer.assertion(&json!({"jti": "once"}));
    assert_eq!(ask(&replica, &once).await.status, 200);
    assert_eq!(ask(&replica, &once).await.error(), unauthorized());
    // The same identifier in another assertion is used as well.
    assert_eq!(ask(&replica, &signer.assertion(&json!({"jti": "once"}))).await.error(), unauthorized());
    let wrong = signer.assertion(&json!({"jti": "corrected", "aud": "https://other.example"}));
    assert_eq!(ask(&replica, &wrong).await.error(), unauthorized());
    assert_eq!(ask(&replica, &signer.assertion(&json!({"jti": "corrected"}))).await.status, 200);
}

/// J09, CVE-2020-5300.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_with_one_assertion_one_succeeds() {
    let (replica, signer) = usual();
    let assertion = signer.assertion(&json!({}));
    let answers = futures::future::join_all((0..64).map(|_| ask(&replica, &assertion))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 63);
}

/// J11, S1.
#[tokio::test]
async fn a_key_is_for_one_algorithm() {
    let (replica, signer) = usual();
    let with_header = |header: Value| signer.sign(&header, &claims(&json!({})));
    for algorithm in ["none", "None", "nOnE", "HS256", "RS256", "PS256", "EdDSA", "ES384", "es256", ""] {
        let header = json!({"alg": algorithm, "kid": signer.key.kid()});
        assert_eq!(ask(&replica, &with_header(header)).await.error(), unauthorized(), "{algorithm}");
    }
    for header in
        [json!({"kid": signer.key.kid()}), json!({"alg": 7}), json!({"alg": null}), json!({"alg": ["ES256"]}), json!([]), json!("ES256")]
    {
        assert_eq!(ask(&replica, &with_header(header.clone())).await.error(), unauthorized(), "{header}");
    }
    let unsigned = with_header(json!({"alg": "none"}));
    assert_eq!(ask(&replica, &unsigned[..=unsigned.rfind('.').unwrap()]).await.error(), unauthorized());
    // HS256 keyed with what is public.
    let public = serde_json::to_vec(&signer.jwk()).unwrap();
    let key = jsonwebtoken::EncodingKey::from_secret(&public);
    let forged = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims(&json!({})), &key).unwrap();
    assert_eq!(ask(&replica, &forged).await.error(), unauthorized());
}

/// J11: an RSA key that was registered for PS256 verifies no RS256, and another's key nothing.
#[tokio::test]
async fn an_rsa_key_is_for_what_it_was_registered_for() {
    let signer = Signer::of(Algorithm::Rs256);
    let assertion = || signer.assertion(&json!({}));
    assert_eq!(ask(&replica(vec![signer.registered(&json!({"alg": "PS256"}))]), &assertion()).await.error(), unauthorized());
    assert_eq!(ask(&replica(vec![signer.registered(&json!({}))]), &assertion()).await.status, 200);
    let other = Signer::new(Algorithm::Rs256);
    let named = other.registered(&json!({"kid": signer.key.kid()}));
    assert_eq!(ask(&replica(vec![named]), &assertion()).await.error(), unauthorized());
}

/// J13: RFC 7515 §4.1.11, RFC 7797, §7.1.
#[tokio::test]
async fn another_form_than_three_parts_of_base64url_is_refused() {
    let (replica, signer) = usual();
    for (name, value) in
        [("crit", json!(["exp"])), ("crit", json!([])), ("crit", json!(["b64"])), ("b64", json!(false)), ("b64", json!(true))]
    {
        let mut header = signer.header();
        header[name] = value;
        assert_eq!(ask(&replica, &signer.sign(&header, &claims(&json!({})))).await.error(), unauthorized(), "{header}");
    }
    let good = signer.assertion(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let flattened = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string();
    for assertion in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{}", parts[2]),
        format!("{good}.a.b"),
        format!("{good}="),
        format!("{good}=="),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{}\n.{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("..{}", parts[2]),
        format!("\"{good}\""),
        good.replace('.', ".."),
        good.to_uppercase(),
        flattened,
        "...".to_owned(),
        "{}".to_owned(),
        "a".repeat(20_000),
        format!("{}.{}.{}", parts[0], "A".repeat(20_000), parts[2]),
    ] {
        assert_eq!(ask(&replica, &assertion).await.error(), unauthorized(), "{assertion}");
    }
    assert_eq!(ask(&replica, &good).await.status, 200);
}

/// J14, S8: what says where a key is, or brings one, is not looked at.
#[tokio::test]
async fn keys_in_the_header_are_ignored_and_nothing_is_fetched() {
    let (replica, signer) = usual();
    let stranger = Signer::new(Algorithm::Es256);
    let canary = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", canary.local_addr().unwrap());
    for (name, value) in [("jku", json!(url)), ("x5u", json!(url)), ("jwk", Value::Object(stranger.jwk())), ("x5c", json!(["MAA="]))] {
        let mut header = signer.header();
        header[name] = value.clone();
        assert_eq!(ask(&replica, &signer.sign(&header, &claims(&json!({})))).await.status, 200, "{name}");
        let mut header = stranger.header();
        header[name] = value;
        assert_eq!(ask(&replica, &stranger.sign(&header, &claims(&json!({})))).await.error(), unauthorized(), "{name}");
    }
    assert_eq!(canary.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// J15.
#[tokio::test]
async fn a_key_is_found_by_its_name_or_by_its_algorithm() {
    let signers = [Signer::of(Algorithm::Es256), Signer::of(Algorithm::EdDsa), Signer::of(Algorithm::Ps256)];
    let another = Signer::new(Algorithm::Es256);
    let mut keys = vec![another.registered(&json!({}))];
    keys.extend(signers.iter().map(|signer| signer.registered(&json!({}))));
    let replica = replica(keys);
    for signer in &signers {
        let with_kid = |kid: Value| {
            let mut header = signer.header();
            header["kid"] = kid;
            signer.sign(&header, &claims(&json!({})))
        };
        assert_eq!(ask(&replica, &signer.assertion(&json!({}))).await.status, 200);
        let without = signer.sign(&json!({"alg": signer.key.algorithm().as_str()}), &claims(&json!({})));
        assert_eq!(ask(&replica, &without).await.status, 200);
        for kid in [json!("unknown"), json!(another.key.kid()), json!(""), json!(7), json!(null)] {
            assert_eq!(ask(&replica, &with_kid(kid.clone())).await.error(), unauthorized(), "{kid}");
        }
    }
}

/// J15: RFC 7515 §4, RFC 7519 §4.
#[tokio::test]
async fn a_member_twice_is_refused() {
    let (replica, signer) = usual();
    let (header, claims) = (signer.header().to_string(), claims(&json!({})).to_string());
    let twice = |json: &str, member: &str| json.replacen('{', &format!("{{{member},"), 1);
    for (header, claims) in [
        (twice(&header, r#""alg":"ES256""#), claims.clone()),
        (twice(&header, r#""kid":"x""#), claims.clone()),
        (header.clone(), twice(&claims, r#""sub":"billing.worker""#)),
        (header.clone(), twice(&claims, r#""\u0061ud":"x""#)),
        (header.clone(), twice(&claims, r#""x":{"y":1,"y":2}"#)),
    ] {
        assert_eq!(ask(&replica, &signer.sign_text(&header, &claims)).await.error(), unauthorized(), "{header}{claims}");
    }
    assert_eq!(ask(&replica, &signer.sign_text(&header, &twice(&claims, r#""x":{"y":[1]}"#))).await.status, 200);
}

/// J16: RFC 7521 §4.2.
#[tokio::test]
async fn an_assertion_and_its_type_belong_together() {
    let (replica, signer) = usual();
    let assertion = signer.assertion(&json!({}));
    for body in [
        format!("client_assertion={assertion}"),
        format!("client_assertion_type={JWT_BEARER}"),
        format!("client_assertion={assertion}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        format!("client_assertion={assertion}&client_assertion_type={JWT_BEARER}&client_assertion={assertion}"),
        format!("client_assertion={assertion}&client_assertion_type={JWT_BEARER}&client_id={SIGNER}&client_secret=x"),
    ] {
        assert_eq!(replica.post(&[], &format!("{GRANT}&{body}")).await.error(), refused("invalid_request"), "{body}");
    }
    assert_eq!(ask(&replica, &assertion).await.status, 200);
}

/// J17, C11, S2, S6: no way is stronger than the one that the client is registered for, and all that fails looks the same.
#[tokio::test]
async fn a_client_authenticates_only_as_it_is_registered() {
    let (replica, signer) = usual();
    let known = replica.snapshot.load().clients.get(&keywright::domain::names::ClientId::parse(SIGNER).unwrap()).cloned().unwrap();
    let expected = replica.post(&[basic("billing.nobody", SECRET)], GRANT).await;
    assert_eq!(replica.post(&[basic(SIGNER, SECRET)], GRANT).await, expected);
    assert_eq!(replica.post(&[], &format!("{GRANT}&client_id={SIGNER}&client_secret={SECRET}")).await, expected);
    assert_eq!(replica.post(&[], &format!("{GRANT}&client_id={SIGNER}")).await, expected);
    let worker = json!({"iss": "billing.worker", "sub": "billing.worker"});
    assert_eq!(ask(&replica, &signer.assertion(&worker)).await, expected);
    assert_eq!(ask(&replica, "a.b.c").await, expected);
    replica.change_client(SIGNER, |known| known.client.disabled = true);
    assert_eq!(ask(&replica, &signer.assertion(&json!({}))).await, expected);
    // Both ways, where the client says both.
    replica.change_client("billing.worker", |worker| worker.client.private_key_jwt.clone_from(&known.client.private_key_jwt));
    assert_eq!(ask(&replica, &signer.assertion(&worker)).await.status, 200);
    assert_eq!(replica.token("billing.worker", "").await.status, 200);
}

/// J11.
#[tokio::test]
async fn the_signature_covers_every_byte() {
    let (replica, signer) = usual();
    let good = signer.assertion(&json!({}));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&changed));
        assert_eq!(ask(&replica, &forged).await.error(), unauthorized(), "byte {at}");
    }
    for length in [0, 1, 63] {
        let short = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&bytes[..length]));
        assert_eq!(ask(&replica, &short).await.error(), unauthorized(), "{length}");
    }
    assert_eq!(ask(&replica, &good).await.status, 200);
}
