//! What the other end sent and SCTP has not given out as a message.
//!
//! Owns: a note of each DATA chunk that SCTP may hold, since it bounds their bytes alone, and each chunk that comes
//! costs it time with each that it holds. Guarantees: there are no fewer notes than SCTP holds chunks. What takes notes
//! away is what SCTP itself says: messages that it gave out, that it holds nothing (its window is open), and that it
//! believed what the other end gave up. They are bounded: over [`PIECES_AT_EASE`] newer chunks are let go as if the
//! network had lost them, so that a client that sends many short messages is slowed down; over [`FRAGMENTS_MAX`] or
//! [`PIECES_MAX`] it is in no good order. Nor is it if something is held for [`UNACKNOWLEDGED_TIME_MAX`].
//! Not here: the chunks' form (`chunks`), streams that begin anew (`resets`).
//! Source: RFC 9260 §3.3.1, §6.2, §6.9.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::chunks::{Chunk, Data, chunks, is_up_to};
use crate::limits::{
    FRAGMENTS_MAX, OVERDUE_EVERY, PIECES_AT_EASE, PIECES_BEHIND_RESET, PIECES_MAX,
    RECEIVE_BUFFER_BYTES_MAX, STREAMS_MAX, UNACKNOWLEDGED_TIME_MAX,
};
use crate::resets::Resets;

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// SCTP takes it.
    Taken,
    /// It is as if it had been lost: it comes again.
    LetGo,
    /// No client in good order sends such.
    Hostile,
}

/// One DATA chunk.
#[derive(Debug)]
struct Piece {
    stream: u16,
    is_unordered: bool,
    begins: bool,
    ends: bool,
    len: usize,
    /// When it came. Not of one that was given up, which SCTP may not hold any more.
    since: Option<Instant>,
}

impl Piece {
    const fn is_whole(&self) -> bool {
        self.begins && self.ends
    }
}

#[derive(Debug, Default)]
pub(crate) struct Unread {
    /// By their TSN, from [`Self::start`] on.
    pieces: BTreeMap<u32, Piece>,
    /// Half of all TSNs before the first that came while none was noted: what is noted together lies nearer to it.
    start: u32,
    /// What SCTP gave out before it has acknowledged it: it takes that no second time either.
    given: BTreeSet<u32>,
    /// What is no higher was given up, if it had not come.
    forwarded: Option<u32>,
    /// What is to be given up once SCTP acknowledges it, and the first of it that is missing: then SCTP believed it.
    giving_up: Option<(u32, u32)>,
    /// Of these SCTP may keep what is given up.
    resets: Resets,
    /// Those that are no whole messages.
    fragments: usize,
    /// The highest TSN of those that came.
    newest: Option<u32>,
    acknowledged: Option<u32>,
    /// Distances from there of what else was acknowledged.
    gaps: Vec<(u16, u16)>,
    /// Bytes that SCTP held when it last told, less what was read since; none, if more has come.
    bytes: Option<usize>,
    /// Nothing is due before.
    look_at: Option<Instant>,
}

impl Unread {
    /// A packet has come.
    pub(crate) fn take(&mut self, now: Instant, packet: &[u8]) -> Fate {
        self.settle_resets();
        let (mut is_newer, mut has_data, mut forward) = (true, false, None);
        for chunk in chunks(packet) {
            match chunk {
                // Nobody may send it, and it counts nothing against any window.
                Chunk::Data(Data { len: 0, .. }) => return Fate::Hostile,
                Chunk::Data(data) => {
                    has_data = true;
                    is_newer &= self.newest.is_some_and(|newest| !is_up_to(data.tsn, newest));
                }
                // More than there are.
                Chunk::Forward { streams, .. } if streams > STREAMS_MAX => return Fate::Hostile,
                Chunk::Forward { cumulative, .. } => forward = Some(cumulative),
                Chunk::Reset(resets) => {
                    if !resets.iter().all(|it| self.resets.take(now, it)) {
                        return Fate::LetGo;
                    }
                }
                Chunk::Acknowledged { .. } | Chunk::Begin | Chunk::Echo => {}
            }
        }
        let is_much = has_data && is_newer && self.pieces.len() >= PIECES_AT_EASE;
        if is_much || self.is_much_behind_resets(packet) {
            return Fate::LetGo;
        }
        if forward.is_some() && !self.resets.take_forward(now) {
            return Fate::LetGo;
        }
        self.touch();
        for chunk in chunks(packet) {
            if let Chunk::Data(data) = chunk {
                self.note(now, &data);
            }
        }
        if let Some(tsn) = forward {
            self.forward(tsn);
        }
        let pieces = self.pieces.len() + self.given.len();
        if self.fragments > FRAGMENTS_MAX || pieces > PIECES_MAX {
            return Fate::Hostile;
        }
        Fate::Taken
    }

