//! Signalling messages that have begun to come and are not whole.
//!
//! Owns: how long one may take from its first byte to its last, and how much of the node's memory all of them may.
//! Guarantees: no number of clients that begin messages and do not end them makes them take more than
//! [`UNFINISHED_BYTES_MAX`] and [`UNFINISHED_MIDDLE_BYTES_MAX`], but for small ones, of which each connection may have
//! one ([`UNFINISHED_SMALL`]); none waits for ever, nor an offer of an ordinary call, in one frame, for huge ones. Room
//! is taken before a frame's payload is read, by the length that its head says, since a WebSocket reserves that much at
//! once, and is held until what the message lay in is given back.
//! Not here: where a frame ends (`frame_io`), what is decoded (`session`).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use wire::limits::FRAME_MAX;

use crate::limits::{
    FRAME_MIDDLE, UNFINISHED_BYTES_MAX, UNFINISHED_MIDDLE_BYTES_MAX, UNFINISHED_SMALL,
};

/// Of all connections, a permit for each byte.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// Of those that are one frame of up to [`FRAME_MIDDLE`], or end so: none of them waits for more.
    middle: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The message that one connection's client is at.
pub(crate) struct Message {
    all: Unfinished,
    time_max: Duration,
    /// When it began, if one has and is not whole.
    begun: Option<Instant>,
    /// Bytes of its frames so far, as their heads say.
    len: usize,
    /// Those of which there is room: also of messages before it that lay where it comes to lie.
    held: Option<OwnedSemaphorePermit>,
    /// Whose they are, once there are some.
    is_middle: bool,
    wanted: Option<Pin<Box<dyn Future<Output = Taken> + Send>>>,
    /// Runs while something is waited for. On the heap: most messages come whole.
    until: Option<Pin<Box<Sleep>>>,
    /// Nothing of what still comes is kept.
    is_given_up: bool,
}

type Taken = Result<OwnedSemaphorePermit, AcquireError>;

/// A message was not whole in time.
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message was not whole in time")
    }
}

impl std::error::Error for Late {}

/// Whether a connection ended because a message was not whole in time.
pub(crate) fn is_late(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Late>())
}

impl Default for Unfinished {
    fn default() -> Self {
        let [middle, large] = [UNFINISHED_MIDDLE_BYTES_MAX, UNFINISHED_BYTES_MAX]
            .map(|bytes| Arc::new(Semaphore::new(bytes)));
        Self { middle, large }
    }
}

impl Unfinished {
    /// For a connection over which nothing has come.
    pub(crate) fn of_connection(&self, time_max: Duration) -> Message {
        Message::new(self.clone(), time_max)
    }
}

impl Message {
    const fn new(all: Unfinished, time_max: Duration) -> Self {
        let (begun, held, wanted, until) = (None, None, None, None);
        let (is_middle, is_given_up) = (false, false);
        Self { all, time_max, begun, len: 0, held, is_middle, wanted, until, is_given_up }
    }

    /// A byte of it has come, maybe its first.
    pub(crate) fn begin(&mut self) {
        self.begun.get_or_insert_with(Instant::now);
    }

    /// It is whole. What it lies in is still there.
    pub(crate) fn end(&mut self) {
        (self.begun, self.until, self.len) = (None, None, 0);
    }

    /// Whoever reads on keeps nothing of it, and needs no room.
    pub(crate) fn give_up(&mut self) {
        (self.is_given_up, self.wanted) = (true, None);
    }

    /// The same for another reader, which begins with nothing if no message is under way.
    pub(crate) fn hand_over(&mut self) -> Self {
        let fresh = || Self::new(self.all.clone(), self.time_max);
        if self.begun.is_none() {
            return fresh();
        }
        let fresh = fresh();
        std::mem::replace(self, fresh)
    }

    /// Waits for room for one more frame of it, with so many bytes of payload. Chromium sends up to 64 KiB in one.
    ///
    /// # Errors
    /// It has taken too long.
    pub(crate) fn poll_room(
        &mut self,
        context: &mut Context<'_>,
        payload_len: u64,
        is_last: bool,
    ) -> Poll<io::Result<()>> {
        // Of a longer one nothing is kept: its reader refuses it.
        let payload_len = usize::try_from(payload_len).unwrap_or(usize::MAX);
        if payload_len > FRAME_MAX || self.is_given_up {
            return Poll::Ready(Ok(()));
        }
        let len = self.len.saturating_add(payload_len);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if len > UNFINISHED_SMALL && len > held {
            if self.held.is_none() && self.wanted.is_none() {
                self.is_middle = is_last && len <= FRAME_MIDDLE;
            }
            let all = if self.is_middle { &self.all.middle } else { &self.all.large };
            let lacking = u32::try_from(len - held).unwrap_or(u32::MAX);
            let wanted = self
                .wanted
                .get_or_insert_with(|| Box::pin(Arc::clone(all).acquire_many_owned(lacking)));
            let taken = wanted.as_mut().poll(context);
            let taken = ready!(self.in_time(context, taken.map(Ok)))?;
            self.wanted = None;
            // It is never closed.
            if let Ok(more) = taken {
                match &mut self.held {
                    Some(held) => held.merge(more),
                    None => self.held = Some(more),
                }
            }
        }
        self.len = len;
        Poll::Ready(Ok(()))
    }

