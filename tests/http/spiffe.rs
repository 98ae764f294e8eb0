//! Client authentication by JWT-SVID: K12.

use crate::{
    fixture::{Answer, ISSUER, Replica, SECRET, access, basic, client, refused, unauthorized},
    signer::{JWT_BEARER, Signer},
};
use axum::http::header;
use keywright::{
    ambient,
    domain::{
        client::RegisteredClient,
        resource::Algorithm,
        trust_domain::{TrustBundles, WorkloadId},
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const WORKER: &str = "spiffe://example.org/ns/billing/sa/worker";
const OTHER: &str = "spiffe://example.org/ns/billing/sa/other";

/// Clients of the namespace billing, each of which is these workloads. Of two trust domains, of which nothing is known.
fn replica(clients: &[(&str, &[&str])]) -> Replica {
    let replica = Replica::trusting(&["example.org", "other.example"]);
    for (name, ids) in clients {
        let mut client = client(name, vec![access("invoices", &["invoices.read"])]).client;
        client.secret_method = None;
        client.workloads = ids.iter().map(|id| WorkloadId::parse(id).unwrap()).collect();
        let known = RegisteredClient::new(client, Vec::new());
        replica.change(|snapshot| {
            for id in *ids {
                let mut all = snapshot.subjects.get(*id).map(|all| BTreeSet::clone(all)).unwrap_or_default();
                all.insert(known.client.id.clone());
                snapshot.subjects.insert((*id).to_owned(), Arc::new(all));
            }
            snapshot.clients.insert(known.client.id.clone(), Arc::new(known));
        });
    }
    replica
}

/// The bundle of a trust domain, as SPIRE publishes it.
fn publish(replica: &Replica, trust_domain: &str, signers: &[&Signer]) {
    let keys: Vec<Value> = signers
        .iter()
        .map(|signer| {
            let mut jwk = signer.jwk();
            jwk.insert("use".to_owned(), json!("jwt-svid"));
            // An RSA key says nothing of its algorithm there, and is for RS256 then.
            if signer.key.algorithm() == Algorithm::Rs256 {
                jwk.remove("alg");
            }
            Value::Object(jwk)
        })
        .collect();
    let bundle = json!({"keys": keys, "spiffe_sequence": 1}).to_string();
    replica.trust.store(Arc::new(TrustBundles::found(&replica.trust.load(), trust_domain, Ok(&bundle))));
}

/// The usual one: the client billing.pod is the workload worker of example.org.
fn usual() -> (Replica, Arc<Signer>) {
    let (replica, signer) = (replica(&[("pod", &[WORKER])]), Signer::of(Algorithm::Es256));
    publish(&replica, "example.org", &[&signer]);
    (replica, signer)
}

/// A JWT-SVID with what the standard wants of one, but for these claims; null takes one out.
fn claims(changes: &Value) -> Value {
    let now = ambient::now().as_second();
    let mut claims = json!({"sub": WORKER, "aud": [ISSUER], "exp": now + 300, "iat": now});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn svid(signer: &Signer, changes: &Value) -> String {
    signer.sign(&signer.header(), &claims(changes))
}

async fn ask(replica: &Replica, svid: &str) -> Answer {
    ask_with(replica, svid, "").await
}

async fn ask_with(replica: &Replica, svid: &str, more: &str) -> Answer {
    replica.post(&[], &format!("grant_type=client_credentials&client_assertion_type={JWT_SPIFFE}&client_assertion={svid}{more}")).await
}

/// K12: again and again, without `iss` and `jti`, signed as a trust domain may.
#[tokio::test]
async fn a_jwt_svid_is_good_for_many_requests() {
    let replica = replica(&[("pod", &[WORKER])]);
    for algorithm in Algorithm::ALL {
        let signer = Signer::of(algorithm);
        publish(&replica, "example.org", &[&signer]);
        let svid = svid(&signer, &json!({}));
        for _ in 0..3 {
            assert_eq!(ask(&replica, &svid).await.claims()["client_id"], "billing.pod", "{algorithm:?}");
        }
        for more in ["&client_id=billing.pod", &format!("&client_id={WORKER}"), "&resource=https://invoices.shop.svc"] {
            assert_eq!(ask_with(&replica, &svid, more).await.status, 200, "{more}");
        }
    }
}

/// K12: what else a workload has in its JWT-SVID changes nothing.
#[tokio::test]
async fn what_the_standard_leaves_open_is_left_open() {
    let (replica, signer) = usual();
    for changes in [
        json!({"aud": ISSUER}),
        json!({"iat": null}),
        json!({"iss": "https://oidc.example.org", "jti": "x", "nbf": ambient::now().as_second()}),
        json!({"iss": WORKER}),
    ] {
        assert_eq!(ask(&replica, &svid(&signer, &changes)).await.status, 200, "{changes}");
    }
    for (typ, status) in
        [("JWT", 200), ("JOSE", 200), ("jose", 200), ("client-authentication+jwt", 401), ("at+jwt", 401), ("wit+jwt", 401), ("", 401)]
    {
        let mut header = signer.header();
        header["typ"] = json!(typ);
        assert_eq!(ask(&replica, &signer.sign(&header, &claims(&json!({})))).await.status, status, "{typ}");
    }
}

/// K12: the keys are those of the trust domain that the id names.
#[tokio::test]
async fn another_trust_domain_signs_for_nobody() {
    let (replica, signer) = usual();
    let other = Signer::new(Algorithm::Es256);
    publish(&replica, "other.example", &[&other]);
    let foreign = "spiffe://other.example/ns/billing/sa/worker";
    for (signer, subject) in [
        (&other, WORKER),
        (&other, foreign),
        (&signer, foreign),
        (&signer, "spiffe://elsewhere.example/ns/billing/sa/worker"),
        (&signer, "spiffe://Example.org/ns/billing/sa/worker"),
        (&signer, "spiffe://example.org.evil.example/ns/billing/sa/worker"),
    ] {
        let svid = svid(signer, &json!({"sub": subject}));
        assert_eq!(ask(&replica, &svid).await.error(), unauthorized(), "{subject}");
        assert_eq!(ask_with(&replica, &svid, "&client_id=billing.pod").await.error(), unauthorized(), "{subject}");
    }
    // A bundle without the key that signed: rotated away.
    publish(&replica, "example.org", &[&other]);
    assert_eq!(ask(&replica, &svid(&signer, &json!({}))).await.error(), unauthorized());
    publish(&replica, "example.org", &[&signer, &other]);
    assert_eq!(ask(&replica, &svid(&signer, &json!({}))).await.status, 200);
}

/// K12, K02: exactly that workload.
#[tokio::test]
async fn the_subject_is_the_workload_exactly() {
    let (replica, signer) = usual();
    for subject in [
        json!(OTHER),
        json!("spiffe://example.org/ns/billing/sa/Worker"),
        json!("spiffe://example.org/ns/billing/sa/worker/"),
        json!("spiffe://example.org/ns/billing/sa/worker/x"),
        json!("spiffe://example.org/ns/billing/sa"),
        json!("spiffe://example.org/ns/billing/sa/*"),
        json!("spiffe://example.org/ns/x/../billing/sa/worker"),
        json!("spiffe://example.org"),
        json!("example.org/ns/billing/sa/worker"),
        json!("billing.pod"),
        json!(""),
        json!(7),
        Value::Null,
    ] {
        let svid = svid(&signer, &json!({"sub": subject}));
        assert_eq!(ask(&replica, &svid).await.error(), unauthorized(), "{subject}");
        assert_eq!(ask_with(&replica, &svid, "&client_id=billing.pod").await.error(), unauthorized(), "{subject}");
    }
    for client_id in ["billing.worker", "billing.nobody", "shop.pod", OTHER, "billing.Pod"] {
        assert_eq!(ask_with(&replica, &svid(&signer, &json!({})), &format!("&client_id={client_id}")).await.error(), unauthorized());
    }
}

/// K12, K03, S4.
#[tokio::test]
async fn the_audience_is_the_issuer_alone() {
    let (replica, signer) = usual();
    for audience in [
        json!([ISSUER, "https://other.example"]),
        json!([ISSUER, ISSUER]),
        json!(format!("{ISSUER}/oauth2/token")),
        json!(format!("{ISSUER}/")),
        json!("https://other.example"),
        json!([]),
        json!(7),
        Value::Null,
    ] {
        assert_eq!(ask(&replica, &svid(&signer, &json!({"aud": audience}))).await.error(), unauthorized(), "{audience}");
    }
}

/// K12, K05: it ends, within an hour.
#[tokio::test]
async fn a_jwt_svid_is_good_for_an_hour_at_most() {
    let (replica, signer) = usual();
    let now = ambient::now().as_second();
    for (changes, status) in [
        (json!({"exp": null}), 401),
        (json!({"exp": now - 1}), 401),
        (json!({"exp": (now + 60).to_string()}), 401),
        (json!({"exp": now + 86_400}), 200),
        (json!({"exp": now + 86_400, "iat": now - 3_601}), 401),
        (json!({"exp": now + 86_400, "iat": null}), 401),
        (json!({"exp": now + 3_000, "iat": null}), 200),
        (json!({"iat": now + 120}), 401),
        (json!({"nbf": now + 120}), 401),
    ] {
        assert_eq!(ask(&replica, &svid(&signer, &changes)).await.status, status, "{changes}");
    }
}

/// K12, S1: no algorithm but that of the key.
#[tokio::test]
async fn a_key_is_for_one_algorithm() {
    let (replica, signer) = usual();
    for algorithm in ["none", "HS256", "RS256", "PS256", "EdDSA", "ES384"] {
        let header = json!({"alg": algorithm, "kid": signer.key.kid()});
        assert_eq!(ask(&replica, &signer.sign(&header, &claims(&json!({})))).await.error(), unauthorized(), "{algorithm}");
    }
    let rsa = Signer::of(Algorithm::Rs256);
    publish(&replica, "example.org", &[&rsa]);
    let header = json!({"alg": "PS256", "kid": rsa.key.kid()});
    assert_eq!(ask(&replica, &rsa.sign(&header, &claims(&json!({})))).await.error(), unauthorized());
    let header = json!({"alg": "RS256", "kid": "unknown"});
    assert_eq!(ask(&replica, &rsa.sign(&header, &claims(&json!({})))).await.error(), unauthorized());
}

/// K12, K09.
#[tokio::test]
async fn one_workload_may_be_several_clients_if_the_request_says_which() {
    let replica = replica(&[("one", &[WORKER]), ("two", &[OTHER, WORKER])]);
    let signer = Signer::of(Algorithm::Es256);
    publish(&replica, "example.org", &[&signer]);
    let worker = svid(&signer, &json!({}));
    assert_eq!(ask(&replica, &worker).await.error(), unauthorized());
    for id in ["billing.one", "billing.two"] {
        assert_eq!(ask_with(&replica, &worker, &format!("&client_id={id}")).await.claims()["client_id"], id);
    }
    assert_eq!(ask(&replica, &svid(&signer, &json!({"sub": OTHER}))).await.claims()["client_id"], "billing.two");
}

/// K12, T19: who cannot know the keys says 503, and never 401; of a trust domain that is none of its own it knows enough.
#[tokio::test]
async fn without_the_bundle_nobody_is_refused() {
    let (replica, signer) = (replica(&[("pod", &[WORKER])]), Signer::of(Algorithm::Es256));
    let answer = ask(&replica, &svid(&signer, &json!({}))).await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key(header::RETRY_AFTER)), (503, true));
    let elsewhere = json!({"sub": "spiffe://elsewhere.example/x"});
    assert_eq!(ask(&replica, &svid(&signer, &elsewhere)).await.error(), unauthorized());
}

/// K12, J17, S2: each way is one of its own, and the kill switch holds for all.
#[tokio::test]
async fn a_jwt_svid_helps_no_client_that_does_not_say_so() {
    let (replica, signer) = usual();
    let svid = svid(&signer, &json!({"iss": WORKER, "jti": "x"}));
    let as_bearer = format!("grant_type=client_credentials&client_assertion_type={JWT_BEARER}&client_assertion={svid}");
    assert_eq!(replica.post(&[], &as_bearer).await.error(), unauthorized());
    assert_eq!(replica.post(&[basic("billing.pod", SECRET)], "grant_type=client_credentials").await.error(), unauthorized());
    let both = ask_with(&replica, &svid, "&client_secret=x").await;
    assert_eq!(both.error(), refused("invalid_request"));
    replica.change_client("billing.pod", |known| known.client.disabled = true);
    assert_eq!(ask(&replica, &svid).await.error(), unauthorized());
    replica.change_client("billing.pod", |known| {
        known.client.disabled = false;
        known.client.workloads.clear();
    });
    assert_eq!(ask(&replica, &svid).await.error(), unauthorized());
}

/// K12, W03: said where there is a trust domain, and nowhere else.
#[tokio::test]
async fn the_metadata_says_whether_there_is_a_trust_domain() {
    for (replica, is_there) in [(usual().0, true), (Replica::new(), false)] {
        for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
            let metadata = replica.get(path).await.json();
            let methods = metadata["token_endpoint_auth_methods_supported"].as_array().unwrap();
            assert_eq!(methods.contains(&json!("spiffe_jwt")), is_there, "{path}");
        }
    }
}
