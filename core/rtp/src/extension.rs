//! RTP header extensions: which of them we know, under which ids a session has them, what they say.
//!
//! Owns: the one-byte and two-byte forms, the id map of one session and direction, one pass over a block.
//! Guarantees: a malformed element ends the walk, what came before it stands; nothing is copied.
//! Not here: negotiating ids (`wire`), deciding what a forwarded packet carries (`sfu`).
//! Source: RFC 8285 §4.2 and §4.3; each kind names its own.

use model::ExtensionKind;
use thiserror::Error;

use crate::packet::RtpHeader;

/// "Defined by profile" of the one-byte form.
pub const ONE_BYTE_PROFILE: u16 = 0xbede;
/// Same of the two-byte form; the low four bits are application bits.
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why an id cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExtensionMapError {
    /// Not in 1..=14, the range that both forms can carry.
    #[error("extension id {0} is not in 1..=14")]
    IdOutOfRange(u8),
    /// The id means another kind, or the kind has another id.
    #[error("extension id {id} for {kind:?} contradicts an earlier one")]
    Contradiction {
        /// The id that was to be mapped.
        id: u8,
        /// Its kind.
        kind: ExtensionKind,
    },
}

/// Ids 1..=14 of one session and direction, each for at most one kind and each kind under at most one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    /// Indexed by id - 1.
    kinds: [Option<ExtensionKind>; 14],
}

impl ExtensionMap {
    /// Maps nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { kinds: [None; 14] }
    }

    /// Maps `id` to `kind`; saying the same twice is allowed, as bundled m-lines do.
    ///
    /// # Errors
    /// When the id is out of range or contradicts what is mapped.
    pub fn insert(&mut self, id: u8, kind: ExtensionKind) -> Result<(), ExtensionMapError> {
        let other = self.id(kind).filter(|other| *other != id);
        let slot = id.checked_sub(1).and_then(|at| self.kinds.get_mut(usize::from(at)));
        let slot = slot.ok_or(ExtensionMapError::IdOutOfRange(id))?;
        if other.is_some() || slot.is_some_and(|taken| taken != kind) {
            return Err(ExtensionMapError::Contradiction { id, kind });
        }
        *slot = Some(kind);
        Ok(())
    }

    /// What `id` means.
    #[inline]
    #[must_use]
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        id.checked_sub(1).and_then(|at| self.kinds.get(usize::from(at)).copied().flatten())
    }

    /// Under which id `kind` travels. Walks the map: look it up once per session, not per packet.
    #[must_use]
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        self.iter().find(|(_, mapped)| *mapped == kind).map(|(id, _)| id)
    }

    /// The pairs of these kinds alone.
    #[must_use]
    pub fn only(mut self, kinds: &[ExtensionKind]) -> Self {
        for slot in &mut self.kinds {
            *slot = slot.filter(|kind| kinds.contains(kind));
        }
        self
    }

    /// All pairs, by id.
    pub fn iter(&self) -> impl Iterator<Item = (u8, ExtensionKind)> {
        (1..=14u8).zip(self.kinds).filter_map(|(id, kind)| Some((id, kind?)))
    }
}

/// RFC 6464's byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// 0 (loudest) ..=127 (silent), in -dBov.
    pub level: u8,
    /// The sender's voice detector fired.
    pub voice: bool,
}

impl AudioLevel {
    /// As on the wire.
    #[inline]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self { level: byte & 0x7f, voice: byte & 0x80 != 0 }
    }
}

/// What the known elements of one packet say. A value of the wrong length is absent; the last of a kind wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// Which m-line, 1..=16 bytes in the one-byte form.
    pub mid: Option<&'a [u8]>,
    /// Which simulcast layer.
    pub rid: Option<&'a [u8]>,
    /// Which simulcast layer this repairs.
    pub repaired_rid: Option<&'a [u8]>,
    /// How loud.
    pub audio_level: Option<AudioLevel>,
    /// Wraps.
    pub transport_sequence: Option<u16>,
    /// 24 bits: seconds as 6.18 fixed point.
    pub abs_send_time: Option<u32>,
    /// 8 or 16 bytes, forwarded as they are.
    pub abs_capture_time: Option<&'a [u8]>,
    /// Two times 12 bits, of 10 ms each.
    pub playout_delay: Option<[u8; 3]>,
}

impl<'a> Extensions<'a> {
    /// Reads the block of `packet`, whose header is `header`, in one pass.
    #[inline]
    #[must_use]
    pub fn read(header: &RtpHeader, packet: &'a [u8], map: &ExtensionMap) -> Self {
        let mut extensions = Self::default();
        for (id, data) in elements(header, packet) {
            if let Some(kind) = map.kind(id) {
                extensions.set(kind, data);
            }
        }
        extensions
    }

