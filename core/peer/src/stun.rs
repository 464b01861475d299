//! STUN messages, as far as ICE needs them: binding requests and their answers.
//!
//! Guarantees: reading borrows and never allocates; nothing that stands behind MESSAGE-INTEGRITY is
//! believed, since it is not covered.
//! Not here: what follows from a message (`ice`).
//! Source: RFC 8489 §5, §14; RFC 8445 §7.1, §16.1.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

const HEADER_LEN: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// Bytes of MESSAGE-INTEGRITY and FINGERPRINT with their headers.
const INTEGRITY_LEN: usize = 4 + 20;
const FINGERPRINT_LEN: usize = 4 + 4;

/// What FINGERPRINT's checksum is combined with.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Priority of a peer-reflexive host candidate (RFC 8445 §5.1.2.1); there is only one to choose.
const CHECK_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Names one request and its answer.
pub(crate) type TransactionId = [u8; 12];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Success,
}

impl Kind {
    const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0x0001 => Some(Self::Request),
            0x0101 => Some(Self::Success),
            _ => None,
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0001,
            Self::Success => 0x0101,
        }
    }
}

/// A well-formed message. Nothing in it is authentic before [`Message::is_authentic`] says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: Kind,
    pub(crate) transaction: TransactionId,
    pub(crate) username: Option<&'a [u8]>,
    /// The sender, as the controlling end, nominates this pair.
    pub(crate) nominates: bool,
    /// What the sender makes of its own end of this pair.
    pub(crate) priority: u32,
    datagram: &'a [u8],
    /// Where MESSAGE-INTEGRITY begins, and its value.
    integrity: Option<(usize, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// `None` when the datagram is not a whole binding request or success.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = datagram.split_first_chunk::<HEADER_LEN>()?;
        let &[t0, t1, l0, l1, m0, m1, m2, m3, ref transaction @ ..] = header;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let kind = Kind::from_bits(u16::from_be_bytes([t0, t1]))?;
        if [m0, m1, m2, m3] != MAGIC || length != rest.len() || length % 4 != 0 {
            return None;
        }
        let mut message = Self {
            kind,
            transaction: *transaction,
            username: None,
            nominates: false,
            priority: 0,
            datagram,
            integrity: None,
        };
        while let Some((&[k0, k1, n0, n1], after)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([n0, n1]));
            let (value, _) = after.split_at_checked(length)?;
            if message.integrity.is_none() {
                match u16::from_be_bytes([k0, k1]) {
                    USERNAME if message.username.is_none() => message.username = Some(value),
                    PRIORITY => {
                        message.priority = value.try_into().map_or(0, u32::from_be_bytes);
                    }
                    USE_CANDIDATE => message.nominates = true,
                    MESSAGE_INTEGRITY => {
                        message.integrity = Some((datagram.len() - rest.len(), value));
                    }
                    _ => {}
                }
            }
            rest = after.get(length.next_multiple_of(4)..)?;
        }
        Some(message)
    }

    /// Was it made by somebody who knows `password`, and not changed since?
    pub(crate) fn is_authentic(&self, password: &str) -> bool {
        let Some((at, tag)) = self.integrity else { return false };
        let Some((covered, _)) = self.datagram.split_at_checked(at) else { return false };
        let Some((header, attributes)) = covered.split_first_chunk::<HEADER_LEN>() else {
            return false;
        };
        let mut header = *header;
        let Ok(length) = u16::try_from(attributes.len() + INTEGRITY_LEN) else { return false };
        set_length(&mut header, length);
        let mut covered = header.to_vec();
        covered.extend_from_slice(attributes);
        hmac::verify(&key(password), &covered, tag).is_ok()
    }
}

/// The user that a binding request names, unauthenticated: what is needed to find the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// The part of USERNAME before the colon: the ufrag of the end that is asked.
    pub local_ufrag: &'a [u8],
}

impl<'a> BindingRequest<'a> {
    /// Reads a datagram; `None` when it is not a well-formed binding request with a user name.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let message = Message::parse(datagram).filter(|it| it.kind == Kind::Request)?;
        let username = message.username?;
        let colon = username.iter().position(|&letter| letter == b':')?;
        Some(Self { local_ufrag: username.get(..colon)? })
    }
}

