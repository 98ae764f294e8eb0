//! Who talks to the API server: a kubeconfig file, and the clients and commands that use it.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::KubeConfigOptions;
use serde_json::{Value, json};

use super::assets::Assets;
use super::error::Error;
use super::pki::Certified;
use super::process::{Output, run};

/// How somebody proves who they are.
#[derive(Clone)]
pub enum Identity {
    /// A client certificate.
    Certificate(Certified),
    /// A bearer token.
    Token(String),
    /// Nothing: the proxy in between has an identity.
    Anonymous,
}

/// A kubeconfig file. It can be handed to any process; a `kube::Client` is bound to the runtime it was made in, so that each test makes its own.
#[derive(Clone)]
pub struct Kubeconfig {
    path: PathBuf,
    assets: Assets,
    /// The API server's URL.
    pub server: String,
    /// The certificate authority of an https server, in PEM.
    pub authority: Option<String>,
    /// Who the bearer of this file is.
    pub identity: Identity,
}

impl Kubeconfig {
    /// Writes the file.
    pub(super) fn write(
        path: PathBuf,
        assets: Assets,
        server: String,
        authority: Option<String>,
        identity: Identity,
    ) -> Result<Self, Error> {
        let kubeconfig = Self { path, assets, server, authority, identity };
        let attempt = format!("write {}", kubeconfig.path.display());
        std::fs::write(&kubeconfig.path, kubeconfig.content().to_string()).map_err(Error::io(attempt))?;
        Ok(kubeconfig)
    }

    /// The same identity, file beside file, for another server.
    pub(super) fn with_server(&self, server: String, authority: Option<String>, identity: Identity) -> Result<Self, Error> {
        let port = server.rsplit(':').next().unwrap_or_default();
        let path = self.path.with_extension(format!("{port}.kubeconfig"));
        Self::write(path, self.assets.clone(), server, authority, identity)
    }

    /// Where the file is: for `KUBECONFIG`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new client, bound to the runtime that this is called in.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        let unusable = |source| Error::Kubeconfig { path: self.path.clone(), source };
        let file = serde_json::from_value(self.content()).map_err(|error| unusable(error.into()))?;
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unusable(error.into()))?;
        // The default answers 429, 503 and 504 by up to 15 retries of its own; a test is to see what the server says.
        config.default_retry = false;
        kube::Client::try_from(config).map_err(|error| unusable(error.into()))
    }

    /// Runs kubectl.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output, Error> {
        run(self.command("kubectl", arguments), String::new()).await
    }

    /// Runs kubectl with a standard input: `kubectl_with(&["apply", "-f", "-"], manifest)`.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Output, Error> {
        run(self.command("kubectl", arguments), input.to_owned()).await
    }

    /// Runs helm.
    pub async fn helm(&self, arguments: &[&str]) -> Result<Output, Error> {
        run(self.command("helm", arguments), String::new()).await
    }

    /// What those run.
    pub fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.assets.binary(tool));
        // A home beside the file: nobody's own settings and caches play a part.
        let home = self.path.parent().unwrap_or(Path::new("/"));
        command.args(arguments).env("KUBECONFIG", &self.path).env("HOME", home).env_remove("XDG_CACHE_HOME");
        command
    }

    /// JSON is YAML.
    fn content(&self) -> Value {
        let cluster = match &self.authority {
            Some(authority) => json!({ "server": self.server, "certificate-authority-data": BASE64.encode(authority) }),
            None => json!({ "server": self.server }),
        };
        let user = match &self.identity {
            Identity::Certificate(Certified { certificate, key }) => {
                json!({ "client-certificate-data": BASE64.encode(certificate), "client-key-data": BASE64.encode(key) })
            }
            Identity::Token(token) => json!({ "token": token }),
            Identity::Anonymous => json!({}),
        };
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        })
    }
}