    /// Whether more would be held of new beginnings than SCTP has time for.
    fn is_much_behind_resets(&self, packet: &[u8]) -> bool {
        if self.resets.is_empty() {
            return false;
        }
        let come = chunks(packet)
            .filter(|it| matches!(it, Chunk::Data(it) if self.resets.begin(it.tsn, it.stream)))
            .count();
        let held = || {
            let start = self.start;
            let of_them = |(place, piece): &(&u32, &Piece)| {
                self.resets.begin(place.wrapping_add(start), piece.stream)
            };
            self.pieces.iter().filter(of_them).count()
        };
        come > 0 && come + held() > PIECES_BEHIND_RESET
    }

    /// All of what came before has come, and nothing of it is held.
    fn settle_resets(&mut self) {
        let Self { resets, pieces, start, acknowledged, .. } = self;
        resets.settle(|reset| {
            acknowledged.is_some_and(|cumulative| is_up_to(reset.last, cumulative))
                && !pieces
                    .iter()
                    .any(|(place, piece)| reset.ends(place.wrapping_add(*start), piece.stream))
        });
    }

    fn note(&mut self, now: Instant, data: &Data) {
        let &Data { tsn, stream, is_unordered, begins, ends, len } = data;
        // SCTP takes none twice.
        if self.is_acknowledged(tsn) || self.given.contains(&tsn) {
            return;
        }
        self.giving_up = self.giving_up.filter(|&(_, missing)| missing != tsn);
        if self.pieces.is_empty() {
            self.start = tsn.wrapping_sub(1 << 31);
        }
        let start = self.start;
        if self.newest.is_none_or(|newest| is_up_to(newest, tsn)) {
            self.newest = Some(tsn);
        }
        let is_given_up = self.forwarded.is_some_and(|forwarded| is_up_to(tsn, forwarded));
        let since = (!is_given_up).then_some(now);
        let piece = Piece { stream, is_unordered, begins, ends, len, since };
        self.fragments += usize::from(!piece.is_whole());
        if let Some(before) = self.pieces.insert(tsn.wrapping_sub(start), piece) {
            self.fragments -= usize::from(!before.is_whole());
        }
    }

    /// What is no higher is given up, if it has not come.
    fn forward(&mut self, tsn: u32) {
        let contiguous = self.contiguous(tsn);
        self.giving_up = (self.resets.is_empty() && !is_up_to(tsn, contiguous))
            .then_some((tsn, contiguous.wrapping_add(1)));
        self.forwarded = Some(tsn);
        self.forgive(|it, _| is_up_to(it, tsn));
    }

    /// SCTP drops what is incomplete of no order; of the rest it alone knows.
    fn give_up(&mut self, tsn: u32) {
        let start = self.start;
        let (mut run, mut dropped) = (Vec::new(), Vec::new());
        for (&place, piece) in &self.pieces {
            if !piece.is_unordered || !is_up_to(place.wrapping_add(start), tsn) {
                continue;
            }
            let goes_on = run.last().is_some_and(|last: &(u32, u16)| {
                (last.0.wrapping_add(1), last.1) == (place, piece.stream)
            });
            if piece.begins || !goes_on {
                dropped.append(&mut run);
            }
            if piece.begins || goes_on {
                run.push((place, piece.stream));
            } else {
                dropped.push((place, piece.stream));
            }
            if piece.ends {
                // Whole: it is read.
                run.clear();
            }
        }
        dropped.append(&mut run);
        for (place, _) in dropped {
            self.remove(place);
        }
    }

    /// Up to where all has come for all that is known, if that is before `limit`: SCTP's own is no higher.
    fn contiguous(&self, limit: u32) -> u32 {
        let start = self.start;
        let Some(mut tsn) = self.acknowledged else { return limit };
        if let Some(forwarded) = self.forwarded.filter(|it| is_up_to(tsn, *it)) {
            tsn = forwarded;
        }
        while tsn != limit && is_up_to(tsn, limit) {
            let next = tsn.wrapping_add(1);
            let has_come = self.is_acknowledged(next)
                || self.given.contains(&next)
                || self.pieces.contains_key(&next.wrapping_sub(start));
            if !has_come {
                break;
            }
            tsn = next;
        }
        tsn
    }

    fn remove(&mut self, place: u32) {
        if let Some(piece) = self.pieces.remove(&place) {
            self.fragments -= usize::from(!piece.is_whole());
        }
    }

    fn is_acknowledged(&self, tsn: u32) -> bool {
        let Some(cumulative) = self.acknowledged else { return false };
        let in_gaps = || {
            let Ok(distance) = u16::try_from(tsn.wrapping_sub(cumulative)) else { return false };
            let behind = self.gaps.partition_point(|&(_, last)| last < distance);
            self.gaps.get(behind).is_some_and(|&(first, _)| first <= distance)
        };
        is_up_to(tsn, cumulative) || in_gaps()
    }

