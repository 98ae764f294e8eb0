//! Introspection and revocation by libraries that nobody here wrote: in each language, authenticated in each way.

use futures::future::join_all;
use serde_json::json;

use super::programs::{METHODS, Program, programs};
use super::{Workload, Workloads};
use crate::cluster::eventually;
use crate::operator::SOON;
use crate::secretless::{Key, account_in, projected};
use crate::teams::Teams;
use crate::workload::Credentials;

/// A client of the namespace `$shop`, which introspects and has access to nothing.
const INTROSPECTOR: &str = "
apiVersion: keywright.dev/v1alpha1
kind: OAuthClient
metadata: {name: $name, namespace: $shop}
spec: {issuer: $issuer, access: [], authentication: $authentication}
";

impl Workloads {
    /// A client of each kind that both APIs name.
    async fn introspectors(teams: &Teams<'_>) -> Self {
        let applied = async |name: &str, authentication: &serde_json::Value| {
            let client = INTROSPECTOR.replace("$name", name).replace("$authentication", &authentication.to_string());
            teams.apply(&client).await;
            teams.operator.credentials(&teams.shop, name).await
        };
        let workload = |credentials: Credentials, own| Workload::new(&credentials, "", own);
        let secret = workload(applied("secret", &json!({"clientSecret": {}})).await, None);
        let key = Key::new();
        let signer = workload(applied("signer", &key.authentication()).await, Some(("private-key.pem", key.pem())));
        let accounts = account_in(&teams.kube, &teams.shop, "api").await;
        let credentials = applied("account", &json!({"serviceAccounts": [{"name": "api"}]})).await;
        let token = projected(&accounts, "api", credentials.get("issuer-uri")).await;
        let account = workload(credentials, Some(("service-account-token", token)));
        for api in ["invoices", "orders"] {
            teams.change_resource(api, json!({"introspection": {"clients": ["secret", "signer", "account"]}})).await;
        }
        Self { secret, signer, account }
    }
}

/// A program, and whose files it uses.
struct Asking<'a> {
    program: &'a Program,
    method: &'a str,
    api: &'a Workload,
    /// Where each replica is asked; the first one where the metadata says.
    replicas: &'a [Option<String>],
}

impl Asking<'_> {
    /// Waits until every replica says so of a token.
    async fn hears(&self, token: &str, said: &str) {
        for url in self.replicas {
            let look = async || match self.program.introspect(self.method, &self.api.folder, url.as_deref(), token).await {
                heard if heard == said => Ok(()),
                heard => Err(heard),
            };
            eventually(SOON, &format!("{} at {url:?}: {said}", self.method), look).await.unwrap();
        }
    }
}

/// I01, I02, I03, R01, R02, J01, K01: a token is active; garbage is not, and nothing is for whoever the API's owner does not name; it stays
/// active when another client revokes it, and is active at no replica once its own has.
#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_each_language_introspect_and_revoke_by_each_method() {
    let teams = Teams::new().await;
    let (programs, workloads) = tokio::join!(programs(), Workloads::new(&teams));
    let apis = Workloads::introspectors(&teams).await;
    let others =
        teams.operator.replicas.iter().skip(1).map(|replica| Some(format!("https://localhost:{}/oauth2/introspect", replica.port)));
    let replicas: Vec<_> = std::iter::once(None).chain(others).collect();
    assert_eq!(replicas.len(), 2);
    let languages = programs.iter().map(async |program| {
        for method in METHODS {
            let (workload, api) = (workloads.that_uses(method), apis.that_uses(method));
            let asking = Asking { program, method, api, replicas: &replicas };
            let token = program.token(method, &workload.folder).await;
            asking.hears(&token, &workload.client).await;
            let refused = program.revoke(method, &api.folder, &token).await;
            assert!(!refused.status.success(), "{refused:?}");
            asking.hears(&token, &workload.client).await;
            asking.hears(&format!("{token}x"), "inactive").await;
            Asking { api: workload, ..asking }.hears(&token, "inactive").await;
            program.revoke(method, &workload.folder, &token).await.succeeded().unwrap();
            asking.hears(&token, "inactive").await;
        }
    });
    join_all(languages).await;
}
