//! Where packages come from is for whoever builds this to say: in the settings of his own tools, and in no file here.

use std::path::{Path, PathBuf};

/// What would name a place, each in parts, so that this file says none of it.
const PLACES: [&[&str]; 6] = [
    // npm writes it into package-lock.json, unless it is told `omit-lockfile-registry-resolved`.
    &["\"", "resolved\""],
    &["://", "registry."],
    &["://", "proxy."],
    // pip, uv and others, as flags, as settings and as variables.
    &["index", "-url"],
    &["INDEX", "_URL"],
    &["GO", "PROXY"],
];

/// The files that name a place, and how.
pub fn faults() -> Vec<String> {
    files(Path::new(env!("CARGO_MANIFEST_DIR"))).iter().flat_map(|path| faults_of_file(path)).collect()
}

/// What `text` says that it must not.
pub fn faults_of(text: &str) -> Vec<String> {
    PLACES.iter().map(|parts| parts.concat()).filter(|place| text.contains(place)).collect()
}

fn faults_of_file(path: &Path) -> Vec<String> {
    // What is no text names nothing.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    faults_of(&text).into_iter().map(|place| format!("{} says {place}", path.display())).collect()
}

/// All but what builds leave behind and what git keeps for itself.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let kept =
        paths.filter(|path| !path.is_symlink() && !["target", ".git", "node_modules"].iter().any(|left_out| path.ends_with(left_out)));
    kept.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
