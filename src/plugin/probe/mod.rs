//! `kubectl keywright probe`: whether an API verifies its tokens.
//!
//! ```text
//! cluster: the ProtectedResource, a token of a ServiceAccount ─→ issuer: a token for each flaw ─┐
//!                own_token: a right one, a revoked one (files) ─────────────────────────────────┤
//!                                                          sender: one request to the API for each of them
//!                                                               └→ verdict, report (pure) → an annotation, which becomes a condition
//! ```
//!
//! No token is shown or kept.

mod issuer;
mod own_token;
mod report;
mod sender;
mod verdict;

use super::{PluginError, cluster::Cluster};
use crate::{
    ambient,
    api::{ANNOTATION_PROBED, ProtectedResource, probed::Probed},
    cli::{Exit, Form, ProbeArgs},
};
use kube::ResourceExt as _;
use own_token::Expected;
use sender::Sender;
use serde_json::json;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};
use verdict::{Answer, NO_TOKEN, Outcome, REVOKED};
use zeroize::Zeroizing;

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The object says too little.
    #[error("{object} is not served: {why}")]
    NotServed {
        /// Which.
        object: String,
        /// What is missing.
        why: &'static str,
    },
    /// A file with a token.
    #[error("the file {}: {why}", path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No ServiceAccount.
    #[error(
        "there is no ServiceAccount {name} in the namespace {namespace}: make one that may probe (examples/prober.yaml), or name one by --service-account"
    )]
    NoAccount {
        /// Where.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// RBAC, asked by the issuer.
    #[error(
        "the ServiceAccount {account} may not probe {resource}: \
         kubectl create role {account} --namespace {namespace} --verb=create --resource=protectedresources.keywright.dev/probe --resource-name={resource} \
         && kubectl create rolebinding {account} --namespace {namespace} --role={account} --serviceaccount={namespace}:{account}"
    )]
    MayNotProbe {
        /// Of both.
        namespace: String,
        /// The ServiceAccount.
        account: String,
        /// The API.
        resource: String,
    },
    /// RBAC, of the person.
    #[error(
        "no way to the issuer through the API server: {message}; have the Role {release}-prober of the namespace {namespace} bound to you, \
         or, where the issuer's URL can be reached from here, use --direct"
    )]
    NoWay {
        /// Of the release.
        namespace: String,
        /// Its name.
        release: String,
        /// What the API server says.
        message: String,
    },
    /// The chart's value.
    #[error("this installation lets nobody probe: the platform's owner sets verifierProbes=true in the chart's values")]
    SwitchedOff,
    /// Another refusal of the issuer.
    #[error("the issuer refuses: {error}: {description}")]
    Refused {
        /// The error code.
        error: String,
        /// What it says to it.
        description: String,
    },
    /// Something else answers.
    #[error("what answers is not the issuer ({status}): is there a proxy in between?")]
    NotTheIssuer {
        /// With this status.
        status: u16,
    },
    /// No answer, or none now.
    #[error("the issuer cannot be reached, or not now: {why}")]
    OutOfReach {
        /// Why.
        why: String,
    },
    /// The API.
    #[error("the API at {host} does not answer: {why}")]
    Api {
        /// The URL's host.
        host: String,
        /// Why.
        why: String,
    },
    /// `--ca`.
    #[error("no CA to trust the API by{}: {why}", if .path.as_os_str().is_empty() { String::new() } else { format!(" in {}", .path.display()) })]
    Authority {
        /// Which file, if one is named.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl ProbeError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Token { .. } | Self::Authority { .. } => Exit::Failed,
            Self::NoAccount { .. } => Exit::Missing,
            Self::NotServed { .. } | Self::MayNotProbe { .. } | Self::NoWay { .. } | Self::SwitchedOff | Self::Refused { .. } => {
                Exit::Refused
            }
            Self::NotTheIssuer { .. } | Self::OutOfReach { .. } | Self::Api { .. } => Exit::OutOfReach,
        }
    }
}

/// An API, as its object says.
struct Target {
    object: ProtectedResource,
    audience: String,
    issuer: String,
    /// Of the installation.
    namespace: String,
    release: String,
    /// With what its verifier needs.
    config_map: Option<String>,
}

