//! `kubectl keywright rotate` and `revoke`: one write to the `OAuthClient`, and a look at what becomes of it.

use super::{
    PluginError,
    cluster::Cluster,
    progress::{self, Progress},
    report::{Held, Report},
    table,
    wait::{self, Found},
};
use crate::{
    ambient,
    api::{ANNOTATION_REHEARSE, ANNOTATION_ROTATE, OAuthClient},
    cli::{OrderArgs, RotateArgs},
    domain::duration,
};
use jiff::SignedDuration;
use kube::ResourceExt as _;
use serde_json::json;
use std::fmt::Write as _;

/// Orders a rotation by a new value of the annotation; a rehearsal is one with another annotation beside it.
pub(super) async fn rotate(arguments: &RotateArgs) -> Result<String, PluginError> {
    let order = Order::begin(&arguments.order).await?;
    let former = order.report.current().map(|held| held.id.clone());
    let value = ambient::now().to_string();
    let annotations = json!({ANNOTATION_ROTATE: value, ANNOTATION_REHEARSE: arguments.rehearse.map(duration::text)});
    order.write(&json!({"metadata": {"uid": order.client.uid(), "annotations": annotations}})).await?;
    let name = &order.report.name;
    if !arguments.order.wait.wait {
        return Ok(format!("{}: a new secret is ordered; `kubectl keywright status {name}` shows what becomes of it\n", order.object()));
    }
    let (held, report) = order.done(|report| progress::of_rotation(report, &value, former.as_deref())).await?;
    let next = format!(
        "`kubectl wait --for=condition=RotationReady oac/{name}` ends when nobody uses it any more, `kubectl keywright status {name}` says who does\n"
    );
    Ok(told(&report, &held) + if arguments.rehearse.is_some() { &next } else { "" })
}

/// Refuses what there is. The time that says so is not that of this machine, whose clock may be wrong, but the first after the
/// newest credential was made: a rounder one may still lie in the future, which is an invalid spec.
pub(super) async fn revoke(arguments: &OrderArgs) -> Result<String, PluginError> {
    let order = Order::begin(arguments).await?;
    let newest = order.report.credentials.iter().filter_map(|held| held.created_at).max();
    let newest = newest.ok_or_else(|| PluginError::NoCredential(order.object()))?;
    let before = newest.checked_add(SignedDuration::from_nanos(1)).unwrap_or(newest);
    let metadata = json!({"uid": order.client.uid(), "resourceVersion": order.client.resource_version()});
    order.write(&json!({"metadata": metadata, "spec": {"revocation": {"secretsIssuedBefore": before.to_string()}}})).await?;
    let note = format!(
        "{}: every secret made before {before} is refused from now on (spec.revocation.secretsIssuedBefore: whoever applies this object \
         from a file has to write it there, too)\n",
        order.object()
    );
    if !arguments.wait.wait {
        return Ok(note);
    }
    let (held, report) = order.done(|report| progress::of_revocation(report, before)).await?;
    Ok(note + &told(&report, &held))
}

struct Order<'a> {
    arguments: &'a OrderArgs,
    cluster: Cluster,
    client: OAuthClient,
    report: Report,
}

impl<'a> Order<'a> {
    async fn begin(arguments: &'a OrderArgs) -> Result<Self, PluginError> {
        let cluster = Cluster::connect(&arguments.cluster).await.map_err(PluginError::Cluster)?;
        let client: OAuthClient = cluster.read(&cluster.namespace, &arguments.client).await.map_err(PluginError::Cluster)?;
        let (report, authentication) = (Report::of(&client), client.spec.authentication.as_ref());
        let order = Self { arguments, cluster, report, client: client.clone() };
        match authentication {
            Some(allowed) if allowed.client_secret.is_none() => Err(PluginError::NoSecret(order.object())),
            _ => Ok(order),
        }
    }

    fn object(&self) -> String {
        format!("OAuthClient {}/{}", self.report.namespace, self.report.name)
    }

    async fn write(&self, patch: &serde_json::Value) -> Result<(), PluginError> {
        let Self { cluster, arguments, .. } = self;
        cluster.change::<OAuthClient>(&cluster.namespace, &arguments.client, patch).await.map_err(PluginError::Cluster)
    }

    /// Waits until the Secret holds what was asked for.
    async fn done(&self, progress: impl Fn(&Report) -> Progress) -> Result<(Held, Report), PluginError> {
        let Self { cluster, arguments, .. } = self;
        let object = self.object();
        let look = async || {
            let client = cluster.read::<OAuthClient>(&cluster.namespace, &arguments.client).await.map_err(PluginError::Cluster)?;
            let report = Report::of(&client);
            match progress(&report) {
                Progress::Done(held) => Ok(Found::Done((held, report))),
                Progress::Waiting(why) => Ok(Found::NotYet(why)),
                Progress::Stuck(why) => Err(PluginError::Stuck { object: object.clone(), why }),
            }
        };
        wait::until(&arguments.wait, &object, look).await
    }
}

/// What the Secret holds, and what becomes of what it held before.
fn told(report: &Report, held: &Held) -> String {
    let (secret, now) = (report.secret.as_deref().unwrap_or_default(), ambient::now());
    let mut text = format!("the Secret {secret} holds the new credential {}\n", held.id);
    for earlier in report.earlier() {
        // A String takes everything.
        let _ = writeln!(text, "the earlier one {} is accepted {}", earlier.id, table::accepted(earlier, now));
    }
    text
}
