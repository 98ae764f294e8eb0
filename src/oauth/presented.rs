//! How a client says who it is: at most one way in a request (RFC 6749 §2.3).

use super::{
    Error,
    assertion::{Assertion, AssertionType},
    basic::{Authorization, authorization},
    form::Parameter,
    service_account,
};
use crate::domain::{credential::SecretValue, service_account::ClusterIssuer};
use http::{HeaderMap, header};
use std::{borrow::Cow, sync::Arc};

/// How a secret was presented (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presentation {
    /// In the Authorization header: client_secret_basic.
    Basic,
    /// In the body: client_secret_post.
    Post,
}

/// A client's credentials as they came, neither known nor right.
pub struct Presented {
    /// Any text: not every one is a client id.
    pub client_id: String,
    /// What is to prove it.
    pub proof: Proof,
}

/// What a client shows.
pub enum Proof {
    /// A secret: any text, possibly none.
    Secret(SecretValue, Presentation),
    /// A signed assertion (RFC 7521 §4.2).
    Assertion(Box<Assertion>),
}

impl Presented {
    /// How it is to be proved, by the name in the registry of OpenID Connect (core, section 9), `spiffe_jwt` or `service_account`. `cluster` tells
    /// tokens of ServiceAccounts from other assertions.
    #[must_use]
    pub fn method(&self, cluster: impl FnOnce() -> Option<Arc<ClusterIssuer>>) -> &'static str {
        match &self.proof {
            Proof::Secret(_, Presentation::Basic) => "client_secret_basic",
            Proof::Secret(_, Presentation::Post) => "client_secret_post",
            Proof::Assertion(assertion) if assertion.assertion_type == AssertionType::JwtSpiffe => "spiffe_jwt",
            Proof::Assertion(assertion) if service_account::is_one(assertion, cluster().as_deref()) => "service_account",
            Proof::Assertion(_) => "private_key_jwt",
        }
    }
}

/// What of a form authenticates a client.
#[derive(Default)]
pub(super) struct Authenticating<'a> {
    client_id: Parameter<'a>,
    client_secret: Parameter<'a>,
    assertion: Parameter<'a>,
    assertion_type: Parameter<'a>,
}

impl<'a> Authenticating<'a> {
    /// Takes a parameter in. Those that say nothing of a client are ignored, however often they come (RFC 6749 §3.2).
    pub(super) fn put(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Error> {
        match name {
            "client_id" => self.client_id.put("client_id", value),
            "client_secret" => self.client_secret.put("client_secret", value),
            "client_assertion" => self.assertion.put("client_assertion", value),
            "client_assertion_type" => self.assertion_type.put("client_assertion_type", value),
            _ => Ok(()),
        }
    }
}

/// A scheme that is none of ours authenticates nobody, whatever else is there. Empty parameters are absent.
pub(super) fn presented(headers: &HeaderMap, form: Authenticating<'_>) -> Result<Option<Presented>, Error> {
    let [client_id, client_secret, assertion, assertion_type] =
        [form.client_id, form.client_secret, form.assertion, form.assertion_type].map(Parameter::value);
    let client_secret = client_secret.map(|text| SecretValue::from_text(text.into_owned()));
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let header = fields.next().map(|value| authorization(value.as_bytes()));
    if fields.next().is_some() {
        return Err(Error::SeveralAuthentications);
    }
    let has_assertion = assertion.is_some() || assertion_type.is_some();
    match (header, client_secret) {
        (Some(Authorization::OtherScheme), _) => Ok(None),
        (Some(_), Some(_)) => Err(Error::SeveralAuthentications),
        (Some(_), None) | (None, Some(_)) if has_assertion => Err(Error::SeveralAuthentications),
        (Some(Authorization::Basic(named, secret)), None) => match client_id {
            Some(other) if other != named => Err(Error::ClientIdMismatch),
            _ => Ok(Some(Presented { client_id: named, proof: Proof::Secret(secret, Presentation::Basic) })),
        },
        (None, Some(secret)) => {
            let proof = Proof::Secret(secret, Presentation::Post);
            Ok(client_id.map(|id| Presented { client_id: id.into_owned(), proof }))
        }
        (None, None) => asserted(client_id, assertion, assertion_type),
        (Some(Authorization::MalformedBasic), None) => Ok(None),
    }
}

/// RFC 7521 §4.2: `client_id` may be left out, because the assertion names its subject.
fn asserted(
    client_id: Option<Cow<'_, str>>,
    assertion: Option<Cow<'_, str>>,
    assertion_type: Option<Cow<'_, str>>,
) -> Result<Option<Presented>, Error> {
    let (text, name) = match (assertion, assertion_type) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(Error::MissingParameter("client_assertion_type")),
        (None, Some(_)) => return Err(Error::MissingParameter("client_assertion")),
        (Some(text), Some(name)) => (text, name),
    };
    let assertion_type = AssertionType::named(&name).ok_or(Error::UnsupportedAssertionType)?;
    Ok(Assertion::read(assertion_type, &text).map(|assertion| Presented {
        client_id: client_id.map_or_else(|| assertion.subject.clone(), Cow::into_owned),
        proof: Proof::Assertion(Box::new(assertion)),
    }))
}
