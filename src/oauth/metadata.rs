//! The issuer identifier and the two discovery documents (RFC 8414, OpenID Connect Discovery 1.0).

use crate::domain::resource::Algorithm;
use serde::Serialize;
use std::fmt;
use url::{Host, Url};

/// Why a text is not an issuer identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// RFC 8414 §2.
    #[error(
        "the issuer must be an https URL without user, query and fragment, as in https://auth.example.com or https://auth.example.com/team"
    )]
    NotHttps,
    /// Clients compare it byte by byte, so that there must be one way to write it.
    #[error("write the issuer as {0}: clients compare it byte by byte")]
    NotCanonical(String),
    /// The path would need escapes.
    #[error("the path of the issuer may contain A-Z, a-z, 0-9, '.', '_', '~' and '-' between slashes, no more")]
    Path,
}

/// An issuer identifier (RFC 8414 §2): canonical, without a slash at its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    path_start: usize,
}

impl Issuer {
    /// Reads an issuer identifier. Plain http is one on loopback alone, for development.
    ///
    /// # Errors
    /// Says how to write it instead.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        let url = Url::parse(text).map_err(|_| IssuerError::NotHttps)?;
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        if !(bare && secure && url.has_host()) {
            return Err(IssuerError::NotHttps);
        }
        let path = url.path().trim_end_matches('/');
        let segment =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'));
        if !path.is_empty() && !path.split('/').skip(1).all(segment) {
            return Err(IssuerError::Path);
        }
        let canonical = url.as_str().trim_end_matches('/');
        if canonical != text {
            return Err(IssuerError::NotCanonical(canonical.to_owned()));
        }
        Ok(Self { path_start: canonical.len() - path.len(), text: canonical.to_owned() })
    }

    /// The text: `iss` in tokens, `issuer` in metadata.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What follows host and port: empty, or a path that begins with a slash and does not end with one.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path_start..).unwrap_or_default()
    }

    /// The URL of the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{self}{TOKEN_PATH}")
    }

    /// The URL of the introspection endpoint.
    #[must_use]
    pub fn introspection_endpoint(&self) -> String {
        format!("{self}{INTROSPECTION_PATH}")
    }

    /// The URL of the revocation endpoint.
    #[must_use]
    pub fn revocation_endpoint(&self) -> String {
        format!("{self}{REVOCATION_PATH}")
    }

    /// The URL of the JWKS.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!("{self}{JWKS_PATH}")
    }

    /// The path of the RFC 8414 document: the well-known part goes between host and path (§3.1).
    #[must_use]
    pub fn oauth_metadata_path(&self) -> String {
        format!("/.well-known/oauth-authorization-server{}", self.path())
    }

    /// The path of the OpenID document: the well-known part goes to the end (Discovery 1.0 §4).
    #[must_use]
    pub fn openid_configuration_path(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.path())
    }
}

/// Path of the token endpoint, below the issuer's.
pub const TOKEN_PATH: &str = "/oauth2/token";
/// Path of the introspection endpoint, likewise.
pub const INTROSPECTION_PATH: &str = "/oauth2/introspect";
/// Path of the revocation endpoint, likewise.
pub const REVOCATION_PATH: &str = "/oauth2/revoke";
/// Path of the JWKS, likewise.
pub const JWKS_PATH: &str = "/oauth2/jwks";
/// Where tokens to probe an API with come from, likewise. No metadata names it.
pub const PROBE_PATH: &str = "/oauth2/probe";

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.text)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// What both documents say. Defaults of RFC 8414 that are wrong here are overridden: without `grant_types_supported` a reader
/// would assume authorization_code.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    introspection_endpoint: String,
    revocation_endpoint: String,
    jwks_uri: String,
    /// Required, but there is no authorization endpoint: empty, for strict parsers.
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
    /// RFC 9701 §7.
    introspection_signing_alg_values_supported: Vec<&'static str>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 4],
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    openid: Option<OpenId>,
}

/// What strict readers of the OpenID form want as well; Kubernetes' own issuer says the same.
#[derive(Serialize)]
struct OpenId {
    subject_types_supported: [&'static str; 1],
    /// Some verifiers take the algorithms of access tokens from here, and RS256 alone where it is absent.
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

/// What differs between installations, and in the life of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The algorithms that tokens, and signed answers about them, are signed with.
    pub algorithms: Vec<Algorithm>,
    /// Whether there is a trust domain of SPIFFE.
    pub spiffe: bool,
}

/// The document of RFC 8414 §2.
#[must_use]
pub fn oauth_metadata(issuer: &Issuer, in_use: &InUse) -> Vec<u8> {
    document(issuer, in_use, None)
}

/// The document of OpenID Connect Discovery 1.0 §3.
#[must_use]
pub fn openid_configuration(issuer: &Issuer, in_use: &InUse) -> Vec<u8> {
    let openid = OpenId { subject_types_supported: ["public"], id_token_signing_alg_values_supported: in_use.names() };
    document(issuer, in_use, Some(openid))
}

impl InUse {
    fn names(&self) -> Vec<&'static str> {
        self.algorithms.iter().map(|algorithm| algorithm.as_str()).collect()
    }

    /// How clients authenticate, at every endpoint. A ServiceAccount token is a private_key_jwt of the cluster's making.
    fn methods(&self) -> Vec<&'static str> {
        let always = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
        always.into_iter().chain(self.spiffe.then_some("spiffe_jwt")).collect()
    }
}

