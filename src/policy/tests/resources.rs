//! `ProtectedResource`s.

use super::{Place, Policy, Reason, object, policy, refused, resource};
use crate::{
    api::ProtectedResource,
    domain::{
        names::ObjectName,
        resource::{Algorithm, Namespaces, TokenType},
    },
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const PLACE: Place<'_> =
    Place { issuer: "https://keywright.auth.svc", cluster_domain: "cluster.local", algorithm: Algorithm::Rs256, reads_labels: true };

fn a_resource(spec: &str) -> ProtectedResource {
    object("ProtectedResource", ("shop", "invoices"), spec)
}

#[test]
fn who_may_not_read_labels_refuses_selectors_whatever_policy_says() {
    let named = Place { reads_labels: false, ..PLACE };
    let spec = |grant: &str| a_resource(&format!("{{scopes: [{{name: a}}], grants: [{{{grant}, scopes: [a]}}]}}"));
    let (reason, message) =
        refused(resource(&Policy::default(), named, &spec("namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}")));
    assert_eq!(reason, Reason::PolicyViolation);
    assert!(message.contains("spec.grants[0].namespaceSelector") && message.ends_with("name the namespaces instead"), "{message}");
    resource(&Policy::default(), named, &spec("namespaces: [x]")).unwrap();
}

#[test]
fn one_scope_is_an_api_that_nobody_may_call() {
    let api = resource(&Policy::default(), PLACE, &a_resource("scopes: [{name: a}]")).unwrap();
    assert_eq!(api.audience.as_str(), "https://invoices.shop.svc");
    assert_eq!((api.object, api.uid), (ObjectName::new("shop", "invoices"), "u-1".to_owned()));
    assert!(api.grants.is_empty());
    assert_eq!((api.algorithm, api.token_type, api.max_lifetime), (Algorithm::Rs256, TokenType::AtJwt, None));
    let es256 = Place { algorithm: Algorithm::Es256, ..PLACE };
    assert_eq!(resource(&Policy::default(), es256, &a_resource("scopes: [{name: a}]")).unwrap().algorithm, Algorithm::Es256);
}

#[test]
fn everything_that_an_api_can_say_is_heard() {
    let spec = "
        audience: https://api.shop.svc.cluster.local/v1
        scopes: [{name: a}, {name: b, description: B}]
        grants:
        - {namespaces: [billing], clients: [worker], scopes: [a], claims: {tier: batch, roles: [x]}, expires: '2027-01-31T00:00:00Z'}
        - {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: billing}}, scopes: [a, b]}
        accessToken: {signingAlgorithm: ES256, type: JWT, maxLifetime: 2h}";
    let api = resource(&Policy::default(), PLACE, &a_resource(spec)).unwrap();
    let [first, second] = &api.grants[..] else { panic!("two grants") };
    assert_eq!(first.namespaces, Namespaces::Named(["billing".to_owned()].into()));
    assert_eq!(first.clients, Some(["worker".to_owned()].into()));
    assert_eq!(Value::Object(first.claims.clone()), json!({"tier": "batch", "roles": ["x"]}));
    assert_eq!(first.expires, "2027-01-31T00:00:00Z".parse().ok());
    assert_eq!(second.namespaces, Namespaces::Labelled([("kubernetes.io/metadata.name".to_owned(), "billing".to_owned())].into()));
    assert_eq!((second.clients.as_ref(), second.scopes.len(), second.expires), (None, 2, None));
    assert_eq!((api.algorithm, api.token_type), (Algorithm::Es256, TokenType::Jwt));
    assert_eq!(api.max_lifetime, Some(SignedDuration::from_hours(1)), "the policy's bound is the shorter one");
}

/// A07 for the reserved claims.
#[test]
fn each_mistake_in_an_api_says_what_to_change() {
    for (spec, message) in [
        ("{audience: x, scopes: [{name: a}]}", "spec.audience: an audience is an absolute URI without a fragment, at most 255 characters"),
        ("{scopes: []}", "spec.scopes: an entry without scopes gives nothing: list at least one"),
        (
            "{scopes: [{name: a b}, {name: c}]}",
            "spec.scopes: \"a b\": a scope has 1 to 128 printable ASCII characters, none of them a space, '\"' or '\\'",
        ),
        (
            "{scopes: [{name: a}], grants: [{scopes: [a]}]}",
            "spec.grants[0]: a grant has either namespaces or namespaceSelector.matchLabels, and neither is ever empty: write namespaces: [<name>]",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [], scopes: [a]}]}",
            "spec.grants[0]: a grant has either namespaces or namespaceSelector.matchLabels, and neither is ever empty: write namespaces: [<name>]",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}, scopes: [a]}]}",
            "spec.grants[0]: a grant has either namespaces or namespaceSelector.matchLabels, and neither is ever empty: write namespaces: [<name>]",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaceSelector: {matchLabels: {}}, scopes: [a]}]}",
            "spec.grants[0]: a grant has either namespaces or namespaceSelector.matchLabels, and neither is ever empty: write namespaces: [<name>]",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [a]}, {namespaces: [x, z], clients: [c], scopes: [a]}]}",
            "spec.grants[1].clients: goes with exactly one namespace: write one grant for each, or leave clients out",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], clients: [], scopes: [a]}]}",
            "spec.grants[0].clients: names nobody: list OAuthClients, or leave clients out for every client there",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [b]}]}",
            "spec.grants[0].scopes: spec.scopes does not declare b: add it there, or correct the grant",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], scopes: []}]}",
            "spec.grants[0].scopes: an entry without scopes gives nothing: list at least one",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [a], claims: {tier: x, exp: 5}}]}",
            "spec.grants[0].claims: the claim \"exp\" is not a grant's to set: remove it, or choose another name",
        ),
        (
            "{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [a], expires: tomorrow}]}",
            "spec.grants[0].expires: \"tomorrow\" is no time: write it as 2027-01-31T00:00:00Z",
        ),
        (
            "{scopes: [{name: a}], accessToken: {signingAlgorithm: HS256}}",
            "spec.accessToken.signingAlgorithm: \"HS256\" is not known here: write RS256, ES256, PS256 or EdDSA",
        ),
        ("{scopes: [{name: a}], accessToken: {type: jwt}}", "spec.accessToken.type: \"jwt\" is not known here: write at+jwt or JWT"),
        (
            "{scopes: [{name: a}], accessToken: {maxLifetime: 30s}}",
            "spec.accessToken.maxLifetime: a token is valid for at least a minute: write 1m or more",
        ),
    ] {
        assert_eq!(refused(resource(&Policy::default(), PLACE, &a_resource(spec))), (Reason::InvalidSpec, message.to_owned()), "{spec}");
    }
}

