//! The policy itself, as the chart's values and a YAML file write it. Every part may be left out.

#[cfg(test)]
mod tests;
mod trust;

use super::{audience, rotation::SHORTEST_OVERLAP};
use crate::domain::{
    client::SecretMethod,
    duration,
    names::{Audience, ClientId},
    trust_domain::WorkloadId,
};
use jiff::SignedDuration;
use serde::Deserialize;
use std::collections::BTreeSet;
pub use trust::TrustDomain;
use trust::{SpiffeIdDocument, TrustDomainDocument, WorkloadPattern};

/// What an installation allows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Document")]
pub struct Policy {
    audiences: Vec<Rule<AudiencePattern>>,
    client_ids: Vec<Rule<ClientId>>,
    spiffe_ids: Vec<Rule<WorkloadPattern>>,
    trust_domains: Vec<TrustDomain>,
    methods: Methods,
    namespace_label_keys: BTreeSet<String>,
    /// Whether a client may be whoever has the ServiceAccount `default`.
    pub allow_default_service_account: bool,
    /// Whether the API server may be asked about ServiceAccount tokens.
    pub token_review: bool,
    /// The longest lifetime of an access token.
    pub max_lifetime: SignedDuration,
    /// The shortest overlap of a rotation.
    pub min_overlap: SignedDuration,
    /// The longest overlap of a rotation: a replaced secret is refused then, also where it is in use. `None`: any.
    pub max_overlap: Option<SignedDuration>,
    /// How many `OAuthClient`s of this installation a namespace may have: the oldest are served. `None`: any number.
    pub clients_per_namespace: Option<usize>,
    /// How many tokens each client gets from one replica. `None`: as many as it likes.
    pub quota: Option<Quota>,
    /// The same of introspections.
    pub introspection_quota: Option<Quota>,
}

/// `tokensPerSecond` and `burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// On average.
    pub tokens_per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// An audience.
    #[error("audiences: {0:?} is neither an absolute URI nor the beginning of one that ends in /* or :* (as https://api.example.com/*)")]
    Audience(String),
    /// A client id.
    #[error("clientIds: {0:?} is no client id: it has 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    ClientId(String),
    /// A SPIFFE ID.
    #[error("spiffeIds: {0:?} is neither a SPIFFE ID nor the beginning of one that ends in /* (as spiffe://example.org/payroll/*)")]
    SpiffeId(String),
    /// A rule for a workload of nowhere.
    #[error("spiffeIds: {0:?} is of a trust domain that trustDomains does not name")]
    NoTrustDomain(String),
    /// A trust domain.
    #[error("trustDomains: {0:?} is no name of a trust domain, or is there twice: write it once and in lower case, as in example.org")]
    TrustDomain(String),
    /// Where a bundle is.
    #[error("trustDomains: {0}: bundle.configMap is the name of a ConfigMap in the release's namespace, and bundle.key one of its keys")]
    Bundle(String),
    /// A rule for no namespace.
    #[error("the rule for {0:?} names no namespace: list the namespaces that may use it, or remove the rule")]
    NoNamespace(String),
    /// The longest lifetime.
    #[error("maxLifetime: {0:?} is not a time of at least a minute: write 15m or 1h")]
    MaxLifetime(String),
    /// The bounds of overlaps.
    #[error("{0}: {1:?} is no overlap: write a time of at least ten minutes, as in 10m or 7d")]
    Overlap(&'static str, String),
    /// The bounds of overlaps.
    #[error("maxOverlap is shorter than minOverlap: no rotation could keep to both")]
    Overlaps,
    /// The methods.
    #[error(
        "authentication.methods: list some of client_secret_basic, client_secret_post, private_key_jwt, service_account and spiffe_jwt; without any no client could authenticate"
    )]
    Methods,
    /// The limit.
    #[error("clientsPerNamespace: 0 would allow no client at all: write 1 or more, or leave it out")]
    ClientsPerNamespace,
    /// The quota.
    #[error("tokensPerSecond and burst: write 1 or more, and burst only beside tokensPerSecond; without both there is no quota")]
    Quota,
}

/// Which namespaces may use something that is not theirs by name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule<T> {
    what: T,
    namespaces: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AudiencePattern {
    Exactly(Audience),
    /// Ends in `/` or `:`, so that `https://api.example.com` is not also the beginning of another host.
    Below(String),
}

