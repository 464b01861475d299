//! Which section of a single peer connection carries what, across all offers of a session.
//!
//! The client always offers and we always answer (LiveKit's single-PC mode). [`Negotiation`] matches
//! what the client sends to what it announced (`AddTrack`), places subscriptions into sections that
//! the client left open for receiving, and says how many more it must offer.
//! Guarantees: an offer is taken whole or not at all; a section that carried one track is answered
//! once without it before it carries another, because browsers report a new track only when a section
//! starts to receive; what others send leaves places for what the client will send, and a section for which there is
//! none is rejected without harm to the others; every video section lists every accepted codec, because livekit-client
//! reads its payload types for end-to-end encryption from the first one alone.
//! Not here: SDP syntax (`sdp`), ids of offers (the caller echoes them), who may publish or subscribe.
//! Source: LiveKit `pkg/rtc/transport.go`, `participant.go`; RFC 8829 §5.3.

mod answering;
mod choice;
mod publishing;
mod subscribing;

pub use choice::{AcceptedCodecs, OpusOptions};
pub use publishing::{AnnounceError, Announcement, PublicationEnd, PublicationSection};
pub use subscribing::{Requirement, Subscription, SubscriptionSection};

use std::collections::BTreeSet;

use model::{Codec, TrackKind, TrackSid};

use crate::limits;
use crate::sdp::{
    IceCredentials, LocalTransport, MediaOffer, Mid, Offer, RemoteTransport, Section, SectionBody,
};
use publishing::{Expected, Inbound};
use subscribing::Outbound;

/// The state of one session's single peer connection.
#[derive(Debug)]
pub struct Negotiation {
    local: LocalTransport,
    accepted: AcceptedCodecs,
    remote: Option<RemoteTransport>,
    /// One for each section of the last offer.
    slots: Vec<Slot>,
    /// Announced and not matched, or refused, oldest first: the last [`limits::ANNOUNCED_MAX`] of each.
    expected: Vec<Expected>,
    /// Subscribed and without a section, oldest first.
    waiting: Vec<Subscription>,
    /// Tracks that may be among those that wait or in a section: no other is looked for there.
    wanted: BTreeSet<TrackSid>,
    /// Of these, those without a place that have been told of.
    crowded: BTreeSet<TrackSid>,
    /// Sections or what waits for them have changed since these were told of.
    is_crowd_stale: bool,
    /// Sections asked for and not offered yet.
    asked: Requirement,
    /// Subscriptions changed in a way that only another offer brings to the client.
    offer_due: bool,
    /// Answers given.
    answers: u64,
}

/// What one section carries.
#[derive(Debug)]
struct Slot {
    mid: Mid,
    /// `None` for data channels.
    kind: Option<TrackKind>,
    /// Neither side has rejected it. A closed place may return under another mid.
    open: bool,
    /// The client would receive in it.
    receives: bool,
    /// The codecs that it offers and we could use.
    codecs: Vec<Codec>,
    inbound: Option<Inbound>,
    /// The client has sent in it.
    has_received: bool,
    outbound: Outbound,
}

impl Slot {
    fn new(section: &Section) -> Self {
        let kind = match &section.body {
            SectionBody::Media(media) => Some(media.kind),
            SectionBody::Data(_) => None,
        };
        Self {
            mid: section.mid.clone(),
            kind,
            open: true,
            receives: false,
            codecs: Vec::new(),
            inbound: None,
            has_received: false,
            outbound: Outbound::Free,
        }
    }

    /// Whether the client sent in it, does so no more, and receives nothing in it.
    ///
    /// Native clients offer such a section for receiving, of the one codec that they sent. It serves them better under
    /// another mid: for whatever they send next.
    const fn is_spent(&self) -> bool {
        self.has_received && self.inbound.is_none() && matches!(self.outbound, Outbound::Free)
    }

