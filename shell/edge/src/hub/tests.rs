//! The hub without a network: real clients' offers in, messages and workers' instructions out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;

use model::{DataRate, RoomName, SubscriptionId, TrackKind};
use prost::Message as _;
use sfu::Instruction;
use tokio::sync::oneshot;
use wire::grant::{Ends, VideoGrant};
use wire::key::{ProjectKey, ProjectKeys, ProjectName, RefreshKey};
use wire::proto::signal_request::Message as Asked;
use wire::proto::signal_response::Message as Told;
use wire::revocation::Revocations;
use wire::sdp::CandidateTransport;
use wire::token::{Claims, TokenId, TokenKind, VerifiedToken};

use super::*;
use crate::limits::{OUTBOX_MAX, REPLAY_GONE_TIME_MAX, REPLAY_TIME_MAX};
use crate::session::{DecodingPart, Knock, Refusal, Verdict};

const CHROMIUM_JOIN: &str = include_str!("../../../../core/wire/tests/offers/chromium_join.sdp");
const CHROMIUM_PUBLISH: &str =
    include_str!("../../../../core/wire/tests/offers/chromium_publish.sdp");
const CHROMIUM_UNPUBLISH: &str =
    include_str!("../../../../core/wire/tests/offers/chromium_unpublish.sdp");
const CHROMIUM_REPUBLISH: &str =
    include_str!("../../../../core/wire/tests/offers/chromium_republish.sdp");
const NATIVE_JOIN: &str = include_str!("../../../../core/wire/tests/offers/native_join.sdp");
/// Track ids in the published offer.
const MICROPHONE: &str = "39f18be5-e6a4-4aef-9df1-e85df0041e9d";
const CAMERA: &str = "93c169dc-2d5b-46ed-a862-7e2e79e2f816";
/// A data packet with this in it makes the test's worker panic.
const POISON: &[u8] = b"poison";

type Sent = Arc<Mutex<Vec<(WorkerId, ToWorker)>>>;

struct Node {
    hub: Hub,
    sent: Sent,
    now: Timestamp,
    access: watch::Sender<Arc<Access>>,
}

/// The Unix second of `Timestamp::ZERO`.
const ORIGIN_S: u64 = 1_800_000_000;

/// What the system's clock says.
fn unix_ms(now: Timestamp) -> u64 {
    ORIGIN_S * 1000 + now.as_micros() / 1000
}

struct Client {
    session: SessionId,
    inbox: mpsc::Receiver<Outgoing>,
    is_cut: oneshot::Receiver<()>,
}

impl Client {
    /// Messages told since the last call.
    fn told(&mut self) -> Vec<Told> {
        let all = std::iter::from_fn(|| self.inbox.try_recv().ok());
        let messages = all.filter_map(|outgoing| match outgoing {
            Outgoing::Response(response) => response.message.clone(),
            Outgoing::Answer(answer) => answer.0.message,
            Outgoing::Close(..) => None,
        });
        messages.collect()
    }

    fn is_closed(&mut self) -> bool {
        let mut last = None;
        loop {
            match self.inbox.try_recv() {
                Ok(outgoing) => last = Some(outgoing),
                Err(mpsc::error::TryRecvError::Empty) => return false,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    return matches!(last, Some(Outgoing::Close(..)));
                }
            }
        }
    }
}

fn token(identity: &str, room: &str) -> VerifiedToken {
    let video = VideoGrant { room_join: true, room: room.to_owned(), ..VideoGrant::default() };
    VerifiedToken {
        claims: Claims {
            identity: identity.to_owned(),
            expires_at: 4_000_000_000,
            video: Some(VideoGrant { can_update_own_metadata: Some(true), ..video }),
            ..Claims::default()
        },
        id: TokenId::of_jti("devkey", identity),
        issuer: ProjectName::new("devkey".into()),
        key: devkey()[0].id(),
        kind: TokenKind::Original,
        ends: Ends::default(),
        is_changed: false,
    }
}

fn access(keys: impl IntoIterator<Item = ProjectKey>, revocations: Revocations) -> Arc<Access> {
    let keys = ProjectKeys::new(RefreshKey::new(&[7; 32]), keys.into_iter().map(Into::into));
    Arc::new(Access { keys: keys.unwrap(), revocations })
}

fn devkey() -> [ProjectKey; 1] {
    [ProjectKey::hs256_short("devkey", b"secret").unwrap()]
}

fn description(sdp: &str, id: u32) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp: sdp.to_owned(),
        id,
        ..Default::default()
    }
}

