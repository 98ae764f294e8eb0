//! Three teams, each with a namespace and a user who may edit that one alone: the owners of an API, a team whose pod mounts its credentials
//! as files, and one whose pod gets them as environment variables. All that stands in their namespaces they applied themselves.

use std::time::Duration;

use crate::cluster::Kubeconfig;
use crate::cluster::eventually;
use crate::cluster::node::Cluster;
use crate::installation::{SOON, restricted_namespace};

/// Namespaces and users.
pub(crate) const TEAMS: [(&str, &str, &str); 3] = [
    ("shop", "sarah", include_str!("shop.yaml")),
    ("billing", "bob", include_str!("billing.yaml")),
    ("reports", "rita", include_str!("reports.yaml")),
];

/// Makes the namespaces and the rights of their users, and lets these apply what is theirs.
pub(crate) async fn arrive(cluster: &Cluster) {
    for (namespace, user, _) in TEAMS {
        restricted_namespace(cluster, namespace).await;
        let binding = ["create", "rolebinding", user, "--clusterrole=edit", "--user", user, "--namespace", namespace];
        cluster.control_plane().kubectl(&binding).await.unwrap().succeeded().unwrap();
    }
    for (namespace, user, objects) in TEAMS {
        let kubeconfig = kubeconfig(cluster, user);
        // The rights of a new kind reach the role `edit` by aggregation, and the API server's discovery, within moments.
        let apply = async || {
            let apply = ["apply", "--namespace", namespace, "--filename=-"];
            kubeconfig.kubectl_with(&apply, objects).await.unwrap().succeeded().map_err(|error| error.to_string())
        };
        eventually(Duration::from_secs(30), &format!("{user} applies what is theirs"), apply).await.unwrap();
    }
    for (namespace, _, _) in TEAMS {
        let wait = ["rollout", "status", "deployment", "--namespace", namespace, &format!("--timeout={}s", SOON.as_secs())];
        if let Err(error) = cluster.control_plane().kubectl(&wait).await.unwrap().succeeded() {
            let state = ["get", "oac,oapr,pods,events", "--namespace", namespace, "--output=wide"];
            let logs = ["logs", "--namespace", namespace, "--selector=app", "--tail=20", "--prefix"];
            let state = cluster.control_plane().kubectl(&state).await.unwrap().stdout;
            let logs = cluster.control_plane().kubectl(&logs).await.unwrap().stdout;
            panic!("{error}\n{state}\n{logs}\n{}", cluster.logs());
        }
    }
}

/// Of one of the users.
pub(crate) fn kubeconfig(cluster: &Cluster, user: &str) -> Kubeconfig {
    cluster.control_plane().kubeconfig_for_user(user, None).unwrap()
}
