//! What the client receives: subscriptions, the sections that carry them, and those still wanting.

use std::collections::BTreeSet;

use model::{Codec, ParticipantSid, TrackKind, TrackSid};

use super::{AcceptedCodecs, Negotiation, Outcome, choice, media_of};
use crate::limits;
use crate::sdp::{ExtensionMapping, MediaOffer, Mid, Offer, Payload};

/// A track that is to reach the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The track.
    pub track: TrackSid,
    /// Who publishes it; clients read it from the stream id.
    pub participant: ParticipantSid,
    /// What follows the participant in the stream id. Tracks of one participant with equal groups are
    /// played in sync (`camera` for camera and microphone); `None` keeps the track by itself.
    pub sync_group: Option<Box<str>>,
    /// The codec in which it comes.
    pub codec: Codec,
    /// The SSRC under which we send it.
    pub ssrc: u32,
    /// The SSRC of its retransmissions.
    pub rtx_ssrc: Option<u32>,
}

impl Subscription {
    /// LiveKit's packed form: `PA_…|camera` or `PA_…|TR_…`.
    pub(super) fn stream_id(&self) -> String {
        use model::Sid;
        let group = self.sync_group.as_deref().unwrap_or_else(|| self.track.as_str());
        format!("{}|{group}", self.participant)
    }
}

/// A section that carries a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSection {
    /// The subscription's track.
    pub track: TrackSid,
    /// The section's mid.
    pub mid: Mid,
    /// Formats that the client takes here; the first is the subscription's codec.
    pub payloads: Vec<Payload>,
    /// Header extensions that the client takes here.
    pub extensions: Vec<ExtensionMapping>,
}

/// Sections that the client should add (`MediaSectionsRequirement`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Receiving audio sections.
    pub audios: u32,
    /// Receiving video sections.
    pub videos: u32,
}

impl Requirement {
    const fn of(&mut self, kind: TrackKind) -> &mut u32 {
        match kind {
            TrackKind::Audio => &mut self.audios,
            TrackKind::Video => &mut self.videos,
        }
    }

    fn total(self) -> usize {
        usize::try_from(self.audios.saturating_add(self.videos)).unwrap_or(usize::MAX)
    }

    /// One of those asked for has come.
    pub(super) const fn satisfy(&mut self, kind: TrackKind) {
        let count = self.of(kind);
        *count = count.saturating_sub(1);
    }
}

/// What a slot sends.
#[derive(Debug, Default)]
pub(super) enum Outbound {
    /// Nothing.
    #[default]
    Free,
    /// A subscription.
    Carries(Carried),
    /// Nothing any more, which the client has yet to be told.
    Draining,
}

/// A subscription in its section.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) subscription: Subscription,
    pub(super) section: SubscriptionSection,
}

impl Negotiation {
    /// Wants a track brought to the client; [`Self::requirement`] then says what to ask of it.
    ///
    /// A track that is wanted already is dropped first.
    pub fn want(&mut self, subscription: Subscription) {
        self.unwant(&subscription.track);
        self.wanted.insert(subscription.track.clone());
        // An offer that can bring nothing costs the client, and the room each of its members.
        let codec = subscription.codec;
        self.offer_due |= self.room() > self.asked.total()
            || self.slots.iter().any(|slot| slot.becomes_free(codec));
        self.waiting.push(subscription);
        self.is_crowd_stale = true;
    }

    /// Wants a track no longer.
    pub fn unwant(&mut self, track: &TrackSid) {
        if !self.wanted.remove(track) {
            return;
        }
        self.is_crowd_stale = true;
        self.waiting.retain(|waiting| waiting.track != *track);
        for slot in &mut self.slots {
            let carries = matches!(&slot.outbound,
                Outbound::Carries(carried) if carried.subscription.track == *track);
            if carries {
                slot.outbound = Outbound::Draining;
                self.offer_due = true;
            }
        }
    }