/// An offer in which the camera comes again, in another section than before.
fn camera_again() -> String {
    let (head, last) = CHROMIUM_REPUBLISH.rsplit_once("m=video").unwrap();
    let (_, id) = last.split_once("a=msid:").unwrap();
    let id = id.lines().next().and_then(|msid| msid.split_once(' ')).unwrap().1;
    format!("{head}m=video{}", last.replace(id, CAMERA))
}

fn joining(sdp: &str) -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            protocol: 17,
            client_protocol: 2,
            capabilities: vec![1, 2],
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        publisher_offer: Some(description(sdp, 7)),
        ..Default::default()
    }
}

fn add_track(cid: &str, kind: TrackKind) -> Asked {
    let video = kind == TrackKind::Video;
    Asked::AddTrack(proto::AddTrackRequest {
        cid: cid.to_owned(),
        r#type: wire::convert::kind_to_wire(kind).into(),
        source: if video { 1 } else { 2 },
        encryption: proto::encryption::Type::Gcm.into(),
        ..Default::default()
    })
}

/// Somebody who knocks, and waits for the answer.
struct Knocker {
    answer: oneshot::Receiver<Verdict>,
    inbox: mpsc::Receiver<Outgoing>,
    is_cut: oneshot::Receiver<()>,
}

impl Knocker {
    fn admitted(mut self) -> Result<Client, Refusal> {
        let Self { inbox, is_cut, .. } = self;
        match self.answer.try_recv() {
            Ok(Verdict::Admitted(session)) => Ok(Client { session, inbox, is_cut }),
            Ok(Verdict::Refused(refusal)) => Err(refusal),
            Ok(Verdict::Later(..)) => Err(Refusal::Crowded),
            Err(_) => Err(Refusal::Unavailable("no answer")),
        }
    }
}

fn knock(token: VerifiedToken, join: proto::JoinRequest) -> (ToHub, Knocker) {
    let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
    let (reply, answer) = oneshot::channel();
    let (cut, is_cut) = oneshot::channel();
    let knock = Box::new(Knock { token, join, outbox, cut, part: None, session: None });
    (ToHub::Knock(knock, reply), Knocker { answer, inbox, is_cut })
}

fn request(client: &Client, message: Asked) -> ToHub {
    let request = proto::SignalRequest { message: Some(message) };
    ToHub::Request(client.session, Box::new(request), DecodingPart::default())
}

