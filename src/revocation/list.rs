//! Which tokens are revoked. Pure.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::collections::{BTreeMap, HashMap};

/// Most tokens that one replica keeps: at 60 bytes each they fit a ConfigMap three times over.
pub const MOST: usize = 5_000;
/// How many seconds longer than its life a token is kept: a replica whose clock is five minutes ahead (F13) would else take off its list
/// what is good by the clock of another, which learns of it from that list alone when it starts.
const LONGER: i64 = 300;
/// Most of them that belong to the clients of one namespace, so that no tenant leaves the others without room. The ten a minute of a
/// client fit, for the hour that a token lives at most and the five minutes after.
pub const MOST_OF_A_NAMESPACE: usize = MOST / 7;

/// What is kept of a token: a hash of its `jti`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// Of a `jti`.
    #[must_use]
    pub fn of(token_id: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(digest(&SHA256, token_id.as_bytes())))
    }
}

/// Tokens, and when each expires, in seconds since 1970: nobody has to remember it any more once that has passed by everybody's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked(BTreeMap<TokenHash, i64>);

impl Revoked {
    /// Adds one.
    pub fn insert(&mut self, token: TokenHash, expires_at: i64) {
        self.0.insert(token, expires_at);
    }

    /// Adds all of those.
    pub fn merge(&mut self, others: &Self) {
        self.0.extend(others.0.iter().map(|(token, expires_at)| (token.clone(), *expires_at)));
    }

    /// Forgets those that have expired at `now` for five minutes.
    pub fn forget_expired(&mut self, now: i64) {
        self.0.retain(|_, expires_at| expires_at.saturating_add(LONGER) > now);
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, token: &TokenHash) -> bool {
        self.0.contains_key(token)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the ConfigMap holds them: a line for each, hash and expiry.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|(TokenHash(hash), expires_at)| format!("{hash} {expires_at}\n")).collect()
    }

    /// Reads that; a line that cannot be read is none.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let line = |line: &str| {
            let (hash, expires_at) = line.split_once(' ')?;
            Some((TokenHash(hash.to_owned()), expires_at.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }
}

/// Whose tokens they are that this process wrote, by namespace. What the pod wrote before a restart of its container is nobody's, until
/// it expires: the ConfigMap does not tell.
#[derive(Debug, Clone, Default)]
pub struct Shares(HashMap<String, Revoked>);

impl Shares {
    /// Adds a token of a client of `namespace` to `own`, the list of this replica, unless there is no room for it: says whether it is there.
    #[must_use]
    pub fn admit(&mut self, own: &mut Revoked, namespace: &str, token: &TokenHash, expires_at: i64) -> bool {
        if own.contains(token) {
            return true;
        }
        let share = self.0.entry(namespace.to_owned()).or_default();
        let has_room = own.len() < MOST && share.len() < MOST_OF_A_NAMESPACE;
        if has_room {
            share.insert(token.clone(), expires_at);
            own.insert(token.clone(), expires_at);
        }
        has_room
    }

    /// Forgets what the list does.
    pub fn forget_expired(&mut self, now: i64) {
        self.0.values_mut().for_each(|share| share.forget_expired(now));
        self.0.retain(|_, share| !share.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R01.
    #[test]
    fn what_is_written_is_read_back_and_forgotten_when_it_has_expired() {
        let mut revoked = Revoked::default();
        revoked.insert(TokenHash::of("a"), 100);
        revoked.insert(TokenHash::of("b"), 200);
        let mut read = Revoked::read(&format!("{}garbage\nx y\n", revoked.text()));
        assert_eq!(read, revoked);
        read.forget_expired(100 + LONGER);
        assert!(!read.contains(&TokenHash::of("a")) && read.contains(&TokenHash::of("b")) && read.len() == 1);
        read.merge(&revoked);
        assert_eq!(read, revoked);
        // A token cannot be told from what is kept of it.
        assert!(!revoked.text().contains(" a") && revoked.text().lines().all(|line| line.len() == 43 + 4));
    }

    /// F13: a replica whose clock is five minutes ahead takes nothing off its list that is good by the clocks of others.
    #[test]
    fn a_replica_that_is_five_minutes_ahead_forgets_no_token_that_is_good() {
        let mut revoked = Revoked::default();
        revoked.insert(TokenHash::of("a"), 1_000);
        revoked.forget_expired(999 + 300);
        assert!(revoked.contains(&TokenHash::of("a")));
        revoked.forget_expired(1_000 + 300);
        assert!(revoked.is_empty());
    }

    /// R01, S16: a client that revokes as often as it may never fills the part of its namespace with tokens that live for an hour.
    #[test]
    fn all_that_one_client_revokes_fits_the_part_of_its_namespace() {
        let (mut shares, mut own) = (Shares::default(), Revoked::default());
        for second in (0..3 * 3600).step_by(6) {
            shares.forget_expired(second);
            own.forget_expired(second);
            assert!(shares.admit(&mut own, "billing", &TokenHash::of(&second.to_string()), second + 3600), "after {second} s");
        }
    }

    /// S16: one namespace fills its own part of the list, and no room of others.
    #[test]
    fn a_namespace_that_revokes_all_the_time_leaves_the_others_room() {
        let (mut shares, mut own) = (Shares::default(), Revoked::default());
        let admitted = (0..MOST).filter(|n| shares.admit(&mut own, "flood", &TokenHash::of(&format!("f{n}")), 100)).count();
        assert_eq!((admitted, own.len()), (714, 714));
        assert!(shares.admit(&mut own, "billing", &TokenHash::of("b"), 100));
        // What is there already takes no room.
        assert!(shares.admit(&mut own, "flood", &TokenHash::of("f0"), 100) && own.len() == 715);
        own.forget_expired(100 + LONGER);
        shares.forget_expired(100 + LONGER);
        assert!(shares.0.is_empty() && shares.admit(&mut own, "flood", &TokenHash::of("more"), 200));
    }

    #[test]
    fn a_full_list_takes_no_more_from_anybody() {
        let (mut shares, mut own) = (Shares::default(), Revoked::default());
        (0..MOST).for_each(|n| own.insert(TokenHash::of(&n.to_string()), 100));
        assert!(!shares.admit(&mut own, "billing", &TokenHash::of("b"), 100) && own.len() == MOST);
    }

    /// S16: as many as are kept fit into a ConfigMap.
    #[test]
    fn all_that_is_kept_fits() {
        let mut revoked = Revoked::default();
        (0..MOST).for_each(|number| revoked.insert(TokenHash::of(&number.to_string()), 1_800_000_000));
        assert!(revoked.text().len() < 500_000);
    }
}
