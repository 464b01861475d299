//! What the client sends: announcements, the sections that match them, and their end.

use model::{Codec, TrackKind};

use super::{Negotiation, Outcome, choice, media_of};
use crate::limits;
use crate::negotiation::OpusOptions;
use crate::sdp::{ExtensionMapping, MediaOffer, Mid, Offer, Payload};

/// A track that the client said it would publish (`AddTrack`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The client's name for it, most often the track id in the section's `a=msid`.
    pub cid: Box<str>,
    /// Other track ids under which a section may bring it (`SimulcastCodec.cid`, `sdp_cid`).
    pub sdp_cids: Vec<Box<str>>,
    /// Sound or picture.
    pub kind: TrackKind,
    /// Codecs to prefer over the session's own order.
    pub preferred: Vec<Codec>,
    /// How its Opus is encoded.
    pub opus: OpusOptions,
}

/// Why an announcement was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// [`limits::ANNOUNCED_MAX`] others wait for their section.
    #[error("too many announced tracks without media")]
    TooMany,
}

/// A section in which the client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationSection {
    /// Its mid.
    pub mid: Mid,
    /// The announcement that it belongs to. `None`: the announcement is still to come, and
    /// [`Negotiation::announce`] will return this section.
    pub cid: Option<Box<str>>,
    /// Sound or picture.
    pub kind: TrackKind,
    /// Accepted formats, preferred first.
    pub payloads: Vec<Payload>,
    /// Accepted header extensions.
    pub extensions: Vec<ExtensionMapping>,
    /// Simulcast streams from the smallest up; empty if there is one stream.
    pub rids: Vec<Box<str>>,
    /// (primary, retransmission) SSRCs, as far as the offer names them.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// A section in which the client no longer sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationEnd {
    /// Its mid.
    pub mid: Mid,
    /// The announcement that it belonged to.
    pub cid: Option<Box<str>>,
}

/// A track that the client has said it would send.
#[derive(Debug)]
pub(super) enum Expected {
    /// Its section is still to come.
    Announced(Announcement),
    /// It may not be published, or not yet, and its section comes all the same, or has come.
    Refused {
        cid: Box<str>,
        /// Of which kind its section is, which may come under another name.
        awaited: Option<TrackKind>,
    },
}

impl Expected {
    const fn announcement(&self) -> Option<&Announcement> {
        match self {
            Self::Announced(announcement) => Some(announcement),
            Self::Refused { .. } => None,
        }
    }

    const fn awaited(&self) -> Option<TrackKind> {
        match self {
            Self::Announced(announcement) => Some(announcement.kind),
            Self::Refused { awaited, .. } => *awaited,
        }
    }

    fn cid(&self) -> &str {
        match self {
            Self::Announced(announcement) => &announcement.cid,
            Self::Refused { cid, .. } => cid,
        }
    }

    fn is_named(&self, track: Option<&str>, kind: TrackKind) -> bool {
        match self {
            Self::Announced(announcement) => {
                announcement.kind == kind && announcement.is_named(track)
            }
            Self::Refused { cid, .. } => track == Some(&**cid),
        }
    }
}

/// What a slot receives.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) section: PublicationSection,
    /// The track id of `a=msid`.
    msid: Option<Box<str>>,
    /// The client's name for the track in it, if that was refused.
    refused: Option<Box<str>>,
    pub(super) preferred: Vec<Codec>,
    pub(super) opus: OpusOptions,
}

impl Inbound {
    pub(super) fn end(self) -> PublicationEnd {
        PublicationEnd { mid: self.section.mid, cid: self.section.cid }
    }

    /// It is the section of what was expected there.
    fn bring(&mut self, all: &mut Vec<Expected>, position: usize) {
        if let Some(Expected::Refused { cid, awaited }) = all.get_mut(position) {
            *awaited = None;
            self.refused = Some(cid.clone());
        } else if let Expected::Announced(announcement) = all.remove(position) {
            self.adopt(announcement);
        }
    }

    /// Gives the section the announcement's name and wishes.
    fn adopt(&mut self, announcement: Announcement) {
        self.section.cid = Some(announcement.cid);
        self.refused = None;
        self.preferred = announcement.preferred;
        self.opus = announcement.opus;
    }
}

impl Announcement {
    fn is_named(&self, track: Option<&str>) -> bool {
        track.is_some_and(|track| {
            *self.cid == *track || self.sdp_cids.iter().any(|cid| **cid == *track)
        })
    }
}

