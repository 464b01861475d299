//! RTP header extensions by their URIs, as sections offer them.

use super::Direction;

/// A header extension that this network reads, writes or passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// The section's mid (RFC 9143 §15).
    Mid,
    /// The stream's rid (RFC 8852).
    Rid,
    /// The rid of the stream that an RTX stream repairs (RFC 8852).
    RepairedRid,
    /// Audio level and voice activity (RFC 6464).
    AudioLevel,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportSequence,
    /// Absolute send time.
    AbsSendTime,
    /// Absolute capture time.
    AbsCaptureTime,
    /// Coordination of video orientation (3GPP TS 26.114).
    VideoOrientation,
    /// Bounds on the receiver's playout delay.
    PlayoutDelay,
    /// AV1's dependency descriptor, also used for VP9 and VP8.
    DependencyDescriptor,
}

impl Extension {
    /// Every one, in the order of the declaration.
    pub const ALL: [Self; 10] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportSequence,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::VideoOrientation,
        Self::PlayoutDelay,
        Self::DependencyDescriptor,
    ];

    /// The name in `a=extmap`.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::TransportSequence => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// The extension of this name, if it is one of ours.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }
}

/// One `a=extmap` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionMapping {
    /// 1 to 14 fit the one-byte form of RFC 8285, 15 is reserved, 16 to 255 need the two-byte form.
    pub id: u8,
    /// What the id means.
    pub extension: Extension,
    /// Who writes it, seen by the description's author, where the line says so.
    pub direction: Option<Direction>,
}
