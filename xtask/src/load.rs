//! Many clients at once: a fresh server for each shape of call, and the `load` crate against it.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::Failure;
use crate::ci::Count;
use crate::command::{Log, answer, cargo, find, root, target};
use crate::network::Network;
use crate::server::{self, Server};
use crate::setup;

pub(crate) const HELP: &str = "
Usage: cargo xtask load [--audio PxS | --video PxS | --rooms RxN]… [--seconds N] [--saturate] [--keep]

P participants publish one track each and S others receive them all, over real DTLS-SRTP, without
end-to-end keys. The clients have a network namespace of their own if one can be made (root, `ip`), else
they share the loopback. Prints what was lost, the server's time for each datagram that it sent, and
its memory for each participant; fails if anything was lost or a goal is missed.

  --audio PxS   20 ms of Opus at 32 kbit/s
  --video PxS   720p at 30 Hz in frames of eight packets
  --rooms RxN   R rooms of N participants who do nothing, beside video 5x50 that must lose nothing: what
                memory each costs, first over signalling alone, then with its transport (of 2,500), which
                may be 24 KiB; judged from 2,000 transports
  --seconds N   how long to measure each (default 10; --rooms as long as they take to come)
  --saturate    repeat the shapes with twice the publishers, then subscribers, until something is lost
  --keep        append the figures and this machine to benches/history.ndjson

Without a shape: --audio 10x100 --video 1x200 --video 5x50, which have goals: 1.8 us for a datagram of audio, 1.3 us
of video (on a core of an AMD EPYC, Zen 5), 64 KiB for a participant. Beside the server works a bare forwarder then,
which does nothing but seal, send and read again: to compare with another machine see how many times as much the
server takes. Subscribers report what came ten times a second, as LiveKit's own load test does. Server and clients
share the machine: what the clients need is missing to the server, and a busy machine shows.

Over a virtual wire the kernel carries a datagram to the receiving socket, and wakes its reader, within
the sender's time; on a real one that is the work of a network card and of another machine. With root and
`ethtool` a thread of the kernel's does this half, and both figures are printed, the server's own, to which the
goals apply, and the one with it. The second, and that over loopback, compare with LiveKit's 19 to 28 us, which were
measured so.
";

/// The shapes that the goals are set for, and how many times what a bare forwarder takes will do for CI. Caches that
/// are far away and guests of the same processor slow both: in 21 measurements on an Intel Xeon (family 6, model 207),
/// quiet and beside other work, a datagram of video 1 -> 200 took from 1.96 to 3.23 us, and these times were from 0.43
/// to 0.64, 2.17 to 3.01 and 1.35 to 1.95.
const SHAPES: [(&str, &str, f64); 3] =
    [("--audio", "10x100", 0.7), ("--video", "1x200", 3.2), ("--video", "5x50", 2.1)];

/// What a datagram of a kind may take of the server's own time, in microseconds, and a participant of its memory, in
/// KiB.
const GOALS_US: [(&str, f64); 2] = [("audio", 1.8), ("video", 1.3)];
const GOAL_KIB: &str = "64";

/// For the history of a room to be as long as it gets before a participant's memory is measured.
const FILL_SECONDS: u32 = 11;

/// How long CI measures each, in seconds.
const STEP_SECONDS: u32 = 5;

/// What it measures besides: as few rooms as are judged.
const STEP_ROOMS: [&str; 2] = ["--rooms", "200x10"];

/// How often it tries, and how often for the goal itself before some times a bare forwarder's time will do. What else a
/// machine does can only add to what is lost and to what a datagram takes, so that one try says enough.
const STEP_TRIES: u32 = 6;
const STEP_TRIES_FOR_GOAL: u32 = 2;

/// Of fewer that have a transport the clients judge nothing (`load/src/crowd.rs`).
const JUDGED_FROM: u32 = 2_000;

/// What goes on beside many rooms.
const BESIDE: (u32, u32) = (5, 50);

/// With more tracks a client's request to join is longer than the server takes, unless it compresses it.
const PUBLISHERS_MAX: u32 = 20;

/// More sockets than this a namespace need not have room for.
const SUBSCRIBERS_MAX: u32 = 3_200;

/// How the clients end that measured something and lost a part of it, or found that it takes too much.
const LOSSY: i32 = 2;
const DEAR: i32 = 3;

#[derive(PartialEq, Eq)]
enum Outcome {
    Whole,
    Lossy,
    Dear,
}

impl Outcome {
    fn judged(self) -> Result<(), Failure> {
        match self {
            Self::Whole => Ok(()),
            Self::Lossy => Err("packets were lost".into()),
            Self::Dear => Err("a goal is missed".into()),
        }
    }
}

