//! One participant as the hub keeps it: its session, its negotiation, and what only clients understand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Codec, RoomId, SubscriptionId, Timestamp, TrackId, TrackSid};
use rtp::extension::ExtensionMap;
use sfu::ReceiveFormat;
use tokio::sync::{mpsc, oneshot};
use wire::data::ReliableOrder;
use wire::grant::Permission;
use wire::negotiation::Negotiation;
use wire::proto::client_info::{Capability, Sdk};
use wire::proto::{self, AudioTrackFeature, BackupCodecPolicy, PacketTrailerFeature};
use wire::sdp::{ExtensionMapping, IceCredentials};
use wire::token::VerifiedToken;

use super::bucket::{Names, Requests};
use super::pace::Pace;
use super::untold::Untold;
use crate::log::Pseudonym;
use crate::session::{Outgoing, SessionId};

/// The signalling connection that a participant has now.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) outbox: mpsc::Sender<Outgoing>,
    /// Ends the connection at once.
    pub(super) cut: oneshot::Sender<()>,
}

/// What is kept of what a client says of itself: what others are told, and whose library it is. Nothing else is used,
/// and what a client says has no bound but the request's.
pub(super) struct Client {
    pub(super) sdk: Sdk,
    /// The version of the protocol between clients.
    pub(super) protocol: i32,
    /// Those that are known.
    pub(super) capabilities: BTreeSet<Capability>,
}

impl Client {
    pub(super) fn of(info: Option<&proto::ClientInfo>) -> Self {
        Self {
            sdk: info.map_or(Sdk::Unknown, proto::ClientInfo::sdk),
            protocol: info.map_or(0, |info| info.client_protocol),
            capabilities: info.into_iter().flat_map(proto::ClientInfo::capabilities).collect(),
        }
    }
}

/// What a publication's receivers are told and Control does not care about, as the client sent it.
///
/// Made of requests that are `translate::is_bounded` alone, and without numbers that nobody knows: everybody in the
/// room is sent it, and not every reader of JSON takes those, nor do we write them.
pub(super) struct Card {
    /// When its client was told first that it may publish it.
    pub(super) answered_at: Option<Timestamp>,
    pub(super) name: String,
    pub(super) stream: String,
    /// The codec that the client named first, until its media says which it is.
    pub(super) codec: Option<Codec>,
    /// Of qualities that are known.
    pub(super) layers: Vec<proto::VideoLayer>,
    pub(super) audio_features: Vec<AudioTrackFeature>,
    pub(super) packet_trailer_features: Vec<PacketTrailerFeature>,
    pub(super) backup_codec_policy: BackupCodecPolicy,
    pub(super) disable_dtx: bool,
    pub(super) disable_red: bool,
    pub(super) stereo: bool,
}

/// A subscription as it stands, or will stand, in the receiver's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) subscription: SubscriptionId,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
}

/// A fault that the client asked for, at its next resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResumeFault {
    /// The connection closes after the first messages.
    AfterMessages,
    /// The connection closes before any message, this many times.
    BeforeMessages(u8),
}

