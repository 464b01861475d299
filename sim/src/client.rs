//! The far end of a peer: publishes, receives, asks for what is missing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{Codec, ExtensionKind, PeerId, RoomId, SubscriptionId, Timestamp, TrackId, TrackKind};
use rtp::extension::{ExtensionForm, ExtensionMap, write_block};
use rtp::nack::NackGenerator;
use rtp::packet::FixedHeader;
use rtp::rtcp::{CompoundWriter, RtcpPacket, packets};
use rtp::srtp::{DtlsRole, KeyingMaterial, Profile, SrtpReceiver, SrtpSender};
use sfu::control::Placement;
use sfu::{ReceiveFormat, StreamSpec};

use crate::media::{Name, Place, payload};
use crate::random::{Random, mixed};

pub(crate) const OPUS: u8 = 111;
pub(crate) const VP8: u8 = 96;
pub(crate) const RTX: u8 = 97;
const MID_ID: u8 = 1;
const TWCC_ID: u8 = 3;
/// Packets that a publisher can send again.
const KEPT: usize = 300;
/// Assumed by receivers.
const RTT: Duration = Duration::from_millis(60);

pub(crate) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    map.insert(MID_ID, ExtensionKind::Mid).expect("a valid id");
    map.insert(TWCC_ID, ExtensionKind::TransportSequence).expect("a valid id");
    map
}

pub(crate) fn formats() -> Vec<ReceiveFormat> {
    vec![
        ReceiveFormat { payload_type: OPUS, codec: Codec::Opus, rtx: None },
        ReceiveFormat { payload_type: VP8, codec: Codec::Vp8, rtx: Some(RTX) },
    ]
}

/// What DTLS would have agreed on.
pub(crate) fn keys(seed: u64, peer: PeerId) -> KeyingMaterial {
    let mut random = Random::new(mixed(seed ^ u64::from(peer.index) << 32));
    let bytes: Vec<u8> = (0..7).flat_map(|_| random.next().to_be_bytes()).collect();
    KeyingMaterial::new(Profile::AeadAes128Gcm, &bytes).expect("56 bytes")
}

/// The SSRC under which a receiver gets a track: the same each time that it subscribes.
pub(crate) fn placement(kind: TrackKind, track: TrackId) -> Placement {
    let is_sound = kind == TrackKind::Audio;
    Placement {
        codec: if is_sound { Codec::Opus } else { Codec::Vp8 },
        payload_type: if is_sound { OPUS } else { VP8 },
        rtx_payload_type: (!is_sound).then_some(RTX),
        ssrc: 100_000 + track.0 * 2,
        rtx_ssrc: 100_001 + track.0 * 2,
        extensions: extensions(),
    }
}

/// One rtp stream that a client sends.
struct Layer {
    ssrc: u32,
    index: u64,
    wants_key: bool,
    sent: VecDeque<(u16, Vec<u8>)>,
}

/// A track that a client publishes.
pub(crate) struct Published {
    pub(crate) kind: TrackKind,
    pub(crate) muted: bool,
    pub(crate) is_live: bool,
    pub(crate) mid: Box<str>,
    layers: Vec<Layer>,
    frame: u16,
}

impl Published {
    pub(crate) fn new(kind: TrackKind, track: TrackId, random: &mut Random) -> Self {
        let count = if kind == TrackKind::Video { 3 } else { 1 };
        let layers = (0..count)
            .map(|layer| Layer {
                ssrc: 1000 + track.0 * 4 + layer,
                // Some streams wrap around within the run.
                index: random.within(60_000..65_530),
                wants_key: true,
                sent: VecDeque::new(),
            })
            .collect();
        let mid = format!("{}", track.0).into();
        Self { kind, muted: false, is_live: false, mid, layers, frame: 1 }
    }

    pub(crate) fn streams(&self) -> Vec<StreamSpec> {
        let stream = |layer: &Layer| StreamSpec { ssrc: Some(layer.ssrc), ..StreamSpec::default() };
        self.layers.iter().map(stream).collect()
    }
}

pub(crate) struct Client {
    pub(crate) peer: PeerId,
    pub(crate) room: RoomId,
    pub(crate) tracks: BTreeMap<TrackId, Published>,
    /// Subscriptions that wait for the answer that gives them a section.
    pub(crate) wanted: Vec<(Timestamp, SubscriptionId)>,
    sender: SrtpSender,
    receiver: SrtpReceiver,
    missing: BTreeMap<u32, NackGenerator>,
    transport: u16,
}

impl Client {
    pub(crate) fn new(seed: u64, peer: PeerId, room: RoomId) -> Self {
        let keys = keys(seed, peer);
        Self {
            peer,
            room,
            tracks: BTreeMap::new(),
            wanted: Vec::new(),
            sender: SrtpSender::new(&keys, DtlsRole::Client),
            receiver: SrtpReceiver::new(&keys, DtlsRole::Client),
            missing: BTreeMap::new(),
            transport: 0,
        }
    }

