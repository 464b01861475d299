//! What a measurement found, in words.
//!
//! Two figures for a datagram where the wire is virtual: the kernel carries what is sent over it to the receiving
//! socket, and wakes whoever reads there, at the sender's expense unless a thread of its own does so. On a real
//! wire that is another machine's work, and a network card's. Source: Linux `drivers/net/veth.c`.

use std::fmt;
use std::time::Duration;

use crate::process::Busy;

/// Of a stream that begins and ends while it is counted.
const EDGE_PACKETS: u64 = 5;

pub(crate) struct Report {
    /// What publishers sent, once for each subscriber.
    pub(crate) wanted: u64,
    pub(crate) received: u64,
    /// The same of the one stream that got least, and what its publisher sent.
    pub(crate) least: (u64, u64),
    /// By the sequence numbers that subscribers saw.
    pub(crate) missing: u64,
    /// Datagrams that reached clients who were too slow to read them.
    pub(crate) unread: u64,
    /// In which nothing came of a stream, though its publisher was at it.
    pub(crate) silence_max: Duration,
    /// All of them, or there is no report.
    pub(crate) joined: usize,
    pub(crate) took: Duration,
    pub(crate) busy: Busy,
    /// What the kernel's thread for the clients' half of a virtual wire computed, if there is such a thread.
    pub(crate) wired: Option<Duration>,
    /// Nobody else was served, so that the server's time is for these datagrams.
    pub(crate) is_alone: bool,
    /// What a bare forwarder took for a datagram meanwhile, if there was one.
    pub(crate) bare: Option<Duration>,
    /// The server's memory beyond an empty one's.
    pub(crate) bytes_more: u64,
    /// What each subscriber of the last quarter added to it.
    pub(crate) bytes_each: u64,
    pub(crate) goals: Option<Goals>,
}

/// What the costs may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goals {
    /// Of the server's own time for each datagram, in microseconds, on the machine of the goals.
    pub(crate) us: f64,
    /// Of memory for one more participant.
    pub(crate) kib: f64,
    /// How many times a bare forwarder's time will do where the goal is missed.
    pub(crate) times: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = self.received + self.missing;
        let percent = |part: u64, whole: u64| part as f64 / whole.max(1) as f64 * 100.0;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "  {:10.0} datagrams a second to subscribers", out as f64 / seconds)?;
        writeln!(f, "  {:10.3} % lost ({} of {out})", percent(self.missing, out), self.missing)?;
        if self.unread > 0 {
            let unread = self.unread;
            writeln!(
                f,
                "  {unread:10} datagrams were there, and the clients too slow to read them"
            )?;
        }
        let arrived = percent(self.received, self.wanted);
        writeln!(f, "  {arrived:10.2} % of what was published arrived")?;
        let (least, sent) = self.least;
        let least = percent(least, sent);
        writeln!(f, "  {least:10.2} % of it in the stream that got least")?;
        let silence = self.silence_max.as_secs_f64() * 1e3;
        writeln!(f, "  {:10} clients joined", self.joined)?;
        writeln!(f, "  {silence:10.1} ms was the longest silence in a stream")?;
        if self.is_alone {
            self.write_costs(f)?;
        }
        write!(f, "  {:10} KiB more than an empty server", self.bytes_more / 1024)?;
        let Some(goals) = self.goals else { return Ok(()) };
        let verdict = |is_missed| if is_missed { "MISSED" } else { "met" };
        let Goals { us, kib, times } = goals;
        write!(f, "\n  {us:10.2} us are the goal: {}", verdict(self.own_us() > us))?;
        if let Some((times, bare)) = times.zip(self.bare) {
            let is_more = self.times(bare) > times;
            write!(f, "\n  {times:10.2} times a bare forwarder's will do: {}", verdict(is_more))?;
        }
        write!(f, "\n  {kib:10} KiB are the goal: {}", verdict(self.kib_each() > kib))
    }
}

