//! The CA and the serving certificate, as leaders make and renew them.

use crate::{
    cluster::proxy::calls,
    keys::{Fixture, SOON, now},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use keywright::keys::{
    certificate::{CertificateError, ServedName, ServingCertificate, serving::Renewal},
    store::{
        StoreError,
        certificate::{Issued, ensure},
    },
};
use kube::ResourceExt as _;
use serde_json::json;
use std::collections::BTreeSet;

fn names(texts: &[&str]) -> BTreeSet<ServedName> {
    texts.iter().map(|text| ServedName::parse(text).unwrap()).collect()
}

fn usual() -> BTreeSet<ServedName> {
    names(&["kw.auth.svc", "127.0.0.1"])
}

async fn ensured_at(fixture: &Fixture, names: &BTreeSet<ServedName>, at: Timestamp) -> Result<Issued, StoreError> {
    ensure(&fixture.leader, &fixture.release, names, at).await
}

async fn ensured(fixture: &Fixture) -> Issued {
    ensured_at(fixture, &usual(), now()).await.unwrap()
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
    assert_eq!((certificate.names.clone(), certificate.ca.as_deref()), (usual(), Some(issued.ca.as_str())));
    assert_eq!((issued.renew_at, issued.renewed), (certificate.renew_at(), None));
    for name in ["kw-ca", "kw-tls"] {
        let secret = fixture.secrets.get(name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert!(secret.owner_references().is_empty());
    }
    assert_eq!(fixture.writes(), 2);
    assert_eq!(ensured(&fixture).await, issued);
    assert_eq!(fixture.writes(), 2);
}

/// F5.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_that_start_at_once_end_with_one_ca() {
    let fixture = Fixture::start().await;
    let mut posts = fixture.proxy.when(calls().create().of("secrets")).first(2).hold_request();
    let second = fixture.proxy.kubeconfig().client().await.unwrap();
    let names = usual();
    let release_both = async {
        let held = [posts.next(SOON).await.unwrap(), posts.next(SOON).await.unwrap()];
        held.into_iter().for_each(|call| call.release());
    };
    let (first, second, ()) = tokio::join!(ensured(&fixture), ensure(&second, &fixture.release, &names, now()), release_both);
    assert_eq!(first, second.unwrap());
    assert_eq!(shown(&fixture).await.ca, Some(first.ca));
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
        assert_eq!(shown(&fixture).await.ca, Some(issued.ca));
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
    let ca = version(&fixture, "kw-ca").await;
    let before = issued.renew_at - SignedDuration::from_secs(1);
    assert_eq!(ensured_at(&fixture, &usual(), before).await.unwrap(), issued);
    let renewed = ensured_at(&fixture, &usual(), issued.renew_at).await.unwrap();
    assert_eq!((renewed.renewed, &renewed.ca), (Some(Renewal::Age), &issued.ca));
    assert!(renewed.renew_at > issued.renew_at + SignedDuration::from_hours(59 * 24));
    let fewer = names(&["kw.auth.svc"]);
    assert_eq!(ensured_at(&fixture, &fewer, now()).await.unwrap().renewed, Some(Renewal::Names));
    assert_eq!(shown(&fixture).await.names, fewer);
    assert_eq!(version(&fixture, "kw-ca").await, ca);
}

/// What clients trust does not change because a name was added: it is said what has to be done.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_beyond_the_ca_is_refused_until_the_ca_is_deleted() {
    let fixture = Fixture::start().await;
    let issued = ensured(&fixture).await;
    let more = names(&["kw.auth.svc", "auth.example.com"]);
    let error = ensured_at(&fixture, &more, now()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Name(_, name) if name.to_string() == "auth.example.com"), "{error}");
    assert_eq!(shown(&fixture).await.names, usual());
    fixture.delete("kw-ca").await;
    let anew = ensured_at(&fixture, &more, now()).await.unwrap();
    assert_ne!(anew.ca, issued.ca);
    assert_eq!((shown(&fixture).await.names, shown(&fixture).await.ca), (more, Some(anew.ca)));
}

/// F17: a serving certificate holds nothing that would be lost, a CA does.
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_in_the_certificate_heals_and_in_the_ca_is_reported() {
    let fixture = Fixture::start().await;
    let issued = ensured(&fixture).await;
    let rubbish = ByteString(b"rubbish".to_vec());
    fixture.edit("kw-tls", json!({"data": {"tls.crt": rubbish}})).await;
    assert_eq!(ensured(&fixture).await.renewed, Some(Renewal::Unreadable));
    assert_eq!(shown(&fixture).await.ca.as_deref(), Some(issued.ca.as_str()));
    fixture.delete("kw-tls").await;
    assert_eq!(ensured(&fixture).await.ca, issued.ca);

    fixture.edit("kw-ca", json!({"data": {"tls.key": rubbish}})).await;
    let (writes, before) = (fixture.writes(), version(&fixture, "kw-ca").await);
    let error = ensured_at(&fixture, &usual(), now()).await.unwrap_err();
    assert!(matches!(error, StoreError::Certificate(_, CertificateError::PrivateKey)), "{error}");
    assert_eq!((fixture.writes(), version(&fixture, "kw-ca").await), (writes, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_ended_is_reported() {
    let fixture = Fixture::start().await;
    ensured(&fixture).await;
    let later = now() + SignedDuration::from_hours(11 * 365 * 24);
    let error = ensured_at(&fixture, &usual(), later).await.unwrap_err();
    assert!(matches!(error, StoreError::Expired(..)), "{error}");
}
