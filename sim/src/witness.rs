//! What must hold of every datagram that leaves, whoever loses it afterwards.
//!
//! Guarantees: a payload that left is the payload that came, the VP8 descriptor apart; it left to
//! somebody who receives that track; one (SSRC, index) never sealed two different things; the numbers of
//! a subscription have gaps only where packets had not arrived.

use std::collections::{BTreeMap, BTreeSet};

use model::{PeerId, SubscriptionId, TrackKind};
use rtp::rtx;
use rtp::srtp::{DtlsRole, SrtpError, SrtpReceiver};
use sfu::{Control, Instruction};

use crate::client::{RTX, VP8, keys};
use crate::media::{self, Name};
use crate::trace::hash;

/// How often the things happened that a run is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Media packets that left to receivers.
    pub forwarded: u64,
    /// The same, sent again over RTX.
    pub retransmitted: u64,
    /// Packets that crossed from worker to worker.
    pub relayed: u64,
    /// Datagrams that the network lost.
    pub lost: u64,
    /// Key frames that one worker asked of the other.
    pub keyframes_wanted: u64,
    /// Participants that came in.
    pub joined: u64,
    /// Changes of layer that a receiver saw.
    pub switches: u64,
}

/// A packet that left, as the witness remembers it.
#[derive(Clone, Copy)]
struct Left {
    name: Name,
    /// When it arrived at its worker.
    order: u64,
    /// When the first packet arrived since which the subscription ran without a break. Reordered
    /// packets that came before that one had nobody to go to.
    since: u64,
}

/// What left of one subscription.
#[derive(Default)]
struct Numbers {
    /// By outgoing sequence number.
    left: BTreeMap<u16, Left>,
    /// It was told something that stops it; the next packet may be a new beginning.
    is_interrupted: bool,
}

/// Sees everything that arrives at a worker and everything that leaves.
pub(crate) struct Witness {
    seed: u64,
    pub(crate) counts: Counts,
    /// Original payloads.
    published: BTreeMap<Name, Vec<u8>>,
    /// When a packet arrived at a worker first: there is one count for all.
    arrived: BTreeMap<(u8, Name), u64>,
    arrivals: u64,
    /// What a worker gave to the other.
    relayed: BTreeSet<Name>,
    /// What came from somebody muted. The other worker is not told of that: to it they are lost.
    silenced: BTreeSet<Name>,
    /// Who receives what under which SSRC; retransmissions have their own.
    receiving: BTreeMap<(PeerId, u32), SubscriptionId>,
    publishers: BTreeMap<PeerId, SrtpReceiver>,
    subscribers: BTreeMap<PeerId, SrtpReceiver>,
    sealed: BTreeMap<(PeerId, u32, u16), u64>,
    numbers: BTreeMap<SubscriptionId, Numbers>,
}

impl Witness {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            counts: Counts {
                forwarded: 0,
                retransmitted: 0,
                relayed: 0,
                lost: 0,
                keyframes_wanted: 0,
                joined: 0,
                switches: 0,
            },
            published: BTreeMap::new(),
            arrived: BTreeMap::new(),
            arrivals: 0,
            relayed: BTreeSet::new(),
            silenced: BTreeSet::new(),
            receiving: BTreeMap::new(),
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            sealed: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// A publisher sends a packet of its own.
    pub(crate) fn publishes(&mut self, peer: PeerId, datagram: &[u8]) {
        let seed = self.seed;
        let opener = self
            .publishers
            .entry(peer)
            .or_insert_with(|| SrtpReceiver::new(&keys(seed, peer), DtlsRole::Server));
        let mut bytes = datagram.to_vec();
        let opened = opener.unprotect_rtp(&mut bytes).expect("it was sealed with these keys");
        bytes.truncate(opened.packet_len());
        let payload = &bytes[opened.header.payload_range(&bytes).expect("a whole packet")];
        let name = media::name(payload).expect("it names itself");
        self.published.insert(name, payload.to_vec());
    }

    /// A packet arrives at a worker, from its publisher or from the other worker.
    pub(crate) fn arrives(&mut self, control: &Control, worker: u8, payload: &[u8]) {
        let Some(name) = media::name(payload) else { return };
        self.arrivals += 1;
        self.arrived.entry((worker, name)).or_insert(self.arrivals);
        if control.publication(name.track).is_some_and(|publication| publication.muted) {
            self.silenced.insert(name);
        }
    }

    /// A worker gives a packet to the other.
    pub(crate) fn relays(&mut self, payload: &[u8]) {
        self.counts.relayed += 1;
        self.relayed.extend(media::name(payload));
    }

    pub(crate) fn places(&mut self, peer: PeerId, ssrcs: [u32; 2], id: SubscriptionId) {
        for ssrc in ssrcs {
            self.receiving.insert((peer, ssrc), id);
        }
    }

    /// A worker is told something that may interrupt subscriptions.
    pub(crate) fn instructs(&mut self, instruction: &Instruction) {
        for (id, numbers) in &mut self.numbers {
            let newest = numbers.left.last_key_value();
            numbers.is_interrupted |= match instruction {
                Instruction::Limit { subscription, .. } => subscription == id,
                Instruction::MuteTrack { track, .. } => {
                    newest.is_some_and(|(_, left)| left.name.track == *track)
                }
                _ => false,
            };
        }
    }

