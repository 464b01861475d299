//! The media threads: one for each core, each with its own sockets, peers and forwarder.
//!
//! Owns: starting and stopping the threads, and the way to speak to each.
//! Guarantees: [`Workers::send`] waits for no worker's work, and data messages that wait for a worker are
//! bounded; workers share no state but counters and rings, so none waits for another; a panic over one
//! peer's datagram ends that peer alone, and one that is over no peer the process.
//! Not here: what a worker does with a datagram (`turn`), rooms and sessions (`hub`).
//!
//! ```text
//! hub ─ ToWorker ─> queue ─┐                ┌─> peer ─> hub (FromWorker)
//! socket ── datagrams ─────┼─ turn ── path ─┤
//! TCP ── frames ───────────┤                │
//! other workers ── hops ───┘                └─> forward ─> sockets, other workers
//! ```

mod allowance;
mod bell;
mod busy;
mod hop;
mod lag;
mod load;
mod message;
mod outlet;
mod path;
mod pile;
mod queue;
mod seat;
mod steering;
pub(crate) mod tcp;
#[cfg(test)]
mod tests;
mod turn;
mod upward;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{SendError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use model::WorkerId;
use peer::{Door, PeerFactory};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;

use crate::limits::TCP_INBOX_MAX;
use crate::metrics::Metrics;
use crate::panics::vital;
use crate::session::ToHub;
use crate::sys::{self, Mapping, MediaSocket};
use bell::Bell;
use hop::Hops;
pub use lag::RoomLag;
use load::{Crowd, Load};
pub use message::{Channel, FromWorker, NewPeer, ToWorker};
use steering::Steering;
pub(crate) use tcp::TcpInbox;
use turn::{Parts, Worker};

/// What the workers are started with.
#[derive(Debug)]
pub struct WorkersConfig {
    /// How many threads.
    pub count: u8,
    /// Where each of them receives, as [`claim`] gave it.
    pub udp_bind: Vec<SocketAddr>,
    /// Knows whose a binding request is.
    pub door: Arc<Door>,
    /// Makes transports.
    pub factory: Arc<PeerFactory>,
    /// The instant of `Timestamp::ZERO`.
    pub origin: Instant,
    /// Where events go.
    pub to_hub: mpsc::Sender<Box<ToHub>>,
    /// The process's counters.
    pub metrics: Arc<Metrics>,
}

/// The way to one worker.
#[derive(Debug)]
struct Inbox {
    queue: Sender<ToWorker>,
    load: Arc<Load>,
    bell: Arc<Bell>,
    tcp: TcpInbox,
}

/// The running threads.
#[derive(Debug)]
pub struct Workers {
    inboxes: Vec<Inbox>,
    /// Taken by whoever joins them.
    threads: Mutex<Vec<JoinHandle<()>>>,
    udp_port: u16,
    metrics: Arc<Metrics>,
}

impl Workers {
    /// Binds every socket, then starts the threads.
    ///
    /// # Errors
    /// The system refuses sockets, memory or threads.
    pub fn start(config: WorkersConfig) -> io::Result<Self> {
        let binds = config.udp_bind;
        let udp_port = binds.first().map_or(0, SocketAddr::port);
        let count = usize::from(config.count);
        let bells =
            (0..count).map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
        let hops = Hops::between(&bells, &config.metrics);
        let [a, b, c, d, ..] = seed()?.to_ne_bytes();
        let steering = Arc::new(Steering::new(u32::from_ne_bytes([a, b, c, d])));
        let crowd = Crowd::default();
        let cores = cores_for(count, sys::allowed_cores());

        let mut workers = Self {
            inboxes: Vec::new(),
            threads: Mutex::default(),
            udp_port,
            metrics: Arc::clone(&config.metrics),
        };
        for ((id, bell), (hops, inbound)) in (0..config.count).zip(bells).zip(hops) {
            let (queue, inbox) = channel();
            let (frames, tcp) = mpsc::channel(TCP_INBOX_MAX);
            let load = Arc::new(Load::new(&crowd));
            let parts = Parts {
                id: WorkerId(id),
                bell: Arc::clone(&bell),
                inbox,
                load: Arc::clone(&load),
                sockets: binds
                    .iter()
                    .map(|at| MediaSocket::bind(*at))
                    .collect::<io::Result<_>>()?,
                tcp,
                received: Mapping::new(sys::RECEIVE_BYTES)?,
                steering: Arc::clone(&steering),
                hops,
                inbound,
                door: Arc::clone(&config.door),
                factory: Arc::clone(&config.factory),
                origin: config.origin,
                seed: seed()?,
                to_hub: config.to_hub.clone(),
                metrics: Arc::clone(&config.metrics),
            };
            let core = cores.get(usize::from(id)).copied();
            let tcp = TcpInbox { queue: frames, bell: Arc::clone(&bell) };
            workers.inboxes.push(Inbox { queue, load, bell, tcp });
            match spawn(parts, core) {
                Ok(thread) => workers.threads().push(thread),
                Err(error) => {
                    workers.stop();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Tells a worker something. A worker that does not exist or has stopped hears nothing. A data message
    /// for which there is no room is dropped, and the receiver of a reliable one is given up.
    pub fn send(&self, worker: WorkerId, message: ToWorker) {
        let Some(inbox) = self.inboxes.get(usize::from(worker.0)) else { return };
        let is_wanted = match &message {
            ToWorker::Send { peer, channel, message, .. } => {
                let has_room = inbox.load.add(*peer, *channel, message.expose().len());
                if !has_room {
                    self.metrics.data_unsent.count();
                }
                has_room
            }
            ToWorker::AddPeer(_)
            | ToWorker::RestartIce { .. }
            | ToWorker::RemovePeer(_)
            | ToWorker::Instruct(_)
            | ToWorker::Beat(_)
            | ToWorker::Stop => true,
        };
        if is_wanted && let Err(SendError(unsent)) = inbox.queue.send(message) {
            if let ToWorker::Send { channel, message, .. } = unsent {
                inbox.load.remove(channel, message.expose().len());
            }
            return;
        }
        inbox.bell.ring();
    }

    /// The way of TCP connections to a worker, if there is such a worker.
    pub(crate) fn tcp_inbox(&self, worker: WorkerId) -> Option<&TcpInbox> {
        self.inboxes.get(usize::from(worker.0)).map(|inbox| &inbox.tcp)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// The port of every socket.
    #[must_use]
    pub const fn udp_port(&self) -> u16 {
        self.udp_port
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        // A poisoned lock still holds the handles.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes every peer and joins the threads. The second call does nothing.
    pub fn stop(&self) {
        for inbox in &self.inboxes {
            if inbox.queue.send(ToWorker::Stop).is_ok() {
                inbox.bell.ring();
            }
        }
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // Of one that panicked the hook has said where.
            drop(thread.join());
        }
    }
}

/// Finds the port and makes sure that it is ours alone: a socket that shares its port would also share
/// it, silently, with another process.
///
/// # Errors
/// The port is taken, or the address is not ours.
pub fn claim(at: SocketAddr) -> io::Result<SocketAddr> {
    sys::bind_alone(at)?.local_addr()
}

/// Where each worker is kept, if it is: on a core of its own, where each of those that the process was given has one.
/// Fewer workers than cores, as under a container's share of processor time, would sit on the same few as those of
/// other processes: the kernel knows which are free.
fn cores_for(workers: usize, allowed: Vec<usize>) -> Vec<usize> {
    if allowed.len() == workers { allowed } else { Vec::new() }
}

fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn spawn(parts: Parts, core: Option<usize>) -> io::Result<JoinHandle<()>> {
    let name = format!("media-{}", parts.id.0);
    let work = move || {
        if let Some(core) = core {
            sys::pin_to_core(core);
        }
        Worker::new(parts).run();
    };
    std::thread::Builder::new().name(name).spawn(|| vital(work))
}
