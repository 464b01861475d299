//! What several clients ask for over signalling, as the states that it leads to: their negotiations, the deciding half
//! (`Control`) and the moving halves of two workers (`Forward`), which do what it says.
//!
//! The input is one act after the other: a byte says whose it is (the lower two bits) and what (the rest): a request in
//! protobuf behind two bytes of length, or something that happens. Tracks are named by a letter of their number, since
//! nobody guesses names. What is asserted: versions only grow, whoever is gone is gone, no participant holds more than
//! its bounds, and once all have left and time has passed nothing is left.
//! Not here: sessions and the order of what clients are told, which are the hub's (`edge`), and need its clock.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{
    ALIAS_LEN, Alias, Codec, Encryption, Identity, ParticipantSid, PeerId, Quality, RoomName,
    Share, SubscriptionId, Timestamp, TrackId, TrackKind, TrackSource, WorkerId,
};
use rtp::extension::ExtensionMap;
use sfu::control::{
    Allowance, AllowanceEntry, Announcement, Census, Coming, Config, Control, DepartureReason,
    Input, Join, Media, Output, PerKind, Permission, Placement, Profile, ProfileChange, Receiver,
    RoomSettings, Settings, Size, Sources, Tracks, VideoLayer, Visibility, Want,
};
use sfu::limits::PUBLICATIONS_MAX;
use sfu::{Forward, StreamSpec};
use wire::frame::{Frame, decode_request};
use wire::negotiation::Negotiation;
use wire::proto;
use wire::proto::signal_request::Message as Asked;
use wire::sdp::Offer;

use crate::media::{Nowhere, negotiation};

const PEOPLE: usize = 4;
/// Acts of one input.
const ACTS_MAX: usize = 200;

struct Node {
    control: Control,
    workers: [Forward<Vec<u8>>; 2],
    now: Timestamp,
    people: [Option<Person>; PEOPLE],
    versions: BTreeMap<PeerId, u32>,
    /// Of subscriptions that need a section.
    wanted: Vec<SubscriptionId>,
}

struct Person {
    peer: PeerId,
    negotiation: Negotiation,
}

pub(super) fn run(data: &[u8]) {
    let mut node = Node::new();
    let mut rest = data;
    for _ in 0..ACTS_MAX {
        let Some((&act, after)) = rest.split_first() else { break };
        rest = after;
        let who = usize::from(act) % PEOPLE;
        match act >> 2 {
            0 => node.join(who, act),
            1 => node.happen(who, Input::Connected),
            2 => node.happen(who, |peer| Input::Depart(peer, DepartureReason::PeerLost)),
            3 => node.wait(Duration::from_millis(700)),
            4 => node.wait(Duration::from_secs(25)),
            5 => node.place(who),
            6 => node.start(who),
            7 => node.happen(who, Input::Touch),
            8 => node.tell(Input::Busy(WorkerId(0), Share::from_permille(950))),
            9 => node.tell(Input::Busy(WorkerId(0), Share::from_permille(10))),
            10 => node.happen(who, |peer| Input::Show(peer, Visibility::Hidden)),
            11 => node.happen(who, |peer| Input::Show(peer, Visibility::Visible)),
            12 => node.happen(who, |peer| Input::Permit(peer, permission(false))),
            13 => node.happen(who, |peer| Input::Permit(peer, permission(true))),
            14 => node.close_room(who),
            _ => {
                let Some((len, after)) = rest.split_first_chunk() else { break };
                let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
                let (request, after) = after.split_at(len);
                rest = after;
                let asked = decode_request(Frame::Binary(request)).ok();
                if let Some(asked) = asked.and_then(|it| it.message) {
                    node.serve(who, asked);
                }
            }
        }
        node.is_bounded();
    }
    node.end();
}

/// The end of a name: those of people here differ there.
fn alias(identity: &str) -> Alias {
    let mut alias = [0; ALIAS_LEN];
    alias.iter_mut().rev().zip(identity.bytes().rev()).for_each(|(to, from)| *to = from);
    Alias(alias)
}

fn permission(may: bool) -> Permission {
    Permission {
        subscribe: may,
        publish: if may { Sources::Any } else { Sources::None },
        publish_data: may,
        update_profile: may,
    }
}

impl Node {
    fn new() -> Self {
        let config = Config {
            workers: 2,
            spill_at: 2,
            busy_max: Share::from_permille(900),
            participants_max: PEOPLE,
            room_participants_max: PEOPLE,
            room_participants: PEOPLE,
            join_within: Duration::from_secs(60),
            empty: Duration::from_secs(60),
            departure: Duration::from_secs(20),
        };
        let worker = |id| Forward::new(WorkerId(id), |len| Some(vec![0; len]), 1);
        Self {
            control: Control::new(config, 7),
            workers: [worker(0), worker(1)],
            now: Timestamp::from_millis(1),
            people: [const { None }; PEOPLE],
            versions: BTreeMap::new(),
            wanted: Vec::new(),
        }
    }

