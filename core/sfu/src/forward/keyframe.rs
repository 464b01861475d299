//! Where the newest key frame of a stream begins, of which more than one packet may say that it is one.
//!
//! Source: of H.265 its parameter sets as well as each of its slices, in packets of their own (RFC 7798 §4.4).

/// By the stream's own numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyframeStart(Option<(u64, u32)>);

impl KeyframeStart {
    /// A packet that is of a key frame, by its index and the RTP timestamp of the picture.
    pub(super) fn note(&mut self, index: u64, timestamp: u32) {
        match &mut self.0 {
            Some((first, of)) if *of == timestamp => *first = index.min(*first),
            Some((first, _)) if *first > index => {}
            place => *place = Some((index, timestamp)),
        }
    }

    pub(super) fn index(self) -> Option<u64> {
        self.0.map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_begins_with_its_first_packet_in_whatever_order_they_come() {
        let mut start = KeyframeStart::default();
        assert_eq!(start.index(), None);
        for (index, timestamp, expected) in
            [(11, 900, 11), (10, 900, 10), (12, 900, 10), (4, 300, 10), (31, 1_800, 31)]
        {
            start.note(index, timestamp);
            assert_eq!(start.index(), Some(expected), "{index}");
        }
    }
}
