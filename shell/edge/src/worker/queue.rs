//! Reliable messages that wait for room in a peer's data channel.
//!
//! Owns: their order, since when they wait, and whether there are so many that the peer lags, which holds back those
//! who send in its room (`lag`).
//! Guarantees: no count and no number of bytes ends anybody here; whoever reads slowly is given up by time.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Timestamp;
use peer::ChannelId;

use super::lag::{Lagging, RoomLag};
use super::pile::Pile;
use crate::limits::{CAUGHT_UP_BYTES, CAUGHT_UP_MESSAGES, LAG_BYTES, LAG_MESSAGES};

/// One of them.
pub(super) struct Waiting {
    pub(super) channel: ChannelId,
    /// When it was said.
    pub(super) since: Timestamp,
    pub(super) message: Arc<[u8]>,
}

pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Of those that wait: each that is older than all behind it. What is sent again to who comes back is older than
    /// what is not.
    oldest: VecDeque<Timestamp>,
    room: RoomLag,
    lagging: Option<Lagging>,
}

impl Queue {
    pub(super) fn new(room: RoomLag) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, oldest: VecDeque::new(), room, lagging: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether somebody else in the room lags.
    pub(super) fn is_held_back(&self) -> bool {
        self.room.is_of_others(self.lagging.as_ref())
    }

    /// One more waits. Whether the peer lags from now on.
    pub(super) fn push(&mut self, waiting: Waiting, pile: &mut Pile) -> bool {
        pile.add(&waiting.message);
        self.bytes += waiting.message.len();
        let since = waiting.since;
        while self.oldest.pop_back_if(|it| *it > since).is_some() {}
        self.oldest.push_back(since);
        self.waiting.push_back(waiting);
        let begins =
            self.lagging.is_none() && (self.bytes > LAG_BYTES || self.waiting.len() > LAG_MESSAGES);
        if begins {
            self.lagging = Some(self.room.begin());
        }
        begins
    }

    pub(super) fn front(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// The first has left.
    pub(super) fn pop(&mut self, pile: &mut Pile) {
        let Some(Waiting { since, message, .. }) = self.waiting.pop_front() else { return };
        pile.remove(&message);
        self.bytes -= message.len();
        self.oldest.pop_front_if(|it| *it == since);
        if self.bytes <= CAUGHT_UP_BYTES && self.waiting.len() <= CAUGHT_UP_MESSAGES {
            self.lagging = None;
        }
        if self.waiting.is_empty() {
            // Most receivers have waiting messages now and then at most.
            (self.waiting, self.oldest) = (VecDeque::new(), VecDeque::new());
        }
    }

    /// Nothing of a channel waits any more.
    pub(super) fn shut(&mut self, channel: ChannelId, pile: &mut Pile) {
        for waiting in self.clear(pile) {
            if waiting.channel != channel {
                self.push(waiting, pile);
            }
        }
    }

    /// Nothing waits any more; what did.
    pub(super) fn clear(&mut self, pile: &mut Pile) -> VecDeque<Waiting> {
        for waiting in &self.waiting {
            pile.remove(&waiting.message);
        }
        (self.bytes, self.lagging) = (0, None);
        self.oldest = VecDeque::new();
        std::mem::take(&mut self.waiting)
    }

    /// When the oldest that waits was said.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.oldest.front().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held {
        queue: Queue,
        pile: Pile,
        room: RoomLag,
    }

    impl Held {
        fn new() -> Self {
            let room = RoomLag::default();
            Self { queue: Queue::new(room.clone()), pile: Pile::default(), room }
        }

        fn push(&mut self, millis: u64, len: usize) -> bool {
            let waiting = Waiting {
                channel: ChannelId::default(),
                since: Timestamp::from_millis(millis),
                message: vec![0; len].into(),
            };
            self.queue.push(waiting, &mut self.pile)
        }

        fn pop(&mut self) {
            self.queue.pop(&mut self.pile);
        }

        fn others_are_held_back(&self) -> bool {
            self.room.is_of_others(None)
        }
    }

    #[test]
    fn a_peer_lags_from_a_mark_on_until_it_is_well_below() {
        let mut held = Held::new();
        assert!(!held.push(0, LAG_BYTES) && !held.others_are_held_back());
        assert!(held.push(0, CAUGHT_UP_BYTES), "from now on");
        assert!(held.others_are_held_back() && !held.queue.is_held_back());
        assert!(!held.push(0, 1), "it does already");
        held.pop();
        assert!(held.others_are_held_back(), "a byte too many");
        held.pop();
        assert!(!held.others_are_held_back());
        held.pop();
        assert!(held.queue.is_empty() && held.pile.is_empty() && held.queue.bytes == 0);
    }

    #[test]
    fn it_lags_by_number_too() {
        let mut held = Held::new();
        let began = (0..2 * LAG_MESSAGES).filter(|_| held.push(0, 1)).count();
        assert_eq!(began, 1);
        while held.queue.waiting.len() > CAUGHT_UP_MESSAGES {
            assert!(held.others_are_held_back());
            held.pop();
        }
        assert!(!held.others_are_held_back());
    }

    #[test]
    fn no_way_to_cease_leaves_others_held_back() {
        let ways: [fn(&mut Held); 4] = [
            |held| {
                held.queue.clear(&mut held.pile);
            },
            |held| held.queue.shut(ChannelId::default(), &mut held.pile),
            |held| {
                while !held.queue.is_empty() {
                    held.pop();
                }
            },
            |held| {
                let queue = Queue::new(held.room.clone());
                drop(std::mem::replace(&mut held.queue, queue));
                held.pile = Pile::default();
            },
        ];
        for cease in ways {
            let mut held = Held::new();
            for _ in 0..2 {
                held.push(0, LAG_BYTES + 1);
                held.push(0, LAG_BYTES + 1);
                assert!(held.others_are_held_back());
                cease(&mut held);
                assert!(!held.others_are_held_back() && held.pile.is_empty());
                assert_eq!(held.queue.oldest(), None);
            }
        }
    }

    #[test]
    fn the_oldest_is_found_wherever_it_waits() {
        let mut held = Held::new();
        let mut state = 7_u64;
        let mut expected: VecDeque<u64> = VecDeque::new();
        for step in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if step % 3 == 2 {
                held.pop();
                expected.pop_front();
            } else {
                held.push(state >> 60, 1);
                expected.push_back(state >> 60);
            }
            let oldest = expected.iter().min().map(|millis| Timestamp::from_millis(*millis));
            assert_eq!(held.queue.oldest(), oldest);
        }
    }
}
