//! Client authentication (RFC 6749 §2.3), and that by secret: one path for every outcome.
//!
//! An unknown, a disabled and a wrongly authenticated client cost the same number of HMAC rounds over inputs of the same length,
//! and end in the same error, so that neither time nor bytes say which client ids exist.

use super::{
    Error,
    assertion::{Assertion, AssertionType},
    jwt_svid,
    metadata::Issuer,
    presented::{Presentation, Presented, Proof},
    private_key_jwt,
    service_account::{self, Verdict},
    used::UsedAssertions,
};
use crate::{
    domain::{
        client::{Client, RegisteredClient, SecretMethod},
        credential::{Credential, CredentialId, CredentialState, Digest, MAX_CREDENTIALS, SecretValue},
        names::ClientId,
        service_account::ClusterIssuer,
        trust_domain::TrustBundles,
    },
    keys::DigestKey,
    registry::snapshot::Snapshot,
    replica::contact::Moment,
};
use jiff::Timestamp;
use std::{hint::black_box, net::IpAddr, sync::LazyLock};

/// What clients are authenticated by.
#[derive(Clone, Copy)]
pub struct Authority<'s, 'a> {
    /// Who there is.
    pub snapshot: &'s Snapshot,
    /// The key of the digests of their secrets.
    pub digest: &'a DigestKey,
    /// Whom their assertions are addressed to.
    pub issuer: &'a Issuer,
    /// The assertions that are used up.
    pub used: &'a UsedAssertions,
    /// The cluster as an issuer of ServiceAccount tokens; `None`: not known.
    pub cluster: Option<&'a ClusterIssuer>,
    /// The trust domains of SPIFFE whose workloads are clients.
    pub trust: &'a TrustBundles,
    /// What was asked on behalf of this request.
    pub answered: Answered,
    /// Both clocks.
    pub now: Moment,
}

/// What a request may depend on that this replica does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The cluster's keys of today.
    ClusterKeys,
    /// Whether the API server still takes a ServiceAccount token.
    TokenReview,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// The cluster's keys were asked for a moment ago.
    pub keys_are_fresh: bool,
    /// What the API server says of the token.
    pub review: Option<bool>,
}

/// What comes of an authentication that is not refused.
pub enum Authentication<'s> {
    /// A client.
    Client(Authenticated<'s>),
    /// It depends on the answer to this. Then all is decided anew.
    Asks(Question),
}

/// A client that proved who it is.
#[derive(Clone, Copy)]
pub struct Authenticated<'s> {
    /// The client.
    pub client: &'s Client,
    /// The credential that it used; `None`: it has signed an assertion.
    pub credential: Option<&'s CredentialId>,
    registered: &'s RegisteredClient,
}

impl<'s> Authenticated<'s> {
    fn by_assertion(registered: &'s RegisteredClient) -> Self {
        Self { client: &registered.client, credential: None, registered }
    }

    /// Counts the use of the credential, if there is one.
    pub fn note_use(&self, now: Timestamp, from: IpAddr) {
        if let Some(usage) = self.credential.and_then(|credential| self.registered.usage(credential)) {
            usage.note(now, from);
        }
    }
}

/// Whether a replica accepts a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acceptance {
    Accepted,
    /// Its `acceptedUntil` has passed, but since then this replica has not heard that it still holds: the value may have become
    /// the Current one again.
    Undecided,
    Refused,
}

/// As long as the UID of an object.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Stands where there is no such client, and where a client has no further credential.
static NO_CREDENTIAL: LazyLock<Credential> = LazyLock::new(|| Credential {
    id: CredentialId::from_random([0; 16]),
    digest: Digest { key: String::new(), mac: [0; 32] },
    state: CredentialState::Previous,
    created_at: Timestamp::UNIX_EPOCH,
    retire_after: None,
    accepted_until: None,
    rehearsed_until: None,
    last_used_at: None,
});

/// Finds the client that was presented, and looks at its proof.
///
/// # Errors
/// [`Error::InvalidClient`], whatever the reason; [`Error::InDoubt`] where the credential has ended and nobody has confirmed it yet;
/// [`Error::TooManyTokens`] where a client uses more assertions than fit.
pub fn authenticate<'s>(presented: Option<&Presented>, authority: &Authority<'s, '_>) -> Result<Authentication<'s>, Error> {
    let Presented { client_id, proof } = presented.ok_or(Error::InvalidClient)?;
    let registered = ClientId::parse(client_id).ok().and_then(|id| registered(authority.snapshot, &id));
    match proof {
        Proof::Secret(secret, presentation) => match by_secret(registered, secret, *presentation, authority) {
            Err(Error::InvalidClient) if secret.expose().ends_with(['\n', '\r']) => Err(Error::SecretEndsWithLineBreak),
            other => other.map(Authentication::Client),
        },
        Proof::Assertion(assertion) if assertion.assertion_type == AssertionType::JwtSpiffe => {
            jwt_svid::verify(client_id, assertion, authority).map(|known| Authentication::Client(Authenticated::by_assertion(known)))
        }
        Proof::Assertion(assertion) if service_account::is_one(assertion, authority.cluster) => {
            Ok(match service_account::verify(client_id, assertion, authority)? {
                Verdict::Client(known) => Authentication::Client(Authenticated::by_assertion(known)),
                Verdict::Asks(question) => Authentication::Asks(question),
            })
        }
        Proof::Assertion(assertion) => {
            private_key_jwt::verify(client_id, assertion, registered.map(|registered| &registered.client), authority)?;
            let registered = registered.ok_or(Error::InvalidClient)?;
            Ok(Authentication::Client(Authenticated::by_assertion(registered)))
        }
    }
}

