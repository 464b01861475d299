//! Data packets: from one participant's channel to the others'.

use std::collections::BTreeMap;

use model::{CallContent, Identity, ParticipantSid, PeerId, RoomId, Sid as _, Timestamp};
use wire::data::{self, Delivery, Packet, Route, Sender};

use super::replay::Sent;
use super::{Hub, Timer};
use crate::limits::{NONCES_MAX, SYNC_SENDERS_MAX};
use crate::worker::{Channel, ToWorker};

impl Hub {
    /// What came at `since`, or a little later.
    pub(super) fn data(&mut self, peer: PeerId, channel: Channel, since: Timestamp, bytes: &[u8]) {
        let delivery = match channel {
            Channel::Reliable => Delivery::Reliable,
            Channel::Lossy => Delivery::Lossy,
            // Data tracks are announced by requests that are not served.
            Channel::DataTrack => return self.metrics.data_refused.count(),
        };
        if self.pass_on(peer, delivery, since, bytes).is_none() {
            self.metrics.data_refused.count();
        }
    }

    /// `None` if the packet does not pass.
    fn pass_on(
        &mut self,
        peer: PeerId,
        delivery: Delivery,
        since: Timestamp,
        bytes: &[u8],
    ) -> Option<()> {
        let participant = self.control.participant(peer)?;
        let seat = self.seats.get_mut(&peer)?;
        if !participant.permission.publish_data {
            return None;
        }
        let sender = Sender {
            sid: &participant.sid,
            identity: &participant.identity,
            hidden: !participant.is_visible(),
            agent: seat.permission.agent,
        };
        let packet = data::receive(bytes, delivery, sender).ok()?;
        let named = u32::try_from(packet.audience.named()).unwrap_or(u32::MAX);
        if !seat.names.take(self.now, named) {
            return None;
        }
        if !seat.order.accept(packet.sequence) {
            return None;
        }
        let room = participant.room;
        let sent = Sent {
            // The worker may have begun its turn later.
            at: since.min(self.now),
            passed: self.now,
            from: participant.sid.clone(),
            sequence: packet.sequence,
            on_behalf_of: packet.on_behalf_of,
            audience: packet.audience,
            content: CallContent::new(packet.bytes.into()),
        };
        self.deliver(room, delivery, packet.route, sent);
        Some(())
    }

    /// Sends a back end's packet to whom it is for, unless it has been sent: back ends ask again when they do
    /// not know.
    pub(super) fn broadcast(&mut self, room: RoomId, delivery: Delivery, packet: Packet) {
        let Some(gathering) = self.gatherings.get_mut(&room) else {
            return;
        };
        if !packet.nonce.is_empty() {
            if gathering.nonces.contains(&packet.nonce) {
                return self.metrics.data_refused.count();
            }
            gathering.nonces.push_back(packet.nonce);
            while gathering.nonces.len() > NONCES_MAX {
                gathering.nonces.pop_front();
            }
        }
        let sent = Sent {
            at: self.now,
            passed: self.now,
            from: ParticipantSid::from_wire(""),
            sequence: packet.sequence,
            on_behalf_of: None,
            audience: packet.audience,
            content: CallContent::new(packet.bytes.into()),
        };
        self.deliver(room, delivery, packet.route, sent);
    }

