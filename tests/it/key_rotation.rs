//! The signing keys of a running installation: over days, by a clock that the test moves; revoked; deleted; and with a late replica.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jsonwebtoken::decode_header;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually, in_time};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;

const CONFIG_MAP: &str = "invoices-oauth";

/// Two replicas, an API with a verification ConfigMap, and a client of it.
struct Scene<'cluster> {
    teams: Teams<'cluster>,
    credentials: Credentials,
}

impl<'cluster> Scene<'cluster> {
    async fn set(operator: &'cluster Operator<'cluster>) -> Self {
        let teams = Teams::served_by(operator).await;
        let credentials = teams.worker().await;
        teams.change_resource("invoices", json!({"verification": {"configMap": CONFIG_MAP}})).await;
        let scene = Self { teams, credentials };
        eventually(SOON, "the ConfigMap is there", async || scene.config_map().await.ok_or("it is not")).await.unwrap();
        scene
    }

    fn operator(&self) -> &Operator<'cluster> {
        self.teams.operator
    }

    fn own_secrets(&self) -> Api<Secret> {
        Api::namespaced(self.teams.kube.clone(), &self.operator().namespace)
    }

    async fn key_secret(&self) -> Secret {
        self.own_secrets().get(&format!("{RELEASE}-keys")).await.unwrap()
    }

    async fn annotate(&self, annotation: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        self.own_secrets().patch(&format!("{RELEASE}-keys"), &PatchParams::default(), &patch).await.unwrap();
    }

    /// The keys by kid, as the annotation says.
    async fn summary(&self) -> BTreeMap<String, Value> {
        serde_json::from_str(self.key_secret().await.annotations().get("keywright.dev/signing-keys").map_or("{}", String::as_str)).unwrap()
    }

    /// The kid of a token from each replica.
    async fn signing(&self) -> Vec<String> {
        let http = self.credentials.http();
        let mut kids = Vec::new();
        for replica in &self.operator().replicas {
            let url = format!("https://localhost:{}/oauth2/token", replica.port);
            let answer = self.credentials.token_at(&http, &url, &[]).await;
            kids.push(decode_header(answer.token()).unwrap().kid.unwrap());
        }
        kids
    }

    /// The kids in the JWKS of a replica.
    async fn published(&self, replica: usize) -> BTreeSet<String> {
        let url = format!("https://localhost:{}/oauth2/jwks", self.operator().replicas[replica].port);
        kids(&self.credentials.http().get(url).send().await.unwrap().error_for_status().unwrap().text().await.unwrap())
    }

    /// The kids in the API's ConfigMap.
    async fn config_map(&self) -> Option<BTreeSet<String>> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.teams.kube.clone(), &self.teams.shop);
        let found = config_maps.get_opt(CONFIG_MAP).await.unwrap()?;
        found.data?.get("jwks.json").map(|text| kids(text))
    }

    /// Waits for an event on the key Secret.
    async fn is_told(&self, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.teams.kube.clone(), &self.operator().namespace);
        let look = async || {
            let listed = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let found = listed.items.into_iter().find(|event| event.reason.as_deref() == Some(reason));
            found.and_then(|event| event.note).ok_or_else(|| "no such event".to_owned())
        };
        let seen = eventually(SOON, &format!("an event {reason}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator().logs()))
    }
}

fn kids(jwks: &str) -> BTreeSet<String> {
    let jwks: Value = serde_json::from_str(jwks).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn installed(values: &[&str]) -> Operator<'static> {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas: 2, values, ..Setup::default() }).await
}

/// A verifier that fetches the JWKS from one replica or the other, and then not for hours.
struct Verifier {
    known: BTreeSet<String>,
    age: u64,
}

/// Hours from one look to the next; and how old what a verifier cached may become.
const STEP: u64 = 7;
const CACHED: u64 = 21;

