//! What happens: people come, publish, mute, choose, go; packets cross a network; workers turn.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use model::{
    ALIAS_LEN, Alias, Encryption, Identity, Path, PeerId, Quality, RoomName, Share, SubscriptionId,
    Timestamp, TrackId, TrackKind, TrackSource, WorkerId,
};
use rtp::srtp::{DtlsRole, SrtpReceiver};
use sfu::control::{
    Announcement, Coming, Config, DepartureReason, Input, Join, Media, Output, Permission, Profile,
    RoomSettings, Settings, Size, Sources, VideoLayer, Visibility, Want,
};
use sfu::forward::{Egress, Outside, RelayedPacket};
use sfu::{Control, Forward, Instruction};

use crate::client::{Client, Published, extensions, formats, keys, placement};
use crate::random::Random;
use crate::trace::{Trace, hash};
use crate::witness::{Counts, Witness};

const WORKERS: u8 = 2;
const ROOMS: [&str; 3] = ["red", "green", "blue"];
/// Participants of one room at most.
const ROOM_MAX: usize = 5;
const STEP: Duration = Duration::from_millis(5);
const LOSS_PERCENT: u64 = 4;
/// Milliseconds on the way; their spread is what reorders.
const DELAY: std::ops::Range<u64> = 8..30;
/// Above the ports of a machine's own use.
const FIRST_PORT: u32 = 2000;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// All that happened.
    pub trace: Trace,
    /// How often the things happened that a run is for.
    pub counts: Counts,
    /// The invariant that was broken and when, if one was.
    pub broken: Option<String>,
}

/// Something under way.
enum Parcel {
    ToClient(PeerId, Vec<u8>),
    ToNode(PeerId, Vec<u8>),
    Relayed(WorkerId, RelayedPacket, Vec<u8>),
    Keyframe(WorkerId, TrackId, u8),
}

/// What a Forward did during one call.
#[derive(Default)]
struct Outlet {
    sent: Vec<(u16, Vec<u8>)>,
    relayed: Vec<(WorkerId, RelayedPacket, Vec<u8>)>,
    keyframes: Vec<(WorkerId, TrackId, u8)>,
}

impl Outside for Outlet {
    fn send(&mut self, egress: &Egress) {
        for train in egress.trains() {
            let bytes = &egress.buffer()[train.start..train.start + train.len];
            for datagram in bytes.chunks(train.segment.into()) {
                self.sent.push((train.path.remote.port(), datagram.to_vec()));
            }
        }
    }

    fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool {
        self.relayed.push((to, *packet, payload.to_vec()));
        true
    }

    fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8) {
        self.keyframes.push((from, track, spatial));
    }
}

struct World {
    seed: u64,
    random: Random,
    now: Timestamp,
    control: Control,
    forwards: Vec<Forward<Vec<u8>>>,
    outlet: Outlet,
    clients: BTreeMap<PeerId, Client>,
    /// Where datagrams to a port go; ports are never used again.
    ports: BTreeMap<u16, PeerId>,
    /// Opens what publishers send, as their workers do.
    openers: BTreeMap<PeerId, SrtpReceiver>,
    /// By arrival, then by departure.
    parcels: BTreeMap<(Timestamp, u64), Parcel>,
    parcels_made: u64,
    trace: Trace,
    witness: Witness,
    broken: Option<String>,
}

/// Plays `seed` for `time` of its own. The text of the trace is kept if `keeps_text`.
#[must_use]
pub fn run(seed: u64, time: Duration, keeps_text: bool) -> Ended {
    let mut world = World::new(seed, keeps_text);
    let end = world.now + time;
    let mut steps = 0u64;
    while world.now < end && world.broken.is_none() {
        world.step(steps);
        steps += 1;
    }
    let World { trace, witness, broken, now, .. } = world;
    let broken = broken.map(|broken| format!("after {} ms: {broken}", now.as_millis()));
    Ended { trace, counts: witness.counts, broken }
}

impl World {
    fn new(seed: u64, keeps_text: bool) -> Self {
        let config = Config {
            workers: WORKERS,
            // Small enough that every room is on both workers.
            spill_at: 2,
            busy_max: Share::ALL,
            participants_max: 100,
            room_participants_max: ROOM_MAX,
            room_participants: ROOM_MAX,
            join_within: Duration::from_secs(5),
            empty: Duration::from_secs(300),
            departure: Duration::from_secs(2),
        };
        let forward = |worker: u8| {
            Forward::new(WorkerId(worker), |len| Some(vec![0; len]), seed ^ u64::from(worker))
        };
        Self {
            seed,
            random: Random::new(seed),
            now: Timestamp::from_millis(1000),
            control: Control::new(config, seed),
            forwards: (0..WORKERS).map(forward).collect(),
            outlet: Outlet::default(),
            clients: BTreeMap::new(),
            ports: BTreeMap::new(),
            openers: BTreeMap::new(),
            parcels: BTreeMap::new(),
            parcels_made: 0,
            trace: Trace::new(keeps_text),
            witness: Witness::new(seed),
            broken: None,
        }
    }

