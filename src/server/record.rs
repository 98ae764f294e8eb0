//! What is learnt of a request while it is answered, for the audit log.

use super::Peer;
use crate::{
    audit::{Event, Probe, Token, Wanted, Who, trace_id},
    domain::names::{Audience, ObjectName, Scope},
    metrics::Outcome,
    oauth::{
        Error,
        presented::Presented,
        request::{Target, TokenRequest},
    },
};
use axum::http::request::Parts;
use jiff::Timestamp;

/// Most characters of the scopes that a client asked for in vain; longer ones are left out.
const LONGEST_SCOPE: usize = 512;

/// What is known of a request, before or after it is known who asks.
#[derive(Default)]
pub(super) struct Record {
    who: Who,
    wanted: Wanted,
    token: Option<Token>,
}

impl Record {
    /// Whoever asks says to be this.
    pub(super) fn claims(&mut self, presented: Option<&Presented>, method: Option<&'static str>) {
        if let (Some(presented), Some(method)) = (presented, method) {
            self.who = Who::claimed(&presented.client_id, method);
        }
    }

    /// Whoever asks is this, and so is heard.
    pub(super) fn proves(&mut self, who: Who, request: &TokenRequest<'_>) {
        self.who = who;
        let named = if let Target::Named(name) = &request.target { Audience::parse(name).ok() } else { None };
        let scope = request.scope.as_deref().filter(|text| text.len() <= LONGEST_SCOPE && text.split(' ').all(Scope::is_token));
        self.wanted = Wanted { resource: named.map(|name| name.as_str().to_owned()), scope: scope.map(str::to_owned) };
    }

    /// Whoever asks gets a token.
    pub(super) fn gets(&mut self, wanted: Wanted, token: Token) {
        self.wanted = wanted;
        self.token = Some(token);
    }

    /// The event of the request with this head, which was answered with `error` or a token.
    pub(super) fn event(self, head: &Parts, error: Option<Error>, at: Timestamp) -> Event {
        let Self { who, wanted, token } = self;
        let address = Peer::of(head);
        let event = match (token, error) {
            (Some(token), None) => Event::issued(at, address, (who, wanted, token)),
            (_, error) => {
                let error = error.unwrap_or(Error::Internal);
                Event::refused(at, address, (who, wanted), (Outcome::of(error).as_str(), error.to_string()))
            }
        };
        event.traced(trace(head))
    }
}

/// The same of a request for tokens to probe an API with.
#[derive(Default)]
pub(super) struct ProbeRecord(Probe);

impl ProbeRecord {
    /// This ServiceAccount asks.
    pub(super) fn is_by(&mut self, account: &ObjectName) {
        self.0.service_account = Some(account.to_string());
    }

    /// For this `ProtectedResource`, if there is one of that name.
    pub(super) fn is_about(&mut self, resource: &ObjectName) {
        self.0.protected_resource = Some(resource.to_string());
    }

    /// It gets so many tokens.
    pub(super) fn gets(&mut self, audience: &str, tokens: usize) {
        self.0.resource = Some(audience.to_owned());
        self.0.tokens = Some(tokens);
    }

    /// As for a token.
    pub(super) fn event(self, head: &Parts, error: Option<Error>, at: Timestamp) -> Event {
        let refusal = error.map(|error| (Outcome::of(error).as_str(), error.to_string()));
        Event::probed(at, Peer::of(head), self.0, refusal).traced(trace(head))
    }
}

/// One that is there once.
fn trace(head: &Parts) -> Option<String> {
    let mut fields = head.headers.get_all("traceparent").iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    trace_id(only.as_bytes())
}
