//! The only clock and the only randomness. Decisions take both as arguments.

use crate::{
    domain::credential::{CredentialId, SecretValue},
    replica::contact::Moment,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use std::time::Duration;
use zeroize::Zeroizing;

#[cfg(feature = "test-clock")]
pub mod test_clock;

/// The wall clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one clock")]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    #[cfg(feature = "test-clock")]
    let now = test_clock::moved(now);
    now
}

/// A monotonic clock that goes on while the machine sleeps (`CLOCK_BOOTTIME`), since an arbitrary start.
#[must_use]
pub fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Both clocks at this moment. For what they are used together see [`Moment`].
#[must_use]
pub fn moment() -> Moment {
    Moment { boot: boot_time(), wall: now() }
}

/// Random bytes from the operating system's generator.
///
/// # Panics
/// Never returns without randomness: the process ends where the system has none.
#[must_use]
#[expect(clippy::disallowed_methods, clippy::expect_used, reason = "the one source; without randomness no secret may be made")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A new client secret and its id.
#[must_use]
pub fn draw_credential() -> (CredentialId, SecretValue) {
    let bytes = Zeroizing::new(random::<32>());
    (CredentialId::from_random(random()), SecretValue::from_random(&bytes))
}

/// A new `jti` (RFC 7519 §4.1.7): 128 random bits as 22 base64url characters.
#[must_use]
pub fn draw_jti() -> String {
    URL_SAFE_NO_PAD.encode(random::<16>())
}