/// What has just come from a participant.
fn said(from: PeerId, channel: Channel, packet: Vec<u8>) -> ToHub {
    ToHub::Worker(FromWorker::Message(from, channel, Timestamp::MAX, packet.into()))
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let user = proto::UserPacket { payload: payload.to_vec(), ..Default::default() };
    let value = Some(proto::data_packet::Value::User(user));
    proto::DataPacket { value, sequence: 1, ..Default::default() }.encode_to_vec()
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut control::Config)) -> Self {
        let sent: Sent = Arc::default();
        let kept = Arc::clone(&sent);
        let to_worker: SendToWorker = Box::new(move |worker, message| {
            if let ToWorker::Send { message, .. } = &message {
                assert!(
                    !message.expose().windows(POISON.len()).any(|bytes| bytes == POISON),
                    "poisoned"
                );
            }
            kept.lock().unwrap().push((worker, message));
        });
        let mut control = control::Config {
            workers: 2,
            spill_at: 64,
            busy_max: Share::from_permille(900),
            participants_max: 100,
            room_participants_max: 100,
            room_participants: usize::MAX,
            join_within: Duration::from_secs(60),
            empty: Duration::from_secs(300),
            departure: Duration::from_secs(20),
        };
        change(&mut control);
        let (access, admitting) = watch::channel(access(devkey(), Revocations::default()));
        let config = HubConfig {
            control,
            access: admitting,
            candidates: vec![Candidate {
                address: SocketAddr::from(([127, 0, 0, 1], 7882)),
                transport: CandidateTransport::Udp,
            }],
            door: Arc::new(Door::new(&[1; 32])),
            fingerprint: Fingerprint { algorithm: "sha-256".into(), bytes: vec![9; 32] },
            next: Next::Process,
            are_rooms_made_by_joins: true,
            origin: Instant::now(),
        };
        let hub = Hub::new(config, to_worker, Arc::default());
        Self { hub, sent, now: Timestamp::ZERO, access }
    }

    fn tell(&mut self, message: ToHub) {
        self.tell_at_once([message]);
    }

    /// In one turn.
    fn tell_at_once(&mut self, messages: impl IntoIterator<Item = ToHub>) {
        self.now += Duration::from_millis(1);
        self.hub.turn(self.now, unix_ms(self.now), messages.into_iter());
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = self.hub.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.hub.turn(self.now, unix_ms(self.now), std::iter::empty());
        }
        self.now = until;
    }

    fn knock(&mut self, token: VerifiedToken, join: proto::JoinRequest) -> Result<Client, Refusal> {
        let (knock, knocker) = knock(token, join);
        self.tell(knock);
        knocker.admitted()
    }

    /// What somebody is told that asks before it knocks.
    fn may_join(&mut self, identity: &str, room: &str, kind: TokenKind) -> Result<(), Refusal> {
        let (reply, mut answer) = oneshot::channel();
        let (room, identity) = (RoomName::new(room), Identity::new(identity));
        self.tell(ToHub::MayJoin { room, identity, kind, reply });
        answer.try_recv().unwrap_or(Err(Refusal::Unavailable("no answer")))
    }

    fn join(&mut self, identity: &str) -> Client {
        self.knock(token(identity, "red"), joining(CHROMIUM_JOIN)).expect("admitted")
    }

    /// Joined, connected, channels open, and nothing of it left to read.
    fn active(&mut self, identity: &str) -> Client {
        let mut client = self.join(identity);
        let peer = self.peer(&client);
        self.tell(ToHub::Worker(FromWorker::Connected(peer)));
        self.tell(ToHub::Worker(FromWorker::ChannelOpen(peer, Channel::Reliable)));
        client.told();
        client
    }

    fn ask(&mut self, client: &Client, message: Asked) {
        self.tell(request(client, message));
    }

    /// Announces and offers a microphone and a camera.
    fn publish(&mut self, client: &Client) {
        self.ask(client, add_track(MICROPHONE, TrackKind::Audio));
        self.ask(client, add_track(CAMERA, TrackKind::Video));
        self.ask(client, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    }

    fn peer(&self, client: &Client) -> PeerId {
        self.hub.sessions[&client.session]
    }

    fn sent(&self) -> Vec<(WorkerId, ToWorker)> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    fn instructions(&self) -> Vec<Instruction> {
        let all = self.sent().into_iter().filter_map(|(_, message)| {
            if let ToWorker::Instruct(instruction) = message { Some(instruction) } else { None }
        });
        all.collect()
    }

    /// A participant sends a reliable packet to those who are named, or to all.
    fn say(&mut self, from: PeerId, sequence: u32, to: &[&str]) {
        let mut sent = proto::DataPacket::decode(&*packet(b"x")).unwrap();
        sent.sequence = sequence;
        sent.destination_identities = to.iter().map(|&identity| identity.to_owned()).collect();
        let sent = sent.encode_to_vec();
        self.tell(said(from, Channel::Reliable, sent));
    }

    /// Packets that the only room keeps.
    fn kept(&self) -> usize {
        self.hub.gatherings.values().next().unwrap().replay.len()
    }

    fn messages_for(&self, peer: PeerId) -> Vec<Arc<[u8]>> {
        let all = self.sent().into_iter().filter_map(|(_, sent)| {
            let ToWorker::Send { peer: to, message, .. } = sent else { return None };
            (to == peer).then(|| message.into_inner())
        });
        all.collect()
    }
}

macro_rules! first {
    ($told:expr, $pattern:pat => $value:expr) => {
        $told.iter().find_map(|message| if let $pattern = message { Some($value) } else { None })
    };
}

mod answers;
mod crowds;
mod data;
mod held_back;
mod joining;
mod leaving;
mod publishing;
mod receivers;
mod receiving;
mod requests;
mod resuming;
mod rights;
mod room_service;
mod untold;
mod updates;
mod visits;

fn position(told: &[Told], is: impl Fn(&Told) -> bool) -> usize {
    told.iter().position(is).unwrap_or_else(|| panic!("not told: {told:#?}"))
}

/// Of how many tracks it is told that somebody receives them.
fn received(told: &[Told]) -> usize {
    told.iter().filter(|message| matches!(message, Told::TrackSubscribed(_))).count()
}

fn resuming(sid: &str) -> proto::JoinRequest {
    proto::JoinRequest {
        reconnect: true,
        participant_sid: sid.to_owned(),
        publisher_offer: None,
        ..joining("")
    }
}

fn sid_of(node: &Node, client: &Client) -> String {
    node.hub.control.participant(node.peer(client)).unwrap().sid.to_string()
}

fn left(told: &[Told]) -> Option<&proto::LeaveRequest> {
    told.iter()
        .find_map(|message| if let Told::Leave(leave) = message { Some(leave) } else { None })
}

/// When that was said which a worker is to send.
fn since((_, message): &(WorkerId, ToWorker)) -> Option<Timestamp> {
    if let ToWorker::Send { since, .. } = message { Some(*since) } else { None }
}
