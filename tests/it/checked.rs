//! `kubectl keywright check`: what is wrong, or will be, before a token fails.

use std::path::PathBuf;
use std::process::Command;

use k8s_openapi::api::rbac::v1::RoleBinding;
use keywright::api::OAuthClient;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{ControlPlane, Kubeconfig, Output, eventually, run};
use crate::operator::SOON;
use crate::teams::{INVOICES, Teams, WORKER};
use crate::workload::condition;

/// Files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

async fn check(kubeconfig: Option<&Kubeconfig>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
    command.arg("check").args(arguments).env_clear();
    command.envs(kubeconfig.map(|kubeconfig| ("KUBECONFIG", kubeconfig.path())));
    tokio::time::timeout(SOON, run(command, String::new())).await.expect("it ends by itself").unwrap()
}

fn assert_faulty(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.starts_with("keywright: ") && output.stderr.contains("need a change"), "{output:?}");
    let missing: Vec<_> = words.iter().filter(|word| !output.stdout.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{}", output.stdout);
}

fn plain(yaml: &str) -> String {
    yaml.replace("$shop", "shop").replace("$billing", "billing").replace("  issuer: $issuer\n", "")
}

/// In a pipeline, without a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_checked_without_a_cluster() {
    let files = Files::new();
    let (invoices, worker) = (files.with("invoices.yaml", &plain(INVOICES)), files.with("worker.yaml", &plain(WORKER)));
    let both = check(None, &["--offline", "-f", &invoices, "-f", &worker]).await.succeeded().unwrap();
    assert!(both.contains("OAuthClient billing/worker: ok\n") && both.contains("ProtectedResource shop/invoices: ok\n"), "{both}");
    // What is not in the files may be granted all the same.
    let alone = check(None, &["--offline", "-f", &worker]).await.succeeded().unwrap();
    assert!(alone.contains("ok, as far as could be looked at") && alone.contains("- {namespaces: [billing], clients: [worker]"), "{alone}");

    let more = files.with("more.yaml", &plain(WORKER).replace("[invoices.read]", "[invoices.read, invoices.write]"));
    let denied = check(None, &["--offline", "-f", &invoices, "-f", &more]).await;
    assert_faulty(&denied, &["AccessDenied", "does not grant invoices.write to billing/worker"]);
    let misspelt = files.with("misspelt.yaml", &plain(WORKER).replace("  access", "  rotaton: {every: 7d}\n  access"));
    assert_faulty(&check(None, &["--offline", "-f", &misspelt]).await, &["knows no spec.rotaton"]);
    let broken = files.with("broken.yaml", "spec: [");
    let unreadable = check(None, &["--offline", "-f", &broken]).await;
    assert_eq!(unreadable.status.code(), Some(1));
    assert!(unreadable.stderr.contains("broken.yaml"), "{unreadable:?}");

    // The platform's policy decides.
    let public = files.with("public.yaml", &plain(INVOICES).replace("spec:", "spec:\n  audience: https://api.example.com/invoices"));
    assert_faulty(
        &check(None, &["--offline", "-f", &public]).await,
        &["PolicyViolation", "policy.audiences", "not checked: the platform's policy"],
    );
    let policy = files.with("policy.yaml", "audiences: [{audience: https://api.example.com/*, namespaces: [shop]}]");
    let allowed = check(None, &["--offline", "-f", &public, "--policy", &policy]).await.succeeded().unwrap();
    assert!(!allowed.contains("not checked"), "{allowed}");
    let json = check(None, &["--offline", "-f", &more, "-f", &invoices, "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["objects"].as_array().unwrap().len(), 2);
    assert!(json.to_string().contains("AccessDenied"));
    for wrong in [vec!["--offline"], vec!["worker", "-f", &worker]] {
        assert_eq!(check(None, &wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

/// kubectl makes `"true": …` of an unquoted `y: …`, and what the API server gets is no EC key.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_yaml_takes_for_true_is_a_fault_as_it_is_to_the_api_server() {
    let cluster = ControlPlane::shared().await.unwrap();
    let namespace = cluster.namespace().await.unwrap();
    let (files, create) = (Files::new(), ["create", "--dry-run=server", "--namespace", &namespace, "--filename=-"]);
    for (y, is_right) in [("y", false), ("Y", false), ("\"y\"", true)] {
        let point = format!("x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, {y}: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let authentication = format!("authentication: {{privateKeyJwt: {{jwks: {{keys: [{{kty: EC, crv: P-256, kid: a, {point}}}]}}}}}}");
        let manifest = plain(WORKER).replace("namespace: billing", &format!("namespace: {namespace}")) + &format!("  {authentication}\n");
        let created = cluster.admin().kubectl_with(&create, &manifest).await.unwrap();
        assert_eq!(created.status.success(), is_right, "{y}: {created:?}");
        let checked = check(None, &["--offline", "-f", &files.with("client.yaml", &manifest)]).await;
        match is_right {
            true => assert!(checked.status.success(), "{checked:?}"),
            false => {
                assert!(created.stderr.contains("an EC key has x, y and crv"), "{created:?}");
                assert_faulty(&checked, &["spec.authentication.privateKeyJwt.jwks.keys[0].true: without quotation marks"]);
            }
        }
    }
}

/// What it says of a file is what the operator says once the file is applied, word for word.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_advance_is_what_the_operator_says_afterwards() {
    let teams = Teams::new().await;
    let (files, admin) = (Files::new(), teams.operator.cluster.admin());
    teams.worker().await;
    teams.apply("{apiVersion: v1, kind: Secret, metadata: {name: taken, namespace: $billing}}").await;
    let named = |name: &str, change: &str| {
        WORKER.replace("name: worker", &format!("name: {name}")).replace("  access", &format!("{change}  access"))
    };
    for (name, reason, manifest) in [
        ("denied", "AccessDenied", named("denied", "")),
        ("twin", "ClientIdConflict", named("twin", "  clientId: $billing.worker\n")),
        ("lent", "PolicyViolation", named("lent", "  clientId: $shop.worker\n")),
        ("long", "PolicyViolation", named("long", "  accessToken: {lifetime: 2h}\n")),
        ("future", "InvalidSpec", named("future", "  revocation: {secretsIssuedBefore: \"2999-01-01T00:00:00Z\"}\n")),
        ("taken", "SecretConflict", named("taken", "")),
    ] {
        let manifest = teams.filled(&manifest);
        let said = check(Some(admin), &["-f", &files.with(name, &manifest)]).await;
        assert_faulty(&said, &[reason]);
        teams.apply(&manifest).await;
        let client = teams.operator.client_is(&teams.billing, name, reason).await;
        let message = condition(client.status.unwrap().conditions.as_ref(), "Ready").unwrap().message.clone();
        if reason != "SecretConflict" {
            assert!(said.stdout.contains(&format!("{reason}: {message}")), "{message}\n{}", said.stdout);
        }
        // Once applied, the cluster says so, once.
        let applied = check(Some(admin), &[name, "-n", &teams.billing]).await;
        assert_faulty(&applied, &[reason]);
        assert_eq!(applied.stdout.matches(&message).count(), 1, "{}", applied.stdout);
    }
    let granted = files.with("granted", &teams.filled(WORKER));
    let fine = check(Some(admin), &["-f", &granted]).await.succeeded().unwrap();
    assert!(fine.contains("worker: ok\n"), "{fine}");
}

const CONSUMERS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: reads-env, namespace: $billing}
spec:
  selector: {matchLabels: {app: env}}
  template:
    metadata: {labels: {app: env}}
    spec: {containers: [{name: app, image: app, envFrom: [{secretRef: {name: worker}}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: asks, namespace: $billing, annotations: {keywright.dev/restart-on: worker}}
spec:
  selector: {matchLabels: {app: asks}}
  template:
    metadata: {labels: {app: asks}}
    spec: {containers: [{name: app, image: app, envFrom: [{secretRef: {name: worker}}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: by-path, namespace: $billing}
spec:
  serviceName: by-path
  selector: {matchLabels: {app: path}}
  template:
    metadata: {labels: {app: path}}
    spec:
      containers: [{name: app, image: app, volumeMounts: [{name: oauth, mountPath: /etc/secret, subPath: client-secret}]}]
      volumes: [{name: oauth, secret: {secretName: worker}}]
";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_secret_in_a_way_that_no_rotation_reaches_is_named() {
    let teams = Teams::new().await;
    let admin = teams.operator.cluster.admin();
    teams.worker().await;
    let fine = check(Some(admin), &["-n", &teams.billing]).await.succeeded().unwrap();
    assert!(fine.contains("worker: ok\n"), "{fine}");
    teams.apply(CONSUMERS).await;
    let told = check(Some(admin), &["oac/worker", "-n", &teams.billing]).await;
    assert_faulty(&told, &["Deployment reads-env", "keywright.dev/restart-on=worker", "StatefulSet by-path", "subPath"]);
    assert!(!told.stdout.contains("Deployment asks"), "{told:?}");
    let missing = check(Some(admin), &["nobody", "-n", &teams.billing]).await;
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
}

/// A person with `view` in one namespace, as the chart aggregates it: the rest is named as not checked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_may_not_see_is_named_and_hides_nothing_else() {
    let teams = Teams::new().await;
    teams.worker().await;
    let user = format!("viewer-of-{}", teams.billing);
    let binding = json!({
        "metadata": {"name": "view"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(teams.kube.clone(), &teams.billing);
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let viewer = teams.operator.cluster.kubeconfig_for_user(&user, None).unwrap();
    let seen: Api<OAuthClient> = Api::namespaced(viewer.client().await.unwrap(), &teams.billing);
    eventually(SOON, "the binding is known", async || seen.list(&ListParams::default()).await).await.unwrap();
    let told = check(Some(&viewer), &["-n", &teams.billing]).await.succeeded().unwrap();
    for words in
        ["as far as could be looked at", "ProtectedResources elsewhere", "the platform's policy", "secrets \"worker\" is forbidden"]
    {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    let denied = teams.filled(&WORKER.replace("name: worker", "name: bad").replace("  access", "  accessToken: {lifetime: 2h}\n  access"));
    let said = check(Some(&viewer), &["-f", &Files::new().with("bad", &denied), "-n", &teams.billing]).await;
    assert_eq!(said.status.code(), Some(1), "{said:?}");
}
