//! The receiver's side: what arrived and was not reported yet.

use std::time::Duration;

use model::Timestamp;

use super::{ONE_BIT_SYMBOLS, REFERENCE_TICKS, TICK, TWO_BIT_SYMBOLS};
use crate::limits::{ARRIVALS_MAX, FEEDBACK_LEN_MAX, FEEDBACK_SPAN_MAX};

/// Between feedbacks. libwebrtc sends every 50 to 250 ms by rate; a short interval makes publishers adapt sooner.
const INTERVAL: Duration = Duration::from_millis(50);
/// This many new packets are reported without waiting.
const PACKETS_EAGER: u32 = 128;
/// A packet that arrives after it was reported missing is reported again if it is among this many last ones.
const REPORT_AGAIN: u64 = 128;

/// An arrival slot that holds nothing.
const VACANT: u64 = u64::MAX;

/// Collects arrivals of one peer's packets and writes feedback about them.
#[derive(Clone, Debug)]
pub struct FeedbackRecorder {
    /// Ticks of 250 µs by sequence number modulo the length; valid for the last `ARRIVALS_MAX` before `end`.
    arrivals: Box<[u64]>,
    /// The next sequence number to report, extended beyond 16 bits.
    begin: u64,
    /// One past the newest that arrived, extended. 0 before the first.
    end: u64,
    /// Arrived and not reported.
    pending: u32,
    /// When the next feedback is due, if anything is pending.
    due: Timestamp,
    count: u8,
}

impl Default for FeedbackRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl FeedbackRecorder {
    /// Nothing arrived yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            arrivals: vec![VACANT; ARRIVALS_MAX].into_boxed_slice(),
            begin: 0,
            end: 0,
            pending: 0,
            due: Timestamp::ZERO,
            count: 0,
        }
    }

    /// Notes that the packet with transport-wide number `seq` arrived. Duplicates and very late packets change nothing.
    pub fn received(&mut self, seq: u16, arrival: Timestamp) {
        let seq = self.extend(seq);
        if seq >= self.end {
            let skipped = (seq - self.end).min(ARRIVALS_MAX as u64);
            for missing in seq - skipped..=seq {
                self.set(missing, VACANT);
            }
            self.end = seq + 1;
            self.begin = self.begin.max(self.end.saturating_sub(ARRIVALS_MAX as u64));
        } else if seq < self.begin {
            if self.end - seq > REPORT_AGAIN || self.arrival(seq).is_some() {
                return;
            }
            self.begin = seq;
        } else if self.arrival(seq).is_some() {
            return;
        }
        self.set(seq, arrival.as_micros() / TICK);
        if self.pending == 0 && self.due <= arrival {
            self.due = arrival + INTERVAL;
        }
        self.pending += 1;
    }

    /// When [`Self::poll`] will have a feedback; `None` while there is nothing to report.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Timestamp> {
        if self.pending == 0 { None } else { Some(self.due) }
    }

    /// Writes the feedback control information that is due and returns its length, a multiple of 4.
    ///
    /// Call until `None`: after a burst there may be several. `None` too if `out` is shorter than [`FEEDBACK_LEN_MAX`].
    pub fn poll(&mut self, now: Timestamp, out: &mut [u8]) -> Option<usize> {
        if self.pending == 0 || (now < self.due && self.pending < PACKETS_EAGER) {
            return None;
        }
        let out = out.first_chunk_mut::<FEEDBACK_LEN_MAX>()?;
        let first = (self.begin..self.end).find_map(|seq| self.arrival(seq))?;
        let reference = first / REFERENCE_TICKS;
        let mut symbols = [0; FEEDBACK_SPAN_MAX];
        let mut writer = Writer { out, at: 0 };
        let span = self.span(reference * REFERENCE_TICKS, &mut symbols);
        let symbols = symbols.get(..span)?;
        writer.put(&low_u16(self.begin).to_be_bytes());
        writer.put(&low_u16(span as u64).to_be_bytes());
        let [.., time_0, time_1, time_2] = reference.to_be_bytes();
        writer.put(&[time_0, time_1, time_2, self.count]);
        write_chunks(symbols, &mut writer);
        self.write_deltas(reference * REFERENCE_TICKS, symbols, &mut writer);
        while !writer.at.is_multiple_of(4) {
            writer.put(&[0]);
        }
        self.begin += span as u64;
        self.count = self.count.wrapping_add(1);
        let left = (self.begin..self.end).filter(|seq| self.arrival(*seq).is_some()).count();
        self.pending = u32::try_from(left).unwrap_or(u32::MAX);
        // What a full feedback left over is due at once.
        if self.pending == 0 {
            self.due = now + INTERVAL;
        }
        Some(writer.at)
    }

    /// Fills `symbols` with the status of each packet from `begin` on, up to the last that arrived; returns how many.
    fn span(&self, reference: u64, symbols: &mut [u8; FEEDBACK_SPAN_MAX]) -> usize {
        let mut previous = reference;
        let mut len = 0;
        for (index, (seq, symbol)) in (self.begin..self.end).zip(symbols).enumerate() {
            let Some(arrival) = self.arrival(seq) else { continue };
            match delta(previous, arrival) {
                Some(0..=255) => *symbol = 1,
                Some(_) => *symbol = 2,
                // Too far from the one before: the next feedback begins here.
                None => break,
            }
            previous = arrival;
            len = index + 1;
        }
        // Nothing but losses within the span: report them, the rest follows.
        if len == 0 {
            FEEDBACK_SPAN_MAX.min(usize::try_from(self.end - self.begin).unwrap_or(0))
        } else {
            len
        }
    }

    fn write_deltas(&self, reference: u64, symbols: &[u8], writer: &mut Writer<'_>) {
        let mut previous = reference;
        for (seq, symbol) in (self.begin..self.end).zip(symbols) {
            let (1 | 2, Some(arrival)) = (*symbol, self.arrival(seq)) else { continue };
            let [high, low] = delta(previous, arrival).unwrap_or(0).to_be_bytes();
            if *symbol == 1 {
                writer.put(&[low]);
            } else {
                writer.put(&[high, low]);
            }
            previous = arrival;
        }
    }

    /// The number nearest to the newest one that ends in `seq`.
    fn extend(&mut self, seq: u16) -> u64 {
        if self.end == 0 {
            // Room below for packets that were sent before the first to arrive.
            let first = u64::from(seq) + 0x1_0000;
            self.begin = first;
            self.end = first;
            return first;
        }
        let newest = self.end - 1;
        let ahead = seq.wrapping_sub(low_u16(newest));
        if ahead < 0x8000 {
            newest + u64::from(ahead)
        } else {
            newest.saturating_sub(u64::from(ahead.wrapping_neg()))
        }
    }

    fn arrival(&self, seq: u64) -> Option<u64> {
        self.arrivals.get(index(seq)).copied().filter(|ticks| *ticks != VACANT)
    }

    fn set(&mut self, seq: u64, ticks: u64) {
        if let Some(slot) = self.arrivals.get_mut(index(seq)) {
            *slot = ticks;
        }
    }
}

