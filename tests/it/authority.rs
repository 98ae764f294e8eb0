//! The CA of a running installation, as those who verify the token endpoint meet it: over ten years, by a clock that the test moves; revoked;
//! deleted; and kept from signing by a place that does not know the next one.

mod handshake;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use keywright::domain::key_rotation::{Need, Slots, plan};
use keywright::keys::certificate::succession::RULES;
use keywright::keys::certificate::{Authorities, ServingCertificate};
use keywright::keys::store::Release;
use keywright::keys::store::certificate::{Wanted, advance};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use handshake::{shown_at, verify};

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually, in_time};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;

const CONFIG_MAP: &str = "invoices-oauth";
const DAY: u64 = 86_400;
/// How old what somebody has read of `ca.crt` may become (rotation.md).
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A workload that would be restarted for a new credential.
const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: asks, namespace: $billing, annotations: {keywright.dev/restart-on: worker}}
spec:
  selector: {matchLabels: {app: asks}}
  template:
    metadata: {labels: {app: asks}}
    spec: {containers: [{name: app, image: app}]}
";

/// Replicas behind a proxy, an API with a verification ConfigMap, and a client whose secret nobody rotates.
struct Scene<'cluster> {
    teams: Teams<'cluster>,
    credentials: Credentials,
}

impl<'cluster> Scene<'cluster> {
    async fn set(operator: &'cluster Operator<'cluster>) -> Self {
        let teams = Teams::served_by(operator).await;
        let credentials = teams.worker().await;
        teams.change_client("worker", json!({"rotation": {"policy": "Manual"}})).await;
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

    async fn own(&self, suffix: &str) -> Option<Secret> {
        self.own_secrets().get_opt(&format!("{RELEASE}-{suffix}")).await.unwrap()
    }

    async fn annotate(&self, annotation: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        self.own_secrets().patch(&format!("{RELEASE}-ca"), &PatchParams::default(), &patch).await.unwrap();
    }

    /// The CAs by fingerprint, as the annotation says.
    async fn lives(&self) -> BTreeMap<String, Value> {
        let secret = self.own("ca").await.unwrap();
        serde_json::from_str(secret.annotations().get("keywright.dev/authorities").map_or("{}", String::as_str)).unwrap()
    }

    async fn secret(&self) -> Secret {
        self.teams.secrets().get("worker").await.unwrap()
    }

    async fn config_map(&self) -> Option<String> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.teams.kube.clone(), &self.teams.shop);
        config_maps.get_opt(CONFIG_MAP).await.unwrap()?.data?.remove("ca.crt")
    }

    /// `ca.crt` wherever it stands.
    async fn places(&self) -> [String; 3] {
        let text = |secret: Secret| String::from_utf8(secret.data.unwrap()["ca.crt"].0.clone()).unwrap();
        [text(self.own("tls").await.unwrap()), text(self.secret().await), self.config_map().await.unwrap()]
    }

    /// Whether nothing is left to do until later: of the CAs, of the certificate, and of what clients trust.
    async fn is_settled(&self, now: Timestamp) -> Result<(), String> {
        let (Some(ca), Some(tls)) = (self.own("ca").await, self.own("tls").await) else { return Err("a Secret is missing".to_owned()) };
        let annotation = ca.annotations().get("keywright.dev/authorities").cloned();
        let authorities = Authorities::parse(&ca.data.unwrap(), annotation.as_deref()).unwrap();
        let shown = ServingCertificate::parse(&tls.data.unwrap()).unwrap();
        let (keys, needs) = (authorities.lives(Some(&shown), now), [((), Need::Needed)].into());
        let slots = Slots { keys, needs, ordered: false, revoked: BTreeSet::new(), seen: true };
        let step = plan(&slots, &RULES, now).step;
        let bundle = authorities.bundle();
        let is_spread = self.places().await.iter().all(|place| *place == bundle);
        let is_fresh = authorities.signer().is_none() || shown.is_signed_by(authorities.active().unwrap()) && now < shown.renew_at();
        match (&step, is_spread, is_fresh) {
            (None, true, true) => Ok(()),
            other => Err(format!("at {now}: {other:?}, {}", authorities.summary())),
        }
    }

    /// Waits for an event on the CA's Secret.
    async fn is_told(&self, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.teams.kube.clone(), &self.operator().namespace);
        let look = async || {
            let listed = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let found = listed.items.into_iter().find(|event| event.reason.as_deref() == Some(reason));
            found.and_then(|event| event.note).ok_or_else(|| "no such event".to_owned())
        };
        let seen = eventually(Duration::from_secs(90), &format!("an event {reason}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator().logs()))
    }

    /// The certificate that each replica shows.
    async fn shown(&self) -> Vec<CertificateDer<'static>> {
        let mut all = Vec::new();
        for replica in &self.operator().replicas {
            all.push(shown_at(replica.port).await);
        }
        all
    }

    /// Whether clients that hold this `ca.crt` may go on.
    async fn is_verified_with(&self, bundle: &str, now: Timestamp) -> Result<(), rustls::Error> {
        self.shown().await.iter().try_for_each(|certificate| verify(certificate, bundle, now))
    }
}

