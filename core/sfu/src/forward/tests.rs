//! A worker's media from end to end: sealed packets in, sealed packets out, as a client sees them.

mod abuse;
mod begun;
mod boundary;
mod burst;
mod dark;
mod dropped;
mod falling;
mod far;
mod joining;
mod loud;
mod outage;
mod restart;
mod seldom;
mod start;
mod way;
mod wishes;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use model::{
    Codec, ExtensionKind, Layer, Path, PeerId, RoomId, SubscriptionId, Timestamp, TrackId,
    TrackKind, WorkerId,
};
use rtp::extension::{ExtensionForm, ExtensionMap, write_block};
use rtp::packet::{FixedHeader, RtpHeader};
use rtp::rtcp::{CompoundWriter, RtcpPacket, packets};
use rtp::srtp::{DtlsRole, KeyingMaterial, Profile, SrtpReceiver, SrtpSender};

use super::{Again, Egress, Forward, Outside, Refused, RelayedPacket};
use crate::{Instruction, ReceiveFormat, Report, StreamSpec, SubscriptionSpec, TrackSpec};

const ROOM: RoomId = RoomId(1);
const TRACK: TrackId = TrackId(1);
const OPUS: u8 = 111;
const VP8: u8 = 96;
const RTX: u8 = 97;
const MID_ID: u8 = 1;
const RID_ID: u8 = 2;
const TWCC_ID: u8 = 3;

/// What a Forward sent, by destination port, still sealed; and what it told other workers.
#[derive(Default)]
struct Wire {
    sent: Vec<(u16, Vec<u8>)>,
    trains: Vec<(u16, usize, u16)>,
    relayed: Vec<(RelayedPacket, Vec<u8>)>,
    /// The packets for which there was no room on the way to another worker, by index.
    full: Range<u64>,
    keyframes: Vec<(WorkerId, TrackId, u8)>,
    again: Again,
}

impl Outside for Wire {
    fn send(&mut self, egress: &Egress) {
        self.again.packets += egress.again().packets;
        self.again.bytes += egress.again().bytes;
        for train in egress.trains() {
            self.trains.push((train.path.remote.port(), train.len, train.segment));
            let bytes = &egress.buffer()[train.start..train.start + train.len];
            for datagram in bytes.chunks(train.segment.into()) {
                self.sent.push((train.path.remote.port(), datagram.to_vec()));
            }
        }
    }

    fn relay(&mut self, _to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool {
        let has_room = !self.full.contains(&packet.index);
        if has_room {
            self.relayed.push((*packet, payload.to_vec()));
        }
        has_room
    }

    fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8) {
        self.keyframes.push((from, track, spatial));
    }
}

/// The far end of a peer.
struct Client {
    id: PeerId,
    port: u16,
    sender: SrtpSender,
    receiver: SrtpReceiver,
}

#[derive(Debug, PartialEq)]
struct Received {
    header: RtpHeader,
    payload: Vec<u8>,
}

impl Client {
    fn join(forward: &mut Forward<Vec<u8>>, wire: &mut Wire, index: u16) -> Self {
        let id = PeerId { worker: forward.worker, index: index.into() };
        let seed = u8::try_from(index).unwrap();
        let keys = KeyingMaterial::new(Profile::AeadAes128Gcm, &[seed; 56]).unwrap();
        forward.instruct(at(0), Instruction::AddPeer { peer: id, room: ROOM }, wire);
        forward.set_keys(id, &keys);
        forward.set_destination(id, Path::udp(address(1), address(index)));
        let formats = vec![
            ReceiveFormat { payload_type: OPUS, codec: Codec::Opus, rtx: None },
            ReceiveFormat { payload_type: VP8, codec: Codec::Vp8, rtx: Some(RTX) },
        ];
        let receive = Instruction::SetReceive { peer: id, formats, extensions: extensions() };
        forward.instruct(at(0), receive, wire);
        Self {
            id,
            port: index,
            sender: SrtpSender::new(&keys, DtlsRole::Client),
            receiver: SrtpReceiver::new(&keys, DtlsRole::Client),
        }
    }

    fn send(&self, forward: &mut Forward<Vec<u8>>, wire: &mut Wire, now: Timestamp, bytes: &[u8]) {
        let slot = forward.slot(self.id).unwrap();
        forward.ingest(now, slot, bytes, wire);
        forward.flush(now, wire);
    }

