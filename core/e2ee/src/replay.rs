//! Which frames and data packets of a participant were opened.
//!
//! Guarantees: each is accepted once, and as one of both as long as it is known: a sealed frame of VP9 and a sealed
//! data packet look alike, and the server could hand one on as the other. Holds across keys. Of frames, none is
//! accepted that is older than a window's worth of accepted ones. Of a source that has been silent for longer than
//! [`SOURCES_MAX`] others, nothing is accepted that is older than its newest: so little must be kept of it that new
//! ones find room for days. Data packets are known by their whole IV: their clock begins anew with a sender's page or
//! process, and what such a sender seals under the same key is not old for that. Only when as many have been accepted
//! as are kept do the oldest go, and from then on what is as old as they are is refused.
//! Not here: a frame of a picture that comes again after 11 hours under the same key (20 for sound):
//! timestamps have 32 bits, and its IV no longer tells that it is old. A key should be changed before that;
//! a sender of ours must after 13 hours.
//! Source: none; LiveKit's SDKs accept replays.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::iv::Iv;
use crate::limits::{DATA_PACKETS_KNOWN_MAX, FRAME_REPLAY_WINDOW, SOURCES_EVER_MAX, SOURCES_MAX};
use crate::opener::OpenError;

/// How far a sender's clock may be ahead of ours, 2^29 ticks: 99 minutes of picture, 3 hours of sound. What
/// seems to be further ahead is taken to be as much as 2^32 ticks older.
const TICKS_AHEAD_MAX: i64 = 1 << 29;

/// Timestamp without its wrap, and the rest of the IV.
type Place = (i64, u64);

/// The newest accepted IVs of one source, in order.
struct Window {
    capacity: usize,
    accepted: VecDeque<Place>,
    /// Timestamps up to this one are refused, seen or not.
    floor: i64,
    /// When the newest was accepted.
    at: Duration,
}

impl Window {
    fn new(capacity: usize) -> Self {
        Self { capacity, accepted: VecDeque::new(), floor: i64::MIN, at: Duration::ZERO }
    }

    /// `timestamp` without its wrap: the last one that is not too far ahead of what is expected at `now`, so
    /// that a pause of hours and a frame of hours ago are told apart.
    fn unwrapped(&self, timestamp: u32, now: Duration, ticks_per_second: u32) -> i64 {
        let Some((newest, _)) = self.accepted.back() else {
            return timestamp.into();
        };
        let passed = now.saturating_sub(self.at).as_millis() * u128::from(ticks_per_second) / 1000;
        let expected = newest.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX / 2));
        let latest = expected.saturating_add(TICKS_AHEAD_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a place on the circle of 2^32")]
        #[expect(clippy::cast_sign_loss, reason = "a place on the circle of 2^32")]
        let back = (latest as u32).wrapping_sub(timestamp);
        latest.saturating_sub(back.into())
    }

    fn check(&self, place: Place) -> Result<(), OpenError> {
        let is_new = place.0 > self.floor && self.accepted.binary_search(&place).is_err();
        if is_new { Ok(()) } else { Err(OpenError::Replayed) }
    }

    /// Whether more is kept than the newest.
    fn is_open(&self) -> bool {
        self.accepted.len() > 1
    }

    /// Keeps the newest alone: what is not newer is refused from now on.
    fn close(&mut self) {
        if let Some(newest) = self.accepted.back().copied() {
            self.floor = newest.0;
            self.accepted = VecDeque::from([newest]);
        }
    }

    fn accept(&mut self, place: Place, now: Duration) {
        // Of most sources nothing but the newest is kept. One more, for the moment before the oldest goes.
        let room = if self.accepted.is_empty() { 1 } else { self.capacity + 1 };
        self.accepted.reserve_exact(room.saturating_sub(self.accepted.len()));
        if self.accepted.back().is_none_or(|newest| place > *newest) {
            self.at = now;
        }
        let (Ok(index) | Err(index)) = self.accepted.binary_search(&place);
        self.accepted.insert(index, place);
        if self.accepted.len() > self.capacity
            && let Some((oldest, _)) = self.accepted.pop_front()
        {
            self.floor = oldest;
        }
    }
}

/// How far a data packet's timestamp may be ahead of that of the one accepted last, 2^29 ms: six days. What seems to be
/// further ahead is older: of a clock that has wrapped since, after 49 days.
const MS_AHEAD_MAX: u32 = 1 << 29;

