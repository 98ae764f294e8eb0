//! Where requests find the cluster's keys, and put the questions that these do not answer.

use crate::domain::{names::ObjectName, service_account::ClusterIssuer};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

/// Questions that wait. Whoever comes later is told so.
const WAITING: usize = 64;
/// Those who want keys, until the keeper has noted them. Room of their own: anybody can name a key that nobody knows, and that must not
/// take the place of a review.
const WAITING_FOR_KEYS: usize = 1_024;

/// The side of the requests.
pub struct Desk {
    issuer: Arc<ArcSwapOption<ClusterIssuer>>,
    questions: mpsc::Sender<Question>,
    keys: mpsc::Sender<oneshot::Sender<()>>,
}

/// The side of whoever answers.
pub struct Answering {
    /// What requests read.
    pub issuer: Arc<ArcSwapOption<ClusterIssuer>>,
    /// What they ask.
    pub questions: mpsc::Receiver<Question>,
    /// Who wants the cluster's keys looked up; answered when they are as they were a moment ago, and dropped where they are not to be had.
    pub keys: mpsc::Receiver<oneshot::Sender<()>>,
}

/// What a request asks about one token or ServiceAccount.
pub enum Question {
    /// To have a token reviewed; dropped where the API server does not answer.
    Review(Review, oneshot::Sender<bool>),
    /// Whether RBAC lets a ServiceAccount probe an API; dropped where the API server does not answer.
    Access(Access, oneshot::Sender<bool>),
}

/// A token, and what it has to be.
pub struct Review {
    /// As it came.
    pub token: Zeroizing<String>,
    /// Whom it is addressed to.
    pub audience: String,
    /// Whose it is.
    pub subject: String,
}

/// Who wants to probe what.
pub struct Access {
    /// A ServiceAccount.
    pub account: ObjectName,
    /// A `ProtectedResource`, if there is one of that name.
    pub resource: ObjectName,
}

/// Nobody answers (in time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

impl Desk {
    /// A desk and its other side.
    #[must_use]
    pub fn new() -> (Self, Answering) {
        let (sender, questions) = mpsc::channel(WAITING);
        let (keys_sender, keys) = mpsc::channel(WAITING_FOR_KEYS);
        let issuer = Arc::default();
        (Self { issuer: Arc::clone(&issuer), questions: sender, keys: keys_sender }, Answering { issuer, questions, keys })
    }

    /// The cluster, as far as it is known.
    #[must_use]
    pub fn issuer(&self) -> Option<Arc<ClusterIssuer>> {
        self.issuer.load_full()
    }

    /// Has the keys looked up.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn look_up_keys(&self) -> Result<(), Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.keys.try_send(answer).map_err(|_| Unanswered)?;
        answered.await.map_err(|_| Unanswered)
    }

    /// Whether the API server takes the token.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn review(&self, review: Review) -> Result<bool, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Review(review, answer)).map_err(|_| Unanswered)?;
        answered.await.map_err(|_| Unanswered)
    }

    /// Whether a ServiceAccount may probe an API.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn may_probe(&self, access: Access) -> Result<bool, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Access(access, answer)).map_err(|_| Unanswered)?;
        answered.await.map_err(|_| Unanswered)
    }
}
