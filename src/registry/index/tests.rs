//! Whatever order events come in, the index says what a rebuild from the same objects says.

use super::*;
use crate::{api::Reason, domain::resource::Algorithm, installation::Reach};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What happened to one object.
#[derive(Debug, Clone)]
enum Event {
    Client { name: ObjectName, spec: Option<Value>, born: u8 },
    Resource { name: ObjectName, spec: Option<Value>, born: u8 },
    Namespace { name: &'static str, labels: Option<Value> },
}

const NAMESPACES: [&str; 3] = ["x", "y", "z"];

fn index(policy: &str) -> Index {
    index_of(policy, Reach::Cluster)
}

fn index_of(policy: &str, reach: Reach) -> Index {
    let installation = Installation {
        name: "default".into(),
        release: "keywright".into(),
        namespace: "auth".into(),
        issuer: "https://keywright.auth.svc".into(),
        cluster_domain: "cluster.local".into(),
        algorithm: Algorithm::Rs256,
        reach,
    };
    Index::new(Arc::new(serde_saphyr::from_str(policy).unwrap()), installation)
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &ObjectName, born: u8, spec: &Value) -> K {
    let created = Timestamp::from_second(i64::from(born / 2)).unwrap().to_string();
    let generation = i64::from_ne_bytes(hash_of(spec).to_ne_bytes());
    let metadata = json!({
        "namespace": name.namespace, "name": name.name, "uid": format!("{kind}-{name}-{born}"), "creationTimestamp": created,
        "generation": generation, "resourceVersion": format!("{generation}"),
    });
    serde_json::from_value(json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})).unwrap()
}

/// Equal for equal specs alone, as metadata.generation is within one uid.
fn hash_of(spec: &Value) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(&spec.to_string(), &mut hasher);
    std::hash::Hasher::finish(&hasher)
}

fn namespace(name: &str, labels: &Value) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn apply(index: &mut Index, event: &Event) -> BTreeSet<Touched> {
    match event {
        Event::Client { name, spec: Some(spec), born } => index.put_client(object("OAuthClient", name, *born, spec)),
        Event::Client { name, spec: None, .. } => index.remove_client(name),
        Event::Resource { name, spec: Some(spec), born } => index.put_resource(object("ProtectedResource", name, *born, spec)),
        Event::Resource { name, spec: None, .. } => index.remove_resource(name),
        Event::Namespace { name, labels: Some(labels) } => index.put_namespace(&namespace(name, labels)),
        Event::Namespace { name, labels: None } => index.remove_namespace(name),
    }
}

/// Everything that a client or a resource can be told, and everything that requests are answered from.
fn says(index: &Index) -> BTreeMap<String, String> {
    let snapshot = index.snapshot();
    let clients = snapshot.clients.iter().map(|(id, registered)| (format!("snapshot id {id}"), registered.client.uid.clone()));
    let resources = snapshot.resources.iter().map(|(name, resource)| (format!("snapshot resource {name}"), format!("{resource:?}")));
    let audiences = snapshot.audiences.iter().map(|(audience, name)| (format!("snapshot audience {audience}"), name.to_string()));
    let namespaces = snapshot.namespaces.iter().map(|(name, labels)| (format!("snapshot namespace {name}"), format!("{labels:?}")));
    let of_clients = index.client_names().map(|name| (format!("client {name}"), client_line(index, name)));
    let standing = |name| format!("{:?}", index.resource_standing(name).unwrap().map(|resource| resource.uid.clone()));
    let of_resources = index.resource_names().map(|name| (format!("resource {name}"), standing(name)));
    clients.chain(resources).chain(audiences).chain(namespaces).chain(of_clients).chain(of_resources).collect()
}

fn client_line(index: &Index, name: &ObjectName) -> String {
    match index.client_standing(name).unwrap() {
        Ok(registered) => format!("{} missing {:?}", registered.client.uid, index.missing(&registered.client, Timestamp::UNIX_EPOCH)),
        Err(refusal) => format!("{refusal:?}"),
    }
}

