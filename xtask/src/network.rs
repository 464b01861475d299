//! A network namespace for clients, so that what they receive is not the server's work.
//!
//! Owns: a namespace joined to this one by a pair of virtual cables, in the range that is set aside for
//! measurements (RFC 2544: 198.18.0.0/15). Inside, the namespace answers for all of 198.19.0.0/16, so that what the
//! server sends to any address of it arrives there and can be seen; its default route makes it a machine with a
//! private address. Guarantees: it is gone when this is dropped.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::command::find;

/// The end of the server, the end of the clients.
const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// Of the names of our namespaces; the process that made one follows.
const PREFIX: &str = "incamera-load-";

pub(crate) struct Network {
    name: String,
    near: String,
    far: String,
}

impl Network {
    /// Makes the namespace; it needs root and `ip`.
    pub(crate) fn make() -> Result<Self, Failure> {
        remove_orphans();
        let id = std::process::id();
        let network = Self {
            name: format!("{PREFIX}{id}"),
            near: format!("in{id}n"),
            far: format!("in{id}f"),
        };
        let (name, near, far) = (&*network.name, &*network.near, &*network.far);
        ip(&["netns", "add", name])?;
        ip(&["link", "add", near, "type", "veth", "peer", "name", far, "netns", name])?;
        ip(&["address", "add", &format!("{NEAR}/15"), "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        ip(&["-n", name, "address", "add", &format!("{FAR}/15"), "dev", far])?;
        ip(&["-n", name, "link", "set", far, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "route", "add", "local", "198.19.0.0/16", "dev", "lo"])?;
        ip(&["-n", name, "route", "add", "default", "via", &NEAR.to_string()])?;
        Ok(network)
    }

    /// Has a thread of the kernel's own do the clients' half of the cable: what it receives, up to waking the
    /// socket's reader, is else done by whoever sends, within his own time. The thread's process id.
    pub(crate) fn thread_the_wire(&self) -> Result<u32, Failure> {
        let far = &*self.far;
        // Without aggregation a virtual cable has no poll of its own that could have a thread, and without
        // forwarding of UDP in trains it does not use it for those.
        self.run(&["ethtool", "--features", far, "gro", "on", "rx-udp-gro-forwarding", "on"])?;
        self.run(&["sh", "-c", &format!("echo 1 > /sys/class/net/{far}/threaded")])?;
        let begin = format!("napi/{far}-");
        let folders = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
        let mut ids =
            folders.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let id = ids.find(|id: &u32| {
            let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
            // The kernel keeps 15 characters of a name.
            name.starts_with(begin.get(..15).unwrap_or(&begin))
        });
        let id = id.ok_or("the kernel started no thread for it")?;
        // Else it interrupts who sends whenever something is sent, as no other machine could.
        self.run(&["chrt", "--batch", "--pid", "0", &id.to_string()])?;
        Ok(id)
    }

    /// Trains of datagrams that the cable had no room for on the way to the clients, so far: it holds 256, and the
    /// kernel's thread may not come to fetch them in time.
    pub(crate) fn overrun(&self) -> u64 {
        let file = format!("/sys/class/net/{}/statistics/tx_dropped", self.near);
        fs::read_to_string(file).ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn run(&self, words: &[&str]) -> Result<(), Failure> {
        ip(&[&["netns", "exec", &*self.name][..], words].concat())
    }

    /// Where the server is to listen.
    pub(crate) const fn server() -> Ipv4Addr {
        NEAR
    }

    /// A command that runs `program` inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// The same for whoever starts programs by name and arguments.
    pub(crate) fn inside(&self, program: &Path, script: String) -> (PathBuf, Vec<String>) {
        let words = ["netns", "exec", &self.name, &program.to_string_lossy()];
        let words = words.into_iter().map(str::to_owned).chain([script]).collect();
        (find(&["ip"]).unwrap_or_else(|| "ip".into()), words)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Without the namespace its cable is gone, too; without either there is nothing to undo.
        ip(&["netns", "delete", &self.name]).ok();
        ip(&["link", "delete", &self.near]).ok();
    }
}

/// Removes what runs that were killed have left: their addresses are the same as ours.
fn remove_orphans() {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(id) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(id).exists() {
            ip(&["netns", "delete", &name]).ok();
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
}
