//! Every bound of a peer that the remote side can drive, with its reckoning.

use std::time::Duration;

/// The largest data-channel message that is received. LiveKit's clients clamp theirs to 64,000 bytes;
/// libwebrtc announces 262,144.
pub const MESSAGE_BYTES_MAX: u32 = 256 * 1024;

/// Bytes that may wait for acknowledgement over all channels of a peer: four messages of the largest
/// size that clients send, and 1 s of 2 Mbit/s.
pub const CHANNEL_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// With more than this waiting, a lossy message is dropped rather than queued: 250 ms of 2 Mbit/s.
pub const LOSSY_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How long what was said may wait for a receiver to acknowledge it: the memory holds nothing older than 10 s, and a
/// worker takes less than half a second to look.
pub const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_millis(9_500);
/// How long a message that is to be sent once may wait for its acknowledgement: less than the second after which SCTP
/// would send it again at the earliest (RFC 9260 §16).
pub(crate) const UNREPEATED_TIME_MAX: Duration = Duration::from_millis(900);

/// Writes to a channel that are timed as one, and how many at most: there are at most 96 such batches of what is said
/// anew, and 64 more of [`OUTSTANDING_MAX`] short messages.
pub(crate) const BATCH_TIME: Duration = Duration::from_millis(100);
pub(crate) const BATCH_MESSAGES_MAX: u32 = 128;

/// How often a peer looks whether something is overdue, when something has waited for longer than
/// [`UNACKNOWLEDGED_TIME_MAX`] without a break: acknowledgements of a large file never cease to be due.
pub(crate) const OVERDUE_EVERY: Duration = Duration::from_millis(200);

/// The longest time between two attempts of SCTP to have something acknowledged: a client that is back on the network
/// after 7.5 s hears it before it is given up. Above the round trip of any path on which people talk.
pub(crate) const RETRANSMISSION_TIME_MAX: Duration = Duration::from_secs(2);

/// The same until a round trip was measured: no less than SCTP's shortest, on which [`UNREPEATED_TIME_MAX`] rests.
/// sctp-proto's own is three seconds.
pub(crate) const RETRANSMISSION_TIME_FIRST: Duration = Duration::from_secs(1);

/// SCTP streams of one peer, channels or not: a client that opens and closes its few channels has those
/// of which the reset is under way beside them.
pub(crate) const STREAMS_MAX: usize = 64;

/// Data channels that one peer may open. LiveKit's clients open three.
pub(crate) const CHANNELS_MAX: usize = 8;

/// Characters of a channel's label that are looked at.
pub(crate) const LABEL_BYTES_MAX: usize = 64;

/// Steps that one input can make a peer take before it counts as never coming to rest. A DTLS flight is
/// under ten datagrams. An SCTP burst is bounded by [`CHANNEL_BUFFER_BYTES_MAX`] or [`OUTSTANDING_MAX`] messages, some
/// 550 packets of three steps each; one retransmission may release all messages of one burst of small ones,
/// [`PIECES_MAX`].
pub(crate) const STEPS_PER_INPUT_MAX: usize = 4_096;

/// Paths of one peer that are remembered: a client with four interfaces and two of our addresses
/// checks eight.
pub const PATHS_MAX: usize = 16;

/// Checks of a client that are remembered, so that one which was recorded is not answered elsewhere: 512 bytes, and
/// over a minute of two pairs that are checked every 2.5 s, as browsers do.
pub(crate) const HEARD_MAX: usize = 64;

/// How often a path beside one that is open gets a check of ours for the first of its own, which it has not paid for:
/// whoever moves is answered in one round trip, and whoever has recorded checks gets a hundred bytes so often.
pub(crate) const GIVEN_EVERY: Duration = Duration::from_secs(5);

/// Our checks of one path are this far apart, however often it is asked for one.
pub(crate) const CHECK_SPACING: Duration = Duration::from_millis(20);

