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
        kind: TokenKind::Original,
        ends: Ends::default(),
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
        self.now += Duration::from_millis(1);
        self.hub.turn(self.now, unix_ms(self.now), std::iter::once(message));
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
        let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
        let (reply, mut answer) = oneshot::channel();
        let (cut, is_cut) = oneshot::channel();
        let knock = Box::new(Knock { token, join, outbox, cut, part: None });
        self.tell(ToHub::Knock(knock, reply));
        match answer.try_recv() {
            Ok(Verdict::Admitted(session)) => Ok(Client { session, inbox, is_cut }),
            Ok(Verdict::Refused(refusal)) => Err(refusal),
            Ok(Verdict::Later(..)) => Err(Refusal::Crowded),
            Err(_) => Err(Refusal::Unavailable("no answer")),
        }
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
        let request = proto::SignalRequest { message: Some(message) };
        self.tell(ToHub::Request(client.session, Box::new(request), DecodingPart::default()));
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
mod held_back;
mod joins;
mod receivers;
mod room_service;
mod untold;
mod updates;

fn position(told: &[Told], is: impl Fn(&Told) -> bool) -> usize {
    told.iter().position(is).unwrap_or_else(|| panic!("not told: {told:#?}"))
}

#[test]
fn a_join_is_answered_in_the_order_that_clients_expect() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    let told = alice.told();
    assert!(matches!(told[0], Told::Join(_)));
    let answer = position(&told, |message| matches!(message, Told::Answer(a) if a.id == 7));
    let token = position(&told, |message| matches!(message, Told::RefreshToken(_)));
    assert!(answer < token);
}

#[test]
fn the_join_response_has_what_clients_check() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    let told = alice.told();
    let Told::Join(join) = &told[0] else { panic!("{told:?}") };
    assert!(join.room.as_ref().unwrap().sid.starts_with("RM_"));
    let me = join.participant.as_ref().unwrap();
    assert!(me.sid.starts_with("PA_"));
    assert_eq!((me.identity.as_str(), me.client_protocol), ("alice", 2));
    assert_eq!(me.capabilities, [1, 2]);
    assert!(me.permission.as_ref().unwrap().can_publish);
    assert!(me.joined_at_ms > 0);
    let server = join.server_info.as_ref().unwrap();
    assert_eq!((server.version.as_str(), server.protocol), ("1.13.5", 17));
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert!(join.fast_publish && !join.subscriber_primary && join.sif_trailer.is_empty());
    assert!(join.enabled_publish_codecs.iter().any(|codec| codec.mime == "video/VP8"));
}

#[test]
fn the_worker_gets_the_peer_before_anything_about_it() {
    let mut node = Node::new();
    let alice = node.join("alice");
    let peer = node.peer(&alice);
    let sent = node.sent();
    let (WorkerId(0), ToWorker::AddPeer(new)) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(new.peer, peer);
    assert!(new.local.pwd.len() >= 22 && new.remote.pwd.len() >= 22);
    assert_eq!(&*new.fingerprint.algorithm, "sha-256");
    assert!(matches!(&sent[1].1, ToWorker::Instruct(Instruction::AddPeer { .. })));
}

#[test]
fn an_offer_may_come_after_the_join() {
    let mut node = Node::new();
    let join = proto::JoinRequest { publisher_offer: None, ..joining("") };
    let mut alice = node.knock(token("alice", "red"), join).unwrap();
    assert!(first!(alice.told(), Told::Answer(answer) => answer.id).is_none());
    node.ask(&alice, Asked::Offer(description(NATIVE_JOIN, 0)));
    let told = alice.told();
    assert_eq!(first!(told, Told::Answer(answer) => answer.id), Some(0));
    assert!(node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::AddPeer(_))));
}

#[test]
fn what_does_not_parse_is_refused_before_there_is_a_session() {
    let mut node = Node::new();
    let refused = node.knock(token("alice", "red"), joining("v=0\r\nnonsense"));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
    let mut stranger = token("alice", "red");
    stranger.claims.video = None;
    let refused = node.knock(stranger, joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed(_))));
    assert_eq!(node.hub.control.rooms_len(), 0);
    assert!(node.sent().is_empty());
}

#[test]
fn a_full_node_is_unavailable() {
    let mut node = Node::with(|config| config.participants_max = 1);
    node.join("alice");
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[test]
fn a_join_makes_no_room_where_back_ends_make_them() {
    let mut node = Node::new();
    node.hub.config.are_rooms_made_by_joins = false;
    let refused = node.knock(token("alice", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NoRoom)));
    assert_eq!(node.may_join("alice", "red", TokenKind::Original), Err(Refusal::NoRoom));
    node.hub
        .control
        .open(node.now, RoomName::new("red"), control::RoomSettings::default())
        .unwrap();
    assert_eq!(node.may_join("alice", "red", TokenKind::Original), Ok(()));
    assert!(node.knock(token("alice", "red"), joining(CHROMIUM_JOIN)).is_ok());
    let elsewhere = node.knock(token("bob", "blue"), joining(CHROMIUM_JOIN));
    assert!(matches!(elsewhere, Err(Refusal::NoRoom)));
}

/// What one is told to do who has this token, when a server stops that has `next` after it.
fn told_at_the_end(token: VerifiedToken, next: Next) -> proto::leave_request::Action {
    let mut node = Node::new();
    node.hub.config.next = next;
    let mut alice = node.knock(token, joining(CHROMIUM_JOIN)).unwrap();
    let (reply, _told) = oneshot::channel();
    node.tell(ToHub::Stop(reply));
    first!(alice.told(), Told::Leave(leave) => leave.action()).unwrap()
}

#[test]
fn a_stop_sends_back_whom_the_next_process_will_take() {
    let back = proto::leave_request::Action::Reconnect;
    let away = proto::leave_request::Action::Disconnect;
    let good = token("alice", "red");
    assert_eq!(told_at_the_end(good.clone(), Next::Process), back);
    assert_eq!(told_at_the_end(good.clone(), Next::Nobody), away);
    let mut over = good.clone();
    over.claims.expires_at = 1;
    assert_eq!(told_at_the_end(over, Next::Process), away);
    let unknown = VerifiedToken { issuer: ProjectName::new("gone".into()), ..good };
    assert_eq!(told_at_the_end(unknown, Next::Process), away);
}

