//! A named gathering while it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use model::{Identity, PeerId, RoomId, RoomName, RoomSid, Timestamp};

use super::speaker::Speakers;

/// Text of the application about a room, opaque, at most [`crate::limits::METADATA_MAX`] bytes. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RoomMetadata(String);

impl RoomMetadata {
    /// The text; nothing when it is too long.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (text.len() <= crate::limits::METADATA_MAX).then_some(Self(text))
    }

    /// The text, for the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoomMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomMetadata(…)")
    }
}

/// How a room is to be. What is not said stays, or is the node's.
#[derive(Clone, Debug, Default)]
pub struct RoomSettings {
    /// The application's.
    pub metadata: Option<RoomMetadata>,
    /// Participants that it holds at most.
    pub participants_max: Option<usize>,
    /// How long it waits for its first participant.
    pub empty: Option<Duration>,
    /// How long it outlives its last one.
    pub departure: Option<Duration>,
}

/// A room while it lives.
#[derive(Debug)]
pub struct Room {
    /// Its name in this process.
    pub room: RoomId,
    /// Its name for clients; another one each time the room is made.
    pub sid: RoomSid,
    /// The name that tokens give.
    pub name: RoomName,
    /// Who is there, hidden ones included.
    pub participants: BTreeMap<Identity, PeerId>,
    /// Participants that it holds at most.
    pub participants_max: usize,
    /// The application's.
    pub metadata: RoomMetadata,
    /// How long it waits for its first participant.
    pub empty: Duration,
    /// How long it outlives its last one.
    pub departure: Duration,
    pub(super) speakers: Speakers,
    /// When the room closes if nobody comes.
    pub(super) closes_at: Option<Timestamp>,
    /// Who is to be told of whose connection quality, since it is new to it or has changed: as many as there are
    /// subscriptions and participants, at most.
    pub(super) quality_news: BTreeSet<(PeerId, PeerId)>,
    /// When they are told.
    pub(super) quality_due: Option<Timestamp>,
    /// The earliest that may be.
    pub(super) quality_next: Timestamp,
}
