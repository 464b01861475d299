//! Session descriptions (RFC 8866) as WebRTC clients offer them and as we answer.
//!
//! Owns: the words that both directions share. [`Offer::parse`] reads, [`Answer`] prints.
//! Guarantees: a text of any content parses or is refused in time linear in its bounded length;
//! what the parser does not know it skips; nothing that a client wrote reaches an answer unchecked.
//! Not here: which section carries which track (`negotiation`). Source: RFC 8829 (JSEP), 8843
//! (BUNDLE), 8853 (simulcast), 8285 (header extensions), 4588 (RTX), 8841 (data channels).

mod answer;
mod draft;
mod extension;
mod offer;
mod payload;
mod transport;

pub use answer::{Answer, AnswerBody, AnswerSection, MediaAnswer, OutboundStream};
pub use extension::ExtensionMapping;
pub use offer::{DataOffer, MediaOffer, Msid, Offer, OfferError, Section, SectionBody};
pub use payload::{Feedback, Payload};
pub use transport::{
    Candidate, CandidateTransport, Fingerprint, FingerprintHash, IceCredentials, LocalTransport,
    RemoteTransport,
};

/// A media section's name, unique in its session and stable while the section lives (RFC 5888).
///
/// One to [`MID_MAX`](crate::limits::MID_MAX) characters of an SDP token: it travels in RTP header
/// extensions and is copied into answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mid(Box<str>);

impl Mid {
    /// Takes `text` if it can be a mid.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=crate::limits::MID_MAX).contains(&text.len());
        (fits && text.bytes().all(is_token_byte)).then(|| Self(text.into()))
    }

    /// The name as it stands in the offer.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A byte of an SDP `token` (RFC 8866 §9).
const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'~')
}

/// Who sends in a section, seen by the one who wrote the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both. The default of a section that says nothing.
    #[default]
    SendRecv,
    /// The writer only.
    SendOnly,
    /// The reader only.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The direction of a writer who `sends` and `receives`.
    #[must_use]
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same flow seen from the other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Reads the attribute's name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}