fn any_name() -> impl Strategy<Value = ObjectName> {
    (proptest::sample::select(&NAMESPACES[..]), "[ab]").prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

fn any_client() -> impl Strategy<Value = Value> {
    let id = proptest::option::of(prop_oneof![Just("lent"), Just("x.a"), Just("x.shared"), Just("y.shared")]);
    let access = proptest::collection::btree_set(prop_oneof![Just("a"), Just("b"), Just("x/a"), Just("y/b")], 0..3);
    let issuer = prop_oneof![6 => Just(None), 1 => Just(Some("other"))];
    (id, access, issuer).prop_map(|(id, access, issuer)| {
        let access: Vec<Value> = access.into_iter().map(|resource| json!({"resource": resource, "scopes": ["s"]})).collect();
        let mut spec = json!({"access": access});
        id.into_iter().for_each(|id| spec["clientId"] = json!(id));
        issuer.into_iter().for_each(|issuer| spec["issuer"] = json!(issuer));
        spec
    })
}

fn any_resource() -> impl Strategy<Value = Value> {
    let audience = proptest::option::of(prop_oneof![Just("https://lent.example"), Just("https://a.x.svc"), Just("https://b.y.svc")]);
    let grant = prop_oneof![
        Just(json!({"namespaces": ["x"], "scopes": ["s"]})),
        Just(json!({"namespaces": ["y"], "clients": ["a"], "scopes": ["s"]})),
        Just(json!({"namespaceSelector": {"matchLabels": {"team": "pay"}}, "scopes": ["s"]})),
    ];
    (audience, proptest::collection::vec(grant, 0..2)).prop_map(|(audience, grants)| {
        let mut spec = json!({"scopes": [{"name": "s"}], "grants": grants});
        audience.into_iter().for_each(|audience| spec["audience"] = json!(audience));
        spec
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let labels = prop_oneof![Just(None), Just(Some(json!({}))), Just(Some(json!({"team": "pay", "other": "z"})))];
    prop_oneof![
        4 => (any_name(), proptest::option::weighted(0.7, any_client()), 0_u8..6).prop_map(|(name, spec, born)| Event::Client { name, spec, born }),
        3 => (any_name(), proptest::option::weighted(0.7, any_resource()), 0_u8..6).prop_map(|(name, spec, born)| Event::Resource { name, spec, born }),
        1 => (proptest::sample::select(&NAMESPACES[..]), labels).prop_map(|(name, labels)| Event::Namespace { name, labels }),
    ]
}

/// The last event of each object.
fn outcome(events: &[Event]) -> Vec<Event> {
    let mut last = BTreeMap::new();
    for event in events {
        let key = match event {
            Event::Client { name, .. } => format!("client {name}"),
            Event::Resource { name, .. } => format!("resource {name}"),
            Event::Namespace { name, .. } => format!("namespace {name}"),
        };
        last.insert(key, event.clone());
    }
    last.into_values().collect()
}

fn policies() -> impl Strategy<Value = String> {
    let lent = "clientIds: [{clientId: lent, namespaces: [x, y]}, {clientId: x.shared, namespaces: [y]}], \
                audiences: [{audience: 'https://lent.example', namespaces: [x, y, z]}], namespaceLabelKeys: [team]";
    prop_oneof![Just(format!("{{{lent}}}")), Just(format!("{{{lent}, clientsPerNamespace: 1}}"))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_of_events_says_what_a_rebuild_says(policy in policies(), events in proptest::collection::vec(any_event(), 0..40)) {
        let mut incremental = index(&policy);
        for event in &events {
            apply(&mut incremental, event);
        }
        let mut rebuilt = index(&policy);
        for event in outcome(&events).iter().rev() {
            apply(&mut rebuilt, event);
        }
        prop_assert_eq!(says(&incremental), says(&rebuilt));
    }

    #[test]
    fn whoever_is_told_something_else_is_touched(policy in policies(), events in proptest::collection::vec(any_event(), 1..30)) {
        let mut index = index(&policy);
        for event in &events {
            let before = says(&index);
            let touched = apply(&mut index, event);
            let after = says(&index);
            let told = |name: &ObjectName, kind: &str| before.get(&format!("{kind} {name}")) != after.get(&format!("{kind} {name}"));
            for name in index.client_names().filter(|name| told(name, "client")) {
                prop_assert!(touched.contains(&Touched::Client(name.clone())), "client {} after {:?}", name, event);
            }
            for name in index.resource_names().filter(|name| told(name, "resource")) {
                prop_assert!(touched.contains(&Touched::Resource(name.clone())), "resource {} after {:?}", name, event);
            }
        }
    }

    /// S11: the snapshot and the standings agree, one client has an id, one resource an audience.
    #[test]
    fn who_stands_is_who_is_served(policy in policies(), events in proptest::collection::vec(any_event(), 0..40)) {
        let mut index = index(&policy);
        events.iter().for_each(|event| drop(apply(&mut index, event)));
        let snapshot = index.snapshot();
        let standing: BTreeMap<ClientId, String> = index
            .client_names()
            .filter_map(|name| index.client_standing(name)?.ok())
            .map(|registered| (registered.client.id.clone(), registered.client.uid.clone()))
            .collect();
        let served: BTreeMap<ClientId, String> =
            snapshot.clients.iter().map(|(id, registered)| (id.clone(), registered.client.uid.clone())).collect();
        prop_assert_eq!(served, standing);
        let standing: BTreeSet<ObjectName> =
            index.resource_names().filter(|name| index.resource_standing(name).is_some_and(|it| it.is_ok())).cloned().collect();
        prop_assert_eq!(&snapshot.resources.keys().cloned().collect::<BTreeSet<_>>(), &standing);
        prop_assert_eq!(snapshot.audiences.values().cloned().collect::<BTreeSet<_>>(), standing);
    }
}

fn client(namespace: &str, name: &str, born: u8, id: &str) -> Event {
    let spec = json!({"clientId": id, "access": [{"resource": "x/a", "scopes": ["s"]}]});
    Event::Client { name: ObjectName::new(namespace, name), spec: Some(spec), born }
}

fn standing(index: &Index, namespace: &str, name: &str) -> Result<String, (Reason, String)> {
    let standing = index.client_standing(&ObjectName::new(namespace, name)).unwrap();
    standing.map(|registered| registered.client.id.to_string()).map_err(|refusal| (refusal.reason, refusal.message))
}

const LENDING: &str =
    "{clientIds: [{clientId: lent, namespaces: [x, y]}], audiences: [{audience: 'https://lent.example', namespaces: [x, y]}]";

#[test]
fn the_older_of_two_clients_keeps_the_id() {
    let mut index = index(&format!("{LENDING}}}"));
    apply(&mut index, &client("x", "a", 4, "lent"));
    assert_eq!(standing(&index, "x", "a"), Ok("lent".to_owned()));
    let touched = apply(&mut index, &client("y", "b", 2, "lent"));
    assert_eq!(touched, [("x", "a"), ("y", "b")].map(|(namespace, name)| Touched::Client(ObjectName::new(namespace, name))).into());
    assert_eq!(standing(&index, "y", "b"), Ok("lent".to_owned()));
    let message = "the client id lent belongs to the older OAuthClient y/b: create this one anew with another spec.clientId";
    assert_eq!(standing(&index, "x", "a"), Err((Reason::ClientIdConflict, message.to_owned())));
    index.remove_client(&ObjectName::new("y", "b"));
    assert_eq!(standing(&index, "x", "a"), Ok("lent".to_owned()));
}

/// A claim that is not allowed denies its claimant alone.
#[test]
fn a_client_without_a_seat_holds_no_id() {
    let mut index = index(&format!("{LENDING}, clientsPerNamespace: 1}}"));
    for event in [client("x", "a", 0, "x.a"), client("x", "b", 2, "lent"), client("y", "b", 4, "lent")] {
        apply(&mut index, &event);
    }
    let message = "the namespace x has 1 older OAuthClients, as many as the platform's policy allows: delete one";
    assert_eq!(standing(&index, "x", "b"), Err((Reason::PolicyViolation, message.to_owned())));
    assert_eq!(standing(&index, "y", "b"), Ok("lent".to_owned()));
    index.remove_client(&ObjectName::new("x", "a"));
    assert_eq!(standing(&index, "x", "b"), Ok("lent".to_owned()));
    assert!(matches!(standing(&index, "y", "b"), Err((Reason::ClientIdConflict, _))));
}

/// Whose namespace is gone, nobody asks any more: what is not seen is not gone.
#[test]
fn a_namespace_that_cannot_be_seen_may_be_there() {
    let mut whole = index("{}");
    whole.put_namespace(&namespace("x", &json!({})));
    assert!(whole.may_have_namespace("x") && !whole.may_have_namespace("y"));
    let part = index_of("{}", Reach::Namespaces(["x".to_owned()].into()));
    assert!(part.may_have_namespace("x") && part.may_have_namespace("y"));
}

/// S11: two that may claim an audience both lose it, and both are told; one that may not loses alone.
#[test]
fn an_audience_that_two_claim_belongs_to_neither() {
    let mut index = index(&format!("{LENDING}}}"));
    let claim = |namespace: &str, audience: &str| Event::Resource {
        name: ObjectName::new(namespace, "a"),
        spec: Some(json!({"audience": audience, "scopes": [{"name": "s"}], "grants": [{"namespaces": ["x"], "scopes": ["s"]}]})),
        born: 0,
    };
    let says = |index: &Index, namespace: &str| {
        let standing = index.resource_standing(&ObjectName::new(namespace, "a")).unwrap();
        standing.map(|resource| resource.audience.to_string()).map_err(|refusal| (refusal.reason, refusal.message))
    };
    apply(&mut index, &client("x", "a", 0, "x.a"));
    apply(&mut index, &claim("x", "https://lent.example"));
    apply(&mut index, &claim("z", "https://lent.example"));
    assert_eq!(says(&index, "x"), Ok("https://lent.example".to_owned()));
    assert!(matches!(says(&index, "z"), Err((Reason::PolicyViolation, _))));
    let touched = apply(&mut index, &claim("y", "https://lent.example"));
    assert!(touched.contains(&Touched::Client(ObjectName::new("x", "a"))), "who calls the API hears of it");
    for (namespace, rival) in [("x", "y/a"), ("y", "x/a")] {
        let (reason, message) = says(&index, namespace).unwrap_err();
        assert_eq!(reason, Reason::AudienceConflict);
        assert!(message.starts_with(&format!("the audience https://lent.example is claimed by {rival} too")), "{message}");
    }
    assert!(index.snapshot().resources.is_empty() && index.snapshot().audiences.is_empty());
    index.remove_resource(&ObjectName::new("y", "a"));
    assert_eq!(says(&index, "x"), Ok("https://lent.example".to_owned()));
}

#[test]
fn a_write_to_status_is_in_the_snapshot_and_changes_no_owner() {
    let mut index = index(&format!("{LENDING}, clientsPerNamespace: 9}}"));
    for event in [client("x", "a", 0, "lent"), client("x", "c", 0, "x.c"), client("y", "b", 2, "lent")] {
        apply(&mut index, &event);
    }
    let credential = json!({
        "id": "abcdefghijklmnopqrstuvwxyz", "digest": format!("k:{}", "A".repeat(43)), "state": "Pending", "createdAt": "2026-11-23T00:00:00Z",
    });
    for name in [ObjectName::new("x", "a"), ObjectName::new("y", "b")] {
        let mut object = (*index.client(&name).unwrap()).clone();
        object.status = serde_json::from_value(json!({"credentials": [credential]})).unwrap();
        assert_eq!(index.put_client(object), BTreeSet::from([Touched::Client(name)]));
        let id = ClientId::parse("lent").unwrap();
        let snapshot = index.snapshot();
        let holder = snapshot.clients.get(&id).unwrap();
        assert_eq!((holder.client.object.to_string().as_str(), holder.credentials.len()), ("x/a", 1));
    }
}

/// K12, K09: for as long as a client says so.
#[test]
fn the_clients_of_a_workload_are_found_by_its_id() {
    let mut index = index("{trustDomains: [{name: example.org, bundle: {configMap: bundle, key: bundle.json}}]}");
    let [shared, own] = ["spiffe://example.org/ns/x/sa/shared", "spiffe://example.org/ns/x/sa/own"];
    let put = |index: &mut Index, name: &str, ids: &[&str]| {
        let spec = json!({"access": [], "authentication": {"spiffe": {"ids": ids}}});
        index.put_client(object("OAuthClient", &ObjectName::new("x", name), 0, &spec));
    };
    let clients = |index: &Index, id: &str| -> Vec<String> {
        index.snapshot().subjects.get(id).map(|ids| ids.iter().map(ToString::to_string).collect()).unwrap_or_default()
    };
    put(&mut index, "a", &[shared, own]);
    put(&mut index, "b", &[shared]);
    assert_eq!((clients(&index, shared), clients(&index, own)), (vec!["x.a".to_owned(), "x.b".to_owned()], vec!["x.a".to_owned()]));
    put(&mut index, "a", &[shared]);
    index.remove_client(&ObjectName::new("x", "b"));
    assert_eq!((clients(&index, shared), clients(&index, own)), (vec!["x.a".to_owned()], vec![]));
}
