//! Nothing outlives the test process: however it ends, a small shell kills what it started and removes what it wrote.
//!
//! Drop alone does not do: statics are never dropped, and nothing is after `kill -9`. A parent-death signal would be bound to the thread that
//! started the child, and test threads end early. A pipe closes whenever its last writer is gone, so the shell reads one to its end.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::error::Error;

/// Reads lines until the pipe closes, then clears up what is still on the list. A process that was just killed may write a last file: so
/// the folder is removed again until it is gone.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' ' folders= links= cgroups=
while read -r verb object; do
  case $verb in
    watch) pids="$pids$object " ;;
    forget) pids="${pids%% $object *} ${pids#* $object }" ;;
    remove) folders="$folders
$object" ;;
    link) links="$links $object" ;;
    cgroup) cgroups="$cgroups $object" ;;
  esac
done
[ "$pids" = ' ' ] || kill -KILL $pids
for link in $links; do
  PATH="$PATH:/usr/sbin:/sbin" ip link delete "$link"
done
for cgroup in $cgroups; do
  tries=0
  until [ -z "$(find /sys/fs/cgroup -depth -path "*/$cgroup*" -type d ! -exec rmdir {} \; -print)" ] || [ $tries -ge 50 ]; do
    tries=$((tries + 1)); sleep 0.1
  done
done
IFS='
'
for folder in $folders; do
  tries=0
  until rm -rf "$folder" || [ $tries -ge 50 ]; do tries=$((tries + 1)); sleep 0.1; done
done
"#;

static WATCHDOG: OnceLock<Mutex<Child>> = OnceLock::new();

/// Kills the process with this id when the test process is gone.
pub fn watch(pid: u32) -> Result<(), Error> {
    tell(&format!("watch {pid}"))
}

/// The process with this id has been waited for: its number may soon be another's.
pub fn forget(pid: u32) -> Result<(), Error> {
    tell(&format!("forget {pid}"))
}

/// Removes this folder when the test process is gone.
pub fn remove(folder: &Path) -> Result<(), Error> {
    tell(&format!("remove {}", folder.display()))
}

/// Removes this link when the test process is gone.
pub fn remove_link(name: &str) -> Result<(), Error> {
    tell(&format!("link {name}"))
}

/// Removes the cgroups of this name, and those below them, when the test process is gone.
pub fn remove_cgroups(name: &str) -> Result<(), Error> {
    tell(&format!("cgroup {name}"))
}

fn tell(line: &str) -> Result<(), Error> {
    if WATCHDOG.get().is_none() {
        let shell = start()?;
        // Another test was faster: its shell is used, and this one reads an empty pipe to its end.
        let _ = WATCHDOG.set(Mutex::new(shell));
    }
    let Some(watchdog) = WATCHDOG.get() else { return Ok(()) };
    let mut shell = watchdog.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pipe) = shell.stdin.as_mut() else { return Ok(()) };
    writeln!(pipe, "{line}").map_err(Error::io("write to the watchdog"))
}

fn start() -> Result<Child, Error> {
    Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C goes to the whole foreground group, and this shell has to outlive it.
        .process_group(0)
        .spawn()
        .map_err(Error::io("start the watchdog shell"))
}
