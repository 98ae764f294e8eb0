//! Reports as people read them. Pure.

use super::report::{Held, Report};
use crate::domain::duration;
use jiff::Timestamp;

/// Where there is nothing to say.
const NOTHING: &str = "-";

/// A line for each client.
pub(super) fn overview(reports: &[Report], with_namespace: bool, now: Timestamp) -> String {
    let mut rows =
        vec![["NAMESPACE", "CLIENT", "READY", "REASON", "ROTATED", "USED", "STILL ACCEPTED", "NEXT ROTATION"].map(str::to_owned).to_vec()];
    rows.extend(reports.iter().map(|report| row(report, now)));
    let rows = rows.into_iter().map(|row| row.into_iter().skip(usize::from(!with_namespace)).collect::<Vec<_>>());
    aligned(&rows.collect::<Vec<_>>(), "")
}

/// One client, with all its credentials.
pub(super) fn detail(report: &Report, now: Timestamp) -> String {
    let head = [
        ("OAuthClient", Some(format!("{}/{}", report.namespace, report.name))),
        ("Client id", report.client_id.clone()),
        ("Served by", report.controller.clone()),
        ("Secret", report.secret.clone()),
        ("Next rotation", report.next_rotation.map(|time| at(time, now))),
    ];
    let head: Vec<_> = head.into_iter().map(|(name, text)| vec![format!("{name}:"), text.unwrap_or_else(|| NOTHING.to_owned())]).collect();
    let conditions: Vec<_> = report
        .conditions
        .iter()
        .map(|line| vec![line.type_.clone(), line.status.clone(), line.reason.clone(), line.message.clone()])
        .collect();
    let outdated = if report.outdated { "  The object has changed since: the operator has not looked at it yet.\n" } else { "" };
    let mut credentials = vec![["CREDENTIAL", "STATE", "MADE", "USED", "BY", "ACCEPTED"].map(str::to_owned).to_vec()];
    credentials.extend(report.credentials.iter().map(|held| credential(held, now)));
    format!(
        "{}\nConditions:\n{}{outdated}\n{}",
        aligned(&head, ""),
        aligned(&conditions, "  "),
        if report.credentials.is_empty() { "No credentials yet.\n".to_owned() } else { aligned(&credentials, "") }
    )
}

fn row(report: &Report, now: Timestamp) -> Vec<String> {
    let ready = report.condition("Ready");
    let ago = |time: Option<Timestamp>| time.map_or_else(|| NOTHING.to_owned(), |time| duration::relative(time, now));
    vec![
        report.namespace.clone(),
        report.name.clone(),
        ready.map_or_else(|| NOTHING.to_owned(), |line| line.status.clone()),
        ready.map_or_else(|| NOTHING.to_owned(), |line| line.reason.clone()),
        ago(report.current().and_then(|held| held.created_at)),
        ago(report.current().and_then(|held| held.last_used_at)),
        earlier(report, now),
        ago(report.next_rotation),
    ]
}

/// How many earlier ones are accepted, and when one was last used.
fn earlier(report: &Report, now: Timestamp) -> String {
    let count = report.earlier().count();
    let used = report.earlier().filter_map(|held| held.last_used_at).max();
    match (count, used) {
        (0, _) => NOTHING.to_owned(),
        (_, None) => format!("{count} earlier, no use seen"),
        (_, Some(used)) => format!("{count} earlier, used {}", duration::relative(used, now)),
    }
}

fn credential(held: &Held, now: Timestamp) -> Vec<String> {
    let ago = |time: Option<Timestamp>, none: &str| time.map_or_else(|| none.to_owned(), |time| duration::relative(time, now));
    vec![
        held.id.clone(),
        held.state.clone(),
        ago(held.created_at, NOTHING),
        ago(held.last_used_at, "no use seen"),
        held.used_by.clone().unwrap_or_else(|| NOTHING.to_owned()),
        accepted(held, now),
    ]
}

/// How long a credential is accepted.
pub(super) fn accepted(held: &Held, now: Timestamp) -> String {
    match (held.state.as_str(), held.accepted_until, held.retire_after) {
        ("Pending", _, _) => "yes; it goes into the Secret once every replica accepts it".to_owned(),
        ("Current", _, _) => "yes".to_owned(),
        (_, Some(until), _) if until <= now => format!("no more, since {}", at(until, now)),
        (_, Some(until), Some(after)) if until > after => format!("until {} at most, {} at least", at(until, now), at(after, now)),
        (_, Some(until), _) => format!("until {}", at(until, now)),
        (_, None, Some(after)) if after > now => format!("until {} at least", at(after, now)),
        (_, None, _) => "until it has not been used for a while".to_owned(),
    }
}

fn at(time: Timestamp, now: Timestamp) -> String {
    format!("{time:.0} ({})", duration::relative(time, now))
}

/// Columns, two blanks between them. Whoever wrote an object's texts cannot break out of their cell.
pub(super) fn aligned(rows: &[Vec<String>], indent: &str) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or_default())
        .collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", format!("{indent}{}", cells.join("  ")).trim_end())
    };
    rows.iter().map(line).collect()
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
