//! What is learnt of a request while it is answered, for the audit log.

use super::{
    Endpoint,
    identity::{Caller, settled},
};
use crate::{
    audit::{Event, Probe, Purpose, Request, Token, Wanted, Who, trace_id},
    domain::names::{Audience, ObjectName, Scope},
    metrics::Outcome,
    oauth::{
        Error,
        access_token::AccessToken,
        presented::Presented,
        request::{Target, TokenRequest},
    },
    replica::contact::Moment,
};
use axum::http::request::Parts;
use std::net::IpAddr;

/// Most characters of the scopes that a client asked for in vain; longer ones are left out.
const LONGEST_SCOPE: usize = 512;

/// What is known of a request, before or after it is known who asks.
pub(super) struct Record {
    purpose: Purpose,
    tells_success: bool,
    address: IpAddr,
    who: Who,
    wanted: Wanted,
    token: Option<Token>,
}

impl Record {
    /// Of a request for this from that address; whether somebody will read of it where it is not refused.
    pub(super) fn new(purpose: Purpose, tells_success: bool, address: IpAddr) -> Self {
        Self { purpose, tells_success, address, who: Who::default(), wanted: Wanted::default(), token: None }
    }

    /// Whether somebody will read of a success.
    pub(super) fn tells_success(&self) -> bool {
        self.tells_success
    }

    /// Finds out who asks, and decides. Remembers who that is, or says to be, where somebody will read it.
    pub(super) async fn settled<T>(
        &mut self,
        endpoint: &Endpoint,
        presented: Option<&Presented>,
        decide: impl Fn(Caller<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let method = presented.map(|presented| presented.method(|| endpoint.service_accounts.issuer()));
        let decided = settled(endpoint, presented, self.address, |caller| {
            let decision = decide(caller).map_err(|error| error.in_standing(caller.standing));
            let is_told = self.tells_success || decision.is_err();
            Ok((is_told.then(|| Who::proven(caller.client, caller.credential, method)), decision))
        });
        match decided.await {
            Ok((who, decision)) => {
                self.who = who.unwrap_or_default();
                decision
            }
            Err(error) => {
                self.who = presented.zip(method).map(|(presented, method)| Who::claimed(&presented.client_id, method)).unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Whoever asks wants this, in vain; heard of those alone who proved who they are.
    pub(super) fn wants(&mut self, request: &TokenRequest<'_>) {
        if self.who.is_proven() {
            let named = if let Target::Named(name) = &request.target { Audience::parse(name).ok() } else { None };
            let scope = request.scope.as_deref().filter(|text| text.len() <= LONGEST_SCOPE && text.split(' ').all(Scope::is_token));
            self.wanted = Wanted { resource: named.map(|name| name.as_str().to_owned()), scope: scope.map(str::to_owned) };
        }
    }

    /// Whoever asks gets a token.
    pub(super) fn gets(&mut self, wanted: Wanted, token: Token) {
        self.wanted = wanted;
        self.token = Some(token);
    }

    /// Whoever asks has revoked a token.
    pub(super) fn revokes(&mut self, token: AccessToken) {
        self.wanted = Wanted { resource: Some(token.audience), scope: None };
        self.token = Some(Token { jti: token.id, expires_in: None });
    }

    /// Tells the audit log of the request with this head, which was answered with `error` or what it asked for.
    pub(super) fn tell(self, endpoint: &Endpoint, head: &Parts, error: Option<Error>, answered: Moment) {
        let Self { purpose, address, who, wanted, token, .. } = self;
        let request = || Request { purpose, answered: answered.wall, address, trace_id: trace(head) };
        let event = match (token, error) {
            (_, Some(error)) => Event::refused(request(), who, wanted, (reason(error), error.to_string())),
            (Some(token), None) if purpose == Purpose::Revocation => Event::revoked(request(), who, wanted, token),
            (Some(token), None) => Event::issued(request(), who, wanted, token),
            (None, None) => return,
        };
        endpoint.audit.tell(event, answered.boot);
    }
}

/// As in the metric's label, where the token endpoint knows it too.
fn reason(error: Error) -> &'static str {
    match error {
        Error::TooManyIntrospections(_) => "too_many_introspections",
        Error::TooManyRevocations(_) => "too_many_revocations",
        other => Outcome::of(other).as_str(),
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
    pub(super) fn tell(self, endpoint: &Endpoint, head: &Parts, error: Option<Error>, answered: Moment) {
        let refusal = error.map(|error| (reason(error), error.to_string()));
        let request = Request { purpose: Purpose::Probe, answered: answered.wall, address: endpoint.caller(head), trace_id: trace(head) };
        endpoint.audit.tell(Event::probed(request, self.0, refusal), answered.boot);
    }
}

/// One that is there once.
fn trace(head: &Parts) -> Option<String> {
    let mut fields = head.headers.get_all("traceparent").iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    trace_id(only.as_bytes())
}
