//! Both sides against known bytes and against each other.

use std::time::Duration;

use model::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::limits::{FEEDBACK_LEN_MAX, FEEDBACK_STATUS_MAX, SEND_HISTORY};

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn statuses(fci: &[u8]) -> Vec<(u16, Option<i64>)> {
    Feedback::parse(fci).unwrap().statuses().collect()
}

/// All feedback due at `now`, one after the other.
fn drain(recorder: &mut FeedbackRecorder, now: Timestamp) -> Vec<Vec<u8>> {
    let mut out = [0; FEEDBACK_LEN_MAX];
    std::iter::from_fn(|| recorder.poll(now, &mut out).map(|len| out[..len].to_vec())).collect()
}

// The bytes that Chromium sent, as pion's tests (`transportlayercc_test.go`) carry them.
const CHROMIUM_RUN: [u8; 12] =
    [0x00, 0x99, 0x00, 0x01, 0x3d, 0xe8, 0x02, 0x17, 0x20, 0x01, 0x94, 0x01];
const CHROMIUM_VECTOR: [u8; 16] = [
    0x01, 0x74, 0x00, 0x02, 0x45, 0xb1, 0x5a, 0x40, 0xd8, 0x00, 0xf0, 0xff, 0xd0, 0x00, 0x00, 0x03,
];

#[test]
fn feedback_from_chromium_is_read() {
    let run = Feedback::parse(&CHROMIUM_RUN).unwrap();
    assert_eq!((run.base_seq(), run.status_count(), run.feedback_count()), (153, 1, 23));
    assert_eq!(statuses(&CHROMIUM_RUN), [(153, Some(4_057_090 * 64_000 + 37_000))]);
    let reference = 4_567_386 * 64_000;
    assert_eq!(
        statuses(&CHROMIUM_VECTOR),
        [(372, Some(reference + 60_000)), (373, Some(reference + 60_000 - 12_000))]
    );
}

#[test]
fn one_bit_vectors_and_long_runs_are_read() {
    // Base 65,535; a vector of 14 (every second), a run of 20 losses.
    let mut fci = vec![0xff, 0xff, 0, 34, 0, 0, 1, 0, 0b1001_0101, 0b0101_0101, 0x00, 20];
    fci.extend([4; 7]);
    let read = statuses(&fci);
    assert_eq!(read.len(), 34);
    assert_eq!(read[0], (65_535, None));
    assert_eq!(read[1], (0, Some(64_000 + 1000)));
    assert_eq!(read[3], (2, Some(64_000 + 2000)));
    assert_eq!(read.iter().filter(|(_, arrival)| arrival.is_some()).count(), 7);
    assert_eq!(read[33], (32, None));
}

#[test]
fn feedback_is_written_as_the_draft_says() {
    let mut recorder = FeedbackRecorder::new();
    // Reference 2 (128 ms); deltas 2, 4 and, large and negative, -8 ticks after a loss.
    recorder.received(10, at(128_500));
    recorder.received(11, at(129_500));
    recorder.received(13, at(127_500 + 20_000));
    recorder.received(14, at(127_500 + 18_000));
    assert_eq!(recorder.next_timeout(), Some(at(178_500)));
    assert_eq!(drain(&mut recorder, at(178_499)), Vec::<Vec<u8>>::new());
    let expected = vec![
        0x00,
        0x0a,
        0x00,
        0x05,
        0x00,
        0x00,
        0x02,
        0x00, // header
        0b1101_0100,
        0b0110_0000, // small, small, lost, small, large
        2,
        4,
        72,
        0xff,
        0xf8, // deltas
        0,    // padding
    ];
    assert_eq!(drain(&mut recorder, at(178_500)), [expected]);
    assert_eq!(recorder.next_timeout(), None);
}

#[test]
fn the_next_feedback_goes_on_where_the_last_ended() {
    let mut recorder = FeedbackRecorder::new();
    recorder.received(65_534, at(0));
    assert_eq!(statuses(&drain(&mut recorder, at(60_000))[0]), [(65_534, Some(0))]);
    recorder.received(1, at(70_000));
    let next = drain(&mut recorder, at(200_000));
    assert_eq!(Feedback::parse(&next[0]).unwrap().feedback_count(), 1);
    assert_eq!(statuses(&next[0]), [(65_535, None), (0, None), (1, Some(70_000))]);
}

#[test]
fn a_late_packet_is_reported_after_all() {
    let mut recorder = FeedbackRecorder::new();
    recorder.received(1, at(0));
    recorder.received(3, at(1000));
    assert_eq!(statuses(&drain(&mut recorder, at(60_000))[0])[1], (2, None));
    recorder.received(2, at(61_000));
    recorder.received(2, at(99_000));
    let again = drain(&mut recorder, at(200_000));
    assert_eq!(statuses(&again[0]), [(2, Some(61_000)), (3, Some(1000))]);
    recorder.received(2, at(201_000));
    assert_eq!(recorder.next_timeout(), None);
}

