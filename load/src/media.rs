//! Packets that look like a microphone's or a camera's; what is in them is nothing, or a stamp.
//!
//! Source: RFC 3551 (times), RFC 7741 §4.2 (the VP8 descriptor), RFC 6386 §9.1 (the frame tag).

use std::time::Duration;

use rtp::packet::{FIXED_HEADER_LEN, FixedHeader};
use rtp::srtp::SrtpSender;

use crate::Kind;
use crate::offer::{OPUS, VP8};
use crate::stamp::Stamp;

/// Room for the largest sealed packet.
const PACKET_LEN_MAX: usize = 1_300;

/// 20 ms at 32 kbit/s.
const OPUS_LEN: usize = 80;
/// With header and tag about 1,100 bytes, eight of which make a frame of 2.1 Mbit/s at 30 Hz.
const VP8_LEN: usize = 1_072;
const FRAME_PACKETS: usize = 8;
/// Of AES-GCM.
pub(crate) const TAG_LEN: usize = 16;
/// Where the media clocks begin: in their upper half, as those of every second client do (RFC 3550 §5.1).
const FIRST_TIMESTAMP: u32 = 0x9000_0000;
/// A key frame each second: a subscriber starts at one.
const KEYFRAME_EVERY: u16 = 30;
/// X, then I: a 15-bit picture id follows. S in a frame's first packet.
pub(crate) const DESCRIPTOR_LEN: usize = 4;

/// A packet in the clear.
pub(crate) struct Packet {
    pub(crate) bytes: [u8; PACKET_LEN_MAX],
    pub(crate) len: usize,
}

/// How many packets a turn has, and how long one is on the wire.
pub(crate) const fn turn_shape(kind: Kind) -> (usize, usize) {
    let (packets, payload) = match kind {
        Kind::Audio => (1, OPUS_LEN),
        Kind::Video => (FRAME_PACKETS, VP8_LEN),
    };
    (packets, FIXED_HEADER_LEN + payload + TAG_LEN)
}

/// Between two turns.
pub(crate) const fn interval(kind: Kind) -> Duration {
    match kind {
        Kind::Audio => Duration::from_millis(20),
        Kind::Video => Duration::from_micros(33_333),
    }
}

/// One track of one publisher.
pub(crate) struct Source {
    kind: Kind,
    ssrc: u32,
    index: u64,
    timestamp: u32,
    frame: u16,
    stamp: Option<Stamp>,
}

impl Source {
    pub(crate) const fn new(kind: Kind, ssrc: u32, stamp: Option<Stamp>) -> Self {
        Self { kind, ssrc, index: 1, timestamp: FIRST_TIMESTAMP, frame: 0, stamp }
    }

    /// Makes and seals the packets of the next turn, one after the other, for `send`.
    pub(crate) fn turn(&mut self, sender: &SrtpSender, mut send: impl FnMut(&[u8])) {
        let step = match self.kind {
            Kind::Audio => 960,
            Kind::Video => 3_000,
        };
        let mut frame = self.frame();
        if let Some(stamp) = &mut self.stamp {
            stamp.put(self.kind, self.ssrc, self.timestamp, &mut frame);
        }
        for Packet { bytes, len } in &mut frame {
            let payload = *len - FIXED_HEADER_LEN;
            if let Ok(len) = sender.protect_rtp(bytes, FIXED_HEADER_LEN, payload, self.index) {
                send(bytes.get(..len).unwrap_or_default());
            }
            self.index += 1;
        }
        self.timestamp = self.timestamp.wrapping_add(step);
        self.frame = (self.frame + 1) & 0x7fff;
    }

    /// The packets of one frame, in the clear and without a stamp.
    pub(crate) fn frame(&self) -> Vec<Packet> {
        let (packets, _) = turn_shape(self.kind);
        (0..packets).map(|number| self.write(number, number + 1 == packets)).collect()
    }

    fn write(&self, number: usize, is_last: bool) -> Packet {
        let header = FixedHeader {
            marker: is_last && self.kind == Kind::Video,
            has_padding: false,
            has_extension: false,
            payload_type: match self.kind {
                Kind::Audio => OPUS,
                Kind::Video => VP8,
            },
            sequence: u16::try_from((self.index + number as u64) & 0xffff).unwrap_or(0),
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let mut packet = [0; PACKET_LEN_MAX];
        if let Some(place) = packet.first_chunk_mut() {
            *place = header.to_bytes();
        }
        let len = match self.kind {
            Kind::Audio => FIXED_HEADER_LEN + OPUS_LEN,
            Kind::Video => {
                let [high, low] = (self.frame | 0x8000).to_be_bytes();
                let start = if number == 0 { 0x10 } else { 0 };
                let is_delta = number > 0 || !self.frame.is_multiple_of(KEYFRAME_EVERY);
                let first = [0x80 | start, 0x80, high, low, u8::from(is_delta)];
                let start_code = [0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02];
                let payload = packet.get_mut(FIXED_HEADER_LEN..).unwrap_or_default();
                for (place, byte) in payload.iter_mut().zip(first.into_iter().chain(start_code)) {
                    *place = byte;
                }
                FIXED_HEADER_LEN + DESCRIPTOR_LEN + VP8_LEN
            }
        };
        Packet { bytes: packet, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::packet::RtpHeader;
    use rtp::vp8::Descriptor;

    #[test]
    fn a_camera_starts_with_a_key_frame_of_720p() {
        let source = Source::new(Kind::Video, 7, None);
        let Packet { bytes, len } = source.write(0, false);
        let packet = &bytes[..len];
        let header = RtpHeader::parse(packet).unwrap();
        let payload = &packet[header.payload_range(packet).unwrap()];
        let descriptor = Descriptor::parse(payload).unwrap();
        assert_eq!(rtp::vp8::size(payload, &descriptor), Some((1280, 720)));
    }
}
