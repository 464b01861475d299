//! Profiles, the bytes that DTLS exports for them, and the session keys derived from those.
//!
//! Source: RFC 5764 §4.1.2 and §4.2, RFC 7714 §14.2 (profiles, layout); RFC 3711 §4.3 (derivation).

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use zeroize::Zeroize;

use super::SrtpError;

/// A protection profile of DTLS-SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`. The cheapest: 0.22 us for 1100 bytes on a 2-core AMD Milan guest.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`. About 10 % more.
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`. Four times as much on that guest, which has instructions for
    /// SHA-1: for clients that have nothing else.
    AesCm128HmacSha1_80,
}

impl Profile {
    /// The number in DTLS's `use_srtp`. Source: IANA "DTLS-SRTP Protection Profiles".
    #[must_use]
    pub const fn dtls_id(self) -> u16 {
        match self {
            Self::AesCm128HmacSha1_80 => 0x0001,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Bytes to export: two keys and two salts.
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes that protection adds to an RTP packet.
    #[inline]
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::AesCm128HmacSha1_80 => 10,
        }
    }

    /// Bytes that protection adds to a compound RTCP packet: the tag and the index.
    #[inline]
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + 4
    }

    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    pub(super) const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::AesCm128HmacSha1_80 => 14,
        }
    }
}

/// Which side of the DTLS handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// The node, always.
    Server,
    /// A load client.
    Client,
}

/// Bytes of the longest master key, and of the longest salt, which no one profile has both of.
pub(super) const KEY_LEN_MAX: usize = 32;
pub(super) const SALT_LEN_MAX: usize = 14;
const KEYING_MATERIAL_MAX: usize = 2 * (32 + 12);

/// What DTLS exports for one session: client key, server key, client salt, server salt. Wiped when dropped.
pub struct KeyingMaterial {
    profile: Profile,
    bytes: [u8; KEYING_MATERIAL_MAX],
}

impl KeyingMaterial {
    /// Copies the exporter's bytes. Wiping the original is the caller's business.
    ///
    /// # Errors
    /// When `exported` is not exactly [`Profile::keying_material_len`] bytes.
    pub fn new(profile: Profile, exported: &[u8]) -> Result<Self, SrtpError> {
        let (len, expected) = (exported.len(), profile.keying_material_len());
        let mut bytes = [0; KEYING_MATERIAL_MAX];
        match bytes.get_mut(..expected) {
            Some(place) if len == expected => place.copy_from_slice(exported),
            _ => return Err(SrtpError::KeyingMaterial { len, expected }),
        }
        Ok(Self { profile, bytes })
    }

    /// What was negotiated.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The master key and salt under which `writer` seals.
    pub(super) fn master(&self, writer: DtlsRole) -> MasterKey<'_> {
        let (key_len, salt_len) = (self.profile.key_len(), self.profile.salt_len());
        let second = match writer {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        let cut = |from: usize, len: usize| self.bytes.get(from..from + len).unwrap_or_default();
        MasterKey {
            key: cut(second * key_len, key_len),
            salt: cut(2 * key_len + second * salt_len, salt_len),
        }
    }
}

impl Drop for KeyingMaterial {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// One direction's master key (16 or 32 bytes) and salt (14 bytes, or 12 for GCM).
#[derive(Clone, Copy)]
pub(super) struct MasterKey<'a> {
    pub(super) key: &'a [u8],
    pub(super) salt: &'a [u8],
}

/// What a derived key is for: the label of RFC 3711 §4.3.1.
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

impl MasterKey<'_> {
    /// Fills `out` with the session key for `label`: AES in counter mode over the salted label, key derivation rate 0.
    ///
    /// A 12-byte salt counts as followed by two zero bytes. `out` stays zero if the master key is not 16 or 32 bytes,
    /// which no [`Profile`] allows.
    pub(super) fn derive(self, label: Label, out: &mut [u8]) {
        let mut block = [0; 16];
        for (to, from) in block.iter_mut().zip(self.salt) {
            *to = *from;
        }
        let [_, _, _, _, _, _, _, at_label, ..] = &mut block;
        *at_label ^= label as u8;
        if let Ok(cipher) = Aes128::new_from_slice(self.key) {
            keystream(&cipher, block, out);
        } else if let Ok(cipher) = Aes256::new_from_slice(self.key) {
            keystream(&cipher, block, out);
        }
        block.zeroize();
    }
}

fn keystream<C>(cipher: &C, counter: [u8; 16], out: &mut [u8])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    for (number, chunk) in (0u16..).zip(out.chunks_mut(16)) {
        let mut block = counter;
        if let Some(low) = block.last_chunk_mut() {
            *low = number.to_be_bytes();
        }
        let mut block = block.into();
        cipher.encrypt_block(&mut block);
        for (to, from) in chunk.iter_mut().zip(&block) {
            *to = *from;
        }
        block.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|digit| digit.to_digit(16))
            .map(|digit| u8::try_from(digit).unwrap())
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_b_3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey { key: &key, salt: &salt };
        let check = |label, expected: &str| {
            let mut out = vec![0; expected.len() / 2];
            master.derive(label, &mut out);
            assert_eq!(out, hex(expected));
        };
        check(Label::RtpKey, "C61E7A93744F39EE10734AFE3FF7A087");
        check(Label::RtpSalt, "30CBBC08863D8C85D49DB34A9AE1");
        check(
            Label::RtpAuthentication,
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E47403576",
        );
    }

    #[test]
    fn exported_bytes_split_into_keys_then_salts_client_first() {
        for profile in
            [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80]
        {
            let exported: Vec<u8> =
                (0..u8::try_from(profile.keying_material_len()).unwrap()).collect();
            let material = KeyingMaterial::new(profile, &exported).unwrap();
            let (client, server) =
                (material.master(DtlsRole::Client), material.master(DtlsRole::Server));
            assert_eq!([client.key, server.key, client.salt, server.salt].concat(), exported);
            assert_eq!(
                (client.key.len(), client.salt.len()),
                (server.key.len(), server.salt.len())
            );
        }
    }

    #[test]
    fn the_wrong_number_of_bytes_is_refused() {
        let expected = 60;
        for len in [0, 56, 59, 61, 88] {
            let refused = KeyingMaterial::new(Profile::AesCm128HmacSha1_80, &vec![1; len]);
            assert_eq!(refused.err(), Some(SrtpError::KeyingMaterial { len, expected }));
        }
    }

    #[test]
    fn printing_keying_material_shows_the_profile_alone() {
        let material = KeyingMaterial::new(Profile::AeadAes128Gcm, &[0xab; 56]).unwrap();
        assert_eq!(format!("{material:?}"), "KeyingMaterial { profile: AeadAes128Gcm, .. }");
    }
}
