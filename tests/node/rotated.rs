//! Rotation with the kubelet's real delay: a pod that mounts the Secret as files, and a Deployment that asks to be restarted because its pods
//! read their environment. `KEYWRIGHT_ROTATIONS` says how many rotations of the file pod there are.

use std::collections::BTreeMap;
use std::sync::Mutex;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::cluster::eventually;
use crate::installation::SOON;
use crate::load::{Counts, counts};
use crate::site::{Site, disturbing};
use crate::teams::kubeconfig;

/// How many rotations of the file pod there are.
const ROTATIONS: &str = "KEYWRIGHT_ROTATIONS";

/// Asks for a new secret, as its owner.
async fn order(site: &Site, user: &str, namespace: &str, client: &str, value: &str) {
    let (object, annotation) = (format!("oac/{client}"), format!("keywright.dev/rotate={value}"));
    let annotate = ["annotate", &object, &annotation, "--overwrite", "--namespace", namespace];
    kubeconfig(site.cluster, user).kubectl(&annotate).await.unwrap().succeeded().unwrap();
}

/// Each rotation is over for the pod when it calls with the next secret; the former one goes on being accepted until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_files_goes_through_rotations_without_a_failed_call() {
    let Some((site, _alone)) = disturbing().await else { return };
    let rotations: usize = std::env::var(ROTATIONS).map_or(3, |text| text.parse().unwrap());
    let before = site.load.of_files().await.secrets.len();
    let what = format!("{rotations} rotations");
    let rotated = site.load.during(&what, async {
        for number in 1..=rotations {
            order(site, "bob", "billing", "worker", &format!("rotation-{number}")).await;
            let moved = async || match site.load.of_files().await.secrets.len() {
                seen if seen >= before + number => Ok(()),
                seen => Err(format!("{seen} secrets seen")),
            };
            eventually(SOON, "the file pod has the next secret", moved).await.unwrap();
        }
    });
    rotated.await.nobody_noticed();
    assert_eq!(site.load.of_files().await.secrets.len(), before + rotations, "a rotation drew more than one secret");
}

/// The pods of a Deployment, old and new, and what each of them counted last.
struct Pods {
    api: Api<Pod>,
    seen: Mutex<BTreeMap<String, Counts>>,
}

impl Pods {
    /// Asks all that can be asked.
    async fn look(&self) {
        for pod in self.api.list(&ListParams::default().labels("app=night")).await.unwrap().items {
            let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.clone()) else { continue };
            // One that starts or ends answers nobody.
            if let Ok(counts) = counts(&address).await {
                self.seen.lock().unwrap().insert(pod.name_any(), counts);
            }
        }
    }
}

/// One restart for each rotation, and no failed call in any of its pods.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_asks_for_it_is_restarted_once_for_each_rotation() {
    let Some((site, _alone)) = disturbing().await else { return };
    let rita = kubeconfig(site.cluster, "rita");
    let (client, deployment) = include_str!("night.yaml").split_once("---").unwrap();
    let apply = ["apply", "--namespace=reports", "--filename=-"];
    // A Deployment that is older than the first credential is restarted for that one, too.
    rita.kubectl_with(&apply, client).await.unwrap().succeeded().unwrap();
    let ready = ["wait", "oac/night", "--namespace=reports", "--for=condition=Ready", "--timeout=60s"];
    rita.kubectl(&ready).await.unwrap().succeeded().unwrap();
    rita.kubectl_with(&apply, deployment).await.unwrap().succeeded().unwrap();
    let rollout = ["rollout", "status", "deployment/night", "--namespace=reports", "--timeout=120s"];
    rita.kubectl(&rollout).await.unwrap().succeeded().unwrap();
    let kube = site.cluster.control_plane().client().await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(kube.clone(), "reports");
    let pods = Pods { api: Api::namespaced(kube, "reports"), seen: Mutex::default() };
    let first = revision(&deployments).await;
    for number in 1..=3 {
        order(site, "rita", "reports", "night", &format!("rotation-{number}")).await;
        let restarted = async || {
            pods.look().await;
            let deployment = deployments.get("night").await.unwrap();
            let status = deployment.status.unwrap_or_default();
            let is_seen = status.observed_generation == deployment.metadata.generation;
            let is_over = is_seen && status.updated_replicas == Some(1) && status.replicas == Some(1) && status.ready_replicas == Some(1);
            match revision(&deployments).await {
                now if now == first + number && is_over => Ok(()),
                now => Err(format!("revision {now} after {first}, {status:?}")),
            }
        };
        eventually(SOON, "the Deployment is restarted once", restarted).await.unwrap();
        pods.look().await;
    }
    let seen = pods.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 4, "{seen:#?}");
    assert!(seen.values().all(|counts| counts.calls > 0 && counts.failed == 0 && counts.secrets.len() == 1), "{seen:#?}");
    let calls: u64 = seen.values().map(|counts| counts.calls).sum();
    let line = format!("3 rotations with a restart each: {calls} calls of {} pods, 0 failed\n", seen.len());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    rita.kubectl(&["delete", "--namespace=reports", "deployment/night", "oac/night"]).await.unwrap().succeeded().unwrap();
}

async fn revision(deployments: &Api<Deployment>) -> u64 {
    let deployment = deployments.get("night").await.unwrap();
    deployment.annotations()["deployment.kubernetes.io/revision"].parse().unwrap()
}
