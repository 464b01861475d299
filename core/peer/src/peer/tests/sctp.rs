//! What a client may do to SCTP that no library of its would do.

use super::*;
use crate::chunks::{Chunk, chunks};
use crate::limits::{
    FRAGMENTS_MAX, PIECES_AT_EASE, PIECES_BEHIND_RESET, PIECES_MAX, RESETS_AT_ONCE_MAX,
    RESETS_BURST, STREAMS_MAX,
};

const WHOLE: u8 = 3;
const FIRST: u8 = 2;
const MIDDLE: u8 = 0;
const LAST: u8 = 1;
const UNORDERED: u8 = 4;

/// A client that writes its packets itself, after it has opened its channels.
struct Writer {
    wire: Wire,
    /// Ports and tag.
    header: [u8; 8],
    /// Of its next chunk.
    tsn: u32,
    /// Of the first of all.
    first: u32,
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

/// A DATA chunk of a binary message.
fn data(flags: u8, tsn: u32, stream: u16, ssn: u16, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(16 + bytes.len()).unwrap().to_be_bytes();
    let mut chunk = [
        &[0, flags, len[0], len[1]],
        &tsn.to_be_bytes()[..],
        &stream.to_be_bytes(),
        &ssn.to_be_bytes(),
        &53_u32.to_be_bytes(),
        bytes,
    ]
    .concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// The first message of a stream, which opens a channel without a label (RFC 8832 §5.1).
fn opening(tsn: u32, stream: u16) -> Vec<u8> {
    let mut chunk = data(WHOLE, tsn, stream, 0, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chunk[15] = 50;
    chunk
}

impl Writer {
    fn new() -> Self {
        let mut wire = Wire::new();
        wire.settle();
        // The first of its messages: the next of the stream is its third, with DCEP's.
        assert!(wire.client.send(wire.now, wire.now, ChannelId::at(0), b"first"));
        let packet = wire.client.channels.as_mut().unwrap().packet();
        let tsn = chunks(&packet)
            .find_map(|it| if let Chunk::Data(it) = it { Some(it.tsn) } else { None });
        wire.settle();
        wire.heard[1].clear();
        let header = *packet.first_chunk().unwrap();
        let tsn = tsn.unwrap().wrapping_add(1);
        Self { wire, header, tsn, first: tsn.wrapping_sub(3) }
    }

    /// Sends a packet. What the server answers does not arrive: its own SCTP knows nothing of this.
    fn send(&mut self, chunks: &[Vec<u8>]) {
        self.write(chunks);
        // And what the server makes of it.
        self.wire.tick(true, is_stun);
    }

    fn write(&mut self, chunks: &[Vec<u8>]) {
        let mut packet = [&self.header[..], &[0; 4], &chunks.concat()].concat();
        let sum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&sum);
        self.wire.client.dtls.send(&packet).unwrap();
        self.wire.drain(0);
    }

    /// The next chunks of stream 0, of one byte each, in as few packets as hold them.
    fn say(&mut self, count: usize, mut flags: impl FnMut(usize) -> (u8, u16)) {
        let all: Vec<usize> = (0..count).collect();
        for places in all.chunks(50) {
            let chunks: Vec<_> = places
                .iter()
                .map(|&place| {
                    let (flags, ssn) = flags(place);
                    let chunk = data(flags, self.tsn, 0, ssn, &[7]);
                    self.tsn = self.tsn.wrapping_add(1);
                    chunk
                })
                .collect();
            self.send(&chunks);
        }
    }

    fn is_ended(&self) -> bool {
        self.wire.server_heard(|event| matches!(event, Event::Closed))
    }

    fn messages(&self) -> usize {
        self.wire.heard[1].iter().filter(|event| matches!(event, Event::Message(..))).count()
    }

    fn unread(&self) -> usize {
        self.wire.server.channels.as_ref().unwrap().unread()
    }
}

#[test]
fn a_message_of_countless_pieces_ends_its_client() {
    for unordered in [0, UNORDERED] {
        let mut writer = Writer::new();
        writer.say(FRAGMENTS_MAX, |place| (unordered | if place == 0 { FIRST } else { MIDDLE }, 2));
        assert!(!writer.is_ended());
        assert_eq!(writer.unread(), FRAGMENTS_MAX);
        writer.say(1, |_| (unordered | MIDDLE, 2));
        assert!(writer.is_ended());
    }
}

#[test]
fn pieces_that_come_again_count_once_and_those_that_were_read_no_more() {
    let mut writer = Writer::new();
    for ssn in 0..10 {
        let tsn = writer.tsn;
        for _ in 0..3 {
            writer.tsn = tsn;
            writer.say(900, |place| (if place == 0 { FIRST } else { MIDDLE }, 2 + ssn));
        }
        writer.say(1, |_| (LAST, 2 + ssn));
        assert_eq!((writer.messages(), writer.unread()), (usize::from(ssn) + 1, 0));
    }
    assert!(!writer.is_ended());
}

#[test]
fn a_chunk_without_data_ends_its_client() {
    let mut writer = Writer::new();
    let tsn = writer.tsn;
    writer.send(&[data(WHOLE, tsn, 0, 2, b"a word"), data(MIDDLE, tsn.wrapping_add(1), 0, 3, b"")]);
    assert!(writer.is_ended());
    assert_eq!(writer.messages(), 0, "nothing of that packet is heard");
}

#[test]
fn messages_behind_one_that_is_missing_are_bounded_and_those_that_come_when_it_does_are_heard() {
    let mut writer = Writer::new();
    let missing = writer.tsn;
    writer.tsn = writer.tsn.wrapping_add(1);
    // More than are kept: the others are let go, and the client sends them again.
    writer.say(3 * PIECES_AT_EASE, |place| (WHOLE, 3 + u16::try_from(place).unwrap()));
    let kept = writer.unread();
    assert!((PIECES_AT_EASE..PIECES_AT_EASE + 50).contains(&kept), "{kept}");
    writer.send(&[data(WHOLE, missing, 0, 2, b"missing")]);
    assert_eq!((writer.messages(), writer.unread()), (kept + 1, 0));
    assert!(!writer.is_ended());
    writer.tsn = missing.wrapping_add(u32::try_from(kept).unwrap() + 1);
    writer.say(100, |place| (WHOLE, 3 + u16::try_from(kept + place).unwrap()));
    assert_eq!(writer.messages(), kept + 101);
}

#[test]
fn who_fills_gaps_that_it_made_is_ended() {
    let mut writer = Writer::new();
    let start = writer.tsn;
    // One far ahead: all others are older.
    writer.send(&[data(WHOLE, start.wrapping_add(60_000), 2, 9, &[7])]);
    writer.tsn = start.wrapping_add(1);
    writer.say(PIECES_MAX - 1, |place| (WHOLE, 3 + u16::try_from(place).unwrap()));
    assert!(!writer.is_ended());
    writer.say(1, |place| (WHOLE, 3 + u16::try_from(PIECES_MAX + place).unwrap()));
    assert!(writer.is_ended());
}

impl Writer {
    /// Plays for so long in steps of ten milliseconds, in which the client writes nothing.
    fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.wire.tick(true, is_stun);
        }
    }
}

