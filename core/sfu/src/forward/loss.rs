//! The share of a peer's packets that were lost one way, for the word on its connection.
//!
//! Counts all its packets together: of a microphone that is silent few come, and one of them is no tenth of a call.

/// Of fewer packets nothing is said yet.
const PACKETS_MIN: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct LossMeter {
    lost: u32,
    total: u32,
    /// `total` when it was too little to judge.
    waiting: u32,
    /// As judged last, 0.0..=1.0.
    fraction: f32,
}

impl LossMeter {
    /// So many were lost of `total` more.
    pub(super) fn add(&mut self, lost: u32, total: u32) {
        self.lost = self.lost.saturating_add(lost);
        self.total = self.total.saturating_add(total);
    }

    /// One that counted as lost has come after all.
    pub(super) fn found(&mut self) {
        self.lost = self.lost.saturating_sub(1);
    }

    /// What was lost since this was asked last; of few packets what it was, while more come.
    pub(super) fn judge(&mut self) -> f32 {
        if self.total >= PACKETS_MIN {
            self.fraction = self.lost.min(self.total) as f32 / self.total as f32;
        } else if self.total == self.waiting {
            self.fraction = 0.0;
        } else {
            self.waiting = self.total;
            return self.fraction;
        }
        (self.lost, self.total, self.waiting) = (0, 0, 0);
        self.fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_packets_are_judged_once_they_are_enough() {
        let mut meter = LossMeter::default();
        for lost in [1, 0, 0, 0] {
            meter.add(lost, 12);
            assert_eq!(meter.judge(), 0.0);
        }
        meter.add(0, 12);
        assert_eq!(meter.judge(), 1.0 / 60.0);
        meter.add(30, 100);
        meter.found();
        assert_eq!(meter.judge(), 0.29);
        assert_eq!(meter.judge(), 0.0, "nothing came");
    }

    #[test]
    fn nothing_is_said_of_what_is_long_ago() {
        let mut meter = LossMeter::default();
        meter.add(30, 100);
        assert_eq!(meter.judge(), 0.3);
        meter.add(0, 30);
        assert_eq!(meter.judge(), 0.3);
        assert_eq!(meter.judge(), 0.0, "nothing more came");
    }
}
