//! The CA and the serving certificate, as leaders make and renew them.

use crate::{
    cluster::proxy::calls,
    keys::{Fixture, SOON, now},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use keywright::{
    domain::key_rotation::{Cause, Stage, Step},
    keys::{
        certificate::{Authorities, CertificateError, ServedName, ServingCertificate, serving::Renewal, succession::RULES},
        store::{
            Release, StoreError,
            certificate::{Advanced, Done, Wanted, advance},
        },
    },
};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn names(texts: &[&str]) -> BTreeSet<ServedName> {
    texts.iter().map(|text| ServedName::parse(text).unwrap()).collect()
}

fn usual() -> BTreeSet<ServedName> {
    names(&["kw.auth.svc", "127.0.0.1"])
}

/// Looks of a leader, who finds `ca.crt` to be the same everywhere each time.
async fn ensured_by(client: &Client, release: &Release, names: &BTreeSet<ServedName>, at: Timestamp) -> Result<Advanced, StoreError> {
    let (mut done, mut seen) = (Vec::new(), None);
    loop {
        let advanced = advance(client, release, &Wanted { names, rules: RULES }, seen.as_deref(), at).await?;
        done.extend(advanced.done.clone());
        if !advanced.waits_for_copies {
            return Ok(Advanced { done, ..advanced });
        }
        seen = Some(advanced.version);
    }
}

async fn ensured_at(fixture: &Fixture, names: &BTreeSet<ServedName>, at: Timestamp) -> Result<Advanced, StoreError> {
    ensured_by(&fixture.leader, &fixture.release, names, at).await
}

async fn ensured(fixture: &Fixture) -> Advanced {
    ensured_at(fixture, &usual(), now()).await.unwrap()
}

async fn done(fixture: &Fixture, names: &BTreeSet<ServedName>, at: Timestamp) -> Vec<Done> {
    ensured_at(fixture, names, at).await.unwrap().done
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count * 24)
}

/// The CAs by fingerprint, as the annotation says.
async fn lives(fixture: &Fixture) -> BTreeMap<String, Value> {
    serde_json::from_str(&fixture.secrets.get("kw-ca").await.unwrap().annotations()["keywright.dev/authorities"]).unwrap()
}

async fn fingerprint(fixture: &Fixture, state: &str) -> String {
    let lives = lives(fixture).await;
    lives.iter().find(|(_, life)| life["state"] == state).unwrap_or_else(|| panic!("none is {state} of {lives:?}")).0.clone()
}

/// The names of the steps.
fn steps(done: &[Done]) -> Vec<&'static str> {
    let name = |done: &Done| match done {
        Done::Made => "made",
        Done::Lost => "lost",
        Done::NothingToRevoke(_) => "nothing to revoke",
        Done::Renewed(_) => "renewed",
        Done::Step(Step::Prepare { cause: Cause::Due, .. }, _) => "prepared",
        Done::Step(Step::Prepare { .. }, _) => "prepared, as ordered",
        Done::Step(Step::Confirm, _) => "confirmed",
        Done::Step(Step::Activate(_), _) => "activated",
        Done::Step(Step::Remove(_), _) => "removed",
        Done::Step(Step::Revoke(_), _) => "revoked",
        Done::Step(..) => "another step",
    };
    done.iter().map(name).collect()
}

async fn shown(fixture: &Fixture) -> ServingCertificate {
    ServingCertificate::parse(&fixture.secrets.get("kw-tls").await.unwrap().data.unwrap()).unwrap()
}

