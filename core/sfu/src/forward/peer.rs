//! One peer's media on its worker: keys, address, how to read what it sends, how much it can take.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use model::{Codec, DataRate, Path, PeerId, Ration, RoomId, Timestamp, TrackId};
use rtp::bwe::Estimator;
use rtp::extension::ExtensionMap;
use rtp::srtp::{SrtpReceiver, SrtpSender};
use rtp::twcc::{FeedbackRecorder, SendHistory};

use super::loss::LossMeter;
use super::patience::Patience;
use super::subscription::Ended;
use crate::{ReceiveFormat, limits};

/// Assumed until feedback says otherwise: a camera in its largest layer and some sound.
pub(super) const INITIAL_ESTIMATE: DataRate = DataRate::from_kbps(3_000);
/// Who gives no feedback for so long, though what it gets could be numbered, will give none.
const FEEDBACK_PATIENCE: Duration = Duration::from_secs(5);
/// Assumed until a report tells.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// What an SSRC of the peer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamRef {
    pub(super) track: u32,
    pub(super) spatial: u8,
    pub(super) role: Role,
}

impl StreamRef {
    /// Whether both are of one rtp stream.
    const fn is_of(&self, other: Self) -> bool {
        self.track == other.track && self.spatial == other.spatial
    }
}

/// What an SSRC is to its rtp stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Media,
    Rtx,
    /// The stream goes on under another: what comes under this one until then is late, and begins it anew later.
    Past {
        until: Timestamp,
    },
}

/// What a payload type of the peer means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    Media(Codec),
    /// Retransmissions of packets in this codec.
    Rtx(Codec),
}

/// A spell of padding that tries whether more fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) rate: DataRate,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) sent: u64,
}

/// What only a receiving peer needs.
pub(super) struct Downlink {
    pub(super) history: SendHistory,
    pub(super) estimator: Estimator,
    pub(super) has_feedback: bool,
    /// It has subscriptions whose packets are numbered, which it can tell of.
    pub(super) is_numbered: bool,
    /// When the first of them was sent: since then feedback is waited for.
    pub(super) awaited: Option<Timestamp>,
    /// Feedback that is read.
    pub(super) feedback: Ration,
    /// No more than this is sent, whatever the way carries.
    pub(super) cap: Option<DataRate>,
    pub(super) transport_sequence: u16,
    pub(super) probe: Option<Probe>,
    /// When its bandwidth was divided last; `None` when that is due at once.
    pub(super) allocated: Option<Timestamp>,
}

impl Downlink {
    fn new() -> Self {
        Self {
            history: SendHistory::new(),
            estimator: Estimator::new(INITIAL_ESTIMATE),
            has_feedback: false,
            is_numbered: false,
            awaited: None,
            feedback: Ration::new(limits::FEEDBACK_BURST),
            cap: None,
            transport_sequence: 0,
            probe: None,
            allocated: None,
        }
    }

    /// What the way is believed to carry. Whatever comes, of one that nothing can tell about.
    pub(super) fn carries(&self, now: Timestamp) -> DataRate {
        let is_awaited = self.awaited.is_none_or(|since| now.since(since) < FEEDBACK_PATIENCE);
        let is_known = self.has_feedback || self.is_numbered && is_awaited;
        if is_known { self.estimator.estimate() } else { DataRate::MAX }
    }

    pub(super) fn next_transport_sequence(&mut self) -> u16 {
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        self.transport_sequence
    }
}

pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) room: RoomId,
    pub(super) keys: Option<(Box<SrtpReceiver>, Box<SrtpSender>)>,
    /// Our address and its: as nominated, or open before that.
    pub(super) destination: Option<Path>,
    formats: Vec<ReceiveFormat>,
    pub(super) receive: ExtensionMap,
    pub(super) ssrcs: HashMap<u32, StreamRef>,
    /// What a publisher will be told about its packets; 8 KiB that a mere receiver does not need.
    pub(super) feedback: Option<Box<FeedbackRecorder>>,
    /// An SSRC of the peer's, for feedback about the whole bundle.
    pub(super) feedback_ssrc: u32,
    /// What all its sound together may bring.
    pub(super) sound: Ration,
    pub(super) downlink: Option<Box<Downlink>>,
    pub(super) rtt: Duration,
    pub(super) has_rtt: bool,
    /// Rows of its tracks.
    pub(super) tracks: Vec<u32>,
    /// Rows of its subscriptions.
    pub(super) subscriptions: Vec<u32>,
    /// Subscriptions that ended last.
    ended: VecDeque<Ended>,
    /// For tracks that it may take again, under whatever SSRCs.
    patiences: VecDeque<(TrackId, Patience)>,
    pub(super) reported: Timestamp,
    pub(super) quality_told: Timestamp,
    /// Of what is sent to it.
    pub(super) loss_down: LossMeter,
    /// Of what it sends.
    pub(super) loss_up: LossMeter,
}

