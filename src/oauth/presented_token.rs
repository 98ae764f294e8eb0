//! A request about a token: introspection (RFC 7662 §2.1) and revocation (RFC 7009 §2.1) read the same form.

use super::{
    Error,
    form::{self, Parameter},
    presented::{Authenticating, Presented, presented},
    request::Head,
};
use std::borrow::Cow;

/// The request. An empty parameter is an absent one.
pub struct PresentedToken<'a> {
    /// The client's credentials; `None`: no usable ones.
    pub presented: Option<Presented>,
    /// The token.
    pub token: Option<Cow<'a, str>>,
}

impl Head<'_> {
    /// Reads the body. `token_type_hint` may say what it likes: there is one kind of tokens.
    ///
    /// # Errors
    /// Where the form is malformed, a parameter stands there twice, or the client authenticates in two ways.
    pub fn presented_token(self, body: &[u8]) -> Result<PresentedToken<'_>, Error> {
        self.check_body(body)?;
        let (mut token, mut hint, mut authenticating) = (Parameter::Absent, Parameter::Absent, Authenticating::default());
        for pair in form::pairs(body) {
            let (name, value) = pair?;
            match &*name {
                "token" => token.put("token", value)?,
                "token_type_hint" => hint.put("token_type_hint", value)?,
                name => authenticating.put(name, value)?,
            }
        }
        Ok(PresentedToken { presented: presented(self.headers, authenticating)?, token: token.value() })
    }
}
