//! RTP header extensions: what they are for, and the URIs by which sessions name them.
//!
//! Not here: their bytes (`rtp`), the ids that a session gives them (`wire`).
//! Source: each kind names its own.

/// A header extension that this network reads, writes or passes on.
///
/// Two are left out because agreeing to them changes what comes (decision 0039): the dependency descriptor, and the
/// camera's rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtensionKind {
    /// Which m-line. RFC 9143 §15.
    Mid,
    /// Which simulcast layer. RFC 8852 §3.1.
    Rid,
    /// Which simulcast layer a retransmission repairs. RFC 8852 §3.2.
    RepairedRid,
    /// How loud. RFC 6464.
    AudioLevel,
    /// Count of packets over the whole transport. draft-holmer-rmcat-transport-wide-cc-extensions-01.
    TransportSequence,
    /// When the packet left its sender.
    AbsSendTime,
    /// When the sound or picture was captured.
    AbsCaptureTime,
    /// How long the receiver should buffer.
    PlayoutDelay,
}

impl ExtensionKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportSequence,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::PlayoutDelay,
    ];

    /// As in SDP's `extmap`.
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
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        }
    }

    /// The kind that `uri` names, if we know it.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.uri() == uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_uri_and_no_other_text_is() {
        for kind in ExtensionKind::ALL {
            assert_eq!(ExtensionKind::from_uri(kind.uri()), Some(kind));
        }
        assert_eq!(ExtensionKind::from_uri("urn:ietf:params:rtp-hdrext:toffset"), None);
    }
}