/// How long a client may leave our checks unanswered (RFC 7675 §5.1); twice, if it restarts ICE meanwhile.
pub(crate) const CONSENT_TIME: Duration = Duration::from_secs(30);

/// Datagrams that wait for a path to open: a DTLS flight is under ten.
pub(crate) const HELD_MAX: usize = 16;

/// Datagrams that wait to be opened, of 2 KiB: a worker opens each before it takes the next, others a burst at once.
pub(crate) const COME_MAX: usize = 64;

/// Bytes of the other end's certificate message: an elliptic one of browsers has 300, a chain of two that RSA keys of
/// 4,096 bits have signed fits; keys in it are elliptic, since dimpl verifies no others. A server's handshake is given
/// none that is longer; a client's, whose server is ours, needs a tenth.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 4_096;

/// Bytes of a client's other handshake messages in the clear: an elliptic point of 133, a signature of 139.
pub(crate) const FLIGHT_MESSAGE_BYTES_MAX: usize = 1_024;

/// Bytes of a datagram or record that are looked at: more than a path to a client carries.
pub(crate) const RECORD_BYTES_MAX: usize = 2_048;

/// Bytes of a datagram that comes over TCP: as many as of one that is looked at.
pub const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Bytes of a hello: one with a post-quantum share of 1,216 and a cookie has 1,700.
pub(crate) const HELLO_BYTES_MAX: usize = 4_096;

/// DTLS handshakes that one peer may begin at once. Only hellos with the transport's cookie begin one, so this holds
/// the client itself: at 0.2 ms each they are 0.8 ms.
pub(crate) const HANDSHAKES_BURST: u8 = 4;

/// How often it may begin another one: a thousandth of a core for whoever begins them on end.
pub(crate) const HANDSHAKE_EVERY: Duration = Duration::from_millis(200);

/// Those that are under way at once: the one that goes on, and two that the client began anew, 8 KiB each.
pub(crate) const HANDSHAKES_AT_ONCE_MAX: usize = 3;

/// When a flight of ours that was not answered is sent again, and then after twice as long each time: above the round
/// trip of most paths, since the second may go for nothing, and below what people notice. dimpl's own is a second.
pub(crate) const FLIGHT_TIME_FIRST: Duration = Duration::from_millis(250);

/// How often at most: 32 s in all, as long as dimpl's four times after a second.
pub(crate) const FLIGHTS_AGAIN_MAX: usize = 6;

/// What SCTP receives and nobody has read, over all channels: one of the largest messages, and a fourth of one beside
/// it. A client that is 50 ms away may send 52 Mbit/s by that, as much as [`CHANNEL_BUFFER_BYTES_MAX`] lets a receiver
/// have there. It is what [`HELD_TIME_MAX`] is multiplied with: not more than is of use.
pub(crate) const RECEIVE_BUFFER_BYTES_MAX: u32 = MESSAGE_BYTES_MAX + MESSAGE_BYTES_MAX / 4;

/// How long messages of a client that is held back may be left unread. Then all of them are read, whoever is slow: with
/// [`RECEIVE_BUFFER_BYTES_MAX`] it sends 128 KiB a second at least (1 Mbit/s), and those who hear it still have 7 s.
pub const HELD_TIME_MAX: Duration = Duration::from_millis(2_500);

/// How often it is looked whether a client is still held back that is.
pub(crate) const HELD_EVERY: Duration = Duration::from_millis(20);

/// Bytes of a client that is held back that are read at once all the same: what people write, not what they copy.
pub(crate) const HELD_BYTES_BURST: u32 = 32 * 1024;

/// What a message counts there at least: 32 are read at once, and 16 a second.
pub(crate) const HELD_MESSAGE_BYTES: usize = 1024;

/// The same a second, on end: an eighth of what is read of it in any case.
pub(crate) const HELD_BYTES_PER_SECOND: u32 = 16 * 1024;

