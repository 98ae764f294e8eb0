//! What to list and watch, and how often.

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use std::time::Duration;

/// The times and sizes of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Objects per page of a list: 500.
    pub page: u32,
    /// Time for a page of a list, or for a watch to open: 20 s.
    pub answer: Duration,
    /// The server ends a watch after this: 25 s. Whole seconds.
    pub watch: Duration,
    /// A watch that the server has not ended so long after it should have is given up: 5 s.
    pub grace: Duration,
    /// From one head check to the next: 10 s.
    pub head: Duration,
    /// An object of a head check that the watch has not shown after this means that the watch is opened again: 15 s.
    pub unseen: Duration,
    /// Lists that stay older than what was seen before are believed after this: 10 s.
    pub rewind: Duration,
    /// Of one namespace: refusals that go on for so long are believed: 60 s. Longer than an API server that has just started
    /// takes to know all Roles.
    pub lapse: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            page: 500,
            answer: Duration::from_secs(20),
            watch: Duration::from_secs(25),
            grace: Duration::from_secs(5),
            head: Duration::from_secs(10),
            unseen: Duration::from_secs(15),
            rewind: Duration::from_secs(10),
            lapse: Duration::from_secs(60),
        }
    }
}

/// What to list and watch.
#[derive(Clone)]
pub struct Source<K> {
    /// The kind and the namespace, or all of them. Its client should be one of [`crate::cluster::watches`].
    pub api: Api<K>,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector, as in `metadata.name=kw-keys`.
    pub fields: Option<String>,
    /// Whether the right to it goes with its namespace, so that a lasting refusal (403) means that nothing is there.
    pub lapses: bool,
    /// Times and sizes.
    pub pace: Pace,
}

impl<K> Source<K> {
    /// Everything of the API, at the usual pace.
    #[must_use]
    pub fn new(api: Api<K>) -> Self {
        Self { api, labels: None, fields: None, lapses: false, pace: Pace::default() }
    }

    /// All objects of the kind, or those in one namespace, which may go, and the right to read there with it.
    #[must_use]
    pub fn at(kube: Client, namespace: Option<&str>) -> Self
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            None => Self::new(Api::all(kube)),
            Some(namespace) => Self { lapses: true, ..Self::new(Api::namespaced(kube, namespace)) },
        }
    }

    /// Only what has these labels.
    #[must_use]
    pub fn labelled(self, selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..self }
    }

    /// Only what has these fields.
    #[must_use]
    pub fn with_fields(self, selector: impl Into<String>) -> Self {
        Self { fields: Some(selector.into()), ..self }
    }

    /// At another pace.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }
}
