//! A room's last reliable data packets, for those who could not receive them when they were sent.
//!
//! Guarantees: at most [`REPLAY_PACKETS_MAX`] and [`REPLAY_BYTES_MAX`] of them, none after
//! [`REPLAY_TIME_MAX`], and nothing of who left [`REPLAY_GONE_TIME_MAX`] after that (neither what it sent nor its
//! name in others' packets), if [`Replay::forget`] is called when [`Replay::due`] says.
//! Source: LiveKit `pkg/rtc/room.go` (`dataMessageCache`).

use std::collections::VecDeque;
use std::sync::Arc;

use model::{CallContent, Identity, ParticipantSid, Timestamp};
use wire::data::{self, Audience};

use crate::limits::{
    REPLAY_BYTES_MAX, REPLAY_GONE_MAX, REPLAY_GONE_TIME_MAX, REPLAY_PACKETS_MAX, REPLAY_TIME_MAX,
};

/// A packet as it was sent.
pub(super) struct Sent {
    /// When it came, at the earliest: what its time here and with those who receive it counts from.
    pub(super) at: Timestamp,
    /// When it was passed on, which is later if its sender was held back: who was there by then.
    pub(super) passed: Timestamp,
    pub(super) from: ParticipantSid,
    pub(super) sequence: u32,
    /// In whose name an agent sent it.
    pub(super) on_behalf_of: Option<Identity>,
    pub(super) audience: Audience,
    pub(super) content: CallContent<Arc<[u8]>>,
}

impl std::fmt::Debug for Sent {
    /// Whose and which, not what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sent").field(&self.from).field(&self.sequence).finish()
    }
}

impl Sent {
    /// Whether the packet was for that participant.
    pub(super) fn is_for(&self, identity: &Identity, sid: &ParticipantSid) -> bool {
        self.from != *sid && self.audience.includes(identity, sid)
    }
}

/// A participant that left, of which there is something here.
#[derive(Debug)]
struct Gone {
    at: Timestamp,
    sid: ParticipantSid,
    identity: Identity,
}

impl Gone {
    /// Whether it said this, or an agent did in its name. `back`: since when another has its identity.
    fn said(&self, sent: &Sent, back: Option<Timestamp>) -> bool {
        sent.from == self.sid
            || is_before(sent, back) && sent.on_behalf_of.as_ref() == Some(&self.identity)
    }

    /// Whether it is named as one that this is for.
    fn is_named(&self, sent: &Sent, back: Option<Timestamp>) -> bool {
        is_before(sent, back) && sent.audience.names(&self.identity, &self.sid)
    }
}

fn is_before(sent: &Sent, at: Option<Timestamp>) -> bool {
    at.is_none_or(|at| sent.passed < at)
}

#[derive(Debug, Default)]
pub(super) struct Replay {
    sent: VecDeque<Sent>,
    bytes: usize,
    /// Whoever left since [`REPLAY_GONE_TIME_MAX`], in that order: at most [`REPLAY_GONE_MAX`].
    gone: VecDeque<Gone>,
}

impl Replay {
    pub(super) fn push(&mut self, sent: Sent) {
        self.bytes += sent.content.expose().len();
        let now = sent.at;
        // What came of somebody who is held back may have come before what was passed on first. What comes of one
        // comes in order.
        let later = self.sent.iter().rev().take_while(|held| held.at > now).count();
        self.sent.insert(self.sent.len() - later, sent);
        self.trim(now);
    }

    /// In the order in which they came.
    pub(super) fn iter(&mut self, now: Timestamp) -> impl Iterator<Item = &Sent> {
        self.trim(now);
        self.sent.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The participant left. What it said is kept for a moment, for those who are just coming back.
    pub(super) fn see_off(&mut self, at: Timestamp, sid: ParticipantSid, identity: Identity) {
        self.gone.push_back(Gone { at, sid, identity });
        if self.gone.len() > REPLAY_GONE_MAX
            && let Some(first) = self.gone.pop_front()
        {
            self.erase(&first, None);
        }
    }

    /// When the oldest packet, or what is left of who left first, has been kept long enough.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let oldest = self.sent.front().map(|oldest| oldest.at + REPLAY_TIME_MAX);
        let gone = self.gone.front().map(|gone| gone.at + REPLAY_GONE_TIME_MAX);
        [oldest, gone].into_iter().flatten().min()
    }

