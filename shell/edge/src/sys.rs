//! The kernel, where the standard library does not reach: UDP in batches, memory that leaves no copy.
//!
//! Owns: the calls that media makes. What leaves this module is safe to use in any order.
//! Guarantees: nothing here waits longer than it was told to; a socket that cannot send drops and counts.
//! Not here: what the bytes mean.
//! Source: Linux man pages udp(7), ip(7), ipv6(7), recvmmsg(2), sendmmsg(2), madvise(2), ppoll(2),
//! sched_setaffinity(2).
#![expect(unsafe_code, reason = "it calls the kernel directly")]
#![expect(clippy::cast_possible_truncation, reason = "sizes of C structures in C's integer types")]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::{NonNull, from_mut, from_ref, null_mut};
use std::time::{Duration, Instant};

use libc::{c_int, c_void};
use sfu::limits::{TRAIN_BYTES_MAX, TRAIN_SEGMENTS_MAX};

/// Messages that one call receives at most. Each may hold 64 datagrams.
pub(crate) const RECEIVE_BATCH: usize = 32;
/// The largest aggregate that the kernel gives: a UDP datagram's length is 16 bits.
const RECEIVE_LEN: usize = 1 << 16;
/// Bytes that a [`ReceiveBatch`] needs. Pages are touched only as far as datagrams reach.
pub(crate) const RECEIVE_BYTES: usize = RECEIVE_BATCH * RECEIVE_LEN;
/// Messages that one call sends at most.
const SEND_BATCH: usize = 64;
/// What the kernel may hold for a socket in each direction: 20 ms of 1.6 Gbit/s.
const SOCKET_BUFFER_BYTES: c_int = 4 << 20;
/// Trains that are refused in a row before none is tried for a while: nobody's are taken then.
const REFUSED_MAX: u32 = 1024;
/// How long none is tried then: it costs little to ask once a minute whether the network has become another.
const UNTRIED: Duration = Duration::from_secs(60);
/// How long a full socket is waited for before what is left is dropped.
const SEND_WAIT: Duration = Duration::from_millis(1);
/// Bytes for control messages: an address and a number in each direction need 64.
const CONTROL_LEN: usize = 128;
/// Bytes that a processor brings near at once.
const CACHE_LINE: usize = 64;

/// Descriptors that one thread waits for.
const WAIT_MAX: usize = 16;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Private memory that starts as zeros, is left out of core dumps, is zero in a forked child, and goes
/// back to the kernel when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to this value alone, which hands out borrows only under Rust's rules.
unsafe impl Send for Mapping {}

