//! APIs that look at everything, or leave something out, and a person who probes them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use keywright::api::{Condition, ProtectedResource};
use kube::Api;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use crate::cluster::{ControlPlane, Kubeconfig, Output, eventually};
use crate::introspected::introspected;
use crate::operator::{Operator, SOON, Setup};
use crate::plugin::with;
use crate::teams::Teams;
use crate::workload::{Credentials, condition};

const PROBER: &str = include_str!("../../../examples/prober.yaml");

/// What an API does not look at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Careless {
    Nothing,
    Audience,
    Expiry,
    Anything,
    /// It refuses whatever it gets.
    Hostile,
}

/// An API that verifies tokens by a library that nobody here wrote, as its owner told it.
struct Verifier {
    keys: JwkSet,
    issuer: String,
    audience: String,
    careless: Careless,
}

impl Verifier {
    fn answer(&self, headers: &HeaderMap) -> StatusCode {
        match (self.careless, bearer(headers)) {
            (Careless::Anything, _) => StatusCode::OK,
            (Careless::Hostile, _) | (_, None) => StatusCode::UNAUTHORIZED,
            (_, Some(token)) => self.claims(token).map_or(StatusCode::UNAUTHORIZED, |claims| may(&claims)),
        }
    }

    fn claims(&self, token: &str) -> Option<Value> {
        let header = decode_header(token).ok()?;
        (header.typ.as_deref() == Some("at+jwt") && header.crit.is_none()).then_some(())?;
        let key = DecodingKey::from_jwk(self.keys.find(header.kid.as_deref()?)?).ok()?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.validate_nbf = true;
        validation.validate_aud = self.careless != Careless::Audience;
        validation.validate_exp = self.careless != Careless::Expiry;
        decode::<Value>(token, &key, &validation).ok().map(|decoded| decoded.claims)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn may(claims: &Value) -> StatusCode {
    let scoped = claims["scope"].as_str().is_some_and(|all| all.split(' ').any(|one| one == "invoices.read"));
    if scoped { StatusCode::OK } else { StatusCode::FORBIDDEN }
}

/// Where one of them listens.
pub(super) struct Listening {
    pub(super) url: String,
    pub(super) task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn listening(router: Router) -> Listening {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/invoices", listener.local_addr().unwrap());
    Listening { url, task: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }) }
}

/// An installation that lets APIs be probed, and a person of the API team: who edits that namespace alone.
pub(crate) struct Place<'cluster> {
    pub(crate) teams: Teams<'cluster>,
    pub(crate) worker: Credentials,
    pub(super) token: NamedTempFile,
    pub(super) sarah: Kubeconfig,
}

pub(super) async fn probing() -> Operator<'static> {
    let setup = Setup { values: vec!["verifierProbes=true".to_owned()], ..Setup::default() };
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), setup).await;
    operator.start_all().await;
    operator
}

impl<'cluster> Place<'cluster> {
    pub(super) async fn new(operator: &'cluster Operator<'cluster>) -> Self {
        Self::of(Teams::served_by(operator).await).await
    }

    pub(super) async fn of(teams: Teams<'cluster>) -> Self {
        let (operator, worker) = (teams.operator, teams.worker().await);
        teams.change_resource("invoices", json!({"verification": {"configMap": "invoices-oauth"}})).await;
        operator.resource_is(&teams.shop, "invoices", "Accepted").await;
        let token = NamedTempFile::new().unwrap();
        std::fs::write(token.path(), worker.token().await.token()).unwrap();
        let user = format!("sarah-{}", teams.shop);
        let bind = ["create", "rolebinding", "sarah", "--clusterrole=edit", "--user", &user, "-n", &teams.shop];
        operator.cluster.kubectl(&bind).await.unwrap().succeeded().unwrap();
        let sarah = operator.cluster.kubeconfig_for_user(&user, None).unwrap();
        let may = async || match with(&sarah, &["check", "-n", &teams.shop]).await {
            output if output.status.code() == Some(4) => Err(output.stderr),
            _ => Ok(()),
        };
        eventually(SOON, "the role is aggregated", may).await.unwrap();
        Self { teams, worker, token, sarah }
    }

