//! From worker to worker: datagrams for another's peer, packets for another's subscribers.
//!
//! Owns: one single-producer ring for each ordered pair of workers.
//! Guarantees: sending never blocks and never allocates; a full ring drops and counts; a slot whose
//! packet was taken holds no opened payload.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{TrackId, WorkerId};
use rtrb::{Consumer, Producer, RingBuffer};
use sfu::forward::RelayedPacket;

use super::bell::Bell;
use crate::limits::{HOP_BYTES_MAX, HOPS_MAX, HOPS_MIN, HOPS_TOTAL};
use crate::metrics::Metrics;

/// Bytes by value, so that a ring is one piece of memory.
pub(super) struct HopBytes {
    len: u16,
    bytes: [u8; HOP_BYTES_MAX],
}

impl HopBytes {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut hop = Self { len: u16::try_from(bytes.len()).ok()?, bytes: [0; HOP_BYTES_MAX] };
        hop.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(hop)
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Shows the next hop to `land`, which must not panic, then wipes it. `false`: there is none.
pub(super) fn take(ring: &mut Consumer<Hop>, land: impl FnOnce(&Hop)) -> bool {
    let Ok(mut chunk) = ring.read_chunk(1) else { return false };
    let (slots, _) = chunk.as_mut_slices();
    if let Some(hop) = slots.first_mut() {
        land(hop);
        hop.wipe();
    }
    chunk.commit_all();
    true
}

/// What one worker gives another.
pub(super) enum Hop {
    /// Arrived at the wrong socket.
    Datagram { remote: SocketAddr, local: SocketAddr, bytes: HopBytes },
    /// Of a track with subscribers there.
    Relayed(RelayedPacket, HopBytes),
    /// To the publisher's worker.
    KeyframeWanted(TrackId, u8),
}

impl Hop {
    /// Overwrites what is not sealed. Datagrams are as they came.
    fn wipe(&mut self) {
        if let Self::Relayed(_, payload) = self {
            payload.bytes.fill(0);
        }
    }
}

struct Lane {
    ring: Producer<Hop>,
    bell: Arc<Bell>,
    /// Pushed since the bell was last rung.
    is_waiting: bool,
}

/// The ways from one worker to all others.
pub(super) struct Hops {
    /// By worker; `None` to itself.
    lanes: Vec<Option<Lane>>,
    metrics: Arc<Metrics>,
}

impl Hops {
    /// For each worker its ways out and the rings that it reads.
    pub(super) fn between(
        bells: &[Arc<Bell>],
        metrics: &Arc<Metrics>,
    ) -> Vec<(Self, Vec<Consumer<Hop>>)> {
        let capacity = (HOPS_TOTAL / bells.len().pow(2).max(1)).clamp(HOPS_MIN, HOPS_MAX);
        let mut arrivals: Vec<Vec<Consumer<Hop>>> = bells.iter().map(|_| Vec::new()).collect();
        let mut all = Vec::new();
        for from in 0..bells.len() {
            let mut lanes = Vec::new();
            for (to, (bell, arrivals)) in bells.iter().zip(&mut arrivals).enumerate() {
                lanes.push((from != to).then(|| {
                    let (ring, consumer) = RingBuffer::new(capacity);
                    arrivals.push(consumer);
                    Lane { ring, bell: Arc::clone(bell), is_waiting: false }
                }));
            }
            all.push(Self { lanes, metrics: Arc::clone(metrics) });
        }
        all.into_iter().zip(arrivals).collect()
    }

    fn push(&mut self, to: WorkerId, hop: Option<Hop>) {
        let lane = self.lanes.get_mut(usize::from(to.0)).and_then(Option::as_mut);
        if let (Some(lane), Some(hop)) = (lane, hop)
            && lane.ring.push(hop).is_ok()
        {
            lane.is_waiting = true;
            self.metrics.hops_made.count();
        } else {
            self.metrics.hops_dropped.count();
        }
    }

    /// Hands a datagram over.
    pub(super) fn datagram(
        &mut self,
        to: WorkerId,
        remote: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
    ) {
        let bytes = HopBytes::new(datagram);
        self.push(to, bytes.map(|bytes| Hop::Datagram { remote, local, bytes }));
    }

    /// Copies a packet to a worker with subscribers.
    pub(super) fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) {
        self.push(to, HopBytes::new(payload).map(|bytes| Hop::Relayed(*packet, bytes)));
    }

    /// Asks the publisher's worker for a key frame.
    pub(super) fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8) {
        self.push(from, Some(Hop::KeyframeWanted(track, spatial)));
    }

    /// Wakes everybody who was given something.
    pub(super) fn ring(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            if std::mem::take(&mut lane.is_waiting) {
                lane.bell.ring();
            }
        }
    }
}
