//! Envoy as a gateway in front of an API: it verifies tokens by the JWKS URL, and tells the API who calls.

use std::process::Command;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::clients::programs::environment;
use crate::clients::{mounted, resigned};
use crate::cluster::{ControlPlane, Process, free_port};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::Credentials;

/// What is in front of the API, and the API.
struct Gateway {
    url: String,
    // The files that it reads.
    _folder: TempDir,
    _envoy: Process,
    api: tokio::task::JoinHandle<()>,
}

impl Gateway {
    async fn start(credentials: &Credentials, audience: &str) -> Self {
        let folder = mounted(credentials);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap().port();
        let api = (api, tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(greeting))).await.unwrap() }));
        let issuer = credentials.get("issuer-uri");
        let [gateway, admin] = [free_port().unwrap(), free_port().unwrap()];
        let configuration = include_str!("gateway.yaml")
            .replace("$gateway", &gateway.to_string())
            .replace("$admin", &admin.to_string())
            .replace("$issuer", issuer)
            .replace("$audience", audience)
            .replace("$api", &api.0.to_string())
            .replace("$tokens", issuer.rsplit(':').next().unwrap())
            .replace("$ca", &folder.path().join("ca.crt").display().to_string());
        let path = folder.path().join("envoy.yaml");
        std::fs::write(&path, configuration).unwrap();
        let mut command = Command::new(environment().await.join("envoy"));
        command.arg("--config-path").arg(&path).args(["--disable-hot-restart", "--concurrency", "1"]);
        let envoy = Process::start("envoy", folder.path().join("envoy.log"), &mut command).unwrap();
        envoy.wait_for_http_ok(&reqwest::Client::new(), &format!("http://127.0.0.1:{admin}/ready"), SOON).await.unwrap();
        Self { url: format!("http://127.0.0.1:{gateway}"), _folder: folder, _envoy: envoy, api: api.1 }
    }

    async fn answers(&self, token: &str) -> (StatusCode, String) {
        let answer = reqwest::Client::new().get(&self.url).bearer_auth(token).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.api.abort();
    }
}

/// The API: it trusts what the gateway says.
async fn greeting(headers: HeaderMap) -> String {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("nobody").to_owned();
    format!("{} may {}", said("x-client"), said("x-scope"))
}

/// RFC 9068 §4, by Envoy's `jwt_authn`: a token for this API gets through, and the API learns who calls; nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_tokens_for_the_api_through_and_nothing_else() {
    // Envoy's BoringSSL knows no constraints for addresses: it trusts a CA for names alone.
    let setup = Setup { values: vec!["tls.sans=[\"localhost\"]".to_owned()], ..Setup::default() };
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), setup).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let worker = teams.worker().await;
    teams.apply(&INVOICES.replace("name: invoices,", "name: orders,").replace("[worker]", "[other]")).await;
    teams.apply(&WORKER.replace("name: worker", "name: other").replace("/invoices", "/orders")).await;
    let other = teams.operator.credentials(&teams.billing, "other").await;
    let gateway = Gateway::start(&worker, &teams.audience()).await;
    let (token, another) = (worker.token().await, worker.token().await);
    let greeting = format!("{} may invoices.read", worker.get("client-id"));
    assert_eq!(gateway.answers(token.token()).await, (StatusCode::OK, greeting));
    for (wrong, status, reason) in [
        (resigned(token.token(), another.token()), StatusCode::UNAUTHORIZED, "Jwt verification fails"),
        (other.token().await.token().to_owned(), StatusCode::FORBIDDEN, "Audiences in Jwt are not allowed"),
        ("none".to_owned(), StatusCode::UNAUTHORIZED, "Jwt is not in the form"),
    ] {
        let (answered, said) = gateway.answers(&wrong).await;
        assert!(answered == status && said.contains(reason), "{answered}: {said}");
    }
}
