//! S12, C21: no secret value, assertion or token in what the operator writes for people and machines to read.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use keywright::api::{OAuthClient, ProtectedResource};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;

use crate::operator::Operator;
use crate::teams::Teams;
use crate::workload::answer;

/// Everything in the cluster that is a secret of this installation: values of clients, signing keys, the digest key, private keys.
async fn secrets(kube: &Client, operator: &Operator<'_>) -> BTreeSet<String> {
    let api: Api<Secret> = Api::all(kube.clone());
    let ours = api.list(&ListParams::default().labels("app.kubernetes.io/managed-by=keywright")).await.unwrap();
    let mut found = BTreeSet::new();
    for secret in ours.items {
        let own = secret.metadata.namespace.as_ref() == Some(&operator.namespace);
        for (key, value) in secret.data.unwrap_or_default() {
            let secret = own && !key.ends_with(".crt") || key == "client-secret" || key == "CLIENT_SECRET";
            let text = String::from_utf8_lossy(&value.0).into_owned();
            // Of a PEM or JSON text a line in the middle is telling enough.
            let longest = text.lines().max_by_key(|line| line.len()).unwrap_or_default().to_owned();
            if secret && longest.len() >= 20 {
                found.insert(longest);
            }
        }
    }
    found
}

impl Operator<'_> {
    /// Looks for every secret of now, and those that `credentials` has read before, in all that was logged, told and measured.
    pub(crate) async fn keeps_its_secrets(&self) {
        let kube = self.cluster.client().await.unwrap();
        let mut secrets = secrets(&kube, self).await;
        secrets.extend(self.seen());
        let mut told = Vec::new();
        for replica in &self.replicas {
            told.push((format!("the log of {}", replica.pod), replica.log()));
            if replica.process().is_running() {
                told.push((format!("the metrics of {}", replica.pod), replica.metrics().await));
            }
        }
        let events: Api<Event> = Api::all(kube.clone());
        told.push(("the events".to_owned(), format!("{:?}", events.list(&ListParams::default()).await.unwrap().items)));
        let clients: Api<OAuthClient> = Api::all(kube.clone());
        told.extend(clients.list(&ListParams::default()).await.unwrap().items.iter().map(told_by));
        let resources: Api<ProtectedResource> = Api::all(kube);
        told.extend(resources.list(&ListParams::default()).await.unwrap().items.iter().map(told_by));
        let any = AhoCorasick::new(&secrets).unwrap();
        for (place, text) in &told {
            let found = any.find(text).map(|found| found.range());
            let before = found.clone().map(|found| &text[text.floor_char_boundary(found.start.saturating_sub(60))..found.start]);
            assert!(found.is_none(), "{place} contains a secret of {} characters, after {before:?}", found.unwrap_or_default().len());
        }
    }
}

/// What it is, and all that it says.
fn told_by<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> (String, String) {
    let place = format!("{} {}/{}", K::kind(&()), object.meta().namespace.as_deref().unwrap_or_default(), object.name_any());
    (place, serde_json::to_string(object).unwrap())
}

/// With everything logged that can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_nowhere_even_where_everything_is_logged() {
    let cluster = crate::cluster::ControlPlane::shared().await.unwrap();
    let operator = Operator::install(cluster, Default::default()).await.logging("trace");
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    let token = credentials.token().await.token().to_owned();
    teams.secrets().delete("worker", &DeleteParams::default()).await.unwrap();
    teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;

    let (http, url) = (credentials.http(), credentials.get("token-uri"));
    let canary = |number: u32| format!("canary-{number}-{}", "c".repeat(30));
    let grant = ("grant_type", "client_credentials".to_owned());
    let requests = [
        http.post(url).basic_auth(credentials.get("client-id"), Some(canary(1))).form(std::slice::from_ref(&grant)),
        http.post(url).form(&[grant.clone(), ("client_id", credentials.get("client-id").to_owned()), ("client_secret", canary(2))]),
        http.post(url).bearer_auth(canary(3)).form(std::slice::from_ref(&grant)),
        http.post(url).form(&[grant, ("client_assertion", canary(4)), ("client_assertion_type", "jwt".to_owned())]),
        http.post(format!("{url}?client_secret={}", canary(5))).body("x"),
        http.post(url).basic_auth(canary(6), Some(canary(7))).form(&[("scope", canary(8))]),
    ];
    for request in requests {
        assert_ne!(answer(request).await.status, 200);
    }
    operator.saw((1..=8).map(canary).chain([token.clone()]));
    operator.first().process().terminate().unwrap();
    operator.first().process().exit(crate::operator::SOON).await.unwrap();
    assert!(operator.first().log().lines().count() > 4, "nothing was logged");
    let log = operator.first().log();
    let audited =
        |message: &str| log.lines().any(|line| line.starts_with('{') && line.contains("\"target\":\"audit\"") && line.contains(message));
    assert!(audited("token issued") && audited("token refused"), "nothing was audited");
    operator.keeps_its_secrets().await;
}