#[test]
fn a_pause_longer_than_a_delta_splits_the_feedback() {
    let mut recorder = FeedbackRecorder::new();
    recorder.received(1, at(0));
    recorder.received(2, at(9_000_000));
    let both = drain(&mut recorder, at(9_100_000));
    assert_eq!(statuses(&both[0]), [(1, Some(0))]);
    assert_eq!(statuses(&both[1]), [(2, Some(9_000_000))]);
}

#[test]
fn what_a_delta_cannot_span_is_not_called_lost() {
    let mut recorder = FeedbackRecorder::new();
    recorder.received(1, at(0));
    recorder.received(3, at(1000));
    recorder.received(2, at(9_000_000));
    let told: Vec<_> =
        drain(&mut recorder, at(9_100_000)).iter().map(|fci| statuses(fci)).collect();
    assert_eq!(
        told,
        [[(1, Some(0))], [(2, Some(9_000_000))], [(3, Some(1000))]].map(|status| status.to_vec())
    );
}

#[test]
fn scattered_losses_take_one_bit_each() {
    let mut recorder = FeedbackRecorder::new();
    for seq in (0..14).step_by(2) {
        recorder.received(seq, at(0));
    }
    let expected =
        [0, 0, 0, 13, 0, 0, 0, 0, 0b1010_1010, 0b1010_1010, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(drain(&mut recorder, at(100_000)), [expected]);
}

#[test]
fn many_packets_are_reported_early() {
    let mut recorder = FeedbackRecorder::new();
    for seq in 0..127 {
        recorder.received(seq, at(u64::from(seq)));
    }
    assert_eq!(drain(&mut recorder, at(200)).len(), 0);
    recorder.received(127, at(200));
    assert_eq!(statuses(&drain(&mut recorder, at(200))[0]).len(), 128);
}

#[test]
fn hostile_feedback_is_bounded() {
    let claim = FEEDBACK_STATUS_MAX + 1;
    let [high, low] = claim.to_be_bytes();
    assert!(Feedback::parse(&[0, 0, high, low, 0, 0, 0, 0, 0x1f, 0xff]).is_none());
    // Chunks that claim nothing never cover the count.
    assert!(Feedback::parse(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    // Deltas cut off.
    let cut = Feedback::parse(&[0, 0, 0, 9, 0, 0, 0, 0, 0x20, 9, 1, 1]).unwrap();
    assert_eq!(cut.statuses().count(), 2);
    assert!(FeedbackRecorder::new().poll(at(0), &mut [0; 10]).is_none());
}

#[test]
fn a_packet_is_told_of_once_as_lost_and_once_as_received() {
    let mut history = SendHistory::new();
    history.sent(153, at(5_000_000_000), 1200);
    let results = |history: &mut SendHistory, fci: &[u8]| -> Vec<PacketResult> {
        history.results(at(5_000_090_000), &Feedback::parse(fci).unwrap()).collect()
    };
    let lost = [0, 153, 0, 1, 0, 0, 0, 0, 0, 1];
    let sent = at(5_000_000_000);
    let result = PacketResult { sent, arrival: None, size: 1200, was_lost: false };
    assert_eq!(results(&mut history, &lost), [result]);
    assert_eq!(results(&mut history, &lost), []);
    let arrival = Some(4_057_090 * 64_000 + 37_000);
    let result = PacketResult { arrival, was_lost: true, ..result };
    assert_eq!(results(&mut history, &CHROMIUM_RUN), [result]);
    assert_eq!(results(&mut history, &CHROMIUM_RUN), []);
}

#[test]
fn a_number_of_an_earlier_round_is_unknown() {
    let mut history = SendHistory::new();
    history.sent(153 + SEND_HISTORY, at(0), 1200);
    assert_eq!(history.results(at(1), &Feedback::parse(&CHROMIUM_RUN).unwrap()).count(), 0);
}

#[test]
fn a_history_grows_for_what_may_still_be_reported() {
    let report = |received: u16| {
        let mut recorder = FeedbackRecorder::new();
        recorder.received(received, at(0));
        drain(&mut recorder, at(0) + Duration::from_secs(1)).remove(0)
    };
    let is_found = |history: &mut SendHistory, seq: u16, now: u64| {
        history.results(at(now), &Feedback::parse(&report(seq)).unwrap()).count() == 1
    };
    // 100 packets a second and no report: those older than a second are given up.
    let mut slow = SendHistory::new();
    for seq in 0..2_000 {
        slow.sent(seq, at(u64::from(seq) * 10_000), 1_200);
    }
    let now = 20_000_000;
    assert!(!is_found(&mut slow, 1_500, now));
    assert!(is_found(&mut slow, 1_900, now));
    // 4,000 a second: all that fit are kept.
    let mut fast = SendHistory::new();
    for seq in 0..3_000 {
        fast.sent(seq, at(u64::from(seq) * 250), 1_200);
    }
    assert!(!is_found(&mut fast, 3_000 - SEND_HISTORY - 1, now));
    assert!(is_found(&mut fast, 3_000 - SEND_HISTORY, now));
    assert!(is_found(&mut fast, 2_999, now));
}

#[test]
fn feedback_ends_among_what_was_sent_lately_or_is_none() {
    let covers = |newest: u16, base: u16, count: u16| {
        let [[b0, b1], [c0, c1]] = [base.to_be_bytes(), count.to_be_bytes()];
        let fci = [b0, b1, c0, c1, 0, 0, 0, 0, c0, c1];
        let (mut history, feedback) = (SendHistory::new(), Feedback::parse(&fci).unwrap());
        (history.covers(newest, &feedback), history.covers(newest, &feedback))
    };
    let [known, from_now_on, unknown] = [(true, true), (false, true), (false, false)];
    assert_eq!(covers(10, 10, 1), known);
    assert_eq!(covers(10, 10, 2), unknown, "beyond what was sent");
    assert_eq!(covers(10, 11, 1), unknown);
    assert_eq!(covers(10, 65_000, 547), known, "from long ago to now");
    // A new history has 128 places: 10 and the 127 before it.
    assert_eq!(covers(10, 10_u16.wrapping_sub(127), 1), known);
    assert_eq!(covers(10, 10_u16.wrapping_sub(128), 1), from_now_on, "it grows");
    assert_eq!(covers(10, 10_u16.wrapping_sub(SEND_HISTORY - 1), 1), from_now_on);
    assert_eq!(covers(10, 10_u16.wrapping_sub(SEND_HISTORY), 1), unknown, "long forgotten");
    assert_eq!(covers(10, 5, 0), unknown, "of nothing");
}

proptest! {
    #[test]
    fn what_was_recorded_is_what_is_read(
        first: u16,
        start in 0u64..1 << 40,
        // (lost, µs after the one before, swapped with the next)
        packets in proptest::collection::vec((0u8..4, 0u64..200_000, any::<bool>()), 1..1000),
    ) {
        let mut recorder = FeedbackRecorder::new();
        let mut now = start;
        let mut arrived = Vec::new();
        let mut seq = first;
        for (lost, pause, _) in &packets {
            if *lost != 0 || arrived.is_empty() {
                arrived.push(seq);
            }
            seq = seq.wrapping_add(1);
            now += pause;
        }
        for (index, (_, _, swap)) in packets.iter().enumerate() {
            if *swap && index + 1 < arrived.len() && index > 0 {
                arrived.swap(index, index + 1);
            }
        }
        let mut expected = Vec::new();
        let mut read = Vec::new();
        let mut now = start;
        for (seq, (_, pause, _)) in arrived.into_iter().zip(&packets) {
            now += pause;
            recorder.received(seq, at(now));
            expected.push((seq, now / 250 * 250));
            for fci in drain(&mut recorder, at(now)) {
                read.extend(statuses(&fci));
            }
        }
        for fci in drain(&mut recorder, at(now) + Duration::from_secs(1)) {
            read.extend(statuses(&fci));
        }
        // Clocks agree modulo the 24 bits of the reference time.
        let cycle = 64_000i64 << 24;
        for (seq, micros) in expected {
            let micros = i64::try_from(micros).unwrap() % cycle;
            let told = read.iter().any(|(told, arrival)| {
                *told == seq && arrival.is_some_and(|arrival| arrival.rem_euclid(cycle) == micros)
            });
            prop_assert!(told, "{seq} at {micros} was not reported");
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(fci in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut history = SendHistory::new();
        for seq in 0..SEND_HISTORY {
            history.sent(seq, at(0), 100);
        }
        if let Some(feedback) = Feedback::parse(&fci) {
            prop_assert!(feedback.statuses().count() <= usize::from(FEEDBACK_STATUS_MAX));
            prop_assert!(history.results(at(1), &feedback).count() <= usize::from(SEND_HISTORY));
        }
    }

    #[test]
    fn any_arrivals_are_recorded_without_harm(
        arrivals in proptest::collection::vec((any::<u16>(), 0u64..1 << 42), 0..600),
    ) {
        let mut recorder = FeedbackRecorder::new();
        for (seq, arrival) in arrivals {
            recorder.received(seq, at(arrival));
            for fci in drain(&mut recorder, at(arrival)) {
                prop_assert!(fci.len() % 4 == 0);
                prop_assert!(Feedback::parse(&fci).is_some());
            }
        }
    }
}
