//! The tasks that run for as long as the process does. The end of any one of them, by a panic or not, is the end of the process:
//! a replica whose watch, heartbeat or controller is gone would go on answering from what it knew, and nobody would notice.

use std::{collections::HashMap, fmt, future::Future};
use tokio::task::{Id, JoinError, JoinSet};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// The watch of `OAuthClient`s.
    Clients,
    /// The watch of `ProtectedResource`s.
    Resources,
    /// The watch of namespaces.
    Namespaces,
    /// The watch of the key Secret.
    Keys,
    /// The watch of the serving certificate.
    Certificate,
    /// What swaps the snapshot.
    Snapshot,
    /// Health and metrics.
    Health,
    /// The token endpoint.
    Tokens,
    /// What writes the audit log.
    Audit,
    /// What keeps the list of revoked tokens.
    Revocations,
    /// What answers questions about ServiceAccount tokens.
    ServiceAccounts,
    /// The watch of a trust domain's bundle.
    Trust,
    /// This replica's Lease.
    Heartbeat,
    /// What this replica reports of uses.
    Uses,
    /// The leader's Lease.
    Election,
    /// The controller.
    Controller,
}

/// A task that is no more, though nobody has stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    task: Task,
    panicked: bool,
}

/// All that run.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, Task>,
    panicked: Option<Ended>,
}

impl Tasks {
    pub(super) fn spawn(&mut self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(work);
        self.names.insert(handle.id(), task);
    }

    /// Waits for the end of any of them, which none comes to before it is told to.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.next().await {
                return ended;
            }
            if self.running.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until these have ended, which were told to.
    pub(super) async fn finished(&mut self, tasks: &[Task]) {
        while self.names.values().any(|running| tasks.contains(running)) {
            let ended = self.next().await;
            self.panicked = self.panicked.or(ended.filter(|ended| ended.panicked));
        }
    }

    /// Waits until all have ended. One that panicked while it was being stopped is told.
    pub(super) async fn all_finished(&mut self) -> Option<Ended> {
        while !self.running.is_empty() {
            let ended = self.next().await;
            self.panicked = self.panicked.or(ended.filter(|ended| ended.panicked));
        }
        self.panicked
    }

    async fn next(&mut self) -> Option<Ended> {
        let ended = self.running.join_next_with_id().await?;
        let panicked = ended.is_err();
        let id = ended.map_or_else(|error: JoinError| error.id(), |(id, ())| id);
        self.names.remove(&id).map(|task| Ended { task, panicked })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked, which is a defect: please report what the log says of it" } else { "ended by itself" };
        write!(f, "{} {how}; the process ends too, to be started anew", self.task)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clients => "the watch of OAuthClients",
            Self::Resources => "the watch of ProtectedResources",
            Self::Namespaces => "the watch of namespaces",
            Self::Keys => "the watch of the key Secret",
            Self::Certificate => "the watch of the serving certificate",
            Self::Snapshot => "the swap of the snapshot",
            Self::Health => "the health port",
            Self::Tokens => "the token endpoint",
            Self::Audit => "the audit log",
            Self::Revocations => "the list of revoked tokens",
            Self::ServiceAccounts => "the keeper of the cluster's keys",
            Self::Trust => "the watch of a trust domain's bundle",
            Self::Heartbeat => "the heartbeat",
            Self::Uses => "the report of uses",
            Self::Election => "the election of the leader",
            Self::Controller => "the controller",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    /// One that panics, one that ends by itself, beside one that runs.
    #[tokio::test]
    async fn the_end_of_any_task_is_told_with_its_name() {
        for (panics, words) in [(true, "the watch of OAuthClients panicked"), (false, "the watch of OAuthClients ended by itself")] {
            let mut tasks = Tasks::default();
            tasks.spawn(Task::Health, std::future::pending());
            tasks.spawn(Task::Clients, async move { assert!(!panics, "canary") });
            let ended = tasks.ended().await;
            assert_eq!(ended, Ended { task: Task::Clients, panicked: panics });
            assert!(ended.to_string().starts_with(words), "{ended}");
        }
    }

    #[tokio::test]
    async fn those_that_were_told_to_end_are_waited_for_and_others_are_not() {
        let (mut tasks, stop) = (Tasks::default(), CancellationToken::new());
        tasks.spawn(Task::Tokens, stop.clone().cancelled_owned());
        tasks.spawn(Task::Health, std::future::pending());
        stop.cancel();
        tasks.finished(&[Task::Tokens, Task::Controller]).await;
        assert_eq!(tasks.names.values().collect::<Vec<_>>(), [&Task::Health]);
    }

    #[tokio::test]
    async fn a_panic_while_stopping_is_told_in_the_end() {
        let mut tasks = Tasks::default();
        tasks.spawn(Task::Tokens, async {});
        tasks.spawn(Task::Controller, async { panic!("canary") });
        tasks.finished(&[Task::Tokens, Task::Controller]).await;
        assert_eq!(tasks.all_finished().await, Some(Ended { task: Task::Controller, panicked: true }));
    }
}
