//! The audit log of a pod, as whoever collects logs reads it: lines of JSON among the others, in which a request that came through a proxy
//! has the address of its caller.

use serde_json::Value;

use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;

/// Where the caller is, if the proxy is believed.
const CALLER: &str = "198.51.100.7";

impl Operator<'_> {
    /// Waits until the first replica's log says so of a request; its line.
    async fn audited(&self, message: &str, address: &str) -> Value {
        let look = async || {
            let log = self.first().log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let audited: Vec<_> = lines.filter(|line| line["target"] == "audit" && line["message"] == message).collect();
            audited.iter().find(|line| line["address"] == address).cloned().ok_or_else(|| format!("{audited:?}"))
        };
        eventually(SOON, &format!("{message} from {address}"), look).await.unwrap()
    }
}

/// A request of a client about a token, or for one, that says to come from somewhere.
async fn ask(credentials: &Credentials, path: &str, secret: &str, form: &[(&str, &str)]) -> reqwest::Response {
    let url = format!("{}/oauth2/{path}", credentials.get("issuer-uri"));
    let request = credentials.http().post(url).basic_auth(credentials.get("client-id"), Some(secret)).form(form);
    request.header("x-forwarded-for", format!("203.0.113.9, {CALLER}")).send().await.unwrap()
}

/// What a client did through a proxy, and what nobody may: each is a line.
async fn asked(operator: &Operator<'_>) -> Credentials {
    let teams = Teams::served_by(operator).await;
    let worker = teams.worker().await;
    let secret = worker.get("client-secret");
    let answer = ask(&worker, "token", secret, &[("grant_type", "client_credentials")]).await;
    let answer: Value = answer.json().await.unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let refused = async || match ask(&worker, "introspect", "wrong", &[("token", token)]).await.status().as_u16() {
        401 => Ok(()),
        other => Err(other),
    };
    eventually(SOON, "a wrong secret is refused", refused).await.unwrap();
    assert_eq!(ask(&worker, "revoke", secret, &[("token", token)]).await.status(), 200);
    worker
}

/// H06, and the chart's `trustedProxies`: whom the log names depends on who is trusted, and on nothing that a caller writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_the_caller_behind_a_trusted_proxy_and_else_the_connection() {
    let cluster = ControlPlane::shared().await.unwrap();
    for (trusted, address) in [("[\"127.0.0.0/8\"]", CALLER), ("[\"10.0.0.0/8\"]", "127.0.0.1")] {
        let setup = Setup { values: vec![format!("trustedProxies={trusted}")], ..Setup::default() };
        let operator = Operator::install(cluster, setup).await;
        operator.start_all().await;
        let worker = asked(&operator).await;
        let issued = operator.audited("token issued", address).await;
        let revoked = operator.audited("token revoked", address).await;
        let refused = operator.audited("introspection refused", address).await;
        assert_eq!((&issued["jti"], &issued["credential"]), (&revoked["jti"], &revoked["credential"]));
        for line in [&issued, &revoked, &refused] {
            assert_eq!(line["client_id"], worker.get("client-id"), "{line}");
        }
        assert_eq!((&revoked["name"], &refused["name"], &refused["reason"]), (&"worker".into(), &Value::Null, &"invalid_client".into()));
        operator.keeps_its_secrets().await;
    }
}