/// What was found out, and what is wrong or not known.
pub(super) async fn probe(arguments: &ProbeArgs) -> Result<(String, Option<String>), PluginError> {
    let cluster = Cluster::connect(&arguments.cluster).await.map_err(PluginError::Cluster)?;
    let object: ProtectedResource = cluster.read(&cluster.namespace, &arguments.resource).await.map_err(PluginError::Cluster)?;
    let target = Target::of(object).map_err(PluginError::Probe)?;
    let begun = ambient::now();
    let outcome = outcome(&cluster, &target, arguments).await?;
    let host = host(&arguments.url);
    let generation = target.object.metadata.generation.unwrap_or_default();
    let unstored = store(&cluster, &target, &outcome.probed(begun, generation, host.clone())).await;
    let text = match arguments.output {
        Form::Text => {
            report::text(&outcome) + &unstored.map(|why| format!("The condition Probed stays as it was: {why}\n")).unwrap_or_default()
        }
        Form::Json => {
            let resource = format!("{}/{}", cluster.namespace, arguments.resource);
            format!("{:#}\n", report::json(&outcome, (&resource, &host), unstored.as_deref()))
        }
    };
    Ok((text, outcome.doubt()))
}

impl Target {
    fn of(object: ProtectedResource) -> Result<Self, ProbeError> {
        let name = format!("ProtectedResource {}/{}", object.namespace().unwrap_or_default(), object.name_any());
        let not_served = |why| ProbeError::NotServed { object: name, why };
        let status = object.status.clone().unwrap_or_default();
        let controller = status.controller.unwrap_or_default();
        let Some((namespace, release)) = controller.split_once('/') else {
            return Err(not_served("no installation has looked at it: is Keywright running, and is spec.issuer its issuer.name?"));
        };
        let (Some(audience), Some(issuer)) = (status.audience, status.issuer) else {
            return Err(not_served("its condition Ready says why, or the installation is older than this command"));
        };
        let (namespace, release) = (namespace.to_owned(), release.to_owned());
        let config_map = object.spec.verification.as_ref().map(|verification| verification.config_map.clone());
        Ok(Self { object, audience, issuer, namespace, release, config_map })
    }
}

/// Without a token first: where nothing answers, no token is asked for.
async fn outcome(cluster: &Cluster, target: &Target, arguments: &ProbeArgs) -> Result<Outcome, PluginError> {
    let expected = Expected { issuer: &target.issuer, audience: &target.audience, now: ambient::now() };
    let right = expected.read(arguments.token_file.as_ref()).map_err(PluginError::Probe)?;
    let revoked = expected.read(arguments.revoked_token_file.as_ref()).map_err(PluginError::Probe)?;
    if right.is_some() && sender::is_in_clear(&arguments.url) {
        // Nobody may be reading.
        let _ = writeln!(
            io::stderr(),
            "warning: the URL is plain http: a right token is sent in clear, and good for whoever reads it on the way"
        );
    }
    let sender = Sender::new(&arguments.method, &arguments.url, arguments.ca.as_deref()).map_err(PluginError::Probe)?;
    let mut answers = vec![(NO_TOKEN, sender.without_token().await.map_err(PluginError::Probe)?)];
    let right = with(&sender, right.as_ref()).await;
    answers.extend(with(&sender, revoked.as_ref()).await.map(|answer| (REVOKED, answer)));
    let asked_at = ambient::boot_time();
    let tokens = issuer::tokens(cluster, target, arguments).await?;
    let tokens = tokens.into_iter().map(|token| (verdict::told(&token.case), token.token)).collect();
    answers.extend(sender.with_each(tokens, asked_at).await);
    Ok(Outcome::of(right, answers))
}

async fn with(sender: &Sender<'_>, token: Option<&Zeroizing<String>>) -> Option<Answer> {
    match token {
        Some(token) => Some(sender.with_token(token).await),
        None => None,
    }
}

/// Why the result was not stored, if it was not. Whoever may probe need not be able to change the object.
async fn store(cluster: &Cluster, target: &Target, probed: &Probed) -> Option<String> {
    let annotations = json!({ANNOTATION_PROBED: probed.to_text()});
    let patch = json!({"metadata": {"uid": target.object.uid(), "annotations": annotations}});
    cluster.change::<ProtectedResource>(&cluster.namespace, &target.object.name_any(), &patch).await.err().map(|error| error.to_string())
}

/// Host and port: a path or a query may say more than others are to read.
fn host(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
