//! Looking again and again, until there is what is waited for, the time is over, or somebody says stop.

use crate::ambient;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// What is not there.
#[derive(Debug)]
pub(super) enum Not<E> {
    /// It may come.
    Yet(E),
    /// Waiting does not help.
    Ever(E),
}

/// Why waiting ended without what was waited for.
#[derive(Debug)]
pub(super) enum InVain<E> {
    /// The time is over, and this was seen last.
    Late(E),
    /// Waiting would not help.
    Never(E),
    /// SIGTERM or SIGINT.
    Stopped,
}

/// How long there is.
pub(super) struct Patience {
    ends: Duration,
    stop: CancellationToken,
}

impl Patience {
    /// From now on.
    pub(super) fn of(span: Duration, stop: CancellationToken) -> Self {
        Self { ends: ambient::boot_time().saturating_add(span), stop }
    }

    /// Looks. A look that has begun is not cut short: a request that nobody waits for may be carried out all the same, and what it
    /// made would stay. Each has a time limit of its own.
    pub(super) async fn until<T, E>(&self, mut look: impl AsyncFnMut() -> Result<T, Not<E>>) -> Result<T, InVain<E>> {
        loop {
            if self.stop.is_cancelled() {
                return Err(InVain::Stopped);
            }
            let seen = match look().await {
                Ok(found) => return Ok(found),
                Err(Not::Ever(seen)) => return Err(InVain::Never(seen)),
                Err(Not::Yet(seen)) => seen,
            };
            let left = self.ends.saturating_sub(ambient::boot_time());
            if left.is_zero() {
                return Err(InVain::Late(seen));
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE.min(left)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_a_moment(stop: &CancellationToken) -> Patience {
        Patience::of(PAUSE, stop.clone())
    }

    #[tokio::test]
    async fn what_comes_late_is_seen_and_what_never_comes_is_told() {
        let stop = CancellationToken::new();
        let mut looks = 0;
        let second = async || {
            looks += 1;
            if looks > 1 { Ok(looks) } else { Err(Not::Yet("first")) }
        };
        assert_eq!(Patience::of(Duration::MAX, stop.clone()).until(second).await.unwrap(), 2);
        let late = for_a_moment(&stop).until(async || Err::<(), _>(Not::Yet("there is none"))).await;
        assert!(matches!(late, Err(InVain::Late("there is none"))));
        let never = Patience::of(Duration::MAX, stop.clone()).until(async || Err::<(), _>(Not::Ever("wrong"))).await;
        assert!(matches!(never, Err(InVain::Never("wrong"))));
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait_after_the_look_that_has_begun() {
        let stop = CancellationToken::new();
        let mut looks = 0;
        let look = async || {
            stop.cancel();
            tokio::task::yield_now().await;
            looks += 1;
            Err::<(), _>(Not::Yet("none"))
        };
        assert!(matches!(Patience::of(Duration::MAX, stop.clone()).until(look).await, Err(InVain::Stopped)));
        assert_eq!(looks, 1);
        let found = for_a_moment(&stop).until(async || Ok::<_, Not<()>>(())).await;
        assert!(matches!(found, Err(InVain::Stopped)));
    }
}
