//! The clock, limits, buffers, swap, and whose process it would be.

use std::fs;
use std::net::ToSocketAddrs as _;
use std::path::Path;

use edge::machine;

use super::finding::{Finding, Report};
use super::ntp;
use crate::certificate;
use crate::process::FILES_WANTED;

/// Below this many a small team is turned away.
const FILES_MIN: usize = 1024;
/// What the kernel should hold for a media socket in each direction.
const BUFFER_BYTES: u64 = 4 << 20;
/// Tokens live for minutes at least, and their builders date them back by seconds at most.
const OFFSET_S_MAX: f64 = 2.0;
/// The second of a day before this was written: an earlier clock was never set.
const WRITTEN: u64 = 1_764_547_200;
/// The capability to set a socket's buffers beyond the limit (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;

/// Judges the machine; `ntp` is a time server to ask.
pub(super) fn check(ntp: Option<&str>, report: &mut Report) {
    check_clock(ntp, report);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = open_files(&limits) {
        report.add(judge_files(limit));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    check_buffers(&status, report);
    if let Ok(swaps) = fs::read_to_string("/proc/swaps") {
        check_swap(&swaps, report);
    }
    if is_root(&status) {
        report.add(Finding::warning(
            "user",
            "this is root",
            "whoever breaks into the server has the machine; it needs no privilege",
            "run it as a user of its own, as deploy/incamera.service does, and this command as well",
        ));
    }
}

fn check_clock(ntp: Option<&str>, report: &mut Report) {
    let why = "a token is refused before it begins and after it ends, and so is a certificate";
    let now = certificate::now();
    if now.0 < WRITTEN {
        let what = format!("the clock says {now}, which is long over");
        report.add(Finding::wrong("clock", what, why, "set it: `timedatectl set-ntp true`"));
    } else if let Ok(clock) = machine::clock() {
        report.add(if clock.is_synchronized {
            let error_ms = clock.error_us_max / 1000;
            Finding::fine("clock", format!("it is kept, and at most {error_ms} ms off"))
        } else {
            Finding::warning(
                "clock",
                "the kernel knows of nothing that keeps the clock",
                why,
                "`timedatectl set-ntp true`, or install chrony; in a container that is the host's work",
            )
        });
    }
    let Some(server) = ntp else { return };
    let asked = server.to_socket_addrs().and_then(|mut all| {
        let none = || std::io::Error::other("it has no address");
        ntp::ask(all.next().ok_or_else(none)?)
    });
    report.add(match asked {
        Ok(offset) if offset.abs() <= OFFSET_S_MAX => {
            Finding::fine("clock", format!("{server} is {offset:+.3} s from it"))
        }
        Ok(offset) => {
            let which = if offset > 0.0 { "behind" } else { "ahead of" };
            let what = format!("the clock is {:.0} s {which} {server}'s", offset.abs());
            Finding::wrong(
                "clock",
                what,
                why,
                "set it: `timedatectl set-ntp true`, or `chronyc makestep`",
            )
        }
        Err(error) => Finding::warning(
            "clock",
            format!("{server} does not say what time it is: {error}"),
            "whether the clock is right is not known",
            "--ntp wants HOST:PORT, the port is 123 mostly; UDP must be let out",
        ),
    });
}

/// The hard limit of open files: the server raises the soft one by itself.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(usize::MAX),
        word => word.parse().ok(),
    }
}

fn judge_files(limit: usize) -> Finding {
    if limit >= FILES_WANTED {
        return Finding::fine("files", format!("{limit} files may be open"));
    }
    let what = format!("{limit} files may be open, {FILES_WANTED} are wanted");
    let why = "each participant's connection is one: when they are used up, nobody can join";
    let fix = format!(
        "LimitNOFILE={FILES_WANTED} in the unit; `ulimit -Hn {FILES_WANTED}` as root before `su`; --ulimit \
         nofile={FILES_WANTED} for a container"
    );
    if limit < FILES_MIN {
        Finding::wrong("files", what, why, fix)
    } else {
        Finding::warning("files", what, why, fix)
    }
}

fn check_buffers(status: &str, report: &mut Report) {
    for (name, direction) in [("rmem_max", "received"), ("wmem_max", "sent")] {
        let read = fs::read_to_string(format!("/proc/sys/net/core/{name}"));
        let Some(bytes) = read.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
            continue;
        };
        report.add(if bytes >= BUFFER_BYTES || has_capability(status, CAP_NET_ADMIN) {
            Finding::fine("buffers", format!("media that is {direction} may wait in 4 MiB"))
        } else {
            Finding::warning(
                "buffers",
                format!("net.core.{name} is {bytes}, {BUFFER_BYTES} is wanted"),
                format!("in a burst, media that is {direction} is lost in the kernel"),
                format!(
                    "`sysctl -w net.core.{name}={BUFFER_BYTES}`, and the same in /etc/sysctl.d/incamera.conf"
                ),
            )
        });
    }
}

fn has_capability(status: &str, capability: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> capability & 1 == 1)
}

fn is_root(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|line| line.split_whitespace().nth(1)) == Some("0")
}

fn check_swap(swaps: &str, report: &mut Report) {
    let devices = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let plain: Vec<&str> = devices.filter(|device| !is_private(device)).collect();
    if plain.is_empty() {
        report.add(Finding::fine(
            "swap",
            "there is none that keeps what is written to it in the clear",
        ));
        return;
    }
    report.add(Finding::warning(
        "swap",
        format!("{} is swapped to in the clear", plain.join(", ")),
        "what the server forgets within seconds may stay there: names, tokens, media that is not encrypted end to end",
        "MemorySwapMax=0 in the unit, as deploy/incamera.service has it; or `swapoff -a`, or encrypt it",
    ));
}

/// Whether a swap device is memory, or encrypted.
fn is_private(device: &str) -> bool {
    let name = fs::canonicalize(device).unwrap_or_else(|_| device.into());
    let Some(name) = name.file_name().and_then(|name| name.to_str()) else { return false };
    let uuid = fs::read_to_string(Path::new("/sys/block").join(name).join("dm/uuid"));
    name.starts_with("zram") || uuid.is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         unlimited            unlimited            bytes
";
        assert_eq!(open_files(text), Some(524_288));
        assert_eq!(open_files(""), None);
        assert!(open_files(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }

    #[test]
    fn the_status_says_who_one_is_and_what_one_may() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t0000000000001000\n";
        assert!(is_root(status) && has_capability(status, CAP_NET_ADMIN));
        assert!(!has_capability(status, 13) && !is_root("Uid:\t0\t1000\t0\t0"));
    }

    #[test]
    fn swap_in_the_clear_is_named() {
        let check = |swaps: &str| {
            let mut report = Report::default();
            check_swap(swaps, &mut report);
            report.to_string()
        };
        let head = "Filename\tType\tSize\tUsed\tPriority\n";
        assert!(check(head).starts_with("fine"));
        assert!(check(&format!("{head}/dev/zram0 partition 1 0 -2\n")).starts_with("fine"));
        let plain = check(&format!("{head}/swapfile file 1 0 -2\n"));
        assert!(plain.starts_with("warning") && plain.contains("/swapfile"), "{plain}");
    }
}
