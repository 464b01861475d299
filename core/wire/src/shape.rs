//! How deep a message nests and how many values it holds, found before it is parsed.
//!
//! Owns: the one bound on what parsing may cost, in stack and in memory, for JSON and for protobuf.
//! Guarantees: one pass, no allocation, and no more steps over protobuf than the fields it allows.
//! Not here: whether the message is well formed; that is for its parser, which reads no further than this
//! did without meeting the same bytes.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::limits::{FIELDS_MAX, JSON_DEPTH_MAX, PROTO_DEPTH_MAX};

/// A message that would cost too much to parse. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Arrays and objects nest deeper than [`JSON_DEPTH_MAX`].
    #[error("nests too deeply")]
    TooDeep,
    /// More values than [`FIELDS_MAX`].
    #[error("holds too many values")]
    TooMany,
}

/// Checks a JSON text.
pub(crate) fn check_json(text: &[u8]) -> Result<(), ShapeError> {
    let mut depth = 0_usize;
    let mut values = 1_usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
                if depth > JSON_DEPTH_MAX {
                    return Err(ShapeError::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > FIELDS_MAX {
            return Err(ShapeError::TooMany);
        }
    }
    Ok(())
}

/// Checks a protobuf message of any type.
///
/// Without the schema every length-delimited field may be a message, so each is searched as one until it
/// cannot be; texts stop being messages within a few bytes, but for odd ones. `texts` are the paths, in field
/// numbers, of those that may be long: they are not searched.
pub(crate) fn check_protobuf(message: &[u8], texts: &[&[u32]]) -> Result<(), ShapeError> {
    let mut search = Search { texts, path: [0; PROTO_DEPTH_MAX], left: FIELDS_MAX };
    search.count(message, 0)
}

struct Search<'a> {
    texts: &'a [&'a [u32]],
    path: [u32; PROTO_DEPTH_MAX],
    left: usize,
}

impl Search<'_> {
    fn count(&mut self, mut message: &[u8], depth: usize) -> Result<(), ShapeError> {
        while !message.is_empty() {
            let Ok((number, kind)) = decode_key(&mut message) else { return Ok(()) };
            self.left = self.left.checked_sub(1).ok_or(ShapeError::TooMany)?;
            if kind == WireType::LengthDelimited {
                let Ok(len) = decode_varint(&mut message) else { return Ok(()) };
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                // What is cut short is searched too: a parser builds it up to where it breaks off.
                let (inner, rest) = message.split_at_checked(len).unwrap_or((message, &[]));
                self.descend(inner, number, depth)?;
                message = rest;
            } else if skip_field(kind, number, &mut message, DecodeContext::default()).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn descend(&mut self, inner: &[u8], number: u32, depth: usize) -> Result<(), ShapeError> {
        let Some(step) = self.path.get_mut(depth) else { return Ok(()) };
        *step = number;
        let path = self.path.get(..=depth).unwrap_or(&[]);
        if self.texts.contains(&path) {
            return Ok(());
        }
        self.count(inner, depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_arrays_and_objects_outside_strings() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check_json(deep(JSON_DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(check_json(deep(JSON_DEPTH_MAX + 1).as_bytes()), Err(ShapeError::TooDeep));
        let text = format!(r#"{{"a\"{}":"{}\\"}}"#, "[".repeat(40), "{".repeat(40));
        assert_eq!(check_json(text.as_bytes()), Ok(()));
        let side_by_side = format!("[{}[]]", "[],".repeat(100));
        assert_eq!(check_json(side_by_side.as_bytes()), Ok(()));
        assert_eq!(check_json(b"\"\\"), Ok(()));
    }

    #[test]
    fn a_list_of_empty_objects_is_counted() {
        let list = |n: usize| format!("[{}0]", "{},".repeat(n));
        assert_eq!(check_json(list(1000).as_bytes()), Ok(()));
        assert_eq!(check_json(list(FIELDS_MAX).as_bytes()), Err(ShapeError::TooMany));
    }

    #[test]
    fn empty_elements_are_counted_even_before_garbage_and_in_cut_messages() {
        let mut elements = [0x0a, 0x00].repeat(FIELDS_MAX + 1);
        assert_eq!(check_protobuf(&elements, &[]), Err(ShapeError::TooMany));
        elements.push(0xff);
        assert_eq!(check_protobuf(&elements, &[]), Err(ShapeError::TooMany));
        let mut cut = vec![0x62, 0xff, 0xff, 0xff, 0x7f];
        cut.extend_from_slice(&elements);
        assert_eq!(check_protobuf(&cut, &[]), Err(ShapeError::TooMany));
    }

    #[test]
    fn texts_are_not_mistaken_for_many_fields() {
        let message = field(1, "The quick brown fox jumps over the lazy dog. ".repeat(10_000));
        assert_eq!(check_protobuf(&message, &[]), Ok(()));
    }

    #[test]
    fn spaces_look_like_fields_unless_they_are_known_to_be_text() {
        let message = field(15, field(3, " ".repeat(3 * FIELDS_MAX)));
        assert_eq!(check_protobuf(&message, &[]), Err(ShapeError::TooMany));
        assert_eq!(check_protobuf(&message, &[&[15, 3]]), Ok(()));
        assert_eq!(check_protobuf(&message, &[&[3], &[15, 3, 1]]), Err(ShapeError::TooMany));
    }

    #[test]
    fn groups_hide_nothing_that_follows() {
        let message = [&[0x0b, 0x0c][..], &[0x0a, 0x00].repeat(FIELDS_MAX)].concat();
        assert_eq!(check_protobuf(&message, &[]), Err(ShapeError::TooMany));
    }

    fn field(number: u32, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut message = Vec::new();
        prost::encoding::encode_key(number, WireType::LengthDelimited, &mut message);
        prost::encoding::encode_varint(bytes.as_ref().len() as u64, &mut message);
        message.extend_from_slice(bytes.as_ref());
        message
    }
}
