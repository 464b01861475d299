//! Bounds on everything that a remote party can make this crate hold or wait for.

use std::time::Duration;

use model::Share;
use wire::limits::{FIELDS_MAX, FRAME_MAX, REQUEST_LINE_MAX};

// What one side of the hub lets through, the other takes.
const _: () = assert!(
    wire::limits::NAME_MAX == sfu::limits::NAME_MAX
        && wire::limits::METADATA_MAX == sfu::limits::METADATA_MAX
        && wire::limits::ATTRIBUTES_MAX == sfu::limits::ATTRIBUTES_MAX
        && wire::limits::ANNOUNCED_MAX == sfu::limits::PENDING_MAX
);

/// Bytes of a request's head: its line and as much again for headers, tokens among them.
pub const HEAD_MAX: usize = 2 * REQUEST_LINE_MAX;

/// Headers of a request. Browsers behind two proxies send some 30.
pub const HEADERS_MAX: usize = 64;

/// TCP connections at once. An open and quiet one holds 13 KiB, 195 MiB for all, and under TLS 19 KiB more; one whose
/// head comes without an end 37 KiB beside, so that 15,360 of these hold 750 MiB at the very worst, for
/// [`HEAD_TIME_MAX`]. Of those that are sessions each may hold twice [`UNFINISHED_SMALL`] beside it, and all together
/// twice [`UNFINISHED_BYTES_MAX`] and [`UNFINISHED_MIDDLE_BYTES_MAX`]: 480 and 160 MiB, for [`MESSAGE_TIME_MAX`].
pub const CONNECTIONS_MAX: usize = 15_360;

/// Of these, of one network, which may be a house full of people behind one address: half, so that others find room
/// beside the largest.
pub const NETWORK_CONNECTIONS_MAX: usize = CONNECTIONS_MAX / 2;

/// Connections that one network may open at once, as when everybody comes back after a restart.
pub const CONNECTIONS_BURST: u64 = 5000;

/// The same a second, on end: with a TLS handshake of 0.5 ms each a tenth of a core.
pub const CONNECTIONS_PER_SECOND: u64 = 200;

/// Requests that one network may send at once over connections that have had one: the page with its files to a thousand
/// people.
pub const LATER_REQUESTS_BURST: u64 = 10_000;

/// The same a second, on end: at 50 us each a fortieth of a core.
pub const LATER_REQUESTS_PER_SECOND: u64 = 500;

/// TLS handshakes of one network that are under way: at a tenth of a second each twenty times what it may open on end.
pub const NETWORK_HANDSHAKES_MAX: usize = 1024;

/// Wrong tokens that one network may show at once: expired ones come by the hundred when a house opens its laptops.
pub const WRONG_TOKENS_BURST: u64 = 1000;

/// The same a second, on end: at 0.1 ms for a signature a hundredth of a core.
pub const WRONG_TOKENS_PER_SECOND: u64 = 100;

/// Requests to join, or whether that would do, with one token at once: a client that cannot come in asks some twenty
/// times in a minute, and those of ten people may share a row of the table when the node is full.
pub const VISITS_TOKEN_BURST: u64 = 150;

/// The same a second, on end: with 0.1 ms for the signature and the request a thousandth of a control thread.
pub const VISITS_TOKEN_PER_SECOND: u64 = 10;

/// Bytes that are decompressed for one and count as another: 16 us. SDKs send 14 KB.
pub const VISIT_BYTES: usize = 16 << 10;

/// What joins and resumes with one token may cost the hub at once, counted as in [`JOIN_PRICE`]: ten in a room of
/// 3,000, since those of some people may share a row of the table when all come back, and more in others.
pub const JOINS_BURST: u64 = 32_000;

/// The same a second, on end: at 10 us for each whom a join is told, and who is told of in it, a hundredth of the
/// hub's time. One join a second in a room of 1,000, nine in one of 100.
pub const JOINS_PER_SECOND: u64 = 1000;

/// What a join or a resume counts, beside one for each participant of the room.
pub const JOIN_PRICE: u64 = 16;

/// Bytes of a room's answer that count as a participant does, if that is more: put together, written and given back
/// in a few microseconds.
pub const JOIN_BYTES: usize = 4 << 10;

