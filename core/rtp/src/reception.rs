//! What we received of one stream and say about it, and what we say about the time of those we send.
//!
//! Owns: the counters behind a [`ReportBlock`]; the line on which a media clock and a wall clock meet.
//! Guarantees: fixed size; sixty-four bit counters, so that nothing wraps within a session.
//! Not here: which packets to ask for again (`nack`), when to send reports (`sfu`).
//! Source: RFC 3550 §6.4.1, appendices A.3 and A.8.

use std::time::Duration;

use model::Timestamp;

use crate::rtcp::{NtpTime, ReportBlock, SenderReport, to_short_units};

/// The reception state of one SSRC.
#[derive(Clone, Debug)]
pub struct Reception {
    ssrc: u32,
    clock_rate: u32,
    /// Index of the first packet; nothing before it counts as expected.
    first: Option<u64>,
    highest: u64,
    received: u64,
    /// Expected and received at the previous report.
    reported: (u64, u64),
    /// Arrival minus RTP timestamp of the last packet, in clock units; wraps.
    transit: Option<u32>,
    /// Sixteen times the jitter in clock units, as in A.8.
    jitter_times_16: u32,
    /// The last sender report: the middle of its NTP time and when it came.
    sender_report: Option<(u32, Timestamp)>,
}

impl Reception {
    /// Nothing received yet. `clock_rate` in Hz: 90000 for video, 48000 for Opus.
    #[must_use]
    pub const fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            first: None,
            highest: 0,
            received: 0,
            reported: (0, 0),
            transit: None,
            jitter_times_16: 0,
            sender_report: None,
        }
    }

    /// Counts a packet that was authentic and new: `index` is what SRTP returned with it.
    #[inline]
    pub fn packet(&mut self, index: u64, rtp_timestamp: u32, now: Timestamp) {
        self.first = Some(self.first.map_or(index, |first| first.min(index)));
        self.highest = self.highest.max(index);
        self.received += 1;
        let transit = clock_units(now, self.clock_rate).wrapping_sub(rtp_timestamp);
        if let Some(previous) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(previous).cast_signed().unsigned_abs();
            // A jump of the media clock is no jitter: what is over a second is left out.
            if difference <= self.clock_rate {
                let decay = self.jitter_times_16.saturating_add(8) >> 4;
                self.jitter_times_16 =
                    self.jitter_times_16.saturating_add(difference).saturating_sub(decay);
            }
        }
    }

    /// Notes a sender report of this stream.
    pub const fn sender_report(&mut self, report: &SenderReport, now: Timestamp) {
        self.sender_report = Some((report.ntp.middle(), now));
    }

    /// Packets that were lost, and expected, since the last report.
    #[must_use]
    pub fn since_report(&self) -> (u32, u32) {
        let (expected_before, received_before) = self.reported;
        let expected = self.expected().unwrap_or(0).saturating_sub(expected_before);
        let lost = expected.saturating_sub(self.received - received_before);
        let [lost, expected] =
            [lost, expected].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        (lost, expected)
    }

    /// What to say now; begins the next interval of `fraction_lost`. `None` before the first packet.
    pub fn report(&mut self, now: Timestamp) -> Option<ReportBlock> {
        let expected = self.expected()?;
        let (lost, expected_since) = self.since_report();
        self.reported = (expected, self.received);
        let fraction = (u64::from(lost) * 256).checked_div(u64::from(expected_since)).unwrap_or(0);
        let (last_sender_report, delay) = self
            .sender_report
            .map_or((0, 0), |(middle, at)| (middle, to_short_units(now.since(at))));
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(self.lost()).unwrap_or(i32::MAX),
            extended_highest: (self.highest & 0xffff_ffff) as u32,
            jitter: self.jitter_times_16 >> 4,
            last_sender_report,
            delay_since_last_sender_report: delay,
        })
    }

    /// Packets that arrived.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Packets missing between the first and the highest.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected().unwrap_or(0).saturating_sub(self.received)
    }

    /// The jitter of A.8.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        let units = u64::from(self.jitter_times_16 >> 4);
        Duration::from_micros((units * 1_000_000).checked_div(self.clock_rate.into()).unwrap_or(0))
    }

    fn expected(&self) -> Option<u64> {
        self.first.map(|first| self.highest - first + 1)
    }
}

/// One instant on a stream's media clock and on a wall clock, from which both go on at their rates.
///
/// Take the publisher's own sender report as that instant and every subscriber hears and sees its tracks in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTime {
    /// When, on a wall clock: the publisher's, or ours by [`NtpTime::at`].
    pub ntp: NtpTime,
    /// The same instant on the media clock.
    pub rtp_timestamp: u32,
    /// When we learned it.
    pub at: Timestamp,
    /// In Hz.
    pub clock_rate: u32,
}

