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

/// What a slot receives.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) section: PublicationSection,
    /// The track id of `a=msid`.
    msid: Option<Box<str>>,
    pub(super) preferred: Vec<Codec>,
    pub(super) opus: OpusOptions,
}

impl Inbound {
    pub(super) fn end(self) -> PublicationEnd {
        PublicationEnd { mid: self.section.mid, cid: self.section.cid }
    }

    /// Gives the section the announcement's name and wishes.
    fn adopt(&mut self, announcement: Announcement) {
        self.section.cid = Some(announcement.cid);
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
        self.accept(&announcement.cid);
        let found = self.section_for(&announcement);
        let inbound = found
            .and_then(|index| self.slots.get_mut(index))
            .and_then(|slot| slot.inbound.as_mut());
        if let Some(inbound) = inbound {
            inbound.adopt(announcement);
            return Ok(Some(inbound.section.clone()));
        }
        self.announced.retain(|held| held.cid != announcement.cid);
        if self.announced.len() == limits::ANNOUNCED_MAX {
            return Err(AnnounceError::TooMany);
        }
        self.announced.push(announcement);
        Ok(None)
    }

    /// A track that the client announced is not taken. Its section may come, or have come: it is no other track's.
    pub fn refuse(&mut self, cid: &str) {
        self.accept(cid);
        if self.refused.len() == limits::ANNOUNCED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(cid.into());
    }

    fn accept(&mut self, cid: &str) {
        self.refused.retain(|held| **held != *cid);
    }

    fn is_refused(&self, track: Option<&str>) -> bool {
        track.is_some_and(|track| self.refused.iter().any(|held| **held == *track))
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
        self.open() + self.announced.len() < limits::SECTIONS_OPEN_MAX
            || self.section_for(announcement).is_some()
    }

    /// The section that came before this announcement.
    fn section_for(&self, announcement: &Announcement) -> Option<usize> {
        let nameless = || {
            self.slots.iter().enumerate().filter_map(|(index, slot)| {
                let inbound = slot.inbound.as_ref()?;
                let is_nameless = inbound.section.cid.is_none();
                (is_nameless && inbound.section.kind == announcement.kind)
                    .then_some((index, inbound))
            })
        };
        let named = nameless().find(|(_, inbound)| announcement.is_named(inbound.msid.as_deref()));
        let fallback = || nameless().find(|(_, it)| !self.is_refused(it.msid.as_deref()));
        named.or_else(fallback).map(|(index, _)| index)
    }

    /// Forgets an announcement whose section has not come.
    pub fn withdraw(&mut self, cid: &str) {
        self.announced.retain(|held| *held.cid != *cid);
    }

    /// Finds for each section in which the client sends what it announced: first by name for all of
    /// them, then for the rest the oldest announcement of the kind, because some clients' track ids
    /// change on their way into the SDP. A section of a track that was refused has no other's.
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
            let named = self.announced.iter().position(|held| held.is_named(msid.as_deref()));
            // Another announced track in the same section is another publication.
            let replaced = |inbound: &Inbound| named.is_some() && inbound.msid != msid;
            if let Some(inbound) = slot.inbound.take_if(|inbound| replaced(inbound)) {
                outcome.ended.push(inbound.end());
            }
            if slot.inbound.is_some() {
                continue;
            }
            let mut inbound = Inbound {
                section: describe(section.mid.clone(), media),
                msid,
                preferred: Vec::new(),
                opus: OpusOptions::default(),
            };
            if let Some(position) = named {
                inbound.adopt(self.announced.remove(position));
            }
            slot.inbound = Some(inbound);
            slot.has_received = true;
            fresh.push(index);
        }
        for &index in &fresh {
            let msid =
                self.slots.get(index).and_then(|slot| slot.inbound.as_ref()?.msid.as_deref());
            if self.is_refused(msid) {
                continue;
            }
            let inbound = self.slots.get_mut(index).and_then(|slot| slot.inbound.as_mut());
            let Some(inbound) = inbound.filter(|inbound| inbound.section.cid.is_none()) else {
                continue;
            };
            let same_kind = |held: &Announcement| held.kind == inbound.section.kind;
            if let Some(position) = self.announced.iter().position(same_kind) {
                inbound.adopt(self.announced.remove(position));
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
                if !fresh.contains(&index) {
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
