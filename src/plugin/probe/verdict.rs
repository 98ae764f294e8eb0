//! What an API's answers say about its verifier. Pure.

use crate::{
    api::probed::{OTHER_CASES, Probed},
    domain::probe::{Case, Told},
};
use jiff::Timestamp;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This status.
    Status(u16),
    /// None, in the time that it had.
    Silence,
    /// One that came when the token would have been over anyway.
    TooLate,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused,
    Accepted,
    /// It could be either.
    Unclear,
}

/// One request that has to be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) told: Told,
    pub(super) answer: Answer,
    pub(super) verdict: Verdict,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// What a right token was answered with, if there was one.
    pub(super) right: Option<Answer>,
    pub(super) lines: Vec<Line>,
}

/// A request without a token.
pub(super) const NO_TOKEN: Told = Told {
    name: OTHER_CASES[0],
    flaw: "there is no token at all",
    source: "RFC 6750 section 3",
    fix: "demand a token at this URL; if it needs none, probe a URL that does",
};

/// A token that somebody has revoked. The issuer can make none that a verifier without introspection refuses.
pub(super) const REVOKED: Told = Told {
    name: OTHER_CASES[1],
    flaw: "it is revoked",
    source: "RFC 7662 section 2.2",
    fix: "introspect each token, and remember an answer for moments at most; an API that verifies offline cannot know",
};

/// What is told of a case that the issuer has made; one of a newer issuer is called as it calls it.
pub(super) fn told(name: &str) -> Told {
    let newer = Told {
        name: "newer",
        flaw: "a flaw that this version does not know",
        source: "the issuer's version",
        fix: "use the version of the issuer",
    };
    Case::named(name).map_or(newer, Case::told)
}

impl Outcome {
    /// Of these answers.
    pub(super) fn of(right: Option<Answer>, answers: Vec<(Told, Answer)>) -> Self {
        let accepts_right = right.is_some_and(is_success);
        let lines = answers.into_iter().map(|(told, answer)| Line { told, answer, verdict: verdict(answer, accepts_right) });
        Self { right, lines: lines.collect() }
    }

    pub(super) fn those(&self, verdict: Verdict) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.verdict == verdict)
    }

    /// Whether a right token was accepted, if there was one.
    pub(super) fn right_is_accepted(&self) -> Option<bool> {
        self.right.map(is_success)
    }

    /// What is wrong or not known, in one line; nothing: everything was refused that has to be, and a right token was not.
    pub(super) fn doubt(&self) -> Option<String> {
        let accepted = names(self.those(Verdict::Accepted));
        let unclear = names(self.those(Verdict::Unclear));
        match (accepted.as_slice(), unclear.as_slice(), self.right_is_accepted()) {
            ([_, ..], _, _) => Some(format!("the API accepts what it has to refuse: {}", accepted.join(", "))),
            ([], _, Some(false)) => {
                Some("the API did not accept the right token either: nothing can be told from what it refused".to_owned())
            }
            ([], [_, ..], _) => {
                Some(format!("the answers to {} say neither that they are refused nor that they are accepted", unclear.join(", ")))
            }
            ([], [], Some(true) | None) => None,
        }
    }

    /// For the annotation.
    pub(super) fn probed(&self, time: Timestamp, generation: i64, host: String) -> Probed {
        Probed {
            time,
            generation,
            host,
            right: self.right_is_accepted(),
            refused: u32::try_from(self.those(Verdict::Refused).count()).unwrap_or(u32::MAX),
            accepted: names(self.those(Verdict::Accepted)),
            unclear: names(self.those(Verdict::Unclear)),
        }
    }
}

fn names<'a>(lines: impl Iterator<Item = &'a Line>) -> Vec<String> {
    lines.map(|line| line.told.name.to_owned()).collect()
}

fn is_success(answer: Answer) -> bool {
    matches!(answer, Answer::Status(200..=299))
}

/// RFC 6750 §3.1: 401 and 403 are about the token. Where a right one is answered with success, so is every other fault of the
/// requester, but for those of time and number. A redirect or a fault of the server says nothing.
fn verdict(answer: Answer, accepts_right: bool) -> Verdict {
    match answer {
        Answer::Status(401 | 403) => Verdict::Refused,
        Answer::Status(200..=299) => Verdict::Accepted,
        Answer::Status(status @ 400..=499) if accepts_right && !matches!(status, 408 | 429) => Verdict::Refused,
        Answer::Status(_) | Answer::Silence | Answer::TooLate => Verdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(right: Option<u16>, answers: &[(Case, Answer)]) -> Outcome {
        Outcome::of(right.map(Answer::Status), answers.iter().map(|(case, answer)| (case.told(), *answer)).collect())
    }

    #[test]
    fn what_an_answer_means_depends_on_what_a_right_token_is_answered_with() {
        for (status, alone, beside_success) in [
            (200, Verdict::Accepted, Verdict::Accepted),
            (204, Verdict::Accepted, Verdict::Accepted),
            (302, Verdict::Unclear, Verdict::Unclear),
            (400, Verdict::Unclear, Verdict::Refused),
            (401, Verdict::Refused, Verdict::Refused),
            (403, Verdict::Refused, Verdict::Refused),
            (404, Verdict::Unclear, Verdict::Refused),
            (408, Verdict::Unclear, Verdict::Unclear),
            (429, Verdict::Unclear, Verdict::Unclear),
            (500, Verdict::Unclear, Verdict::Unclear),
            (503, Verdict::Unclear, Verdict::Unclear),
        ] {
            assert_eq!(verdict(Answer::Status(status), false), alone, "{status}");
            assert_eq!(verdict(Answer::Status(status), true), beside_success, "{status}");
        }
        assert_eq!(verdict(Answer::Silence, true), Verdict::Unclear);
        assert_eq!(verdict(Answer::TooLate, true), Verdict::Unclear);
    }

    #[test]
    fn all_is_well_where_everything_is_refused_and_a_right_token_is_not() {
        let refused = [(Case::Expired, Answer::Status(401)), (Case::NoScope, Answer::Status(403))];
        assert_eq!(outcome(Some(200), &refused).doubt(), None);
        assert_eq!(outcome(None, &refused).doubt(), None);
        assert!(outcome(Some(401), &refused).doubt().unwrap().contains("did not accept the right token"));
        let accepted = [(Case::Expired, Answer::Status(200)), (Case::NoScope, Answer::Status(500))];
        assert_eq!(outcome(None, &accepted).doubt().unwrap(), "the API accepts what it has to refuse: expired");
        let unclear = outcome(Some(200), &[(Case::NoScope, Answer::Status(500)), (Case::Expired, Answer::Silence)]);
        assert!(unclear.doubt().unwrap().contains("no-scope, expired"));
    }

    /// What is written is read again by those who may not believe it.
    #[test]
    fn the_annotation_holds_what_the_operator_reads() {
        let outcome =
            Outcome::of(None, vec![(NO_TOKEN, Answer::Status(200)), (REVOKED, Answer::Silence), (told("expired"), Answer::Status(401))]);
        let probed = outcome.probed("2026-11-26T08:00:00Z".parse().unwrap(), 1, "localhost:1".to_owned());
        assert_eq!(Probed::read(&probed.to_text()), Some(probed.clone()));
        assert_eq!((probed.refused, probed.accepted, probed.unclear), (1, vec!["no-token".to_owned()], vec!["revoked".to_owned()]));
    }
}
