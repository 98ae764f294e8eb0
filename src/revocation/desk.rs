//! Where requests find what is revoked, and put what they revoke.

use super::list::{Revoked, TokenHash};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Revocations that wait for a write. Whoever comes later is told so.
const WAITING: usize = 512;

/// The side of the requests.
pub struct Desk {
    revoked: Arc<ArcSwapOption<Revoked>>,
    orders: mpsc::Sender<Order>,
}

/// The side of whoever keeps the list.
pub struct Keeping {
    /// What requests read; `None`: not all of it is known yet.
    pub revoked: Arc<ArcSwapOption<Revoked>>,
    /// What they revoke.
    pub orders: mpsc::Receiver<Order>,
}

/// A token to be revoked; answered when that is written, and dropped where it cannot be.
pub struct Order {
    /// Whose client's.
    pub namespace: String,
    /// Which.
    pub token: TokenHash,
    /// In seconds since 1970.
    pub expires_at: i64,
    /// When it is done.
    pub done: oneshot::Sender<()>,
}

/// It is not written, or not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotWritten;

impl Desk {
    /// A desk and its other side.
    #[must_use]
    pub fn new() -> (Self, Keeping) {
        let (sender, orders) = mpsc::channel(WAITING);
        let revoked = Arc::default();
        (Self { revoked: Arc::clone(&revoked), orders: sender }, Keeping { revoked, orders })
    }

    /// What is revoked; `None`: not all of it is known yet.
    #[must_use]
    pub fn revoked(&self) -> Option<Arc<Revoked>> {
        self.revoked.load_full()
    }

    /// Revokes a token of a client of `namespace`, for every replica.
    ///
    /// # Errors
    /// [`NotWritten`]: nothing is promised.
    pub async fn revoke(&self, namespace: &str, token: TokenHash, expires_at: i64) -> Result<(), NotWritten> {
        let (done, written) = oneshot::channel();
        self.orders.try_send(Order { namespace: namespace.to_owned(), token, expires_at, done }).map_err(|_| NotWritten)?;
        written.await.map_err(|_| NotWritten)
    }
}