async fn version(fixture: &Fixture, name: &str) -> String {
    fixture.secrets.get(name).await.unwrap().resource_version().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_a_ca_and_a_certificate() {
    let fixture = Fixture::start().await;
    let issued = ensured(&fixture).await;
    let certificate = shown(&fixture).await;
    assert_eq!((certificate.names.clone(), certificate.ca.as_deref()), (usual(), Some(issued.bundle.as_str())));
    assert_eq!((issued.wake_at, issued.done), (Some(certificate.renew_at()), vec![Done::Made]));
    for name in ["kw-ca", "kw-tls"] {
        let secret = fixture.secrets.get(name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert!(secret.owner_references().is_empty());
    }
    assert_eq!(fixture.writes(), 2);
    let again = ensured(&fixture).await;
    assert_eq!((again.bundle, again.done, again.version), (issued.bundle, vec![], issued.version));
    assert_eq!(fixture.writes(), 2);
}

/// F5.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_that_start_at_once_end_with_one_ca() {
    let fixture = Fixture::start().await;
    let mut posts = fixture.proxy.when(calls().create().of("secrets")).first(2).hold_request();
    let other = fixture.proxy.kubeconfig().client().await.unwrap();
    let names = usual();
    let release_both = async {
        let held = [posts.next(SOON).await.unwrap(), posts.next(SOON).await.unwrap()];
        held.into_iter().for_each(|call| call.release());
    };
    let (first, second, ()) = tokio::join!(ensured(&fixture), ensured_by(&other, &fixture.release, &names, now()), release_both);
    let second = second.unwrap();
    assert_eq!((&first.bundle, first.version), (&second.bundle, second.version));
    assert_eq!(shown(&fixture).await.ca, Some(first.bundle));
}

/// F1, F4.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_call_leaves_one_ca_and_its_certificate() {
    for nth in 1.. {
        let fixture = Fixture::start().await;
        fixture.proxy.when(calls().of("secrets")).nth(nth).drop_reply();
        let mut crashes = 0;
        let issued = loop {
            match ensured_at(&fixture, &usual(), now()).await {
                Ok(issued) => break issued,
                Err(StoreError::Call { .. }) => crashes += 1,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(shown(&fixture).await.ca, Some(issued.bundle));
        assert_eq!(fixture.writes(), 2, "one POST for each Secret, whatever was lost");
        if crashes == 0 {
            assert!(nth > 6, "every call was tried");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_by_the_same_ca() {
    let fixture = Fixture::start().await;
    let issued = ensured(&fixture).await;
    let (ca, at) = (version(&fixture, "kw-ca").await, issued.wake_at.unwrap());
    assert_eq!(done(&fixture, &usual(), at - SignedDuration::from_secs(1)).await, []);
    let renewed = ensured_at(&fixture, &usual(), at).await.unwrap();
    assert_eq!((renewed.done, &renewed.bundle), (vec![Done::Renewed(Renewal::Age)], &issued.bundle));
    assert!(renewed.wake_at.unwrap() > at + days(44));
    let fewer = names(&["kw.auth.svc"]);
    assert_eq!(done(&fixture, &fewer, now()).await, [Done::Renewed(Renewal::Names)]);
    assert_eq!(shown(&fixture).await.names, fewer);
    assert_eq!(version(&fixture, "kw-ca").await, ca);
}

/// F14: what an earlier version has made, and a hand that tidies annotations: it is said again where each CA is in its life, and nobody has
/// to read anything anew.
#[tokio::test(flavor = "multi_thread")]
async fn f14_a_ca_without_an_annotation_is_the_one_that_signs() {
    let fixture = Fixture::start().await;
    let (issued, known, tls) = (ensured(&fixture).await, lives(&fixture).await, version(&fixture, "kw-tls").await);
    fixture.edit("kw-ca", json!({"metadata": {"annotations": {"keywright.dev/authorities": null}}})).await;
    let writes = fixture.writes();
    let again = ensured(&fixture).await;
    assert_eq!((again.done, again.bundle, fixture.writes()), (vec![], issued.bundle, writes + 1));
    assert_eq!(lives(&fixture).await.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
    assert_eq!((fingerprint(&fixture, "active").await, version(&fixture, "kw-tls").await), (known.into_keys().next().unwrap(), tls));
    assert_eq!((done(&fixture, &usual(), now()).await, fixture.writes()), (vec![], writes + 1));
}

/// F17: a serving certificate holds nothing that would be lost, a CA does.
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_in_the_certificate_heals_and_in_the_ca_is_reported() {
    let fixture = Fixture::start().await;
    let issued = ensured(&fixture).await;
    let rubbish = ByteString(b"rubbish".to_vec());
    fixture.edit("kw-tls", json!({"data": {"tls.crt": rubbish}})).await;
    assert_eq!(done(&fixture, &usual(), now()).await, [Done::Renewed(Renewal::Unreadable)]);
    assert_eq!(shown(&fixture).await.ca.as_ref(), Some(&issued.bundle));
    fixture.delete("kw-tls").await;
    assert_eq!(ensured(&fixture).await.bundle, issued.bundle);

    fixture.edit("kw-ca", json!({"data": {"tls.key": rubbish}})).await;
    let (writes, before) = (fixture.writes(), version(&fixture, "kw-ca").await);
    let error = ensured_at(&fixture, &usual(), now()).await.unwrap_err();
    assert!(matches!(error, StoreError::Certificate(_, CertificateError::PrivateKey)), "{error}");
    assert_eq!((fixture.writes(), version(&fixture, "kw-ca").await), (writes, before));
}

/// From one CA to the next, and when each step is due: the writes, and no more.
async fn succeed(fixture: &Fixture, mut look: impl AsyncFnMut(Timestamp) -> Vec<Done>) {
    let start = now();
    let phases: [(i64, &[&str]); 4] = [
        (0, &["made"]),
        (1_796, &["prepared", "renewed", "confirmed"]),
        (1_827, &["activated", "renewed", "confirmed"]),
        (1_919, &["removed", "renewed"]),
    ];
    for (day, expected) in phases {
        let done = look(start + days(day)).await;
        assert!(steps(&done) == expected || done.is_empty(), "day {day}: {done:?}");
        let shown = shown(fixture).await;
        assert!(shown.authorities().iter().any(|authority| shown.is_signed_by(authority)), "day {day}");
    }
}

/// F1, F4: the process dies, or the reply is lost, at each single call of a whole succession; the next leader goes on, and makes no write
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_crash_after_any_call_of_a_succession_changes_nothing_in_the_end() {
    let mut usual_writes = None;
    // The first eight are those of a start, of which the test above is.
    for nth in 8.. {
        let fixture = Fixture::start().await;
        if usual_writes.is_some() {
            fixture.proxy.when(calls().of("secrets")).nth(nth).drop_reply();
        }
        let mut lost = 0;
        succeed(&fixture, async |at| {
            loop {
                match ensured_at(&fixture, &usual(), at).await {
                    Ok(advanced) => return if lost == 0 { advanced.done } else { Vec::new() },
                    Err(error) => assert!(matches!(error, StoreError::Call { .. }), "{error}"),
                }
                lost += 1;
            }
        })
        .await;
        let writes = *usual_writes.get_or_insert(fixture.writes());
        assert_eq!(fixture.writes(), writes, "whatever was lost at call {nth}");
        let lives = lives(&fixture).await;
        assert_eq!(lives.values().map(|life| life["state"].as_str().unwrap()).collect::<Vec<_>>(), ["active"]);
        if nth > 8 && lost == 0 {
            assert!(nth > 30, "every call was tried");
            return;
        }
    }
}

/// S23: at once, and by its fingerprint as openssl shows it; nothing brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn s23_a_revoked_ca_is_in_no_bundle_and_signs_nothing() {
    let fixture = Fixture::start().await;
    let leaked = ensured(&fixture).await.bundle;
    let pairs: Vec<String> =
        fingerprint(&fixture, "active").await.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
    fixture.edit("kw-ca", json!({"metadata": {"annotations": {"keywright.dev/revoke": pairs.join(":")}}})).await;
    let advanced = ensured(&fixture).await;
    assert_eq!(steps(&advanced.done), ["revoked", "renewed"]);
    let certificate = shown(&fixture).await;
    assert!(!advanced.bundle.contains(&leaked) && certificate.ca.as_ref() == Some(&advanced.bundle));
    assert!(certificate.is_signed_by(&certificate.authorities()[0]));
    assert_eq!(done(&fixture, &usual(), now()).await, []);
    fixture.edit("kw-ca", json!({"metadata": {"annotations": {"keywright.dev/revoke": "misspelt"}}})).await;
    assert_eq!(steps(&done(&fixture, &usual(), now()).await), ["nothing to revoke"]);
    assert_eq!(done(&fixture, &usual(), now()).await, [], "it is said once");
}

/// What clients trust does not change because a name was added: another CA that may sign for it becomes known first.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_beyond_the_ca_waits_for_the_next_one() {
    let fixture = Fixture::start().await;
    ensured(&fixture).await;
    let more = names(&["kw.auth.svc", "127.0.0.1", "auth.example.com"]);
    let advanced = ensured_at(&fixture, &more, now()).await.unwrap();
    assert_eq!((steps(&advanced.done), advanced.refused), (vec!["prepared, as ordered", "confirmed"], names(&["auth.example.com"])));
    assert_eq!(shown(&fixture).await.names, usual());
    assert_eq!(done(&fixture, &more, now() + days(29)).await, []);
    let first = shown(&fixture).await.authorities();
    let advanced = ensured_at(&fixture, &more, now() + days(31)).await.unwrap();
    assert_eq!(steps(&advanced.done), ["activated", "renewed", "confirmed"]);
    let certificate = shown(&fixture).await;
    assert_eq!((certificate.names.clone(), certificate.authorities()), (more.clone(), first));

    // A name that comes while the next one waits: that one would be no use.
    let even_more = names(&["kw.auth.svc", "127.0.0.1", "auth.example.com", "auth.example.org"]);
    let yet_more = names(&["kw.auth.svc", "auth.example.net"]);
    assert_eq!(steps(&done(&fixture, &even_more, now() + days(32)).await), ["prepared, as ordered", "confirmed"]);
    assert_eq!(steps(&done(&fixture, &yet_more, now() + days(33)).await), ["removed", "prepared, as ordered", "renewed", "confirmed"]);
}

/// F17: nobody is cut off by a deleted CA: what it signed is shown until the next one is known.
#[tokio::test(flavor = "multi_thread")]
async fn f17_what_a_deleted_ca_signed_stays_in_use_until_the_next_one_is_known() {
    let fixture = Fixture::start().await;
    let former = ensured(&fixture).await.bundle;
    let leaf = shown(&fixture).await.certified_key.cert.clone();
    fixture.delete("kw-ca").await;
    let advanced = ensured(&fixture).await;
    assert_eq!(steps(&advanced.done), ["lost", "confirmed"]);
    assert!(advanced.bundle.contains(&former) && advanced.bundle != former);
    for day in [0, 29] {
        assert_eq!(done(&fixture, &usual(), now() + days(day)).await, []);
        let certificate = shown(&fixture).await;
        assert_eq!((certificate.certified_key.cert.clone(), certificate.ca.as_ref()), (leaf.clone(), Some(&advanced.bundle)));
    }
    assert_eq!(steps(&done(&fixture, &usual(), now() + days(31)).await), ["activated", "renewed", "confirmed"]);
    assert_eq!(shown(&fixture).await.ca, Some(advanced.bundle), "it is trusted for as long as what it signed");
    assert_eq!(steps(&done(&fixture, &usual(), now() + days(123)).await), ["removed", "renewed"]);

    // With the certificate goes all that was there to be kept.
    fixture.delete("kw-ca").await;
    fixture.delete("kw-tls").await;
    assert_eq!(steps(&ensured(&fixture).await.done), ["made"]);
}

/// F17: a hand that puts another CA there waits like any other order.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_a_hand_has_put_there_signs_when_it_is_known() {
    let (fixture, other) = (Fixture::start().await, Fixture::start().await);
    let former = ensured(&fixture).await.bundle;
    let theirs = ensured(&other).await.bundle;
    let secret = other.secrets.get("kw-ca").await.unwrap();
    fixture.edit("kw-ca", json!({"data": secret.data})).await;
    let advanced = ensured(&fixture).await;
    assert_eq!(steps(&advanced.done), ["lost", "confirmed"]);
    assert!(advanced.bundle.contains(&former) && advanced.bundle.contains(&theirs));
    assert_eq!(steps(&done(&fixture, &usual(), now() + days(31)).await), ["activated", "renewed", "confirmed"]);
    let read = Authorities::parse(&fixture.secrets.get("kw-ca").await.unwrap().data.unwrap(), None).unwrap();
    assert!(shown(&fixture).await.is_signed_by(read.active().unwrap()));
    assert_eq!(read.lives(None, now()).iter().map(|life| life.stage).collect::<Vec<_>>(), [Stage::Active, Stage::Retired]);
}

/// F7, F2: a leader that stood still after either of its two reads takes the next CA out of nothing when it goes on: what it would write of
/// what it read then is refused.
#[tokio::test(flavor = "multi_thread")]
async fn f7_a_leader_that_was_frozen_takes_no_ca_out_of_ca_crt() {
    for nth in [1, 2] {
        let fixture = Fixture::start().await;
        let renewal = ensured(&fixture).await.wake_at.unwrap();
        let awake = fixture.secrets.clone().into_client();
        let mut late = fixture.proxy.when(calls().of("secrets")).nth(nth).hold_reply();
        let frozen = fixture.proxy.kubeconfig().client().await.unwrap();
        let release = fixture.release.clone();
        let frozen = tokio::spawn(async move { ensured_by(&frozen, &release, &usual(), renewal).await });
        let held = late.next(SOON).await.unwrap();
        fixture.edit("kw-ca", json!({"metadata": {"annotations": {"keywright.dev/rotate": "now"}}})).await;
        let before = renewal - SignedDuration::from_secs(1);
        let bundle = ensured_by(&awake, &fixture.release, &usual(), before).await.unwrap().bundle;
        held.release();
        frozen.await.unwrap().unwrap();
        let renewed = calls().patch().of("secrets").named("kw-tls");
        let statuses: Vec<_> = fixture.proxy.log().into_iter().filter(|call| renewed.includes(call)).map(|call| call.status).collect();
        assert_eq!(statuses, [Some(409), Some(200)], "it read {nth} of two before it stood still");
        assert_eq!(shown(&fixture).await.ca, Some(bundle));
    }
}
