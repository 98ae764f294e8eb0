//! One event. Its fields are the names of the log.

use crate::{
    domain::{client::Client, credential::CredentialId, names::ClientId},
    registry::snapshot::Snapshot,
};
use jiff::Timestamp;
use serde::Serialize;
use std::net::IpAddr;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To get a token.
    Token,
    /// To ask whether one is active.
    Introspection,
    /// To have one revoked.
    Revocation,
    /// To get tokens to probe an API with.
    Probe,
}

/// The request that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub purpose: Purpose,
    /// When it was answered.
    pub answered: Timestamp,
    /// Whom it came from.
    pub address: IpAddr,
    /// Of the trace that it is part of (W3C Trace Context).
    pub trace_id: Option<String>,
}

/// A token was issued, refused or revoked, or somebody was not told about one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    timestamp: Timestamp,
    level: &'static str,
    target: &'static str,
    message: &'static str,
    address: IpAddr,
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

/// What was issued or revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The token's id.
    pub jti: String,
    /// The lifetime in seconds of one that was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
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

    /// Whether somebody proved to be this.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.namespace.is_some()
    }
}

impl Event {
    /// That the request was answered with a token.
    #[must_use]
    pub fn issued(request: Request, who: Who, wanted: Wanted, token: Token) -> Self {
        Self { message: "token issued", token: Some(token), who, wanted, ..Self::new(request) }
    }

    /// That the request has revoked a token.
    #[must_use]
    pub fn revoked(request: Request, who: Who, wanted: Wanted, token: Token) -> Self {
        Self { message: "token revoked", token: Some(token), who, wanted, ..Self::new(request) }
    }

    /// That the request was refused.
    #[must_use]
    pub fn refused(request: Request, who: Who, wanted: Wanted, (reason, description): (&'static str, String)) -> Self {
        let message = match request.purpose {
            Purpose::Token => "token refused",
            Purpose::Introspection => "introspection refused",
            Purpose::Revocation => "revocation refused",
            Purpose::Probe => "probe refused",
        };
        let (reason, description) = (Some(reason), Some(description));
        Self { message, reason, description, who, wanted, ..Self::new(request) }
    }

    /// That a request for tokens to probe an API with was answered so.
    #[must_use]
    pub fn probed(request: Request, probe: Probe, refusal: Option<(&'static str, String)>) -> Self {
        let message = if refusal.is_some() { "probe refused" } else { "probe tokens issued" };
        let (reason, description) = refusal.unzip();
        Self { message, probe: Some(probe), reason, description, ..Self::new(request) }
    }

    /// The same, without the client id if nobody has it: people mistake the field of the secret for that of the id.
    #[must_use]
    pub fn known_to(mut self, snapshot: &Snapshot) -> Self {
        let is_proven = self.who.is_proven();
        self.who.client_id =
            self.who.client_id.filter(|id| is_proven || ClientId::parse(id).is_ok_and(|id| snapshot.clients.get(&id).is_some()));
        self
    }

    /// Whether the request was refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.reason.is_some()
    }

    fn new(Request { answered, address, trace_id, .. }: Request) -> Self {
        Self {
            timestamp: answered,
            level: "INFO",
            target: "audit",
            message: "",
            address,
            trace_id,
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