    /// A datagram of RTP leaves for a peer.
    pub(crate) fn leaves(
        &mut self,
        control: &Control,
        peer: PeerId,
        datagram: &[u8],
    ) -> Result<(), String> {
        let sequence = u16::from_be_bytes([datagram[2], datagram[3]]);
        let ssrc = u32::from_be_bytes([datagram[8], datagram[9], datagram[10], datagram[11]]);
        let whole = hash(datagram);
        let before = self.sealed.insert((peer, ssrc, sequence), whole);
        if before.is_some_and(|before| before != whole) {
            return Err(format!("{peer:?}: number {sequence} of {ssrc} sealed two packets"));
        }
        let seed = self.seed;
        let opener = self
            .subscribers
            .entry(peer)
            .or_insert_with(|| SrtpReceiver::new(&keys(seed, peer), DtlsRole::Client));
        let mut bytes = datagram.to_vec();
        let opened = match opener.unprotect_rtp(&mut bytes) {
            Ok(opened) => opened,
            // The same packet again, byte for byte.
            Err(SrtpError::Replayed | SrtpError::TooOld) if before.is_some() => return Ok(()),
            Err(error) => return Err(format!("{peer:?}: {error}")),
        };
        bytes.truncate(opened.packet_len());
        let header = &opened.header;
        let range = header.payload_range(&bytes).map_err(|error| error.to_string())?;
        let mut payload = &bytes[range];
        let is_again = header.payload_type == RTX;
        if is_again {
            if payload.is_empty() {
                return Ok(());
            }
            (_, payload) = rtx::parse(payload).ok_or("a retransmission without its number")?;
        }
        let kind = if is_again || header.payload_type == VP8 {
            TrackKind::Video
        } else {
            TrackKind::Audio
        };
        let name = media::name(payload).ok_or("a payload that names nothing")?;
        let original = self.published.get(&name).ok_or("a payload that nobody sent")?;
        if media::unchangeable(kind, payload) != media::unchangeable(kind, original)
            || payload.len() != original.len()
        {
            return Err(format!("{peer:?}: the payload of {name:?} was changed"));
        }
        let id = self.receives(control, peer, ssrc, name, is_again)?;
        if is_again {
            self.counts.retransmitted += 1;
            return Ok(());
        }
        self.counts.forwarded += 1;
        self.continues(peer, id, sequence, name)
    }

    fn receives(
        &self,
        control: &Control,
        peer: PeerId,
        ssrc: u32,
        name: Name,
        is_again: bool,
    ) -> Result<SubscriptionId, String> {
        let stranger = || format!("{peer:?} got {name:?} under {ssrc} and does not receive it");
        let id = *self.receiving.get(&(peer, ssrc)).ok_or_else(stranger)?;
        let subscription = control.subscription(id).ok_or_else(stranger)?;
        let publication = control.publication(name.track).ok_or_else(stranger)?;
        let participant = control.participant(peer).ok_or_else(stranger)?;
        let is_right = subscription.peer == peer
            && subscription.track == name.track
            && publication.room == participant.room
            && publication.peer != peer
            // What left before its publisher muted may be repaired, and be on the way to another worker.
            && (is_again || peer.worker != publication.peer.worker || !publication.muted);
        if is_right { Ok(id) } else { Err(stranger()) }
    }

    /// Its number stands beside those of its neighbours as its own number did beside theirs.
    fn continues(
        &mut self,
        peer: PeerId,
        id: SubscriptionId,
        sequence: u16,
        name: Name,
    ) -> Result<(), String> {
        let worker = peer.worker.0;
        let unseen = || format!("{name:?} left before it came");
        let order = *self.arrived.get(&(worker, name)).ok_or_else(unseen)?;
        let numbers = self.numbers.entry(id).or_default();
        let before = numbers.left.range(..sequence).next_back().map(|(at, left)| (*at, *left));
        let after = numbers.left.range(sequence + 1..).next().map(|(at, left)| (*at, *left));
        let since = match (before, after) {
            (Some((_, before)), None) => {
                let is_switch = before.name.layer != name.layer;
                self.counts.switches += u64::from(is_switch);
                if is_switch || std::mem::take(&mut numbers.is_interrupted) {
                    order
                } else {
                    before.since
                }
            }
            (_, Some((_, after))) if after.name.layer == name.layer => after.since,
            (Some((_, neighbour)), _) | (_, Some((_, neighbour))) => neighbour.since,
            (None, None) => order,
        };
        let here = Left { name, order, since };
        numbers.left.insert(sequence, here);
        let pairs = [
            before.map(|before| (before, (sequence, here))),
            after.map(|after| ((sequence, here), after)),
        ];
        for ((low, first), (high, second)) in pairs.into_iter().flatten() {
            let gap = u64::from(high - low - 1);
            let lost = if first.name.layer == second.name.layer {
                (first.name.index + 1..second.name.index)
                    .filter(|&index| {
                        let between = Name { index, ..first.name };
                        match self.arrived.get(&(worker, between)) {
                            Some(&came) => came > second.order || came < second.since,
                            // It may still be on the way from worker to worker, where nothing is lost.
                            None => {
                                let came = self.arrived.get(&(1 - worker, between));
                                self.relayed.contains(&between)
                                    || self.silenced.contains(&between)
                                    || came.is_none_or(|&came| came < second.since)
                            }
                        }
                    })
                    .count() as u64
            } else {
                0
            };
            if gap > lost {
                return Err(format!(
                    "{peer:?} {id:?}: a gap of {gap} before {high}, with {lost} packets lost \
                     between {:?} and {:?}",
                    first.name, second.name
                ));
            }
        }
        Ok(())
    }
}