impl Mapping {
    /// `len` bytes, rounded up to pages by the kernel.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: asks for new pages wherever the kernel likes; no memory that exists is touched.
        let start = unsafe { libc::mmap(null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { start, len };
        for advice in [libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK] {
            // SAFETY: the range is the mapping just made; both advices leave its content as it is.
            check(unsafe { libc::madvise(start.as_ptr().cast(), len, advice) })?;
        }
        Ok(mapping)
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` readable bytes, initialised to zero by the kernel, ours until dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsMut<[u8]> for Mapping {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, writable, and `&mut self` excludes every other borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl sfu::forward::Memory for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and no borrow of it outlives `self`.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, 0, "a whole mapping can always be unmapped");
    }
}

/// A bell between threads: an eventfd.
#[derive(Debug)]
pub(crate) struct EventFd(File);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two integers and returns a new descriptor or an error.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and nobody else has it.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Makes the descriptor readable.
    pub(crate) fn ring(&self) {
        // Fails only when it has been rung 2^64 times unheard, and then it is readable anyway.
        let _rung = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable until the next ring.
    pub(crate) fn hush(&self) {
        // Fails only when nobody rang.
        let _heard = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of a few descriptors is readable.
#[derive(Debug)]
pub(crate) struct Waiter([libc::pollfd; WAIT_MAX]);

impl Waiter {
    /// Descriptors beyond the sixteenth are not waited for; negative ones the kernel ignores.
    pub(crate) fn new<'a>(descriptors: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        let mut polled = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; WAIT_MAX];
        for (entry, descriptor) in polled.iter_mut().zip(descriptors) {
            entry.fd = descriptor.as_raw_fd();
        }
        Self(polled)
    }

    /// At most this long. A signal ends the wait too.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        let at_most = timespec(at_most);
        // SAFETY: the array and its length match, and both outlive the call; no signal mask is given.
        let ready = unsafe {
            libc::ppoll(
                self.0.as_mut_ptr(),
                WAIT_MAX as libc::nfds_t,
                &raw const at_most,
                null_mut(),
            )
        };
        if ready <= 0 {
            self.0.iter_mut().for_each(|entry| entry.revents = 0);
        }
    }

    /// Whether the descriptor at this place had something when the last wait ended.
    pub(crate) fn is_ready(&self, place: usize) -> bool {
        self.0.get(place).is_some_and(|entry| entry.revents != 0)
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The cores that the calling thread may run on, in order; none if the system does not say.
pub(crate) fn allowed_cores() -> Vec<usize> {
    // SAFETY: a CPU set is plain bits, for which zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: writes no more than the size that it is told. It fails where there are more cores than the set has bits.
    let asked = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    let all = 0..libc::CPU_SETSIZE.cast_unsigned() as usize;
    // SAFETY: only reads, and each core is within the set.
    all.filter(|core| asked == 0 && unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Keeps the calling thread on one core, if the system lets it.
pub(crate) fn pin_to_core(core: usize) {
    if core >= libc::CPU_SETSIZE.cast_unsigned() as usize {
        return;
    }
    // SAFETY: a CPU set is plain bits, for which zero is the empty set; `core` is within it.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        // A refusal (the core was taken away meanwhile) leaves the thread where it is, which is fine.
        let _refused = libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Datagrams of one size, the last possibly smaller, from one address of ours to one of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Back to back.
    pub(crate) bytes: &'a [u8],
    /// Bytes of each datagram but the last; 0 means that there is one.
    pub(crate) segment: usize,
}

impl<'a> Run<'a> {
    /// One by one.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> {
        let segment = if self.segment == 0 { self.bytes.len() } else { self.segment };
        self.bytes.chunks(segment.max(1))
    }
}

/// What came of a send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Datagrams that the kernel took.
    pub(crate) sent: u64,
    /// Datagrams that it refused.
    pub(crate) dropped: u64,
}

/// A UDP socket that shares its port with those of other workers.
#[derive(Debug)]
pub(crate) struct MediaSocket {
    socket: UdpSocket,
    local: SocketAddr,
    trains: Trains,
}

/// Whether trains are worth a try.
///
/// The kernel refuses one (`EIO`) by the way that it is to go: where a device cannot checksum, or IPsec is between.
/// Then its datagrams go one by one, which costs that one twice; others of the same socket may go another way.
#[derive(Debug, Default)]
struct Trains {
    /// In a row.
    refused: u32,
    /// None until then.
    again_at: Option<Instant>,
}

impl Trains {
    fn may_be_tried(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.again_at.is_some_and(|at| now() >= at) {
            *self = Self::default();
        }
        self.again_at.is_none()
    }

    const fn taken(&mut self) {
        self.refused = 0;
    }

    fn refused(&mut self, now: Instant) {
        self.refused += 1;
        if self.refused == REFUSED_MAX {
            self.again_at = Some(now + UNTRIED);
        }
    }
}

impl MediaSocket {
    /// Binds one more socket of the group at `address`, whose port is not 0.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = unbound(address)?;
        socket.set_nonblocking(true)?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        if address.is_ipv6() {
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        }
        for (forced, asked) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            // Beyond the system's limit needs a privilege; without it the limit is what we get.
            set_option(&socket, libc::SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
                .or_else(|_| set_option(&socket, libc::SOL_SOCKET, asked, SOCKET_BUFFER_BYTES))?;
        }
        // A kernel without it (before 5.0) delivers datagrams one by one.
        let _unaggregated = set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        bind(&socket, address)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, trains: Trains::default() })
    }

    /// Where it is bound.
    pub(crate) const fn bound(&self) -> SocketAddr {
        self.local
    }

    /// Has the kernel give what arrives to the first `count` sockets of the group alone, by the sender's address
    /// and port, mixed with a `secret`, so that nobody can choose who gets what he sends. A packet that it cannot
    /// read goes to the first.
    ///
    /// # Errors
    /// The kernel is older than 4.6 or forbids it; then it divides among all, as it did.
    pub(crate) fn divide_among(&self, count: u8, secret: u32) -> io::Result<()> {
        // Offsets from the start of the network header, as classic BPF names it: the last word of the sender's
        // address and the first half-word behind the header, its port, if there are no options between.
        let (address, port) = match self.local {
            SocketAddr::V4(_) => (12, 20),
            SocketAddr::V6(_) => (20, 40),
        };
        let at = |offset: u32| libc::SKF_NET_OFF.cast_unsigned().wrapping_add(offset);
        let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let (by_k, by_x) = (libc::BPF_ALU | libc::BPF_K, libc::BPF_ALU | libc::BPF_X);
        // An odd number is a permutation of the words, whose upper half then hangs on all of the lower.
        let mut all = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at(address)),
            step(libc::BPF_MISC | libc::BPF_TAX, 0),
            step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at(port)),
            step(by_x | libc::BPF_XOR, 0),
            step(by_k | libc::BPF_MUL, secret | 1),
            step(by_k | libc::BPF_RSH, 16),
            step(by_k | libc::BPF_MOD, u32::from(count.max(1))),
            step(libc::BPF_RET | libc::BPF_A, 0),
        ];
        let program = libc::sock_fprog { len: all.len() as u16, filter: all.as_mut_ptr() };
        let name = libc::SO_ATTACH_REUSEPORT_CBPF;
        let len = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let fd = self.socket.as_raw_fd();
        let value = from_ref(&program).cast::<c_void>();
        // SAFETY: the kernel copies the steps, whose number is right, and both outlive the call.
        check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, value, len) }).map(drop)
    }

    /// Takes what waits, without waiting, in place of what `batch` held. How many messages.
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> usize {
        batch.reset(self.local);
        let (headers, count) = (batch.headers.as_mut_ptr(), RECEIVE_BATCH as libc::c_uint);
        // SAFETY: `reset` pointed every header at buffers of the batch with their true lengths, all
        // of which outlive the call.
        let received = unsafe {
            libc::recvmmsg(self.socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT, null_mut())
        };
        // An error is "nothing waits", or one that the next call reports again.
        batch.count = usize::try_from(received).unwrap_or(0);
        batch.count
    }

    /// Sends runs in order: each datagram is taken by the kernel or dropped.
    pub(crate) fn send<'a>(
        &mut self,
        batch: &mut SendBatch,
        runs: impl Iterator<Item = Run<'a>>,
    ) -> Sent {
        let mut outcome = Sent::default();
        batch.count = 0;
        let is_segmenting = self.trains.may_be_tried(Instant::now);
        for run in runs {
            let segment = if run.segment == 0 { run.bytes.len() } else { run.segment }.max(1);
            let together = if is_segmenting {
                (TRAIN_BYTES_MAX / segment).clamp(1, TRAIN_SEGMENTS_MAX)
            } else {
                1
            };
            for bytes in run.bytes.chunks(together * segment) {
                batch.push(Run { bytes, segment, ..run });
                if batch.count == SEND_BATCH {
                    self.flush(batch, &mut outcome);
                }
            }
        }
        self.flush(batch, &mut outcome);
        outcome
    }

    fn flush(&mut self, batch: &mut SendBatch, outcome: &mut Sent) {
        let mut next = 0;
        let mut has_waited = false;
        while next < batch.count {
            match self.send_from(batch, next) {
                Ok(sent) => {
                    for place in next..next + sent {
                        let count = batch.datagrams(place);
                        outcome.sent += count;
                        if count > 1 {
                            self.trains.taken();
                        }
                    }
                    next += sent.max(1);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) if !has_waited => {
                        has_waited = true;
                        self.wait_until_writable();
                    }
                    Some(libc::EAGAIN) => {
                        for place in next..batch.count {
                            outcome.dropped += batch.datagrams(place);
                        }
                        next = batch.count;
                    }
                    Some(code) if batch.datagrams(next) > 1 && is_about_segments(code) => {
                        // EINVAL is about this one alone, as a datagram above its MTU.
                        if code == libc::EIO {
                            self.trains.refused(Instant::now());
                        }
                        self.send_singly(batch, next, outcome);
                        next += 1;
                    }
                    _ => {
                        outcome.dropped += batch.datagrams(next);
                        next += 1;
                    }
                },
            }
        }
        batch.names.iter_mut().take(batch.count).for_each(Name::forget);
        batch.count = 0;
    }

    fn send_from(&self, batch: &mut SendBatch, first: usize) -> io::Result<usize> {
        batch.aim(first);
        let rest = batch.headers.get_mut(first..batch.count).unwrap_or_default();
        let (headers, count) = (rest.as_mut_ptr(), rest.len() as libc::c_uint);
        // SAFETY: `aim` pointed the headers at buffers of the batch and at the bytes of the runs, which
        // `send` keeps borrowed until the batch is flushed; the kernel only reads through them.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT) };
        Ok(usize::try_from(check(sent)?).unwrap_or(0))
    }

    /// The datagrams of one message without the kernel's help.
    fn send_singly(&self, batch: &mut SendBatch, place: usize, outcome: &mut Sent) {
        batch.aim(place);
        let (Some(header), Some(whole), Some(&segment)) =
            (batch.headers.get(place), batch.iovecs.get(place), batch.segments.get(place))
        else {
            return;
        };
        // SAFETY: the pointer and length of a run's bytes, still borrowed by `send`.
        let bytes =
            unsafe { std::slice::from_raw_parts(whole.iov_base.cast::<u8>(), whole.iov_len) };
        let mut header = header.msg_hdr;
        // The segment size is the last control message.
        header.msg_controllen -= SEGMENT_SPACE;
        for datagram in bytes.chunks(segment.max(1)) {
            let mut iovec = libc::iovec {
                iov_base: datagram.as_ptr().cast_mut().cast(),
                iov_len: datagram.len(),
            };
            header.msg_iov = &raw mut iovec;
            // SAFETY: as in `send_from`; the one iovec lives on this stack frame.
            let sent = unsafe {
                libc::sendmsg(self.socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT)
            };
            if sent < 0 { outcome.dropped += 1 } else { outcome.sent += 1 }
        }
    }

    fn wait_until_writable(&self) {
        let fd = self.socket.as_raw_fd();
        let mut entry = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        let at_most = timespec(SEND_WAIT);
        // SAFETY: one entry, length one, both outlive the call.
        let _ready = unsafe { libc::ppoll(&raw mut entry, 1, &raw const at_most, null_mut()) };
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const fn is_about_segments(code: c_int) -> bool {
    matches!(code, libc::EINVAL | libc::EIO | libc::EMSGSIZE)
}

fn set_option(socket: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let (pointer, len) = (from_ref(&value).cast::<c_void>(), size_of::<c_int>() as libc::socklen_t);
    // SAFETY: the option's value is one int that outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, len) }).map(drop)
}

/// Takes a UDP port that nobody has, at the address of one family alone, as a server that starts does; for whoever
/// looks whether one could.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn bind_alone(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = unbound(address)?;
    bind(&socket, address)?;
    Ok(socket)
}

/// A UDP socket for addresses of that family alone.
fn unbound(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes three integers and returns a new descriptor or an error.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the descriptor was just made and nobody else has it.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if address.is_ipv6() {
        take_families(&socket, Families::One)?;
    }
    Ok(socket)
}

fn bind(socket: &UdpSocket, address: SocketAddr) -> io::Result<()> {
    let name = Name::new(address);
    // SAFETY: `name` holds an address of the length that goes with it.
    check(unsafe { libc::bind(socket.as_raw_fd(), name.as_ptr(), name.len) }).map(drop)
}

/// What a socket of IPv6 takes that is bound to `::`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv6 alone.
    One,
    /// IPv4 as well.
    Both,
}

/// Has a socket of IPv6 take these, whatever the system's default is; before it is bound.
pub(crate) fn take_families(socket: &impl AsRawFd, families: Families) -> io::Result<()> {
    let is_one = c_int::from(families == Families::One);
    set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, is_one)
}

/// Has the kernel take no more than so many bytes of a TCP connection that it cannot send yet.
pub(crate) fn hold_little_unsent(socket: &impl AsRawFd, bytes: c_int) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, bytes)
}

/// A socket address as C has it.
#[derive(Clone, Copy)]
struct Name {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Name {
    fn empty() -> Self {
        // SAFETY: all fields are integers, for which zero is a value; its family is AF_UNSPEC.
        let storage = unsafe { zeroed() };
        Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// Overwrites what the kernel or [`Self::new`] wrote.
    fn forget(&mut self) {
        let name = from_mut(&mut self.storage).cast::<libc::sockaddr_in6>();
        // SAFETY: `sockaddr_storage` is large and aligned enough for every address; all fields are integers, for which
        // zero is a value. That of IPv6 is the longest that a socket for media has.
        unsafe { name.write_volatile(zeroed()) }
    }

    fn new(address: SocketAddr) -> Self {
        let mut name = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                let inner = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: in_addr(*v4.ip()),
                    sin_zero: [0; 8],
                };
                // SAFETY: `sockaddr_storage` is large and aligned enough for every address.
                unsafe { from_mut(&mut name.storage).cast::<libc::sockaddr_in>().write(inner) };
                name.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                let inner = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: in6_addr(*v6.ip()),
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { from_mut(&mut name.storage).cast::<libc::sockaddr_in6>().write(inner) };
                name.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        name
    }

    fn address(&self) -> Option<SocketAddr> {
        match c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure it is, and any bytes are a value of it.
                let inner = unsafe { from_ref(&self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(inner.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::new(ip.into(), u16::from_be(inner.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let inner = unsafe { from_ref(&self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(inner.sin6_addr.s6_addr);
                let port = u16::from_be(inner.sin6_port);
                Some(SocketAddrV6::new(ip, port, 0, inner.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    const fn as_ptr(&self) -> *const libc::sockaddr {
        from_ref(&self.storage).cast()
    }
}

const fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

const fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

/// Room for control messages, aligned as their headers must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

// SAFETY: pure arithmetic on a length.
const SEGMENT_SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as libc::c_uint) } as usize;

/// Appends a control message whose data is `value`, plain C data. `used` bytes are taken already.
fn put_control<T>(
    control: &mut Control,
    used: usize,
    level: c_int,
    kind: c_int,
    value: T,
) -> usize {
    let data_len = size_of::<T>() as libc::c_uint;
    // SAFETY: pure arithmetic on a length.
    let (len, space) = unsafe { (libc::CMSG_LEN(data_len), libc::CMSG_SPACE(data_len)) };
    let used_after = used + space as usize;
    assert!(used_after <= CONTROL_LEN, "an address and a segment size fit");
    // SAFETY: `used` is a sum of aligned spaces, and the message ends within the buffer, as asserted.
    unsafe {
        let header = control.0.as_mut_ptr().add(used).cast::<libc::cmsghdr>();
        (*header).cmsg_len = len as usize;
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    used_after
}

fn empty_headers(count: usize) -> Box<[libc::mmsghdr]> {
    // SAFETY: null pointers and zero lengths are an empty header.
    (0..count).map(|_| unsafe { zeroed() }).collect()
}

/// What one call received. Belongs to one thread.
pub(crate) struct ReceiveBatch {
    memory: Mapping,
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    local: SocketAddr,
    count: usize,
    /// Of each buffer: zero from here on.
    touched: [usize; RECEIVE_BATCH],
}

impl ReceiveBatch {
    /// `memory`: [`RECEIVE_BYTES`]; what is missing there makes the batch smaller.
    pub(crate) fn new(memory: Mapping) -> Self {
        let iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };
        Self {
            memory,
            headers: empty_headers(RECEIVE_BATCH),
            iovecs: vec![iovec; RECEIVE_BATCH].into(),
            names: vec![Name::empty(); RECEIVE_BATCH].into(),
            controls: vec![Control([0; CONTROL_LEN]); RECEIVE_BATCH].into(),
            local: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            count: 0,
            touched: [0; RECEIVE_BATCH],
        }
    }

    fn reset(&mut self, local: SocketAddr) {
        (self.local, self.count) = (local, 0);
        let buffers = self.memory.as_mut().chunks_mut(RECEIVE_LEN);
        let places = self.headers.iter_mut().zip(&mut self.iovecs);
        let beside = self.names.iter_mut().zip(&mut self.controls);
        for ((buffer, (message, iovec)), (name, control)) in buffers.zip(places).zip(beside) {
            *iovec = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut message.msg_hdr;
            header.msg_name = from_mut(&mut name.storage).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_LEN;
            header.msg_flags = 0;
            message.msg_len = 0;
        }
    }

    /// Overwrites where the messages of the last receive came from. They are gone then; their bytes stay until
    /// [`Self::rinse`].
    pub(crate) fn forget_senders(&mut self) {
        let messages = self.headers.iter().zip(&mut self.names).zip(&mut self.touched);
        for ((message, name), touched) in messages.take(self.count) {
            name.forget();
            *touched = (*touched).max(message.msg_len as usize);
        }
        self.count = 0;
    }

    /// Overwrites the bytes of all that was received: sealed as they are, the keys that open them may be here for
    /// hours. Costs as much as has come since the last time.
    pub(crate) fn rinse(&mut self) {
        let buffers = self.memory.as_mut().chunks_mut(RECEIVE_LEN);
        for (buffer, touched) in buffers.zip(&mut self.touched) {
            let len = std::mem::take(touched).min(buffer.len());
            if let Some(left) = buffer.get_mut(..len) {
                left.fill(0);
            }
        }
    }

    /// The messages of the last receive: each a run of datagrams of one sender. Those that were cut
    /// short or have no sender are left out.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let messages = self.headers.iter().zip(&self.names).take(self.count);
        let buffers = self.memory.as_ref().chunks(RECEIVE_LEN);
        messages.zip(buffers).filter_map(|((message, name), buffer)| {
            let header = &message.msg_hdr;
            if header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
                return None;
            }
            let bytes = buffer.get(..message.msg_len as usize)?;
            let mut run = Run { local: self.local, remote: name.address()?, bytes, segment: 0 };
            read_controls(header, &mut run);
            Some(run)
        })
    }
}

fn read_controls(header: &libc::msghdr, run: &mut Run<'_>) {
    // SAFETY: the header was filled by the kernel and points at the batch's own control buffer; the
    // macros stay within `msg_controllen`, and the kernel wrote the structure that level and type name.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = at.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<c_int>().read_unaligned();
                    run.segment = usize::try_from(size).unwrap_or(0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                    run.local.set_ip(ip.into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    run.local.set_ip(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// Room for what one call sends. Belongs to one thread.
pub(crate) struct SendBatch {
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    control_lens: [usize; SEND_BATCH],
    segments: [usize; SEND_BATCH],
    count: usize,
}

impl SendBatch {
    pub(crate) fn new() -> Self {
        let iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };
        Self {
            headers: empty_headers(SEND_BATCH),
            iovecs: vec![iovec; SEND_BATCH].into(),
            names: vec![Name::empty(); SEND_BATCH].into(),
            controls: vec![Control([0; CONTROL_LEN]); SEND_BATCH].into(),
            control_lens: [0; SEND_BATCH],
            segments: [0; SEND_BATCH],
            count: 0,
        }
    }

    /// Takes one message; the caller keeps its bytes borrowed until the batch is flushed.
    fn push(&mut self, run: Run<'_>) {
        let place = self.count;
        let (Some(iovec), Some(name), Some(control), Some(control_len), Some(segment)) = (
            self.iovecs.get_mut(place),
            self.names.get_mut(place),
            self.controls.get_mut(place),
            self.control_lens.get_mut(place),
            self.segments.get_mut(place),
        ) else {
            return;
        };
        *iovec = libc::iovec {
            iov_base: run.bytes.as_ptr().cast_mut().cast(),
            iov_len: run.bytes.len(),
        };
        *name = Name::new(run.remote);
        *segment = run.segment;
        *control_len = match run.local.ip() {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(ip),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                put_control(control, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
            }
            IpAddr::V6(ip) => {
                let info = libc::in6_pktinfo { ipi6_addr: in6_addr(ip), ipi6_ifindex: 0 };
                put_control(control, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
            }
        };
        if run.bytes.len() > run.segment {
            let size = u16::try_from(run.segment).unwrap_or(u16::MAX);
            *control_len =
                put_control(control, *control_len, libc::SOL_UDP, libc::UDP_SEGMENT, size);
        }
        self.count += 1;
    }

    /// Points the headers from `first` on at what was pushed.
    fn aim(&mut self, first: usize) {
        let places = self.headers.iter_mut().zip(&mut self.iovecs).zip(&mut self.names);
        let beside = self.controls.iter_mut().zip(self.control_lens);
        let all = places.zip(beside).take(self.count).skip(first);
        for (((message, iovec), name), (control, control_len)) in all {
            let header = &mut message.msg_hdr;
            header.msg_name = from_mut(&mut name.storage).cast();
            header.msg_namelen = name.len;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = control_len;
        }
    }

    /// Datagrams in the message at this place.
    fn datagrams(&self, place: usize) -> u64 {
        let len = self.iovecs.get(place).map_or(0, |iovec| iovec.iov_len);
        let segment = self.segments.get(place).map_or(1, |&segment| segment.max(1));
        len.div_ceil(segment).max(1) as u64
    }
}

/// Tells the processor to bring `value` near, which it does beside other work. A hint: nothing depends on it.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = from_ref(value).cast::<i8>();
        for at in (0..size_of_val(value)).step_by(CACHE_LINE) {
            // SAFETY: the address is within `value`; a prefetch of any address is without effect but on caches.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_can_be_brought_near() {
        prefetch(&());
        prefetch(&[0_u8; 200][..]);
        prefetch("");
    }

    fn socket() -> MediaSocket {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        MediaSocket::bind(free).unwrap()
    }

    fn receive(socket: &MediaSocket) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let mut batch = ReceiveBatch::new(Mapping::new(RECEIVE_BYTES).unwrap());
        let mut waiter = Waiter::new(std::iter::once(socket.as_fd()));
        let mut all = Vec::new();
        loop {
            waiter.wait(Duration::from_millis(50));
            if socket.receive(&mut batch) == 0 {
                return all;
            }
            for run in batch.runs() {
                for datagram in run.datagrams() {
                    all.push((run.remote, run.local, datagram.to_vec()));
                }
            }
        }
    }

    #[test]
    fn datagrams_go_to_the_first_sockets_alone() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let any = UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let group: Vec<MediaSocket> = (0..3).map(|_| MediaSocket::bind(any).unwrap()).collect();
            let senders: Vec<UdpSocket> =
                (0..64).map(|_| UdpSocket::bind((any.ip(), 0)).unwrap()).collect();
            let mut batch = ReceiveBatch::new(Mapping::new(RECEIVE_BYTES).unwrap());
            let mut came = |count: u8| -> Vec<usize> {
                group[0].divide_among(count, 0x9e37_79b1).unwrap();
                for sender in &senders {
                    sender.send_to(&[7; 100], any).unwrap();
                }
                group
                    .iter()
                    .map(|socket| {
                        let turns = std::iter::from_fn(|| match socket.receive(&mut batch) {
                            0 => None,
                            count => Some(count),
                        });
                        turns.sum()
                    })
                    .collect()
            };
            assert_eq!(came(1), [64, 0, 0], "{address}");
            let two = came(2);
            assert!(two[0] > 15 && two[1] > 15 && two[2] == 0, "{address}: {two:?}");
            let all = came(3);
            assert!(all.iter().all(|count| *count > 8), "{address}: {all:?}");
            assert_eq!(all.iter().sum::<usize>(), 64);
        }
    }

    #[test]
    fn a_train_arrives_as_its_datagrams() {
        let (mut from, to) = (socket(), socket());
        let bytes: Vec<u8> = (0..100_u32 * 1000 + 7).map(|at| (at / 1000) as u8).collect();
        let run = Run { local: from.local, remote: to.local, bytes: &bytes, segment: 1000 };
        let sent = from.send(&mut SendBatch::new(), std::iter::once(run));
        assert_eq!(sent, Sent { sent: 101, dropped: 0 });
        let got = receive(&to);
        assert_eq!(got.len(), 101);
        for (at, (remote, local, datagram)) in got.iter().enumerate() {
            assert_eq!((*remote, *local), (from.local, to.local));
            assert_eq!(datagram.len(), if at == 100 { 7 } else { 1000 });
            assert!(datagram.iter().all(|byte| usize::from(*byte) == at), "in order");
        }
    }

    #[test]
    fn a_device_without_trains_gets_single_datagrams() {
        let (mut from, to) = (socket(), socket());
        from.trains.again_at = Some(Instant::now() + UNTRIED);
        let bytes = [3; 2500];
        let run = Run { local: from.local, remote: to.local, bytes: &bytes, segment: 1000 };
        let sent = from.send(&mut SendBatch::new(), std::iter::once(run));
        assert_eq!(sent, Sent { sent: 3, dropped: 0 });
        let lens: Vec<usize> = receive(&to).iter().map(|got| got.2.len()).collect();
        assert_eq!(lens, [1000, 1000, 500]);
    }

    #[test]
    fn a_refused_train_goes_one_by_one() {
        let (mut from, to) = (socket(), socket());
        let bytes = vec![4; 50_000];
        let mut batch = SendBatch::new();
        batch.push(Run { local: from.local, remote: to.local, bytes: &bytes, segment: 200 });
        let mut outcome = Sent::default();
        from.flush(&mut batch, &mut outcome);
        assert_eq!(
            outcome,
            Sent { sent: 250, dropped: 0 },
            "250 segments are too many for a train"
        );
        assert_eq!(from.trains.refused, 0, "the refusal was about this train");
        assert_eq!(receive(&to).len(), 250);
    }

    #[test]
    fn trains_that_one_way_does_not_take_cost_no_other_its_own() {
        let begin = Instant::now();
        let mut trains = Trains::default();
        for _ in 0..10 {
            (1..REFUSED_MAX).for_each(|_| trains.refused(begin));
            trains.taken();
        }
        assert!(trains.may_be_tried(|| begin), "somebody's are taken");
        (0..REFUSED_MAX).for_each(|_| trains.refused(begin));
        assert!(!trains.may_be_tried(|| begin + UNTRIED / 2), "nobody's are");
        assert!(trains.may_be_tried(|| begin + UNTRIED), "the network may be another");
        trains.refused(begin + UNTRIED);
        assert!(trains.may_be_tried(|| begin + UNTRIED));
    }

    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut wildcard =
            MediaSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        let client = socket();
        let asked = SocketAddr::from(([127, 0, 0, 9], port));
        client.socket.send_to(b"?", asked).unwrap();
        let (remote, local, _) = receive(&wildcard).remove(0);
        assert_eq!((remote, local), (client.local, asked));
        let run = Run { local, remote, bytes: b"!", segment: 0 };
        wildcard.send(&mut SendBatch::new(), std::iter::once(run));
        assert_eq!(receive(&client).remove(0).0, asked);
    }

    #[test]
    fn a_batch_forgets_whom_it_was_from_or_for() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let bind = || {
                let free = UdpSocket::bind(address).unwrap().local_addr().unwrap();
                MediaSocket::bind(free).unwrap()
            };
            let (mut from, to) = (bind(), bind());
            let is_blank = |name: &Name| {
                // SAFETY: an address is plain bytes.
                let bytes = unsafe { from_ref(&name.storage).cast::<[u8; 128]>().read() };
                bytes == [0; 128]
            };
            let mut sent = SendBatch::new();
            let run = Run { local: from.local, remote: to.local, bytes: b"x", segment: 0 };
            assert_eq!(from.send(&mut sent, [run; 3].into_iter()).sent, 3);
            assert!(sent.names.iter().all(is_blank));
            let mut batch = ReceiveBatch::new(Mapping::new(RECEIVE_BYTES).unwrap());
            Waiter::new(std::iter::once(to.as_fd())).wait(Duration::from_secs(1));
            assert!(to.receive(&mut batch) > 0 && !batch.names.iter().all(is_blank));
            batch.forget_senders();
            assert!(batch.names.iter().all(is_blank) && batch.runs().next().is_none());
        }
    }

    #[test]
    fn what_came_is_in_no_buffer_once_it_was_rinsed() {
        let (from, to) = (socket(), socket());
        let mut batch = ReceiveBatch::new(Mapping::new(RECEIVE_BYTES).unwrap());
        let mut waiter = Waiter::new(std::iter::once(to.as_fd()));
        // A burst fills buffers that what comes after it does not.
        for sizes in [&[1200, 60_000, 9][..], &[100]] {
            for size in sizes {
                from.socket.send_to(&vec![7; *size], to.local).unwrap();
            }
            let mut left = sizes.len();
            while left > 0 {
                waiter.wait(Duration::from_secs(1));
                let count = to.receive(&mut batch);
                assert!(count > 0 && batch.runs().count() == count);
                batch.forget_senders();
                left -= count;
            }
        }
        let there =
            |batch: &ReceiveBatch| batch.memory.as_ref().iter().filter(|it| **it != 0).count();
        assert!(there(&batch) >= 60_000);
        batch.rinse();
        assert_eq!(there(&batch), 0);
    }

    #[test]
    fn one_refused_message_does_not_hold_the_others() {
        let (mut from, to) = (socket(), socket());
        let run = |remote| Run { local: from.local, remote, bytes: b"x", segment: 0 };
        // Port 0 is nobody's.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let runs = [run(to.local), run(nowhere), run(to.local)];
        let sent = from.send(&mut SendBatch::new(), runs.into_iter());
        assert_eq!(sent, Sent { sent: 2, dropped: 1 });
        assert_eq!(receive(&to).len(), 2);
    }

    #[test]
    fn a_thread_may_run_where_it_was_put() {
        let all = allowed_cores();
        for core in all.iter().copied() {
            let put = std::thread::spawn(move || {
                pin_to_core(core);
                allowed_cores()
            });
            assert_eq!(put.join().unwrap(), [core]);
        }
        assert!(!all.is_empty() && allowed_cores() == all, "{all:?}");
    }

    #[test]
    fn memory_starts_as_zeros_and_is_not_dumped() {
        let mut mapping = Mapping::new(1 << 20).unwrap();
        assert!(mapping.as_ref().iter().all(|byte| *byte == 0));
        mapping.as_mut().fill(7);
        let start = format!("{:x}-", mapping.start.as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        // "dd": left out of dumps; "wf": wiped on fork. A map of its own, since no neighbour has both.
        let flags = maps.split(&start).nth(1).and_then(|rest| rest.split("VmFlags:").nth(1));
        let flags = flags.unwrap().lines().next().unwrap();
        assert!(flags.contains(" dd") && flags.contains(" wf"), "{flags}");
    }

    #[test]
    fn a_bell_ends_a_wait() {
        let bell = EventFd::new().unwrap();
        let mut waiter = Waiter::new(std::iter::once(bell.as_fd()));
        waiter.wait(Duration::ZERO);
        assert!(!waiter.is_ready(0));
        bell.ring();
        waiter.wait(Duration::from_secs(10));
        assert!(waiter.is_ready(0));
        bell.hush();
        waiter.wait(Duration::ZERO);
        assert!(!waiter.is_ready(0));
    }
}