    fn join(&mut self, who: usize, act: u8) {
        let join = Join {
            room: RoomName::new("room"),
            identity: Identity::new(&format!("person {who}")),
            alias: alias(&format!("person {who}")),
            profile: Profile::default(),
            permission: permission(true),
            visibility: Visibility::Visible,
            auto_subscribe: true,
            adaptive_stream: act & 1 == 0,
            may_create_room: true,
            coming: Coming::New,
            room_settings: RoomSettings::default(),
        };
        let joined = self.control.join(self.now, join);
        // Whoever had the identity is gone before the newcomer is noted.
        self.drain();
        if let (Ok(peer), Some(negotiation), Some(place)) =
            (joined, negotiation(), self.people.get_mut(who))
        {
            *place = Some(Person { peer, negotiation });
        }
    }

    fn person(&mut self, who: usize) -> Option<&mut Person> {
        self.people.get_mut(who)?.as_mut()
    }

    fn happen(&mut self, who: usize, input: impl FnOnce(PeerId) -> Input) {
        if let Some(peer) = self.person(who).map(|person| person.peer) {
            self.tell(input(peer));
        }
    }

    fn tell(&mut self, input: Input) {
        self.control.handle(self.now, input);
        self.drain();
    }

    /// From timer to timer, as a shell does.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.control.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(Input::Timeout);
        }
        self.now = until;
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest changes none of these states")]
    fn serve(&mut self, who: usize, asked: Asked) {
        let Some(peer) = self.person(who).map(|person| person.peer) else { return };
        match asked {
            Asked::Offer(offer) => self.offer(who, &offer.sdp),
            Asked::AddTrack(request) => {
                // A refusal is an answer.
                let _refused = self.control.publish(peer, announcement(request));
                self.drain();
            }
            Asked::Mute(mute) => {
                if let Some(track) = self.track(&mute.sid) {
                    self.tell(Input::Mute { peer, track, muted: mute.muted });
                }
            }
            Asked::Subscription(update) => {
                for sid in update.track_sids.iter().take(PUBLICATIONS_MAX) {
                    if let Some(track) = self.track(sid) {
                        self.tell(Input::Wish { peer, track, wanted: update.subscribe });
                    }
                }
            }
            Asked::TrackSetting(update) => {
                let want = match (update.disabled, update.width) {
                    (true, _) => Want::Nothing,
                    (false, 0) => Want::Quality(Quality::High),
                    (false, width) => Want::Size(Size { width, height: update.height }),
                };
                let settings = Settings { want, fps: update.fps };
                for sid in update.track_sids.iter().take(PUBLICATIONS_MAX) {
                    if let Some(track) = self.track(sid) {
                        self.tell(Input::Settings { peer, track, settings });
                    }
                }
            }
            Asked::SubscriptionPermission(update) => {
                let allowance = self.allowance(&update);
                self.tell(Input::Allow(peer, allowance));
            }
            Asked::UpdateMetadata(update) => {
                let change = ProfileChange {
                    name: (!update.name.is_empty()).then_some(update.name),
                    metadata: (!update.metadata.is_empty()).then_some(update.metadata),
                    attributes: update.attributes.into_iter().collect(),
                };
                // A refusal is an answer.
                let _refused = self.control.update_profile(peer, change);
                self.drain();
            }
            Asked::Leave(_) => self.tell(Input::Depart(peer, DepartureReason::Left)),
            _ => {}
        }
    }

    fn offer(&mut self, who: usize, sdp: &str) {
        let Some(person) = self.person(who) else { return };
        let peer = person.peer;
        let is_taken = match Offer::parse(sdp) {
            Ok(offer) => {
                let is_taken = person.negotiation.offer(&offer).is_ok();
                person.negotiation.requirement();
                is_taken
            }
            Err(_) => false,
        };
        self.tell(if is_taken {
            Input::Offered(peer)
        } else {
            Input::Depart(peer, DepartureReason::Mismatch)
        });
    }

    /// The first track of somebody whose media has not come gets it, the last one with media ends.
    fn start(&mut self, who: usize) {
        let Some(peer) = self.person(who).map(|person| person.peer) else { return };
        let Some(tracks) = self.control.participant(peer).map(|it| it.tracks.clone()) else {
            return;
        };
        let is_live =
            |track: &TrackId| self.control.publication(*track).is_some_and(|it| it.is_live());
        match tracks.iter().find(|track| !is_live(track)).or(tracks.last()).copied() {
            Some(track) if is_live(&track) => self.tell(Input::Ended { peer, track }),
            Some(track) => {
                let media = Media {
                    mid: track.0.to_string().into(),
                    codec: Codec::Vp8,
                    streams: vec![StreamSpec::default(); 3],
                };
                self.tell(Input::Started { peer, track, media });
            }
            None => {}
        }
    }

    /// A subscription gets its section, or loses it.
    fn place(&mut self, who: usize) {
        let Some(subscription) = self.wanted.pop() else { return };
        if who == 0 {
            return self.tell(Input::Displaced(subscription));
        }
        let ssrc = 1_000 + subscription.0.wrapping_mul(2) % 1_000_000;
        let placement = Placement {
            codec: Codec::Vp8,
            payload_type: 96,
            rtx_payload_type: Some(97),
            ssrc,
            rtx_ssrc: ssrc + 1,
            extensions: ExtensionMap::new(),
        };
        self.tell(Input::Placed(subscription, placement));
    }

    fn close_room(&mut self, who: usize) {
        let room = self.control.rooms(None).nth(who).map(|room| room.room);
        if let Some(room) = room {
            self.tell(Input::Close(room));
        }
    }

    /// By a letter: the track of that number, whoever publishes it.
    fn track(&self, sid: &str) -> Option<TrackId> {
        let number = usize::from(*sid.as_bytes().first()?);
        let all: Vec<TrackId> =
            self.control.everyone().flat_map(|it| it.tracks.iter().copied()).collect();
        all.get(number.checked_rem(all.len())?).copied()
    }

    fn allowance(&self, update: &proto::SubscriptionPermission) -> Allowance {
        if update.all_participants {
            return Allowance::Everyone;
        }
        let entries = update.track_permissions.iter().map(|entry| {
            let sids = entry.track_sids.iter().filter_map(|sid| self.track(sid));
            let sids = sids.filter_map(|it| Some(self.control.publication(it)?.sid.clone()));
            AllowanceEntry {
                who: if entry.participant_sid.is_empty() {
                    Receiver::Alias(alias(&entry.participant_identity))
                } else {
                    Receiver::Sid(ParticipantSid::from_wire(&entry.participant_sid))
                },
                tracks: if entry.all_tracks { Tracks::All } else { Tracks::These(sids.collect()) },
            }
        });
        Allowance::only(entries).unwrap_or_else(|_| Allowance::nobody())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for clients")]
    fn drain(&mut self) {
        while let Some(output) = self.control.poll() {
            match output {
                Output::Instruct(worker, instruction) => {
                    if let Some(forward) = self.workers.get_mut(usize::from(worker.0)) {
                        forward.instruct(self.now, instruction, &mut Nowhere);
                    }
                }
                Output::ParticipantChanged(peer) => {
                    if let Some(participant) = self.control.participant(peer) {
                        let before = self.versions.insert(peer, participant.version);
                        assert!(before.unwrap_or(0) <= participant.version, "a version shrank");
                    }
                }
                Output::Departed(departure) => {
                    assert!(
                        self.control.participant(departure.peer).is_none(),
                        "it is still there"
                    );
                    let before = self.versions.remove(&departure.peer).unwrap_or(0);
                    assert!(before < departure.version, "its last version is no news");
                    for place in &mut self.people {
                        place.take_if(|person| person.peer == departure.peer);
                    }
                }
                Output::Wanted(subscription) => self.wanted.push(subscription),
                _ => {}
            }
        }
    }

    fn is_bounded(&self) {
        let census = self.control.census();
        let tracks = self.control.everyone().flat_map(|it| it.tracks.iter());
        let live =
            tracks.filter(|it| self.control.publication(**it).is_some_and(|it| it.is_live()));
        let PerKind { audio, video } = census.publications;
        assert_eq!(live.count(), audio + video, "a track of nobody");
        assert!(self.control.participants_len() <= PEOPLE, "too many people");
        for participant in self.control.everyone() {
            assert!(participant.tracks.len() <= 2 * PUBLICATIONS_MAX, "too many tracks");
            for (track, subscription) in &participant.subscriptions {
                let held = self.control.subscription(*subscription);
                assert!(held.is_some(), "a subscription that is not there");
                assert!(self.control.publication(*track).is_some(), "to nothing");
            }
        }
    }

    /// All leave, and time passes.
    fn end(&mut self) {
        for who in 0..PEOPLE {
            self.happen(who, |peer| Input::Depart(peer, DepartureReason::Left));
        }
        self.wait(Duration::from_secs(600));
        assert_eq!(self.control.participants_len(), 0, "somebody is left");
        assert_eq!(self.control.census(), Census::default(), "something is left");
        assert_eq!(self.control.next_timeout(), None, "something is still due");
    }
}

fn announcement(request: proto::AddTrackRequest) -> Announcement {
    let is_video = request.r#type == i32::from(proto::TrackType::Video);
    let layer = |it: &proto::VideoLayer| VideoLayer {
        quality: if it.quality == 0 { Quality::Low } else { Quality::High },
        size: Size { width: it.width, height: it.height },
    };
    Announcement {
        cid: request.cid.as_str().into(),
        kind: if is_video { TrackKind::Video } else { TrackKind::Audio },
        source: if is_video { TrackSource::Camera } else { TrackSource::Microphone },
        encryption: Encryption::Gcm,
        muted: request.muted,
        size: Size { width: request.width, height: request.height },
        layers: request.layers.iter().take(3).map(layer).collect(),
    }
}
