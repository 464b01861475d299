//! A rate over the last half second.

/// µs of one bucket.
const BUCKET: i64 = 25_000;
/// Complete buckets that count.
const BUCKETS: usize = 20;
/// The complete ones and the one being filled.
const SLOTS: usize = BUCKETS + 1;
/// The same, as buckets are numbered.
const SPAN: i64 = 21;
/// A clock that steps back by more than this many buckets (10 s) began anew.
const STEP_BACK_MAX: i64 = 400;

/// Bytes by the time they belong to.
#[derive(Clone, Debug, Default)]
pub(super) struct Throughput {
    bytes: [u32; SLOTS],
    /// The bucket being filled.
    newest: i64,
    /// Buckets that are complete; `None` before the first packet.
    complete: Option<usize>,
}

impl Throughput {
    /// Counts `bytes` at `time` in µs. Times may be a little out of order.
    pub(super) fn add(&mut self, time: i64, bytes: u16) {
        let bucket = time.div_euclid(BUCKET);
        let ahead = bucket.saturating_sub(self.newest);
        match self.complete {
            Some(complete) if ahead > -STEP_BACK_MAX => {
                let skipped = ahead.clamp(0, SPAN);
                for distance in 0..skipped {
                    self.clear(bucket - distance);
                }
                let skipped = usize::try_from(skipped).unwrap_or(SLOTS);
                self.complete = Some((complete + skipped).min(BUCKETS));
                self.newest = self.newest.max(bucket);
            }
            Some(_) | None => {
                *self = Self { bytes: [0; SLOTS], newest: bucket, complete: Some(0) };
            }
        }
        if self.newest - bucket < SPAN
            && let Some(slot) = self.slot(bucket)
        {
            *slot = slot.saturating_add(u32::from(bytes));
        }
    }

    /// Bits per second; `None` before the first complete bucket.
    pub(super) fn rate(&self) -> Option<f64> {
        let complete = self.complete.filter(|complete| *complete > 0)?;
        let filling = self.bytes.get(index(self.newest)).copied().unwrap_or(0);
        let total: u64 = self.bytes.iter().copied().map(u64::from).sum();
        let bits = total.saturating_sub(u64::from(filling)) * 8;
        Some(bits as f64 * 1e6 / (complete as f64 * BUCKET as f64))
    }

    fn clear(&mut self, bucket: i64) {
        if let Some(slot) = self.slot(bucket) {
            *slot = 0;
        }
    }

    fn slot(&mut self, bucket: i64) -> Option<&mut u32> {
        self.bytes.get_mut(index(bucket))
    }
}

fn index(bucket: i64) -> usize {
    usize::try_from(bucket.rem_euclid(SPAN)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_flow_has_its_rate() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.rate(), None);
        for millis in 0..2000 {
            throughput.add(millis * 1000 - 700_000, 125);
        }
        assert_eq!(throughput.rate(), Some(1e6));
    }

    #[test]
    fn silence_is_counted() {
        let mut throughput = Throughput::default();
        throughput.add(0, 12_500);
        throughput.add(250_000, 1);
        assert_eq!(throughput.rate(), Some(400e3));
        throughput.add(1_000_000, 1);
        assert_eq!(throughput.rate(), Some(0.0));
    }

    #[test]
    fn late_packets_count_and_ancient_ones_do_not() {
        let mut throughput = Throughput::default();
        throughput.add(0, 1250);
        throughput.add(500_000, 1);
        throughput.add(100_000, 1250);
        throughput.add(-100_000, 1250);
        assert_eq!(throughput.rate(), Some(40e3));
    }

    #[test]
    fn a_clock_that_begins_anew_is_followed() {
        let mut throughput = Throughput::default();
        throughput.add(1 << 40, 1250);
        throughput.add(0, 1250);
        assert_eq!(throughput.rate(), None);
        throughput.add(25_000, 1);
        assert_eq!(throughput.rate(), Some(400e3));
    }
}
