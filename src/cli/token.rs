//! Flags of `keywright token`.

use crate::{domain::resource::Algorithm, workload::binding::Method};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags of `keywright token`. A secret is never one: it would stand in the list of processes.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct TokenArgs {
    /// The folder where the client's Secret is mounted [default: a binding below SERVICE_BINDING_ROOT, else the environment]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["binding", "environment"])]
    pub directory: Option<PathBuf>,
    /// Where bindings are mounted, each in a folder of its name (Service Binding for Kubernetes)
    #[arg(long, value_name = "FOLDER", env = "SERVICE_BINDING_ROOT")]
    pub binding_root: Option<PathBuf>,
    /// With several bindings: the name of the one to use
    #[arg(long, value_name = "NAME", conflicts_with = "environment")]
    pub binding: Option<String>,
    /// Read the environment (CLIENT_ID, CLIENT_SECRET, TOKEN_URL, CA_CERT), though SERVICE_BINDING_ROOT is set
    #[arg(long)]
    pub environment: bool,
    /// A key that spec.secret.keys renames, as in client-secret=password; may be repeated
    #[arg(long = "key", value_name = "KEY=NAME", value_parser = renamed_key)]
    pub keys: Vec<(String, String)>,
    /// Scopes to ask for, separated by spaces [default: all that are granted]
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    pub scope: Option<String>,
    /// The API that the token is for (its audience), where the client has access to several
    #[arg(long, value_name = "URI")]
    pub resource: Option<String>,
    /// How the secret is sent [default: what the Secret says, else client_secret_basic]
    #[arg(long, value_enum)]
    pub method: Option<SecretMethod>,
    /// In place of a secret: the file with the projected token of the pod's ServiceAccount, whose audience is the issuer
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "private_key"])]
    pub service_account_token: Option<PathBuf>,
    /// In place of a secret: the file with the workload's JWT-SVID (SPIFFE), whose audience is the issuer
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "private_key", "service_account_token"])]
    pub jwt_svid: Option<PathBuf>,
    /// In place of a secret: the file with the client's private key (PKCS#8, PEM), which signs an assertion for each request
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    pub private_key: Option<PathBuf>,
    /// With --private-key: RS256, PS256, ES256 or EdDSA [default: what goes with the key; RS256 for RSA]
    #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm, requires = "private_key")]
    pub signing_algorithm: Option<Algorithm>,
    /// Show header and claims instead of the token
    #[arg(long, conflicts_with = "out")]
    pub decode: bool,
    /// With --decode: for people, or as JSON
    #[arg(long, short, value_enum, default_value = "text", requires = "decode")]
    pub output: Form,
    /// Write the token to this file (mode 0600, replaced as a whole) instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Keep the file fresh until SIGTERM: renewed after about two thirds of a token's life, with credentials that are read anew
    #[arg(long, requires = "out")]
    pub watch: bool,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the file or standard output could not be written
  2  the command line is wrong
  3  the credentials could not be read
  4  the token endpoint refused (an OAuth error: asking again does not help)
  5  the token endpoint is out of reach or cannot answer now (asking again may help)

With --watch every failure is told on standard error and tried again.";

/// How the secret is sent (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SecretMethod {
    /// In the Authorization header
    ClientSecretBasic,
    /// In the body
    ClientSecretPost,
}

impl From<SecretMethod> for Method {
    fn from(method: SecretMethod) -> Self {
        match method {
            SecretMethod::ClientSecretBasic => Self::Basic,
            SecretMethod::ClientSecretPost => Self::Post,
        }
    }
}

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Form {
    /// For people
    Text,
    /// For programs
    Json,
}

fn renamed_key(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, name)) if !key.is_empty() && !name.is_empty() && !name.contains('/') => Ok((key.to_owned(), name.to_owned())),
        _ => Err("the name of a key and the one it has here, as in client-secret=password".to_owned()),
    }
}

/// RFC 6749 §3.3: the server would refuse others; a text without a scope means something else than it says.
fn scopes(text: &str) -> Result<String, String> {
    let is_scope = |scope: &str| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    if text.split(' ').all(is_scope) { Ok(text.to_owned()) } else { Err("scopes, with one space between them".to_owned()) }
}
