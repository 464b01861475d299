//! A receiver behind a way that narrows and widens, and that tells what arrives over it.

use std::collections::{BTreeMap, VecDeque};

use rtp::extension::Extensions;
use rtp::rtcp::ReportBlock;
use rtp::twcc::FeedbackRecorder;

use super::*;

/// Under which Ben receives Ada's picture.
const SSRC: u32 = 7020;
/// Packets of a frame, and the bytes of each: 800 kbit/s at 25 frames a second.
const PACKETS: u64 = 4;
const BYTES: usize = 1_000;
/// And of one in two layers that are far apart: 200 kbit/s and 2,400.
const FAR_APART: [u64; 2] = [1, 12];

/// What lies between the server and a client.
struct Way {
    kbps: u64,
    /// Its queue holds what takes this long.
    queue_ms: u64,
    /// Each way.
    delay_ms: u64,
    /// One packet of so many is lost.
    loses: Option<u64>,
    /// Packets that came to its queue.
    count: u64,
    /// Bytes that may leave the queue now.
    credit: u64,
    queue: VecDeque<Vec<u8>>,
    arriving: BTreeMap<u64, Vec<Vec<u8>>>,
    returning: BTreeMap<u64, Vec<Vec<u8>>>,
    recorder: FeedbackRecorder,
}

impl Way {
    fn of(kbps: u64, delay_ms: u64) -> Self {
        Self {
            kbps,
            queue_ms: 200,
            delay_ms,
            loses: None,
            count: 0,
            credit: 0,
            queue: VecDeque::new(),
            arriving: BTreeMap::new(),
            returning: BTreeMap::new(),
            recorder: FeedbackRecorder::new(),
        }
    }

    /// One millisecond: what leaves for the client moves on, and what it tells. Gives what has arrived.
    fn carry(
        &mut self,
        forward: &mut Forward<Vec<u8>>,
        wire: &mut Wire,
        client: &mut Client,
        now: u64,
    ) -> Vec<Received> {
        let room = self.kbps * self.queue_ms / 8 + 3_000;
        let mut queued: u64 = self.queue.iter().map(|bytes| bytes.len() as u64).sum();
        for (_, bytes) in wire.sent.extract_if(.., |(port, _)| *port == client.port) {
            self.count += 1;
            let is_lost = self.loses.is_some_and(|of| self.count.is_multiple_of(of));
            if !is_lost && queued + bytes.len() as u64 <= room {
                queued += bytes.len() as u64;
                self.queue.push_back(bytes);
            }
        }
        self.credit += self.kbps / 8;
        while let Some(bytes) = self.queue.pop_front_if(|bytes| bytes.len() as u64 <= self.credit) {
            self.credit -= bytes.len() as u64;
            self.arriving.entry(now + self.delay_ms).or_default().push(bytes);
        }
        if self.queue.is_empty() {
            self.credit = self.credit.min(3_000);
        }
        let arrived = self.arriving.remove(&now).unwrap_or_default();
        let media = arrived.into_iter().filter_map(|bytes| self.open(client, now, bytes)).collect();
        let mut fci = [0; rtp::limits::FEEDBACK_LEN_MAX];
        while let Some(len) = self.recorder.poll(at(now), &mut fci) {
            self.returning.entry(now + self.delay_ms).or_default().push(fci[..len].to_vec());
        }
        for fci in self.returning.remove(&now).unwrap_or_default() {
            client.rtcp(forward, wire, at(now), |writer| {
                writer.transport_feedback(1, SSRC, &fci).unwrap();
            });
        }
        media
    }

    /// Opens what arrived and notes its number; `None` for RTCP.
    fn open(&mut self, client: &mut Client, now: u64, mut bytes: Vec<u8>) -> Option<Received> {
        if (192..=223).contains(&bytes[1]) {
            return None;
        }
        let opened = client.receiver.unprotect_rtp(&mut bytes).unwrap();
        bytes.truncate(opened.packet_len());
        let header = opened.header;
        let number = Extensions::read(&header, &bytes, &extensions()).transport_sequence;
        self.recorder.received(number?, at(now));
        let payload = bytes[header.payload_range(&bytes).unwrap()].to_vec();
        Some(Received { header, payload })
    }
}

