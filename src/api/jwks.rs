//! A JSON Web Key Set (RFC 7517 §5) in a spec: public keys alone.

use crate::domain::jwk::PRIVATE_MEMBERS;
use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Public keys, as a JSON Web Key Set (RFC 7517 §5).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JsonWebKeySet {
    /// Up to 8 public keys: RSA of 2048 to 4096 bits with alg RS256 or PS256, EC on P-256, or OKP with Ed25519. During a change of keys
    /// the old and the new one stand side by side.
    #[schemars(schema_with = "keys")]
    pub keys: Vec<Map<String, Value>>,
}

/// Whoever pastes a key has members that we do not know (`x5c`, …): they are kept. CEL sees declared members alone, so the
/// private ones are declared in order to be refused.
fn keys(_: &mut SchemaGenerator) -> Schema {
    let text = |longest: usize| json!({"type": "string", "maxLength": longest});
    let own = [
        ("kty", json!({"type": "string", "enum": ["RSA", "EC", "OKP"]})),
        ("crv", text(16)),
        ("alg", text(16)),
        ("use", text(16)),
        ("kid", json!({"type": "string", "minLength": 1, "maxLength": 256})),
        ("n", text(700)),
        ("e", text(8)),
        ("x", text(43)),
        ("y", text(43)),
    ];
    let private = PRIVATE_MEMBERS.iter().map(|name| ((*name).to_owned(), text(700)));
    let declared: Map<String, Value> = own.into_iter().map(|(name, schema)| (name.to_owned(), schema)).chain(private).collect();
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 8,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "maxProperties": 24,
            "x-kubernetes-preserve-unknown-fields": true,
            "required": ["kty"],
            "properties": declared,
            "x-kubernetes-validations": rules(),
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(k, !has(k.kid) || self.exists_one(other, has(other.kid) && other.kid == k.kid))",
            "message": "two keys have the same kid: give each a name of its own",
        }],
    })
}

fn rules() -> Vec<Value> {
    let rule = |rule: &str, message: &str| json!({"rule": rule, "message": message});
    let not_private = |name: &&str| {
        rule(
            &format!("!has(self.{name})"),
            &format!(
                "this is a private key (it has {name}), and whoever may read this object has it now: make a new key, and write its public half alone"
            ),
        )
    };
    let forms = [
        rule(
            "self.kty != 'RSA' || (has(self.n) && has(self.e) && has(self.alg) && self.alg in ['RS256', 'PS256'])",
            "an RSA key has n, e and alg, which is RS256 or PS256: a key is for one algorithm alone",
        ),
        rule(
            "self.kty != 'EC' || (has(self.x) && has(self.y) && has(self.crv) && self.crv == 'P-256' && (!has(self.alg) || self.alg == 'ES256'))",
            "an EC key has x, y and crv, which is P-256; its alg is ES256",
        ),
        rule(
            "self.kty != 'OKP' || (has(self.x) && has(self.crv) && self.crv == 'Ed25519' && (!has(self.alg) || self.alg in ['EdDSA', 'Ed25519']))",
            "an OKP key has x and crv, which is Ed25519; its alg is EdDSA",
        ),
        rule("!has(self.use) || self.use == 'sig'", "a key that signs has use: sig, or none"),
    ];
    PRIVATE_MEMBERS.iter().map(not_private).chain(forms).collect()
}
