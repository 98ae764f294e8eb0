//! `keywright token --watch`: a file that always holds a token, for programs that can only read a file.
//!
//! Whatever fails (credentials that are not mounted yet or rotated away, an endpoint out of reach, a full disk) is told once per
//! try and tried again; the file keeps what it held.

use super::{Order, TokenError, exchange::ExchangeError, file::TokenFile, renewal};
use crate::{ambient, domain::duration, interrupt};
use jiff::{SignedDuration, Timestamp};
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Timers stand still while a machine sleeps: the clock that does not is looked at this often.
const LOOK: Duration = Duration::from_secs(15);

/// Keeps the file fresh until SIGTERM or SIGINT.
pub(super) async fn keep(order: &Order, file: &TokenFile) -> io::Result<()> {
    let interrupted = interrupt::interrupted()?;
    let mut kept = Kept { order, file, failures: 0, expires: None };
    tokio::select! {
        () = interrupted => Ok(()),
        () = kept.for_ever() => Ok(()),
    }
}

struct Kept<'a> {
    order: &'a Order,
    file: &'a TokenFile,
    failures: u32,
    /// When the token in the file expires, as far as this process knows.
    expires: Option<Timestamp>,
}

impl Kept<'_> {
    async fn for_ever(&mut self) {
        loop {
            let pause = match self.renew().await {
                Ok(lifetime) => self.succeeded(lifetime),
                Err(error) => self.failed(&error),
            };
            sleep(pause).await;
        }
    }

    /// How long the new token is valid.
    async fn renew(&self) -> Result<Duration, TokenError> {
        let issued = self.order.carry_out().await?;
        self.file.replace(&issued.token).map_err(TokenError::File)?;
        Ok(issued.lifetime)
    }

    fn succeeded(&mut self, lifetime: Duration) -> Duration {
        let [chance] = ambient::random();
        let (pause, now) = (renewal::after_success(lifetime, chance), ambient::now());
        let expires = later(now, lifetime);
        (self.failures, self.expires) = (0, Some(expires));
        let path = self.file.path().display();
        tell(&format!("{path} holds a token until {expires:.0}; the next one comes at {:.0}", later(now, pause)));
        pause
    }

    fn failed(&mut self, error: &TokenError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let asked = match error {
            TokenError::Exchange(error) => ExchangeError::retry_after(error),
            _ => None,
        };
        let [chance] = ambient::random();
        let pause = renewal::after_failure(self.failures, asked, chance);
        let path = self.file.path().display();
        let held = match self.expires {
            None => format!("{path} is not written yet"),
            Some(expires) => format!("the token in {path} expires {expires:.0} ({})", duration::relative(expires, ambient::now())),
        };
        tell(&format!("{error}. {held}; next try in {:.0?}", pause));
        pause
    }
}

async fn sleep(pause: Duration) {
    let until = ambient::boot_time().saturating_add(pause);
    loop {
        let left = until.saturating_sub(ambient::boot_time());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

fn later(now: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| now.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// Nobody may be reading.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "keywright: {line}");
}
