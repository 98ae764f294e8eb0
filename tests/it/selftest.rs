//! `keywright selftest` and `helm test`: an installation proves itself under the rights that the chart gives the test's pod, and nothing is
//! left of it, however it ends.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use keywright::ambient;
use keywright::api::{OAuthClient, ProtectedResource};
use kube::Api;
use serde_json::{Value, json};

use crate::chart::rights::assert_matrix;
use crate::cluster::{ControlPlane, Kubeconfig, Options, Output, Process, eventually, run};
use crate::objects;
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::teams::Teams;
use crate::workload::Credentials;

/// What the test's objects are called where the chart is asked.
const NAME: &str = "keywright-selftest";

/// The pod of `helm test`, as a process of this machine: its arguments, and the rights of its account.
struct Selftest {
    arguments: Vec<String>,
    kubeconfig: Kubeconfig,
    /// Where its objects are.
    namespace: String,
}

impl Selftest {
    /// What `helm test` would make, without the pod.
    async fn of(operator: &Operator<'_>) -> Self {
        let hooks = operator.cluster.helm(&["get", "hooks", RELEASE, "--namespace", &operator.namespace]).await.unwrap();
        let hooks = hooks.succeeded().unwrap();
        let mut documents = objects::documents(&hooks);
        let pod = documents.iter().position(|object| object.types.as_ref().is_some_and(|types| types.kind == "Pod")).unwrap();
        let pod = documents.remove(pod);
        let rest: Vec<String> = documents.iter().map(|object| serde_json::to_string(object).unwrap()).collect();
        objects::apply(&operator.cluster.client().await.unwrap(), &operator.namespace, &rest.join("\n---\n")).await.unwrap();
        let account = pod.data["spec"]["serviceAccountName"].as_str().unwrap();
        let kubeconfig = operator.cluster.kubeconfig_for_service_account(&operator.namespace, account).await.unwrap();
        Self::with(&pod.data["spec"], kubeconfig)
    }

    fn with(pod: &Value, kubeconfig: Kubeconfig) -> Self {
        let arguments: Vec<String> = serde_json::from_value(pod["containers"][0]["args"].clone()).unwrap();
        let namespace = arguments.iter().find_map(|argument| argument.strip_prefix("--namespace=")).unwrap().to_owned();
        Self { arguments, kubeconfig, namespace }
    }

    /// With these flags instead of the same ones of the chart.
    fn command(&self, flags: &[&str]) -> Command {
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let is_kept = |argument: &&String| !flags.iter().any(|flag| name(flag) == name(argument));
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
        command.args(self.arguments.iter().filter(is_kept)).args(flags).env_clear().env("KUBECONFIG", self.kubeconfig.path());
        command
    }

    async fn ended(&self, flags: &[&str]) -> Output {
        tokio::time::timeout(SOON * 2, run(self.command(flags), String::new())).await.expect("it ends by itself").unwrap()
    }

    /// In the background, and its log.
    fn start(&self, operator: &Operator<'_>, flags: &[&str]) -> Process {
        let log = operator.cluster.admin().path().with_file_name(format!("{}-selftest.log", operator.namespace));
        Process::start("keywright selftest", log, &mut self.command(flags)).unwrap()
    }

    /// Neither objects nor, a moment later, the Secret.
    async fn nothing_is_left(&self, operator: &Operator<'_>) {
        let kube = operator.cluster.client().await.unwrap();
        let clients: Api<OAuthClient> = Api::namespaced(kube.clone(), &self.namespace);
        let resources: Api<ProtectedResource> = Api::namespaced(kube.clone(), &self.namespace);
        assert!(clients.get_opt(NAME).await.unwrap().is_none() && resources.get_opt(NAME).await.unwrap().is_none());
        let secrets: Api<Secret> = Api::namespaced(kube, &self.namespace);
        let gone = async || match secrets.get_opt(NAME).await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "there"))),
        };
        eventually(SOON, "the Secret of the test is gone", gone).await.unwrap();
    }
}

/// One line that names the step and says what to do, exit code 1, and what became of the objects.
fn assert_failed(output: &Output, words: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.starts_with("keywright: step ") && output.stderr.lines().count() == 1, "{output:?}");
    assert!(words.iter().all(|word| output.stderr.contains(word)), "{words:?} in {output:?}");
    assert!(!output.stdout.contains("passed"), "{output:?}");
}

