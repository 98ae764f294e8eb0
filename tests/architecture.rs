//! The walls between the rooms (see `src/lib.rs`), and the shape of what stands in them.
//!
//! A room with walls lists what it may name; everything else is refused, so that whatever a pure room begins to touch has to be let
//! in here, with eyes open. Tests inside of a room are free.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "architecture/lexer.rs"]
mod lexer;
#[path = "architecture/origins.rs"]
mod origins;
#[path = "architecture/references.rs"]
mod references;
#[path = "architecture/rooms.rs"]
mod rooms;
#[path = "architecture/shape.rs"]
mod shape;
#[path = "architecture/sources.rs"]
mod sources;

use lexer::Token;
use rooms::{ROOMS, Room};
use sources::{Source, crate_sources, planted};
use std::path::{Path, PathBuf};

/// What of the standard library is a clock, a file, a socket, a thread or a process.
const WORLD: [&str; 9] = [
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// What one module alone may name in the whole crate. Clippy's `disallowed-methods` sees the calls; this sees the types.
const MONOPOLIES: [(&str, &[&str]); 5] = [
    ("std::time::Instant", &["crate::ambient"]),
    ("std::time::SystemTime", &["crate::ambient"]),
    ("rustix::time", &["crate::ambient"]),
    // The library's signing functions ask for a generator and do not use it.
    ("aws_lc_rs::rand", &["crate::ambient", "crate::keys::signing"]),
    // Clap reads the variables of the flags; a Secret of the format Env must not be one of them.
    ("std::env", &["crate::main", "crate::workload::environment"]),
];

/// Server-side apply brings back what was deleted and merges into what is foreign (measured); PUT overwrites.
const FORBIDDEN_CALLS: [&[&str]; 3] = [&["Patch", "Apply"], &["replace_status"], &["delete_collection"]];

#[test]
fn every_room_names_only_what_it_may() {
    expect_none(crate_sources().iter().flat_map(|source| faults_of_walls(source).into_iter().map(|fault| at(source, &fault))));
}

#[test]
fn every_room_with_walls_exists() {
    let modules: Vec<String> = crate_sources().iter().map(path_of).collect();
    expect_none(ROOMS.iter().filter(|room| !modules.iter().any(|module| is_below(module, room.name))).map(|room| room.name.to_owned()));
}

#[test]
fn files_and_functions_are_short_and_names_say_something() {
    let tests = ["tests", "benches", "examples"].map(Path::new).into_iter().filter(|folder| folder.is_dir()).flat_map(rust_files);
    let sources = crate_sources().into_iter().chain(tests.map(|path| sources::read(&path)));
    expect_none(sources.flat_map(|source| {
        let faults = [shape::faults(&source), shape::faults_of_functions(&source)].concat();
        faults.into_iter().map(move |fault| at(&source, &fault)).collect::<Vec<_>>()
    }));
}

#[test]
fn lints_are_switched_off_with_a_reason_alone() {
    expect_none(crate_sources().iter().flat_map(|source| shape::faults_of_lints(source).into_iter().map(|fault| at(source, &fault))));
}

#[test]
fn no_file_says_where_packages_come_from() {
    expect_none(origins::faults());
    let locked = ["{\"resol", "ved\": \"https://", "registry.example.com/jose.tgz\"}"].concat();
    assert_eq!(origins::faults_of(&locked).len(), 2);
}

/// What each rule is for, broken once: a wall that nobody can run into is none.
#[test]
fn a_broken_wall_is_found() {
    for (module, text) in [
        ("domain::client", "use kube::Client;"),
        ("domain::client", "fn f() -> crate::keys::KeySet {}"),
        ("domain::client", "use super::super::keys;"),
        ("domain::client", "async fn f() {}"),
        ("domain::rotation::plan", "fn f() { let now = std::time::Instant::now(); }"),
        ("domain::names", "use std::{fmt, fs};"),
        ("policy::client", "use crate::registry::Registry;"),
        ("api::client", "use kube::Api;"),
        ("oauth::grant", "use crate::registry::feed;"),
        ("oauth::grant", "use crate::ambient;"),
        ("registry::snapshot", "use kube::ResourceExt;"),
        ("registry::index", "use super::feed::Feed;"),
        ("controller::build", "use kube::Client;"),
        ("controller::verdict", "use super::apply;"),
        ("keys::secret", "use super::store::Release;"),
        ("keys::secret", "use kube::Client;"),
        ("keys::store::signing", "use crate::controller::Controller;"),
        ("server::token", "use kube::Client;"),
        ("server::token", "use crate::controller::Controller;"),
        ("workload::exchange", "use kube::Client;"),
        ("workload::renewal", "use crate::ambient;"),
        ("selftest::verify", "use crate::oauth::metadata;"),
        ("run", "use aws_lc_rs::rand::SystemRandom;"),
        ("run", "use std::time::SystemTime;"),
        ("controller::apply", "fn f() { Patch::Apply(x); }"),
        ("controller::apply", "fn f() { api.replace_status(x); }"),
    ] {
        assert_eq!(faults_of_walls(&planted(module, text)).len(), 1, "{module}: {text}");
    }
}

#[test]
fn what_a_room_may_name_is_no_fault() {
    for (module, text) in [
        ("domain::client", "use super::names::ClientId; use std::{fmt, time::Duration}; #[cfg(test)] mod tests { use kube::Client; }"),
        ("api::client", "use kube::{CustomResource, core::Rule};"),
        ("keys::store::signing", "use kube::Client; use super::super::secret; async fn f() {}"),
        ("controller::apply", "use kube::api::Patch; fn f() { Patch::Merge(x); text.replace(a, b) }"),
        ("ambient", "use aws_lc_rs::rand;"),
    ] {
        assert_eq!(faults_of_walls(&planted(module, text)), [""; 0], "{module}: {text}");
    }
}

fn faults_of_walls(source: &Source) -> Vec<String> {
    let module = path_of(source);
    let touched = references::of(source);
    let monopolies = MONOPOLIES.iter().filter(|(_, holders)| !holders.iter().any(|holder| is_below(&module, holder)));
    let room = ROOMS.iter().filter(|room| is_below(&module, room.name)).max_by_key(|room| room.name.len());
    let world = room.into_iter().flat_map(|room| WORLD.into_iter().filter(|part| !room.may_name.contains(part)));
    let refused: Vec<&str> = monopolies.map(|(path, _)| *path).chain(world).collect();
    let is_refused =
        |path: &&String| refused.iter().any(|refused| is_below(path, refused)) || room.is_some_and(|room| !may_name(room, path));
    let mut faults: Vec<String> = touched.paths.iter().filter(is_refused).map(|path| format!("{module} may not name {path}")).collect();
    if touched.is_asynchronous && room.is_some_and(|room| !room.may_wait) {
        faults.push(format!("{module} may not wait"));
    }
    faults.extend(FORBIDDEN_CALLS.iter().filter(|call| calls(source, call)).map(|call| format!("nobody may call {}", call.join("::"))));
    faults
}

fn may_name(room: &Room, path: &str) -> bool {
    let is_std = ["std", "core", "alloc"].iter().any(|library| is_below(path, library));
    let is_listed = room.may_name.iter().any(|listed| is_below(path, listed));
    let is_barred = room.may_name.iter().filter_map(|listed| listed.strip_prefix('!')).any(|barred| is_below(path, barred));
    is_std || (is_listed && !is_barred)
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether these names stand in the source, with `::` between them.
fn calls(source: &Source, names: &[&str]) -> bool {
    let wanted: Vec<Token> = names.iter().flat_map(|name| [Token::Path, Token::Name((*name).to_owned())]).skip(1).collect();
    source.shipped.windows(wanted.len()).any(|found| found.iter().map(|placed| &placed.token).eq(&wanted))
}

fn path_of(source: &Source) -> String {
    [&["crate".to_owned()], source.module.as_slice()].concat().join("::")
}

fn at(source: &Source, fault: &str) -> String {
    format!("{}: {fault}", source.path.display())
}

fn expect_none(faults: impl IntoIterator<Item = String>) {
    let faults: Vec<String> = faults.into_iter().collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let below = |path: PathBuf| if path.is_dir() { rust_files(&path) } else { vec![path] };
    let files = entries.filter_map(Result::ok).flat_map(|entry| below(entry.path()));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
