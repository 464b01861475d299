//! What of a section's offer we accept: formats and header extensions.

use model::{Codec, TrackKind};

use crate::sdp::{ExtensionMapping, Feedback, MediaOffer, Payload};

/// What every Opus encoder should do: forward error correction, packets down to 10 ms.
const OPUS_FMTP: &str = "minptime=10;useinbandfec=1";

/// How a publication's Opus differs from the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpusOptions {
    /// Silence is sent as silence (LiveKit `disable_dtx`).
    pub no_dtx: bool,
    /// Two channels, at a bit rate that does them justice.
    pub stereo: bool,
}

impl OpusOptions {
    /// The parameters for a section that receives such a publication (as LiveKit's answers do).
    pub(super) fn fmtp(self) -> String {
        let mut fmtp = String::from(OPUS_FMTP);
        if !self.no_dtx {
            fmtp.push_str(";usedtx=1");
        }
        if self.stereo {
            fmtp.push_str(";stereo=1;maxaveragebitrate=510000");
        }
        fmtp
    }

    /// The parameters where no publication says otherwise.
    pub(super) fn default_fmtp() -> String {
        OPUS_FMTP.to_owned()
    }
}

/// One payload type for each codec of `accepted` that the client offers, in that order, as an answer
/// prints them.
///
/// RED is taken only together with the Opus inside it.
pub(super) fn payloads(media: &MediaOffer, accepted: &[Codec], opus_fmtp: &str) -> Vec<Payload> {
    let mut chosen: Vec<Payload> = Vec::new();
    for &codec in accepted {
        let best = media
            .payloads
            .iter()
            .filter(|payload| payload.codec == Some(codec))
            .filter_map(|payload| Some((payload.preference()?, payload)))
            .min_by_key(|(preference, _)| *preference);
        let Some((_, payload)) = best else {
            continue;
        };
        if chosen.iter().any(|held| held.codec == Some(codec)) {
            continue;
        }
        let mut payload = payload.clone();
        payload.feedback = feedback(&payload.feedback);
        if codec == Codec::Opus {
            payload.fmtp = opus_fmtp.into();
        }
        chosen.push(payload);
    }
    if !chosen.iter().any(|payload| payload.codec == Some(Codec::Opus)) {
        chosen.retain(|payload| payload.codec != Some(Codec::Red));
    }
    // It is kept as long as the section, and is mostly one.
    chosen.shrink_to_fit();
    chosen
}

/// The codecs of the offered formats that we could use.
pub(super) fn offered_codecs(media: &MediaOffer) -> Vec<Codec> {
    let usable = media.payloads.iter().filter(|payload| payload.preference().is_some());
    let mut codecs: Vec<Codec> = Vec::new();
    for codec in usable.filter_map(|payload| payload.codec) {
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    codecs
}

/// The feedback that we accept: arrival times replace the receiver's own estimate.
fn feedback(offered: &[Feedback]) -> Vec<Feedback> {
    let per_packet = offered.contains(&Feedback::TransportCc);
    Feedback::ALL
        .into_iter()
        .filter(|kind| offered.contains(kind))
        .filter(|kind| *kind != Feedback::Remb || !per_packet)
        .collect()
}

/// The header extensions that we accept, directions turned to our side.
///
/// Every section gets all that it offers, receiving ones rids too: once Chromium has seen an answer
/// without rids it cannot offer a simulcast section any more.
pub(super) fn extensions(media: &MediaOffer) -> Vec<ExtensionMapping> {
    let mut accepted: Vec<ExtensionMapping> = Vec::new();
    for mapping in &media.extensions {
        let known = accepted.iter().any(|held| held.extension == mapping.extension);
        if known {
            continue;
        }
        let direction = mapping.direction.map(crate::sdp::Direction::reversed);
        accepted.push(ExtensionMapping { direction, ..*mapping });
    }
    accepted
}

/// (primary, retransmission) SSRCs in the order of the offer.
pub(super) fn ssrcs(media: &MediaOffer) -> Vec<(u32, Option<u32>)> {
    let is_rtx = |ssrc: u32| media.rtx_groups.iter().any(|(_, rtx)| *rtx == ssrc);
    let rtx_of = |ssrc: u32| {
        media.rtx_groups.iter().find(|(primary, _)| *primary == ssrc).map(|(_, rtx)| *rtx)
    };
    media.ssrcs.iter().filter(|ssrc| !is_rtx(**ssrc)).map(|ssrc| (*ssrc, rtx_of(*ssrc))).collect()
}

/// Rids from the smallest layer up: by name if they are LiveKit's, else as offered.
pub(super) fn rids(media: &MediaOffer) -> Vec<Box<str>> {
    const LIVEKIT: [&str; 3] = ["q", "h", "f"];
    let rank = |rid: &str| LIVEKIT.iter().position(|known| *known == rid);
    let mut rids = media.rids.clone();
    if rids.iter().all(|rid| rank(rid).is_some()) {
        rids.sort_by_key(|rid| rank(rid));
    }
    rids
}

/// What a session accepts where no publication or subscription says more. Order is preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedCodecs {
    /// Audio codecs; without RED where frames are end-to-end encrypted.
    pub audio: Vec<Codec>,
    /// Video codecs.
    pub video: Vec<Codec>,
}

impl AcceptedCodecs {
    pub(super) fn of(&self, kind: TrackKind) -> &[Codec] {
        match kind {
            TrackKind::Audio => &self.audio,
            TrackKind::Video => &self.video,
        }
    }

    /// Those of `kind`, the `preferred` first.
    pub(super) fn preferring(&self, kind: TrackKind, preferred: &[Codec]) -> Vec<Codec> {
        let mut codecs: Vec<Codec> =
            preferred.iter().copied().filter(|codec| codec.kind() == kind).collect();
        for codec in self.of(kind) {
            if !codecs.contains(codec) {
                codecs.push(*codec);
            }
        }
        codecs
    }
}
