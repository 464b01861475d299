//! Many clients at once: a fresh server for each shape of call, and the `load` crate against it.

use std::net::Ipv4Addr;
use std::process::Command;

use crate::Failure;
use crate::command::{Log, cargo, target};
use crate::network::Network;
use crate::server::{self, Server};

pub(crate) const HELP: &str = "
Usage: cargo xtask load [--audio PxS | --video PxS]… [--seconds N]

P participants publish one track each and S others receive them all, over real DTLS-SRTP, without
end-to-end keys. The clients have a network namespace of their own if one can be made (root, `ip`), else
they share the loopback. Prints what was lost, the server's time for each datagram that it sent, and
its memory for each participant; fails if anything was lost.

  --audio PxS   20 ms of Opus at 32 kbit/s
  --video PxS   720p at 30 Hz in frames of eight packets
  --seconds N   how long to measure each (default 10)
  --saturate    repeat the shapes with twice the publishers until something is lost

Without a shape: --audio 10x100 --video 1x200 --video 5x50. Server and clients share the machine: what
the clients need is missing to the server, and a busy machine shows.
";

/// The shapes that the goals are set for.
const SHAPES: [&str; 6] = ["--audio", "10x100", "--video", "1x200", "--video", "5x50"];

/// A session description has no room for more tracks.
const PUBLISHERS_MAX: u32 = 63;

/// How the clients end that measured something and lost a part of it.
const LOSSY: i32 = 2;

#[derive(PartialEq, Eq)]
enum Outcome {
    Whole,
    Lossy,
}

struct Shape {
    kind: &'static str,
    publishers: u32,
    subscribers: u32,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (saturate, arguments): (Vec<_>, Vec<_>) =
        arguments.iter().cloned().partition(|argument| argument == "--saturate");
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
    let network = Network::make().inspect_err(|failure| println!("no namespace: {failure}")).ok();
    println!("between {}", if network.is_some() { "two namespaces" } else { "loopback addresses" });
    let mut failed = 0;
    for shape in &shapes {
        let outcome = if saturate.is_empty() {
            measure(network.as_ref(), shape, seconds).and_then(|outcome| match outcome {
                Outcome::Whole => Ok(()),
                Outcome::Lossy => Err("packets were lost".into()),
            })
        } else {
            overload(network.as_ref(), shape, seconds)
        };
        if let Err(failure) = outcome {
            println!("{failure}");
            failed += 1;
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} failed", shapes.len())) }
}

/// Doubles the publishers until something is lost.
fn overload(network: Option<&Network>, shape: &Shape, seconds: u32) -> Result<(), Failure> {
    let mut shape = Shape { kind: shape.kind, ..*shape };
    while shape.publishers <= PUBLISHERS_MAX {
        if measure(network, &shape, seconds)? == Outcome::Lossy {
            let (publishers, subscribers) = (shape.publishers, shape.subscribers);
            println!("  too much: {publishers} -> {subscribers}");
            return Ok(());
        }
        shape.publishers *= 2;
    }
    Err(format!("nothing was lost with {} publishers", shape.publishers / 2))
}

fn measure(network: Option<&Network>, shape: &Shape, seconds: u32) -> Result<Outcome, Failure> {
    let address = network.map_or(Ipv4Addr::LOCALHOST, |_| Network::server());
    let server = Server::start_at(address, Log::create("load.server")?, &[])?;
    let program = target().join("release/load");
    let status = network
        .map_or_else(|| Command::new(&program), |network| network.command(&program))
        .args(["--server", &format!("{address}:{}", server.ports().http)])
        .args(["--pid", &server.pid().to_string()])
        .args(["--kind", shape.kind])
        .args(["--publishers", &shape.publishers.to_string()])
        .args(["--subscribers", &shape.subscribers.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .status();
    server.stop()?;
    match status {
        Ok(status) if status.success() => Ok(Outcome::Whole),
        Ok(status) if status.code() == Some(LOSSY) => Ok(Outcome::Lossy),
        Ok(status) => Err(format!("the clients ended with {status}")),
        Err(error) => Err(format!("cannot run the clients: {error}")),
    }
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
            "--video" => "video",
            "--seconds" => {
                seconds = value.parse().map_err(|_| format!("`{value}` is no number"))?;
                continue;
            }
            _ => return Err(format!("there is no option `{option}`; see --help")),
        };
        let shape = value.split_once('x').and_then(|(publishers, subscribers)| {
            let (publishers, subscribers) = (publishers.parse().ok()?, subscribers.parse().ok()?);
            Some(Shape { kind, publishers, subscribers })
        });
        shapes.push(shape.ok_or_else(|| format!("`{value}` is not like 10x100"))?);
    }
    Ok((shapes, seconds))
}
