//! `kubectl keywright keys`: the signing keys of an installation, and the two verbs for them. Of the key Secret its metadata alone is
//! read: the private keys stay where they are.

use super::{
    PluginError,
    cluster::Cluster,
    table,
    wait::{self, Found},
};
use crate::{
    ambient,
    api::{ANNOTATION_HANDLED_REVOKE, ANNOTATION_HANDLED_ROTATE, ANNOTATION_REVOKE, ANNOTATION_ROTATE, ANNOTATION_SIGNING_KEYS},
    cli::{KeyVerb, KeysArgs, WaitArgs},
    domain::duration,
    keys::store::Release,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Lists them, or does what the verb says.
pub(super) async fn keys(arguments: &KeysArgs) -> Result<String, PluginError> {
    let cluster = Cluster::connect(&arguments.cluster()).await.map_err(PluginError::Cluster)?;
    let name = Release { namespace: arguments.namespace.clone(), name: arguments.release.clone() }.keys().name;
    let ring = Ring { cluster, name };
    match &arguments.verb {
        None => Ok(listed(&known(&ring.read().await?), ambient::now())),
        Some(KeyVerb::Rotate { wait }) => ring.rotate(wait).await,
        Some(KeyVerb::Revoke { key, wait }) => ring.revoke(key, wait).await,
    }
}

/// The key Secret.
struct Ring {
    cluster: Cluster,
    name: String,
}

/// What the annotation says of one key.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    #[serde(default)]
    algorithm: String,
    #[serde(default)]
    state: String,
    created_at: Option<Timestamp>,
    published_at: Option<Timestamp>,
    activated_at: Option<Timestamp>,
}

impl Ring {
    async fn read(&self) -> Result<ObjectMeta, PluginError> {
        self.cluster.metadata::<Secret>(&self.cluster.namespace, &self.name).await.map_err(PluginError::Cluster)
    }

    async fn rotate(&self, wait: &WaitArgs) -> Result<String, PluginError> {
        let value = ambient::now().to_string();
        self.annotate(&self.read().await?, ANNOTATION_ROTATE, &value).await?;
        if !wait.wait {
            return Ok(format!("{}: new signing keys are ordered\n", self.object()));
        }
        let keys = self.answered(wait, ANNOTATION_HANDLED_ROTATE, &value).await?;
        Ok(format!("new keys are prepared; they sign when verifiers have had time to fetch them\n{}", listed(&keys, ambient::now())))
    }

    /// Added to what was revoked before: a backup that brings one of those back must not bring it back to life.
    async fn revoke(&self, kid: &str, wait: &WaitArgs) -> Result<String, PluginError> {
        let metadata = self.read().await?;
        let there = known(&metadata);
        if !there.contains_key(kid) {
            let known = there.keys().cloned().collect();
            return Err(PluginError::NoKey { unknown: kid.to_owned(), known });
        }
        let earlier = annotation(&metadata, ANNOTATION_REVOKE).unwrap_or_default();
        let mut names: Vec<&str> = earlier.split([',', ' ', '\n']).map(str::trim).filter(|name| !name.is_empty()).collect();
        names.extend(Some(kid).filter(|kid| !earlier.contains(*kid)));
        let value = names.join(",");
        self.annotate(&metadata, ANNOTATION_REVOKE, &value).await?;
        let note = "tokens that a revoked key signed fail wherever the JWKS is fetched again; new ones fail at verifiers that do not fetch it when \
                    they meet an unknown kid\n";
        if !wait.wait {
            return Ok(format!("{}: the key is revoked; {note}", self.object()));
        }
        let left = self.answered(wait, ANNOTATION_HANDLED_REVOKE, &value).await?;
        Ok(format!("{note}{}", listed(&left, ambient::now())))
    }

    async fn annotate(&self, read: &ObjectMeta, annotation: &str, value: &str) -> Result<(), PluginError> {
        let metadata = json!({"uid": read.uid, "resourceVersion": read.resource_version, "annotations": {annotation: value}});
        let written = self.cluster.change::<Secret>(&self.cluster.namespace, &self.name, &json!({"metadata": metadata})).await;
        written.map_err(PluginError::Cluster)
    }

    /// Waits until the leader has echoed an order.
    async fn answered(&self, wait: &WaitArgs, echo: &str, value: &str) -> Result<BTreeMap<String, Life>, PluginError> {
        let look = async || {
            let metadata = self.read().await?;
            match annotation(&metadata, echo) {
                Some(handled) if handled == value => Ok(Found::Done(known(&metadata))),
                _ => Ok(Found::NotYet("the leader has not done it yet: `kubectl describe` of this Secret shows its events".to_owned())),
            }
        };
        wait::until(wait, &self.object(), look).await
    }

    fn object(&self) -> String {
        format!("Secret {}/{}", self.cluster.namespace, self.name)
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The keys by `kid`. One that cannot be read hides no other.
fn known(metadata: &ObjectMeta) -> BTreeMap<String, Life> {
    let text = annotation(metadata, ANNOTATION_SIGNING_KEYS).unwrap_or_default();
    let lives: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
    lives.into_iter().filter_map(|(kid, life)| Some((kid, serde_json::from_value(life).ok()?))).collect()
}

fn listed(keys: &BTreeMap<String, Life>, now: Timestamp) -> String {
    let ago = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| duration::relative(time, now));
    let mut rows = vec![["KID", "ALGORITHM", "STATE", "MADE", "PUBLISHED", "SIGNS SINCE"].map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|(kid, life)| {
        vec![kid.clone(), life.algorithm.clone(), life.state.clone(), ago(life.created_at), ago(life.published_at), ago(life.activated_at)]
    }));
    table::aligned(&rows, "")
}
