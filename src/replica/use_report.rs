//! What a replica reports of the uses of credentials, so that the leader forgets none that is in use: the ConfigMap
//! `<release>-use-<pod>`. Pure.
//!
//! | Key | |
//! |---|---|
//! | `since` | from when on this process has seen every use that it was asked for |
//! | `until` | up to when the report says all of them: the begin of the last head check that agreed with what the replica knows |
//! | `covers` | only credentials whose overlap ends before are reported; absent: all that are in an overlap |
//! | `uses` | a line for each credential: id, last use, longest gap in seconds, address of the last caller |
//!
//! A credential that is covered and has no line was not used. Reported are clients with a replaced credential whose overlap does
//! not simply end (`retire: AfterOverlap`), or that a rehearsal replaced: the replaced and the current ones, at most [`MOST`]; those first whose overlap ends
//! first.

use super::announcement::RELEASE_LABEL;
use crate::domain::{
    client::RegisteredClient,
    credential::{Credential, CredentialId, CredentialState},
    usage::Use,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use std::collections::BTreeMap;

/// Most lines of a report.
pub const MOST: usize = 1_000;
/// Most often a report is written.
pub const EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How often one is written that says nothing new.
pub const UNCHANGED: SignedDuration = SignedDuration::from_mins(10);
/// The label that tells these ConfigMaps from others of the release.
pub const REPORT_LABEL: &str = "keywright.dev/report";
/// Its value.
pub const USES: &str = "uses";

/// The uses that one replica has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseReport {
    /// From when on it counts.
    pub since: Timestamp,
    /// Up to when this says all that it counted.
    pub until: Timestamp,
    /// Only credentials whose overlap ends before are in it; `None`: all.
    pub covers: Option<Timestamp>,
    /// What was used.
    pub uses: BTreeMap<CredentialId, Use>,
}

impl UseReport {
    /// What there is to report; `None`: nothing, no overlap has to wait for the end of uses.
    #[must_use]
    pub fn of<'c>(clients: impl Iterator<Item = &'c RegisteredClient>, since: Timestamp, until: Timestamp) -> Option<Self> {
        let mut overlapping: Vec<_> = clients.filter_map(|client| Some((first_end(client)?, client))).collect();
        overlapping.sort_by_key(|(end, _)| *end);
        let mut report = Self { since, until, covers: None, uses: BTreeMap::new() };
        for (end, client) in &overlapping {
            let used = client.credentials.iter().filter_map(|known| Some((known.id.clone(), client.usage(&known.id)?.seen()?)));
            let used: Vec<_> = used.collect();
            if report.uses.len() + used.len() > MOST {
                report.covers = Some(*end);
                break;
            }
            report.uses.extend(used);
        }
        (!overlapping.is_empty()).then_some(report)
    }

    /// Whether it is to be written at this time, `after` the last try, where `written` is what the ConfigMap holds. One that is old
    /// already can wait for the next head check.
    #[must_use]
    pub fn is_due(&self, written: Option<&Self>, after: Option<SignedDuration>, now: Timestamp) -> bool {
        let says_more = |written: &Self| {
            let changed = (&self.uses, self.covers) != (&written.uses, written.covers);
            changed || self.until.duration_since(written.until) >= UNCHANGED
        };
        now.duration_since(self.until) <= EVERY && after.is_none_or(|after| after >= EVERY) && written.is_none_or(says_more)
    }

    /// Whether it says all of this credential.
    #[must_use]
    pub fn covers(&self, known: &Credential) -> bool {
        self.covers.is_none_or(|before| known.retire_after.is_some_and(|end| end < before))
    }

    /// What the ConfigMap holds.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, Option<String>> {
        let line =
            |(id, seen): (&CredentialId, &Use)| format!("{} {} {} {}\n", id.as_str(), seen.last, seen.longest_gap.as_secs(), seen.from);
        let entries = [
            ("since", Some(self.since.to_string())),
            ("until", Some(self.until.to_string())),
            ("covers", self.covers.map(|covers| covers.to_string())),
            ("uses", Some(self.uses.iter().map(line).collect())),
        ];
        entries.into_iter().map(|(key, text)| (key.to_owned(), text)).collect()
    }

    /// Reads a ConfigMap: the pod, and what it reports. `None`: it is no report of this release, or says nothing that can be
    /// read.
    #[must_use]
    pub fn read(release: &str, config_map: &ConfigMap) -> Option<(String, Self)> {
        let metadata = &config_map.metadata;
        let pod = metadata.name.as_deref()?.strip_prefix(&report_name(release, ""))?.to_owned();
        let data = config_map.data.as_ref()?;
        let time = |key: &str| data.get(key)?.parse::<Timestamp>().ok();
        let covers = data.get("covers").map(|text| text.parse()).transpose().ok()?;
        let uses = data.get("uses")?.lines().map(use_of).collect::<Option<_>>()?;
        Some((pod, Self { since: time("since")?, until: time("until")?, covers, uses }))
    }
}