    fn seal(&self, sent: &Media<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 1500];
        let fixed = FixedHeader {
            marker: sent.marker,
            has_padding: false,
            has_extension: true,
            payload_type: sent.payload_type,
            sequence: u16::try_from(sent.index & 0xffff).unwrap(),
            timestamp: sent.timestamp,
            ssrc: sent.ssrc,
        };
        bytes[..12].copy_from_slice(&fixed.to_bytes());
        let twcc = u16::try_from(sent.index & 0xffff).unwrap().to_be_bytes();
        let elements = [(MID_ID, &b"0"[..]), (RID_ID, sent.rid), (TWCC_ID, &twcc[..])];
        let header = 12 + write_block(ExtensionForm::OneByte, &elements, &mut bytes[12..]).unwrap();
        bytes[header..header + sent.payload.len()].copy_from_slice(sent.payload);
        let len =
            self.sender.protect_rtp(&mut bytes, header, sent.payload.len(), sent.index).unwrap();
        bytes.truncate(len);
        bytes
    }

    fn rtcp(
        &mut self,
        forward: &mut Forward<Vec<u8>>,
        wire: &mut Wire,
        now: Timestamp,
        write: impl FnOnce(&mut CompoundWriter<'_>),
    ) {
        let mut bytes = vec![0; 1200];
        let mut writer = CompoundWriter::new(&mut bytes[..1000]);
        write(&mut writer);
        let len = writer.len();
        let len = self.sender.protect_rtcp(&mut bytes, len).unwrap();
        self.send(forward, wire, now, &bytes[..len]);
    }

    /// Opens what was sent to this client since the last call: media, and RTCP.
    fn receive(&mut self, wire: &mut Wire) -> (Vec<Received>, Vec<Vec<u8>>) {
        let (mut media, mut control) = (Vec::new(), Vec::new());
        for (_, mut bytes) in wire.sent.extract_if(.., |(port, _)| *port == self.port) {
            if (192..=223).contains(&bytes[1]) {
                let len = self.receiver.unprotect_rtcp(&mut bytes).unwrap();
                bytes.truncate(len);
                control.push(bytes);
            } else {
                let opened = self.receiver.unprotect_rtp(&mut bytes).unwrap();
                bytes.truncate(opened.packet_len());
                let payload = bytes[opened.header.payload_range(&bytes).unwrap()].to_vec();
                media.push(Received { header: opened.header, payload });
            }
        }
        (media, control)
    }
}

struct Media<'a> {
    payload_type: u8,
    ssrc: u32,
    index: u64,
    timestamp: u32,
    marker: bool,
    rid: &'a [u8],
    payload: &'a [u8],
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    map.insert(MID_ID, ExtensionKind::Mid).unwrap();
    map.insert(RID_ID, ExtensionKind::Rid).unwrap();
    map.insert(TWCC_ID, ExtensionKind::TransportSequence).unwrap();
    map
}

fn worker(id: u8) -> Forward<Vec<u8>> {
    Forward::new(WorkerId(id), |len| Some(vec![0; len]), 5)
}

fn subscription(track: TrackId, peer: PeerId, codec: Codec) -> Instruction {
    Instruction::Subscribe(SubscriptionSpec {
        subscription: SubscriptionId(peer.index),
        track,
        peer,
        codec,
        payload_type: if codec == Codec::Opus { 109 } else { 120 },
        rtx_payload_type: (codec == Codec::Vp8).then_some(121),
        ssrc: 7000 + peer.index,
        rtx_ssrc: 8000 + peer.index,
        extensions: extensions(),
        limit: Some(Layer { spatial: 2, temporal: 3 }),
        is_screen: false,
    })
}

fn track(peer: PeerId, kind: TrackKind, rids: &[&str]) -> Instruction {
    let stream = |rid: &&str| StreamSpec { rid: Some((*rid).into()), ..StreamSpec::default() };
    let mut streams: Vec<_> = rids.iter().map(stream).collect();
    if streams.is_empty() {
        streams.push(StreamSpec { ssrc: Some(100), ..StreamSpec::default() });
    }
    Instruction::AddTrack(TrackSpec {
        track: TRACK,
        room: ROOM,
        peer,
        kind,
        mid: "0".into(),
        streams,
    })
}

/// Ada's microphone beside her camera, for Ben.
fn add_sound(
    forward: &mut Forward<Vec<u8>>,
    wire: &mut Wire,
    now: u64,
    ada: &Client,
    ben: &Client,
) {
    let spec = TrackSpec {
        track: TrackId(2),
        room: ROOM,
        peer: ada.id,
        kind: TrackKind::Audio,
        mid: "1".into(),
        streams: vec![StreamSpec { ssrc: Some(100), ..StreamSpec::default() }],
    };
    forward.instruct(at(now), Instruction::AddTrack(spec), wire);
    let Instruction::Subscribe(to) = subscription(TrackId(2), ben.id, Codec::Opus) else {
        unreachable!();
    };
    let to = SubscriptionSpec { subscription: SubscriptionId(99), ssrc: 7099, ..to };
    forward.instruct(at(now), Instruction::Subscribe(to), wire);
}

/// Another worker, to which the track is relayed from now on, and Cy there, who receives it.
fn relayed_to(
    forward: &mut Forward<Vec<u8>>,
    wire: &mut Wire,
    kind: TrackKind,
    codec: Codec,
) -> (Forward<Vec<u8>>, Wire, Client) {
    let on = Instruction::Relay { track: TRACK, to: WorkerId(1), on: true };
    forward.instruct(at(0), on, wire);
    let (mut other, mut there) = (worker(1), Wire::default());
    let cy = Client::join(&mut other, &mut there, 30);
    let add = Instruction::AddRelayedTrack { track: TRACK, room: ROOM, kind, from: WorkerId(0) };
    other.instruct(at(0), add, &mut there);
    other.instruct(at(0), subscription(TRACK, cy.id, codec), &mut there);
    (other, there, cy)
}

fn sound(index: u64, payload: &[u8]) -> Media<'_> {
    let timestamp = u32::try_from((index * 960) & 0xffff_ffff).unwrap();
    Media { payload_type: OPUS, ssrc: 100, index, timestamp, marker: false, rid: b"q", payload }
}