/// Bytes of an SCTP chunk's payload. Of those that SCTP puts into one packet it counts neither the padding nor the last
/// one's header: of messages of 5 bytes, as a back end may say them, a packet then has 1,188, and of none that is a
/// data packet more than 1,195. With DTLS's (37) and UDP over IPv6 that fits a path of 1,280.
pub(crate) const SCTP_PAYLOAD_BYTES_MAX: u32 = 1_004;

/// Chunks from the first that a client has not acknowledged to the last that it was sent. SCTP looks at all of them
/// whenever it sends. [`CHANNEL_BUFFER_BYTES_MAX`] of messages of one byte would be 262,144.
pub(crate) const OUTSTANDING_MAX: u32 = 8_192;
/// Those that are kept for the pieces of long messages: [`CHANNEL_BUFFER_BYTES_MAX`] is 262 of them.
pub(crate) const OUTSTANDING_PIECES: u32 = 272;
/// What an acknowledgement takes of a client's time for them: 5,000 a second at most. A receiver of 50 Mbit/s sends
/// half as many.
pub(crate) const ACKNOWLEDGED_EACH: Duration = Duration::from_micros(200);
/// What each number takes that it names beyond a gap, beside that: a hundredth of a core for SCTP. While one packet is
/// lost of a burst of 2,000 short messages its client names 70,000.
pub(crate) const ACKNOWLEDGED_COST: Duration = Duration::from_micros(10);
/// What may be taken at once: half a million numbers.
pub(crate) const ACKNOWLEDGED_BURST: Duration = Duration::from_secs(5);
/// How often a client may ask for an answer, by a heartbeat or a cookie, on end: it does each half minute, and each
/// second while it has none.
pub(crate) const ECHO_EVERY: Duration = Duration::from_secs(1);
/// What takes this long may be asked for at once.
pub(crate) const ECHOES_BURST: Duration = Duration::from_secs(8);
/// Of the time between two acknowledgements this much counts as time in which the first gap stayed.
pub(crate) const STUCK_STEP_MAX: Duration = Duration::from_secs(1);

/// Pieces of messages that SCTP may hold. [`RECEIVE_BUFFER_BYTES_MAX`] of a client whose packets carry 1,150 bytes is
/// 285 of them, and 570 if each message is a little longer than one. With each that comes SCTP looks at all that it
/// holds of a stream, thrice: 5 us with so many.
pub(crate) const FRAGMENTS_MAX: usize = 1_024;

/// Messages and pieces that SCTP may hold with newer ones still coming: those are let go as if they had been lost. All
/// that are held back are read every [`HELD_TIME_MAX`]: of the shortest it is 440 a second, fewer than a client may
/// send.
pub const PIECES_AT_EASE: usize = 1_100;

/// Those that it may hold: over [`PIECES_AT_EASE`] only those are taken that were missing before what is held, of which
/// a client has lost no more than it sent. Those that are released at once are half of [`STEPS_PER_INPUT_MAX`].
pub(crate) const PIECES_MAX: usize = 2 * PIECES_AT_EASE;

/// Messages and pieces of a stream that begins anew which SCTP may hold until what came before is read: no client sends
/// of it before its reset is answered, and then only one that is held back has something unread. SCTP looks at all of
/// them with each that comes: 2 us with so many.
pub(crate) const PIECES_BEHIND_RESET: usize = 32;

/// Resets of streams that are not done with: a client has one under way (RFC 6525 §4.1).
pub(crate) const RESETS_AT_ONCE_MAX: usize = 8;
/// Resets that a client may ask for at once. It closes a few channels in its life.
pub(crate) const RESETS_BURST: u32 = 64;
/// How long it takes to earn another. SCTP asks for one of its own in turn, and gives it up after 16 s, so that a
/// client that answers none leaves it no more.
pub(crate) const RESET_EVERY: Duration = Duration::from_secs(10);
/// How often a client may give something up while one of its resets is not done with: SCTP keeps note of each, and
/// looks at all of them with each chunk.
pub(crate) const FORWARD_EVERY: Duration = Duration::from_millis(200);