#[test]
fn what_a_client_leaves_incomplete_ends_it_in_time() {
    type Chunks = fn(u32) -> Vec<u8>;
    let incomplete: [(&str, Chunks); 4] = [
        ("a beginning", |tsn| data(FIRST, tsn, 0, 2, b"a beginning")),
        ("one of no order", |tsn| data(FIRST | UNORDERED, tsn, 0, 2, b"a beginning")),
        ("behind a message", |tsn| data(WHOLE, tsn, 0, 3, b"the one after the next")),
        ("behind a chunk", |tsn| data(WHOLE, tsn.wrapping_add(1), 0, 3, b"the next")),
    ];
    for (what, chunk) in incomplete {
        let mut writer = Writer::new();
        let chunk = chunk(writer.tsn);
        writer.send(&[chunk]);
        // What else it says is heard, and gives it no more time.
        for round in 0..9_u16 {
            writer.send(&[data(
                WHOLE,
                writer.tsn.wrapping_add(2 + u32::from(round)),
                2,
                1 + round,
                b"a word",
            )]);
            writer.wait(980);
        }
        assert!(!writer.is_ended(), "{what}");
        assert_eq!((writer.messages(), writer.unread()), (9, 1), "{what}");
        writer.wait(600);
        assert!(writer.is_ended(), "{what}");
        assert!(writer.wire.server.channels.is_none(), "with all that it held");
    }
}

