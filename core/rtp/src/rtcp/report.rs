//! Sender and receiver reports, and the clock they speak of.
//!
//! Source: RFC 3550 §4 (NTP), §6.4.1, §6.4.2, appendix A.3 (the 24-bit loss).

use std::time::Duration;

use model::Timestamp;

use super::take_u32;

/// From 1900, where NTP begins, to 1970: 70 years with 17 leap days.
const UNIX_EPOCH_SECONDS: u64 = (70 * 365 + 17) * 86_400;

/// Seconds since 1900 as 32.32 fixed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The wall time at `now`, given what the wall clock said (since 1970) at [`Timestamp::ZERO`]. Wraps in 2036.
    #[must_use]
    pub fn at(now: Timestamp, unix_at_zero: Duration) -> Self {
        Self(UNIX_EPOCH_SECONDS << 32).plus(unix_at_zero).plus(now.since(Timestamp::ZERO))
    }

    /// `self` that much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add(time.as_secs() << 32).wrapping_add(fraction))
    }

    /// The middle 32 bits: units of 1/65536 s, wrapping every 18 hours. What reports quote.
    #[must_use]
    pub const fn middle(self) -> u32 {
        (self.0 >> 16 & 0xffff_ffff) as u32
    }
}

/// A duration in RTCP's units of 1/65536 s, the largest such value if longer.
pub(crate) fn to_short_units(time: Duration) -> u32 {
    u32::try_from((time.as_micros() << 16) / 1_000_000).unwrap_or(u32::MAX)
}

fn from_short_units(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

/// What a sender says about one stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// The stream.
    pub ssrc: u32,
    /// When, on the sender's wall clock.
    pub ntp: NtpTime,
    /// The same instant on the stream's media clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far; wraps.
    pub packets: u32,
    /// Payload bytes sent so far, headers and padding not counted; wraps.
    pub octets: u32,
}

impl SenderReport {
    /// Without the report blocks.
    pub(super) const LEN: usize = 24;

    pub(super) fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (ssrc, rest) = take_u32(body)?;
        let (ntp, rest) = rest.split_first_chunk()?;
        let (rtp_timestamp, rest) = take_u32(rest)?;
        let (packets, rest) = take_u32(rest)?;
        let (octets, rest) = take_u32(rest)?;
        let ntp = NtpTime(u64::from_be_bytes(*ntp));
        Some((Self { ssrc, ntp, rtp_timestamp, packets, octets }, rest))
    }
}

/// The range of 24 bits signed.
const LOST_MAX: i32 = 0x7f_ffff;
const LOST_MIN: i32 = -0x80_0000;

/// What a receiver says about one stream that it receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the previous report, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits signed on the wire (duplicates can make it negative), clamped when written.
    pub cumulative_lost: i32,
    /// Cycles and sequence number of the highest received.
    pub extended_highest: u32,
    /// In units of the media clock.
    pub jitter: u32,
    /// [`NtpTime::middle`] of the last sender report; 0 before the first.
    pub last_sender_report: u32,
    /// How long ago that arrived, in 1/65536 s.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    /// Bytes on the wire.
    pub const LEN: usize = 24;

    /// As on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let [
            s0,
            s1,
            s2,
            s3,
            fraction_lost,
            l0,
            l1,
            l2,
            h0,
            h1,
            h2,
            h3,
            j0,
            j1,
            j2,
            j3,
            r0,
            r1,
            r2,
            r3,
            d0,
            d1,
            d2,
            d3,
        ] = *bytes;
        Self {
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            fraction_lost,
            // Shifted down as a signed number, so that bit 23 fills the top.
            cumulative_lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
            extended_highest: u32::from_be_bytes([h0, h1, h2, h3]),
            jitter: u32::from_be_bytes([j0, j1, j2, j3]),
            last_sender_report: u32::from_be_bytes([r0, r1, r2, r3]),
            delay_since_last_sender_report: u32::from_be_bytes([d0, d1, d2, d3]),
        }
    }

    /// As on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [s0, s1, s2, s3] = self.ssrc.to_be_bytes();
        let [_, l0, l1, l2] = self.cumulative_lost.clamp(LOST_MIN, LOST_MAX).to_be_bytes();
        let [h0, h1, h2, h3] = self.extended_highest.to_be_bytes();
        let [j0, j1, j2, j3] = self.jitter.to_be_bytes();
        let [r0, r1, r2, r3] = self.last_sender_report.to_be_bytes();
        let [d0, d1, d2, d3] = self.delay_since_last_sender_report.to_be_bytes();
        [
            s0,
            s1,
            s2,
            s3,
            self.fraction_lost,
            l0,
            l1,
            l2,
            h0,
            h1,
            h2,
            h3,
            j0,
            j1,
            j2,
            j3,
            r0,
            r1,
            r2,
            r3,
            d0,
            d1,
            d2,
            d3,
        ]
    }

    /// How long the peer had held the sender report that it answers: the round trip is what is left of the time since
    /// that was sent.
    #[must_use]
    pub fn held(&self) -> Duration {
        from_short_units(self.delay_since_last_sender_report)
    }
}

/// The blocks of one report, at most 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [[u8; ReportBlock::LEN]]);

impl<'a> ReportBlocks<'a> {
    /// `None` when there are fewer bytes than `count` blocks need. What follows them is a profile's extension: ignored.
    pub(super) fn parse(count: u8, rest: &'a [u8]) -> Option<Self> {
        rest.as_chunks().0.get(..usize::from(count)).map(Self)
    }

    /// In the packet's order.
    pub fn iter(self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        self.0.iter().map(ReportBlock::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ntp_epoch_lies_2208988800_seconds_before_unix() {
        assert_eq!(UNIX_EPOCH_SECONDS, 2_208_988_800);
        let time = NtpTime::at(Timestamp::from_millis(500), Duration::from_secs(1));
        assert_eq!(time.0, (2_208_988_801 << 32) + (1 << 31));
        assert_eq!(NtpTime(0x1122_3344_5566_7788).middle(), 0x3344_5566);
    }

    #[test]
    fn the_delay_is_that_of_rfc_3550_figure_2() {
        let block =
            ReportBlock { delay_since_last_sender_report: 0x0005_4000, ..ReportBlock::default() };
        assert_eq!(block.held(), Duration::from_millis(5_250));
    }

    #[test]
    fn loss_is_24_bits_signed_and_clamped() {
        let check = |lost: i32, read: i32| {
            let block = ReportBlock { cumulative_lost: lost, ..ReportBlock::default() };
            assert_eq!(ReportBlock::from_bytes(&block.to_bytes()).cumulative_lost, read);
        };
        check(-1, -1);
        check(LOST_MIN, LOST_MIN);
        check(LOST_MAX, LOST_MAX);
        check(i32::MAX, LOST_MAX);
        check(i32::MIN, LOST_MIN);
    }

    proptest! {
        #[test]
        fn any_block_reads_back(bytes: [u8; ReportBlock::LEN]) {
            prop_assert_eq!(ReportBlock::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
