//! How many messages, and how many bytes of them, a peer may send on its data channels.
//!
//! Guarantees: a peer costs the hub at most a burst and then a rate, however fast its network is; before all is used
//! up it says so, while there is enough for what was sent before the peer feels that nobody reads; of that, nothing
//! goes to what may be lost.

use model::Timestamp;

use crate::limits::{
    DATA_BYTES_BURST, DATA_BYTES_PER_SECOND, DATA_BYTES_RESERVE, DATA_BYTES_SPARE,
    DATA_MESSAGES_BURST, DATA_MESSAGES_PER_SECOND, DATA_MESSAGES_RESERVE, DATA_MESSAGES_SPARE,
};

/// Tokens are counted in millionths, so that a microsecond earns a whole number of them.
const WHOLE: u64 = 1_000_000;

pub(super) struct Allowance {
    messages: u64,
    bytes: u64,
    /// Up to when both are counted.
    filled: Timestamp,
}

impl Allowance {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { messages: DATA_MESSAGES_BURST * WHOLE, bytes: DATA_BYTES_BURST * WHOLE, filled: now }
    }

    /// Whether reliable messages may be read as they come.
    pub(super) fn is_ample(&mut self, now: Timestamp) -> bool {
        self.exceeds(now, DATA_MESSAGES_SPARE, DATA_BYTES_SPARE)
    }

    /// Whether so much is left beside the reserve.
    fn exceeds(&mut self, now: Timestamp, messages: u64, bytes: u64) -> bool {
        self.fill(now);
        self.messages >= (DATA_MESSAGES_RESERVE + messages) * WHOLE
            && self.bytes >= (DATA_BYTES_RESERVE + bytes) * WHOLE
    }

    /// Whether one more message of this many bytes is within the rate. One that is not costs nothing.
    pub(super) fn take(&mut self, now: Timestamp, bytes: usize) -> bool {
        self.fill(now);
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(WHOLE);
        let (Some(messages), Some(bytes)) =
            (self.messages.checked_sub(WHOLE), self.bytes.checked_sub(cost))
        else {
            return false;
        };
        (self.messages, self.bytes) = (messages, bytes);
        true
    }

    /// The same of one that may be lost: there has to be more than the reserve.
    pub(super) fn take_lossy(&mut self, now: Timestamp, bytes: usize) -> bool {
        self.exceeds(now, 0, 0) && self.take(now, bytes)
    }

    fn fill(&mut self, now: Timestamp) {
        let elapsed = now.as_micros().saturating_sub(self.filled.as_micros());
        let fill = |level: u64, rate: u64, burst: u64| {
            level.saturating_add(elapsed.saturating_mul(rate)).min(burst * WHOLE)
        };
        self.messages = fill(self.messages, DATA_MESSAGES_PER_SECOND, DATA_MESSAGES_BURST);
        self.bytes = fill(self.bytes, DATA_BYTES_PER_SECOND, DATA_BYTES_BURST);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(allowance: &mut Allowance, at: u64, bytes: usize) -> u64 {
        let now = Timestamp::from_millis(at);
        (0..10_000).map(|_| u64::from(allowance.take(now, bytes))).sum()
    }

    #[test]
    fn messages_have_a_burst_and_then_a_rate() {
        let mut allowance = Allowance::new(Timestamp::ZERO);
        assert_eq!(taken(&mut allowance, 0, 1), DATA_MESSAGES_BURST);
        assert_eq!(taken(&mut allowance, 1000, 1), DATA_MESSAGES_PER_SECOND);
        assert_eq!(taken(&mut allowance, 3_600_000, 1), DATA_MESSAGES_BURST);
    }

    #[test]
    fn bytes_have_a_burst_and_then_a_rate() {
        const LARGE: u64 = 256 << 10;
        let mut allowance = Allowance::new(Timestamp::ZERO);
        let large = usize::try_from(LARGE).unwrap();
        assert_eq!(taken(&mut allowance, 0, large), DATA_BYTES_BURST / LARGE);
        assert_eq!(taken(&mut allowance, 1000, large), DATA_BYTES_PER_SECOND / LARGE);
    }

    #[test]
    fn reliable_messages_leave_some_to_lossy_ones_and_those_the_reserve_to_them() {
        let (start, mut allowance) = (Timestamp::ZERO, Allowance::new(Timestamp::ZERO));
        let mut messages = 0;
        while allowance.is_ample(start) {
            assert!(allowance.take(start, 1));
            messages += 1;
        }
        let left = DATA_MESSAGES_RESERVE + DATA_MESSAGES_SPARE;
        assert_eq!(messages, DATA_MESSAGES_BURST - left + 1);
        let lossy = (0..1_000).filter(|_| allowance.take_lossy(start, 1)).count();
        assert_eq!(u64::try_from(lossy).unwrap(), DATA_MESSAGES_SPARE);
        assert!(allowance.take(start, 1), "the rest is kept for what may not be lost");
        // The same of bytes.
        let later = Timestamp::from_millis(10_000);
        assert!(allowance.take(later, 30 << 20) && allowance.is_ample(later));
        assert!(allowance.take(later, (1 << 20) + 1) && !allowance.is_ample(later));
        assert!(!allowance.take_lossy(later, 1));
        assert!(allowance.take(later, 1));
    }

    #[test]
    fn a_file_at_the_promised_speed_is_served_on_end() {
        // LiveKit's byte streams: chunks of 15 kB.
        const CHUNK: u64 = 15_000;
        let mut allowance = Allowance::new(Timestamp::ZERO);
        for chunk in 0..20_000 {
            let at = Timestamp::from_micros(chunk * CHUNK * WHOLE / DATA_BYTES_PER_SECOND + 1);
            assert!(allowance.take(at, usize::try_from(CHUNK).unwrap()), "chunk {chunk}");
        }
    }
}
