//! The body of a watch: whole events, as long as they may pass.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use tokio::sync::watch;

use super::Shared;
use super::state::Flow;

/// What the API server sends when a watch has fallen behind what it still knows.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#,
    "\n"
);

/// Takes the watch off the list of open ones when it ends, whoever ended it.
pub(super) struct Registration {
    shared: Arc<Shared>,
    number: u64,
}

impl Registration {
    pub(super) fn new(shared: &Arc<Shared>, number: u64) -> Self {
        Self { shared: Arc::clone(shared), number }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.state(|state| state.close(self.number));
    }
}

/// Passes events on. While the watch is silent nothing is read either: once it may pass, all that it missed comes, as after a lost connection's
/// packets are sent again.
pub(super) fn events<S>(
    upstream: S,
    flow: watch::Receiver<Flow>,
    registration: Registration,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static
where
    S: Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static,
{
    let state = Some((Box::pin(upstream), flow, BytesMut::new(), registration));
    stream::unfold(state, |state| async move {
        let (mut upstream, mut flow, mut unfinished, registration) = state?;
        loop {
            let now = *flow.borrow_and_update();
            match now {
                Flow::Expired => return Some((Ok(Bytes::from_static(EXPIRED.as_bytes())), None)),
                Flow::Silent => flow.changed().await.ok()?,
                Flow::Passing => {
                    let received = tokio::select! {
                        biased;
                        changed = flow.changed() => {
                            changed.ok()?;
                            continue;
                        }
                        received = upstream.next() => received?,
                    };
                    match received {
                        Ok(bytes) => unfinished.extend_from_slice(&bytes),
                        Err(error) => return Some((Err(error), None)),
                    }
                    // An event is a line. Only whole ones pass, so that another can be put in between.
                    if let Some(end) = unfinished.iter().rposition(|byte| *byte == b'\n') {
                        let whole = unfinished.split_to(end + 1).freeze();
                        return Some((Ok(whole), Some((upstream, flow, unfinished, registration))));
                    }
                }
            }
        }
    })
}
