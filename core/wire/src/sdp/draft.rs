//! A session or a section of an offer while its lines are read.
//!
//! Guarantees: what is kept of a line is checked, and no list grows beyond its bound in `limits`.
//! Not here: what the sections are together (`offer`).

use model::{ExtensionKind, TrackKind};

use super::offer::{DataOffer, MediaOffer, Msid, OfferError, Section, SectionBody};
use super::payload::{codec, parameter};
use super::{
    Direction, ExtensionMapping, Feedback, Fingerprint, IceCredentials, Mid, Payload,
    RemoteTransport, is_token_byte,
};
use crate::limits;

/// What is wrong with a line; becomes an [`OfferError`] once the line's number is known.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    Malformed,
    TooMany,
    UnknownMedia,
}

impl Fault {
    pub(super) const fn at(self, line: usize) -> OfferError {
        match self {
            Self::Malformed => OfferError::Malformed { line },
            Self::TooMany => OfferError::TooMany { line },
            Self::UnknownMedia => OfferError::UnknownMedia { line },
        }
    }
}

/// Adds to a list that the client fills.
fn push_bounded<T>(list: &mut Vec<T>, item: T, max: usize) -> Result<(), Fault> {
    if list.len() == max {
        return Err(Fault::TooMany);
    }
    list.push(item);
    Ok(())
}

/// The attributes of the transport, which may stand at either level.
#[derive(Clone, Default)]
pub(super) struct TransportDraft {
    ufrag: Option<Box<str>>,
    pwd: Option<Box<str>>,
    fingerprint: Option<Fingerprint>,
    passive: Option<bool>,
}

impl TransportDraft {
    /// Takes the attribute if it is one of the transport's.
    fn attribute(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match name {
            "ice-ufrag" => self.ufrag = Some(ice_text(value, limits::ICE_UFRAG_LEN)?),
            "ice-pwd" => self.pwd = Some(ice_text(value, limits::ICE_PWD_LEN)?),
            // Digests by other hashes are skipped; one that we accept must be there.
            "fingerprint" => {
                if let Some(fingerprint) = Fingerprint::from_value(value) {
                    let stronger =
                        self.fingerprint.as_ref().is_none_or(|held| held.hash < fingerprint.hash);
                    if stronger {
                        self.fingerprint = Some(fingerprint);
                    }
                }
            }
            "setup" => self.passive = Some(value == "passive"),
            _ => {}
        }
        Ok(())
    }

    /// What this level leaves out is as the session says.
    pub(super) fn within(&self, session: &Self) -> Result<RemoteTransport, OfferError> {
        if self.passive.or(session.passive) == Some(true) {
            return Err(OfferError::PassiveSetup);
        }
        let ufrag = self.ufrag.as_ref().or(session.ufrag.as_ref());
        let pwd = self.pwd.as_ref().or(session.pwd.as_ref());
        let (Some(ufrag), Some(pwd)) = (ufrag, pwd) else {
            return Err(OfferError::MissingIce);
        };
        let fingerprint = self
            .fingerprint
            .as_ref()
            .or(session.fingerprint.as_ref())
            .ok_or(OfferError::MissingFingerprint)?;
        Ok(RemoteTransport {
            ice: IceCredentials::new(ufrag, pwd),
            fingerprint: fingerprint.clone(),
        })
    }
}

/// A ufrag or a password: `ice-char`s, as many as RFC 8839 §5.4 allows.
fn ice_text(value: &str, len: std::ops::RangeInclusive<usize>) -> Result<Box<str>, Fault> {
    let is_ice = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if len.contains(&value.len()) && value.bytes().all(is_ice) {
        Ok(value.into())
    } else {
        Err(Fault::Malformed)
    }
}

/// The lines before the first section.
#[derive(Default)]
pub(super) struct SessionDraft {
    pub(super) transport: TransportDraft,
    pub(super) is_of_firefox: bool,
    bundle: Option<Vec<Box<str>>>,
    direction: Direction,
}

impl SessionDraft {
    pub(super) fn origin(&mut self, value: &str) {
        self.is_of_firefox = value.starts_with("mozilla");
    }

    pub(super) fn attribute(&mut self, attribute: &str) -> Result<(), Fault> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        if let Some(direction) = Direction::from_name(name) {
            self.direction = direction;
        }
        match (name, value.strip_prefix("BUNDLE")) {
            ("group", Some(mids)) if self.bundle.is_none() => {
                let mut bundle = Vec::new();
                for mid in mids.split_ascii_whitespace() {
                    push_bounded(&mut bundle, mid.into(), limits::SDP_SECTIONS_MAX)?;
                }
                self.bundle = Some(bundle);
                Ok(())
            }
            _ => self.transport.attribute(name, value),
        }
    }
}

