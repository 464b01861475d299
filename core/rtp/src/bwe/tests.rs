//! The estimator over a simulated path: a token bucket with a queue, like Linux `tbf`, real feedback bytes and all.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::limits::FEEDBACK_LEN_MAX;
use crate::twcc::{Feedback, FeedbackRecorder, SendHistory};

/// Of the path, each way.
const DELAY: Duration = Duration::from_millis(20);
/// The receiver's clock is ahead by this.
const SKEW: Duration = Duration::from_secs(90_000);
const PACKET: u64 = 1200;
const AUDIO: u64 = 100;

/// xorshift: the simulation is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

struct Link {
    rate: u64,
    /// Bytes that may pass at once.
    burst: u64,
    /// The queue holds what takes this long, and a burst.
    latency: Duration,
    /// Added to each packet's delay: up to this.
    jitter: Duration,
    reorders: bool,
    /// Of 1000 packets.
    lost: u64,
}

impl Link {
    fn of(kbps: u64, latency_millis: u64) -> Self {
        Self {
            rate: kbps * 1000,
            burst: 4000,
            latency: Duration::from_millis(latency_millis),
            jitter: Duration::ZERO,
            reorders: false,
            lost: 0,
        }
    }

    fn room(&self) -> u64 {
        self.rate * u64::try_from(self.latency.as_millis()).unwrap() / 8000 + self.burst
    }
}

/// What the sender would like to send, sound aside, in bit/s.
#[derive(Clone, Copy, Debug)]
enum Media {
    /// Whatever the estimate says.
    Always(u64),
    /// As much as the estimate allows, up to this.
    UpTo(u64),
    /// The largest of these that the estimate allows, as simulcast layers.
    Layers(&'static [u64]),
}

struct Simulation {
    now: Timestamp,
    link: Link,
    media: Media,
    estimator: Estimator,
    history: SendHistory,
    recorder: FeedbackRecorder,
    random: Random,
    next_seq: u16,
    /// On the path: (sequence number, bytes).
    queue: VecDeque<(u16, u64)>,
    tokens: f64,
    arriving: BTreeMap<(Timestamp, u16), ()>,
    last_arrival: Timestamp,
    returning: VecDeque<(Timestamp, Vec<u8>)>,
    probe: Option<(Timestamp, DataRate, u64)>,
    probes: u32,
    /// (ms, kbit/s)
    estimates: Vec<(u64, u64)>,
}

impl Simulation {
    fn new(initial_kbps: u64, demand_kbps: u64, media: Media, link: Link) -> Self {
        let mut estimator = Estimator::new(DataRate::from_kbps(initial_kbps));
        estimator.set_demand(DataRate::from_kbps(demand_kbps));
        estimator.set_rtt(DELAY * 2);
        Self {
            now: Timestamp::from_millis(10_000),
            link,
            media,
            estimator,
            history: SendHistory::new(),
            recorder: FeedbackRecorder::new(),
            random: Random(0x9e37_79b9_7f4a_7c15),
            next_seq: 65_000,
            queue: VecDeque::new(),
            tokens: 0.0,
            arriving: BTreeMap::new(),
            last_arrival: Timestamp::ZERO,
            returning: VecDeque::new(),
            probe: None,
            probes: 0,
            estimates: Vec::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
            self.now += Duration::from_millis(1);
        }
    }

    fn tick(&mut self) {
        let millis = self.now.as_millis();
        if millis.is_multiple_of(20) {
            self.send(AUDIO);
        }
        if millis.is_multiple_of(33) {
            let mut frame = self.media_rate() * 33 / 8000;
            while frame > 0 {
                let packet = frame.min(PACKET);
                self.send(packet);
                frame -= packet;
            }
        }
        self.send_probe();
        self.carry();
        self.feed_back();
        self.estimates.push((millis - 10_000, self.estimator.estimate().as_bps() / 1000));
    }

    fn media_rate(&self) -> u64 {
        let allowed = self.estimator.estimate().as_bps().saturating_sub(AUDIO * 8 * 50);
        match self.media {
            Media::Always(rate) => rate,
            Media::UpTo(rate) => rate.min(allowed),
            Media::Layers(layers) => {
                layers.iter().copied().filter(|rate| *rate <= allowed).max().unwrap_or(0)
            }
        }
    }