#[test]
fn a_room_is_made_as_the_first_token_says() {
    let mut node = Node::new();
    let with = |identity: &str, config: serde_json::Value| {
        let mut token = token(identity, "red");
        token.claims.room_config = Some(config);
        token
    };
    let few = serde_json::json!({"maxParticipants": 1, "metadata": "agenda"});
    let mut alice = node.knock(with("alice", few), joining(CHROMIUM_JOIN)).unwrap();
    let told = alice.told();
    let Some(Told::Join(join)) = told.first() else { panic!("no join response") };
    let room = join.room.as_ref().unwrap();
    assert_eq!((room.max_participants, &*room.metadata), (1, "agenda"));
    let many = serde_json::json!({"maxParticipants": 9});
    let refused = node.knock(with("bob", many), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::RoomFull)), "and not as later ones say");
    assert_eq!(node.hub.metrics.agents_ignored.total(), 0);
    let agents = serde_json::json!({"agents": [{"agentName": "echo"}]});
    node.knock(with("alice", agents), joining(CHROMIUM_JOIN)).expect("comes without agents");
    assert_eq!(node.hub.metrics.agents_ignored.total(), 1, "but not in silence");
    let recorded = serde_json::json!({"egress": {"room": {"audioOnly": true}}});
    let refused = node.knock(with("alice", recorded), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
    let odd = serde_json::json!({"maxParticipants": "few"});
    let refused = node.knock(with("carol", odd), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
}

#[test]
fn a_broken_offer_later_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    alice.told();
    node.ask(&alice, Asked::Offer(description("v=0", 2)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(first!(bob.told(), Told::Update(update) => update.participants[0].state).is_some());
    assert_eq!(node.hub.metrics.offers_refused.total(), 1);
}

#[test]
fn publishing_is_acknowledged_negotiated_and_announced() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.sent();
    alice.told();
    node.ask(&alice, add_track(MICROPHONE, TrackKind::Audio));
    let told = alice.told();
    let published = first!(told, Told::TrackPublished(published) => published.clone()).unwrap();
    assert_eq!(published.cid, MICROPHONE);
    let track = published.track.unwrap();
    assert!(track.sid.starts_with("TR_AM"));
    assert_eq!(track.encryption, i32::from(proto::encryption::Type::Gcm));
    assert!(bob.told().is_empty(), "nobody hears of a pending track");

    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    node.ask(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    let instructions = node.instructions();
    let receive = instructions
        .iter()
        .position(|instruction| matches!(instruction, Instruction::SetReceive { .. }));
    let add = instructions.iter().position(|instruction| {
        matches!(instruction,
        Instruction::AddTrack(spec) if spec.kind == TrackKind::Video && spec.streams.len() == 3)
    });
    assert!(receive.unwrap() < add.expect("camera in three layers"));
    let told = bob.told();
    let update = position(&told, |message| {
        matches!(message,
        Told::Update(update) if update.participants[0].tracks.len() == 2)
    });
    let asked = position(&told, |message| matches!(message, Told::MediaSectionsRequirement(_)));
    assert!(update < asked);
    assert!(
        first!(alice.told(), Told::TrackSubscribed(subscribed) => &subscribed.track_sid).is_some()
    );
}

#[test]
fn a_media_section_may_come_before_its_announcement() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.ask(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    node.sent();
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let instructions = node.instructions();
    assert!(instructions.iter().any(|instruction| matches!(instruction,
        Instruction::AddTrack(spec) if spec.kind == TrackKind::Video)));
}

#[test]
fn an_announcement_twice_is_acknowledged_twice_and_published_once() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let told = alice.told();
    let sids: Vec<&String> = told
        .iter()
        .filter_map(|message| {
            let Told::TrackPublished(published) = message else { return None };
            published.track.as_ref().map(|track| &track.sid)
        })
        .collect();
    assert_eq!(sids.len(), 2);
    assert_eq!(sids[0], sids[1]);
}

#[test]
fn a_forbidden_track_is_refused_with_the_request_that_asked_for_it() {
    let mut node = Node::new();
    let mut modest = token("alice", "red");
    modest.claims.video.as_mut().unwrap().can_publish = Some(false);
    let mut alice = node.knock(modest, joining(CHROMIUM_JOIN)).unwrap();
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let told = alice.told();
    let response = first!(told, Told::RequestResponse(response) => response).unwrap();
    assert_eq!(response.reason, i32::from(proto::request_response::Reason::NotAllowed));
    let why = "the participant may not publish tracks of this kind and source";
    assert_eq!(response.message, why);
    assert!(matches!(&response.request,
        Some(proto::request_response::Request::AddTrack(request)) if request.cid == CAMERA));
}

#[test]
fn who_is_refused_reads_why() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let long = "x".repeat(257);
    let Asked::AddTrack(track) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
    let profile = proto::UpdateParticipantMetadata { name: long.clone(), ..Default::default() };
    for (asked, why) in [
        (Asked::PublishDataTrackRequest(Default::default()), "this server has no data tracks"),
        (Asked::UnpublishDataTrackRequest(Default::default()), "this server has no data tracks"),
        (Asked::StoreDataBlobRequest(Default::default()), "this server keeps no data blobs"),
        (Asked::GetDataBlobRequest(Default::default()), "this server keeps no data blobs"),
        (
            Asked::AddTrack(proto::AddTrackRequest { r#type: 2, ..track.clone() }),
            "tracks are of audio or video",
        ),
        (
            Asked::AddTrack(proto::AddTrackRequest { cid: String::new(), ..track.clone() }),
            "the track's cid is empty, too long, or another track's",
        ),
        (
            Asked::AddTrack(proto::AddTrackRequest { name: long, ..track }),
            "a name or a list of the track is longer than the server takes",
        ),
        (
            Asked::UpdateMetadata(profile),
            "a name has 256 bytes at most, metadata 512 KiB, attributes 64 KiB together",
        ),
    ] {
        node.ask(&alice, asked);
        let said = first!(alice.told(), Told::RequestResponse(said) => said.message.clone());
        assert_eq!(said.as_deref(), Some(why));
    }
}

#[test]
fn an_oversized_announcement_is_refused_by_name_and_leaves_nothing() {
    use proto::{AddTrackRequest, SimulcastCodec, VideoLayer};
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let Asked::AddTrack(good) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
    let long = |len: usize| "x".repeat(len);
    let codec =
        |codec: SimulcastCodec| AddTrackRequest { simulcast_codecs: vec![codec], ..good.clone() };
    let layer = VideoLayer { rid: long(17), ..Default::default() };
    let bad = [
        AddTrackRequest { name: long(257), ..good.clone() },
        AddTrackRequest { stream: long(257), ..good.clone() },
        AddTrackRequest { layers: vec![VideoLayer::default(); 4], ..good.clone() },
        AddTrackRequest { layers: vec![layer], ..good.clone() },
        AddTrackRequest { audio_features: vec![0; 17], ..good.clone() },
        AddTrackRequest { packet_trailer_features: vec![0; 17], ..good.clone() },
        AddTrackRequest { simulcast_codecs: vec![SimulcastCodec::default(); 4], ..good.clone() },
        codec(SimulcastCodec { codec: long(65), ..Default::default() }),
        codec(SimulcastCodec { cid: long(257), ..Default::default() }),
        codec(SimulcastCodec { layers: vec![VideoLayer::default(); 4], ..Default::default() }),
    ];
    for request in bad {
        node.ask(&alice, Asked::AddTrack(request));
        let told = alice.told();
        let response = first!(told, Told::RequestResponse(response) => response).unwrap();
        let limit = proto::request_response::Reason::LimitExceeded;
        assert_eq!(response.reason, i32::from(limit));
        let named = AddTrackRequest { cid: CAMERA.to_owned(), ..Default::default() };
        let expected = proto::request_response::Request::AddTrack(named);
        assert_eq!(response.request, Some(expected));
    }
    assert!(node.hub.tracks.is_empty());
    let layers = vec![VideoLayer { rid: long(16), ..Default::default() }; 3];
    node.ask(&alice, Asked::AddTrack(AddTrackRequest { layers, name: long(256), ..good }));
    assert!(first!(alice.told(), Told::TrackPublished(_) => ()).is_some());
}

#[test]
fn a_late_joiner_finds_the_tracks_in_its_first_answer() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    node.sent();
    let mut bob = node.join("bob");
    let told = bob.told();
    let Told::Join(join) = &told[0] else { panic!("{told:?}") };
    assert_eq!(join.other_participants[0].tracks.len(), 2);
    let mids = first!(told, Told::Answer(answer) => &answer.mid_to_track_id).unwrap();
    assert_eq!(mids.len(), 2);
    let subscribed = node.instructions();
    let subscribed = subscribed.iter().filter(|i| matches!(i, Instruction::Subscribe(_)));
    assert_eq!(subscribed.count(), 2);
}

#[test]
fn a_client_without_room_for_a_track_is_asked_for_sections_and_places_it_in_its_next_offer() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    assert!(
        first!(bob.told(), Told::MediaSectionsRequirement(needed) => needed.num_audios).is_some()
    );
    node.sent();
    node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8)));
    let mids = first!(bob.told(), Told::Answer(answer) => answer.mid_to_track_id.len());
    assert_eq!(mids, Some(2));
    let subscribed = node.instructions();
    let specs = subscribed.iter().filter_map(|instruction| {
        if let Instruction::Subscribe(spec) = instruction { Some(spec) } else { None }
    });
    let ssrcs: BTreeSet<u32> = specs.flat_map(|spec| [spec.ssrc, spec.rtx_ssrc]).collect();
    assert_eq!(ssrcs.len(), 4, "all different");
}

