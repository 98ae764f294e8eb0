//! What a machine must have to run nodes, and how to get what it lacks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs that nodes call, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 7] = [
    ("conntrack", "conntrack"),
    ("find", "findutils"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("runc", "runc"),
    ("unshare", "util-linux"),
];

/// Where distributions put the CNI plugins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The plugins that the pods' network is made of, and the package that brings them.
const PLUGINS: [&str; 3] = ["host-local", "loopback", "ptp"];
const PLUGINS_PACKAGE: &str = "containernetworking-plugins";

/// Why this machine cannot run nodes, in one line that says what to do; nothing where it can. Blocks.
pub fn missing() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("nodes need Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("nodes need root (namespaces, mounts, cgroups)".to_owned());
    }
    let absent = PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package);
    let mut packages: Vec<&str> = absent.chain(plugins().is_none().then_some(PLUGINS_PACKAGE)).collect();
    packages.dedup();
    if !packages.is_empty() {
        let packages = packages.join(" ");
        return Some(format!("nodes need Debian's packages {packages}: apt-get install --no-install-recommends {packages}"));
    }
    let namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "ip", "link", "add", "type", "bridge"];
    let tried = Command::new("unshare").args(namespaces).stdin(Stdio::null()).env("PATH", path()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Some(format!("nodes need to make namespaces and bridges, which this machine refuses: {why}"))
        }
        Err(error) => Some(format!("nodes need unshare: {error}")),
    }
}

/// The folder of the CNI plugins.
pub(super) fn plugins() -> Option<PathBuf> {
    let complete = |folder: &&Path| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    PLUGIN_FOLDERS.iter().map(Path::new).find(complete).map(Path::to_path_buf)
}

/// `PATH`, with the folders that an ordinary user's may lack.
pub(super) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}
