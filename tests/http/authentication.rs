//! Client authentication by secret: the C rows.

use crate::{
    fixture::{Answer, Replica, SECRET, basic, client, credential, other_id, refused, unauthorized},
    signer::JWT_BEARER,
};
use axum::http::header;
use jiff::{SignedDuration, Timestamp};
use keywright::{
    domain::{
        credential::{Credential, CredentialState},
        names::ClientId,
    },
    oauth::throttle::FAILURES,
};

const GRANT: &str = "grant_type=client_credentials";

async fn by_header(replica: &Replica, client_id: &str, secret: &str) -> Answer {
    replica.post(&[basic(client_id, secret)], GRANT).await
}

async fn by_body(replica: &Replica, client_id: &str, secret: &str) -> Answer {
    replica.post(&[], &format!("{GRANT}&client_id={client_id}&client_secret={secret}")).await
}

/// C02, C04, C05, C08: each a right secret, written in another way.
#[tokio::test]
async fn every_way_of_writing_the_same_header_is_read() {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    let replica = Replica::new();
    let unpadded = STANDARD_NO_PAD.encode(format!("billing.worker:{SECRET}"));
    for header in [
        basic("billing%2Eworker", SECRET).1.to_owned(),
        basic("billing.worker", SECRET).1.replace("Basic", "basic"),
        basic("billing.worker", SECRET).1.replace("Basic", "BASIC"),
        format!("Basic {unpadded}"),
    ] {
        assert_eq!(replica.post(&[(header::AUTHORIZATION, &header)], GRANT).await.status, 200, "{header}");
    }
    assert_eq!(replica.token("billing.worker", "client_id=billing.worker").await.status, 200);
    assert_eq!(replica.token("billing.worker", "client_id=billing.partly").await.error(), refused("invalid_request"));
}

/// C06.
#[tokio::test]
async fn header_and_body_both_work_unless_the_client_pins_one() {
    let replica = Replica::new();
    for (client, header, body) in [("worker", 200, 200), ("header-alone", 200, 401), ("body-alone", 401, 200)] {
        let id = format!("billing.{client}");
        assert_eq!(by_header(&replica, &id, SECRET).await.status, header, "{client}");
        assert_eq!(by_body(&replica, &id, SECRET).await.status, body, "{client}");
    }
}

/// C07, S2.
#[tokio::test]
async fn two_ways_at_once_are_refused() {
    let replica = Replica::new();
    for body in [
        format!("client_secret={SECRET}"),
        format!("client_id=billing.worker&client_secret={SECRET}"),
        "client_assertion=a.b.c&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
    ] {
        assert_eq!(replica.token("billing.worker", &body).await.error(), refused("invalid_request"), "{body}");
    }
    let body = format!("{GRANT}&client_id=billing.worker&client_secret={SECRET}&client_assertion=a.b.c");
    assert_eq!(replica.post(&[], &body).await.error(), refused("invalid_request"));
}

/// C09, C10, C12, C13, C14, C17, C19, T02, S3: all the same 401.
#[tokio::test]
async fn what_does_not_authenticate_is_401_with_a_challenge() {
    let replica = Replica::new();
    let long = "a".repeat(300);
    let authorization = |value: &'static str| vec![(header::AUTHORIZATION, value)];
    let post = |id: &str, secret: &str| format!("{GRANT}&client_id={id}&client_secret={secret}");
    let cases = [
        (vec![basic("billing.worker", "wrong")], GRANT.to_owned()),
        (vec![], post("billing.worker", "wrong")),
        (vec![], GRANT.to_owned()),
        (vec![], format!("{GRANT}&client_id=billing.worker")),
        (authorization("Bearer x"), GRANT.to_owned()),
        (authorization("Digest username=billing.worker"), GRANT.to_owned()),
        (authorization("Basic"), GRANT.to_owned()),
        (authorization("Basic !"), GRANT.to_owned()),
        (vec![basic("billing.worker", "")], GRANT.to_owned()),
        (vec![], post("billing.worker", "")),
        (vec![basic("billing.without-secret", SECRET)], GRANT.to_owned()),
        (vec![basic("billing.without-secret", "")], GRANT.to_owned()),
        (vec![basic(&long, SECRET)], GRANT.to_owned()),
        (vec![], post("a%07b", SECRET)),
        (vec![], post("%C3%A9", SECRET)),
        (vec![basic("", "")], GRANT.to_owned()),
        (vec![], format!("{GRANT}&client_assertion=a.b.c&client_assertion_type={JWT_BEARER}")),
    ];
    for (fields, body) in cases {
        let answer = replica.post(&fields, &body).await;
        assert_eq!(answer.error(), unauthorized(), "{fields:?} {body}");
        assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Basic realm=\"keywright\"", "{fields:?} {body}");
    }
}

/// C11, S6: the bytes; the time is measured elsewhere.
#[tokio::test]
async fn unknown_disabled_deleted_wrong_secret_and_wrong_method_look_the_same() {
    let replica = Replica::new();
    let wrong = by_header(&replica, "billing.worker", "wrong").await;
    assert_eq!(wrong.error(), unauthorized());
    for id in ["billing.nobody", "billing.disabled", "billing.body-alone", "billing.without-secret", "other.worker", "BILLING.worker"] {
        assert_eq!(by_header(&replica, id, SECRET).await, wrong, "{id}");
    }
    assert_eq!(by_body(&replica, "billing.header-alone", SECRET).await, wrong);
    assert_eq!(by_header(&replica, "billing.orders", SECRET).await.status, 200);
    replica.change(|snapshot| drop(snapshot.clients.remove(&ClientId::parse("billing.orders").unwrap())));
    assert_eq!(by_header(&replica, "billing.orders", SECRET).await, wrong);
}