/// The accepted data packets.
struct Packets {
    capacity: usize,
    /// Timestamp and the rest of each IV, in order.
    accepted: VecDeque<(u32, u32, u32)>,
    /// Timestamp of the one accepted last.
    last: u32,
    /// Timestamp of the one forgotten last: what is as old is refused.
    floor: Option<u32>,
}

impl Packets {
    const fn new(capacity: usize) -> Self {
        Self { capacity, accepted: VecDeque::new(), last: 0, floor: None }
    }

    /// How much older than the newest that there may be.
    const fn age(&self, timestamp: u32) -> u32 {
        self.last.wrapping_add(MS_AHEAD_MAX).wrapping_sub(timestamp)
    }

    fn check(&self, packet: (u32, u32, u32)) -> Result<(), OpenError> {
        let is_old = self.floor.is_some_and(|floor| self.age(packet.0) >= self.age(floor));
        let is_new = !is_old && !self.knows(packet);
        if is_new { Ok(()) } else { Err(OpenError::Replayed) }
    }

    fn knows(&self, packet: (u32, u32, u32)) -> bool {
        self.accepted.binary_search(&packet).is_ok()
    }

    fn accept(&mut self, packet: (u32, u32, u32)) {
        self.last = packet.0;
        let (Ok(index) | Err(index)) = self.accepted.binary_search(&packet);
        self.accepted.insert(index, packet);
        if self.accepted.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// The oldest is the first beyond the newest that there may be, around the circle.
    fn forget_oldest(&mut self) {
        let newest = self.last.wrapping_add(MS_AHEAD_MAX);
        let beyond = self.accepted.partition_point(|packet| packet.0 <= newest);
        let index = if beyond < self.accepted.len() { beyond } else { 0 };
        if let Some(oldest) = self.accepted.remove(index) {
            self.floor = Some(oldest.0);
        }
    }
}

/// All that was opened of one participant.
pub(crate) struct Replay {
    frames: BTreeMap<u32, Window>,
    data: Packets,
}

/// A frame or packet that may be accepted once it has proved authentic.
#[derive(Clone, Copy)]
pub(crate) enum Candidate {
    Frame { ssrc: u32, place: Place, now: Duration },
    Data { packet: (u32, u32, u32) },
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self { frames: BTreeMap::new(), data: Packets::new(DATA_PACKETS_KNOWN_MAX) }
    }

    /// Whether a frame with this IV was not seen yet. The timestamp runs at `ticks_per_second`.
    pub(crate) fn check_frame(
        &self,
        iv: Iv,
        now: Duration,
        ticks_per_second: u32,
    ) -> Result<Candidate, OpenError> {
        let (ssrc, timestamp, last) = iv.words();
        if self.data.knows((timestamp, ssrc, last)) {
            return Err(OpenError::Replayed);
        }
        let place = match self.frames.get(&ssrc) {
            Some(window) => {
                let place = (window.unwrapped(timestamp, now, ticks_per_second), last.into());
                window.check(place)?;
                place
            }
            None if self.frames.len() < SOURCES_EVER_MAX => (timestamp.into(), last.into()),
            None => return Err(OpenError::TooManySources),
        };
        Ok(Candidate::Frame { ssrc, place, now })
    }

    /// Whether a data packet with this IV was not seen yet. Its timestamp is in milliseconds of the sender's own.
    ///
    /// An IV of an SSRC that frames came from is a frame's, seen or not: the random number of a data packet is one of
    /// seven SSRCs once in 600 million.
    pub(crate) fn check_data(&self, iv: Iv) -> Result<Candidate, OpenError> {
        let (random, timestamp, last) = iv.words();
        if self.frames.contains_key(&random) {
            return Err(OpenError::Replayed);
        }
        let packet = (timestamp, random, last);
        self.data.check(packet)?;
        Ok(Candidate::Data { packet })
    }