#[test]
fn a_subscription_that_waits_for_another_section_gets_other_ssrcs() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    let closed = CHROMIUM_JOIN.replace("a=recvonly", "a=inactive");
    let mut seen: BTreeSet<u32> = BTreeSet::new();
    for round in 0..2 {
        node.sent();
        node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8 + 2 * round)));
        for instruction in node.instructions() {
            if let Instruction::Subscribe(spec) = instruction {
                assert!(seen.insert(spec.ssrc) && seen.insert(spec.rtx_ssrc), "told before");
            }
        }
        node.ask(&bob, Asked::Offer(description(&closed, 9 + 2 * round)));
        let ended = node.instructions();
        let ended = ended.iter().filter(|i| matches!(i, Instruction::Unsubscribe { .. }));
        assert_eq!(ended.count(), 2);
    }
    assert_eq!(seen.len(), 8, "two tracks, placed twice");
}

#[test]
fn unpublishing_ends_the_track_for_others() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    bob.told();
    alice.told();
    node.ask(&alice, Asked::Offer(description(CHROMIUM_UNPUBLISH, 3)));
    let told = bob.told();
    let left = first!(told, Told::Update(update) => update.participants[0].tracks.len());
    assert!(left.unwrap() < 2);
    assert!(first!(alice.told(), Told::TrackUnpublished(track) => &track.track_sid).is_none());
}

#[test]
fn mute_reaches_worker_and_room() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let told = alice.told();
    let track = first!(told, Told::TrackPublished(published) => published.track.clone()).unwrap();
    bob.told();
    node.sent();
    let mute = proto::MuteTrackRequest { sid: track.unwrap().sid, muted: true };
    node.ask(&bob, Asked::Mute(mute.clone()));
    assert!(node.instructions().is_empty(), "not his to mute");
    node.ask(&alice, Asked::Mute(mute));
    assert!(matches!(node.instructions()[..], [Instruction::MuteTrack { muted: true, .. }]));
    let muted = first!(bob.told(), Told::Update(update) => update.participants[0].tracks[0].muted);
    assert_eq!(muted, Some(true));
}

#[test]
fn settings_and_wishes_reach_the_worker() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let mut bob = node.join("bob");
    let told = bob.told();
    let mids = first!(told, Told::Answer(answer) => answer.mid_to_track_id.clone()).unwrap();
    let camera = mids.values().find(|sid| sid.starts_with("TR_V")).unwrap().clone();
    node.sent();
    let track_sids = vec![camera.clone()];
    node.ask(
        &bob,
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: track_sids.clone(),
            disabled: true,
            ..Default::default()
        }),
    );
    assert!(matches!(node.instructions()[..], [Instruction::Limit { layer: None, .. }]));
    node.ask(
        &bob,
        Asked::Subscription(proto::UpdateSubscription {
            track_sids,
            subscribe: false,
            ..Default::default()
        }),
    );
    assert!(matches!(node.instructions()[..], [Instruction::Unsubscribe { .. }]));
    let told = bob.told();
    assert!(first!(told, Told::MediaSectionsRequirement(needed) => needed.num_videos) == Some(0));
    node.ask(
        &bob,
        Asked::Subscription(proto::UpdateSubscription {
            track_sids: vec!["TR_nothing".to_owned()],
            subscribe: true,
            ..Default::default()
        }),
    );
    let refused = first!(bob.told(), Told::SubscriptionResponse(response) => response.err);
    assert_eq!(refused, Some(proto::SubscriptionError::SeTrackNotfound.into()));
}

#[test]
fn leaving_is_told_to_the_others_with_the_highest_version() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    let peer = node.peer(&alice);
    let version = node.hub.control.participant(peer).unwrap().version;
    bob.told();
    node.sent();
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let told = bob.told();
    let gone = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!(gone.state, i32::from(proto::participant_info::State::Disconnected));
    assert!(gone.version > version);
    assert!(
        node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::RemovePeer(p) if *p == peer))
    );
    assert!(alice.is_closed());
}

#[test]
fn a_duplicate_puts_the_first_out_and_is_not_told_of_itself() {
    let mut node = Node::new();
    let mut old = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    let mut new = node.join("alice");
    let leave = first!(old.told(), Told::Leave(leave) => (leave.reason, leave.action));
    let duplicate = proto::DisconnectReason::DuplicateIdentity.into();
    assert_eq!(leave, Some((duplicate, proto::leave_request::Action::Disconnect.into())));
    let gone = i32::from(proto::participant_info::State::Disconnected);
    let states = |told: &[Told]| {
        let updates = told.iter().filter_map(|message| {
            if let Told::Update(update) = message { Some(&update.participants) } else { None }
        });
        updates.flatten().map(|info| info.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&bob.told())[0], gone, "first gone, then here again");
    assert!(!states(&new.told()).contains(&gone));
}

