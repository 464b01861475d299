//! A call on this machine in two links.
//!
//! Owns: the room, the two tokens and the channel key of a demonstration.
//! Guarantees: token and key are printed to standard output only, in the part of a link that
//! browsers do not send, and not before the server answers there.
//! Not here: the server, which takes this process over: Ctrl-C and SIGTERM are its own.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, Read as _, Write};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::Failure;
use crate::command::Log;
use crate::server::{self, API_KEY, API_SECRET, Ports, binary};
use crate::setup;

pub(crate) const HELP: &str = "
Usage: cargo xtask demo [--port P] [--udp-port Q] [--quiet]

Builds the page and the server, becomes the server until Ctrl-C, and prints two links once it answers
(two people, one room, one fresh random channel key). Open both links in two tabs, or one in each of two
browsers on this machine: you see and hear yourself twice, end-to-end encrypted. Firefox wants a private IPv4 address
on the default route for that, as it has no way to 127.0.0.1.

Token and key ride behind the # of a link, which browsers never send: the server never sees the
key. The links work for six hours and only on this machine.

  --port P       HTTP and WebSocket (default 7880)
  --udp-port Q   media (default 7882); over TCP it is at any free port
  --quiet        no log lines of the server below `warn`
";

const ROOM: &str = "demo";
const PEOPLE: [&str; 2] = ["ada", "grace"];
const VALID_FOR: &str = "6h";

/// What this program is called as to print, once the server is there, what it was given before.
const ANNOUNCER: &str = "--announce";
/// In the line of the server's banner that says where it listens.
const LISTENS: &str = "ws://";

struct Options {
    ports: Ports,
    is_quiet: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if arguments == [ANNOUNCER] {
        let announced = announce(io::stdin().lock(), &mut io::stdout());
        return announced.map_err(|error| format!("the links: {error}"));
    }
    let mut options = parse(arguments)?;
    options.ports.must_be_free()?;
    setup::page()?;
    let log = Log::create("demo")?;
    let built = setup::build_page(&log);
    built.map_err(|failure| format!("the page: {failure}\n{}", log.shown()))?;
    println!("building the server (some minutes, the first time) …");
    let built = server::build(&log);
    built.map_err(|failure| format!("the server: {failure}\n{}", log.shown()))?;

    // One that is yet to be found is that of a single address, and Firefox has no way to 127.0.0.1.
    options.ports.tcp = Ports::free()?.tcp;
    let key = channel_key()?;
    let mut words =
        String::from("\nOpen these two links, one in each of two tabs (Ctrl-C ends the call):\n\n");
    for person in PEOPLE {
        let token = token(person)?;
        words.push_str(&format!("  {person}:  {}\n\n", link(options.ports, &token, &key)));
    }
    let banner = announcer(&words).map_err(|error| format!("cannot print links: {error}"))?;
    let mut server = Command::new(binary());
    server.arg("dev").args(options.ports.options()).stdout(banner);
    if options.is_quiet {
        server.args(["--log", "warn"]);
    }
    // One process to end, by Ctrl-C or SIGTERM, and its exit code is ours.
    Err(format!("cannot run the server: {}", server.exec()))
}

/// Somebody who prints `words` when the server's banner comes through the pipe behind them: this process
/// will be the server by then. What comes through a pipe is in no list of processes.
fn announcer(words: &str) -> io::Result<io::PipeWriter> {
    let (reader, mut writer) = io::pipe()?;
    Command::new(env::current_exe()?).args(["demo", ANNOUNCER]).stdin(reader).spawn()?;
    write!(writer, "{}\n{words}", words.lines().count())?;
    Ok(writer)
}

/// Reads how many lines there are to print, these, and then what the server says: prints them if it says where it
/// listens. Stays until the server ends, so that no trace of it is left beside the server.
fn announce(mut input: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut count = String::new();
    input.read_line(&mut count)?;
    let count: usize = count.trim().parse().map_err(io::Error::other)?;
    let mut lines = input.lines();
    let mut words = String::new();
    for line in lines.by_ref().take(count) {
        words.push_str(&line?);
        words.push('\n');
    }
    for line in lines {
        if line?.contains(LISTENS) && !words.is_empty() {
            out.write_all(words.as_bytes())?;
            out.flush()?;
            words.clear();
        }
    }
    Ok(())
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
    fn links_are_printed_once_and_only_when_the_server_listens() {
        let said = |banner: &str| {
            let mut out = Vec::new();
            announce(format!("2\nada: A\ngrace: B\n{banner}").as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(said(""), "", "it could not listen");
        assert_eq!(said("Incamera\n\n  ws://127.0.0.1:1\n  ws://\n"), "ada: A\ngrace: B\n");
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
