//! How callers from outside and Prometheus reach it: what is rendered for each combination, and that real API servers take it. The
//! CustomResourceDefinitions are those that the Gateway API and the Prometheus Operator publish (crds/go.mod).

use super::{CHART, of_kind, rendered};
use crate::cluster::{ControlPlane, Options};
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

const OUTSIDE: &str = "issuer.url=https://auth.example.com";
const GATEWAY: &str = "gateway.parentRefs[0].name=public";

/// Who ends TLS: what fits together is rendered, everything else is refused.
#[tokio::test(flavor = "multi_thread")]
async fn one_side_ends_tls_and_never_both_or_none() {
    let nginx = "ingress.annotations.ssl-passthrough=yes";
    for (values, kind) in [
        (vec![OUTSIDE, "ingress.create=true,tls.mode=Off"], Ok("Ingress")),
        (vec![OUTSIDE, "ingress.create=true,ingress.tls=Passthrough", nginx], Ok("Ingress")),
        (vec![OUTSIDE, GATEWAY, "gateway.route=HTTPRoute,tls.mode=Off"], Ok("HTTPRoute")),
        (vec![OUTSIDE, GATEWAY, "gateway.route=TLSRoute"], Ok("TLSRoute")),
        (vec![OUTSIDE, GATEWAY, "gateway.route=TLSRoute,tls.mode=Secret,tls.secretName=own"], Ok("TLSRoute")),
        (vec![OUTSIDE, "ingress.create=true"], Err("at '/tls/mode'")),
        (vec![OUTSIDE, nginx, "ingress.create=true,ingress.tls=Passthrough,tls.mode=Off"], Err("at '/tls/mode'")),
        (vec![OUTSIDE, "ingress.create=true,ingress.tls=Passthrough"], Err("at '/ingress/annotations'")),
        (vec![OUTSIDE, nginx, "ingress.create=true,ingress.tls=Passthrough,ingress.secretName=own"], Err("at '/ingress/secretName'")),
        (vec!["ingress.create=true,tls.mode=Off"], Err("at '/issuer/url'")),
        (vec![OUTSIDE, GATEWAY, "gateway.route=HTTPRoute"], Err("at '/tls/mode'")),
        (vec![OUTSIDE, GATEWAY, "gateway.route=TLSRoute,tls.mode=Off"], Err("at '/tls/mode'")),
        (vec![GATEWAY, "gateway.route=TLSRoute"], Err("at '/issuer/url'")),
        (vec![OUTSIDE, "gateway.route=TLSRoute"], Err("at '/gateway/parentRefs'")),
        (vec!["issuer.url=https://10.0.0.1,ingress.create=true,tls.mode=Off"], Err("issuer.url: 10.0.0.1 is no DNS name")),
    ] {
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        match (rendered(&arguments).await, kind) {
            (Ok(manifest), Ok(kind)) => assert_eq!(of_kind(&manifest, kind).len(), 1, "{values:?}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{values:?}: {error}"),
            (Ok(_), Err(expected)) => panic!("{values:?} is not refused: {expected}"),
            (Err(error), Ok(_)) => panic!("{values:?}: {error}"),
        }
    }
}

/// RFC 8414 §3.1: the path of the issuer comes after the well-known part of one document and before that of the other.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_path_is_routed_by_it() {
    let values = [
        "--set",
        "issuer.url=https://auth.example.com:8443/partners,tls.mode=Off,ingress.create=true,gateway.route=HTTPRoute",
        "--set",
        GATEWAY,
    ];
    let manifest = rendered(&values).await.unwrap();
    let ingress = &of_kind(&manifest, "Ingress")[0]["spec"];
    assert_eq!(ingress["rules"][0]["host"], "auth.example.com");
    let paths = |list: &Value, pointer: &str| -> Vec<String> {
        let path = |item: &Value| item.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        list.as_array().unwrap().iter().map(path).collect()
    };
    let expected = ["/partners", "/.well-known/oauth-authorization-server/partners"];
    assert_eq!(paths(&ingress["rules"][0]["http"]["paths"], "/path"), expected);
    let route = &of_kind(&manifest, "HTTPRoute")[0]["spec"];
    assert_eq!(route["hostnames"][0], "auth.example.com");
    assert_eq!(paths(&route["rules"][0]["matches"], "/path/value"), expected);
}

/// The files that a Go module of crds/go.mod holds in a folder.
fn published(module: &str, folder: &str) -> Vec<PathBuf> {
    let pins = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/chart/crds");
    let text = fs::read_to_string(format!("{pins}/go.mod")).unwrap();
    let version = text.lines().find_map(|line| line.trim().strip_prefix(module)).unwrap().trim().to_owned();
    let mut go = Command::new("go");
    go.current_dir(pins).env("GOTOOLCHAIN", "local").env("GOWORK", "off").args([
        "mod",
        "download",
        "-json",
        &format!("{module}@{version}"),
    ]);
    let output = go.output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{answer}");
    let folder = PathBuf::from(answer["Dir"].as_str().unwrap()).join(folder);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn named(files: Vec<PathBuf>, names: &[&str]) -> Vec<String> {
    let wanted = |path: &PathBuf| names.iter().any(|name| path.to_string_lossy().ends_with(&format!("_{name}.yaml")));
    let found: Vec<String> = files.into_iter().filter(wanted).map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(found.len(), names.len(), "{names:?}");
    found
}

/// Each option, by a server-side dry run of all that is rendered.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_accepts_every_option() {
    let gateway = named(published("sigs.k8s.io/gateway-api", "config/crd/standard"), &["httproutes", "tlsroutes"]);
    let operator = published("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd");
    let crds = [gateway, named(operator, &["servicemonitors", "podmonitors"]), Options::default().crds].concat();
    let control_plane = ControlPlane::start(Options { crds, controllers: Vec::new(), ..Options::default() }).await.unwrap();
    for namespace in ["keywright-system", "billing", "shop"] {
        control_plane.kubectl(&["create", "namespace", namespace]).await.unwrap().succeeded().unwrap();
    }
    // A pod is refused without its account, and a dry run makes none.
    let account = ["create", "serviceaccount", "keywright-selftest", "--namespace=keywright-system"];
    control_plane.kubectl(&account).await.unwrap().succeeded().unwrap();
    let changed = super::CHANGED;
    for values in [
        vec!["--values", changed],
        vec!["--set", "topology=Split"],
        vec!["--set", "watchNamespaces={billing,shop}"],
        vec![
            "--set",
            OUTSIDE,
            "--set",
            GATEWAY,
            "--set",
            "tls.mode=Off,ingress.create=true,ingress.secretName=own,gateway.route=HTTPRoute",
        ],
        vec!["--set", "networkPolicy.create=true,metrics.monitor=ServiceMonitor"],
    ] {
        let template = ["template", "keywright", CHART, "--namespace=keywright-system", "--set=crds.install=false"];
        let manifest = control_plane.helm(&[&template, values.as_slice()].concat()).await.unwrap().succeeded().unwrap();
        let apply = ["apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", "-"];
        let applied = control_plane.admin().kubectl_with(&apply, &manifest).await.unwrap();
        let accepted = applied.succeeded().unwrap_or_else(|error| panic!("{values:?}: {error}"));
        assert!(accepted.lines().count() > 8, "{values:?}: {accepted}");
    }
}