/// One `a=rtpmap` line.
struct FormatDraft {
    pt: u8,
    name: Box<str>,
    clock_rate: u32,
    channels: u8,
}

/// The lines of one section.
#[derive(Default)]
pub(super) struct Draft {
    /// `None` for data channels.
    kind: Option<TrackKind>,
    /// The port is not zero, or the section is bundle-only.
    open: bool,
    known_protocol: bool,
    rtcp_mux: bool,
    mid: Option<Mid>,
    direction: Option<Direction>,
    pub(super) transport: TransportDraft,
    order: Vec<u8>,
    formats: Vec<FormatDraft>,
    parameters: Vec<(u8, Box<str>)>,
    /// Feedback; `None` stands for every payload type.
    feedback: Vec<(Option<u8>, Feedback)>,
    extensions: Vec<ExtensionMapping>,
    extension_lines: usize,
    msid: Option<Msid>,
    rids: Vec<Box<str>>,
    simulcast: Option<Vec<Box<str>>>,
    ssrcs: Vec<u32>,
    rtx_groups: Vec<(u32, u32)>,
    data: Option<DataOffer>,
}

impl Draft {
    /// From the value of `m=`: kind, port, protocol, formats.
    pub(super) fn new(value: &str) -> Result<Self, Fault> {
        let mut words = value.split_ascii_whitespace();
        let (Some(kind), Some(port), Some(protocol)) = (words.next(), words.next(), words.next())
        else {
            return Err(Fault::Malformed);
        };
        let mut draft = Self { open: port != "0", ..Self::default() };
        draft.kind = match kind {
            "audio" => Some(TrackKind::Audio),
            "video" => Some(TrackKind::Video),
            "application" => None,
            _ => return Err(Fault::UnknownMedia),
        };
        if draft.kind.is_none() {
            draft.known_protocol = matches!(protocol, "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
                && words.next() == Some("webrtc-datachannel");
            draft.data = Some(DataOffer {
                port: limits::SCTP_PORT,
                max_message_size: limits::SCTP_MESSAGE_DEFAULT,
            });
            return Ok(draft);
        }
        draft.known_protocol = matches!(protocol, "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF");
        for word in words {
            let pt = payload_type(word)?;
            if !draft.order.contains(&pt) {
                push_bounded(&mut draft.order, pt, limits::SDP_PAYLOADS_MAX)?;
            }
        }
        Ok(draft)
    }

    /// Takes one attribute of the section.
    pub(super) fn attribute(&mut self, attribute: &str) -> Result<(), Fault> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        if let Some(direction) = Direction::from_name(name) {
            self.direction = Some(direction);
            return Ok(());
        }
        match name {
            "mid" => self.mid = Some(Mid::new(value).ok_or(Fault::Malformed)?),
            "bundle-only" => self.open = true,
            "rtcp-mux" => self.rtcp_mux = true,
            "rtpmap" => self.rtpmap(value)?,
            "fmtp" => self.fmtp(value)?,
            "rtcp-fb" => self.rtcp_fb(value)?,
            "extmap" => self.extmap(value)?,
            "msid" if self.msid.is_none() => self.msid = Some(msid(value)?),
            "rid" => self.rid(value)?,
            "simulcast" => self.simulcast = simulcast_send(value)?,
            "ssrc" => self.ssrc(value)?,
            "ssrc-group" => self.ssrc_group(value)?,
            "sctp-port" => {
                let port = value.parse().map_err(|_| Fault::Malformed)?;
                self.data.as_mut().ok_or(Fault::Malformed)?.port = port;
            }
            "max-message-size" => {
                let size = value.parse().map_err(|_| Fault::Malformed)?;
                self.data.as_mut().ok_or(Fault::Malformed)?.max_message_size = size;
            }
            _ => self.transport.attribute(name, value)?,
        }
        Ok(())
    }

    /// `111 opus/48000/2`.
    fn rtpmap(&mut self, value: &str) -> Result<(), Fault> {
        let (pt, format) = value.split_once(' ').ok_or(Fault::Malformed)?;
        let pt = payload_type(pt)?;
        let mut parts = format.trim().split('/');
        let (Some(name), Some(clock_rate)) = (parts.next(), parts.next()) else {
            return Err(Fault::Malformed);
        };
        if name.is_empty() || name.len() > limits::SDP_NAME_MAX || !name.bytes().all(is_token_byte)
        {
            return Err(Fault::Malformed);
        }
        let clock_rate = clock_rate.parse().map_err(|_| Fault::Malformed)?;
        let channels =
            parts.next().map_or(Ok(1), |text| text.parse().map_err(|_| Fault::Malformed))?;
        let format = FormatDraft { pt, name: name.into(), clock_rate, channels };
        push_bounded(&mut self.formats, format, limits::SDP_PAYLOADS_MAX)
    }