#[test]
fn a_full_reconnect_is_no_duplicate() {
    let mut node = Node::new();
    let mut old = node.active("alice");
    node.ask(&old, Asked::Leave(proto::LeaveRequest::default()));
    node.join("alice");
    assert!(first!(old.told(), Told::Leave(leave) => leave.reason).is_none());
}

fn resuming(sid: &str) -> proto::JoinRequest {
    proto::JoinRequest {
        reconnect: true,
        participant_sid: sid.to_owned(),
        publisher_offer: None,
        ..joining("")
    }
}

#[test]
fn a_full_room_and_a_full_node_say_so_to_who_asks_and_to_who_knocks() {
    let check = |change: fn(&mut control::Config), room: &str, expect: Refusal| {
        let mut node = Node::with(change);
        node.join("alice");
        assert_eq!(node.may_join("bob", room, TokenKind::Original), Err(expect));
        assert_eq!(node.may_join("bob", room, TokenKind::Refresh), Err(expect));
        let refused = node.knock(token("bob", room), joining(CHROMIUM_JOIN));
        assert_eq!(refused.map(drop), Err(expect));
        // Who comes instead of itself takes no place.
        assert_eq!(node.may_join("alice", "red", TokenKind::Original), Ok(()));
        node.join("alice");
    };
    check(|config| config.room_participants_max = 1, "red", Refusal::RoomFull);
    let full = Refusal::Unavailable("the node is full");
    check(|config| config.participants_max = 1, "blue", full);
}

#[test]
fn a_busy_node_refuses_whoever_is_new_and_nobody_who_comes_back() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let sid = node.hub.control.participant(node.peer(&alice)).unwrap().sid.to_string();
    let pulse = Arc::new(Pulse::new(node.hub.config.origin, 2));
    let beat = |node: &mut Node, permille| {
        for worker in [WorkerId(0), WorkerId(1)] {
            pulse.answer_worker(worker, Share::from_permille(permille), node.hub.config.origin);
        }
        node.tell(ToHub::Beat(Arc::clone(&pulse)));
    };
    beat(&mut node, 950);
    assert!(pulse.is_busy());
    let refused = node.knock(token("carol", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Busy)));
    node.tell(ToHub::Closed(alice.session));
    let resumed = node.knock(token("alice", "red"), resuming(&sid)).map(|mut it| it.told());
    assert!(matches!(resumed.unwrap()[0], Told::Reconnect(_)));
    assert_eq!(node.may_join("bob", "red", TokenKind::Original), Ok(()));
    assert_eq!(node.may_join("carol", "red", TokenKind::Original), Err(Refusal::Busy));
    assert_eq!(node.may_join("bob", "blue", TokenKind::Original), Err(Refusal::Busy));
    assert_eq!(node.may_join("carol", "red", TokenKind::Refresh), Ok(()));
    node.join("bob");
    node.tell(ToHub::Closed(bob.session));
    // A full reconnect by whoever has said goodbye: the server's own token says that he was here.
    let refresh = VerifiedToken { kind: TokenKind::Refresh, ..token("dave", "red") };
    assert!(node.knock(refresh, joining(CHROMIUM_JOIN)).is_ok());
    beat(&mut node, 700);
    assert!(!pulse.is_busy());
    node.join("carol");
}

#[test]
fn a_lost_signal_is_resumed_by_the_same_participant() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let peer = node.peer(&alice);
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    bob.told();
    node.sent();
    node.tell(ToHub::Closed(alice.session));
    node.wait(Duration::from_secs(30));
    assert!(node.instructions().is_empty(), "media goes on");
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert_eq!(node.peer(&again), peer);
    let told = again.told();
    assert!(matches!(told[0], Told::Reconnect(_)));
    let everybody = first!(told, Told::Update(update) => update.participants.len());
    assert_eq!(everybody, Some(2));
    assert!(first!(told, Told::RoomUpdate(update) => update.room.is_some()) == Some(true));
    let told = bob.told();
    assert!(first!(told, Told::Update(update) => update.participants.len()).is_none());
}

#[test]
fn a_resume_under_another_identity_or_of_nobody_is_turned_away() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let sid = node.hub.control.participant(node.peer(&alice)).unwrap().sid.to_string();
    for (identity, sid) in [("bob", sid.as_str()), ("alice", "PA_nobody"), ("bob", "")] {
        let mut turned = node.knock(token(identity, "red"), resuming(sid)).unwrap();
        let leave = first!(turned.told(), Told::Leave(leave) => (leave.reason, leave.action));
        let mismatch = proto::DisconnectReason::StateMismatch.into();
        assert_eq!(leave, Some((mismatch, proto::leave_request::Action::Reconnect.into())));
    }
    assert!(node.hub.sessions.contains_key(&alice.session), "alice is not disturbed");
}

#[test]
fn a_resume_with_a_track_that_is_not_here_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let track = proto::TrackInfo { sid: "TR_lost".to_owned(), ..Default::default() };
    let published = proto::TrackPublishedResponse { cid: "c".to_owned(), track: Some(track) };
    node.ask(
        &alice,
        Asked::SyncState(proto::SyncState {
            publish_tracks: vec![published],
            ..Default::default()
        }),
    );
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
}

/// LiveKit #4560: such a message, without what it is about, took a server down.
#[test]
fn a_resume_with_messages_that_lack_their_inner_ones_costs_that_client_alone() {
    let mut node = Node::new();
    let bob = node.active("bob");
    let empty = proto::SyncState::default();
    let hollow = proto::SyncState {
        answer: Some(proto::SessionDescription::default()),
        offer: Some(proto::SessionDescription::default()),
        subscription: Some(proto::UpdateSubscription {
            participant_tracks: vec![proto::ParticipantTracks::default()],
            ..Default::default()
        }),
        datachannel_receive_states: vec![proto::DataChannelReceiveState::default()],
        track_sids_disabled: vec![String::new()],
        ..Default::default()
    };
    for (name, state) in [("alice", empty), ("carol", hollow)] {
        let mut client = node.active(name);
        node.ask(&client, Asked::SyncState(state));
        assert!(first!(client.told(), Told::Leave(leave) => leave.reason).is_none(), "{name}");
    }
    let mut dan = node.active("dan");
    let lacks = proto::TrackPublishedResponse { cid: "c".to_owned(), track: None };
    node.ask(
        &dan,
        Asked::SyncState(proto::SyncState { publish_tracks: vec![lacks], ..Default::default() }),
    );
    let leave = first!(dan.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(node.hub.sessions.contains_key(&bob.session), "bob is not disturbed");
}

#[test]
fn a_resume_that_claims_anothers_track_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let told = alice.told();
    let hers = first!(told, Told::TrackPublished(published) => published.clone()).unwrap();
    node.ask(
        &bob,
        Asked::SyncState(proto::SyncState { publish_tracks: vec![hers], ..Default::default() }),
    );
    assert!(first!(bob.told(), Told::Leave(leave) => leave.reason).is_some());
}

