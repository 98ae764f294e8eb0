//! One node: containerd, kubelet and kube-proxy in namespaces of their own, as on a machine of its own that shares this one's kernel.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::cgroups::Cgroups;
use super::network::Network;
use super::requirements;
use crate::cluster::control_plane::ControlPlane;
use crate::cluster::error::Error;
use crate::cluster::kubeconfig::Kubeconfig;
use crate::cluster::process::{Output, Process, Signal, run};

const INIT: &str = include_str!("init.sh");
const CONTAINERD: &str = include_str!("containerd.toml");

/// Where containerd listens, inside of the node.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// Long enough for a machine whose cores are busy with a build.
const START: Duration = Duration::from_secs(120);

/// What surrounds each node of a cluster.
pub(super) struct Surroundings<'cluster> {
    pub(super) control_plane: &'cluster ControlPlane,
    pub(super) network: &'cluster Network,
    /// How many there are.
    pub(super) count: u8,
    /// The name of the image that holds a pod's namespaces.
    pub(super) pause: String,
    /// Where names are looked up.
    pub(super) dns: String,
}

/// A running node. Everything in it ends with its first process.
pub struct Machine {
    /// Its name in the cluster.
    pub name: String,
    index: u8,
    process: Process,
    init: u32,
    folder: PathBuf,
    // Dropped last: they can be removed once nothing runs in them.
    _cgroups: Cgroups,
}

impl Machine {
    /// Starts a node, and waits until its container runtime answers.
    pub(super) async fn start(around: &Surroundings<'_>, index: u8) -> Result<Self, Error> {
        let name = format!("node-{index}");
        let folder = around.control_plane.folder().join(&name);
        let cgroups = Cgroups::create(around.network.unique(&name))?;
        write_configuration(around, index, &folder)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc", "sh", "-c", INIT, "node"])
            .current_dir(&folder)
            .envs(environment(around, index, &folder)?);
        let process = Process::start(&name, folder.join("node.log"), &mut command)?;
        let unshare = process.pid();
        let init = process.wait_for("it has a first process", START, async || child_of(unshare)).await?;
        let machine = Self { name, index, process, init, folder, _cgroups: cgroups };
        around.network.attach(index, init).await?;
        machine.wait_for_containerd().await?;
        Ok(machine)
    }

    /// Runs a command inside of the node.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--net", "--pid"]).args(arguments);
        run(command, String::new()).await
    }

    /// Makes the images of these tars known to its container runtime.
    pub(super) async fn import(&self, ctr: &Path, images: &[PathBuf]) -> Result<(), Error> {
        let ctr = ctr.display().to_string();
        for image in images {
            let image = image.display().to_string();
            self.run(&[&ctr, "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", &image]).await?.succeeded()?;
        }
        Ok(())
    }

    /// Its place in the network.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The ends of the logs of all that runs in it.
    pub fn logs(&self) -> String {
        let tail = |name: &str| {
            let log = std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
            let skipped = log.lines().count().saturating_sub(15);
            format!("{name} of {} logs:\n{}", self.name, log.lines().skip(skipped).collect::<Vec<_>>().join("\n"))
        };
        ["node", "containerd", "kubelet", "kube-proxy"].map(tail).join("\n")
    }

    async fn wait_for_containerd(&self) -> Result<(), Error> {
        // In its own view of the file system, which this path leads into.
        let socket = PathBuf::from(format!("/proc/{}/root{CONTAINERD_SOCKET}", self.init));
        let answers = async || std::os::unix::net::UnixStream::connect(&socket).map(|_| ());
        let ready = self.process.wait_for("containerd listens", START, answers).await;
        ready.map_err(|error| error.with(&self.logs()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel ends all processes of the namespace, waits for them, and only then lets `unshare` see the end.
        if let Some(init) = i32::try_from(self.init).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(init, Signal::KILL);
        }
        for _ in 0..100 {
            if !self.process.is_running() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The first process of the namespace, as this machine numbers it.
fn child_of(pid: u32) -> Result<u32, String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    children.trim().parse().map_err(|_| format!("{path} holds {children:?}"))
}

fn write_configuration(around: &Surroundings<'_>, index: u8, folder: &Path) -> Result<(), Error> {
    let plugins = requirements::plugins().unwrap_or_default();
    let containerd = CONTAINERD
        .replace("$FOLDER", &folder.display().to_string())
        .replace("$PAUSE", &around.pause)
        .replace("$PLUGINS", &plugins.display().to_string());
    // Links from pod to node, and routes: unlike a bridge it needs no kernel module for Services whose pod is on the caller's node.
    let ipam = json!({"type": "host-local", "subnet": around.network.pods(index), "routes": [{"dst": "0.0.0.0/0"}]});
    let cni = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": false, "ipam": ipam}]});
    let files = [
        ("containerd.toml", containerd),
        ("cni/pods.conflist", cni.to_string()),
        ("kubelet.json", kubelet(around, index, folder).to_string()),
        ("resolv.conf", String::new()),
    ];
    for place in ["cni", "run/containerd", "var/lib", "var/log", "kubelet"] {
        let place = folder.join(place);
        std::fs::create_dir_all(&place).map_err(Error::io(format!("create {}", place.display())))?;
    }
    // Where some programs look for /run.
    let _ = symlink("/run", folder.join("var/run"));
    for (name, content) in files {
        std::fs::write(folder.join(name), content).map_err(Error::io(format!("write {name} of node-{index}")))?;
    }
    Ok(())
}

fn kubelet(around: &Surroundings<'_>, index: u8, folder: &Path) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": around.network.node(index),
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": around.control_plane.authority()},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", around.network.unique(&format!("node-{index}"))),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [around.dns],
        "clusterDomain": "cluster.local",
        "resolvConf": folder.join("resolv.conf"),
        "volumePluginDir": folder.join("plugins"),
        // How long a changed Secret may take to reach a running pod: a minute by default.
        "syncFrequency": "10s",
        // Renewed at a quarter of it: a lost node is noticed soon (see Options::for_nodes).
        "nodeLeaseDurationSeconds": 8,
        // A disk that is nearly full is no reason to fail here.
        "evictionHard": {"memory.available": "10Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
    })
}

fn environment(around: &Surroundings<'_>, index: u8, folder: &Path) -> Result<Vec<(&'static str, String)>, Error> {
    let Surroundings { control_plane, network, count, .. } = around;
    let name = format!("node-{index}");
    let user = |user: &str, group: Option<&str>| -> Result<String, Error> {
        let kubeconfig: Kubeconfig = control_plane.kubeconfig_for_user(user, group)?;
        Ok(kubeconfig.path().display().to_string())
    };
    let others = (0..*count).filter(|other| *other != index);
    let routes = others.map(|other| format!("{}={}", network.pods(other), network.node(other)));
    Ok(vec![
        ("FOLDER", folder.display().to_string()),
        ("ADDRESS", network.node(index).to_string()),
        ("GATEWAY", network.address().to_string()),
        ("ROUTES", routes.collect::<Vec<_>>().join(" ")),
        ("PODS", network.all_pods()),
        ("KUBELET_KUBECONFIG", user(&format!("system:node:{name}"), Some("system:nodes"))?),
        ("PROXY_KUBECONFIG", user("system:kube-proxy", None)?),
        ("PATH", format!("{}:{}", control_plane.assets().path(), requirements::path())),
        ("NAME", name),
    ])
}
