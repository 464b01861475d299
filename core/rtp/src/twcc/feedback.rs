//! A received feedback, read in place.

use super::{HEADER_LEN, ONE_BIT_SYMBOLS, REFERENCE_TICKS, TICK, TWO_BIT_SYMBOLS};
use crate::limits::FEEDBACK_STATUS_MAX;

/// The feedback control information of a transport-wide feedback, checked for its outer shape.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    base_seq: u16,
    status_count: u16,
    /// Units of 64 ms of the receiver's clock, 24 bits.
    reference: u32,
    feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> Feedback<'a> {
    /// Reads what follows the two SSRCs of an RTCP packet of type 205, format 15.
    ///
    /// `None` when it is shorter than its header and chunks claim, or spans more than [`FEEDBACK_STATUS_MAX`] packets.
    /// Arrival times that are cut off are found while iterating, which then ends early.
    #[must_use]
    pub fn parse(fci: &'a [u8]) -> Option<Self> {
        let (header, rest) = fci.split_first_chunk::<HEADER_LEN>()?;
        let [base_high, base_low, count_high, count_low, time_0, time_1, time_2, feedback_count] =
            *header;
        let status_count = u16::from_be_bytes([count_high, count_low]);
        if status_count > FEEDBACK_STATUS_MAX {
            return None;
        }
        let mut covered = 0;
        let mut chunks_len = 0;
        while covered < usize::from(status_count) {
            let chunk = rest.get(chunks_len..)?.first_chunk::<2>()?;
            covered += Chunk::parse(*chunk).len();
            chunks_len += chunk.len();
        }
        let (chunks, deltas) = rest.split_at_checked(chunks_len)?;
        Some(Self {
            base_seq: u16::from_be_bytes([base_high, base_low]),
            status_count,
            reference: u32::from_be_bytes([0, time_0, time_1, time_2]),
            feedback_count,
            chunks,
            deltas,
        })
    }

    /// The first sequence number reported on.
    #[must_use]
    pub const fn base_seq(&self) -> u16 {
        self.base_seq
    }

    /// How many sequence numbers are reported on.
    #[must_use]
    pub const fn status_count(&self) -> u16 {
        self.status_count
    }

    /// Counts up with each feedback; a gap is a lost feedback.
    #[must_use]
    pub const fn feedback_count(&self) -> u8 {
        self.feedback_count
    }

    /// The sequence numbers in order, each with its arrival in µs of the receiver's clock, `None` if it did not arrive.
    ///
    /// That clock has its own origin and begins anew every 12 days: only differences mean anything.
    #[must_use]
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            seq: self.base_seq,
            left: self.status_count,
            ticks: i64::from(self.reference) * REFERENCE_TICKS.cast_signed(),
            chunk: Chunk::Run { symbol: 0, len: 0 },
            chunk_at: 0,
            chunks: self.chunks,
            deltas: self.deltas,
        }
    }
}

/// Iterator of [`Feedback::statuses`].
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    seq: u16,
    left: u16,
    ticks: i64,
    chunk: Chunk,
    chunk_at: usize,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl Statuses<'_> {
    fn symbol(&mut self) -> Option<u8> {
        if self.chunk_at == self.chunk.len() {
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            self.chunk = Chunk::parse(*chunk);
            self.chunks = rest;
            self.chunk_at = 0;
            // A run of nothing would never end.
            if self.chunk.len() == 0 {
                return None;
            }
        }
        let symbol = self.chunk.symbol(self.chunk_at);
        self.chunk_at += 1;
        Some(symbol)
    }

    fn delta(&mut self, symbol: u8) -> Option<i64> {
        if symbol == 1 {
            let (delta, rest) = self.deltas.split_first()?;
            self.deltas = rest;
            return Some(i64::from(*delta));
        }
        let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
        self.deltas = rest;
        Some(i64::from(i16::from_be_bytes(*delta)))
    }
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let symbol = self.symbol()?;
        // 3 is reserved; libwebrtc too takes it for a loss.
        if symbol == 0 || symbol == 3 {
            return Some((seq, None));
        }
        self.ticks += self.delta(symbol)?;
        Some((seq, Some(self.ticks * TICK.cast_signed())))
    }
}

/// 16 bits that tell the status of several packets. §3.1.3, §3.1.4
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Run { symbol: u8, len: u16 },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    const fn parse(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        if bits & 0x8000 == 0 {
            Self::Run { symbol: (bytes[0] >> 5) & 3, len: bits & 0x1fff }
        } else if bits & 0x4000 == 0 {
            Self::OneBit(bits)
        } else {
            Self::TwoBit(bits)
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Run { len, .. } => len as usize,
            Self::OneBit(_) => ONE_BIT_SYMBOLS,
            Self::TwoBit(_) => TWO_BIT_SYMBOLS,
        }
    }

    /// The status at `index`, which is below [`Self::len`].
    fn symbol(self, index: usize) -> u8 {
        let bits = match self {
            Self::Run { symbol, .. } => return symbol,
            Self::OneBit(bits) => bits >> (ONE_BIT_SYMBOLS - 1 - index) & 1,
            Self::TwoBit(bits) => bits >> (2 * (TWO_BIT_SYMBOLS - 1 - index)) & 3,
        };
        let [_, symbol] = bits.to_be_bytes();
        symbol
    }
}