#[test]
fn what_a_client_completes_or_gives_up_in_time_ends_nobody() {
    let forward = |tsn: u32| [&[192, 0, 0, 12], &tsn.to_be_bytes()[..], &[0, 0, 0, 2]].concat();
    type Ends = fn(u32) -> Vec<u8>;
    let ends: [(usize, Ends); 2] =
        [(1, |tsn| data(LAST, tsn.wrapping_add(1), 0, 2, b"an end")), (0, |_| Vec::new())];
    for (messages, end) in ends {
        let mut writer = Writer::new();
        let tsn = writer.tsn;
        writer.send(&[data(FIRST, tsn, 0, 2, b"a beginning")]);
        writer.wait(9_000);
        let end = end(tsn);
        writer.send(&[if end.is_empty() { forward(tsn.wrapping_add(1)) } else { end }]);
        writer.wait(12_000);
        assert!(!writer.is_ended());
        assert_eq!((writer.messages(), writer.unread()), (messages, 0));
        writer.send(&[data(WHOLE, tsn.wrapping_add(2), 0, 3, b"the next")]);
        assert_eq!(writer.messages(), messages + 1);
    }
}

impl Wire {
    /// Ten milliseconds in which each end's datagrams arrive but for each `lost`th.
    fn lose(&mut self, lost: usize, count: &mut usize) {
        self.now += 10 * STEP;
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        for from in [0, 1] {
            let before = self.sent[from].len();
            self.arrives[from] = false;
            self.drain(from);
            self.arrives[from] = true;
            for datagram in self.sent[from].split_off(before) {
                *count += usize::from(!is_stun(&datagram));
                if is_stun(&datagram) || !count.is_multiple_of(lost) {
                    let to = if from == 0 { &mut self.server } else { &mut self.client };
                    deliver(to, self.now, paths()[1 - from], &datagram);
                    self.drain(1 - from);
                }
            }
        }
    }
}

#[test]
fn a_file_that_is_copied_over_a_network_that_loses_arrives_whole() {
    const CHUNK: usize = 15_000;
    const COUNT: usize = 6_000_000 / CHUNK;
    for lost in [10, 25, 100] {
        let mut wire = Wire::new();
        wire.settle();
        wire.heard[1].clear();
        let (mut sent, mut count, started) = (0_usize, 0, wire.now);
        while wire.heard[1].len() < COUNT {
            while sent < COUNT {
                let byte = sent.to_le_bytes()[0];
                if !wire.client.send(wire.now, wire.now, ChannelId::at(0), &[byte; CHUNK]) {
                    break;
                }
                sent += 1;
            }
            wire.lose(lost, &mut count);
            assert!(wire.now.since(started).as_secs() < 300, "{} of {sent}", wire.heard[1].len());
        }
        for (event, number) in wire.heard[1].iter().zip(0_usize..) {
            let Event::Message(_, _, chunk) = event else { panic!("{event:?}") };
            assert_eq!(**chunk.expose(), [number.to_le_bytes()[0]; CHUNK]);
        }
        wire.second(true, |_| true);
        assert_eq!(wire.server.channels.as_ref().unwrap().unread(), 0);
    }
}

#[test]
fn countless_short_messages_are_heard_whether_they_are_held_back_or_lost() {
    const MESSAGES: usize = 4 * PIECES_AT_EASE;
    for (is_held, lost) in [(false, usize::MAX), (false, 20), (true, usize::MAX), (true, 20)] {
        let mut wire = Wire::new();
        wire.settle();
        wire.heard[1].clear();
        wire.server.hold_back(wire.now, is_held);
        let (mut sent, mut count, mut most, started) = (0, 0, 0, wire.now);
        while wire.heard[1].len() < MESSAGES {
            // Half as many again as are kept.
            let is_room =
                |wire: &mut Wire| wire.client.buffered(ChannelId::at(0)) < 6 * PIECES_AT_EASE;
            while sent < MESSAGES && is_room(&mut wire) {
                let word = u32::try_from(sent).unwrap().to_be_bytes();
                assert!(wire.client.send(wire.now, wire.now, ChannelId::at(0), &word));
                sent += 1;
            }
            wire.lose(lost, &mut count);
            most = most.max(wire.server.channels.as_ref().unwrap().unread());
            assert!(wire.now.since(started).as_secs() < 60, "{}", wire.heard[1].len());
        }
        assert!(!is_held || most >= PIECES_AT_EASE, "{most}");
        for (event, number) in wire.heard[1].iter().zip(0_u32..) {
            let Event::Message(_, _, word) = event else { panic!("{event:?}") };
            assert_eq!(**word.expose(), number.to_be_bytes());
        }
    }
}