/// The client of an assertion that somebody else has signed. `client_id` is that of the request, or the assertion's subject where the
/// request names none: then the client is the only one that the subject may be.
pub(super) fn asserted<'s>(client_id: &str, assertion: &Assertion, snapshot: &'s Snapshot) -> Option<&'s RegisteredClient> {
    let id = match ClientId::parse(client_id) {
        Ok(id) => id,
        Err(_) if client_id == assertion.subject => {
            let mut bound = snapshot.subjects.get(client_id)?.iter();
            let only = bound.next()?;
            bound.next().is_none().then(|| only.clone())?
        }
        Err(_) => return None,
    };
    snapshot.clients.get(&id).map(AsRef::as_ref)
}

fn by_secret<'s>(
    registered: Option<&'s RegisteredClient>,
    secret: &SecretValue,
    presentation: Presentation,
    authority: &Authority<'s, '_>,
) -> Result<Authenticated<'s>, Error> {
    let acceptance = |known: &Credential| acceptance(known, authority.now.wall, authority.snapshot.clients_agreed);
    let matching = matching_credential(registered, secret, authority.digest, acceptance);
    // Looked at whatever the secret is: nanoseconds would tell whoever has the right one of a client that may not use it (S6).
    let may_present = black_box(registered.is_some_and(|registered| may_present(&registered.client, presentation)));
    match (registered, matching) {
        (Some(registered), Some((credential, acceptance))) if may_present => match acceptance {
            Acceptance::Accepted => Ok(Authenticated { client: &registered.client, credential: Some(credential), registered }),
            Acceptance::Undecided => Err(Error::InDoubt),
            Acceptance::Refused => Err(Error::InvalidClient),
        },
        _ => Err(Error::InvalidClient),
    }
}

/// Where there is no such client, its id is compared with one all the same.
fn registered<'s>(snapshot: &'s Snapshot, id: &ClientId) -> Option<&'s RegisteredClient> {
    let found = snapshot.clients.get(id).map(AsRef::as_ref);
    if found.is_none() {
        black_box(black_box(id) == black_box(id));
    }
    found
}

/// Compares with every credential that a client could have, found or not: the time says neither whether the client exists, nor
/// how many credentials it has, nor which one matched.
fn matching_credential<'s>(
    registered: Option<&'s RegisteredClient>,
    secret: &SecretValue,
    key: &DigestKey,
    acceptance: impl Fn(&Credential) -> Acceptance,
) -> Option<(&'s CredentialId, Acceptance)> {
    let nobody = (NOBODY, std::slice::from_ref(&*NO_CREDENTIAL));
    let (uid, credentials) = registered.map_or(nobody, |known| (known.client.uid.as_str(), known.credentials.as_slice()));
    let secret = secret.expose().as_bytes();
    let rounds = credentials.len().max(MAX_CREDENTIALS);
    let padded = credentials.iter().map(Some).chain(std::iter::repeat(None)).take(rounds);
    padded.fold(None, |found, credential| {
        let compared = credential.unwrap_or(&NO_CREDENTIAL);
        let equal = key.matches(&compared.digest, uid, &compared.id, secret);
        let accepted = black_box(acceptance(compared));
        let matching = credential.filter(|_| equal).map(|known| (&known.id, accepted));
        matching.or(found)
    })
}

/// Pending, Current and Previous ones alike; a Previous one to its end. `agreed`: when the last head check began that agreed with
/// the snapshot.
fn acceptance(credential: &Credential, now: Timestamp, agreed: Option<Timestamp>) -> Acceptance {
    match credential.accepted_until {
        Some(end) if now >= end && agreed.is_some_and(|agreed| agreed >= end) => Acceptance::Refused,
        Some(end) if now >= end => Acceptance::Undecided,
        Some(_) | None => Acceptance::Accepted,
    }
}

fn may_present(client: &Client, presentation: Presentation) -> bool {
    let allowed = match client.secret_method {
        None => false,
        Some(SecretMethod::Any) => true,
        Some(SecretMethod::Basic) => presentation == Presentation::Basic,
        Some(SecretMethod::Post) => presentation == Presentation::Post,
    };
    allowed && !client.disabled
}
