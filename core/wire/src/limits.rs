//! Bounds on everything that a remote party can make this crate do.

// Session descriptions. The largest real offer seen, Chromium with 40 sections, has 230 kB in 6,000 lines.

/// Bytes of an offer.
pub const SDP_MAX: usize = 1 << 20;
/// Bytes of a line. The longest known is `a=sctp-init` of libwebrtc's native clients, under 1 KiB.
pub const SDP_LINE_MAX: usize = 8 << 10;
/// Sections of an offer, those that are rejected included: all of [`SECTIONS_OPEN_MAX`], and as many again as somebody
/// adds who was asked for them twice. Chromium's are 736 kB then, which [`SDP_MAX`] holds.
pub const SDP_SECTIONS_MAX: usize = 128;
/// Sections that carry something, or could: 63 tracks to receive, the data channels, and [`SECTIONS_KEPT`]. Each has a
/// few kilobytes of formats for as long as the session lasts. What is offered beyond them is rejected, which costs a
/// client that track alone: it stops the transceiver, and its next one takes the place in the offer.
pub const SECTIONS_OPEN_MAX: usize = 72;
/// Of these, those that are kept for what the client itself sends: camera, microphone, a screen with its sound, and as
/// many again.
pub const SECTIONS_KEPT: usize = 8;
/// Payload types of a section: as many as there are numbers. Chromium offers 40.
pub const SDP_PAYLOADS_MAX: usize = 128;
/// Feedback lines of a section that mean something to us: five kinds for each payload type.
pub const SDP_FEEDBACK_MAX: usize = 5 * SDP_PAYLOADS_MAX;
/// `a=extmap` lines of a section. Chromium offers 13.
pub const SDP_EXTENSIONS_MAX: usize = 32;
/// SSRCs of a section: three layers, each with a retransmission stream, leave room for others' habits.
pub const SDP_SSRCS_MAX: usize = 32;
/// Rids of a section. LiveKit's clients send three.
pub const SDP_RIDS_MAX: usize = 8;
/// Characters of a rid: the payload of a one-byte header extension.
pub const RID_MAX: usize = 16;
/// Characters of a mid: the payload of a one-byte header extension.
pub const MID_MAX: usize = 16;
/// Characters of an encoding name; the longest in use is `telephone-event`.
pub const SDP_NAME_MAX: usize = 32;
/// Characters of the parameters of one payload type, which answers repeat.
pub const SDP_FMTP_MAX: usize = 512;
/// Characters of a stream's or track's id. Browsers use UUIDs.
pub const MSID_MAX: usize = 256;
/// Characters of a ufrag (RFC 8839 §5.4).
pub const ICE_UFRAG_LEN: std::ops::RangeInclusive<usize> = 4..=256;
/// Characters of an ICE password (RFC 8839 §5.4).
pub const ICE_PWD_LEN: std::ops::RangeInclusive<usize> = 22..=256;
/// The SCTP port of every WebRTC client, and ours.
pub const SCTP_PORT: u16 = 5000;
/// Bytes of a data channel message that a peer takes who does not say (RFC 8841 §6.1), and that we take:
/// LiveKit's clients send no message above 64,000.
pub const SCTP_MESSAGE_DEFAULT: u64 = 64 << 10;
/// Tracks announced by AddTrack whose section has not been offered yet (LiveKit: 20).
pub const ANNOUNCED_MAX: usize = 20;

// Joins and tokens.

