//! Many clients at once against a running server: what is lost, and what each costs the server.
//!
//! Owns: a measurement from joining to the printed figures. One thread drives all clients.
//! Guarantees: the figures are those of the server's process as the kernel counts them; loss is what
//! is missing from the sequence numbers that reached a subscriber.
//! Not here: starting the server and making a network (`cargo xtask load`). Subscribers report what came,
//! and ask for no retransmissions: what they miss stays missed.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command talks to its terminal")]

mod abuse;
mod client;
mod crowd;
mod feedback;
#[path = "../../benches/src/history.rs"]
mod history;
mod media;
mod offer;
mod process;
mod report;
mod signal;
mod stamp;
mod tally;
mod yardstick;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures_util::future::select_all;
use peer::PeerFactory;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::sleep;

use crate::client::{Joined, Reception, Role};
use crate::crowd::Crowd;
use crate::process::Server;
use crate::report::{Goals, Report};
use crate::tally::Tally;
use crate::yardstick::Yardstick;

type Failure = Box<dyn Error>;

/// Clients join one after the other: hundreds of handshakes at once are another measurement.
const JOIN_INTERVAL: Duration = Duration::from_millis(15);
/// For all media to reach all subscribers.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between the first media everywhere and the measurement: the server finds out what each can take.
const SETTLE: Duration = Duration::from_secs(5);
/// For what is under way when the publishers stop.
const DRAIN: Duration = Duration::from_millis(500);

/// Joins publishers and subscribers to a running `incamera dev` and measures it.
#[derive(Parser)]
struct Options {
    /// Address of HTTP and WebSockets
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7880")]
    server: SocketAddr,
    /// Process id of the server, whose time and memory are read
    #[arg(long)]
    pid: u32,
    /// Process id of the kernel's thread that does the clients' half of a virtual wire
    #[arg(long, value_name = "PID")]
    wire: Option<u32>,
    /// Where everybody meets
    #[arg(long, value_name = "NAME", default_value = "load")]
    room: String,
    /// What publishers send: 20 ms of Opus at 32 kbit/s, or 720p in 30 frames of eight packets
    #[arg(long, value_enum)]
    kind: Kind,
    /// Participants that send one track each
    #[arg(long, default_value_t = 1)]
    publishers: usize,
    /// Participants that receive all tracks
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Fill payloads with this text and the time of sending, for those who search the server's memory
    #[arg(long, value_name = "TEXT")]
    stamp: Option<String>,
    /// Seal what is stamped end to end under this text
    #[arg(long, value_name = "TEXT", requires = "stamp")]
    passphrase: Option<String>,
    /// Let subscribers ask again for every packet and for key frames, as fast as they can; for the proof that
    /// it brings them little
    #[arg(long)]
    abuse: bool,
    /// Rooms beside the measured one, whose sessions do nothing
    #[arg(long, default_value_t = 0)]
    rooms: usize,
    /// Sessions in each of them
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// How many of them get a transport, which takes another open file of each
    #[arg(long, default_value_t = usize::MAX)]
    transports: usize,
    /// How long to measure; with --rooms as long as those take
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How long the first three quarters of the subscribers are alone. What the server keeps of each track grows for
    /// ten seconds: that is what a room costs, and would else stand in what a participant does
    #[arg(long, default_value_t = 5)]
    fill: u64,
    /// End in failure if a datagram takes more microseconds of the server's own time
    #[arg(long, value_name = "N", requires = "goal_kib")]
    goal_us: Option<f64>,
    /// End in failure if one more participant takes more KiB of memory
    #[arg(long, value_name = "N", requires = "goal_us")]
    goal_kib: Option<f64>,
    /// Unless it takes at most so many times what it takes a bare forwarder that works beside the server
    #[arg(long, value_name = "N", requires = "goal_us")]
    allowed_times: Option<f64>,
    /// Append the figures and the machine to this file as one line of JSON
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    Audio,
    Video,
}

/// What all clients do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Publishers send, nobody counts.
    Settling,
    Measuring,
    /// Publishers are silent, subscribers still count.
    Draining,
    /// Everybody leaves.
    Over,
}

impl Options {
    fn goals(&self) -> Option<Goals> {
        let (us, kib) = self.goal_us.zip(self.goal_kib)?;
        Some(Goals { us, kib, times: self.allowed_times })
    }

    /// Only where it is wanted: it takes what the clients would have.
    fn yardstick(&self) -> io::Result<Option<Yardstick>> {
        let begin = |_| Yardstick::begin(self.kind, self.publishers, self.subscribers);
        self.goal_us.map(begin).transpose()
    }
}

/// What tells a measurement that lost something, and one whose figures miss a goal, from one that failed.
const LOSSY: u8 = 2;
const DEAR: u8 = 3;

fn main() -> Result<ExitCode, Failure> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(measure(options)))
}

pub(crate) type Running = JoinHandle<Result<Tally, String>>;

