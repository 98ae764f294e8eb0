//! YAML as kubectl reads it: by YAML 1.1, names without quotation marks may be `true`, `false` or a number (`y: …` becomes `"true": …`).
//! Values are read so anyway. Pure.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::fmt;

/// One document of a file.
pub(super) struct Document(pub(super) Value);

/// The name of a member.
struct Name(String);

struct AnyValue;

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self(name)),
            Value::Bool(name) => Ok(Self(name.to_string())),
            // As kubectl: `1.0` is 1.
            Value::Number(name) => {
                Ok(Self(name.as_f64().filter(|_| name.is_f64()).map_or_else(|| name.to_string(), |name| name.to_string())))
            }
            Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::custom("the name of a member is a text, a number or a boolean")),
        }
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Document(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((Name(name), Document(value))) = members.next_entry()? {
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

/// Members that are called `true` or `false`, which nobody means.
pub(super) fn mistaken(path: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let of = |(name, value): (&String, &Value)| {
                let path = format!("{path}.{name}");
                let own = matches!(name.as_str(), "true" | "false").then(|| path.clone());
                own.into_iter().chain(mistaken(&path, value)).collect::<Vec<_>>()
            };
            members.iter().flat_map(of).collect()
        }
        Value::Array(items) => items.iter().enumerate().flat_map(|(at, item)| mistaken(&format!("{path}[{at}]"), item)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As kubectl 1.37 does it (`kubectl annotate --local -f FILE a=b -o json`).
    #[test]
    fn names_are_read_as_kubectl_reads_them() {
        let read = |text: &str| serde_saphyr::from_str::<Document>(text).map(|document| document.0).map_err(|error| error.to_string());
        for (text, expected) in [
            ("{x: a, y: b}", json!({"x": "a", "true": "b"})),
            ("{n: c, e: AQAB}", json!({"false": "c", "e": "AQAB"})),
            (r#"{"y": b, 'n': c}"#, json!({"y": "b", "n": "c"})),
            ("{on: 1, Off: 2}", json!({"true": 1, "false": 2})),
            ("{1: a, 1.5: b, -2: c}", json!({"1": "a", "1.5": "b", "-2": "c"})),
            (
                "{a: y, b: [no, 7, ~, 'y'], c: , d: 1.5, e: -1}",
                json!({"a": true, "b": [false, 7, null, "y"], "c": null, "d": 1.5, "e": -1}),
            ),
            (r#"{"a": {"y": [true, null]}}"#, json!({"a": {"y": [true, null]}})),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        assert!(read("{~: a}").is_err() && read("{a: 1, a: 2}").is_err());
        assert_eq!(mistaken("spec", &read("{keys: [{x: a, y: b}], on: {\"y\": 1}}").unwrap()), ["spec.keys[0].true", "spec.true"]);
    }
}
