//! Media over TCP, for clients whose network lets no UDP through (RFC 6544, passive).
//!
//! Owns: the listeners, how many connections there are, and the one task in which each lives: it takes frames
//! apart for the worker of its peer and writes what that worker has for it.
//! Guarantees: until the first frame is a binding request with a ufrag that the door minted, a connection
//! costs a buffer of [`TCP_FIRST_MAX`] and [`TCP_FIRST_TIME_MAX`] at most, and is answered nothing; nothing
//! that its peer has not proven is held longer than that either; nothing that was read or is to be written is
//! here for ten seconds, nor anything of a client, its address included, for two after its peer is gone. What
//! waits to be written is bounded where it is put in (`worker::tcp`), what waits to be read stays in the kernel
//! while the worker is behind.
//! Not here: what a datagram means, and whether a path is a peer's (`worker`, `peer`).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use model::{Carrier, Path, PeerId};
use peer::framing::Frames;
use peer::{BindingRequest, Door};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::acceptor::Acceptor;
use crate::budget::{Held, Network, SharedBudget};
use crate::limits::{
    TCP_CHUNK_BYTES, TCP_CONNECTIONS_MAX, TCP_FAREWELL_TIME_MAX, TCP_FIRST_MAX, TCP_FIRST_TIME_MAX,
    TCP_FRAME_TIME_MAX, TCP_NETWORK_MAX, TCP_NETWORK_UNPROVEN_MAX, TCP_SILENCE_MAX,
    TCP_UNPROVEN_MAX, TCP_UNSENT_BYTES_MAX, TCP_WRITE_TIME_MAX,
};
use crate::listener::{self, Phase};
use crate::metrics::{Counter, Metrics};
use crate::sys;
use crate::worker::tcp::{FromTcp, Leaving, LetGo, channel};
use crate::worker::{TcpInbox, Workers};

/// What every connection needs.
pub(crate) struct Front {
    pub(crate) door: Arc<Door>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bounds: Bounds,
}

/// How many connections there may be, and how long they may leave us waiting.
pub(crate) struct Bounds {
    all: Arc<Semaphore>,
    /// Of those that no peer has proven yet.
    unproven: Arc<Semaphore>,
    /// Of one network, and of those the unproven.
    network: SharedBudget,
    network_unproven: SharedBudget,
    /// For the first frame, and from there for the proof.
    first_time: Duration,
    /// From when something was given to be written until it is.
    write_time: Duration,
    /// For the rest of a frame.
    frame_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX)),
            unproven: Arc::new(Semaphore::new(TCP_UNPROVEN_MAX)),
            network: SharedBudget::of_places(TCP_NETWORK_MAX),
            network_unproven: SharedBudget::of_places(TCP_NETWORK_UNPROVEN_MAX),
            first_time: TCP_FIRST_TIME_MAX,
            write_time: TCP_WRITE_TIME_MAX,
            frame_time: TCP_FRAME_TIME_MAX,
        }
    }
}

impl Bounds {
    fn admit(&self, from: IpAddr) -> Result<Place, Refusal> {
        let permit =
            |all: &Arc<Semaphore>| Arc::clone(all).try_acquire_owned().map_err(|_| Refusal::Full);
        let share = |of: &SharedBudget| of.hold(Network::of(from)).ok_or(Refusal::OverBudget);
        let unproven =
            Unproven { _all: permit(&self.unproven)?, _network: share(&self.network_unproven)? };
        let (all, network) = (permit(&self.all)?, share(&self.network)?);
        Ok(Place { _all: all, _network: network, unproven: Some(unproven) })
    }
}

/// Why a connection is closed at once.
enum Refusal {
    /// There are as many as may be.
    Full,
    /// Of its network there are.
    OverBudget,
}

/// One connection's place among them.
struct Place {
    _all: OwnedSemaphorePermit,
    _network: Held,
    unproven: Option<Unproven>,
}

