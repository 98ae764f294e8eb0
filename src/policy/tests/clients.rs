//! `OAuthClient`s.

use super::{Policy, Reason, client, object, policy, refused};
use crate::{
    api::OAuthClient,
    domain::{
        client::{AssertionProfile, SecretMethod},
        names::ObjectName,
    },
};
use jiff::{SignedDuration, Timestamp};

fn an_oauth_client(spec: &str) -> OAuthClient {
    object("OAuthClient", ("billing", "worker"), spec)
}

#[test]
fn two_lines_are_a_client() {
    let client = client(&Policy::default(), &an_oauth_client("access: [{resource: shop/invoices, scopes: [invoices.read]}]")).unwrap();
    assert_eq!(client.id.as_str(), "billing.worker");
    assert_eq!(client.object, ObjectName::new("billing", "worker"));
    assert_eq!((client.uid.as_str(), client.created_at), ("u-1", "2026-11-23T00:00:00Z".parse::<Timestamp>().unwrap()));
    assert_eq!(client.access[0].resource, ObjectName::new("shop", "invoices"));
    assert_eq!(client.access[0].scopes[0].as_str(), "invoices.read");
    assert_eq!((client.secret_method, client.token_lifetime, client.disabled), (Some(SecretMethod::Any), None, false));
}

