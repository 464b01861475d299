//! What a worker has to tell the hub, when the hub is slower than the worker.
//!
//! Guarantees: order is kept; what must not be lost waits, bounded; a worker never waits for the hub.

use std::collections::VecDeque;
use std::sync::Arc;

use model::PeerId;
use sfu::Report;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Channel, FromWorker};
use crate::limits::{UPWARD_BYTES_MAX, UPWARD_MAX};
use crate::metrics::Metrics;
use crate::session::ToHub;

pub(super) struct Upward {
    to_hub: mpsc::Sender<ToHub>,
    waiting: VecDeque<FromWorker>,
    waiting_bytes: usize,
    metrics: Arc<Metrics>,
}

impl Upward {
    pub(super) fn new(to_hub: mpsc::Sender<ToHub>, metrics: Arc<Metrics>) -> Self {
        Self { to_hub, waiting: VecDeque::new(), waiting_bytes: 0, metrics }
    }

    /// Tells what must arrive and of which each peer has a handful.
    pub(super) fn tell(&mut self, message: FromWorker) {
        if let Some(message) = self.offer(message) {
            self.wait(message);
        }
    }

    /// Passes a peer's message on. `false`: a reliable one found no room, and the peer must go.
    #[must_use]
    pub(super) fn pass(&mut self, peer: PeerId, channel: Channel, bytes: Vec<u8>) -> bool {
        let Some(message) = self.offer(FromWorker::Message(peer, channel, bytes)) else {
            return true;
        };
        if channel != Channel::Reliable {
            self.metrics.worker_messages_dropped.count();
            return true;
        }
        self.has_room() && {
            self.wait(message);
            true
        }
    }

    /// Passes a report on; those that only refresh a figure are the first to be dropped.
    pub(super) fn report(&mut self, report: Report) {
        let must_arrive = matches!(report, Report::LayerLive { .. } | Report::Bandwidth { .. });
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
            self.waiting_bytes -= len(&message);
            if let Some(message) = self.try_send(message) {
                self.waiting_bytes += len(&message);
                self.waiting.push_front(message);
                return true;
            }
        }
        false
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < UPWARD_MAX && self.waiting_bytes < UPWARD_BYTES_MAX
    }

    fn wait(&mut self, message: FromWorker) {
        self.waiting_bytes += len(&message);
        self.waiting.push_back(message);
    }

    /// Sends in turn, or gives the message back.
    fn offer(&self, message: FromWorker) -> Option<FromWorker> {
        if self.waiting.is_empty() { self.try_send(message) } else { Some(message) }
    }

    fn try_send(&self, message: FromWorker) -> Option<FromWorker> {
        match self.to_hub.try_send(ToHub::Worker(message)) {
            Err(TrySendError::Full(ToHub::Worker(message))) => Some(message),
            // A hub that is gone has nobody left to tell.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => None,
        }
    }
}

const fn len(message: &FromWorker) -> usize {
    match message {
        FromWorker::Message(_, _, bytes) => bytes.len(),
        FromWorker::Connected(_)
        | FromWorker::Closed(_)
        | FromWorker::ChannelOpen(..)
        | FromWorker::Report(_) => 0,
    }
}