    /// Drops what is too much or too old, and what is left of those who left long enough ago. `back`: since when
    /// another has that identity here.
    pub(super) fn forget(&mut self, now: Timestamp, back: impl Fn(&Identity) -> Option<Timestamp>) {
        self.trim(now);
        let is_due = |gone: &mut Gone| now.since(gone.at) >= REPLAY_GONE_TIME_MAX;
        while let Some(gone) = self.gone.pop_front_if(is_due) {
            self.erase(&gone, back(&gone.identity));
        }
    }

    /// Drops what is too much or too old.
    fn trim(&mut self, now: Timestamp) {
        while let Some(oldest) = self.sent.front() {
            if self.sent.len() <= REPLAY_PACKETS_MAX
                && self.bytes <= REPLAY_BYTES_MAX
                && now.since(oldest.at) < REPLAY_TIME_MAX
            {
                return;
            }
            self.bytes -= oldest.content.expose().len();
            self.sent.pop_front();
        }
    }

    /// Drops what it said, and takes its name off what others said to it and to more.
    fn erase(&mut self, gone: &Gone, back: Option<Timestamp>) {
        self.sent.retain_mut(|sent| {
            if gone.said(sent, back) {
                return false;
            }
            if !gone.is_named(sent, back) {
                return true;
            }
            // For nobody else: an audience without names would be everybody.
            if !sent.audience.remove(&gone.identity, &gone.sid) {
                return false;
            }
            let rest = data::unaddressed(sent.content.expose(), &gone.identity, &gone.sid);
            let is_whole = rest.is_some();
            sent.content = CallContent::new(rest.unwrap_or_default().into());
            is_whole
        });
        self.bytes = self.sent.iter().map(|sent| sent.content.expose().len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64, sequence: u32, len: usize) -> Sent {
        Sent {
            at: Timestamp::from_millis(at),
            passed: Timestamp::from_millis(at),
            from: ParticipantSid::from_wire("PA_x"),
            sequence,
            on_behalf_of: None,
            audience: Audience::default(),
            content: CallContent::new(vec![0; len].into()),
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut replay = Replay::default();
        for sequence in 1..=u32::try_from(REPLAY_PACKETS_MAX).unwrap() + 2 {
            replay.push(sent(0, sequence, 1));
        }
        let held: Vec<u32> = replay.iter(Timestamp::ZERO).map(|sent| sent.sequence).collect();
        assert_eq!((held.len(), held[0]), (REPLAY_PACKETS_MAX, 3));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes_or_too_much_time() {
        let mut replay = Replay::default();
        replay.push(sent(0, 1, 10));
        replay.push(sent(5000, 2, 10));
        let held = |replay: &mut Replay, at| {
            let each = replay.iter(Timestamp::from_millis(at)).map(|sent| sent.sequence);
            each.collect::<Vec<_>>()
        };
        assert_eq!(held(&mut replay, 6999), [1, 2]);
        assert_eq!(replay.due(), Some(Timestamp::from_millis(7000)));
        assert_eq!(held(&mut replay, 7000), [2]);
        replay.push(sent(7100, 3, REPLAY_BYTES_MAX));
        assert_eq!(held(&mut replay, 7100), [3]);
    }

    #[test]
    fn who_leaves_in_a_crowd_is_forgotten_sooner_and_never_later() {
        let mut replay = Replay::default();
        let sid = |number: usize| ParticipantSid::from_wire(&format!("PA_{number}"));
        for number in 0..=REPLAY_GONE_MAX {
            replay.push(Sent { from: sid(number), ..sent(0, 1, 1) });
        }
        for number in 0..=REPLAY_GONE_MAX {
            replay.see_off(Timestamp::from_millis(5), sid(number), Identity::new("ada"));
            assert!(replay.gone.len() <= REPLAY_GONE_MAX);
        }
        assert_eq!(replay.due(), Some(Timestamp::from_millis(5) + REPLAY_GONE_TIME_MAX));
        replay.forget(replay.due().unwrap(), |_| None);
        assert_eq!((replay.len(), replay.bytes, replay.due()), (0, 0, None));
    }
}
