//! `incamera room`: the rooms of a running server, seen and moderated.
//!
//! Owns: which commands there are, what each asks of the server, how answers look.
//! Guarantees: what others have written cannot steer the terminal that it is shown on.
//! Not here: how a server is asked (`back_end`), what it then does.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Subcommand};
use wire::grant::VideoGrant;
use wire::limits::DATA_PACKET_MAX;
use wire::proto;

use crate::back_end::BackEnd;
use crate::rights::Rights;
use crate::token::{parse_attribute, parse_duration};
use crate::{Arguments, Failure, files, harmless};

const EXAMPLES: &str = "\
Examples, against `incamera dev`:
  export INCAMERA_API_KEY=devkey INCAMERA_API_SECRET=secret
  incamera room create demo --max-participants 12 --empty-timeout 1h
  incamera room list
  incamera room participants demo
  incamera room mute demo ada TR_AMxxxxxxxxxxxx
  incamera room update demo ada --can-publish=false
  incamera room send demo 'two minutes left' --topic notice
  incamera room remove demo ada
  incamera room delete demo

A server elsewhere, and a token that somebody else has signed:
  incamera room list --url https://calls.example.org --api-key back-end --private-key-file private.pem
  incamera room list --token-stdin < token

The right is signed for one minute and for the one room. A token of your own needs `roomList` to list
rooms, `roomCreate` to make or delete one, and `roomAdmin` with the room for all else.";

