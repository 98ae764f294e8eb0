//! What a cluster leaves on a machine, if it leaves anything.

use std::collections::BTreeSet;
use std::process::Command;

use super::requirements;
use crate::cluster::error::Error;
use crate::cluster::process::run;

/// Mounts, links, firewall rules, cgroups and processes of this machine, each as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

/// What lists them. Processes only of the programs that nodes and nothing else are made of: others come and go, such as those of another user
/// who runs these tests.
const LISTS: [(&str, &str); 5] = [
    ("mount", "cut -d' ' -f5- /proc/self/mountinfo"),
    ("link", "ip -oneline link show | cut -d: -f2"),
    ("rule", "iptables-save | grep '^-'"),
    ("cgroup", "find /sys/fs/cgroup -type d"),
    ("process", "ps -e -o pid=,comm= | grep -E ' (containerd|kubelet|kube-proxy|kube-scheduler|coredns|pause)'"),
];

impl Traces {
    /// Looks for them.
    pub async fn now() -> Result<Self, Error> {
        let mut found = BTreeSet::new();
        for (kind, list) in LISTS {
            let mut command = Command::new("sh");
            command.args(["-c", list]).env("PATH", requirements::path());
            // `grep` that finds nothing fails.
            let lines = run(command, String::new()).await?.stdout;
            found.extend(lines.lines().map(|line| format!("{kind}: {}", line.trim())));
        }
        Ok(Self(found))
    }

    /// What is there now and was not before.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}