/// Who asks, as ICE divides the roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Answers, and asks only to see whether the client is where it says.
    Controlled,
    /// Asks, and decides which pair is used.
    Controlling,
}

/// A binding request to the end that knows `password`.
pub(crate) fn request(
    transaction: TransactionId,
    username: &str,
    role: Role,
    password: &str,
) -> Vec<u8> {
    request_from(CHECK_PRIORITY, transaction, username, role, password)
}

/// The same from a candidate of this priority.
pub(crate) fn request_from(
    priority: u32,
    transaction: TransactionId,
    username: &str,
    role: Role,
    password: &str,
) -> Vec<u8> {
    let mut builder = Builder::new(Kind::Request, transaction);
    builder.attribute(USERNAME, username.as_bytes());
    builder.attribute(PRIORITY, &priority.to_be_bytes());
    let [tie @ .., _, _, _, _] = transaction;
    match role {
        Role::Controlled => builder.attribute(ICE_CONTROLLED, &tie),
        Role::Controlling => {
            builder.attribute(ICE_CONTROLLING, &tie);
            builder.attribute(USE_CANDIDATE, &[]);
        }
    }
    builder.finish(password)
}

/// The answer to a binding request that came from `from`.
pub(crate) fn success(transaction: TransactionId, from: SocketAddr, password: &str) -> Vec<u8> {
    let mut builder = Builder::new(Kind::Success, transaction);
    let [p0, p1] = from.port().to_be_bytes();
    let [m0, m1, ..] = MAGIC;
    let port = [p0 ^ m0, p1 ^ m1];
    let mask = MAGIC.into_iter().chain(transaction);
    let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
    value.extend_from_slice(&port);
    match from.ip() {
        IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(mask).map(|(it, mask)| it ^ mask)),
        IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(mask).map(|(it, mask)| it ^ mask)),
    }
    builder.attribute(XOR_MAPPED_ADDRESS, &value);
    builder.finish(password)
}

struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    fn new(kind: Kind, transaction: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.bits().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&transaction);
        Self { bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, password: &str) -> Vec<u8> {
        self.announce(INTEGRITY_LEN);
        let tag = hmac::sign(&key(password), &self.bytes);
        self.attribute(MESSAGE_INTEGRITY, tag.as_ref());
        self.announce(FINGERPRINT_LEN);
        let checksum = crc32fast::hash(&self.bytes) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &checksum.to_be_bytes());
        self.bytes
    }

    /// Says how long the message will be with `more` bytes: both checks cover the length.
    fn announce(&mut self, more: usize) {
        let length = u16::try_from(self.bytes.len() + more - HEADER_LEN).unwrap_or(0);
        if let Some(header) = self.bytes.first_chunk_mut() {
            set_length(header, length);
        }
    }
}

fn set_length(header: &mut [u8; HEADER_LEN], length: u16) {
    let [_, _, high, low, ..] = header;
    [*high, *low] = length.to_be_bytes();
}

fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    /// RFC 5769 §2.1: a request with all that ICE puts in one.
    const REQUEST: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6,
        0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74,
        0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e,
        0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36,
        0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20,
        0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e,
        0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5,
        0x7a, 0x3b, 0xcf,
    ];

    /// RFC 5769 §2.2: the answer to it, for 192.0.2.1:32853.
    const RESPONSE: [u8; 80] = [
        0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6,
        0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76,
        0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1,
        0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3,
        0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00,
        0x04, 0xc0, 0x7d, 0x4c, 0x96,
    ];

    fn attribute(message: &[u8], kind: u16) -> Option<&[u8]> {
        let mut rest = &message[HEADER_LEN..];
        while let Some((&[k0, k1, n0, n1], after)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([n0, n1]));
            if u16::from_be_bytes([k0, k1]) == kind {
                return Some(&after[..length]);
            }
            rest = &after[length.next_multiple_of(4)..];
        }
        None
    }

    #[test]
    fn the_rfcs_request_is_authentic_under_its_password_alone() {
        let message = Message::parse(&REQUEST).unwrap();
        assert_eq!(message.kind, Kind::Request);
        assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
        assert_eq!(message.priority, 0x6e00_01ff);
        assert!(message.is_authentic(PASSWORD));
        assert!(!message.is_authentic("VOkJxbRl1RmTxUk/WvJxBu"));
        assert_eq!(BindingRequest::parse(&REQUEST).unwrap().local_ufrag, b"evtj");
    }

    #[test]
    fn each_changed_byte_that_is_covered_is_noticed() {
        for at in 0..REQUEST.len() - FINGERPRINT_LEN {
            let mut changed = REQUEST;
            changed[at] ^= 1;
            let holds = Message::parse(&changed).is_some_and(|it| it.is_authentic(PASSWORD));
            assert!(!holds, "byte {at}");
        }
    }

    #[test]
    fn an_answer_holds_what_the_rfcs_does() {
        let transaction = Message::parse(&RESPONSE).unwrap().transaction;
        assert!(Message::parse(&RESPONSE).unwrap().is_authentic(PASSWORD));
        let ours = success(transaction, "192.0.2.1:32853".parse().unwrap(), PASSWORD);
        let mapped = attribute(&RESPONSE, XOR_MAPPED_ADDRESS);
        assert_eq!(attribute(&ours, XOR_MAPPED_ADDRESS), mapped);
        assert!(Message::parse(&ours).unwrap().is_authentic(PASSWORD));
        // RFC 5769 §2.3, with the same transaction.
        let from = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        let six = [
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
            0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let ours = success(transaction, from, PASSWORD);
        assert_eq!(attribute(&ours, XOR_MAPPED_ADDRESS), Some(&six[..]));
    }

    #[test]
    fn the_fingerprint_is_reckoned_as_the_rfcs() {
        let (covered, tail) = REQUEST.split_at(REQUEST.len() - FINGERPRINT_LEN);
        let checksum = crc32fast::hash(covered) ^ FINGERPRINT_XOR;
        assert_eq!(tail[4..], checksum.to_be_bytes());
        let ours = request([7; 12], "a:b", Role::Controlled, PASSWORD);
        let (covered, tail) = ours.split_at(ours.len() - FINGERPRINT_LEN);
        assert_eq!(tail[4..], (crc32fast::hash(covered) ^ FINGERPRINT_XOR).to_be_bytes());
    }

    #[test]
    fn a_request_that_we_make_is_read_as_it_was_meant() {
        for (role, nominates) in [(Role::Controlling, true), (Role::Controlled, false)] {
            let ours = request([7; 12], "theirs:ours", role, PASSWORD);
            let message = Message::parse(&ours).unwrap();
            assert_eq!(message.transaction, [7; 12]);
            assert_eq!(message.username, Some(&b"theirs:ours"[..]));
            assert_eq!(message.nominates, nominates);
            assert!(message.is_authentic(PASSWORD));
        }
    }

    #[test]
    fn what_stands_behind_the_integrity_is_not_believed() {
        let mut ours = request([7; 12], "theirs:ours", Role::Controlled, PASSWORD);
        ours.truncate(ours.len() - FINGERPRINT_LEN);
        ours.extend_from_slice(&USE_CANDIDATE.to_be_bytes());
        ours.extend_from_slice(&[0, 0]);
        let length = u16::try_from(ours.len() - HEADER_LEN).unwrap();
        ours[2..4].copy_from_slice(&length.to_be_bytes());
        let message = Message::parse(&ours).unwrap();
        assert!(message.is_authentic(PASSWORD));
        assert!(!message.nominates);
    }

    #[test]
    fn what_is_not_a_whole_binding_message_is_nothing() {
        for cut in 0..REQUEST.len() {
            assert!(Message::parse(&REQUEST[..cut]).is_none(), "cut at {cut}");
        }
        let mut long = REQUEST.to_vec();
        long.push(0);
        assert!(Message::parse(&long).is_none());
        let nameless = success([1; 12], "192.0.2.1:1".parse().unwrap(), PASSWORD);
        assert_eq!(BindingRequest::parse(&nameless), None);
        let no_colon = request([1; 12], "no colon", Role::Controlled, PASSWORD);
        assert_eq!(BindingRequest::parse(&no_colon), None);
        let unsigned = Builder::new(Kind::Request, [1; 12]).bytes;
        assert!(!Message::parse(&unsigned).unwrap().is_authentic(PASSWORD));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = BindingRequest::parse(&bytes);
            let _ = Message::parse(&bytes).map(|it| it.is_authentic(PASSWORD));
        }
    }
}
