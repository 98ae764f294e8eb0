//! Tables: what each mistake is answered with. Objects as users write them; what the API server's schema refuses as well is
//! here all the same, because an older schema may have let it in.

mod clients;
mod resources;
mod rotations;

use super::*;
use crate::api::Reason;
use serde_json::{Value, json};

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn object<K: serde::de::DeserializeOwned>(kind: &str, (namespace, name): (&str, &str), spec: &str) -> K {
    let metadata = json!({"namespace": namespace, "name": name, "uid": "u-1", "creationTimestamp": "2026-11-23T00:00:00Z"});
    serde_json::from_value(json!({"apiVersion": "keywright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": yaml(spec)})).unwrap()
}

fn policy(text: &str) -> Policy {
    serde_saphyr::from_str(text).unwrap()
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> (Reason, String) {
    let Refusal { reason, message } = outcome.unwrap_err();
    (reason, message)
}
