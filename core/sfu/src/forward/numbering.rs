//! The sequence numbers and timestamps of one subscription: one continuous stream out of several.
//!
//! Owns: the offsets between incoming and outgoing numbers, for the present source and for late packets
//! of what came before.
//! Guarantees: a packet dropped on purpose leaves no gap; a packet lost upstream leaves one, which its
//! retransmission fills; an outgoing number is given once (a GCM nonce depends on it).
//! Source: RFC 3550 §5.1; behaviour checked against LiveKit `pkg/sfu/rtpmunger.go`.

use model::Timestamp;

use crate::limits;

#[derive(Clone, Copy)]
struct Segment {
    source: u8,
    /// The first incoming index that it is for.
    from: u64,
    /// Outgoing = incoming + this, wrapping.
    offset: u64,
    /// The same of timestamps.
    timestamp_offset: u32,
}

/// Outgoing numbers of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) index: u64,
    pub(super) timestamp: u32,
}

/// The outgoing timestamp of the newest packet, and when it went out.
pub(super) type Last = (u32, Timestamp);

/// Numbers that were given lately.
#[derive(Clone, Copy, Default)]
struct Given {
    highest: u64,
    bits: [u64; Self::LEN / 64],
}

impl Given {
    const LEN: usize = 512;

    /// `false` when `index` was given before, or too long ago to know.
    fn give(&mut self, index: u64) -> bool {
        if index > self.highest {
            let steps = index - self.highest;
            if steps >= Self::LEN as u64 {
                self.bits = [0; Self::LEN / 64];
            } else {
                for step in 1..=steps {
                    self.set(self.highest + step, false);
                }
            }
            self.highest = index;
            self.set(index, true);
            return true;
        }
        if self.highest - index >= Self::LEN as u64 || self.is_set(index) {
            return false;
        }
        self.set(index, true);
        true
    }

    fn place(index: u64) -> (usize, u64) {
        let slot = usize::try_from(index % Self::LEN as u64).unwrap_or(0);
        (slot / 64, 1 << (slot % 64))
    }

    fn is_set(&self, index: u64) -> bool {
        let (word, bit) = Self::place(index);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn set(&mut self, index: u64, on: bool) {
        let (word, bit) = Self::place(index);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits = if on { *bits | bit } else { *bits & !bit };
        }
    }
}

pub(super) struct Numbering {
    present: Option<Segment>,
    /// For late packets, oldest first: with the present one at most [`limits::OFFSETS_MAX`].
    before: Vec<Segment>,
    given: Given,
    /// Highest incoming index of the present source.
    newest: u64,
    last: Option<Last>,
    clock_rate: u32,
    first_index: u64,
}

impl Numbering {
    /// `first_index`: where to start, 1..65,536; random, as RFC 3550 asks. Or else both say where another one ended.
    pub(super) fn new(first_index: u64, last: Option<Last>, clock_rate: u32) -> Self {
        Self {
            present: None,
            before: Vec::new(),
            given: Given::default(),
            newest: 0,
            last,
            clock_rate,
            first_index,
        }
    }

    /// The packet with `index` of `source` follows directly on the last that went out.
    pub(super) fn start(&mut self, now: Timestamp, source: u8, index: u64, timestamp: u32) {
        let (next, timestamp_offset) = match self.last {
            None => (self.next_index(), 0),
            Some((last, at)) => {
                let micros = u64::try_from(now.since(at).as_micros()).unwrap_or(0);
                let elapsed = micros.wrapping_mul(self.clock_rate.into()) / 1_000_000;
                let elapsed = u32::try_from(elapsed & 0xffff_ffff).unwrap_or(0).max(1);
                (self.next_index(), last.wrapping_add(elapsed).wrapping_sub(timestamp))
            }
        };
        let offset = next.wrapping_sub(index);
        self.push(Segment { source, from: index, offset, timestamp_offset });
        self.newest = index;
    }

