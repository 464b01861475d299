//! One question to a STUN server: from where do I seem to come?
//!
//! Source: RFC 8489 §5, §14.2.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

const HEADER_LEN: usize = 20;
const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FAMILY_4: u8 = 1;
const FAMILY_6: u8 = 2;

/// How often it is asked, and how long it has each time: datagrams are lost.
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(1);

/// The address that `server` sees `socket` at.
pub(super) fn ask(socket: &UdpSocket, server: SocketAddr) -> io::Result<SocketAddr> {
    let mut transaction = [0; 12];
    let random = SystemRandom::new().fill(&mut transaction);
    random.map_err(|_| io::Error::other("the system gives no randomness"))?;
    let request = [&REQUEST[..], &[0, 0], &MAGIC, &transaction].concat();
    socket.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..TRIES {
        socket.send_to(&request, server)?;
        let mut answer = [0; 1500];
        match socket.recv_from(&mut answer) {
            Ok((length, from)) if from == server => {
                let mapped = answer.get(..length).and_then(|answer| read(answer, &transaction));
                return mapped
                    .ok_or_else(|| io::Error::other("it answers something else than STUN"));
            }
            Ok(_) => {}
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

pub(super) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What a success says, if it is the answer to this request.
fn read(answer: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let (header, mut rest) = answer.split_at_checked(HEADER_LEN)?;
    let is_ours = header.starts_with(&SUCCESS)
        && header.get(4..8) == Some(&MAGIC)
        && header.get(8..) == Some(transaction);
    if !is_ours {
        return None;
    }
    while let Some((&[k0, k1, n0, n1], after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([n0, n1]));
        let (value, _) = after.split_at_checked(length)?;
        if u16::from_be_bytes([k0, k1]) == XOR_MAPPED_ADDRESS {
            return mapped(value, transaction);
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn mapped(value: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let [m0, m1, ..] = MAGIC;
    let port = u16::from_be_bytes([p0 ^ m0, p1 ^ m1]);
    let mask = MAGIC.iter().chain(transaction);
    let plain: Vec<u8> = address.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    let address = match family {
        FAMILY_4 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        FAMILY_6 => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.2 and §2.3, cut after XOR-MAPPED-ADDRESS.
    const TRANSACTION: [u8; 12] =
        [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    const SOFTWARE: &[u8] = b"\x80\x22\x00\x0btest vector ";

    fn answer(attribute: &[u8]) -> Vec<u8> {
        [&SUCCESS[..], &[0, 0x3c], &MAGIC, &TRANSACTION, SOFTWARE, attribute].concat()
    }

    #[test]
    fn the_examples_of_rfc_5769_are_read() {
        let four = answer(b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43");
        assert_eq!(read(&four, &TRANSACTION), "192.0.2.1:32853".parse().ok());
        let six = answer(
            b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9",
        );
        let expect = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok();
        assert_eq!(read(&six, &TRANSACTION), expect);
        assert_eq!(read(&four, &[0; 12]), None);
        for length in 0..four.len() {
            assert_eq!(read(&four[..length], &TRANSACTION), None, "{length}");
        }
    }
}
