//! The cluster gets another key for its ServiceAccount tokens, as whoever runs it does once in a while; or gives none.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::decode_header;
use kube::ResourceExt;
use serde_json::json;

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, Options, eventually};
use crate::operator::{Operator, Replica, Setup};
use crate::secretless::{account, projected, token, token_if_answered};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Answer, Credentials, answer, condition};

/// The keys are looked at ten seconds after the last look at the earliest; the rest is for a machine that does other things.
const LOOKED_AT: Duration = Duration::from_secs(60);

impl Replica {
    fn url(&self) -> String {
        format!("https://localhost:{}/oauth2/token", self.port)
    }

    /// Waits until a ServiceAccount's token is answered so.
    async fn answers(&self, credentials: &Credentials, assertion: &str, status: u16) {
        let look = async || match token_if_answered(credentials, &self.url(), assertion).await {
            Ok(answer) if answer.status == status => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let seen = eventually(LOOKED_AT, &format!("{} answers {status}", self.pod), look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.process().log_tail()));
    }

    /// What it answers somebody who names a key that the cluster never had.
    async fn told_of_a_key(&self, credentials: &Credentials, genuine: &str) -> Answer {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": "unknown"}).to_string());
        let forged = format!("{header}.{}", genuine.split_once('.').unwrap().1);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "nobody"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &forged),
        ];
        answer(credentials.http().post(self.url()).form(&form)).await
    }
}

/// An account of the operator's rights that no key of the cluster signs, for a replica that outlives them all: its pod would mount a new
/// token, which here nobody makes.
fn certified(operator: &Operator<'_>) -> crate::cluster::Kubeconfig {
    let user = format!("system:serviceaccount:{}:{}", operator.namespace, operator.release());
    operator.cluster.kubeconfig_for_user(&user, Some("system:serviceaccounts")).unwrap()
}

/// K04: a cluster that does not give its keys to ServiceAccounts. The clients that need them say so until it does; others do not care.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_a_service_account_is_not_ready_where_the_cluster_refuses_its_keys() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
    let refusal = proxy.when(calls().of("")).answer(403);
    operator.start(operator.first(), proxy.kubeconfig());
    operator.first().ready().await;
    let teams = Teams::served_by(&operator).await;
    let accounts = account(&teams, "worker").await;
    teams.apply(&INVOICES.replace("clients: [worker], ", "")).await;
    teams.apply(&format!("{WORKER}  authentication: {{serviceAccounts: [{{name: worker}}]}}\n")).await;
    teams.apply(&WORKER.replace("name: worker", "name: with-secret")).await;
    let worker = operator.client_is(&teams.billing, "worker", "ClusterKeysUnavailable").await;
    let ready = condition(worker.status.as_ref().and_then(|status| status.conditions.as_ref()), "Ready").unwrap();
    assert_eq!(ready.status, "False");
    for words in ["the API server answers 403 for /.well-known/openid-configuration", "system:service-account-issuer-discovery"] {
        assert!(ready.message.contains(words), "{ready:?}");
    }
    let other = operator.client_is(&teams.billing, "with-secret", "Issued").await;
    let credentials = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    let assertion = projected(&accounts, "worker", credentials.get("issuer-uri")).await;
    let url = credentials.get("token-uri");
    assert_eq!(token(&credentials, url, &assertion).await.status, 503);
    let metrics = operator.first().metrics().await;
    assert!(metrics.contains("\nkeywright_service_account_keys 0\n"), "{metrics}");

    proxy.remove(refusal);
    operator.client_is(&teams.billing, "worker", "Issued").await;
    assert_eq!(token(&credentials, url, &assertion).await.status, 200);
    let now = teams.clients().get("with-secret").await.unwrap();
    assert_eq!(now.resource_version(), other.resource_version(), "{:?}", now.status);
}

/// K11, K04: a token of the new key is good as soon as there is one, with no restart of anything of ours; those of the former key are until
/// the cluster has forgotten it.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_another_key_of_the_cluster_signs_are_good_without_a_restart() {
    let cluster = ControlPlane::start(Options::default()).await.unwrap();
    let operator = Operator::install(&cluster, Setup { replicas: 2, ..Setup::default() }).await;
    let [own, certain] = [0, 1].map(|index| &operator.replicas[index]);
    let processes = [operator.start(own, &operator.kubeconfig), operator.start(certain, &certified(&operator))];
    own.ready().await;
    certain.ready().await;
    let teams = Teams::served_by(&operator).await;
    let accounts = account(&teams, "worker").await;
    teams.apply(INVOICES).await;
    teams.apply(&format!("{WORKER}  authentication: {{serviceAccounts: [{{name: worker}}]}}\n")).await;
    let credentials = operator.credentials(&teams.billing, "worker").await;
    let issuer = credentials.get("issuer-uri");
    let former = projected(&accounts, "worker", issuer).await;
    for replica in [own, certain] {
        replica.answers(&credentials, &former, 200).await;
        let metrics = replica.metrics().await;
        assert!(metrics.contains("\nkeywright_service_account_keys 1\n"), "{metrics}");
    }

    cluster.rotate_account_key().await.unwrap();
    let new = projected(&accounts, "worker", issuer).await;
    assert_ne!(decode_header(&former).unwrap().kid, decode_header(&new).unwrap().kid);
    for replica in [own, certain] {
        replica.answers(&credentials, &new, 200).await;
        replica.answers(&credentials, &former, 200).await;
    }

    cluster.forget_former_account_keys().await.unwrap();
    let forgotten = async || {
        certain.told_of_a_key(&credentials, &former).await;
        match token_if_answered(&credentials, &certain.url(), &former).await {
            Ok(answer) if answer.status == 401 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually(LOOKED_AT, "the former key is forgotten", forgotten).await.unwrap();
    certain.answers(&credentials, &new, 200).await;
    assert!(processes.iter().all(|process| process.is_running()));
}
