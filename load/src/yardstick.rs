//! What this machine takes for the kernel's bare part of the work: datagrams sent in trains and read again, over
//! loopback, by this thread.
//!
//! Goals are microseconds of one kind of machine. On a slower one, or beside a busy neighbour, the same server needs
//! more of them, and so does this: a goal grows by as much, and never shrinks.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::slice;
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::Kind;
use crate::media;

/// Enough for a tenth of a second.
const TRAINS: u32 = 20_000;

/// What a datagram took on the machine that the goals are of: two cores of an AMD EPYC of the Zen 5 generation.
const fn reference(kind: Kind) -> Duration {
    match kind {
        Kind::Audio => Duration::from_nanos(3_500),
        Kind::Video => Duration::from_nanos(490),
    }
}

/// Times what this machine needed, first to last.
pub(crate) struct Yardstick {
    kind: Kind,
    taken: Vec<Duration>,
}

impl Yardstick {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, taken: Vec::new() }
    }

    /// Takes the measure once more.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        self.taken.push(datagram(self.kind)?);
        Ok(())
    }

    /// How much slower this machine was than the one of the goals; 1 if it was faster.
    pub(crate) fn slowness(&self) -> f64 {
        let times = u32::try_from(self.taken.len()).unwrap_or(u32::MAX).max(1);
        let mean = self.taken.iter().sum::<Duration>() / times;
        (mean.as_secs_f64() / reference(self.kind).as_secs_f64()).max(1.0)
    }
}

/// Processor time for one datagram of a kind, there and back.
fn datagram(kind: Kind) -> io::Result<Duration> {
    let (segments, len) = media::turn_shape(kind);
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (from, to) = (socket()?, socket()?);
    let sender = UdpSocketState::new(UdpSockRef::from(&from))?;
    let receiver = UdpSocketState::new(UdpSockRef::from(&to))?;
    // The state makes sockets non-blocking, and over loopback what is sent is there.
    let train = vec![0; len * segments];
    let transmit = Transmit {
        destination: to.local_addr()?,
        ecn: None,
        contents: &train,
        segment_size: (segments > 1).then_some(len),
        src_ip: None,
    };
    let mut buffer = vec![0; 64 << 10];
    let mut meta = RecvMeta::default();
    let began = computed()?;
    for _ in 0..TRAINS {
        sender.try_send(UdpSockRef::from(&from), &transmit)?;
        let mut came = 0;
        while came < train.len() {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            receiver.recv(UdpSockRef::from(&to), &mut slices, slice::from_mut(&mut meta))?;
            came += meta.len;
        }
    }
    let took = computed()? - began;
    Ok(took / TRAINS / u32::try_from(segments).unwrap_or(1))
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
    fn goals_grow_on_a_slower_machine_and_never_shrink() {
        let times = |factor: u32| Yardstick {
            kind: Kind::Video,
            taken: vec![reference(Kind::Video) * factor, reference(Kind::Video) * factor],
        };
        assert_eq!(times(3).slowness(), 3.0);
        let mut faster = times(1);
        faster.taken.push(Duration::ZERO);
        assert_eq!(faster.slowness(), 1.0);
    }

    #[test]
    fn a_datagram_takes_time() {
        let mut yardstick = Yardstick::new(Kind::Video);
        yardstick.take().unwrap();
        assert!(yardstick.taken[0] > Duration::ZERO);
    }
}