    /// SCTP sends a packet: what it acknowledges, it holds or has held.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) {
        for chunk in chunks(packet) {
            if let Chunk::Acknowledged { cumulative, room, gaps } = chunk {
                self.acknowledged = Some(cumulative);
                self.gaps = gaps.iter().collect();
                // Without room it may hold more than it says.
                let held = (room > 0).then(|| RECEIVE_BUFFER_BYTES_MAX.saturating_sub(room));
                self.bytes = held.and_then(|held| usize::try_from(held).ok());
                if let Some((tsn, _)) =
                    self.giving_up.take_if(|(tsn, _)| is_up_to(*tsn, cumulative))
                {
                    self.give_up(tsn);
                }
                let given = std::mem::take(&mut self.given);
                self.given = given.into_iter().filter(|tsn| !self.is_acknowledged(*tsn)).collect();
            }
        }
    }

    /// SCTP may hold more than when it last told.
    pub(crate) fn touch(&mut self) {
        self.bytes = None;
    }

    /// SCTP gave out a message of a stream, of so many chunks and bytes.
    pub(crate) fn note_read(&mut self, stream: u16, count: usize, len: usize) {
        self.bytes = self.bytes.map(|bytes| bytes.saturating_sub(len));
        let Ok(count) = u32::try_from(count) else { return };
        let mut run = None;
        let found = self.pieces.iter().filter(|(_, piece)| piece.stream == stream).find_map(
            |(&place, piece)| {
                run = match run {
                    _ if piece.begins => Some((place, 1_u32, piece.len)),
                    Some((first, pieces, bytes)) if place - first == pieces => {
                        Some((first, pieces + 1, bytes + piece.len))
                    }
                    _ => None,
                };
                let (first, pieces, bytes) = run.filter(|_| piece.ends)?;
                ((pieces, bytes) == (count, len)).then_some(first)
            },
        );
        let Some(first) = found else { return };
        for place in (0..count).map(|piece| first.wrapping_add(piece)) {
            self.remove(place);
            let tsn = place.wrapping_add(self.start);
            if !self.is_acknowledged(tsn) {
                self.given.insert(tsn);
            }
        }
    }

    /// SCTP has nothing more to give out. If it holds nothing, what is noted is what it has dropped or never took.
    pub(crate) fn settle(&mut self) {
        if self.bytes == Some(0) {
            self.pieces.clear();
            self.fragments = 0;
        }
    }

    /// SCTP may drop what is incomplete of these, of which the TSN and the stream are asked.
    pub(crate) fn forgive(&mut self, is_dropped: impl Fn(u32, u16) -> bool) {
        let start = self.start;
        for (place, piece) in &mut self.pieces {
            if is_dropped(place.wrapping_add(start), piece.stream) {
                piece.since = None;
            }
        }
    }

    /// When SCTP will have held something for too long, or when to look again; now, if it has.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Instant> {
        if self.pieces.is_empty() {
            return None;
        }
        // What has come since is newer.
        if let Some(at) = self.look_at.filter(|at| now < *at) {
            return Some(at);
        }
        let start = self.start;
        let mut oldest = now;
        for (place, piece) in &self.pieces {
            let Some(since) = piece.since else { continue };
            let is_late = now >= since + UNACKNOWLEDGED_TIME_MAX;
            // SCTP may not have taken others, for which there was no room.
            if is_late && self.is_acknowledged(place.wrapping_add(start)) {
                return Some(now);
            }
            oldest = oldest.min(since);
        }
        self.look_at = Some((oldest + UNACKNOWLEDGED_TIME_MAX).max(now + OVERDUE_EVERY));
        self.look_at
    }

    /// How many are noted.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        Instant::now()
    }

    /// A packet with one whole message of stream 5.
    fn message(tsn: u32) -> Vec<u8> {
        let value = [&tsn.to_be_bytes()[..], &[0, 5, 0, 0, 0, 0, 0, 53, 7]].concat();
        let header = [0_u8; 12];
        [&header[..], &[0, 3, 0, 17], &value, &[0; 3]].concat()
    }

    #[test]
    fn messages_are_found_at_the_last_place_that_there_is() {
        let (mut unread, now) = (Unread::default(), now());
        let first = 1000;
        let last = first + (u32::MAX >> 1);
        for tsn in [first, last] {
            assert_eq!(unread.take(now, &message(tsn)), Fate::Taken);
        }
        for left in [1, 0] {
            unread.note_read(5, 1, 1);
            assert_eq!(unread.len(), left);
        }
    }

    #[test]
    fn messages_are_found_however_many_came_before() {
        let (mut unread, now) = (Unread::default(), now());
        assert_eq!(unread.take(now, &message(1000)), Fate::Taken);
        unread.note_read(5, 1, 1);
        // The last place reckoned from the first, and the one behind it.
        let last = 1000 + (u32::MAX >> 1);
        for (tsn, flags) in [(last, 2), (last + 1, 1)] {
            let mut half = message(tsn);
            half[13] = flags;
            assert_eq!(unread.take(now, &half), Fate::Taken);
        }
        unread.note_read(5, 2, 2);
        assert_eq!(unread.len(), 0);
    }
}
