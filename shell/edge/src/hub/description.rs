//! Offers and answers: what the client sends and receives, in which section.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use model::{Impersonal, LogData, PeerId, SubscriptionId, TrackId, TrackSid};
use rtp::extension::ExtensionMap;
use sfu::Instruction;
use sfu::control::{DepartureReason, Input, Placement};
use wire::negotiation::{Outcome, PublicationSection, Subscription, SubscriptionSection};
use wire::proto;
use wire::proto::SubscriptionError;
use wire::proto::signal_response::Message;
use wire::sdp::{
    Fingerprint, FingerprintHash, IceCredentials, LocalTransport, Offer, RemoteTransport,
};

use super::seat::{Placed, map_extensions};
use super::{Hub, translate};
use crate::worker::{NewPeer, ToWorker};

impl Hub {
    /// Our end of a peer's transport.
    pub(super) fn local_transport(&self, peer: PeerId, generation: u8) -> LocalTransport {
        LocalTransport {
            ice: self.local_credentials(peer, generation),
            // A process's certificate has a digest of the one kind.
            fingerprint: Fingerprint {
                hash: FingerprintHash::Sha256,
                bytes: self.config.fingerprint.bytes.as_slice().into(),
            },
            candidates: self.config.candidates.clone(),
            candidates_in_answer: true,
        }
    }

    fn local_credentials(&self, peer: PeerId, generation: u8) -> IceCredentials {
        // 24 characters: RFC 8445 wants 128 bits of randomness at least.
        let pwd = STANDARD_NO_PAD.encode(self.random::<18>());
        IceCredentials::new(&self.config.door.mint(peer, generation), &pwd)
    }