    /// `96 name=value;…`.
    fn fmtp(&mut self, value: &str) -> Result<(), Fault> {
        let (pt, parameters) = value.split_once(' ').ok_or(Fault::Malformed)?;
        let pt = payload_type(pt)?;
        let parameters = parameters.trim();
        // The text is copied into answers.
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if parameters.len() > limits::SDP_FMTP_MAX || !parameters.bytes().all(printable) {
            return Err(Fault::Malformed);
        }
        push_bounded(&mut self.parameters, (pt, parameters.into()), limits::SDP_PAYLOADS_MAX)
    }

    /// `96 nack pli` or `* nack pli`.
    fn rtcp_fb(&mut self, value: &str) -> Result<(), Fault> {
        let (pt, feedback) = value.split_once(' ').ok_or(Fault::Malformed)?;
        let pt = if pt == "*" { None } else { Some(payload_type(pt)?) };
        let Some(feedback) = Feedback::from_value(feedback.trim()) else {
            return Ok(());
        };
        push_bounded(&mut self.feedback, (pt, feedback), limits::SDP_FEEDBACK_MAX)
    }

    /// `3 urn:…`, `3/sendonly urn:…`.
    fn extmap(&mut self, value: &str) -> Result<(), Fault> {
        self.extension_lines += 1;
        if self.extension_lines > limits::SDP_EXTENSIONS_MAX {
            return Err(Fault::TooMany);
        }
        let mut words = value.split_ascii_whitespace();
        let (Some(head), Some(uri)) = (words.next(), words.next()) else {
            return Err(Fault::Malformed);
        };
        let (id, direction) = match head.split_once('/') {
            Some((id, name)) => (id, Some(Direction::from_name(name).ok_or(Fault::Malformed)?)),
            None => (head, None),
        };
        // RFC 8285 §5 also has ids from 4096 up, for clients that offer more than they have ids for.
        let id: u16 = id.parse().map_err(|_| Fault::Malformed)?;
        let Ok(id) = u8::try_from(id) else {
            return Ok(());
        };
        if id == 0 || id == 15 {
            return Err(Fault::Malformed);
        }
        if let Some(extension) = ExtensionKind::from_uri(uri) {
            self.extensions.push(ExtensionMapping { id, extension, direction });
        }
        Ok(())
    }

    /// `q send …`.
    fn rid(&mut self, value: &str) -> Result<(), Fault> {
        let mut words = value.split_ascii_whitespace();
        let (Some(rid), Some(direction)) = (words.next(), words.next()) else {
            return Err(Fault::Malformed);
        };
        let rid = checked_rid(rid)?;
        if direction != "send" || self.rids.contains(&rid) {
            return Ok(());
        }
        push_bounded(&mut self.rids, rid, limits::SDP_RIDS_MAX)
    }

    /// `1234 cname:…`: one line for each attribute of each SSRC.
    fn ssrc(&mut self, value: &str) -> Result<(), Fault> {
        let number = value.split(' ').next().unwrap_or_default();
        let ssrc = number.parse().map_err(|_| Fault::Malformed)?;
        if self.ssrcs.contains(&ssrc) {
            return Ok(());
        }
        push_bounded(&mut self.ssrcs, ssrc, limits::SDP_SSRCS_MAX)
    }

    /// `FID 1234 5678`; other semantics are skipped.
    fn ssrc_group(&mut self, value: &str) -> Result<(), Fault> {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("FID") {
            return Ok(());
        }
        let (Some(primary), Some(rtx)) = (words.next(), words.next()) else {
            return Err(Fault::Malformed);
        };
        let primary = primary.parse().map_err(|_| Fault::Malformed)?;
        let rtx = rtx.parse().map_err(|_| Fault::Malformed)?;
        push_bounded(&mut self.rtx_groups, (primary, rtx), limits::SDP_SSRCS_MAX)
    }

    /// The section, once all its lines are read.
    pub(super) fn finish(
        self,
        session: &SessionDraft,
        index: usize,
    ) -> Result<Section, OfferError> {
        let mid = self.mid.clone().ok_or(OfferError::MissingMid { index })?;
        let bundled = session
            .bundle
            .as_ref()
            .is_some_and(|mids| mids.iter().any(|listed| **listed == *mid.as_str()));
        let muxed = self.rtcp_mux || self.kind.is_none();
        let rejected = !(self.open && bundled && muxed && self.known_protocol);
        let body = match (self.kind, self.data) {
            (Some(kind), _) => SectionBody::Media(self.media(kind, session.direction)),
            (None, data) => SectionBody::Data(data.unwrap_or(DataOffer {
                port: limits::SCTP_PORT,
                max_message_size: limits::SCTP_MESSAGE_DEFAULT,
            })),
        };
        Ok(Section { mid, rejected, body })
    }