#[test]
fn pieces_of_what_may_be_lost_end_nobody() {
    let mut wire = Wire::new();
    wire.settle();
    wire.client.channels.as_mut().unwrap().open_lossy(8);
    wire.settle();
    wire.heard[1].clear();
    let (mut sent, mut count, mut most) = (0, 0, 0);
    for _ in 0..3_000 {
        let now = wire.now;
        sent += usize::from(wire.client.send(now, now, ChannelId::at(2), &[7; 2_000]));
        wire.lose(3, &mut count);
        most = most.max(wire.server.channels.as_ref().unwrap().unread());
    }
    assert!(wire.heard[1].iter().all(|event| matches!(event, Event::Message(..))));
    let heard = wire.heard[1].len();
    assert!((100..sent - 50).contains(&heard), "{heard} of {sent}");
    assert!(most < FRAGMENTS_MAX, "{most}");
}

#[test]
fn what_sctp_was_not_told_to_give_up_counts_on() {
    let forward = |tsn: u32| [&[192, 0, 0, 8], &tsn.to_be_bytes()[..]].concat();
    for spoils in [true, false] {
        let mut writer = Writer::new();
        let missing = writer.tsn;
        let mut rounds = 0;
        while rounds < 4 && !writer.is_ended() {
            writer.tsn = writer.tsn.wrapping_add(1);
            writer.say(500, |_| (UNORDERED | MIDDLE, 0));
            if spoils {
                // Of another association: SCTP does not read it.
                let header = writer.header;
                writer.header[7] ^= 1;
                writer.send(&[forward(writer.tsn.wrapping_sub(1))]);
                writer.header = header;
                writer.send(&[data(WHOLE | UNORDERED, missing, 0, 0, b"no more missing")]);
            } else {
                writer.send(&[forward(writer.tsn.wrapping_sub(1))]);
            }
            rounds += 1;
            if !writer.is_ended() {
                writer.wait(300);
                assert_eq!(writer.unread(), if spoils { 500 * rounds } else { 0 }, "{rounds}");
            }
        }
        assert_eq!(writer.is_ended(), spoils, "after {rounds}");
    }
}

#[test]
fn a_message_that_comes_again_after_it_was_heard_counts_no_more() {
    for pause in [0, 500] {
        let mut writer = Writer::new();
        let tsn = writer.tsn;
        writer.send(&[data(FIRST, tsn, 2, 1, b"something is held meanwhile")]);
        writer.wait(500);
        for word in 1..10_u16 {
            let word = data(WHOLE, tsn.wrapping_add(word.into()), 0, 1 + word, b"a word");
            writer.send(std::slice::from_ref(&word));
            writer.wait(pause);
            writer.send(&[word]);
            assert_eq!(writer.unread(), 1, "with a pause of {pause} ms");
        }
    }
}

#[test]
fn what_is_given_up_is_not_timed_though_something_else_is_held() {
    let mut writer = Writer::new();
    let tsn = writer.tsn;
    writer.send(&[data(FIRST, tsn, 0, 2, b"a beginning")]);
    writer.wait(9_000);
    let forward =
        [&[192, 0, 0, 12], &tsn.wrapping_add(1).to_be_bytes()[..], &[0, 0, 0, 2]].concat();
    writer.send(&[forward, data(FIRST, tsn.wrapping_add(2), 2, 1, b"another")]);
    writer.wait(5_000);
    assert!(!writer.is_ended());
    writer.send(&[data(LAST, tsn.wrapping_add(3), 2, 1, b"and its end")]);
    writer.wait(500);
    assert_eq!((writer.messages(), writer.unread()), (1, 0));
}

/// A RE-CONFIG chunk by which a stream begins anew after `last`, the client's first request being that of `number` 0.
fn reset(writer: &Writer, number: u32, last: u32, stream: u16) -> Vec<u8> {
    // Its requests are numbered from its first TSN on: those of two channels and a message came before.
    let request = writer.first.wrapping_add(number).to_be_bytes();
    let reset = [&[0, 13, 0, 18], &request[..], &[0; 4], &last.to_be_bytes()].concat();
    [&[130, 0, 0, 22], &reset[..], &stream.to_be_bytes(), &[0; 2]].concat()
}