/// The same among those that no peer has proven.
struct Unproven {
    _all: OwnedSemaphorePermit,
    _network: Held,
}

/// Why a connection ends; each has a counter.
enum End {
    /// The client hung up, or the worker let go.
    Gone,
    /// What came first is no binding request for a peer of ours.
    Foreign,
    /// A frame that is longer than any datagram.
    Malformed,
    /// No first frame in time, or no proof.
    Late,
    /// Nothing came for long, or not the rest of a frame.
    Silent,
    /// It reads too slowly.
    Slow,
}

/// Serves until `phase` is [`Phase::Closing`] and every connection has ended. A connection ends when its
/// client or its worker lets go; who joins this before the workers have stopped waits for clients.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    front: Arc<Front>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    // Unique for four milliards of connections: then those that had the number before are long gone.
    let mut number = NonZeroU32::MIN;
    let mut acceptor = Acceptor::new(listeners, "media", &[], Arc::clone(&front.metrics));
    loop {
        tokio::select! {
            (stream, remote) = acceptor.next() => {
                let place = match front.bounds.admit(remote.ip()) {
                    Ok(place) => place,
                    Err(refusal) => {
                        refusal.counter(&front.metrics).count();
                        continue;
                    }
                };
                front.metrics.tcp_accepted.count();
                let (front, phase) = (Arc::clone(&front), phase.clone());
                let carrier = Carrier::tcp(number);
                connections.spawn(carry(stream, remote, carrier, place, front, phase));
                number = number.checked_add(1).unwrap_or(NonZeroU32::MIN);
            }
            Some(ended) = connections.join_next() => {
                listener::note(&front.metrics, ended);
            }
            () = Phase::closing(&mut phase) => break,
        }
    }
    drop(acceptor);
    while let Some(ended) = connections.join_next().await {
        listener::note(&front.metrics, ended);
    }
}

async fn carry(
    mut stream: TcpStream,
    remote: SocketAddr,
    carrier: Carrier,
    place: Place,
    front: Arc<Front>,
    mut phase: watch::Receiver<Phase>,
) {
    let Ok(local) = stream.local_addr() else { return };
    let path = Arc::new(Path { remote, local, carrier });
    // A datagram waits for nothing.
    stream.set_nodelay(true).ok();
    let first = tokio::select! {
        first = timeout(front.bounds.first_time, first(&mut stream, &front.door)) => first,
        () = Phase::closing(&mut phase) => return,
    };
    let end = match first {
        Ok(Ok((peer, buffer))) => attend(stream, path, peer, buffer, place, &front).await,
        Ok(Err(end)) => end,
        Err(_) => End::Late,
    };
    if let Some(counter) = end.counter(&front.metrics) {
        counter.count();
    }
}

impl Refusal {
    const fn counter(self, metrics: &Metrics) -> &Counter {
        match self {
            Self::Full => &metrics.tcp_refused,
            Self::OverBudget => &metrics.tcp_over_budget,
        }
    }
}

impl End {
    const fn counter(self, metrics: &Metrics) -> Option<&Counter> {
        match self {
            Self::Gone => None,
            Self::Foreign => Some(&metrics.tcp_foreign),
            Self::Malformed => Some(&metrics.tcp_malformed),
            Self::Late => Some(&metrics.tcp_late),
            Self::Silent => Some(&metrics.tcp_silent),
            Self::Slow => Some(&metrics.tcp_slow),
        }
    }
}

/// Whose the connection is, by its first frame; and what was read.
async fn first(stream: &mut TcpStream, door: &Door) -> Result<(PeerId, Vec<u8>), End> {
    let mut buffer = Vec::with_capacity(TCP_FIRST_MAX);
    loop {
        let room = TCP_FIRST_MAX - buffer.len();
        let limit = u64::try_from(room).unwrap_or(0);
        match (&mut *stream).take(limit).read_buf(&mut buffer).await {
            Ok(0) if room == 0 => return Err(End::Malformed),
            Ok(0) | Err(_) => return Err(End::Gone),
            Ok(_) => {}
        }
        match Frames::new(&buffer).next() {
            Some(Ok(datagram)) => {
                let request = BindingRequest::parse(datagram);
                let peer = request.and_then(|request| door.owner(request.local_ufrag));
                return peer.map(|peer| (peer, buffer)).ok_or(End::Foreign);
            }
            Some(Err(_)) => return Err(End::Malformed),
            None => {}
        }
    }
}

