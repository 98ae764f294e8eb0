//! The parsers of outside input under libFuzzer (H07), which keeps the inputs that reach what none before them reached. With a nightly
//! toolchain and [cargo-fuzz](https://rust-fuzz.github.io/book/cargo-fuzz.html), for the parser whose corpus is given:
//!
//! ```text
//! mkdir -p target/fuzz/form
//! cargo +nightly fuzz run parsers --features libfuzzer target/fuzz/form tests/fuzz/corpus/form -- -max_total_time=60
//! ```
//!
//! What is found goes to the first folder. What makes a parser fail belongs into `tests/fuzz/corpus`.
#![no_main]
#![allow(clippy::unwrap_used, reason = "a parser that fails panics")]

#[path = "../tests/fuzz/parsers.rs"]
mod parsers;

use libfuzzer_sys::fuzz_target;
use parsers::{PARSERS, Parser};
use std::{env, path::Path, sync::LazyLock};

static PARSER: LazyLock<Parser> = LazyLock::new(|| {
    let named = |argument: &String| Path::new(argument).file_name().and_then(|name| PARSERS.iter().find(|(parser, _)| name == *parser));
    env::args().find_map(|argument| named(&argument)).expect("a folder that is called as one of tests/fuzz/corpus is").1
});

fuzz_target!(|input: &[u8]| PARSER(input));
