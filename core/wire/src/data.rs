//! Data packets: what one participant sends the others, and what the network writes into it.
//!
//! Owns: the sender's name in every packet, who a packet is for, which packets pass.
//! Guarantees: nobody sends in another's name (an agent may, where LiveKit lets it); what a receiver gets
//! decodes; payloads and fields nobody knows pass as they came.
//! Not here: channels and their order (`peer`), replay after a resume (`sfu`).
//! Source: LiveKit `handleReceivedDataMessage` in `pkg/rtc/participant.go`, `BroadcastDataPacketForRoom` in
//! `pkg/rtc/room.go`.

use model::{Identity, ParticipantSid, Sid as _};
use prost::Message as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

use crate::limits::{DATA_PACKET_MAX, DESTINATIONS_MAX};
use crate::proto::data_packet::{Kind, Value};
use crate::proto::{DataPacket, SendDataRequest, UserPacket, data_stream};

/// Field numbers of `DataPacket`.
mod field {
    pub(super) const KIND: u32 = 1;
    pub(super) const USER: u32 = 2;
    pub(super) const PARTICIPANT_IDENTITY: u32 = 4;
    pub(super) const DESTINATION_IDENTITIES: u32 = 5;
    pub(super) const PARTICIPANT_SID: u32 = 17;

    /// Field numbers of `UserPacket`.
    pub(super) mod user {
        pub(in super::super) const PARTICIPANT_SID: u32 = 1;
        pub(in super::super) const DESTINATION_SIDS: u32 = 3;
        pub(in super::super) const PARTICIPANT_IDENTITY: u32 = 5;
        pub(in super::super) const DESTINATION_IDENTITIES: u32 = 6;
    }
}

/// The channel that a packet came in on, which decides how it is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `_reliable`: all, in order.
    Reliable,
    /// `_lossy`: what arrives.
    Lossy,
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// Its presence.
    pub sid: &'a ParticipantSid,
    /// Its name.
    pub identity: &'a Identity,
    /// Others are not told of it: its packets carry no name.
    pub hidden: bool,
    /// It may send transcriptions, and chat messages and text streams in others' names.
    pub agent: bool,
}

/// A packet that does not pass. The sender's fault; it is counted and otherwise ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Longer than [`DATA_PACKET_MAX`].
    #[error("a data packet of {len} bytes is too long")]
    TooLong {
        /// Bytes of the packet.
        len: usize,
    },
    /// Not a `DataPacket`.
    #[error("a data packet cannot be decoded")]
    Undecodable,
    /// More receivers than [`DESTINATIONS_MAX`].
    #[error("a data packet has too many receivers")]
    TooManyDestinations,
    /// Something that only the network, or only an agent, may say: speakers, transcriptions.
    #[error("a data packet of this kind may not be sent by this participant")]
    NotAllowed,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To its audience.
    Audience,
    /// To those who may read measurements, its sender too.
    Metrics,
}

/// A packet that passes.
#[derive(Clone, PartialEq)]
pub struct Packet {
    /// The bytes to send, the same for every receiver.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub route: Route,
    /// Whom it is for.
    pub audience: Audience,
    /// The sender's number of it, counted by reliable packets only; 0 from clients that do not count.
    pub sequence: u32,
    /// The mark by which a sender lets repeats be dropped; empty if it sets none.
    pub nonce: Vec<u8>,
    /// Whose words they are, when an agent sends another's.
    pub on_behalf_of: Option<Identity>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("len", &self.bytes.len())
            .field("route", &self.route)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

/// Whom a packet is for. Never its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Ascending, so that somebody is found in O(log n), and each once.
    identities: Vec<Identity>,
    /// The same.
    sids: Vec<ParticipantSid>,
}

impl Audience {
    fn new(mut identities: Vec<Identity>, mut sids: Vec<ParticipantSid>) -> Self {
        identities.sort_unstable();
        identities.dedup();
        sids.sort_unstable();
        sids.dedup();
        Self { identities, sids }
    }

    /// How many are named: nobody, if it is for everybody.
    #[must_use]
    pub const fn named(&self) -> usize {
        self.identities.len() + self.sids.len()
    }