/// A call in which Ben receives a camera of Ada's, and perhaps her microphone.
struct Call {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    way: Way,
    has_sound: bool,
    /// Packets of a frame of each layer.
    layers: Vec<u64>,
    /// One packet of Ada's picture of so many is lost on its way to the server.
    ada_loses: Option<u64>,
    now: u64,
    asked: Vec<bool>,
}

impl Call {
    fn begin(way: Way, has_sound: bool) -> Self {
        Self::of(&[PACKETS], way, has_sound)
    }

    fn of(layers: &[u64], way: Way, has_sound: bool) -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let ada = Client::join(&mut forward, &mut wire, 10);
        let ben = Client::join(&mut forward, &mut wire, 20);
        forward.instruct(
            at(0),
            track(ada.id, TrackKind::Video, &["q", "h"][..layers.len()]),
            &mut wire,
        );
        forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
        if has_sound {
            add_sound(&mut forward, &mut wire, 0, &ada, &ben);
        }
        let (layers, asked) = (layers.to_vec(), vec![false; layers.len()]);
        Self { forward, wire, ada, ben, way, has_sound, layers, ada_loses: None, now: 0, asked }
    }

    /// So many seconds pass. How many packets of the picture arrive in each?
    fn pictures(&mut self, seconds: u64) -> Vec<usize> {
        (0..seconds).map(|_| (0..1_000).map(|_| self.millisecond()).sum()).collect()
    }

    fn millisecond(&mut self) -> usize {
        self.now += 1;
        let now = self.now;
        if now.is_multiple_of(20) && self.has_sound {
            let bytes = self.ada.seal(&sound(1_000 + now / 20, &[9; 80]));
            self.ada.send(&mut self.forward, &mut self.wire, at(now), &bytes);
        }
        if now.is_multiple_of(40) {
            for layer in 0..self.layers.len() {
                self.frame(layer);
            }
        }
        let Self { forward, wire, ada, ben, way, .. } = self;
        if at(now) >= forward.next_timeout() {
            forward.handle_timeout(at(now), wire);
        }
        let (_, control) = ada.receive(wire);
        for packet in control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok)) {
            if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                self.asked[usize::try_from(media_ssrc - 200).unwrap()] = true;
            }
        }
        let media = way.carry(forward, wire, ben, now);
        media.iter().filter(|packet| packet.header.ssrc == SSRC).count()
    }

    /// Ada sends a frame of a layer.
    fn frame(&mut self, layer: usize) {
        let (frame, packets) = (self.now / 40, self.layers[layer]);
        let is_key = std::mem::take(&mut self.asked[layer]);
        let layer = u8::try_from(layer).unwrap();
        for n in 0..packets {
            let picture_id = u16::try_from(frame & 0x7fff).unwrap();
            let mut payload = vp8(picture_id, is_key && n == 0, 7);
            payload.resize(BYTES, 7);
            if n > 0 {
                payload[0] = 0x80;
            }
            let index = frame * packets + n;
            let media = picture(layer, 1_000 + index, &payload);
            let timestamp = u32::try_from(frame * 3_600).unwrap();
            let bytes = self.ada.seal(&Media { timestamp, marker: n + 1 == packets, ..media });
            if !self.ada_loses.is_some_and(|of| index.is_multiple_of(of)) {
                self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
            }
        }
    }

    /// What was said last of the packets lost on Ada's way and on Ben's, in percent.
    fn losses(&mut self) -> [String; 2] {
        let mut losses = [0.0; 2];
        while let Some(report) = self.forward.poll_report() {
            if let Report::Quality { peer, loss_up, loss_down, .. } = report {
                let [ada, ben] = &mut losses;
                *(if peer == self.ben.id { ben } else { ada }) = loss_up.max(loss_down) * 100.0;
            }
        }
        losses.map(|percent| format!("{percent:.0}"))
    }

    /// What the way is believed to carry, in kbit/s.
    fn estimate(&self) -> u64 {
        let slot = self.forward.slot(self.ben.id).unwrap();
        let peer = self.forward.peers.get(slot.0).unwrap();
        peer.downlink.as_ref().unwrap().estimator.estimate().as_bps() / 1_000
    }
}

