//! The command line: words in, exit code out.
//!
//! Owns: which commands there are, where the log goes, exit codes.
//! Not here: anything that a server does (`edge`).
#![forbid(unsafe_code)]

mod acme;
mod authority;
mod back_end;
mod certificate;
mod dev;
mod doctor;
mod exchange;
mod files;
mod harmless;
mod keygen;
mod lan;
mod lines;
mod link;
mod log;
mod process;
mod reading;
mod reload;
mod rights;
mod room;
mod secrecy;
mod secret;
mod serve;
mod token;
mod trust;
mod watched;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge::memory::{self, WipingAllocator};

const ABOUT: &str = "\
A private real-time audio and video server that cannot decrypt the calls it carries.

It speaks LiveKit's open client protocol: the SDKs of LiveKit that use one peer connection (JavaScript, Python, Rust,
Node) work with it unchanged; those of Swift, Kotlin, Flutter and Go do not yet.";

const EXAMPLES: &str = "\
Start here, in two terminals:
  incamera dev
  incamera token create --api-key devkey --api-secret secret --join --room demo --identity ada

Exit codes:
  0        ended as asked
  1        could not start, or could not do what was asked, the reason is on standard error; `doctor` found
           something wrong
  2        the command line is wrong
  130,143  ended at once by a second SIGINT or SIGTERM, without waiting for clients
  134      ended by a fault of its own (SIGABRT), which the log says, to be started again

Incamera is not affiliated with LiveKit; the name says which protocol is spoken.";

#[derive(Parser)]
#[command(name = "incamera", version, about = ABOUT, after_help = EXAMPLES)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole server in one process, for development
    #[command(long_about = dev::ABOUT, after_help = dev::EXAMPLES)]
    Dev(dev::Options),
    /// The server, by a settings file
    #[command(long_about = serve::ABOUT, after_help = serve::EXAMPLES)]
    Serve(serve::Options),
    /// What would keep a server from working here, and what to do about it
    #[command(long_about = doctor::ABOUT, after_help = doctor::EXAMPLES)]
    Doctor(doctor::Options),
    /// Rooms of a running server: see, moderate, end
    #[command(subcommand)]
    Room(room::Command),
    /// Tokens: what lets people into rooms
    #[command(subcommand)]
    Token(token::Command),
}

/// What the server forgets is gone from its memory too.
#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

/// What clap ends with as well.
const WRONG_COMMAND_LINE: u8 = 2;

/// Why a command failed, in words for the one who typed it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let outcome = memory::forbid_dumps().map_err(Failure::from).and_then(|()| {
        match Arguments::parse().command {
            Command::Dev(options) => dev::run(&options).map(done),
            Command::Serve(options) => serve::run(&options).map(done),
            Command::Doctor(options) => doctor::run(&options),
            Command::Room(command) => room::run(&command).map(done),
            Command::Token(command) => token::run(&command).map(done),
        }
    });
    let code = outcome.unwrap_or_else(|failure| {
        log::complain(failure.as_ref());
        if failure.is::<log::WrongFilter>() { WRONG_COMMAND_LINE.into() } else { ExitCode::FAILURE }
    });
    lines::flush();
    code
}
