//! What the hub and a media worker say to each other.

use std::fmt;
use std::sync::Arc;

use model::{CallContent, PeerId, Timestamp};
use peer::{Fingerprint, IceCredentials};
use sfu::{Instruction, Report};

use super::lag::RoomLag;
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
    /// Whether those in its room take what is said there.
    pub lag: RoomLag,
}

/// From the hub to a worker.
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
    /// ones, when the receiver or its worker is slow. Reliable ones wait, and hold back who sends more; a receiver that
    /// has not acknowledged one in time is given up, and so is one for which a full worker has no room left.
    Send {
        /// To whom.
        peer: PeerId,
        /// On which channel.
        channel: Channel,
        /// When it was said, which may be long ago for somebody who comes back.
        since: Timestamp,
        /// The whole message; shared, since one packet goes to many.
        message: CallContent<Arc<[u8]>>,
    },
    /// For the worker's `sfu::Forward`.
    Instruct(Instruction),
    /// Whether the worker still answers: it does so here.
    Beat(Arc<Pulse>),
    /// Finish: the thread ends.
    Stop,
}

/// From a worker to the hub.
pub enum FromWorker {
    /// ICE and DTLS are up.
    Connected(PeerId),
    /// The peer's transport has ended, by its client's wish or a fault, and it is gone from the worker.
    Closed(PeerId),
    /// The worker has put the peer out: it sent or waited for too much, or there was a panic over it.
    PutOut(PeerId),
    /// A data channel opened.
    ChannelOpen(PeerId, Channel),
    /// A message arrived on a data channel, at that time at the earliest: from then on it is in memory.
    Message(PeerId, Channel, Timestamp, CallContent<Vec<u8>>),
    /// From the worker's `sfu::Forward`.
    Report(Report),
}

impl fmt::Debug for ToWorker {
    /// Says which, and whom it is about: what is said in a call and credentials do not print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddPeer(new) => f.debug_tuple("AddPeer").field(&new.peer).finish(),
            Self::RestartIce { peer, .. } => f.debug_tuple("RestartIce").field(peer).finish(),
            Self::RemovePeer(peer) => f.debug_tuple("RemovePeer").field(peer).finish(),
            Self::Send { peer, channel, .. } => {
                f.debug_tuple("Send").field(peer).field(channel).finish()
            }
            Self::Instruct(instruction) => f.debug_tuple("Instruct").field(instruction).finish(),
            Self::Beat(_) => f.write_str("Beat"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

impl fmt::Debug for FromWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(peer) => f.debug_tuple("Connected").field(peer).finish(),
            Self::Closed(peer) => f.debug_tuple("Closed").field(peer).finish(),
            Self::PutOut(peer) => f.debug_tuple("PutOut").field(peer).finish(),
            Self::ChannelOpen(peer, channel) => {
                f.debug_tuple("ChannelOpen").field(peer).field(channel).finish()
            }
            Self::Message(peer, channel, ..) => {
                f.debug_tuple("Message").field(peer).field(channel).finish()
            }
            Self::Report(report) => f.debug_tuple("Report").field(report).finish(),
        }
    }
}