#[test]
fn sections_needed_while_a_client_was_away_are_asked_for_when_it_resumes() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let sid = node.hub.control.participant(node.peer(&bob)).unwrap().sid.to_string();
    node.tell(ToHub::Closed(bob.session));
    node.publish(&alice);
    let mut again = node.knock(token("bob", "red"), resuming(&sid)).unwrap();
    let told = again.told();
    assert!(first!(told, Told::MediaSectionsRequirement(needed) => needed.num_videos).is_some());
}

#[test]
fn an_answer_never_names_a_track_before_its_update() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    let request = |client: &Client, message| {
        let message = Some(message);
        ToHub::Request(
            client.session,
            Box::new(proto::SignalRequest { message }),
            DecodingPart::default(),
        )
    };
    let turn = [
        request(&alice, add_track(CAMERA, TrackKind::Video)),
        request(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2))),
        request(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8))),
    ];
    node.hub.turn(node.now, unix_ms(node.now), turn.into_iter());
    let told = bob.told();
    let update = position(&told, |message| {
        matches!(message,
        Told::Update(update) if update.participants[0].tracks.len() == 1)
    });
    let answer = position(&told, |message| {
        matches!(message,
        Told::Answer(answer) if answer.mid_to_track_id.len() == 1)
    });
    assert!(update < answer);
}

#[test]
fn a_simulated_fault_closes_the_next_resume_three_times() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let sid = node.hub.control.participant(node.peer(&alice)).unwrap().sid.to_string();
    let scenario =
        Some(proto::simulate_scenario::Scenario::DisconnectSignalOnResumeNoMessages(true));
    node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
    for _ in 0..3 {
        let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
        assert!(again.told().is_empty());
        node.tell(ToHub::Closed(again.session));
    }
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert!(matches!(again.told()[0], Told::Reconnect(_)));
}

#[test]
fn a_simulated_bandwidth_caps_what_its_client_is_sent_until_it_is_lifted() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let peer = node.peer(&alice);
    node.sent();
    for (asked, expected) in [(300_000, Some(300_000)), (0, None), (-1, None), (i64::MIN, None)] {
        let scenario = Some(proto::simulate_scenario::Scenario::SubscriberBandwidth(asked));
        node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
        let expected = expected.map(DataRate::from_bps);
        let caps = node.instructions().into_iter().filter_map(|instruction| {
            if let Instruction::Cap { peer, rate } = instruction {
                Some((peer, rate))
            } else {
                None
            }
        });
        assert_eq!(caps.collect::<Vec<_>>(), [(peer, expected)], "for {asked}");
    }
}

#[test]
fn a_lost_peer_makes_its_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let peer = node.peer(&alice);
    node.sent();
    node.tell(ToHub::Worker(FromWorker::Closed(peer)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(!node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::RemovePeer(_))));
}

#[test]
fn whoever_does_not_connect_is_put_out_after_a_minute() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    alice.told();
    node.wait(Duration::from_secs(61));
    let reason = first!(alice.told(), Told::Leave(leave) => leave.reason);
    assert_eq!(reason, Some(proto::DisconnectReason::JoinFailure.into()));
}

#[test]
fn tokens_are_refreshed_every_five_minutes() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.wait(Duration::from_secs(301));
    assert!(first!(alice.told(), Told::RefreshToken(token) => token.clone()).is_some());
}

#[test]
fn pings_are_answered_however_many() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.ask(&alice, Asked::Ping(3));
    node.ask(&alice, Asked::PingReq(proto::Ping { timestamp: 42, rtt: 1 }));
    let told = alice.told();
    assert!(first!(told, Told::Pong(at) => *at).unwrap() > 0);
    assert_eq!(first!(told, Told::PongResp(pong) => pong.last_ping_timestamp), Some(42));
}

#[test]
fn a_flood_of_requests_is_ignored_and_counted() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let burst = usize::try_from(crate::limits::REQUESTS_BURST).unwrap();
    let trickle = Asked::Trickle(proto::TrickleRequest::default());
    let session = alice.session;
    let flood = (0..burst + 100).map(|_| {
        let message = Some(trickle.clone());
        ToHub::Request(session, Box::new(proto::SignalRequest { message }), DecodingPart::default())
    });
    let flood: Vec<ToHub> = flood.collect();
    node.hub.turn(node.now, unix_ms(node.now), flood.into_iter());
    assert!(node.hub.metrics.requests_over_rate.total() >= 100);
    node.ask(&alice, Asked::PingReq(proto::Ping::default()));
    assert!(first!(alice.told(), Told::PongResp(pong) => pong.timestamp).is_some());
}

#[test]
fn a_request_costs_as_much_as_the_tracks_that_it_names() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let burst = usize::try_from(crate::limits::REQUESTS_BURST).unwrap();
    let many = |count| {
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec!["TR_x".to_owned(); count],
            ..Default::default()
        })
    };
    node.ask(&alice, many(burst + 1));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 1);
    node.ask(&alice, many(burst));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 1);
    node.ask(&alice, many(1));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 2);
}

#[test]
fn a_request_costs_more_the_longer_it_is() {
    use crate::limits::{BYTES_PER_REQUEST, REQUESTS_BURST};

    let long = "m".repeat(4 * BYTES_PER_REQUEST);
    let metadata =
        proto::UpdateParticipantMetadata { metadata: long.clone(), ..Default::default() };
    for request in [Asked::Offer(description(&long, 2)), Asked::UpdateMetadata(metadata)] {
        assert_eq!(request::cost(&request), 5);
    }
    let longest = Asked::Offer(description(&"m".repeat(wire::limits::SDP_MAX), 2));
    assert!(request::cost(&longest) < REQUESTS_BURST, "the longest may come");
}