    /// Tells the worker of the peer, whose client has said where it is.
    pub(super) fn make_peer(&mut self, peer: PeerId, remote: &RemoteTransport) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if std::mem::replace(&mut seat.is_placed, true) {
            return;
        }
        let new = NewPeer {
            peer,
            local: credentials(&seat.local_ice),
            remote: credentials(&remote.ice),
            fingerprint: peer::Fingerprint {
                algorithm: remote.fingerprint.hash.as_str().into(),
                bytes: remote.fingerprint.bytes.to_vec(),
            },
            lag: self.gatherings.get(&seat.room).map(|it| it.lag.clone()).unwrap_or_default(),
        };
        (self.to_worker)(peer.worker, ToWorker::AddPeer(Box::new(new)));
    }

    /// Takes an offer that came as a request of its own.
    pub(super) fn offer(&mut self, peer: PeerId, offer: &proto::SessionDescription) {
        match Offer::parse(&offer.sdp) {
            Ok(parsed) => {
                self.tell_tracks(peer);
                self.answer(peer, offer.id, &parsed);
            }
            Err(error) => self.refuse_offer(peer, &error),
        }
    }

    fn refuse_offer(&mut self, peer: PeerId, error: &impl Impersonal) {
        crate::log!(INFO, "offer refused", peer = peer, error = LogData(error));
        self.metrics.offers_refused.count();
        self.tell(Input::Depart(peer, DepartureReason::Mismatch));
    }

    /// An answer names tracks: the client must have been told of them.
    pub(super) fn answer(&mut self, peer: PeerId, id: u32, offer: &Offer) {
        self.make_peer(peer, &offer.transport);
        self.restart_ice(peer, offer);
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        let outcome = match seat.negotiation.offer(offer) {
            Ok(outcome) => outcome,
            Err(error) => return self.refuse_offer(peer, &error),
        };
        let mids = outcome.mid_to_track_id.iter();
        let mids = mids.map(|(mid, track)| (mid.as_str().to_owned(), track.to_string()));
        let answer = proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp: outcome.answer.clone(),
            id,
            mid_to_track_id: mids.collect(),
        };
        self.send(peer, Message::Answer(answer));
        self.tell(Input::Offered(peer));
        self.apply(peer, outcome);
        self.news.ask(peer);
    }

    fn restart_ice(&mut self, peer: PeerId, offer: &Offer) {
        let generation = self.seats.get(&peer).filter(|seat| seat.negotiation.restarts_ice(offer));
        let Some(generation) = generation.map(|seat| seat.ice_generation.wrapping_add(1)) else {
            return;
        };
        let local = self.local_credentials(peer, generation);
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        seat.ice_generation = generation;
        seat.negotiation.renew_ice(local.clone());
        let restart = ToWorker::RestartIce {
            peer,
            local: credentials(&local),
            remote: credentials(&offer.transport.ice),
        };
        (self.to_worker)(peer.worker, restart);
    }

    fn apply(&mut self, peer: PeerId, outcome: Outcome) {
        let sections: Vec<PublicationSection> =
            outcome.started.into_iter().chain(outcome.changed).collect();
        if !sections.is_empty() {
            self.receive(peer);
        }
        for end in outcome.ended {
            let track = end.cid.and_then(|cid| self.seats.get(&peer)?.cids.get(&cid).copied());
            // Of what was taken away the name may have been given to another that waits for its section.
            let is_its = |track: &TrackId| {
                let media = self.control.publication(*track).and_then(|held| held.media.as_ref());
                media.is_some_and(|media| *media.mid == *end.mid.as_str())
            };
            if let Some(track) = track.filter(is_its) {
                self.tell(Input::Ended { peer, track });
            }
        }
        for cid in outcome.unusable {
            if let Some(track) = self.seats.get(&peer).and_then(|seat| seat.cids.get(&cid)).copied()
            {
                self.tell(Input::Unusable { peer, track });
            }
        }
        for section in &sections {
            self.start(peer, section);
        }
        for track in outcome.displaced.iter().chain(&outcome.unsupported) {
            if let Some(placed) = self.placed(peer, track) {
                self.tell(Input::Displaced(placed.subscription));
            }
        }
        // Whoever moves to another section at once keeps its SSRCs. For whoever waits they are drawn
        // anew: its worker remembers for a while only where their numbers ended.
        for track in &outcome.displaced {
            let moves = outcome.placed.iter().any(|section| section.track == *track);
            if !moves
                && !outcome.unsupported.contains(track)
                && let Some(placed) = self.placed(peer, track)
            {
                // It is gone again if this is `None`.
                let _: Option<()> = self.want(placed.subscription);
            }
        }
        for section in outcome.placed {
            self.place(peer, &section);
        }
        for track in outcome.unsupported {
            self.refuse_track(peer, track.to_string(), SubscriptionError::SeCodecUnsupported);
        }
    }

    /// Tells the worker how to read what the client sends, before it is told of the tracks.
    fn receive(&self, peer: PeerId) {
        let Some(seat) = self.seats.get(&peer) else {
            return;
        };
        let (formats, extensions) = seat.receive_formats();
        let instruction = Instruction::SetReceive { peer, formats, extensions };
        (self.to_worker)(peer.worker, ToWorker::Instruct(instruction));
    }

    /// A section carries an announced track.
    pub(super) fn start(&mut self, peer: PeerId, section: &PublicationSection) {
        let cid = section.cid.as_ref();
        let track = cid.and_then(|cid| self.seats.get(&peer)?.cids.get(cid).copied());
        if let (Some(track), Some(media)) = (track, translate::media(section)) {
            self.tell(Input::Started { peer, track, media });
        }
    }

    fn place(&mut self, peer: PeerId, section: &SubscriptionSection) {
        let placed = self.placed(peer, &section.track);
        let payload = section.payloads.first();
        let codec = payload.and_then(|payload| payload.codec);
        let (Some(placed), Some(payload), Some(codec)) = (placed, payload, codec) else {
            return;
        };
        let mut extensions = ExtensionMap::new();
        map_extensions(&mut extensions, &section.extensions);
        self.tell(Input::Placed(
            placed.subscription,
            Placement {
                codec,
                payload_type: payload.pt,
                rtx_payload_type: payload.rtx,
                ssrc: placed.ssrc,
                rtx_ssrc: placed.rtx_ssrc,
                extensions,
            },
        ));
    }

    fn placed(&self, peer: PeerId, track: &TrackSid) -> Option<Placed> {
        self.seats.get(&peer)?.subscriptions.get(track).copied()
    }

    /// A subscription needs a section at its receiver.
    pub(super) fn want(&mut self, subscription: SubscriptionId) -> Option<()> {
        let held = self.control.subscription(subscription)?;
        let (peer, track) = (held.peer, held.track);
        let (participant, sid, codec) = self.describe(track)?;
        let seat = self.seats.get_mut(&peer)?;
        let (ssrc, rtx_ssrc) = self.ssrcs.take_two(&self.random, &mut seat.ssrcs)?;
        seat.note_subscription(sid.clone(), Some(Placed { subscription, ssrc, rtx_ssrc }));
        seat.negotiation.want(Subscription {
            track: sid,
            participant,
            sync_group: None,
            codec,
            ssrc,
            rtx_ssrc: (codec.kind() == model::TrackKind::Video).then_some(rtx_ssrc),
        });
        self.news.ask(peer);
        Some(())
    }

    fn describe(&self, track: TrackId) -> Option<(model::ParticipantSid, TrackSid, model::Codec)> {
        let publication = self.control.publication(track)?;
        let publisher = self.control.participant(publication.peer)?;
        Some((publisher.sid.clone(), publication.sid.clone(), publication.media.as_ref()?.codec))
    }
}

fn credentials(ice: &IceCredentials) -> peer::IceCredentials {
    peer::IceCredentials { ufrag: ice.ufrag.clone(), pwd: ice.pwd.expose().clone() }
}
