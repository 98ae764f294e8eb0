//! The laws of rotation, kept by the real plan in a model of everything around it: L1, L2, L4, L6, L7 and L8 in random histories and in all
//! histories of small clusters (`exhaustive`), L3 in `time`. L5 is about what cannot be read, and stands where it is read:
//! `api::register`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and clippy's own exception ends at the #[test] functions"
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod core;
mod exhaustive;
mod explorer;
mod faults;
mod gate;
mod history;
mod laws;
mod leader;
mod rehearsal;
mod replica;
mod rules;
mod server;
mod small;
mod survivors;
mod time;
mod undone;
mod world;

use history::first_broken;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// L1, L2, L4, L6, L7, L8; F1, F2, F4, F5. `KEYWRIGHT_HISTORIES`: how many; `KEYWRIGHT_SEED`: the first one.
#[test]
fn ten_thousand_random_histories_keep_the_laws() {
    let first = number("KEYWRIGHT_SEED").unwrap_or(1);
    let count = number("KEYWRIGHT_HISTORIES").unwrap_or(10_000);
    if let Some((seed, history, broken)) = first_broken(first, count, &[]) {
        panic!("{broken}\nKEYWRIGHT_SEED={seed} KEYWRIGHT_HISTORIES=1, shortened:\n{}", history.tell());
    }
}
