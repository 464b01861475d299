//! Whether the hub and the media workers still answer.
//!
//! Owns: when each was last asked and last answered, and how many participants the hub counted then.
//! Guarantees: whoever stops answering is known to have by [`SILENCE_MAX`] after its last answer; at most one
//! question waits for each.
//! Not here: what a client is told of it (`http`), ending what hangs (the operator's, by `/livez` and `/readyz`).
//! Source: LiveKit `healthCheck` in `pkg/service/server.go`, which calls a node unwell after 4 s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::WorkerId;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::listener::Phase;
use crate::session::ToHub;
use crate::worker::{ToWorker, Workers};

/// How often each is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How old an answer may be: four questions.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Organ {
    /// The one task that decides.
    Hub,
    /// A media thread.
    Worker(WorkerId),
}

impl fmt::Display for Organ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Worker(worker) => write!(f, "media worker {}", worker.0),
        }
    }
}

#[derive(Debug)]
struct Beat {
    organ: Organ,
    /// Milliseconds after the origin.
    answered_ms: AtomicU64,
    is_asked: AtomicBool,
}

/// The last answers of all.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    beats: Vec<Beat>,
    participants: AtomicUsize,
}

impl Pulse {
    /// Of the hub and `workers` media workers, who all count as having answered at `origin`.
    #[must_use]
    pub fn new(origin: Instant, workers: u8) -> Self {
        let organs = std::iter::once(Organ::Hub);
        let organs = organs.chain((0..workers).map(|id| Organ::Worker(WorkerId(id))));
        let beats = organs.map(|organ| Beat {
            organ,
            answered_ms: AtomicU64::new(0),
            is_asked: AtomicBool::new(false),
        });
        Self { origin, beats: beats.collect(), participants: AtomicUsize::new(0) }
    }

    /// Whether it is to be asked: not while an earlier question waits.
    fn ask(&self, organ: Organ) -> bool {
        self.beat(organ).is_some_and(|beat| !beat.is_asked.swap(true, Ordering::Relaxed))
    }

    /// A question did not reach it.
    fn unask(&self, organ: Organ) {
        if let Some(beat) = self.beat(organ) {
            beat.is_asked.store(false, Ordering::Relaxed);
        }
    }

    /// It answers at `now`.
    pub(crate) fn answer(&self, organ: Organ, now: Instant) {
        if let Some(beat) = self.beat(organ) {
            let since = now.saturating_duration_since(self.origin).as_millis();
            beat.answered_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
            beat.is_asked.store(false, Ordering::Relaxed);
        }
    }

    /// The hub answers, and says how many participants there are.
    pub(crate) fn answer_hub(&self, participants: usize, now: Instant) {
        self.participants.store(participants, Ordering::Relaxed);
        self.answer(Organ::Hub, now);
    }

    /// How many participants there were when the hub last answered.
    pub(crate) fn participants(&self) -> usize {
        self.participants.load(Ordering::Relaxed)
    }

    /// The first that has not answered for too long.
    pub(crate) fn silent(&self, now: Instant) -> Option<Organ> {
        let since = now.saturating_duration_since(self.origin);
        let is_silent = |beat: &&Beat| {
            let answered = Duration::from_millis(beat.answered_ms.load(Ordering::Relaxed));
            since.saturating_sub(answered) > SILENCE_MAX
        };
        self.beats.iter().find(is_silent).map(|beat| beat.organ)
    }

    fn beat(&self, organ: Organ) -> Option<&Beat> {
        self.beats.iter().find(|beat| beat.organ == organ)
    }
}

/// Asks all of them, over and over, until the server closes.
pub(crate) async fn keep(
    pulse: Arc<Pulse>,
    hub: mpsc::Sender<ToHub>,
    workers: Arc<Workers>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = Phase::closing(&mut phase) => return,
        }
        if pulse.ask(Organ::Hub) && hub.try_send(ToHub::Beat(Arc::clone(&pulse))).is_err() {
            pulse.unask(Organ::Hub);
        }
        for worker in (0..workers.count()).filter_map(|id| u8::try_from(id).ok()).map(WorkerId) {
            if pulse.ask(Organ::Worker(worker)) {
                workers.send(worker, ToWorker::Beat(Arc::clone(&pulse)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn whoever_does_not_answer_is_named_and_who_answers_again_is_well() {
        let origin = Instant::now();
        let pulse = Pulse::new(origin, 2);
        assert_eq!(pulse.silent(origin + SILENCE_MAX), None);
        assert_eq!(pulse.silent(origin + LONG), Some(Organ::Hub));
        pulse.answer_hub(7, origin + LONG);
        assert_eq!(pulse.participants(), 7);
        pulse.answer(Organ::Worker(WorkerId(0)), origin + LONG);
        assert_eq!(pulse.silent(origin + LONG), Some(Organ::Worker(WorkerId(1))));
        pulse.answer(Organ::Worker(WorkerId(1)), origin + LONG);
        assert_eq!(pulse.silent(origin + LONG), None);
        assert_eq!(pulse.silent(origin + 2 * LONG), Some(Organ::Hub));
    }

    #[test]
    fn one_question_waits_at_most() {
        let origin = Instant::now();
        let pulse = Pulse::new(origin, 1);
        assert!(pulse.ask(Organ::Hub));
        assert!(!pulse.ask(Organ::Hub));
        pulse.unask(Organ::Hub);
        assert!(pulse.ask(Organ::Hub));
        pulse.answer(Organ::Hub, origin);
        assert!(pulse.ask(Organ::Hub));
        assert!(!pulse.ask(Organ::Worker(WorkerId(9))), "there is none");
    }
}
