//! Decides who receives what: rooms, participants, publications, subscriptions, permissions.
//!
//! Owns: [`Control`], one per node. It is asked ([`Control::join`], [`Control::publish`],
//! [`Control::update_profile`], [`Control::change_profile`], [`Control::open`]) where somebody waits for yes or no,
//! told ([`Control::handle`]) of everything else, and drained with [`Control::poll`] after each call.
//! Guarantees: the same seed and inputs give the same outputs; a participant's version only grows;
//! whatever concerns a participant that is gone, or never was, has no effect.
//! Not here: LiveKit's messages and sessions (`edge`), SDP (`wire`), packets (`forward`).
//! Source: LiveKit `pkg/rtc/room.go`, `participant.go`, `subscriptionmanager.go`.

mod allowance;
mod capacity;
mod census;
mod dynacast;
mod entropy;
mod participant;
mod presence;
mod publication;
mod publishing;
mod quality;
mod room;
mod speaker;
mod subscription;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, AllowanceEntry, Allowed, Receiver, TooManyAllowed, Tracks};
pub use census::{Census, PerKind};
pub use participant::{
    Coming, DepartureReason, Join, Participant, Permission, Profile, ProfileChange, Sources, State,
    Visibility,
};
pub use publication::{Announcement, Media, Publication, Size, VideoLayer};
pub use quality::{ConnectionQuality, Score};
pub use room::{Room, RoomMetadata, RoomSettings};
pub use speaker::Speaker;
pub use subscription::{Placement, Settings, Subscription, Want};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use model::{
    Identity, ParticipantSid, PeerId, Quality, RoomId, RoomName, Share, SubscriptionId, Timestamp,
    TrackId, TrackSid, WorkerId,
};

use crate::{Instruction, Report};
use capacity::Capacity;
use entropy::Entropy;

/// What Control is built with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Media workers, at least one; named from 0.
    pub workers: u8,
    /// Participants of one room on one worker before the room spreads to another.
    pub spill_at: usize,
    /// Of its time that a worker may be busy and still take newcomers.
    pub busy_max: Share,
    /// Participants on this node.
    pub participants_max: usize,
    /// Participants in a room.
    pub room_participants_max: usize,
    /// Participants in a room that says nothing else: no more than that.
    pub room_participants: usize,
    /// From joining to active.
    pub join_within: Duration,
    /// How long a room that says nothing else waits for its first participant.
    pub empty: Duration,
    /// How long a room that says nothing else outlives its last participant.
    pub departure: Duration,
}

/// What Control is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A timer of [`Control::next_timeout`] may have run out.
    Timeout,
    /// The participant's offer was taken.
    Offered(PeerId),
    /// Its peer is connected.
    Connected(PeerId),
    /// It goes, or must go.
    Depart(PeerId, DepartureReason),
    /// The media of an announced track is negotiated, or differently negotiated.
    Started {
        /// Whose.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// How it arrives.
        media: Media,
    },
    /// A track is no longer published.
    Ended {
        /// Whose.
        peer: PeerId,
        /// Which.
        track: TrackId,
    },
    /// The publisher mutes or unmutes.
    Mute {
        /// Whose.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// Muted?
        muted: bool,
    },
    /// The publisher's picture has another size.
    Resize {
        /// Whose.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// The largest layer's size.
        size: Size,
    },
    /// Something of a track that only clients understand has changed: others are told.
    Touch(PeerId),
    /// The section of an announced track came with no format that could be received.
    Unusable {
        /// Whose.
        peer: PeerId,
        /// Which.
        track: TrackId,
    },
    /// The participant wants a track or does not.
    Wish {
        /// Who.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// Wants it?
        wanted: bool,
    },
    /// The same, as the network decides for it until it says something else itself.
    WishFor {
        /// For whom.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// Is it to have it?
        wanted: bool,
    },
    /// What it wants of a track.
    Settings {
        /// Who.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// That.
        settings: Settings,
    },
    /// Who may receive its tracks.
    Allow(PeerId, Allowance),
    /// What it may do from now on.
    Permit(PeerId, Permission),
    /// Whether others learn of it from now on.
    Show(PeerId, Visibility),
    /// The network mutes a track; its publisher is told, and may unmute it.
    MuteFor(TrackId),
    /// What the application says of a room.
    Describe(RoomId, RoomMetadata),
    /// The network closes a room and puts everybody out.
    Close(RoomId),
    /// A subscription got a section.
    Placed(SubscriptionId, Placement),
    /// A subscription lost its section.
    Displaced(SubscriptionId),
    /// How much of its time a worker has been busy, over the last second or so.
    Busy(WorkerId, Share),
    /// From a worker.
    Report(Report),
}

