//! An installation of the operator, as a platform engineer makes it: by helm alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::cluster::eventually;
use crate::cluster::node::Cluster;

/// Long enough for a machine whose cores are busy with a build.
pub(crate) const SOON: Duration = Duration::from_secs(120);

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keywright");

/// A release.
pub(crate) struct Installation<'cluster> {
    pub(crate) cluster: &'cluster Cluster,
    pub(crate) release: &'static str,
    pub(crate) namespace: &'static str,
}

impl Installation<'_> {
    /// `helm install --wait`, into a namespace that admits nothing beyond the restricted Pod Security Standard.
    pub(crate) async fn install(&self, values: &[&str]) {
        restricted_namespace(self.cluster, self.namespace).await;
        self.helm("install", values).await;
    }

    /// `helm upgrade --wait`.
    pub(crate) async fn upgrade(&self, values: &[&str]) {
        self.helm("upgrade", values).await;
    }

    /// `helm uninstall --wait`.
    pub(crate) async fn uninstall(&self) {
        let arguments = ["uninstall", self.release, "--namespace", self.namespace, "--wait", "--timeout=120s"];
        self.cluster.control_plane().helm(&arguments).await.unwrap().succeeded().unwrap();
    }

    async fn helm(&self, verb: &str, values: &[&str]) {
        let arguments = [verb, self.release, CHART, "--namespace", self.namespace, "--wait", "--timeout=180s"];
        // The image is on the nodes already.
        let own = ["--set", "image.pullPolicy=Never", "--set", "restartWorkloads=true,verifierProbes=true"];
        let done = self.cluster.control_plane().helm(&[arguments.as_slice(), &own, values].concat()).await.unwrap().succeeded();
        if let Err(error) = done {
            panic!("{error}\n{}\n{}", self.state().await, self.cluster.logs());
        }
    }

    /// Runs kubectl in the namespace of the release.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let namespace = ["--namespace", self.namespace];
        self.cluster.control_plane().kubectl(&[namespace.as_slice(), arguments].concat()).await.unwrap().succeeded().unwrap()
    }

    /// Its replicas that are not on their way out.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.control_plane().client().await.unwrap(), self.namespace);
        let selector =
            ListParams::default().labels(&format!("app.kubernetes.io/name=keywright,app.kubernetes.io/instance={}", self.release));
        let all = pods.list(&selector).await.unwrap();
        all.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// The process that writes: its pod's name, and a part that no other process of that pod has. One whose pod is being deleted is waited
    /// for until another one leads.
    pub(crate) async fn leader(&self) -> String {
        let lease = format!("lease/{}-leader", self.release);
        let leads = async || {
            let leader = self.kubectl(&["get", &lease, "--output=jsonpath={.spec.holderIdentity}"]).await;
            let is_there = self.pods().await.iter().any(|pod| pod_name(&leader) == pod.name_any());
            if is_there { Ok(leader) } else { Err(format!("{leader:?} leads")) }
        };
        eventually(SOON, "a pod leads", leads).await.unwrap()
    }

    /// The pod of a leader.
    pub(crate) async fn pod_of(&self, leader: &str) -> Pod {
        let name = pod_name(leader);
        let pods = self.pods().await;
        pods.into_iter().find(|pod| pod.name_any() == name).unwrap_or_else(|| panic!("{leader} leads and is in no pod"))
    }

    /// Waits until a process leads that is not this one.
    pub(crate) async fn led_by_another_than(&self, former: &str) {
        let look = async || match self.leader().await {
            leader if leader.is_empty() || leader == former => Err(format!("{leader:?} leads")),
            leader => Ok(leader),
        };
        eventually(SOON, "another process leads", look).await.unwrap();
    }

    /// Waits until all of its replicas are ready.
    pub(crate) async fn ready(&self) {
        let deployment = format!("deployment/{}", self.release);
        self.kubectl(&["rollout", "status", &deployment, "--timeout=120s"]).await;
    }

    /// What is there and what it says, for messages of tests that fail.
    pub(crate) async fn state(&self) -> String {
        let kubectl = async |arguments: &[&str]| {
            let output =
                self.cluster.control_plane().kubectl(&[["--namespace", self.namespace].as_slice(), arguments].concat()).await.unwrap();
            output.stdout + &output.stderr
        };
        let selector = format!("--selector=app.kubernetes.io/instance={}", self.release);
        [
            kubectl(&["get", "pods,nodes", "--output=wide"]).await,
            kubectl(&["get", "events", "--sort-by=.lastTimestamp"]).await,
            kubectl(&["logs", &selector, "--tail=15", "--prefix"]).await,
        ]
        .join("\n")
    }
}

/// Makes a namespace that enforces the restricted Pod Security Standard.
pub(crate) async fn restricted_namespace(cluster: &Cluster, name: &str) {
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}\n"
    );
    cluster.control_plane().admin().kubectl_with(&["apply", "--filename=-"], &namespace).await.unwrap().succeeded().unwrap();
}

fn pod_name(leader: &str) -> &str {
    leader.split('_').next().unwrap_or_default()
}
