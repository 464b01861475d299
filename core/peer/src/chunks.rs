//! The chunks of an SCTP packet, as far as they are looked at beside SCTP.
//!
//! Owns: where the chunks of a packet begin and end; what of them says which data came, what of it was acknowledged,
//! what is given up, what begins anew and what is to be answered. Guarantees: never panics, takes nothing; what is
//! malformed ends the walk, and SCTP ignores a packet that is. Source: RFC 9260 §3, RFC 3758 §3.2, RFC 6525 §3.1.
//! Not here: what becomes of it (`unread`, `outstanding`).

/// Chunk types.
const DATA: u8 = 0;
const INIT: u8 = 1;
const SELECTIVE_ACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const COOKIE_ECHO: u8 = 10;
const RE_CONFIG: u8 = 130;
const FORWARD_TSN: u8 = 192;
const I_FORWARD_TSN: u8 = 194;

/// The parameter of a RE-CONFIG chunk by which streams begin anew.
const OUTGOING_RESET: [u8; 2] = [0, 13];

/// The header of a packet.
const HEADER_BYTES: usize = 12;

/// A whole message, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) tsn: u32,
    pub(crate) stream: u16,
    pub(crate) is_unordered: bool,
    pub(crate) begins: bool,
    pub(crate) ends: bool,
    pub(crate) len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk<'a> {
    Data(Data),
    /// All up to `cumulative` is acknowledged, and what `gaps` says of what is behind; there is `room` for more.
    Acknowledged {
        cumulative: u32,
        room: u32,
        gaps: Gaps<'a>,
    },
    /// What did not come up to `cumulative` is given up, and of so many `streams` it is said up to where.
    Forward {
        cumulative: u32,
        streams: usize,
    },
    /// Streams are to begin anew.
    Reset(Resets<'a>),
    /// An association is to begin.
    Begin,
    /// What SCTP answers with a packet: a heartbeat or its own cookie.
    Echo,
}

/// What is to begin anew: a client sends one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resets<'a>(&'a [u8]);

impl<'a> Resets<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Reset<'a>> {
        // A parameter has the form of a chunk, with a type of two bytes.
        Walk { rest: self.0 }.filter_map(|it| {
            let (&[_, _, _, _, _, _, _, _, t0, t1, t2, t3], streams) =
                it.value.split_first_chunk()?;
            let is_reset = [it.kind, it.flags] == OUTGOING_RESET;
            is_reset.then_some(Reset {
                last: u32::from_be_bytes([t0, t1, t2, t3]),
                streams: streams.as_chunks().0,
            })
        })
    }
}

/// The streams that it names begin anew after `last`; all, if it names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reset<'a> {
    pub(crate) last: u32,
    streams: &'a [[u8; 2]],
}

impl<'a> Reset<'a> {
    pub(crate) fn streams(self) -> impl Iterator<Item = u16> + use<'a> {
        self.streams.iter().map(|&stream| u16::from_be_bytes(stream))
    }
}

/// Whether a TSN is no higher than another (RFC 1982).
pub(crate) const fn is_up_to(tsn: u32, other: u32) -> bool {
    other.wrapping_sub(tsn) <= u32::MAX / 2
}

/// Pairs of distances from the cumulative acknowledgement: the first and the last of those that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gaps<'a>(&'a [[u8; 4]]);

impl Gaps<'_> {
    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().map(|&[a, b, c, d]| (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }
}

/// Those chunks of a packet that say something of data.
pub(crate) fn chunks(packet: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    Walk { rest: packet.get(HEADER_BYTES..).unwrap_or(&[]) }.filter_map(|it| it.parse())
}

struct Walk<'a> {
    rest: &'a [u8],
}

/// A chunk's type, flags and value.
struct Raw<'a> {
    kind: u8,
    flags: u8,
    value: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let &[kind, flags, l0, l1] = self.rest.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        // A length that does not hold its own header is malformed too.
        let value = self.rest.get(4..len)?;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Raw { kind, flags, value })
    }
}

