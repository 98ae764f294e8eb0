//! A wall clock that tests move: that of this process is off by what a file says. Only with the cargo feature `test-clock`,
//! which the crate's own tests switch on (a dev-dependency on itself) and no image has.

use jiff::{SignedDuration, Timestamp};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::Duration,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// By how many milliseconds the clock is off.
static OFFSET: AtomicI64 = AtomicI64::new(0);

/// From now on the wall clock is off by the milliseconds that the file says; none while it is not there. What is in use stands
/// in a file beside it, with the extension `seen`.
pub fn follow(path: PathBuf) {
    take_over(&path);
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK_EVERY);
            take_over(&path);
        }
    });
}

pub(super) fn moved(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_millis(OFFSET.load(Ordering::Relaxed))).unwrap_or(now)
}

fn take_over(path: &Path) {
    let Some(offset) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i64>().ok()) else { return };
    if OFFSET.swap(offset, Ordering::Relaxed) != offset {
        // Whoever moved the clock waits for this.
        let _ = std::fs::write(path.with_extension("seen"), offset.to_string());
    }
}
