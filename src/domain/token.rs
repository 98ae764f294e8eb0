//! What an access token claims (RFC 9068 §2.2), and its form before the signature (RFC 7515 §3.1).

use super::names::ObjectName;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

/// The claims that the issuer alone sets. A custom claim of one of these names is left out, whatever let it come this far.
pub const RESERVED_CLAIMS: [&str; 11] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", WORKLOAD_CLAIM];

/// Says which `OAuthClient` calls: `{"namespace": …, "client": …}`.
pub const WORKLOAD_CLAIM: &str = "keywright.dev";

/// The claims of one access token, borrowed from where they are known.
#[derive(Clone, Copy)]
pub struct Claims<'a> {
    /// `iss`: the issuer identifier, byte for byte as in its metadata (RFC 8414 §3.3).
    pub issuer: &'a str,
    /// `sub` and `client_id`: with client credentials the client is the subject (RFC 9068 §2.2).
    pub client_id: &'a str,
    /// `aud`: one API, never several (RFC 9068 §3).
    pub audience: &'a str,
    /// `iat`, in whole seconds since 1970.
    pub issued_at: i64,
    /// `exp`, likewise.
    pub expires_at: i64,
    /// `jti`: at least 128 random bits.
    pub token_id: &'a str,
    /// `scope`: space-delimited, never empty.
    pub scope: &'a str,
    /// The `OAuthClient`.
    pub object: &'a ObjectName,
    /// What the API's owner adds.
    pub custom: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Workload<'a> {
    namespace: &'a str,
    client: &'a str,
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", self.issuer)?;
        map.serialize_entry("sub", self.client_id)?;
        map.serialize_entry("aud", self.audience)?;
        map.serialize_entry("exp", &self.expires_at)?;
        map.serialize_entry("iat", &self.issued_at)?;
        map.serialize_entry("jti", self.token_id)?;
        map.serialize_entry("client_id", self.client_id)?;
        map.serialize_entry("scope", self.scope)?;
        map.serialize_entry(WORKLOAD_CLAIM, &Workload { namespace: &self.object.namespace, client: &self.object.name })?;
        for (name, value) in self.custom.iter().filter(|(name, _)| !RESERVED_CLAIMS.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What is signed: the header, which is base64url already, a dot, and the claims as base64url (RFC 7515 §5.1).
///
/// # Errors
/// Where a claim cannot be written as JSON. Values that were read from JSON always can.
pub fn signing_input(header: &str, claims: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut token = String::with_capacity(1_024);
    token.push_str(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    Ok(token)
}

/// The compact serialization (RFC 7515 §7.1): what was signed, a dot, the signature.
#[must_use]
pub fn signed(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_custom(custom: &Value) -> Value {
        let object = ObjectName::new("billing", "billing-worker");
        let claims = Claims {
            issuer: "https://keywright.keywright.svc",
            client_id: "billing.billing-worker",
            audience: "https://invoices.shop.svc",
            issued_at: 1_795_392_000,
            expires_at: 1_795_392_900,
            token_id: "0123456789abcdef0123456789abcdef",
            scope: "invoices.read invoices.write",
            object: &object,
            custom: custom.as_object().unwrap(),
        };
        let input = signing_input("header", &claims).unwrap();
        let claims = input.strip_prefix("header.").unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    /// A02, A03: RFC 9068 §2.2.
    #[test]
    fn the_claims_are_those_of_rfc_9068_and_what_the_owner_adds() {
        assert_eq!(
            with_custom(&json!({"tier": "batch"})),
            json!({
                "iss": "https://keywright.keywright.svc",
                "sub": "billing.billing-worker",
                "aud": "https://invoices.shop.svc",
                "exp": 1_795_392_900,
                "iat": 1_795_392_000,
                "jti": "0123456789abcdef0123456789abcdef",
                "client_id": "billing.billing-worker",
                "scope": "invoices.read invoices.write",
                "keywright.dev": {"namespace": "billing", "client": "billing-worker"},
                "tier": "batch",
            })
        );
    }

    /// A07.
    #[test]
    fn a_custom_claim_never_replaces_one_of_the_issuers() {
        let custom: Map<String, Value> = RESERVED_CLAIMS.iter().map(|name| ((*name).to_owned(), json!("mallory"))).collect();
        let claims = with_custom(&Value::Object(custom));
        assert!(!claims.to_string().contains("mallory"), "{claims}");
        assert_eq!(claims, with_custom(&json!({})));
    }

    #[test]
    fn the_signature_follows_a_second_dot() {
        assert_eq!(signed("a.b".to_owned(), &[0xff, 0xfe]), "a.b.__4");
    }
}
