//! Whether this replica has the cluster's keys, which tokens of ServiceAccounts are verified with. The keys are its own, and so is what its
//! looks came to; of one that leads it is said of the clients that need them.

use super::Registry;
use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// What the looks at the cluster's keys came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountKeys {
    /// They are known, from this look or an earlier one.
    Known,
    /// They never were, and the API server did not answer: it is asked again.
    Unanswered,
    /// They never were, and the API server gives what cannot be used, or refuses; why.
    Refused(String),
}

/// What is known; `None`: nobody has looked yet.
pub(super) type Looks = watch::Sender<Option<AccountKeys>>;

impl Registry {
    /// A look came to this. Keys that are known stay in use, and no answer says nothing of an earlier one. What is news has the clients that
    /// are ServiceAccounts looked at again.
    pub fn account_keys_are(&self, found: AccountKeys) {
        let is_news = self.account_keys.send_if_modified(|known| match (&*known, &found) {
            (Some(AccountKeys::Known), _) | (Some(_), AccountKeys::Unanswered) => false,
            _ => known.replace(found.clone()).as_ref() != Some(&found),
        });
        if is_news {
            self.announce(self.with_index(|index| index.touched_by_account_keys()));
        }
    }

    /// Why the cluster's keys will not be had before somebody changes something; `None`: they are known, or may be soon.
    #[must_use]
    pub fn account_keys_refused(&self) -> Option<String> {
        match &*self.account_keys.borrow() {
            Some(AccountKeys::Refused(why)) => Some(why.clone()),
            Some(AccountKeys::Known | AccountKeys::Unanswered) | None => None,
        }
    }

    /// Waits for the first look, but not for ever.
    pub async fn account_keys_looked_up(&self, patience: Duration) {
        // The sender lives as long as `self`.
        let _ = timeout(patience, self.account_keys.subscribe().wait_for(Option::is_some)).await;
    }
}