    /// What to send as `MediaSectionsRequirement`, if anything: the client answers even 0/0 with an
    /// offer, and that is what lets us tell it of a change.
    ///
    /// Counts sections beyond those that stand free and those asked for before.
    pub fn requirement(&mut self) -> Option<Requirement> {
        let mut missing = Requirement::default();
        for waiting in self.without_section(super::Slot::is_free) {
            *missing.of(waiting.codec.kind()) += 1;
        }
        let mut needed = Requirement::default();
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let room = self.room().saturating_sub(self.asked.total());
            let beyond_asked = missing.of(kind).saturating_sub(*self.asked.of(kind));
            let count = beyond_asked.min(u32::try_from(room).unwrap_or(u32::MAX));
            *needed.of(kind) = count;
            *self.asked.of(kind) += count;
        }
        let due = std::mem::take(&mut self.offer_due) || needed != Requirement::default();
        due.then_some(needed)
    }

    /// Waiting tracks that find no section and for which the client can add none, beside those that an earlier call
    /// named: the newest, since sections go to the oldest. When another track ends, they come all the same.
    pub fn crowded_out(&mut self) -> Vec<TrackSid> {
        if !std::mem::take(&mut self.is_crowd_stale) {
            return Vec::new();
        }
        let mut told = std::mem::take(&mut self.crowded);
        let without = self.without_section(super::Slot::becomes_free).skip(self.room());
        let mut new = Vec::new();
        let mut crowded = BTreeSet::new();
        for waiting in without {
            // Most of them were there before, and many may be: no name is copied for them.
            let held = told.take(&waiting.track);
            if held.is_none() {
                new.push(waiting.track.clone());
            }
            crowded.insert(held.unwrap_or_else(|| waiting.track.clone()));
        }
        self.crowded = crowded;
        new
    }

    /// Sections to receive in that the client can add: in place of those that were given back, too.
    fn room(&self) -> usize {
        let kept = limits::SECTIONS_KEPT.saturating_sub(self.publications().count());
        limits::SECTIONS_OPEN_MAX.saturating_sub(self.open() + kept)
    }

    /// Waiting subscriptions that find no section, oldest first, when each that does takes it from the others.
    fn without_section(
        &self,
        can_have: impl Fn(&super::Slot, Codec) -> bool,
    ) -> impl Iterator<Item = &Subscription> {
        let mut taken = vec![false; self.slots.len()];
        // What one of a codec did not find, none behind it finds: many may wait.
        let mut without: Vec<Codec> = Vec::new();
        self.waiting.iter().filter(move |waiting| {
            if without.contains(&waiting.codec) {
                return true;
            }
            let mut slots = self.slots.iter().zip(&mut taken);
            let found = slots.find(|(slot, taken)| !**taken && can_have(slot, waiting.codec));
            let is_without = found.map(|(_, taken)| *taken = true).is_none();
            without.extend(Some(waiting.codec).filter(|_| is_without));
            is_without
        })
    }

    /// Asks anew for what was asked: the message may have been lost with its signal connection.
    pub fn forget_requests(&mut self) {
        self.asked = Requirement::default();
        self.offer_due |= !self.waiting.is_empty()
            || self.slots.iter().any(|slot| matches!(slot.outbound, Outbound::Draining));
    }

    /// Fills free sections, oldest subscription first, and describes anew those that are filled.
    pub(super) fn place_subscriptions(&mut self, offer: &Offer, outcome: &mut Outcome) {
        self.describe_subscriptions(offer, outcome);
        let mut unplaced = Vec::new();
        for subscription in std::mem::take(&mut self.waiting) {
            let codec = subscription.codec;
            let receiving = |slot: &&super::Slot| slot.open && slot.receives;
            let mut possible = self.slots.iter().filter(receiving);
            // Before the client has offered any section of the kind nothing is known of its codecs.
            if possible.any(|slot| slot.kind == Some(codec.kind()))
                && !self.slots.iter().any(|slot| slot.can_carry(codec))
            {
                outcome.unsupported.push(subscription.track);
                continue;
            }
            let mut sections = self.slots.iter_mut().zip(&offer.sections);
            let free = sections.find(|(slot, _)| slot.is_free(codec));
            let Some((slot, media)) =
                free.and_then(|(slot, section)| media_of(section).map(|media| (slot, media)))
            else {
                unplaced.push(subscription);
                continue;
            };
            let section = SubscriptionSection {
                track: subscription.track.clone(),
                mid: slot.mid.clone(),
                payloads: formats(&self.accepted, media, codec),
                extensions: choice::extensions(media),
            };
            outcome.placed.push(section.clone());
            slot.outbound = Outbound::Carries(Carried { subscription, section });
        }
        self.waiting = unplaced;
    }

    /// Follows what the client changed in sections that carry a subscription.
    fn describe_subscriptions(&mut self, offer: &Offer, outcome: &mut Outcome) {
        for (slot, section) in self.slots.iter_mut().zip(&offer.sections) {
            let (Outbound::Carries(carried), Some(media)) = (&mut slot.outbound, media_of(section))
            else {
                continue;
            };
            let codec = carried.subscription.codec;
            if !slot.codecs.contains(&codec) {
                outcome.unsupported.push(carried.subscription.track.clone());
                slot.outbound = Outbound::Draining;
                continue;
            }
            let described = SubscriptionSection {
                payloads: formats(&self.accepted, media, codec),
                extensions: choice::extensions(media),
                ..carried.section.clone()
            };
            if described != carried.section {
                outcome.placed.push(described.clone());
                carried.section = described;
            }
        }
    }

    /// The answer told the client which sections fell silent: they are free again.
    pub(super) fn release_drained(&mut self, outcome: &mut Outcome) {
        for slot in &mut self.slots {
            if matches!(slot.outbound, Outbound::Draining) {
                slot.outbound = Outbound::Free;
                if slot.open && slot.receives {
                    outcome.freed.push(slot.mid.clone());
                }
            }
        }
        // This answer brought every other change.
        self.offer_due = self
            .waiting
            .iter()
            .any(|waiting| self.slots.iter().any(|slot| slot.is_free(waiting.codec)));
    }
}

/// The formats of a section that carries `codec`, which comes first.
fn formats(accepted: &AcceptedCodecs, media: &MediaOffer, codec: Codec) -> Vec<Payload> {
    let codecs = accepted.preferring(codec.kind(), &[codec]);
    choice::payloads(media, &codecs, &choice::OpusOptions::default_fmtp())
}

impl super::Slot {
    /// Whether the client would receive `codec` here.
    fn can_carry(&self, codec: Codec) -> bool {
        self.open && self.receives && self.codecs.contains(&codec)
    }

    /// Whether a subscription to `codec` can start here, or could after the next answer.
    fn becomes_free(&self, codec: Codec) -> bool {
        self.can_carry(codec)
            && self.inbound.is_none()
            && !matches!(self.outbound, Outbound::Carries(_))
    }

    /// Whether a subscription to `codec` can start here.
    fn is_free(&self, codec: Codec) -> bool {
        self.becomes_free(codec) && matches!(self.outbound, Outbound::Free)
    }
}
