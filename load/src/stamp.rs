//! What a search of the server's memory looks for: a text and the time of sending, all over a payload.
//!
//! With a passphrase whole frames are sealed end to end, as LiveKit's clients do it: what stands before a packet's part
//! of the frame, and the first bytes of a picture, stay clear for the server. Source: `core/e2ee`.

use std::time::{SystemTime, UNIX_EPOCH};

use e2ee::{ChannelKey, Codec, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Sealer};
use rtp::packet::FIXED_HEADER_LEN;

use crate::Kind;
use crate::media::{DESCRIPTOR_LEN, Packet};

/// Opus's table of contents: one frame of 20 ms, full band, mono (RFC 6716 §3.1).
const OPUS_HEAD: u8 = 0xf8;
/// Behind descriptor, frame tag, start code and size (`media`).
const VP8_HEAD_LEN: usize = 18;

/// Stamps the packets of one track.
pub(crate) struct Stamp {
    text: String,
    sealer: Option<Sealer>,
    frame: Vec<u8>,
    sealed: Vec<u8>,
}

impl Stamp {
    pub(crate) fn new(text: &str, passphrase: Option<&str>) -> Self {
        let sealer = passphrase.map(|passphrase| {
            let mut keys = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
            keys.insert(KeyIndex::default(), &ChannelKey::passphrase(passphrase));
            Sealer::new(keys, 0)
        });
        Self { text: text.to_owned(), sealer, frame: Vec::new(), sealed: Vec::new() }
    }

    /// Fills the payloads of a frame's packets with the text and the milliseconds of Unix time, and seals the frame.
    pub(crate) fn put(&mut self, kind: Kind, ssrc: u32, timestamp: u32, packets: &mut [Packet]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let stamp = format!("{}{:013} ", self.text, now.as_millis());
        let (head, codec, frame_at) = match kind {
            Kind::Audio => (1, Codec::Opus, FIXED_HEADER_LEN),
            Kind::Video => (VP8_HEAD_LEN, Codec::Vp8, FIXED_HEADER_LEN + DESCRIPTOR_LEN),
        };
        self.frame.clear();
        for Packet { bytes, len } in &mut *packets {
            let payload = bytes.get_mut(FIXED_HEADER_LEN..*len).unwrap_or_default();
            if let (Kind::Audio, Some(first)) = (kind, payload.first_mut()) {
                *first = OPUS_HEAD;
            }
            for (place, byte) in payload.iter_mut().skip(head).zip(stamp.bytes().cycle()) {
                *place = byte;
            }
            self.frame.extend_from_slice(bytes.get(frame_at..*len).unwrap_or_default());
        }
        let Some(sealer) = &mut self.sealer else {
            return;
        };
        let frame = Frame { codec, ssrc, rtp_timestamp: timestamp, bytes: &self.frame };
        // Fails only for a frame of nothing or a key of 13 hours; then nothing is sent in its place.
        if sealer.seal_frame(&frame, &mut self.sealed).is_err() {
            self.sealed.clear();
        }
        let mut rest = self.sealed.as_slice();
        let last = packets.len().saturating_sub(1);
        for (number, Packet { bytes, len }) in packets.iter_mut().enumerate() {
            // What sealing adds is in the last one.
            let room = if number == last { bytes.len() } else { *len };
            let place = bytes.get_mut(frame_at..room).unwrap_or_default();
            let (part, more) = rest.split_at(rest.len().min(place.len()));
            place.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            (*len, rest) = (frame_at + part.len(), more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use e2ee::Opener;

    use super::*;
    use crate::media::Source;

    fn ring() -> KeyRing {
        let mut keys = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
        keys.insert(KeyIndex::default(), &ChannelKey::passphrase("a key"));
        keys
    }

    #[test]
    fn a_stamp_lies_in_the_clear_unless_it_is_sealed_and_then_the_frame_opens() {
        for (kind, codec, frame_at) in [
            (Kind::Audio, Codec::Opus, FIXED_HEADER_LEN),
            (Kind::Video, Codec::Vp8, FIXED_HEADER_LEN + DESCRIPTOR_LEN),
        ] {
            for (passphrase, expect) in [(None, true), (Some("a key"), false)] {
                let source = Source::new(kind, 7, None);
                let mut packets: Vec<Packet> = source.frame();
                let before: Vec<usize> = packets.iter().map(|packet| packet.len).collect();
                Stamp::new("stamp-1-", passphrase).put(kind, 7, 960, &mut packets);
                let holds = |bytes: &[u8]| bytes.windows(8).any(|window| window == b"stamp-1-");
                let shown = packets.iter().filter(|it| holds(&it.bytes[..it.len])).count();
                assert_eq!(shown, if expect { packets.len() } else { 0 });
                let lens: Vec<usize> = packets.iter().map(|packet| packet.len).collect();
                let (last, others) = lens.split_last().unwrap();
                assert_eq!(others, &before[..others.len()]);
                assert_eq!(*last > *before.last().unwrap(), !expect, "sealing adds a little");
                if passphrase.is_some() {
                    let frame: Vec<u8> = packets
                        .iter()
                        .flat_map(|it| &it.bytes[frame_at..it.len])
                        .copied()
                        .collect();
                    let (mut opener, mut opened) = (Opener::new(ring(), &[]), Vec::new());
                    opener.open_frame(codec, &frame, Duration::ZERO, &mut opened).unwrap();
                    assert!(holds(&opened), "{kind:?}");
                }
            }
        }
    }
}