#[test]
fn everything_that_a_client_can_say_is_heard() {
    let spec = "
        clientId: billing.night
        access: [{resource: own, scopes: [b, a, b]}, {resource: shop/invoices, scopes: [a]}]
        authentication: {clientSecret: {method: client_secret_post}}
        accessToken: {lifetime: 1h}
        secret:
          name: other
          format: Env
          keys: {CLIENT_ID: id, CLIENT_SECRET: CLIENT_ID}
          metadata: {labels: {team: pay, example.org/x: ''}, annotations: {example.org/y: z}}
          deletionPolicy: Retain
        disabled: true";
    let client = client(&Policy::default(), &an_oauth_client(spec)).unwrap();
    assert_eq!(client.id.as_str(), "billing.night");
    assert_eq!(client.access[0].resource, ObjectName::new("billing", "own"));
    assert_eq!(client.access[0].scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((client.secret_method, client.disabled), (Some(SecretMethod::Post), true));
    assert_eq!(client.token_lifetime, Some(SignedDuration::from_hours(1)));
}

/// S11: whose client ids are whose.
#[test]
fn a_client_id_begins_with_the_own_namespace_or_is_lent() {
    let lending = policy("{clientIds: [{clientId: legacy, namespaces: [billing]}, {clientId: other.x, namespaces: [shop]}]}");
    for (id, allowed) in [
        ("billing.x", true),
        ("billing.x.y", true),
        ("legacy", true),
        ("billing", false),
        ("billing.", false),
        ("billing2.x", false),
        ("Billing.x", false),
        ("billing-x", false),
        (".billing.x", false),
        ("other.x", false),
        ("legacy2", false),
    ] {
        let outcome = client(&lending, &an_oauth_client(&format!("{{clientId: {id}, access: []}}")));
        match outcome {
            Ok(client) => assert!(allowed && client.id.as_str() == id, "{id}"),
            Err(refusal) => {
                assert!(!allowed, "{id}: {refusal}");
                assert_eq!(refusal.reason, Reason::PolicyViolation);
                let words = "does not begin with the own namespace: write billing.<anything>, or ask the platform team for a rule in policy.clientIds";
                assert_eq!(refusal.message, format!("spec.clientId: {id} {words}"));
            }
        }
    }
}

#[test]
fn each_mistake_in_a_client_says_what_to_change() {
    for (spec, message) in [
        ("{clientId: 'a b', access: []}", "spec.clientId: a client id has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'"),
        ("{access: [{resource: x, scopes: []}]}", "spec.access: an entry without scopes gives nothing: list at least one"),
        (
            "{access: [{resource: x, scopes: ['a b']}]}",
            "spec.access: \"a b\": a scope has 1 to 128 printable ASCII characters, none of them a space, '\"' or '\\'",
        ),
        (
            "{access: [{resource: x, scopes: [a]}, {resource: billing/x, scopes: [b]}]}",
            "spec.access: billing/x is there twice: write one entry with all of its scopes",
        ),
        (
            "{access: [], authentication: {}}",
            "spec.authentication: nothing is allowed here: write clientSecret: {}, privateKeyJwt, serviceAccounts or spiffe, or leave authentication out",
        ),
        (
            "{access: [], authentication: {clientSecret: {method: none}}}",
            "spec.authentication.clientSecret.method: \"none\" is unknown: write Any, client_secret_basic or client_secret_post",
        ),
        (
            "{access: [], accessToken: {lifetime: 1.5h}}",
            "spec.accessToken.lifetime: a duration is a whole number from 1 to 99999 and one unit, as in 90s, 15m, 24h or 30d",
        ),
        (
            "{access: [], accessToken: {lifetime: 59s}}",
            "spec.accessToken.lifetime: a token is valid for at least a minute: write 1m or more",
        ),
        ("{access: [], secret: {format: Yaml}}", "spec.secret.format: \"Yaml\" is unknown: write ServiceBinding or Env"),
        ("{access: [], secret: {deletionPolicy: Keep}}", "spec.secret.deletionPolicy: \"Keep\" is unknown: write Delete or Retain"),
        (
            "{access: [], secret: {name: A_b}}",
            "spec.secret.name: \"A_b\" is no name of a Secret: write lower-case letters, digits, '-' and '.'",
        ),
        (
            "{access: [], secret: {format: Env, keys: {client-id: x}}}",
            "spec.secret.keys: no key is called \"client-id\": this format writes CLIENT_ID, CLIENT_SECRET, TOKEN_URL, ISSUER_URL, JWKS_URL, SCOPES, CA_CERT",
        ),
        (
            "{access: [], secret: {keys: {client-id: client-secret}}}",
            "spec.secret.keys: two keys would be called \"client-secret\": give each a name of its own",
        ),
        (
            "{access: [], secret: {keys: {client-id: x, scope: x}}}",
            "spec.secret.keys: two keys would be called \"x\": give each a name of its own",
        ),
        (
            "{access: [], secret: {keys: {client-id: ../x}}}",
            "spec.secret.keys: \"../x\" is no key of a Secret: write letters, digits, '-', '_' and '.'",
        ),
        (
            "{access: [], secret: {metadata: {labels: {a/b/c: x}}}}",
            "spec.secret.metadata.labels: \"a/b/c\" is no key: write <name> or <domain>/<name>",
        ),
        (
            "{access: [], secret: {metadata: {labels: {a: b c}}}}",
            "spec.secret.metadata.labels: \"b c\" is no value of a label: at most 63 letters, digits, '-', '_' and '.'",
        ),
        (
            "{access: [], secret: {metadata: {labels: {app.kubernetes.io/managed-by: x}}}}",
            "spec.secret.metadata.labels: \"app.kubernetes.io/managed-by\" is not yours to set: choose another prefix than kubernetes.io/, k8s.io/ and keywright.dev/",
        ),
        (
            "{access: [], secret: {metadata: {annotations: {keywright.dev/fence: x}}}}",
            "spec.secret.metadata.annotations: \"keywright.dev/fence\" is not yours to set: choose another prefix than kubernetes.io/, k8s.io/ and keywright.dev/",
        ),
    ] {
        assert_eq!(refused(client(&Policy::default(), &an_oauth_client(spec))), (Reason::InvalidSpec, message.to_owned()), "{spec}");
    }
}

#[test]
fn what_the_platform_does_not_allow_a_client_is_a_policy_violation() {
    let basic = policy("{authentication: {methods: [client_secret_basic]}, maxLifetime: 30m}");
    for (spec, message) in [
        (
            "{access: [], authentication: {clientSecret: {method: client_secret_post}}}",
            "spec.authentication.clientSecret.method: the platform's policy does not allow client_secret_post: write Any, which means what it allows",
        ),
        (
            "{access: [], accessToken: {lifetime: 31m}}",
            "spec.accessToken.lifetime: the platform's policy allows at most 30m: write 30m or less",
        ),
    ] {
        assert_eq!(refused(client(&basic, &an_oauth_client(spec))), (Reason::PolicyViolation, message.to_owned()), "{spec}");
    }
    let any = client(&basic, &an_oauth_client("{access: [], authentication: {clientSecret: {method: Any}}}")).unwrap();
    assert_eq!(any.secret_method, Some(SecretMethod::Basic));
}

const P256: &str = "kty: EC, crv: P-256, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

const ED25519: &str = "kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// RFC 7515 A.2.
const RSA: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn with_keys(keys: &str) -> OAuthClient {
    an_oauth_client(&format!("{{access: [], authentication: {{privateKeyJwt: {{jwks: {{keys: [{keys}]}}}}}}}}"))
}

/// J01, J03, J17: what is there is allowed, and nothing else.
#[test]
fn a_client_may_have_a_secret_or_keys_or_both() {
    let keys = client(&Policy::default(), &with_keys(&format!("{{{P256}, kid: a}}, {{{P256}, x5c: [MAA=]}}"))).unwrap();
    let registered = keys.private_key_jwt.unwrap();
    assert_eq!((keys.secret_method, registered.keys.len(), registered.profile), (None, 2, AssertionProfile::Rfc10070));
    assert_eq!(registered.keys[0].kid(), Some("a"));
    let both = format!(
        "{{access: [], authentication: {{clientSecret: {{}}, privateKeyJwt: {{legacyAudience: true, jwks: {{keys: [{{{P256}}}]}}}}}}}}"
    );
    let both = client(&Policy::default(), &an_oauth_client(&both)).unwrap();
    let profile = both.private_key_jwt.unwrap().profile;
    assert_eq!((both.secret_method, profile), (Some(SecretMethod::Any), AssertionProfile::LegacyAudience));
    let neither = client(&Policy::default(), &an_oauth_client("{access: []}")).unwrap();
    assert!(neither.private_key_jwt.is_none());
}

/// J02, J12: FAPI 2.0 Security Profile §5.3.2.1, §5.4: what contradicts it is refused before a client can be of two minds.
#[test]
fn a_fapi_client_signs_by_what_the_profile_allows_and_does_nothing_else() {
    let rsa = |alg: &str| format!("{{kty: RSA, alg: {alg}, e: AQAB, \"n\": {RSA}}}");
    let with = |more: &str, keys: &str, beside: &str| {
        an_oauth_client(&format!("{{access: [], authentication: {{privateKeyJwt: {{{more}, jwks: {{keys: [{keys}]}}}}{beside}}}}}"))
    };
    let (p256, ps256, rs256) = (format!("{{{P256}}}"), rsa("PS256"), rsa("RS256"));
    let allowed = client(&Policy::default(), &with("profile: FAPI2", &format!("{p256}, {ps256}, {{{ED25519}}}"), "")).unwrap();
    let registered = allowed.private_key_jwt.unwrap();
    assert_eq!((registered.profile, registered.keys.len(), allowed.secret_method), (AssertionProfile::Fapi2, 3, None));
    assert!(client(&Policy::default(), &with("legacyAudience: false", &rs256, "")).is_ok());
    let alone = "spec.authentication: FAPI 2.0 clients authenticate by privateKeyJwt alone: leave clientSecret, serviceAccounts and spiffe out, or profile";
    for (more, keys, beside, message) in [
        ("profile: FAPI2", &p256, ", clientSecret: {}", alone),
        ("profile: FAPI2", &p256, ", serviceAccounts: [{name: a}]", alone),
        ("profile: FAPI2", &p256, ", spiffe: {ids: []}", &format!("{alone}; spec.authentication.spiffe.ids: 1 to 8 SPIFFE IDs")),
        (
            "profile: FAPI2, legacyAudience: true",
            &p256,
            "",
            "spec.authentication.privateKeyJwt: FAPI 2.0 takes the issuer alone as aud: leave legacyAudience out, or profile",
        ),
        (
            "profile: FAPI2",
            &rs256,
            "",
            "spec.authentication.privateKeyJwt.jwks.keys[0]: FAPI 2.0 does not allow RS256: let the RSA key sign with PS256 (alg: PS256), or register one of P-256 or Ed25519",
        ),
        ("profile: FAPI3", &p256, "", "spec.authentication.privateKeyJwt.profile: \"FAPI3\" is unknown: write FAPI2, or leave it out"),
    ] {
        let refusal = refused(client(&Policy::default(), &with(more, keys, beside)));
        assert_eq!(refusal, (Reason::InvalidSpec, message.to_owned()), "{more} {beside}");
    }
}

/// S16: what the schema does not see is refused here.
#[test]
fn keys_that_verify_nothing_are_refused_by_place() {
    for (keys, message) in [
        (String::new(), "spec.authentication.privateKeyJwt.jwks.keys: 1 to 8 keys"),
        (
            format!(
                "{{{P256}}}, {{kty: EC, crv: P-256, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, y: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU}}"
            ),
            "spec.authentication.privateKeyJwt.jwks.keys[1]: this is no key: its members do not fit each other",
        ),
        (
            format!("{{{P256}, d: x}}"),
            "spec.authentication.privateKeyJwt.jwks.keys[0]: the member \"d\" belongs to a private key, which everybody who may read this object now has: make a new key, and write its public half",
        ),
        (
            format!("{{{P256}, kid: a}}, {{{P256}, kid: a}}"),
            "spec.authentication.privateKeyJwt.jwks.keys: two keys have the same kid: give each a name of its own",
        ),
    ] {
        assert_eq!(refused(client(&Policy::default(), &with_keys(&keys))), (Reason::InvalidSpec, message.to_owned()));
    }
}

#[test]
fn the_platform_says_whether_clients_have_secrets_or_keys() {
    let (secrets, keys) =
        (policy("{authentication: {methods: [client_secret_post]}}"), policy("{authentication: {methods: [private_key_jwt]}}"));
    let (reason, message) = refused(client(&secrets, &with_keys(&format!("{{{P256}}}"))));
    assert_eq!(reason, Reason::PolicyViolation);
    assert!(message.contains("does not allow private_key_jwt: write clientSecret: {} instead"), "{message}");
    assert!(client(&keys, &with_keys(&format!("{{{P256}}}"))).is_ok());
    let (reason, message) = refused(client(&keys, &an_oauth_client("{access: []}")));
    assert_eq!(reason, Reason::PolicyViolation);
    assert!(message.contains("does not allow Any: clients do without a secret here"), "{message}");
}

/// S5, K10: `default` is every pod's, and a TokenReview is a right that not every installation has.
#[test]
fn service_accounts_are_bound_as_the_platform_allows() {
    let with = |accounts: &str| an_oauth_client(&format!("{{access: [], authentication: {{serviceAccounts: [{accounts}]}}}}"));
    let bound = client(&Policy::default(), &with("{name: worker, uid: u, tokenReview: true}, {name: other}")).unwrap();
    assert_eq!(bound.secret_method, None);
    let [worker, other] = bound.service_accounts.as_slice() else { panic!("{bound:?}") };
    assert_eq!((worker.name.as_str(), worker.uid.as_deref(), worker.token_review), ("worker", Some("u"), true));
    assert_eq!((other.name.as_str(), other.uid.as_deref(), other.token_review), ("other", None, false));
    for (rules, accounts, word) in [
        ("{}", "{name: default}", "ask the platform team for policy.allowDefaultServiceAccount"),
        ("{authentication: {tokenReview: false}}", "{name: a, tokenReview: true}", "leave tokenReview out"),
        ("{authentication: {methods: [client_secret_basic]}}", "{name: a}", "does not allow service_account"),
    ] {
        let (reason, message) = refused(client(&policy(rules), &with(accounts)));
        assert_eq!(reason, Reason::PolicyViolation);
        assert!(message.contains(word), "{message}");
    }
    assert!(client(&policy("{allowDefaultServiceAccount: true}"), &with("{name: default}")).is_ok());
    let (reason, _) = refused(client(&Policy::default(), &with("{name: a}, {name: a}")));
    assert_eq!(reason, Reason::InvalidSpec);
}

/// K12, S11: workloads of the own namespace or lent ones, of a trust domain that the platform names.
#[test]
fn workloads_are_those_of_the_own_namespace_or_lent() {
    let rules = "
        trustDomains: [{name: example.org, bundle: {configMap: bundle, key: bundle.json}}]
        spiffeIds:
        - {id: 'spiffe://example.org/payroll/*', namespaces: [billing]}
        - {id: 'spiffe://example.org/ns/shop/sa/report', namespaces: [billing, crm]}";
    let with = |ids: &str| an_oauth_client(&format!("{{access: [], authentication: {{spiffe: {{ids: [{ids}]}}}}}}"));
    let all = "'spiffe://example.org/ns/billing/sa/worker', 'spiffe://example.org/payroll/eu/1', 'spiffe://example.org/ns/shop/sa/report'";
    let bound = client(&policy(rules), &with(all)).unwrap();
    assert_eq!((bound.secret_method, bound.workloads.len()), (None, 3));
    assert_eq!(bound.workloads[0].as_str(), "spiffe://example.org/ns/billing/sa/worker");
    for (rules, id, word) in [
        (rules, "spiffe://example.org/ns/shop/sa/worker", "is not of the own namespace: write spiffe://example.org/ns/billing/<anything>"),
        (rules, "spiffe://example.org/ns/billing2/sa/worker", "is not of the own namespace"),
        (rules, "spiffe://example.org/ns/billing", "is not of the own namespace"),
        (rules, "spiffe://example.org/payroll", "ask the platform team for a rule in policy.spiffeIds"),
        (rules, "spiffe://example.org/payroll2/x", "is not of the own namespace"),
        (
            rules,
            "spiffe://other.org/ns/billing/sa/worker",
            "other.org is no trust domain of this installation: ask the platform team for it",
        ),
        ("{}", "spiffe://example.org/ns/billing/sa/worker", "in policy.trustDomains"),
        ("{authentication: {methods: [private_key_jwt]}}", "spiffe://example.org/ns/billing/sa/worker", "does not allow spiffe_jwt"),
    ] {
        let (reason, message) = refused(client(&policy(rules), &with(&format!("'{id}'"))));
        assert_eq!(reason, Reason::PolicyViolation);
        assert!(message.contains(word), "{message}");
    }
    for (ids, word) in [
        ("", "spec.authentication.spiffe.ids: 1 to 8 SPIFFE IDs"),
        ("worker", "spec.authentication.spiffe.ids: \"worker\": scheme is missing or invalid: write spiffe://<trust domain>/<path>"),
        ("'spiffe://example.org'", "a workload has a path"),
        ("'spiffe://Example.org/ns/billing/sa/a'", "write it as its tokens do: spiffe://example.org/ns/billing/sa/a"),
        ("'spiffe://example.org/ns/billing/../shop/x'", "path cannot contain dot segments"),
        ("'spiffe://example.org/ns/billing/a', 'spiffe://example.org/ns/billing/a'", "is there twice"),
    ] {
        let (reason, message) = refused(client(&policy(rules), &with(ids)));
        assert_eq!(reason, Reason::InvalidSpec, "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_the_spec_comes_first() {
    let spec = "{clientId: other.x, access: [{resource: x, scopes: []}], accessToken: {lifetime: 1s}}";
    let (reason, message) = refused(client(&Policy::default(), &an_oauth_client(spec)));
    assert_eq!(reason, Reason::InvalidSpec);
    let parts: Vec<&str> = message.split("; ").map(|part| part.split(':').next().unwrap()).collect();
    assert_eq!(parts, ["spec.access", "spec.accessToken.lifetime", "spec.clientId"]);
}

#[test]
fn an_object_that_never_was_on_an_api_server_is_refused() {
    let mut unborn = an_oauth_client("{access: []}");
    unborn.metadata.uid = None;
    assert!(refused(client(&Policy::default(), &unborn)).1.contains("apply the object to an API server"));
    let long: OAuthClient = object("OAuthClient", ("billing", &"a".repeat(64)), "{access: []}");
    assert!(refused(client(&Policy::default(), &long)).1.starts_with("metadata.name: at most 63 characters"));
    let longest: OAuthClient = object("OAuthClient", (&"n".repeat(63), &"a".repeat(63)), "{access: []}");
    assert_eq!(client(&Policy::default(), &longest).unwrap().id.as_str().len(), 127);
}