/// What they count at most: as many joins of one token at once as in the largest room.
pub const JOIN_BYTES_PRICE_MAX: u64 = JOINS_BURST / 10;

/// Bytes of all that participants who join or resume are told of their rooms and that is not written yet, each
/// reckoned as it lies decoded until a task of its connection takes it, and as it is written from there on. Whoever
/// reads nothing, wherever its token comes from, holds its own for [`WRITE_TIME_MAX`], or [`CLOSE_TIME_MAX`] if it has
/// come again. A task that turns one into a frame has both for as long: one for each
/// control thread.
pub const ANSWERS_BYTES_MAX: usize = 128 << 20;

/// Of these, of one room, and so of one answer: half, so that one full of such people keeps nobody out of the others;
/// 110 participants with the largest profiles. A room of 3,000 is answered with 1.6 MiB, of which half a megabyte is
/// written: when all come back at once, forty may be put together, what the hub does in a second.
pub const ANSWERS_ROOM_BYTES_MAX: usize = ANSWERS_BYTES_MAX / 2;

/// Bytes of one that is not counted, so that it waits for nobody: of nine participants with two tracks, or sixty with
/// none. Were all [`CONNECTIONS_MAX`] to get one and read nothing, they held 480 MiB decoded and some 160 MiB written,
/// fewer than their TLS takes.
pub const ANSWER_SMALL: usize = 32 << 10;

/// How long whoever comes waits for such room, before it is told to come again: what the most patient clients wait for
/// an answer, and longer than one who reads nothing holds its own ([`WRITE_TIME_MAX`]). When all of a large room come
/// back, most of that is the hub's work for those before.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Bytes that a participant takes in an answer beside its names, profile and tracks: 344 for itself, its sid, what it
/// may, and what its client can.
pub const ANSWER_PARTICIPANT_BYTES: usize = 512;

/// The same of a track beside its names: 400 for itself and its codec, 256 for the client's name of it at most, six
/// layers of 88, features.
pub const ANSWER_TRACK_BYTES: usize = 1536;

/// The same of an attribute: its place in a map that may be half empty, and two blocks of the heap at least.
pub const ANSWER_ATTRIBUTE_BYTES: usize = 160;

/// Participants on a node: a thousand rooms of ten, and two thirds of the connections, so that resumes and pages
/// find room.
pub const PARTICIPANTS_MAX: usize = CONNECTIONS_MAX / 3 * 2;

/// Participants in a room, if nothing says otherwise.
pub const ROOM_PARTICIPANTS_MAX: usize = 3000;

/// Of its time that a worker may be busy and still take newcomers, if nothing says otherwise (LiveKit: the same,
/// of the node's processors).
pub const BUSY_MAX: Share = Share::from_permille(900);

/// From a join to its media (LiveKit: the same).
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a room that was made before anybody came waits for its first participant (LiveKit: the same).
pub const EMPTY_TIME: Duration = Duration::from_secs(300);

/// How long a room outlives its last participant (LiveKit: the same).
pub const DEPARTURE_TIME: Duration = Duration::from_secs(20);

/// How long a request's head may take, and how long a connection may wait for its next request.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a TLS handshake may take, beginning with the connection's first byte.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a handshake may go on under a certificate that has been replaced: it holds the key of that.
pub const HANDSHAKE_REPLACED_TIME_MAX: Duration = Duration::from_secs(1);

/// Signalling messages waiting for one client. A join into a room of 200 who all publish gives some
/// 20, since updates are batched; who is further behind is cut.
pub const OUTBOX_MAX: usize = 256;

/// Messages waiting for the hub, from all connections and workers: some 2 ms of its work.
pub const HUB_INBOX_MAX: usize = 1024;

/// Fields of signalling messages that are decoded and that the hub has not had yet, of those of up to [`FRAME_SMALL`],
/// up to [`FRAME_MIDDLE`] and of the others: four of the largest messages, or as many offers of 32 KB, or 4,000 mutes,
/// each counted as if it were all empty elements. In memory a field takes up to `wire::limits::ELEMENT_SIZE_MAX`, 64
/// MiB for all of each kind.
pub const DECODED_FIELDS_MAX: usize = 4 * FIELDS_MAX;
/// Bytes of a signalling message that waits for none that is longer, as nearly all are.
pub const FRAME_SMALL: usize = 1 << 10;
/// Bytes of one that waits for none that is longer still: an offer of Chromium's in a call of ten. In a room of 3,000
/// all make offers of 400 KB at once.
pub const FRAME_MIDDLE: usize = 64 << 10;

