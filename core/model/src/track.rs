//! What a track is: kind, source, codec, encryption and layers.

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// Where a track comes from. On the wire: `TrackSource`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackSource {
    /// Not said.
    #[default]
    Unknown,
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen.
    ScreenShare,
    /// The sound of a shared screen.
    ScreenShareAudio,
}

impl TrackSource {
    /// Every source that can be said.
    pub const ALL: [Self; 4] =
        [Self::Camera, Self::Microphone, Self::ScreenShare, Self::ScreenShareAudio];

    /// Sound or picture, if the source is said.
    #[must_use]
    pub const fn kind(self) -> Option<TrackKind> {
        match self {
            Self::Unknown => None,
            Self::Camera | Self::ScreenShare => Some(TrackKind::Video),
            Self::Microphone | Self::ScreenShareAudio => Some(TrackKind::Audio),
        }
    }
}

/// End-to-end encryption as the publisher declares it. On the wire: `Encryption.Type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// The network can read the media.
    #[default]
    None,
    /// LiveKit's frame format, AES-GCM.
    Gcm,
    /// The customer's own.
    Custom,
}

/// A codec that this network forwards, with what a forwarder must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// `audio/opus`.
    Opus,
    /// `audio/red` (RFC 2198).
    Red,
    /// `video/VP8`: descriptor rewritten when layers switch.
    Vp8,
    /// `video/VP9`.
    Vp9,
    /// `video/H264`.
    H264,
    /// `video/H265`.
    H265,
    /// `video/AV1`.
    Av1,
}

impl Codec {
    /// Sound or picture.
    #[must_use]
    pub const fn kind(self) -> TrackKind {
        match self {
            Self::Opus | Self::Red => TrackKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => TrackKind::Video,
        }
    }

    /// RTP clock rate in Hz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            TrackKind::Audio => 48_000,
            TrackKind::Video => 90_000,
        }
    }
}

/// A quality that a client asks for. On the wire: `VideoQuality`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Nothing.
    Off,
    /// Spatial layer 0.
    Low,
    /// Spatial layer 1.
    Medium,
    /// Spatial layer 2.
    High,
}

/// A spatial and a temporal index, both from 0 up; ordered by picture size, then by rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// Picture size: 0 is the smallest.
    pub spatial: u8,
    /// Picture rate: 0 is the lowest.
    pub temporal: u8,
}

impl Layer {
    /// Spatial layers that a track can have.
    pub const SPATIAL_MAX: usize = 3;
}