fn assert_passed(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert!(lines.iter().zip(1..=7).all(|(line, step)| line.starts_with(&format!("{step}/7 "))), "{text}");
    assert!(lines[7].starts_with("passed in "), "{text}");
    assert!(!text.contains("eyJ"), "{text}");
}

/// What the account may do is what the test does.
const MATRIX: &str = "
    yes create oauthclients.keywright.dev -n $own
    yes get oauthclients.keywright.dev/keywright-selftest -n $own
    yes delete protectedresources.keywright.dev/keywright-selftest -n $own
    yes get secrets/keywright-selftest -n $own
    no get oauthclients.keywright.dev/other -n $own
    no delete oauthclients.keywright.dev/other -n $own
    no list oauthclients.keywright.dev -n $own
    no patch oauthclients.keywright.dev/keywright-selftest -n $own
    no patch oauthclients.keywright.dev/keywright-selftest --subresource=status -n $own
    no get secrets/keywright-keys -n $own
    no list secrets -n $own
    no create secrets -n $own
    no delete secrets/keywright-selftest -n $own
    no create oauthclients.keywright.dev -n default
    no get secrets/keywright-selftest -n default
";

/// S18.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_installation_passes_under_the_rights_of_the_chart_and_nothing_is_left() {
    let operator = Operator::running(ControlPlane::shared().await.unwrap()).await;
    let selftest = Selftest::of(&operator).await;
    assert_matrix(&selftest.kubeconfig, &operator.namespace, MATRIX).await;
    // Twice: the second one takes the same names.
    for _ in 0..2 {
        let output = selftest.ended(&[]).await;
        assert!(output.stderr.is_empty(), "{output:?}\n{}", operator.logs());
        assert_passed(&output.succeeded().unwrap());
        selftest.nothing_is_left(&operator).await;
    }
    let refused = selftest.ended(&["--issuer=https://auth.example.com"]).await;
    assert_failed(&refused, &["step 3 of 7", &operator.issuer, "not https://auth.example.com", "is removed"]);
    selftest.nothing_is_left(&operator).await;
}

/// As the commands of `kubectl keywright` do.
#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_kubeconfig_and_the_context_that_it_is_told() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let selftest = Selftest::of(&operator).await;
    let told = async |context: &str| {
        let kubeconfig = format!("--kubeconfig={}", selftest.kubeconfig.path().display());
        let mut command = selftest.command(&[&kubeconfig, context, "--timeout=1s"]);
        command.env("KUBECONFIG", "/nowhere");
        run(command, String::new()).await.unwrap()
    };
    // Nobody works on the objects: that it can make them is enough.
    let found = told("--context=test").await;
    assert!(found.stdout.starts_with("1/7 ") && found.stderr.contains("step 2 of 7"), "{found:?}");
    let lost = told("--context=another").await;
    assert!(lost.stdout.is_empty() && lost.status.code() == Some(1), "{lost:?}");
    assert!(lost.stderr.contains("no way to the API server: --kubeconfig") && lost.stderr.contains("another"), "{lost:?}");
}

/// `watchNamespaces` without the release's own, and two Deployments: the objects are where the installation works.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_with_split_roles_in_named_namespaces_passes() {
    let cluster = ControlPlane::shared().await.unwrap();
    let shop = cluster.namespace().await.unwrap();
    let values = vec!["topology=\"Split\"".to_owned(), format!("watchNamespaces=[\"{shop}\"]")];
    let operator = Operator::install(cluster, Setup { replicas: 2, values, ..Setup::default() }).await;
    let controllers = operator.controllers(1).await;
    controllers.start_all().await;
    operator.start_all().await;
    let selftest = Selftest::of(&operator).await;
    assert_eq!(selftest.namespace, shop);
    assert_passed(&selftest.ended(&[]).await.succeeded().unwrap());
    selftest.nothing_is_left(&operator).await;
}