/// Bytes of signalling messages that have begun to come and are not whole: 32 of the largest, 280 offers of 230 KB. One
/// that comes in pieces lies in up to twice as much.
pub const UNFINISHED_BYTES_MAX: usize = 64 << 20;
/// The same of those that are one frame of up to [`FRAME_MIDDLE`].
pub const UNFINISHED_MIDDLE_BYTES_MAX: usize = 16 << 20;

/// Bytes of one that is not counted, so that no number of others keeps it waiting: nearly all but offers.
pub const UNFINISHED_SMALL: usize = 16 << 10;

/// How long one may take from its first byte to its last, and so how long it keeps others waiting: the largest at
/// 1.7 Mbit/s, an offer of 230 KB at 180 kbit/s.
pub const MESSAGE_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a client is pinged, as LiveKit does.
pub const PING_EVERY: Duration = Duration::from_secs(10);

/// How long a client may say nothing, not even a pong: two pings, above the 15 s after which a
/// client gives up on its own.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long a client may leave a message unread while its window is full.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that is written to it: above [`WRITE_TIME_MAX`], so that a
/// session's own time, which says more, comes first.
pub const UNREAD_TIME_MAX: Duration = Duration::from_secs(15);

/// How long a closing handshake may take, how long a session that the hub has forgotten has to read why, and how long
/// what a refused client still sends is read so that it sees why it was refused.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Bytes that are read and dropped from a client that has been refused: four messages.
pub const DISCARD_MAX: usize = 4 * FRAME_MAX;

/// How long a stop waits for what is under way.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long all of a stop takes: clients that were told to come back try for 20 s, and the next process is there 2 s
/// after this one's end.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(15);

/// Signalling requests of one session at once. Publishing 20 tracks costs 60, adaptive stream in a
/// room of 200 some 400 when the window changes size.
pub const REQUESTS_BURST: u32 = 500;

/// Signalling requests of one session a second, on end.
pub const REQUESTS_PER_SECOND: u32 = 50;

/// Bytes of an offer, or of metadata, for the price of one request: at 7 ns a byte what one session may send on end
/// takes a hundredth of the hub's time. Offers of 230 KB, with 40 tracks to receive, may come six times a second.
pub const BYTES_PER_REQUEST: usize = 32 << 10;

/// Bytes of what a participant is told at once of a change of its own that cost as much as one request more.
pub const OWN_BYTES_PER_REQUEST: usize = 8 << 10;
/// With fewer left nothing of that is told at once: they are for what else it asks.
pub const REQUESTS_KEPT: u32 = REQUESTS_BURST / 2;

/// How long LiveKit's clients wait for the answer to a track that they announce (livekit-client `RTCEngine.addTrack`).
pub const ANSWER_AWAITED_TIME: Duration = Duration::from_secs(10);

/// How often a room is told of one participant on end: its name, its tracks, what is muted. The newest is told.
pub const UPDATE_EVERY: Duration = Duration::from_millis(100);

/// Bytes a second of that, to each who hears them: 262 kbit/s at most, which leaves a line of 1 Mbit/s to its call.
/// Whoever has 60 tracks with the longest names is told of each two seconds. What takes more than [`UPDATE_WAIT_MAX`],
/// as 512 KiB of metadata, comes that often.
pub const UPDATE_BYTES_PER_SECOND: u64 = 32 << 10;

/// What one update makes the next wait at most: so long may somebody's picture be hidden from a room that was told
/// something large of it, and no longer.
pub const UPDATE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Bytes a second of that, to all who hear them together: at 1 ns for a byte that is put together a hundredth of a
/// core. In a room of 3,000 an update of 500 bytes goes out each 0.18 s.
pub const UPDATE_SPREAD_PER_SECOND: u64 = 8 << 20;

