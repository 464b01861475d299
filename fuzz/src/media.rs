//! The targets that need a state around them: a negotiation, a worker's media.

use std::net::SocketAddr;

use model::{
    Codec, ExtensionKind, Layer, Path, PeerId, RoomId, SubscriptionId, Timestamp, TrackId,
    TrackKind, WorkerId,
};
use rtp::extension::ExtensionMap;
use rtp::packet::Datagram;
use rtp::srtp::{DtlsRole, KeyingMaterial, Profile, SrtpSender};
use sfu::forward::{Egress, Forward, Outside, RelayedPacket};
use sfu::{Instruction, ReceiveFormat, StreamSpec, SubscriptionSpec, TrackSpec};
use wire::negotiation::{AcceptedCodecs, Negotiation};
use wire::sdp::{
    Candidate, CandidateTransport, Fingerprint, IceCredentials, LocalTransport, Offer,
};

/// Two rounds, since the second meets what the first left.
pub(crate) fn negotiate(offer: &Offer) {
    let Some(mut negotiation) = negotiation() else { return };
    for _ in 0..2 {
        drop(negotiation.offer(offer));
        negotiation.requirement();
    }
}

/// One participant's, with a server that accepts what ours does.
pub(crate) fn negotiation() -> Option<Negotiation> {
    let digest = ["AB"; 32].join(":");
    let fingerprint = Fingerprint::from_value(&format!("sha-256 {digest}"))?;
    let local = LocalTransport {
        ice: IceCredentials::new("ours", "0123456789012345678901"),
        fingerprint,
        candidates: vec![Candidate { address: address(7882), transport: CandidateTransport::Udp }],
        candidates_in_answer: true,
    };
    let accepted =
        AcceptedCodecs { audio: vec![Codec::Opus], video: vec![Codec::Vp8, Codec::H264] };
    Some(Negotiation::new(local, accepted))
}

pub(crate) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    for (id, kind) in (1..).zip(ExtensionKind::ALL) {
        // The table's ids are 1 to 10, each once.
        if map.insert(id, kind).is_err() {
            break;
        }
    }
    map
}

pub(crate) struct Nowhere;

impl Outside for Nowhere {
    fn send(&mut self, _egress: &Egress) {}
    fn relay(&mut self, _to: WorkerId, _packet: &RelayedPacket, _payload: &[u8]) -> bool {
        true
    }
    fn want_keyframe(&mut self, _from: WorkerId, _track: TrackId, _spatial: u8) {}
}

/// A call of two. The input is read as plaintext packets of one of them, each after two bytes of
/// length, and sealed with its keys: what a malicious participant can send.
pub(crate) fn forward(data: &[u8]) {
    let mut forward = Forward::<Vec<u8>>::new(WorkerId(0), |len| Some(vec![0; len]), 1);
    let Ok(keys) = KeyingMaterial::new(Profile::AeadAes128Gcm, &[5; 56]) else {
        return;
    };
    let mut sender = SrtpSender::new(&keys, DtlsRole::Client);
    let peers = [1, 2].map(|index| PeerId { worker: WorkerId(0), index });
    let mut now = Timestamp::from_millis(1);
    for peer in peers {
        enter(&mut forward, peer, &keys);
    }
    for spec in specs(peers) {
        forward.instruct(now, spec, &mut Nowhere);
    }
    let (mut rest, mut index) = (data, 1u64);
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len()).min(1200);
        let (plain, after) = after.split_at(len);
        rest = after;
        now += std::time::Duration::from_millis(7);
        let mut bytes = plain.to_vec();
        bytes.resize(len + 64, 0);
        let sealed = match Datagram::classify(plain) {
            Datagram::Rtp => rtp::packet::RtpHeader::parse(plain).ok().and_then(|header| {
                index = (index & !0xffff) | u64::from(header.sequence);
                let body = len.checked_sub(header.header_len)?;
                sender.protect_rtp(&mut bytes, header.header_len, body, index).ok()
            }),
            Datagram::Rtcp => sender.protect_rtcp(&mut bytes, len).ok(),
            Datagram::Stun | Datagram::Dtls | Datagram::Unknown => None,
        };
        for peer in peers {
            if let (Some(slot), Some(sealed)) = (forward.slot(peer), sealed) {
                let datagram = bytes.get(..sealed).unwrap_or_default();
                forward.ingest(now, slot, datagram, &mut Nowhere);
            }
        }
        forward.flush(now, &mut Nowhere);
        forward.handle_timeout(now, &mut Nowhere);
    }
}

fn enter(forward: &mut Forward<Vec<u8>>, peer: PeerId, keys: &KeyingMaterial) {
    let now = Timestamp::ZERO;
    forward.instruct(now, Instruction::AddPeer { peer, room: RoomId(1) }, &mut Nowhere);
    forward.set_keys(peer, keys);
    forward.set_destination(peer, Path::udp(address(1), address(2)));
    let formats = vec![
        ReceiveFormat { payload_type: 111, codec: Codec::Opus, rtx: None },
        ReceiveFormat { payload_type: 96, codec: Codec::Vp8, rtx: Some(97) },
        ReceiveFormat { payload_type: 102, codec: Codec::H264, rtx: Some(103) },
    ];
    let receive = Instruction::SetReceive { peer, formats, extensions: extensions() };
    forward.instruct(now, receive, &mut Nowhere);
}

fn specs([ada, ben]: [PeerId; 2]) -> impl Iterator<Item = Instruction> {
    let tracks = [(1, TrackKind::Audio, Codec::Opus), (2, TrackKind::Video, Codec::Vp8)];
    tracks.into_iter().flat_map(move |(id, kind, codec)| {
        let stream = |rid: &str, ssrc| StreamSpec {
            rid: (kind == TrackKind::Video).then(|| rid.into()),
            ssrc: (kind == TrackKind::Audio).then_some(ssrc),
            rtx_ssrc: None,
        };
        let streams = match kind {
            TrackKind::Audio => vec![stream("", 100)],
            TrackKind::Video => vec![stream("q", 200), stream("h", 201), stream("f", 202)],
        };
        let mid = id.to_string().into();
        let track = TrackId(id);
        let room = RoomId(1);
        [
            Instruction::AddTrack(TrackSpec { track, room, peer: ada, kind, mid, streams }),
            Instruction::Subscribe(SubscriptionSpec {
                subscription: SubscriptionId(id),
                track,
                peer: ben,
                codec,
                payload_type: 96,
                rtx_payload_type: Some(97),
                ssrc: 7000 + id,
                rtx_ssrc: 8000 + id,
                extensions: extensions(),
                limit: Some(Layer { spatial: 2, temporal: 3 }),
                is_screen: false,
            }),
        ]
    })
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
