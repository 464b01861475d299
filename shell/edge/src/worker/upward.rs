//! What a worker has to tell the hub, when the hub is slower than the worker.
//!
//! Guarantees: order is kept; what must not be lost waits, bounded; a worker never waits for the hub; a
//! peer's reliable messages take at most a share of the room, so that one alone cannot cost others theirs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::{CallContent, PeerId, Timestamp};
use sfu::Report;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Channel, FromWorker};
use crate::limits::{UPWARD_BYTES_MAX, UPWARD_MAX, UPWARD_SHARE_BYTES_MAX, UPWARD_SHARE_MAX};
use crate::metrics::Metrics;
use crate::session::ToHub;

/// What waits of one peer.
#[derive(Default)]
struct Share {
    messages: usize,
    bytes: usize,
}

pub(super) struct Upward {
    to_hub: mpsc::Sender<Box<ToHub>>,
    /// In boxes for the reason of [`ToHub`].
    waiting: VecDeque<Box<FromWorker>>,
    waiting_bytes: usize,
    /// Of the peers whose messages wait.
    shares: HashMap<PeerId, Share>,
    metrics: Arc<Metrics>,
}

impl Upward {
    pub(super) fn new(to_hub: mpsc::Sender<Box<ToHub>>, metrics: Arc<Metrics>) -> Self {
        Self { to_hub, waiting: VecDeque::new(), waiting_bytes: 0, shares: HashMap::new(), metrics }
    }

    /// Tells what must arrive and of which each peer has a handful.
    pub(super) fn tell(&mut self, message: FromWorker) {
        if let Some(message) = self.offer(message) {
            self.wait(message);
        }
    }

    /// Passes a peer's message on. `false`: a reliable one found no room, and the peer must go.
    #[must_use]
    pub(super) fn pass(
        &mut self,
        peer: PeerId,
        channel: Channel,
        since: Timestamp,
        content: CallContent<Vec<u8>>,
    ) -> bool {
        let message = FromWorker::Message(peer, channel, since, content);
        let Some(message) = self.offer(message) else { return true };
        if channel != Channel::Reliable {
            self.metrics.worker_messages_dropped.count();
            return true;
        }
        let has_share = self.shares.get(&peer).is_none_or(|share| {
            share.messages < UPWARD_SHARE_MAX && share.bytes < UPWARD_SHARE_BYTES_MAX
        });
        let has_room = has_share && self.has_room();
        if has_room {
            self.wait(message);
        } else {
            self.metrics.data_senders_cut.count();
        }
        has_room
    }

    /// Drops a message that is beyond its sender's rate. `false`: a reliable one cannot just be missing,
    /// and the peer must go.
    #[must_use]
    pub(super) fn refuse(&self, channel: Channel) -> bool {
        let is_lossy = channel != Channel::Reliable;
        if is_lossy {
            self.metrics.data_over_rate.count();
        } else {
            self.metrics.data_senders_cut.count();
        }
        is_lossy
    }

    /// Passes a report on; those that only refresh a figure are the first to be dropped.
    pub(super) fn report(&mut self, report: Report) {
        let must_arrive = report.must_arrive();
        if let Some(report) = self.offer(FromWorker::Report(report)) {
            if must_arrive && self.has_room() {
                self.wait(report);
            } else {
                self.metrics.reports_dropped.count();
            }
        }
    }

    /// Tries again. Whether something still waits.
    pub(super) fn retry(&mut self) -> bool {
        while let Some(message) = self.waiting.pop_front() {
            let (sender, len) = (sender(&message), len(&message));
            if let Some(message) = self.try_send(*message) {
                self.waiting.push_front(Box::new(message));
                return true;
            }
            self.waiting_bytes -= len;
            if let Some(sender) = sender
                && let Some(share) = self.shares.get_mut(&sender)
            {
                share.messages -= 1;
                share.bytes -= len;
                if share.messages == 0 {
                    self.shares.remove(&sender);
                }
            }
        }
        false
    }

    /// Whether something waits for the hub.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < UPWARD_MAX && self.waiting_bytes < UPWARD_BYTES_MAX
    }

    fn wait(&mut self, message: FromWorker) {
        let len = len(&message);
        if let Some(sender) = sender(&message) {
            let share = self.shares.entry(sender).or_default();
            share.messages += 1;
            share.bytes += len;
        }
        self.waiting_bytes += len;
        self.waiting.push_back(Box::new(message));
    }

    /// Sends in turn, or gives the message back.
    fn offer(&self, message: FromWorker) -> Option<FromWorker> {
        if self.waiting.is_empty() { self.try_send(message) } else { Some(message) }
    }

    fn try_send(&self, message: FromWorker) -> Option<FromWorker> {
        let Err(TrySendError::Full(message)) =
            self.to_hub.try_send(Box::new(ToHub::Worker(message)))
        else {
            // A hub that is gone has nobody left to tell.
            return None;
        };
        if let ToHub::Worker(message) = *message { Some(message) } else { None }
    }
}

const fn len(message: &FromWorker) -> usize {
    match message {
        FromWorker::Message(.., content) => content.expose().len(),
        FromWorker::Connected(_)
        | FromWorker::Closed(_)
        | FromWorker::PutOut(_)
        | FromWorker::ChannelOpen(..)
        | FromWorker::Report(_) => 0,
    }
}

/// Whose share of the room a message takes.
const fn sender(message: &FromWorker) -> Option<PeerId> {
    match message {
        FromWorker::Message(peer, ..) => Some(*peer),
        FromWorker::Connected(_)
        | FromWorker::Closed(_)
        | FromWorker::PutOut(_)
        | FromWorker::ChannelOpen(..)
        | FromWorker::Report(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use model::WorkerId;

    use super::*;

    #[test]
    fn a_flooder_is_cut_and_an_innocent_peer_is_not() {
        let peer = |index| PeerId { worker: WorkerId(0), index };
        let metrics = Arc::new(Metrics::default());
        let (to_hub, mut hub) = mpsc::channel(1);
        let mut upward = Upward::new(to_hub, Arc::clone(&metrics));
        upward.tell(FromWorker::Connected(peer(0)));
        for _ in 0..UPWARD_SHARE_MAX {
            assert!(upward.pass(peer(0), Channel::Reliable, Timestamp::ZERO, vec![1].into()));
        }
        assert!(!upward.pass(peer(0), Channel::Reliable, Timestamp::ZERO, vec![1].into()));
        assert!(
            upward.pass(peer(0), Channel::Lossy, Timestamp::ZERO, vec![1].into()),
            "only dropped"
        );
        assert!(upward.pass(
            peer(1),
            Channel::Reliable,
            Timestamp::ZERO,
            vec![0; UPWARD_SHARE_BYTES_MAX].into()
        ));
        assert!(!upward.pass(peer(1), Channel::Reliable, Timestamp::ZERO, vec![1].into()));
        assert_eq!(metrics.data_senders_cut.total(), 2);
        while upward.retry() {
            assert!(upward.is_behind(), "so that no more is read");
            hub.try_recv().unwrap();
        }
        assert!(!upward.is_behind());
        assert!(upward.shares.is_empty());
        assert_eq!(upward.waiting_bytes, 0);
    }
}