impl Peer {
    /// Whether media can be sealed for it and sent.
    pub(super) fn is_reached(&self) -> bool {
        self.keys.is_some() && self.destination.is_some()
    }

    pub(super) fn new(id: PeerId, room: RoomId, now: Timestamp) -> Self {
        Self {
            id,
            room,
            keys: None,
            destination: None,
            formats: Vec::new(),
            receive: ExtensionMap::new(),
            ssrcs: HashMap::new(),
            feedback: None,
            feedback_ssrc: 0,
            sound: Ration::new(limits::SOUND_BURST),
            downlink: None,
            rtt: INITIAL_RTT,
            has_rtt: false,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            ended: VecDeque::new(),
            patiences: VecDeque::new(),
            reported: now,
            quality_told: now,
            loss_down: LossMeter::default(),
            loss_up: LossMeter::default(),
        }
    }

    pub(super) fn set_formats(&mut self, formats: Vec<ReceiveFormat>) {
        self.formats = formats;
    }

    pub(super) fn format(&self, payload_type: u8) -> Option<Format> {
        self.formats.iter().find_map(|format| {
            if format.payload_type == payload_type {
                Some(Format::Media(format.codec))
            } else if format.rtx == Some(payload_type) {
                Some(Format::Rtx(format.codec))
            } else {
                None
            }
        })
    }

    /// Remembers where a subscription stopped.
    pub(super) fn end(&mut self, ended: Ended) {
        if self.ended.len() >= limits::ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    /// Where the subscription under this SSRC stopped, if there was one.
    pub(super) fn ended(&self, ssrc: u32) -> Option<Ended> {
        self.ended.iter().rev().find(|ended| ended.ssrc == ssrc).copied()
    }

    /// Remembers how soon it may have a key frame of a track that it leaves.
    pub(super) fn keep_patience(&mut self, track: TrackId, patience: Patience) {
        self.patiences.retain(|(other, _)| *other != track);
        if self.patiences.len() >= limits::SUBSCRIPTIONS_MAX {
            self.patiences.pop_front();
        }
        self.patiences.push_back((track, patience));
    }

    /// How soon it may have a key frame of a track that it takes.
    pub(super) fn patience(&self, track: TrackId) -> Patience {
        let kept = self.patiences.iter().find(|(other, _)| *other == track);
        kept.map_or_else(Patience::new, |(_, patience)| *patience)
    }

    /// Forgets what SSRCs are but for some, which may change.
    #[expect(
        clippy::disallowed_methods,
        reason = "what becomes of an entry does not hang on the order"
    )]
    pub(super) fn keep_ssrcs(&mut self, mut stays: impl FnMut(u32, &mut StreamRef) -> bool) {
        let mut receiver = self.keys.as_mut().map(|(receiver, _)| receiver);
        self.ssrcs.retain(|&ssrc, place| {
            let stays = stays(ssrc, place);
            if let Some(receiver) = receiver.as_mut().filter(|_| !stays) {
                receiver.set_ended(ssrc, true);
            }
            stays
        });
    }

    /// Remembers what an SSRC is, within bounds. Where there is no room it takes that of what the same rtp stream no
    /// longer has.
    pub(super) fn learn(&mut self, ssrc: u32, stream: StreamRef) -> bool {
        if self.ssrcs.len() >= limits::SSRCS_MAX && !self.ssrcs.contains_key(&ssrc) {
            self.keep_ssrcs(|_, place| !place.is_of(stream) || place.role == Role::Media);
            if self.ssrcs.len() >= limits::SSRCS_MAX {
                return false;
            }
        }
        self.ssrcs.insert(ssrc, stream);
        if let Some((receiver, _)) = &mut self.keys {
            receiver.set_ended(ssrc, false);
        }
        true
    }

    /// An rtp stream begins anew under this SSRC; the one that it had is past. Its retransmissions go on under any.
    pub(super) fn supersede(&mut self, now: Timestamp, ssrc: u32, stream: StreamRef) {
        self.keep_ssrcs(|other, place| match place.role {
            _ if !place.is_of(stream) => true,
            _ if other == ssrc => {
                place.role = Role::Media;
                true
            }
            Role::Media => {
                place.role = Role::Past { until: now + limits::LATE_TIME_MAX };
                true
            }
            Role::Rtx => true,
            Role::Past { until } => now < until,
        });
    }

    /// Its bandwidth is divided at the next turn of the timer, and what that gives it asked for.
    pub(super) fn allocate_soon(&mut self) {
        if let Some(downlink) = &mut self.downlink {
            downlink.allocated = None;
        }
    }

    pub(super) fn downlink(&mut self) -> &mut Downlink {
        self.downlink.get_or_insert_with(|| Box::new(Downlink::new()))
    }
}