fn picture<'a>(layer: u8, index: u64, payload: &'a [u8]) -> Media<'a> {
    Media {
        payload_type: VP8,
        ssrc: 200 + u32::from(layer),
        index,
        timestamp: u32::try_from(index * 3000).unwrap() + 1_000_000 * u32::from(layer),
        marker: true,
        rid: [b"q", b"h", b"f"][usize::from(layer)],
        payload,
    }
}

/// A VP8 packet: descriptor with a 15-bit picture id, then a payload header that says key or delta.
fn vp8(picture_id: u16, keyframe: bool, fill: u8) -> Vec<u8> {
    let id = (picture_id | 0x8000).to_be_bytes();
    let mut payload = vec![0x90, 0x80, id[0], id[1], u8::from(!keyframe), 0, 0];
    payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 64, 0, 64, 0]);
    payload.resize(300, fill);
    payload
}

/// Publisher and receiver of sound on one worker.
fn sound_call() -> (Forward<Vec<u8>>, Wire, Client, Client) {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let ada = Client::join(&mut forward, &mut wire, 10);
    let ben = Client::join(&mut forward, &mut wire, 20);
    forward.instruct(at(0), track(ada.id, TrackKind::Audio, &[]), &mut wire);
    forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Opus), &mut wire);
    (forward, wire, ada, ben)
}

/// The same of a picture in three layers, of which the largest has arrived.
fn picture_call() -> (Forward<Vec<u8>>, Wire, Client, Client) {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let ada = Client::join(&mut forward, &mut wire, 10);
    let ben = Client::join(&mut forward, &mut wire, 20);
    forward.instruct(at(0), track(ada.id, TrackKind::Video, &["q", "h", "f"]), &mut wire);
    forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
    for layer in 0..3 {
        let bytes = ada.seal(&picture(layer, 999, &vp8(1, false, 0)));
        ada.send(&mut forward, &mut wire, at(1), &bytes);
    }
    forward.handle_timeout(at(2), &mut wire);
    (forward, wire, ada, ben)
}

#[test]
fn sound_arrives_with_the_receivers_names_and_the_same_payload() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    for index in [1000, 1001, 1003] {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(&mut forward, &mut wire, at(index), &bytes);
    }
    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 3);
    let first = media[0].header.sequence;
    let sequences: Vec<_> = media.iter().map(|packet| packet.header.sequence - first).collect();
    assert_eq!(sequences, [0, 1, 3]);
    for packet in &media {
        assert_eq!((packet.header.payload_type, packet.header.ssrc), (109, 7020));
        assert_eq!(packet.payload, [9; 80]);
    }
    assert!(wire.sent.iter().all(|(port, _)| *port != ada.port), "nobody hears himself");
}

/// Whose quality was reported in so many seconds of the timer.
fn qualities(forward: &mut Forward<Vec<u8>>, wire: &mut Wire, seconds: Range<u64>) -> usize {
    let mut reported = 0;
    for millis in (seconds.start * 1000..seconds.end * 1000).step_by(20) {
        forward.handle_timeout(at(millis), wire);
        while let Some(report) = forward.poll_report() {
            reported += usize::from(matches!(report, Report::Quality { .. }));
        }
    }
    reported
}

#[test]
fn who_neither_sends_nor_receives_is_looked_at_now_and_then_and_at_once_when_he_does() {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let mut ada = Client::join(&mut forward, &mut wire, 10);
    let ben = Client::join(&mut forward, &mut wire, 20);
    assert_eq!(qualities(&mut forward, &mut wire, 0..21), 2 * 4, "one every five seconds");
    assert!(forward.idle_until.iter().all(|until| *until > at(20_980)), "both are left alone");

    forward.instruct(at(21_000), track(ada.id, TrackKind::Audio, &[]), &mut wire);
    forward.instruct(at(21_000), subscription(TRACK, ben.id, Codec::Opus), &mut wire);
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(21_001), &bytes);
    ada.receive(&mut wire);
    for millis in (21_020..21_200).step_by(20) {
        forward.handle_timeout(at(millis), &mut wire);
    }
    let (_, control) = ada.receive(&mut wire);
    assert!(!control.is_empty(), "what came is reported within the tenth of a second");
    assert!(forward.idle_until.iter().all(|until| *until <= at(21_200)));
}

#[test]
fn a_replayed_and_a_forged_packet_go_nowhere() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    ada.send(&mut forward, &mut wire, at(2), &bytes);
    let mut forged = ada.seal(&sound(1001, &[9; 80]));
    *forged.last_mut().unwrap() ^= 1;
    ada.send(&mut forward, &mut wire, at(3), &forged);
    assert_eq!(ben.receive(&mut wire).0.len(), 1);
    let expected = Refused { replayed: 1, unauthentic: 1, ..Refused::default() };
    assert_eq!(forward.take_refused(), expected);
    assert_eq!(forward.take_refused(), Refused::default(), "each is told once");
}

#[test]
fn muting_stops_forwarding_and_unmuting_leaves_no_gap() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let send = |forward: &mut Forward<_>, wire: &mut Wire, index| {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(forward, wire, at(index), &bytes);
    };
    send(&mut forward, &mut wire, 1000);
    forward.instruct(at(1), Instruction::MuteTrack { track: TRACK, muted: true }, &mut wire);
    send(&mut forward, &mut wire, 1001);
    forward.instruct(at(2), Instruction::MuteTrack { track: TRACK, muted: false }, &mut wire);
    send(&mut forward, &mut wire, 1002);
    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 2);
    assert_eq!(media[1].header.sequence, media[0].header.sequence.wrapping_add(1));
}