/// Which ways to authenticate are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Methods {
    basic: bool,
    post: bool,
    private_key_jwt: bool,
    service_account: bool,
    spiffe: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    audiences: Option<Vec<AudienceDocument>>,
    client_ids: Option<Vec<ClientIdDocument>>,
    spiffe_ids: Option<Vec<SpiffeIdDocument>>,
    trust_domains: Option<Vec<TrustDomainDocument>>,
    authentication: Option<AuthenticationDocument>,
    allow_default_service_account: Option<bool>,
    max_lifetime: Option<String>,
    min_overlap: Option<String>,
    max_overlap: Option<String>,
    namespace_label_keys: Option<BTreeSet<String>>,
    clients_per_namespace: Option<usize>,
    tokens_per_second: Option<u32>,
    burst: Option<u32>,
    introspections_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AudienceDocument {
    audience: String,
    namespaces: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientIdDocument {
    client_id: String,
    namespaces: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthenticationDocument {
    methods: Option<Vec<String>>,
    token_review: Option<bool>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            client_ids: Vec::new(),
            spiffe_ids: Vec::new(),
            trust_domains: Vec::new(),
            methods: Methods { basic: true, post: true, private_key_jwt: true, service_account: true, spiffe: true },
            allow_default_service_account: false,
            token_review: true,
            namespace_label_keys: ["kubernetes.io/metadata.name".to_owned()].into(),
            max_lifetime: SignedDuration::from_hours(1),
            min_overlap: SHORTEST_OVERLAP,
            max_overlap: None,
            clients_per_namespace: None,
            quota: None,
            introspection_quota: None,
        }
    }
}

impl Policy {
    /// Whether a rule lets `namespace` use an audience that is not its own by name.
    pub(super) fn lends_audience(&self, audience: &Audience, namespace: &str) -> bool {
        let fits = |pattern: &AudiencePattern| match pattern {
            AudiencePattern::Exactly(exact) => exact == audience,
            AudiencePattern::Below(start) => {
                audience.as_str().strip_prefix(start.as_str()).is_some_and(|rest| !rest.is_empty() && audience::is_plain_path(rest))
            }
        };
        self.audiences.iter().any(|rule| fits(&rule.what) && rule.namespaces.contains(namespace))
    }

    /// Whether a rule lets `namespace` use a client id that is not its own by name.
    pub(super) fn lends_client_id(&self, id: &ClientId, namespace: &str) -> bool {
        self.client_ids.iter().any(|rule| rule.what == *id && rule.namespaces.contains(namespace))
    }

    /// Whether a rule lets `namespace` have a workload that is not its own by name.
    pub(super) fn lends_workload(&self, id: &WorkloadId, namespace: &str) -> bool {
        self.spiffe_ids.iter().any(|rule| rule.what.fits(id) && rule.namespaces.contains(namespace))
    }

    /// Whether workloads of that trust domain may be clients.
    pub(super) fn trusts(&self, trust_domain: &str) -> bool {
        self.trust_domains.iter().any(|known| known.name == trust_domain)
    }

    /// The trust domains whose workloads may be clients.
    #[must_use]
    pub fn trust_domains(&self) -> &[TrustDomain] {
        &self.trust_domains
    }

    /// Whether clients may show JWT-SVIDs.
    pub(super) fn allows_spiffe(&self) -> bool {
        self.methods.spiffe
    }

    /// What remains of the ways that a client wants to send its secret; `None`: nothing.
    pub(super) fn allowed(&self, wanted: SecretMethod) -> Option<SecretMethod> {
        match (wanted, self.methods) {
            (SecretMethod::Any, Methods { basic: true, post: true, .. }) => Some(SecretMethod::Any),
            (SecretMethod::Any | SecretMethod::Basic, Methods { basic: true, .. }) => Some(SecretMethod::Basic),
            (SecretMethod::Any | SecretMethod::Post, Methods { post: true, .. }) => Some(SecretMethod::Post),
            _ => None,
        }
    }

    /// Whether clients may sign assertions.
    pub(super) fn allows_private_key_jwt(&self) -> bool {
        self.methods.private_key_jwt
    }

    /// Whether clients may show ServiceAccount tokens.
    pub(super) fn allows_service_accounts(&self) -> bool {
        self.methods.service_account
    }

    /// The labels of namespaces that grants may select by, and that a snapshot keeps.
    #[must_use]
    pub fn namespace_label_keys(&self) -> &BTreeSet<String> {
        &self.namespace_label_keys
    }
}

impl TryFrom<Document> for Policy {
    type Error = PolicyError;

