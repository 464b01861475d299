//! Datagrams in a stream of bytes: each behind its length in two bytes.
//!
//! Guarantees: a frame beyond [`FRAME_BYTES_MAX`] is refused by its length alone, before its bytes are
//! there; nothing is copied to be read.
//! Source: RFC 4571 §2; RFC 6544 §3: this is what every byte of an ICE connection over TCP is in.

use crate::limits::FRAME_BYTES_MAX;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 2;

/// A frame is longer than any datagram of ours or theirs: whatever speaks there, it is not WebRTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is too long")]
pub struct Oversized;

/// The datagrams at the beginning of what has arrived; frames without content are passed over.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> Frames<'a> {
    /// What has arrived since the last frame that was whole.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, taken: 0 }
    }

    /// Bytes of the frames that were given out or passed over.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<&'a [u8], Oversized>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.taken..)?;
            let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length > FRAME_BYTES_MAX {
                // There is no way to find the next frame.
                self.bytes = &[];
                return Some(Err(Oversized));
            }
            let datagram = rest.get(..length)?;
            self.taken += LENGTH_BYTES + length;
            if !datagram.is_empty() {
                return Some(Ok(datagram));
            }
        }
    }
}

/// Datagrams that follow each other in `bytes`, `segment` bytes each and the last possibly fewer, as frames.
/// What no frame can hold is left out.
#[must_use]
pub fn frame(bytes: &[u8], segment: usize) -> Vec<u8> {
    let segment = segment.max(1);
    let count = bytes.len().div_ceil(segment);
    let mut framed = Vec::with_capacity(bytes.len() + count * LENGTH_BYTES);
    for datagram in bytes.chunks(segment) {
        if let Ok(length) = u16::try_from(datagram.len()) {
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(datagram);
        }
    }
    framed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut frames = Frames::new(bytes);
        let datagrams = frames.by_ref().map(Result::unwrap).collect();
        (datagrams, frames.taken())
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_out_however_it_is_cut(
            lengths in prop::collection::vec(1..FRAME_BYTES_MAX, 1..6),
            cut in 0usize..12_000,
        ) {
            let datagrams: Vec<Vec<u8>> =
                lengths.iter().zip(1..).map(|(length, byte)| vec![byte; *length]).collect();
            let framed: Vec<u8> = datagrams.iter().flat_map(|it| frame(it, it.len())).collect();
            let cut = cut.min(framed.len());
            let (mut found, taken) = split(&framed[..cut]);
            prop_assert!(taken <= cut);
            let (more, rest) = split(&framed[taken..]);
            found.extend(more);
            prop_assert_eq!(found, datagrams.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(taken + rest, framed.len());
        }
    }

    #[test]
    fn a_train_becomes_a_frame_for_each_datagram() {
        assert_eq!(frame(b"aabbc", 2), b"\0\x02aa\0\x02bb\0\x01c");
        assert_eq!(frame(b"abc", 0), b"\0\x01a\0\x01b\0\x01c");
        assert_eq!(frame(b"", 5), b"");
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_its_bytes_are_there() {
        let too_long = u16::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        let mut frames = Frames::new(&too_long);
        assert_eq!(frames.next(), Some(Err(Oversized)));
        assert_eq!(frames.next(), None, "it is said once");
        assert_eq!(Frames::new(b"GET / HTTP/1.1\r\n").next(), Some(Err(Oversized)));
        let longest = frame(&[7; FRAME_BYTES_MAX], FRAME_BYTES_MAX);
        assert_eq!(Frames::new(&longest).next(), Some(Ok(&[7; FRAME_BYTES_MAX][..])));
    }

    #[test]
    fn empty_frames_are_passed_over() {
        assert_eq!(split(b"\0\0\0\x01a\0\0"), (vec![&b"a"[..]], 7));
        assert_eq!(split(b"\0"), (vec![], 0));
    }
}
