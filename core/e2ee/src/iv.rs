//! Initialization vectors: what makes each encryption under a key another one.
//!
//! Guarantees: one [`IvCounter`] yields no IV twice under a key that is in use without a break.
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/FrameCryptor.ts` (`makeIV`), `DataCryptor.ts`.

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
    /// Which key the next two are about.
    epoch: u64,
    /// Ticks since the first timestamp under this key.
    age: u32,
    /// IVs with the newest timestamp.
    at_newest: u64,
    newest: u32,
}

impl IvCounter {
    /// A counter that begins at `first_count`, before any timestamp.
    pub(crate) const fn new(first_count: u16, timestamp: u32) -> Self {
        Self { count: first_count as u64, epoch: 0, age: 0, at_newest: 0, newest: timestamp }
    }

    /// The next IV for `source` under the key of `epoch`.
    ///
    /// Refuses timestamps that go back, the 65,536th IV of one timestamp, and a key that has seen 2^32
    /// ticks: each could repeat an IV, which gives away what AES-GCM protects.
    pub(crate) fn next(
        &mut self,
        source: u32,
        timestamp: u32,
        epoch: u64,
    ) -> Result<Iv, SealError> {
        let step = timestamp.wrapping_sub(self.newest);
        if step > u32::MAX / 2 {
            return Err(SealError::TimestampWentBack);
        }
        if epoch == self.epoch {
            self.age = self.age.checked_add(step).ok_or(SealError::KeyWornOut)?;
        } else {
            (self.epoch, self.age) = (epoch, 0);
        }
        self.at_newest = if step == 0 { self.at_newest + 1 } else { 1 };
        if self.at_newest > COUNTS {
            return Err(SealError::KeyWornOut);
        }
        self.newest = timestamp;
        let iv = Iv::new(source, timestamp, self.count);
        self.count += 1;
        Ok(iv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iv_is_source_timestamp_and_count() {
        let mut counter = IvCounter::new(32767, 0x0102_0304);
        let iv = counter.next(0xdead_beef, 0x0102_0304, 1).unwrap();
        assert_eq!(iv.0, [0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 1, 1, 0x83, 5]);
        assert_eq!(iv.words(), (0xdead_beef, 0x0102_0304, 0x0101_8305));
    }

    #[test]
    fn one_timestamp_has_65535_ivs_and_all_differ() {
        let mut counter = IvCounter::new(7, 9);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..0xffff {
            assert!(seen.insert(counter.next(1, 9, 1).unwrap().0));
        }
        assert!(matches!(counter.next(1, 9, 1), Err(SealError::KeyWornOut)));
        assert!(counter.next(1, 10, 1).is_ok());
    }

    #[test]
    fn timestamps_do_not_go_back_but_wrap() {
        let mut counter = IvCounter::new(0, u32::MAX);
        assert!(counter.next(1, u32::MAX, 1).is_ok());
        assert!(counter.next(1, 2, 1).is_ok());
        assert!(matches!(counter.next(1, 1, 1), Err(SealError::TimestampWentBack)));
    }

    #[test]
    fn a_key_is_worn_out_after_all_timestamps_and_another_is_fresh() {
        let mut counter = IvCounter::new(0, 0);
        let quarter = 1 << 30;
        for timestamp in [0, quarter, 2 * quarter, 3 * quarter, u32::MAX] {
            assert!(counter.next(1, timestamp, 1).is_ok());
        }
        assert!(matches!(counter.next(1, 0, 1), Err(SealError::KeyWornOut)));
        assert!(counter.next(1, 0, 2).is_ok());
    }
}
