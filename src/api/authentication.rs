//! `spec.authentication` of an `OAuthClient`.

use super::{jwks::JsonWebKeySet, rules};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How a client may authenticate: each member that is present is allowed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.clientSecret) || has(self.privateKeyJwt) || has(self.serviceAccounts) || has(self.spiffe)")
    .message("nothing is allowed here: write clientSecret: {}, privateKeyJwt: {jwks: {keys: [...]}}, serviceAccounts: [{name: ...}] or spiffe: {ids: [...]}, or leave authentication out, which means clientSecret: {}"),
    validation = Rule::new("!has(self.privateKeyJwt) || !has(self.privateKeyJwt.profile) || !(has(self.clientSecret) || has(self.serviceAccounts) || has(self.spiffe))")
    .message("FAPI 2.0 clients authenticate by privateKeyJwt alone: leave clientSecret, serviceAccounts and spiffe out, or profile"))]
pub struct Authentication {
    /// With the secret in its Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// With a JWT that the client signs (private_key_jwt: RFC 7523, RFC 10070). Without clientSecret beside it, the client's Secret holds
    /// everything but a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_jwt: Option<PrivateKeyJwt>,
    /// With the projected token of one of these ServiceAccounts of the own namespace: no secret exists at all. The token's audience is the
    /// issuer and nothing else, and it is sent as a client_assertion. Where the cluster refuses the keys that they are verified with, Ready is
    /// False (ClusterKeysUnavailable).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub service_accounts: Option<Vec<ServiceAccount>>,
    /// With a JWT-SVID of one of these workloads of SPIFFE (draft-ietf-oauth-spiffe-client-auth): no secret exists at all. Its audience is
    /// the issuer and nothing else, and it is sent as a client_assertion of the type jwt-spiffe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<Spiffe>,
}

/// Workloads of SPIFFE that may authenticate as the client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spiffe {
    /// Their SPIFFE IDs, of trust domains that the platform's policy names: below `spiffe://<trust domain>/ns/<own namespace>/`; other ones
    /// need the policy's word. While the bundle of one of their trust domains cannot be used, Ready is False (TrustBundleUnavailable).
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 2048)))]
    #[x_kube(merge_strategy = ListMerge::Set, validation = rules::spiffe_ids())]
    pub ids: Vec<String>,
}

/// A ServiceAccount that may authenticate as the client.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name())]
    pub name: String,
    /// Its metadata.uid, where one that is deleted and created anew is to be refused. Absent: any of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub uid: Option<String>,
    /// true: the API server is asked about each token (TokenReview), so that one of a deleted pod is refused at once; while it cannot be
    /// reached the client is answered 503. Absent: false, and a token is good until it expires, an hour at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_review: Option<bool>,
}

/// Authentication with a client secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// How the secret is sent: client_secret_basic (the Authorization header), client_secret_post (the body), or Any. Absent: Any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Any", "client_secret_basic", "client_secret_post"]))]
    pub method: Option<String>,
}

/// Authentication with a JWT that the client signs (RFC 7523): iss and sub are the client id, aud is the issuer, exp at most five minutes
/// away, and each jti is good for one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.profile) || !has(self.legacyAudience) || !self.legacyAudience")
        .message("FAPI 2.0 takes the issuer alone as aud: leave legacyAudience out, or profile"),
    validation = Rule::new("!has(self.profile) || self.jwks.keys.all(k, !has(k.alg) || k.alg != 'RS256')")
        .message("FAPI 2.0 does not allow RS256: let the RSA key sign with PS256 (alg: PS256), or register one of P-256 or Ed25519")
)]
pub struct PrivateKeyJwt {
    /// The public halves of the keys that it signs with. They stand here, and are never fetched from a URL.
    pub jwks: JsonWebKeySet,
    /// true: aud may also be the URL of the token endpoint, as libraries older than RFC 10070 write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legacy_audience: Option<bool>,
    /// FAPI2: what the FAPI 2.0 Security Profile asks of a client's authentication. aud is the issuer as a string, never an array; the
    /// algorithm is PS256, ES256 or EdDSA; and there is no other method beside it. Tokens stay what they are. Absent: none of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["FAPI2"]))]
    pub profile: Option<String>,
}
