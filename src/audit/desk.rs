//! Which events are written, and where requests hand them in. Never waits: what does not fit is counted instead.

use super::event::Event;
use prometheus_client::metrics::counter::Counter;
use std::{
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// So many refusals of one second are written, of others only how many there were: whoever can reach the port can be refused as
/// often as he likes, and is not to fill a disk by it.
pub const REFUSALS_PER_SECOND: u32 = 50;
/// Events that wait to be written, each of a few hundred bytes.
const QUEUE: usize = 4_096;

/// The part of the successes that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of 2³².
    part: u64,
}

/// Not a part of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number from 0 (none) to 1 (all), as 0.01 for one in a hundred")]
pub struct ShareError;

/// The events of one replica.
#[derive(Debug)]
pub struct Desk {
    successes: Share,
    refusals: Mutex<Second>,
    events: mpsc::Sender<Event>,
    /// Since the last one that was written.
    left_out: AtomicU64,
    left_out_ever: Counter,
}

/// The refusals of one second.
#[derive(Debug, Default)]
struct Second {
    number: u64,
    refusals: u32,
}

impl Share {
    /// Every one.
    pub const ALL: Self = Self { part: 1 << 32 };
    /// Not one.
    pub const NONE: Self = Self { part: 0 };

    /// `draw` gives a random number, which is not asked for where nothing depends on it.
    fn takes(self, draw: impl FnOnce() -> u32) -> bool {
        match self {
            Self::ALL => true,
            Self::NONE => false,
            Self { part } => u64::from(draw()) < part,
        }
    }
}

impl FromStr for Share {
    type Err = ShareError;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is from 0 to 2³²")]
    fn from_str(text: &str) -> Result<Self, ShareError> {
        let share: f64 = text.parse().map_err(|_| ShareError)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(ShareError);
        }
        let part = (share * 4_294_967_296.0).ceil() as u64;
        Ok(Self { part })
    }
}

impl Desk {
    /// The desk, and what it hands on.
    #[must_use]
    pub fn new(successes: Share, left_out_ever: Counter) -> (Self, mpsc::Receiver<Event>) {
        let (events, queue) = mpsc::channel(QUEUE);
        (Self { successes, refusals: Mutex::default(), events, left_out: AtomicU64::default(), left_out_ever }, queue)
    }

    /// Whether the next token is told of, if it is issued: asked first, so that an event which nobody reads is never made. `draw` gives a
    /// random number.
    pub fn takes_success(&self, draw: impl FnOnce() -> u32) -> bool {
        self.successes.takes(draw)
    }

    /// Hands in an event. `now` is a monotonic clock.
    pub fn tell(&self, mut event: Event, now: Duration) {
        if event.is_refusal() && !self.refusals.lock().unwrap_or_else(PoisonError::into_inner).has_room(now) {
            return self.leave_out(0);
        }
        event.left_out = self.left_out.swap(0, Relaxed);
        if let Err(mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) = self.events.try_send(event) {
            self.leave_out(event.left_out);
        }
    }

    /// One more, besides those that would have been told with it.
    fn leave_out(&self, untold: u64) {
        self.left_out.fetch_add(untold + 1, Relaxed);
        self.left_out_ever.inc();
    }
}

impl Second {
    fn has_room(&mut self, now: Duration) -> bool {
        if self.number != now.as_secs() {
            *self = Self { number: now.as_secs(), refusals: 0 };
        }
        let has_room = self.refusals < REFUSALS_PER_SECOND;
        self.refusals += u32::from(has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::event::{Purpose, Request, Token, Wanted, Who},
        *,
    };
    use jiff::Timestamp;
    use std::net::{IpAddr, Ipv4Addr};

    fn request() -> Request {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Request { purpose: Purpose::Token, answered: Timestamp::UNIX_EPOCH, address, trace_id: None }
    }

    fn refusal() -> Event {
        let description = "client authentication failed".to_owned();
        Event::refused(request(), Who::default(), Wanted::default(), ("invalid_client", description))
    }

    fn success() -> Event {
        let token = Token { jti: "a".to_owned(), expires_in: Some(900) };
        Event::issued(request(), Who::default(), Wanted::default(), token)
    }

    fn no_draw() -> u32 {
        panic!("nothing depends on it")
    }

    fn queued(queue: &mut mpsc::Receiver<Event>) -> Vec<Event> {
        std::iter::from_fn(|| queue.try_recv().ok()).collect()
    }

    #[test]
    fn a_share_is_from_none_to_all() {
        assert_eq!(("0".parse(), "1".parse(), "1.0".parse()), (Ok(Share::NONE), Ok(Share::ALL), Ok(Share::ALL)));
        for wrong in ["", "-0.1", "1.01", "100", "NaN", "inf", "all", "1%"] {
            assert_eq!(wrong.parse::<Share>(), Err(ShareError), "{wrong}");
        }
        let smallest: Share = "1e-300".parse().unwrap();
        assert!(smallest.takes(|| 0) && !smallest.takes(|| 1));
    }

    #[test]
    fn one_success_in_so_many_is_taken() {
        for (share, expected) in [("0.25", 250), ("0.1", 100), ("0.001", 1)] {
            let (desk, _queue) = Desk::new(share.parse().unwrap(), Counter::default());
            let taken = (0..1_000_u32).filter(|draw| desk.takes_success(|| draw * 4_294_967 + 2_000_000)).count();
            assert_eq!(taken, expected, "{share}");
        }
        for (share, taken) in [(Share::ALL, true), (Share::NONE, false)] {
            assert_eq!(Desk::new(share, Counter::default()).0.takes_success(no_draw), taken);
        }
    }

    /// A flood is counted, and the count told by the next event; successes are written meanwhile.
    #[test]
    fn so_many_refusals_a_second_are_written() {
        let counter = Counter::default();
        let (desk, mut queue) = Desk::new(Share::ALL, counter.clone());
        (0..1_000).for_each(|_| desk.tell(refusal(), Duration::from_millis(7_300)));
        assert_eq!(queued(&mut queue).len(), 50);
        desk.tell(success(), Duration::from_millis(7_400));
        assert_eq!(queued(&mut queue).pop().map(|event| event.left_out), Some(950));
        desk.tell(refusal(), Duration::from_secs(8));
        assert_eq!(queued(&mut queue), [refusal()]);
        assert_eq!(counter.get(), 950);
    }

    /// Nobody reads the log: nobody waits for it.
    #[test]
    fn what_the_queue_does_not_hold_is_counted() {
        let counter = Counter::default();
        let (desk, mut queue) = Desk::new(Share::ALL, counter.clone());
        (0..QUEUE + 3).for_each(|_| desk.tell(success(), Duration::ZERO));
        assert_eq!(queued(&mut queue).len(), QUEUE);
        desk.tell(success(), Duration::ZERO);
        assert_eq!((queued(&mut queue).pop().map(|event| event.left_out), counter.get()), (Some(3), 3));
    }
}