    /// Whether it is for that participant: no names at all mean everybody.
    #[must_use]
    pub fn includes(&self, identity: &Identity, sid: &ParticipantSid) -> bool {
        self.named() == 0 || self.names(identity, sid)
    }

    /// Whether that participant is one of those who are named.
    #[must_use]
    pub fn names(&self, identity: &Identity, sid: &ParticipantSid) -> bool {
        self.identities.binary_search(identity).is_ok() || self.sids.binary_search(sid).is_ok()
    }

    /// Takes one who is named out. Whether somebody is left: without names it would be for everybody.
    #[must_use]
    pub fn remove(&mut self, identity: &Identity, sid: &ParticipantSid) -> bool {
        self.identities.retain(|named| named != identity);
        self.sids.retain(|named| named != sid);
        self.named() > 0
    }
}

/// The order of one sender's reliable packets, so that what it repeats after a resume passes once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReliableOrder {
    last: u32,
}

impl ReliableOrder {
    /// Whether a packet with that sequence is new. Packets without one always are.
    pub fn accept(&mut self, sequence: u32) -> bool {
        if sequence == 0 {
            return true;
        }
        let is_new = sequence > self.last;
        if is_new {
            self.last = sequence;
        }
        is_new
    }

    /// The last sequence that passed; what `ReconnectResponse.last_message_seq` says.
    #[must_use]
    pub const fn last(self) -> u32 {
        self.last
    }
}

/// Takes a packet that `sender`, who may publish data, sent on a channel. O(its length).
///
/// # Errors
/// See [`DataError`].
pub fn receive(bytes: &[u8], delivery: Delivery, sender: Sender<'_>) -> Result<Packet, DataError> {
    if bytes.len() > DATA_PACKET_MAX {
        return Err(DataError::TooLong { len: bytes.len() });
    }
    let mut packet = DataPacket::decode(bytes).map_err(|_| DataError::Undecodable)?;
    let route = route(&packet, sender)?;
    let audience = audience(&packet)?;
    let sequence = match delivery {
        Delivery::Reliable => packet.sequence,
        Delivery::Lossy => 0,
    };
    let nonce = match &mut packet.value {
        Some(Value::User(user)) => std::mem::take(&mut user.nonce),
        _ => Vec::new(),
    };
    let (bytes, on_behalf_of) = if speaks_for_another(&packet, sender) {
        let other = Identity::new(&packet.participant_identity);
        (on_behalf(packet, delivery, sender), Some(other))
    } else {
        let attributed = attribute(bytes, delivery, sender, &audience);
        (attributed.ok_or(DataError::Undecodable)?, transcribed(&packet))
    };
    Ok(Packet { bytes, route, audience, sequence, nonce, on_behalf_of })
}

/// The packet of a back end, which is nobody's: it bears no name and no sequence. With it comes its delivery.
///
/// # Errors
/// [`DataError::TooLong`], [`DataError::TooManyDestinations`].
#[expect(deprecated, reason = "clients still read the older fields, and back ends fill one")]
pub fn announce(request: SendDataRequest) -> Result<(Delivery, Packet), DataError> {
    let delivery = match request.kind() {
        Kind::Reliable => Delivery::Reliable,
        Kind::Lossy => Delivery::Lossy,
    };
    let user = UserPacket {
        payload: request.data,
        destination_sids: request.destination_sids,
        destination_identities: request.destination_identities.clone(),
        topic: request.topic,
        ..Default::default()
    };
    let packet = DataPacket {
        kind: kind(delivery).into(),
        destination_identities: request.destination_identities,
        value: Some(Value::User(user)),
        ..Default::default()
    };
    let len = packet.encoded_len();
    if len > DATA_PACKET_MAX {
        return Err(DataError::TooLong { len });
    }
    let audience = audience(&packet)?;
    let bytes = packet.encode_to_vec();
    let (route, nonce) = (Route::Audience, request.nonce);
    let packet = Packet { bytes, route, audience, sequence: 0, nonce, on_behalf_of: None };
    Ok((delivery, packet))
}

