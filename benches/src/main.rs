//! What the hot paths cost on this machine: `cargo run --release -p benches`.
//!
//! Owns: the list of measurements, the gates, the table.
//! Guarantees: the exit code is 1 when a gate does not hold. Times are of the thread's own processor
//! time; a gate compares two minima of one run, so that a busy machine or another one changes little.
//! Not here: sockets and the kernel; what a whole call costs is for load tests.

mod figure;
mod forwarding;
mod frames;
mod history;
mod joining;
mod sys;
mod ticking;

use std::path::Path;
use std::process::ExitCode;

use e2ee::Codec;
use figure::Figure;
use forwarding::{Kind, Outcome};
use rtp::srtp::Profile;

#[global_allocator]
static HEAP: sys::Counting = sys::Counting;

const HELP: &str = "\
Usage: cargo run --release -p benches [-- --history FILE]

Measures forwarding, ingest, the timer, the SRTP profiles, frame encryption, token verification, building a
peer and the handshake of a join (ICE, DTLS, SCTP; in memory). Fails when forwarding a packet takes more than 1.6
times (1,100 bytes) or 2.5 times (120 bytes) the bare AES-128-GCM seal of the same run, or allocates;
when a turn of the timer over 64,000 silent subscriptions takes longer than 1,500 of them, or less than
50, as if they were not there; or when
encrypting a frame end to end allocates, or takes more than twice as long where start codes must be
escaped. Forwarding that takes longer is measured again, up to twenty times within three minutes: a
neighbour on the same core slows it more than the seal.

  --history FILE   appends the figures and the machine to FILE as one line of JSON";

/// Forwarding may take this many times the bare seal.
const GATES: [(Kind, &str, f64); 2] =
    [(Kind::Picture, "1100 bytes", 1.6), (Kind::Sound, "120 bytes", 2.5)];

/// Frames that hold start codes may take this many times as long as those that do not.
const ESCAPE_GATE: f64 = 2.0;

/// A turn of the timer may take as long as so many bare seals of 1,100 bytes: to visit each subscription takes thrice
/// that.
const TIMER_GATE: f64 = 1_500.0;
/// And so many at least, if those subscriptions are there: a turn over nobody takes less than one.
const TIMER_LEAST: f64 = 50.0;

/// By the names that DTLS has for them.
const PROFILES: [(&str, Profile); 3] = [
    ("AES-128-GCM", Profile::AeadAes128Gcm),
    ("AES-256-GCM", Profile::AeadAes256Gcm),
    ("AES-128-CM HMAC-SHA1-80", Profile::AesCm128HmacSha1_80),
];

/// The table, what goes into the history, and which gates do not hold.
#[derive(Default)]
struct Record {
    figures: Vec<(String, f64)>,
    broken: Vec<String>,
}

impl Record {
    fn row(&mut self, what: &str, figure: Figure) {
        let Figure { min, p20, allocations } = figure;
        println!("{what:<38}{min:>12.1}{p20:>12.1}{allocations:>14.3}");
        let name = what.replace([',', ':', '\''], "").replace(' ', "_");
        self.figures.push((format!("{name}_ns_min"), min));
        self.figures.push((format!("{name}_ns_p20"), p20));
        self.figures.push((format!("{name}_allocations"), allocations));
    }

    fn forwarding(&mut self, size: &str, gate: f64, outcome: &Outcome) {
        self.row(&format!("bare seal, {size}"), outcome.seal);
        self.row(&format!("forward to one of 100, {size}"), outcome.forward);
        self.row(&format!("ingest, {size}"), outcome.ingest);
        let ratio = outcome.ratio();
        let p20 = outcome.forward.p20 / outcome.seal.p20;
        println!("{:<38}{ratio:>11.2}x{p20:>11.2}x   (at most {gate} x)", "  forward / seal");
        self.figures.push((format!("forward_{}_ratio", size.replace(' ', "_")), ratio));
        if ratio > gate {
            self.broken.push(format!("{size}: {ratio:.2} times the bare seal, {gate} is the most"));
        }
        for (what, figure) in [("forwarding", outcome.forward), ("ingest", outcome.ingest)] {
            if figure.allocations > 0.0 {
                self.broken.push(format!("{size}: {what} allocates"));
            }
        }
    }

    fn timer(&mut self, seal: Figure) {
        let turn = ticking::measure();
        self.row("the timer, 64,000 silent subscriptions", turn);
        let ratio = turn.min / seal.min;
        self.figures.push(("timer_ratio".into(), ratio));
        if ratio < TIMER_LEAST {
            self.broken.push(format!("the timer looks at nobody: it takes {ratio:.0} bare seals"));
        }
        if ratio > TIMER_GATE {
            let most = format!("{TIMER_GATE:.0} are the most");
            self.broken.push(format!("the timer takes as long as {ratio:.0} bare seals, {most}"));
        }
    }

    fn frames(&mut self) {
        let [plain, escaped] = [Codec::Vp9, Codec::H264].map(frames::measure);
        let pairs = [
            ("seal a frame", plain.seal, escaped.seal),
            ("open a frame", plain.open, escaped.open),
        ];
        for (what, vp9, h264) in pairs {
            self.row(&format!("{what}, 16 kB, VP9"), vp9);
            self.row(&format!("{what}, 16 kB, H.264"), h264);
            let ratio = h264.min / vp9.min;
            if ratio > ESCAPE_GATE {
                self.broken.push(format!("{what}: H.264 takes {ratio:.2} times as long"));
            }
            if vp9.allocations + h264.allocations > 0.0 {
                self.broken.push(format!("{what}: allocates"));
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let history = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--history", file] => Some(Path::new(file)),
        ["-h" | "--help"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}\n", history::cpu());
    println!("{:<38}{:>12}{:>12}{:>14}", "", "ns, min", "ns, p20", "allocations");
    let mut record = Record::default();
    for (kind, size, gate) in GATES {
        let outcome = forwarding::measure(kind, gate);
        record.forwarding(size, gate, &outcome);
        if kind == Kind::Picture {
            record.timer(outcome.seal);
        }
    }
    record.frames();
    for (name, profile) in PROFILES {
        record.row(&format!("protect 1100 bytes, {name}"), forwarding::protect(profile, 1100));
    }
    for (algorithm, figure) in joining::tokens() {
        record.row(&format!("verify a token, {algorithm}"), figure);
    }
    record.row("build a peer", joining::transport());
    let (server, client) = joining::handshake();
    record.row("handshake, the server's share", server);
    record.row("handshake, the client's share", client);
    record.row("a forged DTLS hello", joining::forged_hello());
    if let Some(file) = history
        && let Err(error) = history::append(file, &record.figures)
    {
        record.broken.push(format!("{}: {error}", file.display()));
    }
    for broken in &record.broken {
        println!("FAILED: {broken}");
    }
    if record.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
