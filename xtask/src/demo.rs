//! A call on this machine in two links.
//!
//! Owns: the room, the two tokens and the channel key of a demonstration.
//! Guarantees: token and key are printed to standard output only, in the part of a link that
//! browsers do not send.
//! Not here: the server, which takes this process over: Ctrl-C and SIGTERM are its own.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::command::Log;
use crate::server::{self, API_KEY, API_SECRET, Ports, binary};
use crate::setup;

pub(crate) const HELP: &str = "
Usage: cargo xtask demo [--port P] [--udp-port Q] [--quiet]

Builds the page and the server, prints two links (two people, one room, one fresh random channel
key) and becomes the server until Ctrl-C. Open both links in two tabs, or one in each of two
browsers on this machine: you see and hear yourself twice, end-to-end encrypted.

Token and key ride behind the # of a link, which browsers never send: the server never sees the
key. The links work for six hours and only on this machine.

  --port P       HTTP and WebSocket (default 7880)
  --udp-port Q   media (default 7882)
  --quiet        no log lines of the server below `warn`
";

const ROOM: &str = "demo";
const PEOPLE: [&str; 2] = ["ada", "grace"];
const VALID_FOR: &str = "6h";

struct Options {
    ports: Ports,
    is_quiet: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    options.ports.must_be_free()?;
    setup::page()?;
    let log = Log::create("demo")?;
    let built = setup::build_page(&log);
    built.map_err(|failure| format!("the page: {failure}\n{}", log.shown()))?;
    println!("building the server (some minutes, the first time) …");
    let built = server::build(&log);
    built.map_err(|failure| format!("the server: {failure}\n{}", log.shown()))?;

    let key = channel_key()?;
    println!("\nOpen these two links, one in each of two tabs (Ctrl-C ends the call):\n");
    for person in PEOPLE {
        let token = token(person)?;
        println!("  {person}:  {}\n", link(options.ports, &token, &key));
    }
    let mut server = Command::new(binary());
    server.arg("dev").args(options.ports.options()).stdout(Stdio::null());
    if options.is_quiet {
        server.args(["--log", "warn"]);
    }
    // One process to end, by Ctrl-C or SIGTERM, and its exit code is ours.
    Err(format!("cannot run the server: {}", server.exec()))
}

fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let mut options = Options { ports: Ports { http: 7880, udp: 7882, tcp: 0 }, is_quiet: false };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let port = match argument.as_str() {
            "--quiet" => {
                options.is_quiet = true;
                continue;
            }
            "--port" => &mut options.ports.http,
            "--udp-port" => &mut options.ports.udp,
            _ => return Err(format!("unknown option `{argument}`; see --help")),
        };
        let value = rest.next().ok_or_else(|| format!("{argument} needs a number"))?;
        *port = value.parse().map_err(|_| format!("{argument}: `{value}` is no port"))?;
    }
    Ok(options)
}

fn link(ports: Ports, token: &str, key: &str) -> String {
    format!("http://127.0.0.1:{}/call#token={token}&key={key}", ports.http)
}

/// 256 random bits in hexadecimal: a string, because browsers and native clients derive the same
/// frame keys from a string and different ones from bytes.
fn channel_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A token for one person, made by the command that an operator would use; that the key pair is known
/// to everybody is no news here.
fn token(identity: &str) -> Result<String, Failure> {
    let output = Command::new(binary())
        .args(["token", "create", "--api-key", API_KEY, "--api-secret", API_SECRET, "--join"])
        .args(["--room", ROOM, "--identity", identity, "--valid-for", VALID_FOR])
        .output()
        .map_err(|error| format!("cannot run incamera: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("incamera token create: {}\n{complaint}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_key_ride_in_the_fragment() {
        let link = link(Ports { http: 7880, udp: 7882, tcp: 0 }, "TOKEN", "KEY");
        let (sent, kept) = link.split_once('#').unwrap();
        assert_eq!(sent, "http://127.0.0.1:7880/call");
        assert_eq!(kept, "token=TOKEN&key=KEY");
    }

    #[test]
    fn channel_keys_are_fresh() {
        let (first, second) = (channel_key().unwrap(), channel_key().unwrap());
        assert_eq!(first.len(), 64);
        assert_ne!(first, second);
    }

    #[test]
    fn options_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = parse(&words("--quiet --port 8000 --udp-port 8001")).unwrap();
        assert!(options.is_quiet);
        assert_eq!((options.ports.http, options.ports.udp), (8000, 8001));
        for refused in ["--port", "--port 70000", "--port x", "--noisy"] {
            assert!(parse(&words(refused)).is_err(), "{refused}");
        }
    }
}
