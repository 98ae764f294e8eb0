//! How far an order has come, as the client's status tells. Pure.

use super::report::{Held, Report};
use jiff::Timestamp;

/// See above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The Secret holds a new credential: this one.
    Done(Held),
    /// Not yet, and for this.
    Waiting(String),
    /// Nothing happens until somebody changes something.
    Stuck(String),
}

/// Of a rotation that was ordered by this value of the annotation, when `former` was the Current credential.
pub(super) fn of_rotation(report: &Report, order: &str, former: Option<&str>) -> Progress {
    let answered = report.last_handled_rotate.as_deref() == Some(order);
    published(report, |held| answered && Some(held.id.as_str()) != former)
}

/// Of a revocation of all credentials that were made before this time.
pub(super) fn of_revocation(report: &Report, before: Timestamp) -> Progress {
    let is_new = |held: &Held| held.created_at >= Some(before);
    let all_new = report.credentials.iter().all(is_new);
    published(report, |held| all_new && is_new(held))
}

fn published(report: &Report, is_wanted: impl Fn(&Held) -> bool) -> Progress {
    let is_pending = report.credentials.iter().any(|held| held.state == "Pending");
    match report.current().filter(|held| !is_pending && is_wanted(held)) {
        Some(held) => Progress::Done(held.clone()),
        None => waiting(report),
    }
}

fn waiting(report: &Report) -> Progress {
    if report.controller.is_none() {
        let why = "no installation has looked at it: is Keywright running, and is spec.issuer its issuer.name?";
        return Progress::Waiting(why.to_owned());
    }
    if report.outdated {
        return Progress::Waiting("the operator has not looked at it yet".to_owned());
    }
    let told = |type_: &str| report.condition(type_).filter(|line| line.status == "True");
    match (told("Stalled"), told("Reconciling")) {
        (Some(line), _) => Progress::Stuck(format!("{}: {}", line.reason, line.message)),
        (None, Some(line)) => Progress::Waiting(line.message.clone()),
        (None, None) => Progress::Waiting("the operator has not begun yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::OAuthClient;
    use serde_json::{Value, json};

    fn report(status: &Value) -> Report {
        let object = json!({
            "metadata": {"name": "worker", "namespace": "billing", "generation": 2},
            "spec": {"access": []},
            "status": status,
        });
        Report::of(&serde_json::from_value::<OAuthClient>(object).unwrap())
    }

    fn known(id: &str, state: &str, second: u32) -> Value {
        json!({"id": id, "digest": "d", "state": state, "createdAt": format!("2026-01-01T00:00:{second:02}Z")})
    }

    fn status(handled: &str, credentials: &[Value]) -> Value {
        json!({"observedGeneration": 2, "controller": "a/b", "lastHandledRotate": handled, "credentials": credentials})
    }

    fn done(progress: &Progress) -> Option<&str> {
        match progress {
            Progress::Done(held) => Some(&held.id),
            _ => None,
        }
    }

    #[test]
    fn a_rotation_is_done_when_the_order_is_echoed_and_another_credential_is_current() {
        let old = known("old", "Current", 1);
        for (handled, credentials, expected) in [
            ("order", vec![old.clone()], None),
            ("order", vec![old.clone(), known("new", "Pending", 2)], None),
            ("order", vec![known("old", "Previous", 1), known("new", "Current", 2)], Some("new")),
            ("earlier", vec![known("old", "Previous", 1), known("new", "Current", 2)], None),
            ("order", vec![known("new", "Current", 2), known("newer", "Pending", 3)], None),
        ] {
            let progress = of_rotation(&report(&status(handled, &credentials)), "order", Some("old"));
            assert_eq!(done(&progress), expected, "{credentials:?}");
        }
        assert_eq!(done(&of_rotation(&report(&status("order", &[known("first", "Current", 1)])), "order", None)), Some("first"));
    }

    /// F20: a revocation is done when nothing that is older is accepted any more, and not before the workload has a new one.
    #[test]
    fn a_revocation_is_done_when_all_that_is_left_is_newer() {
        let before = "2026-01-01T00:00:05Z".parse().unwrap();
        for (credentials, expected) in [
            (vec![known("old", "Current", 4)], None),
            (vec![], None),
            (vec![known("old", "Previous", 4), known("new", "Current", 6)], None),
            (vec![known("new", "Pending", 6)], None),
            (vec![known("new", "Current", 5)], Some("new")),
        ] {
            assert_eq!(done(&of_revocation(&report(&status("", &credentials)), before)), expected, "{credentials:?}");
        }
    }

    #[test]
    fn what_is_waited_for_is_said() {
        let condition = |type_: &str| json!([{"type": type_, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": ""}]);
        for (status, expected) in [
            (
                json!({}),
                Progress::Waiting("no installation has looked at it: is Keywright running, and is spec.issuer its issuer.name?".into()),
            ),
            (json!({"controller": "a/b", "observedGeneration": 1}), Progress::Waiting("the operator has not looked at it yet".into())),
            (json!({"controller": "a/b", "observedGeneration": 2, "conditions": condition("Stalled")}), Progress::Stuck("R: m".into())),
            (json!({"controller": "a/b", "observedGeneration": 2, "conditions": condition("Reconciling")}), Progress::Waiting("m".into())),
        ] {
            assert_eq!(of_rotation(&report(&status), "order", None), expected);
        }
    }
}