#[test]
fn who_asks_for_tcp_is_told_of_nothing_else_the_next_time() {
    let mut node = Node::new();
    let switch = |protocol: proto::CandidateProtocol| {
        let scenario = proto::simulate_scenario::Scenario::SwitchCandidateProtocol(protocol.into());
        Asked::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
    };
    let ways = |node: &mut Node| {
        let mut client = node.join("alice");
        let answer = first!(client.told(), Told::Answer(answer) => answer.sdp.clone()).unwrap();
        let ways: Vec<bool> = [" udp ", " tcp "].map(|way| answer.contains(way)).to_vec();
        (client, ways)
    };
    let (client, _) = ways(&mut node);
    node.ask(&client, switch(proto::CandidateProtocol::Tcp));
    assert_eq!(node.hub.metrics.requests_ignored.total(), 1, "there is none");
    assert_eq!(ways(&mut node).1, [true, false]);

    let address = SocketAddr::from(([127, 0, 0, 1], 7881));
    let transport = CandidateTransport::TcpPassive;
    node.hub.config.candidates.push(Candidate { address, transport });
    let (client, both) = ways(&mut node);
    assert_eq!(both, [true, true]);
    node.ask(&client, switch(proto::CandidateProtocol::Tls));
    let (client, both) = ways(&mut node);
    assert_eq!(both, [true, true], "TURN is not there");
    node.ask(&client, switch(proto::CandidateProtocol::Tcp));
    node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
    assert_eq!(ways(&mut node).1, [false, true]);
    assert_eq!(ways(&mut node).1, [true, true], "once");
    assert_eq!(node.hub.metrics.requests_ignored.total(), 2);
}

#[test]
fn a_simulated_speaker_is_told_to_the_one_who_asked_alone() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    alice.told();
    let scenario = Some(proto::simulate_scenario::Scenario::SpeakerUpdate(3));
    node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
    let told = |client: &mut Client| {
        let news = client.told();
        first!(news, Told::SpeakersChanged(changed) => changed.speakers[0].active)
    };
    assert_eq!((told(&mut alice), told(&mut bob)), (Some(true), None));
    node.wait(Duration::from_secs(3));
    assert_eq!((told(&mut alice), told(&mut bob)), (Some(false), None));
}

#[test]
fn a_client_that_does_not_read_loses_its_session_and_nobody_else_anything() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    alice.told();
    for _ in 0..OUTBOX_MAX + 10 {
        node.ask(&bob, Asked::PingReq(proto::Ping::default()));
    }
    assert!(!node.hub.sessions.contains_key(&bob.session));
    assert!(node.hub.sessions.contains_key(&alice.session));
    assert_eq!(node.hub.control.everyone().count(), 2, "he may resume");
}

#[test]
fn a_profile_change_is_acknowledged_and_told() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    alice.told();
    node.ask(
        &alice,
        Asked::UpdateMetadata(proto::UpdateParticipantMetadata {
            name: "Alice".to_owned(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            request_id: 5,
            ..Default::default()
        }),
    );
    let told = alice.told();
    let response = first!(told, Told::RequestResponse(response) => response).unwrap();
    assert_eq!((response.request_id, response.reason, response.message.as_str()), (5, 0, ""));
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!((seen.name.as_str(), seen.attributes["k"].as_str()), ("Alice", "v"));
    let metadata = "m".to_owned();
    let update = proto::UpdateParticipantMetadata { metadata, ..Default::default() };
    node.ask(&alice, Asked::UpdateMetadata(update));
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.metadata.as_str()),
        ("Alice", "m"),
        "an empty name changes nothing"
    );
}

#[test]
fn data_goes_to_the_others_in_the_senders_name() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    node.sent();
    node.tell(said(from, Channel::Lossy, packet(b"hello")));
    let got = node.messages_for(to);
    let got = proto::DataPacket::decode(&*got[0]).unwrap();
    assert_eq!(got.participant_identity, "alice");
    assert!(got.participant_sid.starts_with("PA_"));
    node.tell(said(from, Channel::Reliable, packet(b"again")));
    assert!(node.messages_for(from).is_empty(), "not to its sender");
}

/// When that was said which a worker is to send.
fn since((_, message): &(WorkerId, ToWorker)) -> Option<Timestamp> {
    if let ToWorker::Send { since, .. } = message { Some(*since) } else { None }
}

#[test]
fn a_repeated_reliable_packet_passes_once_and_the_missed_are_replayed() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    let sid = node.hub.control.participant(from).unwrap().sid.to_string();
    node.sent();
    for _ in 0..2 {
        node.tell(said(from, Channel::Reliable, packet(b"x")));
    }
    let said: Vec<_> = node.sent().iter().filter_map(since).collect();
    assert_eq!(said.len(), 1, "for bob");
    assert_eq!(node.hub.metrics.data_refused.total(), 1);
    node.wait(Duration::from_secs(3));
    let his = node.hub.control.participant(to).unwrap().sid.to_string();
    // A session says once what it has: the second time nothing comes of it.
    for (last_seq, replayed) in [(0, [1, 0]), (1, [0, 0])] {
        let bob = node.knock(token("bob", "red"), resuming(&his)).unwrap();
        let state = proto::DataChannelReceiveState { publisher_sid: sid.clone(), last_seq };
        let sync =
            proto::SyncState { datachannel_receive_states: vec![state], ..Default::default() };
        for replayed in replayed {
            node.ask(&bob, Asked::SyncState(sync.clone()));
            let since: Vec<_> = node.sent().iter().filter_map(since).collect();
            assert_eq!(since, said[..replayed], "it is as old as it was");
        }
    }
}

#[test]
fn reliable_packets_are_forgotten_in_time_though_nothing_happens() {
    let mut node = Node::new();
    let (alice, _bob) = (node.active("alice"), node.active("bob"));
    let from = node.peer(&alice);
    node.say(from, 1, &[]);
    let first = node.now;
    node.now += REPLAY_TIME_MAX / 2;
    node.say(from, 2, &[]);
    let second = node.now;
    for (at, expect) in [(first, 2), (first + REPLAY_TIME_MAX, 1), (second + REPLAY_TIME_MAX, 0)] {
        // Nobody speaks: the hub wakes when it asked to.
        node.wait(at.since(node.now));
        assert_eq!(node.kept(), expect, "at {at:?}");
    }
}

#[test]
fn who_left_is_forgotten_within_a_second_with_all_that_names_it() {
    let mut node = Node::new();
    let (alice, bob, cy) = (node.active("alice"), node.active("bob"), node.active("cy"));
    let (from, other) = (node.peer(&alice), node.peer(&bob));
    node.say(from, 1, &[]);
    node.say(from, 2, &["bob"]);
    node.say(other, 1, &[]);
    node.say(other, 2, &["alice"]);
    node.say(other, 3, &["alice", "cy"]);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let left = node.now;
    // It was on its way.
    node.say(other, 4, &["alice", "cy"]);
    assert_eq!(node.kept(), 6, "whoever is just coming back gets them");
    node.wait((left + REPLAY_GONE_TIME_MAX).since(node.now));
    node.say(other, 5, &["alice"]);
    let replay = &mut node.hub.gatherings.values_mut().next().unwrap().replay;
    let kept: Vec<_> = replay.iter(node.now).map(|sent| sent.content.expose()).collect();
    assert!(kept.iter().all(|sent| !sent.windows(5).any(|part| part == b"alice")), "{kept:?}");
    let kept: Vec<_> = kept.iter().map(|sent| proto::DataPacket::decode(&***sent)).collect();
    let names = |sent: &proto::DataPacket| (sent.sequence, sent.destination_identities.len());
    let kept: Vec<_> = kept.iter().map(|sent| names(sent.as_ref().unwrap())).collect();
    assert_eq!(kept, [(1, 0), (3, 1), (4, 1)], "what bob said to all and to cy stays");
    node.sent();
    let sid = node.hub.control.participant(other).unwrap().sid.to_string();
    let missed = proto::DataChannelReceiveState { publisher_sid: sid, last_seq: 0 };
    let state = vec![missed];
    let sync = proto::SyncState { datachannel_receive_states: state, ..Default::default() };
    node.ask(&cy, Asked::SyncState(sync));
    assert_eq!(node.messages_for(node.peer(&cy)).len(), 3);
}

