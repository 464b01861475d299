//! What a client has to be told again when it resumes, since it may have been said while its signalling was away.
//!
//! Owns: which of it, and before or after the client is told how its room is.
//! Not here: who left (`gone`), data packets (`replay`), sections (`news`), which are all told again as well.

use model::{PeerId, TrackKind};
use wire::proto::signal_response::Message;

use super::{Hub, translate};

impl Hub {
    /// What the client does not ask for and nobody would say again: which of its pictures anybody wants.
    pub(super) fn tell_missed(&mut self, peer: PeerId) {
        let tracks = self.control.participant(peer).into_iter().flat_map(|held| &held.tracks);
        let tracks = tracks.filter_map(|track| self.control.publication(*track));
        let pictures = tracks.filter(|it| it.kind == TrackKind::Video && it.is_live());
        let wanted = pictures.map(|it| translate::wanted(it, it.quality_told()));
        for update in wanted.collect::<Vec<_>>() {
            self.send(peer, Message::SubscribedQualityUpdate(update));
        }
    }
}
