//! One data channel, and what it may lose.
//!
//! Not here: the association that carries it (`channels`), how it is opened (`dcep`).

use std::time::Duration;

use sctp_proto::ReliabilityType;

use crate::backlog::Backlog;
use crate::dcep::Open;
use crate::limits::UNREPEATED_TIME_MAX;

/// One data channel of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelId(pub u8);

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) stream: u16,
    /// Asked for by us and not acknowledged: its label.
    pub(crate) asked: Option<Box<str>>,
    pub(crate) is_unordered: bool,
    pub(crate) loses: Loses,
    pub(crate) backlog: Backlog,
}

/// What a channel may lose, as whoever opened it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loses {
    Nothing,
    /// What did not arrive the first time.
    Unrepeated,
    /// What did not arrive so many milliseconds after it was written.
    After(u32),
}

impl Loses {
    pub(crate) fn of(opened: &Open<'_>) -> Self {
        match (opened.kind, opened.reliability) {
            (ReliabilityType::Reliable, _) => Self::Nothing,
            (ReliabilityType::Rexmit, 0) => Self::Unrepeated,
            // A count bounds no time, and a message is late in any case by then.
            (ReliabilityType::Rexmit, _) => Self::After(u32::MAX),
            (ReliabilityType::Timed, millis) => Self::After(millis),
        }
    }

    /// What SCTP is told of a message that may wait for `left`.
    pub(crate) fn of_message(self, left: Duration) -> (ReliabilityType, u32) {
        match self {
            Self::Nothing => (ReliabilityType::Timed, millis(left)),
            // A count would bound no time before a message has left for the first time.
            Self::Unrepeated => (ReliabilityType::Timed, millis(left.min(UNREPEATED_TIME_MAX))),
            Self::After(lifetime) => (ReliabilityType::Timed, lifetime.min(millis(left))),
        }
    }
}

pub(crate) fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
impl ChannelId {
    pub(crate) const fn at(place: u8) -> Self {
        Self(place)
    }
}