#[test]
fn a_picture_begins_with_a_key_frame_which_is_asked_for() {
    let (mut forward, mut wire, mut ada, mut ben) = picture_call();
    assert!(ben.receive(&mut wire).0.is_empty(), "a delta frame begins nothing");
    let (_, control) = ada.receive(&mut wire);
    let asked = control
        .iter()
        .flat_map(|bytes| packets(bytes))
        .any(|packet| matches!(packet, Ok(RtcpPacket::PictureLoss { media_ssrc: 202, .. })));
    assert!(asked, "the layer that is wanted is asked for a key frame");
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(5), &bytes);
    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 1);
    assert_eq!(media[0].payload[4..], vp8(2, true, 7)[4..]);
}

/// It would come before anybody can have it, and the next one is half a second away.
#[test]
fn a_key_frame_is_asked_for_once_its_receiver_is_reached() {
    let (mut forward, mut wire, mut ada, _ben) = picture_call();
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(5), &bytes);
    let mut index = 1000;
    let mut asked = |forward: &mut Forward<Vec<u8>>, millis| {
        index += 1;
        let bytes = ada.seal(&picture(2, index, &vp8(3, false, 7)));
        ada.send(forward, &mut wire, at(millis), &bytes);
        forward.handle_timeout(at(millis), &mut wire);
        let (_, control) = ada.receive(&mut wire);
        let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        all.filter(|it| matches!(it, RtcpPacket::PictureLoss { media_ssrc: 202, .. })).count()
    };
    asked(&mut forward, 600);
    let cy = PeerId { worker: WorkerId(0), index: 40 };
    let mut there = Wire::default();
    forward.instruct(at(1_000), Instruction::AddPeer { peer: cy, room: ROOM }, &mut there);
    forward.instruct(at(1_000), subscription(TRACK, cy, Codec::Vp8), &mut there);
    let keys = KeyingMaterial::new(Profile::AeadAes128Gcm, &[40; 56]).unwrap();
    let mut asked_until = |forward: &mut Forward<Vec<u8>>, from: u64, until: u64| {
        (from..until).step_by(20).map(|millis| asked(forward, millis)).sum::<usize>()
    };
    assert_eq!(asked_until(&mut forward, 1_020, 2_000), 0);
    forward.set_keys(cy, &keys);
    assert_eq!(asked_until(&mut forward, 2_000, 3_000), 0, "nobody knows where it is");
    forward.set_destination(cy, Path::udp(address(1), address(40)));
    assert_eq!(asked_until(&mut forward, 3_000, 3_100), 1);
}

/// Its publisher's worker would ask for another one each time.
#[test]
fn a_key_frame_that_another_worker_relays_is_not_asked_for_again() {
    let (mut forward, mut wire, ada, _ben) = picture_call();
    let (mut other, mut there, _cy) =
        relayed_to(&mut forward, &mut wire, TrackKind::Video, Codec::Vp8);
    let mut asked = Vec::new();
    for millis in (20..2_000).step_by(20) {
        let bytes = ada.seal(&picture(2, 1_000 + millis, &vp8(2, millis == 200, 7)));
        ada.send(&mut forward, &mut wire, at(millis), &bytes);
        for (packet, payload) in wire.relayed.drain(..) {
            other.relayed(at(millis), &packet, &payload);
        }
        other.flush(at(millis), &mut there);
        other.handle_timeout(at(millis), &mut there);
        asked.extend(there.keyframes.drain(..).map(|_| millis));
    }
    assert!(!asked.is_empty() && asked.iter().all(|millis| *millis < 200), "{asked:?}");
}

#[test]
fn a_full_intra_request_asks_the_publisher_of_the_layer_that_is_seen() {
    let (mut forward, mut wire, mut ada, mut ben) = picture_call();
    for index in 1000..1050 {
        let bytes = ada.seal(&picture(2, index, &vp8(2, index == 1000, 7)));
        ada.send(&mut forward, &mut wire, at((index - 1000) * 20 + 5), &bytes);
    }
    ada.receive(&mut wire);
    for (ssrc, expected) in [(7099, 0), (7020, 1)] {
        ben.rtcp(&mut forward, &mut wire, at(1000), |writer| {
            writer.full_intra(1, ssrc, 0).unwrap();
        });
        forward.handle_timeout(at(1001), &mut wire);
        let (_, control) = ada.receive(&mut wire);
        let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        let is_asked = |packet: &RtcpPacket<'_>| {
            matches!(packet, RtcpPacket::PictureLoss { media_ssrc: 202, .. })
        };
        assert_eq!(all.filter(is_asked).count(), expected, "for {ssrc}");
    }
}

