//! Sealing and opening together: LiveKit's own answers, every codec, and what must be refused.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use crate::{
    ChannelKey, Codec, DataHeader, Derivation, Frame, KeyIndex, KeyOptions, KeyRing, KeySize,
    OpenError, Opener, SealError, SealedData, Sealer,
};

/// What `livekit-client` 2.23.0's own worker made of chosen inputs, its counter fixed at 32,767.
const VECTORS: [&str; 3] = [
    include_str!("../vectors/vectors-128.json"),
    include_str!("../vectors/vectors-256.json"),
    include_str!("../vectors/vectors-hkdf.json"),
];
const FIRST_COUNT: u16 = 32767;
const SIZES: [KeySize; 2] = [KeySize::Aes128, KeySize::Aes256];
const CODECS: [Codec; 5] = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265];

fn index(value: u8) -> KeyIndex {
    KeyIndex::new(value).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(value.as_u64().unwrap()).ok().unwrap()
}

/// The ring of a vector's scenario (`pbkdf2-128`, `pbkdf2-256` or `hkdf-128`), its key in slot `at`, selected.
fn ring_of(scenario: &str, at: u8) -> KeyRing {
    let (derivation, size) = scenario.split_once('-').unwrap();
    let key = match derivation {
        "hkdf" => raw_key(),
        _ => ChannelKey::passphrase("correct horse battery staple"),
    };
    let size = if size == "256" { KeySize::Aes256 } else { KeySize::Aes128 };
    ring_with(KeyOptions::livekit(size), at, &key)
}

fn ring_with(options: KeyOptions, at: u8, key: &ChannelKey) -> KeyRing {
    let mut ring = KeyRing::new(options);
    ring.insert(index(at), key);
    ring.select(index(at));
    ring
}

fn raw_key() -> ChannelKey {
    ChannelKey::new(Derivation::Hkdf, &(0..32).collect::<Vec<u8>>())
}

/// A sealer and an opener with the same key.
fn pair(size: KeySize) -> (Sealer, Opener) {
    let ring = || ring_with(KeyOptions::livekit(size), 0, &raw_key());
    (Sealer::new(ring(), FIRST_COUNT), Opener::new(ring(), &[]))
}

fn open(opener: &mut Opener, codec: Codec, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = vec![7; 9];
    let opened = opener.open_frame(codec, sealed, Duration::ZERO, &mut out);
    assert!(opened.is_ok() || out.is_empty(), "nothing is left of what was refused");
    opened.map(|()| out)
}

fn seal(sealer: &mut Sealer, codec: Codec, timestamp: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![7; 9];
    let frame = Frame { codec, ssrc: 0xdead_beef, rtp_timestamp: timestamp, bytes };
    sealer.seal_frame(&frame, &mut out).unwrap();
    out
}

/// A frame of `codec` that holds `payload`.
fn frame_of(codec: Codec, is_key: bool, payload: &[u8]) -> Vec<u8> {
    let start: &[u8] = match (codec, is_key) {
        (Codec::Opus, _) => &[0xf8],
        (Codec::Vp8, true) => &[0x10, 2, 0, 0x9d, 1, 0x2a, 8, 0, 8, 0],
        (Codec::Vp8, false) => &[0x31, 2, 0],
        (Codec::Vp9, _) => &[],
        (Codec::H264, true) => {
            &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0, 0, 0, 1, 0x68, 0x87, 0, 0, 0, 1, 0x65, 0x88]
        }
        (Codec::H264, false) => &[0, 0, 0, 1, 0x41, 0x9a],
        (Codec::H265, true) => &[0, 0, 0, 1, 0x40, 1, 0, 0, 0, 1, 0x26, 1],
        (Codec::H265, false) => &[0, 0, 0, 1, 0x02, 1],
    };
    [start, payload].concat()
}

