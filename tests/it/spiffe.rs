//! Clients that are workloads of SPIFFE: K12, with a bundle that is published as SPIRE does it. While none can be used their clients say so.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use keywright::ambient;
use keywright::api::OAuthClient;
use keywright::keys::jwks::Jwks;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::clients::mounted;
use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON, Setup};
use crate::secretless::Key;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::token_command::{assert_failed, command, ended};
use crate::workload::{Answer, Credentials, answer, answered, condition};

const TRUST_DOMAIN: &str = r#"policy.trustDomains=[{"name":"example.org","bundle":{"configMap":"spire-bundle","key":"bundle.spiffe"}}]"#;

/// A second one, to which nothing happens.
const TRUST_DOMAINS: &str = r#"policy.trustDomains=[
    {"name":"example.org","bundle":{"configMap":"spire-bundle","key":"bundle.spiffe"}},
    {"name":"other.example","bundle":{"configMap":"other-bundle","key":"bundle.spiffe"}}
]"#;

const UNAVAILABLE: &str = "TrustBundleUnavailable";

/// A JWT-SVID, by a library that is not ours.
fn svid(key: &Key, subject: &str, audience: &str) -> String {
    let header = Header { kid: Some(key.0.kid().to_owned()), ..Header::new(jsonwebtoken::Algorithm::ES256) };
    let now = ambient::now().as_second();
    let claims = json!({"sub": subject, "aud": [audience], "exp": now + 300, "iat": now});
    encode(&header, &claims, &EncodingKey::from_ec_pem(key.pem().as_bytes()).unwrap()).unwrap()
}

fn request(credentials: &Credentials, svid: &str) -> reqwest::RequestBuilder {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
        ("client_assertion", svid),
    ];
    credentials.http().post(credentials.get("token-uri")).form(&form)
}

async fn token(credentials: &Credentials, svid: &str) -> Answer {
    answer(request(credentials, svid)).await
}

fn bundle(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys
        .iter()
        .map(|key| {
            let jwks: Value = serde_json::from_slice(&Jwks::publish([&key.0]).document).unwrap();
            let mut jwk = jwks["keys"][0].clone();
            jwk["use"] = json!("jwt-svid");
            jwk
        })
        .collect();
    json!({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300}).to_string()
}

async fn publish(config_maps: &Api<ConfigMap>, bundle: &str) {
    publish_as(config_maps, "spire-bundle", "bundle.spiffe", bundle).await;
}

async fn publish_as(config_maps: &Api<ConfigMap>, name: &str, key: &str, bundle: &str) {
    let data = BTreeMap::from([(key.to_owned(), bundle.to_owned())]);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    config_maps.patch(name, &PatchParams::apply("spire"), &Patch::Apply(object)).await.unwrap();
}

async fn answers(operator: &Operator<'_>, credentials: &Credentials, svid: &str, status: u16) {
    let look = async || match answered(request(credentials, svid)).await {
        Ok(answer) if answer.status == status => Ok(()),
        other => Err(format!("{other:?}")),
    };
    let seen = eventually(SOON, &format!("the JWT-SVID is answered {status}"), look).await;
    seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
}

/// K12: before there is a bundle, with it, with the next key of the trust domain, and after somebody deleted it; without a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_gets_tokens_and_its_bundle_is_followed() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Setup { values: vec![TRUST_DOMAIN.to_owned()], ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let subject = format!("spiffe://example.org/ns/{}/sa/worker", teams.billing);
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{spiffe: {{ids: ['{subject}']}}}}\n")).await;
    // Not ready, but its Secret says everything.
    operator.client_is(&teams.billing, "worker", UNAVAILABLE).await;
    let credentials = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    assert_eq!(credentials.get("client-authentication-method"), "spiffe_jwt");
    assert!(!credentials.0.contains_key("client-secret"), "{credentials:?}");

    let issuer = credentials.get("issuer-uri");
    let (first, second) = (Key::new(), Key::new());
    let [by_first, by_second] = [&first, &second].map(|key| svid(key, &subject, issuer));
    answers(&operator, &credentials, &by_first, 503).await;
    let config_maps: Api<ConfigMap> = Api::namespaced(teams.kube.clone(), &operator.namespace);
    publish(&config_maps, &bundle(&[&first])).await;
    answers(&operator, &credentials, &by_first, 200).await;
    let claims = credentials.verify(token(&credentials, &by_first).await.token(), &teams.audience()).await;
    assert_eq!(claims["client_id"], credentials.get("client-id"));
    for wrong in [&by_second, &svid(&first, &subject.replace("worker", "other"), issuer), &svid(&first, &subject, "https://other.example")]
    {
        assert_eq!(token(&credentials, wrong).await.status, 401);
    }

    // From the file that a helper of SPIFFE keeps, as `keywright token` does it.
    let folder = mounted(&credentials);
    let (directory, path) = (folder.path().display().to_string(), folder.path().join("svid").display().to_string());
    std::fs::write(&path, format!("{by_first}\n")).unwrap();
    let printed = ended(command(&["--directory", &directory, "--jwt-svid", &path])).await.succeeded().unwrap();
    credentials.verify(printed.trim_end(), &teams.audience()).await;
    std::fs::write(&path, &by_second).unwrap();
    assert_failed(&ended(command(&["--directory", &directory, "--jwt-svid", &path])).await, 4, &["invalid_client"], "eyJ");
    assert_failed(&ended(command(&["--directory", &directory])).await, 3, &["spiffe_jwt", "--jwt-svid"], "eyJ");

    publish(&config_maps, &bundle(&[&second])).await;
    answers(&operator, &credentials, &by_second, 200).await;
    assert_eq!(token(&credentials, &by_first).await.status, 401);
    // What is no bundle, or gone, changes nothing.
    publish(&config_maps, "{}").await;
    config_maps.delete("spire-bundle", &DeleteParams::default()).await.unwrap();
    answers(&operator, &credentials, &by_second, 200).await;
    publish(&config_maps, &bundle(&[&first, &second])).await;
    answers(&operator, &credentials, &by_first, 200).await;
    assert_eq!(token(&credentials, &by_second).await.status, 200);
}

