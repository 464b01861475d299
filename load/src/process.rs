//! What the kernel says of the server's process. Source: proc(5).

use std::fs;
use std::io;
use std::time::Duration;

/// One tick of `/proc/PID/stat`, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Time that a process has computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    /// In itself.
    pub(crate) user: Duration,
    /// In the kernel; over loopback that includes most of receiving at the other end.
    pub(crate) kernel: Duration,
}

impl Busy {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            kernel: self.kernel.saturating_sub(earlier.kernel),
        }
    }
}

pub(crate) struct Server {
    pid: u32,
}

impl Server {
    pub(crate) const fn new(pid: u32) -> Self {
        Self { pid }
    }

    pub(crate) fn busy(&self) -> io::Result<Busy> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        busy(&stat).ok_or(io::ErrorKind::InvalidData.into())
    }

    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        resident(&status).ok_or(io::ErrorKind::InvalidData.into())
    }
}

/// `utime` and `stime`, fields 14 and 15; the second is in brackets and may hold anything.
fn busy(stat: &str) -> Option<Busy> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    Some(Busy { user: next()?, kernel: next()? })
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Datagrams that found the socket full that they were for, of all sockets of this network namespace.
pub(crate) fn dropped() -> io::Result<u64> {
    let counts = fs::read_to_string("/proc/thread-self/net/snmp")?;
    full_sockets(&counts).ok_or(io::ErrorKind::InvalidData.into())
}

/// `RcvbufErrors` of UDP: a line of names, then one of numbers.
fn full_sockets(counts: &str) -> Option<u64> {
    let mut lines = counts.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let at = lines.next()?.split(' ').position(|name| name == "RcvbufErrors")?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_sockets_are_found_by_name() {
        let counts = "Ip: A\nIp: 1\nUdp: InDatagrams RcvbufErrors\nUdp: 9 7\nUdpLite: RcvbufErrors\nUdpLite: 3\n";
        assert_eq!(full_sockets(counts), Some(7));
        assert_eq!(full_sockets("Udp: InDatagrams\nUdp: 9\n"), None);
        assert!(dropped().is_ok());
    }

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 500 0 0 0 120 34 0 0 20 0 4 0 100 200 300";
        let (user, kernel) = (Duration::from_millis(1_200), Duration::from_millis(340));
        assert_eq!(busy(stat), Some(Busy { user, kernel }));
        assert_eq!(busy("7 (a"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   20 kB\n"), Some(20_480));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
