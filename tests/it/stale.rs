//! Watches that say nothing, or not everything: nothing is decided on what they do not show.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually, in_time};
use crate::operator::{Operator, SOON};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// The promise: a silent watch is opened again within this time.
const REOPENED: Duration = Duration::from_secs(35);

async fn behind_a_proxy() -> (Operator<'static>, Proxy) {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Default::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    (operator, proxy)
}

/// F2: the leader's cache of Secrets ends before the first one was made, and its cache of clients goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_does_not_show_the_secret_makes_no_second_one() {
    let (operator, proxy) = behind_a_proxy().await;
    let teams = Teams::served_by(&operator).await;
    let silence = proxy.when(calls().watch().of("secrets")).silence();
    let credentials = teams.worker().await;
    for round in 0..3 {
        teams.change_client("worker", json!({"description": format!("round {round}")})).await;
        assert_eq!(operator.credentials(&teams.billing, "worker").await, credentials);
    }
    let client = teams.clients().get("worker").await.unwrap();
    assert_eq!(client.status.unwrap().credentials.unwrap().len(), 1);
    proxy.remove(silence);
    teams.every_replica_answers(&credentials, 200).await;
}

/// F9, F11: the watch of clients falls silent. A new secret waits for the one replica that has not seen it: none is ever published that is
/// refused. The replica finds out by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_watch_is_opened_again_and_until_then_nothing_is_published() {
    let healed = async || {
        let (operator, proxy) = behind_a_proxy().await;
        let teams = Teams::served_by(&operator).await;
        let former = teams.worker().await;
        let silence = proxy.silence_open_watches(&calls().watch().of("oauthclients"));
        teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
        let published = async || match teams.secrets().get_opt("worker").await {
            Ok(Some(secret)) => Ok(Credentials::of(secret)),
            other => Err(format!("{other:?}")),
        };
        let begun = keywright::ambient::boot_time();
        let healed = eventually(REOPENED + SOON, "the Secret is healed", published).await;
        let healed = healed.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        let took = keywright::ambient::boot_time() - begun;
        if took <= Duration::from_secs(5) {
            println!("the watch had just ended, and the next one is not silent: once more");
            return (2 * REOPENED, ());
        }
        for credentials in [&healed, &former] {
            credentials.token_at(&former.http(), former.get("token-uri"), &[]).await.token();
        }
        proxy.remove(silence);
        (took, ())
    };
    in_time(REOPENED + Duration::from_secs(5), "a Secret is healed though a watch is silent", healed).await.unwrap();
}

/// F3: 410, for every watch at once and again and again; no client is ever missing, and what changed meanwhile is seen.
#[tokio::test(flavor = "multi_thread")]
async fn expired_watches_are_begun_anew_and_nobody_is_forgotten() {
    let (operator, proxy) = behind_a_proxy().await;
    let teams = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    let (http, url) = (credentials.http(), credentials.get("token-uri"));
    for round in 0..5 {
        proxy.expire_open_watches(&calls().watch());
        let name = format!("client-{round}");
        teams.apply(&WORKER.replace("name: worker", &format!("name: {name}"))).await;
        let mut looks = 0;
        let seen = async || {
            let answer = credentials.token_at(&http, url, &[]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            looks += 1;
            match teams.clients().get(&name).await {
                Ok(client) if client.status.is_some() => Ok(()),
                other => Err(format!("{:?}", other.map(|client| client.name_any()))),
            }
        };
        eventually(SOON, "the client is seen", seen).await.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        assert!(looks > 0);
    }
    teams.apply(&INVOICES.replace("invoices.read]}]", "invoices.read], claims: {round: five}}]")).await;
    let claimed = async || {
        let answer = credentials.token_at(&http, url, &[]).await;
        let claims = credentials.verify(answer.token(), &teams.audience()).await;
        if claims["round"] == json!("five") { Ok(()) } else { Err(claims.to_string()) }
    };
    eventually(SOON, "the new claim is made", claimed).await.unwrap();
}
