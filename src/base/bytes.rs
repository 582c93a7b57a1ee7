//! Byte strings that are nearly always text, as JSON: a string where they are UTF-8, else
//! `{"hex": "…"}`. For `#[serde(with = "…")]`.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is no text.
#[derive(Serialize, Deserialize)]
struct ByteForm<'a> {
    hex: Cow<'a, str>,
}

/// Writes a string, or an object with the bytes in hex.
pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => ByteForm { hex: hex::encode(bytes).into() }.serialize(serializer),
    }
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_any(AnyBytes)
}

/// Takes either form as it comes: an untagged enum would keep whatever else stands there in memory
/// first.
struct AnyBytes;

impl<'de> Visitor<'de> for AnyBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or an object with `hex`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<u8>, A::Error> {
        let ByteForm { hex } = ByteForm::deserialize(MapAccessDeserializer::new(map))?;
        hex::decode(hex.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// The same for bytes that may be absent.
pub mod option {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Wrap(#[serde(with = "super")] Vec<u8>);

    /// Writes `null` or what [`super::serialize`] writes.
    pub fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Wrap).serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Wrap>::deserialize(deserializer)?.map(|wrap| wrap.0))
    }
}