impl Negotiation {
    /// Notes a track that the client will send or already sends.
    ///
    /// Returns the section if it came first; its formats were answered without knowledge of the
    /// announcement's wishes, which hold from the next answer on. An announcement of a `cid` that
    /// waits already replaces it.
    ///
    /// # Errors
    ///
    /// [`AnnounceError::TooMany`].
    pub fn announce(
        &mut self,
        announcement: Announcement,
    ) -> Result<Option<PublicationSection>, AnnounceError> {
        let found = self.section_for(&announcement);
        self.withdraw(&announcement.cid);
        let inbound = found
            .and_then(|index| self.slots.get_mut(index))
            .and_then(|slot| slot.inbound.as_mut());
        if let Some(inbound) = inbound {
            inbound.adopt(announcement);
            return Ok(Some(inbound.section.clone()));
        }
        if self.announced().count() == limits::ANNOUNCED_MAX {
            return Err(AnnounceError::TooMany);
        }
        self.expected.push(Expected::Announced(announcement));
        Ok(None)
    }

    /// A track of this kind is not taken, or taken back. Its section may come, or have come: it is no other track's.
    /// `None`: it has come if it was announced.
    pub fn refuse(&mut self, cid: &str, kind: Option<TrackKind>) {
        let announced = self.expected.iter_mut().find(|held| held.cid() == cid);
        if let Some(held @ Expected::Announced(_)) = announced {
            *held = Expected::Refused { cid: cid.into(), awaited: held.awaited() };
        } else {
            self.withdraw(cid);
            let awaited = kind.filter(|kind| !self.claim(cid, *kind));
            self.expected.push(Expected::Refused { cid: cid.into(), awaited });
        }
        let mut refused =
            self.expected.iter().enumerate().filter(|(_, held)| held.announcement().is_none());
        let oldest = refused.next().map(|(index, _)| index);
        if let Some(oldest) = oldest.filter(|_| refused.count() == limits::ANNOUNCED_MAX) {
            self.expected.remove(oldest);
        }
    }

    /// Whether the section of a refused track has come, of which nothing else is known.
    fn claim(&mut self, cid: &str, kind: TrackKind) -> bool {
        let found = self.nameless(kind).find(|(_, it)| it.msid.as_deref() == Some(cid));
        let found = found.or_else(|| self.nameless(kind).find(|(_, it)| it.refused.is_none()));
        let index = found.map(|(index, _)| index);
        let slot = index.and_then(|index| self.slots.get_mut(index));
        let inbound = slot.and_then(|slot| slot.inbound.as_mut());
        inbound.map(|inbound| inbound.refused = Some(cid.into())).is_some()
    }

    fn announced(&self) -> impl Iterator<Item = &Announcement> {
        self.expected.iter().filter_map(Expected::announcement)
    }

    /// The sections in which the client sends, announced or not: at most one for each section of its last offer.
    pub fn publications(&self) -> impl Iterator<Item = &PublicationSection> {
        self.slots.iter().filter_map(|slot| Some(&slot.inbound.as_ref()?.section))
    }