/// The name of a replica's report.
#[must_use]
pub fn report_name(release: &str, pod: &str) -> String {
    format!("{release}-use-{pod}")
}

/// Which ConfigMaps are reports of a release.
#[must_use]
pub fn selector(release: &str) -> String {
    format!("{RELEASE_LABEL}={release},{REPORT_LABEL}={USES}")
}

/// The earliest end of an overlap of a replaced credential that is not cut there.
fn first_end(client: &RegisteredClient) -> Option<Timestamp> {
    let replaced = client.credentials.iter().filter(|known| known.state == CredentialState::Previous);
    replaced
        .filter(|known| known.rehearsed_until.is_some() || known.accepted_until.is_none_or(|cut| Some(cut) > known.retire_after))
        .filter_map(|known| known.retire_after)
        .min()
}

fn use_of(line: &str) -> Option<(CredentialId, Use)> {
    let mut words = line.split(' ');
    let id = CredentialId::parse(words.next()?)?;
    let last = words.next()?.parse().ok()?;
    let longest_gap = SignedDuration::from_secs(words.next()?.parse().ok()?);
    let from = words.next()?.parse().ok()?;
    Some((id, Use { last, longest_gap, from }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        client::{Client, SecretMethod},
        credential::Digest,
        names::{ClientId, ObjectName},
    };
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn known(number: u32, state: CredentialState, end: Option<i64>) -> Credential {
        let id = CredentialId::from_random(u128::from(number).to_be_bytes());
        let digest = Digest { key: "k".into(), mac: [0; 32] };
        Credential {
            id,
            digest,
            state,
            created_at: at(0),
            retire_after: end.map(at),
            accepted_until: None,
            rehearsed_until: None,
            last_used_at: None,
        }
    }

    /// With a Previous one whose overlap ends at `end`; both were used.
    fn client(number: u32, end: i64) -> RegisteredClient {
        let (previous, current) =
            (known(2 * number, CredentialState::Previous, Some(end)), known(2 * number + 1, CredentialState::Current, None));
        used(vec![previous, current])
    }

    fn used(credentials: Vec<Credential>) -> RegisteredClient {
        let client = Client {
            id: ClientId::parse("a.b").unwrap(),
            object: ObjectName::new("a", "b"),
            uid: "u".to_owned(),
            created_at: at(0),
            access: Vec::new(),
            secret_method: Some(SecretMethod::Any),
            private_key_jwt: None,
            service_accounts: Vec::new(),
            workloads: Vec::new(),
            tokens_issued_before: None,
            token_lifetime: None,
            disabled: false,
        };
        let client = RegisteredClient::new(client, credentials);
        for known in &client.credentials {
            client.usage(&known.id).unwrap().note(at(50), "10.0.0.1".parse().unwrap());
        }
        client
    }

    fn report(clients: &[RegisteredClient]) -> Option<UseReport> {
        UseReport::of(clients.iter(), at(1), at(60))
    }

    #[test]
    fn only_overlaps_that_wait_for_the_end_of_uses_are_reported() {
        let settled = used(vec![known(1, CredentialState::Current, None)]);
        let mut cut = known(2, CredentialState::Previous, Some(90));
        cut.accepted_until = Some(at(90));
        assert_eq!(report(&[settled.clone(), used(vec![cut.clone(), known(3, CredentialState::Current, None)])]), None);
        cut.accepted_until = Some(at(91));
        let waits = used(vec![cut, known(3, CredentialState::Current, None)]);
        assert_eq!(report(&[settled, waits]).unwrap().uses.len(), 2);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = report(&[client(1, 90), client(2, 80)]).unwrap();
        let data: BTreeMap<_, _> = written.data().into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
        let config_map = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap();
        assert_eq!(UseReport::read("kw", &config_map("kw-use-pod-1")), Some(("pod-1".to_owned(), written)));
        assert_eq!(UseReport::read("kw", &config_map("other-use-pod-1")), None);
        let damaged = json!({"metadata": {"name": "kw-use-pod-1"}, "data": {"since": "x", "until": "y", "uses": ""}});
        assert_eq!(UseReport::read("kw", &serde_json::from_value(damaged).unwrap()), None);
    }

    /// 1,000 lines fit; of more those are reported whose overlap ends first, and it says so.
    #[test]
    fn a_report_is_bounded_and_says_what_it_leaves_out() {
        let clients: Vec<_> = (0..700).rev().map(|number| client(number, 1_000 + i64::from(number))).collect();
        let written = report(&clients).unwrap();
        assert_eq!((written.uses.len(), written.covers), (MOST, Some(at(1_500))));
        assert!(written.covers(&known(0, CredentialState::Previous, Some(1_499))));
        assert!(!written.covers(&known(0, CredentialState::Previous, Some(1_500))));
        let bytes: usize = written.data().values().flatten().map(String::len).sum();
        assert!(bytes < 100_000, "{bytes} bytes");
        assert_eq!(report(&clients[200..]).unwrap().covers, None);
    }

    /// 10,000 clients that are used all the time, every one of them in an overlap, or as many as with `every: 30d` and `overlap: 24h`.
    #[test]
    fn an_hour_of_ten_thousand_active_clients_costs_sixty_writes() {
        for overlapping in [10_000, 334] {
            let clients: Vec<_> = (0..10_000)
                .map(|number| {
                    if number < overlapping {
                        client(number, 90_000)
                    } else {
                        used(vec![known(2 * number, CredentialState::Current, None)])
                    }
                })
                .collect();
            let (mut written, mut tried, mut writes, mut bytes): (Option<UseReport>, Option<Timestamp>, usize, usize) = (None, None, 0, 0);
            // As often as a head check agrees.
            for now in (100..3_700).step_by(10).map(at) {
                let users = clients.iter().filter_map(|client| client.usage(&client.credentials.last()?.id));
                users.for_each(|usage| usage.note(now, "10.0.0.1".parse().unwrap()));
                let report = UseReport::of(clients.iter(), at(1), now).unwrap();
                if report.is_due(written.as_ref(), tried.map(|then| now.duration_since(then)), now) {
                    bytes = bytes.max(report.data().values().flatten().map(String::len).sum());
                    (written, tried, writes) = (Some(report), Some(now), writes + 1);
                }
            }
            assert_eq!(writes, 60, "{overlapping} in an overlap");
            assert!(bytes < 80_000, "{overlapping} in an overlap: {bytes} bytes");
        }
    }

    #[test]
    fn a_report_is_written_at_most_once_a_minute_and_rarely_where_nothing_is_new() {
        let last = report(&[client(1, 90)]).unwrap();
        let until = |report: &UseReport, second| UseReport { until: last.until + SignedDuration::from_secs(second), ..report.clone() };
        let news = report(&[client(1, 90), client(2, 90)]).unwrap();
        assert!(news.is_due(None, None, news.until));
        assert!(!news.is_due(None, Some(EVERY / 2), news.until), "what was written last failed");
        for (report, after, due) in [(&news, 59, false), (&news, 60, true), (&last, 60, false), (&last, 599, false), (&last, 600, true)] {
            let (report, after) = (until(report, after), SignedDuration::from_secs(after));
            assert_eq!(report.is_due(Some(&last), Some(after), report.until), due, "{after}");
            assert!(!report.is_due(Some(&last), Some(after), report.until + EVERY * 2), "it is old");
        }
    }
}
