//! An outcome as people and programs read it. Pure.

use super::verdict::{Answer, Outcome, Verdict};
use crate::plugin::table;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A line for each request, and what to change.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut rows = vec![["PROBE", "WHAT IS WRONG", "ANSWER", "VERDICT"].map(str::to_owned).to_vec()];
    rows.extend(outcome.lines.iter().map(|line| {
        let verdict = match line.verdict {
            Verdict::Refused => "refused",
            Verdict::Accepted => "ACCEPTED",
            Verdict::Unclear => "unclear",
        };
        vec![line.told.name.to_owned(), line.told.flaw.to_owned(), answer(line.answer), verdict.to_owned()]
    }));
    if let Some(right) = outcome.right {
        let verdict = if outcome.right_is_accepted() == Some(true) { "accepted, as it has to be" } else { "NOT ACCEPTED" };
        rows.push(vec!["right token".to_owned(), "nothing".to_owned(), answer(right), verdict.to_owned()]);
    }
    let mut text = table::aligned(&rows, "");
    let fixes: Vec<Vec<String>> = outcome
        .those(Verdict::Accepted)
        .map(|line| vec![line.told.name.to_owned(), format!("{} ({})", line.told.fix, line.told.source)])
        .collect();
    if !fixes.is_empty() {
        text += "\nWhat most likely has to be changed:\n";
        text += &table::aligned(&fixes, "  ");
    }
    let count = |verdict| outcome.those(verdict).count();
    // A String takes everything.
    let _ =
        writeln!(text, "\n{} refused, {} accepted, {} unclear", count(Verdict::Refused), count(Verdict::Accepted), count(Verdict::Unclear));
    if outcome.right.is_none() {
        text += "No right token was sent (--token-file): an API that refuses everything looks the same.\n";
    }
    text
}

/// The same for programs.
pub(super) fn json(outcome: &Outcome, (resource, host): (&str, &str), unstored: Option<&str>) -> Value {
    let cases = outcome.lines.iter().map(|line| {
        json!({
            "name": line.told.name,
            "flaw": line.told.flaw,
            "source": line.told.source,
            "status": status(line.answer),
            "verdict": match line.verdict {
                Verdict::Refused => "refused",
                Verdict::Accepted => "accepted",
                Verdict::Unclear => "unclear",
            },
            "fix": (line.verdict == Verdict::Accepted).then_some(line.told.fix),
        })
    });
    let right = outcome.right.map(|answer| json!({"status": status(answer), "accepted": outcome.right_is_accepted()}));
    let cases: Vec<Value> = cases.collect();
    json!({"resource": resource, "host": host, "cases": cases, "rightToken": right, "notStored": unstored})
}

fn answer(answer: Answer) -> String {
    match answer {
        Answer::Status(status) => status.to_string(),
        Answer::Silence => "none".to_owned(),
        Answer::TooLate => "too late".to_owned(),
    }
}

fn status(answer: Answer) -> Option<u16> {
    match answer {
        Answer::Status(status) => Some(status),
        Answer::Silence | Answer::TooLate => None,
    }
}
