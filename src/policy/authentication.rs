//! From `spec.authentication` to how a client may authenticate.

use super::{
    Policy,
    refusal::{Problem, Problems},
};
use crate::{
    api::authentication::{Authentication, ClientSecret, PrivateKeyJwt as PrivateKeyJwtSpec, ServiceAccount},
    domain::{
        client::{AssertionProfile, PrivateKeyJwt, SecretMethod},
        jwk::VerificationKey,
        service_account::BoundServiceAccount,
        trust_domain::WorkloadId,
    },
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most keys of a client; the schema says the same.
const MOST_KEYS: usize = 8;
/// Most workloads that a client may be, likewise.
const MOST_WORKLOADS: usize = 8;

/// How a client may authenticate: by at least one of them.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    pub(super) secret: Option<SecretMethod>,
    pub(super) private_key_jwt: Option<PrivateKeyJwt>,
    pub(super) service_accounts: Vec<BoundServiceAccount>,
    pub(super) workloads: Vec<WorkloadId>,
}

/// What is left out means a secret.
pub(super) fn methods(policy: &Policy, namespace: &str, authentication: Option<&Authentication>, problems: &mut Problems) -> Methods {
    let secret = match authentication {
        None => Some(&ClientSecret { method: None }),
        Some(allowed) => allowed.client_secret.as_ref(),
    };
    let accounts = authentication.and_then(|allowed| allowed.service_accounts.as_deref()).unwrap_or_default();
    let private_key_jwt = authentication.and_then(|allowed| allowed.private_key_jwt.as_ref());
    let ids = authentication.and_then(|allowed| allowed.spiffe.as_ref()).map(|spiffe| spiffe.ids.as_slice());
    let others = secret.is_some() || !accounts.is_empty() || ids.is_some();
    match private_key_jwt {
        None if !others => problems.invalid(
            "spec.authentication: nothing is allowed here: write clientSecret: {}, privateKeyJwt, serviceAccounts or spiffe, or leave authentication out",
        ),
        Some(PrivateKeyJwtSpec { profile: Some(_), .. }) if others => problems.invalid(
            "spec.authentication: FAPI 2.0 clients authenticate by privateKeyJwt alone: leave clientSecret, serviceAccounts and spiffe out, or profile",
        ),
        _ => {}
    }
    Methods {
        secret: secret.and_then(|secret| problems.note(secret_method(policy, secret.method.as_deref()))),
        private_key_jwt: private_key_jwt.and_then(|spec| keys(policy, spec, problems)),
        service_accounts: service_accounts(policy, accounts, problems),
        workloads: ids.map(|ids| workloads(policy, namespace, ids, problems)).unwrap_or_default(),
    }
}

fn secret_method(policy: &Policy, method: Option<&str>) -> Result<SecretMethod, Problem> {
    let (name, wanted) = match method {
        None | Some("Any") => ("Any", SecretMethod::Any),
        Some("client_secret_basic") => ("client_secret_basic", SecretMethod::Basic),
        Some("client_secret_post") => ("client_secret_post", SecretMethod::Post),
        Some(other) => {
            return Err(Problem::Invalid(format!(
                "spec.authentication.clientSecret.method: {other:?} is unknown: write Any, client_secret_basic or client_secret_post"
            )));
        }
    };
    policy.allowed(wanted).ok_or_else(|| {
        let instead = match wanted {
            SecretMethod::Any => "clients do without a secret here: write authentication: {privateKeyJwt: {jwks: {keys: […]}}}",
            SecretMethod::Basic | SecretMethod::Post => "write Any, which means what it allows",
        };
        Problem::Forbidden(format!("spec.authentication.clientSecret.method: the platform's policy does not allow {name}: {instead}"))
    })
}

/// `default` is every pod's that says nothing: whoever means it needs the platform's word (S5).
fn service_accounts(policy: &Policy, accounts: &[ServiceAccount], problems: &mut Problems) -> Vec<BoundServiceAccount> {
    const PATH: &str = "spec.authentication.serviceAccounts";
    if !accounts.is_empty() && !policy.allows_service_accounts() {
        problems.forbidden(format!("{PATH}: the platform's policy does not allow service_account: write clientSecret: {{}} instead"));
    }
    let mut bound: Vec<BoundServiceAccount> = Vec::with_capacity(accounts.len());
    for ServiceAccount { name, uid, token_review } in accounts {
        if name == "default" && !policy.allow_default_service_account {
            problems.forbidden(format!(
                "{PATH}: default is the ServiceAccount of every pod that names none: give the workload one of its own, or ask the platform team for policy.allowDefaultServiceAccount"
            ));
        }
        if token_review == &Some(true) && !policy.token_review {
            problems.forbidden(format!("{PATH}: this installation has no right to TokenReview: leave tokenReview out"));
        }
        if bound.iter().any(|known| known.name == *name) {
            problems.invalid(format!("{PATH}: {name} is there twice"));
        }
        bound.push(BoundServiceAccount { name: name.clone(), uid: uid.clone(), token_review: token_review.unwrap_or_default() });
    }
    bound
}