    #[inline]
    fn set(&mut self, kind: ExtensionKind, data: &'a [u8]) {
        match kind {
            ExtensionKind::Mid => self.mid = not_empty(data),
            ExtensionKind::Rid => self.rid = not_empty(data),
            ExtensionKind::RepairedRid => self.repaired_rid = not_empty(data),
            ExtensionKind::AudioLevel => {
                self.audio_level = one_byte(data).map(AudioLevel::from_byte);
            }
            ExtensionKind::TransportSequence => {
                self.transport_sequence = data.try_into().ok().map(u16::from_be_bytes);
            }
            ExtensionKind::AbsSendTime => {
                self.abs_send_time =
                    data.try_into().ok().map(|[a, b, c]: [u8; 3]| u32::from_be_bytes([0, a, b, c]));
            }
            ExtensionKind::AbsCaptureTime => {
                self.abs_capture_time = Some(data).filter(|data| matches!(data.len(), 8 | 16));
            }
            ExtensionKind::PlayoutDelay => self.playout_delay = data.try_into().ok(),
        }
    }
}

fn not_empty(data: &[u8]) -> Option<&[u8]> {
    Some(data).filter(|data| !data.is_empty())
}

fn one_byte(data: &[u8]) -> Option<u8> {
    data.try_into().ok().map(|[byte]: [u8; 1]| byte)
}

/// The two ways of RFC 8285 to lay elements out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Ids 1..=14, 1..=16 bytes each. Every receiver reads it.
    OneByte,
    /// Ids 1..=255, 0..=255 bytes each. Only where `extmap-allow-mixed` was agreed.
    TwoByte,
}

impl ExtensionForm {
    /// What a block's profile announces; `None` for a profile that is not RFC 8285's.
    #[must_use]
    pub const fn from_profile(profile: u16) -> Option<Self> {
        match profile {
            ONE_BYTE_PROFILE => Some(Self::OneByte),
            TWO_BYTE_PROFILE..=0x100f => Some(Self::TwoByte),
            _ => None,
        }
    }
}

/// Walks the elements of a packet: (id, data). Ends at the first that does not fit.
#[inline]
#[must_use]
pub fn elements<'a>(header: &RtpHeader, packet: &'a [u8]) -> Elements<'a> {
    let form = header.extension.and_then(|block| ExtensionForm::from_profile(block.profile));
    Elements { form, rest: header.extension_data(packet) }
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    /// `None`: nothing that we can walk.
    form: Option<ExtensionForm>,
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let form = self.form?;
        while let Some((0, rest)) = self.rest.split_first() {
            self.rest = rest;
        }
        let (id, len, after) = match (form, self.rest) {
            (ExtensionForm::OneByte, [byte, after @ ..]) => {
                (byte >> 4, usize::from(byte & 0x0f) + 1, after)
            }
            (ExtensionForm::TwoByte, [id, len, after @ ..]) => (*id, usize::from(*len), after),
            _ => return self.end(),
        };
        // RFC 8285 §4.2: id 15 stops the processing of the one-byte form, and 0 with a length is no padding.
        if form == ExtensionForm::OneByte && (id == 0 || id == 15) {
            return self.end();
        }
        let Some((data, rest)) = after.split_at_checked(len) else {
            return self.end();
        };
        self.rest = rest;
        Some((id, data))
    }
}

impl Elements<'_> {
    fn end<T>(&mut self) -> Option<T> {
        self.form = None;
        None
    }
}

