//! `cargo demo`: Keywright on a real Kubernetes API, step by step, with the commands that a person would type and what they print.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]
#![allow(clippy::disallowed_methods, reason = "it says how long things really take")]

use clap::Parser;
use std::process::ExitCode;

#[path = "../cluster/mod.rs"]
mod cluster;
mod operator;
mod place;
mod pods;
mod screen;
mod story;

use place::Place;
use screen::Screen;

/// Whatever ends the demo early, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Shows Keywright on a real Kubernetes API: installs the chart, applies examples/, and follows a token from Secret to verifier.
#[derive(Debug, Parser)]
#[command(name = "cargo demo")]
struct Options {
    /// Leave everything running at the end, and say how to use it. Ctrl-C ends it.
    #[arg(long)]
    keep: bool,
    /// Use the cluster of this context of your kubeconfig, instead of starting one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse_from(arguments());
    let ended = tokio::select! {
        ended = demo(&options) => ended,
        // Everything that runs belongs to what is dropped here.
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nThe demo stopped: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Of the command line. The alias `cargo demo` ends with `--` already, so that `cargo demo --keep` does; `cargo demo -- --keep` is the same.
fn arguments() -> impl Iterator<Item = std::ffi::OsString> {
    std::env::args_os().enumerate().filter(|(at, argument)| *at != 1 || argument != "--").map(|(_, argument)| argument)
}

async fn demo(options: &Options) -> Result<(), Failure> {
    let place = Place::prepare(options.context.as_deref()).await?;
    let screen = Screen::new(&place);
    let told = story::tell(&screen, &place).await;
    if let (Ok(operator), true) = (&told, options.keep) {
        screen.how_to_use_it(&place, operator.as_ref());
        // A Ctrl-C ends this wait for `main`; with a throwaway cluster there is nothing to clear up.
        if place.is_somebodys() {
            let _ = tokio::signal::ctrl_c().await;
        } else {
            std::future::pending::<()>().await;
        }
    }
    if told.is_ok() && !options.keep {
        screen.say("Verified. `cargo demo -- --keep` leaves it running, to try more.");
    }
    place.leave(&screen).await?;
    told.map(|_| ())
}
