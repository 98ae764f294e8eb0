//! H07, S16: every parser of outside input with the inputs of `corpus/`, whole, cut, changed and mixed. None panics, and none takes long.
//!
//! The changes are drawn from a seed, so that a failure comes again. `FUZZ_ROUNDS` says how many inputs each parser gets; a parser that
//! fails is told together with the input, which then belongs into the corpus.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod parsers;

use parsers::{PARSERS, Parser};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{fs, panic::catch_unwind, path::Path};

/// How many inputs, unless `FUZZ_ROUNDS` says otherwise.
const ROUNDS: u32 = 20_000;

/// The inputs of one parser.
fn corpus(parser: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(parser);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What stands out to parsers.
const WORDS: [&[u8]; 22] = [
    b"%",
    b"&",
    b"=",
    b"+",
    b".",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\0",
    b"\n",
    b"\xff",
    b"%zz",
    b"null",
    b"-1",
    b"1e999",
    b"kid",
    b"aud",
    b"\xf0\x9f\x98\x80",
];

fn changed(random: &mut StdRng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut input = inputs.choose(random).unwrap().clone();
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..7) {
            0 => input.truncate(at),
            1 => drop(input.splice(at..at, WORDS.choose(random).unwrap().iter().copied())),
            2 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            3 if at < input.len() => drop(input.remove(at)),
            4 => {
                let other = inputs.choose(random).unwrap();
                input.splice(at.., other[random.random_range(0..=other.len())..].iter().copied());
            }
            5 => {
                let piece = input[at..input.len().min(at + 16)].to_vec();
                (0..random.random_range(1..20)).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
            }
            _ => input.insert(at, random.random()),
        }
        input.truncate(64 * 1024);
    }
    input
}

fn fuzz(parser: &str, parse: Parser) {
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let inputs = corpus(parser);
    inputs.iter().for_each(|input| parse(input));
    let mut random = StdRng::seed_from_u64(0);
    for _ in 0..rounds {
        let input = changed(&mut random, &inputs);
        assert!(catch_unwind(|| parse(&input)).is_ok(), "{parser} fails on b\"{}\"", input.escape_ascii());
    }
}

/// At once: each takes seconds.
#[test]
fn no_parser_panics() {
    let failed: Vec<_> = std::thread::scope(|scope| {
        let running = PARSERS.map(|(parser, parse)| (parser, scope.spawn(move || fuzz(parser, parse))));
        running.into_iter().filter_map(|(parser, running)| running.join().is_err().then_some(parser)).collect()
    });
    assert!(failed.is_empty(), "{failed:?}: the input is told above, and belongs into the corpus");
}

/// A failure is found: the runner itself.
#[test]
fn a_parser_that_panics_is_told() {
    let refuses_braces: Parser = |input| assert!(!input.starts_with(b"{"), "as planted");
    let told = catch_unwind(|| fuzz("json", refuses_braces)).is_err();
    assert!(told);
}
