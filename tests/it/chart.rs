//! The chart: what it renders, what it refuses, and that it installs.

mod exposed;
pub(crate) mod rights;

use clap::Parser;
use keywright::{
    cli::Cli,
    policy::{Policy, Quota},
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::cluster::{ControlPlane, Options, eventually};
use crate::golden::assert_golden;
use crate::operator::SOON;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keywright");
const CHANGED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/chart/changed.values.yaml");

/// `helm template`, as release `keywright` in the namespace `keywright-system`.
async fn rendered(arguments: &[&str]) -> Result<String, String> {
    let control_plane = ControlPlane::shared().await.unwrap();
    let template = ["template", "keywright", CHART, "--namespace", "keywright-system"];
    let output = control_plane.helm(&[&template, arguments].concat()).await.unwrap();
    if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

/// The documents of a manifest, without those of CustomResourceDefinitions, which have tests of their own.
fn without_crds(manifest: &str) -> String {
    let documents = manifest.split("---\n").filter(|document| !document.contains("\nkind: CustomResourceDefinition\n"));
    documents.collect::<Vec<_>>().join("---\n")
}

fn objects(manifest: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

fn of_kind(manifest: &str, kind: &str) -> Vec<Value> {
    objects(manifest).into_iter().filter(|object| object["kind"] == kind).collect()
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_passes_lint() {
    let control_plane = ControlPlane::shared().await.unwrap();
    control_plane.helm(&["lint", CHART, "--strict"]).await.unwrap().succeeded().unwrap();
    control_plane.helm(&["lint", CHART, "--strict", "--values", CHANGED]).await.unwrap().succeeded().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_renders_is_known() {
    assert_golden("chart/default.yaml", &without_crds(&rendered(&[]).await.unwrap()));
    assert_golden("chart/changed.yaml", &rendered(&["--values", CHANGED]).await.unwrap());
}

/// S18: who reviews what the operator may do reads this file alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_and_tenants_may_do_is_known() {
    let roles = ["--show-only=templates/rbac.yaml", "--show-only=templates/aggregated-roles.yaml"];
    assert_golden("chart/rbac.yaml", &rendered(&roles).await.unwrap());
    assert_golden("chart/rbac-selftest.yaml", &rendered(&["--show-only=templates/tests/selftest.yaml"]).await.unwrap());
    let rbac = "--show-only=templates/rbac.yaml";
    assert_golden("chart/rbac-split.yaml", &rendered(&[rbac, "--set=topology=Split"]).await.unwrap());
    assert_golden("chart/rbac-namespaced.yaml", &rendered(&[rbac, "--set=watchNamespaces={billing,shop}"]).await.unwrap());
    let probes = [rbac, "--show-only=templates/aggregated-roles.yaml", "--show-only=templates/prober.yaml", "--set=verifierProbes=true"];
    assert_golden("chart/rbac-probes.yaml", &rendered(&probes).await.unwrap());
    // Both at once: changed.yaml.
}

/// The golden files show that every value has an effect only if every value is changed there.
#[test]
fn every_value_is_changed_in_one_of_the_golden_files() {
    let defaults: Value = serde_saphyr::from_str(&fs::read_to_string(format!("{CHART}/values.yaml")).unwrap()).unwrap();
    let changed: Value = serde_saphyr::from_str(&fs::read_to_string(CHANGED).unwrap()).unwrap();
    // Changed in tests of their own, or without effect beside another one that is changed.
    let elsewhere = [
        "crds.keep",
        "image.tag",
        "ingress.secretName",
        "serviceAccount.annotations",
        "podDisruptionBudget.create",
        "resources.limits",
        "selftest.create",
    ];
    let mut unchanged = Vec::new();
    for (name, value) in defaults.as_object().unwrap() {
        let members = value.as_object().filter(|members| !members.is_empty());
        let names: Vec<String> = match members {
            Some(members) => members.keys().map(|member| format!("{name}.{member}")).collect(),
            None => vec![name.clone()],
        };
        let at = |values: &Value, name: &str| values.pointer(&format!("/{}", name.replace('.', "/"))).cloned();
        let same = |name: &&String| at(&defaults, name) == at(&changed, name) || at(&changed, name).is_none();
        unchanged.extend(names.iter().filter(same).filter(|name| !elsewhere.contains(&name.as_str())).cloned());
    }
    assert_eq!(unchanged, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_malformed_values_are_refused() {
    let cases = [
        ("replica=3", "'replica' not allowed"),
        ("issuer.uri=https://a.example", "'uri' not allowed"),
        ("policy.maxLifeTime=1h", "'maxLifeTime' not allowed"),
        ("policy.maxLifetime=1w", "at '/policy/maxLifetime'"),
        ("policy.tokensPerSecond=0", "at '/policy/tokensPerSecond'"),
        ("signingKeys.rotateEvery=never", "at '/signingKeys/rotateEvery'"),
        ("policy.audiences[0].audience=x:y", "missing property 'namespaces'"),
        ("issuer.url=http://auth.example.com", "at '/issuer/url'"),
        ("issuer.url=https://auth.example.com/", "at '/issuer/url'"),
        ("issuer.url=https://auth.example.com/a?b=c", "at '/issuer/url'"),
        ("issuer.url=https://user@auth.example.com", "at '/issuer/url'"),
        ("issuer.name=Not_A_Label", "at '/issuer/name'"),
        ("tls.mode=selfsigned", "at '/tls/mode'"),
        ("signingAlgorithm=HS256", "at '/signingAlgorithm'"),
        ("replicas=two", "at '/replicas'"),
        ("replicas=-1", "at '/replicas'"),
        ("maxStale=1d12h", "at '/maxStale'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("service.port=0", "at '/service/port'"),
        ("podAnnotations.a=1", "at '/podAnnotations/a'"),
        ("watchNamespaces={Shop}", "at '/watchNamespaces/0'"),
        ("watchNamespaces={shop,shop}", "at '/watchNamespaces'"),
        ("topology=split", "at '/topology'"),
        ("controller.replica=3", "'replica' not allowed"),
        ("extraArgs={run}", "at '/extraArgs/0'"),
        ("networkPolicy.tokensFrom[0].cidr=10.0.0.0/8", "'cidr' not allowed"),
        ("metrics.monitor=Both", "at '/metrics/monitor'"),
        ("selftest.timeout=2", "at '/selftest/timeout'"),
        ("selftest.enabled=false", "'enabled' not allowed"),
    ];
    for (set, expected) in cases {
        let error = rendered(&["--set", set]).await.expect_err(set);
        assert!(error.contains(expected), "{set}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_together_are_refused() {
    let cases = [
        (["tls.mode=Off", "replicas=2"], "issuer.url: without TLS"),
        (["service.port=8443", "replicas=2"], "issuer.url: the Service's port is not 443"),
        (["tls.mode=Secret", "replicas=2"], "tls.secretName: tls.mode Secret needs the name of a Secret"),
        (["serviceAccount.create=false", "replicas=2"], "serviceAccount.name: name the ServiceAccount"),
        (["serviceAccount.create=false,serviceAccount.name=one", "topology=Split"], "controller.serviceAccountName: topology Split"),
        (["serviceAccount.name=one,controller.serviceAccountName=one", "topology=Split"], "controller.serviceAccountName: one account"),
        (["trustedProxies={10.0.0.0/24,0.0.0.0/0}", "replicas=2"], "trustedProxies: every address is in 0.0.0.0/0"),
        (["trustedProxies={::/0}", "replicas=2"], "trustedProxies: every address is in ::/0"),
    ];
    for (sets, expected) in cases {
        let error = rendered(&["--set", &sets.join(",")]).await.expect_err(expected);
        assert!(error.contains(expected), "{sets:?}: {error}");
    }
}

/// YAML 1.1, which Helm reads, takes `Off` for a boolean.
#[tokio::test(flavor = "multi_thread")]
async fn off_needs_no_quotes() {
    let issuer = "issuer.url=https://auth.example.com";
    for off in ["--set", "--set-string", "--set-json"].into_iter().zip(["tls.mode=false", "tls.mode=Off", "tls={\"mode\":\"Off\"}"]) {
        let manifest = rendered(&["--set", issuer, off.0, off.1]).await.unwrap();
        assert!(manifest.contains("- --tls=Off\n"), "{off:?}");
        assert!(manifest.contains("- --tls-terminated-elsewhere\n"), "{off:?}");
    }
}

/// The policy of a manifest, as the operator reads it.
fn policy_of(manifest: &str) -> Policy {
    let config_maps = of_kind(manifest, "ConfigMap");
    serde_saphyr::from_str(config_maps[0]["data"]["policy.yaml"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_reads_the_policy_of_the_chart_and_its_default_is_the_built_in_one() {
    assert_eq!(policy_of(&rendered(&[]).await.unwrap()), Policy::default());
    let changed = policy_of(&rendered(&["--values", CHANGED]).await.unwrap());
    assert_eq!(changed.clients_per_namespace, Some(20));
    assert_eq!(changed.quota, Some(Quota { tokens_per_second: 50, burst: 100 }));
    assert_eq!(changed.max_lifetime, jiff::SignedDuration::from_mins(30));
}

/// The arguments of the Deployment and of the pod of `helm test`, as the program reads them.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_understands_the_arguments_of_the_deployment() {
    for values in [&[][..], &["--values", CHANGED], &["--set=tls.mode=Off,issuer.url=https://auth.example.com"]] {
        let manifest = rendered(values).await.unwrap();
        let deployment = of_kind(&manifest, "Deployment").remove(0);
        let test = of_kind(&manifest, "Pod").remove(0);
        let expand = |argument: &Value| {
            argument.as_str().unwrap().replace("$(POD_NAME)", "one").replace("[$(POD_IP)]", "[::1]").replace("$(POD_IP)", "10.0.0.1")
        };
        for pod in [&deployment["spec"]["template"], &test] {
            let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap().iter().map(expand);
            if let Err(error) = Cli::try_parse_from(["keywright".to_owned()].into_iter().chain(arguments)) {
                panic!("{values:?}: {error}");
            }
        }
    }
}

fn files_of(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
    let mut files: Vec<_> = entries.map(file).collect();
    files.sort();
    files
}

#[test]
fn the_chart_holds_the_crds_of_the_repository() {
    if std::env::var_os("UPDATE").is_some() {
        for (name, content) in files_of("crds") {
            fs::write(format!("{CHART}/files/crds/{name}"), content).unwrap();
        }
    }
    assert!(files_of("crds") == files_of("charts/keywright/files/crds"), "charts/keywright/files/crds is not crds/: UPDATE=1 cargo test");
}

/// With labels and the annotation of Helm, and otherwise to the letter.
#[tokio::test(flavor = "multi_thread")]
async fn crds_are_rendered_as_they_are_and_kept_unless_asked() {
    let expected: Vec<Value> = files_of("crds").iter().flat_map(|(_, content)| objects(content)).collect();
    for (keep, policy) in [("true", Some("keep")), ("false", None)] {
        let manifest = rendered(&["--set", &format!("crds.keep={keep}")]).await.unwrap();
        let mut crds = of_kind(&manifest, "CustomResourceDefinition");
        assert_eq!(crds.len(), 2);
        for crd in &mut crds {
            let metadata = crd["metadata"].as_object_mut().unwrap();
            assert_eq!(metadata.remove("labels").unwrap()["app.kubernetes.io/managed-by"], "Helm");
            let annotations = metadata.remove("annotations").unwrap_or_default();
            assert_eq!(annotations["helm.sh/resource-policy"].as_str(), policy);
            assert!(expected.contains(crd), "{crd:#}");
        }
    }
    let none = rendered(&["--set", "crds.install=false,selftest.create=false"]).await.unwrap();
    assert_eq!(of_kind(&none, "CustomResourceDefinition").len(), 0);
    assert!(!none.contains("selftest"), "switched off, nothing of the test is rendered");
}

/// S18.
#[tokio::test(flavor = "multi_thread")]
async fn no_role_has_a_wildcard_an_aggregated_one_no_status_and_nobody_may_delete_secrets() {
    for (values, count) in [("topology=Combined", 5), ("topology=Split", 7), ("watchNamespaces={billing,shop},topology=Split", 7)] {
        let manifest = rendered(&["--set", values]).await.unwrap();
        let roles = [of_kind(&manifest, "ClusterRole"), of_kind(&manifest, "Role")].concat();
        assert_eq!(roles.len(), count, "{values}");
        roles.iter().for_each(assert_modest);
        let cluster_wide = values.contains("watchNamespaces") && manifest.contains("\nkind: ClusterRole");
        assert!(!cluster_wide, "namespaced mode is Roles alone");
    }
}

fn assert_modest(role: &Value) {
    {
        let aggregated = role["metadata"]["labels"].as_object().unwrap().keys().any(|label| label.contains("/aggregate-to-"));
        for rule in role["rules"].as_array().unwrap() {
            let (groups, resources, verbs) = (strings(&rule["apiGroups"]), strings(&rule["resources"]), strings(&rule["verbs"]));
            for names in [&groups, &resources, &verbs] {
                assert!(names.iter().all(|name| !name.contains('*')), "{rule}");
            }
            assert!(!aggregated || resources.iter().all(|resource| !resource.contains('/')), "{rule}");
            assert!(!aggregated || groups.iter().eq(["keywright.dev"]), "{rule}");
            let destroys = verbs.iter().any(|verb| verb.starts_with("delete") || verb == "update");
            // A self-test removes what it made, and that by name.
            let own = groups.iter().eq(["keywright.dev"]) && strings(&rule["resourceNames"]).iter().eq(["keywright-selftest"]);
            assert!(aggregated || !destroys || own || resources.iter().eq(["leases"]), "{rule}");
        }
    }
}

/// A control plane that nothing is installed in yet, with the chart in the namespace `keywright-system`.
async fn installed(arguments: &[&str]) -> ControlPlane {
    let control_plane = ControlPlane::start(Options { crds: Vec::new(), ..Options::default() }).await.unwrap();
    let namespace = "keywright-system";
    control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap().succeeded().unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    control_plane.kubectl(&["label", "namespace", namespace, enforce]).await.unwrap().succeeded().unwrap();
    let install = ["install", "keywright", CHART, "--namespace", namespace];
    control_plane.helm(&[&install, arguments].concat()).await.unwrap().succeeded().unwrap();
    control_plane
}

async fn the_examples_are_accepted(control_plane: &ControlPlane) {
    let examples = concat!("--filename=", env!("CARGO_MANIFEST_DIR"), "/examples");
    // The namespaces are examples, too, and each file makes its own.
    let applied = control_plane.kubectl(&["apply", "--validate=strict", examples]).await.unwrap().succeeded().unwrap();
    assert_eq!(applied.lines().filter(|line| line.contains("keywright.dev/")).count(), 2, "{applied}");
}

/// The pods that the Deployment and `helm test` would make, as the restricted Pod Security Standard sees it.
async fn its_pods_are_admitted(control_plane: &ControlPlane) {
    let get = ["get", "deployment", "keywright", "--namespace=keywright-system", "--output=json"];
    let deployment: Value = serde_json::from_str(&control_plane.kubectl(&get).await.unwrap().succeeded().unwrap()).unwrap();
    is_admitted(control_plane, deployment["spec"]["template"].clone()).await;
    let hooks = control_plane.helm(&["get", "hooks", "keywright", "--namespace=keywright-system"]).await.unwrap().succeeded().unwrap();
    let mut pod = of_kind(&hooks, "Pod").remove(0);
    // Its account comes with it.
    pod["spec"]["serviceAccountName"] = "default".into();
    is_admitted(control_plane, pod).await;
}

async fn is_admitted(control_plane: &ControlPlane, mut pod: Value) {
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "one".into();
    let create = ["create", "--namespace=keywright-system", "--dry-run=server", "-f", "-"];
    control_plane.admin().kubectl_with(&create, &pod.to_string()).await.unwrap().succeeded().unwrap();
    // That this is a test at all: the same pod with one thing less is refused.
    pod["spec"]["securityContext"]["runAsNonRoot"] = false.into();
    let refused = control_plane.admin().kubectl_with(&create, &pod.to_string()).await.unwrap();
    assert!(refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_installs_upgrades_and_leaves_the_crds_behind() {
    let control_plane = installed(&[]).await;
    its_pods_are_admitted(&control_plane).await;
    rights::the_account_may_do_its_work_and_nothing_else(&control_plane).await;
    the_examples_are_accepted(&control_plane).await;
    rights::tenants_get_the_kinds_but_no_status(&control_plane).await;

    let upgrade = ["upgrade", "keywright", CHART, "--namespace=keywright-system", "--set=replicas=3"];
    control_plane.helm(&upgrade).await.unwrap().succeeded().unwrap();
    let again = ["install", "keywright", CHART, "--namespace=second", "--create-namespace", "--set=crds.install=false,issuer.name=second"];
    control_plane.helm(&again).await.unwrap().succeeded().unwrap();

    let uninstall = ["uninstall", "keywright", "--namespace=keywright-system"];
    control_plane.helm(&uninstall).await.unwrap().succeeded().unwrap();
    let crds = control_plane.kubectl(&["get", "crd", "--output=name"]).await.unwrap().succeeded().unwrap();
    assert_eq!(crds.lines().count(), 2, "{crds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notes_say_what_to_type_next_and_it_works() {
    let control_plane = installed(&["--set=issuer.name=partners"]).await;
    let notes = control_plane.helm(&["get", "notes", "keywright", "--namespace=keywright-system"]).await.unwrap().succeeded().unwrap();
    assert_golden("chart/notes.txt", &notes);
    let known = async || {
        let kinds = control_plane.kubectl(&["api-resources", "--api-group=keywright.dev", "--output=name"]).await.unwrap().stdout;
        if kinds.lines().count() == 2 { Ok(()) } else { Err(kinds) }
    };
    eventually(SOON, "the kinds are known", known).await.unwrap();
    let manifest = notes.split_once("<<'EOF'\n").unwrap().1.split_once("  EOF\n").unwrap().0;
    let applied = control_plane.admin().kubectl_with(&["apply", "--filename=-"], &dedented(manifest)).await.unwrap().succeeded().unwrap();
    assert_eq!(applied.lines().filter(|line| line.ends_with(" created")).count(), 2, "{applied}");
}

fn dedented(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}
