//! Sends datagrams that are nobody's, in great number and under forged addresses, and says how many.
//!
//! Owns: the shapes of what strangers send, the rate, the end: it stops by itself. Needs root, for the raw socket.
//! Guarantees: loopback and the range that is set aside for measurements (RFC 2544) are the only targets, so
//! that it can be turned against nobody.
//! Source: raw(7), RFC 791, RFC 768; RFC 8489 (STUN), RFC 6347 (DTLS), RFC 3550 (RTP) for the shapes.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command talks to its terminal")]

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};

/// `IPPROTO_RAW`: we write the IP header.
const RAW: i32 = 255;
/// Headers of IPv4 and UDP.
const HEADERS_LEN: usize = 28;
/// The largest shape.
const PAYLOAD_LEN_MAX: usize = 400;
/// Sent between two looks at the clock.
const BURST: u64 = 32;
/// Never longer than this, whatever was asked for.
const SECONDS_MAX: u64 = 600;

/// Floods a port of this machine with datagrams under forged addresses.
#[derive(Parser)]
struct Options {
    /// Where to: of 127.0.0.0/8 or 198.18.0.0/15
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: SocketAddrV4,
    /// How many
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// How many a second; 0 is as fast as it goes
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Forged senders: random ones of this /16
    #[arg(long, value_name = "ADDRESS", default_value = "198.19.0.0")]
    from: Ipv4Addr,
    /// More forged senders, such as running clients; each other datagram is theirs
    #[arg(long, value_name = "ADDRESS:PORT")]
    also: Vec<SocketAddrV4>,
    /// Stop before that once the standard input ends
    #[arg(long)]
    until_closed: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if !is_ours(*options.target.ip()) {
        return Err("this is for loopback and 198.18.0.0/15 only".into());
    }
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut packet = [0; HEADERS_LEN + PAYLOAD_LEN_MAX];
    let input =
        options.until_closed.then(|| thread::spawn(|| io::copy(&mut io::stdin(), &mut io::sink())));
    let is_closed = || input.as_ref().is_some_and(JoinHandle::is_finished);
    let (began, mut sent, mut bytes, mut refused) = (Instant::now(), 0, 0, 0);
    let is_due =
        |number| number < options.count && began.elapsed() < Duration::from_secs(SECONDS_MAX);
    while is_due(sent + refused) && !is_closed() {
        for _ in 0..BURST.min(options.count - sent - refused) {
            let number = sent + refused;
            let source = source(&options, number, &mut random);
            let len = write(&mut packet, source, options.target, number, &mut random);
            let whole = packet.get(..HEADERS_LEN + len).unwrap_or_default();
            if socket.send_to(whole, &options.target.into()).is_ok() {
                sent += 1;
                bytes += len as u64;
            } else {
                // The interface's queue is full: as lost as it would be on the way.
                refused += 1;
            }
        }
        if let Some(due) =
            Duration::from_secs(sent + refused).checked_div(u32::try_from(options.rate)?)
        {
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{{\"sent\": {sent}, \"refused\": {refused}, \"bytes\": {bytes}, \"seconds\": {seconds:.3}}}"
    );
    Ok(())
}

/// Whether it may be flooded.
fn is_ours(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 127 || (a == 198 && (b == 18 || b == 19))
}

fn source(options: &Options, number: u64, random: &mut Random) -> SocketAddrV4 {
    let known = options.also.len();
    if number.is_multiple_of(2)
        && let Some(client) = options.also.get(random.below(known.max(1)))
    {
        return *client;
    }
    let [a, b, ..] = options.from.octets();
    let [c, d, e, f, ..] = random.next().to_be_bytes();
    // No port below 1024, and no address that ends in 0 or 255.
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d.clamp(1, 254)), u16::from_be_bytes([e | 4, f]))
}

/// Writes a datagram of the shape that is this number's turn; the length of its payload.
fn write(
    packet: &mut [u8; HEADERS_LEN + PAYLOAD_LEN_MAX],
    source: SocketAddrV4,
    target: SocketAddrV4,
    number: u64,
    random: &mut Random,
) -> usize {
    let (head, payload) = packet.split_at_mut(HEADERS_LEN);
    let len = shape(payload, number, random);
    let total = u16::try_from(HEADERS_LEN + len).unwrap_or(0).to_be_bytes();
    let udp_len = u16::try_from(8 + len).unwrap_or(0).to_be_bytes();
    let [s0, s1, s2, s3] = source.ip().octets();
    let [t0, t1, t2, t3] = target.ip().octets();
    let [sp0, sp1] = source.port().to_be_bytes();
    let [tp0, tp1] = target.port().to_be_bytes();
    // The kernel fills in identification and checksum; UDP may go without one over IPv4.
    let headers = [
        [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, s0, s1],
        [s2, s3, t0, t1, t2, t3, sp0, sp1, tp0, tp1, udp_len[0], udp_len[1], 0, 0],
    ];
    head.copy_from_slice(headers.as_flattened());
    len
}

/// One of eight: STUN in three forms, DTLS in two, RTP, RTCP, noise. Writes it over noise; its length.
fn shape(payload: &mut [u8], number: u64, random: &mut Random) -> usize {
    random.fill(payload);
    let (start, len): (&[u8], usize) = match number / 2 % 8 {
        0 => return knock(payload),
        // A binding request without anything.
        1 => (&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], 20),
        // An answer to nobody's question.
        2 => (&[1, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42], 28),
        // A client hello of 112 bytes, another random each.
        3 => (HELLO, 137),
        // A sealed record.
        4 => (&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0x60], 109),
        5 => (&[0x80, 111], 100),
        6 => (&[0x80, 201, 0, 14], 60),
        _ => (&[], PAYLOAD_LEN_MAX),
    };
    put(payload, 0, start);
    len
}

