//! Waiting on a condition, never for a fixed time.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::error::Error;

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How often something is measured that is late.
const TRIES: usize = 3;

/// Polls `condition` until it is `Ok`, and returns what it then holds. `Err` is what was seen instead: the last one stands in the error
/// that is returned when `deadline` has passed.
pub async fn eventually<T, S: Display>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, S>,
) -> Result<T, Error> {
    let started = Instant::now();
    let mut last_seen = String::from("nothing, the first look did not end");
    let mut pause = SHORTEST_PAUSE;
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last_seen = seen.to_string(),
            Err(_) => {}
        }
        // Not left to the time-out: it never ends a look that needs no waiting.
        if started.elapsed() >= deadline {
            return Err(Error::Deadline { deadline, what: what.to_owned(), last_seen });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Measures until it is in time, and returns what is left of that try. What a busy machine does besides makes one try late; what is late by
/// itself is late at each.
pub async fn in_time<T>(limit: Duration, what: &str, mut measure: impl AsyncFnMut() -> (Duration, T)) -> Result<T, Error> {
    let mut took = Vec::new();
    while took.len() < TRIES {
        let (time, left) = measure().await;
        if time <= limit {
            return Ok(left);
        }
        took.push(time);
    }
    Err(Error::Deadline { deadline: limit, what: what.to_owned(), last_seen: format!("it took {took:?}") })
}