    fn try_from(document: Document) -> Result<Self, PolicyError> {
        let default = Self::default();
        let audiences = document.audiences.unwrap_or_default().into_iter();
        let client_ids = document.client_ids.unwrap_or_default().into_iter();
        let spiffe_ids = document.spiffe_ids.unwrap_or_default().into_iter();
        let trust_domains = trust::trust_domains(document.trust_domains.unwrap_or_default())?;
        if document.clients_per_namespace == Some(0) {
            return Err(PolicyError::ClientsPerNamespace);
        }
        let (said_methods, token_review) = document.authentication.map_or((None, None), |said| (said.methods, said.token_review));
        let min_overlap = document.min_overlap.map_or(Ok(default.min_overlap), |text| overlap("minOverlap", &text))?;
        let max_overlap = document.max_overlap.map(|text| overlap("maxOverlap", &text)).transpose()?;
        if max_overlap.is_some_and(|max| max < min_overlap) {
            return Err(PolicyError::Overlaps);
        }
        Ok(Self {
            audiences: audiences
                .map(|rule| lent(audience_pattern(&rule.audience)?, &rule.audience, rule.namespaces))
                .collect::<Result<_, _>>()?,
            client_ids: client_ids
                .map(|rule| lent(client_id(&rule.client_id)?, &rule.client_id, rule.namespaces))
                .collect::<Result<_, _>>()?,
            spiffe_ids: spiffe_ids
                .map(|rule| lent(WorkloadPattern::read(&rule.id, &trust_domains)?, &rule.id, rule.namespaces))
                .collect::<Result<_, _>>()?,
            trust_domains,
            methods: said_methods.map_or(Ok(default.methods), |names| methods(&names))?,
            allow_default_service_account: document.allow_default_service_account.unwrap_or_default(),
            token_review: token_review.unwrap_or(default.token_review),
            namespace_label_keys: document.namespace_label_keys.unwrap_or(default.namespace_label_keys),
            max_lifetime: document.max_lifetime.map_or(Ok(default.max_lifetime), |text| lifetime(&text))?,
            min_overlap,
            max_overlap,
            clients_per_namespace: document.clients_per_namespace,
            quota: quota(document.tokens_per_second, document.burst)?,
            introspection_quota: quota(document.introspections_per_second, None)?,
        })
    }
}

fn lent<T>(what: T, text: &str, namespaces: BTreeSet<String>) -> Result<Rule<T>, PolicyError> {
    if namespaces.is_empty() { Err(PolicyError::NoNamespace(text.to_owned())) } else { Ok(Rule { what, namespaces }) }
}

fn audience_pattern(text: &str) -> Result<AudiencePattern, PolicyError> {
    let refused = || PolicyError::Audience(text.to_owned());
    match text.strip_suffix('*') {
        Some(start) => {
            let rest = start.split_once(':').map_or("", |(_, rest)| rest);
            let has_authority = !rest.trim_matches('/').is_empty();
            let ends = start.ends_with('/') || (start.ends_with(':') && !start.contains("//"));
            let is_start = ends && has_authority && Audience::parse(start).is_ok();
            if is_start { Ok(AudiencePattern::Below(start.to_owned())) } else { Err(refused()) }
        }
        None => Audience::parse(text).map(AudiencePattern::Exactly).map_err(|_| refused()),
    }
}

fn client_id(text: &str) -> Result<ClientId, PolicyError> {
    ClientId::parse(text).map_err(|_| PolicyError::ClientId(text.to_owned()))
}

fn methods(names: &[String]) -> Result<Methods, PolicyError> {
    const KNOWN: [&str; 5] = ["client_secret_basic", "client_secret_post", "private_key_jwt", "service_account", "spiffe_jwt"];
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let [basic, post, private_key_jwt, service_account, spiffe] = KNOWN.map(has);
    let all_known = names.iter().all(|name| KNOWN.contains(&name.as_str()));
    let methods = Methods { basic, post, private_key_jwt, service_account, spiffe };
    if all_known && !names.is_empty() { Ok(methods) } else { Err(PolicyError::Methods) }
}

/// Who names no burst gets what ten seconds give: many processes of one client may start at once.
fn quota(tokens_per_second: Option<u32>, burst: Option<u32>) -> Result<Option<Quota>, PolicyError> {
    match (tokens_per_second, burst) {
        (None, None) => Ok(None),
        (Some(1..), None | Some(1..)) => Ok(tokens_per_second
            .map(|tokens_per_second| Quota { tokens_per_second, burst: burst.unwrap_or(tokens_per_second.saturating_mul(10)) })),
        _ => Err(PolicyError::Quota),
    }
}

fn overlap(name: &'static str, text: &str) -> Result<SignedDuration, PolicyError> {
    let time = duration::parse(text).ok().filter(|time| *time >= SHORTEST_OVERLAP);
    time.ok_or_else(|| PolicyError::Overlap(name, text.to_owned()))
}

fn lifetime(text: &str) -> Result<SignedDuration, PolicyError> {
    let read = duration::parse(text).ok().filter(|length| *length >= super::client::SHORTEST_LIFETIME);
    read.ok_or_else(|| PolicyError::MaxLifetime(text.to_owned()))
}