impl MediaTime {
    /// Where both clocks are at `now`, not before [`Self::at`].
    #[must_use]
    pub fn at(&self, now: Timestamp) -> (NtpTime, u32) {
        let elapsed = now.since(self.at);
        let units = clock_units(Timestamp::ZERO + elapsed, self.clock_rate);
        (self.ntp.plus(elapsed), self.rtp_timestamp.wrapping_add(units))
    }
}

/// `time` in units of a clock of `rate` Hz, the low 32 bits.
#[inline]
fn clock_units(time: Timestamp, rate: u32) -> u32 {
    let (seconds, micros) = (time.as_micros() / 1_000_000, time.as_micros() % 1_000_000);
    let units =
        seconds.wrapping_mul(rate.into()).wrapping_add(micros * u64::from(rate) / 1_000_000);
    (units & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: u32 = 90_000;

    fn ms(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A steady stream of 20 ms packets with these indices.
    fn received(indices: impl IntoIterator<Item = u64>) -> Reception {
        let mut reception = Reception::new(5, VIDEO);
        for index in indices {
            let timestamp = u32::try_from((index * 1800) & 0xffff_ffff).unwrap();
            reception.packet(index, timestamp, ms(index * 20));
        }
        reception
    }

    #[test]
    fn nothing_received_says_nothing() {
        assert_eq!(Reception::new(5, VIDEO).report(ms(1)), None);
    }

    #[test]
    fn a_steady_stream_reports_no_loss_and_no_jitter() {
        let block = received(65_530..65_540).report(ms(1)).unwrap();
        let expected = ReportBlock { ssrc: 5, extended_highest: 65_539, ..ReportBlock::default() };
        assert_eq!(block, expected);
    }

    #[test]
    fn loss_is_counted_since_the_beginning_and_since_the_report() {
        let mut reception = received([100, 101, 103, 107]);
        let block = reception.report(ms(1)).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (4, 128));
        reception.packet(108, 0, ms(1));
        reception.packet(109, 0, ms(1));
        let block = reception.report(ms(1)).unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (4, 0));
        assert_eq!(reception.report(ms(1)).unwrap().fraction_lost, 0);
        reception.packet(102, 0, ms(1));
        assert_eq!((reception.lost(), reception.received()), (3, 7));
        assert_eq!(reception.report(ms(1)).unwrap().fraction_lost, 0);
    }

    #[test]
    fn a_packet_before_the_first_is_expected_too() {
        let mut reception = received([100, 102, 99]);
        assert_eq!(reception.report(ms(1)).unwrap().cumulative_lost, 1);
    }

    #[test]
    fn jitter_follows_the_formula_of_a_8() {
        let mut reception = Reception::new(5, VIDEO);
        let mut expected = 0f64;
        let mut previous: Option<f64> = None;
        for index in 0..200u32 {
            let late = u64::from(index * 7919 % 30);
            reception.packet(index.into(), index * 1800, ms(u64::from(index) * 20 + late));
            let transit = f64::from(u32::try_from(late).unwrap()) * 90.0;
            if let Some(previous) = previous {
                expected += ((transit - previous).abs() - expected) / 16.0;
            }
            previous = Some(transit);
        }
        let jitter = f64::from(reception.report(ms(1)).unwrap().jitter);
        assert!((jitter - expected).abs() < 2.0, "{jitter} {expected}");
        assert!(expected > 100.0);
    }

    #[test]
    fn a_jump_of_the_media_clock_is_no_jitter() {
        let mut reception = received(0..10);
        reception.packet(10, 0x8000_0000, ms(200));
        assert_eq!(reception.jitter(), Duration::ZERO);
    }

    #[test]
    fn a_report_quotes_the_last_sender_report_and_its_age() {
        let mut reception = received(0..2);
        let report = SenderReport {
            ssrc: 5,
            ntp: NtpTime(0x1122_3344_5566_7788),
            rtp_timestamp: 0,
            packets: 0,
            octets: 0,
        };
        reception.sender_report(&report, ms(1000));
        let block = reception.report(ms(2500)).unwrap();
        assert_eq!(block.last_sender_report, 0x3344_5566);
        assert_eq!(block.delay_since_last_sender_report, 0x1_8000);
    }

    #[test]
    fn both_clocks_go_on_at_their_rates() {
        let start = MediaTime {
            ntp: NtpTime(7 << 32),
            rtp_timestamp: u32::MAX,
            at: ms(1000),
            clock_rate: VIDEO,
        };
        assert_eq!(start.at(ms(1500)), (NtpTime((7 << 32) + (1 << 31)), 44_999));
        assert_eq!(start.at(ms(900)), (start.ntp, start.rtp_timestamp));
    }

    #[test]
    fn a_media_clock_wraps_and_does_not_overflow() {
        let day = 86_400_000;
        assert_eq!(u64::from(clock_units(ms(day), VIDEO)), (day * 90) & 0xffff_ffff);
        let _ = clock_units(Timestamp::MAX, u32::MAX);
    }
}