    fn describes(&self, section: &Section) -> bool {
        self.mid == section.mid && self.kind == Self::new(section).kind
    }
}

/// Why an offer does not continue this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// Another certificate: another client, or an attack.
    #[error("certificate fingerprint changed")]
    FingerprintChanged,
    /// A section that is neither rejected nor new has another mid or kind.
    #[error("sections reordered")]
    SectionsReordered,
    /// Sections have gone.
    #[error("fewer sections than before")]
    FewerSections,
}

impl model::Impersonal for NegotiationError {}

/// What an offer changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer's SDP.
    pub answer: String,
    /// `SessionDescription.mid_to_track_id`: every section in which we send.
    pub mid_to_track_id: Vec<(Mid, TrackSid)>,
    /// Sections in which the client began to send.
    pub started: Vec<PublicationSection>,
    /// Sections in which it goes on sending, differently described.
    pub changed: Vec<PublicationSection>,
    /// Announced tracks whose sections came with no format that we accept, and are rejected.
    pub unusable: Vec<Box<str>>,
    /// Sections in which it ceased to send.
    pub ended: Vec<PublicationEnd>,
    /// Subscriptions that got a section, or whose section is now described differently.
    pub placed: Vec<SubscriptionSection>,
    /// Subscriptions that lost their section because the client closed it; they wait for another.
    pub displaced: Vec<TrackSid>,
    /// Subscriptions dropped because the client offers no format for them.
    pub unsupported: Vec<TrackSid>,
    /// Mids free for other subscriptions from the next offer on.
    pub freed: Vec<Mid>,
    /// The client's end of the transport.
    pub remote: RemoteTransport,
    /// The client's ICE credentials are new (in the first offer: no restart).
    pub ice_restart: bool,
    /// The client wants data channels.
    pub data: bool,
}

impl Negotiation {
    /// A session that has seen no offer.
    #[must_use]
    pub const fn new(local: LocalTransport, accepted: AcceptedCodecs) -> Self {
        Self {
            local,
            accepted,
            remote: None,
            slots: Vec::new(),
            expected: Vec::new(),
            waiting: Vec::new(),
            wanted: BTreeSet::new(),
            crowded: BTreeSet::new(),
            is_crowd_stale: false,
            asked: Requirement { audios: 0, videos: 0 },
            offer_due: false,
            answers: 0,
        }
    }

