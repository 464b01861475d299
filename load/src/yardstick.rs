//! What a bare forwarder takes on this machine while the server works beside it: each receiver's key fetched, a
//! turn's packets sealed under it and given to the kernel as one train, and read again.
//!
//! Goals are microseconds of one kind of machine. On one whose processor, caches or kernel are slower, or beside a
//! busy neighbour, the same server needs more of them, and so does this; how many times as much the server takes says
//! what it does itself. It works while the server does, a turn for some of the server's, and so finds caches as cold.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, slice};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use rtp::packet::FIXED_HEADER_LEN;

use crate::Kind;
use crate::media::{self, TAG_LEN};

/// Of how many of the server's turns there is one here.
const ONE_TURN_OF: u32 = 6;

/// What a thread has computed is counted when it rests.
const REST: Duration = Duration::from_millis(1);

/// How late a train may come. Over loopback it is there when it was sent, unless the kernel leaves that to a thread.
const LATE_MAX: Duration = Duration::from_millis(5);

/// A measurement that is under way.
pub(crate) struct Yardstick {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Duration>>,
}

impl Yardstick {
    /// Goes on until [`Self::end`], as often as `publishers` send.
    pub(crate) fn begin(kind: Kind, publishers: usize, receivers: usize) -> io::Result<Self> {
        let mut forwarder = Forwarder::new(kind, receivers)?;
        let publishers = u32::try_from(publishers).unwrap_or(u32::MAX).max(1);
        let interval = media::interval(kind) * ONE_TURN_OF / publishers;
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("yardstick".into()).spawn(move || {
            // What is first is not what comes again.
            forwarder.turn()?;
            thread::sleep(REST);
            let (mut datagrams, began) = (0, computed()?);
            let mut at = Instant::now();
            loop {
                datagrams += forwarder.turn()?;
                if told.load(Ordering::Relaxed) {
                    break;
                }
                at += interval;
                thread::park_timeout(at.saturating_duration_since(Instant::now()));
            }
            thread::sleep(REST);
            Ok((computed()? - began) / datagrams.max(1))
        })?;
        Ok(Self { is_over, thread })
    }

    /// Does not wait for the last turn, as clients would for the caller.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Processor time for one datagram, user and kernel, once it has ended.
    pub(crate) fn took(self) -> io::Result<Duration> {
        self.thread.join().map_err(|_| io::Error::other("the yardstick panicked"))?
    }
}

/// What no forwarder can do without.
struct Forwarder {
    keys: Vec<LessSafeKey>,
    index: u64,
    /// A packet as it came, whose payload is what is sealed.
    packet: Vec<u8>,
    /// What goes to one receiver, packet after packet.
    train: Vec<u8>,
    datagram_len: usize,
    from: (UdpSocket, UdpSocketState),
    to: (UdpSocket, UdpSocketState),
    read: Vec<u8>,
}

impl Forwarder {
    fn new(kind: Kind, receivers: usize) -> io::Result<Self> {
        let (packets, datagram_len) = media::turn_shape(kind);
        let key = |number: usize| {
            let key = [number.to_be_bytes(); 2].concat();
            let key = UnboundKey::new(&AES_128_GCM, &key).map_err(unsealed)?;
            Ok(LessSafeKey::new(key))
        };
        // The state makes sockets non-blocking, and over loopback what is sent is there.
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
            io::Result::Ok((socket, state))
        };
        Ok(Self {
            keys: (0..receivers).map(key).collect::<io::Result<_>>()?,
            index: 0,
            packet: vec![0; datagram_len - TAG_LEN],
            train: vec![0; datagram_len * packets],
            datagram_len,
            from: socket()?,
            to: socket()?,
            read: vec![0; 64 << 10],
        })
    }

    /// One turn to every receiver: how many datagrams that was.
    fn turn(&mut self) -> io::Result<u32> {
        let destination = self.to.0.local_addr()?;
        let mut datagrams = 0;
        for key in &self.keys {
            let mut packets = 0;
            for datagram in self.train.chunks_exact_mut(self.datagram_len) {
                self.index += 1;
                seal(key, self.index, &self.packet, datagram)?;
                packets += 1;
            }
            let (socket, state) = &self.from;
            let has_more = self.train.len() > self.datagram_len;
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: &self.train,
                segment_size: has_more.then_some(self.datagram_len),
                src_ip: None,
            };
            state.try_send(UdpSockRef::from(socket), &transmit)?;
            if came(&self.to, self.train.len(), &mut self.read)? {
                datagrams += packets;
            }
        }
        Ok(datagrams)
    }
}

/// Reads a train of so many bytes. `false`: it is lost, or too late.
fn came(to: &(UdpSocket, UdpSocketState), len: usize, buffer: &mut [u8]) -> io::Result<bool> {
    let (socket, state) = to;
    let (mut came, sent) = (0, Instant::now());
    while came < len {
        let mut meta = RecvMeta::default();
        let mut slices = [IoSliceMut::new(buffer)];
        match state.recv(UdpSockRef::from(socket), &mut slices, slice::from_mut(&mut meta)) {
            Ok(_) => came += meta.len,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if sent.elapsed() >= LATE_MAX => return Ok(false),
            Err(_) => thread::yield_now(),
        }
    }
    Ok(true)
}

/// Puts a packet into a datagram, its payload sealed.
fn seal(key: &LessSafeKey, index: u64, packet: &[u8], datagram: &mut [u8]) -> io::Result<()> {
    let (plain, tag) = datagram.split_at_mut(packet.len());
    plain.copy_from_slice(packet);
    let (header, payload) = plain.split_at_mut(FIXED_HEADER_LEN);
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&index.to_be_bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(header), payload);
    tag.copy_from_slice(sealed.map_err(unsealed)?.as_ref());
    Ok(())
}

fn unsealed(unspecified: Unspecified) -> io::Error {
    io::Error::other(unspecified.to_string())
}

/// What this thread has computed, user and kernel. Source: Linux Documentation/scheduler/sched-stats.rst.
fn computed() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_sealed_sent_and_read_and_takes_time() {
        for kind in [Kind::Audio, Kind::Video] {
            let (packets, datagram_len) = media::turn_shape(kind);
            let mut forwarder = Forwarder::new(kind, 3).unwrap();
            assert_eq!(forwarder.turn().unwrap() as usize, 3 * packets);
            // What came last was under the last key.
            let (header, sealed) = forwarder.read[..datagram_len].split_at_mut(FIXED_HEADER_LEN);
            let mut nonce = [0; NONCE_LEN];
            nonce[..8].copy_from_slice(&(2 * packets as u64 + 1).to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let opened = forwarder.keys[2].open_in_place(nonce, Aad::from(header), sealed).unwrap();
            assert!(opened.iter().all(|byte| *byte == 0));
            assert!(!came(&forwarder.to, 1, &mut forwarder.read).unwrap(), "and no more");
            let yardstick = Yardstick::begin(kind, 1, 3).unwrap();
            let began = Instant::now();
            yardstick.end();
            assert!(yardstick.took().unwrap() > Duration::ZERO);
            assert!(began.elapsed() < media::interval(kind) * ONE_TURN_OF, "nobody waits for it");
        }
    }
}
