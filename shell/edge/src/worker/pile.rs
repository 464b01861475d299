//! The reliable messages that wait in a worker for receivers that are slow.
//!
//! Owns: how many wait, and the bytes of them, of which each counts once however many it waits for: it is shared.
//! Not here: the messages, which their receivers' seats hold (`seat`); who is given up when they are too many (`turn`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::{WAITING_BYTES_MAX, WAITING_MAX};

#[derive(Debug, Default)]
pub(super) struct Pile {
    /// For how many a message waits, by where it lies: it lies there as long as somebody holds it.
    receivers: HashMap<usize, usize>,
    waiting: usize,
    bytes: usize,
}

impl Pile {
    /// A message waits for one more.
    pub(super) fn add(&mut self, message: &Arc<[u8]>) {
        let receivers = self.receivers.entry(place(message)).or_default();
        if *receivers == 0 {
            self.bytes += message.len();
        }
        *receivers += 1;
        self.waiting += 1;
    }

    /// A message waits for one less.
    pub(super) fn remove(&mut self, message: &Arc<[u8]>) {
        let Some(receivers) = self.receivers.get_mut(&place(message)) else { return };
        *receivers -= 1;
        self.waiting -= 1;
        if *receivers == 0 {
            self.receivers.remove(&place(message));
            self.bytes -= message.len();
        }
        if self.receivers.is_empty() {
            // Most workers have slow receivers now and then.
            self.receivers = HashMap::new();
        }
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > WAITING_BYTES_MAX || self.waiting > WAITING_MAX
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        (self.receivers.len(), self.waiting, self.bytes) == (0, 0, 0)
    }
}

fn place(message: &Arc<[u8]>) -> usize {
    message.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_once_for_all_that_it_waits_for() {
        let mut pile = Pile::default();
        let messages: Vec<Arc<[u8]>> =
            (0..3).map(|_| vec![0; WAITING_BYTES_MAX / 2].into()).collect();
        for _ in 0..10 {
            pile.add(&messages[0]);
            pile.add(&messages[1].clone());
        }
        assert!(!pile.is_too_large());
        pile.add(&messages[2]);
        assert!(pile.is_too_large());
        pile.remove(&messages[2]);
        for _ in 0..10 {
            assert!(!pile.is_too_large() && !pile.is_empty());
            pile.remove(&messages[1]);
            pile.remove(&messages[0]);
        }
        assert!(pile.is_empty());
    }

    #[test]
    fn those_that_wait_are_bounded_too() {
        let mut pile = Pile::default();
        let message: Arc<[u8]> = vec![1].into();
        for _ in 0..WAITING_MAX {
            pile.add(&message);
        }
        assert!(!pile.is_too_large());
        pile.add(&message);
        assert!(pile.is_too_large());
    }
}
