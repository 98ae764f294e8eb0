//! From an HTTP request to what a client asks for (RFC 6749 §4.4.2). The URL's query is never read (§2.3.1).

use super::{
    Error,
    form::{self, Parameter},
    presented::{Authenticating, Presented, presented},
};
use crate::domain::names::Audience;
use http::{HeaderMap, Method, header};
use std::borrow::Cow;

/// The part of a token request that is known before its body, and that decides whether the body is read at all.
pub struct Head<'a> {
    pub(super) headers: &'a HeaderMap,
    has_content_type: bool,
}

/// The API that a request names by `resource` (RFC 8707) or `audience`, its alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// None.
    Unnamed,
    /// One, perhaps several times.
    Named(Cow<'a, str>),
    /// Different ones.
    Several,
    /// A `resource` that is no absolute URI without a fragment.
    Malformed,
}

/// A token request that can be read. An empty parameter is an absent one (RFC 6749 §3.2).
pub struct TokenRequest<'a> {
    /// The client's credentials; `None`: no usable ones.
    pub presented: Option<Presented>,
    /// `grant_type`.
    pub grant_type: Option<Cow<'a, str>>,
    /// `scope`, not split yet.
    pub scope: Option<Cow<'a, str>>,
    /// `resource` and `audience`.
    pub target: Target<'a>,
    /// Whether there are `authorization_details` (RFC 9396), which must not be ignored.
    pub has_authorization_details: bool,
}

impl<'a> Head<'a> {
    /// Reads method and header fields.
    ///
    /// # Errors
    /// [`Error::MethodNotAllowed`] where it is not a POST, [`Error::UnsupportedMediaType`] where the body is no form.
    pub fn read(method: &Method, headers: &'a HeaderMap) -> Result<Self, Error> {
        if method != Method::POST {
            return Err(Error::MethodNotAllowed("POST"));
        }
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let media_type = types.next().map(|value| value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii());
        let is_form = media_type.is_none_or(|name| name.eq_ignore_ascii_case(b"application/x-www-form-urlencoded"));
        let plain = headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if is_form && plain && types.next().is_none() {
            Ok(Self { headers, has_content_type: media_type.is_some() })
        } else {
            Err(Error::UnsupportedMediaType)
        }
    }

    /// Reads the body.
    ///
    /// # Errors
    /// Where the form is malformed, a parameter stands there twice, or the client authenticates in two ways.
    pub fn token_request(self, body: &[u8]) -> Result<TokenRequest<'_>, Error> {
        self.check_body(body)?;
        let form = TokenForm::read(body)?;
        Ok(TokenRequest {
            presented: presented(self.headers, form.authenticating)?,
            grant_type: form.grant_type,
            scope: form.scope,
            target: form.target,
            has_authorization_details: form.has_authorization_details,
        })
    }

    /// Without a type a body is nothing.
    pub(super) fn check_body(&self, body: &[u8]) -> Result<(), Error> {
        if body.is_empty() || self.has_content_type { Ok(()) } else { Err(Error::UnsupportedMediaType) }
    }
}

struct TokenForm<'a> {
    grant_type: Option<Cow<'a, str>>,
    scope: Option<Cow<'a, str>>,
    authenticating: Authenticating<'a>,
    has_authorization_details: bool,
    target: Target<'a>,
}

impl<'a> TokenForm<'a> {
    /// Unknown parameters are ignored, however often they come (RFC 6749 §3.2).
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        let [mut grant_type, mut scope, mut details] = [const { Parameter::Absent }; 3];
        let (mut authenticating, mut target) = (Authenticating::default(), Target::Unnamed);
        for pair in form::pairs(body) {
            let (name, value) = pair?;
            match &*name {
                "grant_type" => grant_type.put("grant_type", value)?,
                "scope" => scope.put("scope", value)?,
                "authorization_details" => details.put("authorization_details", value)?,
                "resource" => target = target.and_resource(value),
                "audience" => target = target.and(value),
                name => authenticating.put(name, value)?,
            }
        }
        Ok(Self {
            grant_type: grant_type.value(),
            scope: scope.value(),
            authenticating,
            has_authorization_details: details.value().is_some(),
            target,
        })
    }
}

impl<'a> Target<'a> {
    fn and_resource(self, value: Cow<'a, str>) -> Self {
        if value.is_empty() || Audience::parse(&value).is_ok() { self.and(value) } else { Self::Malformed }
    }