impl<'a> Raw<'a> {
    fn parse(&self) -> Option<Chunk<'a>> {
        match self.kind {
            DATA => {
                let (&[t0, t1, t2, t3, s0, s1, _, _, _, _, _, _], data) =
                    self.value.split_first_chunk()?;
                Some(Chunk::Data(Data {
                    tsn: u32::from_be_bytes([t0, t1, t2, t3]),
                    stream: u16::from_be_bytes([s0, s1]),
                    is_unordered: self.flags & 4 != 0,
                    begins: self.flags & 2 != 0,
                    ends: self.flags & 1 != 0,
                    len: data.len(),
                }))
            }
            SELECTIVE_ACK => {
                let (&[c0, c1, c2, c3, r0, r1, r2, r3, n0, n1, _, _], blocks) =
                    self.value.split_first_chunk()?;
                let count = usize::from(u16::from_be_bytes([n0, n1]));
                Some(Chunk::Acknowledged {
                    cumulative: u32::from_be_bytes([c0, c1, c2, c3]),
                    room: u32::from_be_bytes([r0, r1, r2, r3]),
                    gaps: Gaps(blocks.as_chunks().0.get(..count)?),
                })
            }
            FORWARD_TSN | I_FORWARD_TSN => {
                let (&tsn, streams) = self.value.split_first_chunk()?;
                let entry = if self.kind == FORWARD_TSN { 4 } else { 8 };
                Some(Chunk::Forward {
                    cumulative: u32::from_be_bytes(tsn),
                    streams: streams.len() / entry,
                })
            }
            RE_CONFIG => Some(Chunk::Reset(Resets(self.value))),
            INIT => Some(Chunk::Begin),
            HEARTBEAT | COOKIE_ECHO => Some(Chunk::Echo),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A chunk with padding.
    fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 4).unwrap().to_be_bytes();
        let mut chunk = [&[kind, flags, len[0], len[1]], value].concat();
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    }

    /// An answer, and two streams that begin anew.
    fn resets() -> Vec<u8> {
        let answer = [0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
        let reset = [0, 13, 0, 20, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 1, 2, 0, 6, 1, 0];
        [&answer[..], &reset].concat()
    }

    fn packet() -> Vec<u8> {
        let data = [0, 0, 1, 2, 0, 6, 0, 9, 0, 0, 0, 53, 7];
        let acknowledged = [0, 0, 0, 8, 0, 0, 4, 0, 0, 2, 0, 1, 0, 2, 0, 3, 0, 5, 0, 5, 0, 0, 0, 7];
        [
            vec![0; HEADER_BYTES],
            chunk(DATA, 2, &data),
            chunk(4, 0, b"a heartbeat"),
            chunk(SELECTIVE_ACK, 0, &acknowledged),
            chunk(DATA, 5, &data[..12]),
            chunk(RE_CONFIG, 0, &resets()),
            chunk(FORWARD_TSN, 0, &[0, 0, 0, 9]),
            chunk(I_FORWARD_TSN, 0, &[0, 0, 0, 9, 0, 1, 0, 0, 0, 0, 0, 5]),
            chunk(INIT, 0, &[0; 16]),
            chunk(COOKIE_ECHO, 0, b"a cookie"),
        ]
        .concat()
    }

    #[test]
    fn what_says_something_of_data_is_found_among_the_chunks() {
        let packet = packet();
        let found: Vec<_> = chunks(&packet).collect();
        let data =
            Data { tsn: 0x102, stream: 6, is_unordered: false, begins: true, ends: false, len: 1 };
        let empty = Data { is_unordered: true, begins: false, ends: true, len: 0, ..data };
        let &[
            Chunk::Data(first),
            Chunk::Echo,
            Chunk::Acknowledged { cumulative, room, gaps },
            Chunk::Data(second),
            Chunk::Reset(resets),
            forward,
            typed,
            Chunk::Begin,
            Chunk::Echo,
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((first, cumulative, room), (data, 8, 1_024));
        assert_eq!(gaps.iter().collect::<Vec<_>>(), [(2, 3), (5, 5)]);
        assert_eq!(second, empty);
        let resets: Vec<_> =
            resets.iter().map(|it| (it.last, it.streams().collect::<Vec<_>>())).collect();
        assert_eq!(resets, [(0x102, vec![6, 256])]);
        assert_eq!(forward, Chunk::Forward { cumulative: 9, streams: 0 });
        assert_eq!(typed, Chunk::Forward { cumulative: 9, streams: 1 });
    }

    #[test]
    fn a_packet_that_is_cut_says_no_more_than_the_whole() {
        let packet = packet();
        let whole: Vec<_> = chunks(&packet).collect();
        for cut in 0..packet.len() {
            let found: Vec<_> = chunks(&packet[..cut]).collect();
            assert!(found.len() < whole.len() && whole.starts_with(&found), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn random_packets_never_panic(
            bytes in prop::collection::vec(
                prop_oneof![
                    any::<u8>(), Just(0), Just(3), Just(13), Just(16), Just(130), Just(192),
                ],
                0..300,
            ),
        ) {
            for chunk in chunks(&bytes) {
                if let Chunk::Acknowledged { gaps, .. } = chunk {
                    prop_assert!(gaps.iter().count() * 4 <= bytes.len());
                }
                if let Chunk::Reset(resets) = chunk {
                    let streams: usize = resets.iter().map(|it| it.streams().count()).sum();
                    prop_assert!(streams * 2 <= bytes.len());
                }
            }
        }
    }
}
