//! A rotation of signing keys, step by step: crashed after each call, by two leaders at once, ordered, and revoked.

use super::{BOTH, ES256, Fixture, SOON, advance_by, hours, kid, now, wanted};
use crate::cluster::proxy::calls;
use jiff::Timestamp;
use keywright::{
    domain::{
        key_rotation::{Cause, Need, Stage, Step},
        resource::Algorithm,
    },
    keys::store::{
        StoreError,
        signing::{Done, Wanted, advance},
    },
};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// When something of a rotation is due, after the first start at 0.
const PHASES: [i64; 5] = [0, 2_136, 2_160, 2_190, 2_200];
/// A POST, then: prepared, confirmed, activated, confirmed, removed.
const WRITES: usize = 6;

/// The stages of the keys after each phase of a rotation.
async fn rotate(fixture: &Fixture, mut look: impl AsyncFnMut(Timestamp)) {
    use Stage::{Active, Prepared, Retired};
    let start = now();
    for (hour, expected) in PHASES.into_iter().zip([&[Active][..], &[Active, Prepared], &[Active, Retired], &[Active], &[Active]]) {
        look(start + hours(hour)).await;
        let seen: Vec<Stage> = fixture.file().await.keys.iter().map(|known| known.life.stage).collect();
        assert_eq!(seen, expected, "hour {hour}");
    }
}

/// F1, F4: the process dies, or the reply is lost, at each single call of a start and a whole rotation; the next leader goes on, and
/// makes no write twice.
#[tokio::test(flavor = "multi_thread")]
async fn f1_a_crash_after_any_call_of_a_key_rotation_changes_nothing_in_the_end() {
    for nth in 1.. {
        let fixture = Fixture::start().await;
        let rule = fixture.proxy.when(calls().of("secrets")).nth(nth).drop_reply();
        let mut lost = 0;
        rotate(&fixture, async |at| {
            while let Err(error) = fixture.advance(ES256, at).await {
                assert!(matches!(error, StoreError::Call { .. }), "{error}");
                lost += 1;
            }
        })
        .await;
        assert_eq!(fixture.writes(), WRITES, "whatever was lost at call {nth}");
        fixture.proxy.remove(rule);
        assert_eq!(fixture.advance(ES256, now() + hours(2_201)).await.unwrap(), []);
        assert_eq!(fixture.writes(), WRITES);
        if lost == 0 {
            assert!(nth > 12, "every call was tried");
            return;
        }
    }
}

/// F5, F7: two leaders make each step at the same time, or one of them late: one write arrives, the other is refused.
#[tokio::test(flavor = "multi_thread")]
async fn f5_two_leaders_at_each_step_make_one_rotation() {
    let fixture = Fixture::start().await;
    let second = fixture.proxy.kubeconfig().client().await.unwrap();
    rotate(&fixture, async |at| {
        let mut writes = fixture.proxy.when(calls().mutating().of("secrets")).hold_request();
        let both = async {
            let (one, other) = tokio::join!(fixture.advance(ES256, at), advance_by(&second, &fixture.release, ES256, at));
            (one.unwrap(), other.unwrap())
        };
        let mut both = std::pin::pin!(both);
        loop {
            tokio::select! {
                _ = &mut both => break,
                // Both planned the same step on the same version before either of them writes.
                held = async { [writes.next(SOON).await.unwrap(), writes.next(SOON).await.unwrap()] } => {
                    held.into_iter().for_each(|call| call.release());
                }
            }
        }
    })
    .await;
    let log = fixture.proxy.log();
    let written = log.iter().filter(|call| calls().mutating().includes(call) && matches!(call.status, Some(200 | 201))).count();
    assert_eq!(written, WRITES);
}

/// A replica that has not seen it keeps it from signing; A09 is what follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_new_algorithm_signs_only_when_every_replica_has_seen_it() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let first = fixture.look(BOTH, now()).await.unwrap();
    let [Done::Step(Step::Prepare { .. }, kids)] = first.done.as_slice() else { panic!("{first:?}") };
    assert!(first.waits_for_replicas);
    let later = fixture.look(BOTH, now() + hours(1_000)).await.unwrap();
    assert!(later.waits_for_replicas && later.done.is_empty() && later.version == first.version);
    let set = fixture.file().await.into_key_set();
    assert_eq!(set.active.keys().copied().collect::<Vec<_>>(), ES256);
    assert!(std::str::from_utf8(&set.jwks).unwrap().contains(&kids[0]));
    fixture.advance(BOTH, now()).await.unwrap();
    assert_eq!(fixture.file().await.into_key_set().active[&Algorithm::Rs256].kid(), kids[0]);
}

