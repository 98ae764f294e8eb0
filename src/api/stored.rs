//! Status as it is stored: read field by field, so that one which a hand or another version has written hides nothing else.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

/// The members of a stored status.
pub(super) struct Stored(Map<String, Value>);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| match value {
            Value::Object(members) => Self(members),
            _ => Self(Map::new()),
        })
    }
}

impl Stored {
    /// A member; absent where it is not of the type.
    pub(super) fn member<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        self.read(name).and_then(Result::ok)
    }

    /// A member, or why it cannot be read; `None`: absent or null.
    pub(super) fn read<T: DeserializeOwned>(&mut self, name: &str) -> Option<Result<T, String>> {
        let value = self.0.remove(name).filter(|value| !value.is_null())?;
        Some(serde_json::from_value(value).map_err(|error| error.to_string()))
    }
}
