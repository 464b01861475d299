//! The process's counters.
//!
//! Owns: every counter, defined once, with unit and meaning. Each only grows.
//! Guarantees: counting never blocks and never allocates.
//! Not here: who reads them (`scrape`); they are also logged when the server stops.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// How many there have been.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $meaning:literal])* $name:ident,)*) => {
        /// Every counter of the process.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $meaning])* pub $name: Counter,)*
        }

        impl Metrics {
            /// Name and total of every counter, in the order of their definition.
            pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.total()),)*].into_iter()
            }

            /// Name, meaning and total of every counter, in the order of their definition.
            pub fn described(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                let all = [$((stringify!($name), concat!($($meaning),*), self.$name.total()),)*];
                all.into_iter().map(|(name, meaning, total)| (name, meaning.trim(), total))
            }
        }
    };
}

counters! {
    /// TCP connections accepted.
    connections_accepted,
    /// TCP connections turned away because the node held as many as it may, or no descriptor was left.
    connections_refused,
    /// TCP connections turned away because their network had or opened as many as it may.
    connections_over_budget,
    /// Times that accepting a TCP connection failed, mostly because no descriptor was left.
    accepts_failed,
    /// TLS handshakes not begun because too many of their network were under way.
    tls_over_budget,
    /// Requests refused with 429 because too many came from their network over connections that had had one.
    http_over_budget,
    /// Requests refused with 429 because their network had shown too many wrong tokens.
    tokens_over_budget,
    /// TCP connections that spoke HTTP in the clear where TLS is spoken; each was told so.
    connections_in_the_clear,
    /// TLS handshakes that failed: a client that wants another version or does not trust the certificate,
    /// one that hung up, or no TLS at all.
    handshakes_failed,
    /// TLS handshakes cut because they were not finished in time.
    handshakes_late,
    /// Times that an authority which asked whether a name is this server's was answered.
    challenges_answered,
    /// TCP connections to the port of an authority's questions turned away because as many as may be were there, or of
    /// one network.
    challenges_refused,
    /// TCP connections to the port of metrics turned away because as many as may be were there, or of one address.
    scrapes_refused,
    /// Certificates that an authority has given.
    certificates_obtained,
    /// Attempts to get a certificate from an authority that failed.
    certificates_failed,
    /// Times that files which are read again were wrong, gone, or did not answer; what they said before stays in force.
    files_failed,
    /// TCP connections ended because a request's head did not arrive in time, was too long or was no HTTP.
    connections_malformed,
    /// TCP connections ended because the client took nothing of an answer for too long.
    connections_unread,
    /// Tasks of connections that panicked; each ended its own connection alone.
    connections_panicked,
    /// Signalling connections opened, resumes included.
    joins_admitted,
    /// Joins refused with 401: the token is missing, wrong, expired or does not grant it; or with 429, because too many
    /// such came from its network.
    joins_refused_token,
    /// Joins refused with 400: the request or its offer does not parse; or with 409, because the same participant came
    /// in by a later one.
    joins_refused_request,
    /// Joins refused with 404 or 403: no such room, as many as it holds are there, or a client with two peer
    /// connections.
    joins_refused_room,
    /// Joins refused with 503: the node is full or stopping, a room has more to say than can be told, or it went wrong.
    joins_refused_unavailable,
    /// Joins refused with 429 because too many came with one token or the tokens of one key.
    joins_refused_rate,
    /// Questions whether a join would do refused with 429 for the same.
    validations_refused_rate,
    /// Joins refused with 503 because the media workers had too much to do.
    joins_refused_busy,
    /// Joins refused with 503, or ended with 1013, because others had not read what they were told of large rooms.
    joins_refused_crowded,
    /// Joins whose token asks for agents, which are not dispatched here.
    agents_ignored,
    /// Signalling messages taken from clients.
    messages_received,
    /// Signalling messages written to clients.
    messages_sent,
    /// Signalling connections closed with 1007: a message did not decode.
    sockets_undecodable,
    /// Signalling connections closed with 1009: a message was too long.
    sockets_oversized,
    /// Signalling connections closed with 1008: a message was not whole in time, or others that were not left no room.
    sockets_unfinished,
    /// Signalling connections closed with 1002: the client broke the WebSocket protocol.
    sockets_broken,
    /// Signalling connections cut because the client read too slowly.
    sockets_slow,
    /// Signalling connections cut because nothing came from the client for too long.
    sockets_silent,
    /// Participants let in.
    participants_joined,
    /// Peers that connected: ICE and DTLS are up.
    participants_connected,
    /// Participants whose session was resumed.
    participants_resumed,
    /// Resumes of participants that were not there any more.
    resumes_unknown,
    /// Signalling requests ignored because the session made too many.
    requests_over_rate,
    /// Signalling requests ignored because they made no sense at that time or are not served.
    requests_ignored,
    /// Subscriptions that wait since the receiver has a section for as many tracks as it can have.
    subscriptions_crowded_out,
    /// ICE candidates that clients sent; an ICE-lite end does not need them.
    candidates_received,
    /// Participants put out because of an offer that does not parse or does not continue the session.
    offers_refused,
    /// Data packets passed on.
    data_forwarded,
    /// Data packets dropped: not allowed, undecodable, or repeated.
    data_refused,
    /// Panics while one participant's message was handled; each put out that participant alone.
    hub_panics,
    /// TCP connections for media accepted.
    tcp_accepted,
    /// TCP connections for media closed at once because there were as many as may be.
    tcp_refused,
    /// TCP connections for media closed at once because their network had as many as it may.
    tcp_over_budget,
    /// TCP connections for media cut because they did not begin with a binding request for a peer of ours.
    tcp_foreign,
    /// TCP connections for media cut because of a frame that is too long.
    tcp_malformed,
    /// TCP connections for media cut because they proved nothing in time.
    tcp_late,
    /// TCP connections for media cut because nothing came from the client for long, or not the rest of a frame.
    tcp_silent,
    /// TCP connections for media cut because the client did not read.
    tcp_slow,
    /// Datagrams dropped because too much waited for their TCP connection already, or they had waited for too long.
    tcp_dropped,
    /// Datagrams that arrived at the media port, or in frames over TCP.
    datagrams_received,
    /// Datagrams that were sent from it, or written to a TCP connection.
    datagrams_sent,
    /// Media packets of participants that arrived, but for those that were sent once more.
    media_packets_received,
    /// Bytes of them, encrypted, without IP and UDP headers.
    media_bytes_received,
    /// Media packets of participants that arrived and were sent once more because we missed them.
    media_packets_received_again,
    /// Bytes of them, encrypted, without IP and UDP headers.
    media_bytes_received_again,
    /// Datagrams with media and reports on it that were made for participants, but for those that were sent once
    /// more.
    media_packets_sent,
    /// Bytes of them, encrypted, without IP and UDP headers.
    media_bytes_sent,
    /// Media packets that were sent once more to participants who missed them.
    media_packets_resent,
    /// Bytes of them, encrypted, without IP and UDP headers.
    media_bytes_resent,
    /// Datagrams that could not be sent: the socket stayed full, the network refused, or the TCP connection
    /// had ended.
    datagrams_unsent,
    /// Datagrams dropped because they are nothing that WebRTC sends, or STUN that does not parse.
    datagrams_malformed,
    /// DTLS and media dropped because no peer has proven the addresses.
    datagrams_unproven,
    /// Binding requests dropped because their user name is not ours.
    knocks_foreign,
    /// Binding requests dropped because their peer is gone or not there yet.
    knocks_late,
    /// Binding requests dropped because their peer has proven too many paths since it restarted ICE.
    knocks_beyond,
    /// Binding requests dropped because too many came over unproven paths from their network.
    knocks_over_budget,
    /// DTLS dropped because its network had begun too many handshakes; it is sent again.
    handshakes_over_budget,
    /// Proofs of a path that were not accepted because it is another peer's.
    paths_contested,
    /// Media dropped because its sender is in no room yet.
    media_early,
    /// Media dropped because it was accepted before, or is older than the replay window.
    media_replayed,
    /// Media dropped because it came from a participant's address and was not sealed by that participant.
    media_unauthentic,
    /// Requests for a packet of media again that were refused because their sender had its share.
    resends_over_share,
    /// Transport feedbacks that were not read because they tell of media that was never sent or is long forgotten, or
    /// because their sender sends too many.
    feedbacks_refused,
    /// Packets of sound dropped because their publisher sends more than the codec has use for.
    sound_over_rate,
    /// Datagrams and packets that went from worker to worker.
    hops_made,
    /// Packets of a publication given to another worker that has subscribers; hops as well.
    packets_relayed,
    /// Datagrams and packets dropped because the ring between two workers was full.
    hops_dropped,
    /// Words of whose a path is that another worker did not hear because the ring between the two was full.
    hop_words_lost,
    /// Lossy messages dropped because their sender sent too many.
    data_over_rate,
    /// Peers given up because they sent more reliable messages than the hub could take, or went on though they had to
    /// wait.
    data_senders_cut,
    /// Peers given up because a reliable message waited for them for 9.5 s, or because more waited on their worker than
    /// may, and for them the longest.
    data_receivers_cut,
    /// Times that reliable messages began to pile up for a peer, which holds back those who send in its room.
    data_receivers_lagged,
    /// Messages dropped because a worker was behind; of reliable ones the receiver was given up.
    data_unsent,
    /// Lossy messages dropped because the hub was behind.
    worker_messages_dropped,
    /// Figures of workers dropped because the hub was behind.
    reports_dropped,
    /// Panics in media workers; each ended at most one peer.
    worker_panics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_name_what_was_counted() {
        let metrics = Metrics::default();
        metrics.messages_sent.add(3);
        let total = metrics.totals().find(|(name, _)| *name == "messages_sent");
        assert_eq!(total, Some(("messages_sent", 3)));
        let described = metrics.described().find(|(name, ..)| *name == "messages_sent");
        assert_eq!(
            described,
            Some(("messages_sent", "Signalling messages written to clients.", 3))
        );
    }
}
