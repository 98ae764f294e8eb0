//! A proxy in front of the API server that makes faults.
//!
//! It listens on plain HTTP, so that calls can be read; whoever has its kubeconfig acts as the kubeconfig's owner that it was started with.
//!
//! ```ignore
//! let proxy = Proxy::start(&kubeconfig).await?;                                  // proxy.kubeconfig() goes to the process under test
//! proxy.when(calls().patch().of("secrets").named("web")).first(2).answer(409);
//! let mut hold = proxy.when(calls().mutating().except("leases")).nth(3).hold_reply();
//! let held = hold.next(SOON).await?;                                             // the third write is committed, its author waits
//! process.kill()?;                                                               // … in vain
//! ```

mod call;
mod forward;
mod rule;
mod state;
mod stream;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use self::forward::Upstream;
use self::rule::{Fault, Turn};
use self::state::State;
use super::error::Error;
use super::kubeconfig::{Identity, Kubeconfig};
use super::process::free_port;
use super::wait::eventually;

#[allow(unused_imports, reason = "two targets include this module, and neither uses all of it")]
pub use self::{
    call::{Call, Calls, Verb, calls},
    rule::{Held, RuleId},
};

/// Until nobody has a listener any more that was closed.
const CLOSED: Duration = Duration::from_secs(30);

/// A running proxy. It belongs to the runtime it was started in, and ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    kubeconfig: Kubeconfig,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What the connections share.
struct Shared {
    upstream: Upstream,
    state: Mutex<State>,
}

impl Shared {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Proxy {
    /// Starts a proxy that acts as the owner of `kubeconfig`.
    pub async fn start(kubeconfig: &Kubeconfig) -> Result<Self, Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        // A token is sent by the caller itself, as it would be without the proxy; a certificate is shown by the proxy.
        let identity = match &kubeconfig.identity {
            Identity::Token(token) => Identity::Token(token.clone()),
            Identity::Certificate(_) | Identity::Anonymous => Identity::Anonymous,
        };
        let upstream = Upstream::new(kubeconfig).map_err(Error::ProxyClient)?;
        let proxy = Self {
            address,
            kubeconfig: kubeconfig.with_server(format!("http://{address}"), None, identity)?,
            shared: Arc::new(Shared { upstream, state: Mutex::default() }),
            server: Mutex::default(),
        };
        proxy.restore().await?;
        Ok(proxy)
    }

    /// The kubeconfig of those who go through the proxy.
    pub fn kubeconfig(&self) -> &Kubeconfig {
        &self.kubeconfig
    }

    /// Every call so far, in the order of arrival.
    pub fn log(&self) -> Vec<Call> {
        self.shared.state(|state| state.log().cloned().collect())
    }

    /// How many such calls have come.
    pub fn count(&self, calls: &Calls) -> usize {
        self.shared.state(|state| state.log().filter(|call| calls.includes(call)).count())
    }

    /// Forgets the calls so far: counting begins anew. Rules go on counting for themselves.
    pub fn clear_log(&self) {
        self.shared.state(State::clear_log);
    }

    /// How many such watches are open now.
    pub fn open_watches(&self, calls: &Calls) -> usize {
        self.shared.state(|state| state.open_watches(calls))
    }

