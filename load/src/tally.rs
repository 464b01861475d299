//! What one client, or all of them, sent and received.

use std::time::Duration;

use model::Timestamp;

/// Sums over a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Of what was received, what came in the stream that got least.
    pub(crate) least: Option<u64>,
    pub(crate) missing: u64,
    /// The longest time in which nothing came of a stream.
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
        self.least = self.least.into_iter().chain(other.least).min();
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
    /// Which of the last numbers came: the lowest bit is the highest one's.
    came: u64,
    expected: u64,
    received: u64,
    /// When the last packet came, or before there is one, when it was begun to be waited for.
    heard: Option<Timestamp>,
    silence_max: Duration,
    /// Nothing more is sent: silence is none.
    is_over: bool,
}

impl Sequence {
    /// What is counted from `now` on: a stream that does not begin is silent.
    pub(crate) fn since(now: Timestamp) -> Self {
        Self { heard: Some(now), ..Self::default() }
    }

    /// Its sender ceases. A stream that had ceased before was silent until now.
    pub(crate) fn end(&mut self, now: Timestamp) {
        self.hear(now);
        self.is_over = true;
    }

    fn hear(&mut self, now: Timestamp) {
        if !self.is_over {
            let heard = self.heard.replace(now).unwrap_or(now);
            self.silence_max = self.silence_max.max(now.since(heard));
        }
    }

    pub(crate) fn note(&mut self, now: Timestamp, number: u16) {
        let Some(highest) = self.highest else {
            (self.highest, self.came, self.expected, self.received) = (Some(number), 1, 1, 1);
            return self.hear(now);
        };
        let (ahead, behind) = (number.wrapping_sub(highest), highest.wrapping_sub(number));
        if ahead == 0 {
            return;
        }
        if ahead < 0x8000 {
            self.highest = Some(number);
            self.came = self.came.checked_shl(ahead.into()).unwrap_or(0) | 1;
            self.expected += u64::from(ahead);
        } else {
            let bit = 1_u64.checked_shl(behind.into()).unwrap_or(0);
            // What came before, or was sent before the measurement, replaces nothing that is missing.
            if bit == 0 || self.came & bit != 0 || u64::from(behind) >= self.expected {
                return;
            }
            self.came |= bit;
        }
        self.received += 1;
        self.hear(now);
    }

    /// The number that is ahead of all others.
    pub(crate) const fn highest(&self) -> Option<u16> {
        self.highest
    }

    pub(crate) fn tally(&self) -> Tally {
        let missing = self.expected.saturating_sub(self.received);
        Tally {
            received: self.received,
            least: Some(self.received),
            missing,
            silence_max: self.silence_max,
            ..Tally::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(packets: &[(u64, u16)], end: u64) -> Tally {
        let mut sequence = Sequence::since(Timestamp::ZERO);
        for (at, number) in packets {
            sequence.note(Timestamp::from_millis(*at), *number);
        }
        sequence.end(Timestamp::from_millis(end));
        sequence.tally()
    }

    fn tally(received: u64, missing: u64, silence_ms: u64) -> Tally {
        let silence_max = Duration::from_millis(silence_ms);
        Tally { received, least: Some(received), missing, silence_max, ..Tally::default() }
    }

    #[test]
    fn gaps_are_missing_and_late_packets_fill_them() {
        let packets = [(0, 65_533), (20, 65_534), (90, 1), (100, 3), (110, 2)];
        // 65535 and 0 never came.
        assert_eq!(counted(&packets, 110), tally(5, 2, 70));
    }

    #[test]
    fn a_packet_that_comes_again_or_was_sent_before_fills_no_gap() {
        let packets = [(0, 10), (1, 12), (2, 12), (3, 10), (4, 9), (5, 100), (6, 12)];
        assert_eq!(counted(&packets, 6), tally(3, 88, 4));
    }

    #[test]
    fn a_stream_that_stops_or_does_not_begin_is_a_silence() {
        assert_eq!(counted(&[(20, 1), (40, 2)], 500), tally(2, 0, 460));
        assert_eq!(counted(&[(300, 1)], 310), tally(1, 0, 300));
        assert_eq!(counted(&[], 8_000), tally(0, 0, 8_000));
    }

    #[test]
    fn what_comes_when_nothing_is_sent_any_more_is_no_silence() {
        let mut sequence = Sequence::since(Timestamp::ZERO);
        sequence.note(Timestamp::from_millis(10), 1);
        sequence.end(Timestamp::from_millis(20));
        sequence.note(Timestamp::from_millis(400), 2);
        assert_eq!(sequence.tally(), tally(2, 0, 10));
    }

    #[test]
    fn the_stream_that_got_least_counts() {
        let mut all = Tally::default();
        for received in [400, 0, 400] {
            all.add(&tally(received, 0, 0));
        }
        assert_eq!((all.received, all.least), (800, Some(0)));
    }
}
