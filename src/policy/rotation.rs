//! From `spec.rotation` and `spec.revocation` to what they ask for.
//!
//! Apart from the rest of a client: what is wrong here stops its rotation, and never its tokens.

use super::{
    Policy, Refusal,
    refusal::{Problem, Problems},
};
use crate::{
    api::{self, OAuthClient, rotation::Rotation as Spec},
    domain::{duration, rotation::Retirement},
};
use jiff::{SignedDuration, Timestamp};

/// The shortest overlap: the kubelet takes minutes to renew a mounted file.
pub(super) const SHORTEST_OVERLAP: SignedDuration = SignedDuration::from_mins(10);
/// How old a secret gets where nobody says.
const EVERY: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long a replaced one stays accepted where nobody says.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// When a client's secret changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// How old a secret gets; `None`: it changes only when somebody asks.
    pub every: Option<SignedDuration>,
    /// How long a replaced one stays accepted at least.
    pub overlap: SignedDuration,
    /// What becomes of it then.
    pub retirement: Retirement,
    /// When it is refused although it is in use.
    pub max_overlap: Option<SignedDuration>,
    /// Secrets that are older have leaked.
    pub secrets_issued_before: Option<Timestamp>,
    /// A rotation that is ordered is a rehearsal, and takes so long.
    pub rehearsal: Option<SignedDuration>,
    /// When what a rehearsal replaced is refused although it is in use: the platform's `maxOverlap`.
    pub longest_rehearsal: Option<SignedDuration>,
}

/// What a client's spec, and its annotation for rehearsals, ask for, with the defaults of what it leaves out.
///
/// # Errors
/// Everything that is wrong with it, in words that say what to change. S23: what lies in the future revokes nothing.
pub fn rotation(policy: &Policy, client: &OAuthClient, now: Timestamp) -> Result<Rotation, Refusal> {
    let spec = &client.spec;
    let asked = spec.rotation.clone().unwrap_or_default();
    let mut problems = Problems::default();
    let every = every(&asked, &mut problems);
    let retirement = problems.note(retirement(&asked));
    let given = asked.max_overlap.as_deref().and_then(|text| problems.note(bounded(policy, "spec.rotation.maxOverlap", text)));
    let longest = given.or(policy.max_overlap);
    let overlap = overlap(policy, &asked, (every, longest), &mut problems);
    let before = spec.revocation.as_ref().and_then(|revocation| revocation.secrets_issued_before.as_deref());
    let secrets_issued_before = before.and_then(|text| problems.note(past("spec.revocation.secretsIssuedBefore", text, now)));
    // What it cuts is cut by whoever answers for tokens.
    if let Some(text) = spec.revocation.as_ref().and_then(|revocation| revocation.tokens_issued_before.as_deref()) {
        problems.note(past("spec.revocation.tokensIssuedBefore", text, now));
    }
    let rehearsal = client.metadata.annotations.as_ref().and_then(|annotations| annotations.get(api::ANNOTATION_REHEARSE));
    let rehearsal = rehearsal.and_then(|text| problems.note(rehearsal_of(policy, text)));
    problems.finish(retirement.map(|retirement| Rotation {
        every,
        overlap,
        retirement,
        max_overlap: longest.filter(|_| retirement == Retirement::WhenUnused),
        secrets_issued_before,
        rehearsal,
        longest_rehearsal: policy.max_overlap,
    }))
}

fn every(asked: &Spec, problems: &mut Problems) -> Option<SignedDuration> {
    match asked.policy.as_deref() {
        None | Some("Scheduled") => {
            let text = asked.every.as_deref();
            Some(text.and_then(|text| problems.note(time("spec.rotation.every", text))).unwrap_or(EVERY))
        }
        Some("Manual") => None,
        Some(other) => {
            problems.invalid(format!("spec.rotation.policy: {other:?} is not known here: write Scheduled or Manual"));
            None
        }
    }
}

fn retirement(asked: &Spec) -> Result<Retirement, Problem> {
    match asked.retire.as_deref() {
        None | Some("WhenUnused") => Ok(Retirement::WhenUnused),
        Some("AfterOverlap") => Ok(Retirement::AfterOverlap),
        Some(other) => {
            Err(Problem::Invalid(format!("spec.rotation.retire: {other:?} is not known here: write WhenUnused or AfterOverlap")))
        }
    }
}

/// The overlap that is given, or a day, or what fits into a shorter `every` or `maxOverlap`.
fn overlap(
    policy: &Policy,
    asked: &Spec,
    (every, longest): (Option<SignedDuration>, Option<SignedDuration>),
    problems: &mut Problems,
) -> SignedDuration {
    let given = asked.overlap.as_deref().and_then(|text| problems.note(bounded(policy, "spec.rotation.overlap", text)));
    let fitting = [every.map(|every| every / 2), longest].into_iter().flatten().fold(OVERLAP, SignedDuration::min);
    let overlap = given.unwrap_or_else(|| fitting.max(policy.min_overlap));
    if let Some(every) = every.filter(|every| *every <= overlap) {
        problems.invalid(format!(
            "spec.rotation: a secret is replaced every {}, and stays accepted for {}: write a longer every, or a shorter overlap",
            duration::text(every),
            duration::text(overlap)
        ));
    }
    if let Some(longest) = longest.filter(|longest| *longest < overlap) {
        let longest = duration::text(longest);
        problems.invalid(format!("spec.rotation: maxOverlap is {longest}, shorter than overlap: write a longer maxOverlap"));
    }
    overlap
}

fn bounded(policy: &Policy, path: &str, text: &str) -> Result<SignedDuration, Problem> {
    let overlap = time(path, text)?;
    if overlap < SHORTEST_OVERLAP {
        return Err(Problem::Invalid(format!("{path}: a replaced secret stays accepted for at least ten minutes: write 10m or more")));
    }
    if overlap < policy.min_overlap {
        let min = duration::text(policy.min_overlap);
        return Err(Problem::Forbidden(format!("{path}: the platform's policy asks for at least {min}: write {min} or more")));
    }
    match policy.max_overlap.filter(|max| overlap > *max) {
        Some(max) => {
            let max = duration::text(max);
            Err(Problem::Forbidden(format!("{path}: the platform's policy allows at most {max}: write {max} or less")))
        }
        None => Ok(overlap),
    }
}

/// A rehearsal that is cut by the platform's policy before its end would be none.
fn rehearsal_of(policy: &Policy, text: &str) -> Result<SignedDuration, Problem> {
    let path = format!("the annotation {}", api::ANNOTATION_REHEARSE);
    let rehearsal = time(&path, text)?;
    match policy.max_overlap.filter(|max| rehearsal > *max) {
        Some(max) => {
            let max = duration::text(max);
            Err(Problem::Forbidden(format!("{path}: the platform's policy accepts a replaced secret for {max}: write {max} or less")))
        }
        None => Ok(rehearsal),
    }
}

fn time(path: &str, text: &str) -> Result<SignedDuration, Problem> {
    duration::parse(text).map_err(|error| Problem::Invalid(format!("{path}: {error}")))
}

/// What is revoked is what was made before: a time to come would be a rotation on a day of its own, without an overlap.
fn past(path: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let time: Timestamp =
        text.parse().map_err(|_| Problem::Invalid(format!("{path}: {text:?} is no time: write it as 2026-11-23T00:00:00Z")))?;
    if time > now {
        return Err(Problem::Invalid(format!(
            "{path}: {text} lies in the future: write the time until which they may have leaked, at most now"
        )));
    }
    Ok(time)
}
