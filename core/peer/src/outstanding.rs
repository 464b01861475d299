//! What the other end was sent and has not acknowledged without a gap, and what it asks SCTP to answer.
//!
//! Owns: how far it has acknowledged, and the rations of what costs SCTP time. SCTP looks at each number that an
//! acknowledgement names, as often as it is named, keeps all that is behind a gap, and looks at all of that whenever it
//! sends; it answers each heartbeat and each cookie with a packet. Guarantees: acknowledgements that repeat themselves
//! and those beyond a rate are let go, as if the network had lost them; nobody keeps a gap open for longer than
//! [`UNACKNOWLEDGED_TIME_MAX`] while it acknowledges what is behind it, nor has more than [`OUTSTANDING_MAX`] chunks
//! beyond it. Not here: what was promised to be delivered and is not (`channels`), what comes (`unread`).
//! Source: RFC 9260 §3.3.4, §3.3.5, §6.2.1, §8.3.

use std::time::{Duration, Instant};

use model::{Ration, Timestamp};

use crate::chunks::{Chunk, Gaps, chunks, is_up_to};
use crate::limits::{
    ACKNOWLEDGED_BURST, ACKNOWLEDGED_COST, ACKNOWLEDGED_EACH, ECHO_EVERY, ECHOES_BURST,
    OUTSTANDING_MAX, STUCK_STEP_MAX, UNACKNOWLEDGED_TIME_MAX,
};
use crate::unread::Fate;

#[derive(Debug)]
pub(crate) struct Outstanding {
    /// From which time is counted.
    start: Instant,
    /// There is an association.
    has_begun: bool,
    /// The highest TSN that was sent.
    newest: Option<u32>,
    /// All up to there is acknowledged.
    cumulative: Option<u32>,
    /// Up to where the last packet says so, which SCTP has not yet believed.
    claimed: Option<u32>,
    /// When that was said last, and for how long nothing else has been.
    said: Option<Instant>,
    stuck: Duration,
    acknowledged: Ration,
    echoes: Ration,
}

impl Outstanding {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            start: now,
            has_begun: false,
            newest: None,
            cumulative: None,
            claimed: None,
            said: None,
            stuck: Duration::ZERO,
            acknowledged: Ration::new(ACKNOWLEDGED_BURST),
            echoes: Ration::new(ECHOES_BURST),
        }
    }

    /// A packet has come. SCTP may be given it, unless it is to be let go.
    pub(crate) fn take(&mut self, now: Instant, packet: &[u8]) -> Fate {
        let at = self.at(now);
        self.claimed = None;
        let (mut acknowledgement, mut echoes) = (None, 0);
        for chunk in chunks(packet) {
            match chunk {
                Chunk::Acknowledged { cumulative, gaps, .. } => {
                    // One says all that there is to say.
                    if acknowledgement.replace((cumulative, gaps)).is_some() {
                        return Fate::LetGo;
                    }
                }
                Chunk::Echo => echoes += 1,
                // One that the network kept for long: SCTP would end what has begun since.
                Chunk::Begin if self.has_begun => return Fate::LetGo,
                Chunk::Data(_) | Chunk::Forward { .. } | Chunk::Reset(_) | Chunk::Begin => {}
            }
        }
        if echoes > 1 || (echoes == 1 && !self.echoes.take(at, ECHO_EVERY)) {
            return Fate::LetGo;
        }
        let Some((cumulative, gaps)) = acknowledgement else { return Fate::Taken };
        let Some(named) = named(gaps) else { return Fate::LetGo };
        let cost = ACKNOWLEDGED_EACH.saturating_add(ACKNOWLEDGED_COST.saturating_mul(named));
        if !self.acknowledged.take(at, cost) {
            return Fate::LetGo;
        }
        self.claimed = Some(cumulative);
        Fate::Taken
    }

    /// SCTP has believed the acknowledgement that came last: it is of this association, and of what was sent. `false`:
    /// a gap has been open for too long.
    pub(crate) fn note_believed(&mut self, now: Instant) -> bool {
        self.claimed.take().is_none_or(|cumulative| self.hear(now, cumulative))
    }

    pub(crate) const fn note_begun(&mut self) {
        self.has_begun = true;
    }

    fn hear(&mut self, now: Instant, cumulative: u32) -> bool {
        let is_progress =
            self.cumulative.is_none_or(|it| it != cumulative && is_up_to(it, cumulative));
        let said = self.said.replace(now);
        if is_progress {
            self.cumulative = Some(cumulative);
            self.stuck = Duration::ZERO;
        } else if self.len() == 0 {
            self.stuck = Duration::ZERO;
        } else if let Some(said) = said {
            // Whoever was away for long has said nothing meanwhile.
            self.stuck += now.saturating_duration_since(said).min(STUCK_STEP_MAX);
        }
        self.stuck <= UNACKNOWLEDGED_TIME_MAX
    }

    /// SCTP sends a packet. `false`: more is outstanding than may be.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) -> bool {
        for chunk in chunks(packet) {
            let Chunk::Data(data) = chunk else { continue };
            self.cumulative.get_or_insert(data.tsn.wrapping_sub(1));
            if self.newest.is_none_or(|newest| is_up_to(newest, data.tsn)) {
                self.newest = Some(data.tsn);
            }
        }
        self.len() <= OUTSTANDING_MAX
    }

    /// Chunks from the first that is not acknowledged to the last that was sent.
    pub(crate) fn len(&self) -> u32 {
        let (Some(newest), Some(cumulative)) = (self.newest, self.cumulative) else { return 0 };
        if is_up_to(newest, cumulative) { 0 } else { newest.wrapping_sub(cumulative) }
    }

    fn at(&self, now: Instant) -> Timestamp {
        Timestamp::ZERO + now.saturating_duration_since(self.start)
    }
}

