//! Missing packets of one received RTP stream, and when to ask for them again.
//!
//! Owns: which of the last `limits::NACK_WINDOW` sequence numbers arrived, and the requests still open.
//! Guarantees: fixed size; a packet is asked for at most `limits::NACK_TRIES_MAX` times, about a round trip apart, and
//! told when that was in vain; a forward jump over more than `limits::NACK_MISSING_MAX` packets or a restart of the
//! numbering asks for nothing.
//! Not here: encoding the RTCP message (`rtcp`), answering such requests (`rtx`).
//! Source: RFC 4585 §6.2.1; spacing as in LiveKit `pkg/sfu/buffer` (`nack.go` of mediatransportutil).

use std::time::Duration;

use model::Timestamp;

use crate::limits::{NACK_MISSING_MAX, NACK_TRIES_MAX, NACK_WINDOW};

/// A gap may be mere reordering: wait this long before the first request.
const REORDER_PATIENCE: Duration = Duration::from_millis(10);
/// Requests for one packet are never closer than this, however short the round trip.
const SPACING_MIN: Duration = Duration::from_millis(20);
/// Nor further apart than this: a later answer is of no use to a conversation.
const SPACING_MAX: Duration = Duration::from_millis(400);

/// One item of a generic NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The first missing sequence number.
    pub pid: u16,
    /// Bit `i` set: `pid + i + 1` is missing too.
    pub blp: u16,
}

impl Nack {
    /// The sequence numbers asked for, ascending; 1 to 17 of them.
    pub fn sequence_numbers(self) -> impl Iterator<Item = u16> {
        let after = (0..16u16).filter(move |bit| self.blp >> bit & 1 == 1).map(move |bit| bit + 1);
        std::iter::once(0).chain(after).map(move |distance| self.pid.wrapping_add(distance))
    }
}

/// What an arriving sequence number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Newer than all before; `lost` packets between are missing for now.
    New {
        /// Size of the gap, 0 when it is the next one. Requests are opened for one of [`NACK_MISSING_MAX`] at most.
        lost: u16,
    },
    /// Late, and not yet asked for: reordering.
    Reordered,
    /// Late, after at least one request: a repair.
    Recovered,
    /// Was here before.
    Duplicate,
    /// So old that nobody knows whether it was here before.
    Stale,
    /// The numbering began anew.
    Restarted,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u16,
    tries: u8,
    /// When it may be asked for.
    due: Timestamp,
}

const WORDS: usize = NACK_WINDOW as usize / 64;