/// What of this may come at once, in the time that it takes on end: eight updates, as somebody joins and publishes.
pub const UPDATE_AHEAD_MAX: Duration = Duration::from_millis(700);

/// Bytes of metadata and attributes that are said once more of who goes, whatever is yet to be paid for: a goodbye
/// cannot wait. In a room of 3,000 it is 3 MB. Longer ones are left out while something is.
pub const GOODBYE_PROFILE_MAX: usize = 1 << 10;

/// Participants of a room who left before all that they asked for was paid for, and who owe it when they come again: as
/// many as come and go within a few seconds.
pub const UNPAID_MAX: usize = 256;

/// Pairs of a receiver and a track, or names, that a participant may let receive or keep out for the price of one
/// request: at 2 us a pair what one session may ask for on end takes a hundredth of the hub's time.
pub const PERMITS_PER_REQUEST: usize = 64;

/// Names in what a client says once when it resumes, for the price of one request: each is looked up in 1 us, and for
/// nearly all nothing changes. In a room of 3,000 a client that shows a few names 2,000 others: a fourth of
/// [`REQUESTS_BURST`], or what is left of it.
pub const SYNC_NAMES_PER_REQUEST: usize = 16;

/// Tracks of which a participant is told each [`UPDATE_EVERY`] that it may receive them, or may not any more: all of
/// one publisher's at once, those of 3,000 within [`UPDATE_WAIT_MAX`]. At some 40 bytes each 26 KB a second, less than
/// [`UPDATE_BYTES_PER_SECOND`], and a fourth of [`OUTBOX_MAX`].
pub const ALLOWED_TOLD_MAX: usize = 64;

/// Receivers of a track for the price of one request: each is told of it, asked for a section, answers with an offer,
/// and drops it again when it ends. Ten tracks at once in a room of 3,000, thirty in one of 800.
pub const TRACKS_TOLD_PER_REQUEST: usize = 64;

/// Answers of one kind that one request or join gets, such as that a track is not there; what is beyond is counted.
/// Far below [`OUTBOX_MAX`]: who asks for much is no slow reader.
pub const REFUSALS_MAX: usize = 64;

/// Messages that the hub takes before it tells participants what came of them: enough to put the
/// joins of a moment into one update, few enough to take under a millisecond.
pub const HUB_TURN_MAX: usize = 64;

/// Bytes of reliable data packets that a room keeps for those who come back.
pub const REPLAY_BYTES_MAX: usize = 1 << 20;

/// How many it keeps: 100 a second for as long as they are kept. Small ones cost more to send than
/// their bytes say.
pub const REPLAY_PACKETS_MAX: usize = 1024;

/// How long it keeps them: long enough before the end of what they have to be acknowledged in
/// ([`peer::UNACKNOWLEDGED_TIME_MAX`]) that whoever comes back can still hear them.
pub const REPLAY_TIME_MAX: Duration = Duration::from_secs(7);

/// A client that leaves says so over signalling, and then ends its transport: the one may come before the other, and
/// those who stay are to hear that it left.
pub const GOODBYE_TIME: Duration = Duration::from_millis(250);

/// How long it keeps those of a participant that left: enough for a resume that is under way, and half of the 2 s after
/// which nothing of the participant is left.
pub const REPLAY_GONE_TIME_MAX: Duration = Duration::from_secs(1);

/// Participants that left a room and whose packets it still keeps: a large room that empties at once. When there are
/// more, the first ones' packets go sooner.
pub const REPLAY_GONE_MAX: usize = 1024;

/// Marks of back ends' messages that a room remembers: the retries of one come within seconds.
pub const NONCES_MAX: usize = 256;

/// Participants of a room whose rights moderators have changed, remembered while the room lives: 100 KiB.
pub const MODERATED_MAX: usize = 1024;

/// Participants of a room who have asked to come again over TCP: they do so within seconds.
pub const SWITCHES_MAX: usize = 64;

/// Requests to the server API at once: with bodies of 10 MiB each, 320 MiB at the very worst, and only for
/// holders of a right that the method needs.
pub const API_REQUESTS_MAX: usize = 32;
/// Of these, with one token: a fourth, so that whoever moderates one room cannot keep other back ends waiting.
pub const API_REQUESTS_EACH_MAX: usize = 8;

