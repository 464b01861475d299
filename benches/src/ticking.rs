//! What the timer of a worker takes that is full of people of whom nobody is heard or seen: 250 with a microphone and a
//! camera, of whom each receives 128 of both, all silent, the pictures paused.
//!
//! Owns: the call. Guarantees: a figure is of one turn of the timer, over whole seconds, with all that comes seldom.

use std::net::SocketAddr;
use std::time::Duration;

use model::{
    Codec, ExtensionKind, Layer, Path, PeerId, RoomId, SubscriptionId, Timestamp, TrackId,
    TrackKind, WorkerId,
};
use rtp::extension::ExtensionMap;
use rtp::srtp::{KeyingMaterial, Profile};
use sfu::{Forward, Instruction, StreamSpec, SubscriptionSpec, TrackSpec};

use crate::figure::{Figure, Rounds, Spent};
use crate::forwarding::Nowhere;

const PEOPLE: u32 = 250;
/// Whom each receives: 64,000 subscriptions in all.
const RECEIVED: u32 = 128;
const ROOM: RoomId = RoomId(1);
const ROUNDS: u32 = 20;
/// A second, of which each is a round.
const TURNS: u32 = 50;
const TURN: Duration = Duration::from_millis(20);

const KINDS: [TrackKind; 2] = [TrackKind::Audio, TrackKind::Video];

const fn track(person: u32, kind: TrackKind) -> TrackId {
    TrackId(person * 2 + matches!(kind, TrackKind::Video) as u32)
}

const fn peer(person: u32) -> PeerId {
    PeerId { worker: WorkerId(0), index: person }
}

fn join(forward: &mut Forward<Vec<u8>>, now: Timestamp, person: u32) {
    let id = peer(person);
    forward.instruct(now, Instruction::AddPeer { peer: id, room: ROOM }, &mut Nowhere::default());
    let keys = KeyingMaterial::new(Profile::AeadAes128Gcm, &[7; 56]).expect("56 bytes");
    forward.set_keys(id, &keys);
    let address = SocketAddr::from(([127, 0, 0, 1], 1000));
    forward.set_destination(id, Path::udp(address, address));
    for kind in KINDS {
        let spec = TrackSpec {
            track: track(person, kind),
            room: ROOM,
            peer: id,
            kind,
            mid: "0".into(),
            streams: vec![StreamSpec { ssrc: Some(person), ..StreamSpec::default() }],
        };
        forward.instruct(now, Instruction::AddTrack(spec), &mut Nowhere::default());
    }
}

fn subscribe(forward: &mut Forward<Vec<u8>>, now: Timestamp, person: u32) {
    let mut extensions = ExtensionMap::new();
    extensions.insert(3, ExtensionKind::TransportSequence).expect("a valid id");
    for at in 0..RECEIVED {
        for kind in KINDS {
            let subscription = (person * RECEIVED + at) * 2 + u32::from(kind == TrackKind::Video);
            let is_video = kind == TrackKind::Video;
            let spec = SubscriptionSpec {
                subscription: SubscriptionId(subscription),
                track: track((person + 1 + at) % PEOPLE, kind),
                peer: peer(person),
                codec: if is_video { Codec::Vp8 } else { Codec::Opus },
                payload_type: 120,
                rtx_payload_type: is_video.then_some(121),
                ssrc: 1_000_000 + subscription,
                rtx_ssrc: 2_000_000 + subscription,
                extensions,
                limit: (!is_video).then_some(Layer::default()),
                is_screen: false,
            };
            forward.instruct(now, Instruction::Subscribe(spec), &mut Nowhere::default());
        }
    }
}

/// Per turn of the timer.
pub(crate) fn measure() -> Figure {
    let mut forward = Forward::new(WorkerId(0), |len| Some(vec![0; len]), 5);
    let mut now = Timestamp::from_millis(1);
    for person in 0..PEOPLE {
        join(&mut forward, now, person);
    }
    for person in 0..PEOPLE {
        subscribe(&mut forward, now, person);
    }
    let mut rounds = Rounds::default();
    for round in 0..=ROUNDS {
        let mut spent = Spent::default();
        for _ in 0..TURNS {
            now += TURN;
            spent.on(|| forward.handle_timeout(now, &mut Nowhere::default()));
            while forward.poll_report().is_some() {}
        }
        // In the first one all is new.
        if round > 0 {
            rounds.push(spent, TURNS as usize);
        }
    }
    rounds.figure()
}