/// The worker of example.org, which it is ready for when there is a bundle.
struct Place<'cluster> {
    operator: &'cluster Operator<'cluster>,
    teams: Teams<'cluster>,
    config_maps: Api<ConfigMap>,
    key: Key,
}

impl<'cluster> Place<'cluster> {
    async fn of(operator: &'cluster Operator<'cluster>) -> Self {
        let teams = Teams::served_by(operator).await;
        let config_maps = Api::namespaced(teams.kube.clone(), &operator.namespace);
        teams.apply(INVOICES).await;
        let place = Self { operator, teams, config_maps, key: Key::new() };
        apply_workload(&place.teams, "worker", &place.subject()).await;
        place
    }

    fn subject(&self) -> String {
        format!("spiffe://example.org/ns/{}/sa/worker", self.teams.billing)
    }

    async fn publish_good(&self) {
        publish(&self.config_maps, &bundle(&[&self.key])).await;
    }

    /// Waits until the worker is not ready for its bundle, and its message says this.
    async fn is_unavailable(&self, why: &str) {
        let look = async || {
            let worker = self.teams.clients().get("worker").await.map_err(|error| error.to_string())?;
            let ready = condition(worker.status.as_ref().and_then(|status| status.conditions.as_ref()), "Ready").cloned();
            let ready = ready.ok_or("no Ready")?;
            let place = format!("the ConfigMap {}/spire-bundle (key bundle.spiffe) {why}", self.operator.namespace);
            let says = ready.message.contains("trust domain example.org") && ready.message.contains(&place);
            if (ready.status.as_str(), ready.reason.as_str(), says) == ("False", UNAVAILABLE, true) {
                Ok(())
            } else {
                Err(format!("{ready:?}"))
            }
        };
        let seen = eventually(SOON, &format!("the worker says that its bundle {why}"), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.operator.logs()));
    }

    async fn is_ready(&self) -> OAuthClient {
        self.operator.client_is(&self.teams.billing, "worker", "Issued").await
    }

    /// The metrics of a trust domain: usable, and how many keys.
    async fn assert_metrics(&self, trust_domain: &str, usable: u8, keys: u8) {
        let metrics = self.operator.first().metrics().await;
        for (name, value) in [("usable", usable), ("keys", keys)] {
            let line = format!("keywright_trust_bundle_{name}{{trust_domain=\"{trust_domain}\"}} {value}");
            assert!(metrics.lines().any(|known| known == line), "{line} in {metrics}");
        }
    }
}

async fn apply_workload(teams: &Teams<'_>, name: &str, subject: &str) {
    let yaml = WORKER.replace("name: worker", &format!("name: {name}"));
    teams.apply(&format!("{yaml}  authentication: {{spiffe: {{ids: ['{subject}']}}}}\n")).await;
}

