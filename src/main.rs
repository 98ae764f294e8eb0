//! The thin binary: everything is in the library.

use clap::Parser;
use keywright::{
    api,
    cli::{Cli, Command, Exit},
    plugin, run, selftest, workload,
};
use std::{io::Write, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments).map_err(|error| (error.to_string(), Exit::Failed)),
        Command::Crds => print_crds().map_err(|why| (why, Exit::Failed)),
        Command::Status(arguments) => plugin::status(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Rotate(arguments) => plugin::rotate(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Revoke(arguments) => plugin::revoke(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Check(arguments) => plugin::check(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Probe(arguments) => plugin::probe(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Keys(arguments) => plugin::keys(&arguments).map_err(|error| (error.to_string(), error.exit())),
        Command::Selftest(arguments) => selftest::run(&arguments).map_err(|error| (error.to_string(), Exit::Failed)),
        Command::Token(arguments) => workload::run(&arguments).map_err(|error| (error.to_string(), error.exit())),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((why, exit)) => {
            // The last line that a person sees; standard error may be closed.
            let _ = writeln!(std::io::stderr(), "keywright: {why}");
            exit.into()
        }
    }
}

fn print_crds() -> Result<(), String> {
    let yaml = api::crds_yaml().map_err(|error| error.to_string())?;
    std::io::stdout().write_all(yaml.as_bytes()).map_err(|error| format!("writing to standard output: {error}"))
}
