//! When one receiver of a picture may have another key frame, for which all others of it pay.
//!
//! Owns: when it was sent one last, when it asked last, how long it has to wait by now; what may begin at its wish; how
//! soon it may rise again to what its way took.
//! Guarantees: who asks again after each that it was sent has one each `limits::KEYFRAME_PATIENCE_MAX` in the end, from
//! one to the next, so that what all who insist are sent comes at once, and so do their next requests. Who has a
//! picture begin again and again, whether it waits for it or not, has no more of them. A layer that is taken soon after
//! it was given is given later each time; any picture at all no later than `limits::KEYFRAME_PATIENCE_MAX`.
//! Not here: how often a stream's publisher is asked at all (`feedback`).

use std::time::Duration;

use model::{Ration, Timestamp};

use crate::limits;

/// Of one receiver and one track.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    sent: Option<Timestamp>,
    asked: Option<Timestamp>,
    /// From a key frame to the next.
    length: Duration,
    wishes: Ration,
    rose: Option<Timestamp>,
    fell: Timestamp,
    /// From the last fall until it may rise.
    pause: Duration,
}

impl Patience {
    pub(super) const fn new() -> Self {
        let wishes = Ration::new(limits::WISHES_BURST);
        let (length, pause) = (Duration::ZERO, Duration::ZERO);
        Self { sent: None, asked: None, length, wishes, rose: None, fell: Timestamp::ZERO, pause }
    }

    /// It is sent a key frame.
    pub(super) const fn sent(&mut self, now: Timestamp) {
        self.sent = Some(now);
    }

    /// When the key frame may be asked for that it asks for now.
    pub(super) fn due(&mut self, now: Timestamp) -> Timestamp {
        match self.asked.replace(now) {
            Some(before) if now.since(before) < limits::KEYFRAME_PATIENCE_MEMORY => {
                if self.sent > Some(before) {
                    let longer = (self.length * 2).max(limits::KEYFRAME_INTERVAL);
                    self.length = longer.min(limits::KEYFRAME_PATIENCE_MAX);
                }
            }
            _ => self.length = Duration::ZERO,
        }
        self.sent.map_or(now, |at| at + self.length)
    }

    /// It has more than before, or will once that begins.
    pub(super) const fn rose(&mut self, now: Timestamp) {
        self.rose = Some(now);
    }

    /// Its way took some of it.
    pub(super) fn fell(&mut self, now: Timestamp) {
        match self.rose.take() {
            Some(rose) if now.since(rose) < limits::RISE_PATIENCE_MEMORY => self.pause *= 2,
            Some(_) => self.pause = Duration::ZERO,
            // It falls further.
            None => {}
        }
        self.pause = self.pause.clamp(limits::KEYFRAME_INTERVAL, limits::RISE_PATIENCE_MAX);
        self.fell = now;
    }

    /// Whether its way may give it more than it has, or, if it has nothing, anything.
    pub(super) fn may_rise(&self, now: Timestamp, has_some: bool) -> bool {
        let longest = if has_some { self.pause } else { limits::KEYFRAME_PATIENCE_MAX };
        let may_begin = self.wishes.affords_at(limits::KEYFRAME_PATIENCE_MAX) <= now;
        may_begin && now.since(self.fell) >= self.pause.min(longest)
    }

    /// Whether what it wishes for may begin now; taken from what may.
    pub(super) fn begin(&mut self, now: Timestamp) -> bool {
        self.wishes.take(now, limits::KEYFRAME_PATIENCE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each of those waits that ask so long after what they were sent.
    fn waits(after_ms: u64) -> Vec<u128> {
        let (mut patience, mut now) = (Patience::new(), Timestamp::from_millis(60_000));
        (0..6)
            .map(|_| {
                let due = patience.due(now).max(now);
                let wait = due.since(now).as_millis();
                let sent = due + Duration::from_millis(100);
                patience.sent(sent);
                now = sent + Duration::from_millis(after_ms);
                wait
            })
            .collect()
    }

    #[test]
    fn who_asks_again_at_once_waits_longer_each_time_and_who_takes_its_time_does_not() {
        assert_eq!(waits(1), [0, 499, 999, 1_999, 1_999, 1_999]);
        assert_eq!(waits(600), [0, 0, 400, 1_400, 1_400, 1_400]);
        assert_eq!(waits(2_000), [0; 6]);
        assert_eq!(waits(10_000), [0; 6]);
    }

    #[test]
    fn to_ask_ever_again_for_one_that_does_not_come_makes_nobody_wait() {
        let mut patience = Patience::new();
        for millis in 0..5_000 {
            let now = Timestamp::from_millis(millis);
            assert_eq!(patience.due(now), now);
        }
    }

    #[test]
    fn a_few_wishes_are_granted_at_once_and_then_one_every_two_seconds() {
        let mut patience = Patience::new();
        let granted: Vec<_> = (60_000..70_000)
            .step_by(100)
            .filter(|millis| patience.begin(Timestamp::from_millis(*millis)))
            .collect();
        let expected = [60_000, 60_100, 60_200, 60_300, 62_000, 64_000, 66_000, 68_000];
        assert_eq!(granted, expected);
    }
}
