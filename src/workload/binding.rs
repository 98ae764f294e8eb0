//! The content of a client's Secret, as a token request needs it. Pure.

use crate::domain::credential::SecretValue;
use std::collections::{BTreeMap, BTreeSet};
use url::Url;
use zeroize::Zeroizing;

/// The content of a Secret by the names of its keys, wherever it was read from. It holds the secret: no Debug, no message shows it.
pub type Entries = BTreeMap<String, Zeroizing<String>>;

/// A key, by its names in the formats ServiceBinding and Env.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key(&'static str, &'static str);

const CLIENT_ID: Key = Key("client-id", "CLIENT_ID");
const CLIENT_SECRET: Key = Key("client-secret", "CLIENT_SECRET");
const TOKEN_URI: Key = Key("token-uri", "TOKEN_URL");
const ISSUER_URI: Key = Key("issuer-uri", "ISSUER_URL");
const JWK_SET_URI: Key = Key("jwk-set-uri", "JWKS_URL");
const CA: Key = Key("ca.crt", "CA_CERT");
/// Of the format ServiceBinding alone.
const METHOD: Key = Key("client-authentication-method", "client-authentication-method");
const KEYS: [Key; 7] = [CLIENT_ID, CLIENT_SECRET, TOKEN_URI, ISSUER_URI, JWK_SET_URI, CA, METHOD];

/// Why the content of a Secret is not enough for a token request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// A key that has to be there.
    #[error("there is no {key} (what is there: {}): if spec.secret.keys gives it another name, say --key {key}=NAME", listed(.present))]
    Missing {
        /// What it is called.
        key: String,
        /// The names of what is there.
        present: Vec<String>,
    },
    /// The token endpoint's URL is none.
    #[error("{key} is no URL: {text:?}")]
    Url {
        /// What it is called.
        key: String,
        /// As given.
        text: String,
    },
    /// The secret would cross the network in the clear.
    #[error("{key} is {text}: the secret would cross the network in the clear; it has to be https, or http on loopback")]
    Plain {
        /// What it is called.
        key: String,
        /// As given.
        text: String,
    },
    /// A method that needs something else than a secret.
    #[error(
        "{key} is {text:?}: this client has no secret to send; name the pod's projected token by --service-account-token, its JWT-SVID by --jwt-svid, or its key by --private-key"
    )]
    Method {
        /// What it is called.
        key: String,
        /// As given.
        text: String,
    },
}

/// How the secret is sent (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// In the Authorization header.
    Basic,
    /// In the body.
    Post,
}

/// What a token request needs.
pub struct Binding {
    /// The client identifier.
    pub client_id: String,
    /// The secret, where that is the proof.
    pub client_secret: Option<SecretValue>,
    /// The token endpoint: https, or http on loopback.
    pub token_uri: Url,
    /// How the secret is sent, where the Secret says.
    pub method: Option<Method>,
    /// The CA certificates to trust instead of the system's, in PEM.
    pub ca: Option<String>,
    /// The issuer identifier.
    pub issuer_uri: Option<String>,
    /// Where the keys are.
    pub jwk_set_uri: Option<String>,
}

/// The names of the keys where `spec.secret.keys` renames some.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// From the names that the formats give to the wanted ones.
    #[must_use]
    pub fn renamed(names: BTreeMap<String, String>) -> Self {
        Self(names)
    }

    /// Every name under which something that is of use may be found.
    #[must_use]
    pub fn all(&self) -> BTreeSet<&str> {
        KEYS.iter().flat_map(|key| self.of(*key)).collect()
    }

    fn of(&self, key: Key) -> [&str; 2] {
        [key.0, key.1].map(|name| self.0.get(name).map_or(name, String::as_str))
    }
}

impl Binding {
    /// Reads the content of a Secret of either format, with the secret or without. White space around a value is none of it: hands leave it behind.
    ///
    /// # Errors
    /// Names the key that is missing or wrong.
    pub fn read(entries: &Entries, names: &Names, with_secret: bool) -> Result<Self, BindingError> {
        let find = |key: Key| names.of(key).into_iter().find_map(|name| Some((name, entries.get(name)?.trim()))).filter(is_given);
        let text = |key: Key| find(key).map(|(_, text)| text.to_owned());
        let needed = |key: Key| find(key).ok_or_else(|| missing(key, entries));
        let client_id = needed(CLIENT_ID)?.1.to_owned();
        // Of another method there is no secret to miss.
        let method = find(METHOD).filter(|_| with_secret).map(method).transpose()?;
        let secret = with_secret.then(|| needed(CLIENT_SECRET)).transpose()?;
        Ok(Self {
            client_id,
            client_secret: secret.map(|(_, text)| SecretValue::from_text(text.to_owned())),
            token_uri: endpoint(needed(TOKEN_URI)?)?,
            method,
            ca: text(CA),
            issuer_uri: text(ISSUER_URI),
            jwk_set_uri: text(JWK_SET_URI),
        })
    }
}

fn is_given((_, text): &(&str, &str)) -> bool {
    !text.is_empty()
}

/// Named as in the format of which more is there.
fn missing(key: Key, entries: &Entries) -> BindingError {
    let is_env = KEYS.iter().any(|key| key.0 != key.1 && entries.contains_key(key.1));
    let key = if is_env { key.1 } else { key.0 };
    let shown = |(name, text): (&String, &Zeroizing<String>)| {
        if text.trim().is_empty() { format!("{name} (empty)") } else { name.clone() }
    };
    BindingError::Missing { key: key.to_owned(), present: entries.iter().map(shown).collect() }
}

