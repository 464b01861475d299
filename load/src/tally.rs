//! What one client, or all of them, sent and received.

use std::time::Duration;

use model::Timestamp;

/// Sums over a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
    /// The longest time from one packet of a stream to its next.
    pub(crate) silence_max: Duration,
    /// What abusive subscribers sent, and all RTP that they got; packets of it that were sent again, or padding.
    pub(crate) asked_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) resent: u64,
    /// Requests for a key frame that reached a publisher.
    pub(crate) keyframes_asked: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.missing += other.missing;
        self.silence_max = self.silence_max.max(other.silence_max);
        self.asked_bytes += other.asked_bytes;
        self.received_bytes += other.received_bytes;
        self.resent += other.resent;
        self.keyframes_asked += other.keyframes_asked;
    }
}

/// One stream's sequence numbers since the measurement began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    highest: Option<u16>,
    expected: u64,
    received: u64,
    /// When the last packet came.
    heard: Option<Timestamp>,
    silence_max: Duration,
}

impl Sequence {
    pub(crate) fn note(&mut self, now: Timestamp, number: u16) {
        self.received += 1;
        let heard = self.heard.replace(now).unwrap_or(now);
        self.silence_max = self.silence_max.max(now.since(heard));
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.expected = 1;
            return;
        };
        let ahead = number.wrapping_sub(highest);
        // Behind the highest it is late or a duplicate, and was expected before.
        if ahead < 0x8000 {
            self.highest = Some(number);
            self.expected += u64::from(ahead);
        }
    }

    /// The number that is ahead of all others.
    pub(crate) const fn highest(&self) -> Option<u16> {
        self.highest
    }

    pub(crate) fn tally(&self) -> Tally {
        let missing = self.expected.saturating_sub(self.received);
        Tally {
            received: self.received,
            missing,
            silence_max: self.silence_max,
            ..Tally::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_missing_and_late_packets_fill_them() {
        let mut sequence = Sequence::default();
        for (at, number) in [(0, 65_533), (20, 65_534), (90, 1), (100, 3), (110, 2)] {
            sequence.note(Timestamp::from_millis(at), number);
        }
        // 65535 and 0 never came.
        let silence_max = Duration::from_millis(70);
        assert_eq!(
            sequence.tally(),
            Tally { received: 5, missing: 2, silence_max, ..Tally::default() }
        );
    }
}