    /// Begins a rule. It holds until it is removed; of several that apply to a call, the oldest does.
    pub fn when(&self, calls: Calls) -> When<'_> {
        When { shared: &self.shared, calls, turn: Turn::Every }
    }

    /// Ends a rule. Watches that it had silenced go on, with all that they missed; calls that it hangs stay so.
    pub fn remove(&self, rule: RuleId) {
        self.shared.state(|state| state.remove(rule));
    }

    /// Ends all rules.
    pub fn remove_all(&self) {
        self.shared.state(State::remove_all);
    }

    /// Silences the matching watches that are open now; those opened later pass. Nothing comes through, bookmarks neither, and nothing says so.
    pub fn silence_open_watches(&self, calls: &Calls) -> RuleId {
        self.shared.state(|state| state.silence_open_watches(calls))
    }

    /// Ends the matching watches that are open now with the event that says 410 Expired.
    pub fn expire_open_watches(&self, calls: &Calls) {
        self.shared.state(|state| state.expire_open_watches(calls));
    }

    /// Swallows everything, as a network that drops packets does: connections stay open, calls hang, watches are silent.
    pub fn black_hole(&self) -> RuleId {
        self.shared.state(State::black_hole)
    }

    /// Closes all connections and refuses new ones, as an API server does that is down.
    pub async fn cut_off(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            // Once it has ended, the port is closed.
            let _ = server.await;
        }
    }

    /// Accepts connections again.
    pub async fn restore(&self) -> Result<(), Error> {
        self.cut_off().await;
        // A child that another thread starts has the listener that was closed until its exec.
        let listener =
            eventually(CLOSED, &format!("{} can be listened on", self.address), async || TcpListener::bind(self.address).await).await?;
        let server = tokio::spawn(serve(listener, Arc::clone(&self.shared)));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((socket, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| forward::answer(Arc::clone(&shared), request));
            // An error is how a connection is closed without a reply.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// A rule in the making: which of the matching calls, and then what happens to them.
#[must_use = "nothing happens before a fault is named"]
pub struct When<'proxy> {
    shared: &'proxy Arc<Shared>,
    calls: Calls,
    turn: Turn,
}

impl When<'_> {
    /// Only the n-th matching call from now on, counted from 1.
    pub fn nth(self, nth: u64) -> Self {
        Self { turn: Turn::Nth(nth), ..self }
    }

    /// Only the first `count` matching calls from now on.
    pub fn first(self, count: u64) -> Self {
        Self { turn: Turn::First(count), ..self }
    }

    /// All matching calls but the first `count` from now on.
    pub fn after(self, count: u64) -> Self {
        Self { turn: Turn::After(count), ..self }
    }

    /// Answers with this status and its `metav1.Status`; the API server is not asked.
    pub fn answer(self, status: u16) -> RuleId {
        self.add(Fault::Answer(status))
    }

    /// The same without the header that says when to come back.
    pub fn answer_without_retry_after(self, status: u16) -> RuleId {
        self.add(Fault::AnswerWithoutRetryAfter(status))
    }

    /// Closes the connection; the API server is not asked.
    pub fn close(self) -> RuleId {
        self.add(Fault::Close)
    }

    /// Never answers; the API server is not asked.
    pub fn hang(self) -> RuleId {
        self.add(Fault::Hang)
    }

    /// Asks the API server only after this time.
    pub fn delay(self, by: Duration) -> RuleId {
        self.add(Fault::Delay(by))
    }

    /// The API server commits; the caller is told this status.
    pub fn answer_after_commit(self, status: u16) -> RuleId {
        self.add(Fault::AnswerAfterCommit(status))
    }

    /// The API server commits; the caller's connection is closed.
    pub fn drop_reply(self) -> RuleId {
        self.add(Fault::DropReply)
    }

    /// The API server commits; the caller waits for ever.
    pub fn hang_reply(self) -> RuleId {
        self.add(Fault::HangReply)
    }

    /// Silences matching watches: with no turn named those open now too, else those opened from now on.
    pub fn silence(self) -> RuleId {
        self.add(Fault::Silence)
    }

    /// Matching watches opened from now on begin with the event that says 410 Expired, and end.
    pub fn expire(self) -> RuleId {
        self.add(Fault::Expire)
    }

    /// Holds requests before the API server is asked, until the test decides.
    pub fn hold_request(self) -> Hold {
        self.hold(Fault::HoldRequest)
    }

    /// Holds replies after the API server has committed, until the test decides.
    pub fn hold_reply(self) -> Hold {
        self.hold(Fault::HoldReply)
    }

    fn hold(self, fault: impl FnOnce(mpsc::UnboundedSender<Held>) -> Fault) -> Hold {
        let (sender, held) = mpsc::unbounded_channel();
        let shared = Arc::clone(self.shared);
        Hold { rule: self.add(fault(sender)), held, shared }
    }

    fn add(self, fault: Fault) -> RuleId {
        self.shared.state(|state| state.add(self.calls, self.turn, fault))
    }
}

/// A rule that holds calls. Dropped: the rule ends, and what it still holds is closed.
pub struct Hold {
    rule: RuleId,
    held: mpsc::UnboundedReceiver<Held>,
    shared: Arc<Shared>,
}

impl Hold {
    /// Waits until a call is held.
    pub async fn next(&mut self, deadline: Duration) -> Result<Held, Error> {
        let next = tokio::time::timeout(deadline, self.held.recv()).await;
        next.ok().flatten().ok_or_else(|| {
            let last = self.shared.state(|state| state.log().last().map(ToString::to_string));
            let last_seen = last.map_or_else(|| "no call at all".to_owned(), |call| format!("call {call}"));
            Error::Deadline { deadline, what: "a call to hold comes".to_owned(), last_seen }
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.state(|state| state.remove(self.rule));
    }
}