/// Requests to the server API with one token at once: a moderator who goes through a room of 200.
pub const API_TOKEN_BURST: u64 = 200;
/// The same a second, on end.
pub const API_TOKEN_PER_SECOND: u64 = 50;

/// Requests with tokens of one key at once; most back ends mint a token for each request.
pub const API_KEY_BURST: u64 = 2000;
/// The same a second, on end: at some 50 us each, and each to a room of 100, a twentieth of the hub's time.
pub const API_KEY_PER_SECOND: u64 = 500;

/// Bytes of participants that the hub puts together for a back end before it looks at anything else, or one participant
/// with all that it may have: 0.2 ms.
pub const PAGE_BYTES: usize = 256 << 10;

/// What the hub looks at for one page of rooms, before it looks at anything else: a room that is not wanted or a
/// participant counts one, 0.2 us.
pub const PAGE_LOOKS: usize = 1024;
/// What a room that is listed counts beside its participants: it takes 1 us to describe.
pub const ROOM_LOOKS: usize = 4;

/// Bytes in protobuf from which on an answer is put into its form where it keeps no signalling waiting: 1 ms of JSON,
/// which says what is zero too, and so is seven to eleven times as long.
pub const LARGE_ANSWER_BYTES: usize = 8 << 10;

/// How long the body of a request to the server API may take.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the hub may take to answer: the clients of back ends wait for 10 s.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the hub may take to count for whoever reads the node's figures.
pub const CENSUS_TIME_MAX: Duration = Duration::from_secs(2);

/// Connections that read the node's figures at once: a few monitors, and whoever looks by hand.
pub const SCRAPERS_MAX: usize = 16;

/// Of these, of one address: a fourth, so that whoever keeps connecting leaves places to the monitor.
pub const SCRAPERS_EACH_MAX: usize = SCRAPERS_MAX / 4;
/// Connections at once at the port where an authority asks over HTTP: it asks from a handful of places at the same
/// time, once for each name; the others are strangers'.
pub const CHALLENGERS_MAX: usize = 64;

/// Of these, of one network: an eighth, so that whoever keeps connecting leaves places to the authority.
pub const CHALLENGERS_EACH_MAX: usize = CHALLENGERS_MAX / 8;

/// How long each of those may last: one request of some hundred bytes, and its answer.
pub const CHALLENGE_TIME_MAX: Duration = Duration::from_secs(15);

/// Bytes of an answer of the server API: 3,000 participants with 20 KiB of profile and tracks each.
pub const ANSWER_MAX: usize = 64 << 20;

/// Bytes of a name, metadata and attributes that a refresh token carries: what a request line leaves.
pub const REFRESH_PROFILE_MAX: usize = 4 << 10;

/// Senders whose last packet a client names when it resumes: everybody in the largest room.
pub const SYNC_SENDERS_MAX: usize = ROOM_PARTICIPANTS_MAX;

/// Codecs of an announced track; clients name a preferred one and a fallback.
pub const ANNOUNCED_CODECS_MAX: usize = 3;

/// Bytes of an announced codec's name, which may be a MIME type.
pub const CODEC_NAME_MAX: usize = 64;

/// Features of an announced track, of each kind. LiveKit knows eight.
pub const FEATURES_MAX: usize = 16;

/// Bytes of a datagram or payload that goes from worker to worker: an Ethernet frame's.
pub const HOP_BYTES_MAX: usize = 1500;

/// Slots of all rings between workers together: 4,096 of 1.6 KB are 6.5 MB, of which only what has
/// been used takes memory.
pub const HOPS_TOTAL: usize = 4096;

/// Slots of one ring at most: one full receive batch of 32 messages with 32 datagrams each, but for [`HOPS_KEPT`].
pub const HOPS_MAX: usize = 1024;

/// Slots of one ring at least, on machines with many cores: what a gigabit a second brings while its reader
/// rests for 4 ms, and [`HOPS_KEPT`].
pub const HOPS_MIN: usize = 512;

/// Of these, kept for words of whose a path is, which are said once in [`PATH_TOLD_EVERY`]: without one what comes over
/// the path goes to nobody, or to whose it was. As many as 16 clients say who join or move while a reader rests.
pub const HOPS_KEPT: usize = 64;

