//! What the hub and a media worker say to each other.

use std::sync::Arc;

use model::PeerId;
use peer::{Fingerprint, IceCredentials};
use sfu::{Instruction, Report};

use crate::pulse::Pulse;

/// The three data channels of LiveKit's protocol; a peer's other channels are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// `_reliable`: ordered, no loss.
    Reliable,
    /// `_lossy`: unordered, no retransmission.
    Lossy,
    /// `_data_track`: unordered, no retransmission, binary data-track packets.
    DataTrack,
}

/// A peer to create.
#[derive(Debug)]
pub struct NewPeer {
    /// Who: `peer.worker` is the worker that this is sent to.
    pub peer: PeerId,
    /// Our credentials, the ufrag minted by the door.
    pub local: IceCredentials,
    /// Theirs.
    pub remote: IceCredentials,
    /// Their DTLS certificate's fingerprint.
    pub fingerprint: Fingerprint,
}

/// From the hub to a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// Create a peer. Instructions about it may follow at once.
    AddPeer(Box<NewPeer>),
    /// The client restarted ICE.
    RestartIce {
        /// Who.
        peer: PeerId,
        /// Our new credentials.
        local: IceCredentials,
        /// Their new ones.
        remote: IceCredentials,
    },
    /// Close a peer and forget it.
    RemovePeer(PeerId),
    /// Send a message on a data channel; dropped when the channel is not open, and, on the lossy
    /// ones, when the receiver or its worker is slow. Of a reliable one the receiver is then given up.
    Send {
        /// To whom.
        peer: PeerId,
        /// On which channel.
        channel: Channel,
        /// The whole message; shared, since one packet goes to many.
        message: Arc<[u8]>,
    },
    /// For the worker's `sfu::Forward`.
    Instruct(Instruction),
    /// Whether the worker still answers: it does so here.
    Beat(Arc<Pulse>),
    /// Finish: the thread ends.
    Stop,
}

/// From a worker to the hub.
#[derive(Debug)]
pub enum FromWorker {
    /// ICE and DTLS are up.
    Connected(PeerId),
    /// The peer failed or closed by itself and is gone from the worker.
    Closed(PeerId),
    /// A data channel opened.
    ChannelOpen(PeerId, Channel),
    /// A message arrived on a data channel.
    Message(PeerId, Channel, Vec<u8>),
    /// From the worker's `sfu::Forward`.
    Report(Report),
}
