//! What a client has to be told again when it resumes, since it may have been said while its signalling was away.
//!
//! Owns: which of it, and before or after the client is told how its room is.
//! Not here: who left (`gone`), data packets (`replay`), sections that are wanted (`news`), which are told again as
//! well.

use model::{PeerId, TrackKind};
use wire::proto;
use wire::proto::signal_response::Message;

use super::{Hub, translate};

impl Hub {
    /// Which of its tracks the network has muted, as long as the client does not know. This comes before it is told how
    /// its tracks are: livekit-client takes a mute that it did not hear of for a fault of ours, and undoes it.
    pub(super) fn tell_mutes(&mut self, peer: PeerId) {
        let tracks = self.seats.get(&peer).into_iter().flat_map(|seat| &seat.muted_for);
        let tracks = tracks.filter_map(|track| self.control.publication(*track));
        let muted: Vec<String> =
            tracks.filter(|it| it.muted).map(|it| it.sid.to_string()).collect();
        for sid in muted {
            self.send(peer, Message::Mute(proto::MuteTrackRequest { sid, muted: true }));
        }
    }

    /// What the client does not ask for and nobody would say again: which of its tracks anybody receives and which of
    /// its pictures anybody wants, which tracks stand still for want of bandwidth or may not be received, who speaks,
    /// and how well all are connected.
    pub(super) fn tell_missed(&mut self, peer: PeerId) {
        let tracks = self.control.participant(peer).into_iter().flat_map(|held| &held.tracks);
        let tracks = tracks.filter_map(|track| self.control.publication(*track));
        let messages = tracks.flat_map(|it| {
            let is_picture = it.kind == TrackKind::Video && it.is_live();
            let wanted = is_picture.then(|| translate::wanted(it, it.quality_told()));
            let received = it.was_subscribed.then(|| translate::subscribed(it));
            received.into_iter().chain(wanted.map(Message::SubscribedQualityUpdate))
        });
        for message in messages.collect::<Vec<_>>() {
            self.send(peer, message);
        }
        let subscriptions = self.control.participant(peer).map(|held| &held.subscriptions);
        let subscriptions = subscriptions.into_iter().flatten();
        let states = subscriptions.filter_map(|(track, subscription)| {
            let paused = self.control.subscription(*subscription)?.is_paused()?;
            self.stream_state(*track, paused)
        });
        let stream_states: Vec<proto::StreamStateInfo> = states.collect();
        if !stream_states.is_empty() {
            self.send(peer, Message::StreamStateUpdate(proto::StreamStateUpdate { stream_states }));
        }
        // In their turn, and the newest: as much of it as was said already may not have come.
        for (track, allowed) in self.control.allowed(peer).collect::<Vec<_>>() {
            self.note_allowed(peer, track, allowed);
        }
        let speakers = self.control.speakers(peer);
        if !speakers.is_empty() {
            self.tell_speakers(peer, &speakers);
        }
        let scores = self.control.scores(peer);
        if !scores.is_empty() {
            self.tell_qualities(peer, &scores);
        }
    }
}
