//! Everything in the cores that reads bytes from outside, each as a function that must survive any input.
//!
//! Owns: the table of targets. `cargo test -p fuzz` replays the committed corpora on every CI run;
//! `fuzz/discover` runs the same functions under libFuzzer to find more.
//! Guarantees: a target does nothing but read; it panics only where the code under it does.
#![forbid(unsafe_code)]

mod media;
mod records;
mod rooms;
mod sealed;
mod signed;

use std::hint::black_box;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::{Codec, Identity, ParticipantSid};
use peer::framing::Frames;
use ring::rand::SystemRandom;
use rtp::packet::{Datagram, RtpHeader};
use rtp::{codec, extension, rtcp, twcc, vp8};
use settings::certificate::{Chain, UnixTime};
use wire::frame::{Encoding, Frame, decode_request};
use wire::key::{KeyPair, PublicKey, PublicKeys};
use wire::room_service::{Method, Request};

/// One reader: its name, which is its corpus's folder, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every reader of bytes from outside.
pub const TARGETS: &[Target] = &[
    ("certificate", certificate),
    ("data_packet", data_packet),
    ("dtls", dtls),
    ("forward", media::forward),
    ("framing", framing),
    ("front_door", front_door),
    ("join", join),
    ("jwks", jwks),
    ("payload", payload),
    ("pem", pem),
    ("records", records::run),
    ("revocations", revocations),
    ("room_service", room_service),
    ("rooms", rooms::run),
    ("rtcp", rtcp),
    ("rtp", rtp),
    ("sealed_data", sealed::data),
    ("sealed_frame", sealed::frame),
    ("sctp", sctp),
    ("sdp", sdp),
    ("settings", settings),
    ("signal_json", signal_json),
    ("signal_protobuf", signal_protobuf),
    ("signed", signed::run),
    ("stun", stun),
    ("token", token),
    ("transport_feedback", transport_feedback),
];

/// Runs the target of this name on `data`; `false` when there is none.
#[must_use]
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    if let Some((_, target)) = target {
        target(data);
    }
    target.is_some()
}

fn token(data: &[u8]) {
    if let (Ok(text), Some(keys)) = (std::str::from_utf8(data), signed::keys()) {
        drop(wire::token::verify(&keys, text, 1_800_000_000));
        black_box(wire::token::claimed_id(text).ok());
    }
}

/// DER, as it stands in a PEM file.
fn certificate(data: &[u8]) {
    let base64 = BASE64_STANDARD.encode(data);
    let text = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    if let Ok(chain) = Chain::read(&text) {
        black_box(chain.check(UnixTime(1_800_000_000)).ok());
        drop(chain.valid_to().to_string());
    }
}

/// Every file that the settings name holds the settings themselves.
fn settings(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(settings::read_settings(text, &mut |_, _| Ok(text.to_owned().into())));
    }
}

fn revocations(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(settings::read_revocations(text));
    }
}

fn pem(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        black_box(PublicKey::from_pem(text).ok());
        drop(KeyPair::from_pem(text, &SystemRandom::new()));
    }
}

fn jwks(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(PublicKeys::from_jwks(text));
    }
}

fn join(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(wire::join::JoinQuery::parse(text));
        drop(wire::join::decode_join_request(text));
    }
}

fn signal_protobuf(data: &[u8]) {
    drop(decode_request(Frame::Binary(data)));
}

fn signal_json(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(decode_request(Frame::Text(text)));
    }
}

fn data_packet(data: &[u8]) {
    let (sid, identity) = (ParticipantSid::from_wire("PA_0"), Identity::new("ada"));
    let sender = wire::data::Sender { sid: &sid, identity: &identity, hidden: false, agent: true };
    for delivery in [wire::data::Delivery::Reliable, wire::data::Delivery::Lossy] {
        drop(wire::data::receive(data, delivery, sender));
    }
}

/// The first byte chooses method and encoding.
fn room_service(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let encoding = if choice & 1 == 0 { Encoding::Protobuf } else { Encoding::Json };
    let Some(method) = Method::ALL.get(usize::from(choice >> 1) % Method::ALL.len()) else {
        return;
    };
    let request = Request::decode(*method, encoding, body);
    if let Ok(Request::SendData(request)) = request {
        drop(wire::data::announce(request));
    }
    if let Ok(text) = std::str::from_utf8(body) {
        black_box(wire::twirp::encoding_of(text));
    }
}