    fn send(&mut self, size: u64) {
        self.history.sent(self.next_seq, self.now, u16::try_from(size).unwrap());
        if let Some((_, _, sent)) = &mut self.probe {
            *sent += size;
        }
        let queued: u64 = self.queue.iter().map(|(_, size)| size).sum();
        let is_lost = self.random.below(1000) < self.link.lost;
        if !is_lost && queued + size <= self.link.room() {
            self.queue.push_back((self.next_seq, size));
        }
        self.next_seq = self.next_seq.wrapping_add(1);
    }

    fn send_probe(&mut self) {
        if self.probe.is_none() {
            self.probe = self.estimator.probe_wanted(self.now).map(|rate| (self.now, rate, 0));
            self.probes += u32::from(self.probe.is_some());
        }
        while let Some((start, rate, sent)) = self.probe {
            let elapsed = self.now.since(start);
            if elapsed > PROBE_DURATION {
                self.probe = None;
                return;
            }
            let due = rate.as_bps() * u64::try_from(elapsed.as_micros()).unwrap() / 8_000_000;
            if sent + 800 > due {
                return;
            }
            self.send(800);
        }
    }

    /// Moves packets over the path.
    fn carry(&mut self) {
        let more = self.link.rate as f64 / 8000.0;
        self.tokens = (self.tokens + more).min(self.link.burst as f64);
        while let Some((seq, size)) = self.queue.front().copied()
            && size as f64 <= self.tokens
        {
            self.tokens -= size as f64;
            self.queue.pop_front();
            let jitter = u64::try_from(self.link.jitter.as_micros()).unwrap();
            let jitter = Duration::from_micros(self.random.below(jitter + 1));
            let mut arrival = self.now + DELAY + jitter;
            if !self.link.reorders {
                arrival = arrival.max(self.last_arrival);
            }
            self.last_arrival = arrival;
            self.arriving.insert((arrival, seq), ());
        }
        while let Some(entry) = self.arriving.first_entry()
            && entry.key().0 <= self.now
        {
            let (arrival, seq) = *entry.key();
            entry.remove();
            self.recorder.received(seq, arrival + SKEW);
        }
    }

    fn feed_back(&mut self) {
        let mut out = [0; FEEDBACK_LEN_MAX];
        while let Some(len) = self.recorder.poll(self.now + SKEW, &mut out) {
            self.returning.push_back((self.now + DELAY, out[..len].to_vec()));
        }
        while self.returning.front().is_some_and(|(arrival, _)| *arrival <= self.now) {
            let (_, fci) = self.returning.pop_front().unwrap();
            let feedback = Feedback::parse(&fci).unwrap();
            let results: Vec<_> = self.history.results(self.now, &feedback).collect();
            self.estimator.feedback(self.now, results);
        }
    }

