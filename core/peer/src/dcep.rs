//! The messages by which data channels are opened (DCEP).
//!
//! Guarantees: never panics; a message that is malformed opens nothing. Source: RFC 8832.
//! Not here: what a channel is then (`channel`).

use sctp_proto::ReliabilityType;

/// Types of messages (RFC 8832 §8.2.1).
pub(crate) const ACK: u8 = 0x02;
pub(crate) const OPEN: u8 = 0x03;

/// A DATA_CHANNEL_OPEN message (RFC 8832 §5.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Open<'a> {
    pub(crate) is_unordered: bool,
    pub(crate) kind: ReliabilityType,
    /// Retransmissions or milliseconds, as the kind says.
    pub(crate) reliability: u32,
    pub(crate) label: &'a str,
}

impl<'a> Open<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let (header, rest) = message.split_first_chunk::<12>()?;
        let &[kind, channel, _, _, r0, r1, r2, r3, l0, l1, _, _] = header;
        if kind != OPEN {
            return None;
        }
        let label = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
        Some(Self {
            is_unordered: channel & 0x80 != 0,
            kind: match channel & 0x7f {
                0 => ReliabilityType::Reliable,
                1 => ReliabilityType::Rexmit,
                2 => ReliabilityType::Timed,
                _ => return None,
            },
            reliability: u32::from_be_bytes([r0, r1, r2, r3]),
            label: std::str::from_utf8(label).ok()?,
        })
    }
}

/// The message that opens a reliable, ordered channel.
pub(crate) fn open(label: &str) -> Vec<u8> {
    let mut message = vec![OPEN, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&u16::try_from(label.len()).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(label.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_open_message_is_read_as_it_was_written() {
        let read = |message: &[u8]| Open::parse(message).map(|it| (it.kind, it.label.to_owned()));
        let message = open("_reliable");
        assert_eq!(read(&message), Some((ReliabilityType::Reliable, "_reliable".to_owned())));
        for cut in 0..message.len() {
            assert_eq!(read(&message[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_a_channel_loses_is_read_from_its_type() {
        let mut message = open("_lossy");
        message[1] = 0x81;
        message[7] = 3;
        let read = Open::parse(&message).unwrap();
        assert!(read.is_unordered);
        assert_eq!((read.kind, read.reliability), (ReliabilityType::Rexmit, 3));
        message[1] = 0x05;
        assert_eq!(Open::parse(&message), None, "there is no such type");
    }

    proptest! {
        #[test]
        fn random_messages_never_panic(bytes: Vec<u8>) {
            let _ = Open::parse(&bytes);
        }
    }
}
