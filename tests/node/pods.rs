//! Pods with the credentials that they mount.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt};

use crate::site::undisturbed;
use crate::teams::{TEAMS, kubeconfig};

/// S22: what is in the namespaces was applied by users who may edit their own one alone. Each of the two pods gets tokens, over TLS and by the
/// Service's name, and an API that verifies them by the files of its ConfigMap and by the JWKS URL says whom it sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_files_and_one_with_environment_variables_call_an_api() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    site.load.during("nothing happens", async {}).await.nobody_noticed();
    assert_eq!(site.load.of_files().await.said, "Hello billing.worker, you may invoices.read.\n");
    assert_eq!(site.load.of_environment().await.said, "Hello reports.report, you may invoices.read invoices.write.\n");
}

/// Nor may a team look into the others' namespaces.
#[tokio::test(flavor = "multi_thread")]
async fn each_user_sees_the_own_namespace_alone() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    for (_, user, _) in TEAMS {
        let kubeconfig = kubeconfig(site.cluster, user);
        for (namespace, owner, _) in TEAMS {
            let answer = kubeconfig.kubectl(&["auth", "can-i", "get", "secrets", "--namespace", namespace]).await.unwrap();
            assert_eq!(answer.stdout.trim() == "yes", user == owner, "{user} in {namespace}");
        }
    }
}

/// The replicas are on both nodes, admitted by the restricted Pod Security Standard, with a root file system that cannot be written to.
#[tokio::test(flavor = "multi_thread")]
async fn the_replicas_are_restricted_and_spread() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let pods: Vec<Pod> = site.installation.pods().await;
    let mut nodes: Vec<String> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    nodes.sort();
    assert_eq!(nodes, ["node-0", "node-1"]);
    for pod in &pods {
        let container = pod.spec.as_ref().unwrap().containers[0].security_context.as_ref().unwrap();
        assert_eq!(container.read_only_root_filesystem, Some(true), "{}", pod.name_any());
    }
    let label = "--output=jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}";
    for namespace in ["keywright-system", "shop", "billing", "reports"] {
        assert_eq!(site.installation.kubectl(&["get", "namespace", namespace, label]).await, "restricted");
    }
}

/// `kubectl wait` right after an edit does not see the state from before.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_ready_right_after_an_edit_sees_the_edit() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let bob = kubeconfig(site.cluster, "bob");
    let secrets: Api<Secret> = Api::namespaced(site.cluster.control_plane().client().await.unwrap(), "billing");
    for name in ["worker-oauth-1", "worker-oauth-2"] {
        let client = format!(
            "apiVersion: keywright.dev/v1alpha1\nkind: OAuthClient\nmetadata: {{name: waited-for, namespace: billing}}\n\
             spec: {{access: [], secret: {{name: {name}}}}}\n"
        );
        bob.kubectl_with(&["apply", "--filename=-"], &client).await.unwrap().succeeded().unwrap();
        let wait = ["wait", "oac/waited-for", "--namespace=billing", "--for=condition=Ready", "--timeout=30s"];
        bob.kubectl(&wait).await.unwrap().succeeded().unwrap();
        secrets.get(name).await.unwrap();
    }
    bob.kubectl(&["delete", "oac/waited-for", "--namespace=billing"]).await.unwrap().succeeded().unwrap();
}

/// What an administrator types after an installation: a client, its Secret, a token, its verification, and the end of all of them, from a
/// pod that has the rights of the hook alone.
#[tokio::test(flavor = "multi_thread")]
async fn helm_test_proves_the_installation() {
    let Some((site, _quiet)) = undisturbed().await else { return };
    let arguments = ["test", site.installation.release, "--namespace", site.installation.namespace, "--timeout=120s", "--logs"];
    let tested = site.cluster.control_plane().helm(&arguments).await.unwrap().succeeded();
    let output = match tested {
        Ok(output) => output,
        Err(error) => panic!("{error}\n{}", site.installation.state().await),
    };
    assert!(output.contains("Succeeded"), "{output}");
    let left = site.installation.kubectl(&["get", "oac,oapr,serviceaccount", "--output=name"]).await;
    assert!(!left.contains("selftest"), "{left}");
}
