//! `kubectl keywright`: what people ask of their clients and of an installation, with their own rights.

use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::proxy::{Proxy, calls};
use crate::cluster::{ControlPlane, Kubeconfig, Output, eventually, run};
use crate::operator::{Operator, SOON, Setup};
use crate::rotated::credentials_of;
use crate::teams::{Teams, WORKER};
use crate::workload::Credentials;

const MINUTE: Duration = Duration::from_secs(60);

/// The plugin as kubectl runs it, with this kubeconfig.
pub(crate) async fn with(kubeconfig: &Kubeconfig, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
    command.args(arguments).env_clear().env("KUBECONFIG", kubeconfig.path());
    tokio::time::timeout(SOON * 3, run(command, String::new())).await.expect("it ends by itself").unwrap()
}

impl Teams<'_> {
    /// As the cluster's administrator, in `$billing`.
    async fn ask(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        all.extend(["--namespace", &self.billing]);
        with(self.operator.cluster.admin(), &all).await
    }

    pub(crate) async fn told_by(&self, arguments: &[&str]) -> String {
        self.ask(arguments).await.succeeded().unwrap()
    }

    fn seen(&self, text: &str, credentials: &[&Credentials]) {
        for known in credentials {
            assert!(!text.contains(known.get("client-secret")), "the plugin shows a secret");
        }
    }
}

pub(crate) fn assert_failed(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let last = output.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("keywright: ") && words.iter().all(|word| last.contains(word)), "{words:?} in {output:?}");
}

/// All words, each after the one before.
fn assert_in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let Some((_, after)) = rest.split_once(word) else { panic!("{word:?} of {words:?} in\n{text}") };
        rest = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_plugin_and_it_uses_kubectls_own_configuration() {
    let teams = Teams::new().await;
    teams.worker().await;
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keywright"), folder.path().join("kubectl-keywright")).unwrap();
    let mut command = teams.operator.cluster.admin().command("kubectl", &["keywright", "status", "--namespace", &teams.billing]);
    command.env("PATH", folder.path());
    let text = run(command, String::new()).await.unwrap().succeeded().unwrap();
    assert_in_order(&text, &["CLIENT", "READY", "STILL ACCEPTED", "worker", "True", "Issued"]);
}

/// C15: one order, one rotation; what the plugin says at each point is what is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_ordered_waited_for_and_shown() {
    let teams = Teams::new().await;
    let first = teams.worker().await;
    let text = teams.told_by(&["rotate", "oac/worker", "--wait"]).await;
    let second = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    assert_ne!(first.get("client-secret"), second.get("client-secret"));
    let client = teams.operator.client_is(&teams.billing, "worker", "Overlapping").await;
    let id = |state: &str| credentials_of(&client).into_iter().find(|known| known.state == state).unwrap().id;
    assert_in_order(
        &text,
        &["the Secret worker holds the new credential", &id("Current"), "earlier", &id("Previous"), "until", "(in 23h) at least"],
    );
    let overview = teams.told_by(&["status"]).await;
    assert_in_order(&overview, &["worker", "True", "Overlapping", "1 earlier, no use seen", "in "]);
    for credentials in [&first, &second] {
        teams.every_replica_answers(credentials, 200).await;
    }

    let detail = teams.told_by(&["status", "worker"]).await;
    let client_id = format!("{}.worker", teams.billing);
    assert_in_order(&detail, &["Client id:", &client_id, "Secret:", "worker", "Conditions:", "Ready", "CREDENTIAL"]);
    assert!(detail.contains(&id("Current")) && detail.contains(&id("Previous")), "{detail}");
    let json: Value = serde_json::from_str(&teams.told_by(&["status", "worker", "-o", "json"]).await).unwrap();
    assert_eq!((&json["clientId"], json["credentials"].as_array().unwrap().len()), (&json!(client_id), 2));
    assert_eq!(json.pointer("/credentials/0/digest"), None);
    for text in [text, overview, detail, json.to_string()] {
        teams.seen(&text, &[&first, &second]);
    }
    let all = with(teams.operator.cluster.admin(), &["status", "-A"]).await.succeeded().unwrap();
    assert_in_order(&all, &["NAMESPACE", &teams.billing, "worker"]);
    let empty = teams.operator.cluster.namespace().await.unwrap();
    let none = with(teams.operator.cluster.admin(), &["status", "-n", &empty]).await.succeeded().unwrap();
    assert!(none.contains("no OAuthClient in the namespace"), "{none}");
}

