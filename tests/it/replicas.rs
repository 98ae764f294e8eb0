//! Replicas: join, report, doubt and the gate, against a real API server.

mod place;

use place::{Place, Replica, silence};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use keywright::{
    ambient,
    replica::{Watch, Watched, announcement::Phase, contact::Standing, gate::Passage},
};
use kube::api::DeleteParams;

use crate::cluster::{
    ControlPlane, Options, eventually,
    proxy::{Proxy, calls},
};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_reports_what_it_has_seen_and_the_gate_passes() {
    let place = Place::shared().await;
    let (a, b) = (Replica::start(&place, "a").await, Replica::start(&place, "b").await);
    a.becomes_ready().await;
    b.becomes_ready().await;
    let version = place.write("new").await;
    place.passes(version).await;
    let [a, b] = [place.announcement("a").await.unwrap(), place.announcement("b").await.unwrap()];
    assert!(a.has_seen(Watched::OAuthClients, &place.namespace, version) && b.has_seen(Watched::OAuthClients, &place.namespace, version));
    assert!(a.address.unwrap().parse::<SocketAddr>().is_ok());
    assert_eq!(place.passage(version + 1_000_000).await, Passage::Blocked { replicas: vec!["a".to_owned(), "b".to_owned()] });
}

/// A write that a replica has seen and cannot read holds up the client that was written, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_not_taken_a_client_in_keeps_the_gate_shut_for_it_alone() {
    let place = Place::shared().await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    let unread = |uids: &[&str]| {
        let uids = BTreeSet::from_iter(uids.iter().map(ToString::to_string));
        replica.seen.send_modify(|seen| drop(seen.unread.insert(Watched::OAuthClients, uids)));
    };
    unread(&["unreadable"]);
    let version = place.write("new").await;
    place.passes(version).await;
    assert_eq!(place.passage_of(version, "unreadable").await, Passage::Blocked { replicas: vec!["a".to_owned()] });
    unread(&[]);
    let reported = async || match place.passage_of(version, "unreadable").await {
        Passage::Passed => Ok(()),
        blocked @ Passage::Blocked { .. } => Err(format!("{blocked:?}")),
    };
    eventually(SOON, "the replica has read it", reported).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_joins_counts_before_it_lists_and_is_ready_only_after() {
    let place = Place::shared().await;
    let proxy = Proxy::start(place.control_plane.admin()).await.unwrap();
    let hang = proxy.when(calls().list().of("protectedresources")).hang();
    let replica = Replica::behind(proxy, &place, "a").await;
    let joining = async || place.announcement("a").await.ok_or("no Lease");
    let announced = eventually(SOON, "the Lease is there", joining).await.unwrap();
    assert_eq!((announced.phase, announced.seen.len()), (Phase::Joining, 0));
    let version = place.write("new").await;
    assert_eq!(place.passage(version).await, Passage::Blocked { replicas: vec!["a".to_owned()] });
    assert!(!replica.is_ready());
    replica.proxy.remove(hang);
    drop(replica);

    // The next process of the same pod takes the Lease over, and lists after that.
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    place.passes(version).await;
    let log = replica.proxy.log();
    let reset = log.iter().position(|call| call.resource == "leases" && call.status == Some(200)).unwrap();
    for kind in ["oauthclients", "protectedresources", "namespaces", "secrets"] {
        assert!(log.iter().skip(reset).any(|call| call.resource == kind && calls().list().includes(call)), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_replica_whose_watch_is_late_blocks_the_gate_and_is_named() {
    let place = Place::shared().await;
    let (a, b) = (Replica::start(&place, "a").await, Replica::start(&place, "b").await);
    a.becomes_ready().await;
    b.becomes_ready().await;
    let watches = calls().watch().of("oauthclients");
    let open = async || if b.proxy.open_watches(&watches) > 0 { Ok(()) } else { Err("no watch") };
    eventually(SOON, "the watch of b", open).await.unwrap();
    let late = b.proxy.when(watches).silence();
    let version = place.write("new").await;
    let only_b = Passage::Blocked { replicas: vec!["b".to_owned()] };
    let look = async || match place.passage(version).await {
        passage if passage == only_b => Ok(()),
        passage => Err(format!("{passage:?}")),
    };
    eventually(SOON, "the gate waits for b alone", look).await.unwrap();
    // It renews, and is merely late.
    b.comes_to(Standing::Current).await;
    b.proxy.remove(late);
    place.passes(version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_leaves_deletes_its_lease() {
    let place = Place::shared().await;
    let mut replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    replica.leave.cancel();
    replica.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(place.announcement("a").await, None);
    assert_eq!(replica.standing(), Standing::Doubt);
    assert_eq!(place.passage(u64::MAX).await, Passage::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_without_a_pod_is_dropped_after_its_silence_and_not_before() {
    let place = Place::shared().await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    drop(replica);
    let version = place.write("new").await;
    let begun = ambient::boot_time();
    assert_eq!(place.passage(version).await, Passage::Blocked { replicas: vec!["a".to_owned()] });
    place.passes(version).await;
    assert!(ambient::boot_time() - begun >= silence().unchanged);
    assert_eq!(place.announcement("a").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_replica_counts_while_its_pod_is_ready_and_until_it_was_not_for_long_enough() {
    let place = Place::shared().await;
    place.pod("a", true, "2026-11-23T00:00:00Z").await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    drop(replica);
    let version = place.write("new").await;
    let begun = ambient::boot_time();
    let blocked = Passage::Blocked { replicas: vec!["a".to_owned()] };
    while ambient::boot_time() - begun < silence().unchanged + Duration::from_secs(2) {
        assert_eq!(place.passage(version).await, blocked);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    place.pod("a", false, "2026-11-23T00:01:00Z").await;
    let unready = ambient::boot_time();
    assert_eq!(place.passage(version).await, blocked);
    place.passes(version).await;
    assert!(ambient::boot_time() - unready >= silence().unready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_lease_was_deleted_joins_again_with_new_lists() {
    let place = Place::shared().await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    let first = place.announcement("a").await.unwrap();
    replica.proxy.clear_log();
    place.api::<Lease>().delete("kw-replica-a", &DeleteParams::default()).await.unwrap();
    let rejoined = async || match place.announcement("a").await {
        Some(second) if second.uid != first.uid && second.phase == Phase::Serving => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, "it has joined again", rejoined).await.unwrap();
    replica.comes_to(Standing::Current).await;
    let wide = |call: &&crate::cluster::proxy::Call| call.query.get("limit").map(String::as_str) == Some("500");
    assert!(replica.proxy.log().iter().filter(wide).count() >= 4, "everything was listed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_a_renewal_whose_reply_was_lost_costs_nothing() {
    let place = Place::shared().await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    let first = place.announcement("a").await.unwrap();
    let renewals = calls().patch().of("leases");
    let before = replica.proxy.count(&renewals);
    replica.proxy.when(renewals.clone()).first(1).drop_reply();
    let renewed = async || match replica.proxy.count(&renewals) - before {
        count if count >= 4 => Ok(()),
        count => Err(format!("{count} renewals")),
    };
    eventually(SOON, "it has renewed after that", renewed).await.unwrap();
    replica.comes_to(Standing::Current).await;
    assert_eq!(place.announcement("a").await.unwrap().uid, first.uid);
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_replica_that_is_cut_off_is_in_doubt_and_unready_and_blocks_no_rotation_for_ever() {
    let place = Place::shared().await;
    let a = Replica::start(&place, "a").await;
    a.becomes_ready().await;
    let b = Replica::start(&place, "b").await;
    b.becomes_ready().await;
    // It has to know the other one before it is cut off.
    let lists = |b: &Replica| {
        b.proxy.log().into_iter().filter(|call| calls().list().of("leases").includes(call)).any(|call| call.status == Some(200))
    };
    let listed = async || if lists(&b) { Ok(()) } else { Err("no list of Leases") };
    eventually(SOON, "b has listed its peers", listed).await.unwrap();
    let gone = b.proxy.black_hole();
    b.comes_to(Standing::Doubt).await;
    let unready = async || if b.is_ready() { Err("ready") } else { Ok(()) };
    eventually(SOON, "b knows that a is in contact", unready).await.unwrap();
    let version = place.write("new").await;
    place.passes(version).await;
    assert_eq!(b.standing(), Standing::Doubt, "whoever is not counted answers no 401");
    b.proxy.remove(gone);
    b.comes_to(Standing::Current).await;
    b.becomes_ready().await;
    let seen = async || match place.announcement("b").await {
        Some(b) if b.has_seen(Watched::OAuthClients, &place.namespace, version) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, "b has joined again", seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_replicas_that_are_all_cut_off_stay_ready_in_doubt_and_recover_by_themselves() {
    let place = Place::shared().await;
    let (a, b) = (Replica::start(&place, "a").await, Replica::start(&place, "b").await);
    for replica in [&a, &b] {
        replica.becomes_ready().await;
        replica.proxy.cut_off().await;
    }
    for replica in [&a, &b] {
        replica.comes_to(Standing::Doubt).await;
        // Until each has asked the other once more, one may have seen the other in contact.
        replica.becomes_ready().await;
    }
    for replica in [&a, &b] {
        replica.proxy.restore().await.unwrap();
        replica.comes_to(Standing::Current).await;
    }
    assert!(place.announcement("a").await.is_some(), "nobody has dropped it");
    place.passes(place.write("new").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_after_a_restore_of_etcd_a_replica_joins_again_and_reports_no_version_of_the_lost_history() {
    let control_plane = ControlPlane::start(Options { controllers: Vec::new(), ..Options::default() }).await.unwrap();
    let place = Place::new(&control_plane).await;
    let replica = Replica::start(&place, "a").await;
    replica.becomes_ready().await;
    let snapshot = control_plane.snapshot().await.unwrap();
    // More writes than what renews Leases does in the new history until it is known to be new.
    let mut lost = 0;
    for number in 0..200 {
        lost = place.write(&format!("lost{number}")).await;
    }
    place.passes(lost).await;
    control_plane.rewind(&snapshot).await.unwrap();
    let version = place.write("new").await;
    assert!(version < lost);
    let look = async || match place.announcement("a").await {
        Some(a) if a.seen.get(&Watch::whole(Watched::OAuthClients)).is_some_and(|seen| (version..lost).contains(seen)) => Ok(()),
        other => Err(format!("not from {version} to {lost}: {other:?}")),
    };
    // A watch that is open and silent is opened again within 35 s (F9).
    eventually(SOON * 2, "what it reports is of the new history", look).await.unwrap();
    replica.comes_to(Standing::Current).await;
}
