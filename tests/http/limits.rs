//! How many failures and how many tokens are too many: S17, C20, G13.

use crate::fixture::{Answer, ISSUER, InContact, Replica, SECRET, basic, unauthorized};
use axum::http::header;
use keywright::{
    ambient,
    oauth::throttle::{FAILURE_EVERY, FAILURES, Failures, Rate, Throttle},
    server::{BodyLimits, Limits, TlsMode},
};
use std::time::Duration;

const GRANT: &str = "grant_type=client_credentials";
/// Longer than any test stands still.
const HOUR: Duration = Duration::from_secs(3_600);

async fn wrong(replica: &Replica, address: &str, client_id: &str) -> Answer {
    replica.post_from(address, &[basic(client_id, "wrong")], GRANT).await
}

async fn right(replica: &Replica, address: &str, client_id: &str) -> Answer {
    replica.post_from(address, &[basic(client_id, SECRET)], GRANT).await
}

/// Fails until it is told to wait: after as many failures as may be, and one more each time that one more may be.
async fn exhausted(replica: &Replica, address: &str, client_id: &str) {
    let (begun, mut count) = (ambient::boot_time(), 0);
    while wrong(replica, address, client_id).await.error() == unauthorized() {
        count += 1;
    }
    let passed = u32::try_from((ambient::boot_time() - begun).as_secs() / FAILURE_EVERY.as_secs()).unwrap();
    assert!((FAILURES..=FAILURES + passed).contains(&count), "{count} failures of {client_id}");
}

fn too_many() -> (u16, String) {
    (429, "temporarily_unavailable".to_owned())
}

/// C20, S17.
#[tokio::test]
async fn c20_too_many_failures_are_429_and_a_right_secret_is_served_all_the_same() {
    let replica = Replica::new();
    exhausted(&replica, "10.0.0.1", "billing.worker").await;
    let refused = wrong(&replica, "10.0.0.1", "billing.worker").await;
    assert_eq!(refused.error(), too_many());
    let seconds: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
    assert!(!refused.headers.contains_key(header::WWW_AUTHENTICATE));
    // From the same address, too: the secret is checked first.
    for address in ["10.0.0.1", "10.0.0.2"] {
        assert_eq!(right(&replica, address, "billing.worker").await.status, 200, "{address}");
    }
    // Neither another address nor another client is told to wait.
    assert_eq!(wrong(&replica, "10.0.0.2", "billing.worker").await.error(), unauthorized());
    assert_eq!(wrong(&replica, "10.0.0.1", "billing.orders").await.error(), unauthorized());
}

/// S6, S17: 429 comes after as many failures, and in the same bytes, whether there is such a client or not.
#[tokio::test]
async fn s6_unknown_disabled_and_known_clients_are_told_to_wait_alike() {
    let replica = Replica::new();
    let mut answers = Vec::new();
    for id in ["billing.worker", "billing.nobody", "billing.disabled", "billing.without-secret", "not a client id"] {
        exhausted(&replica, "10.0.0.1", id).await;
        let mut answer = wrong(&replica, "10.0.0.1", id).await;
        assert_eq!(answer.error(), too_many(), "{id}");
        // How long it took until here is the test's business.
        answer.headers.remove(header::RETRY_AFTER);
        answers.push(answer);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

/// C20: `golang.org/x/oauth2` tries the header, then the body, once per process; a whole Deployment behind one node's address.
#[tokio::test]
async fn c20_one_failed_and_one_good_probe_per_start_is_never_throttled() {
    let replica = Replica::new();
    let by_body = format!("{GRANT}&client_id=billing.body-alone&client_secret={SECRET}");
    for start in 0..10 * FAILURES {
        assert_eq!(right(&replica, "10.0.0.1", "billing.body-alone").await.error(), unauthorized(), "start {start}");
        assert_eq!(replica.post_from("10.0.0.1", &[], &by_body).await.status, 200, "start {start}");
    }
}

/// L7: a replica in doubt knows of no failure, and counts none.
#[tokio::test]
async fn in_doubt_nobody_is_told_that_he_failed_too_often() {
    let replica = Replica::with(ISSUER, InContact::No, BodyLimits::default());
    for _ in 0..2 * FAILURES {
        assert_eq!(wrong(&replica, "10.0.0.1", "billing.worker").await.status, 503);
    }
}

/// G13.
#[tokio::test]
async fn g13_more_tokens_than_the_quota_are_429_and_other_clients_get_theirs() {
    let replica = Replica::with_quota(Rate::new(3, HOUR));
    let mut issued = 0;
    let refused = loop {
        let answer = right(&replica, "10.0.0.1", "billing.worker").await;
        if answer.status != 200 {
            break answer;
        }
        issued += 1;
    };
    assert_eq!((issued, refused.error()), (3, too_many()));
    let seconds: u64 = refused.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    // From no other address either; it is the client's. Others have their own, and failures cost none.
    assert_eq!(right(&replica, "10.0.0.2", "billing.worker").await.error(), too_many());
    assert_eq!(wrong(&replica, "10.0.0.1", "billing.worker").await.error(), unauthorized());
    assert_eq!(right(&replica, "10.0.0.1", "billing.orders").await.status, 200);
}

/// What is not granted costs nothing of the quota.
#[tokio::test]
async fn g13_only_tokens_count() {
    let replica = Replica::with_quota(Rate::per_second(1, 1));
    for _ in 0..5 {
        let answer = replica.post(&[basic("billing.worker", SECRET)], &format!("{GRANT}&scope=nothing")).await;
        assert_eq!(answer.error(), (400, "invalid_scope".to_owned()));
    }
    assert_eq!(right(&replica, "127.0.0.1", "billing.worker").await.status, 200);
}

/// H09: both are counted, under names that no request chooses.
#[tokio::test]
async fn both_limits_are_counted() {
    let replica = Replica::with_quota(Rate::new(1, HOUR));
    exhausted(&replica, "10.0.0.1", "billing.worker").await;
    right(&replica, "10.0.0.1", "billing.worker").await;
    assert_eq!(right(&replica, "10.0.0.1", "billing.worker").await.error(), too_many());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &replica.registry).unwrap();
    for line in ["too_many_failures\"} 1", "too_many_tokens\"} 1"] {
        assert!(text.contains(&format!("keywright_token_requests_total{{outcome=\"{line}")), "{text}");
    }
}

/// H06: the address is the socket's; what a header says of it is nobody's.
#[tokio::test]
async fn the_address_is_that_of_the_socket() {
    let replica = Replica::with_throttle(Throttle { failures: Failures::new(Rate::new(FAILURES, HOUR)), ..Throttle::new(None) });
    let served = crate::served::Served::with(replica.router, TlsMode::Plain, Limits::default()).await;
    let http = reqwest::Client::new();
    let mut statuses = Vec::new();
    for nth in 0..=FAILURES {
        let request = http.post(served.url("/oauth2/token")).basic_auth("billing.worker", Some("wrong"));
        let request = request.header("x-forwarded-for", format!("10.1.1.{nth}")).form(&[("grant_type", "client_credentials")]);
        statuses.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), FAILURES as usize);
    assert_eq!(statuses.last(), Some(&429));
}
