//! What an installation leaves behind, what the next one finds, and two of them beside each other.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::cluster::eventually;
use crate::installation::{Installation, SOON};
use crate::site::{Site, disturbing};
use crate::teams::kubeconfig;

async fn secret_of_the_worker(site: &Site) -> Secret {
    let secrets: Api<Secret> = Api::namespaced(site.cluster.control_plane().client().await.unwrap(), "billing");
    secrets.get("worker").await.unwrap()
}

/// `crds.keep`: the clients, their Secrets, the keys and the CA survive `helm uninstall`; the next installation goes on with them, so that
/// the same secret, the same tokens and the same `ca.crt` are good, and pods that ran all the time go on.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_uninstalled_and_installed_again() {
    let Some((site, _alone)) = disturbing().await else { return };
    let before = secret_of_the_worker(site).await;
    site.installation.uninstall().await;
    let gone = async || match site.installation.pods().await {
        pods if pods.is_empty() => Ok(()),
        pods => Err(format!("{} pods", pods.len())),
    };
    eventually(SOON, "its pods are deleted", gone).await.unwrap();
    let left = site.installation.kubectl(&["get", "oac,oapr", "--all-namespaces", "--output=name"]).await;
    assert!(left.contains("/worker") && left.contains("/report") && left.contains("/invoices"), "{left}");
    assert_eq!(secret_of_the_worker(site).await.data, before.data);

    site.installation.install(&[]).await;
    let (calls, failed) = (site.load.of_files().await.calls, site.load.of_files().await.failed);
    let goes_on = async || match site.load.of_files().await {
        counts if counts.calls > calls + 50 + counts.failed - failed => Ok(()),
        counts => Err(format!("{} calls, {} failed", counts.calls - calls, counts.failed - failed)),
    };
    eventually(SOON, "the pods go on", goes_on).await.unwrap();
    assert_eq!(secret_of_the_worker(site).await.data, before.data);
    site.load.during("after a reinstallation", async {}).await.no_call_failed();
}

/// Objects choose by `spec.issuer`; what is another's is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_installation_serves_its_own_objects() {
    let Some((site, _alone)) = disturbing().await else { return };
    let second = Installation { cluster: site.cluster, release: "partners", namespace: "partners-system" };
    let before = secret_of_the_worker(site).await;
    let beside = async {
        second.install(&["--set", "crds.install=false", "--set", "aggregatedRoles.create=false", "--set", "issuer.name=partners"]).await;
        let bob = kubeconfig(site.cluster, "bob");
        let client = "apiVersion: keywright.dev/v1alpha1\nkind: OAuthClient\nmetadata: {name: partner, namespace: billing}\n\
                      spec: {issuer: partners, access: []}\n";
        bob.kubectl_with(&["apply", "--filename=-"], client).await.unwrap().succeeded().unwrap();
        let wait = ["wait", "oac/partner", "--namespace=billing", "--for=condition=Ready", "--timeout=60s"];
        bob.kubectl(&wait).await.unwrap().succeeded().unwrap();
        let address = ["get", "secret", "partner", "--namespace=billing", "--output=jsonpath={.data.issuer-uri}"];
        let issuer = bob.kubectl(&address).await.unwrap().succeeded().unwrap();
        // https://partners.partners-system.svc
        assert_eq!(issuer, "aHR0cHM6Ly9wYXJ0bmVycy5wYXJ0bmVycy1zeXN0ZW0uc3Zj");
        bob.kubectl(&["delete", "oac/partner", "--namespace=billing"]).await.unwrap().succeeded().unwrap();
        second.uninstall().await;
    };
    site.load.during("a second installation comes and goes", beside).await.nobody_noticed();
    assert_eq!(secret_of_the_worker(site).await.data, before.data);
}