/// Rooms of a running server: see, moderate, end
#[derive(Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Command {
    /// List rooms
    #[command(after_help = EXAMPLES)]
    List {
        /// These alone, if they are there
        names: Vec<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Make a room before anybody comes, or change one that is there
    Create(Box<Create>),
    /// List who is in a room, hidden participants included
    Participants {
        /// The room's name
        room: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show one participant and its tracks
    Show {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        asking: Asking,
    },
    /// Put a participant out; it may come back while its token is good
    Remove {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        asking: Asking,
    },
    /// Mute a participant's track; only its owner can unmute it
    Mute {
        #[command(flatten)]
        who: Who,
        /// The track's id, as `incamera room show` prints it
        track: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Change how a participant presents itself and what it may do; what is not named stays
    Update(Box<Update>),
    /// Set the application's text about a room
    Metadata {
        /// The room's name
        room: String,
        /// At most 512 KiB; empty removes what was there
        text: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// End a room: everybody is put out
    Delete {
        /// The room's name
        room: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Send data to a room, or to some in it
    Send(Box<Send>),
}

#[derive(Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    back_end: BackEnd,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Who {
    /// The room's name
    room: String,
    /// The participant's identity
    identity: String,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The room's name
    room: String,
    /// Text for the application
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    metadata: String,
    /// How many it holds [default: as many as the node lets]
    #[arg(long, value_name = "COUNT")]
    max_participants: Option<NonZeroU32>,
    /// How long it waits for its first participant: a number and s, m, h or d [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    empty_timeout: Option<Duration>,
    /// How long it outlives its last participant [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    departure_timeout: Option<Duration>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    who: Who,
    /// The name to show; it can be changed and not removed
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Text for the application; it can be changed and not removed
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    metadata: Option<String>,
    /// A key and a value for the application; may be given again; an empty value removes the key
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = parse_attribute)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    rights: Rights,
    /// Others are not told of it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    hidden: Option<bool>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Send {
    /// The room's name
    room: String,
    /// What to send
    #[arg(required_unless_present = "file")]
    text: Option<String>,
    /// A file to send instead, at most 64 KiB; /dev/stdin for standard input
    #[arg(long, value_name = "PATH", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// What it is about, for the application
    #[arg(long, value_name = "TEXT")]
    topic: Option<String>,
    /// To this participant alone; may be given again
    #[arg(long = "to", value_name = "IDENTITY")]
    receivers: Vec<String>,
    /// Send it once, and do not care whether it arrives
    #[arg(long)]
    lossy: bool,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List { names, asking } => list(names, asking),
        Command::Create(create) => create.run(),
        Command::Participants { room, asking } => participants(room, asking),
        Command::Show { who, asking } => {
            let (info, json) = asking.back_end.ask_for::<proto::ParticipantInfo>(
                "GetParticipant",
                &who.named(),
                admin(&who.room),
            )?;
            asking.print(json, || shown(&info))
        }
        Command::Remove { who, asking } => {
            let asked = &asking.back_end;
            let json = asked.ask("RemoveParticipant", &who.named(), admin(&who.room))?;
            asking.print(json, String::new)
        }
        Command::Mute { who, track, asking } => {
            let request = proto::MuteRoomTrackRequest {
                room: who.room.clone(),
                identity: who.identity.clone(),
                track_sid: track.clone(),
                muted: true,
            };
            let asked = &asking.back_end;
            let json = asked.ask("MutePublishedTrack", &request, admin(&who.room))?;
            asking.print(json, String::new)
        }
        Command::Update(update) => update.run(),
        Command::Metadata { room, text, asking } => {
            let request =
                proto::UpdateRoomMetadataRequest { room: room.clone(), metadata: text.clone() };
            let json = asking.back_end.ask("UpdateRoomMetadata", &request, admin(room))?;
            asking.print(json, String::new)
        }
        Command::Delete { room, asking } => {
            let request = proto::DeleteRoomRequest { room: room.clone() };
            let json = asking.back_end.ask("DeleteRoom", &request, creating())?;
            asking.print(json, String::new)
        }
        Command::Send(send) => send.run(),
    }
}

/// The right to moderate one room.
fn admin(room: &str) -> VideoGrant {
    VideoGrant { room_admin: true, room: room.to_owned(), ..VideoGrant::default() }
}

/// The right to make and to delete rooms.
fn creating() -> VideoGrant {
    VideoGrant { room_create: true, ..VideoGrant::default() }
}

fn list(names: &[String], asking: &Asking) -> Result<(), Failure> {
    let request = proto::ListRoomsRequest { names: names.to_vec() };
    let grant = VideoGrant { room_list: true, ..VideoGrant::default() };
    let asked = &asking.back_end;
    let (found, json) = asked.ask_for::<proto::ListRoomsResponse>("ListRooms", &request, grant)?;
    asking.print(json, || {
        let mut rows = vec![row(["ROOM", "PARTICIPANTS", "PUBLISHERS", "ID"])];
        rows.extend(found.rooms.iter().map(|room| {
            let (people, publishers) = (room.num_participants, room.num_publishers);
            row([&room.name, &people.to_string(), &publishers.to_string(), &room.sid])
        }));
        table(&rows)
    })
}

fn participants(room: &str, asking: &Asking) -> Result<(), Failure> {
    let request = proto::ListParticipantsRequest { room: room.to_owned() };
    let (found, json) = asking.back_end.ask_for::<proto::ListParticipantsResponse>(
        "ListParticipants",
        &request,
        admin(room),
    )?;
    asking.print(json, || {
        let mut rows = vec![row(["IDENTITY", "STATE", "TRACKS", "NAME"])];
        rows.extend(found.participants.iter().map(|who| {
            let tracks = who.tracks.len().to_string();
            row([&who.identity, who.state().as_str_name(), &tracks, &who.name])
        }));
        table(&rows)
    })
}

impl Who {
    fn named(&self) -> proto::RoomParticipantIdentity {
        proto::RoomParticipantIdentity {
            room: self.room.clone(),
            identity: self.identity.clone(),
            ..Default::default()
        }
    }
}

impl Asking {
    /// Prints the answer, or what `text` makes of it.
    fn print(&self, json: String, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = if self.json { harmless::json(&json) + "\n" } else { text() };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }
}

impl Create {
    fn run(&self) -> Result<(), Failure> {
        let seconds = |time: Option<Duration>| {
            time.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
        };
        let request = proto::CreateRoomRequest {
            name: self.room.clone(),
            metadata: self.metadata.clone(),
            max_participants: self.max_participants.map_or(0, NonZeroU32::get),
            empty_timeout: seconds(self.empty_timeout),
            departure_timeout: seconds(self.departure_timeout),
            ..Default::default()
        };
        let asked = &self.asking.back_end;
        let (room, json) = asked.ask_for::<proto::Room>("CreateRoom", &request, creating())?;
        self.asking.print(json, || format!("{}\n", harmless::text(&room.sid)))
    }
}

impl Update {
    fn run(&self) -> Result<(), Failure> {
        let is_about_profile =
            self.name.is_some() || self.metadata.is_some() || !self.attributes.is_empty();
        if !is_about_profile && !self.is_about_rights() {
            let message = "say what is to change: `incamera room update --help` lists it";
            Arguments::command().error(ErrorKind::MissingRequiredArgument, message).exit();
        }
        let (asking, who) = (&self.asking, &self.who);
        let permission = if self.is_about_rights() {
            // The server replaces all of them at once: the others must be said as they are.
            let (info, _) = asking.back_end.ask_for::<proto::ParticipantInfo>(
                "GetParticipant",
                &who.named(),
                admin(&who.room),
            )?;
            Some(self.changed(info.permission.unwrap_or_default()))
        } else {
            None
        };
        let request = proto::UpdateParticipantRequest {
            room: who.room.clone(),
            identity: who.identity.clone(),
            metadata: self.metadata.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            attributes: self.attributes.iter().cloned().collect(),
            permission,
        };
        let (info, json) = asking.back_end.ask_for::<proto::ParticipantInfo>(
            "UpdateParticipant",
            &request,
            admin(&who.room),
        )?;
        asking.print(json, || shown(&info))
    }

    fn is_about_rights(&self) -> bool {
        self.hidden.is_some() || self.rights.are_given()
    }

    fn changed(
        &self,
        mut permission: proto::ParticipantPermission,
    ) -> proto::ParticipantPermission {
        let set = |right: &mut bool, said: Option<bool>| *right = said.unwrap_or(*right);
        let rights = &self.rights;
        set(&mut permission.can_publish, rights.can_publish);
        set(&mut permission.can_publish_data, rights.can_publish_data);
        set(&mut permission.can_subscribe, rights.can_subscribe);
        set(&mut permission.can_update_metadata, rights.can_update_own_metadata);
        set(&mut permission.hidden, self.hidden);
        if !rights.can_publish_sources.is_empty() {
            let sources = rights.can_publish_sources.iter();
            let sources = sources.filter_map(|name| wire::convert::source_named(name));
            permission.can_publish_sources =
                sources.map(|source| wire::convert::source_to_wire(source).into()).collect();
            permission.can_publish = rights.can_publish.unwrap_or(true);
        } else if rights.can_publish == Some(true) {
            permission.can_publish_sources = Vec::new();
        }
        permission
    }
}

impl Send {
    fn run(&self) -> Result<(), Failure> {
        if self.file.as_ref().is_some_and(|path| self.asking.back_end.takes_token_from(path)) {
            let message = "--file and --token-stdin both read standard input";
            Arguments::command().error(ErrorKind::ArgumentConflict, message).exit();
        }
        let data = match (&self.file, &self.text) {
            (Some(path), _) => std::mem::take(&mut *files::read_any_bytes(path, DATA_PACKET_MAX)?),
            (None, text) => text.clone().unwrap_or_default().into_bytes(),
        };
        let kind = if self.lossy {
            proto::data_packet::Kind::Lossy
        } else {
            proto::data_packet::Kind::Reliable
        };
        let request = proto::SendDataRequest {
            room: self.room.clone(),
            data,
            kind: kind.into(),
            destination_identities: self.receivers.clone(),
            topic: self.topic.clone(),
            ..Default::default()
        };
        let json = self.asking.back_end.ask("SendData", &request, admin(&self.room))?;
        self.asking.print(json, String::new)
    }
}

/// A participant, a line for each thing that is to be said of it.
fn shown(info: &proto::ParticipantInfo) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12}{}", harmless::text(value));
    };
    line("identity", &info.identity);
    line("id", &info.sid);
    line("state", info.state().as_str_name());
    if !info.name.is_empty() {
        line("name", &info.name);
    }
    if !info.metadata.is_empty() {
        line("metadata", &info.metadata);
    }
    let mut attributes: Vec<_> = info.attributes.iter().collect();
    attributes.sort();
    for (key, value) in attributes {
        line("attribute", &format!("{key}={value}"));
    }
    if let Some(permission) = &info.permission {
        line("may", &rights(permission));
    }
    for track in &info.tracks {
        let muted = if track.muted { " muted" } else { "" };
        let sealed = if track.encryption == 0 { "" } else { " encrypted" };
        let source = track.source().as_str_name().to_ascii_lowercase();
        line("track", &format!("{} {source}{muted}{sealed}", track.sid));
    }
    text
}