/// A FORWARD-TSN chunk that names a stream so many times.
fn forward(tsn: u32, streams: usize) -> Vec<u8> {
    let len = u16::try_from(8 + 4 * streams).unwrap().to_be_bytes();
    [&[192, 0, len[0], len[1]], &tsn.to_be_bytes()[..], &[0, 0, 0, 9].repeat(streams)].concat()
}

#[test]
fn what_begins_anew_before_its_time_is_let_go_until_then() {
    let mut writer = Writer::new();
    let missing = writer.tsn;
    let request = reset(&writer, 0, missing, 0);
    let begun = missing.wrapping_add(1);
    writer.send(&[request, opening(begun, 0)]);
    writer.tsn = begun.wrapping_add(1);
    for ssn in 1..20 * u16::try_from(PIECES_BEHIND_RESET).unwrap() {
        writer.send(&[data(WHOLE, writer.tsn, 0, ssn, b"a word")]);
        writer.tsn = writer.tsn.wrapping_add(1);
    }
    assert_eq!((writer.messages(), writer.unread()), (0, PIECES_BEHIND_RESET));
    // Another stream goes on meanwhile.
    writer.send(&[data(WHOLE, writer.tsn, 2, 1, b"a word")]);
    assert_eq!(writer.messages(), 1);
    writer.send(&[data(WHOLE, missing, 0, 2, b"the last")]);
    assert!(writer.wire.server_heard(|it| matches!(it, Event::ChannelClosed(_))));
    // The client opens the channel anew before it has answered our own reset: that is refused.
    assert_eq!((writer.messages(), writer.is_ended()), (2, false));
    assert!(writer.unread() < PIECES_BEHIND_RESET);
}

#[test]
fn resets_whose_own_nobody_answers_are_bounded() {
    let mut writer = Writer::new();
    for number in 0..3 * RESETS_BURST {
        // SCTP answers none of a stream of which its own is not answered.
        let (tsn, stream) = (writer.tsn, 4 + 2 * u16::try_from(number).unwrap());
        writer.send(&[opening(tsn, stream)]);
        let request = reset(&writer, number, tsn, stream);
        writer.send(&[request]);
        writer.tsn = tsn.wrapping_add(1);
    }
    let closed = |it: &&Event| matches!(it, Event::ChannelClosed(_));
    let closed = writer.wire.heard[1].iter().filter(closed).count();
    assert_eq!(closed, usize::try_from(RESETS_BURST).unwrap());
    assert!(writer.is_ended(), "the streams that stay are bounded too");
}

#[test]
fn resets_that_wait_for_what_is_missing_are_bounded() {
    let mut writer = Writer::new();
    let tsn = writer.tsn;
    for number in 0..2 * RESETS_AT_ONCE_MAX {
        let number = u32::try_from(number).unwrap();
        let request = reset(&writer, number, tsn.wrapping_add(1_000 + number), 0);
        let ssn = u16::try_from(number).unwrap();
        writer.send(&[request, data(WHOLE | UNORDERED, tsn.wrapping_add(number), 2, ssn, b"word")]);
    }
    assert_eq!(writer.messages(), RESETS_AT_ONCE_MAX);
}

#[test]
fn what_is_given_up_of_a_stream_that_begins_anew_is_let_go_at_first() {
    let mut writer = Writer::new();
    let tsn = writer.tsn;
    // Of which SCTP keeps a piece, and therefore the whole stream.
    let request = reset(&writer, 0, tsn, 0);
    writer.send(&[data(FIRST, tsn, 0, 2, b"a beginning"), request]);
    let mut word = 1;
    let mut say = |writer: &mut Writer| {
        let at = tsn.wrapping_add(2 * u32::from(word));
        writer.send(&[forward(at, STREAMS_MAX), data(WHOLE, at.wrapping_add(1), 2, word, b"word")]);
        word += 1;
        writer.messages()
    };
    assert_eq!((0..5).map(|_| say(&mut writer)).collect::<Vec<_>>(), [1; 5]);
    writer.wait(200);
    assert_eq!(say(&mut writer), 1, "of which others are missing");
    assert!(!writer.is_ended());
    writer.send(&[forward(tsn.wrapping_add(100), STREAMS_MAX + 1)]);
    assert!(writer.is_ended(), "there are not as many streams");
}

impl Writer {
    /// A channel on stream 8 whose messages are sent once.
    fn open_lossy(&mut self) {
        let mut chunk = opening(self.tsn, 8);
        chunk[17] = 0x81;
        self.send(&[chunk]);
        self.tsn = self.tsn.wrapping_add(1);
    }