/// What Control wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// For the Forward of a worker.
    Instruct(WorkerId, Instruction),
    /// What others can see of a participant has changed.
    ParticipantChanged(PeerId),
    /// A participant is gone from its room. Its peer must go too.
    Departed(Box<Departure>),
    /// A participant is gone for the others, though it is still there.
    Hid(Box<Departure>),
    /// What participants can see of a room has changed.
    RoomChanged(RoomId),
    /// A room is no more.
    RoomClosed(RoomId),
    /// A subscription needs a section at its receiver; it had none or had it in another codec.
    Wanted(SubscriptionId),
    /// The receiver's section for a track is not needed any more.
    Unwanted {
        /// The receiver.
        peer: PeerId,
        /// The track.
        track: TrackSid,
    },
    /// The track has its first subscriber ever: tell the publisher.
    FirstSubscriber(TrackId),
    /// Tell the publisher the highest quality that anybody wants.
    QualityWanted {
        /// Of which track.
        track: TrackId,
        /// That.
        quality: Quality,
    },
    /// Who began or ceased to speak, or changed in loudness.
    Speakers {
        /// Whom to tell.
        to: PeerId,
        /// Changes only, loudest first.
        speakers: Vec<Speaker>,
    },
    /// How well participants are connected.
    Qualities {
        /// Whom to tell.
        to: PeerId,
        /// New ones and changes, of those it receives and itself.
        scores: Vec<(PeerId, Score)>,
    },
    /// A subscription stopped or goes on, for want of bandwidth.
    StreamState {
        /// The receiver.
        to: PeerId,
        /// What it receives.
        track: TrackId,
        /// Paused?
        paused: bool,
    },
    /// A publisher allows or forbids a participant to receive a track of which it knows, or of which it learns now.
    Allowed {
        /// Whom to tell.
        to: PeerId,
        /// Which track.
        track: TrackId,
        /// Allowed?
        allowed: bool,
    },
    /// The network has muted a track: tell the publisher.
    Muted(TrackId),
    /// A track is not published any more. Told to the publisher only if the network ended it.
    Unpublished {
        /// The publisher.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// Its name for clients.
        sid: TrackSid,
        /// The publisher's name for it.
        cid: Box<str>,
        /// Tell the publisher.
        tell: bool,
    },
}

/// A participant that is gone.
#[derive(Clone, Debug)]
pub struct Departure {
    /// Its peer.
    pub peer: PeerId,
    /// From where.
    pub room: RoomId,
    /// Its name for clients.
    pub sid: ParticipantSid,
    /// Who.
    pub identity: Identity,
    /// How it presented itself.
    pub profile: Profile,
    /// Its last version, above all before.
    pub version: u32,
    /// Whether others knew of it.
    pub visibility: Visibility,
    /// Why.
    pub reason: DepartureReason,
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Name, metadata or attributes exceed [`crate::limits`].
    #[error("profile too large")]
    ProfileTooLarge,
    /// Nobody made the room and this join may not.
    #[error("no such room")]
    NoRoom,
    /// As many as it holds are there.
    #[error("room is full")]
    RoomFull,
    /// As many as it holds are here.
    #[error("node is full")]
    NodeFull,
    /// Every worker that could take it has too much to do.
    #[error("node is busy")]
    NodeBusy,
}

/// Why a room is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// [`crate::limits::ROOMS_MAX`].
    #[error("the node holds as many rooms as it may")]
    NodeFull,
}

/// Why a track may not be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No permission for this source.
    #[error("not allowed to publish")]
    NotAllowed,
    /// [`crate::limits::PENDING_MAX`] or [`crate::limits::PUBLICATIONS_MAX`].
    #[error("too many tracks")]
    TooMany,
    /// The cid is empty, too long or in use.
    #[error("bad cid")]
    BadCid,
}

/// Why a profile stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No permission.
    #[error("not allowed to change the profile")]
    NotAllowed,
    /// It would exceed [`crate::limits`].
    #[error("profile too large")]
    TooLarge,
}

/// What may be due. A timer that no longer matters when it fires has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Join(PeerId),
    Close(RoomId),
    Speakers(RoomId),
    Quality(RoomId),
    Dynacast(TrackId),
}

/// One node's rooms and who is in them.
#[derive(Debug)]
pub struct Control {
    config: Config,
    capacity: Capacity,
    entropy: Entropy,
    rooms: BTreeMap<RoomId, Room>,
    names: BTreeMap<RoomName, RoomId>,
    /// Boxed: a map's nodes have room for twice as many values as they hold.
    participants: BTreeMap<PeerId, Box<Participant>>,
    /// How many of them each worker has.
    loads: Vec<usize>,
    tracks: BTreeMap<TrackId, Publication>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Tracks of which somebody wants another quality: weighed once when an input has been taken.
    unweighed: BTreeSet<TrackId>,
    /// Receivers who have room again for something that was left out: one is looked at after each input.
    unfilled: BTreeSet<PeerId>,
    outputs: VecDeque<Output>,
    rooms_made: u32,
    peers_made: u32,
    tracks_made: u32,
    subscriptions_made: u32,
}

