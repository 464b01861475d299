//! A client's offer, read.
//!
//! Unknown lines and attributes are skipped; known ones that do not parse refuse the whole offer, as
//! do counts above `limits`. Errors name a line, never its content. Not here: single lines (`draft`).
//! Source: RFC 8866, 8829; what Chromium, Firefox and libwebrtc's native clients write.

use model::{ExtensionKind, TrackKind};

use super::draft::{Draft, SessionDraft};
use super::{Direction, ExtensionMapping, Mid, Payload, RemoteTransport};
use crate::limits;

/// Why an offer was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Longer than [`limits::SDP_MAX`].
    #[error("offer too large")]
    TooLarge,
    /// A line longer than [`limits::SDP_LINE_MAX`].
    #[error("line {line} too long")]
    LineTooLong {
        /// Counted from 1.
        line: usize,
    },
    /// More of something than `limits` allows.
    #[error("line {line} exceeds a limit")]
    TooMany {
        /// Counted from 1.
        line: usize,
    },
    /// A line that we must understand does not parse.
    #[error("line {line} is malformed")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// A media section that is neither audio, video nor application.
    #[error("line {line} has an unknown kind of media")]
    UnknownMedia {
        /// Counted from 1.
        line: usize,
    },
    /// A section without a mid.
    #[error("section {index} has no mid")]
    MissingMid {
        /// Counted from 0.
        index: usize,
    },
    /// Two sections with one mid.
    #[error("section {index} repeats a mid")]
    RepeatedMid {
        /// Counted from 0.
        index: usize,
    },
    /// No section offers ICE credentials.
    #[error("no ice credentials")]
    MissingIce,
    /// No certificate fingerprint of a hash that we accept.
    #[error("no usable fingerprint")]
    MissingFingerprint,
    /// The client insists on being the DTLS server, as we do.
    #[error("dtls role refused")]
    PassiveSetup,
    /// One payload type is two formats in the bundle.
    #[error("payload type with two meanings")]
    PayloadConflict,
    /// One header extension id is two extensions in the bundle.
    #[error("header extension id with two meanings")]
    ExtensionConflict,
}

impl model::Impersonal for OfferError {}

/// A client's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its end of the bundled transport, as the first accepted bundled section says (RFC 8843 §7.2).
    pub transport: RemoteTransport,
    /// Whether Firefox wrote it, which says so in its origin (`o=mozilla…`).
    pub is_of_firefox: bool,
    /// The sections in order.
    pub sections: Vec<Section>,
}

/// One `m=` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub mid: Mid,
    /// Not to be used: port zero (and not bundle-only), outside the BUNDLE group, without RTCP
    /// multiplexing, or over another protocol.
    pub rejected: bool,
    /// What it is for.
    pub body: SectionBody,
}

/// What a section is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionBody {
    /// Audio or video.
    Media(MediaOffer),
    /// Data channels.
    Data(DataOffer),
}

/// The description of audio or video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaOffer {
    /// Which of the two.
    pub kind: TrackKind,
    /// Who would send, seen by the client.
    pub direction: Direction,
    /// Formats in the client's order of preference, without those that only repair others.
    pub payloads: Vec<Payload>,
    /// Header extensions that we know.
    pub extensions: Vec<ExtensionMapping>,
    /// What the client would send, by name.
    pub msid: Option<Msid>,
    /// The rids that it would send, in the order of `a=simulcast`.
    pub rids: Vec<Box<str>>,
    /// The SSRCs that it would send, in order, retransmission streams included.
    pub ssrcs: Vec<u32>,
    /// (primary, retransmission) pairs of `a=ssrc-group:FID`.
    pub rtx_groups: Vec<(u32, u32)>,
}

/// `a=msid` (RFC 8830).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// The media stream's id, `-` for none.
    pub stream: Box<str>,
    /// The track's id.
    pub track: Option<Box<str>>,
}