    /// With the ServiceAccount that examples/ has.
    pub(crate) async fn with_prober(operator: &'cluster Operator<'cluster>) -> Self {
        let place = Self::new(operator).await;
        place.let_probe().await;
        place
    }

    pub(super) async fn let_probe(&self) {
        let manifest = PROBER.replace("namespace: shop", &format!("namespace: {}", self.teams.shop));
        let admin = self.teams.operator.cluster.admin();
        admin.kubectl_with(&["apply", "--filename=-"], &manifest).await.unwrap().succeeded().unwrap();
    }

    pub(super) async fn api(&self, careless: Careless) -> Listening {
        let keys = self.worker.http().get(self.worker.get("jwk-set-uri")).send().await.unwrap().json().await.unwrap();
        let verifier = Verifier { keys, issuer: self.worker.get("issuer-uri").to_owned(), audience: self.teams.audience(), careless };
        let answer = async |State(verifier): State<Arc<Verifier>>, headers: HeaderMap| verifier.answer(&headers);
        listening(Router::new().route("/invoices", get(answer)).with_state(Arc::new(verifier))).await
    }

    /// One that asks the issuer about each token.
    pub(super) async fn introspecting_api(&self) -> Listening {
        let api = Arc::new(self.teams.api().await);
        let answer = async |State(api): State<Arc<Credentials>>, headers: HeaderMap| {
            let Some(token) = bearer(&headers) else { return StatusCode::UNAUTHORIZED };
            let url = api.get("issuer-uri").to_owned() + "/oauth2/introspect";
            match introspected(&api, &url, token).await {
                said if said["active"] == true => may(&said),
                _ => StatusCode::UNAUTHORIZED,
            }
        };
        listening(Router::new().route("/invoices", get(answer)).with_state(api)).await
    }

    /// A token that was right until a moment ago.
    pub(super) async fn revoked(&self) -> NamedTempFile {
        let (worker, file) = (&self.worker, NamedTempFile::new().unwrap());
        let token = worker.token().await.token().to_owned();
        std::fs::write(file.path(), &token).unwrap();
        let request = worker.http().post(worker.get("issuer-uri").to_owned() + "/oauth2/revoke");
        let request = request.basic_auth(worker.get("client-id"), Some(worker.get("client-secret"))).form(&[("token", &token)]);
        assert_eq!(request.send().await.unwrap().status(), 200);
        file
    }

    /// As Sarah, who can reach the issuer.
    pub(super) async fn probe(&self, api: &Listening, more: &[&str]) -> Output {
        let arguments = ["probe", "oapr/invoices", "--direct", "--url", &api.url, "-n", &self.teams.shop];
        with(&self.sarah, &[arguments.as_slice(), more].concat()).await
    }

    pub(super) async fn probe_with_token(&self, api: &Listening) -> Output {
        self.probed_at(&api.url).await
    }

    /// The same of whatever listens there, with a right token.
    pub(crate) async fn probed_at(&self, url: &str) -> Output {
        let token = self.token.path().to_str().unwrap();
        let arguments = ["probe", "oapr/invoices", "--direct", "--url", url, "-n", &self.teams.shop, "--token-file", token];
        with(&self.sarah, &arguments).await
    }

    /// The condition once it has this reason and says so; the API is served whatever it says.
    pub(super) async fn condition(&self, reason: &str, words: &str) -> Condition {
        let resources: Api<ProtectedResource> = Api::namespaced(self.teams.kube.clone(), &self.teams.shop);
        let look = async || {
            let status = resources.get("invoices").await.unwrap().status.unwrap();
            match condition(status.conditions.as_ref(), "Probed") {
                Some(probed) if probed.reason == reason && probed.message.contains(words) => Ok(probed.clone()),
                other => Err(format!("{other:?}")),
            }
        };
        let probed = eventually(SOON, &format!("the condition Probed is {reason}"), look).await.unwrap();
        self.teams.operator.resource_is(&self.teams.shop, "invoices", "Accepted").await;
        probed
    }
}
