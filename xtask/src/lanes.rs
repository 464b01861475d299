//! Runs scenarios two at a time where they leave each other in peace.
//!
//! Owns: which may run at once. Guarantees: what fails beside another is tried again with the machine to itself, and
//! that verdict holds, since it may be a measurement that had too little of a processor; but not what fails for a
//! reason that no processor makes good. Not here: what a scenario does, and which reasons those are.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// How many share the machine: CI has two cores, and scenarios wait most of their time.
const LANES: usize = 2;

/// What must be nobody else's meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The machine: it measures time or loss.
    Machine,
    /// The one network namespace.
    Network,
    Nothing,
}

/// Which of the two that one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    First,
    /// Alone, after it failed beside another.
    Again,
}

/// How one ended.
pub(crate) struct Ended<R> {
    pub(crate) took: Duration,
    pub(crate) outcome: Result<R, Failure>,
    /// Why it failed before, beside another.
    pub(crate) before: Option<Failure>,
}

/// Does `act` with each of `items` and tells how it ended: first those that share the machine, then the others, each in
/// their order. A failure that `is_final` is not tried again.
pub(crate) fn run<T: Copy + Send, R: Send>(
    items: Vec<(T, Needs)>,
    act: impl Fn(T, Try) -> Result<R, Failure> + Sync,
    is_final: impl Fn(T, &Failure) -> bool,
    mut tell: impl FnMut(T, Ended<R>),
) {
    let (alone, shared): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|(_, needs)| *needs == Needs::Machine);
    let is_shared = shared.len() > 1;
    let timed = |item, which| {
        let began = Instant::now();
        let outcome = act(item, which);
        (began.elapsed(), outcome)
    };
    let mut again = Vec::new();
    let left = Mutex::new(Left { items: shared, is_network_taken: false });
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..LANES {
            let (sender, left, timed) = (sender.clone(), &left, &timed);
            scope.spawn(move || {
                let mut held = Needs::Nothing;
                while let Some((item, needs)) = next(left, held) {
                    held = needs;
                    // Nobody has hung up: the receiver waits for all.
                    drop(sender.send((item, timed(item, Try::First))));
                }
            });
        }
        drop(sender);
        for (item, (took, outcome)) in receiver {
            match outcome {
                Err(failure) if is_shared && !is_final(item, &failure) => {
                    again.push((item, failure))
                }
                Ok(_) | Err(_) => tell(item, Ended { took, outcome, before: None }),
            }
        }
    });
    let again = again.into_iter().map(|(item, failure)| (item, Some(failure)));
    for (item, before) in again.chain(alone.into_iter().map(|(item, _)| (item, None))) {
        let which = if before.is_some() { Try::Again } else { Try::First };
        let (took, outcome) = timed(item, which);
        tell(item, Ended { took, outcome, before });
    }
}

/// What waits for a lane.
struct Left<T> {
    items: Vec<(T, Needs)>,
    is_network_taken: bool,
}

/// The next for a lane that has done with what it `held`. `None` if there is none that may run beside the other: that
/// one's lane goes on to the rest.
fn next<T>(left: &Mutex<Left<T>>, held: Needs) -> Option<(T, Needs)> {
    let mut left = left.lock().ok()?;
    left.is_network_taken &= held != Needs::Network;
    let is_taken = left.is_network_taken;
    let at = left.items.iter().position(|(_, needs)| *needs != Needs::Network || !is_taken)?;
    let chosen = left.items.remove(at);
    left.is_network_taken |= chosen.1 == Needs::Network;
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicU32, Ordering};

    /// Runs these, each for a moment: in which order they ended, how many ran at once, and how many of those had the
    /// network.
    fn ran(needs: &[Needs]) -> (Vec<usize>, u32, u32) {
        let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let (networks, most_networks) = (AtomicU32::new(0), AtomicU32::new(0));
        let mut order = Vec::new();
        run(
            needs.iter().copied().enumerate().collect(),
            |at, _| {
                let uses = u32::from(needs[at] == Needs::Network);
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let now = networks.fetch_add(uses, Ordering::SeqCst) + uses;
                most_networks.fetch_max(now, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                networks.fetch_sub(uses, Ordering::SeqCst);
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
            |_, _| false,
            |at, _| order.push(at),
        );
        (order, most.into_inner(), most_networks.into_inner())
    }

    #[test]
    fn one_has_the_machine_and_one_the_network() {
        let (order, most, _) = ran(&[Needs::Machine, Needs::Machine]);
        assert_eq!((order, most), (vec![0, 1], 1));
        let (order, most, networks) =
            ran(&[Needs::Machine, Needs::Network, Needs::Network, Needs::Nothing, Needs::Network]);
        assert_eq!((order.len(), order[4], most, networks), (5, 0, 2, 1));
    }

    #[test]
    fn what_fails_beside_another_is_tried_again_alone_unless_that_cannot_help() {
        let cases =
            [(Needs::Nothing, false, 2), (Needs::Machine, false, 1), (Needs::Nothing, true, 1)];
        for (needs, is_final, tries) in cases {
            let count = AtomicU32::new(0);
            let mut told = Vec::new();
            run(
                vec![(0, needs), (1, needs)],
                |at, which| match at {
                    0 => Err(format!("{which:?} {}", count.fetch_add(1, Ordering::SeqCst))),
                    _ => Ok(()),
                },
                |at, failure| at == 0 && failure == "First 0" && is_final,
                |at, ended| told.push((at, ended.outcome.err(), ended.before)),
            );
            told.sort();
            let before = (tries == 2).then(|| "First 0".to_owned());
            let last = if tries == 2 { "Again 1" } else { "First 0" };
            assert_eq!(told, [(0, Some(last.to_owned()), before), (1, None, None)]);
            assert_eq!(count.into_inner(), tries);
        }
    }
}
