//! What those who come are told of a room, for as long as they have not read it.
//!
//! Owns: how much memory of the node, and of it of one room, such answers may take, from when the hub begins to put
//! one together until its last byte is written.
//! Guarantees: no number of clients that read nothing makes them take more than [`ANSWERS_BYTES_MAX`], but for small
//! ones, of which each connection may have one ([`ANSWER_SMALL`]); who finds no room waits in turn, and holds none.
//! Not here: how large an answer is (`hub`), how long one may be written (`socket`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{ANSWER_SMALL, ANSWERS_BYTES_MAX, ANSWERS_ROOM_BYTES_MAX};

/// Of all rooms, a permit for each byte.
#[derive(Debug)]
pub struct Answers(Arc<Semaphore>);

/// Of one room.
#[derive(Clone, Debug)]
pub struct RoomAnswers {
    room: Arc<Semaphore>,
    node: Arc<Semaphore>,
}

/// Room for one answer, given back when it is dropped. None is needed for a small one.
#[derive(Debug, Default)]
pub struct AnswerPart {
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    room: OwnedSemaphorePermit,
    node: OwnedSemaphorePermit,
}

/// Room that an answer needs and that was not there.
#[derive(Debug)]
pub struct Wanted {
    of: RoomAnswers,
    len: u32,
}

impl Default for Answers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)))
    }
}

impl Answers {
    /// For a room that had none.
    #[must_use]
    pub fn of_room(&self) -> RoomAnswers {
        let room = Arc::new(Semaphore::new(ANSWERS_ROOM_BYTES_MAX));
        RoomAnswers { room, node: Arc::clone(&self.0) }
    }
}

impl RoomAnswers {
    /// Room for an answer of `len` bytes, at most [`ANSWERS_ROOM_BYTES_MAX`], unless others wait or there is none.
    ///
    /// # Errors
    /// What to wait for.
    pub fn take(&self, len: usize) -> Result<AnswerPart, Wanted> {
        if len <= ANSWER_SMALL {
            return Ok(AnswerPart::default());
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let held = Held::take(&self.room, &self.node, len);
        match held {
            Some(held) => Ok(AnswerPart { held: Some(held) }),
            None => Err(Wanted { of: self.clone(), len }),
        }
    }
}

impl Wanted {
    /// The same and as much again, since a room to which many come at once grows while they wait.
    #[must_use]
    pub fn with_margin(self) -> Self {
        let most = u32::try_from(ANSWERS_ROOM_BYTES_MAX).unwrap_or(u32::MAX);
        Self { len: self.len.saturating_mul(2).min(most), ..self }
    }

    /// Waits for it, behind whoever has waited for longer.
    pub async fn wait(self) -> AnswerPart {
        let RoomAnswers { room, node } = self.of;
        // Whoever waits for others of its room takes nothing from other rooms meanwhile. They are never closed.
        let Ok(room) = room.acquire_many_owned(self.len).await else { return Default::default() };
        let Ok(node) = node.acquire_many_owned(self.len).await else { return Default::default() };
        AnswerPart { held: Some(Held { room, node }) }
    }
}

impl Held {
    fn take(room: &Arc<Semaphore>, node: &Arc<Semaphore>, len: u32) -> Option<Self> {
        let room = Arc::clone(room).try_acquire_many_owned(len).ok()?;
        let node = Arc::clone(node).try_acquire_many_owned(len).ok()?;
        Some(Self { room, node })
    }

    fn split(&mut self, len: usize) -> Option<Self> {
        Some(Self { room: self.room.split(len)?, node: self.node.split(len)? })
    }
}

impl AnswerPart {
    /// Of how many bytes; none if it is for a small answer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.node.num_permits())
    }

    /// Whether it is for a small answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_none()
    }

    /// So much of it, for another message, if it has that.
    #[must_use]
    pub fn split(&mut self, len: usize) -> Self {
        Self { held: self.held.as_mut().and_then(|held| held.split(len)) }
    }

    /// Makes it as large as what is written after all, mostly smaller. `false`: there is no room for that.
    #[must_use]
    pub fn fit(&mut self, len: usize) -> bool {
        let before = self.len();
        let Some(held) = self.held.as_mut() else {
            return true;
        };
        if len <= before {
            drop(held.split(before - len));
            return true;
        }
        let more = u32::try_from(len - before).unwrap_or(u32::MAX);
        let more = Held::take(held.room.semaphore(), held.node.semaphore(), more);
        let Some(more) = more else {
            return false;
        };
        held.room.merge(more.room);
        held.node.merge(more.node);
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_room_has_its_share_another_room_its_own_and_small_answers_need_none() {
        let node = Answers::default();
        let [red, blue, green] = [(); 3].map(|()| node.of_room());
        let whole = red.take(ANSWERS_ROOM_BYTES_MAX).unwrap();
        assert_eq!(whole.len(), ANSWERS_ROOM_BYTES_MAX);
        let waiting = red.take(ANSWER_SMALL + 1).unwrap_err().wait();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(red.take(ANSWER_SMALL).unwrap().is_empty());
        let other = blue.take(ANSWERS_BYTES_MAX - ANSWERS_ROOM_BYTES_MAX).unwrap();
        assert!(green.take(ANSWER_SMALL + 1).is_err(), "the node has no more");
        drop(other);
        assert!(green.take(ANSWER_SMALL + 1).is_ok());
        drop(whole);
        assert_eq!(waiting.now_or_never().unwrap().len(), ANSWER_SMALL + 1);
        assert_eq!(node.0.available_permits(), ANSWERS_BYTES_MAX);
    }

    #[test]
    fn who_has_waited_longer_comes_first() {
        let node = Answers::default();
        let room = node.of_room();
        let half = ANSWERS_ROOM_BYTES_MAX / 2;
        let (first, second) = (room.take(half).unwrap(), room.take(half).unwrap());
        let waiting = room.take(half + 1).unwrap_err().wait();
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(room.take(half).is_err(), "what came free is for whoever waits");
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(second);
        assert_eq!(waiting.now_or_never().unwrap().len(), half + 1);
    }

    #[test]
    fn a_part_becomes_as_large_as_what_is_written() {
        let node = Answers::default();
        let room = node.of_room();
        let mut part = room.take(1 << 20).unwrap();
        let other = part.split(1000);
        assert_eq!((part.len(), other.len()), ((1 << 20) - 1000, 1000));
        assert!(part.fit(3000));
        assert_eq!(node.0.available_permits(), ANSWERS_BYTES_MAX - 4000);
        assert!(part.fit(1 << 20));
        assert!(!part.fit(ANSWERS_ROOM_BYTES_MAX), "the other has some of that");
        assert_eq!(part.len(), 1 << 20);
        let mut small = AnswerPart::default();
        assert!(small.fit(6 * ANSWER_SMALL) && small.split(10).is_empty());
    }
}
