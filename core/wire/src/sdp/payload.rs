//! Payload types: what a number in an RTP header means in one section.

use model::{Codec, TrackKind};

/// One payload type with its format, its feedback and its retransmission type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The number in the RTP header, 0 to 127.
    pub pt: u8,
    /// The encoding name as offered: `opus`, `VP8`.
    pub name: Box<str>,
    /// The codec, if it is one that we forward.
    pub codec: Option<Codec>,
    /// Hz.
    pub clock_rate: u32,
    /// Audio channels, 1 if the line does not say.
    pub channels: u8,
    /// The `a=fmtp` parameters as offered; empty if there are none.
    pub fmtp: Box<str>,
    /// The kinds of RTCP feedback that we understand, in the order of the offer.
    pub feedback: Vec<Feedback>,
    /// The payload type of its RTX stream (RFC 4588).
    pub rtx: Option<u8>,
}

impl Payload {
    /// The value of one `name=value` parameter of the fmtp.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.fmtp, name)
    }

    /// How good this format is among those of the same codec, best first; `None` if we cannot use it.
    ///
    /// H264 needs packetization mode 1 (what our packets keep), and constrained baseline decodes
    /// everywhere; VP9 and AV1 beyond profile 0 decode in few places.
    pub(crate) fn preference(&self) -> Option<u8> {
        match self.codec? {
            Codec::H264 => {
                if self.parameter("packetization-mode") != Some("1") {
                    return None;
                }
                let profile = self.parameter("profile-level-id").unwrap_or_default();
                let starts = |prefix: &str| {
                    profile.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
                };
                Some(if starts("42e0") {
                    0
                } else if starts("4200") {
                    1
                } else {
                    2
                })
            }
            Codec::Vp9 => matches!(self.parameter("profile-id"), None | Some("0")).then_some(0),
            Codec::Av1 => matches!(self.parameter("profile"), None | Some("0")).then_some(0),
            Codec::Opus | Codec::Red | Codec::Vp8 | Codec::H265 => Some(0),
        }
    }
}

/// The value of `name=value` in a list separated by semicolons.
pub(super) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|entry| {
        let (key, value) = entry.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The codec of an encoding name in a section of `kind`.
pub(super) fn codec(kind: TrackKind, name: &str, clock_rate: u32) -> Option<Codec> {
    const NAMES: [(&str, Codec); 7] = [
        ("opus", Codec::Opus),
        ("red", Codec::Red),
        ("VP8", Codec::Vp8),
        ("VP9", Codec::Vp9),
        ("H264", Codec::H264),
        ("H265", Codec::H265),
        ("AV1", Codec::Av1),
    ];
    let (_, codec) = NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    // `red` in a video section is another format (ULPFEC's), which we do not forward.
    (codec.kind() == kind && codec.clock_rate() == clock_rate).then_some(codec)
}

/// RTCP feedback of one payload type (`a=rtcp-fb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// `nack`: lost packets are named (RFC 4585).
    Nack,
    /// `nack pli`: a key frame is asked for (RFC 4585).
    NackPli,
    /// `ccm fir`: a key frame is demanded (RFC 5104).
    CcmFir,
    /// `transport-cc`: arrival times of all packets.
    TransportCc,
    /// `goog-remb`: the receiver's own estimate.
    Remb,
}

impl Feedback {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::TransportCc, Self::CcmFir, Self::Nack, Self::NackPli, Self::Remb];

    /// The attribute's value after the payload type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nack => "nack",
            Self::NackPli => "nack pli",
            Self::CcmFir => "ccm fir",
            Self::TransportCc => "transport-cc",
            Self::Remb => "goog-remb",
        }
    }

    /// Reads the attribute's value.
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feedback| feedback.as_str() == value)
    }
}
