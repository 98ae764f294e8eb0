//! Who may have what: deny by default, computed from the API owner's grants wherever it is needed, never stored.

use super::{
    client::Access,
    names::{ObjectName, Scope, space_delimited},
    resource::{Grant, Namespaces, Resource},
};
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Namespace of the `OAuthClient`.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The labels of its namespace, those that policy lets selectors use.
    pub namespace_labels: &'a BTreeMap<String, String>,
}

/// What the owner of one API grants one caller now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Granted {
    /// The scopes.
    pub scopes: BTreeSet<Scope>,
    /// When the first of the grants used ends, so that what was computed from it is computed again.
    pub until: Option<Timestamp>,
}

/// The scopes that `resource` grants `caller` at `now`.
#[must_use]
pub fn granted(resource: &Resource, caller: Caller<'_>, now: Timestamp) -> Granted {
    let scopes = applying(resource, caller, now).flat_map(|grant| grant.scopes.iter().cloned()).collect();
    let until = applying(resource, caller, now).filter_map(|grant| grant.expires).min();
    Granted { scopes, until }
}

/// What a token with the scopes `issued` claims beside the registered names: those grants speak that give at least one of the
/// scopes; where two set one claim, the first in the owner's list wins.
#[must_use]
pub fn claims(resource: &Resource, caller: Caller<'_>, issued: &[&Scope], now: Timestamp) -> Map<String, Value> {
    let speaking = applying(resource, caller, now).filter(|grant| issued.iter().any(|scope| grant.scopes.contains(scope)));
    let mut claims = Map::new();
    for (name, value) in speaking.flat_map(|grant| &grant.claims) {
        claims.entry(name).or_insert_with(|| value.clone());
    }
    claims
}

/// What an owner would have to grant, so that one entry of a client's `spec.access` works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The `ProtectedResource` that the client names, whether it exists or not.
    pub resource: ObjectName,
    /// The `OAuthClient`.
    pub client: ObjectName,
    /// The scopes that it wants and has not.
    pub scopes: Vec<Scope>,
}

/// What of `access` the caller does not have; `None`: it has all. A resource that does not exist, is not valid or has an
/// audience conflict (`None`) reads exactly as one that grants nothing.
#[must_use]
pub fn missing(access: &Access, resource: Option<&Resource>, caller: Caller<'_>, now: Timestamp) -> Option<Missing> {
    let granted = resource.map(|resource| granted(resource, caller, now)).unwrap_or_default();
    let scopes: Vec<Scope> = access.scopes.iter().filter(|scope| !granted.scopes.contains(scope)).cloned().collect();
    let client = ObjectName::new(caller.namespace, caller.name);
    (!scopes.is_empty()).then(|| Missing { resource: access.resource.clone(), client, scopes })
}

impl Missing {
    /// The line that the owner would add to `spec.grants`: YAML in flow style, so that it survives tables and log lines.
    #[must_use]
    pub fn grant(&self) -> String {
        let scopes: Vec<String> = self.scopes.iter().map(|scope| yaml_word(scope.as_str())).collect();
        let (namespace, client) = (yaml_word(&self.client.namespace), yaml_word(&self.client.name));
        format!("- {{namespaces: [{namespace}], clients: [{client}], scopes: [{}]}}", scopes.join(", "))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, client, scopes } = self;
        let grant = self.grant();
        write!(
            f,
            "{resource} does not grant {} to {client}: ask its owner to add to spec.grants of the ProtectedResource {resource}: {grant}",
            space_delimited(scopes)
        )
    }
}

/// The grants that are for the caller and not over.
fn applying<'a>(resource: &'a Resource, caller: Caller<'a>, now: Timestamp) -> impl Iterator<Item = &'a Grant> {
    resource.grants.iter().filter(move |grant| grant.expires.is_none_or(|end| now < end) && is_for(grant, caller))
}

fn is_for(grant: &Grant, caller: Caller<'_>) -> bool {
    let namespace = match &grant.namespaces {
        Namespaces::Named(names) => names.contains(caller.namespace),
        Namespaces::Labelled(pairs) => {
            !pairs.is_empty() && pairs.iter().all(|(key, value)| caller.namespace_labels.get(key) == Some(value))
        }
    };
    namespace && grant.clients.as_ref().is_none_or(|names| names.contains(caller.name))
}