/// Of whom nobody but the trust domain says which namespace they are in, so that the path has to: a workload that two clients claim has to
/// say which one it is, and no namespace may do that to another's.
fn workloads(policy: &Policy, namespace: &str, ids: &[String], problems: &mut Problems) -> Vec<WorkloadId> {
    const PATH: &str = "spec.authentication.spiffe";
    if !policy.allows_spiffe() {
        problems.forbidden(format!("{PATH}: the platform's policy does not allow spiffe_jwt: write clientSecret: {{}} instead"));
    }
    if ids.is_empty() || ids.len() > MOST_WORKLOADS {
        problems.invalid(format!("{PATH}.ids: 1 to {MOST_WORKLOADS} SPIFFE IDs"));
    }
    let mut workloads: Vec<WorkloadId> = Vec::with_capacity(ids.len());
    for text in ids {
        let read = WorkloadId::parse(text).map_err(|error| Problem::Invalid(format!("{PATH}.ids: {text:?}: {error}")));
        let Some(id) = problems.note(read) else { continue };
        if workloads.contains(&id) {
            problems.invalid(format!("{PATH}.ids: {id} is there twice"));
        }
        let (domain, own) = (id.trust_domain(), format!("ns/{namespace}/"));
        if !policy.trusts(domain) {
            problems.forbidden(format!(
                "{PATH}.ids: {id}: {domain} is no trust domain of this installation: ask the platform team for it in policy.trustDomains"
            ));
        } else if !id.path().starts_with(&own) && !policy.lends_workload(&id, namespace) {
            problems.forbidden(format!(
                "{PATH}.ids: {id} is not of the own namespace: write spiffe://{domain}/{own}<anything>, or ask the platform team for a rule in policy.spiffeIds"
            ));
        }
        workloads.push(id);
    }
    workloads
}

fn keys(policy: &Policy, spec: &PrivateKeyJwtSpec, problems: &mut Problems) -> Option<PrivateKeyJwt> {
    const PATH: &str = "spec.authentication.privateKeyJwt";
    if !policy.allows_private_key_jwt() {
        problems.forbidden(format!("{PATH}: the platform's policy does not allow private_key_jwt: write clientSecret: {{}} instead"));
    }
    let profile = profile(spec, problems);
    let jwks = &spec.jwks.keys;
    if jwks.is_empty() || jwks.len() > MOST_KEYS {
        problems.invalid(format!("{PATH}.jwks.keys: 1 to {MOST_KEYS} keys"));
        return None;
    }
    let mut keys = Vec::with_capacity(jwks.len());
    for (at, jwk) in jwks.iter().enumerate() {
        keys.extend(problems.note(key(jwk, profile).map_err(|why| Problem::Invalid(format!("{PATH}.jwks.keys[{at}]: {why}")))));
    }
    let mut named = BTreeSet::new();
    if !keys.iter().filter_map(VerificationKey::kid).all(|kid| named.insert(kid)) {
        problems.invalid(format!("{PATH}.jwks.keys: two keys have the same kid: give each a name of its own"));
    }
    Some(PrivateKeyJwt { keys, profile })
}

fn profile(spec: &PrivateKeyJwtSpec, problems: &mut Problems) -> AssertionProfile {
    const PATH: &str = "spec.authentication.privateKeyJwt";
    match (spec.profile.as_deref(), spec.legacy_audience.unwrap_or_default()) {
        (None, false) => AssertionProfile::Rfc10070,
        (None, true) => AssertionProfile::LegacyAudience,
        (Some("FAPI2"), legacy) => {
            if legacy {
                problems.invalid(format!("{PATH}: FAPI 2.0 takes the issuer alone as aud: leave legacyAudience out, or profile"));
            }
            AssertionProfile::Fapi2
        }
        (Some(other), _) => {
            problems.invalid(format!("{PATH}.profile: {other:?} is unknown: write FAPI2, or leave it out"));
            AssertionProfile::Fapi2
        }
    }
}

fn key(jwk: &Map<String, Value>, profile: AssertionProfile) -> Result<VerificationKey, String> {
    let key = VerificationKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    if profile.allows(key.algorithm()) {
        return Ok(key);
    }
    let name = key.algorithm().as_str();
    Err(format!("FAPI 2.0 does not allow {name}: let the RSA key sign with PS256 (alg: PS256), or register one of P-256 or Ed25519"))
}
