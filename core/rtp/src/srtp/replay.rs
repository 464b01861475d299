//! Which packets of which streams were accepted.
//!
//! Guarantees: an index is accepted once; at most [`SRTP_STREAMS_MAX`] windows exist, each made by an authentic packet.
//! Source: RFC 3711 §3.3.2; the bitmap in whole words follows RFC 6479.

use super::SrtpError;
use crate::limits::{REPLAY_WINDOW_WORDS, SRTP_STREAMS_MAX};
use crate::sequence::nearest_index;

/// The accepted indices of one stream: everything in the last [`REPLAY_WINDOW_WORDS`] words up to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReplayWindow {
    highest: u64,
    /// Bit `i % 64` of word `i / 64 % WORDS` is index `i`, for every `i` whose word is still held.
    words: [u64; REPLAY_WINDOW_WORDS],
}

const WORDS: u64 = REPLAY_WINDOW_WORDS as u64;

impl ReplayWindow {
    /// A window that has accepted `index`.
    const fn new(index: u64) -> Self {
        Self { highest: index, words: [0; REPLAY_WINDOW_WORDS] }
    }

    /// Whether `index` may still be accepted.
    #[inline]
    fn check(&self, index: u64) -> Result<(), SrtpError> {
        if index / 64 + WORDS <= self.highest / 64 {
            return Err(SrtpError::TooOld);
        }
        let seen = self.words.get(position(index)).is_some_and(|word| word & bit(index) != 0);
        if index <= self.highest && seen { Err(SrtpError::Replayed) } else { Ok(()) }
    }

    /// Accepts `index`, which was checked.
    #[inline]
    fn mark(&mut self, index: u64) {
        let (top, new_top) = (self.highest / 64, index / 64);
        for fresh in (top + 1..=new_top).rev().take(REPLAY_WINDOW_WORDS) {
            if let Some(word) = self.words.get_mut(position(fresh * 64)) {
                *word = 0;
            }
        }
        if let Some(word) = self.words.get_mut(position(index)) {
            *word |= bit(index);
        }
        self.highest = self.highest.max(index);
    }
}

#[inline]
const fn position(index: u64) -> usize {
    (index / 64 % WORDS) as usize
}

#[inline]
const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

/// The windows of all streams of one session and kind (SRTP or SRTCP).
///
/// A full table forgets a stream that has ended, or else the one that has been silent longest: of one that goes on
/// after a pause nobody would know the cycle any more. Only the peer's own authentic packets can bring that about.
#[derive(Debug, Default)]
pub(super) struct ReplayTable {
    /// Ascending; `streams` is parallel to it.
    ssrcs: Vec<u32>,
    streams: Vec<Stream>,
    /// Where the last packet's stream was: packets come in runs.
    last: usize,
    /// Counts accepted packets, to tell which stream has been silent longest.
    accepted: u64,
}

#[derive(Debug)]
struct Stream {
    window: ReplayWindow,
    /// [`ReplayTable::accepted`] when its last packet was.
    heard: u64,
    /// It belongs to nothing any more, though packets of it may still come.
    has_ended: bool,
}

/// A stream's place in the table, valid until the next [`ReplayTable::accept`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Known(usize),
    /// Where it would be inserted.
    Unknown(usize),
}