async fn installed(replicas: usize, values: &[&str]) -> Operator<'static> {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Operator::install(ControlPlane::shared().await.unwrap(), Setup { replicas, values, ..Setup::default() }).await
}

/// Those who have read `ca.crt`, from any of the places, at any time of the last 30 days.
struct Readers(Vec<(Timestamp, String)>);

impl Readers {
    fn read(&mut self, places: [String; 3], now: Timestamp) {
        self.0.retain(|(read, _)| now.duration_since(*read) < MONTH);
        self.0.extend(places.into_iter().collect::<BTreeSet<_>>().into_iter().map(|place| (now, place)));
    }

    fn verify(&self, shown: &[CertificateDer<'_>], now: Timestamp) {
        let still = self.0.iter().filter(|(read, _)| now.duration_since(*read) < MONTH);
        for (read, bundle) in still {
            for certificate in shown {
                verify(certificate, bundle, now).unwrap_or_else(|error| panic!("read at {read}, refused at {now}: {error}\n{bundle}"));
            }
        }
    }
}

/// Ten years in which the CA is replaced twice: whoever has read `ca.crt` within the last 30 days, anywhere, verifies every replica at any
/// moment. The Secret of the client is written to when a CA comes and when one goes, and holds the same credential all the time.
#[tokio::test(flavor = "multi_thread")]
async fn over_ten_years_nobody_who_reads_ca_crt_once_in_a_while_is_cut_off() {
    let operator = installed(2, &["restartWorkloads=true"]).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    for replica in &operator.replicas {
        operator.start(replica, proxy.kubeconfig());
        replica.ready().await;
    }
    let scene = Scene::set(&operator).await;
    scene.teams.apply(WORKLOAD).await;
    let deployments: Api<Deployment> = Api::namespaced(scene.teams.kube.clone(), &scene.teams.billing);
    let clock = || operator.first().now();
    let (start, before) = (clock(), scene.secret().await);
    let generation = async || deployments.get("asks").await.unwrap().metadata.generation;
    let (mut readers, mut bundles, generation_before) = (Readers(Vec::new()), BTreeSet::new(), generation().await);
    proxy.clear_log();
    while clock().duration_since(start) < SignedDuration::from_hours(10 * 365 * 24 + 200 * 24) {
        let settled = async || {
            // At any moment, also in the middle of it.
            let (shown, now) = (scene.shown().await, clock());
            readers.verify(&shown, now);
            scene.is_settled(now).await
        };
        let seen = eventually(SOON, "what is due is done", settled).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        let places = scene.places().await;
        bundles.insert(places[0].clone());
        readers.read(places.clone(), clock());
        let days = Duration::from_secs(DAY * if scene.lives().await.len() == 1 { 41 } else { 6 });
        // Also at the last moment of the days that pass now at once: nobody writes meanwhile.
        readers.read(places, clock() + days);
        operator.advance(days).await;
    }
    // Two successions: a CA, two, one, two, one.
    assert_eq!(bundles.len(), 5, "{bundles:?}");
    let after = scene.secret().await;
    assert_eq!(after.data.as_ref().unwrap()["client-secret"], before.data.as_ref().unwrap()["client-secret"]);
    assert_eq!(after.annotations().get("keywright.dev/credential"), before.annotations().get("keywright.dev/credential"));
    let writes = proxy.log().into_iter().filter(|call| calls().mutating().of("secrets").in_namespace(&scene.teams.billing).includes(call));
    assert_eq!(writes.count(), 4, "one when a CA comes, one when it goes");
    assert_eq!(generation().await, generation_before, "no workload was restarted");
    operator.keeps_its_secrets().await;
}

/// S23: at once everywhere. No client gets another secret.
#[tokio::test(flavor = "multi_thread")]
async fn s23_a_revoked_ca_is_trusted_nowhere_at_once() {
    let operator = installed(2, &[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let (before, mut revoked) = (scene.secret().await, Vec::new());
    let replaced = async || {
        let [leaked, ..] = scene.places().await;
        let fingerprint = scene.lives().await.into_keys().next().unwrap();
        scene.annotate("keywright.dev/revoke", &fingerprint).await;
        revoked.push(fingerprint);
        let begun = keywright::ambient::boot_time();
        let gone = async || {
            let [tls, secret, config_map] = scene.places().await;
            let is_gone = tls != leaked && secret == tls && config_map == tls && !tls.contains(&leaked);
            if !is_gone {
                return Err("it is still trusted".to_owned());
            }
            scene.is_verified_with(&tls, operator.first().now()).await.map_err(|error| error.to_string())
        };
        let seen = eventually(SOON, "another CA everywhere", gone).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        (keywright::ambient::boot_time() - begun, leaked)
    };
    let leaked = in_time(Duration::from_secs(10), "a revoked CA is trusted nowhere", replaced).await.unwrap();
    assert!(scene.is_verified_with(&leaked, operator.first().now()).await.is_err(), "who trusts the leaked one alone is cut off");
    let note = scene.is_told("AuthorityRevoked").await;
    assert!(
        revoked.iter().any(|fingerprint| note.contains(fingerprint)) && note.contains("cut off until they read ca.crt again"),
        "{note}"
    );
    let after = Credentials::of(scene.secret().await);
    assert_eq!(after.get("client-secret"), Credentials::of(before).get("client-secret"));
    after.token().await.token();
}

/// F17: whoever has the `ca.crt` of before goes on, and the next CA is known to all long before it signs.
#[tokio::test(flavor = "multi_thread")]
async fn f17_a_deleted_ca_cuts_nobody_off() {
    let operator = installed(2, &[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    let [former, ..] = scene.places().await;
    scene.own_secrets().delete(&format!("{RELEASE}-ca"), &DeleteParams::default()).await.unwrap();
    let both = async || {
        let places = scene.places().await;
        let is_spread = places.iter().all(|place| place.contains(&former) && place.len() > former.len() && *place == places[0]);
        if is_spread { Ok(places[0].clone()) } else { Err(format!("{places:?}")) }
    };
    let seen = eventually(SOON, "both CAs are known everywhere", both).await;
    let both = seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
    assert!(scene.is_told("AuthorityLost").await.contains("stays in use"));
    scene.credentials.token().await.token();
    let confirmed =
        async || match scene.lives().await.values().find(|life| life["state"] == "prepared").map(|life| life["publishedAt"].clone()) {
            Some(Value::String(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        };
    eventually(SOON, "it is known to be known", confirmed).await.unwrap();
    operator.advance(Duration::from_secs(29 * DAY)).await;
    scene.is_settled(operator.first().now()).await.unwrap();
    scene.is_verified_with(&former, operator.first().now()).await.unwrap();
    operator.advance(Duration::from_secs(2 * DAY)).await;
    let next = async || {
        let now = operator.first().now();
        scene.is_verified_with(&both, now).await.map_err(|error| error.to_string())?;
        match scene.is_verified_with(&former, now).await {
            Err(_) => Ok(()),
            Ok(()) => Err("the former one still signs".to_owned()),
        }
    };
    let seen = eventually(SOON, "the next one signs", next).await;
    seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
}

/// A place that cannot be written to keeps the next CA from signing, and is named; also the Secret of a former name is kept up to date.
#[tokio::test(flavor = "multi_thread")]
async fn f11_a_place_without_the_next_ca_keeps_it_from_signing_and_is_named() {
    let operator = installed(1, &[]).await;
    operator.start_all().await;
    let scene = Scene::set(&operator).await;
    scene.teams.change_client("worker", json!({"secret": {"name": "renamed"}})).await;
    operator.client_is(&scene.teams.billing, "worker", "Overlapping").await;
    scene.teams.edit_secret("renamed", json!({"immutable": true})).await;
    // The next process comes to it before the other.
    operator.first().process().kill().unwrap();
    operator.start(operator.first(), &operator.kubeconfig);
    operator.first().ready().await;
    scene.annotate("keywright.dev/rotate", "now").await;
    let note = scene.is_told("RotationBlocked").await;
    assert!(note.ends_with(&format!("the Secret {}/renamed", scene.teams.billing)), "{note}");
    let prepared = async || scene.lives().await.into_values().find(|life| life["state"] == "prepared").unwrap();
    assert_eq!(prepared().await["publishedAt"], Value::Null);
    let [tls, former, config_map] = scene.places().await;
    assert!(tls.matches("BEGIN CERTIFICATE").count() == 2 && former == tls && config_map == tls);

    // What is immutable can only be deleted; it is healed with what is known now.
    scene.teams.secrets().delete("renamed", &DeleteParams::default()).await.unwrap();
    let confirmed = async || match &prepared().await["publishedAt"] {
        Value::Null => Err("not yet"),
        _ => Ok(()),
    };
    eventually(SOON, "the CA is confirmed", confirmed).await.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
    assert_eq!(Credentials::read(&scene.teams.kube, &scene.teams.billing, "renamed").await.get("ca.crt"), tls);
}

/// F2, F7: a leader whose view of the certificate is late, or that was frozen, takes no CA out of what another one has written.
#[tokio::test(flavor = "multi_thread")]
async fn f2_a_leader_that_does_not_know_the_next_ca_yet_takes_it_out_of_nothing() {
    let operator = installed(1, &[]).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    let scene = Scene::set(&operator).await;
    let own = || calls().of("secrets").in_namespace(&operator.namespace);
    proxy.silence_open_watches(&own().watch());
    proxy.when(own().list()).answer(503);
    proxy.when(own().watch()).answer(503);

    // What another leader does meanwhile.
    scene.annotate("keywright.dev/rotate", "now").await;
    let release = Release { namespace: operator.namespace.clone(), name: RELEASE.to_owned() };
    let names = ServingCertificate::parse(&scene.own("tls").await.unwrap().data.unwrap()).unwrap().names;
    let wanted = Wanted { names: &names, rules: RULES };
    let bundle = advance(&scene.teams.kube, &release, &wanted, None, operator.first().now()).await.unwrap().bundle;
    assert_ne!(scene.config_map().await.unwrap(), bundle);
    proxy.clear_log();
    let ca = ByteString(bundle.clone().into_bytes());
    scene.teams.edit_secret("worker", json!({"data": {"ca.crt": ca}})).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(scene.teams.kube.clone(), &scene.teams.shop);
    let known = Patch::Merge(json!({"data": {"ca.crt": bundle}}));
    config_maps.patch(CONFIG_MAP, &PatchParams::default(), &known).await.unwrap();

    let reads = |namespace: &str, name: &str| proxy.count(&calls().get().in_namespace(namespace).named(name));
    let looked = async || {
        let seen = [
            reads(&operator.namespace, &format!("{RELEASE}-tls")),
            reads(&scene.teams.shop, CONFIG_MAP),
            reads(&scene.teams.billing, "worker"),
        ];
        if seen[0] > 0 && seen[1] + seen[2] > 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    };
    eventually(SOON, "it looks at them, and at the certificate as it is now", looked).await.unwrap();
    // Whoever comes next is served with what is known now, and by then it is done with the others.
    scene.teams.apply(&crate::teams::WORKER.replace("name: worker", "name: another")).await;
    let secrets = scene.teams.secrets();
    let another = async || secrets.get("another").await.map_err(|error| error.to_string());
    let another = eventually(SOON, "another client has its Secret", another).await.unwrap();
    assert_eq!(Credentials::of(another).get("ca.crt"), bundle);
    for (kind, namespace) in [("secrets", &scene.teams.billing), ("configmaps", &scene.teams.shop)] {
        assert_eq!(proxy.count(&calls().patch().of(kind).in_namespace(namespace)), 0, "{kind}");
    }
    assert_eq!(scene.places().await, [bundle.clone(), bundle.clone(), bundle]);
}
