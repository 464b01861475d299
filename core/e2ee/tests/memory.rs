//! Searches this process's memory for keys that were in use and are gone.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "a test looks at the process from outside")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use e2ee::{
    ChannelKey, Codec, Derivation, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Opener, Sealer,
};
use zeroize::{Zeroize as _, Zeroizing};

/// What HKDF makes of the channel key `00 01 … 1f` (`vectors/vectors-hkdf.json`): the AES key, and what the
/// next ratchet step needs beside it. Each byte is inverted, so that this program holds neither.
const AES_KEY: [u8; 16] = [
    0x92, 0xf2, 0x28, 0x4c, 0x29, 0x0b, 0x10, 0x21, 0xb8, 0x54, 0x65, 0x61, 0xea, 0x54, 0x21, 0x89,
];
const RATCHET: [u8; 16] = [
    0xca, 0x3b, 0xa5, 0xec, 0x42, 0x20, 0xa2, 0x5e, 0xa1, 0x12, 0xfe, 0x0b, 0xfe, 0x87, 0x2c, 0xd7,
];

/// Inverted as well.
const CHANNEL_KEY: [u8; 16] = *b"0123456789abcdef";

/// How often the inverse of `inverted` lies in writable memory.
fn copies(inverted: &[u8; 16], buffer: &mut [u8]) -> usize {
    let own = buffer.as_ptr_range();
    let own = own.start as usize..own.end as usize;
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        let (mut at, end) = (number(start), number(end));
        while rest.starts_with("rw") && at < end {
            let len = (end - at).min(buffer.len());
            memory.seek(SeekFrom::Start(u64::try_from(at).unwrap())).unwrap();
            if memory.read_exact(&mut buffer[..len]).is_err() {
                break;
            }
            let is_it = |window: &[u8]| window.iter().zip(inverted).all(|(a, b)| *a == !b);
            let places = buffer[..len].windows(16).enumerate().filter(|(_, window)| is_it(window));
            found += places.filter(|(offset, _)| !own.contains(&(at + offset))).count();
            // Overlapping, so that no copy falls between two reads.
            at += if len == buffer.len() { len - 15 } else { len };
        }
    }
    found
}

/// A sealer and an opener that have sealed and opened.
fn in_use() -> (Sealer, Opener) {
    let ring = || {
        let mut key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let channel_key = ChannelKey::new(Derivation::Hkdf, &key);
        key.zeroize();
        let mut ring = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
        ring.insert(KeyIndex::default(), &channel_key);
        ring
    };
    let (mut sealer, mut opener) = (Sealer::new(ring(), 0), Opener::new(ring(), &[]));
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    let frame = Frame { codec: Codec::Opus, ssrc: 1, rtp_timestamp: 1, bytes: &[0xf8, 1, 2, 3] };
    sealer.seal_frame(&frame, &mut sealed).unwrap();
    opener.open_frame(Codec::Opus, &sealed, Duration::ZERO, &mut opened).unwrap();
    assert_eq!(opened, frame.bytes);
    (sealer, opener)
}

#[test]
fn dropped_keys_are_in_memory_no_more() {
    let mut buffer = vec![0; 1 << 20];
    let both = in_use();
    for key in [&AES_KEY, &RATCHET] {
        assert!(copies(key, &mut buffer) >= 2, "the search finds keys that are in use");
    }
    drop(both);
    for key in [&AES_KEY, &RATCHET] {
        assert_eq!(copies(key, &mut buffer), 0);
    }
    // Long, so that its memory is not taken by something else at once.
    let bytes = Zeroizing::new(CHANNEL_KEY.repeat(64).iter().map(|byte| !byte).collect::<Vec<_>>());
    let channel_key = ChannelKey::new(Derivation::Hkdf, &bytes);
    drop(bytes);
    assert!(copies(&CHANNEL_KEY, &mut buffer) >= 60, "the search finds a key that is held");
    drop(channel_key);
    assert_eq!(copies(&CHANNEL_KEY, &mut buffer), 0);
}