    /// The highest TSN of the server's.
    fn newest(&self) -> u32 {
        self.wire.server.channels.as_ref().unwrap().newest_sent()
    }
}

fn acknowledgement(cumulative: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
    let len = u16::try_from(16 + 4 * gaps.len()).unwrap().to_be_bytes();
    let count = u16::try_from(gaps.len()).unwrap().to_be_bytes();
    let mut chunk = [&[3, 0, len[0], len[1]], &cumulative.to_be_bytes()[..]].concat();
    chunk.extend([&[0, 4, 0, 0], &count[..], &[0, 0]].concat());
    gaps.iter().for_each(|(a, b)| chunk.extend([a.to_be_bytes(), b.to_be_bytes()].concat()));
    chunk
}

#[test]
fn who_acknowledges_all_and_closes_the_channel_with_it_is_not_ended() {
    let mut writer = Writer::new();
    let now = writer.wire.now;
    assert!(writer.wire.server.send(now, now, ChannelId::at(0), b"a word"));
    writer.wire.tick(true, is_stun);
    let (all, last) = (acknowledgement(writer.newest(), &[]), writer.tsn.wrapping_sub(1));
    let close = reset(&writer, 0, last, 0);
    writer.send(&[all, close]);
    assert!(writer.wire.server_heard(|it| matches!(it, Event::ChannelClosed(_))));
    writer.wait(10_000);
    assert!(!writer.wire.is_overdue() && !writer.is_ended());
}

#[test]
fn who_keeps_a_gap_open_and_hears_on_is_ended_in_time() {
    for keeps in [true, false] {
        let mut writer = Writer::new();
        writer.open_lossy();
        let mut base = writer.newest();
        writer.send(&[acknowledgement(base, &[])]);
        let mut rounds = 0;
        while rounds < 300 && !writer.is_ended() {
            rounds += 1;
            let now = writer.wire.now;
            assert!(writer.wire.server.send(now, now, ChannelId::at(2), b"a word"), "{rounds}");
            writer.wait(40);
            let behind = u16::try_from(writer.newest().wrapping_sub(base)).unwrap();
            if !keeps {
                base = writer.newest();
            }
            // Of another association: SCTP does not read it.
            let header = writer.header;
            writer.header[7] ^= 1;
            writer.send(&[acknowledgement(base.wrapping_add((1 << 31) - 2), &[])]);
            writer.header = header;
            let gaps = [(2, behind)];
            writer.send(&[acknowledgement(base, if keeps && behind > 1 { &gaps } else { &[] })]);
        }
        assert_eq!(writer.is_ended(), keeps, "after {rounds}");
        assert!(!keeps || (140..220).contains(&rounds), "{rounds} of 60 ms");
    }
}

#[test]
fn a_packet_of_heartbeats_is_answered_by_one_at_most() {
    let mut writer = Writer::new();
    let beat = [&[4, 0, 0, 12, 0, 1, 0, 8][..], b"beat"].concat();
    let mut answers = |beats: usize| {
        writer.write(&vec![beat.clone(); beats]);
        let before = writer.wire.sent[1].len();
        writer.wire.drain(1);
        writer.wire.sent[1].len() - before
    };
    assert_eq!((0..20).map(|_| answers(50)).sum::<usize>(), 0);
    // The cookie was the first of eight.
    assert_eq!((0..20).map(|_| answers(1)).sum::<usize>(), 7);
}

#[test]
fn a_beginning_that_comes_late_ends_nothing() {
    let mut writer = Writer::new();
    // The tag of what the client is sent is that of its INIT.
    let now = writer.wire.now;
    assert!(writer.wire.server.send(now, now, ChannelId::at(0), b"a word"));
    let packet = writer.wire.server.channels.as_mut().unwrap().packet();
    let rest = [0, 1, 0, 0, 4, 0, 4, 0, 0, 0, 0, 1];
    let header = std::mem::take(&mut writer.header);
    writer.header[..4].copy_from_slice(&header[..4]);
    writer.send(&[[&[1, 0, 0, 20], &packet[4..8], &rest].concat()]);
    assert!(!writer.is_ended());
    writer.header = header;
    let word = data(WHOLE, writer.tsn, 0, 2, b"a word");
    writer.send(&[word]);
    assert_eq!(writer.messages(), 1);
}
