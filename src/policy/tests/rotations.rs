//! `spec.rotation` and `spec.revocation`.

use super::{Policy, Reason, object, policy, refused, rotation};
use crate::{
    api::{self, OAuthClient},
    domain::rotation::Retirement,
    policy::Rotation,
};
use jiff::{SignedDuration, Timestamp};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn asked(policy: &Policy, rotation_spec: &str) -> Result<Rotation, super::Refusal> {
    let object: OAuthClient = object("OAuthClient", ("billing", "worker"), &format!("{{access: [], {rotation_spec}}}"));
    rotation(policy, &object, now())
}

#[test]
fn a_client_that_says_nothing_gets_a_new_secret_every_30_days() {
    let said = asked(&Policy::default(), "").unwrap();
    assert_eq!((said.every, said.overlap), (Some(MINUTE * 43_200), MINUTE * 1_440));
    assert_eq!((said.retirement, said.max_overlap, said.secrets_issued_before), (Retirement::WhenUnused, None, None));
    assert_eq!(asked(&Policy::default(), "rotation: {}").unwrap(), said);
}

#[test]
fn everything_that_a_rotation_can_say_is_heard() {
    let spec = "rotation: {every: 7d, overlap: 2h, maxOverlap: 3d}, revocation: {secretsIssuedBefore: '2026-11-23T12:00:00Z'}";
    let said = asked(&Policy::default(), spec).unwrap();
    assert_eq!((said.every, said.overlap, said.max_overlap), (Some(MINUTE * 10_080), MINUTE * 120, Some(MINUTE * 4_320)));
    assert_eq!(said.secrets_issued_before, Some(now()));
    let manual = asked(&Policy::default(), "rotation: {policy: Manual, overlap: 40d, retire: AfterOverlap}").unwrap();
    assert_eq!((manual.every, manual.overlap, manual.retirement), (None, MINUTE * 57_600, Retirement::AfterOverlap));
}

#[test]
fn an_overlap_that_nobody_gave_fits_into_what_was_given() {
    for (text, rules, minutes) in [
        ("{every: 2d}", "{}", 1_440),
        ("{every: 12h}", "{}", 360),
        ("{every: 19m}", "{}", 10),
        ("{maxOverlap: 1h}", "{}", 60),
        ("{}", "{maxOverlap: 2h}", 120),
        ("{}", "{minOverlap: 2d}", 2_880),
    ] {
        assert_eq!(asked(&policy(rules), &format!("rotation: {text}")).unwrap().overlap, MINUTE * minutes, "{text} {rules}");
    }
}

#[test]
fn policy_cuts_what_a_client_does_not_cut() {
    let bounded = policy("{maxOverlap: 2d}");
    assert_eq!(asked(&bounded, "").unwrap().max_overlap, Some(MINUTE * 2_880));
    assert_eq!(asked(&bounded, "rotation: {maxOverlap: 1d}").unwrap().max_overlap, Some(MINUTE * 1_440));
    assert_eq!(asked(&bounded, "rotation: {retire: AfterOverlap}").unwrap().max_overlap, None);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_word_on_what_to_write() {
    for (text, message) in [
        ("{policy: Sometimes}", "write Scheduled or Manual"),
        ("{retire: Never}", "write WhenUnused or AfterOverlap"),
        ("{every: 1 week}", "spec.rotation.every: a duration is"),
        ("{overlap: 9m}", "write 10m or more"),
        ("{every: 10m}", "write a longer every"),
        ("{every: 1d, overlap: 24h}", "write a longer every"),
        ("{overlap: 30d}", "write a longer every"),
        ("{overlap: 2d, maxOverlap: 1d}", "write a longer maxOverlap"),
    ] {
        let (reason, said) = refused(asked(&Policy::default(), &format!("rotation: {text}")));
        assert_eq!(reason, Reason::InvalidSpec);
        assert!(said.contains(message), "{text}: {said}");
    }
    for (rules, text, message) in [
        ("{minOverlap: 1h}", "{overlap: 30m}", "asks for at least 1h"),
        ("{maxOverlap: 1d}", "{overlap: 2d}", "allows at most 1d"),
        ("{maxOverlap: 1d}", "{maxOverlap: 2d}", "allows at most 1d"),
    ] {
        let (reason, said) = refused(asked(&policy(rules), &format!("rotation: {text}")));
        assert_eq!(reason, Reason::PolicyViolation);
        assert!(said.contains(message), "{rules} {text}: {said}");
    }
}

#[test]
fn a_rehearsal_is_no_longer_than_the_platform_accepts_what_it_replaces() {
    let rehearsing = |policy: &Policy, text: &str| {
        let mut object: OAuthClient = object("OAuthClient", ("billing", "worker"), "{access: []}");
        object.metadata.annotations = Some([(api::ANNOTATION_REHEARSE.to_owned(), text.to_owned())].into());
        rotation(policy, &object, now())
    };
    let day = rehearsing(&policy("{maxOverlap: 1d}"), "24h").unwrap();
    assert_eq!((day.rehearsal, day.longest_rehearsal), (Some(MINUTE * 1_440), Some(MINUTE * 1_440)));
    assert_eq!(rehearsing(&Policy::default(), "40d").unwrap().longest_rehearsal, None);
    let (reason, said) = refused(rehearsing(&policy("{maxOverlap: 1d}"), "25h"));
    assert!(reason == Reason::PolicyViolation && said.contains("keywright.dev/rehearse") && said.contains("write 1d or less"), "{said}");
    let (reason, said) = refused(rehearsing(&Policy::default(), "a day"));
    assert!(reason == Reason::InvalidSpec && said.contains("keywright.dev/rehearse"), "{said}");
}

/// S23.
#[test]
fn a_revocation_in_the_future_is_no_schedule() {
    for (text, message) in [("2026-11-23T12:00:01Z", "lies in the future"), ("now", "is no time")] {
        for what in ["secretsIssuedBefore", "tokensIssuedBefore"] {
            let (reason, said) = refused(asked(&Policy::default(), &format!("revocation: {{{what}: '{text}'}}")));
            assert_eq!(reason, Reason::InvalidSpec);
            assert!(said.contains(message), "{said}");
        }
    }
}
