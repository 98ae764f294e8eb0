//! What `kubectl keywright probe` found out about an API, as the annotation `keywright.dev/probed` holds it: written by a person's hand,
//! as far as the operator knows, and so read strictly.

use crate::domain::probe::Case;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Beside the cases of [`Case`]: a request without a token, and a token that was revoked.
pub const OTHER_CASES: [&str; 2] = ["no-token", "revoked"];

/// Most bytes of the annotation.
const LONGEST: usize = 2_048;

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probed {
    /// When it began.
    pub time: Timestamp,
    /// The metadata.generation of the object that was probed.
    pub generation: i64,
    /// Host and port of the URL.
    pub host: String,
    /// Whether a right token was sent too, and accepted; absent: none was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
    /// How many cases were refused.
    pub refused: u32,
    /// The names of those that were accepted.
    pub accepted: Vec<String>,
    /// Of those of which it cannot be told.
    pub unclear: Vec<String>,
}

impl Probed {
    /// Reads an annotation. Nothing where it is not what [`Probed::to_text`] writes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(text).ok().filter(|_| text.len() <= LONGEST)?;
        let is_host = (1..=255).contains(&read.host.len())
            && read.host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'));
        let is_known = |name: &String| OTHER_CASES.contains(&name.as_str()) || Case::named(name).is_some();
        let named: Vec<&String> = read.accepted.iter().chain(&read.unclear).collect();
        let each_once = named.iter().enumerate().all(|(at, name)| !named.iter().skip(at + 1).any(|later| later == name));
        (is_host && each_once && named.into_iter().all(is_known)).then_some(read)
    }

    /// The annotation.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed() -> Probed {
        Probed {
            time: "2026-11-26T08:00:00Z".parse().unwrap(),
            generation: 3,
            host: "invoices.shop.svc:8443".to_owned(),
            right: Some(true),
            refused: 16,
            accepted: vec!["expired".to_owned(), "no-token".to_owned()],
            unclear: vec![],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Probed::read(&probed().to_text()), Some(probed()));
        let all: Vec<String> = Case::ALL.iter().map(|case| case.told().name).chain(OTHER_CASES).map(str::to_owned).collect();
        let largest = Probed { accepted: all, host: "a".repeat(255), right: None, ..probed() };
        assert_eq!(Probed::read(&largest.to_text()), Some(largest));
    }

    /// S12: no text of anybody's own comes into a condition by this way.
    #[test]
    fn what_anybody_could_have_written_is_not() {
        let text = probed().to_text();
        for (from, to) in [
            ("expired", "a secret of mine"),
            ("\"no-token\"", "\"expired\""),
            ("invoices.shop.svc:8443", "invoices\\nReady"),
            ("invoices.shop.svc:8443", "user@host"),
            ("invoices.shop.svc:8443", ""),
            ("2026-11-26T08:00:00Z", "yesterday"),
            ("\"generation\":3", "\"generation\":\"3\""),
            ("\"refused\":16", "\"refused\":-1"),
            ("\"refused\":16", "\"refused\":16,\"note\":\"x\""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert_eq!(Probed::read(&changed), None, "{changed}");
        }
        for other in ["", "null", "[]", "{}", "true", &format!("{text}{}", " ".repeat(LONGEST))] {
            assert_eq!(Probed::read(other), None, "{other}");
        }
    }
}