/// Bytes of a request line, which carries the token of browsers and the join request of everybody. The
/// wheel's join request is 2.1 kB in it.
pub const REQUEST_LINE_MAX: usize = 16 << 10;
/// Bytes of a token. In a browser it shares the request line; by itself it may fill as much.
pub const TOKEN_MAX: usize = 16 << 10;
/// Seconds for which a refresh token is good that says what a moderator has made of its holder (LiveKit: for all, the
/// same). A client is given another after half of that.
pub const CHANGED_TIME_MAX_S: u64 = 600;
/// Bytes of an inflated join request (LiveKit: the same). The wheel's has 14 kB.
pub const JOIN_REQUEST_MAX: usize = 1 << 20;
/// Bytes of an identity, a room's name and a participant's name (LiveKit: the same).
pub const NAME_MAX: usize = 256;
/// Bytes of a participant's metadata (LiveKit: the same).
pub const METADATA_MAX: usize = 512 << 10;
/// Bytes of a participant's attributes, keys and values together (LiveKit: the same).
pub const ATTRIBUTES_MAX: usize = 64 << 10;
/// Bytes of the name of an API key.
pub const KEY_NAME_MAX: usize = 256;
/// Bytes that the secret of a key must have: as many as HS256 puts out (RFC 7518 §3.2).
pub const SECRET_LEN_MIN: usize = 32;
/// Bytes of a key in PEM: a P-256 pair has 250.
pub const PEM_MAX: usize = 4 << 10;
/// Bytes of a JSON Web Key Set: 4 KiB for each of its keys, which have 250 and may bring a certificate.
pub const JWKS_MAX: usize = JWKS_KEYS_MAX * (4 << 10);
/// Keys of a JSON Web Key Set. Two are enough to rotate.
pub const JWKS_KEYS_MAX: usize = 16;
/// Bytes of an inflated AccessToken2. With a service of each of the ten kinds, each of eight privileges and
/// two texts of 256 bytes, it has less than 6 KiB; a token for a room has 150.
pub const ACCESS_TOKEN_MAX: usize = 8 << 10;
/// Revocations that are held: 64 bytes each, and for an identity or a key up to [`NAME_MAX`] more, make 20 MiB.
pub const REVOCATIONS_MAX: usize = 64 << 10;
/// Seconds by which clocks may differ (LiveKit: the same).
pub const CLOCK_LEEWAY_S: u64 = 60;
/// The latest second that a token may name, the end of the year 9999. Milliseconds given for seconds lie
/// beyond it, and would make a token that never ends.
pub const DATE_MAX: u64 = 253_402_300_799;

// Signalling.

/// Bytes of a signalling message (LiveKit: the same).
pub const FRAME_MAX: usize = 2 << 20;
/// Depth of arrays and objects in any JSON text. The deepest that a client sends has seven.
pub const JSON_DEPTH_MAX: usize = 16;
/// Depth to which protobuf messages are searched for fields: the deepest that may come has six.
pub const PROTO_DEPTH_MAX: usize = 16;
/// Fields or JSON values of a message, over all depths. An empty element of a list takes two bytes in a
/// message and up to [`ELEMENT_SIZE_MAX`] in memory, so that without a bound 2 MiB would become a gigabyte;
/// with it they stay under 16 MiB. A room of 3,000 people with two tracks each needs 6,000 sids.
pub const FIELDS_MAX: usize = 16 << 10;
/// Bytes in memory of the largest element of a list that a client may send.
pub const ELEMENT_SIZE_MAX: usize = 1 << 10;

/// Tracks that are read from one list of subscriptions or settings, of a client or a back end: above 1,000, which is
/// what a client's requests at once pay for when it names each track twice, as LiveKit's do.
pub const TRACKS_NAMED_MAX: usize = 1024;

// The server API.

/// Bytes of the body of a request to the server API (LiveKit: the same). The largest that makes sense has 3.5 MiB:
/// all of [`METADATA_MAX`] and [`ATTRIBUTES_MAX`] in JSON's longest form.
pub const API_BODY_MAX: usize = 10 << 20;

// Data.

/// Bytes of a data packet: what [`SCTP_MESSAGE_DEFAULT`] promises to take. An empty element of a list takes
/// two of them and at most 256 in memory: 8 MiB while one packet is looked at.
pub const DATA_PACKET_MAX: usize = 64 << 10;
/// Participants that one data packet may be addressed to.
pub const DESTINATIONS_MAX: usize = 1024;
