//! Retransmission: the RTX payload, and what one subscription sent and may send again.
//!
//! Owns: the map from outgoing sequence numbers to whatever finds the packet again, and how often
//! each was resent. Guarantees: no allocation but to grow; a packet is resent at most
//! `limits::RESEND_TRIES_MAX` times, never twice within a round trip, so that a flood of NACKs
//! cannot become a flood of packets. Not here: the packets themselves (the shared history of
//! `sfu`), pacing over all subscriptions. Source: RFC 4588 §4.

use std::time::Duration;

use model::Timestamp;

use crate::limits::{RESEND_AGE_MAX, RESEND_RING_MAX, RESEND_TIME_MIN, RESEND_TRIES_MAX};

/// Bytes of the original sequence number before the original payload.
pub const OSN_LEN: usize = 2;

/// The original sequence number and payload of an RTX packet's payload.
///
/// `None` when it is too short to carry a number. An empty rest is padding: a probe, not a repair.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (osn, rest) = payload.split_first_chunk::<OSN_LEN>()?;
    Some((u16::from_be_bytes(*osn), rest))
}

/// What goes before the original payload in an RTX packet.
#[must_use]
pub const fn header(original_seq: u16) -> [u8; OSN_LEN] {
    original_seq.to_be_bytes()
}

/// Resends closer than this to the last one are refused even when the round trip is shorter.
const SPACING_MIN: Duration = Duration::from_millis(10);
/// Resends further apart than this are granted even when the round trip seems longer.
const SPACING_MAX: Duration = Duration::from_millis(1_500);

/// `tries` of a slot that holds nothing.
const VACANT: u8 = u8::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    value: T,
    /// Milliseconds, wrapping, when it was sent or resent last.
    at: u32,
    seq: u16,
    tries: u8,
}

/// The answer to a request for one sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend<T> {
    /// Send it now; counted as sent.
    Granted(T),
    /// A copy is still on its way.
    TooSoon,
    /// Was resent as often as allowed, and a round trip has passed since.
    Exhausted,
    /// Could be sent again, if there were room for it.
    Refused,
    /// Never sent, or too long ago.
    Unknown,
}

/// What one subscription sent lately, by outgoing sequence number.
///
/// It begins small. It doubles when it was filled in less than [`RESEND_TIME_MIN`], and when it is asked
/// for a packet that a larger ring would have kept, unless it goes back [`RESEND_AGE_MAX`] already: so it
/// holds what its rate and its receiver's distance need.
///
/// `T` finds the packet again: a history slot, what was rewritten in it.
#[derive(Clone, Debug)]
pub struct ResendRing<T> {
    slots: Box<[Slot<T>]>,
    /// A power of two.
    capacity_max: usize,
    /// Packets since a round through the slots began, and when that was, in wrapping milliseconds.
    count: usize,
    began: u32,
    /// What was sent last.
    newest: u16,
}

/// Slots of a new ring of few, 160 ms of sound, and of one of many, which would grow to them soon.
const CAPACITY_MIN: usize = 8;
const CAPACITY_MIN_OF_MANY: usize = 16;

impl<T: Copy + Default> ResendRing<T> {
    /// May grow to hold the last `capacity_max` packets: rounded up to a power of two, at most
    /// [`RESEND_RING_MAX`].
    #[must_use]
    pub fn new(capacity_max: usize) -> Self {
        let capacity_max = capacity_max.clamp(1, RESEND_RING_MAX).next_power_of_two();
        let begins = (capacity_max / CAPACITY_MIN).clamp(CAPACITY_MIN, CAPACITY_MIN_OF_MANY);
        let slots = vec![Self::vacant(); begins.min(capacity_max)].into_boxed_slice();
        Self { slots, capacity_max, count: 0, began: 0, newest: 0 }
    }

    /// Notes that `value` went out as `seq`.
    pub fn sent(&mut self, seq: u16, now: Timestamp, value: T) {
        let at = wrapped_millis(now);
        // Judged once a round: to look at what is overwritten would cost a cache miss a packet.
        if self.count == self.slots.len() {
            let is_short = u128::from(at.wrapping_sub(self.began)) < RESEND_TIME_MIN.as_millis();
            if !is_short || !self.grow() {
                self.count = 0;
            }
        }
        if self.count == 0 {
            self.began = at;
        }
        self.count += 1;
        self.newest = seq;
        if let Some(slot) = self.slot(seq) {
            *slot = Slot { value, at, seq, tries: 0 };
        }
    }