    fn step(&mut self, number: u64) {
        self.now += STEP;
        self.deliver();
        for worker in 0..self.forwards.len() {
            let forward = &mut self.forwards[worker];
            forward.flush(self.now, &mut self.outlet);
            if forward.next_timeout() <= self.now {
                forward.handle_timeout(self.now, &mut self.outlet);
            }
            self.carry(worker);
        }
        self.send_media(number);
        if number.is_multiple_of(8) {
            self.act();
        }
        self.answer();
        if self.control.next_timeout().is_some_and(|at| at <= self.now) {
            self.tell(Input::Timeout);
        }
        for worker in 0..self.forwards.len() {
            while let Some(report) = self.forwards[worker].poll_report() {
                self.tell(Input::Report(report));
            }
        }
    }

    fn post(&mut self, delay: Duration, parcel: Parcel) {
        self.parcels.insert((self.now + delay, self.parcels_made), parcel);
        self.parcels_made += 1;
    }

    /// Over the network: late, or never.
    fn mail(&mut self, parcel: Parcel) {
        if self.random.happens(LOSS_PERCENT) {
            self.witness.counts.lost += 1;
            return;
        }
        let delay = Duration::from_millis(self.random.within(DELAY));
        self.post(delay, parcel);
    }

    /// What a Forward did goes on its way; the witness looks at it first.
    fn carry(&mut self, worker: usize) {
        let Outlet { sent, relayed, keyframes } = std::mem::take(&mut self.outlet);
        for (port, datagram) in sent {
            let peer = self.ports[&port];
            self.trace.note(self.now, format_args!("out {peer:?} {:016x}", hash(&datagram)));
            if !(192..=223).contains(&datagram[1])
                && let Err(broken) = self.witness.leaves(&self.control, peer, &datagram)
            {
                self.broken.get_or_insert(broken);
            }
            self.mail(Parcel::ToClient(peer, datagram));
        }
        // Between workers nothing is lost and nothing overtakes.
        for (to, packet, payload) in relayed {
            self.trace.note(
                self.now,
                format_args!("relay {worker} {to:?} {packet:?} {:016x}", hash(&payload)),
            );
            self.witness.relays(&payload);
            self.post(STEP, Parcel::Relayed(to, packet, payload));
        }
        for (from, track, spatial) in keyframes {
            self.trace.note(self.now, format_args!("key {worker} {from:?} {track:?} {spatial}"));
            self.witness.counts.keyframes_wanted += 1;
            self.post(STEP, Parcel::Keyframe(from, track, spatial));
        }
    }

    fn deliver(&mut self) {
        while let Some(parcel) = self.parcels.first_entry() {
            if parcel.key().0 > self.now {
                return;
            }
            match parcel.remove() {
                Parcel::ToClient(peer, mut bytes) => {
                    let Some(client) = self.clients.get_mut(&peer) else { continue };
                    for answer in client.receive(self.now, &mut bytes) {
                        self.mail(Parcel::ToNode(peer, answer));
                    }
                }
                Parcel::ToNode(peer, bytes) => self.arrive(peer, &bytes),
                Parcel::Relayed(to, packet, payload) => {
                    self.witness.arrives(&self.control, to.0, &payload);
                    self.forwards[usize::from(to.0)].relayed(self.now, &packet, &payload);
                }
                Parcel::Keyframe(from, track, spatial) => {
                    let forward = &mut self.forwards[usize::from(from.0)];
                    forward.keyframe_wanted(track, spatial);
                }
            }
        }
    }

    fn arrive(&mut self, peer: PeerId, bytes: &[u8]) {
        let worker = usize::from(peer.worker.0);
        let Some(slot) = self.forwards[worker].slot(peer) else { return };
        if !(192..=223).contains(&bytes[1])
            && let Some(opener) = self.openers.get_mut(&peer)
        {
            let mut opened = bytes.to_vec();
            if let Ok(unprotected) = opener.unprotect_rtp(&mut opened) {
                opened.truncate(unprotected.packet_len());
                let range = unprotected.header.payload_range(&opened).expect("a whole packet");
                self.witness.arrives(&self.control, peer.worker.0, &opened[range]);
            }
        }
        self.forwards[worker].ingest(self.now, slot, bytes, &mut self.outlet);
        self.carry(worker);
    }

