//! What the demo needs of a machine. Of the standard library alone: it is looked for before anything is compiled. (A C compiler is there by
//! then: without its linker Rust compiles nothing, and says so.)

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kubernetes is built from it.
const GO_MOD: &str = include_str!("../cluster/go.mod");

/// What is not there, each with how to get it.
pub(crate) fn lacking(path: &OsStr) -> Vec<String> {
    let mut lacking = Vec::new();
    if find("curl", path).is_none() {
        lacking.push("curl (Debian: apt-get install curl)".to_owned());
    }
    let go = format!("Go {} or newer, with `go` in PATH (https://go.dev/dl)", wanted());
    match find("go", path) {
        None => lacking.push(go),
        Some(program) => lacking.extend(too_old(&program).map(|version| format!("{go}; there is {version}"))),
    }
    lacking
}

fn find(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|found| found.is_file())
}

pub(crate) fn wanted() -> &'static str {
    GO_MOD.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26")
}

/// Its version, if that is known and too old. Go could fetch a newer one, which the builds do not let it.
fn too_old(go: &Path) -> Option<String> {
    let output = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (numbers(version.strip_prefix("go")?)? < numbers(wanted())?).then_some(version)
}

/// `1.26.8`, `1.27rc1`.
pub(crate) fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or_default()))
}
