//! An OAuth 2.0 client that is valid: its `OAuthClient` passed the installation's policy.

use super::{
    credential::{Credential, CredentialId},
    jwk::VerificationKey,
    names::{ClientId, ObjectName, Scope},
    resource::Algorithm,
    service_account::BoundServiceAccount,
    trust_domain::WorkloadId,
    usage::Usage,
};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// How a client may present its secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretMethod {
    /// Either way.
    Any,
    /// The Authorization header alone.
    Basic,
    /// The request body alone.
    Post,
}

/// How a client may prove by its own key who it is (RFC 7523).
#[derive(Debug, Clone)]
pub struct PrivateKeyJwt {
    /// The public halves of its keys, at least one.
    pub keys: Vec<VerificationKey>,
    /// How strictly its assertions are read.
    pub profile: AssertionProfile,
}

/// How strictly the assertions of a client are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionProfile {
    /// `aud` is the issuer identifier and nothing else (RFC 10070).
    Rfc10070,
    /// It may be the URL of the token endpoint as well, as before RFC 10070.
    LegacyAudience,
    /// FAPI 2.0 Security Profile: `aud` is the issuer identifier as a string (§5.3.2.1), and RS256 is not allowed (§5.4).
    Fapi2,
}

impl AssertionProfile {
    /// Whether assertions may be signed so.
    #[must_use]
    pub fn allows(self, algorithm: Algorithm) -> bool {
        self != Self::Fapi2 || algorithm != Algorithm::Rs256
    }
}

/// One line of `spec.access`: an API and the scopes that the client wants there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The `ProtectedResource`.
    pub resource: ObjectName,
    /// The scopes, in the order of the spec, none twice.
    pub scopes: Vec<Scope>,
}

/// A valid client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its client id.
    pub id: ClientId,
    /// Its `OAuthClient`.
    pub object: ObjectName,
    /// The UID of that object: a recreated name is another client.
    pub uid: String,
    /// When that object was created.
    pub created_at: Timestamp,
    /// What it wants.
    pub access: Vec<Access>,
    /// How it may present its secret; `None`: it has none.
    pub secret_method: Option<SecretMethod>,
    /// Its keys; `None`: it signs no assertions.
    pub private_key_jwt: Option<PrivateKeyJwt>,
    /// The ServiceAccounts of its namespace whose tokens are its assertions.
    pub service_accounts: Vec<BoundServiceAccount>,
    /// The workloads of SPIFFE whose JWT-SVIDs are its assertions. There is no client without a secret, keys, ServiceAccounts and these.
    pub workloads: Vec<WorkloadId>,
    /// `spec.accessToken.lifetime`; absent: the installation's default of 15 minutes.
    pub token_lifetime: Option<SignedDuration>,
    /// Tokens that are older are not active; a time that has not come cuts nothing.
    pub tokens_issued_before: Option<Timestamp>,
    /// The kill switch.
    pub disabled: bool,
}

/// A client and its registered credentials: what a replica answers requests from.
#[derive(Debug, Clone)]
pub struct RegisteredClient {
    /// The client.
    pub client: Client,
    /// What it may authenticate with: `status.credentials`. Empty where status was never written or cannot be read.
    pub credentials: Vec<Credential>,
    usage: Vec<(CredentialId, Arc<Usage>)>,
}

impl RegisteredClient {
    /// One whose credentials were not used yet, as far as this replica has seen.
    #[must_use]
    pub fn new(client: Client, credentials: Vec<Credential>) -> Self {
        let usage = credentials.iter().map(|known| (known.id.clone(), Arc::default())).collect();
        Self { client, credentials, usage }
    }

    /// The same, which goes on counting the uses that `earlier` counts: status was written anew.
    #[must_use]
    pub fn counting_on(mut self, earlier: &Self) -> Self {
        for (id, usage) in &mut self.usage {
            if let Some(counted) = earlier.usage(id) {
                *usage = Arc::clone(counted);
            }
        }
        self
    }

    /// Where the uses of a credential are counted.
    #[must_use]
    pub fn usage(&self, id: &CredentialId) -> Option<&Arc<Usage>> {
        self.usage.iter().find(|(known, _)| known == id).map(|(_, usage)| usage)
    }
}