/// Finds the gaps of one received RTP stream and paces the requests for them.
#[derive(Clone, Debug)]
pub struct NackGenerator {
    /// The newest sequence number; `None` before the first packet.
    newest: Option<u16>,
    /// Bit `seq % NACK_WINDOW`: arrived. Valid for the window that ends at `newest`.
    arrived: [u64; WORDS],
    /// Oldest first.
    missing: [Missing; NACK_MISSING_MAX],
    missing_len: usize,
    /// No request is due before this. May be early after a recovery, never late.
    due: Timestamp,
    /// The newest that was given up and is not told yet.
    given_up: Option<u16>,
    /// A stale sequence number was seen; its successor proves a restart (RFC 3550 §A.1).
    restart_at: Option<u16>,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl NackGenerator {
    /// Knows nothing yet; the first packet sets where the stream begins.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            newest: None,
            arrived: [0; WORDS],
            missing: [Missing { seq: 0, tries: 0, due: Timestamp::ZERO }; NACK_MISSING_MAX],
            missing_len: 0,
            due: Timestamp::MAX,
            given_up: None,
            restart_at: None,
        }
    }

    /// Notes a packet of the original stream, or the original number of one that came by RTX.
    pub fn received(&mut self, seq: u16, now: Timestamp) -> Arrival {
        let Some(newest) = self.newest else {
            self.restart(seq);
            return Arrival::New { lost: 0 };
        };
        let ahead = seq.wrapping_sub(newest);
        if ahead == 0 {
            return Arrival::Duplicate;
        }
        if ahead < 0x8000 {
            self.restart_at = None;
            self.advance(newest, seq, now);
            return Arrival::New { lost: ahead - 1 };
        }
        if newest.wrapping_sub(seq) >= NACK_WINDOW {
            if self.restart_at == Some(seq) {
                self.restart(seq);
                return Arrival::Restarted;
            }
            self.restart_at = Some(seq.wrapping_add(1));
            return Arrival::Stale;
        }
        if self.has_arrived(seq) {
            return Arrival::Duplicate;
        }
        self.mark(seq, true);
        match self.settle(seq) {
            Some(tries) if tries > 0 => Arrival::Recovered,
            _ => Arrival::Reordered,
        }
    }

    /// Whether `seq` is older than the newest, not too old, and has not arrived.
    #[must_use]
    pub fn lacks(&self, seq: u16) -> bool {
        self.newest.is_some_and(|newest| {
            (1..NACK_WINDOW).contains(&newest.wrapping_sub(seq)) && !self.has_arrived(seq)
        })
    }

    /// Gives `out` the requests that are due, oldest first: at most
    /// [`NACK_ITEMS_MAX`](crate::limits::NACK_ITEMS_MAX) items.
    ///
    /// `rtt` spaces the repetitions. Returns the newest packet that was given up since the last call: it has not come
    /// though it was asked for as often as may be, or too many are missing since.
    pub fn poll(&mut self, now: Timestamp, rtt: Duration, out: impl FnMut(Nack)) -> Option<u16> {
        if now >= self.due {
            self.ask(now, rtt, out);
        }
        self.given_up.take()
    }

    fn ask(&mut self, now: Timestamp, rtt: Duration, mut out: impl FnMut(Nack)) {
        let mut open: Option<Nack> = None;
        let mut next = Timestamp::MAX;
        for missing in self.missing.iter_mut().take(self.missing_len) {
            if missing.due <= now {
                missing.tries += 1;
                if missing.tries > NACK_TRIES_MAX {
                    continue;
                }
                let item = open.and_then(|nack| extended(nack, missing.seq));
                if item.is_none()
                    && let Some(full) = open
                {
                    out(full);
                }
                open = Some(item.unwrap_or(Nack { pid: missing.seq, blp: 0 }));
                missing.due = now + spacing(rtt, missing.tries);
            }
            next = next.min(missing.due);
        }
        if let Some(last) = open {
            out(last);
        }
        self.due = next;
        self.keep(|missing| missing.tries <= NACK_TRIES_MAX);
    }

    fn restart(&mut self, seq: u16) {
        *self = Self::new();
        self.newest = Some(seq);
        self.mark(seq, true);
    }

    /// Moves the window up to `seq` and opens requests for what lies between.
    fn advance(&mut self, newest: u16, seq: u16, now: Timestamp) {
        let gap = seq.wrapping_sub(newest) - 1;
        if gap >= NACK_WINDOW {
            self.arrived = [0; WORDS];
        } else {
            for distance in 1..=gap {
                self.mark(newest.wrapping_add(distance), false);
            }
        }
        self.newest = Some(seq);
        self.mark(seq, true);
        let oldest = seq.wrapping_sub(NACK_WINDOW - 1);
        if self.missing_len > 0 {
            self.keep(|missing| !is_before(missing.seq, oldest));
        }
        // After a longer outage the repair would cost more than a key frame, and whoever receives this begins anew.
        if usize::from(gap) <= NACK_MISSING_MAX {
            for distance in 1..=gap {
                self.open(newest.wrapping_add(distance), now + REORDER_PATIENCE);
            }
        } else {
            self.missing_len = 0;
        }
    }

    /// Opens a request; when the list is full the oldest is given up.
    fn open(&mut self, seq: u16, due: Timestamp) {
        if self.missing_len == NACK_MISSING_MAX
            && let Some(oldest) = self.missing.first().map(|missing| missing.seq)
        {
            self.keep(|missing| missing.seq != oldest);
        }
        if let Some(slot) = self.missing.get_mut(self.missing_len) {
            *slot = Missing { seq, tries: 0, due };
            self.missing_len += 1;
            self.due = self.due.min(due);
        }
    }

    /// Closes the request for `seq`, returning how often it was asked for.
    fn settle(&mut self, seq: u16) -> Option<u8> {
        let open = self.missing.get(..self.missing_len)?;
        let at = open.iter().position(|missing| missing.seq == seq)?;
        let tries = open.get(at)?.tries;
        self.missing.copy_within(at + 1..self.missing_len, at);
        self.missing_len -= 1;
        Some(tries)
    }

    /// Keeps the requests that satisfy `wanted`, in order, and gives up the others.
    fn keep(&mut self, wanted: impl Fn(&Missing) -> bool) {
        let mut kept = 0;
        for at in 0..self.missing_len {
            let Some(&missing) = self.missing.get(at) else { break };
            if !wanted(&missing) {
                if self.given_up.is_none_or(|newest| is_before(newest, missing.seq)) {
                    self.given_up = Some(missing.seq);
                }
            } else if let Some(slot) = self.missing.get_mut(kept) {
                *slot = missing;
                kept += 1;
            }
        }
        self.missing_len = kept;
    }

    fn has_arrived(&self, seq: u16) -> bool {
        let (word, bit) = place(seq);
        self.arrived.get(word).is_some_and(|word| word & bit != 0)
    }

    fn mark(&mut self, seq: u16, arrived: bool) {
        let (word, bit) = place(seq);
        if let Some(word) = self.arrived.get_mut(word) {
            *word = if arrived { *word | bit } else { *word & !bit };
        }
    }
}