/// A07.
#[test]
fn no_registered_claim_can_be_set_by_a_grant() {
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "keywright.dev", "active", ""] {
        let mut object = a_resource("{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [a]}]}");
        object.spec.grants.as_mut().unwrap()[0].claims = json!({name: "x"}).as_object().cloned();
        let (reason, message) = refused(resource(&Policy::default(), PLACE, &object));
        assert_eq!(reason, Reason::InvalidSpec);
        assert!(message.contains(&format!("the claim {name:?} is not a grant's to set")), "{message}");
    }
    let mut object = a_resource("{scopes: [{name: a}], grants: [{namespaces: [x], scopes: [a]}]}");
    object.spec.grants.as_mut().unwrap()[0].claims = json!({"x": "y".repeat(5_000)}).as_object().cloned();
    assert!(refused(resource(&Policy::default(), PLACE, &object)).1.contains("do not fit into a header beside the rest: at most 4096"));
}

/// S11: whose audiences are whose.
#[test]
fn an_audience_is_the_own_services_or_is_lent() {
    let lending = policy("{audiences: [{audience: 'https://api.example.com/*', namespaces: [shop]}]}");
    for (audience, allowed) in [
        ("https://x.shop.svc", true),
        ("https://x.shop.svc.cluster.local/v1", true),
        ("https://api.example.com/invoices", true),
        ("https://x.billing.svc", false),
        ("https://x.shop.svc:8443", false),
        ("https://x.shop.svc.billing.svc", false),
        ("https://api.example.com", false),
    ] {
        let outcome = resource(&lending, PLACE, &a_resource(&format!("{{audience: '{audience}', scopes: [{{name: a}}]}}")));
        match outcome {
            Ok(api) => assert!(allowed && api.audience.as_str() == audience, "{audience}"),
            Err(refusal) => {
                assert!(!allowed, "{audience}: {refusal}");
                assert_eq!(refusal.reason, Reason::PolicyViolation);
                assert_eq!(
                    refusal.message,
                    format!(
                        "spec.audience: {audience} is not the namespace's own: write https://<name>.shop.svc or https://<name>.shop.svc.cluster.local, \
                         in lower case, with a plain path at most (no port, query, escape or dot segment), or ask the platform team for a rule in \
                         policy.audiences"
                    )
                );
            }
        }
    }
}

/// G11: the audience is never the issuer; and never what client assertions are addressed to.
#[test]
fn the_token_endpoint_is_nobodys_audience() {
    for (audience, is_the_endpoint) in [
        ("https://keywright.auth.svc", true),
        ("https://keywright.auth.svc/", true),
        ("https://keywright.auth.svc/oauth2/token", true),
        ("https://keywright.auth.svc/api", false),
        ("https://keywright2.auth.svc", false),
    ] {
        let spec = format!("{{audience: '{audience}', scopes: [{{name: a}}]}}");
        let outcome = resource(&Policy::default(), PLACE, &object("ProtectedResource", ("auth", "x"), &spec));
        assert_eq!(outcome.is_err(), is_the_endpoint, "{audience}");
        if let Err(refusal) = outcome {
            assert_eq!(refusal.reason, Reason::PolicyViolation);
            assert!(refusal.message.contains("belongs to the token endpoint itself"), "{refusal}");
        }
    }
}

#[test]
fn a_selector_uses_the_labels_that_the_platform_trusts() {
    let spec =
        "{scopes: [{name: a}], grants: [{namespaceSelector: {matchLabels: {team: pay, kubernetes.io/metadata.name: x}}, scopes: [a]}]}";
    let start = "spec.grants[0].namespaceSelector: the platform's policy lets grants select by";
    assert_eq!(
        refused(resource(&Policy::default(), PLACE, &a_resource(spec))),
        (Reason::PolicyViolation, format!("{start} kubernetes.io/metadata.name alone, not by team: use that, or name the namespaces"))
    );
    let none = policy("{namespaceLabelKeys: []}");
    assert!(refused(resource(&none, PLACE, &a_resource(spec))).1.contains("by no label alone, not by kubernetes.io/metadata.name, team"));
    let trusting = policy("{namespaceLabelKeys: [team, kubernetes.io/metadata.name]}");
    assert!(resource(&trusting, PLACE, &a_resource(spec)).is_ok());
}
