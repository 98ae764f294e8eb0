//! What is said of a client, in words; pure.

use super::verdict::{Finding, Verdict};
use crate::{
    api::{self, Reason},
    domain::{
        credential::{Credential, CredentialState},
        trust_domain::BundleFault,
    },
    policy::TrustDomain,
};

/// What a client may have now, and what it lacks that others have to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// What is missing, with the lines that its owner would have to add.
    pub(crate) missing: Option<String>,
    /// The signing algorithm of which there is no key.
    pub(crate) unsigned: Option<&'static str>,
    /// What its proofs cannot be verified without, and where that would have to be.
    pub(crate) untrusted: Option<(Reason, String)>,
}

impl Grants {
    fn authorized(&self) -> Finding {
        match &self.missing {
            Some(lines) => Finding::no(Reason::AccessDenied, lines),
            None => Finding::yes(Reason::Granted, "every entry of spec.access is granted"),
        }
    }
}

/// The verdict on a client whose Secret is settled.
pub(crate) fn verdict(grants: &Grants, credentials: &[Credential], disabled: bool, secret: &str) -> Verdict {
    // A client without a secret has no credentials.
    let held = if credentials.is_empty() { "says everything; there is no secret in it" } else { "holds the current credential" };
    let synced = Finding::yes(Reason::Issued, format!("the Secret {secret} {held}"));
    let overlapping = credentials.iter().filter(|known| known.state == CredentialState::Previous).count();
    let ready = if disabled {
        Finding::no(Reason::Disabled, "spec.disabled is true: the client gets no token")
    } else if let Some(algorithm) = grants.unsigned {
        Finding::no(Reason::SigningKeyUnavailable, format!("no {algorithm} signing key is active yet: the leader makes it"))
    } else if let Some((reason, lines)) = &grants.untrusted {
        Finding::no(*reason, lines)
    } else if let Some(lines) = &grants.missing {
        Finding::no(Reason::AccessDenied, lines)
    } else if overlapping > 0 {
        let message = format!("the Secret {secret} holds the current credential; {overlapping} earlier still accepted");
        Finding::yes(Reason::Overlapping, message)
    } else {
        Finding::yes(Reason::Issued, format!("the Secret {secret} {held}"))
    };
    Verdict { ready, authorized: Some(grants.authorized()), synced: Some(synced) }
}

/// The verdict on a client that work is under way for.
pub(crate) fn pending(grants: &Grants, why: impl Into<String>) -> Verdict {
    let why = why.into();
    Verdict {
        ready: Finding::no(Reason::Pending, why.clone()),
        authorized: Some(grants.authorized()),
        synced: Some(Finding::no(Reason::Pending, why)),
    }
}

/// Of a trust domain whose bundle cannot be used. `namespace`: the release's. Neither Stalled nor a matter of waiting for: what publishes
/// the bundle may be installed a moment later.
pub(crate) fn untrusted(domain: &TrustDomain, namespace: &str, fault: &BundleFault) -> String {
    let TrustDomain { name, config_map, key } = domain;
    format!(
        "no bundle of the trust domain {name}: the ConfigMap {namespace}/{config_map} (key {key}) {fault}. Have the platform's owner see to it that the SPIFFE \
         bundle of {name} is published there. Until then JWT-SVIDs of {name} are answered 503 by every replica that has not read one before; the others go on with that one"
    )
}

/// Of a client that is a ServiceAccount, where the cluster does not give the keys of their tokens.
pub(crate) fn unverifiable(why: &str) -> String {
    format!(
        "no keys of the cluster, so that the tokens of ServiceAccounts are answered 503: {why}. Have the platform's owner let the operator's ServiceAccount \
         read them, as the ClusterRoleBinding system:service-account-issuer-discovery does by default"
    )
}

/// After the register write.
pub(crate) fn registered() -> &'static str {
    "a credential is registered; it is published once every replica accepts it"
}

/// Of a client without a secret.
pub(crate) fn not_known_to_all() -> &'static str {
    "its Secret is written once every replica knows the client"
}

/// After the write that revokes.
pub(crate) fn revoked() -> &'static str {
    "credentials made before spec.revocation.secretsIssuedBefore are refused; a new one is on its way"
}

/// A Secret of ours belongs to an object that is gone.
pub(crate) fn being_collected() -> &'static str {
    "waiting for the garbage collector to take the former Secret"
}

/// A gate that does not open names who keeps it shut.
pub(crate) fn blocked(replicas: &[String]) -> String {
    format!("waiting until these replicas have seen the new credential: {}", replicas.join(", "))
}

/// A Secret of the wanted name is somebody else's.
pub(crate) fn secret_conflict(secret: &str, client: &str, why: &str) -> Verdict {
    let message = format!(
        "the Secret {secret} {why}, so it is left alone: delete or rename it, set spec.secret.name of the OAuthClient {client} to a name that is free, or hand the Secret over by the annotation {}: {client} on it",
        api::ANNOTATION_ADOPT
    );
    Verdict {
        ready: Finding::no(Reason::SecretConflict, message.clone()),
        authorized: None,
        synced: Some(Finding::no(Reason::SecretConflict, message)),
    }
}
