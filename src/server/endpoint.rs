//! The public port: token endpoint, JWKS, metadata.

use super::{
    BodyLimits, Peer, Strangers, discovery, introspection::introspection, probe::probe, proxies::TrustedProxies, respond::respond,
    revocation::revocation, token::token,
};
use crate::{
    audit,
    domain::{resource::Algorithm, trust_domain::TrustBundles},
    metrics::TokenMetrics,
    oauth::{
        Error,
        grant::Lifetimes,
        metadata::{INTROSPECTION_PATH, Issuer, JWKS_PATH, PROBE_PATH, REVOCATION_PATH, TOKEN_PATH},
        throttle::Throttle,
        used::UsedAssertions,
    },
    registry::snapshot::Snapshot,
    replica::contact::Contact,
    revocation::desk as revocation_desk,
    service_accounts::desk::Desk,
};
use arc_swap::ArcSwap;
use axum::{Router, http::request::Parts, routing::any};
use std::{net::IpAddr, sync::Arc};

/// All that a request is answered from.
pub struct Endpoint {
    /// What this replica knows; swapped as a whole.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// How far it may be believed.
    pub contact: Arc<Contact>,
    /// Who issues: configuration alone, never the request's Host (H06).
    pub issuer: Issuer,
    /// What is signed with for an API that does not say: the installation's.
    pub algorithm: Algorithm,
    /// The installation's default and longest lifetime of tokens.
    pub lifetimes: Lifetimes,
    /// How large and slow a body may be.
    pub body_limits: BodyLimits,
    /// Who may say whom a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// The client assertions that are used up.
    pub used_assertions: Arc<UsedAssertions>,
    /// Whether it answers at PingFederate's paths too: for clients that cannot be told another URL, as while they move.
    pub ping_federate_paths: bool,
    /// What signs tokens that no API may accept, for those who probe their own; absent: nobody may.
    pub strangers: Option<Strangers>,
    /// The trust domains of SPIFFE, and the keys of their workloads' JWT-SVIDs.
    pub trust: Arc<ArcSwap<TrustBundles>>,
    /// What the cluster says of ServiceAccount tokens.
    pub service_accounts: Desk,
    /// What is revoked.
    pub revocations: revocation_desk::Desk,
    /// Who asks too much.
    pub throttle: Throttle,
    /// What is counted.
    pub metrics: TokenMetrics,
    /// Where it says who got a token, and who did not.
    pub audit: audit::Desk,
}

impl Endpoint {
    /// Whom a request comes from.
    pub(super) fn caller(&self, head: &Parts) -> IpAddr {
        self.trusted_proxies.caller(Peer::of(head), &head.headers)
    }
}

/// The routes: those that the metadata names, and, where that is asked for, the same under other names, and what probes are made with.
pub fn router(endpoint: Arc<Endpoint>) -> Router {
    let path = endpoint.issuer.path();
    let named = Router::new()
        .route(&format!("{path}{TOKEN_PATH}"), any(token))
        .route(&format!("{path}{INTROSPECTION_PATH}"), any(introspection))
        .route(&format!("{path}{REVOCATION_PATH}"), any(revocation))
        .route(&format!("{path}{JWKS_PATH}"), any(discovery::jwks))
        .route(&endpoint.issuer.oauth_metadata_path(), any(discovery::oauth_metadata))
        .route(&endpoint.issuer.openid_configuration_path(), any(discovery::openid_configuration));
    let named = if endpoint.ping_federate_paths { named.merge(ping_federate(path)) } else { named };
    let all = if endpoint.strangers.is_some() { named.route(&format!("{path}{PROBE_PATH}"), any(probe)) } else { named };
    all.fallback(async || respond(Error::NotFound)).with_state(endpoint)
}

fn ping_federate(path: &str) -> Router<Arc<Endpoint>> {
    Router::new()
        .route(&format!("{path}/as/token.oauth2"), any(token))
        .route(&format!("{path}/as/introspect.oauth2"), any(introspection))
        .route(&format!("{path}/as/revoke_token.oauth2"), any(revocation))
        .route(&format!("{path}/pf/JWKS"), any(discovery::jwks))
}
