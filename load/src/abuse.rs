//! A subscriber who wants more than its share: every packet again, and a new picture each time.

use std::time::Duration;

use rtp::nack::Nack;
use rtp::rtcp::{CompoundWriter, RtcpPacket, packets};
use rtp::srtp::{SrtpReceiver, SrtpSender};

/// Between two turns.
pub(crate) const INTERVAL: Duration = Duration::from_millis(5);
/// Ours, in requests; any.
const SSRC: u32 = 1;
/// Items of one request, each for 17 packets: more than a server remembers.
const ITEMS: u16 = 32;
/// Packets of one item.
const ITEM_PACKETS: u16 = 17;
/// Room for a sealed compound packet.
const LEN_MAX: usize = 1_400;

/// Asks for the last packets of each stream, by its SSRC and highest number, and for a key frame.
pub(crate) fn ask(
    streams: impl Iterator<Item = (u32, u16)>,
    sender: &mut SrtpSender,
    mut send: impl FnMut(&[u8]),
) {
    for (ssrc, highest) in streams {
        let back = |item: u16| highest.wrapping_sub((item + 1) * ITEM_PACKETS);
        let items: Vec<Nack> =
            (0..ITEMS).map(|item| Nack { pid: back(item), blp: u16::MAX }).collect();
        let mut packet = [0; LEN_MAX];
        let room = LEN_MAX - sender.profile().rtcp_overhead();
        let mut writer = CompoundWriter::new(packet.get_mut(..room).unwrap_or_default());
        let written = writer
            .nack(SSRC, ssrc, &items)
            .map(drop)
            .and_then(|()| writer.picture_loss(SSRC, ssrc).map(drop));
        let len = writer.len();
        if written.is_ok()
            && let Ok(len) = sender.protect_rtcp(&mut packet, len)
        {
            send(packet.get(..len).unwrap_or_default());
        }
    }
}

/// How many key frames a datagram of the server's asks for.
pub(crate) fn keyframes_asked(receiver: &mut SrtpReceiver, datagram: &[u8]) -> u64 {
    let mut bytes = datagram.to_vec();
    let Ok(len) = receiver.unprotect_rtcp(&mut bytes) else { return 0 };
    let all = packets(bytes.get(..len).unwrap_or_default()).map_while(Result::ok);
    all.map(|packet| u64::from(matches!(packet, RtcpPacket::PictureLoss { .. }))).sum()
}
