//! A publication on one worker: its rtp streams, who receives them here, where else they go.

use std::time::Duration;

use model::{Codec, DataRate, RoomId, TrackId, TrackKind, WorkerId};
use model::{Layer, Ration, Timestamp};
use rtp::codec::Facts;
use rtp::nack::NackGenerator;
use rtp::packet::FIXED_HEADER_LEN;
use rtp::reception::{MediaTime, Reception};
use rtp::{sequence, vp8};

use super::arena::EntryId;
use super::keyframe::KeyframeStart;
use super::level::LevelMeter;
use super::subscription::EXTENSIONS_MAX;
use crate::{StreamSpec, limits};

/// A layer that sent nothing for this long is not there.
const STALL: Duration = Duration::from_millis(1_500);
/// Sooner where the pictures go on: when the lowest layer has brought so many since, and for this long.
const OVERTAKEN_PICTURES: u8 = 5;
const OVERTAKEN: Duration = Duration::from_millis(400);
/// A layer that comes again soon after that is taken for there when it has come for so long without another gap.
const PROBATION: Duration = Duration::from_secs(2);
/// A track that brought nothing at all for so long had no new picture.
const SILENCE: Duration = Duration::from_millis(500);
/// The layers of one picture come within this.
const SPREAD: Duration = Duration::from_millis(300);
/// Rates are measured over this.
const RATE_WINDOW: Duration = Duration::from_millis(500);
/// What lasts is measured over so many of them.
const LASTING_WINDOWS: usize = 4;

/// What goes to a receiver with each payload: header, extensions and the tag of AES-GCM. Of sound it is half. The
/// extensions count twice: counted as they are, a layer that just fits does not in one window, and does in the next.
const PACKET_OVERHEAD: usize = FIXED_HEADER_LEN + 2 * EXTENSIONS_MAX + 16;