fn endpoint((key, text): (&str, &str)) -> Result<Url, BindingError> {
    let named = || (key.to_owned(), text.to_owned());
    let url = Url::parse(text).ok().filter(Url::has_host);
    match url {
        Some(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => Ok(url),
        Some(_) => Err(named()).map_err(|(key, text)| BindingError::Plain { key, text }),
        None => Err(named()).map_err(|(key, text)| BindingError::Url { key, text }),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn method((key, text): (&str, &str)) -> Result<Method, BindingError> {
    match text {
        "client_secret_basic" => Ok(Method::Basic),
        "client_secret_post" => Ok(Method::Post),
        _ => Err(BindingError::Method { key: key.to_owned(), text: text.to_owned() }),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Entries {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Zeroizing::new((*text).to_owned()))).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Binding, String> {
        Binding::read(&entries(pairs), &Names::default(), true).map_err(|error| error.to_string())
    }

    const FILES: [(&str, &str); 5] = [
        ("client-id", "billing.worker"),
        ("client-secret", "canary\n"),
        ("token-uri", "https://auth.svc/oauth2/token"),
        ("client-authentication-method", "client_secret_post"),
        ("ca.crt", "-----BEGIN"),
    ];
    const VARIABLES: [(&str, &str); 3] =
        [("CLIENT_ID", "billing.worker"), ("CLIENT_SECRET", "canary"), ("TOKEN_URL", "https://auth.svc/oauth2/token")];

    #[test]
    fn both_formats_are_read() {
        let files = read(&FILES).unwrap();
        assert_eq!(
            (files.client_id.as_str(), files.client_secret.as_ref().unwrap().expose(), files.method),
            ("billing.worker", "canary", Some(Method::Post))
        );
        assert_eq!(files.ca.as_deref(), Some("-----BEGIN"));
        let variables = read(&VARIABLES).unwrap();
        assert_eq!((variables.token_uri.as_str(), variables.method, variables.ca), ("https://auth.svc/oauth2/token", None, None));
    }

    #[test]
    fn renamed_keys_are_found_under_their_names() {
        let names = Names::renamed([("client-secret".to_owned(), "password".to_owned())].into());
        let renamed = FILES.map(|(name, text)| (if name == "client-secret" { "password" } else { name }, text));
        assert_eq!(Binding::read(&entries(&renamed), &names, true).unwrap().client_secret.unwrap().expose(), "canary");
        assert!(names.all().contains("password") && !names.all().contains("client-secret"));
        let error = read(&renamed).err().unwrap();
        assert!(error.contains("there is no client-secret") && error.contains("password") && error.contains("--key"), "{error}");
    }

    /// The Secret of a client that proves who it is otherwise.
    #[test]
    fn without_a_secret_none_is_missed() {
        let pairs = [FILES[0], FILES[2], ("client-authentication-method", "private_key_jwt")];
        let binding = Binding::read(&entries(&pairs), &Names::default(), false).unwrap();
        assert!(binding.client_secret.is_none() && binding.method.is_none());
    }

    #[test]
    fn what_is_missing_is_named_as_in_its_format() {
        assert!(read(&VARIABLES[..2]).err().unwrap().contains("there is no TOKEN_URL (what is there: CLIENT_ID, CLIENT_SECRET)"));
        assert!(read(&[]).err().unwrap().contains("there is no client-id (what is there: nothing)"));
        assert!(read(&[("client-id", " \n")]).err().unwrap().contains("there is no client-id (what is there: client-id (empty))"));
    }

    #[test]
    fn a_token_endpoint_is_https_or_on_loopback() {
        let with = |uri: &str| read(&[FILES[0], FILES[1], ("token-uri", uri)]).map(|binding| binding.token_uri.to_string());
        for uri in ["https://auth.svc/oauth2/token", "http://127.0.0.1:8080/oauth2/token", "http://localhost:1/", "http://[::1]:1/"] {
            assert_eq!(with(uri).unwrap(), uri);
        }
        for uri in ["http://auth.svc/oauth2/token", "ftp://localhost/", "http://127.0.0.1.example.com/"] {
            assert!(with(uri).unwrap_err().contains("in the clear"), "{uri}");
        }
        for uri in ["auth.svc/oauth2/token", "https://", "/oauth2/token"] {
            assert!(with(uri).unwrap_err().contains("is no URL"), "{uri}");
        }
    }

    /// S12: no message shows a value but those of public keys.
    #[test]
    fn no_message_shows_the_secret() {
        let without = |gone: &str| FILES.into_iter().filter(|(name, _)| *name != gone).collect::<Vec<_>>();
        let faulty = [without("client-id"), without("token-uri"), vec![FILES[1], FILES[0], ("token-uri", "canary-not")]];
        for pairs in faulty.iter().take(2) {
            assert!(!read(pairs).err().unwrap().contains("canary"));
        }
        let other = read(&[FILES[0], FILES[2], ("client-authentication-method", "private_key_jwt")]).err().unwrap();
        assert!(other.contains("private_key_jwt") && !other.contains("canary"), "{other}");
    }
}
