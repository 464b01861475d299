//! Which workers have room for newcomers, by how busy each is.
//!
//! Owns: the share of its time that each worker was last busy, and whether it is full.
//! Guarantees: a worker that is full stays so until it is clearly less busy, so that a node at its limit does not
//! change its mind with every join.
//! Not here: measuring (`edge`), where among several a newcomer goes (`presence`).

use model::{Share, WorkerId};

/// A full worker takes newcomers again at five sixths of the limit: what a few of them bring lies between.
const RELIEF: (u16, u16) = (5, 6);

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    share: Share,
    is_full: bool,
}

/// What each worker can take.
#[derive(Debug)]
pub(super) struct Capacity {
    limit: Share,
    /// Of those that have said anything.
    workers: Vec<Held>,
}

impl Capacity {
    /// A worker is full above `limit`; none ever is when that is all of its time.
    pub(super) const fn new(limit: Share) -> Self {
        Self { limit, workers: Vec::new() }
    }

    /// A worker was so busy. `count` is how many there are.
    pub(super) fn hear(&mut self, worker: WorkerId, share: Share, count: usize) {
        let place = usize::from(worker.0);
        if place >= count {
            return;
        }
        if self.workers.len() < count {
            self.workers.resize(count, Held::default());
        }
        if let Some(held) = self.workers.get_mut(place) {
            let bar = if held.is_full { self.limit.scaled(RELIEF.0, RELIEF.1) } else { self.limit };
            *held = Held { share, is_full: share > bar };
        }
    }

    /// Whether it takes nobody more.
    pub(super) fn is_full(&self, worker: WorkerId) -> bool {
        self.workers.get(usize::from(worker.0)).is_some_and(|held| held.is_full)
    }

    /// How busy it was.
    pub(super) fn share(&self, worker: WorkerId) -> Share {
        self.workers.get(usize::from(worker.0)).map_or(Share::NOTHING, |held| held.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_worker_stays_full_until_it_is_clearly_less_busy() {
        let mut capacity = Capacity::new(Share::from_permille(900));
        let mut hear = |permille| {
            capacity.hear(WorkerId(0), Share::from_permille(permille), 2);
            capacity.is_full(WorkerId(0))
        };
        assert!(!hear(900));
        assert!(hear(901));
        assert!(hear(899) && hear(751), "it may rise again at once");
        assert!(!hear(750));
        assert!(!hear(900));
        assert!(!capacity.is_full(WorkerId(1)), "the other is another");
        assert_eq!(capacity.share(WorkerId(0)).as_permille(), 900);
    }

    #[test]
    fn without_a_limit_none_is_full_and_workers_that_are_not_there_are_not_heard() {
        let mut capacity = Capacity::new(Share::ALL);
        capacity.hear(WorkerId(0), Share::ALL, 1);
        assert!(!capacity.is_full(WorkerId(0)));
        capacity.hear(WorkerId(200), Share::ALL, 1);
        assert_eq!(capacity.workers.len(), 1);
    }
}
