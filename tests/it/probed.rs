//! `kubectl keywright probe`: APIs that verify their tokens, and APIs that leave something out.

mod place;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use axum::Router;
use keywright::api::ProtectedResource;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

pub(crate) use self::place::Place;
use self::place::{Careless, Listening, listening, probing};
use crate::chart::rights::assert_matrix;
use crate::cluster::{ControlPlane, Kubeconfig, Output, eventually, run};
use crate::operator::{Operator, RELEASE, SOON, Setup};
use crate::plugin::{assert_failed, with};
use crate::teams::{INVOICES, Teams};

/// The names of the cases that a verdict was reached in.
pub(crate) fn those(output: &Output, verdict: &str) -> BTreeSet<String> {
    let lines = output.stdout.lines().filter(|line| line.ends_with(&format!("  {verdict}")));
    lines.map(|line| line.split("  ").next().unwrap().to_owned()).collect()
}

pub(crate) fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// RFC 9068 §4: everything is refused where everything is looked at; the table, the exit code and the condition say so.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_verifies_refuses_every_probe() {
    let operator = probing().await;
    let place = Place::with_prober(&operator).await;
    let api = place.api(Careless::Nothing).await;
    let output = place.probe_with_token(&api).await;
    let text = output.clone().succeeded().unwrap();
    assert_eq!(those(&output, "refused").len(), 18, "{text}");
    assert!(text.contains("18 refused, 0 accepted, 0 unclear") && text.contains("accepted, as it has to be"), "{text}");
    assert!(!text.contains("eyJ"), "no token is shown");
    let probed = place.condition("AllRefused", "").await;
    let host = api.url.trim_start_matches("http://").trim_end_matches("/invoices");
    assert!(probed.status == "True" && probed.message.contains(host) && !probed.message.contains("/invoices"), "{probed:?}");
    // On its way to this machine nobody reads a token. That this address is one of this machine the command does not know.
    let far = place.probed_at(&api.url.replace("127.0.0.1", "0.0.0.0")).await;
    for (output, warned) in [(&output, false), (&far, true)] {
        assert_eq!((output.status.code(), output.stderr.contains("sent in clear")), (Some(0), warned), "{output:?}");
    }

    // Without a right token it is not known whether it refuses everything.
    let output = place.probe(&api, &["-o", "json"]).await;
    let json: Value = serde_json::from_str(&output.succeeded().unwrap()).unwrap();
    assert_eq!((json["cases"].as_array().unwrap().len(), &json["rightToken"]), (18, &Value::Null));
    assert_eq!(place.condition("Unclear", "no right token").await.status, "Unknown");
    let hostile = place.api(Careless::Hostile).await;
    let output = place.probe_with_token(&hostile).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("did not accept the right token"), "{output:?}");

    // Whoever writes the annotation by hand writes no condition.
    let annotation = json!({"metadata": {"annotations": {"keywright.dev/probed": "{\"accepted\": [\"<b>\"]}"}}});
    crate::objects::merge(&place.teams.kube, &place.teams.shop, "ProtectedResource", "invoices", &annotation).await.unwrap();
    assert!(!place.condition("Unreadable", "").await.message.contains("<b>"));
}

/// What is left out is named, with what to change; and what such an API accepts is what the issuer said that it would.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_leaves_a_check_out_is_told_which() {
    let operator = probing().await;
    let place = Place::with_prober(&operator).await;
    for (careless, accepted, advice) in [
        (Careless::Audience, names(["wrong-audience", "audience-prefix"]), "set the audience that the verifier expects"),
        (Careless::Expiry, names(["expired"]), "check exp"),
    ] {
        let api = place.api(careless).await;
        let output = place.probe_with_token(&api).await;
        assert_eq!((output.status.code(), those(&output, "ACCEPTED")), (Some(1), accepted.clone()), "{output:?}");
        assert!(output.stdout.contains(advice), "{output:?}");
        let last = output.stderr.lines().last().unwrap();
        assert!(
            last.starts_with("keywright: the API accepts what it has to refuse") && accepted.iter().all(|name| last.contains(name)),
            "{last}"
        );
        let probed = place.condition("WrongTokensAccepted", api.url.trim_start_matches("http://").trim_end_matches("/invoices")).await;
        assert!(probed.status == "False" && accepted.iter().all(|name| probed.message.contains(name)), "{probed:?}");
    }
    let output = place.probe(&place.api(Careless::Anything).await, &[]).await;
    assert_eq!((output.status.code(), those(&output, "ACCEPTED").len()), (Some(1), 18), "{output:?}");
    assert!(those(&output, "ACCEPTED").contains("no-token"));
    // What was revoked comes from whoever could use it; offline it is as good as ever.
    let revoked = place.token.path().to_str().unwrap();
    let output = place.probe(&place.api(Careless::Nothing).await, &["--revoked-token-file", revoked]).await;
    assert_eq!((output.status.code(), those(&output, "ACCEPTED")), (Some(1), names(["revoked"])), "{output:?}");
    assert!(output.stdout.contains("introspect each token"), "{output:?}");
}