impl ReplayTable {
    /// How many streams it has.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.streams.len()
    }

    /// Finds the stream of `ssrc`.
    #[inline]
    pub(super) fn find(&mut self, ssrc: u32) -> Slot {
        if self.ssrcs.get(self.last) == Some(&ssrc) {
            return Slot::Known(self.last);
        }
        match self.ssrcs.binary_search(&ssrc) {
            Ok(at) => {
                self.last = at;
                Slot::Known(at)
            }
            Err(at) => Slot::Unknown(at),
        }
    }

    /// The index that a packet numbered `sequence` has: the nearest to the highest accepted, in the first cycle for an
    /// unknown stream. Source: RFC 3711 §3.3.1.
    #[inline]
    pub(super) fn estimate(&self, slot: Slot, sequence: u16) -> u64 {
        self.stream(slot)
            .and_then(|stream| nearest_index(stream.window.highest, sequence))
            .unwrap_or_else(|| u64::from(sequence))
    }

    /// Whether `index` may be accepted, to be asked before the work of authentication.
    #[inline]
    pub(super) fn check(&self, slot: Slot, index: u64) -> Result<(), SrtpError> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_off() {
            return Ok(());
        }
        self.stream(slot).map_or(Ok(()), |stream| stream.window.check(index))
    }

    /// Accepts `index`, which was checked and has proved authentic.
    #[inline]
    pub(super) fn accept(&mut self, slot: Slot, ssrc: u32, index: u64) {
        self.accepted += 1;
        match slot {
            Slot::Known(at) => {
                if let Some(stream) = self.streams.get_mut(at) {
                    stream.window.mark(index);
                    stream.heard = self.accepted;
                }
            }
            Slot::Unknown(at) => self.insert(at, ssrc, index),
        }
    }

    /// Whether a stream belongs to nothing any more. It is known until there are too many.
    pub(super) fn set_ended(&mut self, ssrc: u32, has_ended: bool) {
        let at = self.ssrcs.binary_search(&ssrc).ok();
        if let Some(stream) = at.and_then(|at| self.streams.get_mut(at)) {
            stream.has_ended = has_ended;
        }
    }

    #[inline]
    fn stream(&self, slot: Slot) -> Option<&Stream> {
        match slot {
            Slot::Known(at) => self.streams.get(at),
            Slot::Unknown(_) => None,
        }
    }

    #[cold]
    fn insert(&mut self, mut at: usize, ssrc: u32, index: u64) {
        if self.ssrcs.len() >= SRTP_STREAMS_MAX {
            let streams = self.streams.iter().enumerate();
            let heard = streams.min_by_key(|(_, stream)| (!stream.has_ended, stream.heard));
            if let Some(silent) = heard.map(|(silent, _)| silent) {
                self.ssrcs.remove(silent);
                self.streams.remove(silent);
                at -= usize::from(silent < at);
            }
        }
        let mut window = ReplayWindow::new(index);
        window.mark(index);
        self.ssrcs.insert(at, ssrc);
        self.streams.insert(at, Stream { window, heard: self.accepted, has_ended: false });
        self.last = at;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::REPLAY_WINDOW_PACKETS;

    const REACH: u64 = REPLAY_WINDOW_PACKETS as u64;

    fn accept(table: &mut ReplayTable, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let slot = table.find(ssrc);
        table.check(slot, index)?;
        table.accept(slot, ssrc, index);
        Ok(())
    }

    #[test]
    fn everything_in_the_last_1024_is_accepted_once() {
        let mut table = ReplayTable::default();
        let top = 5000;
        assert_eq!(accept(&mut table, 1, top), Ok(()));
        for back in 1..=REACH {
            assert_eq!(accept(&mut table, 1, top - back), Ok(()), "{back} behind");
            assert_eq!(accept(&mut table, 1, top - back), Err(SrtpError::Replayed));
        }
        assert_eq!(accept(&mut table, 1, top - REACH - 64), Err(SrtpError::TooOld));
        assert_eq!(accept(&mut table, 1, 0), Err(SrtpError::TooOld));
    }

    #[test]
    fn a_jump_ahead_forgets_what_it_passed() {
        let mut table = ReplayTable::default();
        for index in 0..200 {
            accept(&mut table, 1, index).unwrap();
        }
        accept(&mut table, 1, 1 << 40).unwrap();
        assert_eq!(accept(&mut table, 1, (1 << 40) - 5), Ok(()));
        assert_eq!(accept(&mut table, 1, 199), Err(SrtpError::TooOld));
    }

    #[test]
    fn streams_do_not_share_windows() {
        let mut table = ReplayTable::default();
        for ssrc in [5, 1, 9, 3] {
            assert_eq!(accept(&mut table, ssrc, 7), Ok(()));
        }
        for ssrc in [1, 3, 5, 9] {
            assert_eq!(accept(&mut table, ssrc, 7), Err(SrtpError::Replayed));
            assert_eq!(accept(&mut table, ssrc, 8), Ok(()));
        }
    }

    #[test]
    fn a_full_table_forgets_what_has_ended_and_knows_what_pauses() {
        let mut table = ReplayTable::default();
        accept(&mut table, 0, 70_000).unwrap();
        for ssrc in 1..=2 * u32::try_from(SRTP_STREAMS_MAX).unwrap() {
            accept(&mut table, ssrc, 1).unwrap();
            table.set_ended(ssrc, true);
            assert_eq!(accept(&mut table, ssrc, 1), Err(SrtpError::Replayed));
            assert_eq!(accept(&mut table, ssrc, 2), Ok(()), "it was on its way");
        }
        let slot = table.find(0);
        assert_eq!(table.estimate(slot, 4_465), 65_536 + 4_465);
    }

    #[test]
    fn a_full_table_forgets_the_stream_silent_longest() {
        let mut table = ReplayTable::default();
        let streams = u32::try_from(SRTP_STREAMS_MAX).unwrap();
        for ssrc in 0..streams {
            accept(&mut table, ssrc, 1).unwrap();
        }
        accept(&mut table, 0, 2).unwrap();
        accept(&mut table, streams, 1).unwrap();
        assert_eq!((table.ssrcs.len(), table.streams.len()), (SRTP_STREAMS_MAX, SRTP_STREAMS_MAX));
        assert!(matches!(table.find(1), Slot::Unknown(_)));
        for ssrc in (0..=streams).filter(|ssrc| *ssrc != 1) {
            assert_eq!(accept(&mut table, ssrc, 1), Err(SrtpError::Replayed), "{ssrc}");
        }
        assert!(table.ssrcs.is_sorted());
    }

    #[test]
    fn asking_about_a_stream_does_not_create_it() {
        let mut table = ReplayTable::default();
        let slot = table.find(4);
        assert_eq!(table.check(slot, 3), Ok(()));
        assert!(table.ssrcs.is_empty());
    }

    proptest! {
        #[test]
        fn no_index_is_accepted_twice_and_none_in_reach_is_refused(
            steps in proptest::collection::vec((0u64..400, 0u64..1500), 1..400),
        ) {
            let mut table = ReplayTable::default();
            let mut accepted = BTreeSet::new();
            let (mut at, mut highest) = (0, 0);
            for (forward, back) in steps {
                at += forward;
                for index in [at, at.saturating_sub(back)] {
                    let outcome = accept(&mut table, 1, index);
                    if outcome.is_ok() {
                        prop_assert!(accepted.insert(index));
                        highest = highest.max(index);
                    } else if index + REACH >= highest {
                        prop_assert_eq!(outcome, Err(SrtpError::Replayed));
                        prop_assert!(accepted.contains(&index));
                    }
                }
            }
        }
    }
}