#[test]
fn a_lower_limit_switches_at_the_lower_layers_key_frame() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let send = |forward: &mut Forward<_>, wire: &mut Wire, layer, index, key| {
        let bytes =
            ada.seal(&picture(layer, index, &vp8(u16::try_from(index).unwrap(), key, layer)));
        ada.send(forward, wire, at(index), &bytes);
    };
    send(&mut forward, &mut wire, 2, 1000, true);
    let layer = Some(Layer { spatial: 0, temporal: 3 });
    let subscription = SubscriptionId(ben.id.index);
    forward.instruct(at(1001), Instruction::Limit { subscription, layer }, &mut wire);
    send(&mut forward, &mut wire, 2, 1001, false);
    send(&mut forward, &mut wire, 0, 1001, false);
    send(&mut forward, &mut wire, 0, 1002, true);
    send(&mut forward, &mut wire, 2, 1002, false);
    let (media, _) = ben.receive(&mut wire);
    let layers: Vec<_> = media.iter().map(|packet| packet.payload[299]).collect();
    assert_eq!(layers, [2, 2, 0]);
    let first = media[0].header.sequence;
    let sequences: Vec<_> =
        media.iter().map(|packet| packet.header.sequence.wrapping_sub(first)).collect();
    assert_eq!(sequences, [0, 1, 2]);
    let pictures: Vec<_> = media
        .iter()
        .map(|packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]))
        .collect();
    assert_eq!((pictures[1] - pictures[0], pictures[2] - pictures[1]), (1, 1));
}

#[test]
fn a_missing_packet_is_sent_again_over_rtx() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(5), &bytes);
    let (media, _) = ben.receive(&mut wire);
    let lost = media[0].header.sequence;
    let nack = [rtp::nack::Nack { pid: lost, blp: 0 }];
    ben.rtcp(&mut forward, &mut wire, at(300), |writer| {
        writer.nack(1, 7020, &nack).unwrap();
    });
    let mine = wire.sent.iter().filter(|(port, _)| *port == ben.port);
    let sealed = mine.map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(
        wire.again,
        Again { packets: 1, bytes: sealed },
        "it is told from what is sent first"
    );
    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 1);
    assert_eq!((media[0].header.payload_type, media[0].header.ssrc), (121, 8020));
    assert_eq!(media[0].payload[..2], lost.to_be_bytes());
    assert_eq!(media[0].payload[2..][4..], vp8(2, true, 7)[4..]);
}

#[test]
fn what_a_publisher_sends_again_is_told_from_what_it_sends_first() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    for (index, payload) in [(1000, vp8(2, true, 7)), (1002, vp8(4, false, 7))] {
        let bytes = ada.seal(&picture(2, index, &payload));
        ada.send(&mut forward, &mut wire, at(5), &bytes);
    }
    assert_eq!(forward.take_again(), Again::default());
    let missed = [&1001_u16.to_be_bytes()[..], &vp8(3, false, 7)].concat();
    let again = Media { payload_type: RTX, ssrc: 302, ..picture(2, 5, &missed) };
    let bytes = ada.seal(&again);
    ada.send(&mut forward, &mut wire, at(6), &bytes);
    assert_eq!(ben.receive(&mut wire).0.len(), 3);
    assert_eq!(forward.take_again(), Again { packets: 1, bytes: bytes.len() as u64 });
    assert_eq!(forward.take_again(), Again::default(), "each is told once");
}

#[test]
fn what_we_miss_is_asked_for_and_fills_the_gap() {
    let (mut forward, mut wire, mut ada, mut ben) = sound_call();
    for index in [1000, 1002] {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(&mut forward, &mut wire, at(1), &bytes);
    }
    forward.handle_timeout(at(100), &mut wire);
    let (_, control) = ada.receive(&mut wire);
    let asked = control.iter().flat_map(|bytes| packets(bytes)).any(|packet| match packet {
        Ok(RtcpPacket::Nack(nacks)) => nacks.sequence_numbers().any(|sequence| sequence == 1001),
        _ => false,
    });
    assert!(asked);
    let bytes = ada.seal(&sound(1001, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(120), &bytes);
    let (media, _) = ben.receive(&mut wire);
    let mut sequences: Vec<_> = media.iter().map(|packet| packet.header.sequence).collect();
    sequences.sort_unstable();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1) && sequences.len() == 3);
}

#[test]
fn a_publisher_gets_transport_feedback_and_reports() {
    let (mut forward, mut wire, mut ada, _) = sound_call();
    for index in 1000..1010 {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(&mut forward, &mut wire, at(index), &bytes);
    }
    forward.handle_timeout(at(2500), &mut wire);
    let (_, control) = ada.receive(&mut wire);
    let told = |wanted: fn(&RtcpPacket<'_>) -> bool| {
        control
            .iter()
            .flat_map(|bytes| packets(bytes))
            .any(|packet| packet.as_ref().is_ok_and(wanted))
    };
    assert!(told(|packet| matches!(packet, RtcpPacket::TransportFeedback(_))));
    assert!(told(|packet| matches!(packet, RtcpPacket::ReceiverReport { .. })));
}

#[test]
fn a_frame_goes_out_as_one_train() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let slot = forward.slot(ada.id).unwrap();
    for (n, len) in [(0u64, 1000), (1, 1001), (2, 1002), (3, 1002)] {
        let mut payload = vp8(2, n == 0, 7);
        payload.resize(len, 7);
        if n > 0 {
            payload[0] = 0x80;
        }
        let mut media = picture(2, 1000 + n, &payload);
        media.timestamp = 5;
        let bytes = ada.seal(&media);
        forward.ingest(at(5), slot, &bytes, &mut wire);
    }
    wire.trains.clear();
    forward.flush(at(5), &mut wire);
    assert_eq!(wire.trains.len(), 1, "{:?}", wire.trains);
    let (media, _) = ben.receive(&mut wire);
    let lens: Vec<_> = media.iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lens, [1000, 1001, 1002, 1002], "padding is not payload");
}

