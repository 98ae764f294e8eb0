//! What stands in the CA's Secret, and what each step makes of it.

use super::*;
use crate::{domain::key_rotation::Cause, keys::certificate::ServedName};

fn at(day: i64) -> Timestamp {
    "2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap() + DAY * i32::try_from(day).unwrap()
}

fn names() -> BTreeSet<ServedName> {
    [ServedName::parse("kw.auth.svc").unwrap()].into()
}

fn authority(day: i64) -> Authority {
    Authority::generate("auth/kw", &names(), at(day)).unwrap()
}

fn first() -> Authorities {
    Authorities::first(authority(0), at(0)).unwrap()
}

/// What is read of what was written.
fn stored(authorities: &Authorities) -> Authorities {
    Authorities::parse(&authorities.to_data(), Some(&authorities.summary())).unwrap()
}

fn prepared(before: Authorities, day: i64) -> Authorities {
    before.after(&Step::Prepare { lines: [()].into(), cause: Cause::Due }, Some(authority(day)), at(day)).unwrap()
}

fn stages(authorities: &Authorities) -> Vec<Stage> {
    authorities.0.iter().map(|known| known.life.stage).collect()
}

fn id(authorities: &Authorities, stage: Stage) -> String {
    authorities.at(stage).unwrap().life.id.clone()
}

fn shown_by(authorities: &Authorities, day: i64) -> ServingCertificate {
    ServingCertificate::parse(&authorities.signer().unwrap().issue(&names(), &authorities.bundle(), at(day)).unwrap()).unwrap()
}

/// Whoever made clients trust it before, by an earlier version: nothing but the two entries.
#[test]
fn a_secret_of_kubectl_create_secret_tls_is_one_ca_that_signs() {
    let authorities = first();
    let read = Authorities::parse(&authorities.to_data(), None).unwrap();
    assert_eq!(authorities.to_data().keys().collect::<Vec<_>>(), [CERTIFICATE, PRIVATE_KEY]);
    assert_eq!((read.bundle(), stages(&read)), (authorities.bundle(), vec![Stage::Active]));
    assert_eq!(read.0[0].life.created_at, at(0));
}

/// What no reader of the Secret may lose: who signs, who signs next, and since when.
#[test]
fn every_step_survives_the_secret() {
    let two = prepared(first(), 10);
    let next = id(&two, Stage::Prepared);
    let steps = [Step::Confirm, Step::Activate(next), Step::Confirm];
    let last = steps.into_iter().zip(10..).fold(two, |before, (step, day)| {
        let after = before.after(&step, None, at(day)).unwrap();
        let read = stored(&after);
        assert_eq!(read.summary(), after.summary());
        assert_eq!(read.to_data(), after.to_data());
        assert_eq!(read.changes(&after.to_data()), BTreeMap::new());
        after
    });
    assert_eq!(stages(&last), [Stage::Active, Stage::Retired]);
    assert_eq!(last.0[1].life.unused_since, Some(at(12)));
    assert!(last.0[1].signer.is_none() && !last.to_data().contains_key(NEXT_PRIVATE_KEY), "who signs no more needs no key");
    let former = Step::Remove([id(&last, Stage::Retired)].into());
    let removed = last.after(&former, None, at(99)).unwrap();
    assert_eq!(removed.to_data().keys().collect::<Vec<_>>(), [CERTIFICATE, PRIVATE_KEY]);
}

/// A client's Secret is written to when a CA comes and when one goes, and at no other step.
#[test]
fn the_bundle_changes_when_a_ca_comes_or_goes_and_not_when_another_one_signs() {
    let two = prepared(first(), 10);
    let bundle = two.bundle();
    let (old, new) = (id(&two, Stage::Active), id(&two, Stage::Prepared));
    let mut authorities = two;
    for step in [Step::Confirm, Step::Activate(new), Step::Confirm] {
        authorities = authorities.after(&step, None, at(11)).unwrap();
        assert_eq!(authorities.bundle(), bundle, "{step:?}");
    }
    let left = authorities.after(&Step::Remove([old].into()), None, at(12)).unwrap();
    assert!(bundle.ends_with(&left.bundle()), "the older one comes first");
}

