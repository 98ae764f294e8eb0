//! The Dockerfile says what the rest of the repository says. That it builds needs a container engine.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What follows a word at the begin of a line.
fn lines_after(text: &str, word: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned()).collect()
}

/// Cargo refuses a manifest that names a file which is not there.
#[test]
fn every_file_that_the_manifest_names_is_sent_to_the_build() {
    let ignored = file(".dockerignore");
    let sent = lines_after(&ignored, "!");
    let is_sent = |path: &str| sent.iter().any(|sent| Path::new(path).starts_with(sent));
    let manifest = file("Cargo.toml");
    let named: Vec<String> = lines_after(&manifest, "path = ").iter().map(|path| path.trim_matches('"').to_owned()).collect();
    assert!(named.iter().any(|path| path == "src/main.rs"), "{named:?}");
    let members: Vec<String> = lines_after(&manifest, "members = ").concat().split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(members.len(), 2, "{members:?}");
    for path in named.iter().chain(&members).map(String::as_str).chain(["Cargo.toml", "Cargo.lock", "benches/token.rs"]) {
        assert!(is_sent(path), "{path} is named in Cargo.toml, but .dockerignore keeps it from the build");
    }
    assert!(!is_sent("target/debug") && !is_sent(".git") && !is_sent("tests/it/main.rs"));
}

#[test]
fn it_is_built_by_the_oldest_compiler_that_the_manifest_allows_and_runs_as_nobody_in_an_empty_image() {
    let dockerfile = file("Dockerfile");
    let stages = lines_after(&dockerfile, "FROM ");
    let [build, last] = stages.as_slice() else { unreachable!("two stages, not {stages:?}") };
    let version = lines_after(&file("Cargo.toml"), "rust-version = ").concat();
    assert!(build.starts_with(&format!("rust:{}.", version.trim_matches('"'))), "{build}");
    assert_eq!(last, "scratch");
    assert_eq!(lines_after(&dockerfile, "USER "), ["65532:65532"]);
    assert_eq!(lines_after(&dockerfile, "ENTRYPOINT "), [r#"["/keywright"]"#]);
    let builds: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("RUN cargo")).collect();
    assert!(builds.iter().all(|line| line.contains("--locked") && !line.contains("features")), "{builds:?}");
}
