//! List and watch of one kind.
//!
//! One task per kind. It makes a consistent list (never `resourceVersion=0`) of everything in one piece, watches what comes
//! after, and hands both over in order, with the version reached. A watch can be open and silent (F9), so the server is told
//! to end it after 25 s and it is given up 5 s later; it says a bookmark shortly before. Beside it, every 10 s, a consistent
//! list of one object gives the head: when the watch has reached it, the snapshot is known to have agreed with the API server
//! at the moment when that check began; an object that the watch does not show within 15 s, or no answer within 20 s, means
//! that the watch is opened again.
//!
//! Where the right to a namespace ends with the namespace, a server that goes on answering 403 means that nothing is there any
//! more. A short while of it means nothing: a server that has just started may not know all Roles yet.

mod backoff;
mod source;
mod track;
mod wire;

use crate::{ambient, domain::names::ObjectName, replica::contact::Moment};
use backoff::Backoff;
use kube::Resource;
use serde::de::DeserializeOwned;
pub use source::{Pace, Source};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use track::{Backwards, Lapse, Track, Verdict};
pub use wire::Unreadable;
use wire::{Fault, Head, Line, Wire};

/// What a feed says, in order. When an event has been handled, everything up to its `version` is known.
#[derive(Debug)]
pub enum Event<K> {
    /// All there is: replaces, as a whole, what was known before.
    Listed {
        /// The objects.
        objects: Vec<K>,
        /// Those that this version cannot read: what was known of them before (if of the same UID) is to be kept.
        unreadable: Vec<Unreadable>,
        /// The version of the list. Lower than what was reached before only after etcd was restored.
        version: u64,
        /// When the list began.
        begun: Moment,
    },
    /// One object is new or was changed.
    Applied {
        /// The object.
        object: K,
        /// Its version.
        version: u64,
    },
    /// One object is, or was changed into, something that this version cannot read: what was known of it (if of the same UID) is to
    /// be kept.
    Unreadable {
        /// Which, and why.
        object: Unreadable,
        /// Its version.
        version: u64,
    },
    /// One object is gone, or is not selected any more.
    Deleted {
        /// Which one.
        name: ObjectName,
        /// The version of its deletion.
        version: u64,
    },
    /// The right to it is gone, and with it all there was: replaces, as a whole, what was known before. Said again by each try.
    Lapsed {
        /// When the try began.
        begun: Moment,
    },
    /// A bookmark: nothing has changed up to here.
    Progress {
        /// The version.
        version: u64,
    },
    /// All that was handed over agreed with the API server at the moment `begun`.
    Agreed {
        /// When the head check (or the list) began.
        begun: Moment,
    },
}

/// Feeds `sink` until `stop`, or until nobody takes the events any more. Failures are logged and tried again.
///
/// `wanted` asks for lists: when it says a moment, and the last list did not begin after it, everything is listed again
/// (a join, or the end of a doubt, needs that).
pub async fn run<K>(source: Source<K>, sink: mpsc::Sender<Event<K>>, wanted: watch::Receiver<Option<Moment>>, stop: CancellationToken)
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
{
    let wire = Arc::new(Wire::new(source.api, source.labels, source.fields));
    let (answers, heads) = mpsc::channel(1);
    let known = Arc::new(AtomicU64::new(0));
    let checks = check_heads(Arc::clone(&wire), source.pace, Arc::clone(&known), answers);
    let backoff = Backoff::new(u64::from_be_bytes(ambient::random()));
    let lapse = source.lapses.then(|| Lapse::new(source.pace.lapse));
    let feed = Feed { wire, pace: source.pace, sink, wanted, heads, known, track: Track::default(), backoff, lapse };
    tokio::select! {
        () = feed.follow() => {}
        () = checks => {}
        () = stop.cancelled() => {}
    }
}

