//! What the kernel says of this machine: its addresses, how its clock is kept, how many files may be
//! open, who one is, where one may write.
//!
//! Owns: the system calls for that. Guarantees: all but [`open_as_many_files_as_may_be`] change nothing.
//! Not here: what follows from the answers (the command line).
//! Source: Linux man pages getifaddrs(3), adjtimex(2), getrlimit(2), geteuid(2), access(2).
#![expect(unsafe_code, reason = "the standard library asks for none of it")]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::{from_mut, from_ref, null_mut};

use libc::c_int;

/// An address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// As `ip address` names it.
    pub name: String,
    /// One of its addresses.
    pub address: IpAddr,
}

/// How the kernel's clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Something keeps it: chrony, systemd-timesyncd, ntpd, or a host that tells its guests.
    pub is_synchronized: bool,
    /// How far it may be off, as whoever keeps it reckons.
    pub error_us_max: u64,
}

/// The number of the user whose rights this process has.
#[must_use]
pub fn user() -> u32 {
    // SAFETY: asks for nothing of ours, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether this process may make files in a folder.
///
/// # Errors
/// Why it may not, as the kernel says it.
pub fn may_write(folder: &Path) -> io::Result<()> {
    let name = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: `name` ends with a zero and outlives the call.
    if unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// All addresses of the interfaces that are up, in the kernel's order.
///
/// # Errors
/// The kernel's.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut list = null_mut();
    // SAFETY: gives a list that is ours until `freeifaddrs`, or an error and nothing.
    if unsafe { libc::getifaddrs(from_mut(&mut list)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut all = Vec::new();
    let mut next = list;
    // SAFETY: an entry of the list, or null at its end; the list is not freed yet.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        let is_up = entry.ifa_flags & libc::IFF_UP.cast_unsigned() != 0;
        // SAFETY: null, or an address as long as its family says.
        let address = unsafe { address(entry.ifa_addr) };
        if let Some(address) = address.filter(|_| is_up) {
            // SAFETY: a name ends with a zero, and lives as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            all.push(Interface { name: name.to_string_lossy().into_owned(), address });
        }
    }
    // SAFETY: `list` came from `getifaddrs`, and nothing of it is borrowed any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(all)
}

/// # Safety
/// Null, or an address as long as its family says.
unsafe fn address(name: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller promises.
    let family = unsafe { name.as_ref() }?.sa_family;
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of this family has this type, whatever its alignment.
            let name = unsafe { name.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as before.
            let name = unsafe { name.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(name.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// # Errors
/// The kernel's, as where a sandbox forbids to ask.
pub fn clock() -> io::Result<Clock> {
    // SAFETY: zeros are a value of this type, and as a request they ask and change nothing.
    let mut answer: libc::timex = unsafe { zeroed() };
    // SAFETY: a value of the type that it fills.
    let state = unsafe { libc::adjtimex(from_mut(&mut answer)) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let is_synchronized = state != libc::TIME_ERROR && answer.status & libc::STA_UNSYNC == 0;
    let error_us_max = u64::try_from(answer.maxerror).unwrap_or(u64::MAX);
    Ok(Clock { is_synchronized, error_us_max })
}

/// Lets this process open as many files as whoever started it allows at most, and says how many those are.
/// Shells and service managers begin with 1,024 for the sake of select(2), which nothing here uses.
///
/// # Errors
/// The kernel's, as where a sandbox forbids it.
pub fn open_as_many_files_as_may_be() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a value of the type that it fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, from_mut(&mut limit)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a value of the type that it reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, from_ref(&limit)) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let all = interfaces().unwrap();
        let lo = Interface { name: "lo".into(), address: Ipv4Addr::LOCALHOST.into() };
        assert!(all.contains(&lo), "{all:?}");
        assert!(all.iter().all(|each| !each.address.is_unspecified()), "{all:?}");
    }

    #[test]
    fn what_this_process_makes_is_its_users() {
        let path = std::env::temp_dir().join(format!("incamera-user-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), user());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn as_many_files_may_be_open_as_the_hard_limit_says() {
        let count = open_as_many_files_as_may_be().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[3], words[4]), (&*count.to_string(), &*count.to_string()));
    }

    #[test]
    fn the_clock_can_be_asked_of() {
        assert!(clock().unwrap().error_us_max > 0);
    }
}
