//! The node's figures as text that Prometheus reads.
//!
//! Owns: which figure has which name: LiveKit's where it has one, so that its dashboards work, and
//! `incamera_…` for every counter of ours.
//! Guarantees: no label says anything of a person or a room.
//! Not here: who may read it (`scrape`), what the counters mean (`metrics`).
//! Source: Prometheus text format 0.0.4; LiveKit `pkg/telemetry/prometheus/{node,packets,rooms}.go`.

use std::fmt::{Display, Write as _};

use model::{Share, WorkerId};
use sfu::control::Census;
use wire::room_service::Method;
use wire::twirp::Code;

use crate::metrics::{Counter, Metrics};

/// What the text is made of.
pub(crate) struct Figures<'a> {
    /// The node's name, another one each time it starts.
    pub(crate) node_id: &'a str,
    pub(crate) metrics: &'a Metrics,
    /// Of the server API.
    pub(crate) answered: Vec<(Method, Option<Code>, u64)>,
    /// Nothing if the hub did not answer.
    pub(crate) census: Option<Census>,
    pub(crate) process: Process,
    /// Whether the hub or a worker does not answer.
    pub(crate) silent: bool,
    /// Of its time that each worker is busy.
    pub(crate) busy: Vec<(WorkerId, Share)>,
    /// Whether nobody new is let in for that.
    pub(crate) is_busy: bool,
    /// When the certificate that clients are shown ends, in Unix time; nothing without one.
    pub(crate) certificate_valid_to: Option<u64>,
}

/// What the system says of the process; what it does not say is left out.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) descriptors: Option<usize>,
    /// In Unix time.
    pub(crate) started: u64,
}

/// Writes all of it.
pub(crate) fn text(figures: &Figures<'_>) -> String {
    let mut page = Page {
        text: String::with_capacity(16 << 10),
        node: format!("node_id=\"{}\",node_type=\"SERVER\"", figures.node_id),
    };
    if let Some(census) = &figures.census {
        page.census(census);
    }
    page.livekit(figures);
    page.process(&figures.process);
    let name = "incamera_silent";
    page.family(name, "gauge", "1 while the hub or a media worker does not answer.");
    page.sample(name, &[], u8::from(figures.silent));
    let name = "incamera_worker_busy_ratio";
    let help =
        "How much of its time a media worker works or is kept from it, over the last second.";
    page.family(name, "gauge", help);
    for (worker, share) in &figures.busy {
        page.sample(name, &[("worker", &worker.0.to_string())], share.as_ratio());
    }
    let name = "incamera_busy";
    page.family(name, "gauge", "1 while joins are refused because the media workers are too busy.");
    page.sample(name, &[], u8::from(figures.is_busy));
    if let Some(valid_to) = figures.certificate_valid_to {
        let name = "incamera_certificate_valid_to_seconds";
        page.family(name, "gauge", "When the certificate of the server ends, in Unix time.");
        page.sample(name, &[], valid_to);
    }
    for (counter, meaning, total) in figures.metrics.described() {
        let name = format!("incamera_{counter}_total");
        page.family(&name, "counter", meaning);
        page.sample(&name, &[], total);
    }
    page.text
}

