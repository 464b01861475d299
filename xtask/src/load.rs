//! Many clients at once: a fresh server for each shape of call, and the `load` crate against it.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::Failure;
use crate::command::{Log, answer, cargo, find, root, target};
use crate::network::Network;
use crate::server::{self, Server};
use crate::setup;

pub(crate) const HELP: &str = "
Usage: cargo xtask load [--audio PxS | --video PxS | --rooms RxN]… [--seconds N] [--saturate] [--keep]

P participants publish one track each and S others receive them all, over real DTLS-SRTP, without
end-to-end keys. The clients have a network namespace of their own if one can be made (root, `ip`), else
they share the loopback. Prints what was lost, the server's time for each datagram that it sent, and
its memory for each participant; fails if anything was lost, or if a session that does nothing costs too much.

  --audio PxS   20 ms of Opus at 32 kbit/s
  --video PxS   720p at 30 Hz in frames of eight packets
  --rooms RxN   R rooms of N participants who do nothing, beside video 5x50 that must lose nothing: what
                memory each costs, first over signalling alone, then with its transport (of 2,500), which
                may be 24 KiB; judged from 1,000 transports
  --seconds N   how long to measure each (default 10; --rooms as long as they take to come)
  --saturate    repeat the shapes with twice the publishers until something is lost
  --keep        append the figures and this machine to benches/history.ndjson

Without a shape: --audio 10x100 --video 1x200 --video 5x50. Subscribers report what came ten times a second,
as LiveKit's own load test does. Server and clients share the machine: what the clients need is missing
to the server, and a busy machine shows.

Over a virtual wire the kernel carries a datagram to the receiving socket, and wakes its reader, within
the sender's time; on a real one that is the work of a network card and of another machine. With root and
`ethtool` a thread of the kernel's does this half, and both figures are printed, the server's own and the
one with it. The second, and that over loopback, compare with LiveKit's 19 to 28 us, which were measured so.
";

/// The shapes that the goals are set for.
const SHAPES: [&str; 6] = ["--audio", "10x100", "--video", "1x200", "--video", "5x50"];

/// What goes on beside many rooms.
const BESIDE: (u32, u32) = (5, 50);

/// A session description has no room for more tracks.
const PUBLISHERS_MAX: u32 = 63;

/// How the clients end that measured something and lost a part of it.
const LOSSY: i32 = 2;
/// How they end that lost nothing, beside sessions that cost more memory than they may.
const HEAVY: i32 = 3;

#[derive(PartialEq, Eq)]
enum Outcome {
    Whole,
    Lossy,
    Heavy,
}

#[derive(Clone)]
struct Shape {
    kind: &'static str,
    publishers: u32,
    subscribers: u32,
    /// Rooms beside it, and participants of each.
    beside: Option<(u32, u32)>,
}

/// Where the clients are.
struct Field {
    network: Option<Network>,
    /// The thread for their half of the wire.
    wire: Option<u32>,
    /// The figures are kept.
    keeps: bool,
}

