//! What the tests of SDP and negotiation share.

use wire::negotiation::{AcceptedCodecs, Negotiation};
use wire::sdp::{
    Candidate, CandidateTransport, Fingerprint, IceCredentials, LocalTransport, Offer,
};

use model::Codec;

pub(crate) const CHROMIUM_JOIN: &str = include_str!("../offers/chromium_join.sdp");
pub(crate) const CHROMIUM_PUBLISH: &str = include_str!("../offers/chromium_publish.sdp");
pub(crate) const CHROMIUM_UNPUBLISH: &str = include_str!("../offers/chromium_unpublish.sdp");
pub(crate) const CHROMIUM_REPUBLISH: &str = include_str!("../offers/chromium_republish.sdp");
pub(crate) const NATIVE_JOIN: &str = include_str!("../offers/native_join.sdp");
pub(crate) const NATIVE_MICROPHONE: &str = include_str!("../offers/native_microphone.sdp");
pub(crate) const NATIVE_CAMERA: &str = include_str!("../offers/native_camera.sdp");
pub(crate) const NATIVE_UNPUBLISH: &str = include_str!("../offers/native_unpublish.sdp");
pub(crate) const FIREFOX_JOIN: &str = include_str!("../offers/firefox_join.sdp");

pub(crate) const ALL: [&str; 9] = [
    CHROMIUM_JOIN,
    CHROMIUM_PUBLISH,
    CHROMIUM_UNPUBLISH,
    CHROMIUM_REPUBLISH,
    NATIVE_JOIN,
    NATIVE_MICROPHONE,
    NATIVE_CAMERA,
    NATIVE_UNPUBLISH,
    FIREFOX_JOIN,
];

pub(crate) fn parse(text: &str) -> Offer {
    Offer::parse(text).expect("a real offer parses")
}

pub(crate) fn local() -> LocalTransport {
    let digest = ["AB"; 32].join(":");
    LocalTransport {
        ice: IceCredentials::new("ours", "0123456789012345678901"),
        fingerprint: Fingerprint::from_value(&format!("sha-256 {digest}")).unwrap(),
        candidates: vec![Candidate {
            address: "127.0.0.1:7882".parse().unwrap(),
            transport: CandidateTransport::Udp,
        }],
        candidates_in_answer: true,
    }
}

pub(crate) fn negotiation() -> Negotiation {
    Negotiation::new(
        local(),
        AcceptedCodecs { audio: vec![Codec::Opus], video: vec![Codec::Vp8, Codec::H264] },
    )
}

/// The lines of the answer's section of `mid`.
pub(crate) fn section<'a>(answer: &'a str, mid: &str) -> Vec<&'a str> {
    let wanted = format!("a=mid:{mid}");
    answer
        .split("m=")
        .skip(1)
        .map(|section| section.split("\r\n").filter(|line| !line.is_empty()).collect::<Vec<_>>())
        .find(|lines| lines.contains(&wanted.as_str()))
        .expect("the answer has the section")
}

/// `base` with further receiving sections, as a client adds them.
pub(crate) fn with_more(base: &str, audios: usize, videos: usize) -> String {
    let (head, body) = base.split_once("m=").unwrap();
    let sections: Vec<&str> = body.split("m=").collect();
    let template = |kind: &str| {
        *sections
            .iter()
            .find(|section| section.starts_with(kind) && section.contains("a=recvonly"))
            .unwrap()
    };
    let mut mids = String::new();
    let mut added = String::new();
    let kinds = std::iter::repeat_n("audio", audios).chain(std::iter::repeat_n("video", videos));
    for (index, kind) in kinds.enumerate() {
        let mid = format!("{}", sections.len() + index);
        let section: Vec<String> =
            template(kind)
                .split("\r\n")
                .map(|line| {
                    if line.starts_with("a=mid:") {
                        format!("a=mid:{mid}")
                    } else {
                        line.to_owned()
                    }
                })
                .collect();
        added.push_str("m=");
        added.push_str(&section.join("\r\n"));
        mids.push(' ');
        mids.push_str(&mid);
    }
    let head: Vec<String> = head
        .split("\r\n")
        .map(|line| {
            if line.starts_with("a=group:BUNDLE") {
                format!("{line}{mids}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    format!("{}m={body}{added}", head.join("\r\n"))
}

/// `base` with one more section of pictures, in which the client sends a track of this id.
pub(crate) fn with_camera(base: &str, track: &str) -> String {
    let more = with_more(base, 0, 1);
    let (rest, last) = more.rsplit_once("a=recvonly").unwrap();
    format!("{rest}a=sendonly\r\na=msid:- {track}{last}")
}