#[derive(Clone)]
struct Shape {
    kind: &'static str,
    publishers: u32,
    subscribers: u32,
    /// Rooms beside it, and participants of each.
    beside: Option<(u32, u32)>,
    /// Goals are set for it, and it may take so many times what it takes a bare forwarder.
    times_max: Option<f64>,
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
        shapes = with_goals()?;
    }
    println!("building the server and its clients …");
    let log = Log::create("build")?;
    build(&log).map_err(|failure| format!("{failure}\n{}", log.shown()))?;
    let field = Field::make(!keep.is_empty());
    let mut failed = 0;
    for shape in &shapes {
        let outcome = if saturate.is_empty() {
            measure(&field, shape, seconds, None, None).and_then(Outcome::judged)
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

/// The shapes with goals: nothing lost, no goal for memory missed, and none for time by more than machines differ.
pub(crate) fn step(log: &Log) -> Result<Count, Failure> {
    build(log)?;
    let field = Field::make(false);
    if field.wire.is_none() {
        return Err("the server's own time cannot be told from its clients' (see above)".into());
    }
    let mut shapes = with_goals()?;
    shapes.extend(parse(&STEP_ROOMS.map(String::from))?.0);
    for shape in &shapes {
        for number in 1..=STEP_TRIES {
            let times = shape.times_max.filter(|_| number > STEP_TRIES_FOR_GOAL);
            // Whatever else fails is no neighbor's fault.
            let outcome = measure(&field, shape, STEP_SECONDS, times, Some(log))?;
            match outcome.judged() {
                Ok(()) => break,
                Err(failure) if number == STEP_TRIES => {
                    return Err(format!("{failure}\n{}", log.shown()));
                }
                Err(failure) => {
                    println!(
                        "{} {}x{}: {failure}",
                        shape.kind, shape.publishers, shape.subscribers
                    );
                }
            }
        }
    }
    Ok(Count { passed: shapes.len(), failed: 0 })
}

fn build(log: &Log) -> Result<(), Failure> {
    server::build(log)?;
    log.run(cargo().args(["build", "--release", "--locked", "--package", "load"]))
}

fn with_goals() -> Result<Vec<Shape>, Failure> {
    let words = SHAPES.map(|(option, value, _)| [option, value]).concat();
    let mut shapes = parse(&words.into_iter().map(String::from).collect::<Vec<_>>())?.0;
    for (shape, (.., times)) in shapes.iter_mut().zip(SHAPES) {
        shape.times_max = Some(times);
    }
    Ok(shapes)
}

/// Doubles the publishers, then the subscribers, until something is lost.
fn overload(field: &Field, shape: &Shape, seconds: u32) -> Result<(), Failure> {
    let mut shape = shape.clone();
    loop {
        let (publishers, subscribers) = (shape.publishers, shape.subscribers);
        if measure(field, &shape, seconds, None, None)? == Outcome::Lossy {
            println!("  too much: {publishers} -> {subscribers}");
            return Ok(());
        }
        if publishers * 2 <= PUBLISHERS_MAX {
            shape.publishers *= 2;
        } else if subscribers * 2 <= SUBSCRIBERS_MAX {
            shape.subscribers *= 2;
        } else {
            return Err(format!("nothing was lost at {publishers} -> {subscribers}"));
        }
        // They are of the shape that was begun with.
        shape.times_max = None;
    }
}

/// Where a goal is missed, so many `times` a bare forwarder's time will do. What the clients say goes to `log`, or else
/// to the terminal.
fn measure(
    field: &Field,
    shape: &Shape,
    seconds: u32,
    times: Option<f64>,
    log: Option<&Log>,
) -> Result<Outcome, Failure> {
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
        ("--fill", FILL_SECONDS.to_string()),
    ];
    words.extend(field.wire.map(|wire| ("--wire", wire.to_string())));
    // Without the thread for the wire nobody can tell the server's own time.
    let goal = GOALS_US.iter().find(|(kind, _)| *kind == shape.kind);
    if let Some((_, us)) = goal.filter(|_| shape.times_max.is_some() && field.wire.is_some()) {
        words.extend([("--goal-us", us.to_string()), ("--goal-kib", GOAL_KIB.to_owned())]);
        words.extend(times.map(|times| ("--allowed-times", times.to_string())));
    }
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
    let mut command =
        network.map_or_else(|| Command::new(&prlimit), |network| network.command(&prlimit));
    command.args(program).args(words.iter().flat_map(|(option, value)| [*option, value]));
    if let Some(log) = log {
        command.stdout(log.sink()?).stderr(log.sink()?);
    }
    let overrun = network.map_or(0, Network::overrun);
    let status = command.status();
    let (server_log, stopped) = server.stop();
    stopped.map_err(|failure| format!("{failure}\n{}", server_log.shown()))?;
    let overrun = network.map_or(0, Network::overrun) - overrun;
    if overrun > 0 {
        println!(
            "  {overrun:10} trains of datagrams were lost on the virtual wire, which was full"
        );
    }
    match status {
        Ok(status) if status.success() => Ok(Outcome::Whole),
        Ok(status) if status.code() == Some(LOSSY) => Ok(Outcome::Lossy),
        Ok(status) if status.code() == Some(DEAR) => Ok(Outcome::Dear),
        Ok(status) => Err(format!("the clients ended with {status}; they open {files} files")),
        Err(error) => Err(format!("cannot run the clients: {error}")),
    }
}

/// How many files the clients may open, and how many of those beside the measured room get a transport then: a
/// socket each, beside the one for signalling.
fn files(shape: &Shape) -> Result<(u32, u32), Failure> {
    let beside = shape.beside.map_or(0, |(rooms, sessions)| rooms.saturating_mul(sessions));
    let few =
        (2 * (shape.publishers + shape.subscribers)).saturating_add(beside).saturating_add(64);
    let (least, wanted) = (few.saturating_add(beside.min(JUDGED_FROM)), few.saturating_add(beside));
    let may_be = answer("prlimit", &["--nofile", "--noheadings", "--raw", "--output", "HARD"]);
    let may_be = may_be.and_then(|hard| hard.parse().ok()).unwrap_or(u32::MAX);
    if may_be < least {
        return Err(format!("{least} files must be open at least, and {may_be} may (ulimit -Hn)"));
    }
    let files = wanted.min(may_be);
    Ok((files, files - few))
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
                let (publishers, subscribers) = BESIDE;
                Shape { kind, publishers, subscribers, beside, times_max: None }
            } else {
                Shape { kind, publishers, subscribers, beside: None, times_max: None }
            })
        });
        shapes.push(shape.ok_or_else(|| format!("`{value}` is not like 10x100"))?);
    }
    Ok((shapes, seconds))
}