async fn measure(options: Options) -> Result<ExitCode, Failure> {
    let server = Server::new(options.pid);
    let wire = options.wire.map(Server::new);
    let empty = server.resident_bytes()?;
    let (phase, watched) = watch::channel(Phase::Settling);
    let origin = Instant::now();
    let house = Rc::new(client::House {
        server: options.server,
        factory: PeerFactory::new(origin)?,
        origin,
        kind: options.kind,
        publishers: options.publishers,
        abuse: options.abuse,
        reception: Reception::new(),
        stamp: options.stamp.clone(),
        passphrase: options.passphrase.clone(),
        phase: watched,
    });
    let mut publishers: Vec<Running> = Vec::new();
    for number in 0..options.publishers {
        publishers.push(start(&house, Role::Publisher, number, &options.room).await?);
    }
    // The last quarter comes later: what it adds is what participants cost, without what the room costs, which
    // by then has spread to every worker.
    let mut subscribers: Vec<Running> = Vec::new();
    let mut before = empty;
    let first = options.subscribers - options.subscribers / 4;
    let fill = Duration::from_secs(options.fill);
    for (goal, settle) in [(first, fill), (options.subscribers, SETTLE)] {
        before = server.resident_bytes()?;
        for number in subscribers.len()..goal {
            subscribers.push(start(&house, Role::Subscriber, number, &options.room).await?);
        }
        let streams = options.publishers * goal;
        ready(&house, streams, publishers.iter_mut().chain(&mut subscribers).collect()).await?;
        sleep(settle).await;
    }

    phase.send(Phase::Measuring)?;
    let dropped = process::dropped()?;
    let yardstick = options.yardstick()?;
    let (began, busy) = (Instant::now(), server.busy()?);
    let wired = wire.as_ref().map(Server::busy).transpose()?;
    let size = crowd::Size {
        rooms: options.rooms,
        sessions: options.sessions,
        transports: options.transports,
    };
    let crowd = Crowd::gather(&house, &server, size).await?;
    if crowd.is_none() {
        sleep(Duration::from_secs(options.seconds)).await;
    }
    let (took, busy) = (began.elapsed(), server.busy()?.since(busy));
    yardstick.iter().for_each(Yardstick::end);
    let wired = match (&wire, wired) {
        (Some(wire), Some(before)) => Some(wire.busy()?.since(before).kernel),
        (Some(_) | None, _) => None,
    };
    let resident = server.resident_bytes()?;
    phase.send(Phase::Draining)?;
    sleep(DRAIN).await;
    phase.send(Phase::Over)?;

    let (sent, received) = (total(publishers).await?, total(subscribers).await?);
    let report = Report {
        wanted: sent.sent * options.subscribers as u64,
        received: received.received,
        least: (received.least.unwrap_or(0), sent.sent / options.publishers.max(1) as u64),
        missing: received.missing,
        unread: process::dropped()?.saturating_sub(dropped),
        took,
        busy,
        wired,
        is_alone: crowd.is_none(),
        bare: yardstick.map(Yardstick::took).transpose()?,
        goals: options.goals(),
        silence_max: received.silence_max,
        joined: options.publishers + options.subscribers,
        bytes_more: resident.saturating_sub(empty),
        bytes_each: resident.saturating_sub(before) / (options.subscribers - first).max(1) as u64,
    };
    println!("{:?} {} -> {}", options.kind, options.publishers, options.subscribers);
    println!("{report}");
    if let Some(file) = &options.history {
        let shape = format!("{:?}_{}_to_{}", options.kind, options.publishers, options.subscribers);
        let crowd = crowd.iter().flat_map(Crowd::figures);
        let figures: Vec<_> =
            report.figures(&shape.to_lowercase()).into_iter().chain(crowd).collect();
        history::append(file, &figures)?;
    }
    let is_light = crowd.as_ref().and_then(Crowd::is_light).unwrap_or(true);
    if let Some(crowd) = crowd {
        println!("{crowd}");
        for guest in crowd.guests {
            // They were all there when it mattered; who had no transport may have been put out since.
            drop(guest.await);
        }
    }
    if options.abuse {
        print_abuse(&sent, &received);
    }
    Ok(verdict(&report, is_light))
}

/// What asking for everything again and again brought.
fn print_abuse(sent: &Tally, received: &Tally) {
    println!("  {:10} requests for a key frame reached publishers", sent.keyframes_asked);
    println!("  {:10} packets were sent again, or were padding", received.resent);
    println!("  {:10} bytes were sent to ask for it", received.asked_bytes);
    println!("  {:10} bytes of media and of what was asked for came", received.received_bytes);
}

/// What all of them counted, once they have ended.
async fn total(clients: Vec<Running>) -> Result<Tally, Failure> {
    let mut total = Tally::default();
    for client in clients {
        total.add(&client.await??);
    }
    Ok(total)
}

fn verdict(report: &Report, is_light: bool) -> ExitCode {
    match (report.is_whole(), report.is_dear() || !is_light) {
        (false, _) => ExitCode::from(LOSSY),
        (true, true) => ExitCode::from(DEAR),
        (true, false) => ExitCode::SUCCESS,
    }
}

async fn start(
    house: &Rc<client::House>,
    role: Role,
    number: usize,
    room: &str,
) -> Result<Running, Failure> {
    let joined = Joined::new(Rc::clone(house), role, number, room, None).await?;
    let client = joined.connect().await?;
    sleep(JOIN_INTERVAL).await;
    Ok(tokio::task::spawn_local(async move {
        Box::pin(client.run()).await.map_err(|failure| format!("{role:?} {number}: {failure}"))
    }))
}

/// Waits until every subscriber receives every track.
async fn ready(
    house: &client::House,
    streams: usize,
    clients: Vec<&mut Running>,
) -> Result<(), Failure> {
    let arrived = async {
        while house.reception.streams() < streams {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = arrived => Ok(()),
        // Nobody ends by himself but by a failure.
        (ended, ..) = select_all(clients) => Err(ended?.err().unwrap_or_default().into()),
        () = sleep(READY_WITHIN) => {
            Err(format!("only {} of {streams} streams arrive", house.reception.streams()).into())
        }
    }
}
