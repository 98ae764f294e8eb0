//! One event. Its fields are the names of the log.

use crate::{
    domain::{client::Client, credential::CredentialId, names::ClientId},
    registry::snapshot::Snapshot,
};
use jiff::Timestamp;
use serde::Serialize;
use std::net::IpAddr;

/// A token was issued or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    timestamp: Timestamp,
    level: &'static str,
    target: &'static str,
    message: &'static str,
    /// Whose connection it was.
    address: IpAddr,
    /// Of the trace that the request is part of (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(flatten)]
    who: Who,
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(flatten)]
    token: Option<Token>,
    #[serde(flatten)]
    probe: Option<Probe>,
    /// As in the metric's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// As in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Events before this one that were not written.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) left_out: u64,
}

/// Who asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Who {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    /// The id of the secret that was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// What for: granted, or asked for by a client that proved who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// The audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Space-delimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// What was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The token's id.
    pub jti: String,
    /// Its lifetime in seconds.
    pub expires_in: i64,
}

/// Tokens to probe an API with, which none may accept: who asked, what for, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// `<namespace>/<name>`, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The same of the API, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_resource: Option<String>,
    /// The audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// How many; of a refusal none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

impl Who {
    /// Who somebody says to be. Decided by the text alone, so that its time says nothing of which clients exist.
    #[must_use]
    pub fn claimed(client_id: &str, method: &'static str) -> Self {
        let client_id = ClientId::parse(client_id).ok();
        Self { client_id: client_id.map(|id| id.as_str().to_owned()), method: Some(method), ..Self::default() }
    }

    /// Who somebody is.
    #[must_use]
    pub fn proven(client: &Client, credential: Option<&CredentialId>, method: Option<&'static str>) -> Self {
        Self {
            client_id: Some(client.id.as_str().to_owned()),
            namespace: Some(client.object.namespace.clone()),
            name: Some(client.object.name.clone()),
            method,
            credential: credential.map(|id| id.as_str().to_owned()),
        }
    }
}

impl Event {
    /// That a request from `address` was answered with a token.
    #[must_use]
    pub fn issued(timestamp: Timestamp, address: IpAddr, (who, wanted, token): (Who, Wanted, Token)) -> Self {
        Self { message: "token issued", token: Some(token), who, wanted, ..Self::new(timestamp, address) }
    }

    /// That a request from `address` was refused.
    #[must_use]
    pub fn refused(
        timestamp: Timestamp,
        address: IpAddr,
        (who, wanted): (Who, Wanted),
        (reason, description): (&'static str, String),
    ) -> Self {
        let (reason, description) = (Some(reason), Some(description));
        Self { message: "token refused", reason, description, who, wanted, ..Self::new(timestamp, address) }
    }

    /// That a request for tokens to probe an API with was answered so.
    #[must_use]
    pub fn probed(timestamp: Timestamp, address: IpAddr, probe: Probe, refusal: Option<(&'static str, String)>) -> Self {
        let message = if refusal.is_some() { "probe refused" } else { "probe tokens issued" };
        let (reason, description) = refusal.unzip();
        Self { message, probe: Some(probe), reason, description, ..Self::new(timestamp, address) }
    }

    /// The same, as part of a trace.
    #[must_use]
    pub fn traced(self, trace_id: Option<String>) -> Self {
        Self { trace_id, ..self }
    }

    /// The same, without the client id if nobody has it: people mistake the field of the secret for that of the id.
    #[must_use]
    pub fn known_to(mut self, snapshot: &Snapshot) -> Self {
        let is_proven = self.who.namespace.is_some();
        self.who.client_id =
            self.who.client_id.filter(|id| is_proven || ClientId::parse(id).is_ok_and(|id| snapshot.clients.get(&id).is_some()));
        self
    }

    /// Whether no token was issued.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.reason.is_some()
    }

    /// Whether there are many of its kind, so that a part of them may be enough.
    #[must_use]
    pub fn is_commonplace(&self) -> bool {
        self.token.is_some()
    }

    fn new(timestamp: Timestamp, address: IpAddr) -> Self {
        Self {
            timestamp,
            level: "INFO",
            target: "audit",
            message: "",
            address,
            trace_id: None,
            who: Who::default(),
            wanted: Wanted::default(),
            token: None,
            probe: None,
            reason: None,
            description: None,
            left_out: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