/// R01, I03: an API that introspects refuses all of them, and besides what is right in everything but that it was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_introspects_refuses_a_revoked_token_too() {
    let operator = probing().await;
    let place = Place::with_prober(&operator).await;
    let api = place.introspecting_api().await;
    let revoked = place.revoked().await;
    let [right, revoked] = [&place.token, &revoked].map(|file| file.path().to_str().unwrap());
    let output = place.probe(&api, &["--token-file", right, "--revoked-token-file", revoked]).await;
    assert_eq!((output.status.code(), those(&output, "refused").len()), (Some(0), 19), "{output:?}");
    place.condition("AllRefused", "refused all 19").await;
}

/// S18: Roles in its namespaces are enough, and those of the token servers alone.
#[tokio::test(flavor = "multi_thread")]
async fn probing_needs_no_right_beyond_the_namespaces_that_are_worked_in() {
    let cluster = ControlPlane::shared().await.unwrap();
    let (shop, billing) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
    let watched = format!("watchNamespaces=[\"{shop}\",\"{billing}\"]");
    let values = ["verifierProbes=true", "topology=\"Split\"", &watched].map(str::to_owned).into();
    let operator = Operator::install(cluster, Setup { values, ..Setup::default() }).await;
    let controllers = operator.controllers(1).await;
    operator.start(operator.first(), &operator.kubeconfig);
    controllers.start_all().await;
    operator.first().ready().await;
    let question = format!("create localsubjectaccessreviews.authorization.k8s.io -n {shop}");
    assert_matrix(&operator.kubeconfig, &operator.namespace, &format!("yes {question}\nno {}", question.replace(&shop, "default"))).await;
    assert_matrix(&controllers.kubeconfig, &operator.namespace, &format!("no {question}")).await;
    let place = Place::of(Teams { operator: &operator, kube: cluster.client().await.unwrap(), shop, billing }).await;
    place.let_probe().await;
    place.probe_with_token(&place.api(Careless::Nothing).await).await.succeeded().unwrap();
    place.condition("AllRefused", "").await;
}

/// A line for the shell, as somebody pastes it who has kubectl.
fn pasted(kubeconfig: &Kubeconfig, line: &str) -> Command {
    let kubectl = kubeconfig.command("kubectl", &[]);
    let folder = Path::new(kubectl.get_program()).parent().unwrap().to_owned();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).env("PATH", folder).env("KUBECONFIG", kubeconfig.path());
    command
}

/// S18: nobody gets such tokens whom RBAC does not let; what is said then, to the letter, is what helps.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_probe_is_told_what_is_missing() {
    let operator = probing().await;
    let place = Place::new(&operator).await;
    let api = place.api(Careless::Nothing).await;
    let shop = place.teams.shop.clone();
    assert_failed(&place.probe(&api, &[]).await, 3, &["no ServiceAccount keywright-prober", &shop, "examples/prober.yaml"]);
    let sarah = async |arguments: &[&str]| place.sarah.kubectl(&[arguments, &["-n", &shop]].concat()).await.unwrap().succeeded().unwrap();
    sarah(&["create", "serviceaccount", "keywright-prober"]).await;
    let refused = place.probe(&api, &[]).await;
    assert_failed(&refused, 4, &["keywright-prober", "may not probe invoices", "kubectl create role"]);
    let (_, commands) = refused.stderr.split_once("invoices: ").unwrap();
    run(pasted(operator.cluster.admin(), commands), String::new()).await.unwrap().succeeded().unwrap();
    let allowed = async || match place.probe_with_token(&api).await {
        output if output.status.success() => Ok(()),
        output => Err(format!("{output:?}")),
    };
    eventually(SOON, "the role is known", allowed).await.unwrap();

    // By way of the API server, which asks for a right of its own.
    let by_the_way = ["probe", "invoices", "--url", &api.url, "-n", &shop];
    let no_way = with(&place.sarah, &by_the_way).await;
    assert_failed(
        &no_way,
        4,
        &["services \"https:keywright:https\" is forbidden", "keywright-prober of the namespace", &operator.namespace, "--direct"],
    );
    let user = format!("sarah-{shop}");
    let bind = ["create", "rolebinding", "sarah", "--role=keywright-prober", "--user", &user, "-n", &operator.namespace];
    operator.cluster.kubectl(&bind).await.unwrap().succeeded().unwrap();
    // No pods are behind the Service here: `tests/node` goes all the way.
    let unanswered = async || match with(&place.sarah, &by_the_way).await {
        output if output.stderr.contains("no endpoints available") => Ok(output),
        output => Err(format!("{output:?}")),
    };
    assert_failed(&eventually(SOON, "she may", unanswered).await.unwrap(), 5, &["the issuer cannot be reached"]);
    for wrong in ["ftp://x/", "http://user@x/", "x"] {
        assert_eq!(with(&place.sarah, &["probe", "invoices", "--url", wrong]).await.status.code(), Some(2), "{wrong}");
    }
}