#[test]
fn a_subscription_that_comes_again_uses_no_number_twice() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let mut sequences = Vec::new();
    for index in 1000..1004 {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(&mut forward, &mut wire, at(index), &bytes);
        sequences.extend(ben.receive(&mut wire).0.iter().map(|packet| packet.header.sequence));
        let subscription = SubscriptionId(ben.id.index);
        forward.instruct(at(index), Instruction::Unsubscribe { subscription }, &mut wire);
        forward.instruct(at(index), self::subscription(TRACK, ben.id, Codec::Opus), &mut wire);
    }
    assert_eq!(sequences.len(), 4);
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
}

#[test]
fn a_picture_whose_section_is_described_anew_goes_on_where_it_was() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let subscription = SubscriptionId(ben.id.index);
    let send = |forward: &mut Forward<_>, wire: &mut Wire, now, layer, index, picture_id| {
        let payload = vp8(picture_id, true, 7);
        let bytes = ada.seal(&picture(layer, index, &payload));
        ada.send(forward, wire, at(now), &bytes);
    };
    let smallest = Some(Layer { spatial: 0, temporal: 3 });

    send(&mut forward, &mut wire, 5, 2, 1000, 2);
    let limit = Instruction::Limit { subscription, layer: smallest };
    forward.instruct(at(10), limit, &mut wire);
    forward.handle_timeout(at(10), &mut wire);
    send(&mut forward, &mut wire, 38, 0, 1000, 500);

    forward.instruct(at(40), Instruction::Unsubscribe { subscription }, &mut wire);
    let Instruction::Subscribe(again) = self::subscription(TRACK, ben.id, Codec::Vp8) else {
        unreachable!();
    };
    let again = SubscriptionSpec { limit: smallest, ..again };
    forward.instruct(at(40), Instruction::Subscribe(again), &mut wire);
    forward.handle_timeout(at(45), &mut wire);
    send(&mut forward, &mut wire, 71, 0, 1001, 501);

    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 3);
    let picture_id = |packet: &Received| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
    for pair in media.windows(2) {
        let [a, b] = [&pair[0].header, &pair[1].header];
        assert_eq!(b.sequence, a.sequence.wrapping_add(1));
        assert_eq!(b.timestamp.wrapping_sub(a.timestamp), 33 * 90);
        assert_eq!(picture_id(&pair[1]), picture_id(&pair[0]) + 1);
    }
}

#[test]
fn a_subscription_that_comes_again_says_whether_it_is_paused() {
    let (mut forward, mut wire, ada, ben) = picture_call();
    for round in 0..2 {
        while forward.poll_report().is_some() {}
        let subscription = SubscriptionId(ben.id.index);
        forward.instruct(at(100 * round), Instruction::Unsubscribe { subscription }, &mut wire);
        forward.instruct(at(100 * round), self::subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
        for step in 0..5 {
            let now = 100 * (round + 1) + 10 * step;
            let bytes = ada.seal(&picture(0, 1_000 + now, &vp8(2, true, 7)));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            forward.handle_timeout(at(now), &mut wire);
        }
        let reports = std::iter::from_fn(|| forward.poll_report());
        let said = reports.filter_map(|report| {
            if let Report::Bandwidth { paused, .. } = report { Some(paused) } else { None }
        });
        assert_eq!(said.collect::<Vec<_>>(), [false], "once");
    }
}

#[test]
fn a_long_pause_of_the_receiver_leaves_no_leap() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let subscription = SubscriptionId(ben.id.index);
    let limit = |forward: &mut Forward<_>, wire: &mut Wire, layer| {
        forward.instruct(at(1), Instruction::Limit { subscription, layer }, wire);
    };
    let send = |forward: &mut Forward<_>, wire: &mut Wire, index| {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(forward, wire, at(index), &bytes);
    };
    send(&mut forward, &mut wire, 1000);
    limit(&mut forward, &mut wire, None);
    (1001..1100).for_each(|index| send(&mut forward, &mut wire, index));
    limit(&mut forward, &mut wire, Some(Layer::default()));
    send(&mut forward, &mut wire, 1100);
    let (media, _) = ben.receive(&mut wire);
    assert_eq!(media.len(), 2);
    assert_eq!(media[1].header.sequence, media[0].header.sequence.wrapping_add(1));
}

#[test]
fn a_leap_of_the_sender_is_none_to_the_receiver() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    for index in [1000, 1001, 30_000, 60_000, 60_001] {
        let bytes = ada.seal(&sound(index, &[9; 80]));
        ada.send(&mut forward, &mut wire, at(index), &bytes);
    }
    let (media, _) = ben.receive(&mut wire);
    let first = media[0].header.sequence;
    let sequences: Vec<_> =
        media.iter().map(|packet| packet.header.sequence.wrapping_sub(first)).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
}

#[test]
fn what_is_too_old_to_be_of_use_is_not_sent_again() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    ada.send(&mut forward, &mut wire, at(10), &ada.seal(&picture(2, 1000, &vp8(2, true, 7))));
    let pid = ben.receive(&mut wire).0[0].header.sequence;
    let mut ask = |millis| {
        ben.rtcp(&mut forward, &mut wire, at(millis), |writer| {
            writer.nack(1, 7020, &[rtp::nack::Nack { pid, blp: 0 }]).unwrap();
        });
        ben.receive(&mut wire).0.len()
    };
    assert_eq!((ask(2_010), ask(2_511), ask(8_000)), (1, 0, 0));
}

