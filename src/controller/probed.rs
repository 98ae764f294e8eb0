//! What a person's probe of an API found out, as a condition. Pure. It says nothing of whether the API is served: Ready does not depend
//! on it.

use crate::{
    api::{ANNOTATION_PROBED, Condition, ConditionType, ProtectedResource, Reason, probed::Probed},
    domain::probe::Case,
};
use jiff::Timestamp;
use kube::ResourceExt;

/// The condition `Probed`, where there is a result; also where it cannot be read.
pub(crate) fn condition(object: &ProtectedResource, earlier: &[Condition], now: Timestamp) -> Option<Condition> {
    let text = object.annotations().get(ANNOTATION_PROBED)?;
    let Some(probed) = Probed::read(text) else {
        let message = format!("the annotation {ANNOTATION_PROBED} is not what `kubectl keywright probe` writes: remove it, or probe again");
        let unread = Condition::undecided(ConditionType::Probed, Reason::Unreadable, message, now);
        return Some(unread.observed(object.metadata.generation).since(earlier));
    };
    let condition = judged(&probed, now);
    Some(condition.observed(Some(probed.generation)).since(earlier))
}

fn judged(probed: &Probed, now: Timestamp) -> Condition {
    let Probed { time, host, refused, accepted, unclear, .. } = probed;
    let at = format!("at {time:.0} {host}");
    if !accepted.is_empty() {
        let each: Vec<String> = accepted.iter().map(|name| advised(name)).collect();
        let message = format!("{at} accepted what it has to refuse: {}", each.join("; "));
        return Condition::new(ConditionType::Probed, false, Reason::WrongTokensAccepted, message, now);
    }
    let doubt = match (probed.right, unclear.as_slice()) {
        (Some(false), _) => "the right token too, so that nothing is known: send one that the URL accepts".to_owned(),
        (_, [_, ..]) => format!("but answered {} in a way that says nothing", unclear.join(", ")),
        (None, []) => "but no right token was sent beside them: an API that refuses everything looks the same (--token-file)".to_owned(),
        (Some(true), []) => {
            let message = format!("{at} refused all {refused} requests that it has to refuse, and accepted a right token");
            return Condition::new(ConditionType::Probed, true, Reason::AllRefused, message, now);
        }
    };
    Condition::undecided(ConditionType::Probed, Reason::Unclear, format!("{at} refused {refused} requests, {doubt}"), now)
}

/// The case, and what most likely has to be changed.
fn advised(name: &str) -> String {
    Case::named(name).map_or_else(|| name.to_owned(), |case| format!("{name} ({})", case.told().fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProtectedResourceSpec;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(annotation: Option<String>) -> ProtectedResource {
        let mut object = ProtectedResource::new("invoices", ProtectedResourceSpec::default());
        object.metadata.generation = Some(4);
        object.metadata.annotations = annotation.map(|text| [(ANNOTATION_PROBED.to_owned(), text)].into());
        object
    }

    fn probed(right: Option<bool>, accepted: &[&str], unclear: &[&str]) -> String {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (accepted, unclear) = (names(accepted), names(unclear));
        Probed { time: at(0), generation: 3, host: "invoices.shop.svc".to_owned(), right, refused: 17, accepted, unclear }.to_text()
    }

    #[test]
    fn it_says_what_the_probe_found_and_when() {
        for (right, accepted, unclear, status, reason, words) in [
            (Some(true), &[][..], &[][..], "True", "AllRefused", "refused all 17"),
            (None, &[], &[], "Unknown", "Unclear", "no right token was sent"),
            (Some(false), &[], &[], "Unknown", "Unclear", "the right token too"),
            (Some(true), &[], &["expired"], "Unknown", "Unclear", "answered expired in a way"),
            (Some(true), &["expired", "no-token"], &["no-scope"], "False", "WrongTokensAccepted", "expired (check exp"),
            (Some(false), &["expired"], &[], "False", "WrongTokensAccepted", "expired"),
        ] {
            let condition = condition(&object(Some(probed(right, accepted, unclear))), &[], at(9)).unwrap();
            assert_eq!((condition.status.as_str(), condition.reason.as_str()), (status, reason));
            assert!(
                condition.message.contains("at 1970-01-01T00:00:00Z invoices.shop.svc") && condition.message.contains(words),
                "{condition:?}"
            );
            // Of the object as it was probed: it has changed since.
            assert_eq!((condition.type_.as_str(), condition.observed_generation), ("Probed", Some(3)));
        }
        assert_eq!(condition(&object(None), &[], at(9)), None);
    }

    #[test]
    fn what_cannot_be_read_says_so_and_shows_nothing_of_it() {
        let found = condition(&object(Some("my secret".to_owned())), &[], at(9)).unwrap();
        assert_eq!((found.status.as_str(), found.reason.as_str()), ("Unknown", "Unreadable"));
        assert!(!found.message.contains("secret"));
    }

    #[test]
    fn the_same_result_is_the_same_condition() {
        let object = object(Some(probed(Some(true), &[], &[])));
        let first = condition(&object, &[], at(9)).unwrap();
        assert_eq!(condition(&object, std::slice::from_ref(&first), at(99)).unwrap(), first);
    }
}
