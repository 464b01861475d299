//! Bounds on everything that a remote party can make this crate do.

use std::time::Duration;

use model::DataRate;
use rtp::limits::NACK_MISSING_MAX;

// What a participant can make Control remember.

/// Tracks of one participant that were announced and whose media has not been negotiated (LiveKit: 20).
pub const PENDING_MAX: usize = 20;
/// Tracks of one participant, pending ones included: a session description has 72 open sections at most,
/// one of them the data channels', and whoever sends so much can receive a few tracks.
pub const PUBLICATIONS_MAX: usize = 63;
/// Tracks that one participant receives or waits to receive: four times the 63 that a session description carries, so
/// that many may end before those that wait are used up. Each takes some 0.6 KB, here and in its negotiation: 150 KB,
/// or 460 MB in a room of 3,000 of whom 130 publish two. What is beyond is left out until half of them have ended, but
/// for what is asked for by name once one has.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Bytes of the client's own name for a track. Browsers use UUIDs, LiveKit's limit for names is 256.
pub const CID_MAX: usize = 256;
/// Rooms of a node before none is made without a participant: with all of its metadata each, 2 GiB at the very worst,
/// and only for holders of the right to make rooms. Of those that joins make beyond it none outlives its people for
/// longer than the node's do.
pub const ROOMS_MAX: usize = 4096;
/// Bytes of a participant's display name (LiveKit: 256).
pub const NAME_MAX: usize = 256;
/// Bytes of a participant's or a room's metadata (LiveKit: 512 KiB).
pub const METADATA_MAX: usize = 512 << 10;
/// Bytes of a participant's attributes, keys and values together (LiveKit: 64 KiB).
pub const ATTRIBUTES_MAX: usize = 64 << 10;
/// Participants and tracks that one subscription permission may name: a room full of publishers, and
/// at some 40 bytes each 160 KiB.
pub const ALLOWANCES_MAX: usize = 4096;
/// Words on how well somebody is connected that are told in one turn. All of a room of 3,000 of whom each receives 128
/// are told in four seconds.
pub const QUALITIES_PER_TURN_MAX: usize = 1024;
/// Rtp streams of one track, one per spatial layer.
pub const STREAMS_MAX: usize = model::Layer::SPATIAL_MAX;

// Forwarding.

/// How old a packet may get in a room's history. The promise is ten seconds (docs/security.md); half a second is left
/// for a worker that is late. Retransmissions are asked for within one.
pub const HISTORY_AGE_MAX: Duration = Duration::from_millis(9_500);
/// How long a packet is kept while memory lasts: a second of outage and a round trip.
pub const HISTORY_AGE_WANTED: Duration = Duration::from_millis(1_500);
pub use rtp::limits::RESEND_AGE_MAX;
/// A room's history grows by this: 1.5 s of 1.3 Mbit/s.
pub const ARENA_STEP_BYTES: usize = 256 << 10;
/// A room's history on one worker at most: 1.5 s of 43 Mbit/s, which is 25 cameras in three layers.
pub const ARENA_BYTES_MAX: usize = 8 << 20;
/// The largest datagram that is sent: an Ethernet MTU less nothing, since a padded or re-headed packet
/// may be a little larger than it came.
pub const DATAGRAM_BYTES_MAX: usize = 1500;
/// The largest datagram that is taken as media: what is sent less the room that re-heading needs.
pub const MEDIA_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 40;
/// Bytes that are sealed before they are handed to the kernel: about 170 large packets.
pub const EGRESS_BYTES: usize = 256 << 10;
/// Trains that are handed to the kernel at once.
pub const EGRESS_TRAINS: usize = 512;
/// Segments of one train (Linux `UDP_MAX_SEGMENTS` is 64 in older kernels).
pub const TRAIN_SEGMENTS_MAX: usize = 64;
/// Bytes of one train: an IPv4 datagram with its headers.
pub const TRAIN_BYTES_MAX: usize = 65_000;
/// Packets of one subscription that can be sent again: more than [`RESEND_AGE_MAX`] of 340 packets/s. A receiver that
/// is far away asks again for what it has not got up to two round trips after it was sent first. Some 60 KB, once
/// somebody asks so late for what came so fast.
pub const RESEND_VIDEO: usize = 1_024;
/// The same of sound: 1.3 s of 50 packets/s.
pub const RESEND_AUDIO: usize = 64;
/// SSRCs that one peer may send: 63 tracks of three layers, each with its retransmissions.
pub const SSRCS_MAX: usize = 384;

