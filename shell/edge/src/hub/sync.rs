//! What a client believes when it resumes.
//!
//! Owns: what is made of it, and what it costs.
//! Not here: what the client is told by then (`missed`), the data packets that it lacks (`replay`).

use std::collections::BTreeSet;

use model::{PeerId, TrackId, TrackKind, TrackSid};
use sfu::control::{DepartureReason, Input, Settings, Want};
use wire::limits::TRACKS_NAMED_MAX;
use wire::proto;
use wire::proto::client_info::Sdk;

use super::Hub;
use crate::limits::{ANSWER_AWAITED_TIME, REQUESTS_BURST, SYNC_NAMES_PER_REQUEST};

impl Hub {
    /// What the client believes, after a resume. It may ask for much, so a session says it once, and pays for it as far
    /// as it can: no resume is refused for what it costs.
    pub(super) fn sync(&mut self, peer: PeerId, state: &proto::SyncState) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if std::mem::replace(&mut seat.is_synced, true) {
            return self.metrics.requests_ignored.count();
        }
        let mut price = sync_price(state);
        while price > 0 && !seat.requests.take(self.now, price) {
            price /= 2;
        }
        let knows = |published: &proto::TrackPublishedResponse| {
            let sid = published.track.as_ref().map(|track| track.sid.as_str());
            sid.is_some_and(|sid| self.own_track(peer, sid).is_some())
        };
        if !state.publish_tracks.iter().all(knows) {
            return self.tell(Input::Depart(peer, DepartureReason::Mismatch));
        }
        self.tell_unheard_answers(peer, &state.publish_tracks);
        let settings = Settings { want: Want::Nothing, fps: 0 };
        for sid in state.track_sids_disabled.iter().take(TRACKS_NAMED_MAX) {
            if let Some(track) = self.tracks.get(&TrackSid::from_wire(sid)).copied() {
                self.tell(Input::Settings { peer, track, settings });
            }
        }
        self.lift_settings(peer, &state.track_sids_disabled);
        if let Some(update) = &state.subscription {
            self.subscription(peer, update);
            self.lift_wishes(peer, update);
        }
        self.replay_missed(peer, &state.datachannel_receive_states);
    }

    /// Tracks that it announced and does not name: the answer may be lost, and with it what waits for it. Of those that
    /// live it may have ended any and announce its source anew: it is told of the latest alone, and of none whose
    /// source is announced again.
    fn tell_unheard_answers(&mut self, peer: PeerId, named: &[proto::TrackPublishedResponse]) {
        let named: BTreeSet<TrackSid> = named
            .iter()
            .filter_map(|it| it.track.as_ref())
            .map(|track| TrackSid::from_wire(&track.sid))
            .collect();
        let seat = self.seats.get(&peer);
        let is_queued = |cid: &str| seat.is_some_and(|seat| seat.queued.contains_key(cid));
        let is_latest = |track: &TrackId| {
            let at = seat.and_then(|seat| seat.cards.get(track)?.answered_at);
            at.is_some_and(|at| self.now < at + ANSWER_AWAITED_TIME)
        };
        let own = self.control.participant(peer).into_iter().flat_map(|held| &held.tracks);
        let is_unheard = |track: &&TrackId| {
            let publication = self.control.publication(**track);
            publication.is_some_and(|held| {
                let is_awaited = !held.is_live() || (is_latest(track) && !is_queued(&held.cid));
                is_awaited && !named.contains(&held.sid)
            })
        };
        for track in own.filter(is_unheard).copied().collect::<Vec<_>>() {
            self.tell_published(peer, track);
        }
    }

    /// What a client names is all that it wants otherwise than holds for all: what it does not name any more, it has
    /// thought better of while nobody heard it.
    fn lift_wishes(&mut self, peer: PeerId, update: &proto::UpdateSubscription) {
        let (Some(held), Some(seat)) = (self.control.participant(peer), self.seats.get(&peer))
        else {
            return;
        };
        // Some others name of what they want only what they receive already.
        let names_all = held.auto_subscribe || seat.client.sdk == Sdk::Js;
        let named = update.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        let named = update.track_sids.iter().chain(named);
        let Some(named) = self.all_named(named).filter(|_| names_all) else {
            return;
        };
        if update.subscribe == held.auto_subscribe {
            return;
        }
        let lifted: Vec<TrackId> =
            held.exceptions().filter(|track| !named.contains(track)).collect();
        for track in lifted {
            self.tell(Input::Wish { peer, track, wanted: !update.subscribe });
        }
    }

    /// The same of sound that it had no use for. Of pictures livekit-client says after a resume what it shows, and
    /// others name none at all.
    fn lift_settings(&mut self, peer: PeerId, disabled: &[String]) {
        let (Some(held), Some(seat)) = (self.control.participant(peer), self.seats.get(&peer))
        else {
            return;
        };
        let Some(named) = self.all_named(disabled.iter()).filter(|_| seat.client.sdk == Sdk::Js)
        else {
            return;
        };
        let is_sound = |track: &TrackId| {
            let publication = self.control.publication(*track);
            publication.is_some_and(|held| held.kind == TrackKind::Audio)
        };
        let lifted = held.disabled().filter(|track| is_sound(track) && !named.contains(track));
        for track in lifted.collect::<Vec<_>>() {
            self.tell(Input::Settings { peer, track, settings: Settings::LARGEST });
        }
    }

    /// The tracks that a list names, if all of it is read.
    fn all_named<'a>(&self, sids: impl Iterator<Item = &'a String>) -> Option<BTreeSet<TrackId>> {
        let mut sids = sids.peekable();
        let read = sids.by_ref().take(TRACKS_NAMED_MAX);
        let named = read.filter_map(|sid| self.tracks.get(&TrackSid::from_wire(sid)).copied());
        let named = named.collect();
        sids.peek().is_none().then_some(named)
    }
}

/// Its share of a request for each name in it.
fn sync_price(state: &proto::SyncState) -> u32 {
    let wishes = state.subscription.iter().flat_map(|update| {
        let listed = update.participant_tracks.iter().map(|tracks| tracks.track_sids.len());
        listed.chain([update.track_sids.len()])
    });
    let named = state.publish_tracks.len()
        + state.track_sids_disabled.len()
        + state.datachannel_receive_states.len()
        + wishes.sum::<usize>();
    u32::try_from(1 + named / SYNC_NAMES_PER_REQUEST).unwrap_or(u32::MAX).min(REQUESTS_BURST)
}
