//! Scopes, resources and lifetimes: the G rows, and A11.

use crate::fixture::{INVOICES, ORDERS, Replica, access, refused};
use jiff::SignedDuration;
use keywright::domain::{client::RegisteredClient, names::ObjectName, resource::Grant};

/// G03, G04, G12: each as the form writes it.
#[tokio::test]
async fn a_scope_is_well_formed_known_and_granted_or_the_request_fails() {
    let replica = Replica::new();
    let bad = [
        "invoices.read++invoices.write",
        "+invoices.read",
        "invoices.read+",
        "+",
        "invoices.read%09invoices.write",
        "%22invoices.read%22",
        "invoices%5Cread",
        "invoic%C3%A9s.read",
        "Invoices.Read",
        "unknown",
        "invoices.read+unknown",
        "invoices.read+refused",
        "openid",
        "offline_access",
        "invoices.read+openid",
    ];
    for scope in bad {
        let answer = replica.token("billing.worker", &format!("scope={scope}")).await;
        assert_eq!(answer.error(), refused("invalid_scope"), "{scope}");
    }
    let all = ["invoices.read+invoices.write", "invoices.write+invoices.read", "invoices.read+invoices.write+invoices.read"];
    for scope in all {
        let answer = replica.token("billing.worker", &format!("scope={scope}")).await;
        assert_eq!(answer.json()["scope"], "invoices.read invoices.write", "{scope}");
    }
    assert_eq!(replica.token("billing.worker", "scope=invoices.write").await.json()["scope"], "invoices.write");
}

/// G05: no scope means what is granted now; a token without any is never issued, so `scope` is always there.
#[tokio::test]
async fn without_a_scope_the_client_gets_what_is_granted_now() {
    let replica = Replica::new();
    let answer = replica.token("billing.partly", "").await;
    assert_eq!(answer.json()["scope"], "invoices.read");
    assert_eq!(answer.claims()["scope"], "invoices.read");
    for client in ["billing.denied", "billing.nowhere"] {
        assert_eq!(replica.token(client, "").await.error(), refused("invalid_scope"), "{client}");
    }
    replica.change_resource("invoices", |resource| resource.grants.clear());
    assert_eq!(replica.token("billing.partly", "").await.error(), refused("invalid_scope"));
}

/// The owner takes a scope out of the API: a grant that still names it gives nothing.
#[tokio::test]
async fn a_scope_that_the_api_no_longer_has_is_not_granted() {
    let replica = Replica::new();
    replica.change_resource("invoices", |resource| resource.scopes.retain(|scope| scope.as_str() != "invoices.write"));
    assert_eq!(replica.token("billing.worker", "").await.json()["scope"], "invoices.read");
    assert_eq!(replica.token("billing.worker", "scope=invoices.write").await.error(), refused("invalid_scope"));
}

/// G07, G08, G09, G10, G11: what chooses the audience.
#[tokio::test]
async fn one_token_has_one_audience() {
    let replica = Replica::new();
    let outcomes = [
        ("worker", "", Ok(INVOICES)),
        ("worker", "resource=https://invoices.shop.svc", Ok(INVOICES)),
        ("worker", "audience=https://invoices.shop.svc", Ok(INVOICES)),
        ("worker", "audience=https://invoices.shop.svc&resource=https://invoices.shop.svc", Ok(INVOICES)),
        ("worker", "resource=invoices", Err("invalid_target")),
        ("worker", "resource=/invoices", Err("invalid_target")),
        ("worker", "resource=https://invoices.shop.svc%23x", Err("invalid_target")),
        ("worker", "resource=https://invoices.shop.svc/", Err("invalid_target")),
        ("worker", "resource=https://orders.shop.svc", Err("invalid_target")),
        ("worker", "resource=https://nowhere.shop.svc", Err("invalid_target")),
        ("worker", "audience=invoices", Err("invalid_target")),
        ("worker", "audience=https://keywright.keywright.svc", Err("invalid_target")),
        ("denied", "resource=https://closed.shop.svc", Err("invalid_target")),
        ("several", "resource=https://orders.shop.svc", Ok(ORDERS)),
        ("several", "resource=https://orders.shop.svc&scope=orders.read", Ok(ORDERS)),
        ("several", "resource=https://orders.shop.svc&scope=shared", Ok(ORDERS)),
        ("several", "resource=https://orders.shop.svc&scope=invoices.read", Err("invalid_scope")),
        ("several", "resource=https://orders.shop.svc&resource=https://invoices.shop.svc", Err("invalid_target")),
        ("several", "resource=https://orders.shop.svc&audience=https://invoices.shop.svc", Err("invalid_target")),
        ("several", "scope=invoices.read", Ok(INVOICES)),
        ("several", "scope=orders.read", Ok(ORDERS)),
        ("several", "scope=orders.read+shared", Ok(ORDERS)),
        ("several", "scope=shared", Err("invalid_scope")),
        ("several", "scope=orders.read+invoices.read", Err("invalid_scope")),
        ("several", "scope=unknown", Err("invalid_scope")),
        ("several", "", Err("invalid_scope")),
    ];
    for (client, body, expected) in outcomes {
        let answer = replica.token(&format!("billing.{client}"), body).await;
        match expected {
            Ok(audience) => assert_eq!(answer.claims()["aud"], audience, "{client} {body}"),
            Err(error) => assert_eq!(answer.error(), refused(error), "{client} {body}"),
        }
    }
}