    /// Nothing that was sent until now is sent again.
    pub fn clear(&mut self) {
        self.slots.fill(Self::vacant());
        self.count = 0;
    }

    /// Judges a request for `seq`, for which there is room or not; a grant counts as a resend at `now`.
    pub fn resend(&mut self, seq: u16, now: Timestamp, rtt: Duration, has_room: bool) -> Resend<T> {
        let now = wrapped_millis(now);
        let (len, capacity_max) = (self.slots.len(), self.capacity_max);
        let Some(slot) = self.slot(seq) else { return Resend::Unknown };
        if slot.tries == VACANT || slot.seq != seq {
            let distance = usize::from(slot.seq.wrapping_sub(seq));
            let is_kept = slot.tries != VACANT && (len..capacity_max).contains(&distance);
            if is_kept && self.falls_short(now) {
                let _is_larger = self.grow();
            }
            return Resend::Unknown;
        }
        let spacing = rtt.clamp(SPACING_MIN, SPACING_MAX).as_millis();
        if slot.tries > 0 && u128::from(now.wrapping_sub(slot.at)) < spacing {
            return Resend::TooSoon;
        }
        if slot.tries >= RESEND_TRIES_MAX {
            return Resend::Exhausted;
        }
        if !has_room {
            return Resend::Refused;
        }
        slot.tries += 1;
        slot.at = now;
        Resend::Granted(slot.value)
    }

    /// Whether it is full, and what it has let go was of use.
    fn falls_short(&mut self, now: u32) -> bool {
        let oldest = self.newest.wrapping_add(1);
        self.slot(oldest).is_some_and(|slot| {
            let age = u128::from(now.wrapping_sub(slot.at));
            slot.tries != VACANT && age < RESEND_AGE_MAX.as_millis()
        })
    }

    /// Doubles the ring; `false` at its bound.
    fn grow(&mut self) -> bool {
        if self.slots.len() >= self.capacity_max {
            return false;
        }
        let larger = vec![Self::vacant(); self.slots.len() * 2].into_boxed_slice();
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.tries != VACANT
                && let Some(place) = self.slot(slot.seq)
            {
                *place = slot;
            }
        }
        true
    }

    fn vacant() -> Slot<T> {
        Slot { value: T::default(), at: 0, seq: 0, tries: VACANT }
    }

    /// Where `seq` would be noted.
    #[inline]
    #[must_use]
    pub fn place(&self, seq: u16) -> Option<&impl Sized> {
        self.slots.get(usize::from(seq) & (self.slots.len() - 1))
    }

    fn slot(&mut self, seq: u16) -> Option<&mut Slot<T>> {
        let index = usize::from(seq) & (self.slots.len() - 1);
        self.slots.get_mut(index)
    }
}

