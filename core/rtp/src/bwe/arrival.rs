//! Groups packets that were sent as one burst, so that the path's own bunching does not look like delay.
//!
//! Source: draft-ietf-rmcat-gcc-02 §5.2 and libwebrtc `inter_arrival_delta`.

use model::Timestamp;

/// Packets sent within this many µs are one group.
const BURST: i64 = 5_000;
/// A group that was stretched on the way takes in followers for at most this long, in µs.
const BURST_MAX: i64 = 100_000;
/// A clock that steps further than this, in µs, began anew.
const STEP_MAX: i64 = 3_000_000;

/// From the last packet of one group to that of the next, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupDelta {
    pub(super) sent: i64,
    pub(super) arrived: i64,
    /// When the later group was complete, on the receiver's clock.
    pub(super) arrival: i64,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrival: i64,
    last_arrival: i64,
}

/// Turns packets into [`GroupDelta`]s.
#[derive(Clone, Debug, Default)]
pub(super) struct ArrivalGroups {
    previous: Option<Group>,
    current: Option<Group>,
}

impl ArrivalGroups {
    /// Takes a packet that arrived; a delta when it begins the third or a later group.
    ///
    /// Packets sent before the current group are left out: they were late, not the path slow.
    pub(super) fn add(&mut self, sent: Timestamp, arrival: i64) -> Option<GroupDelta> {
        let sent = sent.as_micros().cast_signed();
        let alone = Group {
            first_sent: sent,
            last_sent: sent,
            first_arrival: arrival,
            last_arrival: arrival,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(alone);
            return None;
        };
        if (arrival - current.last_arrival).abs() > STEP_MAX {
            *self = Self { previous: None, current: Some(alone) };
            return None;
        }
        if sent < current.first_sent {
            return None;
        }
        if current.takes(sent, arrival) {
            current.last_sent = current.last_sent.max(sent);
            current.last_arrival = current.last_arrival.max(arrival);
            return None;
        }
        let done = *current;
        let delta = self.previous.map(|previous| GroupDelta {
            sent: done.last_sent - previous.last_sent,
            arrived: done.last_arrival - previous.last_arrival,
            arrival: done.last_arrival,
        });
        *self = Self { previous: Some(done), current: Some(alone) };
        delta
    }
}

impl Group {
    fn takes(&self, sent: i64, arrival: i64) -> bool {
        if sent - self.first_sent <= BURST {
            return true;
        }
        // Arrived together although sent apart: held up and let go at once.
        let arrived = arrival - self.last_arrival;
        arrived < sent - self.last_sent
            && arrived <= BURST
            && arrival - self.first_arrival < BURST_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deltas(packets: &[(u64, i64)]) -> Vec<GroupDelta> {
        let mut groups = ArrivalGroups::default();
        let at = |millis| Timestamp::from_millis(millis);
        packets.iter().filter_map(|(sent, arrival)| groups.add(at(*sent), arrival * 1000)).collect()
    }

    #[test]
    fn bursts_are_compared_by_their_last_packets() {
        let packets = [(0, 100), (3, 110), (33, 140), (34, 160), (66, 170)];
        let expected = GroupDelta { sent: 31_000, arrived: 50_000, arrival: 160_000 };
        assert_eq!(deltas(&packets), [expected]);
    }

    #[test]
    fn packets_let_go_at_once_are_one_group() {
        let packets = [(0, 100), (20, 150), (40, 151), (60, 152), (80, 190), (100, 210)];
        let expected = [
            GroupDelta { sent: 60_000, arrived: 52_000, arrival: 152_000 },
            GroupDelta { sent: 20_000, arrived: 38_000, arrival: 190_000 },
        ];
        assert_eq!(deltas(&packets), expected);
    }

    #[test]
    fn a_new_clock_begins_anew() {
        assert_eq!(deltas(&[(0, 100), (20, 120), (40, -90_000), (60, -89_980)]), []);
    }
}
