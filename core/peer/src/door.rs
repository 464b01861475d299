//! The stateless front door: knows a peer by the ICE user name that we gave it.
//!
//! Owns: the key of the tag. A ufrag is 12 bytes in base64: worker, generation, index, tag; so a
//! datagram for nobody dies after one hash, before any table and any HMAC over its content.
//! Guarantees: without the key, a ufrag that names a peer is guessed with probability 2^-48.

use model::{PeerId, WorkerId};
use ring::hmac;

const TAG_LEN: usize = 6;
const BODY_LEN: usize = 6;
/// Characters of a ufrag: 12 bytes in base64 without padding.
const UFRAG_LEN: usize = (BODY_LEN + TAG_LEN) / 3 * 4;
/// ICE allows letters, digits, `+` and `/` (RFC 8839 §5.4), which is base64's own alphabet.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Mints and checks ufrags.
pub struct Door {
    key: hmac::Key,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door(…)")
    }
}

impl Door {
    /// `key`: 32 random bytes, fresh for each process.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// The ufrag of a peer; `generation` counts its ICE restarts, so that each has another.
    #[must_use]
    pub fn mint(&self, peer: PeerId, generation: u8) -> Box<str> {
        let [a, b, c, d] = peer.index.to_be_bytes();
        let body = [peer.worker.0, generation, a, b, c, d];
        let mut bytes = [0; BODY_LEN + TAG_LEN];
        let (head, tail) = bytes.split_at_mut(BODY_LEN);
        head.copy_from_slice(&body);
        tail.copy_from_slice(&self.tag(&body));
        let mut text = String::with_capacity(UFRAG_LEN);
        for &[x, y, z] in bytes.as_chunks::<3>().0 {
            let word = u32::from_be_bytes([0, x, y, z]);
            for shift in [18, 12, 6, 0] {
                let index = (word >> shift) & 63;
                let letter = ALPHABET.get(index as usize).copied().unwrap_or(b'A');
                text.push(char::from(letter));
            }
        }
        text.into_boxed_str()
    }

    /// Whose ufrag this is, or `None` when we did not mint it. One hash, no state.
    #[must_use]
    pub fn owner(&self, ufrag: &[u8]) -> Option<PeerId> {
        let letters: &[u8; UFRAG_LEN] = ufrag.try_into().ok()?;
        let mut bytes = [0; BODY_LEN + TAG_LEN];
        for (out, four) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(letters.as_chunks::<4>().0) {
            let mut word = 0;
            for &letter in four {
                word = word << 6 | value(letter)?;
            }
            let [_, x, y, z] = word.to_be_bytes();
            *out = [x, y, z];
        }
        let (body, tag) = bytes.split_first_chunk::<BODY_LEN>()?;
        if self.tag(body).as_slice() != tag {
            return None;
        }
        let &[worker, _generation, a, b, c, d] = body;
        Some(PeerId { worker: WorkerId(worker), index: u32::from_be_bytes([a, b, c, d]) })
    }

    fn tag(&self, body: &[u8; BODY_LEN]) -> [u8; TAG_LEN] {
        let digest = hmac::sign(&self.key, body);
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

fn value(letter: u8) -> Option<u32> {
    let offset = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(worker: u8, index: u32) -> PeerId {
        PeerId { worker: WorkerId(worker), index }
    }

    proptest! {
        #[test]
        fn the_owner_of_a_minted_ufrag_is_its_peer(worker: u8, index: u32, generation: u8) {
            let door = Door::new(&[7; 32]);
            let ufrag = door.mint(peer(worker, index), generation);
            prop_assert_eq!(ufrag.len(), UFRAG_LEN);
            prop_assert_eq!(door.owner(ufrag.as_bytes()), Some(peer(worker, index)));
        }

        #[test]
        fn a_changed_letter_names_nobody(index: u32, at in 0..UFRAG_LEN, with in 0usize..64) {
            let door = Door::new(&[7; 32]);
            let mut ufrag = door.mint(peer(1, index), 0).as_bytes().to_vec();
            prop_assume!(ufrag[at] != ALPHABET[with]);
            ufrag[at] = ALPHABET[with];
            prop_assert_eq!(door.owner(&ufrag), None);
        }
    }

    #[test]
    fn another_process_key_names_nobody() {
        let ufrag = Door::new(&[7; 32]).mint(peer(0, 1), 0);
        assert_eq!(Door::new(&[8; 32]).owner(ufrag.as_bytes()), None);
    }

    #[test]
    fn a_restart_gets_another_ufrag_of_the_same_peer() {
        let door = Door::new(&[7; 32]);
        assert_ne!(door.mint(peer(0, 1), 0), door.mint(peer(0, 1), 1));
    }

    #[test]
    fn other_lengths_and_letters_name_nobody() {
        let door = Door::new(&[7; 32]);
        for text in ["", "abc", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAA", "AAAAAAAA:AAAAAAA"] {
            assert_eq!(door.owner(text.as_bytes()), None, "{text}");
        }
    }
}