fn wrapped_millis(now: Timestamp) -> u32 {
    u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(80);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_original_number_comes_before_the_payload() {
        assert_eq!(parse(&[0x12, 0x34, 0xaa, 0xbb]), Some((0x1234, &[0xaa, 0xbb][..])));
        assert_eq!(parse(&[0x12, 0x34]), Some((0x1234, &[][..])));
        assert_eq!(parse(&[0x12]), None);
        assert_eq!(header(0x1234), [0x12, 0x34]);
    }

    #[test]
    fn a_packet_is_resent_once_a_round_trip_and_not_for_ever() {
        let mut ring = ResendRing::new(16);
        ring.sent(65_535, at(0), 7u32);
        assert_eq!(ring.resend(65_535, at(0), RTT, true), Resend::Granted(7));
        assert_eq!(ring.resend(65_535, at(79), RTT, true), Resend::TooSoon);
        let granted = (1..100)
            .filter(|round| ring.resend(65_535, at(round * 80), RTT, true) == Resend::Granted(7))
            .count();
        assert_eq!(granted + 1, 3);
        assert_eq!(ring.resend(65_535, at(100_000), RTT, true), Resend::Exhausted);
    }

    #[test]
    fn what_there_is_no_room_for_counts_as_no_resend_and_what_is_on_its_way_needs_none() {
        let mut ring = ResendRing::new(16);
        ring.sent(3, at(0), 1u32);
        for millis in 0..10 {
            assert_eq!(ring.resend(3, at(millis), RTT, false), Resend::Refused);
        }
        for round in 0..3 {
            let now = 10 + round * 80;
            assert_eq!(ring.resend(3, at(now), RTT, true), Resend::Granted(1));
            assert_eq!(ring.resend(3, at(now + 79), RTT, false), Resend::TooSoon);
        }
        assert_eq!(ring.resend(3, at(250), RTT, false), Resend::Exhausted);
    }

    #[test]
    fn what_was_never_sent_or_was_overwritten_is_unknown() {
        let mut ring = ResendRing::new(16);
        assert_eq!(ring.resend(0, at(0), RTT, true), Resend::Unknown);
        ring.sent(3, at(0), 1u32);
        ring.sent(19, at(0), 2);
        assert_eq!(ring.resend(3, at(0), RTT, true), Resend::Unknown);
        assert_eq!(ring.resend(19, at(0), RTT, true), Resend::Granted(2));
        assert_eq!(ring.resend(35, at(0), RTT, true), Resend::Unknown);
    }

    #[test]
    fn a_number_used_again_starts_afresh() {
        let mut ring = ResendRing::new(16);
        ring.sent(3, at(0), 1u32);
        ring.resend(3, at(5), RTT, true);
        ring.sent(3, at(6), 9);
        assert_eq!(ring.resend(3, at(6), RTT, true), Resend::Granted(9));
    }

    #[test]
    fn a_ring_grows_for_what_is_young_or_asked_for() {
        let mut ring = ResendRing::new(64);
        // 50 packets a second: it begins with more than it has to hold.
        for seq in 0..1_000 {
            ring.sent(seq, at(u64::from(seq) * 20), seq);
        }
        assert_eq!(ring.slots.len(), CAPACITY_MIN);
        assert_eq!(ring.resend(980, at(20_000), RTT, true), Resend::Unknown);
        assert_eq!(ring.slots.len(), 2 * CAPACITY_MIN, "a receiver far away asks late");
        assert_eq!(
            ring.resend(999, at(20_000), RTT, true),
            Resend::Granted(999),
            "nothing was lost"
        );
        assert_eq!(ring.resend(700, at(20_000), RTT, true), Resend::Unknown);
        assert_eq!(ring.slots.len(), 2 * CAPACITY_MIN, "no ring of 64 would have kept it");
        // 1,000 packets a second: more than it may hold.
        for seq in 1_000..2_000 {
            ring.sent(seq, at(19_000 + u64::from(seq)), seq);
        }
        assert_eq!(ring.slots.len(), 64);
    }

    #[test]
    fn a_ring_grows_for_nobody_beyond_what_is_of_use() {
        let mut ring = ResendRing::new(RESEND_RING_MAX);
        for seq in 0..3_000 {
            let now = at(u64::from(seq) * 20);
            ring.sent(seq, now, seq);
            for back in [130, 300, 700, 1_000] {
                ring.resend(seq.wrapping_sub(back), now, RTT, true);
            }
        }
        // 50 packets a second, for two seconds.
        assert_eq!(ring.slots.len(), 128);
    }

    #[test]
    fn the_capacity_is_bounded() {
        for (asked, most) in [(usize::MAX, RESEND_RING_MAX), (0, 1), (500, 512)] {
            let mut ring = ResendRing::new(asked);
            for seq in 0..3_000 {
                ring.sent(seq, at(0), seq);
            }
            assert_eq!(ring.slots.len(), most);
        }
    }

    proptest! {
        #[test]
        fn the_last_packets_are_found_whatever_their_numbers(first: u16, count in 1u16..2000) {
            let mut ring = ResendRing::new(512);
            for distance in 0..count {
                let seq = first.wrapping_add(distance);
                ring.sent(seq, at(0), seq);
            }
            for distance in 0..count {
                let seq = first.wrapping_add(distance);
                let expected = if count - distance <= 512 { Resend::Granted(seq) } else { Resend::Unknown };
                prop_assert_eq!(ring.resend(seq, at(0), RTT, true), expected);
            }
        }
    }
}
