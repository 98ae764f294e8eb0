//! The environment of this process, where a Secret of the format Env arrives.

use super::binding::Entries;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Those of the variables that are set and readable.
pub(super) fn variables(names: BTreeSet<&str>) -> Entries {
    let found = |name: &str| Some((name.to_owned(), Zeroizing::new(std::env::var(name).ok()?)));
    names.into_iter().filter_map(found).collect()
}