/// C16.
#[tokio::test]
async fn a_long_secret_counts_to_its_last_byte() {
    let replica = Replica::new();
    let long = "x".repeat(72);
    let (right, wrong) = (format!("{long}a"), format!("{long}b"));
    replica.change_client("billing.worker", |known| known.credentials = vec![credential(&known.client, &right)]);
    assert_eq!(by_header(&replica, "billing.worker", &right).await.status, 200);
    assert_eq!(by_header(&replica, "billing.worker", &wrong).await.error(), unauthorized());
    assert_eq!(by_header(&replica, "billing.worker", &long).await.error(), unauthorized());
}

/// C18, S21: a digest is bound to key, client and credential.
#[tokio::test]
async fn a_digest_that_stands_elsewhere_opens_nothing() {
    let replica = Replica::new();
    let foreign = client("partly", vec![]).credentials;
    replica.change_client("billing.worker", |known| known.credentials = foreign);
    assert_eq!(by_header(&replica, "billing.worker", SECRET).await.error(), unauthorized());
    replica.change_client("billing.worker", |known| {
        let mut renamed = credential(&known.client, SECRET);
        renamed.id = other_id();
        known.credentials = vec![renamed];
    });
    assert_eq!(by_header(&replica, "billing.worker", SECRET).await.error(), unauthorized());
    replica.change_client("billing.worker", |known| {
        let mut of_another_key = credential(&known.client, SECRET);
        of_another_key.digest.key = "lost".to_owned();
        known.credentials = vec![of_another_key];
    });
    assert_eq!(by_header(&replica, "billing.worker", SECRET).await.error(), unauthorized());
}

/// rotation.md: what is registered is accepted, in whatever state, up to `acceptedUntil`.
#[tokio::test]
async fn every_registered_credential_is_accepted_until_its_end() {
    let replica = Replica::new();
    let now = keywright::ambient::now();
    let ends = |credential: Credential, end: Option<Timestamp>, state| Credential { accepted_until: end, state, ..credential };
    replica.change_client("billing.worker", |known| {
        let new = |secret: &str| credential(&known.client, secret);
        known.credentials = vec![
            ends(new("pending"), None, CredentialState::Pending),
            ends(new("current"), None, CredentialState::Current),
            ends(new("previous"), None, CredentialState::Previous),
            ends(new("ending"), Some(now + SignedDuration::from_hours(1)), CredentialState::Previous),
            ends(new("ended"), Some(now), CredentialState::Previous),
        ];
    });
    replica.change(|snapshot| snapshot.clients_agreed = Some(now));
    for secret in ["pending", "current", "previous", "ending"] {
        assert_eq!(by_header(&replica, "billing.worker", secret).await.status, 200, "{secret}");
    }
    assert_eq!(by_header(&replica, "billing.worker", "ended").await.error(), unauthorized());
}

/// rotation.md, the end of "The steps": the value may have become Current again, and this replica has not heard of it.
#[tokio::test]
async fn a_credential_that_has_ended_is_refused_only_after_a_head_check_that_began_since() {
    let replica = Replica::new();
    let end = keywright::ambient::now();
    replica.change_client("billing.worker", |known| {
        let ended = Credential { accepted_until: Some(end), state: CredentialState::Previous, ..credential(&known.client, "ended") };
        known.credentials.push(ended);
    });
    for agreed in [None, Some(end - SignedDuration::from_secs(1))] {
        replica.change(|snapshot| snapshot.clients_agreed = agreed);
        let answer = by_header(&replica, "billing.worker", "ended").await;
        assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
        assert!(answer.headers["retry-after"] == "1" && answer.headers["connection"] == "close", "{answer:?}");
        assert_eq!(by_header(&replica, "billing.worker", "wrong").await.error(), unauthorized());
        assert_eq!(by_header(&replica, "billing.worker", SECRET).await.status, 200);
    }
    replica.change(|snapshot| snapshot.clients_agreed = Some(end));
    assert_eq!(by_header(&replica, "billing.worker", "ended").await.error(), unauthorized());
}

/// A secret that was read from a file with `echo` or an editor: it is said what is wrong, in the same words whether the rest is right, wrong
/// or of nobody, and it counts as a failure.
#[tokio::test]
async fn a_secret_with_a_line_break_at_its_end_is_told_so() {
    let replica = Replica::new();
    let mut told = Vec::new();
    for (id, secret) in [("billing.worker", SECRET), ("billing.worker", "wrong"), ("billing.nobody", "wrong")] {
        let answer = by_header(&replica, id, &format!("{secret}\n")).await;
        assert_eq!(answer.error(), unauthorized());
        assert!(answer.text().contains("ends with a line break") && !answer.text().contains(secret), "{}", answer.text());
        told.push(answer);
    }
    assert!(told.iter().all(|answer| *answer == told[0]));
    assert_eq!(by_body(&replica, "billing.worker", &format!("{SECRET}%0D%0A")).await.text(), told[0].text());
    assert!(!by_header(&replica, "billing.worker", "wrong").await.text().contains("line break"));
    for _ in 0..FAILURES {
        by_header(&replica, "billing.orders", "wrong\n").await;
    }
    assert_eq!(by_header(&replica, "billing.orders", "wrong\n").await.status, 429);
}
