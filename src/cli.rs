//! The command line. Every flag of `keywright run` is also an environment variable: `KEYWRIGHT_` and the flag's name in
//! capitals, with `_` for `-`.

mod exit;
mod plugin;
mod probe;
mod selftest;
mod token;

pub use exit::Exit;
pub use plugin::{CheckArgs, ClusterArgs, KeyVerb, KeysArgs, OrderArgs, RotateArgs, StatusArgs, WaitArgs};
pub use probe::ProbeArgs;
pub use selftest::SelftestArgs;
pub use token::{Form, SecretMethod, TokenArgs};

use crate::{
    audit::Share,
    domain::{duration, resource::Algorithm},
    server::proxies::network,
    telemetry,
};
use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use ipnet::IpNet;
use jiff::SignedDuration;
use std::{net::SocketAddr, path::PathBuf, str::FromStr as _};

/// Kubernetes operator for machine credentials.
#[derive(Debug, Parser)]
#[command(name = "keywright", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controller and the token endpoint.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crds,
    /// Get an access token with the credentials of a client, from its mounted Secret or the environment.
    Token(Box<TokenArgs>),
    /// Show what clients authenticate with, who still uses a replaced secret, and what is due.
    Status(Box<StatusArgs>),
    /// Give a client a new secret now; the former one stays accepted through its overlap.
    Rotate(Box<RotateArgs>),
    /// Refuse all secrets that a client has had so far, at once, and issue a new one.
    Revoke(Box<OrderArgs>),
    /// Say what is wrong with clients and APIs, or will be once a file is applied.
    Check(Box<CheckArgs>),
    /// Find out whether an API verifies its tokens: it is sent about a dozen that it has to refuse.
    Probe(Box<ProbeArgs>),
    /// Show the signing keys of an installation, rotate them, or revoke leaked ones.
    Keys(Box<KeysArgs>),
    /// Prove that an installation works: a client, its Secret, a token that verifies, and all of it removed again.
    Selftest(SelftestArgs),
}

/// Which of the two flows this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Role {
    /// Both.
    All,
    /// The controller alone.
    Controller,
    /// The token endpoint alone.
    Server,
}

