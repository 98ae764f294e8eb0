//! Flags of `keywright selftest`.

use crate::domain::duration;
use clap::Args;
use jiff::SignedDuration;
use std::path::PathBuf;

/// Flags of `keywright selftest`: those that `keywright run` has too are the same.
#[derive(Debug, Clone, Args)]
pub struct SelftestArgs {
    /// The installation's name: the objects of the test name it as spec.issuer
    #[arg(long, env = "KEYWRIGHT_NAME", default_value = "default")]
    pub name: String,
    /// A namespace that the installation works in: the objects of the test are made there, and removed again
    #[arg(long, env = "KEYWRIGHT_NAMESPACE")]
    pub namespace: String,
    /// The name of these objects and of the Secret [default: keywright-selftest- and a random ending]
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
    /// The issuer that the token has to come from [default: the one that the Secret names]
    #[arg(long, value_name = "URL", env = "KEYWRIGHT_ISSUER")]
    pub issuer: Option<String>,
    /// When to give up, as in 90s or 2m
    #[arg(long, default_value = "2m", value_parser = duration::parse)]
    pub timeout: SignedDuration,
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long)]
    pub context: Option<String>,
}
