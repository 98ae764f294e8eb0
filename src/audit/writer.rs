//! Writes events, many at once where many wait.

use super::event::Event;
use crate::registry::snapshot::Snapshot;
use arc_swap::ArcSwap;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// Events in one write.
const BATCH: usize = 64;
/// For the last ones, if nobody reads the log.
const LAST: Duration = Duration::from_secs(1);

/// Writes until nobody is left who could hand in another one; where the log takes none, until shortly after `stop`. Which client ids
/// somebody has is looked up here: a request that took the time would tell by it.
pub async fn write(
    mut events: mpsc::Receiver<Event>,
    clients: Arc<ArcSwap<Snapshot>>,
    mut log: impl AsyncWrite + Unpin,
    stop: CancellationToken,
) {
    let all = async {
        let mut batch = Vec::with_capacity(BATCH);
        while events.recv_many(&mut batch, BATCH).await > 0 {
            // In one piece: other lines of this process are written to the same place. One that fails has no other place to be told at.
            let _ = log.write_all(&lines(batch.drain(..).map(|event| event.known_to(&clients.load())))).await;
            let _ = log.flush().await;
        }
    };
    let too_late = async {
        stop.cancelled().await;
        sleep(LAST).await;
    };
    tokio::select! {
        () = all => {}
        () = too_late => {}
    }
}

fn lines(events: impl Iterator<Item = Event>) -> Vec<u8> {
    let mut lines = Vec::new();
    for line in events.filter_map(|event| serde_json::to_vec(&event).ok()) {
        lines.extend(line);
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{
        super::event::{Purpose, Request, Token, Wanted, Who},
        *,
    };
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use std::net::{IpAddr, Ipv4Addr};

    fn event(scope: &str) -> Event {
        let wanted = Wanted { resource: Some("https://a\u{1b}[2J\r\n{\"target\":\"audit\"}".to_owned()), scope: Some(scope.to_owned()) };
        let token = Token { jti: "b".to_owned(), expires_in: Some(900) };
        let who = Who::claimed("billing.worker", "client_secret_basic");
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Event::issued(Request { purpose: Purpose::Token, answered: Timestamp::UNIX_EPOCH, address, trace_id: None }, who, wanted, token)
    }

    /// One line each, whatever stands in it, and all of them before the end.
    #[tokio::test]
    async fn an_event_is_one_line_of_json() {
        let (sender, events) = mpsc::channel(1_000);
        for number in 0..200 {
            sender.try_send(event(&number.to_string())).unwrap();
        }
        drop(sender);
        let mut log = Vec::new();
        write(events, Arc::default(), &mut log, CancellationToken::new()).await;
        let text = String::from_utf8(log).unwrap();
        assert!(!text.contains(['\u{1b}', '\r']));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 200);
        assert_eq!((&lines[199]["scope"], &lines[199]["target"], &lines[199]["client_id"]), (&json!("199"), &json!("audit"), &Value::Null));
    }

    /// A log that takes nothing does not keep the process from ending.
    #[tokio::test]
    async fn a_log_that_nobody_reads_is_given_up_at_the_end() {
        let (sender, events) = mpsc::channel(1);
        let (full, _unread) = tokio::io::duplex(1);
        sender.try_send(event("")).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        write(events, Arc::default(), full, stop).await;
        drop(sender);
    }
}