/// The description of an SCTP association (RFC 8841).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataOffer {
    /// SCTP port.
    pub port: u16,
    /// Bytes of a message that the client takes; 0 is any.
    pub max_message_size: u64,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    ///
    /// [`OfferError`] when it is too large, malformed, contradictory, or cannot be answered at all.
    pub fn parse(text: &str) -> Result<Self, OfferError> {
        if text.len() > limits::SDP_MAX {
            return Err(OfferError::TooLarge);
        }
        let mut session = SessionDraft::default();
        let mut drafts: Vec<Draft> = Vec::new();
        for (index, line) in text.split('\n').enumerate() {
            let number = index + 1;
            if line.len() > limits::SDP_LINE_MAX {
                return Err(OfferError::LineTooLong { line: number });
            }
            let Some((field, value)) = line.trim_end_matches('\r').split_once('=') else {
                continue;
            };
            match (field, drafts.last_mut()) {
                ("m", _) => {
                    if drafts.len() == limits::SDP_SECTIONS_MAX {
                        return Err(OfferError::TooMany { line: number });
                    }
                    drafts.push(Draft::new(value).map_err(|fault| fault.at(number))?);
                }
                ("a", Some(draft)) => draft.attribute(value).map_err(|fault| fault.at(number))?,
                ("o", None) => session.origin(value),
                ("a", None) => session.attribute(value).map_err(|fault| fault.at(number))?,
                _ => {}
            }
        }
        assemble(&session, drafts)
    }
}

/// Sections and transport from their drafts.
fn assemble(session: &SessionDraft, drafts: Vec<Draft>) -> Result<Offer, OfferError> {
    let mut sections: Vec<Section> = Vec::with_capacity(drafts.len());
    let mut transport = None;
    for (index, draft) in drafts.into_iter().enumerate() {
        let own = draft.transport.clone();
        let section = draft.finish(session, index)?;
        if sections.iter().any(|earlier| earlier.mid == section.mid) {
            return Err(OfferError::RepeatedMid { index });
        }
        if transport.is_none() && !section.rejected {
            transport = Some(own.within(&session.transport)?);
        }
        sections.push(section);
    }
    check_bundle(&sections)?;
    let transport = transport.ok_or(OfferError::MissingIce)?;
    Ok(Offer { transport, is_of_firefox: session.is_of_firefox, sections })
}

/// Within a BUNDLE a payload type is one format and an extension id one extension (RFC 8843 §9.1,
/// RFC 8285 §6): packets are told apart by nothing else.
fn check_bundle(sections: &[Section]) -> Result<(), OfferError> {
    let mut formats: [Option<(&str, u32, u8)>; 128] = [None; 128];
    let mut extensions: [Option<ExtensionKind>; 256] = [None; 256];
    for section in sections.iter().filter(|section| !section.rejected) {
        let SectionBody::Media(media) = &section.body else {
            continue;
        };
        for payload in &media.payloads {
            let meaning = (&*payload.name, payload.clock_rate, payload.channels);
            claim(formats.get_mut(usize::from(payload.pt)), meaning, |held| {
                held.0.eq_ignore_ascii_case(meaning.0) && (held.1, held.2) == (meaning.1, meaning.2)
            })
            .ok_or(OfferError::PayloadConflict)?;
            if let Some(rtx) = payload.rtx {
                let meaning = ("rtx", payload.clock_rate, payload.pt);
                claim(formats.get_mut(usize::from(rtx)), meaning, |held| held == meaning)
                    .ok_or(OfferError::PayloadConflict)?;
            }
        }
        for mapping in &media.extensions {
            let meaning = mapping.extension;
            claim(extensions.get_mut(usize::from(mapping.id)), meaning, |held| held == meaning)
                .ok_or(OfferError::ExtensionConflict)?;
        }
    }
    Ok(())
}

/// Gives a free number its meaning; `None` if it has another one.
fn claim<T: Copy>(
    slot: Option<&mut Option<T>>,
    meaning: T,
    is_same: impl FnOnce(T) -> bool,
) -> Option<()> {
    let slot = slot?;
    match *slot {
        Some(held) => is_same(held).then_some(()),
        None => {
            *slot = Some(meaning);
            Some(())
        }
    }
}