/// Paths whose owner is another worker and that were shown to lead to a client: four of each participant, which is told
/// of every one; some 3 MiB when they are all there.
pub const ROUTES_MAX: usize = 4 * PARTICIPANTS_MAX;

/// Those that were not shown to: one of each participant, until its next check. Whoever has a ufrag of ours can fill it
/// with forged addresses; then the first packets of clients that join are lost until then.
pub const ROUTES_UNOPENED_MAX: usize = PARTICIPANTS_MAX;

/// Distinct paths that a peer may prove at once: each is a candidate that its ICE agent keeps. Four times
/// [`peer::PATHS_MAX`]; as many again when it restarts ICE.
pub const PATHS_PROVEN_MAX: u32 = 64;
/// How long it takes to earn another: a call may last for days, and its client move all the time.
pub const PATH_PROVEN_EVERY: Duration = Duration::from_secs(60);

/// Rows of a table of budgets: 64 KiB each, of which only what is used takes memory. There are two for each worker
/// and thirteen beside them.
pub const BUDGET_ROWS: usize = 4096;

/// Binding requests over unproven paths that one network may have judged at once, on one worker: 250 people
/// behind one address who join together, with eight checks each before the first has been answered.
pub const KNOCKS_BURST: u64 = 2000;

/// The same a second, on end: 60 joins. At 2 us each it is a thousandth of a core.
pub const KNOCKS_PER_SECOND: u64 = 500;

/// DTLS handshakes that one network may begin at once, on one worker: everybody of a large house after a restart.
pub const DTLS_BURST: u64 = 2000;

/// The same a second, on end. At 0.1 ms each it is a fiftieth of a core.
pub const DTLS_PER_SECOND: u64 = 200;

/// How long a proven path cannot become another peer's: two checks at the slowest, 6 s (RFC 7675 §5.1).
pub const PATH_HELD_TIME: Duration = Duration::from_secs(12);

/// How often workers tell each other that a path is still proven, at most: each time takes a place in a ring.
pub const PATH_TOLD_EVERY: Duration = Duration::from_secs(30);

/// How long what was told of a path holds, if nothing more is: one message may be lost.
pub const PATH_TOLD_HELD: Duration = Duration::from_secs(75);

/// How long a client may go without a check that holds: the consent of RFC 7675 §5.1.
pub const CHECK_SILENCE_MAX: Duration = Duration::from_secs(30);

/// Bytes of reliable messages that wait for room in a peer's data channel, beyond which the peer lags and those who
/// send in its room are held back: half of [`peer::CHANNEL_BUFFER_BYTES_MAX`], which is under way by then. A receiver
/// of 128 KiB a second takes both in 3 s, as much again in what comes at once when it has, and one sender that is held
/// back sends no more than that ([`peer::HELD_TIME_MAX`]): it is in time ([`peer::UNACKNOWLEDGED_TIME_MAX`]).
pub const LAG_BYTES: usize = peer::CHANNEL_BUFFER_BYTES_MAX / 2;

/// How many, which cost more than their bytes say.
pub const LAG_MESSAGES: usize = 256;

/// Bytes of them at which it lags no more: enough to be sent until those who are no longer held back send more.
pub const CAUGHT_UP_BYTES: usize = LAG_BYTES / 4;

/// How many.
pub const CAUGHT_UP_MESSAGES: usize = LAG_MESSAGES / 4;

/// Bytes of reliable messages that wait in one worker for room in data channels, each counted once for all that it
/// waits for. Whoever is held back sends 1.4 MiB in the 9.5 s for which a message may wait, and what it had sent until
/// then, which is some 100 KiB: it takes forty who send as much as they can, each in a room with somebody who reads
/// nothing. Then those for whom something waits longest are given up.
pub const WAITING_BYTES_MAX: usize = 64 << 20;

/// How many wait there, counted once for each that it waits for: 40 bytes each, 40 MiB. Of who is held back there are
/// 9,000 at most by [`DATA_MESSAGES_PER_SECOND`]: it takes a hundred receivers that read nothing.
pub const WAITING_MAX: usize = 1 << 20;