/// Writes an extension block, its four bytes of profile and length included, to the front of `to`.
///
/// Returns its length, a multiple of four; 0 for no elements: leave the header's extension bit clear then.
/// `None` when an id or a length is outside the form's range or there is no room; `to` is then partly written.
#[inline]
#[must_use]
pub fn write_block(form: ExtensionForm, elements: &[(u8, &[u8])], to: &mut [u8]) -> Option<usize> {
    if elements.is_empty() {
        return Some(0);
    }
    let (head, mut rest) = to.split_first_chunk_mut::<4>()?;
    let mut len = 0;
    for (id, data) in elements {
        rest = match form {
            ExtensionForm::OneByte => {
                let short = data.len().checked_sub(1).and_then(|short| u8::try_from(short).ok());
                let short = short.filter(|short| *short < 16 && matches!(id, 1..=14))?;
                let (first, rest) = rest.split_first_mut()?;
                *first = (id << 4) | short;
                len += 1;
                rest
            }
            ExtensionForm::TwoByte => {
                let ([first, second], rest) = rest.split_first_chunk_mut()?;
                *first = Some(*id).filter(|id| *id != 0)?;
                *second = u8::try_from(data.len()).ok()?;
                len += 2;
                rest
            }
        };
        let (place, after) = rest.split_at_mut_checked(data.len())?;
        place.copy_from_slice(data);
        len += data.len();
        rest = after;
    }
    let padded = len.next_multiple_of(4);
    rest.get_mut(..padded - len)?.fill(0);
    let profile = match form {
        ExtensionForm::OneByte => ONE_BYTE_PROFILE,
        ExtensionForm::TwoByte => TWO_BYTE_PROFILE,
    };
    let ([p0, p1], [w0, w1]) =
        (profile.to_be_bytes(), u16::try_from(padded / 4).ok()?.to_be_bytes());
    *head = [p0, p1, w0, w1];
    Some(4 + padded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::FixedHeader;

    /// A packet whose extension block is `block`, profile and length included.
    fn packet(block: &[u8]) -> Vec<u8> {
        let header = FixedHeader {
            marker: false,
            has_padding: false,
            has_extension: true,
            payload_type: 96,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
        };
        [&header.to_bytes(), block, &[0xee]].concat()
    }

    fn read(block: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let packet = packet(block);
        let header = RtpHeader::parse(&packet).unwrap();
        elements(&header, &packet).map(|(id, data)| (id, data.to_vec())).collect()
    }

    #[test]
    fn the_example_of_rfc_5285_in_one_byte_form_reads() {
        // RFC 8285 §4.2's figure: lengths 0, 1, padding, 3.
        let block = [0xbe, 0xde, 0, 3, 0x10, 0xa0, 0x21, 0xb0, 0xb1, 0, 0, 0x33, 1, 2, 3, 4];
        let expected = vec![(1, vec![0xa0]), (2, vec![0xb0, 0xb1]), (3, vec![1, 2, 3, 4])];
        assert_eq!(read(&block), expected);
    }

    #[test]
    fn the_two_byte_form_reads_with_any_application_bits() {
        let block = [0x10, 0x07, 0, 3, 1, 0, 2, 1, 0xb0, 0, 3, 4, 1, 2, 3, 4];
        assert_eq!(read(&block), vec![(1, vec![]), (2, vec![0xb0]), (3, vec![1, 2, 3, 4])]);
    }

    #[test]
    fn the_walk_ends_at_the_first_broken_element() {
        let past_end = [0xbe, 0xde, 0, 1, 0x10, 0xaa, 0x2f, 0];
        assert_eq!(read(&past_end), vec![(1, vec![0xaa])]);
        let reserved = [0xbe, 0xde, 0, 2, 0x10, 0xaa, 0xf0, 0, 0x20, 0xbb, 0, 0];
        assert_eq!(read(&reserved), vec![(1, vec![0xaa])]);
        let padding_with_length = [0xbe, 0xde, 0, 1, 0x01, 0x10, 0xaa, 0];
        assert_eq!(read(&padding_with_length), vec![]);
        let lone_id = [0x10, 0, 0, 1, 0, 0, 0, 5];
        assert_eq!(read(&lone_id), vec![]);
    }

    #[test]
    fn a_foreign_profile_has_no_elements() {
        assert_eq!(read(&[0xab, 0xcd, 0, 1, 0x10, 0xaa, 0, 0]), vec![]);
        assert_eq!(read(&[0x10, 0x10, 0, 1, 1, 0, 0, 0]), vec![]);
    }

    #[test]
    fn each_kind_reads_into_its_field() {
        let mut map = ExtensionMap::new();
        for (id, kind) in (1..).zip(ExtensionKind::ALL) {
            map.insert(id, kind).unwrap();
        }
        let values: [(u8, &[u8]); 8] = [
            (1, b"0"),
            (2, b"h"),
            (3, b"q"),
            (4, &[0x85]),
            (5, &[0x12, 0x34]),
            (6, &[1, 2, 3]),
            (7, &[9; 8]),
            (8, &[4, 5, 6]),
        ];
        let mut block = [0; 64];
        let len = write_block(ExtensionForm::OneByte, &values, &mut block).unwrap();
        let packet = packet(&block[..len]);
        let header = RtpHeader::parse(&packet).unwrap();
        let expected = Extensions {
            mid: Some(b"0"),
            rid: Some(b"h"),
            repaired_rid: Some(b"q"),
            audio_level: Some(AudioLevel { level: 5, voice: true }),
            transport_sequence: Some(0x1234),
            abs_send_time: Some(0x01_02_03),
            abs_capture_time: Some(&[9; 8]),
            playout_delay: Some([4, 5, 6]),
        };
        assert_eq!(Extensions::read(&header, &packet, &map), expected);
        assert_eq!(Extensions::read(&header, &packet, &ExtensionMap::new()), Extensions::default());
    }

    #[test]
    fn a_value_of_the_wrong_length_is_absent() {
        let mut map = ExtensionMap::new();
        map.insert(1, ExtensionKind::TransportSequence).unwrap();
        map.insert(2, ExtensionKind::AbsCaptureTime).unwrap();
        map.insert(3, ExtensionKind::AudioLevel).unwrap();
        let mut block = [0; 64];
        let values: [(u8, &[u8]); 3] = [(1, &[1, 2, 3]), (2, &[1; 9]), (3, &[1, 2])];
        let len = write_block(ExtensionForm::OneByte, &values, &mut block).unwrap();
        let packet = packet(&block[..len]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(Extensions::read(&header, &packet, &map), Extensions::default());
    }

    #[test]
    fn uris_name_their_kinds() {
        for kind in ExtensionKind::ALL {
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(kind));
        }
        assert_eq!(ExtensionKind::from_uri("urn:ietf:params:rtp-hdrext:toffset"), None);
    }

    #[test]
    fn a_map_holds_no_contradiction() {
        let mut map = ExtensionMap::new();
        assert_eq!(map.insert(3, ExtensionKind::Mid), Ok(()));
        assert_eq!(map.insert(3, ExtensionKind::Mid), Ok(()));
        for (id, kind) in [(3, ExtensionKind::Rid), (4, ExtensionKind::Mid)] {
            let refused = Err(ExtensionMapError::Contradiction { id, kind });
            assert_eq!(map.insert(id, kind), refused);
        }
        for id in [0, 15, 255] {
            assert_eq!(
                map.insert(id, ExtensionKind::Rid),
                Err(ExtensionMapError::IdOutOfRange(id))
            );
        }
        assert_eq!((map.kind(3), map.id(ExtensionKind::Mid)), (Some(ExtensionKind::Mid), Some(3)));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(3, ExtensionKind::Mid)]);
        assert_eq!((map.kind(0), map.kind(15), map.id(ExtensionKind::Rid)), (None, None, None));
    }

    #[test]
    fn what_a_form_cannot_carry_is_not_written() {
        let mut to = [0; 300];
        let refused: [(ExtensionForm, (u8, &[u8])); 6] = [
            (ExtensionForm::OneByte, (0, &[1])),
            (ExtensionForm::OneByte, (15, &[1])),
            (ExtensionForm::OneByte, (1, &[])),
            (ExtensionForm::OneByte, (1, &[0; 17])),
            (ExtensionForm::TwoByte, (0, &[1])),
            (ExtensionForm::TwoByte, (1, &[0; 256])),
        ];
        for (form, element) in refused {
            assert_eq!(write_block(form, &[element], &mut to), None, "{form:?} {element:?}");
        }
        for room in 0..8 {
            assert_eq!(write_block(ExtensionForm::OneByte, &[(1, &[7])], &mut to[..room]), None);
        }
        assert_eq!(write_block(ExtensionForm::OneByte, &[(1, &[7])], &mut to[..8]), Some(8));
        assert_eq!(write_block(ExtensionForm::OneByte, &[], &mut []), Some(0));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            two_byte: bool,
            values in proptest::collection::vec((1u8..15, proptest::collection::vec(any::<u8>(), 1..17)), 1..8),
        ) {
            let form = if two_byte { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
            let elements: Vec<(u8, &[u8])> = values.iter().map(|(id, data)| (*id, &data[..])).collect();
            let mut block = [0xff; 256];
            let len = write_block(form, &elements, &mut block).unwrap();
            prop_assert_eq!(len % 4, 0);
            prop_assert_eq!(read(&block[..len]), values);
        }

        #[test]
        fn any_block_is_walked_without_panic(
            profile in prop_oneof![Just(ONE_BYTE_PROFILE), Just(TWO_BYTE_PROFILE), any::<u16>()],
            words in proptest::collection::vec(any::<[u8; 4]>(), 0..40),
        ) {
            let [w0, w1] = u16::try_from(words.len()).unwrap().to_be_bytes();
            let [p0, p1] = profile.to_be_bytes();
            let block = [&[p0, p1, w0, w1][..], &words.concat()].concat();
            let total: usize = read(&block).iter().map(|(_, data)| data.len() + 1).sum();
            prop_assert!(total <= block.len());
        }
    }
}