/// W06: no key of an algorithm that nothing is signed with.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_algorithm_that_nobody_uses_go() {
    let fixture = Fixture::start().await;
    let start = now();
    fixture.look(BOTH, start).await.unwrap();
    let unneeded = |since: Timestamp| {
        let needs = BTreeMap::from([(Algorithm::Es256, Need::Needed), (Algorithm::Rs256, Need::UnneededSince(since))]);
        Wanted { needs, ..wanted(&[]) }
    };
    for (hour, count) in [(23, 2), (24, 2), (51, 1)] {
        let mut seen = None;
        loop {
            let at = start + hours(hour);
            let advanced = advance(&fixture.leader, &fixture.release, &unneeded(start), seen.as_deref(), at).await.unwrap();
            if !advanced.waits_for_replicas {
                break;
            }
            seen = Some(advanced.version);
        }
        assert_eq!(fixture.file().await.keys.len(), count, "hour {hour}");
    }
}

/// The first verb: every window is kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_prepares_one_key_of_each_algorithm_once() {
    let fixture = Fixture::start().await;
    fixture.look(BOTH, now()).await.unwrap();
    let order = async |value: &str| fixture.edit("kw-keys", json!({"metadata": {"annotations": {"keywright.dev/rotate": value}}})).await;
    order("1").await;
    let done = fixture.advance(BOTH, now()).await.unwrap();
    let [Done::Step(Step::Prepare { lines, cause: Cause::Ordered }, kids), Done::Step(Step::Confirm, _)] = done.as_slice() else {
        panic!("{done:?}")
    };
    assert_eq!((lines.len(), kids.len()), (2, 2));
    assert_eq!(fixture.secret().await.annotations()["keywright.dev/last-handled-rotate"], "1");
    assert_eq!(fixture.advance(BOTH, now()).await.unwrap(), []);
    // Meanwhile another order gets what is under way.
    order("2").await;
    assert_eq!(fixture.advance(BOTH, now()).await.unwrap(), [Done::Step(Step::Acknowledge, vec![])]);
    let after = now() + hours(24);
    fixture.advance(BOTH, after).await.unwrap();
    let active: BTreeSet<String> = fixture.file().await.into_key_set().active.values().map(|key| key.kid().to_owned()).collect();
    assert_eq!(active, kids.iter().cloned().collect());
    let summary: Value = serde_json::from_str(&fixture.secret().await.annotations()["keywright.dev/signing-keys"]).unwrap();
    assert_eq!(summary.as_object().unwrap().len(), 4);
    assert!(kids.iter().all(|kid| summary[kid]["state"] == "active"), "{summary}");
}

/// S23: the second verb. What a restored backup brings back goes again.
#[tokio::test(flavor = "multi_thread")]
async fn s23_a_revoked_key_is_dropped_at_once_and_whenever_it_comes_back() {
    let fixture = Fixture::start().await;
    fixture.look(ES256, now()).await.unwrap();
    let (leaked, backup) = (kid(&fixture.file().await), fixture.secret().await.data);
    fixture.edit("kw-keys", json!({"metadata": {"annotations": {"keywright.dev/revoke": leaked}}})).await;
    let done = fixture.look(ES256, now()).await.unwrap().done;
    let [Done::Step(Step::Revoke(ids), drawn)] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!((ids.iter().collect::<Vec<_>>(), drawn.len()), (vec![&leaked], 1));
    let set = fixture.file().await.into_key_set();
    assert_eq!(set.active[&Algorithm::Es256].kid(), drawn[0]);
    assert!(!std::str::from_utf8(&set.jwks).unwrap().contains(&leaked));
    assert_eq!(fixture.look(ES256, now()).await.unwrap().done, []);

    fixture.edit("kw-keys", json!({"data": backup})).await;
    fixture.look(ES256, now()).await.unwrap();
    assert!(!fixture.file().await.lives().iter().any(|life| life.id == leaked));

    fixture.edit("kw-keys", json!({"metadata": {"annotations": {"keywright.dev/revoke": "misspelt"}}})).await;
    let done = fixture.look(ES256, now()).await.unwrap().done;
    assert_eq!(done, [Done::NothingToRevoke(["misspelt".to_owned()].into())]);
    assert_eq!(fixture.look(ES256, now()).await.unwrap().done, [], "it is said once");
}
