//! The sender's side: what was sent and not heard about yet.

use model::Timestamp;

use super::Feedback;
use crate::limits::{SEND_HISTORY, SEND_HISTORY_TIME};

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

/// The packets sent to one peer that feedback may still tell about, by transport-wide sequence number.
///
/// It begins small and doubles, up to [`SEND_HISTORY`], when it was filled in less than
/// [`SEND_HISTORY_TIME`], and when it is told of packets that a larger history would have kept: so it
/// holds what its rate and its receiver's distance need.
#[derive(Clone, Debug)]
pub struct SendHistory {
    /// As many as a power of two.
    slots: Box<[Sent]>,
    /// Packets since a round through the slots began, and when that was.
    count: usize,
    began: u32,
}

const VACANT: Sent = Sent { at: 0, seq: 0, size: 0 };

/// Slots of a new history: half a second of one camera.
const CAPACITY_MIN: usize = 128;

impl Default for SendHistory {
    fn default() -> Self {
        Self::new()
    }
}

impl SendHistory {
    /// Nothing sent yet.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: vec![VACANT; CAPACITY_MIN].into_boxed_slice(), count: 0, began: 0 }
    }

    /// Notes a packet of `size` bytes (on the wire; 32,767 at most are counted) sent as `seq`.
    pub fn sent(&mut self, seq: u16, now: Timestamp, size: u16) {
        let at = wrapped_micros(now);
        if self.count == self.slots.len() {
            let is_short = u128::from(at.wrapping_sub(self.began)) < SEND_HISTORY_TIME.as_micros();
            if !is_short || !self.grow() {
                self.count = 0;
            }
        }
        if self.count == 0 {
            self.began = at;
        }
        self.count += 1;
        if let Some(slot) = self.slot(seq) {
            *slot = Sent { at, seq, size: size.min(!LOST) };
        }
    }

    /// Whether `feedback` ends among the packets that may be known, of which `newest` was sent last.
    ///
    /// Where it begins does not matter: after an outage it tells of more than are known. Where it ends among those that
    /// a larger history would know it is of no use, and the history grows: the next one is.
    #[must_use]
    pub fn covers(&mut self, newest: u16, feedback: &Feedback<'_>) -> bool {
        let end = feedback.base_seq().wrapping_add(feedback.status_count());
        let behind = usize::from(newest.wrapping_add(1).wrapping_sub(end));
        if feedback.status_count() == 0 || behind >= usize::from(SEND_HISTORY) {
            return false;
        }
        let is_known = behind < self.slots.len();
        while behind >= self.slots.len() && self.grow() {}
        is_known
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
        let slot = self.slot(seq)?;
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

    /// Where `seq` would be noted.
    #[inline]
    #[must_use]
    pub fn place(&self, seq: u16) -> Option<&impl Sized> {
        self.slots.get(usize::from(seq) & (self.slots.len() - 1))
    }

    fn slot(&mut self, seq: u16) -> Option<&mut Sent> {
        let index = usize::from(seq) & (self.slots.len() - 1);
        self.slots.get_mut(index)
    }

    /// Doubles the history; `false` at its bound.
    fn grow(&mut self) -> bool {
        if self.slots.len() >= usize::from(SEND_HISTORY) {
            return false;
        }
        let larger = vec![VACANT; self.slots.len() * 2].into_boxed_slice();
        for sent in std::mem::replace(&mut self.slots, larger) {
            if sent.size != 0
                && let Some(slot) = self.slot(sent.seq)
            {
                *slot = sent;
            }
        }
        true
    }
}

fn wrapped_micros(now: Timestamp) -> u32 {
    u32::try_from(now.as_micros() & u64::from(u32::MAX)).unwrap_or(0)
}
