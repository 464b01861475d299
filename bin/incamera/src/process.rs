//! What every command that serves needs: a runtime, and to end as it is asked.

use std::num::{NonZeroU8, NonZeroU16};
use std::process;
use std::thread;

use edge::limits::{CONNECTIONS_MAX, TCP_CONNECTIONS_MAX};
use edge::{Server, machine};
use model::{LocalText, LogData};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::key::RefreshKey;

use crate::{Failure, lines, log, secret};

/// Participants of a room from which on the next ones go to another worker. Each of 256 who receive one camera in
/// 720p, eight small ones and three voices gets some 750 datagrams a second: together a fifth of a core. On one worker
/// they cost a quarter less than on two, which wake up for the same picture and copy it to each other.
pub(crate) const SPREAD_AT: NonZeroU16 = NonZeroU16::new(256).unwrap();

/// Threads for HTTP, signalling and the hub; media has its own.
const CONTROL_THREADS: usize = 2;
/// Threads for what would block those: an authority's state, large answers to back ends, and names that are looked up,
/// each of which may hang on a disk or a network. They are there when there is work for them. Files that are read again
/// have threads of their own.
const BLOCKING_THREADS: usize = 8;

/// What signals say beside their number (POSIX): 128 and the number.
const EXIT_SIGINT: i32 = 130;
const EXIT_SIGTERM: i32 = 143;

/// Open files that a full server has: its connections, those of media over TCP, and beside them sockets and
/// bells of the workers, files that are read again, and a reserve.
pub(crate) const FILES_WANTED: usize = CONNECTIONS_MAX + TCP_CONNECTIONS_MAX + 512;

/// Where a server receives media, in words.
pub(crate) fn media_ports(server: &Server) -> String {
    let udp = format!("UDP port {}", server.udp_port());
    server.tcp_port().map_or_else(|| udp.clone(), |tcp| format!("{udp} and TCP port {tcp}"))
}

/// What every server does first.
pub(crate) fn begin(log: &log::Logging) -> Result<(), Failure> {
    log.start()?;
    #[cfg(feature = "sabotage")]
    edge::sabotage::begin();
    open_files();
    Ok(())
}

/// Lets as many files be open as may be; says so if they are few.
fn open_files() {
    match machine::open_as_many_files_as_may_be() {
        Ok(limit) if usize::try_from(limit).is_ok_and(|limit| limit < FILES_WANTED) => {
            let (limit, wanted) = (LogData(limit), LogData(FILES_WANTED));
            edge::log!(
                WARN,
                "few files may be open: see `incamera doctor`",
                limit = limit,
                wanted = wanted
            );
        }
        Ok(_) => {}
        Err(error) => {
            edge::log!(WARN, "the limit of open files stays as it is", error = LocalText(error))
        }
    }
}

pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("control")
        // Before they wait for what is next, which may be long.
        .on_thread_park(edge::stack::wipe)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// Media workers: one for each core is the use of the machine.
pub(crate) fn cores() -> NonZeroU8 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    NonZeroU8::new(u8::try_from(cores).unwrap_or(u8::MAX)).unwrap_or(NonZeroU8::MIN)
}

/// A key of refresh tokens that ends with the process.
pub(crate) fn refresh_key() -> Result<RefreshKey, Failure> {
    Ok(RefreshKey::new(&*secret::bytes()?))
}

/// Where metrics are served, for a banner; nothing if they are not.
pub(crate) fn metrics_line(server: &Server) -> String {
    let at = server.metrics_at();
    at.map(|address| format!("  metrics     http://{address}/metrics\n")).unwrap_or_default()
}

/// The signals that ask a process to end.
pub(crate) struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    /// To be called before anybody can know that we are here, so that no signal finds us unprepared.
    pub(crate) fn expect() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for a signal; says with which code a process ends that obeys it at once.
    pub(crate) async fn asked(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_SIGINT,
            _ = self.terminate.recv() => EXIT_SIGTERM,
        }
    }

    /// Stops the server; a second signal ends the process at once.
    pub(crate) async fn end(mut self, server: Server) {
        tokio::select! {
            () = server.stop() => {}
            code = self.asked() => {
                lines::flush();
                process::exit(code)
            }
        }
    }
}