/// Nobody works on the objects: it ends in its time.
#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_it_gives_up_in_its_time_and_removes_what_it_made() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let selftest = Selftest::of(&operator).await;
    let begun = ambient::boot_time();
    let output = selftest.ended(&["--timeout=3s"]).await;
    let took = ambient::boot_time() - begun;
    assert_failed(&output, &["step 2 of 7", "time is over", "ProtectedResource", "has no status", "is there a ready pod", "is removed"]);
    assert!(output.stdout.starts_with("1/7 "), "{output:?}");
    assert!((Duration::from_secs(3)..Duration::from_secs(15)).contains(&took), "{took:?}");
    selftest.nothing_is_left(&operator).await;

    // SIGTERM, as when somebody interrupts `helm test` and deletes the pod.
    let process = selftest.start(&operator, &[]);
    process.wait_for_log("1/7", SOON).await.unwrap();
    process.terminate().unwrap();
    assert_eq!(process.exit(SOON).await.unwrap().code(), Some(1));
    assert!(process.log().contains("interrupted by a signal; what it made is removed"), "{}", process.log());
    selftest.nothing_is_left(&operator).await;
}

/// What a killed run left makes way; what somebody else made does not.
#[tokio::test(flavor = "multi_thread")]
async fn leftovers_of_a_killed_run_make_way_and_foreign_objects_are_left_alone() {
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup::default()).await;
    let selftest = Selftest::of(&operator).await;
    let process = selftest.start(&operator, &[]);
    process.wait_for_log("1/7", SOON).await.unwrap();
    process.kill().unwrap();
    let clients: Api<OAuthClient> = Api::namespaced(operator.cluster.client().await.unwrap(), &operator.namespace);
    let left = clients.get(NAME).await.unwrap();
    operator.start_all().await;
    operator.client_is(&operator.namespace, NAME, "Issued").await;
    assert_passed(&selftest.ended(&[]).await.succeeded().unwrap());
    selftest.nothing_is_left(&operator).await;

    let mut foreign = OAuthClient::new(NAME, left.spec);
    foreign.metadata.labels = None;
    let foreign = clients.create(&Default::default(), &foreign).await.unwrap();
    let output = selftest.ended(&[]).await;
    assert_failed(&output, &["step 1 of 7", "no test made", "--object", "is removed"]);
    assert_eq!(clients.get(NAME).await.unwrap().metadata.uid, foreign.metadata.uid);
    let resources: Api<ProtectedResource> = Api::namespaced(operator.cluster.client().await.unwrap(), &operator.namespace);
    assert!(resources.get_opt(NAME).await.unwrap().is_none());
}

/// What a step finds wrong is told at once where waiting does not help.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_is_told_at_once() {
    let values = vec!["policy.authentication.methods=[\"private_key_jwt\"]".to_owned()];
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { values, ..Setup::default() }).await;
    operator.start_all().await;
    let selftest = Selftest::of(&operator).await;
    let output = selftest.ended(&["--timeout=1h"]).await;
    assert_failed(&output, &["step 2 of 7", "PolicyViolation", "privateKeyJwt", "is removed"]);
    selftest.nothing_is_left(&operator).await;

    let kubeconfig = operator.cluster.kubeconfig_for_service_account(&operator.namespace, "default").await.unwrap();
    let output = Selftest { kubeconfig, ..selftest }.ended(&["--timeout=1h"]).await;
    assert_failed(
        &output,
        &["step 1 of 7", "create ProtectedResource", "forbidden", "helm test", "may still be there", "kubectl --namespace"],
    );
}

/// The controller does its work, and nobody is at the token endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_is_named_and_one_that_comes_late_is_waited_for() {
    let values = vec!["topology=\"Split\"".to_owned()];
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { values, ..Setup::default() }).await;
    let controllers = operator.controllers(1).await;
    controllers.start_all().await;
    let selftest = Selftest::of(&operator).await;
    // More time for a machine on which it comes no further.
    let mut output = selftest.ended(&["--timeout=5s"]).await;
    if !output.stderr.contains("step 4 of 7") {
        output = selftest.ended(&["--timeout=40s"]).await;
    }
    assert_failed(&output, &["step 4 of 7", "time is over", "no answer from", &operator.issuer, "is removed"]);
    selftest.nothing_is_left(&operator).await;

    let process = selftest.start(&operator, &[]);
    process.wait_for_log("3/7", SOON).await.unwrap();
    operator.start_all().await;
    assert_eq!(process.exit(SOON).await.unwrap().code(), Some(0), "{}", process.log());
    assert_passed(&process.log());
}

