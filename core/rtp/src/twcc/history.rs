//! The sender's side: what was sent and not heard about yet.

use model::Timestamp;

use super::Feedback;
use crate::limits::SEND_HISTORY;

/// The fate of one sent packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketResult {
    /// When it was sent.
    pub sent: Timestamp,
    /// When it arrived, in µs of the receiver's clock (see [`Feedback::statuses`]); `None` if it has not.
    pub arrival: Option<i64>,
    /// Its bytes as given to [`SendHistory::sent`].
    pub size: u16,
    /// It was reported lost before and has arrived after all.
    pub was_lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// µs, wrapping every 71 minutes.
    at: u32,
    seq: u16,
    /// Bytes; 0 = vacant or heard about. The top bit: reported lost.
    size: u16,
}

const LOST: u16 = 0x8000;

/// The last [`SEND_HISTORY`] packets sent to one peer, by transport-wide sequence number.
#[derive(Clone, Debug)]
pub struct SendHistory {
    slots: Box<[Sent]>,
}

impl Default for SendHistory {
    fn default() -> Self {
        Self::new()
    }
}

impl SendHistory {
    /// Nothing sent yet. The one allocation: 16 KiB.
    #[must_use]
    pub fn new() -> Self {
        let vacant = Sent { at: 0, seq: 0, size: 0 };
        Self { slots: vec![vacant; usize::from(SEND_HISTORY)].into_boxed_slice() }
    }

    /// Notes a packet of `size` bytes (on the wire; 32,767 at most are counted) sent as `seq`.
    pub fn sent(&mut self, seq: u16, now: Timestamp, size: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(seq % SEND_HISTORY)) {
            *slot = Sent { at: wrapped_micros(now), seq, size: size.min(!LOST) };
        }
    }

    /// The packets that `feedback` tells something new about, in order of their numbers.
    ///
    /// A packet is reported lost once and received once; received may follow lost, when it was merely late.
    pub fn results<'a>(
        &'a mut self,
        now: Timestamp,
        feedback: &Feedback<'a>,
    ) -> impl Iterator<Item = PacketResult> + 'a {
        feedback.statuses().filter_map(move |(seq, arrival)| self.settle(seq, now, arrival))
    }

    fn settle(&mut self, seq: u16, now: Timestamp, arrival: Option<i64>) -> Option<PacketResult> {
        let slot = self.slots.get_mut(usize::from(seq % SEND_HISTORY))?;
        if slot.seq != seq || slot.size == 0 || (arrival.is_none() && slot.size & LOST != 0) {
            return None;
        }
        let size = slot.size & !LOST;
        let was_lost = slot.size & LOST != 0;
        slot.size = if arrival.is_some() { 0 } else { slot.size | LOST };
        let age = wrapped_micros(now).wrapping_sub(slot.at);
        let sent = Timestamp::from_micros(now.as_micros().saturating_sub(u64::from(age)));
        Some(PacketResult { sent, arrival, size, was_lost })
    }
}

fn wrapped_micros(now: Timestamp) -> u32 {
    u32::try_from(now.as_micros() & u64::from(u32::MAX)).unwrap_or(0)
}