/// F20: the leaked value is refused everywhere before the command says that it is done; also where it was made in this very second.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_secret_is_revoked_by_one_command() {
    let teams = Teams::new().await;
    let leaked = teams.worker().await;
    let made: Timestamp = credentials_of(&teams.clients().get("worker").await.unwrap())[0].created_at.parse().unwrap();
    let text = teams.told_by(&["revoke", "worker", "--wait"]).await;
    let before = teams.clients().get("worker").await.unwrap().spec.revocation.unwrap().secrets_issued_before.unwrap();
    assert_eq!(before.parse::<Timestamp>().unwrap().duration_since(made).as_nanos(), 1, "{before} after {made}");
    assert_in_order(&text, &["is refused from now on", "secretsIssuedBefore", "the Secret worker holds the new credential"]);
    assert!(!text.contains("the earlier one"), "{text}");
    let fresh = Credentials::read(&teams.kube, &teams.billing, "worker").await;
    teams.every_replica_answers(&leaked, 401).await;
    teams.every_replica_answers(&fresh, 200).await;
    teams.operator.saw([fresh.get("client-secret").to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_with_an_exit_code_of_its_own() {
    let teams = Teams::new().await;
    teams.worker().await;
    assert_failed(&teams.ask(&["status", "nobody"]).await, 3, &["there is no OAuthClient nobody in the namespace"]);
    assert_failed(&teams.ask(&["rotate", "nobody"]).await, 3, &["nobody"]);
    for wrong in
        [vec!["rotate"], vec!["rotate", "deployment/worker"], vec!["status", "worker", "-A"], vec!["rotate", "worker", "--timeout", "soon"]]
    {
        assert_eq!(teams.ask(&wrong).await.status.code(), Some(2), "{wrong:?}");
    }
    // A Secret that is somebody else's: nothing would ever happen.
    teams.apply("{apiVersion: v1, kind: Secret, metadata: {name: taken, namespace: $billing}}").await;
    teams.apply(&WORKER.replace("name: worker", "name: taken")).await;
    teams.operator.client_is(&teams.billing, "taken", "SecretConflict").await;
    assert_failed(&teams.ask(&["rotate", "taken", "--wait"]).await, 4, &["taken", "SecretConflict", "keywright.dev/adopt"]);
    assert_failed(&teams.ask(&["revoke", "taken"]).await, 4, &["no credential yet"]);
    // Nobody serves it.
    teams.apply(&WORKER.replace("name: worker", "name: orphan").replace("issuer: $issuer", "issuer: nobody")).await;
    assert_failed(&teams.ask(&["rotate", "orphan", "--wait", "--timeout", "2s"]).await, 5, &["after 2s", "is Keywright running"]);

    let stranger = teams.operator.cluster.kubeconfig_for_user("stranger", None).unwrap();
    for command in [["status", "worker"], ["rotate", "worker"]] {
        let output = with(&stranger, &[command[0], command[1], "-n", &teams.billing]).await;
        assert_failed(&output, 4, &["is not allowed", "stranger"]);
    }
    let proxy = Proxy::start(teams.operator.cluster.admin()).await.unwrap();
    let _away = proxy.when(calls()).answer(503);
    assert_failed(&with(proxy.kubeconfig(), &["status", "-n", &teams.billing]).await, 5, &["does not answer"]);
    let mut bare = Command::new(env!("CARGO_BIN_EXE_keywright"));
    bare.args(["status", "--kubeconfig", "/none"]).env_clear();
    assert_failed(&run(bare, String::new()).await.unwrap(), 1, &["no way to a cluster", "/none"]);
}

/// While it waits the API server may be away.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_survives_an_api_server_that_is_away() {
    let teams = Teams::new().await;
    teams.worker().await;
    let proxy = Proxy::start(teams.operator.cluster.admin()).await.unwrap();
    let away = proxy.when(calls().get().of("oauthclients")).after(1).answer(503);
    let arguments = ["rotate", "worker", "--wait", "-n", &teams.billing];
    let waiting = with(proxy.kubeconfig(), &arguments);
    let comes_back = async {
        let asked = async || if proxy.count(&calls().get().of("oauthclients")) >= 3 { Ok(()) } else { Err("not yet") };
        eventually(SOON, "it has asked again", asked).await.unwrap();
        proxy.remove(away);
    };
    let (output, ()) = tokio::join!(waiting, comes_back);
    assert!(output.stderr.contains("does not answer"), "{output:?}");
    assert_in_order(&output.succeeded().unwrap(), &["holds the new credential"]);
}

/// Who still uses the old secret: the address, as the replicas report it, and the pod that has it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_still_uses_the_old_secret_is_named() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    let first = teams.worker_with("{overlap: 10m}").await;
    teams.told_by(&["rotate", "worker", "--wait"]).await;
    operator.client_is(&teams.billing, "worker", "Overlapping").await;
    teams.every_replica_answers(&first, 200).await;
    operator.advance(2 * MINUTE).await;
    let named = async || {
        let text = teams.told_by(&["status", "worker"]).await;
        let line = text.lines().find(|line| line.contains("Previous")).map(str::to_owned).unwrap_or_default();
        if line.contains("127.0.0.1") { Ok(()) } else { Err(text) }
    };
    eventually(SOON * 2, "the address is named", named).await.unwrap();
    // A pod of that address: there is no node, so that its status is written by hand.
    teams
        .apply("{apiVersion: v1, kind: Pod, metadata: {name: old, namespace: $billing}, spec: {containers: [{name: app, image: app}]}}")
        .await;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let address = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    pods.patch_status("old", &PatchParams::default(), &Patch::Merge(address)).await.unwrap();
    let text = teams.told_by(&["status", "worker"]).await;
    assert!(text.contains(&format!("127.0.0.1 (pod {}/old)", teams.billing)), "{text}");
}