/// Asks for the head every now and then, whatever the watch does.
async fn check_heads<K>(wire: Arc<Wire<K>>, pace: Pace, known: Arc<AtomicU64>, answers: mpsc::Sender<Result<Head, Fault>>)
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    loop {
        sleep(pace.head).await;
        let known = known.load(Ordering::Acquire);
        let answer = wire.head(known, pace.answer).await;
        let pause = match &answer {
            Err(Fault::Refused { retry_after, .. }) => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if answers.send(answer).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// A watch that the server ends sooner than this counts as failed, so that it is not opened again and again.
const SHORT: Duration = Duration::from_secs(1);

/// Nobody takes the events any more.
struct Unwanted;

/// What to do next.
enum Next {
    List,
    Watch(u64),
}

/// Why a step ended before it came to its end.
enum Stop {
    Failed(Fault),
    Unwanted,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<Unwanted> for Stop {
    fn from(Unwanted: Unwanted) -> Self {
        Self::Unwanted
    }
}

struct Feed<K> {
    wire: Arc<Wire<K>>,
    pace: Pace,
    sink: mpsc::Sender<Event<K>>,
    wanted: watch::Receiver<Option<Moment>>,
    heads: mpsc::Receiver<Result<Head, Fault>>,
    /// What a head check that begins now must at least show.
    known: Arc<AtomicU64>,
    track: Track,
    backoff: Backoff,
    /// Of a namespace that may go.
    lapse: Option<Lapse>,
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Feed<K> {
    async fn follow(mut self) {
        let mut next = Next::List;
        loop {
            let begun = ambient::moment();
            let done = match next {
                Next::List => self.list().await,
                Next::Watch(from) => self.watch(from).await,
            };
            next = match done {
                Ok(next) => next,
                Err(Stop::Unwanted) => return,
                Err(Stop::Failed(fault)) => {
                    self.log(&fault);
                    let pause = self.backoff.failed(&fault);
                    let Ok(lapsed) = self.lapsed(&fault, begun).await else { return };
                    sleep(pause).await;
                    if lapsed { Next::List } else { self.after(&fault, next) }
                }
            };
        }
    }

    /// Whether nothing is there any more, by a refusal that has lasted.
    async fn lapsed(&mut self, fault: &Fault, begun: Moment) -> Result<bool, Unwanted> {
        let refused = matches!(fault, Fault::Refused { code: 403, .. });
        let lapsed = self.lapse.as_mut().is_some_and(|lapse| lapse.tried(refused, ambient::boot_time()));
        if lapsed {
            self.track = Track::default();
            self.emit(Event::Lapsed { begun }).await?;
        }
        Ok(lapsed)
    }

    /// Something was answered.
    fn succeeded(&mut self) {
        self.backoff.succeeded();
        if let Some(lapse) = &mut self.lapse {
            lapse.tried(false, ambient::boot_time());
        }
    }

    /// A watch goes on where it was, if the server still knows that version.
    fn after(&self, fault: &Fault, next: Next) -> Next {
        match (next, self.track.reached()) {
            (Next::Watch(_), Some(reached)) if !matches!(fault, Fault::Expired { .. } | Fault::Older { .. }) => Next::Watch(reached),
            _ => Next::List,
        }
    }

    async fn list(&mut self) -> Result<Next, Stop> {
        let listing = self.wire.list(self.pace.page, self.pace.answer).await?;
        let (version, begun) = (listing.version, listing.begun);
        if let Verdict::Refuse { reached } = self.track.listed(version, begun, ambient::boot_time(), &self.pace) {
            return Err(Fault::Older { kind: self.wire.kind(), version, reached }.into());
        }
        self.succeeded();
        for object in &listing.unreadable {
            self.log_unreadable(object);
        }
        self.emit(Event::Listed { objects: listing.objects, unreadable: listing.unreadable, version, begun }).await?;
        self.emit(Event::Agreed { begun }).await?;
        Ok(Next::Watch(version))
    }

    async fn watch(&mut self, from: u64) -> Result<Next, Stop> {
        if self.is_list_wanted() {
            return Ok(Next::List);
        }
        let mut lines = self.wire.watch(from, self.pace.watch, self.pace.answer).await?;
        let opened = ambient::boot_time();
        self.track.reopened();
        let mut end = pin!(sleep(self.pace.watch + self.pace.grace));
        loop {
            let patience = self.track.overdue_at().map(|at| at.saturating_sub(ambient::boot_time()));
            tokio::select! {
                line = lines.next() => match line? {
                    Some(line) => self.handle(line).await?,
                    None if ambient::boot_time().saturating_sub(opened) < SHORT => return Err(self.wire.cut().into()),
                    None => return Ok(self.again(from)),
                },
                Some(head) = self.heads.recv() => if let Some(next) = self.check(head).await? {
                    return Ok(next);
                },
                Ok(()) = self.wanted.changed() => if self.is_list_wanted() {
                    return Ok(Next::List);
                },
                () = &mut end => return Err(self.wire.silent().into()),
                () = sleep(patience.unwrap_or_default()), if patience.is_some() => return Err(self.wire.silent().into()),
            }
        }
    }

    fn again(&self, from: u64) -> Next {
        Next::Watch(self.track.reached().unwrap_or(from))
    }

    fn is_list_wanted(&self) -> bool {
        self.wanted.borrow().is_some_and(|wanted| !self.track.is_listed_after(wanted))
    }

    async fn handle(&mut self, line: Line<K>) -> Result<(), Unwanted> {
        self.succeeded();
        let (Line::Applied(_, version) | Line::Unreadable(_, version) | Line::Deleted(_, version) | Line::Bookmark(version)) = &line;
        let agreed = self.track.advance(*version);
        let version = self.track.reached().unwrap_or(*version);
        let event = match line {
            Line::Applied(object, _) => Event::Applied { object, version },
            Line::Deleted(name, _) => Event::Deleted { name, version },
            Line::Bookmark(_) => Event::Progress { version },
            Line::Unreadable(object, _) => {
                self.log_unreadable(&object);
                Event::Unreadable { object, version }
            }
        };
        self.emit(event).await?;
        self.agree(agreed).await
    }

    /// Looks at the answer to a head check.
    async fn check(&mut self, answer: Result<Head, Fault>) -> Result<Option<Next>, Stop> {
        let head = match answer {
            Ok(head) => head,
            Err(Fault::Refused { .. }) => return Ok(None), // An answer: the server is there.
            Err(fault) => return Err(fault.into()),
        };
        match self.track.head(head, ambient::boot_time(), &self.pace) {
            Ok(agreed) => self.agree(agreed).await?,
            Err(Backwards { version, reached }) => {
                return Err(Fault::Older { kind: self.wire.kind(), version, reached }.into());
            }
        }
        Ok(None)
    }

    async fn agree(&self, begun: Option<Moment>) -> Result<(), Unwanted> {
        match begun {
            Some(begun) => self.emit(Event::Agreed { begun }).await,
            None => Ok(()),
        }
    }

    /// Hands over an event. What it says is known from then on, so that a head check may not show less.
    async fn emit(&self, event: Event<K>) -> Result<(), Unwanted> {
        self.known.store(self.track.reached().unwrap_or_default(), Ordering::Release);
        self.sink.send(event).await.map_err(|_| Unwanted)
    }

    fn log(&self, fault: &Fault) {
        let kind = self.wire.kind();
        let error = fault as &dyn std::error::Error;
        if self.backoff.failures().is_power_of_two() || self.backoff.failures() == 0 {
            tracing::warn!(kind, error, failures = self.backoff.failures(), "a list or watch failed and is tried again");
        } else {
            tracing::debug!(kind, error, failures = self.backoff.failures(), "a list or watch failed and is tried again");
        }
    }

    fn log_unreadable(&self, object: &Unreadable) {
        let (kind, why) = (self.wire.kind(), object.why.as_str());
        tracing::warn!(kind, object = %object.name, why, "an object cannot be read: what was known of it stays in force");
    }
}
