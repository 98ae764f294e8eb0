//! `cargo demo` on a machine that lacks something.

use std::ffi::OsString;
use std::process::Command;

use crate::requirements::{lacking, numbers, wanted};

/// A folder for `PATH` with these programs. Another process writes them: while one that a test beside this starts has a file of ours open for
/// writing, it cannot be run.
fn with(programs: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, says) in programs {
        let script = r##"printf '#!/bin/sh\necho %s\n' "$2" >"$1" && chmod +x "$1""##;
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(folder.path().join(name)).arg(says).status();
        assert!(status.unwrap().success());
    }
    folder
}

/// Before anything is compiled, and all of it at once.
#[test]
fn what_a_machine_lacks_is_said_at_once() {
    assert_eq!(lacking(&std::env::var_os("PATH").unwrap()), Vec::<String>::new());
    let nothing = lacking(&OsString::new());
    let named = ["curl", "https://go.dev/dl"];
    assert!(nothing.len() == 2 && nothing.iter().zip(named).all(|(line, word)| line.contains(word)), "{nothing:?}");
    let with_go = |version: &str| lacking(with(&[("curl", ""), ("go", version)]).path().as_os_str());
    assert!(with_go("go1.25.11").concat().ends_with("or newer, with `go` in PATH (https://go.dev/dl); there is go1.25.11"));
    for good in ["go1.26.8", "go1.27rc1", "go2.0", "devel go1.28-abc"] {
        assert_eq!(with_go(good), Vec::<String>::new(), "{good}");
    }
    // What nodes and tests build later wants no newer one.
    for module in ["containerd", "coredns", "prometheus"] {
        let go_mod = std::fs::read_to_string(format!("{}/tests/cluster/{module}/go.mod", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let later = go_mod.lines().find_map(|line| line.strip_prefix("go ")).unwrap();
        assert!(numbers(later).unwrap() <= numbers(wanted()).unwrap(), "{module} wants Go {later}");
    }
}