    fn and(self, value: Cow<'a, str>) -> Self {
        match self {
            unchanged if value.is_empty() => unchanged,
            Self::Unnamed => Self::Named(value),
            Self::Named(known) if known == value => Self::Named(known),
            Self::Named(_) | Self::Several => Self::Several,
            Self::Malformed => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::presented::{Presentation, Proof};
    use http::{HeaderName, HeaderValue};

    const FORM: (HeaderName, &str) = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    /// `a:b`.
    const BASIC: (HeaderName, &str) = (header::AUTHORIZATION, "Basic YTpi");

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn appended(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// What was understood, in a form that can be compared: (method, id, secret), grant type, scope, target.
    #[derive(Debug, PartialEq)]
    struct Read {
        credentials: Option<(Presentation, String, String)>,
        grant_type: Option<String>,
        scope: Option<String>,
        target: Target<'static>,
    }

    fn read(fields: &[(HeaderName, &str)], body: &str) -> Result<Read, Error> {
        let headers = appended(fields);
        let request = Head::read(&Method::POST, &headers)?.token_request(body.as_bytes())?;
        Ok(Read {
            credentials: request.presented.map(|it| match it.proof {
                Proof::Secret(secret, presentation) => (presentation, it.client_id, secret.expose().to_owned()),
                Proof::Assertion(_) => panic!("no test here sends an assertion that can be read"),
            }),
            grant_type: request.grant_type.map(Cow::into_owned),
            scope: request.scope.map(Cow::into_owned),
            target: match request.target {
                Target::Named(name) => Target::Named(Cow::Owned(name.into_owned())),
                Target::Unnamed => Target::Unnamed,
                Target::Several => Target::Several,
                Target::Malformed => Target::Malformed,
            },
        })
    }

    fn credentials(fields: &[(HeaderName, &str)], body: &str) -> Result<Option<(Presentation, String, String)>, Error> {
        read(fields, body).map(|it| it.credentials)
    }

    /// T01.
    #[test]
    fn every_method_but_post_is_refused() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert_eq!(Head::read(&method, &headers(&[FORM])).err(), Some(Error::MethodNotAllowed("POST")), "{method}");
        }
    }

    /// T03.
    #[test]
    fn the_body_must_be_a_form() {
        let typed = |value: &str| read(&[(header::CONTENT_TYPE, value)], "grant_type=x").err();
        for fine in [
            "application/x-www-form-urlencoded;charset=UTF-8",
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded ; q=1",
        ] {
            assert_eq!(typed(fine), None, "{fine}");
        }
        for wrong in ["application/json", "", ";", "text/plain", "application/x-www-form-urlencodedx", "multipart/form-data; boundary=x"] {
            assert_eq!(typed(wrong), Some(Error::UnsupportedMediaType), "{wrong}");
        }
        assert_eq!(read(&[], "a=b").err(), Some(Error::UnsupportedMediaType));
        assert_eq!(read(&[], "").err(), None);
        assert_eq!(read(&[FORM, FORM], "").err(), Some(Error::UnsupportedMediaType));
        assert_eq!(read(&[FORM, (header::CONTENT_ENCODING, "gzip")], "").err(), Some(Error::UnsupportedMediaType));
        assert_eq!(read(&[FORM, (header::CONTENT_ENCODING, "identity")], "").err(), None);
    }

    /// T04.
    #[test]
    fn a_known_parameter_twice_is_refused_also_with_the_same_value() {
        let known =
            ["grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type", "authorization_details"];
        for name in known {
            for body in [format!("{name}=x&{name}=x"), format!("{name}=x&b=c&{name}=y"), format!("{name}=&{name}=")] {
                assert_eq!(read(&[FORM], &body).err(), Some(Error::DuplicateParameter(name)), "{body}");
            }
        }
    }

    /// T05, T06, T09.
    #[test]
    fn a_resource_may_come_twice_and_an_unknown_parameter_as_often_as_it_likes() {
        let target = |body: &str| read(&[FORM], body).unwrap().target;
        assert_eq!(target("resource=https://a&resource=https://a"), Target::Named("https://a".into()));
        assert_eq!(target("foo=1&foo=2&scope[0]=x&scope[]=y&Scope=z"), Target::Unnamed);
        assert_eq!(read(&[FORM], "scope[0]=x&scope[]=y&Scope=z").unwrap().scope, None);
    }

    /// T07.
    #[test]
    fn an_empty_parameter_is_an_absent_one() {
        let request = read(&[FORM, BASIC], "grant_type=&scope=&resource=&audience=&client_secret=&client_id=").unwrap();
        let expected = Some((Presentation::Basic, "a".to_owned(), "b".to_owned()));
        assert_eq!(request, Read { credentials: expected, grant_type: None, scope: None, target: Target::Unnamed });
        assert_eq!(credentials(&[FORM], "client_id=a&client_secret="), Ok(None));
    }

    /// T08.
    #[test]
    fn a_malformed_form_is_refused_also_in_an_unknown_parameter() {
        for body in ["foo=%zz", "%4=x", "scope=%ff", "grant_type=%00"] {
            assert_eq!(read(&[FORM], body).err(), Some(Error::MalformedForm), "{body}");
        }
    }

    /// C06, C08.
    #[test]
    fn a_secret_comes_in_the_header_or_in_the_body() {
        let basic = Ok(Some((Presentation::Basic, "a".to_owned(), "b".to_owned())));
        assert_eq!(credentials(&[BASIC], ""), basic);
        assert_eq!(credentials(&[FORM, BASIC], "client_id=a"), basic);
        assert_eq!(credentials(&[FORM, BASIC], "client_id=c"), Err(Error::ClientIdMismatch));
        let post = Ok(Some((Presentation::Post, "a".to_owned(), "b c".to_owned())));
        assert_eq!(credentials(&[FORM], "client_id=a&client_secret=b%20c"), post);
    }

    /// C07, S2.
    #[test]
    fn two_ways_of_authentication_are_refused() {
        let malformed = (header::AUTHORIZATION, "Basic !");
        let cases: [(&[(HeaderName, &str)], &str); 6] = [
            (&[FORM, BASIC], "client_secret=b"),
            (&[FORM, BASIC], "client_id=a&client_secret=b"),
            (&[FORM, malformed], "client_id=a&client_secret=b"),
            (&[FORM, BASIC], "client_assertion=x&client_assertion_type=y"),
            (&[FORM], "client_id=a&client_secret=b&client_assertion=x"),
            (&[FORM, BASIC, BASIC], ""),
        ];
        for (fields, body) in cases {
            assert_eq!(credentials(fields, body), Err(Error::SeveralAuthentications), "{body}");
        }
    }

    /// C05, C12, C13, C14: an authentication that cannot succeed is told apart from none nowhere.
    #[test]
    fn what_authenticates_nobody_is_no_credential() {
        let other = |value: &'static str| [FORM, (header::AUTHORIZATION, value)];
        assert_eq!(credentials(&other("Bearer x"), ""), Ok(None));
        assert_eq!(credentials(&other("Digest x"), "client_id=a&client_secret=b"), Ok(None));
        assert_eq!(credentials(&other("Basic !"), ""), Ok(None));
        assert_eq!(credentials(&[FORM], ""), Ok(None));
        assert_eq!(credentials(&[FORM], "client_id=a"), Ok(None));
        assert_eq!(credentials(&[FORM], "client_secret=b"), Ok(None));
    }

    /// J13, J16: RFC 7521 §4.2.
    #[test]
    fn an_assertion_comes_with_its_type() {
        let jwt = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        for (body, expected) in [
            (format!("{jwt}&client_assertion=a.b.c"), Ok(None)),
            ("client_assertion=a.b.c".to_owned(), Err(Error::MissingParameter("client_assertion_type"))),
            (jwt.to_owned(), Err(Error::MissingParameter("client_assertion"))),
            ("client_assertion=a.b.c&client_assertion_type=y".to_owned(), Err(Error::UnsupportedAssertionType)),
        ] {
            assert_eq!(credentials(&[FORM], &body), expected, "{body}");
        }
    }

    /// G07, G09, G10.
    #[test]
    fn resource_and_its_alias_audience_name_one_api() {
        for (body, expected) in [
            ("resource=https://a/b", Target::Named("https://a/b".into())),
            ("audience=https://a", Target::Named("https://a".into())),
            ("audience=not+a+uri", Target::Named("not a uri".into())),
            ("audience=https://a&resource=https://a", Target::Named("https://a".into())),
            ("audience=https://a&resource=https://b", Target::Several),
            ("resource=https://a&resource=https://b&resource=https://a", Target::Several),
            ("resource=/relative", Target::Malformed),
            ("resource=https://a%23fragment", Target::Malformed),
            ("resource=x&resource=https://a", Target::Malformed),
            ("resource=https://a&resource=x", Target::Malformed),
        ] {
            assert_eq!(read(&[FORM], body).unwrap().target, expected, "{body}");
        }
    }
}