#[test]
fn a_picture_that_was_paused_comes_back_when_the_way_is_wide_again() {
    for has_sound in [true, false] {
        let mut call = Call::begin(Way::of(20_000, 20), has_sound);
        let seen = call.pictures(5);
        assert!(seen[4] >= 90, "{seen:?}");
        call.way.kbps = 100;
        let seen = call.pictures(10);
        assert!(seen[9] == 0, "it does not fit: {seen:?}");
        call.way.kbps = 20_000;
        let seen = call.pictures(20);
        assert!(seen[19] >= 90, "with sound: {has_sound}, {} kbit/s, {seen:?}", call.estimate());
    }
}

/// What it takes to go up to a layer is asked for, too: it is more than the layer itself.
#[test]
fn a_layer_that_was_left_comes_back_when_the_way_is_wide_again() {
    for has_sound in [true, false] {
        let mut call = Call::of(&FAR_APART, Way::of(20_000, 20), has_sound);
        let seen = call.pictures(5);
        assert!(seen[4] >= 270, "{seen:?}");
        call.way.kbps = 500;
        let seen = call.pictures(10);
        assert!((20..=30).contains(&seen[9]), "only the lower fits: {seen:?}");
        call.way.kbps = 20_000;
        let seen = call.pictures(20);
        assert!(seen[19] >= 270, "with sound: {has_sound}, {} kbit/s, {seen:?}", call.estimate());
    }
}

#[test]
fn a_way_is_judged_however_long_it_is() {
    let mut call = Call::begin(Way { queue_ms: 1_000, ..Way::of(20_000, 600) }, true);
    let seen = call.pictures(8);
    assert!(seen[7] >= 90, "{seen:?}");
    let refused = call.forward.take_refused().feedbacks;
    call.way.kbps = 500;
    let seen = call.pictures(10);
    let estimate = call.estimate();
    assert!(estimate <= 600, "{estimate} kbit/s, {refused} feedbacks were refused, {seen:?}");
    assert_eq!(seen[9], 0, "{seen:?}");
    assert!(refused <= 2 && call.forward.take_refused().feedbacks <= 2, "none but of the first");
}

#[test]
fn each_way_has_its_own_loss() {
    for (ada_loses, ben_loses, expected) in
        [(None, None, ["0", "0"]), (Some(10), None, ["7", "0"]), (None, Some(20), ["0", "5"])]
    {
        let mut call = Call::begin(Way { loses: ben_loses, ..Way::of(5_000, 20) }, true);
        call.ada_loses = ada_loses;
        call.pictures(9);
        // Sound is a third of what Ada sends.
        assert_eq!(call.losses(), expected, "{ada_loses:?} {ben_loses:?}");
    }
}

#[test]
fn reports_tell_of_sound_that_is_not_numbered_beside_pictures_that_are() {
    let mut call = Call::begin(Way::of(5_000, 20), true);
    call.pictures(2);
    let Instruction::Subscribe(spec) = subscription(TrackId(2), call.ben.id, Codec::Opus) else {
        unreachable!();
    };
    let mut extensions = ExtensionMap::new();
    extensions.insert(MID_ID, ExtensionKind::Mid).unwrap();
    let spec =
        SubscriptionSpec { subscription: SubscriptionId(98), ssrc: 7098, extensions, ..spec };
    for instruction in [
        Instruction::Unsubscribe { subscription: SubscriptionId(99) },
        Instruction::Subscribe(spec),
    ] {
        call.forward.instruct(at(call.now), instruction, &mut call.wire);
    }
    for _ in 0..12 {
        call.pictures(1);
        let block = ReportBlock { ssrc: 7098, fraction_lost: 128, ..ReportBlock::default() };
        let Call { ben, forward, wire, now, .. } = &mut call;
        ben.rtcp(forward, wire, at(*now), |writer| writer.receiver_report(1, &[block]).unwrap());
    }
    // Half of the sound, which is a third of all.
    assert_eq!(call.losses(), ["0", "17"]);
}

/// All the others would be looked at two hundred times a second.
#[test]
fn who_probes_has_the_timer_alone_between_two_of_its_turns() {
    let mut call = Call::begin(Way::of(100, 20), true);
    let (mut turns, mut of_probes) = (0, 0);
    for _ in 0..20_000 {
        let (tick, probe) = (call.forward.next_tick, call.forward.next_probe);
        call.millisecond();
        turns += u64::from(call.forward.next_tick != tick);
        of_probes += u64::from(call.forward.next_probe != probe);
    }
    assert!((950..=1_050).contains(&turns), "{turns} turns in 20 s");
    assert!(of_probes > 100, "{of_probes} of them for probes");
}
