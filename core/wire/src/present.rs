//! A JSON text without the fields that are `null`.
//!
//! Owns: reading what back ends write that write every field: `null` stands for the default (ProtoJSON).
//! Guarantees: a field that is said twice is refused, as where nothing is `null`.
//! Not here: what a text may hold (`shape`), which is checked before.
//! Source: Go's `encoding/protojson`, by which LiveKit's server reads its API.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A message's maps: in these `null` is a value, which none of them may have.
const MAPS: [&str; 1] = ["attributes"];

/// A value, and all within it, with its fields that are not `null`.
pub(crate) struct Present(pub Value);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E>(self, it: f64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Present(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = if MAPS.contains(&name.as_str()) {
                fields.next_value()?
            } else {
                fields.next_value::<Present>()?.0
            };
            if all.insert(name, value).is_some() {
                return Err(de::Error::custom("a field is said twice"));
            }
        }
        all.retain(|_, value| !value.is_null());
        Ok(Value::Object(all))
    }
}
