//! Revocation: the R rows. There is a list of what is revoked, so R03 is about what the metadata says then.

use crate::fixture::{Answer, ISSUER, Replica, SECRET, basic, refused, unauthorized};
use axum::{
    body::Body,
    http::{HeaderName, Request, header},
};
use keywright::{revocation::list::Revoked, server::Peer};
use std::sync::Arc;

pub(crate) async fn ask(replica: &Replica, fields: &[(HeaderName, &str)], body: &str) -> Answer {
    let mut request = Request::post("/oauth2/revoke").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request = request.extension(Peer("127.0.0.1".parse().unwrap()));
    for (name, value) in fields {
        request = request.header(name, *value);
    }
    replica.ask(request.body(Body::from(body.to_owned())).unwrap()).await
}

pub(crate) async fn revoked_by(replica: &Replica, client_id: &str, token: &str) -> Answer {
    ask(replica, &[basic(client_id, SECRET)], &format!("token={token}&token_type_hint=refresh_token")).await
}

/// The keeper of one order.
pub(crate) async fn kept(replica: &Replica) {
    let mut keeping = replica.keeping.lock().await;
    let order = keeping.orders.recv().await.unwrap();
    let mut revoked = Revoked::clone(&keeping.revoked.load_full().unwrap());
    revoked.insert(order.token, order.expires_at);
    keeping.revoked.store(Some(Arc::new(revoked)));
    order.done.send(()).unwrap();
}

async fn token(replica: &Replica, client_id: &str) -> String {
    replica.token(client_id, "").await.json()["access_token"].as_str().unwrap().to_owned()
}

fn is_done(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.is_empty() && answer.headers[header::CACHE_CONTROL] == "no-store"
}

/// R01: 200 comes after the write, also the second time, where nothing is written any more.
#[tokio::test]
async fn a_client_revokes_its_own_token() {
    let replica = Replica::new();
    let token = token(&replica, "billing.worker").await;
    let (answer, ()) = tokio::join!(revoked_by(&replica, "billing.worker", &token), kept(&replica));
    assert!(is_done(&answer), "{answer:?}");
    assert_eq!(replica.keeping.lock().await.revoked.load_full().unwrap().len(), 1);
    assert!(is_done(&revoked_by(&replica, "billing.worker", &token).await));
    for unknown in ["garbage", "a.b.c", &format!("{token}x")] {
        assert!(is_done(&revoked_by(&replica, "billing.worker", unknown).await), "{unknown}");
    }
    assert!(replica.keeping.lock().await.orders.try_recv().is_err());
}

/// R02.
#[tokio::test]
async fn nobody_revokes_the_token_of_another() {
    let replica = Replica::new();
    let token = token(&replica, "billing.worker").await;
    assert_eq!(revoked_by(&replica, "billing.orders", &token).await.error(), refused("invalid_request"));
    let nobody = ask(&replica, &[], &format!("token={token}")).await;
    assert_eq!(nobody.error(), unauthorized());
    assert!(nobody.headers.contains_key(header::WWW_AUTHENTICATE));
    assert_eq!(ask(&replica, &[basic("billing.worker", "wrong")], &format!("token={token}")).await.error(), unauthorized());
    for body in ["", "token=", "token=x&token=x", "token=%zz"] {
        assert_eq!(ask(&replica, &[basic("billing.worker", SECRET)], body).await.error(), refused("invalid_request"), "{body}");
    }
    assert!(replica.keeping.lock().await.orders.try_recv().is_err());
    let get = Request::get(format!("/oauth2/revoke?token={token}")).body(Body::empty()).unwrap();
    assert_eq!(replica.ask(get).await.status, 405);
}

/// T19: what is not written is not revoked, and nobody is told that it is.
#[tokio::test]
async fn without_a_write_the_answer_is_503() {
    let replica = Replica::new();
    let token = token(&replica, "billing.worker").await;
    let lost = async { drop(replica.keeping.lock().await.orders.recv().await) };
    let (answer, ()) = tokio::join!(revoked_by(&replica, "billing.worker", &token), lost);
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key(header::RETRY_AFTER)), (503, true));
    replica.keeping.lock().await.revoked.store(None);
    assert_eq!(revoked_by(&replica, "billing.worker", &token).await.status, 503);
}

/// R01, RFC 7009 §2.2.1: ten a minute, each of which is a write; others have their own.
#[tokio::test]
async fn a_client_that_revokes_too_much_is_told_to_wait() {
    let replica = Replica::new();
    for _ in 0..10 {
        let token = token(&replica, "billing.worker").await;
        let (answer, ()) = tokio::join!(revoked_by(&replica, "billing.worker", &token), kept(&replica));
        assert!(is_done(&answer), "{answer:?}");
    }
    let answer = revoked_by(&replica, "billing.worker", &token(&replica, "billing.worker").await).await;
    let wait: u64 = answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!(answer.status == 503 && (1..=6).contains(&wait), "{answer:?}");
    let other = token(&replica, "billing.orders").await;
    let (answer, ()) = tokio::join!(revoked_by(&replica, "billing.orders", &other), kept(&replica));
    assert!(is_done(&answer), "{answer:?}");
}

/// R03, W08.
#[tokio::test]
async fn the_metadata_names_the_endpoint() {
    let metadata = Replica::new().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["revocation_endpoint"], format!("{ISSUER}/oauth2/revoke"));
    assert_eq!(metadata["revocation_endpoint_auth_methods_supported"], metadata["token_endpoint_auth_methods_supported"]);
}