    fn media(self, kind: TrackKind, default: Direction) -> MediaOffer {
        let payloads = self.payloads(kind);
        // `a=simulcast` orders and selects; without it, each rid stands for itself.
        let rids = match self.simulcast {
            Some(listed) => listed.into_iter().filter(|rid| self.rids.contains(rid)).collect(),
            None => self.rids,
        };
        MediaOffer {
            kind,
            direction: self.direction.unwrap_or(default),
            payloads,
            extensions: self.extensions,
            msid: self.msid,
            rids,
            ssrcs: self.ssrcs,
            rtx_groups: self.rtx_groups,
        }
    }

    /// Joins the lines of each payload type, in the order of the `m=` line.
    fn payloads(&self, kind: TrackKind) -> Vec<Payload> {
        // Tables by payload type keep this linear in the number of lines. The first line wins.
        let mut fmtp: [&str; 128] = [""; 128];
        for (pt, text) in self.parameters.iter().rev() {
            if let Some(slot) = fmtp.get_mut(usize::from(*pt)) {
                *slot = text;
            }
        }
        let fmtp_of = |pt: u8| fmtp.get(usize::from(pt)).copied().unwrap_or_default();
        let is_rtx = |format: &FormatDraft| format.name.eq_ignore_ascii_case("rtx");
        let mut rtx: [Option<u8>; 128] = [None; 128];
        for format in self.formats.iter().rev().filter(|format| is_rtx(format)) {
            let apt: Option<usize> =
                parameter(fmtp_of(format.pt), "apt").and_then(|apt| apt.parse().ok());
            if let Some(slot) = apt.and_then(|apt| rtx.get_mut(apt)) {
                *slot = Some(format.pt);
            }
        }
        let mut payloads = Vec::new();
        for &pt in &self.order {
            let Some(format) = self.formats.iter().find(|format| format.pt == pt) else {
                continue;
            };
            if is_rtx(format) {
                continue;
            }
            let mut feedback = Vec::new();
            for (of, kind) in &self.feedback {
                if of.is_none_or(|of| of == pt) && !feedback.contains(kind) {
                    feedback.push(*kind);
                }
            }
            payloads.push(Payload {
                pt,
                name: format.name.clone(),
                codec: codec(kind, &format.name, format.clock_rate),
                clock_rate: format.clock_rate,
                channels: format.channels,
                fmtp: fmtp_of(pt).into(),
                feedback,
                rtx: rtx.get(usize::from(pt)).copied().flatten(),
            });
        }
        payloads
    }
}

/// 0 to 127.
fn payload_type(text: &str) -> Result<u8, Fault> {
    text.parse().ok().filter(|pt| *pt < 128).ok_or(Fault::Malformed)
}

/// A rid as RTP header extensions carry it (RFC 8851 §10, RFC 8852).
fn checked_rid(text: &str) -> Result<Box<str>, Fault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=limits::RID_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.into())
    } else {
        Err(Fault::Malformed)
    }
}

/// `stream track`.
fn msid(value: &str) -> Result<Msid, Fault> {
    let mut words = value.split_ascii_whitespace();
    let stream = words.next().ok_or(Fault::Malformed)?;
    let track = words.next();
    if stream.len() > limits::MSID_MAX || track.is_some_and(|id| id.len() > limits::MSID_MAX) {
        return Err(Fault::Malformed);
    }
    Ok(Msid { stream: stream.into(), track: track.map(Into::into) })
}

/// The rids after `send`; of alternatives the first, whether paused (`~`) or not.
fn simulcast_send(value: &str) -> Result<Option<Vec<Box<str>>>, Fault> {
    let mut words = value.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let Some(list) = words.next() else {
            return Err(Fault::Malformed);
        };
        if word != "send" {
            continue;
        }
        let mut rids = Vec::new();
        for alternatives in list.split(';') {
            let first = alternatives.split(',').next().unwrap_or_default();
            let rid = checked_rid(first.trim_start_matches('~'))?;
            if !rids.contains(&rid) {
                push_bounded(&mut rids, rid, limits::SDP_RIDS_MAX)?;
            }
        }
        return Ok(Some(rids));
    }
    Ok(None)
}
