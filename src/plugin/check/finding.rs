//! What `check` says. Pure.

use crate::{api::Condition, domain::names::ObjectName};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Weight {
    /// Tokens fail, or will.
    Fault,
    /// It could not be looked at.
    Unchecked,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) weight: Weight,
    /// What it is about, as in `Secret billing-oauth`.
    pub(super) about: String,
    /// What is wrong, and what to do.
    pub(super) message: String,
}

/// What was found out about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checked {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn fault(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { weight: Weight::Fault, about: about.into(), message: message.into() }
    }

    pub(super) fn unchecked(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self { weight: Weight::Unchecked, about: about.into(), message: message.into() }
    }
}

impl Checked {
    /// Each finding once, the worst first.
    pub(super) fn of(kind: &'static str, name: &ObjectName, findings: Vec<Finding>) -> Self {
        let mut told: Vec<Finding> = Vec::new();
        for finding in findings {
            if !told.iter().any(|earlier| earlier.message == finding.message) {
                told.push(finding);
            }
        }
        told.sort_by_key(|finding| finding.weight);
        Self { kind, namespace: name.namespace.clone(), name: name.name.clone(), findings: told }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.findings.iter().any(|finding| finding.weight == Weight::Fault)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let line = |finding: &Finding| {
            let mark = match finding.weight {
                Weight::Fault => "fault",
                Weight::Unchecked => "not checked",
            };
            format!("  {mark}: {}: {}\n", printable(&finding.about), printable(&finding.message))
        };
        let verdict = match (self.is_faulty(), self.findings.is_empty()) {
            (true, _) => "",
            (false, true) => " ok",
            (false, false) => " ok, as far as could be looked at",
        };
        let lines: String = self.findings.iter().map(line).collect();
        format!("{} {}/{}:{verdict}\n{lines}", self.kind, self.namespace, self.name)
    }
}

/// Whoever wrote an object's texts does not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What the operator says of an object: whether it is there at all, and its conditions.
pub(super) fn of_conditions(about: &str, told: &Told<'_>) -> Vec<Finding> {
    if told.controller.is_none() {
        return vec![Finding::fault(about, "no installation has looked at it: is Keywright running, and is spec.issuer its issuer.name?")];
    }
    if told.outdated {
        return vec![Finding::fault(about, "it has changed and nobody has looked at it since: is the operator running?")];
    }
    let untrue = |type_: &str| told.conditions.iter().find(|condition| condition.type_ == type_ && condition.status != "True");
    // Where it is also the reason why a client is not ready, it is said once.
    let probed = told.conditions.iter().find(|condition| condition.type_ == "Probed" && condition.status == "False");
    let lines = ["Ready", "Authorized"].into_iter().filter_map(untrue).chain(probed);
    let lines = lines.map(|line| format!("{}: {}", line.reason, line.message));
    let mut findings: Vec<Finding> = lines.map(|line| Finding::fault(about, line)).collect();
    findings.dedup();
    findings
}

/// What the status of an object holds of that.
pub(super) struct Told<'a> {
    pub(super) controller: Option<&'a str>,
    pub(super) outdated: bool,
    pub(super) conditions: &'a [Condition],
}
