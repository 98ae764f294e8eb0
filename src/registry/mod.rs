//! What a replica knows, and how it comes to know it.
//!
//! `feed` lists and watches one kind (the kube client's list and watch, not kube-runtime's `watcher`, which swallows bookmarks
//! and hides the list's resourceVersion). `index` (pure) turns objects into the domain's values and settles who owns a client
//! id or an audience. `snapshot` is the immutable result; requests hold one `Arc` of it from start to end.

pub mod feed;
pub mod index;
pub mod snapshot;
pub mod table;
