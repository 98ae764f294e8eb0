//! A client that signs its assertions.

use crate::fixture::{Answer, ISSUER, Replica, access, client};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keywright::{
    ambient,
    domain::{
        client::{AssertionProfile, PrivateKeyJwt, RegisteredClient},
        jwk::VerificationKey,
        resource::Algorithm,
    },
    keys::{SigningKey, jwks::Jwks},
};
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const SIGNER: &str = "billing.signer";

/// Made once: RSA keys take a while.
static SIGNERS: LazyLock<[Arc<Signer>; 4]> = LazyLock::new(|| Algorithm::ALL.map(|algorithm| Arc::new(Signer::new(algorithm))));

/// A private key, and what its owner registers of it.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { key: SigningKey::generate(algorithm).unwrap() }
    }

    pub(crate) fn of(algorithm: Algorithm) -> Arc<Self> {
        SIGNERS.iter().find(|signer| signer.key.algorithm() == algorithm).map(Arc::clone).unwrap()
    }

    pub(crate) fn jwk(&self) -> Map<String, Value> {
        let jwks: Value = serde_json::from_slice(&Jwks::publish([&self.key]).document).unwrap();
        jwks["keys"][0].as_object().unwrap().clone()
    }

    /// The public half, with these members instead; null takes one out.
    pub(crate) fn registered(&self, changes: &Value) -> VerificationKey {
        let mut jwk = self.jwk();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                jwk.remove(name)
            } else {
                jwk.insert(name.clone(), value.clone())
            };
        }
        VerificationKey::from_jwk(&jwk).unwrap()
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.key.algorithm().as_str(), "kid": self.key.kid()})
    }

    /// Header and claims, signed.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// The same of texts, which may be no JSON.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()).unwrap());
        format!("{input}.{signature}")
    }

    /// A right assertion but for these claims; null takes one out.
    pub(crate) fn assertion(&self, changes: &Value) -> String {
        self.sign(&self.header(), &claims(changes))
    }
}

/// The claims of a right assertion but for these; null takes one out.
pub(crate) fn claims(changes: &Value) -> Value {
    let now = ambient::now().as_second();
    let mut claims = json!({"iss": SIGNER, "sub": SIGNER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": ambient::draw_jti()});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A replica that knows the client [`SIGNER`] by these keys.
pub(crate) fn replica(keys: Vec<VerificationKey>) -> Replica {
    let replica = Replica::forbearing();
    let mut client = client("signer", vec![access("invoices", &["invoices.read"])]).client;
    client.secret_method = None;
    client.private_key_jwt = Some(PrivateKeyJwt { keys, profile: AssertionProfile::Rfc10070 });
    let known = RegisteredClient::new(client, Vec::new());
    replica.change(|snapshot| drop(snapshot.clients.insert(known.client.id.clone(), Arc::new(known))));
    replica
}

/// The usual one: an ES256 key.
pub(crate) fn usual() -> (Replica, Arc<Signer>) {
    let signer = Signer::of(Algorithm::Es256);
    (replica(vec![signer.registered(&json!({}))]), signer)
}

/// A token request with that assertion.
pub(crate) async fn ask(replica: &Replica, assertion: &str) -> Answer {
    ask_with(replica, assertion, "").await
}

/// The same, with more parameters.
pub(crate) async fn ask_with(replica: &Replica, assertion: &str, more: &str) -> Answer {
    let encoded: String = form_urlencoded::byte_serialize(assertion.as_bytes()).collect();
    let body = format!("grant_type=client_credentials&client_assertion_type={JWT_BEARER}&client_assertion={encoded}{more}");
    replica.post(&[], &body).await
}