    fn send_media(&mut self, number: u64) {
        let peers: Vec<PeerId> = self.clients.keys().copied().collect();
        for peer in peers {
            let Some(client) = self.clients.get_mut(&peer) else { continue };
            let phase = number + u64::from(peer.index);
            let mut datagrams = Vec::new();
            if phase.is_multiple_of(4) {
                datagrams.extend(client.publish(TrackKind::Audio, &mut self.random));
            }
            if phase.is_multiple_of(8) {
                datagrams.extend(client.publish(TrackKind::Video, &mut self.random));
            }
            for datagram in &datagrams {
                self.witness.publishes(peer, datagram);
            }
            if phase.is_multiple_of(4) {
                datagrams.extend(client.complain(self.now));
            }
            for datagram in datagrams {
                self.mail(Parcel::ToNode(peer, datagram));
            }
        }
    }

    fn tell(&mut self, input: Input) {
        self.trace.note(self.now, format_args!("in {input:?}"));
        self.control.handle(self.now, input);
        self.settle();
    }

    /// Does what Control wants done.
    fn settle(&mut self) {
        while let Some(output) = self.control.poll() {
            self.trace.note(self.now, format_args!("do {output:?}"));
            match output {
                Output::Instruct(worker, instruction) => {
                    let worker = usize::from(worker.0);
                    self.witness.instructs(&instruction);
                    self.forwards[worker].instruct(self.now, instruction, &mut self.outlet);
                    self.carry(worker);
                }
                Output::Departed(departure) => {
                    self.clients.remove(&departure.peer);
                }
                Output::Wanted(subscription) => {
                    // The client's next offer has a section for it.
                    let due = self.now + Duration::from_millis(self.random.within(20..80));
                    let peer = self.control.subscription(subscription).map(|held| held.peer);
                    if let Some(client) = peer.and_then(|peer| self.clients.get_mut(&peer)) {
                        client.wanted.push((due, subscription));
                    }
                }
                _ => {}
            }
        }
    }

    /// Clients answer: their subscriptions have sections.
    fn answer(&mut self) {
        let now = self.now;
        let mut due: Vec<(PeerId, SubscriptionId)> = Vec::new();
        for client in self.clients.values_mut() {
            let ready = client.wanted.extract_if(.., |(at, _)| *at <= now);
            due.extend(ready.map(|(_, subscription)| (client.peer, subscription)));
        }
        for (peer, subscription) in due {
            let track = self.control.subscription(subscription).map(|held| held.track);
            let Some(track) = track.and_then(|track| self.control.publication(track)) else {
                continue;
            };
            let placement = placement(track.kind, track.track);
            self.witness.places(peer, [placement.ssrc, placement.rtx_ssrc], subscription);
            self.tell(Input::Placed(subscription, placement));
        }
    }

    /// Somebody does something.
    fn act(&mut self) {
        let everybody: Vec<PeerId> = self.clients.keys().copied().collect();
        let Some(peer) = self.random.one_of(&everybody) else { return self.join() };
        match self.random.below(20) {
            0..=4 => self.join(),
            5 if self.random.happens(40) => {
                self.tell(Input::Depart(peer, DepartureReason::Left));
            }
            6..=9 => self.publish(peer),
            10 if self.random.happens(50) => {
                if let Some(track) = self.own_track(peer) {
                    self.clients.get_mut(&peer).and_then(|client| client.tracks.remove(&track));
                    self.tell(Input::Ended { peer, track });
                }
            }
            11..=13 => self.mute(peer),
            14..=15 => {
                if let Some(track) = self.other_track(peer) {
                    let wanted = self.random.happens(60);
                    self.tell(Input::Wish { peer, track, wanted });
                }
            }
            16..=18 => {
                if let Some(track) = self.other_track(peer) {
                    let want = match self.random.below(5) {
                        0 => Want::Nothing,
                        1 => Want::Quality(Quality::Low),
                        2 => Want::Quality(Quality::Medium),
                        3 => Want::Size(Size { width: 320, height: 180 }),
                        _ => Want::Quality(Quality::High),
                    };
                    let settings = Settings { want, fps: 0 };
                    self.tell(Input::Settings { peer, track, settings });
                }
            }
            _ => {}
        }
    }

