//! Flags of `kubectl keywright`.

use super::Form;
use crate::domain::duration;
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use std::path::PathBuf;

/// Which cluster, and as whom: as kubectl has it.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long)]
    pub context: Option<String>,
    /// The namespace [default: that of the context]
    #[arg(long, short)]
    pub namespace: Option<String>,
}

/// Whether to wait, and how long.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Wait until it is done, and say what became of it
    #[arg(long)]
    pub wait: bool,
    /// With --wait: how long
    #[arg(long, default_value = "10m", value_parser = duration::parse)]
    pub timeout: SignedDuration,
}

/// Flags of `status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct StatusArgs {
    /// One client in detail, as oac/NAME or NAME [default: all of the namespace, a line each]
    #[arg(value_name = "CLIENT", value_parser = client_name, conflicts_with = "all_namespaces")]
    pub client: Option<String>,
    /// Those of all namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// For people, or as JSON
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: Form,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `revoke`, and of `rotate` too.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct OrderArgs {
    /// The client, as oac/NAME or NAME
    #[arg(value_name = "CLIENT", value_parser = client_name)]
    pub client: String,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub wait: WaitArgs,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `rotate`.
#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    /// Cut nobody: for so long, as in 24h, the former secret stays whatever spec.rotation says, and after that for as long as it is
    /// in use; the condition RotationReady says when all have moved
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub rehearse: Option<SignedDuration>,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub order: OrderArgs,
}

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = CHECK_EXIT_CODES)]
pub struct CheckArgs {
    /// One client, as oac/NAME or NAME [default: all clients and APIs of the namespace]
    #[arg(value_name = "CLIENT", value_parser = client_name, conflicts_with = "filename")]
    pub client: Option<String>,
    /// Check what this file holds, as if it were applied; may be repeated; - is standard input
    #[arg(long, short, value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// With -f: look at the files alone, and at no cluster
    #[arg(long, requires = "filename")]
    pub offline: bool,
    /// The platform's policy, a YAML file of what the chart's values have under `policy`
    /// [default: the installation's, where you may read it, else the built-in one]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// For people, or as JSON
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: Form,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `keys`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct KeysArgs {
    /// What to do with them [default: list them]
    #[command(subcommand)]
    pub verb: Option<KeyVerb>,
    /// The Helm release; its namespace is --namespace
    #[arg(long, default_value = "keywright", global = true)]
    pub release: String,
    /// The namespace of the release
    #[arg(long, short, default_value = "keywright-system", global = true)]
    pub namespace: String,
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount]
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true)]
    pub context: Option<String>,
}

impl KeysArgs {
    /// Which cluster, and as whom.
    #[must_use]
    pub fn cluster(&self) -> ClusterArgs {
        let (kubeconfig, context) = (self.kubeconfig.clone(), self.context.clone());
        ClusterArgs { kubeconfig, context, namespace: Some(self.namespace.clone()) }
    }
}

/// The verbs for signing keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyVerb {
    /// Prepare new keys now; they sign after they were published for as long as verifiers may cache.
    Rotate {
        #[expect(missing_docs, reason = "clap would print them")]
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Drop a leaked key at once: tokens that it signed fail wherever the JWKS is fetched again.
    Revoke {
        /// The name of the key, as `keys` lists it
        #[arg(value_name = "KID", allow_hyphen_values = true)]
        key: String,
        #[expect(missing_docs, reason = "clap would print them")]
        #[command(flatten)]
        wait: WaitArgs,
    },
}

const CHECK_EXIT_CODES: &str = "Exit codes:
  0  nothing is wrong, as far as could be looked at
  1  something is wrong
  2  the command line is wrong
  3  the object is not there, or Keywright is not installed
  4  refused by the cluster's access rules
  5  the API server is out of reach";

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it failed, for a reason without a code of its own
  2  the command line is wrong
  3  the object is not there, or Keywright is not installed
  4  refused: by the cluster's access rules, or by the operator
  5  the API server is out of reach, or what --wait waited for is not done yet";

/// `NAME`, or with one of the names that kubectl knows the kind by.
fn client_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("oac" | "oauthclient" | "oauthclients" | "oauthclient.keywright.dev" | "oauthclients.keywright.dev", name)) => name,
        Some((kind, _)) => return Err(format!("{kind} is no OAuthClient: write oac/NAME or NAME")),
    };
    if name.is_empty() { Err("write oac/NAME or NAME".to_owned()) } else { Ok(name.to_owned()) }
}
