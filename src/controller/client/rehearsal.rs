//! What the uses of a client's credentials say of a rehearsal.

use super::{Work, known};
use crate::{
    ambient,
    controller::{
        observe::Seen,
        rehearsal::{self, Observed},
        reports::Reported,
        verdict::Finding,
    },
    domain::credential::Credential,
};

impl Work<'_> {
    /// The condition `RotationReady`, with these credentials, or with those that are stored. `has_moved`: they are without one that a
    /// rehearsal replaced and that nobody uses any more.
    pub(super) fn rehearsal(&self, seen: &Seen, credentials: Option<&[Credential]>, has_moved: bool) -> Option<Finding> {
        let stored = || Some(known(&seen.register(&self.keys.digest).ok()?));
        let credentials = credentials.map(<[_]>::to_vec).or_else(stored)?;
        let now = ambient::now();
        let Reported { credentials, longest_gap, .. } = self.controller.reports.of(&credentials, now);
        let quiet = self.terms.quiet(longest_gap);
        let until = self.controller.reports.covered_until(&rehearsal::replaced(&credentials), quiet, now);
        let earlier = seen.object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let since = rehearsal::observed_since(earlier, &credentials);
        rehearsal::finding(&credentials, Observed { since, until, quiet }).or_else(|| has_moved.then(rehearsal::all_moved))
    }
}