#[test]
fn one_datagram_is_answered_with_a_bounded_number_of_packets() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    for index in 1000..1200 {
        let bytes = ada.seal(&picture(2, index, &vp8(2, index == 1000, 7)));
        ada.send(&mut forward, &mut wire, at(5), &bytes);
    }
    let first = ben.receive(&mut wire).0[0].header.sequence;
    ben.rtcp(&mut forward, &mut wire, at(300), |writer| {
        for n in 0..12 {
            let pid = first.wrapping_add(n * 17);
            writer.nack(1, 7020, &[rtp::nack::Nack { pid, blp: 0xffff }]).unwrap();
        }
    });
    assert_eq!(ben.receive(&mut wire).0.len(), crate::limits::NACKS_PER_DATAGRAM_MAX);
}

#[test]
fn an_abandoned_batch_sends_nothing_and_the_next_one_does() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let slot = forward.slot(ada.id).unwrap();
    forward.ingest(at(1), slot, &ada.seal(&sound(1000, &[9; 80])), &mut wire);
    // As far as a fault may come: copied and not sealed.
    forward.egress.space().fill(9);
    forward.abandon();
    assert!(forward.egress.buffer().iter().all(|byte| *byte == 0), "nothing of it is left");
    forward.flush(at(1), &mut wire);
    assert!(ben.receive(&mut wire).0.is_empty());
    ada.send(&mut forward, &mut wire, at(2), &ada.seal(&sound(1001, &[9; 80])));
    assert_eq!(ben.receive(&mut wire).0.len(), 1);
}

#[test]
fn what_is_to_leave_is_sealed_where_it_lies() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let payload: [u8; 80] = std::array::from_fn(|index| u8::try_from(index).unwrap() ^ 0xa5);
    for sequence in 0..20 {
        let bytes = ada.seal(&sound(1000 + sequence, &payload));
        ada.send(&mut forward, &mut wire, at(sequence), &bytes);
    }
    let (media, _) = ben.receive(&mut wire);
    assert!(media.iter().all(|packet| packet.payload == payload) && media.len() == 20);
    let left = forward.egress.buffer();
    assert!(left.iter().any(|byte| *byte != 0), "the last batch lies there still");
    let is_plain = |piece: &[u8]| left.windows(piece.len()).any(|window| window == piece);
    assert!(!payload.chunks(8).any(is_plain), "and none of what was said");
}

#[test]
fn a_relayed_packet_arrives_on_another_worker_as_it_would_here() {
    let (mut forward, mut wire, ada, _) = sound_call();
    let (mut other, mut there, mut cy) =
        relayed_to(&mut forward, &mut wire, TrackKind::Audio, Codec::Opus);
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    for (packet, payload) in &wire.relayed {
        other.relayed(at(1), packet, payload);
    }
    other.flush(at(1), &mut there);
    let (media, _) = cy.receive(&mut there);
    assert_eq!(media.len(), 1);
    assert_eq!(media[0].payload, [9; 80]);
}

/// Of sound half is no payload: a worker that counted that alone would give the rest to pictures.
#[test]
fn sound_is_measured_as_what_its_receivers_are_sent_wherever_it_comes_from() {
    let (mut forward, mut wire, ada, ben) = sound_call();
    let (mut other, mut there, _cy) =
        relayed_to(&mut forward, &mut wire, TrackKind::Audio, Codec::Opus);
    let mut sent = 0;
    for now in (1_000..3_000).step_by(20) {
        let bytes = ada.seal(&sound(now / 20, &[9; 40]));
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        for (packet, payload) in wire.relayed.drain(..) {
            other.relayed(at(now), &packet, &payload);
        }
        forward.handle_timeout(at(now), &mut wire);
        other.handle_timeout(at(now), &mut there);
        let to_ben = wire.sent.drain(..).filter(|(port, _)| *port == ben.port);
        sent += to_ben.map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
    }
    let measured = |worker: &Forward<Vec<u8>>| {
        worker.tracks.get(worker.track_rows[&TRACK]).unwrap().rate(0).as_bps()
    };
    assert_eq!(measured(&forward), measured(&other));
    let percent = measured(&forward) * 100 / (sent * 8 / 2);
    assert!((90..=130).contains(&percent), "{percent} percent of what Ben is sent");
}

#[test]
fn a_removed_peer_takes_its_tracks_and_the_history_with_it() {
    let (mut forward, mut wire, ada, ben) = sound_call();
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    forward.instruct(at(2), Instruction::RemovePeer { peer: ada.id }, &mut wire);
    assert!(forward.track_rows.is_empty() && forward.subscription_rows.is_empty());
    while forward.poll_report().is_some() {}
    forward.instruct(at(2), Instruction::RemovePeer { peer: ben.id }, &mut wire);
    assert!(forward.rooms.is_empty() && forward.slot(ada.id).is_none());
    let released = Report::HistoryReleased { room: ROOM, bytes: bytes.len() };
    assert_eq!(forward.poll_report(), Some(released));
    forward.handle_timeout(at(3), &mut wire);
    assert_eq!(forward.next_timeout(), Timestamp::MAX);
}

