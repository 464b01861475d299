//! Reading files away from whoever needs what is in them: a file on a disk that is gone answers never.
//!
//! Owns: one reading under way, how long it is waited for, how many readers hang, when it is tried again.
//! Guarantees: nothing waits for a file but a thread of its own; of those that hang there are few, and while there
//! are, each try comes twice as long after the one before; one that comes free lets the next begin at once.
//! Not here: which files, and what follows from them (`reload`).

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Readers that hang and are left to themselves. With each wait twice as long as the one before, and
/// [`READ_WITHIN`] at first, the last begins after nine hours.
const HANGING_MAX: usize = 16;
/// Between two that were late: later would be no more than never.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// How long files are waited for. From a disk they come within milliseconds.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(1);

/// Reads again and again, one at a time.
pub(crate) struct Reading<T> {
    under_way: Option<UnderWay<T>>,
    hanging: Hanging,
    within: Duration,
}

struct UnderWay<T> {
    answer: oneshot::Receiver<T>,
    until: Instant,
}

/// Readers that were given up.
struct Hanging {
    /// Each reader holds one, until it ends.
    readers: Arc<()>,
    /// How many were not done when the last one was given up.
    last: usize,
    try_at: Option<Instant>,
    wait: Duration,
}

/// What came of a reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Read(T),
    /// The reader did not answer in time, or panicked; it is not waited for any more.
    Lost,
}

impl<T: Send + 'static> Reading<T> {
    /// Nothing is read yet; a reader is waited for so long.
    pub(crate) fn new(within: Duration) -> Self {
        let hanging = Hanging { readers: Arc::new(()), last: 0, try_at: None, wait: within };
        Self { under_way: None, hanging, within }
    }

    /// Whether another may begin: none is under way, and it is not too soon after one that hung.
    pub(crate) fn may_begin(&self) -> bool {
        self.under_way.is_none() && self.hanging.lets_begin(Instant::now())
    }

    /// Whether another may begin as soon as none is under way, because somebody asks for it.
    pub(crate) fn has_room(&self) -> bool {
        self.hanging.count() < HANGING_MAX
    }

    /// Begins to read on a thread of its own; what was under way is forgotten.
    pub(crate) fn begin(&mut self, read: impl FnOnce() -> T + Send + 'static) {
        let (give, answer) = oneshot::channel();
        let held = Arc::clone(&self.hanging.readers);
        let reader = move || {
            let _held = held;
            give.send(read()).ok();
            // The system keeps the stack for another thread.
            edge::stack::wipe();
        };
        // Without a thread nothing answers, which is said like that.
        thread::Builder::new().name("reader".to_owned()).spawn(reader).ok();
        self.under_way = Some(UnderWay { answer, until: Instant::now() + self.within });
    }

    /// Whether one is under way.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whoever reads now is not listened to any more.
    pub(crate) fn forget(&mut self) {
        self.under_way = None;
    }

    /// What comes of the one that is under way; nothing for ever if none is. May be dropped and asked again.
    pub(crate) async fn outcome(&mut self) -> Outcome<T> {
        let Some(UnderWay { answer, until }) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let answered = timeout_at(*until, answer).await;
        self.under_way = None;
        if let Ok(Ok(read)) = answered {
            self.hanging.none_any_more(self.within);
            return Outcome::Read(read);
        }
        self.hanging.one_more(Instant::now());
        Outcome::Lost
    }
}

impl Hanging {
    fn count(&self) -> usize {
        Arc::strong_count(&self.readers) - 1
    }

    fn lets_begin(&self, now: Instant) -> bool {
        let count = self.count();
        let has_come_free = count < self.last;
        count < HANGING_MAX && (has_come_free || self.try_at.is_none_or(|at| at <= now))
    }

    fn one_more(&mut self, now: Instant) {
        self.last = self.count();
        self.try_at = Some(now + self.wait);
        self.wait = self.wait.saturating_mul(2).min(WAIT_MAX);
    }