fn sdp(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(offer) = wire::sdp::Offer::parse(text)
    {
        media::negotiate(&offer);
    }
}

fn front_door(data: &[u8]) {
    let door = peer::Door::new(&[3; 32]);
    black_box(Datagram::classify(data));
    if let Some(request) = peer::BindingRequest::parse(data) {
        black_box(door.owner(request.local_ufrag));
    }
}

fn stun(data: &[u8]) {
    peer::readers::read_stun(data);
}

/// Datagrams of DTLS before anything is proven. What passes is no more than came.
fn dtls(data: &[u8]) {
    let passed = peer::readers::read_dtls(pieces(data));
    assert!(passed <= data.len(), "{passed} bytes pass of {}", data.len());
}

/// Packets of SCTP, from either side.
fn sctp(data: &[u8]) {
    peer::readers::read_sctp(Instant::now(), pieces(data));
}

/// Each stands after two bytes of length; the last may be cut short.
fn pieces(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len());
        let (piece, after) = after.split_at(len);
        rest = after;
        Some(piece)
    })
}

/// What came over TCP, all at once and byte by byte, is the same datagrams.
fn framing(data: &[u8]) {
    let mut whole = Frames::new(data);
    let datagrams: Vec<&[u8]> = whole.by_ref().map_while(Result::ok).collect();
    let mut kept: Vec<u8> = Vec::new();
    let mut found = datagrams.iter();
    for byte in data {
        kept.push(*byte);
        let mut frames = Frames::new(&kept);
        for frame in frames.by_ref() {
            let Ok(datagram) = frame else { return };
            assert_eq!(found.next().copied(), Some(datagram), "it was cut otherwise");
            front_door(datagram);
        }
        let taken = frames.taken();
        kept.drain(..taken);
    }
    assert_eq!(found.next(), None, "the rest never came");
    assert_eq!(data.len() - whole.taken(), kept.len(), "and nothing else is left");
}

fn rtp(data: &[u8]) {
    if let Ok(header) = RtpHeader::parse(data) {
        drop(header.payload_range(data));
        let map = media::extensions();
        extension::elements(&header, data).for_each(drop);
        black_box(extension::Extensions::read(&header, data, &map));
    }
}

fn rtcp(data: &[u8]) {
    for packet in rtcp::packets(data) {
        match packet {
            Ok(rtcp::RtcpPacket::Nack(nacks)) => nacks.sequence_numbers().for_each(drop),
            Ok(rtcp::RtcpPacket::TransportFeedback(feedback)) => transport_feedback(feedback.fci),
            Ok(_) | Err(_) => {}
        }
    }
}

fn transport_feedback(data: &[u8]) {
    if let Some(feedback) = twcc::Feedback::parse(data) {
        feedback.statuses().for_each(drop);
    }
}

fn payload(data: &[u8]) {
    for codec in
        [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1, Codec::Red]
    {
        black_box(codec::Facts::of(codec, data, true));
    }
    let Some(descriptor) = vp8::Descriptor::parse(data) else {
        return;
    };
    let mut rewriter = vp8::Vp8Rewriter::new(0);
    for source in [0, 1, 0] {
        rewriter.switch_to(source);
        if let Some(rewrite) = rewriter.rewrite(source, &descriptor, 1) {
            rewrite.apply(&mut data.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "the last line names the input that broke something")]
    fn every_committed_input_is_survived() {
        for (name, _) in TARGETS {
            let inputs = corpus(name);
            assert!(!inputs.is_empty(), "{name} has no corpus");
            for (path, input) in inputs {
                eprintln!("{}", path.display());
                assert!(run(name, &input));
            }
        }
    }

    /// Cuts and flips of what is well formed reach further than noise does.
    #[test]
    fn every_committed_input_is_survived_cut_and_flipped() {
        for (name, target) in TARGETS {
            for (_, mut input) in corpus(name) {
                let step = (input.len() / 200).max(1);
                for at in (0..input.len()).step_by(step) {
                    target(&input[..at]);
                    input[at] ^= 1 << (at % 8);
                    target(&input);
                    input[at] ^= 1 << (at % 8);
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_no_target_runs_nothing() {
        assert!(!run("nothing", &[]));
    }
}
