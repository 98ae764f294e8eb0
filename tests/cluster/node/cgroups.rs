//! The cgroups of a node: one of its own in each hierarchy, below which the kubelet makes those of pods.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::error::Error;
use crate::cluster::watchdog;

const ROOT: &str = "/sys/fs/cgroup";

/// Removed when it is dropped, with all below it, and when the test process ends in any other way.
pub(super) struct Cgroups {
    name: String,
}

impl Cgroups {
    /// Makes them: version 1 has a hierarchy for each controller, version 2 one for all.
    pub(super) fn create(name: String) -> Result<Self, Error> {
        watchdog::remove_cgroups(&name)?;
        let cgroups = Self { name };
        for folder in cgroups.folders() {
            std::fs::create_dir_all(&folder).map_err(Error::io(format!("create the cgroup {}", folder.display())))?;
        }
        Ok(cgroups)
    }

    fn folders(&self) -> Vec<PathBuf> {
        hierarchies().into_iter().map(|hierarchy| hierarchy.join(&self.name)).collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // The last process of a container may take a moment to end.
        for _ in 0..50 {
            self.folders().iter().for_each(|folder| remove(folder));
            if !self.folders().iter().any(|folder| folder.exists()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").is_file() {
        return vec![root.to_path_buf()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    // Links lead from one of two controllers that share a hierarchy to both.
    entries.filter(|path| !path.is_symlink() && path.join("cgroup.procs").is_file()).collect()
}

/// The files in a cgroup are not removed: it is, with them, when it has neither processes nor children.
fn remove(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).for_each(|child| remove(&child));
    let _ = std::fs::remove_dir(folder);
}