/// Nobody collects garbage.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_stays_is_named() {
    let controllers = Options::default().controllers.into_iter().filter(|name| !name.starts_with("garbage-")).collect();
    let cluster = ControlPlane::start(Options { controllers, ..Options::default() }).await.unwrap();
    let operator = Operator::running(&cluster).await;
    let output = Selftest::of(&operator).await.ended(&["--timeout=30s"]).await;
    assert_failed(&output, &["step 6 of 7", "time is over", "Secret", "is still there", "kube-controller-manager"]);
}

/// Helm, and in the part of the kubelet this test: what the pod's process says becomes the pod's phase.
#[tokio::test(flavor = "multi_thread")]
async fn helm_test_passes_or_fails_as_its_pod_does_and_the_account_goes_with_it() {
    let operator = Operator::running(ControlPlane::shared().await.unwrap()).await;
    let (cluster, namespace) = (operator.cluster, operator.namespace.as_str());
    for (flags, phase) in [(&[][..], "Succeeded"), (&["--issuer=https://auth.example.com"], "Failed")] {
        let test = async || cluster.helm(&["test", RELEASE, "--namespace", namespace, "--timeout=120s"]).await.unwrap();
        let kubelet = async || {
            let pods: Api<Pod> = Api::namespaced(cluster.client().await.unwrap(), namespace);
            let look = async || pods.get(NAME).await;
            let pod = eventually(SOON, "helm has made the pod", look).await.unwrap();
            let spec = serde_json::to_value(pod.spec).unwrap();
            let account = spec["serviceAccountName"].as_str().unwrap();
            let kubeconfig = cluster.kubeconfig_for_service_account(namespace, account).await.unwrap();
            let output = Selftest::with(&spec, kubeconfig).ended(flags).await;
            assert_eq!(output.status.success(), phase == "Succeeded", "{output:?}");
            let status = format!("{{\"status\": {{\"phase\": \"{phase}\"}}}}");
            let patch = ["patch", "pod", NAME, "--namespace", namespace, "--subresource=status", "--type=merge", "--patch", &status];
            cluster.kubectl(&patch).await.unwrap().succeeded().unwrap();
        };
        let (tested, ()) = tokio::join!(test(), kubelet());
        assert_eq!(tested.status.success(), phase == "Succeeded", "{tested:?}");
        let get = ["get", "pod,serviceaccount,role,rolebinding", "--namespace", namespace, "--output=name"];
        let there = cluster.kubectl(&get).await.unwrap().succeeded().unwrap();
        let left: Vec<&str> = there.lines().filter(|line| line.ends_with(NAME)).collect();
        let expected: &[&str] = if phase == "Succeeded" { &[] } else { &["pod/keywright-selftest"] };
        assert_eq!(left, expected, "{tested:?}");
    }
}

/// A condition of the spec before the edit is none: `kubectl wait` waits for one of this spec.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_wait_for_ready_waits_for_the_spec_as_it_is_right_after_an_edit() {
    let operator = Operator::running(ControlPlane::shared().await.unwrap()).await;
    let teams = Teams::served_by(&operator).await;
    teams.worker().await;
    let wait = async |timeout: &str| {
        let timeout = format!("--timeout={timeout}");
        let wait = ["wait", "oauthclients.keywright.dev/worker", "--for=condition=Ready", &timeout, "--namespace", &teams.billing];
        operator.cluster.kubectl(&wait).await.unwrap()
    };
    wait("60s").await.succeeded().unwrap();
    // Nobody is quick enough to answer before the look.
    operator.first().process().stop().unwrap();
    teams.change_client("worker", json!({"secret": {"name": "another"}})).await;
    let early = wait("1s").await;
    assert!(early.stderr.contains("timed out"), "{early:?}");
    operator.first().process().resume().unwrap();
    wait("60s").await.succeeded().unwrap();
    let another = Credentials::read(&teams.kube, &teams.billing, "another").await;
    another.verify(another.token().await.token(), &teams.audience()).await;
}