#[cfg(test)]
impl Outstanding {
    pub(crate) fn newest_sent(&self) -> u32 {
        self.newest.unwrap()
    }
}

/// How many numbers it names; none, if it names one twice or in no order.
fn named(gaps: Gaps<'_>) -> Option<u32> {
    let (mut named, mut before) = (0_u32, None);
    for (first, last) in gaps.iter() {
        if last < first || before.is_some_and(|before| first <= before) {
            return None;
        }
        named = named.saturating_add(u32::from(last - first) + 1);
        before = Some(last);
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 4).unwrap().to_be_bytes();
        [&[kind, 0, len[0], len[1]], value].concat()
    }

    fn acknowledgement(cumulative: u32, gaps: &[(u16, u16)]) -> Vec<u8> {
        let count = u16::try_from(gaps.len()).unwrap().to_be_bytes();
        let mut value = [&cumulative.to_be_bytes()[..], &[0, 1, 0, 0], &count, &[0, 0]].concat();
        for (first, last) in gaps {
            value.extend([first.to_be_bytes(), last.to_be_bytes()].concat());
        }
        chunk(3, &value)
    }

    fn data(tsn: u32) -> Vec<u8> {
        chunk(0, &[&tsn.to_be_bytes()[..], &[0, 5, 0, 0, 0, 0, 0, 53, 1, 2, 3, 4]].concat())
    }

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        [vec![0; 12], chunks.concat()].concat()
    }

    fn outstanding() -> (Outstanding, Instant) {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let now = Instant::now();
        (Outstanding::new(now), now)
    }

    #[test]
    fn acknowledgements_that_repeat_themselves_are_let_go() {
        let (mut outstanding, now) = outstanding();
        let mut fate = |chunks: &[Vec<u8>]| outstanding.take(now, &packet(chunks));
        assert_eq!(fate(&[acknowledgement(9, &[(2, 5), (7, 7), (8, 900)])]), Fate::Taken);
        for gaps in [&[(2, 900), (2, 900)][..], &[(5, 9), (2, 3)], &[(5, 9), (9, 12)], &[(3, 2)]] {
            assert_eq!(fate(&[acknowledgement(9, gaps)]), Fate::LetGo, "{gaps:?}");
        }
        let twice = [acknowledgement(9, &[(2, 5)]), acknowledgement(9, &[(2, 5)])];
        assert_eq!(fate(&twice), Fate::LetGo);
    }

    #[test]
    fn acknowledgements_have_a_burst_and_a_rate() {
        let (mut outstanding, start) = outstanding();
        let packet = packet(&[acknowledgement(9, &[(2, 3_501)])]);
        let mut taken = |seconds| {
            let now = start + Duration::from_secs(seconds);
            (0..10_000).filter(|_| outstanding.take(now, &packet) == Fate::Taken).count()
        };
        let cost = ACKNOWLEDGED_EACH + ACKNOWLEDGED_COST * 3_500;
        let burst = ACKNOWLEDGED_BURST.as_micros() / cost.as_micros();
        assert_eq!(taken(0) as u128, burst);
        assert_eq!(taken(1) as u128, Duration::from_secs(1).as_micros() / cost.as_micros());
    }

    #[test]
    fn heartbeats_and_cookies_have_a_burst_and_a_rate() {
        let (mut outstanding, start) = outstanding();
        let both =
            packet(&[chunk(4, &[0, 1, 0, 8, 1, 2, 3, 4]), chunk(4, &[0, 1, 0, 8, 1, 2, 3, 4])]);
        assert_eq!(outstanding.take(start, &both), Fate::LetGo);
        for kind in [4, 10] {
            let start = start + Duration::from_secs(100 * u64::from(kind));
            let packet = packet(&[chunk(kind, &[0, 1, 0, 8, 1, 2, 3, 4])]);
            let taken = (0..100).filter(|_| outstanding.take(start, &packet) == Fate::Taken);
            assert_eq!(taken.count() as u128, ECHOES_BURST.as_millis() / ECHO_EVERY.as_millis());
            assert_eq!(outstanding.take(start + ECHO_EVERY, &packet), Fate::Taken);
        }
    }

    #[test]
    fn who_keeps_a_gap_open_is_ended_and_who_was_away_is_not() {
        let (mut outstanding, start) = outstanding();
        for tsn in 10..20 {
            assert!(outstanding.note_sent(&packet(&[data(tsn)])));
        }
        let mut may_stay = |millis, cumulative, last| {
            let now = start + Duration::from_millis(millis);
            let packet = packet(&[acknowledgement(cumulative, &[(2, last)])]);
            assert_eq!(outstanding.take(now, &packet), Fate::Taken);
            // What SCTP does not believe counts for nothing.
            let beyond = self::packet(&[acknowledgement(cumulative + 1_000, &[])]);
            assert_eq!(outstanding.take(now, &beyond), Fate::Taken);
            assert_eq!(outstanding.take(now, &packet), Fate::Taken);
            outstanding.note_believed(now)
        };
        assert!(may_stay(0, 9, 10));
        assert!(may_stay(60_000, 9, 10), "it was away");
        let mut millis = 60_100;
        while may_stay(millis, 10, 9) {
            millis += 100;
        }
        assert_eq!(millis, 60_100 + 9_600);
    }

    #[test]
    fn who_has_acknowledged_all_may_say_so_for_ever() {
        let (mut outstanding, start) = outstanding();
        assert!(outstanding.note_sent(&packet(&[data(10)])));
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(outstanding.take(now, &packet(&[acknowledgement(10, &[])])), Fate::Taken);
            assert!(outstanding.note_believed(now));
        }
    }

    #[test]
    fn what_is_outstanding_is_bounded_across_the_wrap() {
        let (mut outstanding, _) = outstanding();
        let first = u32::MAX - 5;
        let mut sent = 0;
        while outstanding.note_sent(&packet(&[data(first.wrapping_add(sent))])) {
            sent += 1;
        }
        assert_eq!(sent, OUTSTANDING_MAX);
    }
}
