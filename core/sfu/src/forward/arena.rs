//! The history of one room on one worker: opened packets, oldest first, in memory that the shell maps.
//!
//! Owns: where each packet lies. Packets are laid one after the other; the oldest makes room for the
//! newest. The ring starts small; each time its end is reached while its oldest packet is younger than
//! the horizon, it grows instead of beginning again at the front.
//! Guarantees: a packet is zeroed when it leaves, at the latest when it is [`limits::HISTORY_AGE_MAX`]
//! old or its track ends; all of it is unmapped with the room. No allocation once the index has its size.
//! Source: DESIGN §3; media-path report §7.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;

use crate::limits;

/// A region that the shell maps for a core and takes back when it is dropped. Zero at the start.
pub trait Memory: AsRef<[u8]> + AsMut<[u8]> {}

impl Memory for Vec<u8> {}

/// Which packet of an arena; counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EntryId(u64);

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    /// It is a track's: not before that is known, nor once the track is gone.
    is_kept: bool,
    /// The packet of that track before it: so a track that ends is found without looking at the others.
    previous: EntryId,
    at: Timestamp,
}

pub(super) struct Arena<M> {
    memory: M,
    entries: VecDeque<Entry>,
    /// The id of the oldest entry.
    first: u64,
    /// Where the next packet goes.
    head: usize,
    /// Where the ring ends for now.
    end: usize,
}

impl<M: Memory> Arena<M> {
    pub(super) fn new(memory: M) -> Self {
        let end = memory.as_ref().len().min(limits::ARENA_STEP_BYTES);
        Self { memory, entries: VecDeque::new(), first: 1, head: 0, end }
    }

    /// Makes room for `len` bytes and gives them, with the id under which they are found.
    ///
    /// `None` when `len` can never fit.
    pub(super) fn push(&mut self, now: Timestamp, len: usize) -> Option<(EntryId, &mut [u8])> {
        let capacity = self.memory.as_ref().len();
        if len == 0 || len > limits::ARENA_STEP_BYTES {
            return None;
        }
        if self.head + len > self.end {
            let oldest_is_young = self
                .entries
                .front()
                .is_some_and(|entry| now.since(entry.at) < limits::HISTORY_AGE_WANTED);
            if oldest_is_young && self.end < capacity && !self.wrapped() {
                self.end = (self.end + limits::ARENA_STEP_BYTES).min(capacity);
            } else {
                self.evict_from_head();
                self.head = 0;
            }
            if self.head + len > self.end {
                self.evict_from_head();
                self.head = 0;
            }
        }
        let (start, stop) = (self.head, self.head + len);
        while let Some(entry) = self.entries.front() {
            let (from, to) = (entry.start as usize, (entry.start + entry.len) as usize);
            if to <= start || from >= stop {
                break;
            }
            self.evict();
        }
        self.head = stop;
        let id = EntryId(self.first + self.entries.len() as u64);
        self.entries.push_back(Entry {
            start: u32::try_from(start).ok()?,
            len: u32::try_from(len).ok()?,
            is_kept: false,
            previous: EntryId::default(),
            at: now,
        });
        Some((id, self.memory.as_mut().get_mut(start..stop)?))
    }

    /// Takes back the packet that was pushed last: it turned out to be nothing.
    pub(super) fn retract(&mut self) {
        if let Some(entry) = self.entries.pop_back() {
            let start = entry.start as usize;
            zero(self.memory.as_mut(), start, entry.len as usize);
            self.head = start;
        }
    }

    /// The packet that was pushed last is a track's, of which `newest` was the last before.
    pub(super) fn keep(&mut self, newest: &mut EntryId) {
        let id = EntryId(self.first + (self.entries.len() as u64).saturating_sub(1));
        if let Some(entry) = self.entries.back_mut() {
            entry.is_kept = true;
            entry.previous = std::mem::replace(newest, id);
        }
    }