#[test]
fn whoever_comes_again_under_a_name_keeps_what_is_said_to_it() {
    let mut node = Node::new();
    let (_alice, bob) = (node.active("alice"), node.active("bob"));
    let other = node.peer(&bob);
    node.say(other, 1, &["alice"]);
    // The second alice replaces the first.
    let alice = node.join("alice");
    node.say(other, 2, &["alice"]);
    node.wait(REPLAY_GONE_TIME_MAX);
    node.sent();
    let to = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(to, Channel::Reliable)));
    let got = node.messages_for(to);
    let got: Vec<u32> =
        got.iter().map(|sent| proto::DataPacket::decode(&**sent).unwrap().sequence).collect();
    assert_eq!(got, [2]);
    assert_eq!(node.kept(), 1);
}

#[test]
fn what_an_agent_says_in_somebodys_name_goes_with_it() {
    let mut node = Node::new();
    let mut agent = token("agent", "red");
    agent.claims.video.as_mut().unwrap().agent = true;
    let agent = node.knock(agent, joining(CHROMIUM_JOIN)).unwrap();
    let (alice, _bob) = (node.active("alice"), node.active("bob"));
    let words = proto::ChatMessage { message: "hello".into(), ..Default::default() };
    let sent = proto::DataPacket {
        participant_identity: "alice".into(),
        value: Some(proto::data_packet::Value::ChatMessage(words)),
        ..Default::default()
    };
    let say = |node: &mut Node| {
        let from = node.peer(&agent);
        let sent = sent.encode_to_vec();
        node.tell(said(from, Channel::Reliable, sent));
    };
    say(&mut node);
    assert_eq!(node.kept(), 1);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    node.wait(REPLAY_GONE_TIME_MAX);
    assert_eq!(node.kept(), 0);
    say(&mut node);
    assert_eq!(node.kept(), 0, "nor is kept what is said in the name of nobody here");
}

#[test]
fn a_channel_that_opens_late_gets_what_was_sent_meanwhile() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let from = node.peer(&alice);
    node.tell(said(from, Channel::Reliable, packet(b"before")));
    let bob = node.join("bob");
    let to = node.peer(&bob);
    let mut later = proto::DataPacket::decode(&*packet(b"meanwhile")).unwrap();
    later.sequence = 2;
    let later = later.encode_to_vec();
    node.tell(said(from, Channel::Reliable, later));
    assert!(node.messages_for(to).is_empty());
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(to, Channel::Reliable)));
    let got = node.messages_for(to);
    assert_eq!(got.len(), 1, "only what was sent after it joined");
}

#[test]
fn data_without_permission_does_not_pass() {
    let mut node = Node::new();
    let mut modest = token("alice", "red");
    modest.claims.video.as_mut().unwrap().can_publish_data = Some(false);
    let alice = node.knock(modest, joining(CHROMIUM_JOIN)).unwrap();
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    node.sent();
    for bytes in [packet(b"x"), b"\xff\xff".to_vec()] {
        node.tell(said(from, Channel::Lossy, bytes));
    }
    assert!(node.messages_for(to).is_empty());
    assert_eq!(node.hub.metrics.data_refused.total(), 2);
}

#[test]
fn a_panic_puts_out_the_participant_whose_message_it_was_and_nobody_else() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    let from = node.peer(&alice);
    alice.told();
    node.tell(said(from, Channel::Lossy, packet(POISON)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert_eq!(node.hub.metrics.hub_panics.total(), 1);
    assert!(node.hub.sessions.contains_key(&bob.session));
    node.active("carol");
    assert_eq!(node.hub.control.everyone().count(), 2);
}

#[test]
fn reports_become_messages() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    let mut bob = node.join("bob");
    let from = node.peer(&alice);
    bob.told();
    let track = TrackId(0);
    let reports = [
        Report::Level { track, level: Some(0.5) },
        Report::Quality { peer: from, loss_up: 0.0, loss_down: 0.0, rtt_ms: Some(9) },
        Report::Bandwidth { subscription: SubscriptionId(0), paused: true },
    ];
    for report in reports {
        node.tell(ToHub::Worker(FromWorker::Report(report)));
    }
    node.wait(Duration::from_secs(6));
    let told = bob.told();
    assert!(
        first!(told, Told::SpeakersChanged(changed) => changed.speakers[0].active) == Some(true)
    );
    let excellent = i32::from(proto::ConnectionQuality::Excellent);
    let quality = first!(told, Told::ConnectionQuality(update) => update.updates[0].quality);
    assert_eq!(quality, Some(excellent));
    assert!(first!(told, Told::StreamStateUpdate(update) => update.stream_states.len()) == Some(1));
    assert!(
        first!(alice.told(), Told::SpeakersChanged(changed) => changed.speakers.len()).is_some()
    );
}

#[test]
fn an_unwatched_camera_is_told_to_stop_its_layers() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    alice.told();
    node.wait(Duration::from_secs(6));
    let told = alice.told();
    let update = first!(told, Told::SubscribedQualityUpdate(update) => update).unwrap();
    assert_eq!(update.subscribed_codecs[0].codec, "vp8");
    assert!(update.subscribed_codecs[0].qualities.iter().all(|quality| !quality.enabled));
}

#[test]
fn an_ice_restart_renews_both_ends() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    alice.told();
    node.sent();
    let line = CHROMIUM_JOIN.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap();
    let restarted = CHROMIUM_JOIN.replace(line.trim_end(), "a=ice-ufrag:fresh");
    node.ask(&alice, Asked::Offer(description(&restarted, 8)));
    let sent = node.sent();
    let restart = sent.iter().find_map(|(_, sent)| {
        let ToWorker::RestartIce { local, remote, .. } = sent else { return None };
        Some((local.ufrag.clone(), remote.ufrag.clone()))
    });
    let (local, remote) = restart.expect("told");
    assert_eq!(&*remote, "fresh");
    let answer = first!(alice.told(), Told::Answer(answer) => answer.sdp.clone()).unwrap();
    assert!(answer.contains(&format!("a=ice-ufrag:{local}")));
}