/// Where something else ends TLS the Service's port is called another thing: that one is called then.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_tls_is_found() {
    let cluster = ControlPlane::shared().await.unwrap();
    let values = ["verifierProbes=true", "tls.mode=\"Off\""].map(str::to_owned).into();
    let operator = Operator::install(cluster, Setup { values, ..Setup::default() }).await;
    let teams = Teams::served_by(&operator).await;
    // Nothing runs: what the operator would say is written by hand.
    teams.apply(INVOICES).await;
    let controller = format!("{}/{RELEASE}", operator.namespace);
    let status = json!({"status": {"controller": controller, "issuer": operator.issuer, "audience": teams.audience()}});
    let resources: Api<ProtectedResource> = Api::namespaced(teams.kube.clone(), &teams.shop);
    resources.patch_status("invoices", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    cluster.kubectl(&["create", "serviceaccount", "keywright-prober", "-n", &teams.shop]).await.unwrap().succeeded().unwrap();
    let path = |scheme| format!("/api/v1/namespaces/{}/services/{scheme}:{RELEASE}:{scheme}/proxy/", operator.namespace);
    // The API server has one word for a port that is not there and one without pods.
    for scheme in ["https", "http"] {
        let raw = cluster.kubectl(&["get", "--raw", &path(scheme)]).await.unwrap();
        assert!(raw.stderr.contains("no endpoints available"), "{raw:?}");
    }
    let api = listening(Router::new()).await;
    let tim = cluster.kubeconfig_for_user("tim", None).unwrap();
    // Tim may call the port that is there, and no other.
    for (namespace, role) in [(&teams.shop, "--clusterrole=edit"), (&operator.namespace, "--role=keywright-prober")] {
        cluster.kubectl(&["create", "rolebinding", "tim", role, "--user=tim", "-n", namespace]).await.unwrap().succeeded().unwrap();
    }
    for kubeconfig in [cluster.admin(), &tim] {
        let asked = async || match with(kubeconfig, &["probe", "invoices", "--url", &api.url, "-n", &teams.shop]).await {
            output if output.status.code() == Some(5) => Ok(output),
            output => Err(format!("{output:?}")),
        };
        assert_failed(&eventually(SOON, "the roles are known", asked).await.unwrap(), 5, &["no endpoints available"]);
    }
}

/// Where nobody has switched it on there is nothing, and where an API cannot be reached no token is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_lets_nobody_probe_says_so() {
    let place = Place::with_prober(Operator::shared().await).await;
    let api = place.api(Careless::Nothing).await;
    assert_failed(&place.probe(&api, &[]).await, 4, &["verifierProbes=true"]);
    let nowhere = Listening { url: "http://127.0.0.1:9/".to_owned(), task: tokio::spawn(async {}) };
    assert_failed(&place.probe(&nowhere, &[]).await, 5, &["the API at 127.0.0.1 does not answer"]);
    let other = NamedTempFile::new().unwrap();
    std::fs::write(other.path(), "rubbish").unwrap();
    assert_failed(&place.probe(&api, &["--token-file", other.path().to_str().unwrap()]).await, 1, &["holds no JWT"]);
    assert_failed(
        &with(&place.sarah, &["probe", "nothing", "--url", &api.url, "-n", &place.teams.shop]).await,
        3,
        &["ProtectedResource nothing"],
    );
}

/// S18: what the value adds to the operator's rights, and to those of who edits a namespace.
#[tokio::test(flavor = "multi_thread")]
async fn the_value_gives_the_right_to_ask_who_may_and_nothing_else() {
    let operator = probing().await;
    const OPERATOR: &str = "
        yes create localsubjectaccessreviews.authorization.k8s.io -n default
        no create subjectaccessreviews.authorization.k8s.io
        no create services --subresource=proxy -n $own
        no create serviceaccounts --subresource=token -n default
        no create protectedresources.keywright.dev --subresource=probe -n default
    ";
    assert_matrix(&operator.kubeconfig, &operator.namespace, OPERATOR).await;
    let place = Place::new(&operator).await;
    const EDITOR: &str = "
        yes create protectedresources.keywright.dev --subresource=probe -n $own
        no create protectedresources.keywright.dev --subresource=probe -n default
        no patch protectedresources.keywright.dev --subresource=status -n $own
        no create localsubjectaccessreviews.authorization.k8s.io -n $own
        no create services --subresource=proxy -n default
    ";
    assert_matrix(&place.sarah, &place.teams.shop, EDITOR).await;
}