fn document(issuer: &Issuer, in_use: &InUse, openid: Option<OpenId>) -> Vec<u8> {
    let metadata = Metadata {
        issuer: issuer.as_str(),
        token_endpoint: issuer.token_endpoint(),
        introspection_endpoint: issuer.introspection_endpoint(),
        revocation_endpoint: issuer.revocation_endpoint(),
        jwks_uri: issuer.jwks_uri(),
        response_types_supported: [],
        grant_types_supported: ["client_credentials"],
        token_endpoint_auth_methods_supported: in_use.methods(),
        token_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
        introspection_endpoint_auth_methods_supported: in_use.methods(),
        introspection_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
        introspection_signing_alg_values_supported: in_use.names(),
        revocation_endpoint_auth_methods_supported: in_use.methods(),
        revocation_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
        openid,
    };
    serde_json::to_vec(&metadata).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(document: &[u8]) -> Value {
        serde_json::from_slice(document).unwrap()
    }

    fn in_use(algorithms: &[Algorithm]) -> InUse {
        InUse { algorithms: algorithms.to_vec(), spiffe: false }
    }

    /// K12.
    #[test]
    fn jwt_svids_are_offered_where_there_is_a_trust_domain() {
        let issuer = Issuer::parse("https://h").unwrap();
        let document = read(&oauth_metadata(&issuer, &InUse { spiffe: true, ..in_use(&[Algorithm::Es256]) }));
        let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"]);
        for endpoint in ["token", "introspection", "revocation"] {
            assert_eq!(document[format!("{endpoint}_endpoint_auth_methods_supported")], methods);
        }
    }

    /// W01.
    #[test]
    fn an_issuer_is_an_https_url_written_in_one_way() {
        for text in [
            "https://h",
            "https://h.example:8443",
            "https://h/t",
            "https://h/t/u",
            "http://127.0.0.1:8080",
            "http://[::1]:1",
            "http://localhost",
        ] {
            assert_eq!(Issuer::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "h", "http://h", "ftp://h", "https://h?q", "https://h#f", "https://u@h", "https://u:p@h", "https:///", "urn:x:y"] {
            assert_eq!(Issuer::parse(text).err(), Some(IssuerError::NotHttps), "{text}");
        }
        for (text, canonical) in [
            ("https://h/", "https://h"),
            ("https://h/t/", "https://h/t"),
            ("https://H", "https://h"),
            ("https://h:443", "https://h"),
            ("HTTPS://h", "https://h"),
            ("https://h/a/../b", "https://h/b"),
            (" https://h", "https://h"),
        ] {
            assert_eq!(Issuer::parse(text).err(), Some(IssuerError::NotCanonical(canonical.to_owned())), "{text}");
        }
        for text in ["https://h/a//b", "https://h/{t}", "https://h/:t", "https://h/*", "https://h/%41", "https://h/ü"] {
            assert_eq!(Issuer::parse(text).err(), Some(IssuerError::Path), "{text}");
        }
    }

    /// W02: RFC 8414 §3.1, Discovery 1.0 §4.
    #[test]
    fn the_well_known_part_goes_before_the_path_or_after_it() {
        let plain = Issuer::parse("https://h").unwrap();
        assert_eq!(plain.oauth_metadata_path(), "/.well-known/oauth-authorization-server");
        assert_eq!(plain.openid_configuration_path(), "/.well-known/openid-configuration");
        let with_path = Issuer::parse("https://h:1/t").unwrap();
        assert_eq!(with_path.oauth_metadata_path(), "/.well-known/oauth-authorization-server/t");
        assert_eq!(with_path.openid_configuration_path(), "/t/.well-known/openid-configuration");
        assert_eq!(with_path.token_endpoint(), "https://h:1/t/oauth2/token");
    }

    /// W01, W03, W04, A04, I06.
    #[test]
    fn the_oauth_document_says_what_is_there_and_no_more() {
        let issuer = Issuer::parse("https://h/t").unwrap();
        assert_eq!(
            read(&oauth_metadata(&issuer, &in_use(&[Algorithm::Es256]))),
            json!({
                "issuer": "https://h/t",
                "token_endpoint": "https://h/t/oauth2/token",
                "introspection_endpoint": "https://h/t/oauth2/introspect",
                "revocation_endpoint": "https://h/t/oauth2/revoke",
                "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
                "revocation_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "PS256", "EdDSA"],
                "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
                "introspection_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "PS256", "EdDSA"],
                "introspection_signing_alg_values_supported": ["ES256"],
                "jwks_uri": "https://h/t/oauth2/jwks",
                "response_types_supported": [],
                "grant_types_supported": ["client_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "PS256", "EdDSA"],
            })
        );
    }

    /// W05, W09.
    #[test]
    fn the_openid_document_adds_what_strict_readers_want() {
        let issuer = Issuer::parse("https://h").unwrap();
        let mut expected = read(&oauth_metadata(&issuer, &in_use(&[Algorithm::Rs256, Algorithm::Es256])));
        expected["subject_types_supported"] = json!(["public"]);
        expected["id_token_signing_alg_values_supported"] = json!(["RS256", "ES256"]);
        assert_eq!(read(&openid_configuration(&issuer, &in_use(&[Algorithm::Rs256, Algorithm::Es256]))), expected);
    }
}