impl Control {
    /// An empty node.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            capacity: Capacity::new(config.busy_max),
            entropy: Entropy::new(seed),
            rooms: BTreeMap::new(),
            names: BTreeMap::new(),
            participants: BTreeMap::new(),
            loads: vec![0; usize::from(config.workers.max(1))],
            config,
            tracks: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            timers: BTreeSet::new(),
            unweighed: BTreeSet::new(),
            unfilled: BTreeSet::new(),
            outputs: VecDeque::new(),
            rooms_made: 0,
            peers_made: 0,
            tracks_made: 0,
            subscriptions_made: 0,
        }
    }

    /// What to do next, until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] with [`Input::Timeout`], if nothing comes before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let at_once = (!self.unfilled.is_empty()).then_some(Timestamp::ZERO);
        at_once.or_else(|| self.timers.first().map(|(at, _)| *at))
    }

    /// Takes one input. Drain [`Self::poll`] afterwards.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.take(now, input);
        self.refill();
        self.weigh_dynacast(now);
    }

    fn take(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Timeout => self.fire(now),
            Input::Offered(peer) => self.advance(peer, State::Joined),
            Input::Connected(peer) => {
                self.advance(peer, State::Active);
                self.note_firsts(peer);
            }
            Input::Depart(peer, reason) => self.depart(now, peer, reason),
            Input::Started { peer, track, media } => self.start(peer, track, media),
            Input::Ended { peer, track } => {
                if self.is_publisher(peer, track) {
                    self.unpublish(now, track, false);
                }
            }
            Input::Unusable { peer, track } => {
                if self.is_publisher(peer, track) {
                    self.unpublish(now, track, true);
                }
            }
            Input::Mute { peer, track, muted } => self.mute(now, peer, track, muted),
            Input::Resize { peer, track, size } => self.resize(peer, track, size),
            Input::Touch(peer) => self.touch(peer),
            Input::Wish { peer, track, wanted } => self.wish(peer, track, wanted),
            Input::WishFor { peer, track, wanted } => self.wish_for(peer, track, wanted),
            Input::Settings { peer, track, settings } => self.set(peer, track, settings),
            Input::Allow(peer, allowance) => self.allow(peer, allowance),
            Input::Permit(peer, permission) => self.permit(now, peer, permission),
            Input::Show(peer, visibility) => self.show(peer, visibility),
            Input::MuteFor(track) => self.mute_for(now, track),
            Input::Describe(room, metadata) => self.describe(room, metadata),
            Input::Close(room) => self.close(now, room),
            Input::Placed(subscription, placement) => self.place(subscription, placement),
            Input::Displaced(subscription) => self.unplace(subscription),
            Input::Busy(worker, share) => {
                self.capacity.hear(worker, share, self.config.workers.max(1).into());
            }
            Input::Report(report) => self.hear(now, report),
        }
    }

    /// Whether all workers have so much to do that nobody new is let in.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.workers().all(|worker| self.capacity.is_full(worker))
    }

    fn workers(&self) -> impl Iterator<Item = WorkerId> {
        (0..self.config.workers.max(1)).map(WorkerId)
    }

    /// A room by its name in this process.
    #[must_use]
    pub fn room(&self, room: RoomId) -> Option<&Room> {
        self.rooms.get(&room)
    }

    /// A room by the name that tokens give.
    #[must_use]
    pub fn room_named(&self, name: &RoomName) -> Option<&Room> {
        self.names.get(name).and_then(|room| self.rooms.get(room))
    }

    /// Every room that was made after this one, oldest first; all if there is none.
    pub fn rooms(&self, after: Option<RoomId>) -> impl Iterator<Item = &Room> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rooms.range((from, Bound::Unbounded)).map(|(_, room)| room)
    }

    /// A participant by its peer.
    #[must_use]
    pub fn participant(&self, peer: PeerId) -> Option<&Participant> {
        self.participants.get(&peer).map(AsRef::as_ref)
    }

    /// A participant by its names.
    #[must_use]
    pub fn find(&self, room: &RoomName, identity: &Identity) -> Option<&Participant> {
        let room = self.room_named(room)?;
        room.participants.get(identity).and_then(|peer| self.participant(*peer))
    }

    /// Everyone in a room, hidden ones included.
    pub fn participants(&self, room: RoomId) -> impl Iterator<Item = &Participant> {
        self.rooms
            .get(&room)
            .into_iter()
            .flat_map(|room| room.participants.values())
            .filter_map(|peer| self.participant(*peer))
    }

    /// All participants of the node.
    pub fn everyone(&self) -> impl Iterator<Item = &Participant> {
        self.participants.values().map(AsRef::as_ref)
    }

    /// A publication, pending or live.
    #[must_use]
    pub fn publication(&self, track: TrackId) -> Option<&Publication> {
        self.tracks.get(&track)
    }

    /// A subscription.
    #[must_use]
    pub fn subscription(&self, subscription: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(&subscription)
    }

    /// Participants of the node.
    #[must_use]
    pub fn participants_len(&self) -> usize {
        self.participants.len()
    }

    /// Rooms that there are.
    #[must_use]
    pub fn rooms_len(&self) -> usize {
        self.rooms.len()
    }

    fn instruct(&mut self, worker: WorkerId, instruction: Instruction) {
        self.outputs.push_back(Output::Instruct(worker, instruction));
    }

    /// Others can see that the participant has changed.
    fn touch(&mut self, peer: PeerId) {
        if let Some(participant) = self.participants.get_mut(&peer) {
            participant.version += 1;
            self.outputs.push_back(Output::ParticipantChanged(peer));
        }
    }

    fn is_publisher(&self, peer: PeerId, track: TrackId) -> bool {
        self.tracks.get(&track).is_some_and(|publication| publication.peer == peer)
    }

    fn fire(&mut self, now: Timestamp) {
        while let Some(&(at, timer)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Join(peer) => self.check_joined(now, peer),
                Timer::Close(room) => self.check_empty(now, room),
                Timer::Speakers(room) => self.tell_speakers(now, room),
                Timer::Quality(room) => self.tell_quality(now, room),
                Timer::Dynacast(track) => drop(self.unweighed.insert(track)),
            }
        }
    }

    fn hear(&mut self, now: Timestamp, report: Report) {
        match report {
            Report::LayerLive { track, spatial: _, codec } => self.change_codec(track, codec),
            Report::Level { track, level } => self.hear_level(now, track, level),
            Report::Bandwidth { subscription, paused } => {
                let held = self.subscriptions.get_mut(&subscription);
                let held = held.filter(|held| held.placement.is_some() && held.paused != paused);
                if let Some(held) = held {
                    held.paused = paused;
                    let (to, track) = (held.peer, held.track);
                    self.outputs.push_back(Output::StreamState { to, track, paused });
                }
            }
            Report::Quality { peer, loss_up, loss_down, rtt_ms } => {
                self.hear_quality(peer, Score::of(loss_up.max(loss_down), rtt_ms));
            }
            // For the record, which the shell keeps.
            Report::HistoryReleased { .. } => {}
        }
    }

    fn hear_level(&mut self, now: Timestamp, track: TrackId, level: Option<f32>) {
        let Some(publication) = self.tracks.get(&track) else {
            return;
        };
        let level = level.filter(|_| !publication.muted);
        let (peer, id) = (publication.peer, publication.room);
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if let Some(at) = room.speakers.hear(now, peer, track, level) {
            self.timers.insert((at, Timer::Speakers(id)));
        }
    }

    /// Who speaks and who does not of those whom a participant receives, and it itself, as it was told last; and of
    /// others that they do not, if they have spoken lately: it may have received them then.
    #[must_use]
    pub fn speakers(&self, to: PeerId) -> Vec<Speaker> {
        let held = self.participants.get(&to);
        let Some(room) = held.and_then(|held| self.rooms.get(&held.room)) else {
            return Vec::new();
        };
        let silent = |peer| Speaker { peer, level: 0.0 };
        let told = |peer| room.speakers.told(peer).unwrap_or(silent(peer));
        let heard = self.heard_by(to);
        let seen = |peer: &PeerId| self.participants.get(peer).is_some_and(|it| it.is_visible());
        let others = room.speakers.lately().filter(|peer| !heard.contains(peer) && seen(peer));
        heard.iter().copied().map(told).chain(others.map(silent)).collect()
    }

    fn tell_speakers(&mut self, now: Timestamp, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.speakers.due.is_none_or(|due| due > now) {
            return;
        }
        let mut news: BTreeMap<PeerId, Vec<Speaker>> = BTreeMap::new();
        for speaker in room.speakers.changes(now) {
            for to in self.audience(speaker.peer) {
                news.entry(to).or_default().push(speaker);
            }
        }
        for (to, speakers) in news {
            self.outputs.push_back(Output::Speakers { to, speakers });
        }
    }

    /// The participant itself and those who receive something of it.
    fn audience(&self, peer: PeerId) -> BTreeSet<PeerId> {
        let tracks = self.participants.get(&peer).into_iter().flat_map(|held| &held.tracks);
        tracks
            .filter_map(|track| self.tracks.get(track))
            .flat_map(|publication| publication.subscribers.keys().copied())
            .chain([peer])
            .collect()
    }
}