#[test]
fn who_leaves_takes_what_it_sent_out_of_the_history_that_goes_on() {
    let (mut forward, mut wire, ada, ben) = sound_call();
    let relay = Instruction::Relay { track: TRACK, to: WorkerId(1), on: true };
    forward.instruct(at(0), relay, &mut wire);
    let mut other = worker(1);
    let add = Instruction::AddRelayedTrack {
        track: TRACK,
        room: ROOM,
        kind: TrackKind::Audio,
        from: WorkerId(0),
    };
    other.instruct(at(0), Instruction::AddPeer { peer: ben.id, room: ROOM }, &mut wire);
    other.instruct(at(0), add, &mut wire);
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    for (packet, payload) in &wire.relayed {
        other.relayed(at(1), packet, payload);
    }
    let holds = |forward: &Forward<Vec<u8>>| !forward.rooms[&ROOM].arena.is_zero();
    assert!(holds(&forward) && holds(&other));
    forward.instruct(at(2), Instruction::RemovePeer { peer: ada.id }, &mut wire);
    other.instruct(at(2), Instruction::RemoveTrack { track: TRACK }, &mut wire);
    assert!(!holds(&forward) && !holds(&other), "though ben is still there");
}

#[test]
fn a_quiet_call_forgets_in_time() {
    let (mut forward, mut wire, ada, _) = sound_call();
    let bytes = ada.seal(&sound(1000, &[9; 80]));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    let is_zero = |forward: &Forward<Vec<u8>>| forward.rooms[&ROOM].arena.is_zero();
    assert!(!is_zero(&forward));
    // Nobody sends: the worker wakes when the forwarder asked to.
    while forward.next_timeout() <= at(10_000) {
        let now = forward.next_timeout();
        forward.handle_timeout(now, &mut wire);
    }
    assert!(is_zero(&forward), "a packet of the history is older than ten seconds");
}

#[test]
fn the_first_packet_of_a_layer_and_speech_are_reported() {
    let (mut forward, mut wire, ada, _) = picture_call();
    let live: Vec<_> = std::iter::from_fn(|| forward.poll_report())
        .filter(|report| matches!(report, Report::LayerLive { .. }))
        .collect();
    assert_eq!(live.len(), 3);
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(5), &bytes);
    assert_eq!(forward.poll_report(), None);
}

#[test]
fn another_codec_is_reported_and_not_too_often() {
    let (mut forward, mut wire, ada, _) = picture_call();
    let codecs = [(VP8, Codec::Vp8), (102, Codec::H264)];
    let formats =
        codecs.map(|(payload_type, codec)| ReceiveFormat { payload_type, codec, rtx: None });
    let formats = Instruction::SetReceive {
        peer: ada.id,
        formats: formats.to_vec(),
        extensions: extensions(),
    };
    forward.instruct(at(2), formats, &mut wire);
    while forward.poll_report().is_some() {}
    let mut told = Vec::new();
    let mut send = |from: u64, until: u64, codec: fn(u64) -> u8| {
        told.clear();
        for now in (from..until).step_by(20) {
            let payload = vp8(2, true, 7);
            let media = picture(2, 1_000 + now, &payload);
            let bytes = ada.seal(&Media { payload_type: codec(now), ..media });
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            forward.handle_timeout(at(now), &mut wire);
            told.extend(std::iter::from_fn(|| forward.poll_report()).filter_map(|it| {
                if let Report::LayerLive { codec, .. } = it { Some(codec) } else { None }
            }));
        }
        told.clone()
    };
    assert_eq!(send(20, 2_000, |_| VP8), []);
    assert_eq!(send(2_000, 5_000, |_| 102), [Codec::H264]);
    let told = send(5_000, 15_000, |now| if now % 40 == 0 { VP8 } else { 102 });
    assert!((2..=7).contains(&told.len()), "{told:?}");
}

#[test]
fn reports_that_are_said_once_outlast_any_number_of_those_that_come_again() {
    let mut forward = worker(0);
    let level = |level| Report::Level { track: TRACK, level };
    let paused = |n| Report::Bandwidth { subscription: SubscriptionId(n), paused: true };
    for n in 0..4_000 {
        for _ in 0..4 {
            forward.report(level(Some(0.5)));
        }
        forward.report(paused(n));
    }
    forward.report(level(None));
    let all: Vec<Report> = std::iter::from_fn(|| forward.poll_report()).collect();
    let kept: Vec<&Report> = all.iter().filter(|report| report.must_arrive()).collect();
    assert!(all.len() > kept.len(), "as long as there is room all are");
    assert_eq!(kept.len(), 4_001);
    assert_eq!((kept[0], kept[4_000]), (&paused(0), &level(None)));
    (0..100_000).for_each(|n| forward.report(paused(n)));
    assert_eq!(forward.reports.len(), crate::limits::REPORTS_MAX);
}

#[test]
fn random_datagrams_change_nothing() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let slot = forward.slot(ada.id).unwrap();
    let mut state = 1u64;
    for _ in 0..5000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = usize::try_from(state >> 53).unwrap();
        let mut bytes = vec![u8::try_from(state >> 56).unwrap(); len];
        if let Some(first) = bytes.first_mut() {
            *first = 0x80 | *first & 0x3f;
        }
        forward.ingest(at(1), slot, &bytes, &mut wire);
        forward.flush(at(1), &mut wire);
    }
    forward.handle_timeout(at(1) + Duration::from_millis(30), &mut wire);
    assert!(ben.receive(&mut wire).0.is_empty());
}
