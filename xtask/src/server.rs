//! The server under test: `incamera dev`, or `serve` with keys of every kind, on ports of its own.
//!
//! Owns: building it, starting it, knowing when it is ready, ending it.
//! Guarantees: a server that does not end by itself after SIGTERM is a failure, never a leftover.
//! Not here: what its log may say (`scan`).

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failure;
use crate::command::{Group, Log, answer, cargo, target, until};
use crate::sabotage;

/// Far above the 60 ms that a start takes, for a machine that is busy compiling.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// What the server has to say goodbye to its clients and to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Everything that our crates have to say; the log may hold nothing sensitive at any level.
const LOG_FILTER: &str = "info,edge=debug";

/// Below this other servers have their ports.
const FIRST_PORT: u16 = 10_000;

/// The key pair of `incamera dev`.
pub(crate) const API_KEY: &str = "devkey";
/// The secret half of `API_KEY`: public, and therefore only for `incamera dev`.
pub(crate) const API_SECRET: &str = "secret";

/// Where the built server is.
pub(crate) fn binary() -> PathBuf {
    target().join("release/incamera")
}

/// Which server is started.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// The one that is shipped.
    Shipped,
    /// One in which clients may raise faults, and of which a guard has been taken out if one is named: see
    /// `sabotage`.
    Sabotaged(Option<&'static str>),
}

impl Make {
    pub(crate) fn binary(self) -> PathBuf {
        match self {
            Self::Shipped => binary(),
            Self::Sabotaged(_) => sabotage::binary(),
        }
    }
}

/// Builds the server as it runs in daily use.
pub(crate) fn build(log: &Log) -> Result<(), Failure> {
    log.run(cargo().args(["build", "--release", "--locked", "--package", "incamera"]))
}

/// How a server is started.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    /// `incamera dev`.
    Dev,
    /// `incamera serve`, with keys of every kind.
    Serve,
    /// Whatever the script starts.
    Own,
}

/// A running server.
pub(crate) struct Server {
    group: Group,
    log: Log,
    ports: Ports,
}

/// The ports of one server, on 127.0.0.1.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) udp: u16,
    /// Of media over TCP; 0 is any.
    pub(crate) tcp: u16,
}

impl Ports {
    /// Ports that were free a moment ago, none of which the system gives to an outgoing connection meanwhile: a server
    /// may be started at them again and again.
    pub(crate) fn free() -> Result<Self, Failure> {
        // A hasher of the standard library's is seeded by the system: the only randomness there is in it.
        static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(process::id()));
        // Those that run at once have none in common, whenever they begin to listen.
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        let first_given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok());
        let count =
            u64::from(first_given.unwrap_or(32_768)).saturating_sub(FIRST_PORT.into()).max(1);
        let ports = (0..count).filter_map(|_| {
            let index = SEED.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
            u16::try_from(u64::from(FIRST_PORT) + index % count).ok()
        });
        let is_free = |port: &u16| {
            let here = (Ipv4Addr::LOCALHOST, *port);
            TcpListener::bind(here).is_ok() && UdpSocket::bind(here).is_ok()
        };
        let mut free = ports.filter(is_free);
        let mut next = || free.next().ok_or("no free port");
        Ok(Self { http: next()?, udp: next()?, tcp: next()? })
    }

    /// Says which of those that were chosen is taken, if one is.
    pub(crate) fn must_be_free(self) -> Result<(), Failure> {
        let taken = |port: u16, option: &str, error| {
            format!("port {port} is taken ({error}): end what uses it, or choose with {option}")
        };
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.http))
            .map_err(|error| taken(self.http, "--port", error))?;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, self.udp))
            .map_err(|error| taken(self.udp, "--udp-port", error))?;
        Ok(())
    }

    /// The options that give the server these ports.
    pub(crate) fn options(self) -> [String; 6] {
        let all = [("--http-port", self.http), ("--udp-port", self.udp), ("--tcp-port", self.tcp)];
        let [[a, b], [c, d], [e, f]] = all.map(|(option, port)| [option.into(), port.to_string()]);
        [a, b, c, d, e, f]
    }
}

impl Server {
    /// Starts `incamera dev` on an address of this machine with `more` options and returns when it answers;
    /// its log goes to `log`.
    pub(crate) fn start_at(address: Ipv4Addr, log: Log, more: &[&str]) -> Result<Self, Failure> {
        Self::start_as(Make::Shipped, address, log, more)
    }

    /// The same of another make.
    pub(crate) fn start_as(
        make: Make,
        address: Ipv4Addr,
        log: Log,
        more: &[&str],
    ) -> Result<Self, Failure> {
        let ports = Ports::free()?;
        let options = ports.options();
        let bind = address.to_string();
        let mut arguments = vec!["dev", "--bind", &bind, "--log", LOG_FILTER];
        arguments.extend(options.iter().map(String::as_str).chain(more.iter().copied()));
        Self::launch(make, address, log, ports, &arguments)
    }

