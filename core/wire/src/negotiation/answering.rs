//! The answer that follows from the slots.

use model::{ExtensionKind, TrackKind};

use super::{Negotiation, OpusOptions, Outbound, Outcome, Slot, choice};
use crate::limits;
use crate::sdp::{
    Answer, AnswerBody, AnswerSection, Direction, MediaAnswer, MediaOffer, Offer, OutboundStream,
    SectionBody,
};

impl Negotiation {
    /// Answers every section as its slot now is, and prints the answer.
    pub(super) fn write_answer(&mut self, offer: &Offer, outcome: &mut Outcome) {
        let opus_fmtp = self.bundle_opus_fmtp();
        let mut sections = Vec::with_capacity(offer.sections.len());
        for (index, section) in offer.sections.iter().enumerate() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            let body = match &section.body {
                SectionBody::Data(_) if !slot.open => AnswerBody::RejectedData,
                SectionBody::Data(_) => {
                    AnswerBody::Data { max_message_size: limits::SCTP_MESSAGE_DEFAULT }
                }
                SectionBody::Media(media) => {
                    // A section that the client has laid down is given back, or each unpublished
                    // track would cost one of `SECTIONS_OPEN_MAX` for good. The first section stays:
                    // it names the bundle's transport.
                    let is_laid_down = slot.is_spent() || media.direction == Direction::Inactive;
                    let mut answer = answer_media(&self.accepted, slot, media, &opus_fmtp);
                    if offer.is_of_firefox && media.direction == Direction::RecvOnly {
                        fix_ssrcs(&mut answer);
                    }
                    let is_kept = index == 0 || !is_laid_down;
                    slot.open &= is_kept && !answer.payloads.is_empty();
                    if slot.open {
                        AnswerBody::Media(answer)
                    } else {
                        AnswerBody::RejectedMedia(media.kind)
                    }
                }
            };
            if let Outbound::Carries(carried) = &slot.outbound {
                let track = carried.subscription.track.clone();
                outcome.mid_to_track_id.push((section.mid.clone(), track));
            }
            sections.push(AnswerSection { mid: section.mid.clone(), body });
        }
        self.answers += 1;
        let answer = Answer { version: self.answers, transport: &self.local, sections };
        outcome.answer = answer.to_string();
    }

    /// Opus parameters for sections without a publication: those of the first publication, because
    /// libwebrtc wants a payload type to have one set of parameters in all of a bundle.
    fn bundle_opus_fmtp(&self) -> String {
        self.slots
            .iter()
            .filter_map(|slot| slot.inbound.as_ref())
            .find(|inbound| inbound.section.kind == TrackKind::Audio)
            .map_or_else(OpusOptions::default_fmtp, |inbound| inbound.opus.fmtp())
    }
}

/// Has Firefox hold to the SSRCs that the answer names.
///
/// A mid among the extensions of what it receives tells it that they may change. It then takes what overtakes the next
/// answer for a section's that is there already, and the one that it is meant for stays dark for good (Firefox 153). We
/// write none there. Chromium has to see it all the same: without, it offers no more section of simulcast.
fn fix_ssrcs(answer: &mut MediaAnswer) {
    answer.extensions.retain(|mapping| mapping.extension != ExtensionKind::Mid);
}

fn answer_media(
    accepted: &choice::AcceptedCodecs,
    slot: &Slot,
    media: &MediaOffer,
    opus_fmtp: &str,
) -> MediaAnswer {
    let carried = match &slot.outbound {
        Outbound::Carries(carried) => Some(&carried.subscription),
        Outbound::Free | Outbound::Draining => None,
    };
    let payloads = match &slot.inbound {
        Some(inbound) => inbound.section.payloads.clone(),
        None => {
            let preferred = carried.map(|subscription| subscription.codec);
            let codecs = accepted.preferring(media.kind, preferred.as_slice());
            choice::payloads(media, &codecs, opus_fmtp)
        }
    };
    MediaAnswer {
        kind: media.kind,
        direction: Direction::new(carried.is_some(), slot.inbound.is_some()),
        payloads,
        extensions: choice::extensions(media),
        rids: if slot.inbound.is_some() { media.rids.clone() } else { Vec::new() },
        outbound: carried.map(|subscription| {
            use model::Sid;
            OutboundStream {
                stream: subscription.stream_id().into(),
                track: subscription.track.as_str().into(),
                cname: subscription.participant.as_str().into(),
                ssrc: subscription.ssrc,
                rtx_ssrc: subscription.rtx_ssrc,
            }
        }),
    }
}