    /// Zeroes the packets of a track that ends, of which this one is the newest. O(packets of the track).
    pub(super) fn erase(&mut self, newest: EntryId) {
        let mut next = newest;
        while let Some(index) = self.index(next)
            && let Some(entry) = self.entries.get_mut(index)
        {
            entry.is_kept = false;
            next = entry.previous;
            zero(self.memory.as_mut(), entry.start as usize, entry.len as usize);
        }
    }

    /// The bytes of a packet, while they are there.
    pub(super) fn get(&self, id: EntryId) -> Option<&[u8]> {
        let entry = self.entries.get(self.index(id)?).filter(|entry| entry.is_kept)?;
        let start = entry.start as usize;
        self.memory.as_ref().get(start..start + entry.len as usize)
    }

    /// The same, unless it is older than that.
    pub(super) fn get_young(
        &self,
        id: EntryId,
        now: Timestamp,
        age_max: Duration,
    ) -> Option<&[u8]> {
        let entry = self.entries.get(self.index(id)?)?;
        if now.since(entry.at) > age_max { None } else { self.get(id) }
    }

    /// Where a packet stands among those that are there, unless it is too old.
    fn index(&self, id: EntryId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    /// Zeroes what is older than the history needs; bounds the age on a quiet call too.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(entry) = self.entries.front()
            && now.since(entry.at) >= limits::HISTORY_AGE_MAX
        {
            self.evict();
        }
        if self.entries.is_empty() {
            self.head = 0;
        }
    }

    /// Zeroes all that is left. How many bytes of packets that was.
    pub(super) fn clear(&mut self) -> usize {
        let bytes = self.entries.iter().map(|entry| entry.len as usize).sum();
        while !self.entries.is_empty() {
            self.evict();
        }
        self.head = 0;
        bytes
    }

    /// Does the oldest packet lie behind the place of the next one?
    fn wrapped(&self) -> bool {
        self.entries.front().is_some_and(|entry| entry.start as usize >= self.head)
    }

    /// Frees everything between the head and the end, before the head goes back to the start.
    fn evict_from_head(&mut self) {
        while let Some(entry) = self.entries.front()
            && entry.start as usize >= self.head
        {
            self.evict();
        }
    }

    fn evict(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            zero(self.memory.as_mut(), entry.start as usize, entry.len as usize);
        }
    }
}

#[cfg(test)]
impl<M: Memory> Arena<M> {
    pub(super) fn is_zero(&self) -> bool {
        self.memory.as_ref().iter().all(|&byte| byte == 0)
    }
}

