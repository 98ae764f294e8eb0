//! What stands in the CA's Secret, and what each step makes of it.

use super::*;
use crate::{
    domain::key_rotation::{Cause, Need, Slots, plan},
    keys::certificate::{ServedName, serving::renewal},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};

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

/// What happens on one day.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The leader sees to the CAs and to the certificate.
    Lead,
    /// `ca.crt` is copied to where clients read it.
    Copy,
    /// A client reads it there.
    Read,
    /// Somebody asks for another CA.
    Order,
    /// Somebody deletes the CA's Secret.
    Lose,
    /// A replica is cut off: it goes on showing what it shows, until that ends.
    CutOff,
}

/// A release whose leader looks, and whose copies are made, every [`LATEST`] days at the latest.
struct World {
    rules: Rules,
    asks_the_gate: bool,
    day: i64,
    stored: Option<(Data, String)>,
    serving: Data,
    shown: ServingCertificate,
    /// What a replica shows that is cut off.
    cut_off: Option<ServingCertificate>,
    copy: String,
    ordered: bool,
    lost: i64,
    readers: Vec<(i64, String)>,
}

const LATEST: i64 = 5;
/// From one loss to the next: until what the one before made has signed.
const APART: i64 = 60;
/// So short that a history has many.
const OFTEN: Rules = Rules { every: SignedDuration::from_hours(200 * 24), ..RULES };

impl World {
    fn new(rules: Rules, asks_the_gate: bool) -> Self {
        let first = first();
        let bundle = first.bundle();
        let serving = first.signer().unwrap().issue(&names(), &bundle, at(0)).unwrap();
        let (stored, shown) = (Some((first.to_data(), first.summary())), ServingCertificate::parse(&serving).unwrap());
        let readers = vec![(0, bundle.clone())];
        let (cut_off, copy) = (None, bundle);
        Self { rules, asks_the_gate, day: 0, stored, serving, shown, cut_off, copy, ordered: false, lost: 0, readers }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Lead => while self.lead() {},
            Event::Copy => self.copy = self.shown.ca.clone().unwrap(),
            Event::Read => self.readers.push((self.day, self.copy.clone())),
            Event::Order => self.ordered = true,
            Event::Lose if self.day - self.lost >= APART => (self.lost, self.stored) = (self.day, None),
            Event::Lose => {}
            Event::CutOff => self.cut_off = ServingCertificate::parse(&self.serving).ok(),
        }
    }

    /// Whether there was something to do.
    fn lead(&mut self) -> bool {
        let now = at(self.day);
        let Some((data, annotation)) = &self.stored else {
            let beside = Authorities::beside(&self.shown, authority(self.day), now).unwrap().expect("what it signed has not ended");
            self.stored = Some((beside.to_data(), beside.summary()));
            return true;
        };
        let authorities = Authorities::parse(data, Some(annotation)).unwrap();
        let bundle = authorities.bundle();
        let is_spread = self.shown.ca.as_ref() == Some(&bundle) && (self.copy == bundle || !self.asks_the_gate);
        let seen = is_spread && self.shown.is_signed_by(authorities.active().unwrap());
        let (keys, needs) = (authorities.lives(Some(&self.shown), now), [((), Need::Needed)].into());
        let slots = Slots { keys, needs, ordered: self.ordered, revoked: BTreeSet::new(), seen };
        if let Some(step) = plan(&slots, &self.rules, now).step.filter(|step| *step != Step::Gate) {
            self.ordered &= !matches!(step, Step::Prepare { .. } | Step::Acknowledge);
            let fresh = authorities.draws(&step, now).then(|| authority(self.day));
            let after = authorities.after(&step, fresh, now).unwrap();
            self.stored = Some((after.to_data(), after.summary()));
            return true;
        }
        let is_due = renewal(Some(&self.shown), authorities.active().unwrap(), &names(), now).is_err();
        match authorities.signer().filter(|_| is_due) {
            Some(signer) => self.serving = signer.issue(&names(), &bundle, now).unwrap(),
            None if self.shown.ca.as_ref() == Some(&bundle) => return false,
            None => drop(self.serving.insert(CA.to_owned(), ByteString(bundle.into_bytes()))),
        }
        self.shown = ServingCertificate::parse(&self.serving).unwrap();
        true
    }

    /// The law: whoever has read `ca.crt` less than 30 days ago verifies what is shown, and that has not ended.
    fn verify(&mut self) -> Result<(), String> {
        if at(self.day) >= self.shown.not_after {
            return Err(format!("day {}: what is shown has ended", self.day));
        }
        let oldest = self.day - 29;
        self.readers.retain(|(read, _)| *read >= oldest);
        let bundles: BTreeMap<&str, i64> = self.readers.iter().map(|(read, bundle)| (bundle.as_str(), *read)).collect();
        self.cut_off = self.cut_off.take().filter(|shown| at(self.day) < shown.not_after);
        let shown: Vec<_> = [&self.shown].into_iter().chain(&self.cut_off).collect();
        let is_useless = |bundle: &str| {
            let known = certificates(Some(bundle));
            !shown.iter().all(|shown| known.iter().any(|authority| shown.is_signed_by(authority)))
        };
        match bundles.into_iter().find(|(bundle, _)| is_useless(bundle)) {
            Some((_, read)) => Err(format!("day {}: what was read on day {read} is no use", self.day)),
            None => Ok(()),
        }
    }
}

/// Looks for a history that breaks the law.
fn break_with(rules: Rules, asks_the_gate: bool, cases: u32) -> Option<String> {
    let event = prop_oneof![
        3 => Just(Event::Lead), 3 => Just(Event::Copy), 8 => Just(Event::Read), 1 => Just(Event::Order), 1 => Just(Event::Lose),
        1 => Just(Event::CutOff)
    ];
    let days = prop::collection::vec(prop::collection::vec(event, 0..3), 300..500);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let broken = TestRunner::new(config).run(&days, |days| {
        let mut world = World::new(rules, asks_the_gate);
        for (day, events) in (0_i64..).zip(days) {
            world.day = day;
            let events = events.into_iter().filter(|event| !matches!(event, Event::Order | Event::Lose) || day % 7 == 0);
            let punctual = [Event::Lead, Event::Copy, Event::Lead].into_iter().filter(|_| day % LATEST == 0);
            for event in events.chain(punctual) {
                world.happen(event);
                world.verify().map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    });
    match broken {
        Ok(()) => None,
        Err(TestError::Fail(why, days)) => Some(format!("{why}\nafter {days:?}")),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Through successions, orders, and losses of the CA, however late leader and copies are.
#[test]
fn who_reads_ca_crt_within_thirty_days_is_never_cut_off() {
    assert_eq!(break_with(OFTEN, true, 16), None);
}

#[test]
fn without_the_gate_somebody_is_cut_off() {
    assert!(break_with(OFTEN, false, 200).is_some());
}

#[test]
fn without_the_time_before_the_first_signature_somebody_is_cut_off() {
    assert!(break_with(Rules { ahead: DAY * 20, ..OFTEN }, true, 200).is_some());
}

#[test]
fn without_the_time_after_the_last_signature_somebody_is_cut_off() {
    assert!(break_with(Rules { keep: DAY, ..OFTEN }, true, 200).is_some());
}
