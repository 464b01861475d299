//! What one client, or all of them, sent and received.

/// Sums over a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.missing += other.missing;
    }
}

/// One stream's sequence numbers since the measurement began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    highest: Option<u16>,
    expected: u64,
    received: u64,
}

impl Sequence {
    pub(crate) const fn note(&mut self, number: u16) {
        self.received += 1;
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.expected = 1;
            return;
        };
        let ahead = number.wrapping_sub(highest);
        // Behind the highest it is late or a duplicate, and was expected before.
        if ahead < 0x8000 {
            self.highest = Some(number);
            self.expected += ahead as u64;
        }
    }

    /// The number that is ahead of all others.
    pub(crate) const fn highest(&self) -> Option<u16> {
        self.highest
    }

    pub(crate) const fn tally(&self) -> Tally {
        let missing = self.expected.saturating_sub(self.received);
        Tally { sent: 0, received: self.received, missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_missing_and_late_packets_fill_them() {
        let mut sequence = Sequence::default();
        for number in [65_533, 65_534, 1, 3, 2] {
            sequence.note(number);
        }
        // 65535 and 0 never came.
        assert_eq!(sequence.tally(), Tally { sent: 0, received: 5, missing: 2 });
    }
}
