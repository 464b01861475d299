//! Offers as small as they may be, and what matters of an answer.

use std::fmt::Write as _;
use std::net::SocketAddr;

use model::ExtensionKind;
use peer::{Fingerprint, IceCredentials, Remote};

use crate::Kind;

/// Payload types; browsers number them alike.
pub(crate) const OPUS: u8 = 111;
pub(crate) const VP8: u8 = 96;
const RTX: u8 = 97;

/// The header extension that numbers packets for transport feedback.
pub(crate) const TRANSPORT_SEQUENCE: u8 = 3;

/// What a client offers: one track or none, and sections to receive in.
pub(crate) struct Offer<'a> {
    pub(crate) ice: &'a IceCredentials,
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) kind: Kind,
    /// Track id and SSRC of what it sends.
    pub(crate) sends: Option<(&'a str, u32)>,
    pub(crate) receives: usize,
}

impl Offer<'_> {
    pub(crate) fn sdp(&self) -> String {
        let count = self.receives + usize::from(self.sends.is_some());
        let mids: Vec<String> = (0..=count).map(|mid| mid.to_string()).collect();
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:{} {}\r\na=setup:active\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
             a=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n",
            mids.join(" "),
            self.ice.ufrag,
            self.ice.pwd,
            self.fingerprint.algorithm,
            hex(&self.fingerprint.bytes),
        );
        for mid in mids.iter().skip(1) {
            let sends = self.sends.filter(|_| mid == "1");
            self.section(&mut sdp, mid, sends);
        }
        sdp
    }

    fn section(&self, sdp: &mut String, mid: &str, sends: Option<(&str, u32)>) {
        let (media, format) = match self.kind {
            Kind::Audio => ("audio", format!("{OPUS} opus/48000/2")),
            Kind::Video => ("video", format!("{VP8} VP8/90000")),
        };
        let payload_type = format.split(' ').next().unwrap_or_default();
        // With retransmission comes padding, by which the server finds out how much fits.
        let (also, rtx) = match self.kind {
            Kind::Audio => (String::new(), String::new()),
            Kind::Video => (
                format!(" {RTX}"),
                format!("a=rtpmap:{RTX} rtx/90000\r\na=fmtp:{RTX} apt={VP8}\r\n"),
            ),
        };
        let direction = if sends.is_some() { "sendonly" } else { "recvonly" };
        // Writing to a string does not fail.
        let _ = write!(
            sdp,
            "m={media} 9 UDP/TLS/RTP/SAVPF {payload_type}{also}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n\
             a=rtcp-mux\r\na={direction}\r\na=rtpmap:{format}\r\n{rtx}\
             a=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n\
             a=rtcp-fb:{payload_type} transport-cc\r\na=extmap:{TRANSPORT_SEQUENCE} {}\r\n",
            ExtensionKind::TransportSequence.uri(),
        );
        if let Some((track, ssrc)) = sends {
            let _ = write!(sdp, "a=msid:- {track}\r\na=ssrc:{ssrc} cname:load\r\n");
        }
    }
}

/// The server's end of the transport.
pub(crate) struct Answer {
    pub(crate) remote: Remote,
    pub(crate) address: SocketAddr,
}

impl Answer {
    pub(crate) fn parse(sdp: &str) -> Option<Self> {
        let attribute = |name: &str| {
            sdp.lines()
                .find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
        };
        let (algorithm, digest) = attribute("fingerprint")?.split_once(' ')?;
        let bytes: Option<Vec<u8>> =
            digest.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        // foundation, component, transport, priority, address, port (RFC 8839 §5.1).
        let mut candidate = attribute("candidate")?.split(' ').skip(4);
        let address = candidate.next()?.parse().ok()?;
        let port = candidate.next()?.parse().ok()?;
        Some(Self {
            remote: Remote {
                ice: IceCredentials {
                    ufrag: attribute("ice-ufrag")?.into(),
                    pwd: attribute("ice-pwd")?.into(),
                },
                fingerprint: Fingerprint { algorithm: algorithm.into(), bytes: bytes? },
            },
            address: SocketAddr::new(address, port),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::sdp::SectionBody;

    #[test]
    fn the_server_can_read_an_offer() {
        let ice = IceCredentials { ufrag: "load".into(), pwd: "0123456789012345678901".into() };
        let fingerprint = Fingerprint { algorithm: "sha-256".into(), bytes: vec![0xab; 32] };
        let offer = Offer {
            ice: &ice,
            fingerprint: &fingerprint,
            kind: Kind::Video,
            sends: Some(("camera", 7)),
            receives: 2,
        };
        let parsed = wire::sdp::Offer::parse(&offer.sdp()).unwrap();
        let media: Vec<_> = parsed
            .sections
            .iter()
            .filter_map(|section| match &section.body {
                SectionBody::Media(media) if !section.rejected => {
                    Some((media.direction.sends(), media.ssrcs.clone()))
                }
                SectionBody::Media(_) | SectionBody::Data(_) => None,
            })
            .collect();
        assert_eq!(media, [(true, vec![7]), (false, vec![]), (false, vec![])]);
    }

    #[test]
    fn an_answer_says_where_the_server_is() {
        let answer = "a=ice-ufrag:u\r\na=ice-pwd:p\r\na=fingerprint:sha-256 AB:01\r\n\
                      a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n";
        let parsed = Answer::parse(answer).unwrap();
        assert_eq!(parsed.address, "192.0.2.1:7882".parse().unwrap());
        assert_eq!(parsed.remote.fingerprint.bytes, [0xab, 1]);
        assert!(Answer::parse("a=ice-ufrag:u\r\n").is_none());
    }
}
