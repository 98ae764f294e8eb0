//! The process dies, or the reply to its write is lost, at any step of the first credential: it ends where it would have ended.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use keywright::api::OAuthClient;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::cluster::proxy::{Call, Calls, Proxy, calls};
use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON, Setup};
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::{Credentials, condition};

/// What an operator writes for the objects in this namespace.
fn writes_in(namespace: &str) -> Calls {
    calls().mutating().in_namespace(namespace)
}

/// An operator behind a proxy, with an API that is ready and a workload team that has not asked for anything yet.
struct Scene<'cluster> {
    proxy: Proxy,
    teams: Teams<'cluster>,
}

impl<'cluster> Scene<'cluster> {
    async fn set(operator: &'cluster Operator<'cluster>) -> Self {
        let proxy = Proxy::start(&operator.kubeconfig).await.unwrap();
        operator.start(operator.first(), proxy.kubeconfig());
        operator.first().ready().await;
        let teams = Teams::served_by(operator).await;
        teams.apply(INVOICES).await;
        operator.resource_is(&teams.shop, "invoices", "Accepted").await;
        Self { proxy, teams }
    }

    async fn restart(&self) {
        let operator = self.teams.operator;
        operator.start(operator.first(), self.proxy.kubeconfig());
        operator.first().ready().await;
    }

    /// The client once nothing is left to do for it, as far as its status says.
    async fn settled(&self) -> OAuthClient {
        let clients = self.teams.clients();
        let look = async || {
            let client = clients.get("worker").await.map_err(|error| error.to_string())?;
            let conditions = client.status.as_ref().and_then(|status| status.conditions.as_ref());
            match condition(conditions, "Ready") {
                Some(ready) if ready.status == "True" => Ok(client),
                other => Err(format!("{other:?}")),
            }
        };
        let seen = eventually(SOON, "the client is ready", look).await;
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.teams.operator.logs()))
    }

    /// One Secret, one Current credential, which that Secret names; none Pending. What the Secret holds gets a token, at once.
    async fn is_whole(&self) -> Credentials {
        let client = self.settled().await;
        let secrets = self.teams.secrets().list(&ListParams::default().labels("keywright.dev/client")).await.unwrap();
        let [secret] = secrets.items.as_slice() else { panic!("{} Secrets", secrets.items.len()) };
        let credentials = client.status.unwrap().credentials.unwrap();
        let in_state =
            |state: &str| credentials.iter().filter(|known| known.state == state).map(|known| known.id.as_str()).collect::<Vec<_>>();
        let named = secret.annotations()["keywright.dev/credential"].as_str();
        assert_eq!((in_state("Current"), in_state("Pending")), (vec![named], vec![]), "{credentials:?}");
        let credentials = Credentials::of(secret.clone());
        credentials.token().await.token();
        credentials
    }

    /// Served after everything that was there before.
    async fn serves_another(&self) {
        let next = Teams::served_by(self.teams.operator).await;
        next.worker().await.token().await.token();
    }

    /// Another run begins with all this, and writes nothing.
    async fn another_run_writes_nothing(&self) {
        self.teams.operator.first().process().terminate().unwrap();
        self.teams.operator.first().process().exit(SOON).await.unwrap();
        self.proxy.clear_log();
        self.restart().await;
        self.serves_another().await;
        assert_eq!(self.writes(), Vec::<String>::new());
    }

    fn writes(&self) -> Vec<String> {
        let (ours, apis) = (writes_in(&self.teams.billing), writes_in(&self.teams.shop));
        let log = self.proxy.log();
        log.iter().filter(|call| ours.includes(call) || apis.includes(call)).map(ToString::to_string).collect()
    }
}

async fn installed() -> Operator<'static> {
    Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await
}

/// A run without faults: the writes for one new client. Nothing that the operator asked for was refused it (S18: the chart's rights are enough).
async fn clean_run(operator: &Operator<'_>) -> Vec<Call> {
    let scene = Scene::set(operator).await;
    scene.teams.apply(WORKER).await;
    scene.is_whole().await;
    scene.serves_another().await;
    let log = scene.proxy.log();
    let refused: Vec<_> = log.iter().filter(|call| matches!(call.status, Some(401 | 403))).map(ToString::to_string).collect();
    assert_eq!(refused, Vec::<String>::new());
    let writes: Vec<_> = log.into_iter().filter(|call| writes_in(&scene.teams.billing).includes(call)).collect();
    scene.another_run_writes_nothing().await;
    operator.first().process().kill().unwrap();
    writes
}