struct Page {
    text: String,
    node: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{name}{{{}", self.node);
        for (label, text) in labels {
            let _ = write!(self.text, ",{label}=\"{text}\"");
        }
        let _ = writeln!(self.text, "}} {value}");
    }

    fn census(&mut self, census: &Census) {
        let name = "livekit_room_total";
        self.family(name, "gauge", "Rooms, empty ones that have not closed yet included.");
        self.sample(name, &[], census.rooms);
        let name = "livekit_participant_total";
        self.family(name, "gauge", "Participants, hidden ones included.");
        self.sample(name, &[], census.participants);
        for (name, help, count) in [
            (
                "livekit_track_published_total",
                "Tracks that are published, by kind.",
                census.publications,
            ),
            (
                "livekit_track_subscribed_total",
                "Tracks that are received, once for each receiver, by kind.",
                census.subscriptions,
            ),
        ] {
            self.family(name, "gauge", help);
            self.sample(name, &[("kind", "AUDIO")], count.audio);
            self.sample(name, &[("kind", "VIDEO")], count.video);
        }
    }

    fn livekit(&mut self, figures: &Figures<'_>) {
        let metrics = figures.metrics;
        let name = "livekit_participant_join_total";
        self.family(name, "counter", "Joins and resumes, by how far they came.");
        let failed = [
            &metrics.joins_refused_token,
            &metrics.joins_refused_request,
            &metrics.joins_refused_room,
            &metrics.joins_refused_unavailable,
            &metrics.joins_refused_busy,
            &metrics.joins_refused_crowded,
            &metrics.joins_refused_rate,
        ];
        let failed = failed.into_iter().map(Counter::total).sum();
        for (state, total) in [
            ("signal_connected", metrics.joins_admitted.total()),
            ("signal_failed", failed),
            ("rtc_init", metrics.participants_joined.total()),
            ("rtc_connected", metrics.participants_connected.total()),
        ] {
            self.sample(name, &[("state", state)], total);
        }
        self.packets(metrics);
        let name = "livekit_node_messages";
        self.family(name, "counter", "Signalling messages.");
        for (direction, messages) in
            [("incoming", &metrics.messages_received), ("outgoing", &metrics.messages_sent)]
        {
            let labels = [("type", "signal"), ("status", "success"), ("direction", direction)];
            self.sample(name, &labels, messages.total());
        }
        let name = "livekit_node_twirp_request_status";
        self.family(name, "counter", "Requests to the server API.");
        for (method, code, total) in &figures.answered {
            let status = if code.is_none() { "success" } else { "failure" };
            let http = code.map_or(200, Code::status).to_string();
            let labels = [
                ("service", "RoomService"),
                ("method", method.name()),
                ("status", status),
                ("code", code.map_or("", Code::name)),
                // Two codes of ours have one name on the wire.
                ("http_status", &http),
            ];
            self.sample(name, &labels, total);
        }
    }

    fn packets(&mut self, metrics: &Metrics) {
        let (first, again) = ("initial", "retransmit");
        let ways = [
            (
                [("direction", "incoming"), ("transmission", first)],
                &metrics.media_packets_received,
                &metrics.media_bytes_received,
            ),
            (
                [("direction", "incoming"), ("transmission", again)],
                &metrics.media_packets_received_again,
                &metrics.media_bytes_received_again,
            ),
            (
                [("direction", "outgoing"), ("transmission", first)],
                &metrics.media_packets_sent,
                &metrics.media_bytes_sent,
            ),
            (
                [("direction", "outgoing"), ("transmission", again)],
                &metrics.media_packets_resent,
                &metrics.media_bytes_resent,
            ),
        ];
        let name = "livekit_packet_total";
        self.family(name, "counter", "Media packets; reports that are sent are counted as well.");
        for (labels, packets, _) in &ways {
            self.sample(name, labels, packets.total());
        }
        let name = "livekit_packet_bytes";
        self.family(name, "counter", "Bytes of those, encrypted, without IP and UDP headers.");
        for (labels, _, bytes) in &ways {
            self.sample(name, labels, bytes.total());
        }
    }

    fn process(&mut self, process: &Process) {
        if let Some(bytes) = process.resident_bytes {
            let name = "process_resident_memory_bytes";
            self.family(name, "gauge", "Resident memory.");
            self.sample(name, &[], bytes);
        }
        if let Some(seconds) = process.cpu_seconds {
            let name = "process_cpu_seconds_total";
            self.family(name, "counter", "Processor time, in user space and in the kernel.");
            self.sample(name, &[], seconds);
        }
        if let Some(descriptors) = process.descriptors {
            let name = "process_open_fds";
            self.family(name, "gauge", "Open file descriptors.");
            self.sample(name, &[], descriptors);
        }
        let name = "process_start_time_seconds";
        self.family(name, "gauge", "When the process started, in Unix time.");
        self.sample(name, &[], process.started);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sfu::control::PerKind;

    use super::*;

    fn figures(metrics: &Metrics) -> Figures<'_> {
        let census = Census {
            rooms: 2,
            participants: 3,
            publications: PerKind { audio: 1, video: 4 },
            subscriptions: PerKind { audio: 5, video: 6 },
        };
        let too_large = (Method::SendData, Some(Code::TooLarge), 2);
        let exhausted = (Method::SendData, Some(Code::ResourceExhausted), 1);
        Figures {
            node_id: "ND_x",
            metrics,
            answered: vec![(Method::ListRooms, None, 7), too_large, exhausted],
            census: Some(census),
            process: Process { cpu_seconds: Some(1.25), ..Process::default() },
            silent: false,
            busy: vec![(WorkerId(0), Share::from_permille(125)), (WorkerId(1), Share::ALL)],
            is_busy: false,
            certificate_valid_to: Some(1_800_000_000),
        }
    }

    #[test]
    fn figures_are_written_under_their_names() {
        let metrics = Metrics::default();
        for refused in [
            &metrics.joins_refused_token,
            &metrics.joins_refused_request,
            &metrics.joins_refused_room,
            &metrics.joins_refused_unavailable,
            &metrics.joins_refused_busy,
            &metrics.joins_refused_crowded,
            &metrics.joins_refused_rate,
        ] {
            refused.count();
        }
        metrics.hub_panics.count();
        metrics.media_packets_resent.add(4);
        let refusals = metrics.described().filter(|(name, ..)| name.starts_with("joins_refused_"));
        assert!(
            refusals.into_iter().all(|(.., total)| total == 1),
            "a join was refused for each reason"
        );
        let text = text(&figures(&metrics));
        let node = "node_id=\"ND_x\",node_type=\"SERVER\"";
        for line in [
            format!("livekit_room_total{{{node}}} 2"),
            format!("livekit_participant_total{{{node}}} 3"),
            format!("livekit_track_published_total{{{node},kind=\"VIDEO\"}} 4"),
            format!("livekit_track_subscribed_total{{{node},kind=\"AUDIO\"}} 5"),
            format!("livekit_participant_join_total{{{node},state=\"signal_failed\"}} 7"),
            format!(
                "livekit_packet_total{{{node},direction=\"outgoing\",transmission=\"retransmit\"}} 4"
            ),
            format!("process_cpu_seconds_total{{{node}}} 1.25"),
            format!("incamera_hub_panics_total{{{node}}} 1"),
            format!("incamera_certificate_valid_to_seconds{{{node}}} 1800000000"),
            "# TYPE incamera_hub_panics_total counter".to_owned(),
            format!("incamera_worker_busy_ratio{{{node},worker=\"0\"}} 0.125"),
            format!("incamera_busy{{{node}}} 0"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let of_list = "service=\"RoomService\",method=\"ListRooms\",status=\"success\",code=\"\"";
        assert!(text.contains(of_list), "{text}");
    }

    #[test]
    fn every_sample_is_there_once_and_of_a_family() {
        let metrics = Metrics::default();
        let text = text(&figures(&metrics));
        let mut seen = BTreeSet::new();
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(family.split(' ').next().unwrap()), "{line} twice");
            } else if !line.starts_with("# HELP ") {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(seen.insert(sample), "{sample} twice");
                assert!(families.contains(sample.split('{').next().unwrap()), "{sample}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        for (name, ..) in metrics.described() {
            assert!(families.contains(format!("incamera_{name}_total").as_str()), "{name}");
        }
    }
}