/// Where the endpoint's certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Tls {
    /// A certificate authority of the installation's own, made by the leader.
    SelfSigned,
    /// The Secret named by --tls-secret (type kubernetes.io/tls).
    Secret,
    /// Plain HTTP: on loopback addresses, or where --tls-terminated-elsewhere says that something in front ends TLS.
    Off,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for telemetry::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Flags of `keywright run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The installation's name: it serves the objects whose `spec.issuer` names it.
    #[arg(long, env = "KEYWRIGHT_NAME", default_value = "default")]
    pub name: String,
    /// The Helm release's name; the objects that the operator makes for itself begin with it.
    #[arg(long, env = "KEYWRIGHT_RELEASE", default_value = "keywright")]
    pub release: String,
    /// The namespace of the release.
    #[arg(long, env = "KEYWRIGHT_NAMESPACE")]
    pub namespace: String,
    /// A namespace to work in; may be repeated [default: all of them]
    #[arg(long, env = "KEYWRIGHT_WATCH_NAMESPACE", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    pub watch_namespace: Vec<String>,
    /// The name of this replica's pod.
    #[arg(long, env = "KEYWRIGHT_POD")]
    pub pod: String,
    /// The issuer identifier (RFC 8414 §2); the name of the release's Service where none is given.
    #[arg(long, env = "KEYWRIGHT_ISSUER", help = "The issuer identifier [default: https://<release>.<namespace>.svc]")]
    pub issuer: Option<String>,
    /// Address of the token endpoint.
    #[arg(long, env = "KEYWRIGHT_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address of health and metrics (plain HTTP).
    #[arg(long, env = "KEYWRIGHT_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Where other replicas reach this one's health port [default: the address it listens at, if that is a particular one]
    #[arg(long, env = "KEYWRIGHT_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// Where the endpoint's certificate comes from.
    #[arg(long, env = "KEYWRIGHT_TLS", value_enum, default_value = "SelfSigned")]
    pub tls: Tls,
    /// With --tls Secret: the Secret in the release's namespace.
    #[arg(long, env = "KEYWRIGHT_TLS_SECRET", required_if_eq("tls", "Secret"))]
    pub tls_secret: Option<String>,
    /// With --tls SelfSigned: a further name or IP address in the certificate; may be repeated.
    #[arg(long, env = "KEYWRIGHT_TLS_SAN", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// With --tls Off: allows plain HTTP on an address that is not loopback, because something in front ends TLS.
    #[arg(long, env = "KEYWRIGHT_TLS_TERMINATED_ELSEWHERE")]
    pub tls_terminated_elsewhere: bool,
    /// A proxy, or a network of proxies, whose X-Forwarded-For says whom a request comes from; may be repeated [default: none]
    #[arg(long, env = "KEYWRIGHT_TRUSTED_PROXY", value_delimiter = ',', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
    /// The installation's policy, a YAML file [default: the built-in policy]
    #[arg(long, env = "KEYWRIGHT_POLICY")]
    pub policy: Option<PathBuf>,
    /// The cluster's DNS domain.
    #[arg(long, env = "KEYWRIGHT_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// How long a replica without contact to the API server goes on issuing tokens.
    #[arg(long, env = "KEYWRIGHT_MAX_STALE", default_value = "24h", value_parser = duration::parse)]
    pub max_stale: SignedDuration,
    /// What signs tokens of APIs that do not say: RS256, ES256, PS256 or EdDSA.
    #[arg(long, env = "KEYWRIGHT_SIGNING_ALGORITHM", value_parser = algorithm, default_value = "RS256")]
    pub signing_algorithm: Algorithm,
    /// How long a signing key signs, before a new one does.
    #[arg(long, env = "KEYWRIGHT_SIGNING_KEY_ROTATE_EVERY", default_value = "90d", value_parser = duration::parse)]
    pub signing_key_rotate_every: SignedDuration,
    /// How long every replica publishes a new signing key before it signs: longer than verifiers cache the JWKS.
    #[arg(long, env = "KEYWRIGHT_SIGNING_KEY_PUBLISH_AHEAD", default_value = "24h", value_parser = duration::parse)]
    pub signing_key_publish_ahead: SignedDuration,
    /// Restart a Deployment, StatefulSet or DaemonSet whose annotation keywright.dev/restart-on names a client, for each new credential.
    #[arg(long, env = "KEYWRIGHT_RESTART_WORKLOADS")]
    pub restart_workloads: bool,
    /// Answer also at the paths of PingFederate (/as/token.oauth2, /as/introspect.oauth2, /as/revoke_token.oauth2, /pf/JWKS).
    #[arg(long, env = "KEYWRIGHT_PING_FEDERATE_PATHS")]
    pub ping_federate_paths: bool,
    /// Make tokens by which owners of APIs find out whether these verify them, for ServiceAccounts that may create
    /// protectedresources/probe (`kubectl keywright probe`).
    #[arg(long, env = "KEYWRIGHT_VERIFIER_PROBES")]
    pub verifier_probes: bool,
    /// The part of the issued tokens that the audit log names: from 0 (none) to 1 (all), as 0.01 for one in a hundred. It names refusals in any case.
    #[arg(long, env = "KEYWRIGHT_AUDIT_SUCCESSES", default_value = "1", value_parser = Share::from_str)]
    pub audit_successes: Share,
    /// Which of the two flows this process runs.
    #[arg(long, env = "KEYWRIGHT_ROLE", value_enum, default_value = "All")]
    pub role: Role,
    /// What is logged: a level, or levels by module as in info,keywright::controller=debug [default: info]
    #[arg(long, env = "RUST_LOG")]
    pub log_filter: Option<String>,
    /// The form of the log.
    #[arg(long, env = "KEYWRIGHT_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// By how many milliseconds the wall clock is off: what this file says (tests).
    #[cfg(feature = "test-clock")]
    #[arg(long, env = "KEYWRIGHT_TEST_CLOCK", hide = true)]
    pub test_clock: Option<PathBuf>,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::named(text).ok_or_else(|| "one of RS256, ES256, PS256 and EdDSA".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    /// One of 64 names of keys begins with a hyphen.
    #[test]
    fn a_key_is_named_whatever_its_name_begins_with() {
        for arguments in [["-n4wV5", "--wait"], ["--wait", "-n4wV5"], ["--n4wV5", "--wait"], ["--wait", "n4wV5"]] {
            let parsed = Cli::try_parse_from([["keywright", "keys", "revoke"].as_slice(), &arguments].concat()).unwrap();
            let Command::Keys(keys) = parsed.command else { panic!("{arguments:?}") };
            let Some(KeyVerb::Revoke { key, wait }) = keys.verb else { panic!("{arguments:?}") };
            assert!(wait.wait && key.ends_with("n4wV5") && arguments.contains(&key.as_str()), "{arguments:?}: {key}");
        }
    }

    #[test]
    fn run_needs_a_namespace_and_a_pod_name() {
        let parsed = Cli::try_parse_from(["keywright", "run", "--namespace", "keywright", "--pod", "a"]);
        assert!(matches!(parsed, Ok(Cli { command: Command::Run(args) }) if args.tls == Tls::SelfSigned && args.role == Role::All));
        assert!(Cli::try_parse_from(["keywright", "run", "--tls", "Secret", "--namespace", "n", "--pod", "p"]).is_err());
    }
}