/// Killed as soon as its k-th write is committed, before it knows.
async fn killed_after(operator: &Operator<'_>, k: u64) {
    let scene = Scene::set(operator).await;
    let mut hold = scene.proxy.when(writes_in(&scene.teams.billing)).nth(k).hold_reply();
    scene.teams.apply(WORKER).await;
    let held = hold.next(SOON).await.unwrap();
    operator.first().process().kill().unwrap();
    drop((held, hold));
    let published: Option<Secret> = scene.teams.secrets().get_opt("worker").await.unwrap();

    scene.restart().await;
    let healthy = scene.is_whole().await;
    if let Some(published) = published {
        let published = Credentials::of(published);
        let answer = published.token_at(&healthy.http(), healthy.get("token-uri"), &[]).await;
        assert_eq!(answer.status, 200, "what was published is not accepted after a crash at write {k}");
    }
    scene.another_run_writes_nothing().await;
    operator.keeps_its_secrets().await;
}

/// F1.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_any_single_write_of_the_first_credential_changes_nothing_in_the_end() {
    let operator = installed().await;
    let writes = clean_run(&operator).await;
    let resources: Vec<_> = writes.iter().map(|call| call.resource.as_str()).collect();
    for expected in ["oauthclients/status", "secrets", "events"] {
        assert!(resources.contains(&expected), "{resources:?}");
    }
    let siblings: Vec<_> = (1..=writes.len()).map(|k| operator.sibling(k)).collect();
    join_all(siblings.iter().zip(1..).map(|(sibling, k)| killed_after(sibling, k))).await;
}

/// What becomes of one write and its reply.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Committed, and the connection is closed.
    Reply,
    /// Committed, and the answer is 500.
    Answer,
    /// Not committed, and the answer is this.
    Refusal(u16),
}

/// F4: the k-th write meets a fault, the process lives on.
async fn lost(scene: &Scene<'_>, k: u64, loss: Loss) {
    let teams = Teams::served_by(scene.teams.operator).await;
    let teams = Teams { shop: scene.teams.shop.clone(), ..teams };
    let grants = serde_json::json!([{"op": "add", "path": "/spec/grants/-", "value": {"namespaces": [&teams.billing], "scopes": ["invoices.read"]}}]);
    let patch = kube::api::Patch::Json::<()>(serde_json::from_value(grants).unwrap());
    let resources: kube::Api<keywright::api::ProtectedResource> = kube::Api::namespaced(teams.kube.clone(), &teams.shop);
    resources.patch("invoices", &Default::default(), &patch).await.unwrap();
    let rule = scene.proxy.when(writes_in(&teams.billing)).nth(k);
    match loss {
        Loss::Reply => rule.drop_reply(),
        Loss::Answer => rule.answer_after_commit(500),
        Loss::Refusal(status) => rule.answer(status),
    };
    teams.apply(WORKER).await;
    let credentials = teams.operator.credentials(&teams.billing, "worker").await;
    credentials.token().await.token();
    // No second credential was needed: the value is in the memory of the process that goes on.
    let client = teams.clients().get("worker").await.unwrap();
    assert_eq!(client.status.unwrap().credentials.unwrap().len(), 1, "{loss:?} of write {k}");
    let secrets = teams.secrets().list(&ListParams::default().labels("keywright.dev/client")).await.unwrap();
    assert_eq!(secrets.items.len(), 1, "{loss:?} of write {k}");
}

/// F4, and the answers that an API server gives when it is busy or when somebody else was faster (F10).
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_any_single_write_of_the_first_credential_changes_nothing_in_the_end() {
    let operator = installed().await;
    let scene = Scene::set(&operator).await;
    let losses = [Loss::Reply, Loss::Answer, Loss::Refusal(500), Loss::Refusal(429), Loss::Refusal(409)];
    let cases: Vec<_> = (1..=6).flat_map(|k| losses.map(|loss| (k, loss))).collect();
    for some in cases.chunks(10) {
        join_all(some.iter().map(|(k, loss)| lost(&scene, *k, *loss))).await;
    }
    operator.keeps_its_secrets().await;
}
