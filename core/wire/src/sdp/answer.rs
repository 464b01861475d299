//! Our answer, printed.
//!
//! One section for each that was offered, in the same order, under the client's mids, payload types
//! and extension ids. We are ICE-lite and the DTLS server in every answer, so the roles hold over ICE
//! restarts. What later drafts offer (`goog-sped-v1`, `sctp-init`) is never repeated: repeating accepts it.

use std::fmt;

use model::TrackKind;

use super::{Direction, ExtensionMapping, LocalTransport, Mid, Payload};
use crate::limits;

/// An answer. Prints as its text.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// Counts the answers of the session.
    pub version: u64,
    /// Our end of the transport.
    pub transport: &'a LocalTransport,
    /// In the offer's order.
    pub sections: Vec<AnswerSection>,
}

/// The answer to one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerSection {
    /// Its name.
    pub mid: Mid,
    /// What we answer.
    pub body: AnswerBody,
}

/// What we answer to a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// No, for media of this kind: the client frees the section's place.
    RejectedMedia(TrackKind),
    /// No, for data channels.
    RejectedData,
    /// Data channels, with messages of up to this many bytes to us.
    Data {
        /// Bytes; 0 is any.
        max_message_size: u64,
    },
    /// Audio or video.
    Media(MediaAnswer),
}

/// The answer to a section of audio or video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaAnswer {
    /// Which of the two.
    pub kind: TrackKind,
    /// Who sends, seen by us.
    pub direction: Direction,
    /// Accepted formats, preferred first, with the feedback and the parameters to print.
    pub payloads: Vec<Payload>,
    /// Accepted header extensions; directions are seen by us.
    pub extensions: Vec<ExtensionMapping>,
    /// The simulcast streams that we receive, in the order of the offer.
    pub rids: Vec<Box<str>>,
    /// What we send.
    pub outbound: Option<OutboundStream>,
}

/// The names of what we send in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundStream {
    /// The media stream's id: streams of one id are played in sync.
    pub stream: Box<str>,
    /// The track's id.
    pub track: Box<str>,
    /// RTCP canonical name: one for all tracks of one clock.
    pub cname: Box<str>,
    /// The media's SSRC.
    pub ssrc: u32,
    /// The retransmissions' SSRC.
    pub rtx_ssrc: Option<u32>,
}

impl AnswerBody {
    const fn is_accepted(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Media(_))
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v=0\r\no=- 1 {} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n",
            self.version
        )?;
        let accepted = || self.sections.iter().filter(|section| section.body.is_accepted());
        if accepted().next().is_some() {
            f.write_str("a=group:BUNDLE")?;
            for section in accepted() {
                write!(f, " {}", section.mid.as_str())?;
            }
            f.write_str("\r\n")?;
        }
        f.write_str("a=msid-semantic: WMS *\r\n")?;
        // Candidates belong to the transport: its first section has them (RFC 8843 §7.1.3).
        let mut candidates_due = self.transport.candidates_in_answer;
        for section in &self.sections {
            section.write(f, self.transport, &mut candidates_due)?;
        }
        Ok(())
    }
}

