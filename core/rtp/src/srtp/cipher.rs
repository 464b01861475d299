//! One direction's session keys, for RTP or for RTCP, scheduled once and used in place.
//!
//! Guarantees: no allocation; the AES key and the HMAC key are expanded at construction only.
//! Source: RFC 3711 §3.1, §3.4, §4.1.1, §4.2 (AES-CM, HMAC-SHA1); RFC 7714 §8 and §9 (GCM).

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use ring::aead;
use zeroize::Zeroize;

use super::authentication::{Authentication, TAG_LEN as SHA1_TAG_LEN};
use super::key::{Label, MasterKey};
use super::{Profile, SrtpError};

/// The bit in front of the SRTCP index that says "encrypted".
const ENCRYPTED: u32 = 1 << 31;
/// RTCP's first header, the part of a compound that stays readable.
const RTCP_CLEAR_LEN: usize = 8;
const GCM_TAG_LEN: usize = 16;

/// What a set of session keys protects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// Session keys with their schedules.
pub(super) enum Cipher {
    Gcm { key: aead::LessSafeKey, salt: [u8; 12] },
    CounterMode { key: Aes128, authentication: Authentication, salt: [u8; 14] },
}

impl Cipher {
    pub(super) fn new(
        profile: Profile,
        master: MasterKey<'_>,
        kind: Kind,
    ) -> Result<Self, SrtpError> {
        let [key_label, authentication_label, salt_label] = match kind {
            Kind::Rtp => [Label::RtpKey, Label::RtpAuthentication, Label::RtpSalt],
            Kind::Rtcp => [Label::RtcpKey, Label::RtcpAuthentication, Label::RtcpSalt],
        };
        let mut key = [0; 32];
        let key = key.get_mut(..profile.key_len()).unwrap_or_default();
        master.derive(key_label, key);
        let cipher = match profile {
            Profile::AeadAes128Gcm => Self::gcm(&aead::AES_128_GCM, key, master, salt_label),
            Profile::AeadAes256Gcm => Self::gcm(&aead::AES_256_GCM, key, master, salt_label),
            Profile::AesCm128HmacSha1_80 => {
                Self::counter_mode(key, master, authentication_label, salt_label)
            }
        };
        key.zeroize();
        cipher.ok_or(SrtpError::KeyingMaterial {
            len: 2 * (master.key.len() + master.salt.len()),
            expected: profile.keying_material_len(),
        })
    }

    fn gcm(
        algorithm: &'static aead::Algorithm,
        key: &[u8],
        master: MasterKey<'_>,
        salt_label: Label,
    ) -> Option<Self> {
        let mut salt = [0; 12];
        master.derive(salt_label, &mut salt);
        let key = aead::UnboundKey::new(algorithm, key).ok()?;
        Some(Self::Gcm { key: aead::LessSafeKey::new(key), salt })
    }

    fn counter_mode(
        key: &[u8],
        master: MasterKey<'_>,
        authentication_label: Label,
        salt_label: Label,
    ) -> Option<Self> {
        let (mut salt, mut authentication_key) = ([0; 14], [0; 20]);
        master.derive(salt_label, &mut salt);
        master.derive(authentication_label, &mut authentication_key);
        let authentication = Authentication::new(&authentication_key);
        authentication_key.zeroize();
        let key = Aes128::new_from_slice(key).ok()?;
        Some(Self::CounterMode { key, authentication, salt })
    }