    fn join(&mut self) {
        let room = self.random.one_of(&ROOMS).expect("there are rooms");
        // Sometimes somebody who is there already: the elder one must go.
        let identity = format!("{room}-{}", self.random.below(ROOM_MAX as u64 + 1));
        let join = Join {
            room: RoomName::new(room),
            identity: Identity::new(&identity),
            alias: Alias([0; ALIAS_LEN]),
            profile: Profile::default(),
            permission: Permission {
                subscribe: true,
                publish: Sources::Any,
                publish_data: true,
                update_profile: true,
            },
            visibility: Visibility::Visible,
            auto_subscribe: true,
            adaptive_stream: false,
            may_create_room: true,
            coming: Coming::New,
            room_settings: RoomSettings::default(),
        };
        self.trace.note(self.now, format_args!("join {identity}"));
        let joined = self.control.join(self.now, join);
        let room = joined.as_ref().ok().and_then(|peer| self.control.participant(*peer));
        let room = room.map(|participant| participant.room);
        let (Ok(peer), Some(room)) = (joined, room) else { return self.settle() };
        let port = u16::try_from(FIRST_PORT + peer.index).expect("fewer joins than ports");
        self.ports.insert(port, peer);
        self.clients.insert(peer, Client::new(self.seed, peer, room));
        self.witness.counts.joined += 1;
        self.settle();
        let keys = keys(self.seed, peer);
        let opener = SrtpReceiver::new(&keys, DtlsRole::Server);
        self.openers.insert(peer, opener);
        let forward = &mut self.forwards[usize::from(peer.worker.0)];
        forward.set_keys(peer, &keys);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        forward.set_destination(peer, Path::udp(address(7000), address(port)));
        let receive =
            Instruction::SetReceive { peer, formats: formats(), extensions: extensions() };
        forward.instruct(self.now, receive, &mut self.outlet);
        self.tell(Input::Offered(peer));
        self.tell(Input::Connected(peer));
    }

    fn publish(&mut self, peer: PeerId) {
        let is_video = self.random.happens(50);
        let kind = if is_video { TrackKind::Video } else { TrackKind::Audio };
        let Some(client) = self.clients.get(&peer) else { return };
        if client.tracks.values().any(|track| track.kind == kind) {
            return;
        }
        let layer =
            |quality, height| VideoLayer { quality, size: Size { width: height * 2, height } };
        let size = Size { width: 1280, height: 720 };
        let announcement = Announcement {
            cid: format!("{}", self.random.next()).into(),
            kind,
            source: if is_video { TrackSource::Camera } else { TrackSource::Microphone },
            encryption: Encryption::Gcm,
            muted: false,
            size: if is_video { size } else { Size::default() },
            layers: if is_video {
                let qualities = [Quality::Low, Quality::Medium, Quality::High];
                qualities
                    .into_iter()
                    .zip([180, 360, 720])
                    .map(|(q, height)| layer(q, height))
                    .collect()
            } else {
                Vec::new()
            },
        };
        self.trace.note(self.now, format_args!("publish {peer:?} {announcement:?}"));
        let Ok(track) = self.control.publish(peer, announcement) else { return };
        let mut published = Published::new(kind, track, &mut self.random);
        published.is_live = true;
        let placement = placement(kind, track);
        let media = Media {
            mid: published.mid.clone(),
            codec: placement.codec,
            streams: published.streams(),
        };
        if let Some(client) = self.clients.get_mut(&peer) {
            client.tracks.insert(track, published);
        }
        self.tell(Input::Started { peer, track, media });
    }

    fn mute(&mut self, peer: PeerId) {
        let Some(track) = self.own_track(peer) else { return };
        let published =
            self.clients.get_mut(&peer).and_then(|client| client.tracks.get_mut(&track));
        if let Some(published) = published {
            published.muted = !published.muted;
            let muted = published.muted;
            self.tell(Input::Mute { peer, track, muted });
        }
    }

    fn own_track(&mut self, peer: PeerId) -> Option<TrackId> {
        let tracks: Vec<TrackId> = self.clients.get(&peer)?.tracks.keys().copied().collect();
        self.random.one_of(&tracks)
    }

    fn other_track(&mut self, peer: PeerId) -> Option<TrackId> {
        let room = self.clients.get(&peer)?.room;
        let others = self.clients.values().filter(|other| other.peer != peer && other.room == room);
        let tracks: Vec<TrackId> = others.flat_map(|other| other.tracks.keys().copied()).collect();
        self.random.one_of(&tracks)
    }
}
