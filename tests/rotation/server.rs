//! The API server: two objects of one client, with resourceVersions and preconditions.
//!
//! Credentials and values are small numbers here; [`domain`] and [`known`] turn them into the types of the real plan and back.

use crate::{leader::Config, undone::Undone};
use jiff::Timestamp;
use keywright::domain::credential::{Credential, CredentialId, CredentialState, Digest};
use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

/// Names a credential, and the value that was drawn for it.
pub type Number = u8;

/// A value that the operator never made.
pub const FOREIGN: Number = 0;

/// Ids run from 1; a history that needs more is over.
pub const LAST: Number = 63;

/// A set of numbers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Numbers(u64);

impl Numbers {
    pub fn contains(self, number: Number) -> bool {
        self.0 >> number & 1 == 1
    }

    pub fn insert(&mut self, number: Number) {
        self.0 |= 1 << number;
    }

    pub fn iter(self) -> impl Iterator<Item = Number> {
        (0..64).filter(move |number| self.contains(*number))
    }
}

impl FromIterator<Number> for Numbers {
    fn from_iter<I: IntoIterator<Item = Number>>(numbers: I) -> Self {
        let mut all = Self::default();
        numbers.into_iter().for_each(|number| all.insert(number));
        all
    }
}

impl std::fmt::Debug for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A registered credential. Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Known {
    pub number: Number,
    /// What its digest was made of: its own number, but where a value was adopted.
    pub value: Number,
    pub state: CredentialState,
    pub created_at: i64,
    pub retire_after: Option<i64>,
    pub accepted_until: Option<i64>,
    pub rehearsed_until: Option<i64>,
}

/// The `OAuthClient`: one resourceVersion for spec, annotations and status.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    pub version: u32,
    /// `status.credentials`; `None`: never written.
    pub credentials: Option<Vec<Known>>,
    /// The annotation that orders a rotation, and the one that was handled last.
    pub order: u8,
    pub handled: u8,
    /// The annotation that makes a rehearsal of what is ordered: for how many milliseconds.
    pub rehearse: Option<u32>,
    /// `spec.revocation.secretsIssuedBefore`.
    pub revoked_before: Option<i64>,
}

impl Client {
    pub fn known(&self) -> &[Known] {
        self.credentials.as_deref().unwrap_or_default()
    }

    pub fn with_value(&self, value: Number) -> Option<&Known> {
        self.known().iter().find(|known| known.value == value)
    }

    pub fn numbered(&self, number: Number) -> Option<&Known> {
        self.known().iter().find(|known| known.number == number)
    }
}

/// The workload's Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Secret {
    pub version: u32,
    pub value: Number,
    pub fence: Numbers,
}

/// One API write of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Write {
    /// Merge patch of the status, on the version that was read.
    Status { version: u32, credentials: Vec<Known>, handled: u8 },
    /// POST.
    Create { value: Number, fence: Numbers },
    /// Merge patch of the Secret, on the version that was read; without a value the fence alone.
    Patch { version: u32, value: Option<Number>, fence: Numbers },
}

/// 404 or 409: somebody else wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub client: Client,
    pub secret: Option<Secret>,
    /// The last resourceVersion of the Secret; goes on when it is deleted, so that no version is ever seen twice. With that a
    /// precondition on the uid refuses nothing that the one on the resourceVersion lets pass.
    pub secret_version: u32,
}

impl Server {
    pub fn new() -> Self {
        let client = Client { version: 1, credentials: None, order: 0, handled: 0, rehearse: None, revoked_before: None };
        Self { client, secret: None, secret_version: 0 }
    }

    /// Makes a write, if its preconditions hold. Returns the new resourceVersion.
    pub fn apply(&mut self, write: &Write, config: &Config) -> Result<u32, Refused> {
        match write {
            Write::Status { version, credentials, handled } => {
                self.require(*version == self.client.version || config.is(Undone::StatusPrecondition))?;
                self.client.credentials = Some(credentials.clone());
                self.client.handled = *handled;
                self.client.version += 1;
                Ok(self.client.version)
            }
            Write::Create { value, fence } => {
                self.require(self.secret.is_none() || config.is(Undone::CreateByPost))?;
                Ok(self.store(Some((*value, *fence))))
            }
            Write::Patch { version, value, fence } => {
                let stored = self.secret.ok_or(Refused)?;
                self.require(stored.version == *version || config.is(Undone::SecretPrecondition))?;
                Ok(self.store(Some((value.unwrap_or(stored.value), *fence))))
            }
        }
    }

    /// Whoever writes the Secret: the operator or a user.
    pub fn store(&mut self, content: Option<(Number, Numbers)>) -> u32 {
        self.secret_version += 1;
        self.secret = content.map(|(value, fence)| Secret { version: self.secret_version, value, fence });
        self.secret_version
    }

    fn require(&self, holds: bool) -> Result<(), Refused> {
        if holds { Ok(()) } else { Err(Refused) }
    }
}

static IDS: LazyLock<Vec<CredentialId>> = LazyLock::new(|| (0..=LAST).map(|number| CredentialId::from_random([number; 16])).collect());
static NUMBERS: LazyLock<HashMap<CredentialId, Number>> = LazyLock::new(|| IDS.iter().cloned().zip(0..).collect());

pub fn id(number: Number) -> CredentialId {
    IDS[usize::from(number)].clone()
}

pub fn number(id: &CredentialId) -> Number {
    NUMBERS[id]
}

pub fn ids(numbers: Numbers) -> BTreeSet<CredentialId> {
    numbers.iter().map(id).collect()
}

pub fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

pub fn domain(known: &Known) -> Credential {
    let mut mac = [0; 32];
    (mac[0], mac[1]) = (known.number, known.value);
    Credential {
        id: id(known.number),
        digest: Digest { key: String::new(), mac },
        state: known.state,
        created_at: time(known.created_at),
        retire_after: known.retire_after.map(time),
        accepted_until: known.accepted_until.map(time),
        rehearsed_until: known.rehearsed_until.map(time),
        last_used_at: None,
    }
}

pub fn known(credential: &Credential) -> Known {
    let [number, value, ..] = credential.digest.mac;
    Known {
        number,
        value,
        state: credential.state,
        created_at: credential.created_at.as_millisecond(),
        retire_after: credential.retire_after.map(Timestamp::as_millisecond),
        accepted_until: credential.accepted_until.map(Timestamp::as_millisecond),
        rehearsed_until: credential.rehearsed_until.map(Timestamp::as_millisecond),
    }
}