/// Data messages of one peer a second, on end: a file at [`DATA_BYTES_PER_SECOND`] in LiveKit's chunks
/// of 15 kB is 560 of them.
pub const DATA_MESSAGES_PER_SECOND: u64 = 600;

/// Data messages of one peer at once: 30 MB of a file, as fast as the network gives them, and the reserve.
pub const DATA_MESSAGES_BURST: u64 = 3500;

/// What is kept of either for reliable messages: with less left lossy ones are dropped; with little more, reliable
/// ones are read no faster than they earn it, so that the peer waits. It is what [`peer::HELD_TIME_MAX`] earns, in
/// which all that may be unread ([`peer::PIECES_AT_EASE`]) is read once.
pub const DATA_MESSAGES_RESERVE: u64 = 1500;
const _: () = assert!(DATA_MESSAGES_RESERVE > peer::PIECES_AT_EASE as u64 * 5 / 4);
/// The window of SCTP, the largest message among it, thrice.
pub const DATA_BYTES_RESERVE: u64 = 1 << 20;

/// What reliable messages leave above the reserve, so that who copies a file may say lossy ones beside it.
pub const DATA_MESSAGES_SPARE: u64 = 100;
/// Bytes of them.
pub const DATA_BYTES_SPARE: u64 = 128 << 10;

/// Receivers that one participant's data packets name at once: 64 packets to as many as one may name.
pub const NAMES_BURST: u32 = 64 << 10;

/// The same a second, on end: at 0.4 us for each, to decode, sort and look up a name, a hundredth of the hub's time.
/// Packets to 27 people may come at [`DATA_MESSAGES_PER_SECOND`].
pub const NAMES_PER_SECOND: u32 = 16 << 10;

/// Bytes of one peer's data messages a second, on end: a file at 67 Mbit/s.
pub const DATA_BYTES_PER_SECOND: u64 = 8 << 20;

/// Bytes of one peer's data messages at once: four seconds of the rate, 128 of the largest messages.
pub const DATA_BYTES_BURST: u64 = 32 << 20;

/// Messages of a worker that wait for the hub.
pub const UPWARD_MAX: usize = 4096;

/// Bytes of them.
pub const UPWARD_BYTES_MAX: usize = 16 << 20;

/// Reliable messages of one peer among them: 16 peers at their share fill the queue, one alone does not.
pub const UPWARD_SHARE_MAX: usize = UPWARD_MAX / 16;

/// Bytes of those: 1 MiB, four of the largest messages.
pub const UPWARD_SHARE_BYTES_MAX: usize = UPWARD_BYTES_MAX / 16;

/// Data messages that wait for one worker, of 80 bytes each: 20 MiB. Each of [`HUB_INBOX_MAX`] to 240 receivers there,
/// when nothing more is read any more. In a larger room as many that come together may still cost receivers one.
pub const SENDS_MAX: usize = 1 << 18;

/// Messages beside those that may be lost, 100 ms of a worker's work: in a room of 3,000 one member's alone are more
/// than it sends.
pub const SENDS_LOSSY_MAX: usize = SENDS_MAX / 8;
/// Their bytes.
pub const SENDS_LOSSY_BYTES_MAX: usize = SENDS_BYTES_MAX / 8;

/// How many wait when who sends reliable ones is held back: 160 to 100 receivers, 50 ms of a worker's work.
pub const SENDS_CROWDED: usize = SENDS_MAX / 16;

/// Bytes of them, counted once for each receiver although they are shared: 90 receivers of 200 chunks of 15 kB.
pub const SENDS_BYTES_MAX: usize = 256 << 20;

/// How many wait when who sends reliable ones is held back: what is left is what 7 who send to 100 receivers have under
/// way by then, with all that SCTP has received of them.
pub const SENDS_BYTES_CROWDED: usize = SENDS_BYTES_MAX / 8;

/// Messages of the hub that a worker takes before it looks at its sockets again.
pub const INBOX_TURN_MAX: usize = 256;

/// TCP connections for media at once: for four participants of ten, far more than have no UDP. At 8 KiB for
/// reading, and what waits to be written to those who read slowly, 32 MiB and, if all of them do at once, 1.3 GiB.
pub const TCP_CONNECTIONS_MAX: usize = 4096;