    /// Sections that are open.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|slot| slot.open).count()
    }

    /// Whether a track has its section already, or there is a place for one. Those that wait for theirs count.
    #[must_use]
    pub fn has_place_for(&self, announcement: &Announcement) -> bool {
        self.open() + self.announced().count() < limits::SECTIONS_OPEN_MAX
            || self.section_for(announcement).is_some()
    }

    /// The section that came before this announcement.
    fn section_for(&self, announcement: &Announcement) -> Option<usize> {
        let nameless = || self.nameless(announcement.kind);
        let is_its = |it: &Inbound| {
            it.refused.as_ref() == Some(&announcement.cid)
                || announcement.is_named(it.msid.as_deref())
        };
        let named = nameless().find(|(_, inbound)| is_its(inbound));
        let fallback = || nameless().find(|(_, inbound)| inbound.refused.is_none());
        named.or_else(fallback).map(|(index, _)| index)
    }

    /// The sections in which the client sends what belongs to no announcement.
    fn nameless(&self, kind: TrackKind) -> impl Iterator<Item = (usize, &Inbound)> {
        self.slots.iter().enumerate().filter_map(move |(index, slot)| {
            let inbound = slot.inbound.as_ref()?;
            let is_nameless = inbound.section.cid.is_none() && inbound.section.kind == kind;
            is_nameless.then_some((index, inbound))
        })
    }

    /// Forgets an announcement whose section has not come.
    pub fn withdraw(&mut self, cid: &str) {
        self.expected.retain(|held| held.cid() != cid);
    }

    /// Notes refused tracks of which nothing will come: the client took them back before it described them, so that
    /// what is left of each is a new section in which nobody sends, or there was no place for their section.
    pub(super) fn note_taken_back(&mut self, offer: &Offer, new: &[usize]) {
        for &index in new {
            let (Some(slot), Some(section)) = (self.slots.get(index), offer.sections.get(index))
            else {
                continue;
            };
            let Some(media) = media_of(section).filter(|_| !section.rejected) else { continue };
            let may_bring = media.direction.receives() || media.direction.sends() && slot.open;
            let oldest = self.expected.iter_mut().find_map(|held| match held {
                Expected::Refused { awaited, .. } if *awaited == Some(media.kind) => Some(awaited),
                Expected::Announced(_) | Expected::Refused { .. } => None,
            });
            if let Some(awaited) = oldest.filter(|_| !may_bring) {
                *awaited = None;
            }
        }
    }

    /// Finds for each section in which the client sends what it announced: first by name for all of
    /// them, then for the rest the oldest of the kind, because some clients' track ids change on their
    /// way into the SDP. That may be a track that was refused, whose section is no other's.
    pub(super) fn match_publications(&mut self, offer: &Offer, outcome: &mut Outcome) {
        let mut fresh = Vec::new();
        for (index, section) in offer.sections.iter().enumerate() {
            let (Some(slot), Some(media)) = (self.slots.get_mut(index), media_of(section)) else {
                continue;
            };
            if !(slot.open && media.direction.sends()) {
                continue;
            }
            let msid = media.msid.as_ref().and_then(|msid| msid.track.clone());
            let named =
                self.expected.iter().position(|held| held.is_named(msid.as_deref(), media.kind));
            let is_announced = named
                .and_then(|named| self.expected.get(named))
                .is_some_and(|held| held.announcement().is_some());
            // Another announced track in the same section is another publication.
            let replaced = |inbound: &Inbound| is_announced && inbound.msid != msid;
            if let Some(inbound) = slot.inbound.take_if(|inbound| replaced(inbound)) {
                outcome.ended.push(inbound.end());
            }
            if slot.inbound.is_some() {
                continue;
            }
            let mut inbound = Inbound {
                section: describe(section.mid.clone(), media),
                msid,
                refused: None,
                preferred: Vec::new(),
                opus: OpusOptions::default(),
            };
            if let Some(position) = named {
                inbound.bring(&mut self.expected, position);
            }
            slot.inbound = Some(inbound);
            slot.has_received = true;
            fresh.push(index);
        }
        for &index in &fresh {
            let inbound = self.slots.get_mut(index).and_then(|slot| slot.inbound.as_mut());
            let is_anybodys = |it: &&mut Inbound| it.section.cid.is_none() && it.refused.is_none();
            let Some(inbound) = inbound.filter(is_anybodys) else {
                continue;
            };
            let kind = Some(inbound.section.kind);
            let oldest = self.expected.iter().position(|held| held.awaited() == kind);
            if let Some(oldest) = oldest {
                inbound.bring(&mut self.expected, oldest);
            }
        }
        self.describe_publications(offer, &fresh, outcome);
    }

    /// Brings the publications' descriptions up to date and reports those that are new or differ.
    fn describe_publications(&mut self, offer: &Offer, fresh: &[usize], outcome: &mut Outcome) {
        for (index, (slot, section)) in self.slots.iter_mut().zip(&offer.sections).enumerate() {
            let (Some(inbound), Some(media)) = (slot.inbound.as_mut(), media_of(section)) else {
                continue;
            };
            let codecs = self.accepted.preferring(media.kind, &inbound.preferred);
            let described = PublicationSection {
                cid: inbound.section.cid.clone(),
                payloads: choice::payloads(media, &codecs, &inbound.opus.fmtp()),
                extensions: choice::extensions(media),
                ..describe(section.mid.clone(), media)
            };
            if described.payloads.is_empty() {
                // Nothing that we could receive: the section is rejected and the publication over.
                slot.open = false;
                let inbound = slot.inbound.take();
                if fresh.contains(&index) {
                    outcome.unusable.extend(inbound.and_then(|inbound| inbound.section.cid));
                } else {
                    outcome.ended.extend(inbound.map(Inbound::end));
                }
                continue;
            }
            if fresh.contains(&index) {
                outcome.started.push(described.clone());
            } else if described != inbound.section {
                outcome.changed.push(described.clone());
            }
            inbound.section = described;
        }
    }
}

/// The section without what we choose of it.
fn describe(mid: Mid, media: &MediaOffer) -> PublicationSection {
    PublicationSection {
        mid,
        cid: None,
        kind: media.kind,
        payloads: Vec::new(),
        extensions: Vec::new(),
        rids: choice::rids(media),
        ssrcs: choice::ssrcs(media),
    }
}
