//! Client authentication by ServiceAccount token: the K rows, but for K12, which is in `spiffe`.

use crate::{
    fixture::{ISSUER, Replica, access, client, unauthorized},
    signer::{Signer, ask, ask_with},
};
use keywright::{
    ambient,
    domain::{
        client::RegisteredClient,
        names::ClientId,
        resource::Algorithm,
        service_account::{BoundServiceAccount, ClusterIssuer},
    },
    service_accounts::desk::Question,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::oneshot;

const CLUSTER: &str = "https://kubernetes.default.svc";
const WORKER: &str = "system:serviceaccount:billing:worker";
const UID: &str = "6f1d4f0c-0000-4000-8000-000000000001";

fn bound(name: &str) -> BoundServiceAccount {
    BoundServiceAccount { name: name.to_owned(), uid: None, token_review: false }
}

/// Clients of the namespace billing, each of which is these ServiceAccounts.
fn replica(clients: &[(&str, Vec<BoundServiceAccount>)], keys: &[&Signer]) -> Replica {
    let replica = Replica::forbearing();
    for (name, accounts) in clients {
        let mut client = client(name, vec![access("invoices", &["invoices.read"])]).client;
        (client.secret_method, client.service_accounts) = (None, accounts.clone());
        let known = RegisteredClient::new(client, Vec::new());
        replica.change(|snapshot| {
            for account in accounts {
                let subject = format!("system:serviceaccount:billing:{}", account.name);
                let mut ids = snapshot.subjects.get(&subject).map(|ids| BTreeSet::clone(ids)).unwrap_or_default();
                ids.insert(known.client.id.clone());
                snapshot.subjects.insert(subject, Arc::new(ids));
            }
            snapshot.clients.insert(known.client.id.clone(), Arc::new(known));
        });
    }
    replica.cluster.store(Some(Arc::new(cluster(keys))));
    replica
}

fn cluster(keys: &[&Signer]) -> ClusterIssuer {
    ClusterIssuer { issuer: CLUSTER.to_owned(), keys: keys.iter().map(|signer| signer.registered(&json!({}))).collect() }
}

/// The usual one: the client billing.pod is the ServiceAccount worker.
fn usual() -> (Replica, Arc<Signer>) {
    let signer = Signer::of(Algorithm::Rs256);
    (replica(&[("pod", vec![bound("worker")])], &[&signer]), signer)
}

/// A projected token as the API server makes it, but for these claims; null takes one out.
fn claims(changes: &Value) -> Value {
    let now = ambient::now().as_second();
    let mut claims = json!({
        "iss": CLUSTER, "sub": WORKER, "aud": [ISSUER], "iat": now, "nbf": now, "exp": now + 3_607, "jti": "5ffec8f2",
        "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "worker", "uid": UID}, "pod": {"name": "worker-1"}},
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn token(signer: &Signer, changes: &Value) -> String {
    signer.sign(&signer.header(), &claims(changes))
}

/// Answers the next question as the cluster would.
async fn answered(replica: &Replica, answer: impl FnOnce(Question)) {
    let question = replica.questions.lock().await.recv().await.unwrap();
    answer(question);
}

/// Answers the next who wants the keys looked up.
async fn looked_up(replica: &Replica, answer: impl FnOnce(oneshot::Sender<()>)) {
    let asking = replica.keys.lock().await.recv().await.unwrap();
    answer(asking);
}

/// K01: again and again, with and without `client_id`.
#[tokio::test]
async fn a_projected_token_is_good_for_many_requests() {
    let (replica, signer) = usual();
    let token = token(&signer, &json!({}));
    for _ in 0..3 {
        assert_eq!(ask(&replica, &token).await.claims()["client_id"], "billing.pod");
    }
    assert_eq!(ask_with(&replica, &token, "&client_id=billing.pod").await.status, 200);
    assert_eq!(ask(&replica, &self::token(&signer, &json!({"jti": null}))).await.status, 200);
}

/// K02, S5: no wildcard, no other case, no other namespace.
#[tokio::test]
async fn the_subject_is_the_bound_service_account_exactly() {
    let (replica, signer) = usual();
    for subject in [
        "system:serviceaccount:shop:worker",
        "system:serviceaccount:billing:other",
        "system:serviceaccount:billing:Worker",
        "system:serviceaccount:billing:work",
        "system:serviceaccount:billing:worker2",
        "system:serviceaccount:billing:worker:x",
        "system:serviceaccount:billing:*",
        "system:serviceaccount::worker",
        "system:serviceaccounts:billing:worker",
        "billing:worker",
        "billing.pod",
        "worker",
        "",
    ] {
        let token = token(&signer, &json!({"sub": subject}));
        assert_eq!(ask(&replica, &token).await.error(), unauthorized(), "{subject}");
        assert_eq!(ask_with(&replica, &token, "&client_id=billing.pod").await.error(), unauthorized(), "{subject}");
    }
    for client_id in ["billing.worker", "billing.nobody", "shop.pod", WORKER, "billing.Pod"] {
        let status = ask_with(&replica, &token(&signer, &json!({})), &format!("&client_id={client_id}")).await.status;
        assert_eq!(status, if client_id == WORKER { 200 } else { 401 }, "{client_id}");
    }
}

/// K03, K08, S4: ours and nobody else's; a token of the old kind has no audience at all.
#[tokio::test]
async fn the_audience_is_the_issuer_alone() {
    let (replica, signer) = usual();
    for audience in [
        json!([CLUSTER]),
        json!([ISSUER, CLUSTER]),
        json!([CLUSTER, ISSUER]),
        json!([ISSUER, ISSUER]),
        json!([]),
        json!([format!("{ISSUER}/oauth2/token")]),
        Value::Null,
    ] {
        assert_eq!(ask(&replica, &token(&signer, &json!({"aud": audience}))).await.error(), unauthorized(), "{audience}");
    }
    let legacy = json!({"iss": "kubernetes/serviceaccount", "aud": null, "exp": null, "iat": null});
    assert_eq!(ask(&replica, &token(&signer, &legacy)).await.error(), unauthorized());
}

/// K04, S1: the cluster's issuer and the cluster's key.
#[tokio::test]
async fn another_cluster_signs_for_nobody() {
    let (replica, signer) = usual();
    let other = Signer::new(Algorithm::Es256);
    assert_eq!(ask(&replica, &token(&signer, &json!({"iss": "https://other.example"}))).await.error(), unauthorized());
    let mut header = signer.header();
    header["alg"] = json!("ES256");
    assert_eq!(ask(&replica, &other.sign(&header, &claims(&json!({})))).await.error(), unauthorized());
    let without_kid = signer.sign(&json!({"alg": "RS256"}), &claims(&json!({})));
    assert_eq!(ask(&replica, &without_kid).await.error(), unauthorized());
    // The name of a key that nobody has: asked for, and then refused.
    let foreign = token(&other, &json!({}));
    let (answer, ()) = tokio::join!(ask(&replica, &foreign), looked_up(&replica, |answer| answer.send(()).unwrap()));
    assert_eq!(answer.error(), unauthorized());
}

/// K05: a kubelet's token of a year is good for an hour.
#[tokio::test]
async fn a_token_is_good_for_an_hour_after_it_was_made() {
    let (replica, signer) = usual();
    let now = ambient::now().as_second();
    for (changes, status) in [
        (json!({"exp": now + 31_536_000}), 200),
        (json!({"exp": now + 31_536_000, "iat": now - 3_590, "nbf": now - 3_590}), 200),
        (json!({"exp": now + 31_536_000, "iat": now - 3_601, "nbf": now - 3_601}), 401),
        (json!({"iat": null}), 401),
        (json!({"exp": now - 1}), 401),
        (json!({"exp": null}), 401),
        (json!({"iat": now + 120, "nbf": now + 120, "exp": now + 600}), 401),
        (json!({"nbf": now + 120}), 401),
    ] {
        assert_eq!(ask(&replica, &token(&signer, &changes)).await.status, status, "{changes}");
    }
}

/// K06, K07: what the API server says counts, and it is asked about every token.
#[tokio::test]
async fn a_client_that_wants_reviews_gets_them() {
    let signer = Signer::of(Algorithm::Rs256);
    let reviewed = BoundServiceAccount { token_review: true, ..bound("worker") };
    let replica = replica(&[("pod", vec![reviewed])], &[&signer]);
    let token = token(&signer, &json!({}));
    let asked = |verdict: Option<bool>| {
        let token = token.clone();
        move |question| {
            let Question::Review(review, answer) = question else { panic!("another question") };
            assert_eq!((review.token.as_str(), review.audience.as_str(), review.subject.as_str()), (token.as_str(), ISSUER, WORKER));
            if let Some(verdict) = verdict {
                answer.send(verdict).unwrap();
            }
        }
    };
    for (verdict, status) in [(Some(true), 200), (Some(true), 200), (Some(false), 401), (None, 503)] {
        let (answer, ()) = tokio::join!(ask(&replica, &token), answered(&replica, asked(verdict)));
        assert_eq!(answer.status, status, "{verdict:?}");
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
    // What the keys show to be wrong is not worth a question.
    let expired = self::token(&signer, &json!({"exp": ambient::now().as_second() - 1}));
    assert_eq!(ask(&replica, &expired).await.status, 401);
    assert!(replica.questions.lock().await.try_recv().is_err() && replica.keys.lock().await.try_recv().is_err());
}

/// K09.
#[tokio::test]
async fn one_service_account_may_be_several_clients_if_the_request_says_which() {
    let signer = Signer::of(Algorithm::Rs256);
    let replica = replica(&[("one", vec![bound("worker")]), ("two", vec![bound("other"), bound("worker")])], &[&signer]);
    let token = token(&signer, &json!({}));
    assert_eq!(ask(&replica, &token).await.error(), unauthorized());
    for id in ["billing.one", "billing.two"] {
        assert_eq!(ask_with(&replica, &token, &format!("&client_id={id}")).await.claims()["client_id"], id);
    }
    let other = self::token(&signer, &json!({"sub": "system:serviceaccount:billing:other"}));
    assert_eq!(ask(&replica, &other).await.claims()["client_id"], "billing.two");
}

/// K10.
#[tokio::test]
async fn a_pinned_service_account_that_was_created_anew_is_another() {
    let signer = Signer::of(Algorithm::Rs256);
    let pinned = BoundServiceAccount { uid: Some(UID.to_owned()), ..bound("worker") };
    let replica = replica(&[("pod", vec![pinned])], &[&signer]);
    assert_eq!(ask(&replica, &token(&signer, &json!({}))).await.status, 200);
    for kubernetes in [json!({"serviceaccount": {"name": "worker", "uid": "another"}}), json!({}), json!("x"), Value::Null] {
        assert_eq!(ask(&replica, &token(&signer, &json!({"kubernetes.io": kubernetes}))).await.error(), unauthorized(), "{kubernetes}");
    }
}

/// K11: a key that the cluster has had for a moment only.
#[tokio::test]
async fn a_new_key_of_the_cluster_is_looked_up() {
    let (replica, signer) = usual();
    let new = Signer::of(Algorithm::Es256);
    let token = token(&new, &json!({}));
    let known = Arc::clone(&replica.cluster);
    let look_up = |answer: oneshot::Sender<()>| {
        known.store(Some(Arc::new(cluster(&[&signer, &new]))));
        answer.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(ask(&replica, &token), looked_up(&replica, look_up));
    assert_eq!(answer.status, 200);
    assert_eq!(ask(&replica, &self::token(&signer, &json!({}))).await.status, 200);
}

/// T19: who cannot know the keys says 503, and never 401.
#[tokio::test]
async fn without_the_clusters_keys_nobody_is_refused() {
    let (replica, signer) = usual();
    replica.cluster.store(None);
    let token = token(&signer, &json!({}));
    let (answer, ()) = tokio::join!(ask(&replica, &token), looked_up(&replica, drop));
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("retry-after")), (503, true));
}

/// C11, J17: the kill switch, and a client that is no ServiceAccount.
#[tokio::test]
async fn a_token_helps_no_client_that_does_not_say_so() {
    let (replica, signer) = usual();
    let token = token(&signer, &json!({}));
    replica.change_client("billing.pod", |known| known.client.disabled = true);
    assert_eq!(ask(&replica, &token).await.error(), unauthorized());
    replica.change_client("billing.pod", |known| {
        known.client.disabled = false;
        known.client.service_accounts.clear();
    });
    assert_eq!(ask(&replica, &token).await.error(), unauthorized());
    replica.change(|snapshot| drop(snapshot.clients.remove(&ClientId::parse("billing.pod").unwrap())));
    assert_eq!(ask(&replica, &token).await.error(), unauthorized());
}
