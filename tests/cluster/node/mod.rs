//! A cluster with nodes: pods run, mount Secrets, and reach Services by name. Kubernetes' own kubelet and kube-proxy, containerd and CoreDNS,
//! all built from source; of the machine it needs root and what `requirements` names.
//!
//! Each node has a mount, a network and a process id namespace of its own, so that all it mounts, routes and runs ends when its first process
//! does, whoever ends that. What this machine itself sees of it is a bridge, one veth end and one cgroup per hierarchy for each node, and a
//! folder: those are removed on drop, and by the watchdog. CoreDNS runs beside the API server, as nodes that are cut off must not take names
//! with them.

mod cgroups;
mod machine;
mod network;
mod requirements;
mod traces;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::assets::{Assets, target_folder};
use super::control_plane::ControlPlane;
use super::error::Error;
use super::image::Image;
use super::options::Options;
use super::process::Process;
use machine::Surroundings;

#[allow(unused_imports, reason = "several targets include these modules, and none uses all of them")]
pub use self::{machine::Machine, network::Network, requirements::missing, traces::Traces};

/// Long enough for a machine whose cores are busy with a build.
const START: Duration = Duration::from_secs(120);

/// How many nodes there are: one can be lost.
const NODES: u8 = 2;

/// A running cluster. Everything ends when it is dropped, and when the test process ends in any other way.
pub struct Cluster {
    // Dropped in this order: nodes before what they talk to, the bridge last.
    nodes: Vec<Machine>,
    _scheduler: Process,
    _dns: Process,
    control_plane: ControlPlane,
    network: Network,
}

impl Cluster {
    /// Starts a cluster whose nodes have these images, as `Image::write` wrote them, and waits until the nodes are ready.
    pub async fn start(mut images: Vec<PathBuf>) -> Result<Self, Error> {
        let assets = blocking(Assets::locate_with_nodes).await?;
        let network = Network::create().await?;
        let control_plane = ControlPlane::start(Options::for_nodes(network.address())).await?;
        let pause = control_plane.folder().join("pause.tar");
        let name = write_pause(&assets, pause.clone()).await?;
        images.insert(0, pause);
        let scheduler = start_scheduler(&control_plane, &assets)?;
        let dns = start_dns(&control_plane, &assets, &network).await?;
        let dns_address = network.address().to_string();
        let around = Surroundings { control_plane: &control_plane, network: &network, count: NODES, pause: name, dns: dns_address };
        let (first, second) = tokio::try_join!(Machine::start(&around, 0), Machine::start(&around, 1))?;
        let nodes = vec![first, second];
        let cluster = Self { nodes, _scheduler: scheduler, _dns: dns, control_plane, network };
        cluster.import(&assets, &images).await?;
        cluster.wait_until_ready().await?;
        Ok(cluster)
    }

    /// The cluster of this test binary, started by the first test that asks.
    pub async fn shared(images: impl AsyncFnOnce() -> Result<Vec<PathBuf>, Error>) -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Result<Cluster, String>> = OnceCell::const_new();
        let start = async || match images().await {
            Ok(images) => Self::start(images).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        SHARED.get_or_init(start).await.as_ref().map_err(|message| Error::Shared(message.clone()))
    }

    /// Its API server, and all that talks to it.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Machine] {
        &self.nodes
    }

    /// Where its traces would be found.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Cuts a node off: nothing reaches it, and nobody is told.
    pub async fn cut_off(&self, node: &Machine) -> Result<(), Error> {
        self.network.cut(node.index()).await
    }

    /// Connects it again, and waits until all nodes are ready.
    pub async fn connect(&self, node: &Machine) -> Result<(), Error> {
        self.network.mend(node.index()).await?;
        self.wait_until_ready().await
    }

    /// The ends of the logs of the nodes, for messages of tests that fail.
    pub fn logs(&self) -> String {
        self.nodes.iter().map(Machine::logs).collect::<Vec<_>>().join("\n")
    }

    async fn import(&self, assets: &Assets, images: &[PathBuf]) -> Result<(), Error> {
        let ctr = assets.binary("ctr");
        futures::future::try_join_all(self.nodes.iter().map(|node| node.import(&ctr, images))).await?;
        Ok(())
    }

    async fn wait_until_ready(&self) -> Result<(), Error> {
        let timeout = format!("--timeout={}s", START.as_secs());
        for node in &self.nodes {
            let name = format!("node/{}", node.name);
            let created = self.control_plane.kubectl(&["wait", &name, "--for=create", &timeout]).await?.succeeded();
            let ready = async || self.control_plane.kubectl(&["wait", &name, "--for=condition=Ready", &timeout]).await?.succeeded();
            let waited = match created {
                Ok(_) => ready().await,
                Err(error) => Err(error),
            };
            waited.map_err(|error| error.with(&node.logs()))?;
        }
        Ok(())
    }
}

/// The images of what is tested and of what tests it, for `Cluster::start`: built, and written as tars.
pub async fn images() -> Result<Vec<PathBuf>, Error> {
    let write = || {
        let workload = Image::of_program("workload", "keywright", Assets::locate_with_nodes()?.program("workload")?);
        // Cargo's own name for such a folder.
        let folder = target_folder().join("tmp");
        std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let mut tars = Vec::new();
        for image in [Image::of_keywright()?, workload] {
            let name = image.name.rsplit(['/', ':']).nth(1).unwrap_or_default().to_owned();
            let tar = folder.join(format!("{name}.tar"));
            image.write(&tar)?;
            tars.push(tar);
        }
        Ok(tars)
    };
    blocking(write).await
}

/// Runs what blocks apart from what waits.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other).map_err(Error::io("prepare a cluster"))?
}

/// Writes the image that holds the namespaces of pods: its name.
async fn write_pause(assets: &Assets, path: PathBuf) -> Result<String, Error> {
    let assets = assets.clone();
    blocking(move || {
        let image = Image::of_program("pause", "keywright", assets.program("pause")?);
        image.write(&path)?;
        Ok(image.name)
    })
    .await
}

fn start_scheduler(control_plane: &ControlPlane, assets: &Assets) -> Result<Process, Error> {
    let kubeconfig = control_plane.kubeconfig_for_user("system:kube-scheduler", None)?;
    let mut command = Command::new(assets.binary("kube-scheduler"));
    command.arg("--kubeconfig").arg(kubeconfig.path()).args(["--leader-elect=false", "--secure-port=0"]);
    Process::start("kube-scheduler", control_plane.folder().join("kube-scheduler.log"), &mut command)
}

async fn start_dns(control_plane: &ControlPlane, assets: &Assets, network: &Network) -> Result<Process, Error> {
    let address = network.address();
    let kubeconfig = control_plane.admin().path().display();
    let configuration = format!(
        ".:53 {{\n  bind {address}\n  ready {address}:8181\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {kubeconfig}\n  }}\n}}\n"
    );
    let path = control_plane.folder().join("Corefile");
    std::fs::write(&path, configuration).map_err(Error::io("write the Corefile"))?;
    let mut command = Command::new(assets.binary("coredns"));
    command.arg("-conf").arg(&path);
    let process = Process::start("coredns", control_plane.folder().join("coredns.log"), &mut command)?;
    process.wait_for_http_ok(&reqwest::Client::new(), &format!("http://{address}:8181/ready"), START).await?;
    Ok(process)
}
