//! One thing measured many times, and what of it is worth saying.

use crate::sys::{allocations, thread_nanos};

/// Rounds of one measurement.
#[derive(Default)]
pub(crate) struct Rounds {
    nanos: Vec<f64>,
    allocations: u64,
    operations: u64,
}

/// What one operation takes.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// Nanoseconds in the best round.
    pub(crate) min: f64,
    /// Nanoseconds in the round that four of five exceed.
    pub(crate) p20: f64,
    /// Heap allocations, over all rounds.
    pub(crate) allocations: f64,
}

/// What a piece of a round took.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    nanos: u64,
    allocations: u64,
}

impl Spent {
    /// Adds what `work` takes.
    pub(crate) fn on(&mut self, work: impl FnOnce()) {
        let (time, heap) = (thread_nanos(), allocations());
        work();
        self.nanos += thread_nanos() - time;
        self.allocations += allocations() - heap;
    }
}

impl Rounds {
    /// A round in which `operations` were done.
    pub(crate) fn push(&mut self, spent: Spent, operations: usize) {
        self.nanos.push(spent.nanos as f64 / operations as f64);
        self.allocations += spent.allocations;
        self.operations += operations as u64;
    }

    /// The figure of all rounds so far.
    pub(crate) fn figure(mut self) -> Figure {
        self.nanos.sort_by(f64::total_cmp);
        Figure {
            min: self.nanos[0],
            p20: self.nanos[self.nanos.len() / 5],
            allocations: self.allocations as f64 / self.operations as f64,
        }
    }
}