/// F12, A09: over three rotations no verifier meets a kid that it does not know, whichever replica signed, and whichever it asked;
/// the API's ConfigMap knows every kid before it signs.
#[tokio::test(flavor = "multi_thread")]
async fn f12_verifiers_that_cache_for_hours_meet_no_unknown_kid_over_key_rotations() {
    let operator = installed(&["signingKeys={\"rotateEvery\":\"60h\"}"]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let first = scene.published(0).await;
    let mut verifiers: Vec<Verifier> = (0..4).map(|place| Verifier { known: first.clone(), age: place * STEP }).collect();
    let mut signed: Vec<String> = Vec::new();
    for step in 0..60_usize {
        for (place, verifier) in verifiers.iter_mut().enumerate() {
            if verifier.age > CACHED {
                *verifier = Verifier { known: scene.published((place + step) % 2).await, age: 0 };
            }
        }
        let config_map = scene.config_map().await.unwrap();
        for kid in scene.signing().await {
            assert!(verifiers.iter().all(|verifier| verifier.known.contains(&kid)), "step {step}: {kid} is unknown, after {signed:?}");
            assert!(config_map.contains(&kid), "step {step}: {kid} is not in the ConfigMap");
            if !signed.contains(&kid) {
                signed.push(kid);
            }
        }
        if signed.len() == 4 {
            break;
        }
        operator.advance(Duration::from_secs(STEP * 3_600)).await;
        verifiers.iter_mut().for_each(|verifier| verifier.age += STEP);
    }
    assert_eq!(signed.len(), 4, "{signed:?}\n{}", operator.logs());
    for replica in 0..2 {
        let published = scene.published(replica).await;
        assert!(!published.contains(&signed[0]) && published.contains(&signed[3]) && published.len() <= 3, "{published:?}");
    }
    operator.keeps_its_secrets().await;
}

/// What an alert is made of: a key that signs for longer than it should, and certificates that end.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_how_old_the_keys_are_and_when_the_certificates_end() {
    let operator = installed(&[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let number = |text: &str, name: &str| -> Option<f64> { text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()) };
    let of_active = "keywright_signing_keys{algorithm=\"RS256\",stage=\"active\"}";
    let of_prepared = "keywright_signing_keys{algorithm=\"RS256\",stage=\"prepared\"}";
    let age = "keywright_signing_key_age_seconds{algorithm=\"RS256\"}";
    let end = |of: &str| format!("keywright_certificate_not_after_seconds{{certificate=\"{of}\"}}");
    for replica in &operator.replicas {
        let text = replica.metrics().await;
        assert_eq!((number(&text, of_active), number(&text, of_prepared)), (Some(1.0), None), "{text}");
        assert!(number(&text, age).is_some_and(|age| (0.0..3_600.0).contains(&age)), "{text}");
        let days = |of: &str| (number(&text, &end(of)).unwrap() - replica.now().as_second() as f64) / 86_400.0;
        assert!((89.0..91.0).contains(&days("serving")) && (3_649.0..3_651.0).contains(&days("authority")), "{text}");
    }
    scene.annotate("keywright.dev/rotate", "now").await;
    let prepared = async || {
        let text = operator.replicas[1].metrics().await;
        if number(&text, of_prepared) == Some(1.0) { Ok(()) } else { Err(text) }
    };
    eventually(SOON, "every replica counts the new key", prepared).await.unwrap();
}

/// S23: at once on all replicas; no client gets another secret.
#[tokio::test(flavor = "multi_thread")]
async fn s23_a_revoked_key_neither_signs_nor_is_published_anywhere_at_once() {
    let operator = installed(&[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let secret = scene.teams.secrets().get("worker").await.unwrap();
    let mut revoked = Vec::new();
    let gone = async || {
        let leaked = scene.signing().await.remove(0);
        scene.annotate("keywright.dev/revoke", &leaked).await;
        let begun = keywright::ambient::boot_time();
        let look = async || {
            let places = [scene.published(0).await, scene.published(1).await, scene.config_map().await.unwrap()];
            if places.iter().any(|published| published.contains(&leaked)) { Err(format!("{places:?}")) } else { Ok(()) }
        };
        let seen = eventually(SOON, "the key is nowhere any more", look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        let took = keywright::ambient::boot_time() - begun;
        revoked.push(leaked);
        (took, ())
    };
    in_time(Duration::from_secs(5), "a revoked key is nowhere", gone).await.unwrap();
    let signing = scene.signing().await;
    assert!(signing[0] == signing[1] && !revoked.contains(&signing[0]), "{signing:?}");
    let token = scene.credentials.token().await;
    scene.credentials.verify(token.token(), &scene.teams.audience()).await;
    let note = scene.is_told("SigningKeyRevoked").await;
    assert!(revoked.iter().any(|kid| note.contains(kid)) && note.contains("Tokens that it signed fail"), "{note}");
    assert_eq!(scene.teams.secrets().get("worker").await.unwrap().resource_version(), secret.resource_version());
}

/// F17: with the Secret go neither tokens nor clients' secrets.
#[tokio::test(flavor = "multi_thread")]
async fn f17_a_deleted_key_secret_comes_back_as_it_was_and_nobody_notices() {
    let operator = installed(&[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let (former, secret, signing) = (scene.key_secret().await, scene.teams.secrets().get("worker").await.unwrap(), scene.signing().await);
    scene.own_secrets().delete(&former.name_any(), &DeleteParams::default()).await.unwrap();
    let back = async || match scene.own_secrets().get_opt(&former.name_any()).await.unwrap() {
        Some(found) if found.uid() != former.uid() => Ok(found),
        other => Err(format!("{:?}", other.map(|found| found.uid()))),
    };
    let found = eventually(SOON, "the Secret is made again", back).await.unwrap();
    assert_eq!(found.data, former.data);
    scene.is_told("KeySecretRestored").await;
    assert_eq!(scene.signing().await, signing);
    // Whoever is served after that was served by the same keys.
    Teams::served_by(&operator).await.worker().await.token().await.token();
    assert_eq!(scene.teams.secrets().get("worker").await.unwrap().data, secret.data);
    let client = scene.teams.clients().get("worker").await.unwrap();
    assert_eq!(client.status.unwrap().credentials.unwrap().len(), 1);
}

/// F11: a replica that does not see the new key keeps it from being confirmed, and so from signing; it is named.
#[tokio::test(flavor = "multi_thread")]
async fn f11_a_late_replica_keeps_a_new_key_from_signing_and_is_named() {
    let operator = installed(&[]).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), &operator.kubeconfig);
    operator.first().ready().await;
    let late = &operator.replicas[1];
    operator.start(late, proxy.kubeconfig());
    late.ready().await;
    let scene = Scene::set(&operator).await;
    let silent = proxy.silence_open_watches(&calls().watch().of("secrets"));
    let refused = proxy.when(calls().of("secrets")).answer(503);
    scene.annotate("keywright.dev/rotate", "now").await;
    let note = scene.is_told("RotationBlocked").await;
    assert!(note.ends_with(&format!(": {}", late.pod)), "{note}");
    let prepared = scene.summary().await.into_iter().find(|(_, key)| key["state"] == "prepared").unwrap();
    assert_eq!(prepared.1["publishedAt"], Value::Null);
    assert!(!scene.published(1).await.contains(&prepared.0));
    assert!(!scene.signing().await.contains(&prepared.0));

    proxy.remove(refused);
    proxy.remove(silent);
    let confirmed = async || match &scene.summary().await[&prepared.0]["publishedAt"] {
        Value::Null => Err("not yet"),
        _ => Ok(()),
    };
    eventually(SOON, "the key is confirmed", confirmed).await.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
    assert!(scene.published(1).await.contains(&prepared.0));
}
