//! Many small rooms beside the one that is measured: what a session costs that is there and does nothing.
//!
//! Owns: joining them, first over signalling alone, then with their transports, and the server's memory at each
//! step. Guarantees: a figure is what the server's process grew by, divided by sessions that were all there
//! when it was read; above [`EACH_BYTES_MAX`] it is said to be too much.
//! Not here: what the measured room loses meanwhile (`tally`).

use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::client::{House, Joined, Role};
use crate::process::Server;
use crate::{Failure, Running};

/// Between two transports that begin, so that the media beside them is what it would be with people who come.
const CONNECT_INTERVAL: Duration = Duration::from_millis(4);
/// For the last of them to be there.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// Sessions that get a transport, at most: as many as begin one, with all else, within the half minute after the join
/// for which the server waits for a client's first check.
const TRANSPORTS_MAX: usize = 2_500;
/// What a session may cost with all that it has, while it does nothing.
const EACH_BYTES_MAX: u64 = 24 << 10;
/// Of fewer that have a transport, what the rooms and the tables cost is too large a part to judge by.
const JUDGED_FROM: usize = 2_000;
/// Until what a join leaves behind for a moment is freed.
const SETTLE: Duration = Duration::from_secs(3);

/// Rooms, and sessions in each.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rooms: usize,
    pub(crate) sessions: usize,
    /// Sessions that get a transport, at most.
    pub(crate) transports: usize,
}

/// The sessions, all of which are there.
pub(crate) struct Crowd {
    pub(crate) guests: Vec<Running>,
    /// Of those that have no transport.
    _held: Vec<oneshot::Sender<()>>,
    size: Size,
    connected: usize,
    joined_in: Duration,
    /// Bytes for each with signalling alone, and with its transport beside it.
    each_joined: u64,
    each_connected: u64,
}

impl Crowd {
    /// Joins them all, if there are any.
    pub(crate) async fn gather(
        house: &Rc<House>,
        server: &Server,
        size: Size,
    ) -> Result<Option<Self>, Failure> {
        if size.rooms == 0 {
            return Ok(None);
        }
        let empty = server.resident_bytes()?;
        let began = Instant::now();
        let (mut guests, mut held) = (Vec::new(), Vec::new());
        for room in 0..size.rooms {
            let name = format!("small-{room}");
            for number in 0..size.sessions {
                let house = Rc::clone(house);
                let joined = Joined::new(house, Role::Guest, number, &name, Some(room)).await?;
                let (release, waits) = oneshot::channel();
                held.push(release);
                guests.push(tokio::task::spawn_local(async move {
                    let waiting = Box::pin(joined.wait(waits)).await;
                    waiting.map_err(|failure| format!("guest {number} of room {room}: {failure}"))
                }));
            }
        }
        let joined_in = began.elapsed();
        sleep(SETTLE).await;
        must_all_be_there(&mut guests).await?;
        let joined = server.resident_bytes()?;
        let connected = size.transports.min(held.len()).min(TRANSPORTS_MAX);
        let came_up = connect(house, &mut held, connected).await;
        must_all_be_there(&mut guests).await?;
        came_up?;
        sleep(SETTLE).await;
        must_all_be_there(&mut guests).await?;
        let each = |bytes: u64, count: usize| bytes / count.max(1) as u64;
        let each_joined = each(joined.saturating_sub(empty), guests.len());
        let more = server.resident_bytes()?.saturating_sub(joined);
        let each_connected = each_joined + each(more, connected);
        Ok(Some(Self {
            guests,
            _held: held,
            size,
            connected,
            joined_in,
            each_joined,
            each_connected,
        }))
    }
}

impl Crowd {
    /// Whether each may cost what it does; `None` of too few to tell.
    pub(crate) fn is_light(&self) -> Option<bool> {
        (self.connected >= JUDGED_FROM).then_some(self.each_connected <= EACH_BYTES_MAX)
    }

    /// What is kept of it.
    pub(crate) fn figures(&self) -> [(String, f64); 2] {
        let Size { rooms, sessions, .. } = self.size;
        let name = |what: &str| format!("rooms_{rooms}_of_{sessions}_{what}_kib_each");
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        [(name("signalling"), kib(self.each_joined)), (name("transport"), kib(self.each_connected))]
    }
}

/// Lets so many transports begin, one after the other, and waits for the last.
async fn connect(
    house: &House,
    held: &mut Vec<oneshot::Sender<()>>,
    count: usize,
) -> Result<(), Failure> {
    for release in held.drain(..count) {
        // A guest that is gone is found out below.
        release.send(()).ok();
        sleep(CONNECT_INTERVAL).await;
    }
    let all = async {
        while house.reception.guests() < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(CONNECTED_WITHIN, all).await.map_err(|_| {
        format!("only {} of {count} transports came up", house.reception.guests()).into()
    })
}

async fn must_all_be_there(guests: &mut [Running]) -> Result<(), Failure> {
    let gone = guests.iter().filter(|guest| guest.is_finished()).count();
    match guests.iter_mut().find(|guest| guest.is_finished()) {
        None => Ok(()),
        Some(first) => {
            let why = first.await?.err().unwrap_or_default();
            Err(format!("{gone} sessions ended by themselves, the first: {why}").into())
        }
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size { rooms, sessions, .. } = self.size;
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        let seconds = self.joined_in.as_secs_f64();
        writeln!(f, "  beside {rooms} rooms of {sessions} sessions, joined in {seconds:.1} s")?;
        writeln!(f, "  {:10.1} KiB for each over signalling alone", kib(self.each_joined))?;
        let each = kib(self.each_connected);
        writeln!(
            f,
            "  {each:10.1} KiB for each with its transport, of {} that had one",
            self.connected
        )?;
        let goal = EACH_BYTES_MAX / 1024;
        match self.is_light() {
            Some(true) => write!(f, "  {goal:10} KiB are the goal: met"),
            Some(false) => write!(f, "  {goal:10} KiB are the goal: MISSED"),
            None => {
                write!(
                    f,
                    "  {goal:10} KiB are the goal, judged of {JUDGED_FROM} transports or more"
                )
            }
        }
    }
}