    /// The numbers of a packet to send; `None` if it cannot be placed or was sent before.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        source: u8,
        index: u64,
        timestamp: u32,
    ) -> Option<Numbers> {
        let mut ceiling = u64::MAX;
        for segment in self.present.iter().chain(self.before.iter().rev()) {
            if segment.source == source && segment.from <= index {
                let out = index.wrapping_add(segment.offset);
                let stamp = timestamp.wrapping_add(segment.timestamp_offset);
                if out == 0 || out >= ceiling || !self.given.give(out) {
                    return None;
                }
                if out == self.given.highest {
                    self.last = Some((stamp, now));
                }
                if ceiling == u64::MAX {
                    self.newest = self.newest.max(index);
                }
                return Some(Numbers { index: out, timestamp: stamp });
            }
            ceiling = segment.from.wrapping_add(segment.offset);
        }
        None
    }

    /// A packet of the present source is dropped on purpose: those after it close the gap.
    pub(super) fn skip(&mut self, index: u64) {
        let Some(present) = &mut self.present else {
            return;
        };
        if index < present.from || index < self.newest {
            return;
        }
        self.newest = index;
        let offset = present.offset.wrapping_sub(1);
        let next = Segment { from: index + 1, offset, ..*present };
        if present.from == index {
            *present = next;
        } else {
            self.push(next);
        }
    }

    /// Whether a packet went out under this number, so that nobody who misses it has to wait for the publisher's way.
    pub(super) fn was_given(&self, index: u64) -> bool {
        let is_past = index <= self.given.highest;
        is_past && (self.given.highest - index >= Given::LEN as u64 || self.given.is_set(index))
    }

    /// Is a packet of the present source so far ahead that it is a new beginning?
    pub(super) const fn is_leap(&self, index: u64) -> bool {
        self.present.is_some() && index > self.newest + limits::LEAP
    }

    /// The lowest number that was never given.
    pub(super) const fn next_index(&self) -> u64 {
        if self.given.highest == 0 { self.first_index } else { self.given.highest + 1 }
    }

    /// What was sent last.
    pub(super) const fn last(&self) -> Option<Last> {
        self.last
    }

    /// What to add to the present source's timestamps.
    pub(super) fn timestamp_offset(&self) -> u32 {
        self.present.as_ref().map_or(0, |segment| segment.timestamp_offset)
    }

    fn push(&mut self, segment: Segment) {
        let Some(past) = self.present.replace(segment) else {
            return;
        };
        if self.before.len() + 1 >= limits::OFFSETS_MAX {
            self.before.remove(0);
        }
        self.before.push(past);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn outs(numbering: &mut Numbering, source: u8, indexes: &[u64]) -> Vec<Option<u64>> {
        indexes
            .iter()
            .map(|&index| numbering.next(NOW, source, index, 0).map(|numbers| numbers.index))
            .collect()
    }

    fn started() -> Numbering {
        let mut numbering = Numbering::new(100, None, 90_000);
        numbering.start(NOW, 0, 70_000, 5);
        numbering
    }

    #[test]
    fn a_gap_upstream_stays_open_and_is_filled_by_the_late_packet() {
        let mut numbering = started();
        let got = outs(&mut numbering, 0, &[70_000, 70_003, 70_001, 70_002]);
        assert_eq!(got, [Some(100), Some(103), Some(101), Some(102)]);
    }

    #[test]
    fn a_dropped_packet_leaves_no_gap() {
        let mut numbering = started();
        assert_eq!(outs(&mut numbering, 0, &[70_000]), [Some(100)]);
        numbering.skip(70_001);
        numbering.skip(70_002);
        assert_eq!(outs(&mut numbering, 0, &[70_003]), [Some(101)]);
        numbering.skip(70_005);
        assert_eq!(outs(&mut numbering, 0, &[70_006, 70_004]), [Some(103), Some(102)]);
    }

    #[test]
    fn a_number_is_given_once() {
        let mut numbering = started();
        assert_eq!(outs(&mut numbering, 0, &[70_000, 70_000]), [Some(100), None]);
        numbering.skip(70_001);
        assert_eq!(outs(&mut numbering, 0, &[70_002, 70_001]), [Some(101), None]);
        let many: Vec<u64> = (70_003..71_000).collect();
        outs(&mut numbering, 0, &many);
        assert_eq!(outs(&mut numbering, 0, &[70_010]), [None]);
    }

    #[test]
    fn another_source_goes_on_where_the_last_one_stopped() {
        let mut numbering = started();
        outs(&mut numbering, 0, &[70_000, 70_002]);
        let later = NOW + std::time::Duration::from_millis(100);
        numbering.start(later, 1, 66_000, 1_000_000);
        let numbers = numbering.next(later, 1, 66_000, 1_000_000).unwrap();
        assert_eq!(numbers, Numbers { index: 103, timestamp: 9_000 });
        assert_eq!(outs(&mut numbering, 0, &[70_001, 70_003]), [Some(101), None]);
    }

    #[test]
    fn the_first_source_keeps_its_timestamps() {
        let mut numbering = started();
        assert_eq!(numbering.next(NOW, 0, 70_000, 5).unwrap().timestamp, 5);
        assert_eq!(numbering.timestamp_offset(), 0);
    }

    proptest! {
        #[test]
        fn no_number_is_ever_given_twice(
            steps in prop::collection::vec((0u8..4, 0u64..40, 0u8..2), 1..500)
        ) {
            let mut numbering = started();
            let mut seen = std::collections::BTreeSet::new();
            for (what, step, source) in steps {
                let index = 70_000 + step * 7 % 97 + seen.len() as u64 / 2;
                match what {
                    0 => numbering.skip(index),
                    1 if step == 3 => numbering.start(NOW, source, index, 0),
                    _ => if let Some(numbers) = numbering.next(NOW, source, index, 0) {
                        prop_assert!(seen.insert(numbers.index));
                    }
                }
            }
        }
    }
}