/// Headers of a DTLS 1.2 record and of the client hello in it, and its version.
const HELLO: &[u8] = &[
    22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7c, 1, 0, 0, 0x70, 0, 0, 0, 0, 0, 0, 0, 0x70,
    0xfe, 0xfd,
];

/// A binding request with a user name as long as ours, an integrity and a fingerprint, none of them right.
fn knock(payload: &mut [u8]) -> usize {
    // Name of 16 letters, colon, 8 letters, 3 bytes of padding; integrity; fingerprint.
    put(payload, 0, &[0, 1, 0, 64, 0x21, 0x12, 0xa4, 0x42]);
    put(payload, 20, &[0, 6, 0, 25]);
    for letter in payload.iter_mut().take(52).skip(24) {
        *letter = b'a' + *letter % 26;
    }
    put(payload, 40, b":");
    put(payload, 52, &[0, 8, 0, 20]);
    put(payload, 76, &[0x80, 0x28, 0, 4]);
    84
}

fn put(payload: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = payload.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// xorshift64*: what is sent is no secret.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for (place, byte) in bytes.chunks_mut(8).map(|it| (it, self.next().to_be_bytes())) {
            for (place, byte) in place.iter_mut().zip(byte) {
                *place = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peer::BindingRequest;
    use rtp::packet::Datagram;

    #[test]
    fn shapes_are_taken_for_what_they_look_like() {
        let mut random = Random(1);
        let mut payload = [0; PAYLOAD_LEN_MAX];
        let mut kinds = Vec::new();
        for number in (0..14).step_by(2) {
            let len = shape(&mut payload, number, &mut random);
            kinds.push(Datagram::classify(&payload[..len]));
            if number == 0 {
                let request =
                    BindingRequest::parse(&payload[..len]).expect("a request with a name");
                assert_eq!(request.local_ufrag.len(), 16, "as long as the door's");
            }
        }
        use Datagram::{Dtls, Rtcp, Rtp, Stun};
        assert_eq!(kinds, [Stun, Stun, Stun, Dtls, Dtls, Rtp, Rtcp]);
    }

    #[test]
    fn nobody_else_can_be_flooded() {
        for (address, expect) in [
            (Ipv4Addr::LOCALHOST, true),
            (Ipv4Addr::new(198, 18, 0, 1), true),
            (Ipv4Addr::new(198, 20, 0, 1), false),
            (Ipv4Addr::new(192, 0, 2, 1), false),
        ] {
            assert_eq!(is_ours(address), expect, "{address}");
        }
    }
}
