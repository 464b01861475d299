//! Whether the hub and the media workers still answer, and how busy they are.
//!
//! Owns: when each was last asked and last answered, and what it said then: how much of its time a worker is busy,
//! how many participants the hub counts, and whether it lets newcomers in.
//! Guarantees: whoever stops answering is known to have by [`SILENCE_MAX`] after its last answer; at most one
//! question waits for each.
//! Not here: what a client is told of it (`http`), ending what hangs (the operator's, by `/livez` and `/readyz`).
//! Source: LiveKit `healthCheck` in `pkg/service/server.go`, which calls a node unwell after 4 s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{Share, WorkerId};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::listener::Phase;
use crate::session::ToHub;
use crate::worker::{ToWorker, Workers};

/// How often each is asked: twice in the time over which a worker reckons how busy it is.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How old an answer may be: eight questions.
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
    /// Thousandths of its time; the hub says nothing of that.
    busy: AtomicU16,
}

/// The last answers of all.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    beats: Vec<Beat>,
    participants: AtomicUsize,
    is_busy: AtomicBool,
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
            busy: AtomicU16::new(0),
        });
        Self {
            origin,
            beats: beats.collect(),
            participants: AtomicUsize::new(0),
            is_busy: AtomicBool::new(false),
        }
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
    fn answer(&self, organ: Organ, now: Instant) {
        if let Some(beat) = self.beat(organ) {
            let since = now.saturating_duration_since(self.origin).as_millis();
            beat.answered_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
            beat.is_asked.store(false, Ordering::Relaxed);
        }
    }

    /// A worker answers, and says how much of its time it is busy.
    pub(crate) fn answer_worker(&self, worker: WorkerId, busy: Share, now: Instant) {
        if let Some(beat) = self.beat(Organ::Worker(worker)) {
            beat.busy.store(busy.as_permille(), Ordering::Relaxed);
        }
        self.answer(Organ::Worker(worker), now);
    }

    /// The hub answers, and says how many participants there are, and whether the workers are too busy for more.
    pub fn answer_hub(&self, participants: usize, is_busy: bool, now: Instant) {
        self.participants.store(participants, Ordering::Relaxed);
        self.is_busy.store(is_busy, Ordering::Relaxed);
        self.answer(Organ::Hub, now);
    }

    /// How much of its time each worker was busy when it last answered.
    pub(crate) fn busy(&self) -> impl Iterator<Item = (WorkerId, Share)> {
        self.beats.iter().filter_map(|beat| match beat.organ {
            Organ::Hub => None,
            Organ::Worker(worker) => {
                Some((worker, Share::from_permille(beat.busy.load(Ordering::Relaxed))))
            }
        })
    }

    /// Whether newcomers were refused because the workers are too busy when the hub last answered.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
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
    hub: mpsc::Sender<Box<ToHub>>,
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
        if pulse.ask(Organ::Hub) && hub.try_send(Box::new(ToHub::Beat(Arc::clone(&pulse)))).is_err()
        {
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
        pulse.answer_hub(7, true, origin + LONG);
        assert_eq!((pulse.participants(), pulse.is_busy()), (7, true));
        pulse.answer_worker(WorkerId(0), Share::from_permille(250), origin + LONG);
        let busy: Vec<u16> = pulse.busy().map(|(_, share)| share.as_permille()).collect();
        assert_eq!(busy, [250, 0]);
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