    /// The next frame of every live track of `kind`, sealed.
    pub(crate) fn publish(&mut self, kind: TrackKind, random: &mut Random) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let Self { tracks, sender, transport, .. } = self;
        for (&track, published) in tracks.iter_mut() {
            // What was under way when somebody muted arrives muted.
            if published.kind != kind
                || !published.is_live
                || (published.muted && !random.happens(10))
            {
                continue;
            }
            let frame = published.frame;
            published.frame = (frame + 1) & 0x7fff;
            for (number, layer) in (0..).zip(&mut published.layers) {
                let packets = if kind == TrackKind::Video { random.within(1..4) } else { 1 };
                let is_key = std::mem::take(&mut layer.wants_key) || random.happens(2);
                for at in 0..packets {
                    let name = Name { track, layer: number, index: layer.index };
                    let place = Place { frame, is_first: at == 0, is_key };
                    let fixed = FixedHeader {
                        marker: at + 1 == packets,
                        has_padding: false,
                        has_extension: true,
                        payload_type: if kind == TrackKind::Video { VP8 } else { OPUS },
                        sequence: (layer.index & 0xffff) as u16,
                        timestamp: u32::from(frame) * 3000,
                        ssrc: layer.ssrc,
                    };
                    *transport = transport.wrapping_add(1);
                    let body = payload(kind, name, place);
                    let bytes =
                        seal(sender, &fixed, &published.mid, *transport, &body, layer.index);
                    layer.index += 1;
                    if layer.sent.len() >= KEPT {
                        layer.sent.pop_front();
                    }
                    layer.sent.push_back((fixed.sequence, bytes.clone()));
                    datagrams.push(bytes);
                }
            }
        }
        datagrams
    }

    /// Takes a datagram; gives what is sent in answer.
    pub(crate) fn receive(&mut self, now: Timestamp, bytes: &mut [u8]) -> Vec<Vec<u8>> {
        if (192..=223).contains(&bytes[1]) {
            let Ok(len) = self.receiver.unprotect_rtcp(bytes) else {
                return Vec::new();
            };
            return self.heed(&bytes[..len]);
        }
        if let Ok(opened) = self.receiver.unprotect_rtp(bytes) {
            let header = &opened.header;
            if header.payload_type != RTX {
                let missing = self.missing.entry(header.ssrc).or_default();
                missing.received(header.sequence, now);
            }
        }
        Vec::new()
    }

    /// What the node asks of this publisher: packets again, key frames.
    fn heed(&mut self, compound: &[u8]) -> Vec<Vec<u8>> {
        let mut again = Vec::new();
        let mut layers: Vec<&mut Layer> =
            self.tracks.values_mut().flat_map(|published| &mut published.layers).collect();
        for packet in packets(compound) {
            match packet {
                Ok(RtcpPacket::PictureLoss { media_ssrc, .. }) => {
                    for layer in layers.iter_mut().filter(|layer| layer.ssrc == media_ssrc) {
                        layer.wants_key = true;
                    }
                }
                Ok(RtcpPacket::Nack(nacks)) => {
                    let Some(layer) = layers.iter().find(|layer| layer.ssrc == nacks.media_ssrc)
                    else {
                        continue;
                    };
                    for sequence in nacks.sequence_numbers() {
                        let kept = layer.sent.iter().find(|(kept, _)| *kept == sequence);
                        again.extend(kept.map(|(_, bytes)| bytes.clone()));
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
        again
    }

    /// Asks for what is missing.
    pub(crate) fn complain(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        for (&ssrc, missing) in &mut self.missing {
            let mut nacks = Vec::new();
            missing.poll(now, RTT, |nack| nacks.push(nack));
            if nacks.is_empty() {
                continue;
            }
            let mut bytes = vec![0; 1200];
            let mut writer = CompoundWriter::new(&mut bytes[..1100]);
            writer.nack(1, ssrc, &nacks).expect("room for it");
            let len = writer.len();
            let len = self.sender.protect_rtcp(&mut bytes, len).expect("room for it");
            bytes.truncate(len);
            datagrams.push(bytes);
        }
        datagrams
    }
}

fn seal(
    sender: &SrtpSender,
    fixed: &FixedHeader,
    mid: &str,
    transport: u16,
    body: &[u8],
    index: u64,
) -> Vec<u8> {
    let mut bytes = vec![0; 1500];
    bytes[..12].copy_from_slice(&fixed.to_bytes());
    let transport = transport.to_be_bytes();
    let elements = [(MID_ID, mid.as_bytes()), (TWCC_ID, &transport[..])];
    let block = write_block(ExtensionForm::OneByte, &elements, &mut bytes[12..]);
    let header = 12 + block.expect("room for it");
    bytes[header..header + body.len()].copy_from_slice(body);
    let len = sender.protect_rtp(&mut bytes, header, body.len(), index).expect("room for it");
    bytes.truncate(len);
    bytes
}