fn zero(memory: &mut [u8], start: usize, len: usize) {
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is_off() {
        return;
    }
    if let Some(bytes) = memory.get_mut(start..start + len) {
        bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn push(arena: &mut Arena<Vec<u8>>, now: Timestamp, len: usize, fill: u8) -> EntryId {
        push_of(arena, &mut EntryId::default(), now, len, fill)
    }

    fn push_of(
        arena: &mut Arena<Vec<u8>>,
        newest: &mut EntryId,
        now: Timestamp,
        len: usize,
        fill: u8,
    ) -> EntryId {
        let (id, bytes) = arena.push(now, len).unwrap();
        bytes.fill(fill);
        arena.keep(newest);
        id
    }

    #[test]
    fn an_expired_packet_is_gone_and_zeroed() {
        let mut arena = Arena::new(vec![0; limits::ARENA_STEP_BYTES]);
        let id = push(&mut arena, at(0), 100, 7);
        arena.expire(at(100));
        assert_eq!(arena.get(id).unwrap(), [7; 100]);
        arena.expire(at(0) + limits::HISTORY_AGE_MAX);
        assert!(arena.get(id).is_none());
        assert!(arena.memory.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_retracted_packet_leaves_nothing() {
        let mut arena = Arena::new(vec![0; limits::ARENA_STEP_BYTES]);
        let id = push(&mut arena, at(0), 100, 7);
        arena.retract();
        assert!(arena.get(id).is_none());
        assert!(arena.memory.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_track_that_ends_leaves_nothing_and_the_others_stay() {
        let mut arena = Arena::new(vec![0; limits::ARENA_STEP_BYTES]);
        let mut newest = [EntryId::default(); 2];
        let mut push_next = |arena: &mut Arena<_>, n: u8| {
            push_of(arena, &mut newest[usize::from(n % 2)], at(0), 10, n)
        };
        let ids: Vec<_> = (1..=4).map(|n| push_next(&mut arena, n)).collect();
        arena.erase(ids[2]);
        let left: Vec<_> = ids.iter().map(|id| arena.get(*id).map(|bytes| bytes[0])).collect();
        assert_eq!(left, [None, Some(2), None, Some(4)]);
        let zeros = arena.memory.iter().take(40).filter(|&&byte| byte == 0).count();
        assert_eq!(zeros, 20);
        let id = push(&mut arena, at(0), 10, 5);
        assert_eq!(arena.get(id).unwrap(), [5; 10]);
        arena.expire(at(0) + limits::HISTORY_AGE_MAX);
        assert!(arena.is_zero());
    }

    #[test]
    fn a_cleared_arena_is_zero() {
        let mut arena = Arena::new(vec![0; limits::ARENA_STEP_BYTES]);
        let ids = [push(&mut arena, at(0), 100, 7), push(&mut arena, at(1), 50, 8)];
        assert_eq!(arena.clear(), 150);
        assert!(ids.iter().all(|id| arena.get(*id).is_none()));
        assert!(arena.memory.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn the_ring_grows_while_its_packets_are_young_and_no_further() {
        let mut arena = Arena::new(vec![0; 4 * limits::ARENA_STEP_BYTES]);
        let packets = 3 * limits::ARENA_STEP_BYTES / 1000;
        let first = push(&mut arena, at(0), 1000, 1);
        for _ in 1..packets {
            push(&mut arena, at(1), 1000, 2);
        }
        assert!(arena.get(first).is_some());
        assert!(arena.end >= packets * 1000);
        let mut old = Arena::new(vec![0; 4 * limits::ARENA_STEP_BYTES]);
        for n in 0..u64::try_from(packets).unwrap() {
            push(&mut old, at(n * 100), 1000, 2);
        }
        assert_eq!(old.end, limits::ARENA_STEP_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn all_that_is_left_of_a_track_goes_and_nothing_else(
            steps in prop::collection::vec((0usize..3, 1usize..3000, 0u64..400, any::<bool>()), 1..400)
        ) {
            let mut arena = Arena::new(vec![0; 2 * limits::ARENA_STEP_BYTES]);
            let mut newest = [EntryId::default(); 3];
            let mut put = Vec::new();
            let mut now = 0;
            for (track, len, wait, retract) in steps {
                now += wait;
                if retract {
                    arena.push(at(now), len).unwrap();
                    arena.retract();
                }
                arena.expire(at(now));
                put.push((track, push_of(&mut arena, &mut newest[track], at(now), len, 7)));
            }
            put.retain(|(_, id)| arena.get(*id).is_some());
            arena.erase(newest[0]);
            for &(track, id) in &put {
                prop_assert_eq!(arena.get(id).is_some(), track != 0);
            }
            arena.erase(newest[1]);
            arena.erase(newest[2]);
            prop_assert!(arena.is_zero());
        }

        #[test]
        fn every_packet_found_is_the_one_that_was_put(
            steps in prop::collection::vec((1usize..3000, 0u64..400, any::<bool>()), 1..400)
        ) {
            let mut arena = Arena::new(vec![0; 2 * limits::ARENA_STEP_BYTES]);
            let mut put = Vec::new();
            let mut now = 0;
            for (n, (len, wait, retract)) in steps.into_iter().enumerate() {
                now += wait;
                let fill = u8::try_from(n % 251).unwrap() + 1;
                put.push((push(&mut arena, at(now), len, fill), len, fill));
                if retract {
                    arena.retract();
                    put.pop();
                }
                for &(id, len, fill) in &put {
                    if let Some(bytes) = arena.get(id) {
                        prop_assert!(bytes.len() == len && bytes.iter().all(|&byte| byte == fill));
                    }
                }
                let (id, ..) = *put.last().unwrap_or(&(EntryId(0), 0, 0));
                prop_assert!(put.is_empty() || arena.get(id).is_some());
            }
        }
    }
}
