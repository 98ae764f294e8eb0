//! Which call meets which fault.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::call::{Call, Calls};

/// Names a rule, for `Proxy::remove`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(pub(super) u64);

/// What happens to a call.
#[derive(Clone)]
pub(super) enum Fault {
    /// The API server is not asked.
    Answer(u16),
    AnswerWithoutRetryAfter(u16),
    Close,
    Hang,
    HoldRequest(mpsc::UnboundedSender<Held>),
    /// The API server is asked later.
    Delay(Duration),
    /// The API server is asked, and its reply does not arrive.
    AnswerAfterCommit(u16),
    DropReply,
    HangReply,
    HoldReply(mpsc::UnboundedSender<Held>),
    /// A watch is opened, and then nothing comes.
    Silence,
    /// A watch is opened, and its first event says that it has expired.
    Expire,
}

impl Fault {
    pub(super) fn is_after_commit(&self) -> bool {
        matches!(self, Self::AnswerAfterCommit(_) | Self::DropReply | Self::HangReply | Self::HoldReply(_))
    }
}

/// Which of the matching calls, counted from when the rule was made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    Every,
    Nth(u64),
    First(u64),
    After(u64),
}

pub(super) struct Rule {
    pub(super) id: RuleId,
    pub(super) calls: Calls,
    pub(super) turn: Turn,
    pub(super) fault: Fault,
    pub(super) seen: u64,
}

impl Rule {
    /// Counts the call if it matches, and says whether its turn has come.
    pub(super) fn applies(&mut self, call: &Call) -> bool {
        if !self.calls.includes(call) {
            return false;
        }
        self.seen += 1;
        match self.turn {
            Turn::Every => true,
            Turn::Nth(nth) => self.seen == nth,
            Turn::First(first) => self.seen <= first,
            Turn::After(count) => self.seen > count,
        }
    }
}

/// What becomes of a held call.
pub(super) enum Verdict {
    Release,
    Answer(u16),
}

/// A call that stands still in the proxy. Dropped: its connection is closed.
pub struct Held {
    call: Call,
    verdict: oneshot::Sender<Verdict>,
}

impl Held {
    pub(super) fn new(call: Call) -> (Self, oneshot::Receiver<Verdict>) {
        let (verdict, decided) = oneshot::channel();
        (Self { call, verdict }, decided)
    }

    /// Which call it is.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Lets it go on: the request to the API server, or the reply to the caller.
    pub fn release(self) {
        // A caller that has gone meanwhile is no failure.
        let _ = self.verdict.send(Verdict::Release);
    }

    /// Answers the caller in the API server's place.
    pub fn answer(self, status: u16) {
        let _ = self.verdict.send(Verdict::Answer(status));
    }

    /// Closes the connection: the caller never learns.
    pub fn close(self) {}
}
