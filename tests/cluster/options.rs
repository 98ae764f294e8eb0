//! How a control plane is started.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is started, and with what in it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The controllers of kube-controller-manager to run; empty: it is not started.
    pub controllers: Vec<String>,
    /// Where the API server listens: an address of this machine.
    pub address: Ipv4Addr,
    /// Further arguments of kube-apiserver.
    pub api_server_arguments: Vec<String>,
    /// Further arguments of kube-controller-manager.
    pub controller_arguments: Vec<String>,
    /// CustomResourceDefinitions (YAML), established before the controllers start: the garbage collector looks for new kinds every 30 s only.
    pub crds: Vec<String>,
}

impl Default for Options {
    /// The controllers that this project's objects meet, and the CRDs of `crds/`.
    fn default() -> Self {
        let controllers = [
            "clusterrole-aggregation-controller",
            "garbage-collector-controller",
            "namespace-controller",
            "root-ca-certificate-publisher-controller",
            "serviceaccount-controller",
        ];
        Self {
            controllers: controllers.map(str::to_owned).into(),
            address: Ipv4Addr::LOCALHOST,
            api_server_arguments: Vec::new(),
            controller_arguments: Vec::new(),
            crds: crds_of_the_repository(),
        }
    }
}

impl Options {
    /// For a cluster with nodes, which reach the API server at this address: all controllers, and no CRDs, which the chart brings.
    pub fn for_nodes(address: Ipv4Addr) -> Self {
        // A lost node is found within seconds rather than a minute.
        let lost_soon = ["--node-monitor-period=1s", "--node-monitor-grace-period=10s"];
        Self {
            controllers: vec!["*".to_owned()],
            address,
            // Nobody knows the nodes by their names.
            api_server_arguments: vec!["--kubelet-preferred-address-types=InternalIP".to_owned()],
            controller_arguments: lost_soon.map(str::to_owned).into(),
            crds: Vec::new(),
        }
    }
}

fn crds_of_the_repository() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    files.sort();
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}