/// A word as YAML's flow style takes it for a string: plain where it cannot be read as anything else. Names and scopes contain
/// neither quotation marks nor backslashes, so quoting needs no escapes.
fn yaml_word(word: &str) -> String {
    let plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.ends_with(|c: char| c.is_ascii_alphanumeric())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':'));
    let keyword = matches!(word.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n");
    if plain && !keyword { word.to_owned() } else { format!("\"{word}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        names::Audience,
        resource::{Algorithm, TokenType},
    };
    use proptest::prelude::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn scope(name: &str) -> Scope {
        Scope::parse(name).unwrap()
    }

    fn scopes<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<Scope> {
        names.into_iter().map(scope).collect()
    }

    fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn named<const N: usize>(names: [&str; N]) -> Namespaces {
        Namespaces::Named(names.map(str::to_owned).into())
    }

    fn grant<const N: usize>(namespaces: Namespaces, granted: [&str; N]) -> Grant {
        Grant { namespaces, clients: None, scopes: scopes(granted), claims: Map::new(), expires: None }
    }

    fn claiming(grant: Grant, claims: &Value) -> Grant {
        Grant { claims: claims.as_object().unwrap().clone(), ..grant }
    }

    fn api(grants: impl Into<Vec<Grant>>) -> Resource {
        Resource {
            object: ObjectName::new("shop", "invoices"),
            uid: "uid".into(),
            audience: Audience::parse("https://invoices.shop.svc").unwrap(),
            scopes: ["a", "b", "c"].map(scope).into(),
            grants: grants.into(),
            introspectors: BTreeSet::new(),
            algorithm: Algorithm::Rs256,
            token_type: TokenType::AtJwt,
            max_lifetime: None,
        }
    }

    fn caller<'a>(namespace: &'a str, name: &'a str, namespace_labels: &'a BTreeMap<String, String>) -> Caller<'a> {
        Caller { namespace, name, namespace_labels }
    }

    #[test]
    fn nobody_has_anything_without_a_grant_not_even_in_the_same_namespace() {
        assert_eq!(granted(&api([]), caller("shop", "own", &labels([])), at(0)), Granted::default());
    }

    #[test]
    fn a_grant_is_for_its_namespace_and_its_clients() {
        let everyone = api([grant(named(["billing"]), ["a"])]);
        let one = api([Grant { clients: Some(["worker".to_owned()].into()), ..grant(named(["billing"]), ["a"]) }]);
        let none = labels([]);
        for (resource, namespace, name, has) in [
            (&everyone, "billing", "worker", true),
            (&everyone, "billing", "other", true),
            (&everyone, "billing2", "worker", false),
            (&everyone, "bill", "worker", false),
            (&one, "billing", "worker", true),
            (&one, "billing", "work", false),
            (&one, "other", "worker", false),
        ] {
            assert_eq!(!granted(resource, caller(namespace, name, &none), at(0)).scopes.is_empty(), has, "{namespace}/{name}");
        }
    }

    #[test]
    fn a_selector_wants_all_of_its_labels() {
        let selector = Namespaces::Labelled(labels([("team", "pay"), ("stage", "prod")]));
        let resource = api([grant(selector, ["a"])]);
        for (found, has) in [
            (labels([("team", "pay"), ("stage", "prod"), ("more", "x")]), true),
            (labels([("team", "pay")]), false),
            (labels([("team", "pay"), ("stage", "test")]), false),
            (labels([]), false),
        ] {
            assert_eq!(!granted(&resource, caller("billing", "worker", &found), at(0)).scopes.is_empty(), has, "{found:?}");
        }
        let empty = api([grant(Namespaces::Labelled(labels([])), ["a"])]);
        assert_eq!(granted(&empty, caller("billing", "worker", &labels([])), at(0)), Granted::default());
    }

    #[test]
    fn a_grant_ends_at_its_expiry() {
        let ends = |second| Some(at(second));
        let resource = api([
            Grant { expires: ends(50), ..grant(named(["billing"]), ["a"]) },
            Grant { expires: ends(90), ..grant(named(["billing"]), ["b"]) },
            Grant { expires: ends(10), ..grant(named(["another"]), ["c"]) },
        ]);
        let none = labels([]);
        let has = |second| granted(&resource, caller("billing", "worker", &none), at(second));
        assert_eq!(has(49), Granted { scopes: scopes(["a", "b"]), until: ends(50) });
        assert_eq!(has(50), Granted { scopes: scopes(["b"]), until: ends(90) });
        assert_eq!(has(90), Granted::default());
    }

    /// S21: claims come from grants alone; of two the first in the owner's list wins.
    #[test]
    fn claims_come_from_the_grants_of_the_issued_scopes() {
        let over = Grant { expires: Some(at(1)), ..claiming(grant(named(["billing"]), ["a"]), &json!({"tier": "over"})) };
        let resource = api([
            over,
            claiming(grant(named(["other"]), ["a"]), &json!({"tier": "foreign"})),
            claiming(grant(named(["billing"]), ["a", "b"]), &json!({"tier": "first", "plan": {"x": 1}})),
            claiming(grant(named(["billing"]), ["b"]), &json!({"tier": "second", "roles": ["r"]})),
            claiming(grant(named(["billing"]), ["c"]), &json!({"only": "c"})),
        ]);
        let none = labels([]);
        let of = |names: &[&str]| {
            let issued = names.iter().map(|name| scope(name)).collect::<Vec<_>>();
            Value::Object(claims(&resource, caller("billing", "worker", &none), &issued.iter().collect::<Vec<_>>(), at(5)))
        };
        assert_eq!(of(&["a"]), json!({"tier": "first", "plan": {"x": 1}}));
        assert_eq!(of(&["b"]), json!({"tier": "first", "plan": {"x": 1}, "roles": ["r"]}));
        assert_eq!(of(&["c"]), json!({"only": "c"}));
        assert_eq!(of(&[]), json!({}));
    }

    #[test]
    fn what_does_not_exist_and_what_is_not_granted_read_the_same() {
        let access = Access { resource: ObjectName::new("shop", "invoices"), scopes: vec![scope("a"), scope("b")] };
        let none = labels([]);
        let asks = caller("billing", "worker", &none);
        let says = |resource: Option<&Resource>| missing(&access, resource, asks, at(0)).map(|missing| missing.to_string());
        let nothing = says(None);
        assert_eq!(
            nothing.as_deref(),
            Some(
                "shop/invoices does not grant a b to billing/worker: ask its owner to add to spec.grants of the ProtectedResource \
                 shop/invoices: - {namespaces: [billing], clients: [worker], scopes: [a, b]}"
            )
        );
        assert_eq!(says(Some(&api([]))), nothing);
        assert_eq!(says(Some(&api([grant(named(["other"]), ["a", "b"])]))), nothing);
        let partly = missing(&access, Some(&api([grant(named(["billing"]), ["a"])])), asks, at(0)).unwrap();
        assert_eq!(partly.grant(), "- {namespaces: [billing], clients: [worker], scopes: [b]}");
        assert_eq!(says(Some(&api([grant(named(["billing"]), ["a", "b", "c"])]))), None);
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        let namespaces = prop_oneof![
            proptest::collection::btree_set("[xyz]", 1..3).prop_map(Namespaces::Named),
            proptest::collection::btree_map("[kl]", "[vw]", 0..3).prop_map(Namespaces::Labelled),
        ];
        let clients = proptest::option::of(proptest::collection::btree_set("[mn]", 1..2));
        let granted = proptest::collection::btree_set(prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(scope), 1..3);
        let expires = proptest::option::of((0_i64..100).prop_map(at));
        (namespaces, clients, granted, expires).prop_map(|(namespaces, clients, scopes, expires)| Grant {
            namespaces,
            clients,
            scopes,
            claims: Map::from_iter([("by".to_owned(), json!("grant"))]),
            expires,
        })
    }

    fn any_caller() -> impl Strategy<Value = (String, String, BTreeMap<String, String>)> {
        ("[xyz]", "[mn]", proptest::collection::btree_map("[kl]", "[vw]", 0..3))
    }

    proptest! {
        #[test]
        fn one_more_grant_never_takes_a_scope_away(
            grants in proptest::collection::vec(any_grant(), 0..5),
            extra in any_grant(),
            place in any::<prop::sample::Index>(),
            (namespace, name, labels) in any_caller(),
            now in (0_i64..100).prop_map(at),
        ) {
            let asks = caller(&namespace, &name, &labels);
            let before = granted(&api(grants.clone()), asks, now).scopes;
            let mut more = grants;
            more.insert(place.index(more.len() + 1), extra);
            prop_assert!(granted(&api(more), asks, now).scopes.is_superset(&before));
        }

        #[test]
        fn every_scope_comes_from_a_grant_that_is_for_the_caller_and_not_over(
            grants in proptest::collection::vec(any_grant(), 0..5),
            (namespace, name, labels) in any_caller(),
            now in (0_i64..100).prop_map(at),
        ) {
            let meant = |grant: &Grant| {
                let place = match &grant.namespaces {
                    Namespaces::Named(names) => names.contains(&namespace),
                    Namespaces::Labelled(pairs) => !pairs.is_empty() && pairs.iter().all(|pair| labels.iter().any(|label| label == pair)),
                };
                place && grant.clients.as_ref().is_none_or(|names| names.contains(&name)) && grant.expires.is_none_or(|end| end > now)
            };
            let expected: BTreeSet<Scope> = grants.iter().filter(|grant| meant(grant)).flat_map(|grant| grant.scopes.clone()).collect();
            let resource = api(grants);
            let found = granted(&resource, caller(&namespace, &name, &labels), now);
            prop_assert_eq!(&found.scopes, &expected);
            let issued: Vec<&Scope> = found.scopes.iter().collect();
            prop_assert_eq!(claims(&resource, caller(&namespace, &name, &labels), &issued, now).is_empty(), issued.is_empty());
            if let Some(until) = found.until {
                prop_assert!(until > now);
                let just_before = Timestamp::from_nanosecond(until.as_nanosecond() - 1).unwrap();
                prop_assert_eq!(granted(&resource, caller(&namespace, &name, &labels), just_before).scopes, found.scopes);
            }
        }

        #[test]
        fn the_line_for_the_owner_is_yaml_that_says_what_is_missing(
            namespace in "[a-z0-9]{1,6}|on|null|true|1e3|0x1f",
            name in "[a-z0-9]([-.a-z0-9]{0,5}[a-z0-9])?",
            wanted in proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 1..4),
        ) {
            let client = ObjectName::new(namespace.as_str(), name.as_str());
            let line = Missing { resource: ObjectName::new("s", "r"), client, scopes: wanted.iter().map(|text| scope(text)).collect() }.grant();
            let read: Value = serde_saphyr::from_str(&line).unwrap();
            prop_assert_eq!(read, json!([{"namespaces": [namespace], "clients": [name], "scopes": wanted}]));
        }
    }
}
