use super::*;

fn read(yaml: &str) -> Result<Policy, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

fn audience(text: &str) -> Audience {
    Audience::parse(text).unwrap()
}

#[test]
fn every_part_may_be_left_out() {
    assert_eq!(read("{}"), Ok(Policy::default()));
    let said = "{audiences: [], clientIds: [], maxLifetime: 1h, namespaceLabelKeys: [kubernetes.io/metadata.name]}";
    assert_eq!(read(said), Ok(Policy::default()));
}

#[test]
fn what_cannot_work_is_refused_with_a_word_on_what_to_write() {
    for (yaml, message) in [
        ("{audience: []}", "unknown field"),
        ("{audiences: [{audience: 'https://a.example', namespaces: [x], clients: [y]}]}", "unknown field"),
        ("{audiences: [{audience: a.example, namespaces: [x]}]}", "neither an absolute URI nor the beginning of one"),
        ("{audiences: [{audience: 'https://*', namespaces: [x]}]}", "neither an absolute URI nor the beginning of one"),
        ("{audiences: [{audience: 'https://a.example*', namespaces: [x]}]}", "neither an absolute URI nor the beginning of one"),
        ("{audiences: [{audience: 'https://a.example:*', namespaces: [x]}]}", "neither an absolute URI nor the beginning of one"),
        ("{audiences: [{audience: 'urn:*', namespaces: [x]}]}", "neither an absolute URI nor the beginning of one"),
        ("{audiences: [{audience: 'https://a.example', namespaces: []}]}", "names no namespace"),
        ("{clientIds: [{clientId: 'a b', namespaces: [x]}]}", "is no client id"),
        ("{clientIds: [{clientId: a, namespaces: []}]}", "names no namespace"),
        ("{authentication: {methods: []}}", "without any no client could authenticate"),
        (
            "{authentication: {methods: [none]}}",
            "list some of client_secret_basic, client_secret_post, private_key_jwt, service_account and spiffe_jwt",
        ),
        ("{trustDomains: [{name: Example.org, bundle: {configMap: b, key: k}}]}", "no name of a trust domain"),
        ("{trustDomains: [{name: 'spiffe://a', bundle: {configMap: b, key: k}}]}", "no name of a trust domain"),
        ("{trustDomains: [{name: a, bundle: {configMap: b, key: k}}, {name: a, bundle: {configMap: c, key: k}}]}", "or is there twice"),
        ("{trustDomains: [{name: a, bundle: {configMap: '', key: k}}]}", "bundle.configMap is the name of a ConfigMap"),
        ("{trustDomains: [{name: a, bundle: {configMap: b, key: ''}}]}", "bundle.key one of its keys"),
        ("{trustDomains: [{name: a, bundle: {url: 'https://a'}}]}", "unknown field"),
        ("{spiffeIds: [{id: 'spiffe://a/x', namespaces: [x]}]}", "is of a trust domain that trustDomains does not name"),
        (
            "{trustDomains: [{name: a, bundle: {configMap: b, key: k}}], spiffeIds: [{id: 'spiffe://a/x*', namespaces: [x]}]}",
            "neither a SPIFFE ID",
        ),
        (
            "{trustDomains: [{name: a, bundle: {configMap: b, key: k}}], spiffeIds: [{id: 'spiffe://a/*', namespaces: []}]}",
            "names no namespace",
        ),
        ("{maxLifetime: 59s}", "not a time of at least a minute"),
        ("{maxLifetime: 1 hour}", "not a time of at least a minute"),
        ("{minOverlap: 9m}", "minOverlap: \"9m\" is no overlap"),
        ("{maxOverlap: soon}", "maxOverlap: \"soon\" is no overlap"),
        ("{minOverlap: 2h, maxOverlap: 1h}", "maxOverlap is shorter than minOverlap"),
        ("{clientsPerNamespace: 0}", "write 1 or more, or leave it out"),
        ("{tokensPerSecond: 0}", "tokensPerSecond and burst: write 1 or more"),
        ("{tokensPerSecond: 5, burst: 0}", "tokensPerSecond and burst: write 1 or more"),
        ("{burst: 5}", "burst only beside tokensPerSecond"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(message), "{yaml}: {error}");
    }
}

/// G13.
#[test]
fn a_quota_without_a_burst_allows_what_ten_seconds_give() {
    let quota = |yaml: &str| read(yaml).unwrap().quota;
    assert_eq!(quota("{tokensPerSecond: 5}"), Some(Quota { tokens_per_second: 5, burst: 50 }));
    assert_eq!(quota("{tokensPerSecond: 5, burst: 8}"), Some(Quota { tokens_per_second: 5, burst: 8 }));
}

/// S11.
#[test]
fn an_audience_is_lent_to_the_namespaces_of_its_rule_alone() {
    let policy = read(
        "audiences:
         - {audience: 'https://api.example.com/*', namespaces: [shop]}
         - {audience: 'https://one.example.com', namespaces: [shop, billing]}
         - {audience: 'urn:example:*', namespaces: [shop]}",
    )
    .unwrap();
    for (text, namespace, lent) in [
        ("https://api.example.com/orders", "shop", true),
        ("https://api.example.com/orders/v1/", "shop", true),
        ("https://api.example.com/orders", "billing", false),
        ("https://api.example.com/", "shop", false),
        ("https://api.example.com", "shop", false),
        ("https://api.example.com.evil.example/x", "shop", false),
        ("https://api.example.com/../admin", "shop", false),
        ("https://api.example.com/a/..", "shop", false),
        ("https://api.example.com/%2e%2e/admin", "shop", false),
        ("https://api.example.com//evil.example", "shop", false),
        ("https://api.example.com/a?b=c", "shop", false),
        ("HTTPS://api.example.com/orders", "shop", false),
        ("https://one.example.com", "billing", true),
        ("https://one.example.com/", "billing", false),
        ("urn:example:orders", "shop", true),
        ("urn:example2:orders", "shop", false),
    ] {
        assert_eq!(policy.lends_audience(&audience(text), namespace), lent, "{text} {namespace}");
    }
}

#[test]
fn any_method_means_those_that_are_left() {
    use SecretMethod::{Any, Basic, Post};
    let only = |name: &str| read(&format!("{{authentication: {{methods: [{name}]}}}}")).unwrap();
    for (policy, wanted, allowed) in [
        (Policy::default(), Any, Some(Any)),
        (Policy::default(), Post, Some(Post)),
        (only("client_secret_basic"), Any, Some(Basic)),
        (only("client_secret_basic"), Post, None),
        (only("client_secret_post"), Any, Some(Post)),
        (only("client_secret_post"), Basic, None),
        (only("private_key_jwt"), Any, None),
    ] {
        assert_eq!(policy.allowed(wanted), allowed);
    }
}