/// G11: librdkafka, for one, cannot send `resource`, and its users read this.
#[tokio::test]
async fn who_has_to_choose_is_told_how() {
    let answer = Replica::new().token("billing.several", "").await;
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    assert!(description.contains("resource parameter"), "{description}");
}

/// G11: another owner's grant must not break a request that works.
#[tokio::test]
async fn the_scopes_choose_by_the_clients_spec_and_not_by_todays_grants() {
    let replica = Replica::new();
    replica.change_resource("orders", |resource| resource.grants.clear());
    assert_eq!(replica.token("billing.several", "scope=shared").await.error(), refused("invalid_scope"));
    assert_eq!(replica.token("billing.several", "scope=invoices.read").await.claims()["aud"], INVOICES);
}

/// G07, product.md: "does not exist" and "is not granted" read the same.
#[tokio::test]
async fn what_does_not_exist_reads_as_what_is_not_granted() {
    let replica = Replica::new();
    let (closed, missing) = (replica.token("billing.denied", "").await, replica.token("billing.nowhere", "").await);
    assert_eq!(closed, missing);
    let closed = replica.token("billing.denied", "resource=https://closed.shop.svc").await;
    assert_eq!(closed, replica.token("billing.denied", "resource=https://nowhere.shop.svc").await);
}

/// G02, A11: the shortest of client, API and platform.
#[tokio::test]
async fn the_shortest_lifetime_counts() {
    let replica = Replica::new();
    let minutes = SignedDuration::from_mins;
    for (client, resource, expected) in [
        (None, None, 900),
        (Some(minutes(1)), None, 60),
        (Some(minutes(30)), None, 1_800),
        (Some(minutes(90)), None, 3_600),
        (Some(minutes(30)), Some(minutes(10)), 600),
        (Some(minutes(5)), Some(minutes(10)), 300),
        (None, Some(minutes(90)), 900),
    ] {
        replica.change_client("billing.worker", |known| known.client.token_lifetime = client);
        replica.change_resource("invoices", |it| it.max_lifetime = resource);
        let answer = replica.token("billing.worker", "").await;
        let claims = answer.claims();
        assert_eq!(answer.json()["expires_in"], expected, "{client:?} {resource:?}");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), expected);
    }
}

/// A grant's `expires` holds offline too: no token outlives it.
#[tokio::test]
async fn a_token_ends_with_the_grant_that_it_rests_on() {
    let replica = Replica::new();
    let end = keywright::ambient::now() + SignedDuration::from_secs(100);
    let expiring = |grant: &mut Grant| grant.expires = Some(end);
    replica.change_resource("invoices", |resource| resource.grants.iter_mut().for_each(expiring));
    let answer = replica.token("billing.worker", "").await;
    assert_eq!(answer.claims()["exp"], end.as_second());
    assert!(answer.json()["expires_in"].as_i64().unwrap() <= 100);
}

/// A07, S11: claims come from the API's owner, and only with scopes of the grant that sets them.
#[tokio::test]
async fn the_owners_claims_are_in_the_token_and_reserved_ones_are_not() {
    let replica = Replica::new();
    assert_eq!(replica.token("billing.worker", "").await.claims()["tier"], "batch");
    replica.change_resource("invoices", |resource| {
        for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "keywright.dev"] {
            resource.grants[0].claims.insert(name.to_owned(), "mallory".into());
        }
    });
    let claims = replica.token("billing.worker", "").await.claims();
    assert!(!claims.to_string().contains("mallory"), "{claims}");
}

/// Grants are for callers: a client of another namespace with the same access gets nothing.
#[tokio::test]
async fn a_client_of_another_namespace_is_not_granted_what_this_one_is() {
    let replica = Replica::new();
    replica.change_client("billing.worker", |RegisteredClient { client, .. }| {
        client.object = ObjectName::new("elsewhere", "worker");
        client.access = vec![access("invoices", &["invoices.read"])];
    });
    assert_eq!(replica.token("billing.worker", "").await.error(), refused("invalid_scope"));
}