#[test]
fn livekits_frames_are_made_byte_for_byte_and_open() {
    let mut frames = 0;
    for text in VECTORS {
        let vectors: Value = serde_json::from_str(text).unwrap();
        let first = &vectors["frames"][0];
        let at = number(&first["keyIndex"]);
        let mut ring = ring_of(first["scenario"].as_str().unwrap(), at);
        for vector in vectors["frames"].as_array().unwrap() {
            let id = vector["id"].as_str().unwrap();
            // The worker refuses it; here it is no codec at all.
            if id == "av1-key" {
                continue;
            }
            let (codec, _) = id.split_once('-').unwrap_or((id, ""));
            let codec = match codec {
                "opus" | "empty" => Codec::Opus,
                "vp8" => Codec::Vp8,
                "vp9" => Codec::Vp9,
                "h264" => Codec::H264,
                "h265" => Codec::H265,
                other => panic!("{other}"),
            };
            let plain = hex(&vector["plain"]);
            let encrypted = hex(&vector["encrypted"]);
            let mut out = Vec::new();
            let frame = Frame {
                codec,
                ssrc: vector.get("ssrc").map_or(1, number),
                rtp_timestamp: vector.get("ts").map_or(1, number),
                bytes: &plain,
            };
            let mut sealer = Sealer::new(ring, FIRST_COUNT);
            let sealed = sealer.seal_frame(&frame, &mut out);
            assert_eq!((sealed, &out), (Ok(()), &encrypted), "{id}");
            let mut opener = Opener::new(sealer.keys, &[]);
            let opened = open(&mut opener, codec, &encrypted).unwrap();
            ring = opener.keys;
            let expect = if id.contains("3byte") {
                // What a depacketizer would have made of the plain frame.
                let mut expect = Vec::new();
                codec.write_clear(&plain, &mut expect);
                expect
            } else {
                plain
            };
            assert_eq!(opened, expect, "{id}");
            frames += 1;
        }
    }
    assert_eq!(frames, 30);
}

#[test]
fn livekits_keys_and_ratchet_steps_are_derived() {
    let vectors: Value = serde_json::from_str(VECTORS[0]).unwrap();
    for vector in vectors["kdf"].as_array().unwrap() {
        let scenario = format!("{}-128", vector["kdf"].as_str().unwrap().to_lowercase());
        let key = hex(&vector["key"]);
        assert_eq!(ring_of(&scenario, 0).chain(index(0))[..key.len()], key);
    }
    for vector in vectors["ratchet"].as_array().unwrap() {
        let scenario = format!("{}-128", vector["kdf"].as_str().unwrap().to_lowercase());
        let mut ring = ring_of(&scenario, 5);
        for step in vector["chain"].as_array().unwrap() {
            // What the step is ratcheted from is what the key before it begins: no forward secrecy.
            assert_eq!(ring.chain(index(5))[..], hex(&step["chainKey"]));
            assert!(ring.ratchet(index(5)));
            assert_eq!(ring.chain(index(5))[..16], hex(&step["aes128"]));
        }
    }
}

#[test]
fn livekits_data_packets_open() {
    for text in VECTORS {
        let vectors: Value = serde_json::from_str(text).unwrap();
        for vector in vectors["data"].as_array().unwrap() {
            let at = number(&vector["keyIndex"]);
            let ring = ring_of(vector["scenario"].as_str().unwrap(), at);
            let mut out = Vec::new();
            let (iv, value) = (hex(&vector["iv"]), hex(&vector["encrypted"]));
            let sealed = SealedData { key_index: at.into(), iv: &iv, value: &value };
            assert_eq!(Opener::new(ring, &[]).open_data(&sealed, &mut out), Ok(()));
            assert_eq!(out, hex(&vector["plain"]));
        }
    }
}

