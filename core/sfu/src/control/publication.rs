//! A track as offered to the room.
//!
//! Owns: [`Publication`] and which spatial layer of it answers which wish.
//! Not here: SDP (`wire`), packets (`forward`).
//! Source: LiveKit `pkg/rtc/mediatrackreceiver.go` (`GetQualityForDimension`).

use std::collections::BTreeMap;

use model::{
    Codec, Encryption, Layer, PeerId, Quality, RoomId, SubscriptionId, TrackId, TrackKind,
    TrackSid, TrackSource, WorkerId,
};

use super::dynacast::Dynacast;
use super::subscription::{Settings, Want};
use crate::StreamSpec;

/// A track that a participant says it will publish. On the wire: `AddTrackRequest`.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The client's own name for it, at most [`crate::limits::CID_MAX`] bytes.
    pub cid: Box<str>,
    /// Sound or picture.
    pub kind: TrackKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// As the publisher declares it.
    pub encryption: Encryption,
    /// Starts muted.
    pub muted: bool,
    /// Size of the largest picture; zero when not said.
    pub size: Size,
    /// The layers that the client means to send, in any order; empty when not said.
    pub layers: Vec<VideoLayer>,
}

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// One layer as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoLayer {
    /// What clients call it.
    pub quality: Quality,
    /// Its picture; zero when not said.
    pub size: Size,
}

/// How a publication's media arrives, once negotiated.
#[derive(Clone, Debug)]
pub struct Media {
    /// The media section.
    pub mid: Box<str>,
    /// The codec that the publisher will most likely send.
    pub codec: Codec,
    /// One per spatial layer from the smallest, never empty, at most [`crate::limits::STREAMS_MAX`].
    pub streams: Vec<StreamSpec>,
}

/// A track as offered to the room.
#[derive(Debug)]
pub struct Publication {
    /// Its name in this process.
    pub track: TrackId,
    /// Its name for clients.
    pub sid: TrackSid,
    /// Whose.
    pub peer: PeerId,
    /// Where.
    pub room: RoomId,
    /// The publisher's own name for it.
    pub cid: Box<str>,
    /// Sound or picture.
    pub kind: TrackKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// As declared.
    pub encryption: Encryption,
    /// Muted by its publisher.
    pub muted: bool,
    /// Size of the largest picture.
    pub size: Size,
    /// The announced layers, smallest first.
    pub layers: Vec<VideoLayer>,
    /// `None` while pending.
    pub media: Option<Media>,
    /// Who receives it.
    pub subscribers: BTreeMap<PeerId, SubscriptionId>,
    /// Other workers that have subscribers, and how many placed subscriptions each.
    pub(super) relays: BTreeMap<WorkerId, u32>,
    /// The publisher was told that somebody receives it.
    pub was_subscribed: bool,
    pub(super) dynacast: Dynacast,
}

/// A layer large enough for 90 % of the wish is large enough (LiveKit `layerSelectionTolerance`).
const TOLERANCE_PERCENT: u64 = 90;
/// Pictures per second of the two lower temporal layers of three, when the source gives 30.
const RATES: [(u32, u8); 2] = [(8, 0), (15, 1)];
/// Above every temporal layer.
const TEMPORAL_TOP: u8 = 3;

impl Publication {
    /// Whether its media has been negotiated.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.media.is_some()
    }

    /// The highest quality that anybody wants, as the publisher was told it last: it may not have heard.
    #[must_use]
    pub const fn quality_told(&self) -> Quality {
        self.dynacast.told()
    }

    /// The quality that answers `settings`.
    pub(super) fn quality(&self, settings: Settings) -> Quality {
        match settings.want {
            Want::Nothing => Quality::Off,
            Want::Quality(quality) => quality,
            Want::Size(size) => self.quality_for(size),
        }
    }

    /// The limit that answers `settings`; `None` pauses.
    pub(super) fn limit(&self, settings: Settings) -> Option<Layer> {
        let quality = self.quality(settings);
        if quality == Quality::Off {
            return None;
        }
        if self.kind == TrackKind::Audio {
            return Some(Layer::default());
        }
        let temporal = RATES
            .into_iter()
            .find(|(rate, _)| (1..=*rate).contains(&settings.fps))
            .map_or(TEMPORAL_TOP, |(_, temporal)| temporal);
        Some(Layer { spatial: self.spatial(quality), temporal })
    }

    /// The spatial layer that is closest to `quality` from below.
    fn spatial(&self, quality: Quality) -> u8 {
        let streams = self.media.as_ref().map_or(1, |media| media.streams.len());
        let top = u8::try_from(streams.saturating_sub(1)).unwrap_or(0);
        let wanted = if self.layers.len() == streams {
            let lower = self.layers.iter().filter(|layer| layer.quality <= quality).count();
            u8::try_from(lower.saturating_sub(1)).unwrap_or(0)
        } else {
            match quality {
                Quality::Off | Quality::Low => 0,
                Quality::Medium => 1,
                Quality::High => top,
            }
        };
        wanted.min(top)
    }

    /// The lowest quality whose picture is large enough for `size`.
    fn quality_for(&self, size: Size) -> Quality {
        let known = !self.layers.is_empty() && self.layers.iter().all(|l| l.size.height > 0);
        let sizes: Vec<(Quality, u32)> = if known {
            self.layers.iter().map(|layer| (layer.quality, layer.size.height)).collect()
        } else if self.size.height > 0 {
            let largest = self.size.height.min(self.size.width);
            vec![(Quality::Low, 180), (Quality::Medium, 360), (Quality::High, largest)]
        } else {
            return Quality::High;
        };
        let portrait = !known && self.size.width < self.size.height;
        let wanted = if portrait { size.width } else { size.height };
        let wanted = u64::from(wanted) * TOLERANCE_PERCENT / 100;
        let mut heights = sizes.iter().copied().peekable();
        while let Some((quality, height)) = heights.next() {
            let Some((_, next)) = heights.peek() else {
                return quality;
            };
            if u64::from(height) >= wanted && height != *next {
                return quality;
            }
        }
        Quality::High
    }
}
