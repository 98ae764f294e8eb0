//! What people are told of the release's own keys, as events on their Secret; pure.

use crate::{
    controller::events::Notice,
    domain::key_rotation::{Cause, Step},
    keys::{
        certificate::ServedName,
        store::{certificate, signing::Done},
    },
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

/// What is said of something that was done to CA and certificate; `None`: nothing. `refused`: the names that the CA may not sign for.
pub(super) fn of_authorities(done: &certificate::Done, refused: &BTreeSet<ServedName>) -> Option<Notice> {
    use certificate::Done;
    Some(match done {
        Done::Made => Notice::normal("AuthorityMade", "made the CA and the first serving certificate"),
        Done::Lost => Notice::warning(
            "AuthorityLost",
            "the CA was gone or replaced: what it signed stays in use, and is trusted, while another one becomes known, which signs in 30 days. If it was \
             leaked, name it in the annotation keywright.dev/revoke: keywright.dev/authorities holds its fingerprint",
        ),
        Done::Step(step, drawn) => return of_authority_step(step, drawn, refused),
        Done::NothingToRevoke(names) => Notice::warning(
            "NothingRevoked",
            format!("there is no CA {}: the annotation keywright.dev/authorities names those that there are", list(names)),
        ),
        Done::Renewed(why) => Notice::normal("CertificateRenewed", format!("made the serving certificate anew: {why}")),
    })
}

fn of_authority_step(step: &Step<()>, drawn: &[String], refused: &BTreeSet<ServedName>) -> Option<Notice> {
    Some(match step {
        Step::Prepare { .. } if !refused.is_empty() => Notice::warning(
            "AuthorityPrepared",
            format!(
                "the CA may not sign for {}: {}, which may, is in every ca.crt from now on, and signs in 30 days; at once if the other one is named in the \
                 annotation keywright.dev/revoke, which cuts off clients until they read ca.crt again",
                list(refused),
                list(drawn)
            ),
        ),
        Step::Prepare { cause, .. } => {
            let why = if *cause == Cause::Ordered { "as ordered" } else { "as scheduled" };
            let note =
                format!("the CA {} is in every ca.crt from now on, {why}; it signs 30 days after it is known everywhere", list(drawn));
            Notice::normal("AuthorityPrepared", note)
        }
        Step::Acknowledge => Notice::normal("RotationUnderWay", "the next CA is known already: the order asks for no other"),
        Step::Activate(id) => Notice::normal("AuthorityActivated", format!("the serving certificate is signed by the CA {id} from now on")),
        Step::Remove(ids) => Notice::normal(
            "AuthorityRemoved",
            format!("nothing in use was signed by the CA {}: it is taken out of every ca.crt", list(ids)),
        ),
        Step::Revoke(ids) => Notice::warning(
            "AuthorityRevoked",
            format!(
                "took the CA {} out of every ca.crt at once; another one has signed the serving certificate. Clients that know neither are cut off until they \
                 read ca.crt again",
                list(ids)
            ),
        ),
        Step::Retire(_) | Step::Confirm | Step::Gate => return None,
    })
}

fn list(names: impl IntoIterator<Item = impl ToString>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}
