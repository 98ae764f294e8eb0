//! Envoy as a gateway in front of an API: it verifies tokens by the JWKS URL, and tells the API who calls. Prometheus as a caller.

use std::process::Command;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use keywright::ambient;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::programs::environment;
use crate::clients::{mounted, resigned};
use crate::cluster::{Assets, ControlPlane, Process, eventually, free_port};
use crate::operator::{Operator, SOON, Setup};
use crate::probed::{Place, names, those};
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
        let api = (
            api,
            tokio::spawn(async move {
                axum::serve(listener, Router::new().route("/", get(greeting)).route("/metrics", get(metrics))).await.unwrap()
            }),
        );
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

/// In Prometheus' text format: it has been asked, by this client.
async fn metrics(headers: HeaderMap) -> String {
    format!("scraped{{by=\"{}\"}} 1\n", headers["x-client"].to_str().unwrap())
}

/// An installation whose CA Envoy trusts: its BoringSSL knows no constraints for addresses.
async fn operator() -> Operator<'static> {
    let values = ["tls.sans=[\"localhost\"]", "verifierProbes=true"].map(str::to_owned).into();
    let setup = Setup { values, ..Setup::default() };
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), setup).await;
    operator.start_all().await;
    operator
}

/// RFC 9068 §4, by Envoy's `jwt_authn`: a token for this API gets through, and the API learns who calls; nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_tokens_for_the_api_through_and_nothing_else() {
    let operator = operator().await;
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

/// The same Envoy, probed: it looks at everything but what it has no word for (`crit`), what it was not told (`typ`), and what it leaves to
/// the API, which here trusts it blindly (`scope`).
#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_told_what_it_leaves_out() {
    let operator = operator().await;
    let place = Place::with_prober(&operator).await;
    let gateway = Gateway::start(&place.worker, &place.teams.audience()).await;
    let output = place.probed_at(&gateway.url).await;
    assert_eq!(those(&output, "ACCEPTED"), names(["no-scope", "unknown-crit", "wrong-type"]), "{output:?}");
    assert_eq!((output.status.code(), those(&output, "refused").len()), (Some(1), 15), "{output:?}");
}

/// What Prometheus answers to a query: the labels and the value of the only series.
async fn queried(port: u16, query: &str) -> Result<Value, String> {
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let answer = reqwest::Client::new().post(url).form(&[("query", query)]).send().await.map_err(|error| error.to_string())?;
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    answer.pointer("/data/result/0").cloned().ok_or_else(|| answer.to_string())
}

/// Prometheus scrapes the API through the gateway with a token of its own, got with `client_secret_file`. It reads the file anew: a secret
/// that is not the right one stops it, and the next one that is mounted lets it go on.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_tokens_with_the_secret_that_is_mounted_at_the_moment() {
    let assets = tokio::task::spawn_blocking(Assets::locate_with_monitoring).await.unwrap().unwrap();
    let operator = operator().await;
    let teams = Teams::served_by(&operator).await;
    let worker = teams.worker().await;
    let gateway = Gateway::start(&worker, &teams.audience()).await;
    let (folder, port) = (mounted(&worker), free_port().unwrap());
    let configuration = include_str!("prometheus.yaml")
        .replace("$gateway", gateway.url.trim_start_matches("http://"))
        .replace("$client", worker.get("client-id"))
        .replace("$token", worker.get("token-uri"))
        .replace("$folder", &folder.path().display().to_string());
    let path = folder.path().join("prometheus.yaml");
    std::fs::write(&path, configuration).unwrap();
    let mut command = Command::new(assets.binary("prometheus"));
    command.arg(format!("--config.file={}", path.display())).arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let prometheus = Process::start("prometheus", folder.path().join("prometheus.log"), &mut command).unwrap();
    prometheus.wait_for_http_ok(&reqwest::Client::new(), &format!("http://127.0.0.1:{port}/-/ready"), SOON).await.unwrap();
    let is_up = async |wanted: &str| match queried(port, "up").await {
        Ok(series) if series["value"][1] == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(SOON, "the API is scraped", async || is_up("1").await).await.unwrap();
    let scraped = eventually(SOON, "it is known what was scraped", async || queried(port, "scraped").await).await.unwrap();
    assert_eq!(scraped["metric"]["by"], worker.get("client-id"), "{scraped}");

    let file = folder.path().join("client-secret");
    std::fs::write(&file, "a-value-of-our-form-that-nobody-registered-").unwrap();
    eventually(SOON, "a wrong secret gets no token", async || is_up("0").await).await.unwrap();
    teams.change_client("worker", json!({"revocation": {"secretsIssuedBefore": ambient::now().to_string()}})).await;
    teams.every_replica_answers(&worker, 401).await;
    let fresh = async || match Credentials::read(&teams.kube, &teams.billing, "worker").await {
        fresh if fresh.get("client-secret") == worker.get("client-secret") => Err("the former one"),
        fresh => Ok(fresh),
    };
    let fresh = eventually(SOON, "the Secret holds another value", fresh).await.unwrap();
    std::fs::write(&file, fresh.get("client-secret")).unwrap();
    eventually(SOON, "the API is scraped again", async || is_up("1").await).await.unwrap();
}