/// Index into the arrivals.
fn index(seq: u64) -> usize {
    usize::from(low_u16(seq)) % ARRIVALS_MAX
}

fn low_u16(value: u64) -> u16 {
    let [.., high, low] = value.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// `arrival - previous` in ticks, if feedback can express it.
fn delta(previous: u64, arrival: u64) -> Option<i16> {
    i16::try_from(arrival.cast_signed() - previous.cast_signed()).ok()
}

struct Writer<'a> {
    out: &'a mut [u8; FEEDBACK_LEN_MAX],
    at: usize,
}

impl Writer<'_> {
    /// Appends `bytes`. They fit: `FEEDBACK_LEN_MAX` is the sum of all that a span can need.
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }
}

/// Encodes statuses: a run where it covers at least what a vector would, else the vector that holds the values.
fn write_chunks(mut symbols: &[u8], writer: &mut Writer<'_>) {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take_while(|symbol| **symbol == first).count();
        let one_bit = symbols.iter().take(ONE_BIT_SYMBOLS).all(|symbol| *symbol < 2);
        let vector = if one_bit { ONE_BIT_SYMBOLS } else { TWO_BIT_SYMBOLS };
        let (chunk, len) = if run >= vector.min(symbols.len()) {
            // `FEEDBACK_SPAN_MAX` is below the 13 bits of a run.
            (u16::from(first) << 13 | low_u16(run as u64), run)
        } else if one_bit {
            (0x8000 | packed(symbols, ONE_BIT_SYMBOLS, 1), ONE_BIT_SYMBOLS)
        } else {
            (0xc000 | packed(symbols, TWO_BIT_SYMBOLS, 2), TWO_BIT_SYMBOLS)
        };
        writer.put(&chunk.to_be_bytes());
        symbols = symbols.get(len..).unwrap_or(&[]);
    }
}

/// The first `count` symbols in `bits` bits each, the first on top; zeros where there are fewer.
fn packed(symbols: &[u8], count: usize, bits: u32) -> u16 {
    let padded = symbols.iter().copied().chain(std::iter::repeat(0)).take(count);
    padded.fold(0, |packed, symbol| packed << bits | u16::from(symbol))
}
