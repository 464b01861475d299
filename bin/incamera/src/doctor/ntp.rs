//! One question to a time server: how far is this machine's clock off?
//!
//! Source: RFC 5905 §7.3 and §8, as far as SNTP needs them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use super::stun::is_silence;

const PACKET_LEN: usize = 48;
/// No warning, version 4, a client.
const ASKS: u8 = 0x23;
const MODE_SERVER: u8 = 4;
/// Seconds from 1900, where NTP counts from, to 1970.
const EPOCH_S: u64 = 2_208_988_800;
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(1);

/// Seconds that the server's clock is ahead of this machine's, less than none if it is behind.
pub(super) fn ask(server: SocketAddr) -> io::Result<f64> {
    let unspecified = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(unspecified)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..TRIES {
        let sent = now();
        let stamp = sent.to_bits();
        let mut request = [0; PACKET_LEN];
        let (head, transmitted) = request.split_at_mut(PACKET_LEN - 8);
        transmitted.copy_from_slice(&stamp.to_be_bytes());
        if let Some(first) = head.first_mut() {
            *first = ASKS;
        }
        socket.send(&request)?;
        let mut answer = [0; PACKET_LEN];
        match socket.recv(&mut answer) {
            Ok(PACKET_LEN) => {
                let offset = offset(&answer, stamp, sent, now());
                return offset
                    .ok_or_else(|| io::Error::other("it answers something else than NTP"));
            }
            Ok(_) => return Err(io::Error::other("it answers something else than NTP")),
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// Seconds since 1970 by this machine's clock.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// RFC 5905 §8: half the difference of both ways, in which the time on the way cancels out. The stamp that was
/// sent comes back, so that a late answer to another question is none.
fn offset(answer: &[u8; PACKET_LEN], stamp: u64, sent: f64, received: f64) -> Option<f64> {
    let [first, stratum, ..] = *answer;
    let at = |start: usize| {
        let bytes = answer.get(start..start + 8)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    };
    // Stratum 0 is a refusal.
    if first & 7 != MODE_SERVER || stratum == 0 || at(24)? != stamp {
        return None;
    }
    let seconds = |stamp: u64| {
        #[expect(clippy::cast_precision_loss, reason = "32 bits each")]
        let (whole, part) = ((stamp >> 32) as f64, (stamp & u64::from(u32::MAX)) as f64);
        #[expect(clippy::cast_precision_loss, reason = "32 bits")]
        let epoch = EPOCH_S as f64;
        whole - epoch + part / 4_294_967_296.0
    };
    let (arrived, left) = (seconds(at(32)?), seconds(at(40)?));
    Some(f64::midpoint(arrived - sent, left - received))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_cancels_out() {
        let mut answer = [0; PACKET_LEN];
        answer[..2].copy_from_slice(&[0x24, 2]);
        answer[24..32].copy_from_slice(&7_u64.to_be_bytes());
        // An hour ahead, half a second on the way, a quarter to think.
        let stamp = |seconds: u64, quarters: u64| ((seconds + EPOCH_S) << 32) + (quarters << 30);
        answer[32..40].copy_from_slice(&stamp(4600, 2).to_be_bytes());
        answer[40..48].copy_from_slice(&stamp(4600, 3).to_be_bytes());
        let found = offset(&answer, 7, 1000.0, 1001.25).unwrap();
        assert!((found - 3600.0).abs() < 0.001, "{found}");
        assert_eq!(offset(&answer, 8, 1000.0, 1001.25), None);
        answer[1] = 0;
        assert_eq!(offset(&answer, 7, 1000.0, 1001.25), None);
    }
}