/// S23: the next one takes over in the same write, or one that is made for it.
#[test]
fn a_revoked_ca_is_in_no_bundle_and_another_one_signs() {
    let two = prepared(first(), 10);
    let (old, new) = (id(&two, Stage::Active), id(&two, Stage::Prepared));
    let revoke = Step::Revoke([old.clone()].into());
    assert!(!two.draws(&revoke, at(11)));
    let left = two.after(&revoke, None, at(11)).unwrap();
    assert_eq!((stages(&left), id(&left, Stage::Active)), (vec![Stage::Active], new));

    let one = first();
    let revoke = Step::Revoke([id(&one, Stage::Active)].into());
    assert!(one.draws(&revoke, at(11)));
    let left = one.after(&revoke, Some(authority(11)), at(11)).unwrap();
    assert_eq!((stages(&left), left.0[0].life.activated_at), (vec![Stage::Active], Some(at(11))));
    assert!(left.signer().is_some());
}

/// What is in use stays in use, what is trusted stays trusted; a leaf that has ended takes its CA along.
#[test]
fn a_lost_ca_stays_trusted_beside_the_next_one_until_what_it_signed_ends() {
    let lost = first();
    let shown = shown_by(&lost, 0);
    let beside = Authorities::beside(&shown, authority(20), at(20)).unwrap().unwrap();
    assert_eq!(stages(&beside), [Stage::Active, Stage::Prepared]);
    assert!(beside.signer().is_none() && beside.active() == lost.active());
    assert!(beside.bundle().starts_with(&lost.bundle()));
    let read = stored(&beside);
    assert_eq!((read.summary(), read.signer().is_none()), (beside.summary(), true));
    assert_eq!(read.lives(Some(&shown), at(20))[0].signs_until, Some(shown.not_after - DAY));
    assert_eq!(read.lives(None, at(20))[0].signs_until, Some(at(20) - DAY), "nothing of it is in use");
    assert!(Authorities::beside(&shown, authority(91), at(91)).unwrap().is_none());
}

/// A hand that replaces the CA cuts nobody off; one that insists is obeyed; nobody brings a revoked one back.
#[test]
fn a_ca_that_a_hand_has_put_there_waits_like_any_other() {
    let ours = first();
    let shown = shown_by(&ours, 0);
    let theirs = Authorities::first(authority(1), at(1)).unwrap();
    let put = Authorities::parse(&theirs.to_data(), None).unwrap();
    let beside = put.put_beside(Some(&shown), at(1)).unwrap().unwrap();
    assert_eq!((beside.active(), beside.next().map(|(_, next)| next.certificate())), (ours.active(), theirs.active()));
    assert!(stored(&theirs).put_beside(Some(&shown), at(1)).unwrap().is_none(), "it is known: a step made it, or a second try");
    assert!(ours.put_beside(Some(&shown), at(1)).unwrap().is_none());
    assert!(put.put_beside(None, at(1)).unwrap().is_none());
}

#[test]
fn each_wrong_entry_is_named() {
    let data = prepared(first(), 10).to_data();
    let with = |entry: &str, bytes: &[u8]| {
        let mut data = data.clone();
        data.insert(entry.to_owned(), ByteString(bytes.to_vec()));
        data
    };
    for (data, error) in [
        (Data::new(), CertificateError::Missing(CERTIFICATE)),
        (with(CERTIFICATE, b"rubbish"), CertificateError::Pem(CERTIFICATE)),
        (with(PRIVATE_KEY, b"rubbish"), CertificateError::PrivateKey),
        (with(NEXT_CERTIFICATE, b"rubbish"), CertificateError::Next),
        (with(NEXT_PRIVATE_KEY, b""), CertificateError::Next),
        (with(FORMER, b"rubbish"), CertificateError::Pem(FORMER)),
    ] {
        assert_eq!(Authorities::parse(&data, None).err(), Some(error));
    }
    let garbled = Authorities::parse(&data, Some("{")).unwrap();
    assert_eq!(garbled.0[1].life.published_at, None, "what nobody knows counts from now");
}