    /// Sends a packet to those in the room that it is for, and keeps it for them in case they come back.
    fn deliver(&mut self, room: RoomId, delivery: Delivery, route: Route, sent: Sent) {
        let channel = match delivery {
            Delivery::Reliable => Channel::Reliable,
            Delivery::Lossy => Channel::Lossy,
        };
        // What is for nobody here, or in the name of nobody here, would keep the name of somebody who left.
        let mut is_for_somebody = false;
        let mut is_of_somebody = sent.on_behalf_of.is_none();
        for other in self.control.participants(room) {
            let Some(seat) = self.seats.get(&other.peer) else {
                continue;
            };
            let receives = match route {
                Route::Audience => sent.is_for(&other.identity, &other.sid),
                Route::Metrics => seat.permission.subscribe_metrics,
            };
            is_for_somebody |= receives;
            is_of_somebody |= sent.on_behalf_of.as_ref() == Some(&other.identity);
            // Whoever's channel is not open yet gets it from the replay when it is.
            if receives && (delivery == Delivery::Lossy || seat.is_reliable) {
                self.metrics.data_forwarded.count();
                let message = sent.content.clone();
                let send = ToWorker::Send { peer: other.peer, channel, since: sent.at, message };
                (self.to_worker)(other.peer.worker, send);
            }
        }
        if delivery == Delivery::Reliable
            && route == Route::Audience
            && is_for_somebody
            && is_of_somebody
            && let Some(gathering) = self.gatherings.get_mut(&room)
        {
            gathering.replay.push(sent);
            self.time_replay(room);
        }
    }

    /// A participant left the room: what it said there goes soon.
    pub(super) fn forget_words(&mut self, room: RoomId, sid: ParticipantSid, identity: Identity) {
        if let Some(gathering) = self.gatherings.get_mut(&room) {
            gathering.replay.see_off(self.now, sid, identity);
            self.time_replay(room);
        }
    }

    /// Something in a room's replay has been kept long enough, whether or not anything happens there.
    pub(super) fn forget_packets(&mut self, room: RoomId) {
        let Some(gathering) = self.gatherings.get_mut(&room) else {
            return;
        };
        gathering.replay_at = None;
        let (control, seats) = (&self.control, &self.seats);
        gathering.replay.forget(self.now, |identity| {
            let back = control.room(room)?.participants.get(identity)?;
            seats.get(back).map(|seat| seat.joined)
        });
        self.time_replay(room);
    }

    /// Wakes the hub when something in a room's replay is due, which may be sooner than it was.
    fn time_replay(&mut self, room: RoomId) {
        let Some(gathering) = self.gatherings.get_mut(&room) else {
            return;
        };
        let due = gathering.replay.due();
        let is_sooner = due.is_some_and(|due| gathering.replay_at.is_none_or(|at| due < at));
        if let Some(due) = due.filter(|_| is_sooner) {
            gathering.replay_at = Some(due);
            self.timers.set(due, Timer::Forget(room));
        }
    }

    /// The participant's reliable channel is open: it gets what was sent since it joined.
    pub(super) fn open_reliable(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if std::mem::replace(&mut seat.is_reliable, true) {
            return;
        }
        self.replay(peer, |_| true);
    }

    /// The participant missed packets: for each sender it names the last sequence that it has.
    pub(super) fn replay_missed(
        &mut self,
        peer: PeerId,
        states: &[wire::proto::DataChannelReceiveState],
    ) {
        let states = states.iter().take(SYNC_SENDERS_MAX);
        let last: BTreeMap<&str, u32> =
            states.map(|state| (state.publisher_sid.as_str(), state.last_seq)).collect();
        self.replay(peer, |sent| {
            last.get(sent.from.as_str()).is_some_and(|last| sent.sequence > *last)
        });
    }

    /// Nobody hears what was said before it joined, whatever its client says that it has missed.
    fn replay(&mut self, peer: PeerId, missed: impl Fn(&Sent) -> bool) {
        let Some(participant) = self.control.participant(peer) else {
            return;
        };
        let Some(joined) = self.seats.get(&peer).map(|seat| seat.joined) else {
            return;
        };
        let Some(gathering) = self.gatherings.get_mut(&participant.room) else {
            return;
        };
        for sent in gathering.replay.iter(self.now) {
            let is_its = sent.is_for(&participant.identity, &participant.sid);
            if sent.passed >= joined && is_its && missed(sent) {
                let message = sent.content.clone();
                let (channel, since) = (Channel::Reliable, sent.at);
                let send = ToWorker::Send { peer, channel, since, message };
                (self.to_worker)(peer.worker, send);
            }
        }
    }
}