/// The two verbs for signing keys; no private key is read for them.
#[tokio::test(flavor = "multi_thread")]
async fn signing_keys_are_listed_rotated_and_revoked() {
    let operator = Operator::running(ControlPlane::shared().await.unwrap()).await;
    let secrets: Api<Secret> = Api::namespaced(operator.cluster.client().await.unwrap(), &operator.namespace);
    let keys = async |arguments: &[&str]| {
        let mut all = vec!["keys"];
        all.extend(arguments);
        all.extend(["-n", &operator.namespace]);
        with(operator.cluster.admin(), &all).await
    };
    let teams = Teams::served_by(&operator).await;
    let credentials = teams.worker().await;
    let listed = keys(&[]).await.succeeded().unwrap();
    let first = listed.lines().find(|line| line.contains("RS256")).unwrap().split(' ').next().unwrap().to_owned();
    assert_in_order(&listed, &["KID", &first, "RS256", "active"]);

    let rotated = keys(&["rotate", "--wait"]).await.succeeded().unwrap();
    assert!(rotated.contains("active") && rotated.contains("prepared") && rotated.contains(&first), "{rotated}");
    assert_failed(&keys(&["revoke", "nonsense"]).await, 3, &["there is no signing key nonsense", &first]);
    let revoked = keys(&["revoke", &first, "--wait"]).await.succeeded().unwrap();
    assert!(!revoked.contains(&first) && revoked.contains("active"), "{revoked}");
    let secret = secrets.get("keywright-keys").await.unwrap();
    assert!(!secret.data.as_ref().unwrap().keys().any(|entry| entry.contains(&first)));
    assert_eq!(secret.annotations()["keywright.dev/revoke"], first);

    // A second one is added to the first: a backup that brings both back revives neither.
    let second = revoked.lines().find(|line| line.contains("active")).unwrap().split(' ').next().unwrap().to_owned();
    keys(&["revoke", &second, "--wait"]).await.succeeded().unwrap();
    let both = secrets.get("keywright-keys").await.unwrap().annotations()["keywright.dev/revoke"].clone();
    assert_eq!(both, format!("{first},{second}"));
    let token = async || match credentials.token().await {
        answer if answer.status == 200 => Ok(answer.token().to_owned()),
        answer => Err(format!("{answer:?}")),
    };
    let token = eventually(SOON, "another key signs", token).await.unwrap();
    credentials.verify(&token, &teams.audience()).await;

    let missing = keys(&["--release", "other"]).await;
    assert_failed(&missing, 3, &["there is no Secret other-keys"]);
    let private = keys(&[]).await;
    assert!(!private.stdout.contains("pkcs8") && !private.stderr.contains("pkcs8"));
}