/// K12: Ready follows the bundle, whatever becomes of it, and nobody has to touch the client. Others are not touched either.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_ready_while_the_bundle_of_its_trust_domain_can_be_used() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Setup { values: vec![TRUST_DOMAINS.to_owned()], ..Setup::default() }).await;
    operator.start_all().await;
    let place = Place::of(&operator).await;
    let (teams, config_maps) = (&place.teams, &place.config_maps);
    publish_as(config_maps, "other-bundle", "bundle.spiffe", &bundle(&[&place.key])).await;
    let grants = INVOICES.replace("clients: [worker], ", "");
    teams.apply(&grants).await;
    apply_workload(teams, "of-other", &place.subject().replace("example.org", "other.example")).await;
    teams.apply(&WORKER.replace("name: worker", "name: with-secret")).await;
    let mut others = Vec::new();
    for name in ["of-other", "with-secret"] {
        others.push(operator.client_is(&teams.billing, name, "Issued").await);
    }

    place.is_unavailable("does not exist").await;
    place.assert_metrics("example.org", 0, 0).await;
    place.assert_metrics("other.example", 1, 1).await;
    let events: Api<Event> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let warned = async || {
        let about = ListParams::default().fields("regarding.name=worker");
        let events = events.list(&about).await.map_err(|error| error.to_string())?;
        let is_it = |event: &&Event| event.reason.as_deref() == Some(UNAVAILABLE) && event.type_.as_deref() == Some("Warning");
        events.iter().find(is_it).map(drop).ok_or_else(|| format!("{events:?}"))
    };
    eventually(SOON, "a warning names it", warned).await.unwrap();
    publish_as(config_maps, "spire-bundle", "another", "{}").await;
    place.is_unavailable("has no such key").await;
    publish(config_maps, "").await;
    place.is_unavailable("has nothing under that key").await;

    place.publish_good().await;
    place.is_ready().await;
    let credentials = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    let shown = svid(&place.key, &place.subject(), credentials.get("issuer-uri"));
    assert_eq!(token(&credentials, &shown).await.status, 200);
    place.assert_metrics("example.org", 1, 1).await;

    // Requests are answered as before: a replica that has read a bundle goes on with it.
    publish(config_maps, "{\"keys\": []}").await;
    place.is_unavailable("holds something else there: it has no key with use: jwt-svid").await;
    assert_eq!(token(&credentials, &shown).await.status, 200);
    place.assert_metrics("example.org", 0, 1).await;
    place.publish_good().await;
    place.is_ready().await;
    config_maps.delete("spire-bundle", &DeleteParams::default()).await.unwrap();
    place.is_unavailable("does not exist").await;
    place.publish_good().await;
    place.is_ready().await;
    for before in others {
        let now = teams.clients().get(&before.name_any()).await.unwrap();
        assert_eq!(now.resource_version(), before.resource_version(), "{:?}", now.status);
    }
}

/// S18: a controller that serves no requests knows it too, by the rights that the chart gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_serves_no_tokens_follows_the_bundles() {
    let cluster = ControlPlane::shared().await.unwrap();
    let values = vec![TRUST_DOMAIN.to_owned(), "topology=\"Split\"".to_owned()];
    let operator = Operator::install(cluster, Setup { values, ..Setup::default() }).await;
    let controllers = operator.controllers(1).await;
    operator.start(operator.first(), &operator.kubeconfig);
    controllers.start_all().await;
    operator.first().ready().await;
    let place = Place::of(&operator).await;
    place.is_unavailable("does not exist").await;
    place.publish_good().await;
    place.is_ready().await;
    let credentials = Credentials::read(&place.teams.kube, &place.teams.billing, "worker").await;
    answers(&operator, &credentials, &svid(&place.key, &place.subject(), credentials.get("issuer-uri")), 200).await;
    for log in [operator.first().log(), controllers.first().log()] {
        assert!(!log.contains("forbidden"), "{log}");
    }
}

/// F2: whoever has just begun to lead says nothing of bundles before it has read them; of one that it cannot read, that it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_reads_the_bundles_before_it_says_something_of_them() {
    let cluster = ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Setup { values: vec![TRUST_DOMAIN.to_owned()], ..Setup::default() }).await;
    operator.start_all().await;
    let place = Place::of(&operator).await;
    place.publish_good().await;
    let before = place.is_ready().await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    let bundles = || calls().list().of("configmaps").in_namespace(&operator.namespace);
    let restarted = async || {
        operator.first().process().terminate().unwrap();
        operator.first().process().exit(SOON).await.unwrap();
        operator.start(operator.first(), proxy.kubeconfig());
    };

    let late = proxy.when(bundles()).first(1).delay(Duration::from_secs(3));
    restarted().await;
    operator.first().ready().await;
    place.teams.apply(&WORKER.replace("name: worker", "name: later")).await;
    operator.client_is(&place.teams.billing, "later", "AccessDenied").await;
    assert_eq!(place.is_ready().await.resource_version(), before.resource_version());
    proxy.remove(late);
    // Nothing else has it looked at: its status was not written since.
    publish(&place.config_maps, "[]").await;
    place.is_unavailable("holds something else there: it is no SPIFFE bundle").await;
    place.publish_good().await;
    place.is_ready().await;

    let held = proxy.when(bundles()).hold_request();
    restarted().await;
    place.is_unavailable("could not be read yet").await;
    let url = format!("http://127.0.0.1:{}/readyz", operator.first().health_port);
    let is_alone_missing = async || {
        let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
        let answer = (answer.status().as_u16(), answer.text().await.unwrap_or_default());
        let expected = "not ready:\nthe ConfigMaps of policy.trustDomains were not read yet\n";
        if answer == (503, expected.to_owned()) { Ok(()) } else { Err(format!("{answer:?}")) }
    };
    // It would answer 503 what the other replicas answer with a token.
    eventually(SOON, "nothing else is missing until it is ready", is_alone_missing).await.unwrap();
    drop(held);
    place.is_ready().await;
    operator.first().ready().await;
}