impl Field {
    fn make(keeps: bool) -> Self {
        let network = Network::make().inspect_err(|failure| println!("no namespace: {failure}"));
        let network = network.ok();
        println!(
            "between {}",
            if network.is_some() { "two namespaces" } else { "loopback addresses" }
        );
        let wire = network.as_ref().and_then(|network| {
            let thread = setup::wire_tool().and_then(|()| network.thread_the_wire());
            thread.inspect_err(|failure| println!("no thread for the wire: {failure}")).ok()
        });
        Self { network, wire, keeps }
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (saturate, arguments): (Vec<_>, Vec<_>) =
        arguments.iter().cloned().partition(|argument| argument == "--saturate");
    let (keep, arguments): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|argument| argument == "--keep");
    let (mut shapes, seconds) = parse(&arguments)?;
    if shapes.is_empty() {
        shapes = parse(&SHAPES.map(String::from))?.0;
    }
    println!("building the server and its clients …");
    let log = Log::create("build")?;
    server::build(&log)
        .and_then(|()| {
            log.run(cargo().args(["build", "--release", "--locked", "--package", "load"]))
        })
        .map_err(|failure| format!("{failure}\n{}", log.shown()))?;
    let field = Field::make(!keep.is_empty());
    let mut failed = 0;
    for shape in &shapes {
        let outcome = if saturate.is_empty() {
            measure(&field, shape, seconds).and_then(|outcome| match outcome {
                Outcome::Whole => Ok(()),
                Outcome::Lossy => Err("packets were lost".into()),
                Outcome::Heavy => Err("a session that does nothing costs too much memory".into()),
            })
        } else {
            overload(&field, shape, seconds)
        };
        if let Err(failure) = outcome {
            println!("{failure}");
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} failed", shapes.len())) }
}

/// Doubles the publishers until something is lost.
fn overload(field: &Field, shape: &Shape, seconds: u32) -> Result<(), Failure> {
    let mut shape = shape.clone();
    while shape.publishers <= PUBLISHERS_MAX {
        if measure(field, &shape, seconds)? == Outcome::Lossy {
            let (publishers, subscribers) = (shape.publishers, shape.subscribers);
            println!("  too much: {publishers} -> {subscribers}");
            return Ok(());
        }
        shape.publishers *= 2;
    }
    Err(format!("nothing was lost with {} publishers", shape.publishers / 2))
}

fn measure(field: &Field, shape: &Shape, seconds: u32) -> Result<Outcome, Failure> {
    let network = field.network.as_ref();
    let address = network.map_or(Ipv4Addr::LOCALHOST, |_| Network::server());
    let server = Server::start_at(address, Log::create("load.server")?, &[])?;
    let mut words = vec![
        ("--server", format!("{address}:{}", server.ports().http)),
        ("--pid", server.pid().to_string()),
        ("--kind", shape.kind.to_owned()),
        ("--publishers", shape.publishers.to_string()),
        ("--subscribers", shape.subscribers.to_string()),
        ("--seconds", seconds.to_string()),
    ];
    words.extend(field.wire.map(|wire| ("--wire", wire.to_string())));
    if field.keeps {
        let history = root().join("benches/history.ndjson");
        words.push(("--history", history.to_string_lossy().into_owned()));
    }
    if let Some((rooms, sessions)) = shape.beside {
        words.push(("--rooms", rooms.to_string()));
        words.push(("--sessions", sessions.to_string()));
    }
    let (files, transports) = files(shape)?;
    words.push(("--transports", transports.to_string()));
    let nofile = format!("--nofile={files}:{files}");
    let program = target().join("release/load");
    let program = [&*nofile, "--", &*program.to_string_lossy()];
    let prlimit = find(&["prlimit"]).ok_or("prlimit is missing (Debian: util-linux)")?;
    let status = network
        .map_or_else(|| Command::new(&prlimit), |network| network.command(&prlimit))
        .args(program)
        .args(words.iter().flat_map(|(option, value)| [*option, value]))
        .status();
    server.stop()?;
    match status {
        Ok(status) if status.success() => Ok(Outcome::Whole),
        Ok(status) if status.code() == Some(LOSSY) => Ok(Outcome::Lossy),
        Ok(status) if status.code() == Some(HEAVY) => Ok(Outcome::Heavy),
        Ok(status) => Err(format!("the clients ended with {status}; they open {files} files")),
        Err(error) => Err(format!("cannot run the clients: {error}")),
    }
}

/// How many files the clients may open, and how many of those beside the measured room get a transport then: a
/// socket each, beside the one for signalling.
fn files(shape: &Shape) -> Result<(u32, u32), Failure> {
    let beside = shape.beside.map_or(0, |(rooms, sessions)| rooms.saturating_mul(sessions));
    let least =
        (2 * (shape.publishers + shape.subscribers)).saturating_add(beside).saturating_add(64);
    let wanted = least.saturating_add(beside);
    let may_be = answer("prlimit", &["--nofile", "--noheadings", "--raw", "--output", "HARD"]);
    let may_be = may_be.and_then(|hard| hard.parse().ok()).unwrap_or(u32::MAX);
    if may_be < least {
        return Err(format!("{least} files must be open at least, and {may_be} may (ulimit -Hn)"));
    }
    let files = wanted.min(may_be);
    Ok((files, files - least))
}

fn parse(arguments: &[String]) -> Result<(Vec<Shape>, u32), Failure> {
    let mut shapes = Vec::new();
    let mut seconds = 10;
    for pair in arguments.chunks(2) {
        let [option, value] = pair else {
            return Err("an option without a value; see --help".into());
        };
        let kind = match option.as_str() {
            "--audio" => "audio",
            "--video" | "--rooms" => "video",
            "--seconds" => {
                seconds = value.parse().map_err(|_| format!("`{value}` is no number"))?;
                continue;
            }
            _ => return Err(format!("there is no option `{option}`; see --help")),
        };
        let shape = value.split_once('x').and_then(|(publishers, subscribers)| {
            let (publishers, subscribers) = (publishers.parse().ok()?, subscribers.parse().ok()?);
            Some(if option == "--rooms" {
                let beside = Some((publishers, subscribers));
                Shape { kind, publishers: BESIDE.0, subscribers: BESIDE.1, beside }
            } else {
                Shape { kind, publishers, subscribers, beside: None }
            })
        });
        shapes.push(shape.ok_or_else(|| format!("`{value}` is not like 10x100"))?);
    }
    Ok((shapes, seconds))
}
