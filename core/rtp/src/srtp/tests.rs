//! Known answers of the RFCs and of libsrtp, and what must be refused.

use aes::cipher::KeyInit;
use ring::aead;

use super::cipher::Cipher;
use super::*;
use crate::packet::FixedHeader;

const PROFILES: [Profile; 3] =
    [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];
const SSRC: u32 = 0x5501_a0b2;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|d| d.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A server's sender and a client's receiver of one session.
fn pair(profile: Profile) -> (SrtpSender, SrtpReceiver) {
    let exported: Vec<u8> =
        (0..profile.keying_material_len()).map(|i| u8::try_from(i * 3 % 251).unwrap()).collect();
    let material = KeyingMaterial::new(profile, &exported).unwrap();
    (SrtpSender::new(&material, DtlsRole::Server), SrtpReceiver::new(&material, DtlsRole::Client))
}

fn plain(sequence: u16) -> Vec<u8> {
    let header = FixedHeader {
        marker: false,
        has_padding: false,
        has_extension: false,
        payload_type: 111,
        sequence,
        timestamp: 960 * u32::from(sequence),
        ssrc: SSRC,
    };
    [&header.to_bytes()[..], b"every packet says something"].concat()
}

fn protect(sender: &SrtpSender, index: u64) -> Vec<u8> {
    let mut packet = plain(crate::sequence::low_bits(index));
    let payload_len = packet.len() - 12;
    packet.resize(packet.len() + 16, 0);
    let len = sender.protect_rtp(&mut packet, 12, payload_len, index).unwrap();
    packet.truncate(len);
    packet
}

fn protect_rtcp(sender: &mut SrtpSender, body: &[u8]) -> Vec<u8> {
    let mut packet = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], body].concat();
    let len = packet.len();
    packet.resize(len + 20, 0);
    let len = sender.protect_rtcp(&mut packet, len).unwrap();
    packet.truncate(len);
    packet
}

fn gcm(algorithm: &'static aead::Algorithm, key_len: u8) -> Cipher {
    let key: Vec<u8> = (0..key_len).collect();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, &key).unwrap());
    Cipher::Gcm { key, salt: *b"Quid pro quo" }
}

