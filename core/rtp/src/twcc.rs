//! Transport-wide congestion feedback: when packets arrived, told by the receiver to the sender.
//!
//! Owns: the arrivals still to be reported ([`FeedbackRecorder`]), the packets still to be heard
//! about ([`SendHistory`]) and the bytes between them ([`Feedback`]). Guarantees: no allocation but one at
//! the start and to grow, a bounded number of steps per feedback whatever its bytes. Not here: the RTCP
//! header around the feedback (`rtcp`), what follows from it (`bwe`). Source:
//! draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.

mod feedback;
mod history;
mod recorder;

pub use feedback::{Feedback, Statuses};
pub use history::{PacketResult, SendHistory};
pub use recorder::FeedbackRecorder;

/// The unit of arrival times in feedback, in µs.
const TICK: u64 = 250;
/// Ticks per unit of the reference time: 64 ms.
const REFERENCE_TICKS: u64 = 256;
/// Base sequence number, packet status count, reference time, feedback count.
const HEADER_LEN: usize = 8;
/// Statuses of a one-bit vector.
const ONE_BIT_SYMBOLS: usize = 14;
/// Statuses of a two-bit vector.
const TWO_BIT_SYMBOLS: usize = 7;

#[cfg(test)]
mod tests;