    /// Seals the first `len` bytes of `buffer`, of which `header_len` stay readable. Returns the protected length.
    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let (packet, after) = buffer.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        match self {
            Self::Gcm { key, salt } => {
                let tag_place = after.first_chunk_mut::<GCM_TAG_LEN>().ok_or(SrtpError::NoRoom)?;
                let (header, payload) =
                    packet.split_at_mut_checked(header_len).ok_or(SrtpError::NoRoom)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(&*header), payload)
                    .map_err(|_| SrtpError::NoRoom)?;
                tag_place.copy_from_slice(tag.as_ref());
                Ok(len + GCM_TAG_LEN)
            }
            Self::CounterMode { key, authentication, salt } => {
                let tag_place = after.first_chunk_mut::<SHA1_TAG_LEN>().ok_or(SrtpError::NoRoom)?;
                let payload = packet.get_mut(header_len..).ok_or(SrtpError::NoRoom)?;
                apply_keystream(key, counter_mode_iv(salt, ssrc, index), payload)?;
                *tag_place = authentication.tag(packet, rollover(index));
                Ok(len + SHA1_TAG_LEN)
            }
        }
    }

    /// Opens `datagram`, of which `header_len` bytes are readable. Returns the plaintext length without header and tag.
    #[inline]
    pub(super) fn open_rtp(
        &self,
        datagram: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let truncated = SrtpError::Truncated(datagram.len());
        match self {
            Self::Gcm { key, salt } => {
                let (header, sealed) =
                    datagram.split_at_mut_checked(header_len).ok_or(truncated)?;
                let payload_len = sealed.len().checked_sub(GCM_TAG_LEN).ok_or(truncated)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place(nonce, aead::Aad::from(&*header), sealed)
                    .map_err(|_| SrtpError::Unauthentic)?;
                Ok(payload_len)
            }
            Self::CounterMode { key, authentication, salt } => {
                let (packet, tag) = datagram.split_last_chunk_mut().ok_or(truncated)?;
                let payload_len = packet.len().checked_sub(header_len).ok_or(truncated)?;
                authentication.verify(packet, rollover(index), tag)?;
                let payload = packet.get_mut(header_len..).ok_or(truncated)?;
                apply_keystream(key, counter_mode_iv(salt, ssrc, index), payload)?;
                Ok(payload_len)
            }
        }
    }

    /// Seals the compound RTCP packet in the first `len` bytes of `buffer` under `index`. Returns the protected length.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let (packet, after) = buffer.split_at_mut_checked(len).ok_or(SrtpError::NoRoom)?;
        let (clear, secret) =
            packet.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(SrtpError::Truncated(len))?;
        match self {
            Self::Gcm { key, salt } => {
                let (tag_place, after) =
                    after.split_first_chunk_mut::<GCM_TAG_LEN>().ok_or(SrtpError::NoRoom)?;
                let index_place = after.first_chunk_mut::<4>().ok_or(SrtpError::NoRoom)?;
                let aad = aead::Aad::from(gcm_rtcp_aad(clear, trailer));
                let tag = key
                    .seal_in_place_separate_tag(gcm_nonce(salt, ssrc, index.into()), aad, secret)
                    .map_err(|_| SrtpError::NoRoom)?;
                tag_place.copy_from_slice(tag.as_ref());
                *index_place = trailer;
                Ok(len + GCM_TAG_LEN + 4)
            }
            Self::CounterMode { key, authentication, salt } => {
                let (index_place, after) =
                    after.split_first_chunk_mut::<4>().ok_or(SrtpError::NoRoom)?;
                let tag_place = after.first_chunk_mut::<SHA1_TAG_LEN>().ok_or(SrtpError::NoRoom)?;
                apply_keystream(key, counter_mode_iv(salt, ssrc, index.into()), secret)?;
                *tag_place = authentication.tag(packet, trailer);
                *index_place = trailer;
                Ok(len + 4 + SHA1_TAG_LEN)
            }
        }
    }

    /// The index at the end of an SRTCP packet.
    pub(super) fn rtcp_index(&self, datagram: &[u8]) -> Result<u32, SrtpError> {
        let truncated = SrtpError::Truncated(datagram.len());
        let trailer = match self {
            Self::Gcm { .. } => datagram.last_chunk(),
            Self::CounterMode { .. } => datagram
                .split_last_chunk::<SHA1_TAG_LEN>()
                .and_then(|(before_tag, _)| before_tag.last_chunk()),
        };
        let trailer = u32::from_be_bytes(*trailer.ok_or(truncated)?);
        if trailer & ENCRYPTED == 0 {
            return Err(SrtpError::Unencrypted);
        }
        Ok(trailer & !ENCRYPTED)
    }

    /// Opens an SRTCP packet whose index was read. Returns the length of the compound packet.
    pub(super) fn open_rtcp(
        &self,
        datagram: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, SrtpError> {
        let truncated = SrtpError::Truncated(datagram.len());
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Gcm { key, salt } => {
                let (sealed, _) = datagram.split_last_chunk_mut::<4>().ok_or(truncated)?;
                let len = sealed.len().checked_sub(GCM_TAG_LEN).ok_or(truncated)?;
                let (clear, secret) =
                    sealed.split_first_chunk_mut::<RTCP_CLEAR_LEN>().ok_or(truncated)?;
                let aad = aead::Aad::from(gcm_rtcp_aad(clear, trailer));
                key.open_in_place(gcm_nonce(salt, ssrc, index.into()), aad, secret)
                    .map_err(|_| SrtpError::Unauthentic)?;
                Ok(len)
            }
            Self::CounterMode { key, authentication, salt } => {
                let (sealed, tag) = datagram.split_last_chunk_mut().ok_or(truncated)?;
                let (packet, _) = sealed.split_last_chunk_mut::<4>().ok_or(truncated)?;
                authentication.verify(packet, trailer, tag)?;
                let len = packet.len();
                let secret = packet.get_mut(RTCP_CLEAR_LEN..).ok_or(truncated)?;
                apply_keystream(key, counter_mode_iv(salt, ssrc, index.into()), secret)?;
                Ok(len)
            }
        }
    }
}

/// RFC 7714 §8.1: two zero bytes, SSRC, rollover counter and sequence number (the 48-bit index),
/// salted. §9.1 for RTCP is the same figure: its 31-bit index fills the low end of those 48 bits.
#[inline]
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> aead::Nonce {
    let [s0, s1, s2, s3] = ssrc.to_be_bytes();
    let [_, _, i0, i1, i2, i3, i4, i5] = index.to_be_bytes();
    let mut nonce = [0, 0, s0, s1, s2, s3, i0, i1, i2, i3, i4, i5];
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    aead::Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2: the clear header and the trailer with E bit and index.
fn gcm_rtcp_aad(clear: &[u8; RTCP_CLEAR_LEN], trailer: [u8; 4]) -> [u8; 12] {
    let [c0, c1, c2, c3, c4, c5, c6, c7] = *clear;
    let [t0, t1, t2, t3] = trailer;
    [c0, c1, c2, c3, c4, c5, c6, c7, t0, t1, t2, t3]
}

/// RFC 3711 §4.1.1: salt * 2^16 XOR ssrc * 2^64 XOR index * 2^16.
#[inline]
fn counter_mode_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let [s0, s1, s2, s3] = ssrc.to_be_bytes();
    let [_, _, i0, i1, i2, i3, i4, i5] = index.to_be_bytes();
    let mut iv = [0, 0, 0, 0, s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, 0, 0];
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    iv
}

/// Fails for more than 2^128 blocks only.
#[inline]
fn apply_keystream(key: &Aes128, iv: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    CtrCore::<&Aes128, Ctr128BE>::inner_iv_init(key, &iv.into())
        .try_apply_keystream_partial(data.into())
        .map_err(|_| SrtpError::NoRoom)
}

/// The upper 32 bits of a 48-bit index.
#[inline]
fn rollover(index: u64) -> [u8; 4] {
    let [_, _, r0, r1, r2, r3, _, _] = index.to_be_bytes();
    [r0, r1, r2, r3]
}