/// The connection of a peer, as long as both ends want it.
async fn attend(
    mut stream: TcpStream,
    path: Arc<Path>,
    peer: PeerId,
    buffer: Vec<u8>,
    place: Place,
    front: &Front,
) -> End {
    let Some(inbox) = front.workers.tcp_inbox(peer.worker) else { return End::Foreign };
    // Without it the kernel would hold media that is seconds old.
    sys::hold_little_unsent(&stream, TCP_UNSENT_BYTES_MAX).ok();
    let (going, leaving, let_go) = channel(&front.metrics);
    if !inbox.tell(FromTcp::Opened { path: Arc::clone(&path), peer, going }).await {
        return End::Gone;
    }
    let (reader, writer) = stream.split();
    let end = tokio::select! {
        end = hear(reader, &path, buffer, inbox, &front.bounds) => end,
        end = say(writer, leaving, place, &front.bounds) => end,
        end = farewell(let_go) => end,
    };
    inbox.tell(FromTcp::Ended { path }).await;
    end
}

/// Gives the worker the frames that come.
async fn hear(
    mut reader: ReadHalf<'_>,
    path: &Arc<Path>,
    mut buffer: Vec<u8>,
    inbox: &TcpInbox,
    bounds: &Bounds,
) -> End {
    let mut begun = Instant::now();
    loop {
        let mut frames = Frames::new(&buffer);
        if frames.by_ref().any(|frame| frame.is_err()) {
            return End::Malformed;
        }
        let taken = frames.taken();
        let mut next = Vec::with_capacity(TCP_CHUNK_BYTES);
        next.extend_from_slice(buffer.get(taken..).unwrap_or_default());
        buffer.truncate(taken);
        let whole = std::mem::replace(&mut buffer, next);
        if taken > 0
            && !inbox.tell(FromTcp::Arrived { path: Arc::clone(path), frames: whole }).await
        {
            return End::Gone;
        }
        // A frame that has begun to come lies here until it is whole.
        let (had, now) = (buffer.len(), Instant::now());
        if taken > 0 || had == 0 {
            begun = now;
        }
        let until = if had == 0 { now + TCP_SILENCE_MAX } else { begun + bounds.frame_time };
        // It is less than a frame, which is less than the buffer: there is always room.
        match timeout_at(until, reader.read_buf(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return End::Gone,
            Ok(Ok(_)) => {}
            Err(_) => return End::Silent,
        }
    }
}

/// Writes what the worker has. A peer says nothing over a path that was not proven to it, so its first word is
/// the proof.
async fn say(
    mut writer: WriteHalf<'_>,
    mut leaving: Leaving,
    mut place: Place,
    bounds: &Bounds,
) -> End {
    let Ok(first) = timeout(bounds.first_time, leaving.next()).await else { return End::Late };
    let mut next = first;
    place.unproven = None;
    while let Some(parcel) = next {
        let until = parcel.given + bounds.write_time;
        match timeout_at(until, writer.write_all(&parcel.frames)).await {
            Ok(Ok(())) => leaving.written(&parcel),
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Slow,
        }
        next = leaving.next().await;
    }
    // What was written last, a goodbye perhaps, is to arrive.
    writer.shutdown().await.ok();
    End::Gone
}

/// Whoever reads slowly is not waited for once its peer is gone.
async fn farewell(let_go: LetGo) -> End {
    let_go.await.ok();
    sleep(TCP_FAREWELL_TIME_MAX).await;
    End::Gone
}

#[cfg(test)]
mod tests;
