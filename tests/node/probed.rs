//! `kubectl keywright probe` from outside of the cluster: to the issuer's pods through the API server, and to the API's by their address.

use std::collections::BTreeSet;
use std::process::Command;

use crate::cluster::{Output, eventually, run};
use crate::installation::SOON;
use crate::site::undisturbed;
use crate::teams::kubeconfig;

/// The owner of an API that verifies by go-oidc, which knows nothing of access tokens: what that does not look at is named, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_of_id_tokens_is_told_what_it_lacks() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let admin = site.cluster.control_plane().admin();
    admin.kubectl_with(&["apply", "--filename=-"], include_str!("../../examples/prober.yaml")).await.unwrap().succeeded().unwrap();
    site.installation.kubectl(&["create", "rolebinding", "sarah-probes", "--role=keywright-prober", "--user=sarah"]).await;
    let address = ["get", "pods", "--namespace=shop", "--selector=app=invoices", "--output=jsonpath={.items[0].status.podIP}"];
    let url = format!("http://{}:8080/", admin.kubectl(&address).await.unwrap().succeeded().unwrap());
    let probe = async || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keywright"));
        command.args(["probe", "oapr/invoices", "--namespace=shop", "--url", &url]).env_clear();
        command.env("KUBECONFIG", kubeconfig(site.cluster, "sarah").path());
        match run(command, String::new()).await.unwrap() {
            // The roles are known within moments.
            output if output.status.code() == Some(4) => Err(format!("{output:?}")),
            output => Ok(output),
        }
    };
    let output = eventually(SOON, "she may probe", probe).await.unwrap();
    assert_eq!((output.status.code(), accepted(&output)), (Some(1), BTreeSet::from(["no-scope", "wrong-type"])), "{output:?}");
    assert!(output.stdout.contains("demand the scope") && output.stdout.contains("0 unclear"), "{output:?}");
    let condition = "--output=jsonpath={.status.conditions[?(@.type==\"Probed\")].reason}";
    let stored = async || {
        let reason = admin.kubectl(&["get", "oapr/invoices", "--namespace=shop", condition]).await.unwrap().succeeded().unwrap();
        if reason == "WrongTokensAccepted" { Ok(()) } else { Err(reason) }
    };
    eventually(SOON, "the condition says so", stored).await.unwrap();
}

fn accepted(output: &Output) -> BTreeSet<&str> {
    let lines = output.stdout.lines().filter(|line| line.ends_with("  ACCEPTED"));
    lines.filter_map(|line| line.split("  ").next()).collect()
}
