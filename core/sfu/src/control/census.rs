//! How much there is on a node.
//!
//! Owns: [`Census`], counted afresh each time: O(publications and subscriptions).
//! Not here: who asks, and how often (`edge`).

use model::TrackKind;

use super::Control;

/// A number for each kind of track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind {
    /// Of sound.
    pub audio: usize,
    /// Of pictures.
    pub video: usize,
}

impl PerKind {
    const fn count(&mut self, kind: TrackKind) {
        match kind {
            TrackKind::Audio => self.audio += 1,
            TrackKind::Video => self.video += 1,
        }
    }
}

/// How much there is on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Rooms, empty ones that have not closed yet included.
    pub rooms: usize,
    /// Participants, hidden ones included.
    pub participants: usize,
    /// Publications whose media is negotiated.
    pub publications: PerKind,
    /// Subscriptions that have a section, by the kind of their publication.
    pub subscriptions: PerKind,
}

impl Control {
    /// Counts.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = Census {
            rooms: self.rooms.len(),
            participants: self.participants.len(),
            ..Census::default()
        };
        for publication in self.tracks.values().filter(|held| held.is_live()) {
            census.publications.count(publication.kind);
        }
        for subscription in self.subscriptions.values().filter(|held| held.placement.is_some()) {
            if let Some(publication) = self.tracks.get(&subscription.track) {
                census.subscriptions.count(publication.kind);
            }
        }
        census
    }
}
