//! Flags of `kubectl keywright probe`.

use super::{ClusterArgs, Form};
use clap::Args;
use std::path::PathBuf;
use url::Url;

/// Flags of `probe`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ProbeArgs {
    /// The API, as oapr/NAME or NAME
    #[arg(value_name = "API", value_parser = resource_name)]
    pub resource: String,
    /// A URL of the API that needs a token with a scope; each request for it may be answered, so that it should change nothing
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub url: Url,
    /// The method of the requests
    #[arg(long, default_value = "GET", value_parser = method)]
    pub method: http::Method,
    /// The certificates of the CAs that the API's is to be trusted by, in PEM [default: those of this system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// A right token for that URL, as from `keywright token`; - is standard input. Without it an API that refuses everything looks right
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// For an API that introspects: a token for that URL that was right and is revoked
    #[arg(long, value_name = "FILE")]
    pub revoked_token_file: Option<PathBuf>,
    /// The ServiceAccount of the API's namespace that may create protectedresources/probe
    #[arg(long, value_name = "NAME", default_value = "keywright-prober")]
    pub service_account: String,
    /// Ask the issuer at its own URL [default: by way of the API server, which needs the right to create services/proxy]
    #[arg(long)]
    pub direct: bool,
    /// For people, or as JSON
    #[arg(long, short, value_enum, default_value = "text")]
    pub output: Form,
    #[expect(missing_docs, reason = "clap would print them")]
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

const EXIT_CODES: &str = "Exit codes:
  0  everything that has to be refused was, and with --token-file the right token was accepted
  1  the API accepted what it has to refuse, or it cannot be told
  2  the command line is wrong
  3  the object is not there, or Keywright is not installed
  4  refused: by the cluster's access rules, or by the issuer
  5  the API, the API server or the issuer is out of reach

The result becomes the condition Probed of the ProtectedResource, if you may change it.";

/// `NAME`, or with one of the names that kubectl knows the kind by.
fn resource_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some((
            "oapr" | "protectedresource" | "protectedresources" | "protectedresource.keywright.dev" | "protectedresources.keywright.dev",
            name,
        )) => name,
        Some((kind, _)) => return Err(format!("{kind} is no ProtectedResource: write oapr/NAME or NAME")),
    };
    if name.is_empty() { Err("write oapr/NAME or NAME".to_owned()) } else { Ok(name.to_owned()) }
}

/// Without a user: the requests have an Authorization header of their own.
fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    if matches!(url.scheme(), "http" | "https") && is_plain { Ok(url) } else { Err("an http or https URL without a user".to_owned()) }
}

fn method(text: &str) -> Result<http::Method, String> {
    http::Method::from_bytes(text.to_ascii_uppercase().as_bytes()).map_err(|_| "a method of HTTP, as in GET".to_owned())
}
