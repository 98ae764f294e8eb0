//! S6, C11: failures of different kinds take the same time. The longer it looks, the smaller a difference it sees:
//! `KEYWRIGHT_TIMING=1000000 cargo test --release --test http timing -- --nocapture` on a quiet machine.

use crate::fixture::{Replica, SECRET, basic};
use axum::http::HeaderName;
use keywright::ambient;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Per pair of failures, interleaved by chance, where `KEYWRIGHT_TIMING` says no other number. What else a busy machine does meets both
/// alike: it hides a difference, and makes none.
const REQUESTS: u32 = 10_000;
/// Not counted: until everything is warm.
const WARM_UP: u32 = 2_000;
/// The bound of test vector leakage assessment: |t| of 4.5 is a difference with a confidence of 99.999 %.
const BOUND: f64 = 4.5;
/// What takes longer was interrupted, in nanoseconds.
const INTERRUPTED: f64 = 200_000.0;

/// Welford's running mean and variance.
#[derive(Default)]
struct Times {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Times {
    fn add(&mut self, time: f64) {
        self.count += 1.0;
        let delta = time - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (time - self.mean);
    }

    fn variance_of_mean(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

fn welch(a: &Times, b: &Times) -> f64 {
    (a.mean - b.mean) / (a.variance_of_mean() + b.variance_of_mean()).sqrt()
}

/// A request that fails, and what it is called. All client ids have the same length, as has every secret.
fn failures() -> [(&'static str, (HeaderName, &'static str)); 4] {
    let wrong = "x".repeat(SECRET.len());
    [
        ("wrong secret", basic("billing.partly", &wrong)),
        ("unknown", basic("billing.nobody", SECRET)),
        ("disabled", basic("billing.switch", SECRET)),
        ("wrong method", basic("billing.method", SECRET)),
    ]
}

#[tokio::test]
async fn failures_of_every_kind_take_the_same_time() {
    let requests = std::env::var("KEYWRIGHT_TIMING").map_or(REQUESTS, |number| number.parse().unwrap());
    let replica = Replica::forbearing();
    let mut random = StdRng::seed_from_u64(1);
    let [wrong, others @ ..] = failures();
    let mut worst: f64 = 0.0;
    for other in others {
        let mut times = [Times::default(), Times::default()];
        for round in 0..requests + WARM_UP {
            let which = usize::from(random.random::<bool>());
            let fields = [if which == 0 { wrong.1.clone() } else { other.1.clone() }];
            let begun = ambient::boot_time();
            let answer = replica.post(&fields, "grant_type=client_credentials").await;
            let took = (ambient::boot_time() - begun).as_secs_f64() * 1e9;
            assert_eq!(answer.status, 401);
            if round >= WARM_UP && took < INTERRUPTED {
                times[which].add(took);
            }
        }
        let t = welch(&times[0], &times[1]);
        println!("{} {:.0} ns, {} {:.0} ns: t = {t:.2}", wrong.0, times[0].mean, other.0, times[1].mean);
        worst = worst.max(t.abs());
    }
    assert!(worst < BOUND, "|t| = {worst}");
}