/// A packet that passed, without one of those whom it names as its receivers. None if the bytes are no message.
#[must_use]
pub fn unaddressed(bytes: &[u8], identity: &Identity, sid: &ParticipantSid) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    for field in Fields(bytes) {
        let field = field?;
        match field.number {
            field::DESTINATION_IDENTITIES if field.payload()? == identity.expose().as_bytes() => {}
            field::USER => {
                let mut rest = Vec::with_capacity(field.raw.len());
                for inner in Fields(field.payload()?) {
                    let inner = inner?;
                    let name = match inner.number {
                        field::user::DESTINATION_IDENTITIES => identity.expose(),
                        field::user::DESTINATION_SIDS => sid.as_str(),
                        _ => "",
                    };
                    if name.is_empty() || inner.payload()? != name.as_bytes() {
                        rest.extend_from_slice(inner.raw);
                    }
                }
                put_bytes(field::USER, &rest, &mut out);
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Some(out)
}

fn route(packet: &DataPacket, sender: Sender<'_>) -> Result<Route, DataError> {
    #[expect(deprecated, reason = "older clients could still send it")]
    match &packet.value {
        Some(Value::Speaker(_)) => Err(DataError::NotAllowed),
        Some(Value::Transcription(_)) if !sender.agent => Err(DataError::NotAllowed),
        Some(Value::Metrics(_)) => Ok(Route::Metrics),
        // Of a kind that this version does not know: for the receivers to judge, as LiveKit lets them.
        None => Ok(Route::Audience),
        Some(
            Value::User(_)
            | Value::SipDtmf(_)
            | Value::Transcription(_)
            | Value::ChatMessage(_)
            | Value::RpcRequest(_)
            | Value::RpcAck(_)
            | Value::RpcResponse(_)
            | Value::StreamHeader(_)
            | Value::StreamChunk(_)
            | Value::StreamTrailer(_)
            | Value::EncryptedPacket(_),
        ) => Ok(Route::Audience),
    }
}

/// The packet's own list of identities rules; a user packet's older ones stand in for it.
#[expect(deprecated, reason = "clients still fill the older fields")]
fn audience(packet: &DataPacket) -> Result<Audience, DataError> {
    let user = match &packet.value {
        Some(Value::User(user)) => Some(user),
        _ => None,
    };
    let sids = user.map_or(&[][..], |user| &user.destination_sids);
    let identities = match user {
        Some(user) if packet.destination_identities.is_empty() => &user.destination_identities,
        _ => &packet.destination_identities,
    };
    if identities.len() + sids.len() > DESTINATIONS_MAX {
        return Err(DataError::TooManyDestinations);
    }
    Ok(Audience::new(
        identities.iter().map(|identity| Identity::new(identity)).collect(),
        sids.iter().map(|sid| ParticipantSid::from_wire(sid)).collect(),
    ))
}

/// Whether an agent sends what LiveKit lets agents send in a participant's name.
fn speaks_for_another(packet: &DataPacket, sender: Sender<'_>) -> bool {
    let names_another = !packet.participant_identity.is_empty()
        && packet.participant_identity != sender.identity.expose();
    let may = match &packet.value {
        Some(Value::ChatMessage(_)) => true,
        Some(Value::StreamHeader(header)) => {
            matches!(header.content_header, Some(data_stream::header::ContentHeader::TextHeader(_)))
        }
        _ => false,
    };
    sender.agent && names_another && may
}

/// Whose words a transcription says they are.
fn transcribed(packet: &DataPacket) -> Option<Identity> {
    match &packet.value {
        Some(Value::Transcription(words)) => {
            Some(Identity::new(&words.transcribed_participant_identity))
        }
        _ => None,
    }
}

/// Keeps the name that an agent put in, and marks the text as generated.
fn on_behalf(mut packet: DataPacket, delivery: Delivery, sender: Sender<'_>) -> Vec<u8> {
    #[expect(deprecated, reason = "older clients read it")]
    {
        packet.kind = kind(delivery).into();
    }
    packet.participant_sid = sender.sid.as_str().to_owned();
    match &mut packet.value {
        Some(Value::ChatMessage(message)) => message.generated = true,
        Some(Value::StreamHeader(header)) => {
            if let Some(data_stream::header::ContentHeader::TextHeader(text)) =
                &mut header.content_header
            {
                text.generated = true;
            }
        }
        _ => {}
    }
    packet.encode_to_vec()
}

const fn kind(delivery: Delivery) -> Kind {
    match delivery {
        Delivery::Reliable => Kind::Reliable,
        Delivery::Lossy => Kind::Lossy,
    }
}

/// Copies a packet with the network's word for who sent it and whom it is for.
///
/// It is copied field by field and not encoded anew, so that fields nobody knows survive. None if the bytes
/// are no message.
fn attribute(
    bytes: &[u8],
    delivery: Delivery,
    sender: Sender<'_>,
    audience: &Audience,
) -> Option<Vec<u8>> {
    let name = if sender.hidden { "" } else { sender.identity.expose() };
    let sid = sender.sid.as_str();
    let mut out = Vec::with_capacity(bytes.len() + 4 * (name.len() + sid.len()) + 32);
    if delivery == Delivery::Lossy {
        encode_key(field::KIND, WireType::Varint, &mut out);
        encode_varint(1, &mut out);
    }
    put_text(field::PARTICIPANT_IDENTITY, name, &mut out);
    put_text(field::PARTICIPANT_SID, sid, &mut out);
    for identity in &audience.identities {
        put_text(field::DESTINATION_IDENTITIES, identity.expose(), &mut out);
    }
    let mut user = None;
    for field in Fields(bytes) {
        let field = field?;
        match field.number {
            field::KIND
            | field::PARTICIPANT_IDENTITY
            | field::PARTICIPANT_SID
            | field::DESTINATION_IDENTITIES => {}
            // Each would be answered with a whole list of receivers; no client writes two.
            field::USER if user.is_some() => return None,
            field::USER => {
                let mut attributed = Vec::new();
                attribute_user(field.payload()?, sender, name, audience, &mut attributed)?;
                put_bytes(field::USER, &attributed, &mut out);
                user = Some(());
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Some(out)
}

/// The same for the fields that a user packet, the oldest kind, has of its own.
fn attribute_user(
    bytes: &[u8],
    sender: Sender<'_>,
    name: &str,
    audience: &Audience,
    out: &mut Vec<u8>,
) -> Option<()> {
    let sid = if sender.hidden { "" } else { sender.sid.as_str() };
    put_text(field::user::PARTICIPANT_SID, sid, out);
    put_text(field::user::PARTICIPANT_IDENTITY, name, out);
    for identity in &audience.identities {
        put_text(field::user::DESTINATION_IDENTITIES, identity.expose(), out);
    }
    for sid in &audience.sids {
        put_text(field::user::DESTINATION_SIDS, sid.as_str(), out);
    }
    for field in Fields(bytes) {
        let field = field?;
        match field.number {
            field::user::PARTICIPANT_SID
            | field::user::PARTICIPANT_IDENTITY
            | field::user::DESTINATION_IDENTITIES
            | field::user::DESTINATION_SIDS => {}
            _ => out.extend_from_slice(field.raw),
        }
    }
    Some(())
}

fn put_text(number: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_bytes(number, text.as_bytes(), out);
    }
}

fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), out);
    out.extend_from_slice(bytes);
}

/// One field of a message as it stands on the wire.
struct Field<'a> {
    number: u32,
    kind: WireType,
    /// Key and value.
    raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// What a length-delimited field holds.
    fn payload(&self) -> Option<&'a [u8]> {
        if self.kind != WireType::LengthDelimited {
            return None;
        }
        let mut bytes = self.raw;
        decode_varint(&mut bytes).ok()?;
        decode_varint(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// The fields of a message in the order of the wire; ends with None where the bytes are no message.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let start = self.0;
        let field = decode_key(&mut self.0).ok().and_then(|(number, kind)| {
            skip_field(kind, number, &mut self.0, DecodeContext::default()).ok()?;
            let raw = start.get(..start.len() - self.0.len())?;
            Some(Field { number, kind, raw })
        });
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests;
