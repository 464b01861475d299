//! Initialization vectors: what makes each encryption under a key another one.
//!
//! Guarantees: one [`IvCounter`] yields no IV twice under a key, whichever others are used meanwhile.
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/FrameCryptor.ts` (`makeIV`), `DataCryptor.ts`.

use crate::limits::KEY_RING_SLOTS;
use crate::ring::KeyIndex;
use crate::sealer::SealError;

pub(crate) const IV_LEN: usize = 12;

/// `BE32(ssrc) || BE32(timestamp) || BE32(timestamp - count % 0xffff)`; in data packets a random number is in the
/// place of the SSRC, milliseconds in that of the RTP timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Iv(pub(crate) [u8; IV_LEN]);

impl Iv {
    const fn new(source: u32, timestamp: u32, count: u64) -> Self {
        let [s0, s1, s2, s3] = source.to_be_bytes();
        let [t0, t1, t2, t3] = timestamp.to_be_bytes();
        let last = timestamp.wrapping_sub(wrapped(count));
        let [l0, l1, l2, l3] = last.to_be_bytes();
        Self([s0, s1, s2, s3, t0, t1, t2, t3, l0, l1, l2, l3])
    }

    /// SSRC or random number, timestamp, and the last word.
    pub(crate) const fn words(self) -> (u32, u32, u32) {
        let [s0, s1, s2, s3, t0, t1, t2, t3, l0, l1, l2, l3] = self.0;
        (
            u32::from_be_bytes([s0, s1, s2, s3]),
            u32::from_be_bytes([t0, t1, t2, t3]),
            u32::from_be_bytes([l0, l1, l2, l3]),
        )
    }
}

/// Values of a counter before it starts again.
const COUNTS: u64 = 0xffff;

const fn wrapped(count: u64) -> u32 {
    (count % COUNTS) as u32
}

/// The IVs of one SSRC, or of the data packets, of a sender.
#[derive(Debug)]
pub(crate) struct IvCounter {
    count: u64,
    /// Since the first timestamp.
    ticks: u64,
    /// Of each slot's key which it is, and how many ticks there had been when it was used first.
    begun: [(u64, u64); KEY_RING_SLOTS as usize],
    /// IVs with the newest timestamp.
    at_newest: u64,
    newest: u32,
}

impl IvCounter {
    /// A counter that begins at `first_count`, before any timestamp.
    pub(crate) const fn new(first_count: u16, timestamp: u32) -> Self {
        let begun = [(0, 0); KEY_RING_SLOTS as usize];
        Self { count: first_count as u64, ticks: 0, begun, at_newest: 0, newest: timestamp }
    }

    /// The next IV for `source` under the key of `epoch` in `slot`.
    ///
    /// Refuses timestamps that go back, the 65,536th IV of one timestamp, and a key that has seen 2^32
    /// ticks: each could repeat an IV, which gives away what AES-GCM protects. After a pause so long that it looks like
    /// a step back, a key that is new here seals again.
    pub(crate) fn next(
        &mut self,
        source: u32,
        timestamp: u32,
        (slot, epoch): (KeyIndex, u64),
    ) -> Result<Iv, SealError> {
        let Some(begun) = self.begun.get_mut(usize::from(slot.value())) else {
            return Err(SealError::NoKey(slot));
        };
        let step = timestamp.wrapping_sub(self.newest);
        if step > u32::MAX / 2 && begun.0 == epoch {
            return Err(SealError::TimestampWentBack);
        }
        let ticks = self.ticks + u64::from(step);
        let at_newest = if step == 0 { self.at_newest + 1 } else { 1 };
        if begun.0 != epoch {
            *begun = (epoch, ticks);
        }
        if ticks - begun.1 > u64::from(u32::MAX) || at_newest > COUNTS {
            return Err(SealError::KeyWornOut);
        }
        (self.ticks, self.at_newest, self.newest) = (ticks, at_newest, timestamp);
        let iv = Iv::new(source, timestamp, self.count);
        self.count += 1;
        Ok(iv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a slot of its own.
    fn key(number: u8) -> (KeyIndex, u64) {
        (KeyIndex::new(number).unwrap(), 1)
    }

    #[test]
    fn an_iv_is_source_timestamp_and_count() {
        let mut counter = IvCounter::new(32767, 0x0102_0304);
        let iv = counter.next(0xdead_beef, 0x0102_0304, key(1)).unwrap();
        assert_eq!(iv.0, [0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 1, 1, 0x83, 5]);
        assert_eq!(iv.words(), (0xdead_beef, 0x0102_0304, 0x0101_8305));
    }

    #[test]
    fn one_timestamp_has_65535_ivs_and_all_differ() {
        let mut counter = IvCounter::new(7, 9);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..0xffff {
            assert!(seen.insert(counter.next(1, 9, key(1)).unwrap().0));
        }
        assert!(matches!(counter.next(1, 9, key(1)), Err(SealError::KeyWornOut)));
        assert!(counter.next(1, 10, key(1)).is_ok());
    }

    #[test]
    fn timestamps_do_not_go_back_but_wrap() {
        let mut counter = IvCounter::new(0, u32::MAX);
        assert!(counter.next(1, u32::MAX, key(1)).is_ok());
        assert!(counter.next(1, 2, key(1)).is_ok());
        assert!(matches!(counter.next(1, 1, key(1)), Err(SealError::TimestampWentBack)));
    }

    #[test]
    fn a_new_key_seals_after_a_pause_that_looks_like_a_step_back() {
        let mut counter = IvCounter::new(0, 0);
        let seven_hours = 7 * 3600 * 90_000;
        assert!(counter.next(1, 0, key(1)).is_ok());
        let same = counter.next(1, seven_hours, key(1));
        assert!(matches!(same, Err(SealError::TimestampWentBack)));
        assert!(counter.next(1, seven_hours, key(2)).is_ok());
        assert!(counter.next(1, seven_hours + 3000, key(2)).is_ok());
        let back = counter.next(1, seven_hours, key(2));
        assert!(matches!(back, Err(SealError::TimestampWentBack)));
        assert!(counter.next(1, seven_hours + 6000, key(1)).is_ok(), "the old one as before");
        let round = counter.next(1, 0, key(1));
        assert!(matches!(round, Err(SealError::KeyWornOut)), "and it comes to no timestamp again");
    }

    #[test]
    fn a_key_is_worn_out_after_all_timestamps_and_another_is_fresh() {
        let mut counter = IvCounter::new(0, 0);
        let quarter = 1 << 30;
        for timestamp in [0, quarter, 2 * quarter, 3 * quarter, u32::MAX] {
            assert!(counter.next(1, timestamp, key(1)).is_ok());
        }
        assert!(matches!(counter.next(1, 0, key(1)), Err(SealError::KeyWornOut)));
        assert!(counter.next(1, 0, key(2)).is_ok());
    }

    #[test]
    fn a_key_that_was_away_is_as_old_as_it_is() {
        let mut counter = IvCounter::new(0, 0);
        let quarter = 1 << 30;
        for (timestamp, slot) in [(0, 1), (quarter, 2), (2 * quarter, 1), (3 * quarter, 2)] {
            assert!(counter.next(1, timestamp, key(slot)).is_ok());
        }
        assert!(matches!(counter.next(1, 0, key(1)), Err(SealError::KeyWornOut)));
        assert!(counter.next(1, 0, key(2)).is_ok(), "which was used first later");
        let (slot, epoch) = key(1);
        assert!(counter.next(1, 0, (slot, epoch + 1)).is_ok(), "another in its place is fresh");
    }
}
