//! Bytes that travel as they are.

use super::carry;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Bytes as an argument or a result of work in another process.
///
/// serde takes a `Vec<u8>` apart and sends each element by itself. This is the same vector, sent whole: written into the
/// memory that the processes share, and read out of it, once each. Clones share the vector, until one of them is changed.
///
/// A `Vec<u8>` that is *the* argument of a function, an item of a map, or the result, goes over in the same way. Inside of
/// something else (a tuple, a field), this type is worth its name.
///
/// # Examples
///
/// ```
/// use ropewalk::process::Bytes;
///
/// let picture = Bytes::from(vec![1, 2, 3]);
/// assert_eq!(picture.len(), 3);
/// assert_eq!(picture.into_vec(), [1, 2, 3]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Arc<Vec<u8>>);

impl Bytes {
    /// The vector; a copy, if there are other clones.
    pub fn into_vec(self) -> Vec<u8> {
        Arc::unwrap_or_clone(self.0)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.into_vec()
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl Deref for Bytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.0)
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes among those of a value.
struct Whole<T>(T);

impl Serialize for Whole<&[u8]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Whole<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;

        impl Visitor<'_> for OfBytes {
            type Value = Whole<Vec<u8>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Whole(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
                Ok(Whole(bytes))
            }
        }

        deserializer.deserialize_byte_buf(OfBytes)
    }
}

/// How our own codec has it.
#[derive(Serialize, Deserialize)]
enum Sent<T> {
    Here(T),
    /// Beside the value, with this number.
    Apart(u32),
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = Whole(&self.0[..]);
        if !carry::is_ours() {
            return whole.serialize(serializer);
        }
        match carry::put_piece(self) {
            Some(number) => Sent::<Whole<&[u8]>>::Apart(number).serialize(serializer),
            None => Sent::Here(whole).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !carry::is_ours() {
            return Whole::<Vec<u8>>::deserialize(deserializer).map(|whole| Self::from(whole.0));
        }
        match Sent::<Whole<Vec<u8>>>::deserialize(deserializer)? {
            Sent::Here(whole) => Ok(Self::from(whole.0)),
            Sent::Apart(number) => {
                carry::take_piece(number).ok_or_else(|| D::Error::custom("bytes did not come along"))
            }
        }
    }
}
