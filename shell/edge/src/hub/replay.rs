//! A room's last reliable data packets, for those who could not receive them when they were sent.
//!
//! Guarantees: at most [`REPLAY_PACKETS_MAX`] and [`REPLAY_BYTES_MAX`] of them, none after
//! [`REPLAY_TIME_MAX`] if [`Replay::forget`] is called when [`Replay::due`] says.
//! Source: LiveKit `pkg/rtc/room.go` (`dataMessageCache`).

use std::collections::VecDeque;
use std::sync::Arc;

use model::{CallContent, Identity, ParticipantSid, Timestamp};
use wire::data::Audience;

use crate::limits::{REPLAY_BYTES_MAX, REPLAY_PACKETS_MAX, REPLAY_TIME_MAX};

/// A packet as it was sent.
pub(super) struct Sent {
    pub(super) at: Timestamp,
    pub(super) from: ParticipantSid,
    pub(super) sequence: u32,
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

#[derive(Debug, Default)]
pub(super) struct Replay {
    sent: VecDeque<Sent>,
    bytes: usize,
}

impl Replay {
    pub(super) fn push(&mut self, sent: Sent) {
        self.bytes += sent.content.expose().len();
        let now = sent.at;
        self.sent.push_back(sent);
        self.forget(now);
    }

    /// In the order in which they were sent.
    pub(super) fn iter(&mut self, now: Timestamp) -> impl Iterator<Item = &Sent> {
        self.forget(now);
        self.sent.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// When the oldest packet has been kept long enough.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.sent.front().map(|oldest| oldest.at + REPLAY_TIME_MAX)
    }

    /// Drops what is too much or too old.
    pub(super) fn forget(&mut self, now: Timestamp) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64, sequence: u32, len: usize) -> Sent {
        Sent {
            at: Timestamp::from_millis(at),
            from: ParticipantSid::from_wire("PA_x"),
            sequence,
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
        assert_eq!(held(&mut replay, 9499), [1, 2]);
        assert_eq!(replay.due(), Some(Timestamp::from_millis(9500)));
        assert_eq!(held(&mut replay, 9500), [2]);
        replay.push(sent(9600, 3, REPLAY_BYTES_MAX));
        assert_eq!(held(&mut replay, 9600), [3]);
    }
}
