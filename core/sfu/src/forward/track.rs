//! A publication on one worker: its rtp streams, who receives them here, where else they go.

use std::time::Duration;

use model::{Codec, DataRate, RoomId, TrackId, TrackKind, WorkerId};
use model::{Layer, Ration, Timestamp};
use rtp::codec::Facts;
use rtp::nack::NackGenerator;
use rtp::reception::{MediaTime, Reception};
use rtp::vp8;

use super::arena::EntryId;
use super::level::LevelMeter;
use crate::{StreamSpec, limits};

/// A layer that sent nothing for this long is not there.
const STALL: Duration = Duration::from_millis(1_500);
/// A track that brought nothing at all for so long had no new picture.
const SILENCE: Duration = Duration::from_millis(500);
/// The layers of one picture come within this.
const SPREAD: Duration = Duration::from_millis(300);
/// Rates are measured over this.
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// One opened packet, as those who forward it see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    /// The track's row.
    pub(super) track: u32,
    /// Spatial layer: which of the track's rtp streams.
    pub(super) spatial: u8,
    pub(super) entry: EntryId,
    /// Where the payload lies within the entry.
    pub(super) payload_at: u16,
    pub(super) payload_len: u16,
    /// Its place in its rtp stream: an extended sequence number that rises through changes of the SSRC.
    pub(super) index: u64,
    /// It comes after packets that follow it: it was sent again, or overtaken.
    pub(super) is_late: bool,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) codec: Codec,
    pub(super) facts: Facts,
    pub(super) vp8: Option<vp8::Descriptor>,
    /// Video orientation (3GPP TS 26.114), 0 when not said.
    pub(super) orientation: u8,
}

/// One rtp stream of a track.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) spec: StreamSpec,
    pub(super) nack: Box<NackGenerator>,
    pub(super) reception: Option<Reception>,
    /// The publisher's clock, from its sender reports.
    pub(super) media_time: Option<MediaTime>,
    /// Highest index.
    pub(super) newest: Option<u64>,
    /// What is added to an extended sequence number to make an index, which rises through changes of the SSRC. A
    /// multiple of 65,536, so that the low bits stay those on the wire.
    pub(super) base: u64,
    last_packet: Option<Timestamp>,
    pub(super) told_live: bool,
    pub(super) keyframe_asked: Option<Timestamp>,
    /// A key frame is wanted and could not be asked for yet.
    pub(super) keyframe_wanted: bool,
    bytes: u64,
    rate_since: Timestamp,
    /// Over the last window.
    latest: DataRate,
    /// What it may need.
    pub(super) rate: DataRate,
    /// The same without what one window alone had: a key frame.
    pub(super) lasting_rate: DataRate,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec) -> Self {
        Self {
            spec,
            nack: Box::new(NackGenerator::new()),
            reception: None,
            media_time: None,
            newest: None,
            base: 0,
            last_packet: None,
            told_live: false,
            keyframe_asked: None,
            keyframe_wanted: false,
            bytes: 0,
            rate_since: Timestamp::ZERO,
            latest: DataRate::MAX,
            rate: DataRate::ZERO,
            lasting_rate: DataRate::ZERO,
        }
    }

    /// The stream begins anew under another SSRC, so far ahead that it is a leap to those who receive it.
    pub(super) fn begin_anew(&mut self) {
        let newest = self.newest.unwrap_or(0);
        self.base = ((newest + limits::LEAP) | 0xffff) + 1;
        (self.reception, self.media_time) = (None, None);
        *self.nack = NackGenerator::new();
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.last_packet.is_some_and(|at| now.since(at) < STALL)
    }

    pub(super) fn packet(&mut self, now: Timestamp, bytes: usize) {
        self.last_packet = Some(now);
        self.bytes += bytes as u64;
    }

    pub(super) fn measure(&mut self, now: Timestamp) {
        let elapsed = now.since(self.rate_since);
        if elapsed < RATE_WINDOW {
            return;
        }
        let rate = DataRate::of(self.bytes, elapsed);
        let lasting = rate.min(std::mem::replace(&mut self.latest, rate));
        self.rate = followed(self.rate, rate);
        self.lasting_rate = followed(self.lasting_rate, lasting);
        (self.bytes, self.rate_since) = (0, now);
        if !self.is_live(now) {
            self.told_live = false;
        }
    }
}

/// Rises at once, falls slowly: a still picture is no promise to stay small.
fn followed(before: DataRate, rate: DataRate) -> DataRate {
    if rate > before { rate } else { before.percent(75).saturating_add(rate.percent(25)) }
}

/// Where a track's packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A peer of this worker, by its row.
    Peer(u32),
    /// Another worker.
    Worker(WorkerId),
}

#[derive(Debug)]
pub(super) struct Track {
    pub(super) id: TrackId,
    pub(super) room: RoomId,
    pub(super) kind: TrackKind,
    pub(super) origin: Origin,
    pub(super) mid: Box<str>,
    pub(super) streams: Vec<Stream>,
    /// Rows of the subscriptions on this worker.
    pub(super) subscriptions: Vec<u32>,
    pub(super) relays: Vec<WorkerId>,
    pub(super) muted: bool,
    pub(super) last_packet: Timestamp,
    /// When a silence ended last.
    pub(super) woke: Timestamp,
    /// Its last packet in the room's history.
    pub(super) newest_entry: EntryId,
    pub(super) level: LevelMeter,
    /// What it may bring, if it is sound: everybody gets sound first, whatever their way carries.
    pub(super) sound: Ration,
}

/// The most that sound in this codec may bring.
pub(super) const fn sound_rate_max(codec: Codec) -> DataRate {
    if matches!(codec, Codec::Red) { limits::RED_RATE_MAX } else { limits::OPUS_RATE_MAX }
}

impl Track {
    /// A packet comes. After a silence that all layers shared each has a moment to come as well: where pictures come
    /// seldom the first layer of one would else be taken for the only one.
    pub(super) fn wake(&mut self, now: Timestamp) {
        let before = std::mem::replace(&mut self.last_packet, now);
        if now.since(before) < SILENCE {
            return;
        }
        let woke = std::mem::replace(&mut self.woke, now);
        for stream in &mut self.streams {
            let was_there = stream.last_packet >= Some(woke) && stream.is_live(before);
            if was_there && !stream.is_live(now + SPREAD) {
                stream.last_packet = Some(now - (STALL - SPREAD));
            }
        }
    }

    /// The layer to send when at most `wanted` may be: the highest that flows, else the lowest that does. None of a
    /// camera that is off: the pictures that some send of it are black.
    pub(super) fn best_layer(&self, now: Timestamp, wanted: Layer) -> Option<Layer> {
        if self.muted {
            return None;
        }
        let live = |spatial: &u8| {
            self.streams.get(usize::from(*spatial)).is_some_and(|stream| stream.is_live(now))
        };
        let count = u8::try_from(self.streams.len()).unwrap_or(0);
        let spatial = (0..=wanted.spatial.min(count.saturating_sub(1)))
            .rev()
            .find(live)
            .or_else(|| (0..count).find(live))?;
        Some(Layer { spatial, temporal: wanted.temporal })
    }

    pub(super) fn rate(&self, spatial: u8) -> DataRate {
        self.streams.get(usize::from(spatial)).map_or(DataRate::ZERO, |stream| stream.rate)
    }
}
