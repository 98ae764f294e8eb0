//! `cargo demo`, before anything is compiled for minutes: says what this machine lacks, or goes on as the demo.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

#[path = "../requirements.rs"]
mod requirements;

fn main() -> ExitCode {
    let lacking = requirements::lacking(&std::env::var_os("PATH").unwrap_or_default());
    if !lacking.is_empty() {
        eprintln!("The demo cannot run here yet. It needs:\n- {}", lacking.join("\n- "));
        return ExitCode::FAILURE;
    }
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--manifest-path", manifest, "--example", "demo", "--"]).args(std::env::args_os().skip(1));
    eprintln!("cannot run cargo: {}", cargo.exec());
    ExitCode::FAILURE
}
