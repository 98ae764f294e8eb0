//! The flags, read and checked: what is wrong with them is said before anything starts.

use crate::{
    audit::Share,
    cli::{Role, RunArgs, Tls},
    controller,
    domain::{duration, key_rotation::Rules},
    installation::{Installation, Reach},
    keys::certificate::ServedName,
    oauth::metadata::{Issuer, IssuerError},
    policy::Policy,
    server::proxies::TrustedProxies,
};
use jiff::SignedDuration;
use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// A flag that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `--issuer`.
    #[error("--issuer {issuer}: {source}")]
    Issuer {
        /// As given.
        issuer: String,
        /// What is wrong.
        source: IssuerError,
    },
    /// `--tls-san`.
    #[error("--tls-san {0}: neither a DNS name nor an IP address")]
    Name(String),
    /// `--policy`: the file.
    #[error("--policy {}: {source}", path.display())]
    PolicyFile {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// `--policy`: what it says.
    #[error("--policy {}: {why}", path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// `--signing-key-publish-ahead`.
    #[error("--signing-key-publish-ahead {}: write a time from 1h to 7d", duration::text(*.0))]
    PublishAhead(SignedDuration),
    /// `--signing-key-rotate-every`.
    #[error(
        "--signing-key-rotate-every {}: with what is published ahead, and kept after the last signature, a key needs more than {}",
        duration::text(*.0),
        duration::text(*.1)
    )]
    RotateEvery(SignedDuration, SignedDuration),
    /// `--tls Off`.
    #[error(
        "--tls Off at {0}: tokens and secrets would cross the network in the clear; listen at a loopback address, or say --tls-terminated-elsewhere"
    )]
    Plain(SocketAddr),
}

/// How the endpoint's connections begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    /// Without TLS.
    None,
    /// From this Secret of the release's namespace.
    Secret(String),
}

/// All that a replica is told.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) installation: Installation,
    pub(super) issuer: Issuer,
    pub(super) pod: String,
    pub(super) listen: SocketAddr,
    pub(super) health_listen: SocketAddr,
    pub(super) advertise: Option<SocketAddr>,
    pub(super) certificate: Certificate,
    pub(super) provision: controller::Settings,
    pub(super) policy: Arc<Policy>,
    pub(super) max_stale: Duration,
    pub(super) ping_federate_paths: bool,
    pub(super) verifier_probes: bool,
    pub(super) audit_successes: Share,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) role: Role,
}

impl Settings {
    pub(super) fn read(arguments: &RunArgs) -> Result<Self, SettingsError> {
        let text = arguments.issuer.clone();
        let text = text.unwrap_or_else(|| Installation::default_issuer(&arguments.release, &arguments.namespace));
        let issuer = Issuer::parse(&text).map_err(|source| SettingsError::Issuer { issuer: text, source })?;
        let installation = Installation {
            name: arguments.name.clone(),
            release: arguments.release.clone(),
            namespace: arguments.namespace.clone(),
            issuer: issuer.as_str().to_owned(),
            cluster_domain: arguments.cluster_domain.clone(),
            algorithm: arguments.signing_algorithm,
            reach: match arguments.watch_namespace.as_slice() {
                [] => Reach::Cluster,
                names => Reach::Namespaces(names.iter().cloned().collect()),
            },
        };
        let self_signed = (arguments.tls == Tls::SelfSigned).then(|| names(&installation, &arguments.tls_san)).transpose()?;
        let policy = policy(arguments)?;
        let signing_keys = signing_keys(arguments, &policy)?;
        let certificate = certificate(arguments, &installation)?;
        Ok(Self {
            provision: controller::Settings {
                algorithm: arguments.signing_algorithm,
                signing_keys,
                certificate: match &certificate {
                    Certificate::None => None,
                    Certificate::Secret(name) => Some(name.clone()),
                },
                self_signed,
                restart_workloads: arguments.restart_workloads,
            },
            certificate,
            policy: Arc::new(policy),
            max_stale: Duration::try_from(arguments.max_stale).unwrap_or(Duration::MAX),
            advertise: arguments.advertise.or_else(|| Some(arguments.health_listen).filter(|address| !address.ip().is_unspecified())),
            pod: arguments.pod.clone(),
            listen: arguments.listen,
            health_listen: arguments.health_listen,
            ping_federate_paths: arguments.ping_federate_paths,
            verifier_probes: arguments.verifier_probes,
            audit_successes: arguments.audit_successes,
            trusted_proxies: TrustedProxies::new(arguments.trusted_proxy.clone()),
            role: arguments.role,
            issuer,
            installation,
        })
    }
}

fn certificate(arguments: &RunArgs, installation: &Installation) -> Result<Certificate, SettingsError> {
    match arguments.tls {
        Tls::SelfSigned => Ok(Certificate::Secret(installation.release().serving().name)),
        Tls::Secret => Ok(Certificate::Secret(arguments.tls_secret.clone().unwrap_or_default())),
        Tls::Off if arguments.listen.ip().is_loopback() || arguments.tls_terminated_elsewhere => Ok(Certificate::None),
        Tls::Off => Err(SettingsError::Plain(arguments.listen)),
    }
}

/// The names under which the endpoint is reached: the issuer's host, those of the Service, and the ones given.
fn names(installation: &Installation, given: &[String]) -> Result<BTreeSet<ServedName>, SettingsError> {
    let Installation { release, namespace, cluster_domain, issuer, .. } = installation;
    let service = format!("{release}.{namespace}.svc");
    let host = url::Url::parse(issuer).ok().and_then(|url| url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()));
    let all = [format!("{service}.{cluster_domain}"), service].into_iter().chain(host).chain(given.iter().cloned());
    all.map(|name| ServedName::parse(&name).map_err(|_| SettingsError::Name(name))).collect()
}

/// What clocks may be off by.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// The bounds of `--signing-key-publish-ahead`: verifiers cache for hours, few for days.
const AHEAD: std::ops::RangeInclusive<SignedDuration> = SignedDuration::from_hours(1)..=SignedDuration::from_hours(7 * 24);

/// A former key is published until its last token has ended and no verifier can meet it in a cache. A replica that is cut off may
/// sign with it as long as it issues tokens at all.
fn signing_keys(arguments: &RunArgs, policy: &Policy) -> Result<Rules, SettingsError> {
    let (every, ahead) = (arguments.signing_key_rotate_every, arguments.signing_key_publish_ahead);
    if !AHEAD.contains(&ahead) {
        return Err(SettingsError::PublishAhead(ahead));
    }
    let keep = policy.max_lifetime.saturating_add(SKEW).saturating_add(ahead.max(arguments.max_stale));
    let least = ahead.saturating_add(keep);
    if every <= least {
        return Err(SettingsError::RotateEvery(every, least));
    }
    Ok(Rules { every, ahead, keep })
}

fn policy(arguments: &RunArgs) -> Result<Policy, SettingsError> {
    let Some(path) = &arguments.policy else { return Ok(Policy::default()) };
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::PolicyFile { path: path.clone(), source })?;
    serde_saphyr::from_str(&text).map_err(|error| SettingsError::Policy { path: path.clone(), why: first_line(&error.to_string()) })
}

/// The rest draws the place in the file.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