/// Of these, of one network: half, as of [`NETWORK_CONNECTIONS_MAX`].
pub const TCP_NETWORK_MAX: usize = TCP_CONNECTIONS_MAX / 2;

/// Those among them whose peer has not proven them: 1 MiB of first frames.
pub const TCP_UNPROVEN_MAX: usize = 1024;

/// Of these, of one network: whoever opens as many and says nothing keeps its own network away from TCP for
/// [`TCP_FIRST_TIME_MAX`] at a time, from UDP never.
pub const TCP_NETWORK_UNPROVEN_MAX: usize = TCP_UNPROVEN_MAX / 2;

/// Bytes of a TCP connection's first frame, its length included: a binding request of a browser has 110, with
/// the longest user name that ICE allows 600.
pub const TCP_FIRST_MAX: usize = 1024;

/// How long a TCP connection may take to its first frame, and from there to its proof.
pub const TCP_FIRST_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes that are read from a TCP connection at once: some seven datagrams, four frames of the longest.
pub const TCP_CHUNK_BYTES: usize = 8 << 10;

/// Bytes of media that wait for one TCP connection: 1 s of 2 Mbit/s, a large key frame.
pub const TCP_QUEUE_BYTES_MAX: usize = 256 << 10;

/// Bytes of checks, DTLS and data that may wait beside it: a client whose media is dropped is not lost.
pub const TCP_RESERVE_BYTES: usize = 64 << 10;

/// Bytes that the kernel holds of one TCP connection and has not sent yet. What is under way comes on top: it
/// is as much as the path holds.
pub const TCP_UNSENT_BYTES_MAX: i32 = 32 << 10;

/// How long media may wait for a TCP connection. What is older is of no use to a call, and who sent it may
/// have left.
pub const TCP_MEDIA_WAIT_MAX: Duration = Duration::from_secs(2);

/// The same of everything else: whoever waited so long for a check or a record has sent it again.
pub const TCP_OTHER_WAIT_MAX: Duration = Duration::from_secs(4);

/// How long anything may take to be written from when it was given to a TCP connection, or the connection is
/// cut. With the age at which a packet is sent once more ([`sfu::limits::RESEND_AGE_MAX`]) it is less than the
/// ten seconds that are promised (docs/security.md).
pub const TCP_WRITE_TIME_MAX: Duration = Duration::from_secs(7);

/// How long a TCP connection may take to its end once its peer is gone: for a goodbye. Its address is to be
/// forgotten two seconds after the session.
pub const TCP_FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the rest of a frame may take that has begun to come: it lies here meanwhile.
pub const TCP_FRAME_TIME_MAX: Duration = Duration::from_secs(9);

/// How long a TCP connection may say nothing: twice what browsers leave between checks of a pair that they do
/// not use.
pub const TCP_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Connections that the kernel accepts before we do, at each port: whoever comes beyond is not heard, and tries again
/// after 1, 3 and 7 s. When all of a full node come back after a restart it is two fifths of them; the control threads
/// accept as many within a second, handshakes included. No more than `net.core.somaxconn`, which is as much.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Chunks of TCP connections that wait for one worker: 2 MiB. Connections wait in turn for a place.
pub const TCP_INBOX_MAX: usize = 256;

/// Chunks that a worker takes before it looks at its sockets again.
pub const TCP_TURN_MAX: usize = 64;

/// Receive batches that a worker takes from one socket before it looks at anything else.
pub const RECEIVE_TURN_MAX: usize = 4;

/// Participants that left a room and of whom it is kept that they are gone, for clients that were away then: a large
/// room that empties at once. Each is an id and a digest, 64 bytes.
pub const GONE_MAX: usize = 1024;

/// For how long: livekit-client notices within 15 s that it is away, and tries to resume for 60 s.
pub const GONE_TIME_MAX: Duration = Duration::from_secs(120);

/// Participants of the node that were put out for good and whose clients may not know it: all that it holds, at once.
/// With its places in a map and a list each takes 150 bytes, 1.5 MiB in all.
pub const PUT_OUT_MAX: usize = PARTICIPANTS_MAX;