impl Report {
    /// Microseconds of some time for each datagram.
    fn micros_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.received + self.missing).max(1) as f64
    }

    /// Sequence numbers do not show what was lost at the very end, nor what the server held back because it believed
    /// that a subscriber could not take it: the figure is printed, and must not be more than 2 % of any stream, but
    /// for a few packets at its ends.
    pub(crate) const fn is_whole(&self) -> bool {
        let (least, sent) = self.least;
        self.missing == 0 && (least + EDGE_PACKETS) * 100 >= sent * 98
    }

    fn own_us(&self) -> f64 {
        self.micros_each(self.busy.user + self.busy.kernel)
    }

    fn kib_each(&self) -> f64 {
        self.bytes_each as f64 / 1024.0
    }

    /// How many times a bare forwarder's time the server's own is.
    fn times(&self, bare: Duration) -> f64 {
        self.own_us() / (bare.as_secs_f64() * 1e6)
    }

    /// Whether a datagram takes more than is allowed, or memory's goal is missed.
    pub(crate) fn is_dear(&self) -> bool {
        self.goals.is_some_and(|Goals { us, kib, times }| {
            let will_do =
                times.zip(self.bare).is_some_and(|(times, bare)| self.times(bare) <= times);
            (self.own_us() > us && !will_do) || self.kib_each() > kib
        })
    }

    /// What is kept of it, by names that begin with the shape's.
    pub(crate) fn figures(&self, shape: &str) -> Vec<(String, f64)> {
        let lost = self.missing as f64 / (self.received + self.missing).max(1) as f64 * 100.0;
        let mut figures = vec![(format!("{shape}_lost_percent"), lost)];
        if self.is_alone {
            let own = self.busy.user + self.busy.kernel;
            let with_wire = own + self.wired.unwrap_or_default();
            figures.push((format!("{shape}_with_wire_us"), self.micros_each(with_wire)));
            if self.wired.is_some() {
                figures.push((format!("{shape}_us"), self.own_us()));
            }
            figures.extend(self.bare.map(|bare| (format!("{shape}_times_bare"), self.times(bare))));
            figures.push((format!("{shape}_kib_each"), self.kib_each()));
        }
        figures
    }

    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let (user, kernel) = (self.busy.user, self.busy.kernel);
        writeln!(
            f,
            "  {:10.2} us of the server's time for each datagram: {:.2} its own, {:.2} the kernel's",
            self.own_us(),
            self.micros_each(user),
            self.micros_each(kernel),
        )?;
        if let Some(bare) = self.bare {
            let (times, us) = (self.times(bare), bare.as_secs_f64() * 1e6);
            writeln!(f, "  {times:10.2} times what a bare forwarder took beside it, {us:.2} us")?;
        }
        match self.wired {
            Some(wired) => writeln!(
                f,
                "  {:10.2} us with the clients' half of the virtual wire, which no server does over a real one",
                self.micros_each(user + kernel + wired),
            )?,
            None => writeln!(f, "             (the clients' half of the wire is in it)")?,
        }
        writeln!(f, "  {:10.0} % of a core", (user + kernel).as_secs_f64() / seconds * 100.0)?;
        writeln!(f, "  {:10.1} KiB for one more participant", self.kib_each())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand datagrams that took a microsecond each, and a bare forwarder half of one.
    fn report(goals: Goals) -> Report {
        let busy = Busy { user: Duration::from_micros(400), kernel: Duration::from_micros(600) };
        Report {
            wanted: 1_000,
            received: 1_000,
            least: (500, 500),
            missing: 0,
            unread: 0,
            silence_max: Duration::ZERO,
            joined: 2,
            took: Duration::from_secs(1),
            busy,
            wired: Some(Duration::from_micros(500)),
            is_alone: true,
            bare: Some(Duration::from_nanos(500)),
            bytes_more: 1 << 20,
            bytes_each: 60 << 10,
            goals: Some(goals),
        }
    }

    #[test]
    fn one_stream_that_got_little_is_a_loss_though_the_others_got_all() {
        let goals = Goals { us: 1.0, kib: 60.0, times: None };
        for (least, missing, is_whole) in [(500, 0, true), (449, 0, false), (500, 1, false)] {
            let report = Report { least: (least, 500), missing, ..report(goals) };
            assert_eq!(report.is_whole(), is_whole);
        }
    }

    #[test]
    fn a_goal_that_is_missed_is_said_and_counts_unless_what_is_allowed_is_kept() {
        for (us, times, kib, missed, is_dear) in [
            (1.0, None, 60.0, 0, false),
            (0.9, None, 60.0, 1, true),
            (0.9, Some(2.0), 60.0, 1, false),
            (0.9, Some(1.9), 60.0, 2, true),
            (0.9, None, 59.0, 2, true),
            (1.0, Some(2.0), 59.0, 1, true),
        ] {
            let report = report(Goals { us, kib, times });
            assert_eq!(report.is_dear(), is_dear);
            assert_eq!(report.to_string().matches("MISSED").count(), missed);
        }
    }
}
