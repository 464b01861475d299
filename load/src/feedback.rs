//! What a subscriber tells the server: when packets came, and how many were lost.
//!
//! As browsers do: transport feedback ten times a second, a receiver report once. Not here: requests for
//! retransmission; what is missing stays missing, and is counted.

use std::time::Duration;

use model::{ExtensionKind, Timestamp};
use rtp::extension::{ExtensionMap, Extensions};
use rtp::packet::RtpHeader;
use rtp::rtcp::{CompoundWriter, ReportBlock};
use rtp::srtp::SrtpSender;
use rtp::twcc::FeedbackRecorder;

use crate::offer::TRANSPORT_SEQUENCE;
use crate::tally::Sequence;

/// Between two turns.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// Turns from one receiver report to the next.
const REPORT_EVERY: u32 = 10;
/// Ours, in reports; any.
const SSRC: u32 = 1;
/// Room for a sealed compound packet.
const LEN_MAX: usize = 1_400;

pub(crate) struct Feedback {
    map: ExtensionMap,
    recorder: FeedbackRecorder,
    turns: u32,
    media_ssrc: u32,
}

impl Feedback {
    pub(crate) fn new() -> Self {
        let mut map = ExtensionMap::new();
        // The first of all ids is free.
        map.insert(TRANSPORT_SEQUENCE, ExtensionKind::TransportSequence).ok();
        Self { map, recorder: FeedbackRecorder::new(), turns: 0, media_ssrc: 0 }
    }

    /// Notes a packet, whose header is in the clear.
    pub(crate) fn received(&mut self, now: Timestamp, packet: &[u8]) {
        let Ok(header) = RtpHeader::parse(packet) else { return };
        self.media_ssrc = header.ssrc;
        let extensions = Extensions::read(&header, packet, &self.map);
        if let Some(sequence) = extensions.transport_sequence {
            self.recorder.received(sequence, now);
        }
    }

    /// Writes and seals what is due, one compound packet after the other, for `send`.
    pub(crate) fn turn<'a>(
        &mut self,
        now: Timestamp,
        sequences: impl Iterator<Item = (u32, &'a Sequence)>,
        sender: &mut SrtpSender,
        mut send: impl FnMut(&[u8]),
    ) {
        let mut blocks = Vec::new();
        if self.turns.is_multiple_of(REPORT_EVERY) {
            blocks.extend(sequences.map(|(ssrc, sequence)| block(ssrc, sequence)).take(31));
        }
        self.turns += 1;
        let mut fci = [0; rtp::limits::FEEDBACK_LEN_MAX];
        loop {
            let len = self.recorder.poll(now, &mut fci);
            if len.is_none() && blocks.is_empty() {
                return;
            }
            let mut packet = [0; LEN_MAX];
            let room = LEN_MAX - sender.profile().rtcp_overhead();
            let mut writer = CompoundWriter::new(packet.get_mut(..room).unwrap_or_default());
            let mut written = writer.receiver_report(SSRC, &std::mem::take(&mut blocks));
            if let Some(fci) = len.and_then(|len| fci.get(..len)) {
                written = written.and(writer.transport_feedback(SSRC, self.media_ssrc, fci));
            }
            let len = writer.len();
            if written.is_ok()
                && let Ok(len) = sender.protect_rtcp(&mut packet, len)
            {
                send(packet.get(..len).unwrap_or_default());
            }
        }
    }
}

fn block(ssrc: u32, sequence: &Sequence) -> ReportBlock {
    let lost = i32::try_from(sequence.tally().missing).unwrap_or(i32::MAX);
    ReportBlock {
        ssrc,
        fraction_lost: 0,
        cumulative_lost: lost,
        extended_highest: sequence.highest().map_or(0, u32::from),
        jitter: 0,
        last_sender_report: 0,
        delay_since_last_sender_report: 0,
    }
}
