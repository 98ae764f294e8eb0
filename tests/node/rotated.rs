//! Rotation with the kubelet's real delay: a pod that mounts the Secret as files, and a Deployment that asks to be restarted because its pods
//! read their environment. `KEYWRIGHT_ROTATIONS` says how many rotations of file pods there are.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::cluster::eventually;
use crate::installation::SOON;
use crate::load::{Counts, counts};
use crate::site::{Site, disturbing};
use crate::teams::kubeconfig;

/// How many rotations of file pods there are.
const ROTATIONS: &str = "KEYWRIGHT_ROTATIONS";

/// Asks for a new secret, as its owner.
async fn order(site: &Site, user: &str, namespace: &str, client: &str, value: &str) {
    let (object, annotation) = (format!("oac/{client}"), format!("keywright.dev/rotate={value}"));
    let annotate = ["annotate", &object, &annotation, "--overwrite", "--namespace", namespace];
    kubeconfig(site.cluster, user).kubectl(&annotate).await.unwrap().succeeded().unwrap();
}

/// Most rotations of one client here: so many former secrets are accepted beside the present one, all of them until their overlap ends.
const MOST_OF_ONE: usize = 8;

/// A client whose pod mounts its Secret as files, in the namespace of the reports.
struct Reader<'site> {
    site: &'site Site,
    name: String,
    address: String,
}

impl<'site> Reader<'site> {
    async fn arrive(site: &'site Site, number: usize) -> Self {
        let rita = kubeconfig(site.cluster, "rita");
        let name = format!("reader-{number}");
        let objects = include_str!("billing.yaml").replace("worker", &name);
        rita.kubectl_with(&["apply", "--namespace=reports", "--filename=-"], &objects).await.unwrap().succeeded().unwrap();
        let rollout = ["rollout", "status", &format!("deployment/{name}"), "--namespace=reports", "--timeout=120s"];
        rita.kubectl(&rollout).await.unwrap().succeeded().unwrap();
        let pods: Api<Pod> = Api::namespaced(site.cluster.control_plane().client().await.unwrap(), "reports");
        let pod = pods.list(&ListParams::default().labels(&format!("app={name}"))).await.unwrap().items.remove(0);
        Self { site, name, address: pod.status.unwrap().pod_ip.unwrap() }
    }

    /// Each rotation is over when the pod calls with the next secret.
    async fn go_through(&self, rotations: usize) -> Counts {
        for number in 1..=rotations {
            order(self.site, "rita", "reports", &self.name, &format!("rotation-{number}")).await;
            let moved = async || match counts(&self.address).await {
                Ok(counts) if counts.secrets.len() > number => Ok(()),
                other => Err(format!("{other:?}")),
            };
            eventually(SOON, "the pod has the next secret", moved).await.unwrap();
        }
        counts(&self.address).await.unwrap()
    }

    async fn leave(self) {
        let objects = [format!("deployment/{}", self.name), format!("oac/{}", self.name)];
        let delete = ["delete", "--namespace=reports", &objects[0], &objects[1]];
        kubeconfig(self.site.cluster, "rita").kubectl(&delete).await.unwrap().succeeded().unwrap();
    }
}

/// The former secret goes on being accepted until the kubelet has brought the next one.
#[tokio::test(flavor = "multi_thread")]
async fn pods_with_files_go_through_rotations_without_a_failed_call() {
    let Some((site, _alone)) = disturbing().await else { return };
    let rotations: usize = std::env::var(ROTATIONS).map_or(3, |text| text.parse().unwrap());
    let readers = rotations.div_ceil(MOST_OF_ONE);
    let each = rotations.div_ceil(readers);
    let readers = join_all((0..readers).map(|number| Reader::arrive(site, number))).await;
    let seen = join_all(readers.iter().map(|reader| reader.go_through(each))).await;
    let calls: u64 = seen.iter().map(|counts| counts.calls).sum();
    let line = format!("{} rotations of {} pods with files: {calls} calls, {seen:?}\n", each * readers.len(), readers.len());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    for counts in &seen {
        assert!(counts.failed == 0 && counts.faults.is_empty(), "{counts:#?}");
        assert_eq!(counts.secrets.len(), each + 1, "a rotation drew more than one secret");
    }
    join_all(readers.into_iter().map(Reader::leave)).await;
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