    /// Starts `incamera serve` with the settings and keys that it makes in `folder`, and returns when it
    /// answers.
    pub(crate) fn serve(make: Make, log: Log, folder: &Path) -> Result<Self, Failure> {
        let ports = Ports::free()?;
        write_settings(folder, ports)
            .map_err(|failure| format!("{}: {failure}", folder.display()))?;
        let settings = folder.join("settings.yaml");
        let arguments = ["serve", "--log", LOG_FILTER, "--config", &settings.to_string_lossy()];
        Self::launch(make, Ipv4Addr::LOCALHOST, log, ports, &arguments)
    }

    fn launch(
        make: Make,
        address: Ipv4Addr,
        log: Log,
        ports: Ports,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let group = Group::start(&make.binary(), arguments, |command| {
            if let Make::Sabotaged(Some(guard)) = make {
                command.env(sabotage::VARIABLE, guard);
            }
            // Standard output greets the developer with the secret that everybody knows.
            command.stdout(Stdio::null()).stderr(log.sink()?);
            Ok(())
        })?;
        let mut server = Self { group, log, ports };
        let outcome = until(READY_WITHIN, || match server.group.ended() {
            Ok(Some(status)) => Some(Err(format!("incamera ended at its start: {status}"))),
            Err(failure) => Some(Err(failure)),
            Ok(None) => is_healthy(address, ports.http).then_some(Ok(())),
        });
        match outcome {
            Some(Ok(())) => Ok(server),
            Some(Err(failure)) => Err(format!("{failure}\n{}", server.log.shown())),
            None => Err(format!("incamera did not answer\n{}", server.log.shown())),
        }
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    pub(crate) fn pid(&self) -> u32 {
        self.group.pid()
    }

    /// Ends the server the way an operator does: its log, and whether it ended well, in one line if not.
    pub(crate) fn stop(mut self) -> (Log, Result<(), Failure>) {
        let stopped = end(&mut self.group);
        (self.log, stopped)
    }
}

fn end(server: &mut Group) -> Result<(), Failure> {
    if let Some(status) = server.ended()? {
        return Err(format!("the server died: {status}"));
    }
    server.signal("TERM");
    match server.wait(END_WITHIN)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the server ended with {status}")),
        None => Err("the server did not end after SIGTERM".into()),
    }
}

/// Settings with keys of every kind, new ones each time, and keys that the settings do not name.
fn write_settings(folder: &Path, ports: Ports) -> Result<(), Failure> {
    let within = |error: io::Error| error.to_string();
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(within)?;
    }
    fs::create_dir_all(folder).map_err(within)?;
    // What projects are called stands in no log: so that it is found there it is like nothing else.
    let (app, certificate, tag) = (random_hex()?, random_hex()?, random_hex()?);
    for (name, algorithm) in [
        ("eddsa", "EdDSA"),
        ("es256", "ES256"),
        ("foreign-eddsa", "EdDSA"),
        ("foreign-es256", "ES256"),
    ] {
        let out = folder.join(name).to_string_lossy().into_owned();
        let project = format!("{name}-{tag}");
        let words =
            ["token", "keygen", "--algorithm", algorithm, "--name", &project, "--out", &out];
        answer(&binary().to_string_lossy(), &words).ok_or("`incamera token keygen` failed")?;
    }
    let files = [
        ("app", format!("{app} {certificate}\n")),
        ("certificate", format!("{certificate}\n")),
        ("revoked.yaml", "tokens: []\n".to_owned()),
        (
            "settings.yaml",
            format!(
                "port: {http}
rtc: {{udp_port: {udp}, tcp_port: {tcp}}}
keys:
  eddsa-{tag}: {{public_key: eddsa/public.pem}}
  eddsa-{tag}-set: {{jwks: eddsa/public.jwks.json}}
  es256-{tag}: {{public_key: es256/public.pem}}
  es256-{tag}-set: {{jwks: es256/public.jwks.json}}
key_file: eddsa/shared.yaml
agora: {{apps: [{{app_id: '{app}', app_certificate_file: certificate}}]}}
revocations: revoked.yaml
",
                http = ports.http,
                udp = ports.udp,
                tcp = ports.tcp,
            ),
        ),
    ];
    files
        .into_iter()
        .try_for_each(|(name, text)| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).mode(0o600).open(folder.join(name))?;
            file.write_all(text.as_bytes())
        })
        .map_err(within)
}

/// 32 digits.
fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let mut source = fs::File::open("/dev/urandom").map_err(|error| error.to_string())?;
    source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `GET /` answers 200, as LiveKit's clients and load balancers ask it.
fn is_healthy(address: Ipv4Addr, port: u16) -> bool {
    let address = SocketAddr::from((address, port));
    let patience = Duration::from_secs(1);
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