    fn none_any_more(&mut self, within: Duration) {
        (self.last, self.try_at, self.wait) = (0, None, within);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Lets the readers that wait for it end, one for each message.
    fn hung() -> (mpsc::Sender<()>, impl FnOnce() -> u32 + Send + 'static) {
        let (free, wait) = mpsc::channel::<()>();
        (free, move || {
            wait.recv().ok();
            7
        })
    }

    async fn until_it_ended(reading: &Reading<u32>, hanging: usize) {
        while reading.hanging.count() > hanging {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn readers_that_end_late_for_ever_wait_a_day_at_most() {
        let mut hanging = Reading::<u32>::new(Duration::from_secs(1)).hanging;
        let now = Instant::now();
        for _ in 0..200 {
            hanging.one_more(now);
        }
        assert_eq!(hanging.try_at, Some(now + WAIT_MAX));
    }

    #[tokio::test]
    async fn what_is_read_is_told_once() {
        let mut reading = Reading::new(Duration::from_secs(600));
        assert!(reading.may_begin() && !reading.is_under_way());
        reading.begin(|| 7);
        assert!(!reading.may_begin() && reading.is_under_way());
        assert_eq!(reading.outcome().await, Outcome::Read(7));
        assert!(reading.may_begin() && !reading.is_under_way());
        reading.begin(|| 8);
        reading.begin(|| 9);
        assert_eq!(reading.outcome().await, Outcome::Read(9), "the one before was forgotten");
    }

    #[tokio::test]
    async fn a_reader_that_hangs_is_given_up_and_one_that_panics_as_well() {
        let mut reading = Reading::new(Duration::ZERO);
        let (free, hang) = hung();
        reading.begin(hang);
        assert_eq!(reading.outcome().await, Outcome::Lost);
        assert!(!reading.is_under_way() && reading.hanging.count() == 1 && reading.has_room());
        drop(free);
        let mut reading = Reading::<u32>::new(Duration::from_secs(600));
        reading.begin(|| panic!("a reader's"));
        assert_eq!(reading.outcome().await, Outcome::Lost);
    }

    #[tokio::test]
    async fn tries_come_ever_later_until_one_comes_free_and_those_that_hang_are_bounded() {
        let mut hanging =
            Hanging { readers: Arc::new(()), last: 0, try_at: None, wait: READ_WITHIN };
        let begin = Instant::now();
        let mut now = begin;
        let mut readers = Vec::new();
        while hanging.lets_begin(now) {
            readers.push(Arc::clone(&hanging.readers));
            hanging.one_more(now);
            let soon = now + READ_WITHIN * 2_u32.pow(u32::try_from(readers.len()).unwrap() - 1);
            assert!(!hanging.lets_begin(soon - Duration::from_millis(1)));
            now = soon;
        }
        assert_eq!(readers.len(), HANGING_MAX);
        assert!(now - begin > Duration::from_secs(9 * 3_600));
        readers.pop();
        assert!(hanging.lets_begin(begin), "one has come free");
        hanging.none_any_more(READ_WITHIN);
        assert!(hanging.lets_begin(begin));
    }

    #[tokio::test]
    async fn one_that_answers_too_late_lets_the_next_begin_at_once() {
        let mut reading = Reading::new(Duration::from_millis(1));
        let (free, hang) = hung();
        reading.begin(hang);
        assert_eq!(reading.outcome().await, Outcome::Lost);
        reading.hanging.try_at = Some(Instant::now() + Duration::from_secs(600));
        assert!(!reading.may_begin());
        free.send(()).unwrap();
        until_it_ended(&reading, 0).await;
        assert!(reading.may_begin());
        reading.within = Duration::from_secs(600);
        reading.begin(|| 8);
        assert_eq!(reading.outcome().await, Outcome::Read(8));
    }
}
