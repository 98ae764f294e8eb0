//! Workloads that read the environment: restarted once for each new credential, where they ask for it and the installation may.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::Api;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{ControlPlane, eventually};
use crate::operator::{Operator, SOON, Setup};
use crate::rotated::credentials_of;
use crate::teams::Teams;

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: asks, namespace: $billing, annotations: {keywright.dev/restart-on: worker}}
spec:
  selector: {matchLabels: {app: asks}}
  template:
    metadata: {labels: {app: asks}, annotations: {mine: kept}}
    spec: {containers: [{name: app, image: app}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: asks, namespace: $billing, annotations: {keywright.dev/restart-on: worker}}
spec:
  serviceName: asks
  selector: {matchLabels: {app: set}}
  template:
    metadata: {labels: {app: set}}
    spec: {containers: [{name: app, image: app}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: asks-for-another, namespace: $billing, annotations: {keywright.dev/restart-on: another}}
spec:
  selector: {matchLabels: {app: another}}
  template:
    metadata: {labels: {app: another}}
    spec: {containers: [{name: app, image: app}]}
";

/// The annotations of its pods' template.
fn stamps(workload: &impl Serialize) -> Value {
    let workload = serde_json::to_value(workload).unwrap();
    workload.pointer("/spec/template/metadata/annotations").cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_asks_is_restarted_once_for_each_credential() {
    let values = vec!["restartWorkloads=true".to_owned()];
    let operator = Operator::install(ControlPlane::shared().await.unwrap(), Setup { values, ..Setup::default() }).await;
    operator.start_all().await;
    let teams = Teams::served_by(&operator).await;
    teams.apply(WORKLOADS).await;
    let deployments: Api<Deployment> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let stateful_sets: Api<StatefulSet> = Api::namespaced(teams.kube.clone(), &teams.billing);
    let mut former = teams.worker().await;
    let mut generations = Vec::new();
    for order in ["1", "2"] {
        teams.order(order).await;
        former = teams.rotated(&former).await;
        let client = operator.client_is(&teams.billing, "worker", "Overlapping").await;
        let current = credentials_of(&client).into_iter().find(|known| known.state == "Current").unwrap().id;
        let restarted = async || {
            let (deployment, set) = (deployments.get("asks").await.unwrap(), stateful_sets.get("asks").await.unwrap());
            let stamped = |annotations: &Value| annotations["keywright.dev/credential"] == current.as_str();
            let (first, second) = (stamps(&deployment), stamps(&set));
            if stamped(&first) && stamped(&second) { Ok(deployment) } else { Err(format!("{first} {second}")) }
        };
        let seen = eventually(SOON, "both are restarted", restarted).await;
        let deployment = seen.unwrap_or_else(|error| panic!("{error}\n{}", operator.logs()));
        assert_eq!(stamps(&deployment)["mine"], "kept");
        generations.push(deployment.metadata.generation.unwrap());
    }
    // One change for each credential.
    assert_eq!(generations[1] - generations[0], 1);
    let other = deployments.get("asks-for-another").await.unwrap();
    assert_eq!((other.metadata.generation, stamps(&other)), (Some(1), Value::Null));
    let told = async || match teams.told().await {
        told if told.contains("Normal WorkloadRestarted") => Ok(()),
        told => Err(format!("{told:?}")),
    };
    eventually(SOON, "an event tells of it", told).await.unwrap();
}