impl AnswerSection {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        transport: &LocalTransport,
        candidates_due: &mut bool,
    ) -> fmt::Result {
        match &self.body {
            AnswerBody::RejectedMedia(kind) => {
                write!(f, "m={} 0 UDP/TLS/RTP/SAVPF 0\r\n", kind_name(*kind))?;
                write!(f, "c=IN IP4 0.0.0.0\r\na=mid:{}\r\na=inactive\r\n", self.mid.as_str())
            }
            AnswerBody::RejectedData => {
                f.write_str("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n")?;
                write!(f, "c=IN IP4 0.0.0.0\r\na=mid:{}\r\n", self.mid.as_str())
            }
            AnswerBody::Data { max_message_size } => {
                f.write_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")?;
                self.write_transport(f, transport, candidates_due)?;
                write!(f, "a=sctp-port:{}\r\n", limits::SCTP_PORT)?;
                write!(f, "a=max-message-size:{max_message_size}\r\n")
            }
            AnswerBody::Media(media) => {
                write!(f, "m={} 9 UDP/TLS/RTP/SAVPF", kind_name(media.kind))?;
                for payload in &media.payloads {
                    write!(f, " {}", payload.pt)?;
                    if let Some(rtx) = payload.rtx {
                        write!(f, " {rtx}")?;
                    }
                }
                f.write_str("\r\n")?;
                self.write_transport(f, transport, candidates_due)?;
                media.write(f)
            }
        }
    }

    fn write_transport(
        &self,
        f: &mut fmt::Formatter<'_>,
        transport: &LocalTransport,
        candidates_due: &mut bool,
    ) -> fmt::Result {
        write!(
            f,
            "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{}\r\na=setup:passive\r\n",
            transport.ice.ufrag,
            transport.ice.pwd.expose(),
            transport.fingerprint
        )?;
        if std::mem::take(candidates_due) {
            for (rank, candidate) in (0..=u8::MAX).zip(&transport.candidates) {
                f.write_str("a=")?;
                candidate.write(f, rank)?;
                f.write_str("\r\n")?;
            }
            f.write_str("a=end-of-candidates\r\n")?;
        }
        write!(f, "a=mid:{}\r\n", self.mid.as_str())
    }
}

impl MediaAnswer {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mapping in &self.extensions {
            write!(f, "a=extmap:{}", mapping.id)?;
            if let Some(direction) = mapping.direction {
                write!(f, "/{}", direction.as_str())?;
            }
            write!(f, " {}\r\n", mapping.extension.uri())?;
        }
        write!(f, "a={}\r\n", self.direction.as_str())?;
        if let Some(outbound) = &self.outbound {
            write!(f, "a=msid:{} {}\r\n", outbound.stream, outbound.track)?;
        }
        f.write_str("a=rtcp-mux\r\na=rtcp-rsize\r\n")?;
        for payload in &self.payloads {
            write_payload(f, payload)?;
        }
        if !self.rids.is_empty() {
            for rid in &self.rids {
                write!(f, "a=rid:{rid} recv\r\n")?;
            }
            f.write_str("a=simulcast:recv ")?;
            for (index, rid) in self.rids.iter().enumerate() {
                write!(f, "{}{rid}", if index == 0 { "" } else { ";" })?;
            }
            f.write_str("\r\n")?;
        }
        if let Some(outbound) = &self.outbound {
            if let Some(rtx) = outbound.rtx_ssrc {
                write!(f, "a=ssrc-group:FID {} {rtx}\r\n", outbound.ssrc)?;
            }
            for ssrc in std::iter::once(outbound.ssrc).chain(outbound.rtx_ssrc) {
                write!(f, "a=ssrc:{ssrc} cname:{}\r\n", outbound.cname)?;
            }
        }
        Ok(())
    }
}

fn write_payload(f: &mut fmt::Formatter<'_>, payload: &Payload) -> fmt::Result {
    let pt = payload.pt;
    write!(f, "a=rtpmap:{pt} {}/{}", payload.name, payload.clock_rate)?;
    if payload.channels > 1 {
        write!(f, "/{}", payload.channels)?;
    }
    f.write_str("\r\n")?;
    for feedback in &payload.feedback {
        write!(f, "a=rtcp-fb:{pt} {}\r\n", feedback.as_str())?;
    }
    if !payload.fmtp.is_empty() {
        write!(f, "a=fmtp:{pt} {}\r\n", payload.fmtp)?;
    }
    if let Some(rtx) = payload.rtx {
        write!(f, "a=rtpmap:{rtx} rtx/{}\r\na=fmtp:{rtx} apt={pt}\r\n", payload.clock_rate)?;
    }
    Ok(())
}

const fn kind_name(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Audio => "audio",
        TrackKind::Video => "video",
    }
}
