//! What a replica says that it has seen is what it answers from.

use super::*;
use crate::{
    ambient,
    domain::{
        credential::{CredentialId, Digest},
        names::ClientId,
        resource::Algorithm,
        trust_domain::{BundleFault, Trust},
    },
    installation::{Installation, Reach},
    keys::{
        DigestKey, SigningKey,
        secret::{DIGEST_KEY, entry_name},
    },
    policy::Policy,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use serde_json::{Value, json};

const DIGEST: [u8; 32] = [7; 32];
/// RFC 7515 A.3.1.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn registry() -> Arc<Registry> {
    registry_of(Reach::Cluster)
}

fn registry_of(reach: Reach) -> Arc<Registry> {
    registry_with(Arc::default(), reach)
}

fn registry_with(policy: Arc<Policy>, reach: Reach) -> Arc<Registry> {
    let installation = Installation {
        name: "default".into(),
        release: "keywright".into(),
        namespace: "auth".into(),
        issuer: "https://keywright.auth.svc".into(),
        cluster_domain: "cluster.local".into(),
        algorithm: Algorithm::Rs256,
        reach,
    };
    Registry::new(Index::new(policy, installation))
}

fn name() -> ObjectName {
    ObjectName::new("x", "a")
}

fn client(uid: &str, credentials: &Value) -> OAuthClient {
    let metadata = json!({"namespace": "x", "name": "a", "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1});
    let object = json!({"metadata": metadata, "spec": {"access": []}, "status": {"credentials": credentials}});
    let typed = json!({"apiVersion": "keywright.dev/v1alpha1", "kind": "OAuthClient"});
    let members = [object, typed].into_iter().flat_map(|part| part.as_object().unwrap().clone()).collect();
    serde_json::from_value(Value::Object(members)).unwrap()
}

/// As the leader registers it.
fn pending(digest_key: &str) -> Value {
    let digest = Digest { key: digest_key.to_owned(), mac: [1; 32] };
    let digest = format!("{}:{}", digest.key, URL_SAFE_NO_PAD.encode(digest.mac));
    json!({"id": CredentialId::from_random([1; 16]).as_str(), "digest": digest, "state": "Pending", "createdAt": "2026-01-01T00:00:00Z"})
}

fn unreadable(uid: &str) -> Unreadable {
    Unreadable { name: name(), uid: uid.to_owned(), why: "another version wrote it".to_owned() }
}

fn listed(objects: Vec<OAuthClient>, unreadable: Vec<Unreadable>, version: u64) -> Event<OAuthClient> {
    Event::Listed { objects, unreadable, version, begun: ambient::moment() }
}

fn key_secret(entries: &[(&str, &[u8])]) -> Secret {
    let data = entries.iter().map(|(name, bytes)| ((*name).to_owned(), ByteString(bytes.to_vec()))).collect();
    Secret { data: Some(data), ..Secret::default() }
}

/// The version of clients that is reported, and the names that are not vouched for.
fn told(registry: &Registry, kind: Watched) -> (u64, Vec<String>) {
    registry.swap_now();
    let seen = registry.seen().borrow().clone();
    (seen.versions[&Watch::whole(kind)], seen.unread.get(&kind).into_iter().flatten().cloned().collect())
}

fn take_in<K: Indexed>(registry: &Registry, event: Event<K>) {
    registry.handle(&Watch::whole(K::KIND), event);
}

fn is_served(registry: &Registry) -> bool {
    registry.swap_now();
    registry.snapshot().load().clients.get(&ClientId::parse("x.a").unwrap()).is_some()
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn of_what_cannot_be_read_the_former_state_stays_in_force_and_is_not_vouched_for() {
    for in_a_list in [true, false] {
        let registry = registry();
        take_in(&registry, listed(vec![client("one", &json!([]))], vec![], 10));
        assert_eq!(told(&registry, Watched::OAuthClients), (10, none()));
        take_in(
            &registry,
            match in_a_list {
                true => listed(vec![], vec![unreadable("one")], 20),
                false => Event::Unreadable { object: unreadable("one"), version: 20 },
            },
        );
        assert!(is_served(&registry));
        // It holds up itself alone: the version goes on.
        assert_eq!(told(&registry, Watched::OAuthClients), (20, vec!["one".to_owned()]));
        take_in(&registry, Event::Applied { object: client("one", &json!([])), version: 30 });
        assert_eq!(told(&registry, Watched::OAuthClients), (30, none()));
    }
}

/// A recreated client is another one, whether it can be read or not.
#[test]
fn an_object_that_cannot_be_read_does_not_inherit_from_another_of_its_name() {
    for in_a_list in [true, false] {
        let registry = registry();
        take_in(&registry, listed(vec![client("one", &json!([]))], vec![], 10));
        assert!(is_served(&registry));
        take_in(
            &registry,
            match in_a_list {
                true => listed(vec![], vec![unreadable("two")], 20),
                false => Event::Unreadable { object: unreadable("two"), version: 20 },
            },
        );
        assert!(!is_served(&registry));
        assert_eq!(told(&registry, Watched::OAuthClients), (20, vec!["two".to_owned()]));
        take_in(&registry, Event::<OAuthClient>::Deleted { name: name(), version: 30 });
        assert_eq!(told(&registry, Watched::OAuthClients), (30, none()));
    }
}

#[test]
fn namespaces_and_resources_that_cannot_be_read_do_not_inherit_either() {
    let registry = registry();
    let namespace = json!({"metadata": {"name": "x", "uid": "one", "labels": {"kubernetes.io/metadata.name": "x"}}});
    take_in(&registry, Event::Applied { object: serde_json::from_value::<Namespace>(namespace).unwrap(), version: 1 });
    let known = |registry: &Registry| registry.with_index(|index| index.namespace_names().count());
    let unread = |uid: &str| Unreadable { name: ObjectName::new("", "x"), ..unreadable(uid) };
    take_in(&registry, Event::<Namespace>::Unreadable { object: unread("one"), version: 2 });
    assert_eq!(known(&registry), 1);
    take_in(&registry, Event::<Namespace>::Unreadable { object: unread("two"), version: 3 });
    assert_eq!(known(&registry), 0);

    let resource = json!({
        "apiVersion": "keywright.dev/v1alpha1", "kind": "ProtectedResource", "spec": {"scopes": [{"name": "s"}], "grants": []},
        "metadata": {"namespace": "x", "name": "a", "uid": "one", "generation": 1},
    });
    take_in(&registry, Event::Applied { object: serde_json::from_value::<ProtectedResource>(resource).unwrap(), version: 1 });
    let known = |registry: &Registry| registry.with_index(|index| index.resource_names().count());
    take_in(&registry, Event::<ProtectedResource>::Unreadable { object: unreadable("one"), version: 2 });
    assert_eq!(known(&registry), 1);
    take_in(&registry, Event::<ProtectedResource>::Unreadable { object: unreadable("two"), version: 3 });
    assert_eq!(known(&registry), 0);
}

/// The register that a gate waits for: an entry that this version cannot read, and one whose digest key it has not.
#[test]
fn a_register_that_would_not_be_accepted_is_not_vouched_for() {
    let (registry, key) = (registry(), DigestKey::new(&DIGEST));
    let planted = json!([{"id": "of a later version", "digest": "x", "state": "Pending", "createdAt": "2026-01-01T00:00:00Z"}]);
    take_in(&registry, listed(vec![client("one", &planted)], vec![], 10));
    assert_eq!(told(&registry, Watched::OAuthClients), (10, vec!["one".to_owned()]));
    take_in(&registry, Event::Applied { object: client("one", &json!([pending(key.name())])), version: 20 });
    assert_eq!(told(&registry, Watched::OAuthClients), (20, vec!["one".to_owned()]), "the key is not known yet");
    registry.handle_keys(Event::Applied { object: key_secret(&[(DIGEST_KEY, &DIGEST)]), version: 5 });
    assert_eq!(told(&registry, Watched::OAuthClients), (20, none()));
    registry.handle_keys(Event::Applied { object: key_secret(&[(DIGEST_KEY, &[8; 32])]), version: 6 });
    assert_eq!(told(&registry, Watched::OAuthClients), (20, vec!["one".to_owned()]), "the key has changed");
}

#[test]
fn a_key_secret_that_cannot_be_read_is_not_vouched_for() {
    let registry = registry();
    let spoilt = entry_name("spoilt");
    let whole = entry_name(SigningKey::generate(Algorithm::Es256).unwrap().kid());
    registry.handle_keys(Event::Applied { object: key_secret(&[(DIGEST_KEY, &DIGEST), (&spoilt, b"{}")]), version: 10 });
    assert_eq!(told(&registry, Watched::Keys), (10, vec![spoilt]));
    assert!(!told(&registry, Watched::Keys).1.contains(&whole));
    for event in [
        Event::Applied { object: key_secret(&[]), version: 20 },
        Event::Unreadable { object: unreadable("keys"), version: 20 },
        Event::Listed { objects: vec![], unreadable: vec![unreadable("keys")], version: 20, begun: ambient::moment() },
    ] {
        registry.handle_keys(event);
        assert_eq!(told(&registry, Watched::Keys), (20, vec![EVERYTHING.to_owned()]));
        assert!(registry.with_index(Index::keys).is_some(), "those known before stay in use");
        registry.handle_keys(Event::Applied { object: key_secret(&[(DIGEST_KEY, &DIGEST)]), version: 15 });
        assert_eq!(told(&registry, Watched::Keys), (15, none()));
    }
}

/// A Previous secret ends when the API server has agreed with all clients: one namespace says nothing of another.
#[test]
fn clients_agree_when_the_watches_of_all_namespaces_do() {
    let registry = registry_of(Reach::Namespaces(["x", "y"].map(str::to_owned).into()));
    let agrees = |namespace: &str, second: i64| {
        let begun = Moment { wall: Timestamp::from_second(second).unwrap(), ..ambient::moment() };
        let watch = Watch { kind: Watched::OAuthClients, namespace: Some(namespace.to_owned()) };
        registry.handle(&watch, Event::<OAuthClient>::Agreed { begun });
        registry.swap_now();
        registry.snapshot().load().clients_agreed.map(Timestamp::as_second)
    };
    assert_eq!(agrees("x", 20), None);
    assert_eq!(agrees("y", 10), Some(10));
    assert_eq!(agrees("y", 30), Some(20));
}

/// What one namespace's list does not show is gone; what is in another stays.
#[test]
fn a_list_of_one_namespace_removes_nothing_in_another() {
    let registry = registry_of(Reach::Namespaces(["x", "y"].map(str::to_owned).into()));
    let watch = |namespace: &str| Watch { kind: Watched::OAuthClients, namespace: Some(namespace.to_owned()) };
    registry.handle(&watch("x"), listed(vec![client("one", &json!([]))], vec![], 10));
    registry.handle(&watch("y"), listed(vec![], vec![], 20));
    assert!(is_served(&registry));
    registry.handle(&watch("x"), Event::<OAuthClient>::Lapsed { begun: ambient::moment() });
    assert!(!is_served(&registry), "the right to its namespace has gone");
}

/// K12: of a bundle that becomes usable, or is so no more, the clients of its trust domain hear, and no others; once.
#[test]
fn the_clients_of_a_trust_domain_are_looked_at_when_its_bundle_is_spoilt_or_mended() {
    let policy: Policy = serde_saphyr::from_str(
        "{trustDomains: [{name: one, bundle: {configMap: b, key: k}}, {name: two, bundle: {configMap: c, key: k}}]}",
    )
    .unwrap();
    let policy = Arc::new(policy);
    let registry = registry_with(Arc::clone(&policy), Reach::Cluster);
    let mut objects = vec![client("with-secret", &json!([]))];
    for name in ["one", "two"] {
        let mut object = client(name, &json!([]));
        object.metadata.name = Some(name.to_owned());
        let spec = json!({"access": [], "authentication": {"spiffe": {"ids": [format!("spiffe://{name}/ns/x/sa/a")]}}});
        object.spec = serde_json::from_value(spec).unwrap();
        objects.push(object);
    }
    take_in(&registry, listed(objects, vec![], 10));
    let mut told = registry.tell();
    let [one, _] = policy.trust_domains() else { panic!() };
    let config_map = |data: &Value| -> ConfigMap { serde_json::from_value(json!({"metadata": {"name": "b"}, "data": data})).unwrap() };
    let keys = json!([{"use": "jwt-svid", "kty": "EC", "kid": "a", "crv": "P-256", "x": X, "y": Y}]);
    let good = || config_map(&json!({"k": json!({"keys": keys}).to_string()}));
    let listed = |objects, unreadable| Event::Listed { objects, unreadable, version: 1, begun: ambient::moment() };
    let events = [
        (listed(vec![], vec![]), Some(BundleFault::NoConfigMap), 1),
        (Event::Applied { object: config_map(&json!({})), version: 2 }, Some(BundleFault::NoKey), 1),
        (Event::Applied { object: good(), version: 3 }, None, 1),
        (Event::Progress { version: 3 }, None, 0),
        (listed(vec![good()], vec![]), None, 0),
        (Event::Unreadable { object: unreadable("one"), version: 4 }, Some(BundleFault::Unreadable), 1),
        (listed(vec![], vec![unreadable("one")]), Some(BundleFault::Unreadable), 0),
        (listed(vec![good()], vec![]), None, 1),
        (Event::Lapsed { begun: ambient::moment() }, Some(BundleFault::Forbidden), 1),
        (Event::Lapsed { begun: ambient::moment() }, Some(BundleFault::Forbidden), 0),
        (listed(vec![good()], vec![]), None, 1),
        (Event::Deleted { name: ObjectName::new("auth", "b"), version: 9 }, Some(BundleFault::NoConfigMap), 1),
    ];
    for (number, (event, fault, touched)) in events.into_iter().enumerate() {
        registry.handle_bundle(one, event);
        let known = registry.trust();
        assert_eq!((known.load().fault("one"), known.load().fault("two")), (fault.as_ref(), Some(&BundleFault::NotRead)), "{number}");
        let expected: Vec<Touched> = (0..touched).map(|_| Touched::Client(ObjectName::new("x", "one"))).collect();
        assert_eq!(std::iter::from_fn(|| told.try_recv().ok()).collect::<Vec<_>>(), expected, "{number}");
    }
    assert!(matches!(registry.trust().load().of("one"), Trust::Keys([_])), "the last one that could be used stays in use");
}

/// Whoever begins to lead waits for the bundles, but not for ever.
#[tokio::test]
async fn bundles_are_waited_for() {
    let policy: Policy = serde_saphyr::from_str("{trustDomains: [{name: one, bundle: {configMap: b, key: k}}]}").unwrap();
    let policy = Arc::new(policy);
    let registry = registry_with(Arc::clone(&policy), Reach::Cluster);
    registry.bundles_read(Duration::from_millis(10)).await;
    let long = Duration::from_secs(3_600);
    let mut waiting = Box::pin(registry.bundles_read(long));
    assert!(futures::poll!(&mut waiting).is_pending());
    registry.handle_bundle(&policy.trust_domains()[0], Event::Lapsed { begun: ambient::moment() });
    waiting.await;
    registry.bundles_read(long).await;
    registry_of(Reach::Cluster).bundles_read(long).await;
}

/// Of the cluster's keys the clients that are ServiceAccounts hear, and no others; once.
#[tokio::test]
async fn the_clients_that_are_service_accounts_are_looked_at_when_the_keys_come_or_are_refused() {
    let registry = registry();
    let mut bound = client("bound", &json!([]));
    bound.metadata.name = Some("bound".to_owned());
    bound.spec = serde_json::from_value(json!({"access": [], "authentication": {"serviceAccounts": [{"name": "a"}]}})).unwrap();
    take_in(&registry, listed(vec![client("with-secret", &json!([])), bound], vec![], 10));
    let mut told = registry.tell();
    let long = Duration::from_secs(3_600);
    let mut waiting = Box::pin(registry.account_keys_looked_up(long));
    assert!(futures::poll!(&mut waiting).is_pending() && registry.account_keys_refused().is_none());
    let refused = || AccountKeys::Refused("why".to_owned());
    let looks = [
        (AccountKeys::Unanswered, None, 1),
        (refused(), Some("why".to_owned()), 1),
        (refused(), Some("why".to_owned()), 0),
        (AccountKeys::Unanswered, Some("why".to_owned()), 0),
        (AccountKeys::Known, None, 1),
        (AccountKeys::Unanswered, None, 0),
        (refused(), None, 0),
    ];
    for (found, why, touched) in looks {
        registry.account_keys_are(found);
        assert_eq!(registry.account_keys_refused(), why);
        let expected: Vec<Touched> = (0..touched).map(|_| Touched::Client(ObjectName::new("x", "bound"))).collect();
        assert_eq!(std::iter::from_fn(|| told.try_recv().ok()).collect::<Vec<_>>(), expected);
    }
    waiting.await;
}