    /// What was waited for, unless the message has taken too long.
    pub(crate) fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (Poll::Pending, Some(begun)) = (&polled, self.begun) else { return polled };
        let time_max = self.time_max;
        let until = self.until.get_or_insert_with(|| Box::pin(sleep_until(begun + time_max)));
        ready!(until.as_mut().poll(context));
        // It is said once: what still comes is not waited for.
        self.end();
        self.wanted = None;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Late)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;

    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn room(message: &mut Message, len: usize) -> Option<io::Result<()>> {
        message.begin();
        poll_fn(|context| message.poll_room(context, len as u64, false)).now_or_never()
    }

    fn last_room(message: &mut Message, len: usize) -> Option<io::Result<()>> {
        message.begin();
        poll_fn(|context| message.poll_room(context, len as u64, true)).now_or_never()
    }

    /// Messages that have all the room that there is.
    pub(crate) fn exhausted(node: &Unfinished) -> Vec<Message> {
        let mut all: Vec<_> =
            (0..UNFINISHED_BYTES_MAX / FRAME_MAX).map(|_| node.of_connection(TIME)).collect();
        for message in &mut all {
            assert!(room(message, FRAME_MAX).is_some_and(|room| room.is_ok()));
        }
        all
    }

    #[tokio::test]
    async fn what_was_taken_for_one_message_is_there_for_the_next_and_nobody_waits_in_vain() {
        let node = Unfinished::default();
        let mut message = node.of_connection(TIME);
        for len in [100_000, 20_000, 100_000, 110_000] {
            assert!(room(&mut message, len).is_some_and(|room| room.is_ok()), "{len}");
            message.end();
        }
        assert_eq!(node.large.available_permits(), UNFINISHED_BYTES_MAX - 110_000);
        drop(message);
        let others = exhausted(&node);
        let [mut late, mut given_up] = [Duration::ZERO, TIME].map(|time| node.of_connection(time));
        late.begin();
        let outcome = poll_fn(|context| late.poll_room(context, FRAME_MAX as u64, true)).await;
        assert!(is_late(&outcome.unwrap_err()));
        assert!(room(&mut given_up, FRAME_MAX).is_none());
        given_up.give_up();
        assert!(room(&mut given_up, FRAME_MAX).is_some(), "who keeps nothing needs no room");
        drop(others);
        assert_eq!(node.large.available_permits(), UNFINISHED_BYTES_MAX, "neither is waited for");
    }

    #[tokio::test]
    async fn large_messages_share_what_there_is_and_small_ones_need_none() {
        let node = Unfinished::default();
        let mut large = exhausted(&node);
        let mut another = node.of_connection(TIME);
        assert!(room(&mut another, UNFINISHED_SMALL).is_some_and(|room| room.is_ok()));
        assert!(room(&mut another, 1).is_none(), "with this piece it is no small one");
        let mut offers: Vec<_> = (0..50).map(|_| node.of_connection(TIME)).collect();
        for offer in &mut offers {
            let has_room = last_room(offer, FRAME_MIDDLE).is_some_and(|room| room.is_ok());
            assert!(has_room, "it waits for none of the huge ones");
        }
        let left = UNFINISHED_MIDDLE_BYTES_MAX - 50 * FRAME_MIDDLE;
        assert_eq!(node.middle.available_permits(), left);
        for len in [FRAME_MIDDLE, FRAME_MIDDLE + 1] {
            let mut first = node.of_connection(TIME);
            assert!(room(&mut first, len).is_none(), "more comes behind it");
            assert!(last_room(&mut node.of_connection(TIME), FRAME_MIDDLE + 1).is_none());
        }
        assert_eq!(node.middle.available_permits(), left);
        // Whole, it lies there until its reader is gone.
        let whole = large.last_mut().unwrap();
        whole.end();
        drop(whole.hand_over());
        assert!(room(&mut another, 1).is_none());
        large.pop();
        assert!(room(&mut another, 1).is_some_and(|room| room.is_ok()));
        assert!(room(&mut large[0], FRAME_MAX + 1).is_some(), "it is refused by who reads it");
        drop((large, another));
        assert_eq!(node.large.available_permits(), UNFINISHED_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_message_has_its_time_whatever_it_waits_for() {
        let node = Unfinished::default();
        let mut message = node.of_connection(Duration::ZERO);
        let mut nothing = async || {
            let waits = poll_fn(|context| message.in_time::<()>(context, Poll::Pending));
            waits.now_or_never()
        };
        assert!(nothing().await.is_none(), "none has begun");
        let mut begun = node.of_connection(Duration::ZERO);
        begun.begin();
        let late = poll_fn(|context| begun.in_time::<()>(context, Poll::Pending)).await;
        assert!(is_late(&late.unwrap_err()));
        let mut crowded = node.of_connection(Duration::ZERO);
        let all = u32::try_from(UNFINISHED_BYTES_MAX).unwrap();
        let held = Arc::clone(&node.large).try_acquire_many_owned(all).unwrap();
        crowded.begin();
        let late = poll_fn(|context| crowded.poll_room(context, FRAME_MAX as u64, true)).await;
        assert!(is_late(&late.unwrap_err()));
        drop(held);
    }
}