    /// Accepts what was checked and has proved authentic.
    pub(crate) fn accept(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Frame { ssrc, place, now } => {
                if self.frames.get(&ssrc).is_none_or(|window| !window.is_open()) {
                    self.make_room();
                }
                let window =
                    self.frames.entry(ssrc).or_insert_with(|| Window::new(FRAME_REPLAY_WINDOW));
                window.accept(place, now);
            }
            Candidate::Data { packet } => self.data.accept(packet),
        }
    }

    /// Closes the source that has been silent for the longest, if so many are open that another may not be.
    fn make_room(&mut self) {
        let open = || self.frames.values().filter(|window| window.is_open());
        if open().count() < SOURCES_MAX {
            return;
        }
        let open = self.frames.values_mut().filter(|window| window.is_open());
        if let Some(silent) = open.min_by_key(|window| window.at) {
            silent.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: u32 = 90_000;

    fn iv(ssrc: u32, timestamp: u32, count: u32) -> Iv {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&ssrc.to_be_bytes());
        bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&timestamp.wrapping_sub(count).to_be_bytes());
        Iv(bytes)
    }

    fn open(replay: &mut Replay, iv: Iv, now_s: u64) -> Result<(), OpenError> {
        let candidate = replay.check_frame(iv, Duration::from_secs(now_s), VIDEO)?;
        replay.accept(candidate);
        Ok(())
    }

    #[test]
    fn a_frame_is_accepted_once_in_any_order_within_the_window() {
        let mut replay = Replay::new();
        for count in [5, 3, 4, 1, 2, 6] {
            assert!(open(&mut replay, iv(1, 3000 * count, count), 0).is_ok());
        }
        for count in 1..=6 {
            let again = open(&mut replay, iv(1, 3000 * count, count), 0);
            assert_eq!(again, Err(OpenError::Replayed));
        }
        // Layers of one picture share the timestamp; another SSRC has frames of its own.
        assert!(open(&mut replay, iv(1, 18000, 7), 0).is_ok());
        assert!(open(&mut replay, iv(2, 3000, 1), 0).is_ok());
    }

    #[test]
    fn what_is_older_than_the_window_is_refused_seen_or_not() {
        let mut replay = Replay::new();
        let frames = u32::try_from(FRAME_REPLAY_WINDOW).unwrap();
        for count in 0..=frames + 1 {
            if count != 1 {
                assert!(open(&mut replay, iv(1, 3000 * (count + 1), count), 0).is_ok());
            }
        }
        assert_eq!(open(&mut replay, iv(1, 3000, 0), 0), Err(OpenError::Replayed));
        assert!(open(&mut replay, iv(1, 3000 * 2, 1), 0).is_ok(), "the window's last place");
        let mut replay = Replay::new();
        for count in 1..=frames + 1 {
            assert!(open(&mut replay, iv(1, 3000 * (count + 1), count), 0).is_ok());
        }
        assert_eq!(open(&mut replay, iv(1, 3000, 0), 0), Err(OpenError::Replayed));
    }

    #[test]
    fn time_tells_a_pause_of_hours_from_a_frame_of_hours_ago() {
        let hour = VIDEO.wrapping_mul(3600);
        let mut replay = Replay::new();
        for hours in 0..12u32 {
            let timestamp = hour.wrapping_mul(hours);
            assert!(open(&mut replay, iv(1, timestamp, hours), u64::from(hours) * 3600).is_ok());
        }
        // Without a clock the frame of eight hours ago would look like one of five hours from now.
        for hours in 0..12u32 {
            let again = open(&mut replay, iv(1, hour.wrapping_mul(hours), hours), 11 * 3600);
            assert_eq!(again, Err(OpenError::Replayed), "{hours}");
        }
        // A camera that was off for nine hours.
        assert!(open(&mut replay, iv(1, hour.wrapping_mul(20), 12), 20 * 3600).is_ok());
    }

    #[test]
    fn sources_are_bounded() {
        let mut replay = Replay::new();
        let most = u32::try_from(SOURCES_EVER_MAX).unwrap();
        for ssrc in 0..most {
            for frame in 1..4 {
                assert!(open(&mut replay, iv(ssrc, frame, frame), ssrc.into()).is_ok());
            }
        }
        assert_eq!(replay.frames.values().filter(|window| window.is_open()).count(), SOURCES_MAX);
        let room: usize = replay.frames.values().map(|window| window.accepted.capacity()).sum();
        assert!(room <= SOURCES_MAX * (FRAME_REPLAY_WINDOW + 1) + 4 * SOURCES_EVER_MAX, "{room}");
        let refused = open(&mut replay, iv(9999, 1, 1), most.into());
        assert_eq!(refused, Err(OpenError::TooManySources));
        assert!(open(&mut replay, iv(most - 1, 4, 4), most.into()).is_ok());
    }

    #[test]
    fn a_source_of_one_frame_costs_a_place_and_no_window() {
        let mut replay = Replay::new();
        for ssrc in 0..u32::try_from(SOURCES_EVER_MAX).unwrap() {
            assert!(open(&mut replay, iv(ssrc, 1, 1), 0).is_ok());
        }
        let most = replay.frames.values().map(|window| window.accepted.capacity()).max();
        assert!(most.is_some_and(|most| most <= 4), "{most:?}");
    }

    #[test]
    fn of_a_source_that_was_silent_for_long_nothing_old_is_accepted_and_what_is_new_is() {
        let mut replay = Replay::new();
        let late = u32::try_from(SOURCES_MAX).unwrap();
        for ssrc in 0..=late {
            for frame in [1, 2, 4] {
                assert!(open(&mut replay, iv(ssrc, 3000 * frame, frame), ssrc.into()).is_ok());
            }
        }
        for frame in 1..=4 {
            let again = open(&mut replay, iv(0, 3000 * frame, frame), late.into());
            assert_eq!(again, Err(OpenError::Replayed), "{frame}, seen or not");
        }
        assert!(open(&mut replay, iv(0, 3000 * 5, 5), late.into()).is_ok());
        assert!(open(&mut replay, iv(0, 3000 * 7, 7), late.into()).is_ok());
        assert!(open(&mut replay, iv(0, 3000 * 6, 6), late.into()).is_ok(), "in any order again");
        let others = open(&mut replay, iv(2, 3000 * 3, 3), late.into());
        assert!(others.is_ok(), "one that was heard since is open still");
    }

    fn open_data(replay: &mut Replay, iv: Iv) -> Result<(), OpenError> {
        let candidate = replay.check_data(iv)?;
        replay.accept(candidate);
        Ok(())
    }

    #[test]
    fn a_sender_that_begins_anew_is_heard_and_nothing_of_before_opens_again() {
        let hour = 3_600_000;
        let mut replay = Replay::new();
        for count in 0..1000 {
            assert!(open_data(&mut replay, iv(count, hour + count, count)).is_ok());
        }
        // Its page was loaded anew: the clock is at five seconds.
        for count in 0..1000 {
            assert!(open_data(&mut replay, iv(5000 + count, 5000 + count, count)).is_ok());
        }
        for count in 0..1000 {
            let before = open_data(&mut replay, iv(count, hour + count, count));
            let since = open_data(&mut replay, iv(5000 + count, 5000 + count, count));
            assert_eq!([before, since], [Err(OpenError::Replayed); 2], "{count}");
        }
    }

    #[test]
    fn so_many_data_packets_are_known_and_what_is_as_old_as_the_forgotten_is_refused() {
        let mut replay = Replay::new();
        let most = u32::try_from(DATA_PACKETS_KNOWN_MAX).unwrap();
        let packet = |count: u32| iv(7, 10 * count, count);
        for count in 1..=most + 100 {
            assert!(open_data(&mut replay, packet(count)).is_ok());
        }
        assert_eq!(replay.data.accepted.len(), DATA_PACKETS_KNOWN_MAX);
        for count in 1..=most + 100 {
            assert_eq!(open_data(&mut replay, packet(count)), Err(OpenError::Replayed));
        }
        assert_eq!(open_data(&mut replay, iv(8, 10 * 100, 0)), Err(OpenError::Replayed));
        assert!(open_data(&mut replay, iv(8, 10 * 100 + 1, 0)).is_ok(), "late, and not as old");
    }

    #[test]
    fn a_clock_of_data_that_wraps_is_no_older_for_that() {
        let mut replay = Replay::new();
        let most = u32::try_from(DATA_PACKETS_KNOWN_MAX).unwrap();
        let start = u32::MAX - 10 * (most / 2);
        let packet = |count: u32| iv(7, start.wrapping_add(10 * count), count);
        for count in 0..most + 100 {
            assert!(open_data(&mut replay, packet(count)).is_ok(), "{count}");
        }
        for count in 0..most + 100 {
            assert_eq!(open_data(&mut replay, packet(count)), Err(OpenError::Replayed), "{count}");
        }
        assert!(
            open_data(&mut replay, iv(8, start + 10 * 100, 0)).is_ok(),
            "late, before the wrap"
        );
    }
}