    /// Smallest and largest estimate in kbit/s between two times in seconds.
    fn range(&self, from: u64, to: u64) -> (u64, u64) {
        let within = |(millis, _): &&(u64, u64)| (from * 1000..to * 1000).contains(millis);
        let estimates = || self.estimates.iter().filter(within).map(|(_, kbps)| *kbps);
        (estimates().min().unwrap(), estimates().max().unwrap())
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const LAYERS: Media = Media::Layers(&[150_000, 500_000, 1_700_000]);

#[test]
fn a_narrow_path_is_found_within_two_seconds_and_kept_to() {
    for latency in [100, 200, 300] {
        for media in [Media::Always(2_000_000), Media::UpTo(2_000_000), LAYERS] {
            let mut simulation = Simulation::new(2000, 2500, media, Link::of(400, latency));
            simulation.run(secs(40));
            let found = simulation.estimates.iter().find(|(_, kbps)| *kbps < 400);
            assert!(found.is_some_and(|(millis, _)| *millis < 2000), "{media:?} {latency}");
            let (least, most) = simulation.range(2, 40);
            assert!(least >= 250 && most <= 450, "{media:?} {latency}: {least} to {most}");
        }
    }
}

#[test]
fn a_path_that_narrows_is_followed_within_two_seconds() {
    for (latency, burst) in [(50, 4000), (100, 4000), (300, 4000)] {
        let mut simulation = Simulation::new(1000, 2500, LAYERS, Link::of(5000, 100));
        simulation.run(secs(10));
        assert!(simulation.range(9, 10).0 >= 1740, "all layers");
        simulation.link = Link { burst, ..Link::of(400, latency) };
        simulation.run(secs(10));
        let (least, most) = simulation.range(12, 20);
        assert!(least >= 200 && most <= 500, "{latency} {burst}: {least} to {most}");
    }
}

#[test]
fn a_deep_token_bucket_deceives_seldom_and_shortly() {
    let link = Link { burst: 16_000, ..Link::of(400, 300) };
    let mut simulation = Simulation::new(1000, 2500, LAYERS, link);
    simulation.run(secs(120));
    let late = simulation.estimates.iter().filter(|(millis, _)| *millis > 2000);
    let deceived = late.filter(|(_, kbps)| *kbps > 450).count();
    assert!(deceived < 120_000 / 20, "{deceived} ms");
}

#[test]
fn probes_find_a_wider_path_though_little_is_sent() {
    let mut simulation = Simulation::new(300, 2500, Media::Always(150_000), Link::of(400, 200));
    simulation.run(secs(20));
    let (least, most) = simulation.range(1, 20);
    assert!(least >= 190 && most <= 450, "{least} to {most}");
    simulation.link = Link::of(5000, 100);
    simulation.run(secs(30));
    assert!(simulation.range(48, 50).0 >= 2000);
    assert!(simulation.probes < 15, "{}", simulation.probes);
}

#[test]
fn a_wide_path_is_found_within_three_seconds() {
    let mut simulation = Simulation::new(300, 2500, LAYERS, Link::of(5000, 100));
    simulation.run(secs(10));
    assert!(simulation.range(3, 10).0 >= 2000);
}

#[test]
fn having_little_to_send_is_no_reason_to_fall() {
    let mut simulation = Simulation::new(1500, 1500, Media::Always(50_000), Link::of(5000, 100));
    simulation.run(secs(60));
    assert_eq!(simulation.range(0, 60), (1500, 1500));
    assert_eq!(simulation.probes, 0, "nothing more was wanted");
}

#[test]
fn jitter_and_reordering_are_no_reason_to_fall() {
    for reorders in [false, true] {
        for media in [150_000, 1_000_000] {
            let link = Link { jitter: Duration::from_millis(50), reorders, ..Link::of(5000, 100) };
            let mut simulation = Simulation::new(1500, 1500, Media::Always(media), link);
            simulation.run(secs(60));
            let (least, _) = simulation.range(0, 60);
            assert!(least >= 1200, "{reorders} {media}: {least}");
        }
    }
}

#[test]
fn loss_that_yielding_does_not_cure_is_borne() {
    for (lost, least) in [(10, 1500), (50, 1500), (150, 300)] {
        let link = Link { lost, ..Link::of(5000, 100) };
        let mut simulation = Simulation::new(1500, 2500, Media::UpTo(2_500_000), link);
        simulation.run(secs(60));
        assert!(simulation.range(0, 60).0 >= least, "{lost}: {:?}", simulation.range(0, 60));
    }
}

#[test]
fn loss_by_chance_is_no_reason_to_take_a_picture_away() {
    for lost in [30, 50, 80] {
        let link = Link { lost, ..Link::of(5000, 100) };
        let media = Media::Layers(&[150_000, 500_000]);
        let mut simulation = Simulation::new(1000, 550, media, link);
        simulation.run(secs(300));
        let allowed = 500 + AUDIO * 8 * 50 / 1000;
        let taken = simulation.estimates.iter().filter(|(_, kbps)| *kbps < allowed).count();
        assert!(taken < 300_000 / 50, "{lost}: {taken} of 300,000 ms");
    }
}

#[test]
fn a_path_that_loses_steadily_and_widens_is_found_to_be_wide() {
    for lost in [25, 50, 80] {
        let narrow = Link { lost, ..Link::of(400, 200) };
        let mut simulation = Simulation::new(1500, 2500, Media::UpTo(2_500_000), narrow);
        simulation.run(secs(20));
        let (least, most) = simulation.range(5, 20);
        // What is lost before the queue takes nothing of its 400 kbit/s.
        assert!(most <= 450 * 1000 / (1000 - lost), "{lost}: {least} to {most}");
        simulation.link = Link { lost, ..Link::of(5000, 100) };
        simulation.run(secs(60));
        assert!(simulation.range(70, 80).0 >= 1000, "{lost}: {:?}", simulation.range(70, 80));
    }
}

#[test]
fn what_is_lost_where_a_queue_stands_is_no_reason_to_probe() {
    for (queue_millis, lost_every, is_probed) in
        [(0, 20, true), (100, u64::MAX, true), (100, 20, false)]
    {
        let mut estimator = Estimator::new(DataRate::from_kbps(500));
        estimator.set_demand(DataRate::from_kbps(2_500));
        let mut probes = 0;
        for n in 0..1_000 {
            // After two seconds a queue builds up in another two, and stands.
            let sent = Timestamp::from_millis(10 * n);
            let queue = queue_millis * n.saturating_sub(200).min(200) / 200;
            let arrival = (sent + Duration::from_millis(queue)).as_micros().cast_signed();
            let arrival = (n % lost_every != lost_every - 1).then_some(arrival);
            estimator.feedback(
                sent + DELAY,
                [PacketResult { sent, arrival, size: 600, was_lost: false }],
            );
            let is_late = n > 450;
            probes += usize::from(estimator.probe_wanted(sent + DELAY).is_some() && is_late);
        }
        assert_eq!(probes > 0, is_probed, "{queue_millis} ms, one of {lost_every}");
    }
}

#[test]
fn nothing_is_probed_before_feedback_or_beyond_demand() {
    let now = Timestamp::from_millis(1);
    let mut estimator = Estimator::new(DataRate::from_kbps(500));
    estimator.set_demand(DataRate::from_kbps(800));
    assert!(!estimator.may_probe(now));
    assert_eq!(estimator.probe_wanted(now), None);
    estimator.feedback(now, []);
    assert!(estimator.may_probe(now));
    assert_eq!(estimator.probe_wanted(now), Some(DataRate::from_kbps(880)));
    assert_eq!(estimator.probe_wanted(now), None, "one at a time");
    estimator.set_demand(DataRate::from_kbps(500));
    assert!(estimator.may_probe(now + secs(2)), "its end is still to be found");
    estimator.feedback(now + secs(2), []);
    assert!(!estimator.may_probe(now + secs(10)));
    assert_eq!(estimator.probe_wanted(now + secs(10)), None);
}

#[test]
fn a_probe_from_the_least_estimate_is_measured_though_nothing_else_is_sent() {
    const PADDING: u16 = 291;
    let mut now = Timestamp::from_millis(1);
    let mut estimator = Estimator::new(DataRate::ZERO);
    estimator.set_demand(DataRate::from_kbps(800));
    estimator.feedback(now, []);
    let rate = estimator.probe_wanted(now).unwrap();
    let (mut results, mut bytes) = (Vec::new(), 0);
    for millis in (0..200).step_by(5) {
        if rate.as_bps() * (millis + 5) / 8000 >= bytes + u64::from(PADDING) {
            bytes += u64::from(PADDING);
            let sent = now + Duration::from_millis(millis);
            let arrival = Some(sent.as_micros().cast_signed());
            results.push(PacketResult { sent, arrival, size: PADDING, was_lost: false });
        }
    }
    now += Duration::from_millis(300);
    estimator.feedback(now, results);
    assert_eq!(estimator.probe_wanted(now + secs(1)), None, "more may be heard");
    estimator.probe_wanted(now + secs(2));
    assert!(estimator.estimate() > DataRate::from_kbps(100), "{}", estimator.estimate().as_bps());
}

proptest! {
    #[test]
    fn any_feedback_leaves_an_estimate_within_bounds(
        results in proptest::collection::vec(
            (0u64..1 << 45, proptest::option::of(any::<i32>()), any::<u16>(), any::<bool>()), 0..300,
        ),
        scale in 1i64..1 << 20,
    ) {
        let mut estimator = Estimator::new(DataRate::from_kbps(500));
        estimator.set_demand(DataRate::MAX);
        let mut now = Timestamp::ZERO;
        for (sent, arrival, size, was_lost) in results {
            now += Duration::from_micros(sent >> 20);
            estimator.probe_wanted(now);
            let sent = Timestamp::from_micros(sent);
            let arrival = arrival.map(|arrival| i64::from(arrival) * scale);
            estimator.feedback(now, [PacketResult { sent, arrival, size, was_lost }]);
            let bps = estimator.estimate().as_bps() as f64;
            prop_assert!((ESTIMATE_MIN..=ESTIMATE_MAX).contains(&bps));
        }
    }
}