    /// Whether `offer` restarts ICE: then [`Self::renew_ice`] first, then [`Self::offer`].
    #[must_use]
    pub fn restarts_ice(&self, offer: &Offer) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.ice != offer.transport.ice)
    }

    /// Sets our credentials for the answers to come (RFC 8839 §4.4.1.1.1: a restart changes both ends').
    pub fn renew_ice(&mut self, ice: IceCredentials) {
        self.local.ice = ice;
    }

    /// Takes the client's offer and answers it.
    ///
    /// # Errors
    ///
    /// [`NegotiationError`] if the offer does not continue this session; nothing has changed then.
    pub fn offer(&mut self, offer: &Offer) -> Result<Outcome, NegotiationError> {
        self.check(offer)?;
        let mut outcome = Outcome {
            answer: String::new(),
            mid_to_track_id: Vec::new(),
            started: Vec::new(),
            changed: Vec::new(),
            unusable: Vec::new(),
            ended: Vec::new(),
            placed: Vec::new(),
            displaced: Vec::new(),
            unsupported: Vec::new(),
            freed: Vec::new(),
            remote: offer.transport.clone(),
            ice_restart: self.restarts_ice(offer),
            data: false,
        };
        self.remote = Some(offer.transport.clone());
        self.is_crowd_stale = true;
        let is_new = |(index, section): (usize, &Section)| {
            let slot = self.slots.get(index);
            (!slot.is_some_and(|slot| slot.describes(section))).then_some(index)
        };
        let new: Vec<usize> = offer.sections.iter().enumerate().filter_map(is_new).collect();
        self.take_sections(offer, &mut outcome);
        self.note_taken_back(offer, &new);
        self.match_publications(offer, &mut outcome);
        self.place_subscriptions(offer, &mut outcome);
        self.write_answer(offer, &mut outcome);
        self.release_drained(&mut outcome);
        Ok(outcome)
    }

    /// Whether the offer continues what was.
    fn check(&self, offer: &Offer) -> Result<(), NegotiationError> {
        let known = self.remote.as_ref().map(|remote| &remote.fingerprint);
        if known.is_some_and(|known| *known != offer.transport.fingerprint) {
            return Err(NegotiationError::FingerprintChanged);
        }
        if offer.sections.len() < self.slots.len() {
            return Err(NegotiationError::FewerSections);
        }
        let kept = self
            .slots
            .iter()
            .zip(&offer.sections)
            .all(|(slot, section)| !slot.open || slot.describes(section));
        if kept { Ok(()) } else { Err(NegotiationError::SectionsReordered) }
    }

    /// Which sections of the offer are open from now on: those that were and go on, then what the client sends, then
    /// the rest, as long as there are places.
    fn open_sections(&self, offer: &Offer) -> Vec<bool> {
        let goes_on = |(index, section): (usize, &Section)| {
            let slot = self.slots.get(index);
            !section.rejected && slot.is_some_and(|slot| slot.open && slot.describes(section))
        };
        let mut open: Vec<bool> = offer.sections.iter().enumerate().map(goes_on).collect();
        let sends = |section: &Section| media_of(section).is_some_and(|it| it.direction.sends());
        let mut places = limits::SECTIONS_OPEN_MAX - open.iter().filter(|open| **open).count();
        let mut sent = 0;
        for (section, open) in offer.sections.iter().zip(&mut open) {
            if !*open && places > 0 && !section.rejected && sends(section) {
                *open = true;
                places -= 1;
            }
            sent += usize::from(*open && sends(section));
        }
        places = places.saturating_sub(limits::SECTIONS_KEPT.saturating_sub(sent));
        for (section, open) in offer.sections.iter().zip(&mut open) {
            if !*open && places > 0 && !section.rejected {
                *open = true;
                places -= 1;
            }
        }
        open
    }

    /// Brings the slots in line with the offered sections; what cannot go on in its section leaves it.
    fn take_sections(&mut self, offer: &Offer, outcome: &mut Outcome) {
        let open = self.open_sections(offer);
        self.slots.reserve_exact(offer.sections.len().saturating_sub(self.slots.len()));
        for ((index, section), is_open) in offer.sections.iter().enumerate().zip(open) {
            match self.slots.get_mut(index) {
                Some(slot) if slot.describes(section) => {}
                Some(slot) => *slot = Slot::new(section),
                None => self.slots.push(Slot::new(section)),
            }
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            slot.open = is_open;
            let Some(media) = media_of(section) else {
                outcome.data |= slot.open;
                continue;
            };
            let receives = slot.open && media.direction.receives();
            // One that finds no place has come all the same: nothing is to be waited for.
            if !section.rejected && media.direction.receives() && !slot.receives {
                self.asked.satisfy(media.kind);
            }
            slot.receives = receives;
            slot.codecs = choice::offered_codecs(media);
            if !(slot.open && media.direction.sends()) {
                outcome.ended.extend(slot.inbound.take().map(Inbound::end));
            }
            if receives {
                continue;
            }
            if let Outbound::Carries(carried) = std::mem::take(&mut slot.outbound) {
                outcome.displaced.push(carried.subscription.track.clone());
                self.waiting.insert(0, carried.subscription);
            }
        }
    }
}

/// The media of a section, if it is of that sort.
fn media_of(section: &Section) -> Option<&MediaOffer> {
    match &section.body {
        SectionBody::Media(media) => Some(media),
        SectionBody::Data(_) => None,
    }
}
