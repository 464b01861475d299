//! Who was put out for good, for clients whose signalling was away when they were told.
//!
//! Owns: of the node the participants that were told not to come again, and why.
//! Guarantees: their ids alone, of which nobody else's client can make anything that it was not told; at most
//! [`PUT_OUT_MAX`] of them, the latest, and of no use after [`GONE_TIME_MAX`].
//! Not here: those who may come again, and whoever left by itself.

use std::collections::{BTreeMap, VecDeque};

use model::{ParticipantSid, Timestamp};
use sfu::control::DepartureReason;

use crate::limits::{GONE_TIME_MAX, PUT_OUT_MAX};

#[derive(Debug, Default)]
pub(super) struct PutOut {
    reasons: BTreeMap<ParticipantSid, (Timestamp, DepartureReason)>,
    /// Oldest first.
    order: VecDeque<ParticipantSid>,
}

impl PutOut {
    pub(super) fn note(&mut self, now: Timestamp, sid: ParticipantSid, reason: DepartureReason) {
        while let Some(first) = self.order.front()
            && (self.order.len() >= PUT_OUT_MAX || self.why(now, first).is_none())
        {
            self.reasons.remove(first);
            self.order.pop_front();
        }
        self.reasons.insert(sid.clone(), (now, reason));
        self.order.push_back(sid);
    }

    /// Why this participant was put out, if it was.
    pub(super) fn why(&self, now: Timestamp, sid: &ParticipantSid) -> Option<DepartureReason> {
        let held = self.reasons.get(sid).filter(|(at, _)| now < *at + GONE_TIME_MAX);
        held.map(|(_, reason)| *reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_no_more_of_them_than_are_named() {
        let sid = |number: usize| ParticipantSid::from_wire(&format!("PA_{number}"));
        let mut put_out = PutOut::default();
        let (now, reason) = (Timestamp::from_millis(5), DepartureReason::Removed);
        for number in 0..=PUT_OUT_MAX {
            put_out.note(now, sid(number), reason);
        }
        assert_eq!((put_out.reasons.len(), put_out.order.len()), (PUT_OUT_MAX, PUT_OUT_MAX));
        assert_eq!((put_out.why(now, &sid(0)), put_out.why(now, &sid(1))), (None, Some(reason)));
        let later = now + GONE_TIME_MAX;
        assert_eq!(put_out.why(later, &sid(1)), None);
        put_out.note(later, sid(0), reason);
        assert_eq!((put_out.reasons.len(), put_out.order.len()), (1, 1));
    }
}
