//! What people are told of the release's own keys, as events on their Secret; pure.

use crate::{
    controller::events::Notice,
    domain::key_rotation::{Cause, Step},
    keys::store::signing::Done,
};
use std::collections::BTreeSet;

/// What is said of something that was done to the signing keys; `None`: nothing.
pub(super) fn of_signing_keys(done: &Done) -> Option<Notice> {
    Some(match done {
        Done::Made => Notice::normal("SigningKeysMade", "made the digest key and the first signing keys"),
        Done::Restored => Notice::warning(
            "KeySecretRestored",
            "the Secret was gone: made it again with the keys that the replicas know. To drop a leaked key, name it in the annotation keywright.dev/revoke",
        ),
        Done::Step(step, drawn) => return of_step(step, drawn),
        Done::NothingToRevoke(names) => Notice::warning(
            "NothingRevoked",
            format!("there is no signing key {}: the annotation keywright.dev/signing-keys names those that there are", list(names)),
        ),
    })
}

fn of_step(step: &Step<impl Sized>, drawn: &[String]) -> Option<Notice> {
    Some(match step {
        Step::Prepare { cause, .. } => {
            let why = match cause {
                Cause::First => "something has to be signed with their algorithm",
                Cause::Ordered => "as ordered",
                Cause::Due => "as scheduled",
            };
            Notice::normal("SigningKeyPrepared", format!("published {}, {why}; tokens are signed by them later", drawn.join(", ")))
        }
        Step::Acknowledge => Notice::normal("RotationUnderWay", "new signing keys are prepared already: the order asks for no others"),
        Step::Activate(id) => Notice::normal("SigningKeyActivated", format!("tokens are signed by {id} from now on")),
        Step::Retire(id) => Notice::normal("SigningKeyRetired", format!("no API's tokens are signed with the algorithm of {id} any more")),
        Step::Remove(ids) => {
            Notice::normal("SigningKeyRemoved", format!("{} signed its last token long ago, and is not published any more", list(ids)))
        }
        Step::Revoke(ids) => Notice::warning(
            "SigningKeyRevoked",
            format!(
                "dropped {} at once. Tokens that it signed fail wherever the JWKS was fetched since, and elsewhere until it is. New tokens are signed by another \
                 key from now on; they fail at verifiers that do not fetch the JWKS when they meet an unknown kid",
                list(ids)
            ),
        ),
        Step::Confirm | Step::Gate => return None,
    })
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