#[test]
fn a_stop_tells_everybody_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let (reply, mut told) = oneshot::channel();
    node.tell(ToHub::Stop(reply));
    assert!(told.try_recv().is_ok());
    let reason = first!(alice.told(), Told::Leave(leave) => leave.reason);
    assert_eq!(reason, Some(proto::DisconnectReason::ServerShutdown.into()));
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[test]
fn an_emptied_hub_holds_nothing() {
    let mut node = Node::new();
    let clients = ["a", "b", "c"].map(|identity| node.active(identity));
    node.publish(&clients[0]);
    node.publish(&clients[1]);
    for client in clients {
        node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
    }
    node.wait(Duration::from_secs(30));
    let hub = &node.hub;
    assert!(hub.seats.is_empty() && hub.sessions.is_empty() && hub.tracks.is_empty());
    assert!(hub.gatherings.is_empty() && hub.timers.next().is_none());
    assert_eq!(hub.next_timeout(), None);
}

/// Holds each right for so many seconds after the origin.
fn ending(identity: &str, join: u64, audio: u64, video: u64, data: u64) -> VerifiedToken {
    let [join, audio, video, data] = [join, audio, video, data].map(|after| Some(ORIGIN_S + after));
    VerifiedToken { ends: Ends { join, audio, video, data }, ..token(identity, "red") }
}

fn own_permissions(told: &[Told], identity: &str) -> Vec<proto::ParticipantPermission> {
    let updates = told.iter().filter_map(|message| {
        if let Told::Update(update) = message { Some(&update.participants) } else { None }
    });
    let own = updates.flatten().filter(|held| held.identity == identity);
    own.filter_map(|held| held.permission.clone()).collect()
}

fn left(told: &[Told]) -> Option<&proto::LeaveRequest> {
    told.iter()
        .find_map(|message| if let Told::Leave(leave) = message { Some(leave) } else { None })
}

#[test]
fn rights_that_end_during_a_call_are_taken_away_one_by_one() {
    let mut node = Node::new();
    let mut alice = node.knock(ending("alice", 40, 10, 20, 30), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(peer, Channel::Reliable)));
    let bob = node.active("bob");
    node.publish(&alice);
    alice.told();
    node.sent();

    node.wait(Duration::from_millis(9_900));
    assert!(
        own_permissions(&alice.told(), "alice")
            .iter()
            .all(|held| held.can_publish_sources.is_empty())
    );
    node.wait(Duration::from_millis(200));
    let told = alice.told();
    let gone = told.iter().filter(|message| matches!(message, Told::TrackUnpublished(_)));
    assert_eq!(gone.count(), 1, "the microphone: {told:?}");
    let held = own_permissions(&told, "alice").pop().unwrap();
    assert!(held.can_publish && held.can_publish_data);
    assert_eq!(held.can_publish_sources, [1, 3]);
    node.ask(&alice, add_track("another microphone", TrackKind::Audio));
    let refused = alice.told();
    assert!(matches!(refused[..], [Told::RequestResponse(_)]), "{refused:?}");

    node.wait(Duration::from_secs(10));
    let told = alice.told();
    assert!(told.iter().any(|message| matches!(message, Told::TrackUnpublished(_))));
    assert!(!own_permissions(&told, "alice").pop().unwrap().can_publish);
    node.tell(said(peer, Channel::Reliable, packet(b"yes")));
    assert_eq!(node.messages_for(node.peer(&bob)).len(), 1);

    node.wait(Duration::from_secs(10));
    assert!(!own_permissions(&alice.told(), "alice").pop().unwrap().can_publish_data);
    node.tell(said(peer, Channel::Reliable, packet(b"no")));
    assert!(node.messages_for(node.peer(&bob)).is_empty());

    node.wait(Duration::from_secs(10));
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::ParticipantRemoved));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert!(!node.hub.sessions.contains_key(&alice.session));
    let refused = node.knock(ending("alice", 40, 10, 20, 30), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed(_))));
}

#[test]
fn a_clock_that_is_set_past_an_end_takes_effect_within_half_a_minute() {
    let mut node = Node::new();
    let mut alice =
        node.knock(ending("alice", 3600, 3600, 3600, 3600), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    alice.told();
    node.wait(Duration::from_secs(25));
    let at = node.hub.next_timeout().unwrap();
    assert!(at <= Timestamp::from_millis(31_000));
    while node.hub.next_timeout().is_some_and(|at| at <= Timestamp::from_millis(31_000)) {
        let at = node.hub.next_timeout().unwrap();
        node.hub.turn(at, unix_ms(at) + 3_600_000, std::iter::empty());
    }
    assert!(left(&alice.told()).is_some());
}

#[test]
fn a_resume_with_a_longer_token_brings_rights_back_and_keeps_them() {
    let mut node = Node::new();
    let mut alice = node.knock(ending("alice", 20, 10, 10, 10), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    node.wait(Duration::from_secs(12));
    assert!(!own_permissions(&alice.told(), "alice").pop().unwrap().can_publish);
    let mut again = node.knock(ending("alice", 90, 90, 90, 90), resuming(&sid)).unwrap();
    assert!(own_permissions(&again.told(), "alice").pop().unwrap().can_publish);
    node.wait(Duration::from_secs(60));
    assert!(left(&again.told()).is_none());
    node.wait(Duration::from_secs(30));
    assert!(left(&again.told()).is_some());
}

#[test]
fn a_revoked_token_ends_its_session_in_that_turn_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    let mut list = Revocations::default();
    list.revoke_token(token("alice", "red").id).unwrap();
    node.access.send_replace(access(devkey(), list));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert!(left(&bob.told()).is_none());
    let refused = node.knock(token("alice", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed("the token is revoked"))));
    assert!(matches!(
        node.knock(token("alice", "red"), resuming("PA_gone")),
        Err(Refusal::NotAllowed(_))
    ));
    assert!(node.knock(token("cy", "red"), joining(CHROMIUM_JOIN)).is_ok());
}

#[test]
fn a_revoked_key_ends_every_session_that_it_let_in_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut list = Revocations::default();
    list.revoke_key("another").unwrap();
    node.access.send_replace(access(devkey(), list.clone()));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    assert!(left(&alice.told()).is_none());
    list.revoke_key("devkey").unwrap();
    // Whether or not the key itself is still there.
    node.access.send_replace(access([], list));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed("the token is revoked"))));
}

#[test]
fn sessions_outlive_the_key_of_their_token_and_are_refreshed_no_more() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.access.send_replace(access([], Revocations::default()));
    node.wait(REFRESH_EVERY + Duration::from_secs(1));
    let told = alice.told();
    assert!(left(&told).is_none());
    assert!(!told.iter().any(|message| matches!(message, Told::RefreshToken(_))));
}