/// What is measured of a stream that somebody begins to receive has the key frame in it for so long: as many windows,
/// and as many again and some more until it has followed what they say then.
const SETTLE: Duration = Duration::from_secs(6);
/// The packets of a key frame come within this.
const KEYFRAME_SPREAD: Duration = Duration::from_millis(250);

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
    /// Pictures that the lowest layer has brought since.
    missed: u8,
    /// When it came again after it had been overtaken last.
    resumed: Option<Timestamp>,
    /// Of what is there: the codec that was told, and when.
    told: Option<(Codec, Timestamp)>,
    pub(super) keyframe_asked: Option<Timestamp>,
    /// When a key frame may be asked for that is wanted and could not be yet.
    pub(super) keyframe_wanted: Option<Timestamp>,
    /// Where the newest key frame begins.
    keyframe_newest: KeyframeStart,
    bytes: u64,
    /// When a silence ended last.
    began: Timestamp,
    rate_since: Timestamp,
    /// Bytes of the last windows, and how long each was.
    windows: [(u64, Duration); LASTING_WINDOWS],
    /// What it may need. A silence is no promise to need less after it.
    pub(super) rate: DataRate,
    /// The same over several windows: of what it needs a key frame is a small part, and pictures that come seldom are
    /// no less.
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
            missed: 0,
            resumed: None,
            told: None,
            keyframe_asked: None,
            keyframe_wanted: None,
            keyframe_newest: KeyframeStart::default(),
            bytes: 0,
            began: Timestamp::ZERO,
            rate_since: Timestamp::ZERO,
            windows: [(0, Duration::ZERO); LASTING_WINDOWS],
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

    /// A packet that is of a key frame. With one that comes late nobody can begin, as what follows it went before.
    pub(super) fn keyframe(&mut self, index: u64, timestamp: u32, is_late: bool) {
        self.keyframe_newest.note(index, timestamp);
        if !is_late {
            self.keyframe_wanted = None;
        }
    }

    /// A packet will not come any more. Without it those who have the stream can go on with the next key frame alone,
    /// if none has come since.
    pub(super) fn give_up(&mut self, now: Timestamp, sequence: u16) {
        let index = self.newest.and_then(|newest| sequence::nearest_index(newest, sequence));
        if index.is_none_or(|index| self.keyframe_newest.index() > Some(index)) {
            return;
        }
        let due = self.keyframe_asked.map_or(now, |at| at + limits::KEYFRAME_PATIENCE_MAX);
        self.keyframe_wanted = Some(self.keyframe_wanted.map_or(due, |before| before.min(due)));
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.last_packet.is_some_and(|at| now.since(at) < STALL)
    }

    /// Its publisher has dropped it, by what the lowest layer brings.
    fn is_overtaken(&self, now: Timestamp) -> bool {
        self.missed >= OVERTAKEN_PICTURES
            && self.last_packet.is_some_and(|at| now.since(at) >= OVERTAKEN)
    }

    /// Whether a receiver may count on it.
    pub(super) fn is_there(&self, now: Timestamp) -> bool {
        self.is_live(now)
            && !self.is_overtaken(now)
            && self.resumed.is_none_or(|at| now.since(at) >= PROBATION)
    }

    /// Whether a packet in this codec is news: the first since it was not there, or in another one than those before.
    /// The latter is told no oftener than the former can be, as all receivers negotiate anew.
    pub(super) fn is_news(&mut self, now: Timestamp, codec: Codec) -> bool {
        let is_news = self.told.is_none_or(|(told, at)| told != codec && now.since(at) >= STALL);
        if is_news {
            self.told = Some((codec, now));
        }
        is_news
    }

    /// A packet with so long a payload. It takes as much of a receiver's way wherever it came from.
    pub(super) fn packet(&mut self, now: Timestamp, payload_len: usize) {
        if !self.is_live(now) {
            self.began = now;
        }
        if self.is_overtaken(now) {
            // What was away for longer was stopped, perhaps at our own wish, and begins anew.
            self.resumed = self.is_live(now).then_some(now);
        }
        (self.last_packet, self.missed) = (Some(now), 0);
        self.bytes += (payload_len + PACKET_OVERHEAD) as u64;
    }

    /// Whether a full window is over since it began.
    pub(super) fn is_measured(&self) -> bool {
        self.rate_since > self.began
    }

    pub(super) fn measure(&mut self, now: Timestamp, is_muted: bool) {
        let is_live = self.is_live(now);
        if !is_live {
            self.told = None;
            // What begins then has no share in the silence before it.
            self.windows = Default::default();
        }
        if !is_live || is_muted {
            (self.rate_since, self.bytes) = (now, 0);
        }
        // It may have begun since, or be new itself.
        let elapsed = now.since(self.rate_since.max(self.began));
        if elapsed < RATE_WINDOW {
            return;
        }
        if self.bytes > 0 {
            self.rate = followed(self.rate, DataRate::of(self.bytes, elapsed));
        }
        self.lasting_rate = followed(self.lasting_rate, self.lasting(now)).min(self.rate);
        (self.rate_since, self.bytes) = (now, 0);
    }

    /// What lasts for somebody who has had it since a key frame, which is no part of that: when that came, and what was
    /// known before.
    pub(super) fn lasting_since(
        &self,
        now: Timestamp,
        (keyframe, before): (Timestamp, DataRate),
    ) -> DataRate {
        if now.since(keyframe) >= SETTLE {
            return self.lasting_rate;
        }
        let (mut from, mut bytes) = (self.rate_since, 0);
        for &(of_window, time) in &self.windows {
            if time.is_zero() || from - time < keyframe + KEYFRAME_SPREAD {
                break;
            }
            from = from - time;
            bytes += of_window;
        }
        let time = self.rate_since.since(from);
        let since = if time.is_zero() { before } else { DataRate::of(bytes, time) };
        self.lasting_rate.min(since)
    }

    /// The rate over the last windows, with the one that ends now.
    fn lasting(&mut self, now: Timestamp) -> DataRate {
        self.windows.rotate_right(1);
        if let Some(latest) = self.windows.first_mut() {
            *latest = (self.bytes, now.since(self.rate_since.max(self.began)));
        }
        let bytes = self.windows.iter().map(|(bytes, _)| bytes).sum();
        DataRate::of(bytes, self.windows.iter().map(|(_, time)| *time).sum())
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
    /// One of them could not have what came last for want of a key frame.
    pub(super) is_awaited: bool,
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
                (stream.last_packet, stream.began) = (Some(now - (STALL - SPREAD)), now);
            }
        }
    }

    /// A picture of this layer is there.
    pub(super) fn picture(&mut self, spatial: u8) {
        if spatial == 0 {
            for stream in self.streams.iter_mut().skip(1) {
                stream.missed = stream.missed.saturating_add(1);
            }
        }
    }

    /// The layer to send when at most `wanted` may be: the highest that flows, else the lowest that does. None of a
    /// camera that is off: the pictures that some send of it are black.
    pub(super) fn best_layer(&self, now: Timestamp, wanted: Layer) -> Option<Layer> {
        if self.muted {
            return None;
        }
        let is_there = |spatial: &u8| {
            self.streams.get(usize::from(*spatial)).is_some_and(|stream| stream.is_there(now))
        };
        let count = u8::try_from(self.streams.len()).unwrap_or(0);
        let spatial = (0..=wanted.spatial.min(count.saturating_sub(1)))
            .rev()
            .find(is_there)
            .or_else(|| (0..count).find(is_there))?;
        Some(Layer { spatial, temporal: wanted.temporal })
    }

    /// Whether anything of a sound goes out.
    pub(super) fn is_heard(&self, now: Timestamp) -> bool {
        !self.muted && self.streams.first().is_some_and(|stream| stream.is_live(now))
    }

    pub(super) fn rate(&self, spatial: u8) -> DataRate {
        self.streams.get(usize::from(spatial)).map_or(DataRate::ZERO, |stream| stream.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lasts, in percent of the true rate, at the least and at the most, of a stream that brings 480 kbit/s in so
    /// many pictures a second; one of them, if it is said which, is nine times as large.
    fn lasting(per_second: u64, key: Option<u64>) -> (u64, u64) {
        let mut stream = Stream::new(StreamSpec::default());
        let (mut least, mut most) = (u64::MAX, 0);
        for tick in 0..1_000 {
            let now = Timestamp::from_millis(60_000 + tick * 20);
            let count = |tick| tick * 20 * per_second / 1_000;
            if count(tick + 1) > count(tick) {
                let factor = if Some(count(tick)) == key { 9 } else { 1 };
                stream.packet(now, usize::try_from(60_000 / per_second * factor).unwrap());
            }
            stream.measure(now, false);
            // The first picture alone is twice as much as all that follow.
            if tick > 250 {
                let percent = stream.lasting_rate.as_bps() / 4_800;
                (least, most) = (least.min(percent), most.max(percent));
            }
        }
        (least, most)
    }

    #[test]
    fn what_lasts_of_pictures_that_come_seldom_is_no_less_and_a_key_frame_is_a_small_part() {
        for per_second in [1, 2, 3, 5, 25] {
            let (least, most) = lasting(per_second, None);
            assert!(least >= 80 && most <= 160, "{per_second}: {least} to {most} percent");
        }
        let (least, most) = lasting(25, Some(250));
        assert!(least >= 95 && most <= 120, "{least} to {most} percent");
    }
}