pub(super) struct Seat {
    pub(super) room: RoomId,
    /// What its identity is called there.
    pub(super) name: Pseudonym,
    pub(super) session: Option<Session>,
    /// Its session's, or that of the last which it had.
    pub(super) latest: SessionId,
    pub(super) token: VerifiedToken,
    pub(super) permission: Permission,
    pub(super) client: Client,
    /// Milliseconds of Unix time.
    pub(super) joined_at_ms: i64,
    pub(super) joined: Timestamp,
    /// When its session last said something, or began.
    pub(super) heard: Timestamp,
    pub(super) negotiation: Negotiation,
    /// Our end's when the peer is made.
    pub(super) local_ice: IceCredentials,
    /// The worker has been told of the peer.
    pub(super) is_placed: bool,
    /// Counts ICE restarts.
    pub(super) ice_generation: u8,
    /// Its tracks by the client's own names.
    pub(super) cids: BTreeMap<Box<str>, TrackId>,
    pub(super) cards: BTreeMap<TrackId, Card>,
    /// Tracks that it announced under the names of live ones and that are published when those end: at most
    /// [`wire::limits::ANNOUNCED_MAX`].
    pub(super) queued: BTreeMap<Box<str>, proto::AddTrackRequest>,
    /// Changed by [`Seat::note_subscription`] alone.
    pub(super) subscriptions: BTreeMap<TrackSid, Placed>,
    /// Of its subscriptions.
    pub(super) ssrcs: BTreeSet<u32>,
    pub(super) order: ReliableOrder,
    /// The reliable channel has been open.
    pub(super) is_reliable: bool,
    pub(super) requests: Requests,
    pub(super) names: Names,
    /// Its tracks that the network has muted and of which the client has not said since whether they are.
    pub(super) muted_for: BTreeSet<TrackId>,
    /// Its tracks that its room has been told of.
    pub(super) told: BTreeSet<TrackId>,
    /// When its room is told of it again.
    pub(super) pace: Pace,
    /// Whom it lets receive its tracks, until that is paid for.
    pub(super) permit: Option<proto::SubscriptionPermission>,
    /// What it may receive, as long as it has not been told.
    pub(super) untold: Untold,
    /// The session has said what it believes, which counts once.
    pub(super) is_synced: bool,
    pub(super) resume_fault: Option<ResumeFault>,
}

impl Seat {
    /// Sends to the client, if it is there. `false`: it reads too slowly, and its session is gone.
    pub(super) fn send(&mut self, outgoing: Outgoing) -> bool {
        let Some(session) = &self.session else {
            return true;
        };
        match session.outbox.try_send(outgoing) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.session = None;
                true
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                if let Some(session) = self.session.take() {
                    // Its connection may have ended by itself.
                    let _ = session.cut.send(());
                }
                false
            }
        }
    }

    /// How many messages it may be sent of those that others cause and that may wait or be left out: half of what may
    /// wait for it is for the rest.
    pub(super) fn spare(&self) -> usize {
        let outbox = self.session.as_ref().map(|session| &session.outbox);
        outbox.map_or(0, |held| held.capacity().saturating_sub(held.max_capacity() / 2))
    }

    /// A subscription stands like this from now on, or no more.
    pub(super) fn note_subscription(&mut self, track: TrackSid, placed: Option<Placed>) {
        let before = match placed {
            Some(placed) => self.subscriptions.insert(track, placed),
            None => self.subscriptions.remove(&track),
        };
        if let Some(before) = before {
            self.ssrcs.remove(&before.ssrc);
            self.ssrcs.remove(&before.rtx_ssrc);
        }
    }

    /// Everything that the client sends, over all sections.
    pub(super) fn receive_formats(&self) -> (Vec<ReceiveFormat>, ExtensionMap) {
        let mut formats: Vec<ReceiveFormat> = Vec::new();
        let mut extensions = ExtensionMap::new();
        for section in self.negotiation.publications() {
            for payload in &section.payloads {
                let known = formats.iter().any(|held| held.payload_type == payload.pt);
                if let Some(codec) = payload.codec.filter(|_| !known) {
                    formats.push(ReceiveFormat {
                        payload_type: payload.pt,
                        codec,
                        rtx: payload.rtx,
                    });
                }
            }
            map_extensions(&mut extensions, &section.extensions);
        }
        (formats, extensions)
    }
}

/// Adds what a section says; an id that contradicts the rest of the bundle is left out.
pub(super) fn map_extensions(map: &mut ExtensionMap, mappings: &[ExtensionMapping]) {
    for mapping in mappings {
        // A contradiction is the client's fault and costs it this extension.
        let _ = map.insert(mapping.id, mapping.extension);
    }
}

/// A message for many.
pub(super) fn shared(message: proto::signal_response::Message) -> Arc<proto::SignalResponse> {
    Arc::new(proto::SignalResponse { message: Some(message) })
}