fn rights(permission: &proto::ParticipantPermission) -> String {
    let sources = permission.can_publish_sources();
    let names: Vec<_> = sources.map(|source| source.as_str_name().to_ascii_lowercase()).collect();
    let publish =
        if names.is_empty() { "publish".into() } else { format!("publish {}", names.join("+")) };
    let all = [
        (permission.can_publish, publish.as_str()),
        (permission.can_publish_data, "send data"),
        (permission.can_subscribe, "receive"),
        (permission.can_update_metadata, "change its own profile"),
        (permission.hidden, "hide"),
    ];
    let held: Vec<&str> = all.into_iter().filter(|(may, _)| *may).map(|(_, name)| name).collect();
    if held.is_empty() { "nothing".to_owned() } else { held.join(", ") }
}

fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
    cells.map(harmless::text)
}

/// Rows with their columns under each other.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn update(words: &str) -> Update {
        let words = format!("incamera room update demo ada {words}");
        let command = Arguments::try_parse_from(words.split_whitespace()).unwrap().command;
        let crate::Command::Room(Command::Update(update)) = command else {
            panic!("another command");
        };
        *update
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let held = proto::ParticipantPermission {
            can_publish: true,
            can_subscribe: true,
            can_publish_sources: vec![1],
            ..Default::default()
        };
        let changed = |words: &str| update(words).changed(held.clone());
        let hidden = changed("--hidden");
        assert_eq!(hidden, proto::ParticipantPermission { hidden: true, ..held.clone() });
        assert!(!changed("--can-subscribe=false").can_subscribe);
        assert!(!changed("--can-publish=false").can_publish);
        assert!(changed("--can-publish").can_publish_sources.is_empty());
        assert_eq!(changed("--can-publish-source microphone").can_publish_sources, [2]);
        assert!(!update("--name Ada").is_about_rights());
        assert!(update("--can-publish-source camera").is_about_rights());
    }

    #[test]
    fn what_others_wrote_cannot_steer_a_terminal() {
        let room = proto::ParticipantInfo { name: "\u{1b}[2Jgone\n".into(), ..Default::default() };
        let text = shown(&room);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("\\u{1b}[2Jgone\\u{a}"), "{text}");
        let rows = [row(["ROOM", "ID"]), row(["a\tb", "RM_1"])];
        assert_eq!(table(&rows), "ROOM     ID\na\\u{9}b  RM_1\n");
    }

    #[test]
    fn half_a_wish_is_refused() {
        for words in [
            "room send demo",
            "room send demo text --file path",
            "room mute demo ada",
            "room participants",
            "room list --token-stdin --api-key a",
            "room update demo ada --attribute a",
            "room update demo ada --name=",
        ] {
            let words = format!("incamera {words}");
            assert!(Arguments::try_parse_from(words.split_whitespace()).is_err(), "{words}");
        }
    }
}
