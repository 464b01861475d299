//! Which process has a port, as the kernel tells whoever may know.
//!
//! Owns: the tables of sockets of this network namespace, whose descriptors they are, and what those run.
//! Guarantees: it never guesses: what this user may not see is said to be unknown.
//! Not here: what the answer means (`port`).
//! Source: Linux `Documentation/networking/proc_net_tcp.rst`, proc_pid_fd(5), proc_pid_exe(5).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The kernel's number of a socket.
type Inode = u64;

/// Which sockets are looked for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Udp,
    /// Those that listen.
    Tcp,
}

/// Whether some process keeps others from `at`.
pub(super) fn is_held(kind: Kind, at: SocketAddr) -> bool {
    !inodes(kind, at).is_empty()
}

/// Whether one process has sockets at both of these places. `None`: this user may not know, or nobody is at one of
/// them.
pub(super) fn is_one_process(one: (Kind, SocketAddr), other: (Kind, SocketAddr)) -> Option<bool> {
    let [ours, theirs] = [one, other].map(|(kind, at)| holders(&inodes(kind, at)));
    let is_known = !ours.is_empty() && !theirs.is_empty();
    is_known.then(|| !ours.is_disjoint(&theirs))
}

/// Whether a process that runs a program of this one's name has a socket at `at`. `None`: this user may not know, or
/// nobody is there.
pub(super) fn is_of_this_program(kind: Kind, at: SocketAddr) -> Option<bool> {
    let program = |process: &str| fs::read_link(format!("/proc/{process}/exe")).ok();
    let own = program("self")?;
    let holders = holders(&inodes(kind, at));
    let theirs = holders.iter().map(|process| program(&process.to_string()));
    let theirs: Option<Vec<PathBuf>> = theirs.collect();
    let theirs = theirs.filter(|theirs| !theirs.is_empty())?;
    Some(theirs.iter().any(|their| is_one_program(their, &own)))
}

/// Whether another process bears the name of this one, which everybody may know.
pub(super) fn is_another_of_this_name() -> bool {
    let name = |process: &str| fs::read_to_string(format!("/proc/{process}/comm")).ok();
    let own = name("self");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut others = others.filter(|process| *process != std::process::id());
    others.any(|process| own.is_some() && name(&process.to_string()) == own)
}

/// Whether two processes run programs of one name, each as the kernel names it.
fn is_one_program(one: &Path, other: &Path) -> bool {
    // So it ends once another has taken the file's place, as in an upgrade.
    const GONE: &str = " (deleted)";
    let name = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        Some(name.strip_suffix(GONE).unwrap_or(name).to_owned())
    };
    name(one).is_some_and(|one| name(other) == Some(one))
}

/// Sockets that keep others from `at`.
fn inodes(kind: Kind, at: SocketAddr) -> BTreeSet<Inode> {
    let tables = match kind {
        Kind::Udp => ["/proc/net/udp", "/proc/net/udp6"],
        Kind::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let texts = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let rows = texts.iter().flat_map(|text| text.lines()).filter_map(|line| row(kind, line));
    rows.filter(|(bound, _)| is_in_the_way(*bound, at)).map(|(_, inode)| inode).collect()
}

fn is_in_the_way(bound: SocketAddr, at: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() || at.ip().is_unspecified();
    bound.port() == at.port() && (any || bound.ip() == at.ip())
}

/// A line of a table: `sl local remote st tx:rx tr:when retrnsmt uid timeout inode …`.
fn row(kind: Kind, line: &str) -> Option<(SocketAddr, Inode)> {
    const LISTENS: &str = "0A";
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (words.get(1)?, *words.get(3)?, words.get(9)?.parse().ok()?);
    if matches!(kind, Kind::Tcp) && state != LISTENS {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    // Words of four bytes, each as the processor has it.
    let word = |at: usize| u32::from_str_radix(ip.get(8 * at..8 * at + 8)?, 16).ok();
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(0)?.to_ne_bytes()).into()
    } else {
        let all = [word(0)?, word(1)?, word(2)?, word(3)?].map(u32::to_ne_bytes);
        let bytes: [u8; 16] = all.concat().try_into().ok()?;
        Ipv6Addr::from(bytes).to_canonical()
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), inode))
}

/// The processes that have one of these sockets, as far as this user may see.
fn holders(inodes: &BTreeSet<Inode>) -> BTreeSet<u32> {
    let names: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has_one = |process: u32| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        let links = descriptors.flatten().filter_map(|each| fs::read_link(each.path()).ok());
        let mut links = links.filter_map(|link| link.to_str().map(str::to_owned));
        links.any(|link| names.contains(&link))
    };
    if names.is_empty() {
        return BTreeSet::new();
    }
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = all.filter_map(|each| each.file_name().to_str()?.parse().ok());
    processes.filter(|process| has_one(*process)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_kernels_lines_are_read() {
        let check = |kind, line: &str, expect: Option<(&str, Inode)>| {
            let expect = expect.map(|(at, inode)| (at.parse().unwrap(), inode));
            assert_eq!(row(kind, line), expect, "{line}");
        };
        let udp = "  77: 0100007F:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000  0 0 4711 2 0 0";
        check(Kind::Udp, udp, Some(("127.0.0.1:7882", 4711)));
        let udp6 = "1: 0000000000000000FFFF00000100007F:0001 0:0 07 0:0 0:0 0 0 0 9 2";
        check(Kind::Udp, udp6, Some(("127.0.0.1:1", 9)));
        let listens = "0: 00000000000000000000000000000000:1EC8 0:0 0A 0:0 0:0 0 0 0 8 1";
        check(Kind::Tcp, listens, Some(("[::]:7880", 8)));
        check(Kind::Tcp, &listens.replace("0A", "01"), None);
        for broken in
            ["", "sl local_address", &udp.replace("0100007F", "x"), "0: 0100007F:1ECA 0:0 07"]
        {
            check(Kind::Udp, broken, None);
        }
    }

    #[test]
    fn a_process_is_known_by_its_sockets() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp, at) = ((Kind::Tcp, tcp.local_addr().unwrap()), udp.local_addr().unwrap());
        assert_eq!(is_one_process(tcp, (Kind::Udp, at)), Some(true));
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port());
        assert_eq!(is_one_process(tcp, (Kind::Udp, any)), Some(true));
        let elsewhere = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), at.port());
        assert_eq!(is_one_process(tcp, (Kind::Udp, elsewhere)), None);
        assert!(is_held(Kind::Udp, any) && !is_held(Kind::Udp, elsewhere));
        assert_eq!(is_of_this_program(Kind::Udp, any), Some(true));
        assert_eq!(is_of_this_program(Kind::Udp, elsewhere), None);
    }

    #[test]
    fn a_program_is_known_by_its_name_wherever_it_lies_and_after_an_upgrade() {
        for (one, is) in [
            ("/usr/local/bin/incamera", true),
            ("/usr/local/bin/incamera (deleted)", true),
            ("/opt/incamera", true),
            ("/usr/bin/python3.11", false),
            ("/opt/incamera/other", false),
            ("/", false),
        ] {
            let own = Path::new("/usr/local/bin/incamera");
            assert_eq!(is_one_program(Path::new(one), own), is, "{one}");
        }
    }
}