proptest! {
    #[test]
    fn every_frame_comes_back(
        is_key: bool,
        payload in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..300),
        timestamp: u32,
    ) {
        for size in SIZES {
            for codec in CODECS {
                let (mut sealer, mut opener) = pair(size);
                let frame = frame_of(codec, is_key, &payload);
                let sealed = seal(&mut sealer, codec, timestamp, &frame);
                prop_assert!(frame.is_empty() || sealed.len() >= frame.len() + 30);
                prop_assert_eq!(open(&mut opener, codec, &sealed), Ok(frame));
            }
        }
    }

    #[test]
    fn no_start_code_is_made_in_what_is_encrypted(
        payload in prop::collection::vec(any::<u8>(), 1..200),
        ssrc in 0u32..4,
        timestamp in 0u32..4,
    ) {
        for codec in [Codec::H264, Codec::H265] {
            let (mut sealer, mut opener) = pair(KeySize::Aes128);
            let frame = frame_of(codec, false, &payload);
            let mut sealed = Vec::new();
            let given = Frame { codec, ssrc, rtp_timestamp: timestamp, bytes: &frame };
            sealer.seal_frame(&given, &mut sealed).unwrap();
            prop_assert!(sealed[6..].windows(3).all(|three| three[..2] != [0, 0] || three[2] > 2));
            prop_assert_eq!(open(&mut opener, codec, &sealed), Ok(frame));
        }
    }

    #[test]
    fn a_changed_byte_is_refused(at: prop::sample::Index, flip in 1u8..) {
        for codec in CODECS {
            let (mut sealer, mut opener) = pair(KeySize::Aes128);
            let mut sealed = seal(&mut sealer, codec, 9, &frame_of(codec, true, &[5; 40]));
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(open(&mut opener, codec, &sealed).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        for codec in CODECS {
            let (_, mut opener) = pair(KeySize::Aes128);
            prop_assert!(open(&mut opener, codec, &bytes).is_err());
        }
    }
}

#[test]
fn a_cut_frame_is_refused_wherever_it_is_cut() {
    for codec in CODECS {
        let (mut sealer, mut opener) = pair(KeySize::Aes256);
        let sealed = seal(&mut sealer, codec, 9, &frame_of(codec, true, &[5; 40]));
        for len in 1..sealed.len() {
            assert!(open(&mut opener, codec, &sealed[..len]).is_err(), "{codec:?} {len}");
        }
        assert!(open(&mut opener, codec, &sealed).is_ok());
    }
}

#[test]
fn each_refusal_says_why() {
    let (mut sealer, mut opener) = pair(KeySize::Aes128);
    let frame = frame_of(Codec::Vp8, false, &[1; 50]);
    let mut check = |what: &str, bytes: &[u8], expect| {
        assert_eq!(open(&mut opener, Codec::Vp8, bytes), Err(expect), "{what}");
    };
    check("plaintext", &frame, OpenError::NotSealed);
    check("shorter than the clear part", &frame[..2], OpenError::Malformed);
    let sealed = seal(&mut sealer, Codec::Vp8, 1, &frame);
    let len = sealed.len();
    for iv_len in [0, 11, 13, 255] {
        let mut absurd = sealed.clone();
        absurd[len - 2] = iv_len;
        check("an IV of another length", &absurd, OpenError::NotSealed);
    }
    for key_index in [1, 15, 16, 255] {
        let mut unknown = sealed.clone();
        unknown[len - 1] = key_index;
        check("a key that nobody set", &unknown, OpenError::UnknownKey(key_index));
    }
    let mut changed = sealed.clone();
    changed[10] ^= 1;
    check("a flipped bit", &changed, OpenError::Unauthentic);
    let mut header = sealed.clone();
    header[2] ^= 1;
    check("a flipped bit of the clear part", &header, OpenError::Unauthentic);
    check("too short for tag and trailer", &sealed[len - 32..], OpenError::NotSealed);
    assert_eq!(open(&mut opener, Codec::Vp8, &sealed), Ok(frame));
    assert_eq!(open(&mut opener, Codec::Vp8, &sealed), Err(OpenError::Replayed));
}

#[test]
fn another_key_or_size_or_salt_opens_nothing() {
    let (mut sealer, _) = pair(KeySize::Aes128);
    let sealed = seal(&mut sealer, Codec::Opus, 1, &[0xf8, 1, 2, 3]);
    let other_salt = KeyOptions { salt: vec![9], ..KeyOptions::livekit(KeySize::Aes128) };
    for ring in [
        ring_with(
            KeyOptions::livekit(KeySize::Aes128),
            0,
            &ChannelKey::new(Derivation::Hkdf, &[8; 32]),
        ),
        ring_with(KeyOptions::livekit(KeySize::Aes256), 0, &raw_key()),
        ring_with(other_salt, 0, &raw_key()),
    ] {
        let mut opener = Opener::new(ring, &[]);
        assert_eq!(open(&mut opener, Codec::Opus, &sealed), Err(OpenError::Unauthentic));
    }
}

#[test]
fn silence_stays_empty() {
    let (mut sealer, mut opener) = pair(KeySize::Aes128);
    assert!(seal(&mut sealer, Codec::Opus, 1, &[]).is_empty());
    assert_eq!(open(&mut opener, Codec::Opus, &[]), Ok(Vec::new()));
}

#[test]
fn what_the_server_injects_does_not_pass() {
    let ring = || ring_with(KeyOptions::livekit(KeySize::Aes128), 0, &raw_key());
    let (mut sealer, _) = pair(KeySize::Aes128);
    let mut opener = Opener::new(ring(), b"a room's secret");
    // LiveKit's silence with its trailer: its own SDKs would play it.
    let injected = [&[0xf8, 0xff, 0xfe, 0, 0, 0][..], b"a room's secret"].concat();
    assert_eq!(open(&mut opener, Codec::Opus, &injected), Err(OpenError::ServerInjected));
    let sealed = seal(&mut sealer, Codec::Opus, 1, &[0xf8, 1]);
    assert_eq!(open(&mut opener, Codec::Opus, &sealed), Ok(vec![0xf8, 1]));
}

#[test]
fn keys_rotate_without_losing_a_frame() {
    let (mut sealer, mut opener) = pair(KeySize::Aes128);
    let fresh = ChannelKey::new(Derivation::Hkdf, &[3; 32]);
    let old = seal(&mut sealer, Codec::Opus, 1, &[0xf8, 1]);
    opener.keys.insert(index(1), &fresh);
    sealer.keys.insert(index(1), &fresh);
    sealer.keys.select(index(1));
    let new = seal(&mut sealer, Codec::Opus, 2, &[0xf8, 2]);
    assert_eq!(new.last(), Some(&1));
    assert_eq!(open(&mut opener, Codec::Opus, &new), Ok(vec![0xf8, 2]));
    assert_eq!(open(&mut opener, Codec::Opus, &old), Ok(vec![0xf8, 1]));
    opener.keys.forget(index(1));
    let late = seal(&mut sealer, Codec::Opus, 3, &[0xf8, 3]);
    assert_eq!(open(&mut opener, Codec::Opus, &late), Err(OpenError::UnknownKey(1)));
}

#[test]
fn a_receiver_follows_a_ratchet_as_far_as_its_window() {
    for (steps, window, follows) in [(1, 0, false), (1, 1, true), (3, 3, true), (4, 3, false)] {
        let options = KeyOptions { ratchet_window: window, ..KeyOptions::livekit(KeySize::Aes128) };
        let (mut sealer, _) = pair(KeySize::Aes128);
        let mut opener = Opener::new(ring_with(options, 0, &raw_key()), &[]);
        let before = seal(&mut sealer, Codec::H264, 1, &frame_of(Codec::H264, true, &[0; 9]));
        assert!(open(&mut opener, Codec::H264, &before).is_ok());
        for _ in 0..steps {
            assert!(sealer.keys.ratchet(index(0)));
        }
        for timestamp in [2, 3] {
            let frame = frame_of(Codec::H264, false, &[0; 9]);
            let sealed = seal(&mut sealer, Codec::H264, timestamp, &frame);
            let expect = if follows { Ok(frame) } else { Err(OpenError::Unauthentic) };
            assert_eq!(open(&mut opener, Codec::H264, &sealed), expect, "{steps} in {window}");
        }
    }
}

#[test]
fn garbage_moves_no_key() {
    let options = KeyOptions { ratchet_window: 16, ..KeyOptions::livekit(KeySize::Aes128) };
    let (mut sealer, _) = pair(KeySize::Aes128);
    let mut opener = Opener::new(ring_with(options, 0, &raw_key()), &[]);
    let chain = opener.keys.chain(index(0));
    let mut garbage = seal(&mut sealer, Codec::Opus, 1, &[0xf8, 1]);
    garbage[1] ^= 1;
    for _ in 0..100 {
        assert_eq!(open(&mut opener, Codec::Opus, &garbage), Err(OpenError::Unauthentic));
    }
    assert_eq!(opener.keys.chain(index(0)), chain);
    let good = seal(&mut sealer, Codec::Opus, 2, &[0xf8, 2]);
    assert!(open(&mut opener, Codec::Opus, &good).is_ok());
}

#[test]
fn data_packets_come_back_once() {
    for size in SIZES {
        let (mut sealer, mut opener) = pair(size);
        let (mut sealed, mut out) = (Vec::new(), Vec::new());
        for (now_ms, payload) in [(5, &b"hello"[..]), (5, b""), (6, &[0; 1000])] {
            let header = sealer.seal_data(payload, now_ms, 0x0102_0304, &mut sealed).unwrap();
            let DataHeader { key_index, iv } = header;
            let data = SealedData { key_index: key_index.value().into(), iv: &iv, value: &sealed };
            assert_eq!(opener.open_data(&data, &mut out), Ok(()));
            assert_eq!(out, payload);
            assert_eq!(opener.open_data(&data, &mut out), Err(OpenError::Replayed));
            assert!(out.is_empty());
        }
    }
}

#[test]
fn hostile_data_packets_are_refused() {
    let (mut sealer, mut opener) = pair(KeySize::Aes128);
    let mut sealed = Vec::new();
    let header = sealer.seal_data(b"hello", 5, 1, &mut sealed).unwrap();
    let mut check = |key_index, iv: &[u8], value: &[u8], expect| {
        let data = SealedData { key_index, iv, value };
        let mut out = vec![1];
        assert_eq!(opener.open_data(&data, &mut out), expect);
        assert!(out.is_empty() || expect.is_ok());
    };
    check(0, &header.iv[..11], &sealed, Err(OpenError::NotSealed));
    check(0, &[], b"plain", Err(OpenError::NotSealed));
    check(0, &header.iv, &sealed[..15], Err(OpenError::NotSealed));
    check(0, &header.iv, &sealed[1..], Err(OpenError::Unauthentic));
    check(0, &[9; 12], &sealed, Err(OpenError::Unauthentic));
    check(3, &header.iv, &sealed, Err(OpenError::UnknownKey(3)));
    check(256, &header.iv, &sealed, Err(OpenError::UnknownKey(255)));
    check(0, &header.iv, &sealed, Ok(()));
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let mut out = vec![1];
    let frame = |codec, rtp_timestamp, bytes| Frame { codec, ssrc: 1, rtp_timestamp, bytes };
    let empty = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
    let mut sealer = Sealer::new(empty, 0);
    let refused = sealer.seal_frame(&frame(Codec::Opus, 1, &[0xf8]), &mut out);
    assert_eq!(refused, Err(SealError::NoKey(index(0))));
    assert!(out.is_empty());
    let (mut sealer, _) = pair(KeySize::Aes128);
    for (codec, bytes) in [(Codec::Vp8, &[0x10, 2][..]), (Codec::H264, &[0, 0, 0, 1, 0x67, 1])] {
        let refused = sealer.seal_frame(&frame(codec, 1, bytes), &mut out);
        assert_eq!(refused, Err(SealError::Malformed));
    }
    assert!(sealer.seal_frame(&frame(Codec::Opus, 2, &[0xf8]), &mut out).is_ok());
    let refused = sealer.seal_frame(&frame(Codec::Opus, 1, &[0xf8]), &mut out);
    assert_eq!(refused, Err(SealError::TimestampWentBack));
    assert!(out.is_empty());
}

/// `PRINTS` is this one for a type that has no `Debug`, the inherent one below for a type that has.
trait Silent {
    const PRINTS: bool = false;
}
struct Probe<T>(PhantomData<T>);
impl<T> Silent for Probe<T> {}
impl<T: Debug> Probe<T> {
    const PRINTS: bool = true;
}

#[test]
fn secrets_do_not_print() {
    assert_eq!([Probe::<KeyOptions>::PRINTS, Probe::<ChannelKey>::PRINTS], [true, false]);
    let states = [Probe::<KeyRing>::PRINTS, Probe::<Sealer>::PRINTS, Probe::<Opener>::PRINTS];
    assert_eq!(states, [false; 3]);
}

#[test]
fn what_was_opened_as_a_frame_is_no_data_packet_and_the_other_way() {
    // Of VP9 nothing stays readable, so that neither has anything else authenticated.
    let (mut sealer, mut opener) = pair(KeySize::Aes128);
    let frame = seal(&mut sealer, Codec::Vp9, 3000, &[1; 40]);
    let (value, trailer) = frame.split_at(frame.len() - 14);
    let as_data = SealedData { key_index: 0, iv: &trailer[..12], value };
    let mut packet = Vec::new();
    let DataHeader { iv, .. } = sealer.seal_data(&[2; 40], 77, 0xabcd, &mut packet).unwrap();
    let data = SealedData { key_index: 0, iv: &iv, value: &packet };
    let as_frame = [&packet[..], &iv, &[12, 0]].concat();
    let mut out = Vec::new();

    let (_, mut unknowing) = pair(KeySize::Aes128);
    assert_eq!(unknowing.open_data(&as_data, &mut out), Ok(()), "the format does not tell");
    assert_eq!(open(&mut unknowing, Codec::Vp9, &as_frame), Ok(vec![2; 40]), "nor here");

    assert_eq!(open(&mut opener, Codec::Vp9, &frame), Ok(vec![1; 40]));
    assert_eq!(opener.open_data(&data, &mut out), Ok(()));
    assert_eq!(opener.open_data(&as_data, &mut out), Err(OpenError::Replayed));
    assert_eq!(open(&mut opener, Codec::Vp9, &as_frame), Err(OpenError::Replayed));
    let next = seal(&mut sealer, Codec::Vp9, 6000, &[3; 40]);
    let (value, trailer) = next.split_at(next.len() - 14);
    let as_data = SealedData { key_index: 0, iv: &trailer[..12], value };
    assert_eq!(opener.open_data(&as_data, &mut out), Err(OpenError::Replayed), "of that SSRC");
    assert_eq!(open(&mut opener, Codec::Vp9, &next), Ok(vec![3; 40]));
}
