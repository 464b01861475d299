//! What one side of a session writes under: the ciphers of its RTP and of its RTCP.
//!
//! Owns: its master key, from which either is derived when its first packet comes. Who only receives opens no RTP, and
//! who is only there neither: a key schedule is 600 bytes.
//! Guarantees: derived once; no allocation for any packet after the first of its kind. The master key is wiped when
//! dropped.
//! Source: RFC 3711 §4.3.

use std::cell::OnceCell;

use zeroize::Zeroize;

use super::cipher::{Cipher, Kind};
use super::key::{KEY_LEN_MAX, MasterKey, SALT_LEN_MAX};
use super::{DtlsRole, KeyingMaterial, Profile, SrtpError};

pub(super) struct Direction {
    profile: Profile,
    key: [u8; KEY_LEN_MAX],
    salt: [u8; SALT_LEN_MAX],
    rtp: OnceCell<Box<Cipher>>,
    rtcp: OnceCell<Box<Cipher>>,
}

impl Direction {
    pub(super) fn new(material: &KeyingMaterial, writer: DtlsRole) -> Self {
        let (mut key, mut salt) = ([0; KEY_LEN_MAX], [0; SALT_LEN_MAX]);
        let master = material.master(writer);
        key.iter_mut().zip(master.key).for_each(|(to, from)| *to = *from);
        salt.iter_mut().zip(master.salt).for_each(|(to, from)| *to = *from);
        let direction = Self {
            profile: material.profile(),
            key,
            salt,
            rtp: OnceCell::new(),
            rtcp: OnceCell::new(),
        };
        key.zeroize();
        salt.zeroize();
        direction
    }

    pub(super) const fn profile(&self) -> Profile {
        self.profile
    }

    #[inline]
    pub(super) fn rtp(&self) -> Result<&Cipher, SrtpError> {
        self.rtp.get().map_or_else(|| self.derive(&self.rtp, Kind::Rtp), |it| Ok(it))
    }

    #[inline]
    pub(super) fn rtcp(&self) -> Result<&Cipher, SrtpError> {
        self.rtcp.get().map_or_else(|| self.derive(&self.rtcp, Kind::Rtcp), |it| Ok(it))
    }

    /// Fails for a length that no [`Profile`] has.
    #[cold]
    fn derive<'a>(
        &self,
        place: &'a OnceCell<Box<Cipher>>,
        kind: Kind,
    ) -> Result<&'a Cipher, SrtpError> {
        let master = MasterKey {
            key: self.key.get(..self.profile.key_len()).unwrap_or_default(),
            salt: self.salt.get(..self.profile.salt_len()).unwrap_or_default(),
        };
        let cipher = Cipher::new(self.profile, master, kind)?;
        Ok(place.get_or_init(|| Box::new(cipher)))
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_derived_for_the_first_packet_of_its_kind_and_once() {
        let material = KeyingMaterial::new(Profile::AeadAes128Gcm, &[7; 56]).unwrap();
        let direction = Direction::new(&material, DtlsRole::Server);
        assert!(direction.rtp.get().is_none() && direction.rtcp.get().is_none());
        let first: *const Cipher = direction.rtp().unwrap();
        assert!(direction.rtcp.get().is_none());
        assert!(std::ptr::eq(first, direction.rtp().unwrap()));
        assert!(!std::ptr::eq(first, direction.rtcp().unwrap()));
    }
}
