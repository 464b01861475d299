//! What a search of the server's memory looks for: a text and the time of sending, all over a payload.
//!
//! With a passphrase the payload is sealed end to end, as LiveKit's clients do it. Source: `core/e2ee`.

use std::time::{SystemTime, UNIX_EPOCH};

use e2ee::{ChannelKey, Codec, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Sealer};
use rtp::packet::FIXED_HEADER_LEN;

use crate::Kind;
use crate::media::PACKET_LEN_MAX;

/// Opus's table of contents: one frame of 20 ms, full band, mono (RFC 6716 §3.1).
const OPUS_HEAD: u8 = 0xf8;
/// Behind descriptor, frame tag, start code and size (`media`).
const VP8_HEAD_LEN: usize = 18;

/// Stamps the packets of one track.
pub(crate) struct Stamp {
    text: String,
    sealer: Option<Sealer>,
    sealed: Vec<u8>,
}

impl Stamp {
    /// `passphrase`: for sound only, where a packet is a frame.
    pub(crate) fn new(text: &str, passphrase: Option<&str>) -> Self {
        let sealer = passphrase.map(|passphrase| {
            let mut keys = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
            keys.insert(KeyIndex::default(), &ChannelKey::passphrase(passphrase));
            Sealer::new(keys, 0)
        });
        Self { text: text.to_owned(), sealer, sealed: Vec::new() }
    }

    /// Fills the payload of the packet of `len` bytes with the text and the milliseconds of Unix time, and
    /// seals it. The packet's length after that.
    pub(crate) fn put(
        &mut self,
        kind: Kind,
        ssrc: u32,
        timestamp: u32,
        packet: &mut [u8; PACKET_LEN_MAX],
        len: usize,
    ) -> usize {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = format!("{}{:013} ", self.text, now.as_millis());
        let head = match kind {
            Kind::Audio => 1,
            Kind::Video => VP8_HEAD_LEN,
        };
        let payload = packet.get_mut(FIXED_HEADER_LEN..len).unwrap_or_default();
        if let (Kind::Audio, Some(first)) = (kind, payload.first_mut()) {
            *first = OPUS_HEAD;
        }
        for (place, byte) in payload.iter_mut().skip(head).zip(stamp.bytes().cycle()) {
            *place = byte;
        }
        let Some(sealer) = &mut self.sealer else {
            return len;
        };
        let frame = Frame { codec: Codec::Opus, ssrc, rtp_timestamp: timestamp, bytes: payload };
        // Fails only for a frame of nothing or a key of 13 hours; then nothing is sent in its place.
        let is_sealed = sealer.seal_frame(&frame, &mut self.sealed).is_ok();
        let end = FIXED_HEADER_LEN + self.sealed.len();
        match packet.get_mut(FIXED_HEADER_LEN..end) {
            Some(place) if is_sealed => place.copy_from_slice(&self.sealed),
            _ => return FIXED_HEADER_LEN,
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_lies_in_the_clear_unless_it_is_sealed() {
        for (passphrase, expect) in [(None, true), (Some("a key"), false)] {
            let mut packet = [0; PACKET_LEN_MAX];
            let mut stamp = Stamp::new("stamp-1-", passphrase);
            let len = stamp.put(Kind::Audio, 7, 960, &mut packet, FIXED_HEADER_LEN + 80);
            let payload = &packet[FIXED_HEADER_LEN..len];
            assert_eq!(payload[0], OPUS_HEAD);
            assert!(payload.len() >= 80);
            assert_eq!(payload.windows(8).any(|window| window == b"stamp-1-"), expect);
        }
    }
}