#[test]
fn gcm_rtp_is_that_of_rfc_7714_16() {
    let packet = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 \
                      69736120 696e2070 61727465 73207472 6573");
    let check = |cipher: &Cipher, expected: &str| {
        let mut buffer = [&packet[..], &[0; 16]].concat();
        let len = cipher.seal_rtp(&mut buffer, 12, packet.len(), SSRC, 0xf17b).unwrap();
        assert_eq!(buffer[..len], hex(expected));
        assert_eq!(cipher.open_rtp(&mut buffer, 12, SSRC, 0xf17b), Ok(38));
        assert_eq!(buffer[..50], packet);
    };
    check(
        &gcm(&aead::AES_128_GCM, 16),
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f \
         42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    check(
        &gcm(&aead::AES_256_GCM, 32),
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 \
         b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
}

#[test]
fn gcm_rtcp_is_that_of_rfc_7714_17() {
    let packet = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 \
                      deadbeef deadbeef deadbeef deadbeef deadbeef");
    let check = |cipher: &Cipher, expected: &str| {
        let mut buffer = [&packet[..], &[0; 20]].concat();
        let len = cipher.seal_rtcp(&mut buffer, packet.len(), 0x4d61_7273, 0x5d4).unwrap();
        assert_eq!(buffer[..len], hex(expected));
        assert_eq!(cipher.rtcp_index(&buffer), Ok(0x5d4));
        assert_eq!(cipher.open_rtcp(&mut buffer, 0x4d61_7273, 0x5d4), Ok(packet.len()));
        assert_eq!(buffer[..packet.len()], packet);
    };
    check(
        &gcm(&aead::AES_128_GCM, 16),
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 \
         730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
    check(
        &gcm(&aead::AES_256_GCM, 32),
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 \
         110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    );
}

#[test]
fn the_counter_mode_keystream_is_that_of_rfc_3711_b_2() {
    let cipher = Cipher::CounterMode {
        key: aes::Aes128::new_from_slice(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap(),
        authentication: authentication::Authentication::new(&[0; 20]),
        salt: hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap(),
    };
    // The RFC's last block is number 0xff01.
    let len = 12 + 16 * 0xff02;
    let mut buffer = vec![0; len + 10];
    cipher.seal_rtp(&mut buffer, 12, len, 0, 0).unwrap();
    let block = |number: usize| &buffer[12 + 16 * number..][..16];
    assert_eq!(block(0), hex("E03EAD0935C95E80E166B16DD92B4EB4"));
    assert_eq!(block(1), hex("D23513162B02D0F72A43A2FE4A5F97AB"));
    assert_eq!(block(2), hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
    assert_eq!(block(0xfeff), hex("EC8CDF7398607CB0F2D21675EA9EA1E4"));
    assert_eq!(block(0xff00), hex("362B7C3C6773516318A077D7FC5073AE"));
    assert_eq!(block(0xff01), hex("6A2CC3787889374FBEB4C81B17BA6C44"));
}

#[test]
fn every_packet_equals_libsrtps_byte_for_byte() {
    let sessions: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/libsrtp.json")).unwrap();
    let mut compared = 0;
    for session in sessions.as_array().unwrap() {
        let profile = PROFILES
            .into_iter()
            .find(|profile| format!("{profile:?}") == session["profile"].as_str().unwrap())
            .unwrap();
        let exported = hex(session["exported"].as_str().unwrap());
        let material = KeyingMaterial::new(profile, &exported).unwrap();
        let mut sender = SrtpSender::new(&material, DtlsRole::Server);
        let mut receiver = SrtpReceiver::new(&material, DtlsRole::Client);
        for packet in session["rtp"].as_array().unwrap() {
            let plain = hex(packet["plain"].as_str().unwrap());
            let mut protected = hex(packet["protected"].as_str().unwrap());
            let header_len = usize::try_from(packet["header_len"].as_u64().unwrap()).unwrap();
            let index = packet["index"].as_u64().unwrap();
            let payload_len = plain.len() - header_len;
            let mut ours = [&plain[..], &[0; 16]].concat();
            let len = sender.protect_rtp(&mut ours, header_len, payload_len, index).unwrap();
            assert_eq!(ours[..len], protected, "{profile:?} {index}");
            assert_eq!(len, plain.len() + profile.rtp_overhead());
            let opened = receiver.unprotect_rtp(&mut protected).unwrap();
            assert_eq!((opened.header.header_len, opened.index), (header_len, index));
            assert_eq!(protected[..opened.packet_len()], plain);
            compared += 1;
        }
        // libsrtp counts SRTCP packets from one.
        protect_rtcp(&mut sender, &[]);
        for packet in session["rtcp"].as_array().unwrap() {
            let plain = hex(packet["plain"].as_str().unwrap());
            let mut protected = hex(packet["protected"].as_str().unwrap());
            let mut ours = [&plain[..], &[0; 20]].concat();
            let len = sender.protect_rtcp(&mut ours, plain.len()).unwrap();
            assert_eq!(ours[..len], protected, "{profile:?}");
            assert_eq!(len, plain.len() + profile.rtcp_overhead());
            assert_eq!(receiver.unprotect_rtcp(&mut protected), Ok(plain.len()));
            assert_eq!(protected[..plain.len()], plain);
            compared += 1;
        }
    }
    assert_eq!(compared, 3 * (5 + 3));
}

#[test]
fn both_directions_have_their_own_keys() {
    for profile in PROFILES {
        let material =
            KeyingMaterial::new(profile, &vec![0x5a; profile.keying_material_len()]).unwrap();
        let mut exported = vec![0x5a; profile.keying_material_len()];
        exported[0] ^= 1;
        let other = KeyingMaterial::new(profile, &exported).unwrap();
        let client = SrtpSender::new(&material, DtlsRole::Client);
        let mut server = SrtpReceiver::new(&material, DtlsRole::Server);
        let mut wrong_side = SrtpReceiver::new(&other, DtlsRole::Client);
        let mut wrong_key = SrtpReceiver::new(&other, DtlsRole::Server);
        let packet = protect(&client, 5);
        assert!(server.unprotect_rtp(&mut packet.clone()).is_ok());
        assert_eq!(
            wrong_key.unprotect_rtp(&mut packet.clone()),
            Err(SrtpError::Unauthentic),
            "{profile:?}"
        );
        let server_sender = SrtpSender::new(&other, DtlsRole::Server);
        assert!(wrong_side.unprotect_rtp(&mut protect(&server_sender, 5)).is_ok());
    }
}

#[test]
fn a_replayed_packet_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = protect(&sender, 5);
        assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok());
        assert_eq!(receiver.unprotect_rtp(&mut packet.clone()), Err(SrtpError::Replayed));
        let report = protect_rtcp(&mut sender, &[]);
        assert!(receiver.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(receiver.unprotect_rtcp(&mut report.clone()), Err(SrtpError::Replayed));
        assert!(receiver.unprotect_rtcp(&mut protect_rtcp(&mut sender, &[])).is_ok());
    }
}

#[test]
fn one_flipped_bit_anywhere_is_refused_and_leaves_no_mark() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = protect(&sender, 5);
        for bit in 0..packet.len() * 8 {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtp(&mut flipped).is_err(), "{profile:?} bit {bit}");
        }
        let report = protect_rtcp(&mut sender, b"0123");
        for bit in 0..report.len() * 8 {
            let mut flipped = report.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unprotect_rtcp(&mut flipped).is_err(), "{profile:?} bit {bit}");
        }
        // The SSRC was among the bits.
        let streams = |of: &SrtpReceiver| [of.rtp_streams.len(), of.rtcp_streams.len()];
        assert_eq!(streams(&receiver), [0, 0], "{profile:?}");
        assert!(receiver.unprotect_rtp(&mut packet.clone()).is_ok());
        assert!(receiver.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(streams(&receiver), [1, 1], "{profile:?}");
    }
}

