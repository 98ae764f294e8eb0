//! A pod that holds no secret: the kubelet projects a token of its ServiceAccount.

use crate::cluster::Kubeconfig;
use crate::site::{Site, undisturbed};
use crate::teams::kubeconfig;

const COURIER: &str = include_str!("courier.yaml");

/// Runs a pod to its end: its exit code, and what it printed.
async fn ran(site: &Site, rita: &Kubeconfig, account: &str) -> (String, String) {
    let image = site.installation.pods().await[0].spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    let objects = COURIER.replace("$account", account).replace("$image", &image);
    let done = async |arguments: &[&str], input: &str| {
        let arguments = [["--namespace=reports"].as_slice(), arguments].concat();
        rita.kubectl_with(&arguments, input).await.unwrap().succeeded().unwrap()
    };
    done(&["apply", "--filename=-"], &objects).await;
    done(&["wait", "oac/courier", "--for=condition=Ready", "--timeout=60s"], "").await;
    let pod = format!("pod/{account}");
    let code = "{.status.containerStatuses[0].state.terminated.exitCode}";
    done(&["wait", &pod, &format!("--for=jsonpath={code}"), "--timeout=120s"], "").await;
    let code = done(&["get", &pod, &format!("--output=jsonpath={code}")], "").await;
    let log = done(&["logs", &pod], "").await;
    (code, log)
}

/// K01, K11: the cluster's keys are fetched with the operator's own account, and a token that the kubelet made gets an access token; that
/// of another ServiceAccount, with the same Secret mounted, gets none.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_a_token_by_its_service_account_alone() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let rita = kubeconfig(site.cluster, "rita");
    let (code, printed) = ran(site, &rita, "courier").await;
    assert_eq!(code, "0", "{printed}");
    let token: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(token["claims"]["client_id"], "reports.courier", "{printed}");
    assert_eq!(token["claims"]["scope"], "invoices.read", "{printed}");
    let (code, printed) = ran(site, &rita, "impostor").await;
    assert!(code == "4" && printed.contains("invalid_client"), "{code}: {printed}");
    let secret = "--output=go-template={{range $key, $_ := .data}}{{$key}} {{end}}";
    let keys = rita.kubectl(&["get", "secret", "courier", "--namespace=reports", secret]).await.unwrap().succeeded().unwrap();
    assert!(keys.contains("client-id ") && !keys.contains("client-secret"), "{keys}");
    let all = ["delete", "pod/courier", "pod/impostor", "oac/courier", "serviceaccount/courier", "serviceaccount/impostor"];
    rita.kubectl(&[all.as_slice(), &["--namespace=reports"]].concat()).await.unwrap().succeeded().unwrap();
}
