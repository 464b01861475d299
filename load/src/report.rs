//! What a measurement found, in words.
//!
//! Two figures for a datagram where the wire is virtual: the kernel carries what is sent over it to the receiving
//! socket, and wakes whoever reads there, at the sender's expense unless a thread of its own does so. On a real
//! wire that is another machine's work, and a network card's. Source: Linux `drivers/net/veth.c`.

use std::fmt;
use std::time::Duration;

use crate::process::Busy;

pub(crate) struct Report {
    /// What publishers sent, once for each subscriber.
    pub(crate) wanted: u64,
    pub(crate) received: u64,
    /// By the sequence numbers that subscribers saw.
    pub(crate) missing: u64,
    /// From one packet of a stream to its next.
    pub(crate) silence_max: Duration,
    /// All of them, or there is no report.
    pub(crate) joined: usize,
    pub(crate) took: Duration,
    pub(crate) busy: Busy,
    /// What the kernel's thread for the clients' half of a virtual wire computed, if there is such a thread.
    pub(crate) wired: Option<Duration>,
    /// Nobody else was served, so that the server's time is for these datagrams.
    pub(crate) is_alone: bool,
    /// The server's memory beyond an empty one's.
    pub(crate) bytes_more: u64,
    /// What each subscriber of the last quarter added to it.
    pub(crate) bytes_each: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let out = self.received + self.missing;
        let percent = |part: u64, whole: u64| part as f64 / whole.max(1) as f64 * 100.0;
        let seconds = self.took.as_secs_f64();
        writeln!(f, "  {:10.0} datagrams a second to subscribers", out as f64 / seconds)?;
        writeln!(f, "  {:10.3} % lost ({} of {out})", percent(self.missing, out), self.missing)?;
        let arrived = percent(self.received, self.wanted);
        writeln!(f, "  {arrived:10.2} % of what was published arrived")?;
        let silence = self.silence_max.as_secs_f64() * 1e3;
        writeln!(f, "  {:10} clients joined", self.joined)?;
        writeln!(f, "  {silence:10.1} ms was the longest silence in a stream")?;
        if self.is_alone {
            self.write_costs(f)?;
        }
        write!(f, "  {:10} KiB more than an empty server", self.bytes_more / 1024)
    }
}

impl Report {
    /// Microseconds of some time for each datagram.
    fn micros_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.received + self.missing).max(1) as f64
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
                figures.push((format!("{shape}_us"), self.micros_each(own)));
            }
            figures.push((format!("{shape}_kib_each"), self.bytes_each as f64 / 1024.0));
        }
        figures
    }

    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let (user, kernel) = (self.busy.user, self.busy.kernel);
        writeln!(
            f,
            "  {:10.2} us of the server's time for each datagram: {:.2} its own, {:.2} the kernel's",
            self.micros_each(user + kernel),
            self.micros_each(user),
            self.micros_each(kernel),
        )?;
        match self.wired {
            Some(wired) => writeln!(
                f,
                "  {:10.2} us with the clients' half of the virtual wire, which no server does over a real one",
                self.micros_each(user + kernel + wired),
            )?,
            None => writeln!(f, "             (the clients' half of the wire is in it)")?,
        }
        writeln!(f, "  {:10.0} % of a core", (user + kernel).as_secs_f64() / seconds * 100.0)?;
        writeln!(f, "  {:10} KiB for one more participant", self.bytes_each / 1024)
    }
}