/// How long packets may be on their way under the SSRC that a publisher's rtp stream had before.
pub const LATE_TIME_MAX: Duration = Duration::from_secs(2);
/// Of the bytes that a subscription was sent, one in so many may be sent again: a fifth repairs a loss of one in six.
/// Who loses more needs a lower layer, which congestion control chooses, and a key frame.
pub const RESEND_SHARE: i32 = 5;
/// Bytes that may be sent again beside that, while they are there: 0.35 s of 1.5 Mbit/s, lost at once.
pub const RESEND_BURST_VIDEO: i32 = 64 << 10;
/// The same of sound: as many packets as are kept, of 120 bytes.
pub const RESEND_BURST_AUDIO: i32 = 8 << 10;
/// Retransmission requests that are answered from one datagram.
pub const NACKS_PER_DATAGRAM_MAX: usize = 64;
/// Key frame requests that are heeded from one datagram: all layers of a track and some more.
pub const KEYFRAMES_PER_DATAGRAM_MAX: usize = 8;
/// A leap of more than this many sequence numbers is no loss, as nothing between is asked for: the numbers go on
/// without it, a picture with a key frame. A receiver would ask in vain for what it believes lost, and guesses the
/// rollover counter wrongly from 32,768 on.
pub const LEAP: u64 = NACK_MISSING_MAX as u64 + 1;
/// Transport feedbacks that are read from one datagram.
pub const FEEDBACKS_PER_DATAGRAM_MAX: usize = 4;
/// What one takes of its sender's time for them: 100 a second at most. Browsers send 4 to 20, our own clients 10.
pub const FEEDBACK_COST: Duration = Duration::from_millis(10);
/// What each packet takes that it tells of, beside that: 20,000 a second at most, 2 bytes of a run or not. Who receives
/// 50 Mbit/s tells of 5,000.
pub const FEEDBACK_STATUS_COST: Duration = Duration::from_micros(50);
/// What may be taken at once: what waits for a second on the way.
pub const FEEDBACK_BURST: Duration = Duration::from_secs(1);
/// Key frame requests to a publisher's stream are this far apart at least.
pub const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);
/// Who asks for another key frame after each that it was sent waits longer for each, up to this: it cannot use them, as
/// with another channel key, and all others pay. Once it can, that long is the most that it waits. What a publisher's
/// way loses for good has another one asked for no sooner after the last request.
pub const KEYFRAME_PATIENCE_MAX: Duration = Duration::from_secs(2);
/// What begins with a key frame at its receiver's own wish, as what it pauses and goes on with, begins each
/// [`KEYFRAME_PATIENCE_MAX`]; and four times at once, as somebody makes up its mind.
pub const WISHES_BURST: Duration = Duration::from_secs(4 * KEYFRAME_PATIENCE_MAX.as_secs());
/// What its way takes of a picture within so long after it was given is given again later each time. From half a second
/// on, as long as that is doubled, a picture that goes up and down has no key frame oftener than one that insists.
pub const RISE_PATIENCE_MEMORY: Duration = Duration::from_secs(10);
/// The longest that a layer is not tried again: the way may be another one.
pub const RISE_PATIENCE_MAX: Duration = Duration::from_secs(30);
/// Who asks for none for so long asks as if for the first time.
pub const KEYFRAME_PATIENCE_MEMORY: Duration = Duration::from_secs(10);
/// The most that one track of sound may bring, headers of RTP included: Opus takes 510 kbit/s at most, and the headers
/// of 100 packets a second, with what end-to-end encryption adds, 60.
pub const OPUS_RATE_MAX: DataRate = DataRate::from_kbps(640);
/// The same with redundant copies (RED): browsers fill 1,200 bytes with them at most, 100 times a second.
pub const RED_RATE_MAX: DataRate = DataRate::from_kbps(1_024);
/// The most that all sound of one participant may bring: two tracks of the former, or each of 40 as browsers send
/// speech. Everybody gets sound before pictures, and tracks cost nothing.
pub const SOUND_RATE_MAX: DataRate = DataRate::from_kbps(2_048);
/// What may come at once, as after a stall: what takes this long at these rates, 40,000 bytes of Opus.
pub const SOUND_BURST: Duration = Duration::from_millis(500);
/// Segments of sequence number offsets that a subscription remembers for late packets.
pub const OFFSETS_MAX: usize = 16;
/// Reports that wait for Control; beyond it the oldest is dropped, and beyond half of it each that may be missed.
pub const REPORTS_MAX: usize = 8192;
/// Ended subscriptions whose numbers are remembered for each peer. An SSRC comes again only when a
/// subscription moves to another section, at once after it left the first.
pub const ENDED_MAX: usize = 64;