#[test]
fn a_truncated_packet_is_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packet = protect(&sender, 5);
        for len in 0..packet.len() {
            assert!(receiver.unprotect_rtp(&mut packet[..len].to_vec()).is_err());
        }
        let report = protect_rtcp(&mut sender, b"0123");
        for len in 0..report.len() {
            assert!(receiver.unprotect_rtcp(&mut report[..len].to_vec()).is_err());
        }
    }
}

#[test]
fn the_index_rolls_over_and_late_packets_keep_their_side_of_it() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        let order = [
            65_530u64, 65_533, 65_532, 65_537, 65_535, 65_536, 65_534, 65_540, 98_000, 130_000,
            131_072, 131_071, 131_073,
        ];
        for index in order {
            let mut packet = protect(&sender, index);
            let opened = receiver.unprotect_rtp(&mut packet).unwrap();
            assert_eq!(opened.index, index, "{profile:?}");
            assert_eq!(packet[..opened.packet_len()], plain(opened.header.sequence));
        }
        let late = receiver.unprotect_rtp(&mut protect(&sender, 129_000));
        assert_eq!(late, Err(SrtpError::TooOld), "{profile:?}");
    }
}

#[test]
fn a_packet_of_another_cycle_is_not_authentic() {
    for profile in PROFILES {
        let (sender, mut receiver) = pair(profile);
        let refused = receiver.unprotect_rtp(&mut protect(&sender, 0x1_0005));
        assert_eq!(refused, Err(SrtpError::Unauthentic), "{profile:?}");
    }
}

#[test]
fn srtcp_without_encryption_is_refused() {
    for (profile, trailer) in [(Profile::AeadAes128Gcm, 4), (Profile::AesCm128HmacSha1_80, 14)] {
        let (mut sender, mut receiver) = pair(profile);
        let mut report = protect_rtcp(&mut sender, b"0123");
        let at = report.len() - trailer;
        report[at] &= 0x7f;
        assert_eq!(receiver.unprotect_rtcp(&mut report), Err(SrtpError::Unencrypted));
    }
}

#[test]
fn a_callers_mistake_is_refused_before_anything_is_sealed() {
    for profile in PROFILES {
        let (mut sender, _) = pair(profile);
        let mut packet = plain(7);
        let payload_len = packet.len() - 12;
        packet.resize(packet.len() + profile.rtp_overhead(), 0);
        let before = packet.clone();
        let mut refused = |room: usize, header_len: usize, payload_len: usize, index: u64| {
            sender.protect_rtp(&mut packet[..room], header_len, payload_len, index).unwrap_err()
        };
        let room = before.len();
        assert_eq!(refused(room, 12, payload_len, 8), SrtpError::Index(8));
        assert_eq!(refused(room, 12, payload_len, (1 << 48) + 7), SrtpError::Index((1 << 48) + 7));
        assert_eq!(refused(room - 1, 12, payload_len, 7), SrtpError::NoRoom);
        assert_eq!(refused(11, 12, 0, 7), SrtpError::NoRoom);
        assert_eq!(refused(room, usize::MAX, 1, 7), SrtpError::NoRoom);
        assert_eq!(packet, before);
        assert_eq!(sender.protect_rtcp(&mut [0; 8], 8), Err(SrtpError::NoRoom));
        assert_eq!(sender.protect_rtcp(&mut [0; 40], 7), Err(SrtpError::Truncated(7)));
        assert_eq!(sender.protect_rtcp(&mut [0; 7], 7), Err(SrtpError::NoRoom));
    }
}

#[test]
fn no_state_prints_its_keys() {
    let (sender, receiver) = pair(Profile::AeadAes128Gcm);
    assert_eq!(format!("{sender:?}"), "SrtpSender { profile: AeadAes128Gcm, .. }");
    assert_eq!(format!("{receiver:?}"), "SrtpReceiver { profile: AeadAes128Gcm, .. }");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(
        mut bytes in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..120),
    ) {
        for profile in PROFILES {
            let (_, mut receiver) = pair(profile);
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | (*first & 0x3f);
            }
            proptest::prop_assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
            proptest::prop_assert!(receiver.unprotect_rtcp(&mut bytes).is_err());
        }
    }
}