/// The bitmap word and the bit in it.
const fn place(seq: u16) -> (usize, u64) {
    let index = seq % NACK_WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

const fn is_before(seq: u16, other: u16) -> bool {
    seq.wrapping_sub(other) >= 0x8000
}

/// `nack` with `seq` in it too, if it fits.
fn extended(nack: Nack, seq: u16) -> Option<Nack> {
    let bit = seq.wrapping_sub(nack.pid).checked_sub(1)?;
    (bit < 16).then(|| Nack { pid: nack.pid, blp: nack.blp | 1 << bit })
}

/// The time after request number `tries`: a round trip, a quarter more each time.
fn spacing(rtt: Duration, tries: u8) -> Duration {
    let mut spacing = rtt.clamp(SPACING_MIN, SPACING_MAX);
    for _ in 1..tries {
        spacing += spacing / 4;
    }
    spacing.min(SPACING_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::NACK_ITEMS_MAX;

    const RTT: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn drain(generator: &mut NackGenerator, now: Timestamp) -> Vec<Nack> {
        let mut items = Vec::new();
        generator.poll(now, RTT, |nack| items.push(nack));
        items
    }

    fn after(seqs: &[u16]) -> NackGenerator {
        let mut generator = NackGenerator::new();
        for &seq in seqs {
            generator.received(seq, at(0));
        }
        generator
    }

    #[test]
    fn a_gap_is_asked_for_after_a_moment_of_patience() {
        let mut generator = after(&[65_533, 65_534, 1, 20]);
        assert_eq!(generator.due, at(10));
        assert_eq!(drain(&mut generator, at(9)), []);
        assert_eq!(
            drain(&mut generator, at(10)),
            [Nack { pid: 65_535, blp: 0b1111_1111_1111_1101 }, Nack { pid: 16, blp: 0b111 }]
        );
    }

    #[test]
    fn the_items_name_the_missing_packets() {
        let nack = Nack { pid: 65_535, blp: 0b1000_0000_0000_0101 };
        assert_eq!(nack.sequence_numbers().collect::<Vec<_>>(), [65_535, 0, 2, 15]);
    }

    #[test]
    fn requests_are_a_round_trip_apart_and_end() {
        let mut generator = after(&[1, 3]);
        let mut asked = Vec::new();
        for millis in 0..5000 {
            if !drain(&mut generator, at(millis)).is_empty() {
                asked.push(millis);
            }
        }
        assert_eq!(asked.len(), usize::from(NACK_TRIES_MAX));
        assert_eq!(asked[..3], [10, 60, 123]);
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 50));
        assert_eq!(generator.missing_len, 0);
    }

    #[test]
    fn arrivals_are_told_apart() {
        let mut generator = after(&[10, 12, 14]);
        assert_eq!(generator.received(12, at(1)), Arrival::Duplicate);
        assert_eq!(generator.received(14, at(1)), Arrival::Duplicate);
        assert_eq!(generator.received(11, at(1)), Arrival::Reordered);
        assert_eq!(drain(&mut generator, at(10)), [Nack { pid: 13, blp: 0 }]);
        assert_eq!(generator.received(13, at(30)), Arrival::Recovered);
        assert_eq!(generator.received(13, at(30)), Arrival::Duplicate);
        assert_eq!(generator.missing_len, 0);
        assert_eq!(generator.received(17, at(31)), Arrival::New { lost: 2 });
    }

    #[test]
    fn what_was_asked_for_in_vain_is_told_once_when_no_answer_can_come_any_more() {
        let mut generator = after(&[1, 3, 5]);
        let mut told = Vec::new();
        let mut asked = Vec::new();
        for millis in 0..5000 {
            if millis == 100 {
                generator.received(4, at(millis));
            }
            let mut is_asked = false;
            let given_up = generator.poll(at(millis), RTT, |_| is_asked = true);
            asked.extend(is_asked.then_some(millis));
            told.extend(given_up.map(|seq| (millis, seq)));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        let [(millis, seq)] = told[..] else { unreachable!() };
        assert_eq!(seq, 2);
        assert!(millis >= asked[asked.len() - 1] + 50, "{millis} after {asked:?}");
    }

    #[test]
    fn a_gap_is_asked_for_as_a_whole_or_not_at_all() {
        let missing_max = u16::try_from(NACK_MISSING_MAX).unwrap();
        for (gap, expected) in [(missing_max, NACK_MISSING_MAX), (missing_max + 1, 0)] {
            let mut generator = after(&[65_000, 65_000_u16.wrapping_add(gap + 1)]);
            let items = drain(&mut generator, at(10));
            assert_eq!(items.iter().flat_map(|nack| nack.sequence_numbers()).count(), expected);
        }
    }

    #[test]
    fn a_long_outage_asks_for_nothing() {
        let mut generator = after(&[1, 3]);
        assert_eq!(generator.received(3000, at(5)), Arrival::New { lost: 2996 });
        assert_eq!(generator.missing_len, 0);
        assert_eq!(generator.received(2999, at(5)), Arrival::Reordered);
    }

    #[test]
    fn an_earlier_round_of_the_window_is_not_remembered() {
        let mut generator = NackGenerator::new();
        for seq in (0..2 * NACK_WINDOW).filter(|seq| *seq != NACK_WINDOW + 5) {
            generator.received(seq, at(0));
        }
        assert_eq!(generator.received(NACK_WINDOW + 5, at(1)), Arrival::Reordered);
    }

    #[test]
    fn two_successive_old_numbers_are_a_restart() {
        let mut generator = after(&[30_000, 30_002]);
        assert_eq!(generator.received(5, at(1)), Arrival::Stale);
        assert_eq!(generator.received(30_003, at(1)), Arrival::New { lost: 0 });
        assert_eq!(generator.received(6, at(1)), Arrival::Stale);
        assert_eq!(generator.received(7, at(1)), Arrival::Restarted);
        assert_eq!(generator.received(8, at(1)), Arrival::New { lost: 0 });
        assert_eq!(generator.missing_len, 0);
    }

    #[test]
    fn a_full_list_gives_up_its_oldest() {
        let mut generator = NackGenerator::new();
        for seq in (0..NACK_WINDOW).step_by(2) {
            generator.received(seq, at(0));
        }
        assert_eq!(generator.missing_len, NACK_MISSING_MAX);
        let mut first = None;
        let given_up = generator.poll(at(10), RTT, |nack| first = first.or(Some(nack.pid)));
        let oldest = NACK_WINDOW - 1 - 2 * u16::try_from(NACK_MISSING_MAX).unwrap();
        assert_eq!((first, given_up), (Some(oldest), Some(oldest - 2)));
    }

    proptest! {
        #[test]
        fn what_never_arrived_and_only_that_is_asked_for(
            lost in proptest::collection::vec(any::<bool>(), 1..200), first: u16,
        ) {
            let mut generator = NackGenerator::new();
            generator.received(first, at(0));
            let mut expected = Vec::new();
            let mut seq = first;
            for lost in lost.into_iter().chain([false]) {
                seq = seq.wrapping_add(1);
                if lost {
                    expected.push(seq);
                } else {
                    generator.received(seq, at(0));
                }
            }
            let items = drain(&mut generator, at(10));
            let asked: Vec<u16> = items.iter().flat_map(|nack| nack.sequence_numbers()).collect();
            prop_assert_eq!(asked, expected);
        }

        #[test]
        fn any_order_of_numbers_stays_within_bounds(
            steps in proptest::collection::vec((any::<u16>(), 0u16..2000, any::<bool>()), 1..500),
        ) {
            let mut generator = NackGenerator::new();
            let mut seq = 0u16;
            for (now, (wild, step, jump)) in steps.into_iter().enumerate() {
                seq = if jump { wild } else { seq.wrapping_add(step % 40).wrapping_sub(8) };
                let now = at(u64::try_from(now).unwrap() * 7);
                generator.received(seq, now);
                let items = drain(&mut generator, now);
                prop_assert!(items.len() <= NACK_ITEMS_MAX);
                prop_assert!(generator.missing_len <= NACK_MISSING_MAX);
                prop_assert!(generator.missing_len == 0 || generator.due > now);
            }
        }
    }
}
