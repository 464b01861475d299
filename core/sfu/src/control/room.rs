//! A named gathering while it lives.

use std::collections::BTreeMap;

use model::{Identity, PeerId, RoomId, RoomName, RoomSid, Timestamp};

use super::speaker::Speakers;

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
    pub(super) speakers: Speakers,
    /// When the room closes if nobody comes.
    pub(super) closes_at: Option<Timestamp>,
    /// When changes of connection quality are told.
    pub(super) quality_due: Option<Timestamp>,
    /// The earliest that may be.
    pub(super) quality_next: Timestamp,
}
