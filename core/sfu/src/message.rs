//! What `Control` and the `Forward`s say to each other: instructions down, reports up.
//!
//! Owns: the two enums and what they carry. Control is one instance that knows rooms, permissions and
//! subscriptions; a Forward is one per worker and knows the rtp streams of its own peers. Neither
//! reads the other's state, so everything that one must know of the other is here.

use model::{
    Codec, DataRate, ExtensionKind, Layer, PeerId, RoomId, SubscriptionId, TrackId, TrackKind,
    WorkerId,
};
use rtp::extension::ExtensionMap;

/// From Control to the Forward of one worker. Order matters and is kept by the shell.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// A peer of this worker enters a room. Its media flows once its keys arrive (`Forward::set_keys`).
    AddPeer {
        /// Who.
        peer: PeerId,
        /// Where.
        room: RoomId,
    },
    /// A peer leaves: its tracks and subscriptions go with it.
    RemovePeer {
        /// Who.
        peer: PeerId,
    },
    /// How to read what the peer sends, as negotiated over its whole bundle. Replaces what was said before.
    SetReceive {
        /// Whose datagrams.
        peer: PeerId,
        /// Payload types.
        formats: Vec<ReceiveFormat>,
        /// Header extensions.
        extensions: ExtensionMap,
    },
    /// A peer of this worker publishes a track.
    AddTrack(TrackSpec),
    /// A track of another worker's peer has subscribers here: its packets will come by relay.
    AddRelayedTrack {
        /// Which.
        track: TrackId,
        /// In which room.
        room: RoomId,
        /// Sound or picture.
        kind: TrackKind,
        /// The worker of the publisher.
        from: WorkerId,
    },
    /// Start or stop copying a track's packets to another worker. Sent to the publisher's worker.
    Relay {
        /// Which.
        track: TrackId,
        /// To whom.
        to: WorkerId,
        /// Start or stop.
        on: bool,
    },
    /// The publisher muted or unmuted: while muted its packets are dropped on arrival.
    MuteTrack {
        /// Which.
        track: TrackId,
        /// Muted?
        muted: bool,
    },
    /// The track ends. Its subscriptions on this worker end too.
    RemoveTrack {
        /// Which.
        track: TrackId,
    },
    /// A peer of this worker receives a track (its own worker's or a relayed one).
    Subscribe(SubscriptionSpec),
    /// What a subscription wants at most; `None` pauses it.
    Limit {
        /// Which.
        subscription: SubscriptionId,
        /// At most this layer.
        layer: Option<Layer>,
    },
    /// Send a peer no more media than so much, whatever its way carries; `None` lifts that.
    Cap {
        /// Who receives.
        peer: PeerId,
        /// In all.
        rate: Option<DataRate>,
    },
    /// The subscription ends.
    Unsubscribe {
        /// Which.
        subscription: SubscriptionId,
    },
}

/// One payload type that a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveFormat {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    /// What it carries.
    pub codec: Codec,
    /// The payload type of its retransmissions.
    pub rtx: Option<u8>,
}

/// A publication as its worker must know it.
#[derive(Clone, Debug)]
pub struct TrackSpec {
    /// Which.
    pub track: TrackId,
    /// In which room.
    pub room: RoomId,
    /// Whose.
    pub peer: PeerId,
    /// Sound or picture.
    pub kind: TrackKind,
    /// The media section's name: finds streams whose SSRC was not announced.
    pub mid: Box<str>,
    /// The rtp streams of the track, one per spatial layer from the smallest; never empty.
    pub streams: Vec<StreamSpec>,
}

/// How one rtp stream of a publication is recognised.
#[derive(Clone, Debug, Default)]
pub struct StreamSpec {
    /// Restriction id, for simulcast.
    pub rid: Option<Box<str>>,
    /// Announced SSRC.
    pub ssrc: Option<u32>,
    /// Announced SSRC of the retransmissions.
    pub rtx_ssrc: Option<u32>,
}

/// Header extensions that a subscription's packets may carry.
pub(crate) const SENT_EXTENSIONS: [ExtensionKind; 2] =
    [ExtensionKind::TransportSequence, ExtensionKind::AbsSendTime];

/// A subscription as its worker must know it.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// Which.
    pub subscription: SubscriptionId,
    /// Of which track.
    pub track: TrackId,
    /// Who receives.
    pub peer: PeerId,
    /// The codec negotiated for it. Packets of another codec are not forwarded.
    pub codec: Codec,
    /// The receiver's payload type for that codec.
    pub payload_type: u8,
    /// The receiver's payload type for retransmissions; without one they go out as plain repeats.
    pub rtx_payload_type: Option<u8>,
    /// The SSRC announced to the receiver.
    pub ssrc: u32,
    /// The SSRC of retransmissions announced to the receiver.
    pub rtx_ssrc: u32,
    /// Those of [`SENT_EXTENSIONS`] that the receiver takes in this section.
    pub extensions: ExtensionMap,
    /// What it wants at most; `None` starts paused.
    pub limit: Option<Layer>,
    /// It is of a shared screen, which has precedence over cameras.
    pub is_screen: bool,
}

/// From a Forward to Control. Those that may be missed are the first to go where there are too many.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// The first packet of a layer of a track arrived, a stopped layer came back, or it goes on in another codec.
    LayerLive {
        /// Which track.
        track: TrackId,
        /// Which spatial layer.
        spatial: u8,
        /// The codec it is in.
        codec: Codec,
    },
    /// Loudness of an audio track over the last interval; sent each interval in which it spoke, and
    /// once with `None` when it fell silent.
    Level {
        /// Which track.
        track: TrackId,
        /// 0.0 (silent) to 1.0 (as loud as can be), smoothed.
        level: Option<f32>,
    },
    /// A subscription was paused or resumed for want of bandwidth.
    Bandwidth {
        /// Which.
        subscription: SubscriptionId,
        /// Paused?
        paused: bool,
    },
    /// How well a peer sends and receives, every few seconds.
    Quality {
        /// Who.
        peer: PeerId,
        /// Packets lost on the way to us, 0.0..=1.0.
        loss_up: f32,
        /// Packets lost on the way to the peer, 0.0..=1.0.
        loss_down: f32,
        /// Round trip in milliseconds, when known.
        rtt_ms: Option<u32>,
    },
    /// The last peer and track of a room are gone from the worker, and so is the room's history there.
    HistoryReleased {
        /// Which room.
        room: RoomId,
        /// Bytes of packets that it had for its last seconds, all zeroed by now.
        bytes: usize,
    },
}

impl Report {
    /// Whether it is said once. All others only refresh a figure, and come again soon.
    #[must_use]
    pub const fn must_arrive(&self) -> bool {
        match self {
            Self::LayerLive { .. }
            | Self::Level { level: None, .. }
            | Self::Bandwidth { .. }
            | Self::HistoryReleased { .. } => true,
            Self::Level { level: Some(_), .. } | Self::Quality { .. } => false,
        }
    }
}
